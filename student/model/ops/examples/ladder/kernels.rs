//! The kernels beside attention, as training calls them.

use crate::{
    case::{Allowed, Case, Fill, Full, Model, Size, Span, Step, mixed},
    products::logits,
};
use distill_ops::{
    Call, Dtype,
    kernels::{
        AdamNumbers, AdamW, AdamWRounded, AddBias, Cast, ColumnReduce, ColumnSum, CrossEntropy, EmbedBackward, Gather,
        HeadNorm, HeadNormBackward, RmsNorm, RmsNormBackward, Rope, SQUARE_PARTS, Scatter, SquareSum, Sum, SumDoubles,
        SwiGlu, SwiGluBackward,
    },
};

/// Blocks of the norms' backward kernels and of sums of columns in training; few enough that a small rung's have several rows.
const PARTS: [usize; 2] = [528, 32];
const SMALL_PARTS: [usize; 2] = [24, 5];
/// Rows of the tables that rows are taken from.
const TABLE: usize = 16_384;
/// Parameters of a step: no multiple of anything.
const FLAT: usize = (16 << 20) + 3;
const EPS: f32 = 1e-6;

fn parts(size: Size) -> [usize; 2] {
    if size.is_small() { SMALL_PARTS } else { PARTS }
}

/// The definition of all where that is cheap, of some rows where a row is long or has exponentials.
fn some(size: Size, width: usize) -> Full {
    Full::Rows(((4 << 20) / width).clamp(8, 128).min(size.rows()))
}

pub(crate) fn rms_norm(model: &Model, dtype: Dtype, size: Size) -> Case {
    let (rows, width, [parts, _]) = (size.rows(), model.hidden, parts(size));
    let mut case = Case::default();
    let x = case.rows(dtype, rows, width, Fill::Normal(1.0));
    let y = case.rows(dtype, rows, width, Fill::Zeros);
    let rstd = case.rows(Dtype::F32, rows, 1, Fill::Zeros);
    let weight = case.whole(Dtype::F32, width, Fill::NearOne);
    let dy = case.rows(dtype, rows, width, Fill::Normal(1.0));
    let dx = case.rows(dtype, rows, width, Fill::Normal(1.0));
    let partial = case.whole(Dtype::F32, parts * width, Fill::Zeros);
    let gradient = case.whole(Dtype::F32, width, Fill::Normal(1.0));
    let shape = format!("{rows} x {width}");
    case.step("rms_norm", shape.clone(), (&[x, y, rstd, weight], &[y, rstd]), Full::Whole, move |on| {
        let [y, rstd, x, weight] = [y, rstd, x, weight].map(|room| on[room].start());
        RmsNorm { y, rstd, x, weight, eps: EPS, rows, width }
    });
    // The residual's gradient lies where the sum goes, as in training.
    let moves = [dx, dx, dy, x, rstd, weight, partial];
    case.step("rms_norm backward", shape, (&moves, &[dx, partial]), Full::Whole, move |on| {
        let [dx, partial, dy, x, rstd, weight] = [dx, partial, dy, x, rstd, weight].map(|room| on[room].start());
        RmsNormBackward { dx, partial, residual: Some(dx), dy, x, rstd, weight, rows, width, parts }
    });
    reduce(&mut case, "rms_norm reduce", partial, gradient, [parts, width]);
    case
}

fn reduce(case: &mut Case, name: &str, partial: usize, out: usize, [parts, width]: [usize; 2]) {
    case.step(name, format!("{parts} x {width}"), (&[partial, out, out], &[out]), Full::Whole, move |on| {
        let [out, partial] = [out, partial].map(|room| on[room].start());
        ColumnReduce { out, partial, parts, width }
    });
}

