//! Products as cuBLASLt is asked for them, column-major, against `Tensor::matmul` of slices and transposes.

use super::{KEPT, near, numbers, tensor};
use crate::{
    call::{At, Dtype, Form, Matrix, Product},
    engine::Engine,
    host::Memory,
    lowered::{Layout, Lowered},
};
use burn::tensor::{Device, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is added to a product.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Added {
    Nothing,
    /// What was there.
    Itself,
    /// A matrix of another buffer.
    Other,
}

/// Where a matrix lies: numbers before it, from row to row, from one of a batch to the next.
type Lies = [usize; 3];

/// A product of training, scaled down.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    form: Form,
    batch: usize,
    /// `[m, n, k]`
    sizes: [usize; 3],
    a: Lies,
    b: Lies,
    out: Lies,
    added: Added,
    /// Whether the output is float32 whatever the factors are.
    is_wide: bool,
}

const fn case(name: &'static str, form: Form, sizes: [usize; 3], [a, b, out]: [Lies; 3], added: Added) -> Case {
    Case { name, form, batch: 1, sizes, a, b, out, added, is_wide: matches!(form, Form::Tn) }
}

/// Products of the heads that share a key head.
const fn heads(name: &'static str, form: Form, sizes: [usize; 3], lies: [Lies; 3], is_wide: bool) -> Case {
    Case { batch: 2, is_wide, ..case(name, form, sizes, lies, Added::Nothing) }
}

/// Of a model with 24 hidden numbers, 4 query and 2 key heads of 6 (48 and 24 numbers a row), 20 inner ones and 37 tokens.
/// Attention is that of the second key head over a document that begins at row 3, for the queries at positions 2 to 6.
const CASES: [Case; 18] = {
    use Added::{Itself, Nothing, Other};
    use Form::{Nn, Nt, Tn};
    // A row's queries at position 2, the document's keys and values, scores, outputs.
    const QUERIES: Lies = [5 * 48 + 12, 48, 6];
    const KEYS: Lies = [3 * 48 + 5 * 6, 48, 0];
    const VALUES: Lies = [3 * 48 + 7 * 6, 48, 0];
    const SCORES: Lies = [0, 7, 35];
    const MIXED: Lies = [5 * 24 + 12, 24, 6];
    const BY_KEY: Lies = [3 * 24 + 12, 24, 6];
    [
        case("queries, keys and values", Nt, [13, 48, 24], [[0, 24, 0], [128, 24, 0], [0, 48, 0]], Nothing),
        case("attention's output on top of what came in", Nt, [13, 24, 24], [[0, 24, 0]; 3], Other),
        case("gate and up", Nt, [13, 40, 24], [[0, 24, 0], [1152, 24, 0], [0, 40, 0]], Nothing),
        case("down on top of attention", Nt, [13, 24, 20], [[0, 20, 0], [2176, 20, 0], [0, 24, 0]], Other),
        case("logits of a chunk", Nt, [4, 37, 24], [[5 * 24, 24, 0], [128, 24, 0], [0, 37, 0]], Nothing),
        case("the gradient of what went in", Nn, [13, 24, 48], [[0, 48, 0], [128, 24, 0], [0, 24, 0]], Nothing),
        case("the gradient of a chunk's rows", Nn, [4, 24, 37], [[0, 37, 0], [128, 24, 0], [120, 24, 0]], Nothing),
        case("a weight's first gradient", Tn, [48, 24, 13], [[0, 48, 0], [0, 24, 0], [640, 24, 0]], Nothing),
        case("a weight's later gradient", Tn, [48, 24, 13], [[0, 48, 0], [0, 24, 0], [640, 24, 0]], Itself),
        case("the head's gradient", Tn, [37, 24, 4], [[0, 37, 0], [120, 24, 0], [256, 24, 0]], Itself),
        case("rows far apart", Nt, [3, 5, 7], [[2, 11, 0], [1, 9, 0], [4, 8, 0]], Other),
        case("one row", Nn, [1, 24, 20], [[20, 20, 0], [3, 24, 0], [24, 24, 0]], Itself),
        heads("scores", Nt, [5, 7, 6], [QUERIES, KEYS, SCORES], true),
        heads("weighted values", Nn, [5, 6, 7], [SCORES, VALUES, MIXED], false),
        heads("the gradient of weights", Nt, [5, 7, 6], [MIXED, VALUES, SCORES], true),
        heads("the gradient of queries", Nn, [5, 6, 7], [SCORES, KEYS, QUERIES], false),
        Case { added: Itself, ..heads("the gradient of keys", Tn, [7, 6, 5], [SCORES, QUERIES, BY_KEY], true) },
        Case { added: Itself, ..heads("the gradient of values", Tn, [7, 6, 5], [SCORES, MIXED, BY_KEY], true) },
    ]
};

