//! Decoding: a row for each request, keys and values in a paged cache.

use crate::{
    case::{Allowed, Case, Fill, Full, Model, Size, Span, mixed},
    products::{SMALL_VOCAB, product},
};
use distill_ops::{
    Buffer, Dtype, Form, Matrix, Product,
    kernels::{CacheWrite, PagedAttention, Pages},
};

/// Positions of a block of the cache.
const BLOCK: usize = 16;
/// Most requests in a batch, and positions that each has.
const REQUESTS: usize = 256;
const POSITIONS: usize = 256;

pub(crate) fn cache(model: &Model, dtype: Dtype, size: Size) -> Case {
    let heads = model.heads;
    let rows = if size.is_small() { size.rows().min(17) } else { size.rows().min(REQUESTS) };
    let stride = POSITIONS / BLOCK;
    // Blocks lie in no order; the last is nobody's.
    let blocks = rows * stride + 1;
    let step = ((blocks - 1) * 5 / 8) | 1;
    let step = (step..).find(|step| gcd(*step, blocks - 1) == 1).unwrap_or(1);
    let tables: Vec<usize> = (0..rows * stride).map(|at| at * step % (blocks - 1)).collect();
    // Every request is as far as it happens to be; one at its first token, one at its last.
    let own = |row: usize| match row {
        0 => 0,
        1 => POSITIONS - 1,
        row => (mixed(9, row as u64) % POSITIONS as u64) as usize,
    };
    let positions: Vec<usize> = (0..rows).map(own).collect();
    let place = |row: usize| tables[row * stride + positions[row] / BLOCK] * BLOCK + positions[row] % BLOCK;
    let places: Vec<i32> = (0..rows).map(|row| place(row) as i32).collect();
    let ints = |values: &[usize]| values.iter().map(|value| *value as i32).collect::<Vec<_>>();
    let width = heads.key * heads.dim;
    let mut case = Case::default();
    let [keys, values] = [(); 2].map(|()| case.whole(dtype, blocks * BLOCK * width, Fill::Normal(1.0)));
    let qkv = case.rows(dtype, rows, heads.width(), Fill::Normal(1.0));
    let out = case.rows(dtype, rows, heads.queries(), Fill::Zeros);
    let seen: usize = positions.iter().map(|position| position + 1).sum();
    let [tables, positions] = [ints(&tables), ints(&positions)].map(|values| case.ints(Span::Whole, values));
    let [places, requests] = [places, (0..rows as i32).collect()].map(|values| case.ints(Span::Whole, values));
    let shape = format!("{rows} x {}/{} x {}", heads.query, heads.key, heads.dim);
    let write = case.step("cache_write", shape.clone(), (&[], &[keys, values]), Full::Whole, move |on| {
        let [keys, values, qkv, places] = [keys, values, qkv, places].map(|room| on[room].start());
        CacheWrite { keys, values, qkv, places, rows, heads }
    });
    write.outputs.iter_mut().for_each(|(_, allowed)| *allowed = Allowed::EXACT);
    write.bytes = (4 * rows * width * dtype.size()) as f64;
    for (name, window) in [("paged_attention", 0), ("paged_attention, window", 37)] {
        let attention = case.step(name, shape.clone(), (&[qkv, out], &[out]), Full::Whole, move |on| {
            let [out, qkv, keys, values] = [out, qkv, keys, values].map(|room| on[room].start());
            let [tables, request, positions] = [tables, requests, positions].map(|room| on[room].start());
            let pages = Pages { tables, stride, block: BLOCK, request, positions };
            PagedAttention { out, qkv, keys, values, pages, rows, heads, window }
        });
        attention.outputs[0].1 = Allowed::of_product(dtype);
        attention.bytes += (2 * seen.min(if window == 0 { seen } else { rows * window }) * width * dtype.size()) as f64;
    }
    case
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The products of a step, for one request and more.
pub(crate) fn products(model: &Model, dtype: Dtype, size: Size) -> Case {
    let vocab = if size.is_small() { model.vocab.min(SMALL_VOCAB) } else { model.vocab };
    let batches: &[usize] = if size.is_small() { &[1, 7] } else { &[1, 32, REQUESTS] };
    let most = batches.iter().copied().max().unwrap_or(1);
    let mut case = Case::default();
    for (name, input, output, out) in [
        ("qkv", model.hidden, model.heads.width(), dtype),
        ("o", model.heads.queries(), model.hidden, dtype),
        ("gate_up", model.hidden, 2 * model.inner, dtype),
        ("down", model.inner, model.hidden, dtype),
        // Logits are float32.
        ("head", model.hidden, vocab, Dtype::F32),
    ] {
        let x = case.whole(dtype, most * input, Fill::Normal(1.0));
        let w = case.whole(dtype, output * input, Fill::Normal((input as f32).powf(-0.5)));
        let y = case.whole(out, most * output, Fill::Zeros);
        // The host's side of the check takes long where the matrix is that large: the ends are enough.
        let fewer = output > 100_000 && batches.len() > 2;
        for rows in batches.iter().copied().filter(|rows| !fewer || *rows != 32) {
            product(&mut case, &format!("decode {name}"), y, move |on: &[Buffer]| {
                let [x, y] = [(x, input), (y, output)].map(|(room, width)| Matrix::new(on[room].start(), rows, width));
                Product::new(Form::Nt, x, Matrix::new(on[w].start(), output, input), y)
            });
        }
    }
    case
}
