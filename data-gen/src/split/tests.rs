//! The split over one source and over several.

use super::*;
use distill_dataset::{Cancel, Progress, Reference, problem_id};
use std::collections::HashSet;

fn problem(text: &str) -> Problem {
    let messages = vec![Message::user(text)];
    Problem {
        id: problem_id(&messages),
        messages,
        domain: "math".to_owned(),
        reference: Reference::None,
        answer: String::new(),
        solution: None,
        source: "test".to_owned(),
        split: Split::Train,
        licence: None,
    }
}

struct Bench {
    root: tempfile::TempDir,
    sources: Vec<Dataset>,
}

impl Bench {
    /// Sources as the stage before leaves them: sorted by id.
    fn new(sources: Vec<Vec<Problem>>) -> Bench {
        let root = tempfile::tempdir().expect("a temporary folder");
        let write = |(index, mut problems): (usize, Vec<Problem>)| {
            problems.sort_by(|a, b| a.id.cmp(&b.id));
            let dir = root.path().join(index.to_string());
            std::fs::create_dir(&dir).expect("a folder");
            Dataset::write(&dir, problems).expect("problems")
        };
        let sources = sources.into_iter().enumerate().map(write).collect();
        Bench { root, sources }
    }

    fn context(&self, seed: u64) -> Context {
        let scratch = self.root.path().join("scratch");
        Context { scratch, cancel: Cancel::default(), progress: Progress::hidden(), seed }
    }

    fn split(&self, holdout: &[u32], source: usize, seed: u64) -> Result<(Tally, Vec<Problem>), ProblemsError> {
        let out = tempfile::tempdir_in(self.root.path()).expect("a folder");
        let config = SplitConfig { source, holdout: holdout.to_vec() };
        let tally = split(&config, &Sources::new(self.sources.clone(), None), &self.context(seed), out.path())?;
        let dataset = Dataset::of_folder(out.path()).expect("a dataset");
        Ok((tally, dataset.rows().collect::<Result<_, _>>().expect("rows")))
    }
}

fn keys(rows: &[Problem], split: Split) -> HashSet<[u8; 16]> {
    rows.iter().filter(|row| row.split == split).map(|row| normalised_key(&row.messages)).collect()
}

#[test]
fn a_held_out_problem_is_in_no_source_in_any_spelling() {
    let text = |i: u32| format!("Tom has {i} apples and {} pears. How many?", i * 7);
    let near = |i: u32| format!("  TOM has {i}  apples\nand {} pears . How many ?", i * 7);
    let bench = Bench::new(vec![
        (0..300).map(|i| problem(&text(i))).collect(),
        (200..400).map(|i| problem(&near(i))).collect(),
        (100..250).map(|i| problem(&text(i))).collect(),
    ]);
    let holdout = [100, 60, 0];
    let rows: Vec<Vec<Problem>> = (0..3).map(|source| bench.split(&holdout, source, 5).expect("a split").1).collect();
    let held: Vec<_> = rows.iter().map(|rows| keys(rows, Split::Holdout)).collect();
    assert_eq!(held.iter().map(HashSet::len).collect::<Vec<_>>(), [100, 60, 0], "each holds out what it was asked to");
    assert!(held[0].is_disjoint(&held[1]), "one problem is not evaluated twice");
    for (source, rows) in rows.iter().enumerate() {
        let train = keys(rows, Split::Train);
        for held in &held {
            assert!(train.is_disjoint(held), "source {source} trains on a held-out problem");
        }
    }
    let (tally, rows) = bench.split(&holdout, 2, 5).expect("a split");
    let dropped = tally.rejected["held-out-by-another-source"];
    assert!(dropped > 0 && tally.rows_out + dropped == 150 && rows.len() as u64 == tally.rows_out);
}

#[test]
fn another_source_does_not_change_what_the_first_holds_out() {
    let first: Vec<Problem> = (0..50).map(|i| problem(&i.to_string())).collect();
    let alone = Bench::new(vec![first.clone()]).split(&[20], 0, 9).expect("a split").1;
    let second = (100..150).map(|i| problem(&i.to_string())).collect();
    let beside = Bench::new(vec![first, second]).split(&[20, 10], 0, 9).expect("a split").1;
    assert_eq!(alone, beside);
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
    let keys: HashSet<[u8; 16]> = texts.iter().map(|text| normalised_key(&[Message::user(*text)])).collect();
    assert_eq!(keys.len(), texts.len());
}

