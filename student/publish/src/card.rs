//! Cards, rendered from manifests and from nothing else.

use crate::{PublishConfig, PublishError};
use distill_dataset::{Detail, Manifest, Score};
use std::{collections::BTreeSet, fmt::Write};

/// The manifests behind a checkpoint or a dataset.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// The recipe's name.
    pub recipe: String,
    /// Where the problems come from.
    pub problems: Vec<Manifest>,
    /// Who answered them.
    pub traces: Vec<Manifest>,
    /// What was kept.
    pub selection: Option<Manifest>,
    /// What the student learned.
    pub examples: Option<Manifest>,
    /// How the student was trained.
    pub training: Option<Manifest>,
    /// How well it does, and how well before, and its teacher.
    pub evaluations: Vec<Manifest>,
    /// Whether the student started from somebody's weights.
    pub has_base: bool,
}

impl Lineage {
    /// Whether the problems that it was evaluated on were held out by a split across all sources: a set of its own was not.
    fn is_disjoint(&self) -> bool {
        let split = |manifest: &Manifest| manifest.stage == "problems" && manifest.stage_version >= 2;
        let evaluated = self.evaluations.iter().flat_map(|manifest| &manifest.inputs);
        let mut evaluated = evaluated.filter(|input| input.name == "problems");
        let is_ours = |digest: &str| self.problems.iter().any(|manifest| manifest.digest == digest);
        !self.problems.is_empty() && self.problems.iter().all(split) && evaluated.all(|input| is_ours(&input.digest))
    }

    fn scores(&self) -> impl Iterator<Item = (&str, &Score)> {
        self.evaluations.iter().filter_map(|manifest| match &manifest.tally.detail {
            Detail::Evaluation { subject, score } => Some((subject.as_str(), score)),
            _ => None,
        })
    }
}

fn percent(value: f64) -> String {
    format!("{:.1} %", value * 100.0)
}

/// Text from outside in a Markdown table or YAML header: one line, nothing that begins markup.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || "|<>`*_[]#".contains(c) { ' ' } else { c }).collect()
}

/// What the stage that splits problems guarantees, since its second version.
const DISJOINT: &str = " The problems were held out across all sources: none of them, nor one that differs only in case or white space, is among the training problems.";

/// ` of TEACHER` for the teachers that the traces name.
fn teachers(lineage: &Lineage) -> String {
    let names = lineage.traces.iter().filter_map(|manifest| match &manifest.tally.detail {
        Detail::Traces { teacher, .. } => Some(plain(teacher)),
        _ => None,
    });
    let names: BTreeSet<String> = names.collect();
    if names.is_empty() { String::new() } else { format!(" of {}", names.into_iter().collect::<Vec<_>>().join(", ")) }
}

