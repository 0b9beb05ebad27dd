//! Attention over packed documents, fused and by parts, against masked softmax attention in Burn with its autodiff.

use super::{Host, KEPT, fixed, floats, gradients, leaf, near, near_to, numbers};
use crate::{
    AttentionPart, Dtype,
    kernels::{
        AttentionBackward, AttentionDelta, AttentionForward, CacheWrite, Documents, GroupSum, Heads, PagedAttention,
        Pages, Scores, Softmax, SoftmaxBackward,
    },
};
use burn::tensor::{Bool, Device, Tensor, TensorData, activation::softmax};

/// Documents, heads and windows.
const CASES: [(&[usize], Heads, usize); 5] = [
    (&[5, 1, 7], Heads { query: 4, key: 2, dim: 6 }, 0),
    (&[5, 1, 7], Heads { query: 4, key: 2, dim: 6 }, 3),
    (&[11], Heads { query: 3, key: 3, dim: 4 }, 0),
    (&[1, 1, 4], Heads { query: 4, key: 1, dim: 8 }, 1),
    (&[2, 9], Heads { query: 1, key: 1, dim: 2 }, 20),
];

/// `true` where a token does not see another: `[1, tokens, tokens]`.
fn unseen(lengths: &[usize], window: usize, device: &Device) -> Tensor<3, Bool> {
    let document: Vec<usize> = lengths.iter().enumerate().flat_map(|(at, len)| std::iter::repeat_n(at, *len)).collect();
    let tokens = document.len();
    let sees = |row: usize, other: usize| {
        document[row] == document[other] && other <= row && (window == 0 || row - other < window)
    };
    let mask: Vec<bool> = (0..tokens * tokens).map(|at| !sees(at / tokens, at % tokens)).collect();
    Tensor::from_data(TensorData::new(mask, [1, tokens, tokens]), device)
}

/// Output `[tokens, heads · dim]` and the logarithms of the sums `[heads, tokens]` of `qkv` `[tokens, heads, dim]`.
#[expect(clippy::disallowed_methods, reason = "the twin: it defines what the kernels are held to")]
fn twin(qkv: Tensor<3>, heads: Heads, mask: Tensor<3, Bool>) -> (Tensor<2>, Tensor<2>) {
    let [tokens, _, dim] = qkv.dims();
    let Heads { query, key, .. } = heads;
    let part = |from: usize, count: usize| qkv.clone().slice([0..tokens, from..from + count]).swap_dims(0, 1);
    // Every key head once for each of the query heads that share it.
    let shared = |x: Tensor<3>| {
        let x = x.reshape([key, 1, tokens, dim]).expand([key, heads.group(), tokens, dim]);
        x.reshape([query, tokens, dim])
    };
    let (q, k, v) = (part(0, query), shared(part(query, key)), shared(part(query + key, key)));
    let scores = q.matmul(k.swap_dims(1, 2)) * (dim as f64).powf(-0.5);
    let scores = scores.mask_fill(mask.expand([query, tokens, tokens]), f32::NEG_INFINITY);
    let out = softmax(scores.clone(), 2).matmul(v).swap_dims(0, 1).reshape([tokens, query * dim]);
    (out, scores.exp().sum_dim(2).log().reshape([query, tokens]))
}