#[test]
fn another_spelling_of_what_is_held_out_is_not_trained_on() {
    let spellings = (0..20).flat_map(|i| [format!("What is N - n + {i}?"), format!("What is n - N + {i}?")]);
    let bench = Bench::new(vec![spellings.map(|text| problem(&text)).collect()]);
    let (tally, rows) = bench.split(&[5], 0, 3).expect("a split");
    let (held, train) = (keys(&rows, Split::Holdout), keys(&rows, Split::Train));
    assert_eq!(held.len(), 5, "as many as are asked for, whatever the spellings");
    assert_eq!(rows.iter().filter(|row| row.split == Split::Holdout).count(), 5, "none is evaluated twice");
    assert!(held.is_disjoint(&train), "a held-out problem is trained on in another spelling");
    assert_eq!((tally.rejected["held-out-in-another-spelling"], rows.len()), (5, 35), "it is told what went");
}

#[test]
fn copies_are_one_problem_unless_a_filter_chooses_among_them() {
    let bench = Bench::new(vec![]);
    let path = bench.root.path().join("rows.jsonl");
    let texts = ["What is $N-n$?", "what is $N - n$ ?", "What is $n-N$?", "What is $N-n$?"];
    let lines: Vec<String> = texts.iter().map(|text| serde_json::json!({ "q": text }).to_string()).collect();
    std::fs::write(&path, lines.join("\n")).expect("a file");
    let columns = crate::Columns::question("q".to_owned());
    let config = Box::new(crate::FileConfig { columns, ..crate::FileConfig::unset() });
    let config = crate::ProblemsConfig::File { path, format: crate::FileFormat::Jsonl, config };
    for (copies, expected, why) in [
        (crate::Copies::First, 2, "another spelling is a copy, a name that changes its place is none"),
        (crate::Copies::All, 3, "only equal bytes are one row"),
    ] {
        let out = tempfile::tempdir_in(bench.root.path()).expect("a folder");
        let tally = crate::read_source(&config, copies, &bench.context(1), out.path()).expect("problems");
        assert_eq!((tally.rows_out, tally.rejected["duplicate"]), (expected, 4 - expected), "{why}");
    }
}

#[test]
fn holding_out_more_than_there_is_is_an_error() {
    let bench = Bench::new(vec![vec![problem("a")]]);
    let error = bench.split(&[2], 0, 1).expect_err("one is left");
    assert!(error.to_string().contains("at most 1 held-out problems, found holdout = 2"), "{error}");
}

#[test]
fn generated_problems_go_through_the_split() {
    let bench = Bench::new(vec![]);
    let out = bench.root.path().join("source");
    std::fs::create_dir(&out).expect("a folder");
    let config = crate::ProblemsConfig::Generator(crate::GeneratorConfig::ChainSum(crate::ChainSumConfig::default()));
    let tally = crate::read_source(&config, crate::Copies::First, &bench.context(17), &out).expect("problems");
    assert_eq!(tally.rows_out, 1000);
    let bench = Bench { sources: vec![Dataset::of_folder(&out).expect("a dataset")], ..bench };
    let (tally, rows) = bench.split(&[256], 0, 17).expect("a split");
    let Detail::Problems { train, holdout, licences, unlicensed, .. } = tally.detail else { panic!("problems") };
    assert_eq!((train, holdout, unlicensed), (744, 256, 0));
    assert_eq!(licences["CC0-1.0"], 1000, "generated problems are nobody's work");
    assert!(rows.is_sorted_by(|a, b| a.id < b.id), "joins are merges: problems are sorted by id");
}

#[test]
fn a_shard_is_what_one_rank_samples_at_once() {
    let bench = Bench::new(vec![(0..9000).map(|i| problem(&i.to_string())).collect()]);
    let out = bench.root.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    let config = SplitConfig { source: 0, holdout: vec![0] };
    split(&config, &Sources::new(bench.sources.clone(), None), &bench.context(1), &out).expect("a split");
    let dataset = Dataset::of_folder(&out).expect("a dataset");
    assert_eq!(dataset.shards().map(|shard| shard.num_rows()).collect::<Vec<_>>(), [4096, 4096, 808]);
}
