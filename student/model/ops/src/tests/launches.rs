//! Launches against the kernels' text: an argument more, less or of another size would be read as something else, on a card
//! and silently.

use crate::{
    Arg, At, AttentionPart, Buffer, Dtype, Entry, Kernel, Launch,
    kernels::{
        AdamNumbers, AdamW, AdamWRounded, AddBias, AttentionBackward, AttentionDelta, AttentionForward, CacheWrite,
        Cast, ColumnReduce, ColumnSum, CrossEntropy, Documents, EmbedBackward, Gather, GroupSum, HeadNorm,
        HeadNormBackward, Heads, PagedAttention, Pages, RmsNorm, RmsNormBackward, Rope, Scatter, Scores, Softmax,
        SoftmaxBackward, SquareSum, Sum, SumDoubles, SwiGlu, SwiGluBackward,
    },
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Entries of `kernels.cu` that no type launches: the ladder has `spin`.
const UNUSED: [&str; 3] = ["fill_f32", "fill_bf16", "spin"];

fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A kernel as its text declares it.
#[derive(Debug)]
struct Declared {
    /// Types of its parameters: `u64`, `u32`, `f32`.
    parameters: Vec<String>,
    /// The threads that a block may or must have.
    threads: u32,
}

/// The kernels of a PTX text by name.
fn declared(ptx: &str) -> BTreeMap<String, Declared> {
    let mut found = BTreeMap::new();
    for entry in ptx.split(".visible .entry ").skip(1) {
        let (name, rest) = entry.split_once('(').expect("a name");
        let (parameters, rest) = rest.split_once(')').expect("parameters");
        let (bounds, _) = rest.split_once('{').expect("a body");
        let parameters = parameters.split(".param").skip(1).map(|parameter| {
            let kind = parameter.trim_start().trim_start_matches('.').split_whitespace().next().expect("a type");
            kind.replace('b', "u")
        });
        let threads = bounds.lines().find_map(|line| {
            let mut words = line.split([' ', ',']);
            matches!(words.next(), Some(".maxntid" | ".reqntid")).then(|| words.next()?.parse().ok()).flatten()
        });
        let threads = threads.unwrap_or_else(|| panic!("{name} says how many threads a block has: {bounds}"));
        found.insert(name.to_owned(), Declared { parameters: parameters.collect(), threads });
    }
    found
}

/// The type of a parameter that reads such an argument.
fn kind(arg: &Arg) -> &'static str {
    match arg {
        Arg::At(_) | Arg::Null | Arg::Long(_) => "u64",
        Arg::Int(_) | Arg::Unsigned(_) => "u32",
        Arg::Float(_) => "f32",
    }
}

fn at(dtype: Dtype, index: usize) -> At {
    Buffer { index, dtype }.start()
}

const HEADS: Heads = Heads { query: 4, key: 2, dim: 64 };
const NUMBERS: AdamNumbers = AdamNumbers {
    scale: 1.0,
    betas: [0.9, 0.99],
    rests: [0.1, 0.01],
    step_size: 0.1,
    root: 1.0,
    epsilon: 1e-8,
    kept: 1.0,
};