pub(crate) fn head_norm(model: &Model, dtype: Dtype, size: Size) -> Case {
    let (rows, heads, [parts, _]) = (size.rows(), model.heads, parts(size));
    let mut case = Case::default();
    let x = case.rows(dtype, rows, heads.width(), Fill::Normal(1.0));
    let y = case.rows(dtype, rows, heads.width(), Fill::Zeros);
    let rstd = case.rows(Dtype::F32, rows, heads.query + heads.key, Fill::Zeros);
    let [q, k] = [(); 2].map(|()| case.whole(Dtype::F32, heads.dim, Fill::NearOne));
    let d = case.rows(dtype, rows, heads.width(), Fill::Normal(1.0));
    let partial = case.whole(Dtype::F32, parts * 2 * heads.dim, Fill::Zeros);
    let shape = format!("{rows} x {}/{} x {}", heads.query, heads.key, heads.dim);
    case.step("head_norm", shape.clone(), (&[x, y, rstd, q, k], &[y, rstd]), Full::Whole, move |on| {
        let [y, rstd, x, q_weight, k_weight] = [y, rstd, x, q, k].map(|room| on[room].start());
        HeadNorm { y, rstd, x, q_weight, k_weight, eps: EPS, rows, heads }
    });
    let moves = [d, d, x, rstd, q, k, partial];
    case.step("head_norm backward", shape, (&moves, &[d, partial]), Full::Whole, move |on| {
        let [d, partial, x, rstd, q_weight, k_weight] = [d, partial, x, rstd, q, k].map(|room| on[room].start());
        HeadNormBackward { d, partial, x, rstd, q_weight, k_weight, rows, heads, parts }
    });
    case
}

pub(crate) fn rope(model: &Model, dtype: Dtype, size: Size) -> Case {
    let (rows, heads) = (size.rows(), model.heads);
    let half = heads.dim / 2;
    let mut case = Case::default();
    let x = case.rows(dtype, rows, heads.width(), Fill::Normal(1.0));
    let bias = case.whole(Dtype::F32, heads.width(), Fill::Normal(1.0));
    let period = 1024.min(rows);
    let positions = case.ints(Span::Rows, (0..rows).map(|row| (row % period) as i32).collect());
    let angle = |at: usize| (at / half) as f64 * 1e6_f64.powf(-((at % half) as f64) / half as f64);
    let table = |of: fn(f64) -> f64| Fill::Values((0..1024 * half).map(|at| of(angle(at)) as f32).collect());
    let cos = case.whole(Dtype::F32, 1024 * half, table(f64::cos));
    let sin = case.whole(Dtype::F32, 1024 * half, table(f64::sin));
    let moves = [x, x, bias, positions, cos, sin];
    let shape = format!("{rows} x {}/{} x {}", heads.query, heads.key, heads.dim);
    for (name, with_bias, sign) in
        [("rope", true, 1.0), ("rope without bias", false, 1.0), ("rope backward", false, -1.0)]
    {
        case.step(name, shape.clone(), (&moves, &[x]), Full::Whole, move |on| {
            let [x, positions, cos, sin] = [x, positions, cos, sin].map(|room| on[room].start());
            let bias = with_bias.then(|| on[bias].start());
            Rope { x, bias, positions, cos, sin, rows, heads, sign }
        });
    }
    case
}

pub(crate) fn swiglu(model: &Model, dtype: Dtype, size: Size) -> Case {
    let (rows, inner) = (size.rows(), model.inner);
    let mut case = Case::default();
    let x = case.rows(dtype, rows, 2 * inner, Fill::Normal(2.0));
    let y = case.rows(dtype, rows, inner, Fill::Zeros);
    let bias = case.whole(Dtype::F32, inner, Fill::Normal(1.0));
    let shape = format!("{rows} x {inner}");
    let full = some(size, 2 * inner);
    case.step("swiglu", shape.clone(), (&[x, y], &[y]), full, move |on| SwiGlu {
        y: on[y].start(),
        x: on[x].start(),
        rows,
        inner,
    });
    case.step("add_bias", shape.clone(), (&[y, y, bias], &[y]), full, move |on| AddBias {
        x: on[y].start(),
        bias: on[bias].start(),
        rows,
        width: inner,
    });
    // Its result takes the place of what went in, as in training.
    case.step("swiglu backward", shape, (&[x, x, y], &[x]), full, move |on| {
        let [x, dy] = [x, y].map(|room| on[room].start());
        SwiGluBackward { dx: x, x, dy, rows, inner }
    });
    case
}

