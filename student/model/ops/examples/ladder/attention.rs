//! Attention as training calls it: fused, and as batched products with a softmax between them.

use crate::{
    case::{Allowed, Case, Fill, Full, Model, Size, Span},
    products::product,
};
use distill_ops::{
    At, AttentionPart, Buffer, Dtype, Form, Matrix, Product,
    kernels::{
        AttentionBackward, AttentionDelta, AttentionForward, Documents, GroupSum, Heads, Scores, Softmax,
        SoftmaxBackward,
    },
};

/// Rows of a document that lies first and last, so that its definition is that of the whole there.
const ENDS: usize = 128;
/// Most queries of a chunk.
const CHUNK: usize = 512;

/// Documents of 1,024 tokens; in a small rung, packed ones of odd lengths.
pub(crate) fn fused(model: &Model, dtype: Dtype, size: Size) -> Case {
    of("fused", model.heads, dtype, size, 0, packed(size))
}

/// One long document; in full size only seen to give the same bits twice.
pub(crate) fn fused_long(model: &Model, dtype: Dtype, size: Size) -> Case {
    let mut case = of("fused, long", model.heads, dtype, size, 0, vec![size.rows()]);
    case.steps.iter_mut().for_each(|step| step.full = Full::Repeated);
    case
}

/// With a window.
pub(crate) fn fused_window(model: &Model, dtype: Dtype, size: Size) -> Case {
    of("fused, window", model.heads, dtype, size, 37, packed(size))
}

fn packed(size: Size) -> Vec<usize> {
    let rows = size.rows();
    match size {
        Size::Slice(_) => vec![rows],
        Size::Small(_) => {
            let [a, b] = [rows / 2, rows / 3];
            let rest = rows - a - b;
            // The shortest document is one token.
            [a, b, rest - 1, 1].into_iter().filter(|len| *len > 0).collect()
        }
        Size::Full(_) if rows <= 2 * ENDS => vec![rows],
        Size::Full(_) => {
            let mut lengths = vec![ENDS];
            let mut left = rows - 2 * ENDS;
            while left > 0 {
                // Full documents begin and end where they would without the two short ones.
                let length = if lengths.len() == 1 { 1024 - ENDS } else { 1024 }.min(left);
                lengths.push(length);
                left -= length;
            }
            lengths.push(ENDS);
            lengths
        }
    }
}

fn of(name: &str, heads: Heads, dtype: Dtype, size: Size, window: usize, lengths: Vec<usize>) -> Case {
    let rows = size.rows();
    let ends: Vec<i32> = lengths
        .iter()
        .scan(0, |end, length| {
            *end += *length as i32;
            Some(*end)
        })
        .collect();
    let (count, longest) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
    let mut case = Case::default();
    let starts = case.ints(Span::Whole, std::iter::once(0).chain(ends).collect());
    let qkv = case.rows(dtype, rows, heads.width(), Fill::Normal(1.0));
    let out = case.rows(dtype, rows, heads.queries(), Fill::Zeros);
    let lse = case.columns(rows, heads.query, Fill::Zeros);
    let dout = case.rows(dtype, rows, heads.queries(), Fill::Normal(1.0));
    let delta = case.columns(rows, heads.query, Fill::Zeros);
    let dqkv = case.rows(dtype, rows, heads.width(), Fill::Zeros);
    let [dk, dv] = [(); 2].map(|()| case.rows(Dtype::F32, rows, heads.queries(), Fill::Zeros));
    let documents = move |on: &[Buffer]| Documents { starts: on[starts].start(), count, longest, tokens: rows };
    let shape = format!("{} of {rows} tokens, {}/{} x {}", count, heads.query, heads.key, heads.dim);
    // Pairs of a query and a key that it sees, all heads.
    let seen = |row: usize| if window == 0 { row + 1 } else { (row + 1).min(window) };
    let pairs: usize = lengths.iter().flat_map(|length| 0..*length).map(seen).sum();
    let of_products = |count: usize| 2.0 * (count * heads.query * heads.dim) as f64 * pairs as f64;
    let full = if rows > 2 * ENDS { Full::Rows(ENDS) } else { Full::Whole };

    let step = case.step(&format!("{name} forward"), shape.clone(), (&[qkv, out, lse], &[out, lse]), full, move |on| {
        let [qkv, out, lse] = [qkv, out, lse].map(|room| on[room].start());
        AttentionForward { qkv, out, lse, documents: documents(on), heads, window }
    });
    step.flops = of_products(2);
    step.outputs[0].1 = Allowed::ATTENTION;
    let moves = (&[out, dout, delta][..], &[delta][..]);
    case.step(&format!("{name} delta"), shape.clone(), moves, full, move |on| {
        let [delta, out, dout] = [delta, out, dout].map(|room| on[room].start());
        AttentionDelta { delta, out, dout, rows, heads }
    });
    for (part, what, writes, count) in
        [(AttentionPart::Dkdv, "dkdv", vec![dk, dv], 4), (AttentionPart::Dq, "dq", vec![dqkv], 3)]
    {
        let moves: Vec<usize> = [qkv, dout, lse, delta].into_iter().chain(writes.iter().copied()).collect();
        let call = move |on: &[Buffer]| {
            let [qkv, dout, lse, delta] = [qkv, dout, lse, delta].map(|room| on[room].start());
            let [dqkv, dk, dv] = [dqkv, dk, dv].map(|room| on[room].start());
            let documents = documents(on);
            AttentionBackward { part, qkv, dout, lse, delta, dqkv, dk, dv, documents, heads, window }
        };
        let step = case.step(&format!("{name} {what}"), shape.clone(), (&moves, &writes), full, call);
        step.flops = of_products(count);
        step.outputs.iter_mut().for_each(|(_, allowed)| *allowed = Allowed::ATTENTION);
    }
    case.step(&format!("{name} group_sum"), shape, (&[dk, dv, dqkv], &[dqkv]), full, move |on| {
        let [dqkv, dk, dv] = [dqkv, dk, dv].map(|room| on[room].start());
        GroupSum { dqkv, dk, dv, rows, heads }
    });
    case
}

