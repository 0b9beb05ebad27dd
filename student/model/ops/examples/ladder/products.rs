//! The products of a block and of the head, as training asks for them: forward, the gradient of what came in, the gradient of
//! the weight in float32, replaced and added to.

use crate::case::{Allowed, Case, Fill, Full, Model, Size, Step};
use distill_ops::{Buffer, Call, Dtype, Form, Matrix, Product};

/// Columns of the output projection that its small rungs have: the definition takes too long for all.
pub(crate) const SMALL_VOCAB: usize = 16_384;
/// Terms of all sums of a small rung.
const SMALL_TERMS: usize = 4 << 30;
/// Logits that exist at once, as training has it.
pub(crate) const LOGITS: usize = 320 << 20;

pub(crate) fn qkv(model: &Model, dtype: Dtype, size: Size) -> Case {
    linear("qkv", [model.hidden, model.heads.width()], false, dtype, size)
}

/// Added to the residual stream.
pub(crate) fn o(model: &Model, dtype: Dtype, size: Size) -> Case {
    linear("o", [model.heads.queries(), model.hidden], true, dtype, size)
}

pub(crate) fn gate_up(model: &Model, dtype: Dtype, size: Size) -> Case {
    linear("gate_up", [model.hidden, 2 * model.inner], false, dtype, size)
}

pub(crate) fn down(model: &Model, dtype: Dtype, size: Size) -> Case {
    linear("down", [model.inner, model.hidden], true, dtype, size)
}

/// A chunk of logits.
pub(crate) fn head(model: &Model, dtype: Dtype, size: Size) -> Case {
    let vocab = if size.is_small() { model.vocab.min(SMALL_VOCAB) } else { model.vocab };
    linear("head", [model.hidden, vocab], false, dtype, logits(size, vocab))
}

/// As many rows as there are logits for at once.
pub(crate) fn logits(size: Size, vocab: usize) -> Size {
    match size {
        Size::Full(rows) => Size::Full(rows.min(LOGITS / vocab / 256 * 256)),
        other => other,
    }
}

fn linear(name: &str, [input, output]: [usize; 2], residual: bool, dtype: Dtype, size: Size) -> Case {
    let rows = match size {
        Size::Small(rows) => rows.min((SMALL_TERMS / (input * output)).max(8)),
        other => other.rows(),
    };
    let mut case = Case::default();
    let x = case.rows(dtype, rows, input, Fill::Normal(1.0));
    let w = case.whole(dtype, output * input, Fill::Normal((input as f32).powf(-0.5)));
    let y = case.rows(dtype, rows, output, Fill::Zeros);
    let dy = case.rows(dtype, rows, output, Fill::Normal(1.0));
    let dx = case.rows(dtype, rows, input, Fill::Zeros);
    let dw = case.whole(Dtype::F32, output * input, Fill::Zeros);
    let added = residual.then(|| case.rows(dtype, rows, output, Fill::Normal(1.0)));
    let weight = move |buffers: &[Buffer], room: usize| Matrix::new(buffers[room].start(), output, input);
    let wide = move |buffers: &[Buffer], room: usize| Matrix::new(buffers[room].start(), rows, output);
    let narrow = move |buffers: &[Buffer], room: usize| Matrix::new(buffers[room].start(), rows, input);
    product(&mut case, &format!("{name} forward"), y, move |buffers| {
        Product::new(Form::Nt, narrow(buffers, x), weight(buffers, w), wide(buffers, y))
            .plus(added.map(|added| buffers[added].start()))
    });
    product(&mut case, &format!("{name} dX"), dx, move |buffers| {
        Product::new(Form::Nn, wide(buffers, dy), weight(buffers, w), narrow(buffers, dx))
    });
    let gradient =
        move |buffers: &[Buffer]| Product::new(Form::Tn, wide(buffers, dy), narrow(buffers, x), weight(buffers, dw));
    product(&mut case, &format!("{name} dW"), dw, gradient);
    product(&mut case, &format!("{name} dW added"), dw, move |buffers| gradient(buffers).accumulate(true));
    case
}

/// A step of one product.
pub(crate) fn product(case: &mut Case, name: &str, out: usize, call: impl Fn(&[Buffer]) -> Product + 'static) {
    // Shapes are told by the product itself, over buffers that no device has.
    let mut memory = distill_ops::Memory::default();
    let stand_ins: Vec<Buffer> = case.rooms.iter().map(|room| memory.zeros(room.dtype, 0)).collect();
    let planned = call(&stand_ins);
    let [m, n, k] = planned.sizes();
    let batch = if planned.batch > 1 { format!("{} times ", planned.batch) } else { String::new() };
    case.steps.push(Step {
        name: name.to_owned(),
        shape: format!("{batch}{m} x {n} x {k} {:?}", planned.form).to_lowercase(),
        outputs: vec![(out, Allowed::of_product(case.rooms[out].dtype))],
        full: Full::Freivalds,
        bytes: [Some(planned.a), Some(planned.b), Some(planned.out), planned.added.map(|_| planned.out)]
            .into_iter()
            .flatten()
            .map(|matrix| bytes(&matrix, planned.batch))
            .sum(),
        flops: 2.0 * (m * n) as f64 * (k * planned.batch) as f64,
        calls: Box::new(move |buffers| vec![Call::from(call(buffers))]),
    });
}

/// Bytes of a batch of matrices; one that all of them share counts once.
fn bytes(matrix: &Matrix, batch: usize) -> f64 {
    let batch = if matrix.batch_stride == 0 { 1 } else { batch };
    (batch * matrix.rows * matrix.columns * matrix.at.dtype().size()) as f64
}