#[test]
fn fused_attention_equals_masked_softmax_over_packed_documents() {
    for (lengths, heads, window) in CASES {
        for dtype in KEPT {
            let name = format!("{lengths:?}, {heads:?}, window {window}, {dtype:?}");
            let tokens: usize = lengths.iter().sum();
            let (width, queries, rows) = (heads.width(), heads.queries(), tokens);
            let mut host = Host::new();
            let values: Vec<f32> = numbers(1, tokens * width).iter().map(|value| value * 2.0).collect();
            let (qkv, dout) = (host.put(dtype, &values), host.put(dtype, &numbers(2, tokens * queries)));
            let (out, dqkv) = (host.zeros(dtype, tokens * queries), host.zeros(dtype, tokens * width));
            let [lse, delta, dk, dv] = [heads.query, heads.query, queries, queries]
                .map(|count| host.put(Dtype::F32, &numbers(3, tokens * count)));
            let mut starts = vec![0];
            lengths.iter().for_each(|len| starts.push(starts[starts.len() - 1] + *len as i32));
            let longest = lengths.iter().copied().max().unwrap_or(0);
            let documents = Documents { starts: host.ints(&starts), count: lengths.len(), longest, tokens };
            let leaf = leaf(&host.read(qkv, tokens * width), [tokens, width / heads.dim, heads.dim]);
            let (want, want_lse) = twin(leaf.clone(), heads, unseen(lengths, window, &leaf.device()));

            host.run(AttentionForward { qkv, out, lse, documents, heads, window });
            near(&name, dtype, &host.read(out, tokens * queries), &floats(want.clone().inner()));
            near(&name, Dtype::F32, &host.read(lse, heads.query * tokens), &floats(want_lse.inner()));

            let douts = fixed(&host.read(dout, tokens * queries), [tokens, queries]);
            host.run(AttentionDelta { delta, out, dout, rows, heads });
            let outs = fixed(&host.read(out, tokens * queries), [tokens, queries]);
            let terms = (outs * douts.clone()).reshape([tokens, heads.query, heads.dim]);
            let deltas = floats(terms.sum_dim(2).reshape([tokens, heads.query]).transpose());
            near(&name, Dtype::F32, &host.read(delta, heads.query * tokens), &deltas);

            for part in [AttentionPart::Dkdv, AttentionPart::Dq] {
                host.run(AttentionBackward { part, qkv, dout, lse, delta, dqkv, dk, dv, documents, heads, window });
            }
            host.run(GroupSum { dqkv, dk, dv, rows, heads });
            let want = gradients(want, douts, &[&leaf]);
            // What came out was rounded, and with it delta.
            let [relative, absolute] = if dtype == Dtype::Bf16 { [1.0 / 256.0, 0.02] } else { [1e-5, 1e-5] };
            near_to(&name, relative, absolute, &host.read(dqkv, tokens * width), &want[0]);
        }
    }
}

/// The scores of a chunk of queries in the middle of a document, with room for more in `lse`.
#[test]
fn softmax_of_scores_that_exist_as_a_whole() {
    let shape = |first, window| Scores { heads: 3, queries: 4, keys: first + 4, first, window, stride: 9 };
    for scores in [shape(0, 0), shape(3, 0), shape(3, 2), shape(5, 1), shape(2, 40)] {
        for dtype in KEPT {
            let Scores { heads, queries, keys, first, window, stride } = scores;
            let name = format!("{scores:?}, {dtype:?}");
            let (len, scale) = (heads * queries * keys, 0.7_f32);
            let mut host = Host::new();
            let [s, dp] = [1, 2].map(|seed| host.put(Dtype::F32, &numbers(seed, len)));
            let [p, ds] = [3, 4].map(|seed| host.put(dtype, &numbers(seed, len)));
            let [lse, delta] = [5, 6].map(|seed| host.put(Dtype::F32, &numbers(seed, heads * stride)));
            let (beside, deltas) = (host.read(lse, heads * stride), host.read(delta, heads * stride));
            host.run(Softmax { p, lse, s, scale, scores });
            let leaf = leaf(&host.read(s, len), [heads, queries, keys]);
            let sees = |query: usize, key: usize| {
                let own = first + query;
                key <= own && (window == 0 || own - key < window)
            };
            let mask: Vec<bool> = (0..queries * keys).map(|at| !sees(at / keys, at % keys)).collect();
            let mask = Tensor::<3, Bool>::from_data(TensorData::new(mask, [1, queries, keys]), &leaf.device());
            let masked = (leaf.clone() * scale).mask_fill(mask.expand([heads, queries, keys]), f32::NEG_INFINITY);
            let want = softmax(masked.clone(), 2);
            near(&name, dtype, &host.read(p, len), &floats(want.clone().inner()));
            let found = host.read(lse, heads * stride);
            let want_lse = floats(masked.exp().sum_dim(2).log().inner());
            for head in 0..heads {
                let (row, place) = (head * queries, head * stride);
                near(&name, Dtype::F32, &found[place..place + queries], &want_lse[row..row + queries]);
                assert_eq!(found[place + queries..place + stride], beside[place + queries..place + stride], "{name}");
            }
            host.run(SoftmaxBackward { ds, p, s, dp, lse, delta, scale, scores });
            near(&name, dtype, &host.read(p, len), &floats(want.clone().inner()));
            // Softmax's own gradient has Σ p · dp where delta is given: what delta has beside it moves every score by p.
            let dps = fixed(&host.read(dp, len), [heads, queries, keys]);
            let sums = floats((want.clone() * dps.clone()).sum_dim(2).inner());
            let grads = gradients(want.clone(), dps, &[&leaf]);
            let weights = floats(want.inner());
            let expected: Vec<f32> = (0..len)
                .map(|at| {
                    let row = at / keys;
                    let given = deltas[row / queries * stride + row % queries];
                    grads[0][at] + weights[at] * (sums[row] - given) * scale
                })
                .collect();
            near(&name, dtype, &host.read(ds, len), &expected);
        }
    }
}

