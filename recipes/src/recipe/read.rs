//! The tables of a recipe, one function each, in the order in which a recipe has them.

use super::{
    AskedConfig, BaseConfig, BenchmarkConfig, ExportConfig, HttpConfig, Recipe, SourceConfig, StudentConfig,
    TeacherConfig, compared,
    decode::{Diagnostics, Section, nearest},
    values::{Fault, Value, Values},
};
use crate::launch::LaunchConfig;
use distill_data_gen::{FileConfig, FileFormat, GeneratorConfig, ProblemsConfig, ReadyConfig, SamplingConfig};
use distill_filters::{Filter, FilterConfig, OnUnknown};
use distill_publish::PublishConfig;
use distill_student::{Surgery, TrainingConfig};
use distill_teacher::HttpTeacherConfig;
use distill_teacher_local::Precision;
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The whole recipe.
pub(super) fn read(
    root: Spanned<DeTable<'_>>,
    path: &Path,
    overrides: &[String],
    diagnostics: &mut Diagnostics,
) -> Option<Recipe> {
    let mut root = Section::root(root);
    let recipe = read_tables(&mut root, path, overrides, diagnostics);
    root.finish(diagnostics);
    recipe
}

fn read_tables(
    root: &mut Section<'_>,
    path: &Path,
    overrides: &[String],
    diagnostics: &mut Diagnostics,
) -> Option<Recipe> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let name = root.required::<String>("name", diagnostics);
    if let Some(name) = name.as_deref().filter(|name| !is_file_name(name)) {
        diagnostics.push(
            0..0,
            format!("`name` names a folder: expected letters, digits, `-`, `_` and `.`, found `{name}`"),
            None,
        );
    }
    let seed = root.required::<u64>("seed", diagnostics);
    let sources = read_list(root, "sources", diagnostics, |value, what, diagnostics| {
        read_source(value, what, &folder, diagnostics)
    });
    check_sources(&sources, diagnostics);
    let names: Vec<Option<&str>> = sources.iter().map(|source| source.name.as_deref()).collect();
    let filters = read_list(root, "filters", diagnostics, |value, what, diagnostics| {
        read_filter(value, what, &folder, &names, diagnostics)
    });
    check_verifier(&filters, diagnostics);
    let problem_filters = read_list(root, "problem-filters", diagnostics, |value, what, diagnostics| {
        read_problem_filter(value, what, &folder, &names, diagnostics)
    });
    let benchmarks = read_list(root, "benchmarks", diagnostics, |value, what, diagnostics| {
        read_benchmark(value, what, &folder, diagnostics)
    });
    check_benchmarks(&benchmarks, filters.iter().chain(&problem_filters), diagnostics);
    let judge = root.take("judge").and_then(|value| read_judge(value, &folder, diagnostics));
    check_judge(judge.as_ref(), &filters, diagnostics);
    let shaping = root.optional("shaping", diagnostics).unwrap_or_default();
    let export = read_export(root, &filters, diagnostics);
    let student = root.take("student").and_then(|value| read_student(value, &folder, diagnostics));
    let compared::Compared { evaluation, evaluated_on, subjects } = compared::read(root, &folder, diagnostics);
    let is_alone = !subjects.is_empty() && evaluated_on.is_some();
    if sources.is_empty() && !is_alone && diagnostics.found.is_empty() {
        let help = "or `[evaluation]` with `problems` and `[[evaluation.subjects]]`, to compare models that are there";
        diagnostics.push(0..0, "the recipe lacks `[[sources]]`: nothing to sample from", Some(help.to_owned()));
    }
    if evaluation.is_some() && student.is_none() && subjects.is_empty() && diagnostics.found.is_empty() {
        let help = "a subject has a `name` and is `local = \"CHECKPOINT\"` or `http = { url = …, model = … }`";
        let message =
            "`evaluation`: expected `[student]` or `[[evaluation.subjects]]`, found neither: nobody to evaluate";
        diagnostics.push(0..0, message, Some(help.to_owned()));
    }
    let publish = checked(root, "publish", diagnostics, PublishConfig::check);
    Some(Recipe {
        path: path.to_owned(),
        name: name?,
        seed: seed?,
        sources,
        filters,
        problem_filters,
        benchmarks,
        judge,
        shaping,
        export,
        student,
        evaluation,
        evaluated_on,
        subjects,
        publish,
        overrides: overrides.to_vec(),
        cuts: Vec::new(),
    })
}

pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

pub(super) fn read_list<T>(
    root: &mut Section<'_>,
    key: &str,
    diagnostics: &mut Diagnostics,
    read_item: impl Fn(Value<'_>, &str, &mut Diagnostics) -> Option<T>,
) -> Vec<T> {
    let Some(value) = root.take(key) else { return Vec::new() };
    let (span, what) = (value.span(), root.path(key));
    match value.into_inner() {
        DeValue::Array(items) => items
            .into_iter()
            .enumerate()
            .filter_map(|(index, item)| read_item(item, &format!("{what}.{index}"), diagnostics))
            .collect(),
        other => {
            diagnostics.push(
                span,
                format!("`{what}`: expected a list of tables, found {}", other.type_str()),
                Some(format!("write `[[{what}]]`")),
            );
            Vec::new()
        }
    }
}

fn read_source(value: Value<'_>, what: &str, folder: &Path, diagnostics: &mut Diagnostics) -> Option<SourceConfig> {
    let mut section = Section::new(value, what, diagnostics)?;
    let name = section.optional("name", diagnostics);
    let (weight_span, weight) = (section.span_of("weight"), section.optional::<f64>("weight", diagnostics));
    if let Some(found) = weight.filter(|weight| !(weight.is_finite() && *weight > 0.0)) {
        let span = weight_span.unwrap_or(section.span.clone());
        diagnostics.push(span, format!("`{what}.weight`: expected more than 0, found {found}"), None);
    }
    let problems =
        take_section(&mut section, "problems", diagnostics).and_then(|table| read_problems(table, folder, diagnostics));
    let teacher =
        take_section(&mut section, "teacher", diagnostics).and_then(|table| read_teacher(table, folder, diagnostics));
    let holdout = section.optional("holdout", diagnostics).unwrap_or(0);
    check_ready(what, (&section, problems.as_ref(), teacher.as_ref()), diagnostics);
    let is_asked = teacher.as_ref().is_some_and(TeacherConfig::is_asked);
    let span = section.span.clone();
    let sampling = checked(&mut section, "sampling", diagnostics, SamplingConfig::check);
    if sampling.is_none() && is_asked && diagnostics.found.is_empty() {
        diagnostics.push(
            span,
            format!("`{what}` lacks the key `sampling`"),
            Some(
                "e.g. sampling = { samples-per-problem = 4, temperature = 0.6, top-p = 0.95, max-new-tokens = 4096 }"
                    .to_owned(),
            ),
        );
    }
    section.finish(diagnostics);
    Some(SourceConfig { name, weight, problems: problems?, holdout, teacher: teacher?, sampling })
}

/// Ready traces are where the problems are, and nobody samples them.
fn check_ready(
    what: &str,
    (section, problems, teacher): (&Section<'_>, Option<&ProblemsConfig>, Option<&TeacherConfig>),
    diagnostics: &mut Diagnostics,
) {
    let (Some(TeacherConfig::ReadyTraces(_)), Some(problems)) = (teacher, problems) else { return };
    let has_traces = match problems {
        ProblemsConfig::File { config, .. } => config.columns.has_traces(),
        ProblemsConfig::Generator(_) => false,
    };
    if !has_traces {
        let message = format!(
            "`{what}.teacher.ready-traces`: expected `responses` or `conversation` in `{what}.problems.columns`, found neither"
        );
        let help = "e.g. problems = { jsonl = \"chats.jsonl\", columns = { conversation = \"messages\" } }";
        diagnostics.push(section.span.clone(), message, Some(help.to_owned()));
    }
    if let Some(span) = section.span_of("sampling") {
        let message = format!("`{what}.sampling`: expected none beside `ready-traces`, found one: nothing is sampled");
        diagnostics.push(span, message, None);
    }
}

/// Names are told apart, and weights are given to all sources or to none.
fn check_sources(sources: &[SourceConfig], diagnostics: &mut Diagnostics) {
    let weighted = sources.iter().filter(|source| source.weight.is_some()).count();
    if weighted != 0 && weighted != sources.len() {
        diagnostics.push(
            0..0,
            format!("`weight`: expected one in each of {} sources or in none, found {weighted}", sources.len()),
            Some(
                "a weight is a source's part in the mix: 3.0 and 1.0 keep three traces of one for each of the other"
                    .to_owned(),
            ),
        );
    }
    for (index, source) in sources.iter().enumerate() {
        let twice = |name: &&String| sources[..index].iter().any(|other| other.name.as_ref() == Some(*name));
        if let Some(name) = source.name.as_ref().filter(twice) {
            diagnostics.push(0..0, format!("`sources.{index}.name`: another source is called `{name}` too"), None);
        }
    }
}

fn take_section<'s>(section: &mut Section<'s>, key: &str, diagnostics: &mut Diagnostics) -> Option<Section<'s>> {
    let what = section.path(key);
    match section.take(key) {
        Some(value) => Section::new(value, &what, diagnostics),
        None => {
            diagnostics.push(section.span.clone(), format!("`{}` lacks the key `{key}`", section.what), None);
            None
        }
    }
}

