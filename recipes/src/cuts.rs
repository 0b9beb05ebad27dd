//! What came of a recipe's cuts, side by side.

use crate::view::View;
use distill_dataset::Detail;
use serde_json::{Value, json};
use std::fmt::Write;

/// A cut and its run; or why it has none.
pub(crate) struct Ran {
    /// The cut's name; the recipe's own for what is not cut.
    pub(crate) name: String,
    /// Its run, or why it failed.
    pub(crate) view: Result<View, String>,
}

/// What is compared, as far as it is there.
struct Row {
    kept: Option<u64>,
    verified: Option<u64>,
    completion_tokens: Option<f64>,
    trained_tokens: Option<u64>,
    scores: Vec<(String, [f64; 3])>,
}

impl Row {
    fn of(view: &View) -> Row {
        let mut row =
            Row { kept: None, verified: None, completion_tokens: None, trained_tokens: None, scores: Vec::new() };
        for (_, manifest) in view.manifests() {
            match &manifest.tally.detail {
                Detail::Selection { funnel, lengths, verified } if manifest.stage == "selection" => {
                    (row.kept, row.verified) = (Some(funnel.kept), Some(*verified));
                    // The middle of each bin stands for what is in it.
                    let middle = |bin: usize| (bin as f64 + 0.5) * f64::from(lengths.width) - 0.5;
                    let sum: f64 = (0..).zip(&lengths.counts).map(|(bin, count)| middle(bin) * *count as f64).sum();
                    // Of ready traces nobody counted any.
                    let mean = (funnel.kept > 0).then(|| sum / funnel.kept as f64);
                    row.completion_tokens = mean.filter(|mean| *mean > 0.0);
                }
                Detail::Training { .. } => row.trained_tokens = Some(manifest.tally.trained_tokens),
                Detail::Evaluation { subject, score } if subject != "teacher" => {
                    row.scores.push((subject.clone(), [score.mean, score.low, score.high]));
                }
                _ => {}
            }
        }
        row
    }
}

/// A table for people.
pub(crate) fn render(ran: &[Ran]) -> String {
    let width = ran.iter().map(|ran| ran.name.len()).max().unwrap_or(0).max(8);
    let mut text = format!(
        "\n{:<width$} {:>9} {:>9} {:>12} {:>14}  {}\n",
        "cut", "kept", "verified", "tokens, mean", "trained tokens", "pass@1 (95 %)"
    );
    for Ran { name, view } in ran {
        let row = match view {
            Ok(view) => Row::of(view),
            Err(error) => {
                let first = error.lines().next().unwrap_or_default();
                // Writing into a string cannot fail.
                let _ = writeln!(text, "{name:<width$} failed: {first}");
                continue;
            }
        };
        let count = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let mean = row.completion_tokens.map_or("-".to_owned(), |mean| format!("about {mean:.0}"));
        let percent = |value: f64| value * 100.0;
        let scores = row.scores.iter().map(|(subject, [mean, low, high])| {
            format!("{subject} {:.1} ({:.1} to {:.1})", percent(*mean), percent(*low), percent(*high))
        });
        let scores = scores.map(|score| format!("  {score}")).collect::<String>();
        let _ = writeln!(
            text,
            "{name:<width$} {:>9} {:>9} {mean:>12} {:>14}{scores}",
            count(row.kept),
            count(row.verified),
            count(row.trained_tokens),
        );
    }
    text
}

/// The same for programs.
pub(crate) fn as_value(ran: &[Ran]) -> Value {
    let each = ran.iter().map(|Ran { name, view }| match view {
        Err(error) => json!({ "cut": name, "error": error }),
        Ok(view) => {
            let row = Row::of(view);
            let scores: Vec<Value> = row
                .scores
                .iter()
                .map(|(subject, [mean, low, high])| json!({ "subject": subject, "mean": mean, "low": low, "high": high }))
                .collect();
            json!({
                "cut": name, "run": view.record.name, "kept": row.kept, "verified": row.verified,
                "completion_tokens_mean": row.completion_tokens, "trained_tokens": row.trained_tokens,
                "scores": scores,
            })
        }
    });
    json!({ "cuts": each.collect::<Vec<_>>() })
}