pub(crate) fn cross_entropy(model: &Model, dtype: Dtype, size: Size) -> Case {
    let vocab = model.vocab;
    let rows = if size.is_small() { size.rows().min(33) } else { logits(size, vocab).rows() };
    let mut case = Case::default();
    let logits = case.rows(dtype, rows, vocab, Fill::Normal(2.0));
    let loss = case.rows(Dtype::F32, rows, 1, Fill::Zeros);
    let drawn = |row: usize| mixed(3, row as u64);
    let targets = case.ints(Span::Rows, (0..rows).map(|row| (drawn(row) % vocab as u64) as i32).collect());
    // Every seventh row does not count.
    let weights = Fill::Values((0..rows).map(|row| if row % 7 == 3 { 0.0 } else { 1.0 }).collect());
    let weights = case.rows(Dtype::F32, rows, 1, weights);
    for (name, backward, z) in [("cross_entropy forward", false, 0.0), ("cross_entropy", true, 1e-4)] {
        let (moves, writes) = if backward { (vec![logits; 2], vec![loss, logits]) } else { (vec![logits], vec![loss]) };
        let call = move |on: &[distill_ops::Buffer]| {
            let [logits, loss, targets, weights] = [logits, loss, targets, weights].map(|room| on[room].start());
            CrossEntropy { logits, loss, targets, weights, z, inverse_divisor: 1.0 / 512.0, rows, vocab, backward }
        };
        case.step(name, format!("{rows} x {vocab}"), (&moves, &writes), some(size, 4 * vocab), call);
    }
    case
}

