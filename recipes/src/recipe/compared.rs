//! `[evaluation]`: how models are compared, on which problems, and who beside the student.

use super::{
    SubjectConfig,
    decode::{Diagnostics, Section},
    read::{decode_checked, is_file_name, read_list, read_problems, read_teacher},
    values::Value,
};
use distill_data_gen::ProblemsConfig;
use distill_evaluate::EvaluationConfig;
use std::path::Path;

/// What `[evaluation]` says.
pub(super) struct Compared {
    pub(super) evaluation: Option<EvaluationConfig>,
    pub(super) evaluated_on: Option<ProblemsConfig>,
    pub(super) subjects: Vec<SubjectConfig>,
}

/// The table with the problems and subjects in it.
pub(super) fn read(root: &mut Section<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Compared {
    let nothing = Compared { evaluation: None, evaluated_on: None, subjects: Vec::new() };
    let Some(value) = root.take("evaluation") else { return nothing };
    let Some(mut section) = Section::new(value, "evaluation", diagnostics) else { return nothing };
    let problems = section.take("problems").and_then(|value| Section::new(value, "evaluation.problems", diagnostics));
    let evaluated_on = problems.and_then(|table| read_problems(table, folder, diagnostics));
    let subjects: Vec<SubjectConfig> = read_list(&mut section, "subjects", diagnostics, |value, what, diagnostics| {
        read_subject(value, what, folder, diagnostics)
    });
    let taken = ["before", "after", "teacher"];
    for (index, SubjectConfig { name, .. }) in subjects.iter().enumerate() {
        if taken.contains(&name.as_str()) || subjects[..index].iter().any(|other| other.name == *name) {
            let message = format!("`evaluation.subjects.{index}.name`: expected a name of its own, found `{name}`");
            diagnostics.push(section.span.clone(), message, None);
        }
    }
    let is_file = evaluated_on.is_some();
    let evaluation = decode_checked(section.rest(), "evaluation", diagnostics, EvaluationConfig::check);
    let evaluation = evaluation.map(|config| EvaluationConfig { every_problem: is_file, ..config });
    Compared { evaluation, evaluated_on, subjects }
}

fn read_subject(value: Value<'_>, what: &str, folder: &Path, diagnostics: &mut Diagnostics) -> Option<SubjectConfig> {
    let span = value.span();
    let mut section = Section::new(value, what, diagnostics)?;
    let name = section.required::<String>("name", diagnostics);
    if let Some(name) = name.as_deref().filter(|name| !is_file_name(name)) {
        let message = format!("`{what}.name`: expected letters, digits, `-`, `_` and `.`, found `{name}`");
        diagnostics.push(span.clone(), message, None);
    }
    let teacher = read_teacher(section, folder, diagnostics)?;
    if !teacher.is_asked() {
        diagnostics.push(
            span,
            format!("`{what}`: expected `local` or `http`, found traces that are there already"),
            None,
        );
    }
    Some(SubjectConfig { name: name?, teacher })
}
