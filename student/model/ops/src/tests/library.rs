//! The library of matrix products by a fake of it (`fake_cublaslt.c`): what it is asked, how often, and what is said where it
//! is missing, lacks a function or refuses.

use crate::{
    call::{At, Buffer, Dtype, Form, Matrix, Product},
    lowered::{Layout, Lowered, Problem},
    lt::{Lt, LtError, PLANS},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};
use tempfile::TempDir;

const FUNCTIONS: [&str; 13] = [
    "cublasLtCreate",
    "cublasLtMatmul",
    "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutSetAttribute",
    "cublasLtMatrixLayoutDestroy",
    "cublasLtMatmulPreferenceCreate",
    "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatmulPreferenceDestroy",
    "cublasLtGetStatusString",
];

/// The fake's bytes, compiled once.
fn compiled() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/fake_cublaslt.c");
        let folder = TempDir::new().expect("a folder");
        let out = folder.path().join("fake.so");
        let compiler = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&out).arg(source).output();
        let said = compiler.expect("cc, which links what rustc compiles too");
        assert!(said.status.success(), "the fake compiles: {}", String::from_utf8_lossy(&said.stderr));
        std::fs::read(out).expect("the fake")
    })
}

/// A copy of the fake: the loader keeps the state of each file apart.
struct Fake {
    folder: TempDir,
}

impl Fake {
    fn new() -> Fake {
        Fake::of(compiled())
    }

    fn of(bytes: &[u8]) -> Fake {
        let fake = Fake { folder: TempDir::new().expect("a folder") };
        std::fs::write(fake.path(), bytes).expect("a copy");
        fake
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("libcublasLt.so.13")
    }

    fn load(&self) -> Result<Lt, LtError> {
        Lt::load(&self.path())
    }

    /// From now on this function returns this status.
    fn fail(&self, function: &str, status: i32) {
        std::fs::write(self.folder.path().join("fails"), format!("{function} {status}\n")).expect("a file");
    }

    /// What it was asked so far, a line each.
    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn count(&self, start: &str) -> usize {
        self.log().iter().filter(|line| line.starts_with(start)).count()
    }
}

fn matrix(index: usize, dtype: Dtype, rows: usize, columns: usize) -> Matrix {
    Matrix::new(Buffer { index, dtype }.start(), rows, columns)
}

/// A batch of products, so that every function is called.
fn batched() -> Product {
    let [a, b, out] = [
        matrix(0, Dtype::Bf16, 5, 6).stride(48).batch(6),
        matrix(1, Dtype::Bf16, 7, 6).stride(48),
        matrix(2, Dtype::F32, 5, 7).batch(35),
    ];
    Product { batch: 4, ..Product::new(Form::Nt, a, b, out) }
}

const ADDRESSES: [u64; 4] = [0x10_0000, 0x20_0010, 0x30_0002, 0x40_0100];

fn ask(lt: &mut Lt, product: &Product) -> Result<(), LtError> {
    lt.ask(&Lowered::of(product).problem, ADDRESSES)
}