pub(crate) fn rows(model: &Model, dtype: Dtype, size: Size) -> Case {
    let (rows, width) = (size.rows(), model.hidden);
    let table_rows = if size.is_small() { 500 } else { TABLE.min(model.vocab) };
    let mut case = Case::default();
    let table = case.whole(dtype, table_rows * width, Fill::Normal(1.0));
    let tokens: Vec<i32> = (0..rows).map(|row| (mixed(5, row as u64) % table_rows as u64) as i32).collect();
    let y = case.rows(dtype, rows, width, Fill::Zeros);
    let gradient = case.whole(Dtype::F32, table_rows * width, Fill::Normal(1.0));
    // Tokens by their id, as training puts them in order.
    let mut order: Vec<i32> = (0..rows as i32).collect();
    order.sort_by_key(|place| (tokens[*place as usize], *place));
    let (mut ids, mut starts) = (Vec::new(), Vec::new());
    for (at, place) in order.iter().enumerate() {
        let id = tokens[*place as usize];
        if ids.last() != Some(&id) {
            ids.push(id);
            starts.push(at as i32);
        }
    }
    starts.push(rows as i32);
    let distinct = ids.len();
    // Every row once, in another order: what has no common divisor with the number of rows steps through all.
    let stride = (1..rows).rev().find(|step| *step < rows * 5 / 8 && gcd(*step, rows) == 1).unwrap_or(1);
    let permuted = case.ints(Span::Whole, (0..rows).map(|row| (row * stride % rows) as i32).collect());
    let [tokens, order, starts, ids] = [tokens, order, starts, ids].map(|values| case.ints(Span::Whole, values));
    let scattered = case.rows(dtype, rows, width, Fill::Zeros);
    let shape = format!("{rows} x {width}");
    let exact = |step: &mut Step| step.outputs.iter_mut().for_each(|(_, allowed)| *allowed = Allowed::EXACT);
    exact(case.step("gather", shape.clone(), (&[y, y], &[y]), Full::Whole, move |on| {
        let [y, x, index] = [y, table, tokens].map(|room| on[room].start());
        Gather { y, x, index, rows, width }
    }));
    exact(case.step("scatter", shape.clone(), (&[y, y], &[scattered]), Full::Whole, move |on| {
        let [y, x, index] = [scattered, y, permuted].map(|room| on[room].start());
        Scatter { y, x, index, rows, width }
    }));
    case.step("embedding backward", shape.clone(), (&[y], &[gradient]), Full::Whole, move |on| {
        let [gradient, dx, order, starts, ids] = [gradient, y, order, starts, ids].map(|room| on[room].start());
        EmbedBackward { gradient, dx, order, starts, ids, distinct, width }
    })
    .bytes += (2 * distinct * width * 4) as f64;
    exact(case.step("zero", shape, (&[y], &[y]), Full::Whole, move |on| Call::Zero(on[y].start(), rows * width)));
    case
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(crate) fn adamw(_: &Model, dtype: Dtype, size: Size) -> Case {
    let len = flat(size);
    let numbers = AdamNumbers {
        scale: 0.5,
        betas: [0.9, 0.95],
        rests: [0.1, 0.05],
        step_size: 1e-3,
        root: 2.0,
        epsilon: 1e-8,
        kept: 0.9999,
    };
    let mut case = Case::default();
    let g = case.whole(Dtype::F32, len, Fill::Normal(1e-3));
    let moments = [Fill::Normal(1e-3), Fill::Squares(1e-6)];
    let [first, second] = moments.clone().map(|fill| case.whole(Dtype::F32, len, fill));
    let w = case.whole(Dtype::F32, len, Fill::Normal(0.02));
    let shadow = (dtype == Dtype::Bf16).then(|| case.whole(Dtype::Bf16, len, Fill::Zeros));
    let writes: Vec<usize> = [w, first, second].into_iter().chain(shadow).collect();
    let moves: Vec<usize> = [w, first, second, g].into_iter().chain(writes.iter().copied()).collect();
    case.step("adamw", len.to_string(), (&moves, &writes), Full::Whole, move |on| {
        let [w, g, m, v] = [w, g, first, second].map(|room| on[room].start());
        AdamW { w, g, m, v, shadow: shadow.map(|shadow| on[shadow].start()), len, numbers }
    });
    if dtype == Dtype::Bf16 {
        let [first, second] = moments.map(|fill| case.whole(Dtype::Bf16, len, fill));
        let w = case.whole(Dtype::Bf16, len, Fill::Normal(0.02));
        let (moves, writes) = ([w, w, first, first, second, second, g], [w, first, second]);
        case.step("adamw rounded at random", len.to_string(), (&moves, &writes), Full::Whole, move |on| {
            let [w, g, m, v] = [w, g, first, second].map(|room| on[room].start());
            AdamWRounded { w, g, m, v, len, numbers, seed: 11, first: 1 << 20 }
        });
    }
    case
}

/// Numbers of a flat stretch.
fn flat(size: Size) -> usize {
    match size {
        Size::Small(rows) => rows * 1001,
        // So many for the rows of a batch; fewer for fewer.
        _ => FLAT / 8192 * size.rows().min(8192) + 3,
    }
}

pub(crate) fn sums(model: &Model, dtype: Dtype, size: Size) -> Case {
    let (rows, width, [_, parts], len) = (size.rows(), model.heads.width(), parts(size), flat(size));
    let mut case = Case::default();
    let x = case.rows(dtype, rows, width, Fill::Normal(1.0));
    let partial = case.whole(Dtype::F32, parts * width, Fill::Zeros);
    let bias = case.whole(Dtype::F32, width, Fill::Normal(1.0));
    let writes = (&[x, partial][..], &[partial][..]);
    case.step("column_sum", format!("{rows} x {width}"), writes, Full::Whole, move |on| ColumnSum {
        partial: on[partial].start(),
        x: on[x].start(),
        rows,
        width,
        parts,
    });
    reduce(&mut case, "column_reduce", partial, bias, [parts, width]);
    let losses = case.whole(Dtype::F32, rows, Fill::NearOne);
    let total = case.whole(Dtype::F32, 1, Fill::NearOne);
    case.step("sum", rows.to_string(), (&[losses], &[total]), Full::Whole, move |on| Sum {
        out: on[total].start(),
        x: on[losses].start(),
        len: rows,
    });
    let numbers = case.whole(Dtype::F32, len, Fill::Normal(1.0));
    let doubles = case.whole(Dtype::F64, SQUARE_PARTS, Fill::Zeros);
    let square = case.whole(Dtype::F64, 1, Fill::NearOne);
    // Which part holds what is the card's business; their sum is not.
    let bytes = case.bytes(&[numbers]);
    case.steps.push(Step {
        name: "square_sum".to_owned(),
        shape: len.to_string(),
        calls: Box::new(move |on| {
            let [square, doubles, x] = [square, doubles, numbers].map(|room| on[room].start());
            let parts = SquareSum { partial: doubles, x, len };
            vec![parts.into(), SumDoubles { out: square, x: doubles, len: SQUARE_PARTS }.into()]
        }),
        outputs: vec![(square, Allowed::F32)],
        full: Full::Whole,
        bytes,
        flops: 0.0,
    });
    if dtype == Dtype::Bf16 {
        let y = case.whole(Dtype::Bf16, len, Fill::Zeros);
        let step = case.step("cast", len.to_string(), (&[numbers, y], &[y]), Full::Whole, move |on| Cast {
            y: on[y].start(),
            x: on[numbers].start(),
            len,
        });
        step.outputs[0].1 = Allowed::EXACT;
    }
    case
}