/// One of each type over activations of `dtype`.
fn one_of_each(dtype: Dtype) -> Vec<Box<dyn Kernel>> {
    let x = at(dtype, 0);
    let [f, i, d, b] = [Dtype::F32, Dtype::I32, Dtype::F64, Dtype::Bf16].map(|dtype| at(dtype, 1));
    let (rows, width, parts, eps, heads, len) = (3, 8, 2, 1e-5, HEADS, 24);
    let scores = Scores { heads: 2, queries: 3, keys: 4, first: 1, window: 0, stride: 9 };
    let pages = Pages { tables: i, stride: 2, block: 16, request: i, positions: i };
    vec![
        Box::new(AdamW { w: f, g: f, m: f, v: f, shadow: Some(b), len, numbers: NUMBERS }),
        Box::new(AdamW { w: f, g: f, m: f, v: f, shadow: None, len, numbers: NUMBERS }),
        Box::new(AdamWRounded { w: b, g: f, m: b, v: b, len, numbers: NUMBERS, seed: 1, first: 0 }),
        Box::new(AddBias { x, bias: f, rows, width }),
        Box::new(AttentionDelta { delta: f, out: x, dout: x, rows, heads }),
        Box::new(CacheWrite { keys: x, values: x, qkv: x, places: i, rows, heads }),
        Box::new(Cast { y: b, x: f, len }),
        Box::new(ColumnReduce { out: f, partial: f, parts, width }),
        Box::new(ColumnSum { partial: f, x, rows, width, parts }),
        Box::new(CrossEntropy {
            logits: x,
            loss: f,
            targets: i,
            weights: f,
            z: 0.0,
            inverse_divisor: 1.0,
            rows,
            vocab: width,
            backward: true,
        }),
        Box::new(EmbedBackward { gradient: f, dx: x, order: i, starts: i, ids: i, distinct: rows, width }),
        Box::new(Gather { y: x, x, index: i, rows, width }),
        Box::new(GroupSum { dqkv: x, dk: f, dv: f, rows, heads }),
        Box::new(HeadNorm { y: x, rstd: f, x, q_weight: f, k_weight: f, eps, rows, heads }),
        Box::new(HeadNormBackward { d: x, partial: f, x, rstd: f, q_weight: f, k_weight: f, rows, heads, parts }),
        Box::new(PagedAttention { out: x, qkv: x, keys: x, values: x, pages, rows, heads, window: 0 }),
        Box::new(RmsNorm { y: x, rstd: f, x, weight: f, eps, rows, width }),
        Box::new(RmsNormBackward {
            dx: x,
            partial: f,
            residual: None,
            dy: x,
            x,
            rstd: f,
            weight: f,
            rows,
            width,
            parts,
        }),
        Box::new(Rope { x, bias: None, positions: i, cos: f, sin: f, rows, heads, sign: 1.0 }),
        Box::new(Scatter { y: x, x, index: i, rows, width }),
        Box::new(Softmax { p: x, lse: f, s: f, scale: 1.0, scores }),
        Box::new(SoftmaxBackward { ds: x, p: x, s: f, dp: f, lse: f, delta: f, scale: 1.0, scores }),
        Box::new(SquareSum { partial: d, x: f, len }),
        Box::new(Sum { out: f, x: f, len }),
        Box::new(SumDoubles { out: d, x: d, len }),
        Box::new(SwiGlu { y: x, x, rows, inner: width }),
        Box::new(SwiGluBackward { dx: x, x, dy: x, rows, inner: width }),
    ]
}

/// What differs between a launch and the kernel that it means.
fn differences(launch: &Launch, declared: &BTreeMap<String, Declared>) -> Option<String> {
    let Entry::Plain { name, threads, grid } = &launch.entry else { return Some("not of kernels.cu".to_owned()) };
    let Some(kernel) = declared.get(name) else { return Some(format!("{name} is not in kernels.ptx")) };
    let given: Vec<&str> = launch.args.iter().map(kind).collect();
    if given != kernel.parameters {
        return Some(format!("{name}: given {given:?}, declared {:?}", kernel.parameters));
    }
    let fits = (1..=kernel.threads).contains(threads) && grid.iter().all(|blocks| *blocks >= 1) && grid[1] <= 65_535;
    (!fits).then(|| format!("{name}: {grid:?} blocks of {threads} threads, at most {} are declared", kernel.threads))
}

#[test]
fn every_launch_fits_its_kernels_text_and_every_kernel_is_launched() {
    let declared = declared(&text(&kernels().join("kernels.ptx")));
    let mut launched = BTreeSet::new();
    for dtype in super::KEPT {
        for kernel in one_of_each(dtype) {
            let launch = kernel.launch();
            assert_eq!(differences(&launch, &declared), None, "{kernel:?}");
            // A parameter more or less is told.
            let mut other = launch.clone();
            other.args.push(Arg::Null);
            assert!(differences(&other, &declared).is_some(), "{kernel:?}: one argument too many");
            other.args.truncate(launch.args.len() - 1);
            assert!(differences(&other, &declared).is_some(), "{kernel:?}: one argument too few");
            if let Entry::Plain { name, .. } = launch.entry {
                launched.insert(name);
            }
        }
    }
    let left: Vec<&String> = declared.keys().filter(|name| !launched.contains(*name)).collect();
    assert!(left.iter().all(|name| UNUSED.contains(&name.as_str())), "kernels that no type launches: {left:?}");
}

/// The table of the attention's kernels.
fn table() -> Vec<Value> {
    let table: Value = serde_json::from_str(&text(&kernels().join("attention/attention.json"))).expect("JSON");
    table["kernels"].as_array().expect("kernels").clone()
}

fn string(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_else(|| panic!("{key} in {of}")).to_owned()
}