fn message<T>(what: &str, result: Result<T, LtError>) -> String {
    match result {
        Ok(_) => panic!("{what}: no error"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_library_that_is_nowhere_is_told_with_what_to_install() {
    let folder = TempDir::new().expect("a folder");
    let places = [folder.path().to_owned()];
    let error = Lt::find(&["libcublasLt-of-no-machine.so"], &places);
    assert!(matches!(error, Err(LtError::Missing { .. })), "{error:?}");
    let said = message("nowhere", error);
    for part in ["libcublasLt.so.13", "pip install nvidia-cublas", "LD_LIBRARY_PATH", &places[0].display().to_string()]
    {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    let said = message("no places", Lt::find(&["libcublasLt-of-no-machine.so"], &[]));
    assert!(said.contains("the loader's search path\n"), "{said}");
    let file = folder.path().join("libcublasLt.so.13");
    let said = message("no file", Lt::load(&file));
    assert!(said.contains(&file.display().to_string()) && said.contains("No such file"), "{said}");
}

/// Wheels lie in folders that the loader does not know.
#[test]
fn the_newest_library_of_the_first_folder_that_has_one_is_taken() {
    let names = ["libcublasLt-fake.so.13", "libcublasLt-fake.so.12"];
    let folders = [0; 3].map(|_| TempDir::new().expect("a folder"));
    let places = folders.each_ref().map(|folder| folder.path().to_owned());
    std::fs::write(places[0].join(names[0]), "no library").expect("a file");
    for file in [places[1].join(names[1]), places[1].join(names[0]), places[2].join(names[0])] {
        std::fs::write(file, compiled()).expect("a copy");
    }
    let found = Lt::find(&names, &places).expect("a library");
    assert_eq!(found.path(), places[1].join(names[0]), "what does not load is passed over");
}

#[test]
fn a_function_that_is_missing_is_named() {
    for function in FUNCTIONS {
        let symbol = [function.as_bytes(), b"\0"].concat();
        let mut bytes = compiled().to_vec();
        let found: Vec<usize> = (0..bytes.len() - symbol.len())
            .filter(|at| bytes[*at..].starts_with(&symbol) && bytes[at - 1] == 0)
            .collect();
        assert!(!found.is_empty(), "{function} is in the fake");
        for at in found {
            bytes[at] = b'x';
        }
        let fake = Fake::of(&bytes);
        let said = message(function, fake.load());
        assert!(said.contains(&format!("undefined symbol: {function}")), "{function}: {said}");
        assert!(said.contains(&fake.path().display().to_string()), "{function}: {said}");
    }
}

#[test]
fn a_status_is_told_with_its_function_and_the_librarys_words() {
    // Plans are dropped at the end of a program or far into it: nothing depends on how that goes.
    let silent = ["cublasLtMatmulDescDestroy", "cublasLtMatrixLayoutDestroy", "cublasLtGetStatusString"];
    for function in FUNCTIONS.into_iter().filter(|function| !silent.contains(function)) {
        let fake = Fake::new();
        fake.fail(function, 13);
        let said = message(function, fake.load().and_then(|mut lt| ask(&mut lt, &batched())));
        let want = format!("cuBLASLt failed in {function}: the library's own words (status 13)");
        assert_eq!(said, want);
    }
    let fake = Fake::new();
    fake.fail("cublasLtMatmul", 99);
    let said = message("no words", fake.load().and_then(|mut lt| ask(&mut lt, &batched())));
    assert_eq!(said, "cuBLASLt failed in cublasLtMatmul: status 99");
}

#[test]
fn a_product_for_which_nothing_is_found_is_not_multiplied() {
    for (what, value) in [("none_found", 1), ("state", 15)] {
        let fake = Fake::new();
        fake.fail(what, value);
        let mut lt = fake.load().expect("the fake");
        for _ in 0..2 {
            let said = message(what, ask(&mut lt, &batched()));
            assert!(said.contains("cublasLtMatmulAlgoGetHeuristic: no way to compute"), "{what}: {said}");
        }
        assert_eq!(fake.count("multiply"), 0, "{what}");
        assert_eq!(fake.count("choose"), 2, "{what}: and is not taken for known");
    }
}

/// What the fake writes down of a problem.
fn told(problem: &Problem) -> String {
    let layout = |name: &str, layout: &Layout| {
        let kind = if layout.dtype == Dtype::Bf16 { 14 } else { 0 };
        let stride = if problem.batch > 1 { layout.batch_stride } else { 0 };
        let Layout { rows, columns, leading, .. } = layout;
        format!(" {name} {kind} {rows} x {columns} by {leading}, {} of {stride};", problem.batch)
    };
    let [first, second] = problem.transposed.map(i32::from);
    let Problem { first: a, second: b, out, .. } = problem;
    let layouts = [layout("A", a), layout("B", b), layout("C", out), layout("D", out)].concat();
    format!("compute 68 scale 0 transposes {first} {second};{layouts}")
}

#[test]
fn the_library_is_asked_for_what_was_lowered() {
    let of = |form, dtype, out, [m, n, k]: [usize; 3]| {
        let (a, b) = match form {
            Form::Nn => ([m, k], [k, n]),
            Form::Nt => ([m, k], [n, k]),
            Form::Tn => ([k, m], [k, n]),
        };
        let [a, b] = [(0, a), (1, b)].map(|(index, [rows, columns])| matrix(index, dtype, rows, columns));
        Product::new(form, a, b, matrix(2, out, m, n))
    };
    let products = [
        of(Form::Nt, Dtype::Bf16, Dtype::Bf16, [13, 48, 24]),
        of(Form::Nt, Dtype::F32, Dtype::F32, [13, 48, 24]).plus(Some(Buffer { index: 3, dtype: Dtype::F32 }.at(64))),
        of(Form::Nn, Dtype::Bf16, Dtype::Bf16, [13, 24, 48]),
        of(Form::Tn, Dtype::Bf16, Dtype::F32, [48, 24, 13]).accumulate(true),
        batched(),
        batched().accumulate(true),
    ];
    let fake = Fake::new();
    let mut lt = fake.load().expect("the fake");
    for (index, product) in products.iter().enumerate() {
        let problem = Lowered::of(product).problem;
        ask(&mut lt, product).expect("a product");
        let log = fake.log();
        let [.., choose, multiply] = &log[..] else { panic!("two lines: {log:?}") };
        let told = told(&problem);
        assert_eq!(*choose, format!("choose {told} workspace 67108864 alignments 256 16 2 256"), "{product:?}");
        let beta = u8::from(product.added.is_some());
        let want = format!(
            "multiply {told} alpha 1 beta {beta} at 100000 200010 300002 400100 algorithm {} workspace 770000 of 67108864 stream 0",
            index + 1
        );
        assert_eq!(*multiply, want, "{product:?}");
    }
    // And once by hand: scores of four heads that share a key head. What is second in rows is first in columns.
    let want = "choose compute 68 scale 0 transposes 1 0; A 14 6 x 7 by 48, 4 of 0; B 14 6 x 5 by 48, 4 of 6; \
                C 0 7 x 5 by 7, 4 of 35; D 0 7 x 5 by 7, 4 of 35; workspace 67108864 alignments 256 16 2 256";
    assert_eq!(fake.log()[8], want);
}

#[test]
fn what_was_found_for_a_product_serves_the_next_of_its_shape_and_alignment() {
    let fake = Fake::new();
    let mut lt = fake.load().expect("the fake");
    let problem = Lowered::of(&batched()).problem;
    let algorithms = |fake: &Fake| -> Vec<String> {
        let log = fake.log();
        let lines = log.iter().filter_map(|line| line.split("algorithm ").nth(1));
        lines.map(|rest| rest.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    // Further on by multiples of 256 bytes, nothing is less aligned.
    for moved in [0, 256, 4096] {
        lt.ask(&problem, ADDRESSES.map(|address| address + moved)).expect("a product");
    }
    assert_eq!(fake.count("choose"), 1, "one shape, one alignment: one question");
    for which in 0..4 {
        let mut addresses = ADDRESSES;
        addresses[which] += 1;
        lt.ask(&problem, addresses).expect("a product");
        assert_eq!(fake.count("choose"), 2 + which, "matrix {which} is less aligned: what was found may not serve it");
    }
    lt.ask(&problem, ADDRESSES).expect("a product");
    lt.ask(&Problem { adds: true, ..problem }, ADDRESSES).expect("a product");
    assert_eq!(
        algorithms(&fake),
        ["1", "1", "1", "2", "3", "4", "5", "1", "6"],
        "each product by what was found for it"
    );
}

/// Packed batches have ever new numbers of rows: their plans must not add up for ever.
#[test]
fn plans_are_dropped_when_there_are_too_many() {
    let fake = Fake::new();
    let mut lt = fake.load().expect("the fake");
    let shape = |rows| matrix_product(rows);
    for rows in 1..=PLANS {
        ask(&mut lt, &shape(rows)).expect("a product");
    }
    assert_eq!(fake.count("drop"), 0, "as many as are kept");
    ask(&mut lt, &shape(PLANS + 1)).expect("a product");
    assert_eq!([fake.count("drop description"), fake.count("drop layout")], [PLANS, 3 * PLANS], "each once");
    ask(&mut lt, &shape(1)).expect("a product");
    assert_eq!(fake.count("choose"), PLANS + 2, "what was dropped is asked for again");
}

fn matrix_product(rows: usize) -> Product {
    let [a, b, out] = [(0, rows, 8), (1, 8, 8), (2, rows, 8)].map(|(at, m, n)| matrix(at, Dtype::F32, m, n));
    Product::new(Form::Nt, a, b, out)
}

/// Places of a product in the order in which the library gets their addresses.
#[test]
fn factors_change_places_and_an_output_alone_is_its_own_addend() {
    let at = |index| -> At { Buffer { index, dtype: Dtype::F32 }.at(index * 3) };
    let [a, b, out] = [(0, 4, 5), (1, 6, 5), (2, 4, 6)].map(|(index, m, n)| Matrix::new(at(index), m, n));
    let product = Product::new(Form::Nt, a, b, out);
    let Lowered { first, second, added, out, .. } = Lowered::of(&product);
    assert_eq!([first, second, added, out], [at(1), at(0), at(2), at(2)]);
    assert_eq!(Lowered::of(&product.plus(Some(at(3)))).added, at(3));
}
