//! The held-out split: disjoint from training exactly and after normalisation, by construction.

use crate::ProblemsError;
use distill_dataset::{Detail, Digest, Message, Problem, ShardWriter, Split, Tally};
use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

/// What two problems share when they differ only in case, white space or the spacing of punctuation. Digits, operators
/// and LaTeX are kept: dropping them, as prose normalisers do, makes different mathematics equal. A space between two
/// letters or digits stays: `12 3` is not `123`.
pub fn normalised_key(messages: &[Message]) -> String {
    let mut digest = Digest::new("normalised-problem");
    for message in messages {
        let mut text = String::with_capacity(message.content.len());
        for word in message.content.split_whitespace() {
            if text.ends_with(char::is_alphanumeric) && word.starts_with(char::is_alphanumeric) {
                text.push(' ');
            }
            text.extend(word.chars().flat_map(char::to_lowercase));
        }
        digest.field(message.role.as_str()).field(&text);
    }
    digest.finish_short()
}

/// Drops duplicates after normalisation, holds `holdout` problems out by a seeded hash, and writes both splits in the
/// order given.
///
/// # Errors
/// When fewer problems are left than are to be held out, or the disk refuses.
pub(crate) fn write_split(problems: Vec<Problem>, holdout: u32, seed: u64, out: &Path) -> Result<Tally, ProblemsError> {
    let rows_in = problems.len() as u64;
    let mut keys = HashSet::new();
    let distinct: Vec<Problem> =
        problems.into_iter().filter(|problem| keys.insert(normalised_key(&problem.messages))).collect();
    let rows_out = distinct.len() as u64;
    if u64::from(holdout) > rows_out {
        return Err(ProblemsError::Holdout { holdout, available: rows_out });
    }
    let rank = |problem: &Problem| Digest::new("holdout").field(&seed.to_string()).field(&problem.id).finish_short();
    let mut ranked: Vec<(String, &str)> = distinct.iter().map(|problem| (rank(problem), problem.id.as_str())).collect();
    ranked.sort();
    let held: HashSet<String> = ranked.iter().take(holdout as usize).map(|(_, id)| (*id).to_owned()).collect();
    let mut writer = ShardWriter::new(out)?;
    for mut problem in distinct {
        problem.split = if held.contains(&problem.id) { Split::Holdout } else { Split::Train };
        writer.push(problem)?;
    }
    writer.finish()?;
    let duplicates = rows_in - rows_out;
    let rejected =
        if duplicates > 0 { BTreeMap::from([("duplicate".to_owned(), duplicates)]) } else { BTreeMap::new() };
    let detail = Detail::Problems { train: rows_out - u64::from(holdout), holdout: u64::from(holdout) };
    Ok(Tally { rows_in, rows_out, rejected, detail, ..Tally::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use distill_dataset::{Cancel, Context, Dataset, Manifest, Progress, Reference, problem_id};

    fn problem(text: &str) -> Problem {
        let messages = vec![Message::user(text)];
        let id = problem_id(&messages);
        let (domain, answer, source) = ("math".to_owned(), String::new(), "test".to_owned());
        Problem {
            id,
            messages,
            domain,
            reference: Reference::None,
            answer,
            solution: None,
            source,
            split: Split::Train,
            licence: None,
        }
    }

    fn write(problems: Vec<Problem>, holdout: u32, seed: u64) -> (Tally, Vec<Problem>) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let tally = write_split(problems, holdout, seed, dir.path()).expect("a split");
        let file = distill_dataset::ShardInfo {
            file: "part-00000.parquet".to_owned(),
            rows: 0,
            bytes: 0,
            digest: String::new(),
        };
        let dataset =
            Dataset { dir: dir.path().to_owned(), manifest: Manifest { files: vec![file], ..Manifest::default() } };
        let rows = dataset.rows().collect::<Result<_, _>>().expect("rows");
        (tally, rows)
    }

    #[test]
    fn held_out_problems_are_disjoint_from_training_after_normalisation() {
        let mut problems: Vec<Problem> =
            (0..300).map(|i| problem(&format!("Tom has {i} apples and {} pears. How many?", i * 7))).collect();
        let near = |i: u32| problem(&format!("  TOM has {i}  apples\nand {} pears . How many ?", i * 7));
        problems.extend((0..300).step_by(3).map(near));
        let (tally, rows) = write(problems, 100, 5);
        assert_eq!((tally.rows_out, tally.rejected["duplicate"]), (300, 100));
        let keys = |split| {
            rows.iter()
                .filter(|row| row.split == split)
                .map(|row| normalised_key(&row.messages))
                .collect::<HashSet<_>>()
        };
        let (train, holdout) = (keys(Split::Train), keys(Split::Holdout));
        assert_eq!((train.len(), holdout.len()), (200, 100));
        assert!(train.is_disjoint(&holdout), "a held-out problem is trained on in another spelling");
    }

    #[test]
    fn different_mathematics_stays_different() {
        let texts = [
            "Solve $2x+3=7$",
            "Solve $5x-1=9$",
            "Solve $2x-3=7$",
            "Solve $2x+3=-7$",
            "Solve $\\frac{2}{3}$",
            "Solve $\\frac{3}{2}$",
            "Add 12 3",
            "Add 1 23",
            "Add 123",
        ];
        let keys: HashSet<String> = texts.iter().map(|text| normalised_key(&[Message::user(*text)])).collect();
        assert_eq!(keys.len(), texts.len());
    }

    #[test]
    fn the_split_does_not_depend_on_the_order_of_the_input() {
        let problems: Vec<Problem> = (0..50).map(|i| problem(&i.to_string())).collect();
        let held = |problems| {
            write(problems, 20, 9)
                .1
                .into_iter()
                .filter(|row| row.split == Split::Holdout)
                .map(|row| row.id)
                .collect::<HashSet<_>>()
        };
        assert_eq!(held(problems.clone()), held(problems.into_iter().rev().collect()));
    }

    #[test]
    fn holding_out_more_than_there_is_is_an_error() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = write_split(vec![problem("a"), problem("A")], 2, 1, dir.path()).expect_err("one is left");
        assert!(error.to_string().contains("at most 1 held-out problems, found holdout = 2"), "{error}");
    }

    #[test]
    fn generated_problems_go_through_the_split() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let context = Context {
            scratch: dir.path().to_owned(),
            cancel: Cancel::default(),
            progress: Progress::hidden(),
            seed: 17,
        };
        let config =
            crate::ProblemsConfig::Generator(crate::GeneratorConfig::ChainSum(crate::ChainSumConfig::default()));
        let tally = crate::problems(&config, 256, &context, dir.path()).expect("problems");
        assert_eq!(tally.detail, Detail::Problems { train: 744, holdout: 256 });
    }
}