/// Numbers behind the last of every buffer.
const BEHIND: usize = 5;
/// How far into its buffer a matrix lies that is added from elsewhere.
const ADDED_OFFSET: usize = 3;

/// A case's product over buffers that `put` makes, full of numbers.
fn laid(case: &Case, dtype: Dtype, mut put: impl FnMut(Dtype, &[f32]) -> At) -> Product {
    let [m, n, k] = case.sizes;
    let (a, b) = match case.form {
        Form::Nn => ([m, k], [k, n]),
        Form::Nt => ([m, k], [n, k]),
        Form::Tn => ([k, m], [k, n]),
    };
    let wide = if case.is_wide { Dtype::F32 } else { dtype };
    let mut matrix = |seed, dtype, [rows, columns]: [usize; 2], [offset, stride, batch]: Lies| {
        let len = offset + (case.batch - 1) * batch + rows * stride + BEHIND;
        Matrix::new(put(dtype, &numbers(seed, len)).plus(offset), rows, columns).stride(stride).batch(batch)
    };
    let [offset, stride, batch] = case.out;
    let a = matrix(1, dtype, a, case.a);
    let b = matrix(2, dtype, b, case.b);
    let out = matrix(3, wide, [m, n], case.out);
    let added = match case.added {
        Added::Nothing => None,
        Added::Itself => Some(out.at),
        Added::Other => Some(matrix(4, wide, [m, n], [offset + ADDED_OFFSET, stride, batch]).at),
    };
    Product { batch: case.batch, ..Product::new(case.form, a, b, out).plus(added) }
}

/// A batch of matrices as Burn's tensor `[batch, rows, columns]`, cut out of the whole buffer.
fn cut(buffer: &[f32], matrix: &Matrix, batch: usize) -> Tensor<3> {
    let flat = tensor(buffer, [buffer.len()]);
    let Matrix { at, rows, columns, stride, batch_stride } = *matrix;
    let one = |index: usize| {
        let start = at.offset + index * batch_stride;
        let rows_with_gaps = flat.clone().slice(start..start + rows * stride).reshape([rows, stride]);
        rows_with_gaps.slice([0..rows, 0..columns])
    };
    Tensor::stack((0..batch).map(one).collect(), 0)
}

/// What the output's buffer must hold by Burn's product, and which of its numbers the product leaves alone. `held` gives a
/// buffer's numbers before.
#[expect(clippy::disallowed_methods, reason = "the twin: it defines what products are held to")]
fn twin(product: &Product, held: impl Fn(At) -> Vec<f32>) -> (Vec<f32>, Vec<bool>) {
    let batch = product.batch;
    let [a, b] = [product.a, product.b].map(|matrix| cut(&held(matrix.at), &matrix, batch));
    let value = match product.form {
        Form::Nn => a.matmul(b),
        Form::Nt => a.matmul(b.swap_dims(1, 2)),
        Form::Tn => a.swap_dims(1, 2).matmul(b),
    };
    let value = match product.added {
        Some(at) => value + cut(&held(at), &Matrix { at, ..product.out }, batch),
        None => value,
    };
    let value = super::floats(value);
    let mut want = held(product.out.at);
    let mut is_beside = vec![true; want.len()];
    let Matrix { at, rows, columns, stride, batch_stride } = product.out;
    for (index, row) in value.chunks_exact(columns).enumerate() {
        let start = at.offset + index / rows * batch_stride + index % rows * stride;
        want[start..start + columns].copy_from_slice(row);
        is_beside[start..start + columns].fill(false);
    }
    (want, is_beside)
}