pub(super) fn read_problems(
    mut section: Section<'_>,
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<ProblemsConfig> {
    let kind = section.one_of(&["generator", "jsonl", "parquet"], diagnostics)?;
    let (what, span) = (section.what.clone(), section.span.clone());
    if kind == "generator" {
        let name_span = section.span_of("generator").unwrap_or(span.clone());
        let name: String = section.required("generator", diagnostics)?;
        let rest = section.rest();
        let config = match name.as_str() {
            "chain-sum" => GeneratorConfig::ChainSum(decode_checked(
                rest,
                &what,
                diagnostics,
                |config: &distill_data_gen::ChainSumConfig| GeneratorConfig::ChainSum(config.clone()).check(),
            )?),
            "linear-equation" => GeneratorConfig::LinearEquation(decode_checked(
                rest,
                &what,
                diagnostics,
                |config: &distill_data_gen::LinearEquationConfig| {
                    GeneratorConfig::LinearEquation(config.clone()).check()
                },
            )?),
            "countdown" => GeneratorConfig::Countdown(decode_checked(
                rest,
                &what,
                diagnostics,
                |config: &distill_data_gen::CountdownConfig| GeneratorConfig::Countdown(config.clone()).check(),
            )?),
            "base-conversion" => GeneratorConfig::BaseConversion(decode_checked(
                rest,
                &what,
                diagnostics,
                |config: &distill_data_gen::BaseConversionConfig| {
                    GeneratorConfig::BaseConversion(config.clone()).check()
                },
            )?),
            other => {
                unknown_choice("generator", other, GeneratorConfig::KINDS, name_span, diagnostics);
                return None;
            }
        };
        return Some(ProblemsConfig::Generator(config));
    }
    let path = folder.join(section.required::<PathBuf>(kind, diagnostics)?);
    let format = if kind == "jsonl" { FileFormat::Jsonl } else { FileFormat::Parquet };
    let config: FileConfig = decode_checked(section.rest(), &what, diagnostics, FileConfig::check)?;
    Some(ProblemsConfig::File { path, format, config: Box::new(config) })
}

fn unknown_choice(of: &str, found: &str, known: &[&str], span: std::ops::Range<usize>, diagnostics: &mut Diagnostics) {
    let known_here = format!("known: {}", known.join(", "));
    let help = match nearest(found, known) {
        Some(near) => format!("did you mean `{near}`? {known_here}"),
        None => known_here,
    };
    diagnostics.push(span, format!("unknown {of} `{found}`"), Some(help));
}

pub(super) fn read_teacher(
    mut section: Section<'_>,
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<TeacherConfig> {
    let teacher = match section.one_of(&["local", "http", "worked-solutions", "ready-traces"], diagnostics)? {
        "local" => {
            let dir = folder.join(section.required::<PathBuf>("local", diagnostics)?);
            let span = section.span_of("weights").unwrap_or_default();
            let weights = section.optional::<String>("weights", diagnostics);
            let precision = match weights.as_deref().map_or(Ok(Precision::default()), Precision::from_name) {
                Ok(precision) => precision,
                Err(error) => {
                    diagnostics.push(span, format!("`{}`: {error}", section.path("weights")), None);
                    return None;
                }
            };
            TeacherConfig::Local { dir, precision }
        }
        "worked-solutions" => {
            let span = section.span.clone();
            if !section.required::<bool>("worked-solutions", diagnostics)? {
                diagnostics.push(span, "`worked-solutions` can only be true", None);
            }
            TeacherConfig::WorkedSolutions
        }
        "ready-traces" => {
            let span = section.span.clone();
            if !section.required::<bool>("ready-traces", diagnostics)? {
                diagnostics.push(span, "`ready-traces` can only be true", None);
            }
            TeacherConfig::ReadyTraces(ReadyConfig { name: section.optional("name", diagnostics) })
        }
        _ => {
            let mut http = take_section(&mut section, "http", diagnostics)?;
            let api_key_env = http.optional("api-key-env", diagnostics);
            let chat = http.optional::<PathBuf>("chat", diagnostics).map(|path| folder.join(path));
            let api_key_file = http.optional::<PathBuf>("api-key-file", diagnostics).map(|path| folder.join(path));
            let launch = checked(&mut http, "launch", diagnostics, LaunchConfig::check);
            let is_launched = launch.is_some();
            let what = http.what.clone();
            let check = |endpoint: &HttpTeacherConfig| {
                if is_launched && !endpoint.places_said().is_empty() {
                    return Err("`url`: expected none beside `launch`: what is launched is asked".to_owned());
                }
                HttpTeacherConfig { has_template: chat.is_some(), is_launched, ..endpoint.clone() }.check()
            };
            let endpoint = decode_checked(http.rest(), &what, diagnostics, check)?;
            let endpoint = HttpTeacherConfig { has_template: chat.is_some(), is_launched, ..endpoint };
            let served = launch.as_ref().and_then(LaunchConfig::host);
            let endpoint = served.map_or_else(|| endpoint.clone(), |host| endpoint.clone().served_by(host));
            TeacherConfig::Http(Box::new(HttpConfig { endpoint, api_key_env, api_key_file, launch, chat }))
        }
    };
    section.finish(diagnostics);
    Some(teacher)
}

fn read_filter(
    value: Value<'_>,
    what: &str,
    folder: &Path,
    names: &[Option<&str>],
    diagnostics: &mut Diagnostics,
) -> Option<FilterConfig> {
    let span = value.span();
    let mut section = Section::new(value, what, diagnostics)?;
    let kind_value = section.take("kind");
    let kind_span = kind_value.as_ref().map_or(span.clone(), |kind| kind.span());
    let kind: String = match kind_value {
        Some(kind) => diagnostics.decode(kind, &section.path("kind"))?,
        None => {
            diagnostics.push(
                span,
                format!("`{what}` lacks the key `kind`"),
                Some(format!("one of {}", FilterConfig::kinds().join(", "))),
            );
            return None;
        }
    };
    if !FilterConfig::kinds().contains(&kind.as_str()) {
        unknown_choice("filter", &kind, &FilterConfig::kinds(), kind_span, diagnostics);
        return None;
    }
    let sources_span = section.span_of("sources").unwrap_or(span.clone());
    let only = section.optional::<Vec<String>>("sources", diagnostics);
    let read = |value: Value<'_>| FilterConfig::deserialize_as(&kind, Values(value));
    let filter = read_checked(section.rest(), what, diagnostics, &read, FilterConfig::check)?;
    let filter = match filter.laid_from(folder) {
        Ok(filter) => filter,
        Err(error) => {
            diagnostics.push(span, format!("`{what}`: expected paths that are text: {error}"), None);
            return None;
        }
    };
    let Some(only) = only else { return Some(filter) };
    let mut places = Vec::new();
    for name in only {
        match names.iter().position(|known| *known == Some(name.as_str())) {
            Some(place) => places.push((place, name)),
            None => {
                let known: Vec<&str> = names.iter().flatten().copied().collect();
                unknown_choice("source", &name, &known, sources_span.clone(), diagnostics);
            }
        }
    }
    if places.is_empty() {
        diagnostics.push(sources_span, format!("`{what}.sources`: expected names of sources, found none"), None);
    }
    places.sort();
    places.dedup();
    Some(filter.only(places))
}

/// A filter of problems: one that needs no answers.
fn read_problem_filter(
    value: Value<'_>,
    what: &str,
    folder: &Path,
    names: &[Option<&str>],
    diagnostics: &mut Diagnostics,
) -> Option<FilterConfig> {
    let span = value.span();
    let filter = read_filter(value, what, folder, names, diagnostics)?;
    if filter.on_problems() {
        if let Err(message) = filter.check_on_problems() {
            diagnostics.push(span, format!("`{what}`: {message}"), None);
        }
        return Some(filter);
    }
    let (found, able) = (filter.kind(), FilterConfig::kinds_on_problems().join(", "));
    let message = format!("`{what}.kind`: expected a filter that looks at problems alone ({able}), found `{found}`");
    diagnostics.push(span, message, Some(format!("`{found}` looks at traces: list it under `[[filters]]`")));
    None
}

fn read_benchmark(
    value: Value<'_>,
    what: &str,
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<BenchmarkConfig> {
    let mut section = Section::new(value, what, diagnostics)?;
    let name = section.required::<String>("name", diagnostics);
    if let Some(name) = name.as_deref().filter(|name| !is_file_name(name)) {
        let message = format!("`{what}.name`: expected letters, digits, `-`, `_` and `.`, found `{name}`");
        diagnostics.push(section.span.clone(), message, None);
    }
    let problems =
        take_section(&mut section, "problems", diagnostics).and_then(|table| read_problems(table, folder, diagnostics));
    section.finish(diagnostics);
    Some(BenchmarkConfig { name: name?, problems: problems? })
}

/// Benchmarks and a judge have somebody who asks for them. A cut may take that away: of those only the recipe itself is told.
pub(super) fn check_unused(recipe: &Recipe, diagnostics: &mut Diagnostics) {
    let mut push = |message: &str, help: &str| diagnostics.push(0..0, message.to_owned(), Some(help.to_owned()));
    let filters = || recipe.filters.iter().chain(&recipe.problem_filters).filter_map(FilterConfig::filter);
    if !recipe.benchmarks.is_empty() && !filters().any(Filter::reads_benchmarks) {
        push(
            "`benchmarks`: expected a filter that looks for them, found none",
            "add `kind = \"contamination\"` under `[[problem-filters]]` or `[[filters]]`",
        );
    }
    if recipe.judge.is_some() && !filters().any(Filter::asks) {
        push(
            "`judge`: expected a filter `judge` that asks it, found none",
            "add `kind = \"judge\"` behind `verify` under `[[filters]]`",
        );
    }
}

/// Benchmarks have names of their own, and who looks for them has some.
fn check_benchmarks<'f>(
    benchmarks: &[BenchmarkConfig],
    mut filters: impl Iterator<Item = &'f FilterConfig>,
    diagnostics: &mut Diagnostics,
) {
    let twice = |(index, one): &(usize, &BenchmarkConfig)| benchmarks[..*index].iter().any(|it| it.name == one.name);
    if let Some((index, one)) = benchmarks.iter().enumerate().find(twice) {
        let message = format!("`benchmarks.{index}.name`: another benchmark is called `{}` too", one.name);
        diagnostics.push(0..0, message, None);
    }
    let asks = filters.find(|filter| filter.filter().is_some_and(|filter| filter.reads_benchmarks()));
    if let Some(filter) = asks.filter(|_| benchmarks.is_empty()) {
        let message = format!("the filter `{}` needs `[[benchmarks]]`, found none", filter.kind());
        let help = "each has a `name` and `problems`, as a source has".to_owned();
        diagnostics.push(0..0, message, Some(help));
    }
}

/// Some selectors ask what the verifier says.
fn check_verifier(filters: &[FilterConfig], diagnostics: &mut Diagnostics) {
    if filters.iter().any(FilterConfig::verifies) {
        return;
    }
    for filter in filters.iter().filter(|filter| filter.needs_verifier()) {
        let message = format!("the filter `{}` needs a filter `verify` beside it, found none", filter.kind());
        diagnostics.push(0..0, message, Some("add `[[filters]]` with `kind = \"verify\"`".to_owned()));
    }
}

/// Who has an opinion, and how often it is asked.
fn read_judge(value: Value<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<AskedConfig> {
    let mut section = Section::new(value, "judge", diagnostics)?;
    let span = section.span.clone();
    let teacher =
        take_section(&mut section, "teacher", diagnostics).and_then(|table| read_teacher(table, folder, diagnostics));
    if teacher.as_ref().is_some_and(|teacher| !teacher.is_asked()) {
        let message = "`judge.teacher`: expected `local` or `http`, found traces that are there already";
        diagnostics.push(span.clone(), message, None);
    }
    let sampling = checked(&mut section, "sampling", diagnostics, SamplingConfig::check);
    if sampling.is_none() && diagnostics.found.is_empty() {
        let help = "e.g. sampling = { samples-per-problem = 1, temperature = 0.0, max-new-tokens = 2048 }";
        diagnostics.push(span.clone(), "`judge` lacks the key `sampling`", Some(help.to_owned()));
    }
    let meaningless = |sampling: &SamplingConfig| match sampling {
        SamplingConfig { adaptive: Some(_), .. } => Some("adaptive"),
        SamplingConfig { log_probabilities: Some(_), .. } => Some("log-probabilities"),
        _ => None,
    };
    if let Some(key) = sampling.as_ref().and_then(meaningless) {
        let message = format!("`judge.sampling.{key}`: expected none: nothing reads them of a judge");
        diagnostics.push(span, message, None);
    }
    section.finish(diagnostics);
    Some(AskedConfig { teacher: teacher?, sampling: sampling? })
}

/// A judge is asked about what the rules leave unknown: they come first, and let it through.
fn check_judge(judge: Option<&AskedConfig>, filters: &[FilterConfig], diagnostics: &mut Diagnostics) {
    let mut push = |message: &str, help: &str| diagnostics.push(0..0, message.to_owned(), Some(help.to_owned()));
    let mut judging = filters.iter().enumerate().filter(|(_, filter)| filter.filter().is_some_and(Filter::asks));
    let (first, second) = (judging.next(), judging.next());
    if first.is_some() && judge.is_none() {
        push(
            "the filter `judge` needs a table `[judge]`, found none",
            "it has a `teacher`, as a source has, and `sampling`",
        );
    }
    if second.is_some() {
        push("expected one filter `judge`, found two", "`sampling.samples-per-problem` asks one judge several times");
    }
    let Some((place, _)) = first else { return };
    let mut verifiers = filters[..place].iter().filter_map(|filter| filter.filter()?.verifier());
    if filters.iter().any(FilterConfig::verifies) && !verifiers.any(|verifier| verifier.on_unknown == OnUnknown::Keep) {
        push(
            "the filter `judge` never sees an answer that the rules leave unknown",
            "list it behind `verify`, and set `on-unknown = \"keep\"` there: the judge then decides",
        );
    }
}

/// The shareable dataset; what is dropped is dropped by a filter that there is.
fn read_export(
    root: &mut Section<'_>,
    filters: &[FilterConfig],
    diagnostics: &mut Diagnostics,
) -> Option<ExportConfig> {
    let span = root.span_of("export").unwrap_or_default();
    let export: ExportConfig = root.optional("export", diagnostics)?;
    let known: Vec<&str> = filters.iter().map(FilterConfig::kind).collect();
    for name in export.dropped_by.iter().filter(|name| !known.contains(&name.as_str())) {
        unknown_choice("filter of this recipe", name, &known, span.clone(), diagnostics);
    }
    Some(export)
}

fn read_student(value: Value<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<StudentConfig> {
    let mut section = Section::new(value, "student", diagnostics)?;
    let base = take_section(&mut section, "base", diagnostics).and_then(|table| read_base(table, folder, diagnostics));
    let training = checked(&mut section, "training", diagnostics, TrainingConfig::check);
    if training.is_none() && diagnostics.found.is_empty() {
        diagnostics.push(section.span.clone(), "`student` lacks the table `[student.training]`", None);
    }
    let chat_template = section.optional::<PathBuf>("chat-template", diagnostics).map(|path| folder.join(path));
    let publish_template = section.optional::<PathBuf>("publish-template", diagnostics).map(|path| folder.join(path));
    section.finish(diagnostics);
    Some(StudentConfig { base: base?, chat_template, publish_template, training: training? })
}

fn read_base(mut section: Section<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<BaseConfig> {
    let base = match section.one_of(&["checkpoint", "config"], diagnostics)? {
        "checkpoint" => {
            let path = section.required::<PathBuf>("checkpoint", diagnostics);
            let surgery = checked(&mut section, "surgery", diagnostics, Surgery::check).unwrap_or_default();
            BaseConfig::Checkpoint { path: folder.join(path?), surgery }
        }
        _ => {
            let config = section.required::<PathBuf>("config", diagnostics);
            let tokenizer = section.required::<PathBuf>("tokenizer", diagnostics);
            BaseConfig::Config { config: folder.join(config?), tokenizer: folder.join(tokenizer?) }
        }
    };
    section.finish(diagnostics);
    Some(base)
}

/// An optional table whose ranges are checked as well.
fn checked<T: DeserializeOwned>(
    section: &mut Section<'_>,
    key: &str,
    diagnostics: &mut Diagnostics,
    check: impl Fn(&T) -> Result<(), String>,
) -> Option<T> {
    let what = section.path(key);
    decode_checked(section.take(key)?, &what, diagnostics, check)
}

/// Decodes a table and checks its ranges.
pub(super) fn decode_checked<T: DeserializeOwned>(
    value: Value<'_>,
    what: &str,
    diagnostics: &mut Diagnostics,
    check: impl Fn(&T) -> Result<(), String>,
) -> Option<T> {
    read_checked(value, what, diagnostics, &|value| T::deserialize(Values(value)), check)
}

/// Reads a table and checks its ranges; every message of `check` begins with its key, and points at that key's value.
fn read_checked<T>(
    value: Value<'_>,
    what: &str,
    diagnostics: &mut Diagnostics,
    read: &dyn Fn(Value<'_>) -> Result<T, Fault>,
    check: impl Fn(&T) -> Result<(), String>,
) -> Option<T> {
    let before = diagnostics.found.len();
    let span = value.span();
    let places: BTreeMap<String, std::ops::Range<usize>> = match value.get_ref() {
        DeValue::Table(table) => table.iter().map(|(key, value)| (key.get_ref().to_string(), value.span())).collect(),
        _ => BTreeMap::new(),
    };
    let (config, stand_ins) = diagnostics.decode_for_check(value, what, read)?;
    for message in check(&config).err().iter().flat_map(|messages| messages.lines()) {
        let key = message.split('`').nth(1).and_then(|key| key.split('.').next()).unwrap_or_default();
        if !stand_ins.contains(key) {
            let place = places.get(key).unwrap_or(&span).clone();
            diagnostics.push(place, format!("`{what}`: {message}"), None);
        }
    }
    (diagnostics.found.len() == before).then_some(config)
}