/// The model card of a trained checkpoint.
///
/// # Errors
/// When the training manifest is missing.
pub fn model_card(config: &PublishConfig, lineage: &Lineage) -> Result<String, PublishError> {
    let training = lineage.training.as_ref().ok_or(PublishError::Missing("a training manifest"))?;
    let Detail::Training {
        steps, num_parameters, loss, holdout_loss, architecture, trained_with, published_with, ..
    } = &training.tally.detail
    else {
        return Err(PublishError::Missing("the training's figures"));
    };
    let mut card = String::new();
    // Writing into a string cannot fail.
    let _ = writeln!(
        card,
        "---\nlicense: {}\nlibrary_name: transformers\npipeline_tag: text-generation",
        yaml(&config.license)
    );
    if let Some(base) = &config.base_model {
        let _ = writeln!(card, "base_model: {}", yaml(base));
    }
    let _ = writeln!(card, "tags:\n- distill\n- reasoning\n---\n\n# {}\n", plain(&config.model_name));
    let _ = writeln!(
        card,
        "A decoder ({}) of {num_parameters} parameters, fine-tuned on {} reasoning traces{}. Made by distill from the recipe `{}`.\n",
        plain(architecture),
        training.tally.rows_out,
        teachers(lineage),
        plain(&lineage.recipe)
    );
    let _ = writeln!(card, "## How well it does\n");
    let mut scores = lineage.scores().peekable();
    if scores.peek().is_none() {
        let _ = writeln!(card, "It was not evaluated.\n");
    } else {
        let _ = writeln!(
            card,
            "| model | pass@1 | 95 % interval | problems × samples | cut by the limit | undecided |\n|---|---|---|---|---|---|"
        );
        let mut protocol = "";
        for (subject, score) in scores {
            protocol = &score.protocol;
            let _ = writeln!(
                card,
                "| {} | {} | {} to {} | {} × {} | {} | {} |",
                subject_name(subject),
                percent(score.mean),
                percent(score.low),
                percent(score.high),
                score.num_problems,
                score.samples_per_problem,
                percent(score.censored),
                score.num_unknown
            );
        }
        let _ = writeln!(
            card,
            "\nProtocol: {protocol}. Undecided counts as not passed.{}\n",
            if lineage.is_disjoint() { DISJOINT } else { "" }
        );
    }
    data_section(&mut card, lineage);
    let _ = writeln!(card, "## Training\n");
    let examples = lineage.examples.as_ref();
    let last = loss.y.last().copied().unwrap_or(f64::NAN);
    let held_out = holdout_loss.y.last().map_or(String::new(), |last| format!(", on held-out examples {last:.4}"));
    if let Some(Detail::Shaped { shaped, bytes_before, bytes_after }) = examples.map(|manifest| &manifest.tally.detail)
    {
        let left = percent(*bytes_after as f64 / (*bytes_before).max(1) as f64);
        let _ = writeln!(
            card,
            "The examples are not the teacher's traces as they were: of {shaped} the reasoning was cut behind its conclusion (`cut-tail`), which left {left} of all bytes.\n"
        );
    }
    let _ = writeln!(
        card,
        "{steps} optimiser steps over {} examples, {} tokens; loss at the end {last:.4}{held_out}. Chat template in training: {}; in this checkpoint: {}. Settings:\n\n```json\n{}\n```\n",
        training.tally.rows_out,
        training.tally.trained_tokens,
        plain(trained_with),
        plain(published_with),
        serde_json_pretty(&training.config)
    );
    let _ = writeln!(card, "## Provenance\n\n| stage | key | made |\n|---|---|---|");
    let all = lineage
        .problems
        .iter()
        .chain(&lineage.traces)
        .chain(&lineage.selection)
        .chain([training])
        .chain(&lineage.evaluations);
    for manifest in all {
        let _ = writeln!(
            card,
            "| {} | `{}` | {} |",
            manifest.stage,
            &manifest.key[..16.min(manifest.key.len())],
            manifest.time.finished_at
        );
    }
    let _ = writeln!(
        card,
        "\nSeed {}, program {}, device {}. Teacher's licence: {}.",
        training.seed,
        training.revision,
        training.device,
        plain(&config.teacher_license)
    );
    Ok(card)
}

/// The card of an exported dataset.
///
/// # Errors
/// When the selection's manifest is missing.
pub fn data_card(name: &str, license: &str, lineage: &Lineage) -> Result<String, PublishError> {
    let selection = lineage.selection.as_ref().ok_or(PublishError::Missing("a selection"))?;
    let Detail::Selection { funnel, verified, .. } = &selection.tally.detail else {
        return Err(PublishError::Missing("the selection's figures"));
    };
    let verified = match (*verified, funnel.kept) {
        (0, _) => "No verifier judged their answers.".to_owned(),
        (verified, kept) if verified == kept => "A verifier accepted the answer of every one.".to_owned(),
        (verified, _) => format!("A verifier accepted the answer of {verified}."),
    };
    let mut card = data_head(name, license);
    // Writing into a string cannot fail.
    let _ = writeln!(
        card,
        "{} reasoning traces{}, one a row, in `part-*.parquet`. {verified} `messages` is the conversation to train on; the columns `problem`, `solution`, `answer`, `problem_type`, `source`, `uuid`, `is_reasoning_complete`, `generations`, `correctness_math_verify`, `correctness_count` and `finish_reasons` are those of OpenR1-Math-220k, with lists of one entry, because every kept trace is a row of its own.\n",
        funnel.kept,
        teachers(lineage),
    );
    data_section(&mut card, lineage);
    Ok(card)
}

