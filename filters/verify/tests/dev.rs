//! Temporary driver.
use distill_verify::code::*;
use std::{io::BufRead, sync::Arc, time::Instant};

#[derive(serde::Deserialize)]
struct Line { id: String, language: Language, code: Option<String>, response: Option<String>, tests: Box<serde_json::value::RawValue> }

#[test]
fn drive() {
    let Ok(path) = std::env::var("LINES") else { return };
    let threads: usize = std::env::var("THREADS").map_or(2, |n| n.parse().unwrap());
    let user = std::env::var("AS").ok().map(|n| (n.parse().unwrap(), n.parse().unwrap()));
    let program = if user.is_some() { "/tmp/sup".into() } else { env!("CARGO_BIN_EXE_distill-verify-supervisor").into() };
    let launcher = Launcher { program, arguments: vec![], user };
    let python = std::env::var("PYTHON").ok();
    let tools = Arc::new(Tools::find(python.as_ref().map(std::path::Path::new)));
    let mut options = Options::new(launcher, tools);
    options.warm = std::env::var("COLD").is_err();
    let lines: Vec<String> = std::io::BufReader::new(std::fs::File::open(path).unwrap()).lines().map(Result::unwrap).collect();
    let n = lines.len();
    let begin = Instant::now();
    let mut counts = std::collections::BTreeMap::new();
    in_order(lines.into_iter(), threads, || Judge::new(options.clone()), |judge, line| {
        let line: Line = serde_json::from_str(&line).unwrap();
        let tests = Tests::parse(line.tests.get()).unwrap();
        let code = match (&line.code, &line.response) { (Some(c), _) => Code::Given(c), (_, Some(r)) => Code::Response(r), _ => panic!() };
        (line.id, judge.judge(line.language, code, &tests))
    }, |(id, j)| { *counts.entry(j.outcome.name()).or_insert(0) += 1; if j.outcome != Outcome::Accepted || n < 10 { println!("{id} {j:?}"); } true });
    println!("{n} in {:?}: {:.1}/s {counts:?}", begin.elapsed(), n as f64 / begin.elapsed().as_secs_f64());
}
