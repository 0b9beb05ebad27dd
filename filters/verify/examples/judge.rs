//! The crate by itself: lines of `gold TAB answer` in; `verdict TAB certainty TAB reason TAB readings` out.

use distill_verify::{Policy, judge_answer};
use std::io::{BufRead, Write};

fn main() -> std::io::Result<()> {
    let policy = Policy::default();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some((gold, answer)) = line.split_once('\t') else {
            writeln!(out, "error\texpected gold and answer with a tab between them")?;
            continue;
        };
        let judged = judge_answer(answer, gold, &policy);
        let (gold, answer) = judged.readings.map_or_else(Default::default, |readings| (readings.gold, readings.answer));
        writeln!(out, "{}\t{}\t{}\t{gold}\t{answer}", judged.verdict.name(), judged.certainty.name(), judged.reason)?;
    }
    out.flush()
}