/// The launch of a part, and what each parameter of that name must be given.
fn attention(part: &str) -> (Launch, BTreeMap<&'static str, Arg>) {
    let [qkv, out, dout, dqkv] = [0, 1, 2, 3].map(|index| at(Dtype::Bf16, index).plus(5));
    let [lse, delta, dk, dv] = [4, 5, 6, 7].map(|index| at(Dtype::F32, index).plus(7));
    let heads = Heads { query: 6, key: 2, dim: 32 };
    let documents = Documents { starts: at(Dtype::I32, 8), count: 3, longest: 70, tokens: 100 };
    let window = 9;
    let launch = match part {
        "forward" => AttentionForward { qkv, out, lse, documents, heads, window }.launch(),
        _ => {
            let part = if part == "dq" { AttentionPart::Dq } else { AttentionPart::Dkdv };
            AttentionBackward { part, qkv, dout, lse, delta, dqkv, dk, dv, documents, heads, window }.launch()
        }
    };
    let width = (6 + 2 * 2) * 32;
    let meaning = BTreeMap::from([
        ("Q", qkv.into()),
        ("K", qkv.plus(6 * 32).into()),
        ("V", qkv.plus(8 * 32).into()),
        ("O", out.into()),
        ("DO", dout.into()),
        ("L", lse.into()),
        ("DE", delta.into()),
        ("DK", dk.into()),
        ("DV", dv.into()),
        ("DQ", dqkv.into()),
        ("CU", documents.starts.into()),
        ("scale", Arg::Float(32.0_f32.powf(-0.5))),
        ("sq", Arg::Int(width)),
        ("sk", Arg::Int(width)),
        ("so", Arg::Int(6 * 32)),
        ("H", Arg::Int(6)),
        ("HK", Arg::Int(2)),
        ("T", Arg::Int(100)),
        ("W", Arg::Int(9)),
    ]);
    (launch, meaning)
}

#[test]
fn attention_is_launched_with_what_its_parameters_mean() {
    let table = table();
    assert!(table.len() >= 18, "three parts, three sizes of heads, two architectures; found {}", table.len());
    for described in table {
        let (name, file, part) =
            (string(&described, "entry"), string(&described, "file"), string(&described, "kernel"));
        let ptx = text(&kernels().join("attention").join(&file));
        let found = declared(&ptx);
        assert_eq!(found.keys().collect::<Vec<_>>(), [&name], "{file} holds one kernel");
        assert!(ptx.contains(&format!(".target {}\n", string(&described, "arch"))), "{file} is for its architecture");
        assert_eq!(u64::from(found[&name].threads), described["threads"].as_u64().expect("threads"), "{file}");

        let (launch, meaning) = attention(&part);
        let expected = match part.as_str() {
            "forward" => AttentionPart::Forward,
            "dkdv" => AttentionPart::Dkdv,
            "dq" => AttentionPart::Dq,
            _ => panic!("{file}: a part that is not launched: {part}"),
        };
        let Entry::Attention { part, dim, longest, heads, documents } = launch.entry else { panic!("{file}") };
        assert_eq!((part, [dim, longest, heads, documents]), (expected, [32, 70, 6, 3]), "{file}");

        let names: Vec<String> = described["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect();
        let own: Vec<&String> = names.iter().take_while(|name| *name != "scratch").collect();
        assert_eq!(own.len(), launch.args.len(), "{file}: {names:?} and {:?}", launch.args);
        for (name, arg) in own.iter().zip(&launch.args) {
            assert_eq!(meaning.get(name.as_str()), Some(arg), "{file}: {name}");
        }
        assert!(names[own.len()..].iter().all(|name| name == "scratch"), "{file}: scratch comes last: {names:?}");
        let scratch = std::iter::repeat_n("u64", names.len() - own.len());
        let given: Vec<&str> = launch.args.iter().map(kind).chain(scratch).collect();
        assert_eq!(given, found[&name].parameters, "{file}");
    }
}

/// A kernel that is described but not built in is missed on the first card that wants it.
#[test]
fn the_attentions_texts_that_are_built_in_are_those_of_its_table() {
    let source = include_str!("../cuda/modules.rs");
    let (_, list) = source.split_once("= texts! {").expect("the list");
    let (list, _) = list.split_once("};").expect("its end");
    let mut built_in = BTreeSet::new();
    for texts in list.split(';') {
        let Some((arch, entries)) = texts.split_once(':') else { continue };
        for entry in entries.split(',').map(|entry| entry.trim().trim_matches('"')).filter(|entry| !entry.is_empty()) {
            let file = format!("ptx/{}/{entry}.ptx", arch.trim().trim_matches('"'));
            assert!(built_in.insert(file), "{entry} twice");
        }
    }
    let described: BTreeSet<String> = table().iter().map(|described| string(described, "file")).collect();
    assert_eq!(built_in, described);
    let folder = kernels().join("attention/ptx");
    let mut lying = BTreeSet::new();
    for arch in std::fs::read_dir(&folder).expect("a folder") {
        let arch = arch.expect("an entry");
        for file in std::fs::read_dir(arch.path()).expect("a folder") {
            let name = file.expect("an entry").file_name();
            lying.insert(format!("ptx/{}/{}", arch.file_name().display(), name.display()));
        }
    }
    assert_eq!(lying, described, "files that the table does not name");
}