/// The card of an exported dataset of what these filters dropped.
///
/// # Errors
/// When the selection's manifest is missing.
pub fn dropped_card(name: &str, license: &str, filters: &[String], lineage: &Lineage) -> Result<String, PublishError> {
    let selection = lineage.selection.as_ref().ok_or(PublishError::Missing("a selection"))?;
    let Detail::Selection { funnel, .. } = &selection.tally.detail else {
        return Err(PublishError::Missing("the selection's figures"));
    };
    let steps = funnel.steps.iter().filter(|step| filters.contains(&step.filter));
    let count: u64 = steps.flat_map(|step| step.dropped.values()).sum();
    let mut card = data_head(&format!("{name}: dropped"), license);
    // Writing into a string cannot fail.
    let _ = writeln!(
        card,
        "{count} reasoning traces{} that were **dropped** by {}, one a row, in `part-*.parquet`. `dropped_by` and `dropped_for` say by which filter and why; `correctness_math_verify` is the verifier's verdict, null where it could not decide or did not look. Nothing was trained on them. The columns are those of the dataset of what was kept.\n",
        teachers(lineage),
        filters.iter().map(|filter| format!("`{}`", plain(filter))).collect::<Vec<_>>().join(", "),
    );
    data_section(&mut card, lineage);
    Ok(card)
}

/// What a dataset's card begins with: what programs read, and its name.
fn data_head(name: &str, license: &str) -> String {
    format!(
        "---\nlicense: {}\ntask_categories:\n- text-generation\ntags:\n- reasoning\n- distillation\nconfigs:\n- config_name: default\n  data_files: part-*.parquet\n---\n\n# {}\n\n",
        yaml(license),
        plain(name)
    )
}

fn data_section(card: &mut String, lineage: &Lineage) {
    let _ = writeln!(card, "## Data\n");
    for manifest in &lineage.problems {
        if let Detail::Problems { train, holdout, licences, unlicensed, .. } = &manifest.tally.detail {
            let stated = licences.iter().map(|(licence, count)| format!("{count} {}", plain(licence)));
            let unstated = (*unlicensed > 0).then(|| format!("{unlicensed} not stated"));
            let licences: Vec<String> = stated.chain(unstated).collect();
            let _ = writeln!(
                card,
                "- Problems: {train} for training, {holdout} held out; licences: {}.",
                licences.join(", ")
            );
        }
    }
    for manifest in &lineage.traces {
        if let Detail::Traces { teacher, finish_reasons, .. } = &manifest.tally.detail {
            let ends: Vec<String> = finish_reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            // Those of the rows: what broke and was asked again is no part of them, and differs from run to run. Nobody counted
            // those of ready traces.
            let tally = &manifest.tally;
            let tokens = match tally.completion_tokens.saturating_sub(tally.wasted_tokens) {
                0 => String::new(),
                tokens => format!(", {tokens} tokens"),
            };
            let _ = writeln!(
                card,
                "- Traces: {} from the teacher {}{tokens} ({}), {}.",
                manifest.tally.rows_out,
                plain(teacher),
                ends.join(", "),
                manifest.tally.cost()
            );
        }
    }
    if let Some(Detail::Selection { funnel, .. }) = lineage.selection.as_ref().map(|manifest| &manifest.tally.detail) {
        let _ = writeln!(card, "\n| filter | entered | dropped | reasons |\n|---|---|---|---|");
        for step in &funnel.steps {
            let reasons: Vec<String> = step.dropped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            let dropped: u64 = step.dropped.values().sum();
            let _ = writeln!(card, "| {} | {} | {dropped} | {} |", step.filter, step.entered, reasons.join(", "));
        }
        let _ = writeln!(card, "| kept | {} | | |", funnel.kept);
    }
    let _ = writeln!(card);
}

fn subject_name(subject: &str) -> &str {
    match subject {
        "before" => "student before",
        "after" => "**student after**",
        other => other,
    }
}

/// A YAML scalar in double quotes; YAML takes JSON's.
fn yaml(text: &str) -> String {
    format!("{:?}", plain(text))
}

fn serde_json_pretty(value: &impl std::fmt::Display) -> String {
    format!("{value:#}")
}
