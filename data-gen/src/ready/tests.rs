//! Ready traces: from a file into order, and beside the training problems that they answer.

use super::*;
use crate::{Columns, ProblemsConfig, Sources, SplitConfig, read_source, split};
use distill_dataset::{Problem, Progress};
use serde_json::{Value, json};
use std::path::PathBuf;

struct Bench {
    root: tempfile::TempDir,
    path: PathBuf,
    config: FileConfig,
}

impl Bench {
    fn new(rows: &[Value]) -> Bench {
        let root = tempfile::tempdir().expect("a temporary folder");
        let path = root.path().join("rows.jsonl");
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(&path, lines).expect("a file");
        let columns = Columns { responses: Some("r".to_owned()), ..Columns::question("q".to_owned()) };
        Bench { root, path, config: FileConfig { columns, ..FileConfig::unset() } }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        std::fs::create_dir(&dir).expect("a folder");
        dir
    }

    fn context(&self) -> Context {
        let scratch = self.root.path().join("scratch");
        Context { scratch, cancel: Cancel::default(), progress: Progress::hidden(), seed: 7 }
    }

    fn ready(&self) -> Result<(Tally, Dataset), ProblemsError> {
        let out = self.folder("ready");
        let file = (&*self.path, FileFormat::Jsonl);
        let tally = read_ready(&self.config, file, ("R1", Copies::First), &self.context(), &out)?;
        Ok((tally, Dataset::of_folder(&out).expect("a dataset")))
    }

    /// The problems after the split.
    fn problems(&self, holdout: u32) -> Dataset {
        let (source, out) = (self.folder("source"), self.folder("problems"));
        let config = ProblemsConfig::File {
            path: self.path.clone(),
            format: FileFormat::Jsonl,
            config: Box::new(self.config.clone()),
        };
        read_source(&config, Copies::First, &self.context(), &source).expect("problems");
        let sources = Sources::new(vec![Dataset::of_folder(&source).expect("a dataset")], None);
        let config = SplitConfig { source: 0, holdout: vec![holdout] };
        split(&config, &sources, &self.context(), &out).expect("a split");
        Dataset::of_folder(&out).expect("a dataset")
    }
}

#[test]
fn traces_are_sorted_by_their_problem_and_keep_the_order_of_the_file() {
    let bench = Bench::new(&[
        json!({"q": "1+1?", "r": ["2", "two"]}),
        json!({"q": "2+2?", "r": "4"}),
        json!({"q": " ", "r": "5"}),
        json!({"q": "1 + 1 ?", "r": ["2", ""]}),
    ]);
    let (tally, ready) = bench.ready().expect("traces");
    assert_eq!((tally.rows_in, tally.rows_out), (6, 4));
    assert_eq!(tally.rejected, BTreeMap::from([("no-question".to_owned(), 1), ("no-response".to_owned(), 1)]));
    let rejected = std::fs::read_to_string(ready.dir.join("rejected.jsonl")).expect("rejected rows");
    let places: Vec<u64> = rejected
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["line"].as_u64().expect("a line"))
        .collect();
    assert_eq!(places, [3, 4]);
    let traces: Vec<Trace> = ready.rows().collect::<Result<_, _>>().expect("rows");
    assert!(traces.is_sorted_by_key(|trace| (trace.problem_id.clone(), trace.sample_index)));
    let problems: Vec<Problem> = bench.problems(0).rows().collect::<Result<_, _>>().expect("rows");
    assert_eq!(problems.len(), 2, "another spelling is the same problem");
    let of = |digit: &str| {
        let said = |problem: &&Problem| problem.messages[0].content.starts_with(digit);
        let id = &problems.iter().find(said).expect("a problem").id;
        traces.iter().filter(|trace| trace.problem_id == *id).map(|trace| trace.text.as_str()).collect::<Vec<_>>()
    };
    let both = of("1");
    assert!(both == ["2", "two", "2"] || both == ["2", "2", "two"], "a row's traces stay together: {both:?}");
    assert_eq!(of("2"), ["4"]);
    let ids: std::collections::BTreeSet<&str> = traces.iter().map(|trace| trace.id.as_str()).collect();
    assert_eq!(ids.len(), traces.len(), "the same text twice is two traces");
    assert!(
        traces.iter().all(|trace| trace.teacher == "R1" && trace.response_model.is_empty() && trace.claims.is_none())
    );
}

