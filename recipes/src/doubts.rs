//! What a recipe cannot keep, as far as its text says: a source all of whose traces a filter will drop. And what helps where a
//! reason dropped them.

use crate::recipe::{Recipe, SourceConfig, TeacherConfig};
use distill_data_gen::ProblemsConfig;
use distill_filters::{FilterConfig, OnUnknown};

/// What helps where a filter drops rows for a reason that is the recipe's more often than the rows'.
pub(crate) fn remedy(filter: &str, reason: &str) -> Option<&'static str> {
    Some(match (filter, reason) {
        ("format", "unknown-end") => {
            "the file does not say why its traces ended: name its column in `columns.finish-reasons`, or set `unknown-end = false` in the filter `format`"
        }
        ("format", "no-boxed-answer") => {
            "ask for a box with `instruction` in the source's `problems`, or set `boxed = false` in the filter `format`"
        }
        ("format", "no-closing-tag" | "empty-reasoning") => {
            "answers without reasoning between its tags stay with `reasoning = false` in the filter `format`"
        }
        ("format", "truncated") => {
            "the limit cut them: raise `sampling.max-new-tokens` (with `continues`, what is there is gone on from)"
        }
        ("verify" | "vote", "no-reference") => {
            "the problems have no right answer: name its column in `columns.answer`, or set `on-unknown = \"keep\"` in that filter"
        }
        _ => return None,
    })
}

/// Sources of which nothing will stay, each with why and what helps.
pub(crate) fn of(recipe: &Recipe) -> Vec<String> {
    let mut doubts = Vec::new();
    for (index, source) in recipe.sources.iter().enumerate() {
        for filter in recipe.filters.iter().filter(|filter| filter.looks_at(index)) {
            let Some(reason) = lost_to(filter, source) else { continue };
            let kind = filter.kind();
            let help = remedy(kind, reason).unwrap_or_default();
            doubts.push(format!("`sources.{index}`: the filter `{kind}` will drop every trace ({reason}): {help}"));
        }
    }
    doubts
}

/// The reason for which a filter drops whatever this source brings.
fn lost_to(filter: &FilterConfig, source: &SourceConfig) -> Option<&'static str> {
    let ProblemsConfig::File { config, .. } = &source.problems else { return None };
    let is_ready = matches!(source.teacher, TeacherConfig::ReadyTraces(_));
    if filter.kind() == "format" && is_ready && config.columns.finish_reasons.is_none() {
        let drops = serde_json::to_value(filter).is_ok_and(|filter| filter["unknown-end"] == true);
        return drops.then_some("unknown-end");
    }
    let rejects = filter.filter()?.verifier().is_some_and(|verifier| verifier.on_unknown == OnUnknown::Reject);
    (rejects && config.columns.answer.is_none()).then_some("no-reference")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn doubts(columns: &str, format: &str, verify: &str) -> Vec<String> {
        let text = format!(
            "name = \"own\"\nseed = 1\n[[sources]]\nproblems = {{ jsonl = \"chats.jsonl\", columns = {{ conversation = \"messages\"{columns} }} }}\nteacher = {{ ready-traces = true }}\n[[filters]]\nkind = \"format\"\n{format}\n[[filters]]\nkind = \"verify\"\non-unknown = \"{verify}\"\n"
        );
        of(&Recipe::of_text(&text, Path::new("own.toml"), &[]).expect("a recipe"))
    }

    #[test]
    fn a_source_that_a_filter_empties_is_told_with_what_helps() {
        let both = doubts("", "", "reject");
        assert_eq!(both.len(), 2, "{both:?}");
        assert!(both[0].contains("`unknown-end = false`") && both[0].contains("`columns.finish-reasons`"), "{both:?}");
        assert!(both[1].contains("`columns.answer`") && both[1].contains("`on-unknown = \"keep\"`"), "{both:?}");
        assert!(doubts("", "unknown-end = false", "keep").is_empty(), "both are allowed");
        assert!(doubts(", finish-reasons = \"end\", answer = \"gold\"", "", "reject").is_empty(), "both are named");
    }
}