/// Two requests whose blocks lie in no order, with new rows of both at once: the first token of one, and three of another
/// that has four already.
#[test]
fn attention_over_a_paged_cache_equals_that_over_the_whole_request() {
    let heads = Heads { query: 4, key: 2, dim: 6 };
    let (block, stride) = (3, 3);
    let lengths = [1, 7];
    let tables = [[4, 0, 0], [2, 5, 1]];
    let place = |request: usize, at: usize| tables[request][at / block] * block as i32 + (at % block) as i32;
    for dtype in KEPT {
        for window in [0, 3] {
            let mut host = Host::new();
            let width = heads.width();
            let [keys, values] = [1, 2].map(|seed| host.put(dtype, &numbers(seed, 6 * block * heads.key * heads.dim)));
            let whole = host.put(dtype, &numbers(3, 8 * width));
            let all: Vec<[usize; 2]> =
                (0..2).flat_map(|request| (0..lengths[request]).map(move |at| [request, at])).collect();
            let written: Vec<i32> = all.iter().map(|[request, at]| place(*request, *at)).collect();
            let before = [keys, values].map(|at| host.read(at, 6 * block * heads.key * heads.dim));
            let places = host.ints(&written);
            host.run(CacheWrite { keys, values, qkv: whole, places, rows: 8, heads });
            for (at, before) in [keys, values].into_iter().zip(before) {
                let after = host.read(at, before.len());
                for (place, (after, before)) in after
                    .chunks_exact(heads.key * heads.dim)
                    .zip(before.chunks_exact(heads.key * heads.dim))
                    .enumerate()
                {
                    let is_written = written.contains(&(place as i32));
                    assert!(
                        is_written != (after == before),
                        "place {place}: written where a token lies, else left alone"
                    );
                }
            }
            let held = host.read(whole, 8 * width);
            let new = [0, 5, 6, 7];
            let rows: Vec<f32> =
                new.iter().flat_map(|row: &usize| held[row * width..(row + 1) * width].to_vec()).collect();
            let qkv = host.put(dtype, &rows);
            let out = host.zeros(dtype, 4 * heads.queries());
            let pages = Pages {
                tables: host.ints(tables.as_flattened()),
                stride,
                block,
                request: host.ints(&[0, 1, 1, 1]),
                positions: host.ints(&[0, 4, 5, 6]),
            };
            host.run(PagedAttention { out, qkv, keys, values, pages, rows: 4, heads, window });
            let whole = fixed(&held, [8, width / heads.dim, heads.dim]);
            let (want, _) = twin(whole.clone(), heads, unseen(&lengths, window, &whole.device()));
            let want = floats(want);
            let want: Vec<f32> =
                new.iter().flat_map(|row| want[row * heads.queries()..(row + 1) * heads.queries()].to_vec()).collect();
            let name = format!("paged_attention, {dtype:?}, window {window}");
            near(&name, dtype, &host.read(out, 4 * heads.queries()), &want);
        }
    }
}