#[test]
fn the_names_of_files_decide_no_row_and_no_id() {
    let rows = [
        json!({"q": "Solve 1+1", "r": ["2", "two"]}),
        json!({"q": "solve  1 + 1", "r": ["II"]}),
        json!({"q": "Solve 2+2", "r": ["4"]}),
        json!({"q": "Solve 2+2", "r": ["four"]}),
    ];
    let read = |order: [usize; 4]| {
        let mut bench = Bench::new(&[]);
        bench.path = bench.folder("shards");
        for (file, row) in order.into_iter().enumerate() {
            std::fs::write(bench.path.join(format!("{file}.jsonl")), rows[row].to_string()).expect("a file");
        }
        let traces: Vec<Trace> = bench.ready().expect("traces").1.rows().collect::<Result<_, _>>().expect("rows");
        let problems: Vec<Problem> = bench.problems(0).rows().collect::<Result<_, _>>().expect("rows");
        let problems: Vec<(String, String)> =
            problems.into_iter().map(|mut it| (it.id, it.messages.remove(0).content)).collect();
        let traces: Vec<(String, u32, String)> =
            traces.into_iter().map(|trace| (trace.id, trace.sample_index, trace.text)).collect();
        (problems, traces)
    };
    let expected = read([0, 1, 2, 3]);
    assert_eq!((expected.0.len(), expected.1.len()), (2, 5));
    for order in [[3, 2, 1, 0], [1, 3, 0, 2]] {
        assert_eq!(read(order), expected, "files in the order {order:?}");
    }
}

#[test]
fn every_trace_is_in_one_unit_and_no_held_out_problem_has_any() {
    let rows: Vec<Value> =
        (0..9000).map(|n| json!({"q": format!("{n}+1?"), "r": [format!("{n}"), format!("{}", n + 1)]})).collect();
    let bench = Bench::new(&rows);
    let (_, ready) = bench.ready().expect("traces");
    let problems = bench.problems(1000);
    let shards: Vec<Shard> = problems.shards().collect();
    assert!(shards.len() > 1, "expected several units");
    let held: std::collections::BTreeSet<String> = problems
        .rows::<Part>()
        .map(|part| part.expect("a row"))
        .filter(|part| part.split == Split::Holdout)
        .map(|part| part.id)
        .collect();
    let (mut traces, mut whole) = (Vec::new(), Tally::default());
    for unit in 0..shards.len() {
        let out = bench.folder(&format!("traces-{unit}"));
        whole.merge(write_ready((&shards, unit), (&ready, "R1"), &Cancel::default(), &out).expect("traces"));
        traces.extend(Dataset::of_folder(&out).expect("a dataset").rows::<Trace>().map(|trace| trace.expect("a row")));
    }
    assert_eq!((whole.rows_in, whole.rows_out), (18_000, 16_000));
    assert_eq!(whole.rejected, BTreeMap::from([("held-out".to_owned(), 2000)]));
    assert_eq!(traces.len(), 16_000);
    assert!(traces.iter().all(|trace| !held.contains(&trace.problem_id)));
    assert!(traces.is_sorted_by_key(|trace| (trace.problem_id.clone(), trace.sample_index)));
}

#[test]
fn a_file_without_a_trace_is_an_error_that_says_why() {
    let bench = Bench::new(&[json!({"q": "1+1?", "r": ""}), json!({"q": "2+2?", "r": null})]);
    let error = bench.ready().expect_err("no traces").to_string();
    assert!(error.contains("expected ready traces, found none in 2 rows (2 no-response)"), "{error}");
    let bench = Bench::new(&[]);
    let error = bench.ready().expect_err("no traces").to_string();
    assert!(error.contains("expected ready traces, found no row: it is empty"), "{error}");
}