/// A chunk of queries at the end of a document that has as many keys as there are rows, by the last key head: the products
/// and the softmax of one pass forward and backward.
pub(crate) fn plain(model: &Model, dtype: Dtype, size: Size) -> Case {
    let (keys, heads) = (size.rows(), model.heads);
    let queries = if size.is_small() { (keys * 5 / 8).max(1) } else { CHUNK.min(keys) };
    let (first, group, key) = (keys - queries, heads.group(), heads.key - 1);
    let head = key * group;
    let mut case = Case::default();
    let qkv = case.rows(dtype, keys, heads.width(), Fill::Normal(1.0));
    let dout = case.rows(dtype, keys, heads.queries(), Fill::Normal(1.0));
    let out = case.rows(dtype, keys, heads.queries(), Fill::Zeros);
    let lse = case.columns(keys, heads.query, Fill::Zeros);
    let delta = case.columns(keys, heads.query, Fill::Normal(1.0));
    let dqkv = case.rows(dtype, keys, heads.width(), Fill::Zeros);
    let [dk, dv] = [(); 2].map(|()| case.rows(Dtype::F32, keys, heads.queries(), Fill::Normal(1.0)));
    let [s, dp] = [(); 2].map(|()| case.whole(Dtype::F32, group * queries * keys, Fill::Zeros));
    let [p, ds] = [(); 2].map(|()| case.whole(dtype, group * queries * keys, Fill::Zeros));
    let square = move |at: At| Matrix::new(at, queries, keys).batch(queries * keys);
    let of_queries = move |at: At, stride: usize| {
        Matrix::new(at.plus(first * stride + head * heads.dim), queries, heads.dim).stride(stride).batch(heads.dim)
    };
    let of_keys = move |on: &[Buffer], head: usize| {
        Matrix::new(on[qkv].at(head * heads.dim), keys, heads.dim).stride(heads.width())
    };
    let sums =
        move |at: At| Matrix::new(at.plus(head * heads.dim), keys, heads.dim).stride(heads.queries()).batch(heads.dim);
    let batch = move |product: Product| Product { batch: group, ..product };
    let (keys_head, values_head) = (heads.query + key, heads.query + heads.key + key);
    let scale = (heads.dim as f64).powf(-0.5) as f32;
    let scores = Scores { heads: group, queries, keys, first, window: 0, stride: keys };
    let place = head * keys + first;
    let shape = format!("{group} times {queries} x {keys}");

    product(&mut case, "plain scores", s, move |on| {
        let queries = of_queries(on[qkv].start(), heads.width());
        batch(Product::new(Form::Nt, queries, of_keys(on, keys_head), square(on[s].start())))
    });
    case.step("softmax", shape.clone(), (&[s, p], &[p, lse]), Full::Whole, move |on| Softmax {
        p: on[p].start(),
        lse: on[lse].at(place),
        s: on[s].start(),
        scale,
        scores,
    });
    product(&mut case, "plain output", out, move |on| {
        let out = of_queries(on[out].start(), heads.queries());
        batch(Product::new(Form::Nn, square(on[p].start()), of_keys(on, values_head), out))
    });
    product(&mut case, "plain d_weights", dp, move |on| {
        let dout = of_queries(on[dout].start(), heads.queries());
        batch(Product::new(Form::Nt, dout, of_keys(on, values_head), square(on[dp].start())))
    });
    case.step("softmax backward", shape, (&[s, dp, p, ds], &[ds, p]), Full::Whole, move |on| {
        let [ds, p, s, dp] = [ds, p, s, dp].map(|room| on[room].start());
        SoftmaxBackward { ds, p, s, dp, lse: on[lse].at(place), delta: on[delta].at(place), scale, scores }
    });
    product(&mut case, "plain d_queries", dqkv, move |on| {
        let out = of_queries(on[dqkv].start(), heads.width());
        batch(Product::new(Form::Nn, square(on[ds].start()), of_keys(on, keys_head), out))
    });
    product(&mut case, "plain d_keys", dk, move |on| {
        let queries = of_queries(on[qkv].start(), heads.width());
        batch(Product::new(Form::Tn, square(on[ds].start()), queries, sums(on[dk].start())).accumulate(true))
    });
    product(&mut case, "plain d_values", dv, move |on| {
        let dout = of_queries(on[dout].start(), heads.queries());
        batch(Product::new(Form::Tn, square(on[p].start()), dout, sums(on[dv].start())).accumulate(true))
    });
    case
}