/// Everything that a buffer holds.
fn whole(memory: &Memory, at: At) -> Vec<f32> {
    let len = (0..1 << 16).find(|len| memory.check(at.buffer.start(), len + 1).is_err()).expect("an end");
    memory.read(at.buffer.start(), len)
}

/// Fails unless the buffer is as Burn says, and bit for bit what it was beside the product.
fn compare(name: &str, got: &[f32], (want, is_beside): &(Vec<f32>, Vec<bool>), dtype: Dtype) {
    near(name, dtype, got, want);
    for (at, ((got, want), is_beside)) in got.iter().zip(want).zip(is_beside).enumerate() {
        assert!(!is_beside || got.to_bits() == want.to_bits(), "{name}: number {at} beside the output became {got}");
    }
}

#[test]
fn products_of_training_equal_burns_and_touch_nothing_beside() {
    for case in CASES {
        for dtype in KEPT {
            let mut engine = Engine::new(&Device::flex()).expect("the processor");
            let mut memory = Memory::default();
            let product = laid(&case, dtype, |dtype, values| {
                let at = engine.zeros(dtype, values.len()).expect("memory").start();
                engine.write(at, values).expect("a write");
                let same = memory.zeros(dtype, values.len()).start();
                memory.write(same, values);
                assert_eq!(at, same, "both number their buffers alike");
                at
            });
            let want = twin(&product, |at| whole(&memory, at));
            engine.run(&[product.into()]).expect("a product");
            let got = engine.read(product.out.at.buffer.start(), want.0.len()).expect("a read");
            compare(&format!("{} in {dtype:?}", case.name), &got, &want, product.out.at.dtype());
        }
    }
}

