//! A stage that kept no row: what dropped them. Whatever comes after it would work on nothing, and end as if all were well.

use crate::doubts::remedy;
use distill_dataset::Manifest;

/// The stages whose rows go on: one of them that keeps none leaves nothing to do.
const CARRY: [&str; 7] = ["source", "problem-selection", "problems", "traces", "selection", "export", "examples"];

/// Reasons for which it is said what helps: those that dropped the most.
const REMEDIES: usize = 3;

/// Rows went in, and none of them came out.
#[derive(Debug, thiserror::Error)]
#[error(
    "stage `{label}`: expected rows that stay, found none of {rows}: {reasons}\n{hints}hint: `--allow-empty` goes on without rows"
)]
pub struct KeptNothing {
    label: String,
    rows: u64,
    reasons: String,
    /// A line each.
    hints: String,
}

impl KeptNothing {
    /// What to say of a stage of the run `run`; nothing where it kept a row, or had none to keep.
    pub fn of(manifest: &Manifest, label: &str, run: &str) -> Option<KeptNothing> {
        let tally = &manifest.tally;
        if !CARRY.contains(&manifest.stage.as_str()) || tally.rows_out > 0 || tally.rows_in == 0 {
            return None;
        }
        let mut counts: Vec<(&String, &u64)> = tally.rejected.iter().collect();
        counts.sort_by(|a, b| b.1.cmp(a.1));
        let reasons: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let reasons = if reasons.is_empty() { "no reason was counted".to_owned() } else { reasons.join(", ") };
        let mut hints = String::new();
        if manifest.stage == "selection" {
            // A selection says `filter: reason`.
            let said = || counts.iter().filter_map(|(reason, _)| reason.split_once(": "));
            let remedies = said().filter_map(|(filter, reason)| remedy(filter, reason));
            remedies.take(REMEDIES).for_each(|remedy| hints.push_str(&format!("hint: {remedy}\n")));
            if let Some((_, reason)) = said().next() {
                hints
                    .push_str(&format!("hint: `distill show {run} --dropped {reason}` shows them with the evidence\n"));
            }
        }
        Some(KeptNothing { label: label.to_owned(), rows: tally.rows_in, reasons, hints })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use distill_dataset::Tally;
    use std::collections::BTreeMap;

    #[test]
    fn only_a_stage_whose_rows_go_on_and_that_had_some_is_told() {
        let rejected = BTreeMap::from([("format: no-box".to_owned(), 2), ("length: too-long".to_owned(), 5)]);
        let tally = Tally { rows_in: 7, rejected, ..Tally::default() };
        let manifest = Manifest { stage: "selection".to_owned(), tally, ..Manifest::default() };
        let told = KeptNothing::of(&manifest, "selection", "small").expect("nothing was kept").to_string();
        assert!(told.contains("found none of 7: 5 length: too-long, 2 format: no-box"), "{told}");
        assert!(told.contains("`distill show small --dropped too-long`"), "{told}");
        let rejected = BTreeMap::from([("format: unknown-end".to_owned(), 4), ("verify: no-reference".to_owned(), 3)]);
        let tally = Tally { rows_in: 7, rejected, ..Tally::default() };
        let lost = Manifest { stage: "selection".to_owned(), tally, ..Manifest::default() };
        let told = KeptNothing::of(&lost, "selection", "small").expect("nothing was kept").to_string();
        for key in ["columns.finish-reasons", "unknown-end = false", "columns.answer", "on-unknown = \"keep\""] {
            assert!(told.contains(key), "the reason's own remedy names `{key}`: {told}");
        }
        let with = |stage: &str, rows_in, rows_out| Manifest {
            stage: stage.to_owned(),
            tally: Tally { rows_in, rows_out, ..Tally::default() },
            ..Manifest::default()
        };
        for kept in [with("selection", 7, 1), with("selection", 0, 0), with("training", 7, 0)] {
            assert!(KeptNothing::of(&kept, "x", "small").is_none(), "{}", kept.stage);
        }
    }
}