/// A way to get a call of the library wrong.
type Mutation = (&'static str, fn(&mut Lowered));

const MUTATIONS: [Mutation; 39] = [
    ("first is transposed where it was not, or not where it was", |call| call.problem.transposed[0] ^= true),
    ("second likewise", |call| call.problem.transposed[1] ^= true),
    ("both likewise", |call| call.problem.transposed = call.problem.transposed.map(|is_transposed| !is_transposed)),
    ("factors are swapped", |call| {
        std::mem::swap(&mut call.first, &mut call.second);
        std::mem::swap(&mut call.problem.first, &mut call.problem.second);
    }),
    ("factors' places are swapped", |call| std::mem::swap(&mut call.first, &mut call.second)),
    ("factors' layouts are swapped", |call| std::mem::swap(&mut call.problem.first, &mut call.problem.second)),
    ("nothing is added", |call| call.problem.adds = false),
    ("what was there is added", |call| call.added = call.out),
    ("the output goes to what is added", |call| call.out = call.added),
    ("one of the batch is left out", |call| call.problem.batch -= 1),
    ("the batch has one too many", |call| call.problem.batch += 1),
    ("first begins one later", |call| call.first.offset += 1),
    ("first begins one earlier", |call| call.first.offset -= 1),
    ("second begins one later", |call| call.second.offset += 1),
    ("second begins one earlier", |call| call.second.offset -= 1),
    ("added begins one later", |call| call.added.offset += 1),
    ("added begins one earlier", |call| call.added.offset -= 1),
    ("the output begins one later", |call| call.out.offset += 1),
    ("the output begins one earlier", |call| call.out.offset -= 1),
    ("first's columns are one further apart", |call| call.problem.first.leading += 1),
    ("first's columns are one closer", |call| call.problem.first.leading -= 1),
    ("second's columns are one further apart", |call| call.problem.second.leading += 1),
    ("second's columns are one closer", |call| call.problem.second.leading -= 1),
    ("the output's columns are one further apart", |call| call.problem.out.leading += 1),
    ("the output's columns are one closer", |call| call.problem.out.leading -= 1),
    ("first is the same for all", |call| call.problem.first.batch_stride = 0),
    ("second is the same for all", |call| call.problem.second.batch_stride = 0),
    ("the output is the same for all", |call| call.problem.out.batch_stride = 0),
    ("first's next of the batch is one further", |call| call.problem.first.batch_stride += 1),
    ("second's next of the batch is one further", |call| call.problem.second.batch_stride += 1),
    ("the output's next of the batch is one further", |call| call.problem.out.batch_stride += 1),
    ("first has a row less", |call| call.problem.first.rows -= 1),
    ("first has a column less", |call| call.problem.first.columns -= 1),
    ("second has a row less", |call| call.problem.second.rows -= 1),
    ("second has a column less", |call| call.problem.second.columns -= 1),
    ("the output has a row less", |call| call.problem.out.rows -= 1),
    ("the output has a column less", |call| call.problem.out.columns -= 1),
    ("first is read as another type", |call| call.problem.first.dtype = Dtype::Bf16),
    ("the output is written as another type", |call| call.problem.out.dtype = Dtype::Bf16),
];

/// All factors square, so that a wrong transpose or a swap is not told by the shapes.
#[test]
fn a_call_of_the_library_with_one_field_wrong_gives_something_else() {
    for form in [Form::Nn, Form::Nt, Form::Tn] {
        let lies = [[7, 9, 60], [5, 8, 55], [3, 10, 70]];
        let case = Case { batch: 2, is_wide: false, ..case("square", form, [6; 3], lies, Added::Other) };
        let computed = |mutate: fn(&mut Lowered)| {
            let mut memory = Memory::default();
            let product = laid(&case, Dtype::F32, |dtype, values| {
                let at = memory.zeros(dtype, values.len()).start();
                memory.write(at, values);
                at
            });
            let want = twin(&product, |at| whole(&memory, at));
            let mut lowered = Lowered::of(&product);
            mutate(&mut lowered);
            lowered.on_host(&mut memory);
            compare("the call", &whole(&memory, product.out.at), &want, Dtype::F32);
        };
        computed(|_| ());
        for (name, mutate) in MUTATIONS {
            let found = catch_unwind(AssertUnwindSafe(|| computed(mutate)));
            assert!(found.is_err(), "{form:?}: {name}, and the result is the same");
        }
    }
}

/// The library would answer with a status; on the processor such products would seem to work.
#[test]
fn products_that_no_library_computes_are_refused_without_a_card_too() {
    let at = |index, dtype| crate::call::Buffer { index, dtype }.start();
    let matrix = |index, dtype| Matrix::new(at(index, dtype), 4, 4);
    let product = |a, b, out| Product::new(Form::Nt, matrix(0, a), matrix(1, b), matrix(2, out));
    let good = product(Dtype::Bf16, Dtype::Bf16, Dtype::F32);
    let bad = [
        ("factors of two types", product(Dtype::Bf16, Dtype::F32, Dtype::F32)),
        ("float32 factors of a bfloat16 product", product(Dtype::F32, Dtype::F32, Dtype::Bf16)),
        ("an added matrix of another type", good.plus(Some(at(3, Dtype::Bf16)))),
        ("rows that overlap", Product { a: good.a.stride(3), ..good }),
        ("an output whose rows overlap", Product { out: good.out.stride(3), ..good }),
        ("terms that do not fit", Product { b: Matrix { columns: 3, ..good.b }, ..good }),
        ("an output that is too short", Product { out: Matrix { rows: 3, ..good.out }, ..good }),
    ];
    assert_eq!(Lowered::of(&good).problem.first, Layout::of(&good.b), "one that is right is lowered");
    for (name, product) in bad {
        assert!(catch_unwind(|| Lowered::of(&product)).is_err(), "{name}: lowered as if a library computed it");
    }
}
