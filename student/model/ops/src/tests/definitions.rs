//! What each kernel is defined to do, against Burn's plain tensors and its autodiff, at odd sizes.

use super::{Host, KEPT, fixed, floats, gradients, leaf, near, near_to, numbers, places, tensor};
use crate::{
    Dtype,
    kernels::{
        AdamNumbers, AdamW, AdamWRounded, AddBias, Cast, ColumnReduce, ColumnSum, CrossEntropy, EmbedBackward, Gather,
        HeadNorm, HeadNormBackward, Heads, RmsNorm, RmsNormBackward, Rope, SQUARE_PARTS, Scatter, SquareSum, Sum,
        SumDoubles, SwiGlu, SwiGluBackward,
    },
};
use burn::tensor::{Device, IndexingUpdateOp, Tensor, activation::silu};
use half::bf16;

const HEADS: Heads = Heads { query: 4, key: 2, dim: 6 };

fn normed<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f32) -> Tensor<D> {
    let square = (x.clone() * x.clone()).mean_dim(D - 1);
    x / square.add_scalar(eps).sqrt() * weight.unsqueeze()
}

#[test]
fn rms_norm_and_its_gradients() {
    let (eps, parts) = (1e-3, 3);
    for dtype in KEPT {
        for [rows, width] in [[7, 13], [1, 5], [2, 1]] {
            let len = rows * width;
            let mut host = Host::new();
            let [x, dy, residual] = [1, 2, 3].map(|seed| host.put(dtype, &numbers(seed, len)));
            let [weight, learnt] = [4, 5].map(|seed| host.put(Dtype::F32, &numbers(seed, width)));
            let [xs, dys, residuals] = [x, dy, residual].map(|at| host.read(at, len));
            let weights = host.read(weight, width);
            let y = host.zeros(dtype, len);
            let [rstd, partial] = [rows, parts * width].map(|len| host.zeros(Dtype::F32, len));
            host.run(RmsNorm { y, rstd, x, weight, eps, rows, width });
            let twin = (leaf(&xs, [rows, width]), leaf(&weights, [width]));
            let want = normed(twin.0.clone(), twin.1.clone(), eps);
            near("rms_norm", dtype, &host.read(y, len), &floats(want.clone().inner()));
            let found = (want * fixed(&dys, [rows, width])).sum().backward();
            let dx = floats(twin.0.grad(&found).expect("a gradient"));
            let d_weight = floats(twin.1.grad(&found).expect("a gradient"));
            // On top of a residual, in its place, and alone in the place of what came in.
            let residual_at = Some(residual);
            let call = RmsNormBackward {
                dx: residual,
                partial,
                residual: residual_at,
                dy,
                x,
                rstd,
                weight,
                rows,
                width,
                parts,
            };
            host.run(call);
            let sums: Vec<f32> = dx.iter().zip(residuals).map(|(dx, residual)| dx + residual).collect();
            near("rms_norm_backward", dtype, &host.read(residual, len), &sums);
            let before = host.read(learnt, width);
            host.run(ColumnReduce { out: learnt, partial, parts, width });
            let sums: Vec<f32> = before.iter().zip(&d_weight).map(|(held, d)| held + d).collect();
            near("the weight's gradient on top of what was there", Dtype::F32, &host.read(learnt, width), &sums);
            host.run(RmsNormBackward { dx: dy, residual: None, ..call });
            near("rms_norm_backward in place", dtype, &host.read(dy, len), &dx);
        }
    }
}

#[test]
fn norms_of_heads_and_their_gradients() {
    let Heads { query, key, dim } = HEADS;
    let (rows, width, eps, parts) = (5, HEADS.width(), 1e-3, 2);
    for dtype in KEPT {
        let mut host = Host::new();
        let [x, d] = [1, 2].map(|seed| host.put(dtype, &numbers(seed, rows * width)));
        let [q_weight, k_weight] = [3, 4].map(|seed| host.put(Dtype::F32, &numbers(seed, dim)));
        let y = host.zeros(dtype, rows * width);
        let [rstd, partial, learnt] =
            [rows * (query + key), parts * 2 * dim, 2 * dim].map(|len| host.zeros(Dtype::F32, len));
        let [xs, ds] = [x, d].map(|at| host.read(at, rows * width));
        let weights = [q_weight, k_weight].map(|at| host.read(at, dim));
        host.run(HeadNorm { y, rstd, x, q_weight, k_weight, eps, rows, heads: HEADS });
        let twin = leaf(&xs, [rows, query + 2 * key, dim]);
        let [q, k] = weights.each_ref().map(|weights| leaf(weights, [dim]));
        let part = |from: usize, to: usize| twin.clone().slice([0..rows, from..to]);
        let want = Tensor::cat(
            vec![
                normed(part(0, query), q.clone(), eps),
                normed(part(query, query + key), k.clone(), eps),
                part(query + key, query + 2 * key),
            ],
            1,
        );
        near("head_norm", dtype, &host.read(y, rows * width), &floats(want.clone().inner()));
        host.run(HeadNormBackward { d, partial, x, rstd, q_weight, k_weight, rows, heads: HEADS, parts });
        host.run(ColumnReduce { out: learnt, partial, parts, width: 2 * dim });
        let found = (want * fixed(&ds, [rows, query + 2 * key, dim])).sum().backward();
        let dx = floats(twin.grad(&found).expect("a gradient"));
        near("head_norm_backward", dtype, &host.read(d, rows * width), &dx);
        let d_weights = [q, k].map(|weight| floats(weight.grad(&found).expect("a gradient"))).concat();
        near("the weights' gradients", Dtype::F32, &host.read(learnt, 2 * dim), &d_weights);
    }
}

#[test]
fn swiglu_and_its_gradient() {
    for dtype in KEPT {
        for [rows, inner] in [[5, 7], [1, 1], [3, 16]] {
            let mut host = Host::new();
            let values: Vec<f32> = numbers(1, 2 * rows * inner).iter().map(|value| value * 8.0).collect();
            let (x, dy) = (host.put(dtype, &values), host.put(dtype, &numbers(2, rows * inner)));
            let [y, dx] = [1, 2].map(|times| host.zeros(dtype, times * rows * inner));
            let (xs, dys) = (host.read(x, 2 * rows * inner), host.read(dy, rows * inner));
            host.run(SwiGlu { y, x, rows, inner });
            let twin = leaf(&xs, [rows, 2 * inner]);
            let half = |from: usize| twin.clone().slice([0..rows, from..from + inner]);
            let want = silu(half(0)) * half(inner);
            near("swiglu", dtype, &host.read(y, rows * inner), &floats(want.clone().inner()));
            let want = gradients(want, fixed(&dys, [rows, inner]), &[&twin]);
            for dx in [dx, x] {
                host.run(SwiGluBackward { dx, x, dy, rows, inner });
                near("swiglu_backward", dtype, &host.read(dx, 2 * rows * inner), &want[0]);
            }
        }
    }
}

#[test]
fn biases_and_sums_of_columns() {
    for dtype in KEPT {
        for [rows, width, parts] in [[7, 5, 3], [2, 9, 4], [1, 1, 1]] {
            let mut host = Host::new();
            let x = host.put(dtype, &numbers(1, rows * width));
            let [bias, out] = [2, 3].map(|seed| host.put(Dtype::F32, &numbers(seed, width)));
            let partial = host.put(Dtype::F32, &numbers(4, parts * width));
            let twin = |host: &mut Host| tensor(&host.read(x, rows * width), [rows, width]);
            let row = |host: &mut Host, at| tensor(&host.read(at, width), [1, width]);
            let want = twin(&mut host) + row(&mut host, bias);
            host.run(AddBias { x, bias, rows, width });
            near("add_bias", dtype, &host.read(x, rows * width), &floats(want));
            let want = twin(&mut host).sum_dim(0) + row(&mut host, out);
            host.run(ColumnSum { partial, x, rows, width, parts });
            let first: Vec<i32> = (0..rows as i32).step_by(parts).collect();
            let of_first = twin(&mut host).select(0, places(&first, &Device::flex())).sum_dim(0);
            near("column_sum, every parts-th row", Dtype::F32, &host.read(partial, width), &floats(of_first));
            host.run(ColumnReduce { out, partial, parts, width });
            near("column_reduce", Dtype::F32, &host.read(out, width), &floats(want));
        }
    }
}

/// Positions that begin anew with each document, as `[rows, heads, dim]` is turned by them.
fn turned(x: Tensor<3>, [cos, sin]: [Tensor<2>; 2], positions: &[i32]) -> Tensor<3> {
    let [rows, heads, dim] = x.dims();
    let half = dim / 2;
    let index = places(positions, &x.device());
    let [cos, sin] = [cos, sin].map(|table| table.select(0, index.clone()).reshape([rows, 1, half]));
    let (a, b) = (x.clone().slice([0..rows, 0..heads, 0..half]), x.slice([0..rows, 0..heads, half..dim]));
    Tensor::cat(vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin], 2)
}

#[test]
fn rotary_positions_with_a_bias_and_back() {
    let Heads { query, key, dim } = HEADS;
    let (width, half) = (HEADS.width(), dim / 2);
    let positions = [0, 1, 2, 0, 1, 8];
    let rows = positions.len();
    let angles: Vec<f64> =
        (0..9).flat_map(|at| (0..half).map(move |pair| at as f64 * 0.3_f64.powi(pair as i32))).collect();
    for dtype in KEPT {
        for with_bias in [true, false] {
            let mut host = Host::new();
            let [x, d] = [1, 2].map(|seed| host.put(dtype, &numbers(seed, rows * width)));
            let bias = host.put(Dtype::F32, &numbers(3, width));
            let tables =
                [f64::cos, f64::sin].map(|of| angles.iter().map(|angle| of(*angle) as f32).collect::<Vec<_>>());
            let [cos, sin] = tables.each_ref().map(|table| host.put(Dtype::F32, table));
            let at = host.ints(&positions);
            let [xs, ds] = [x, d].map(|at| host.read(at, rows * width));
            let biases = if with_bias { host.read(bias, width) } else { vec![0.0; width] };
            let call =
                Rope { x, bias: with_bias.then_some(bias), positions: at, cos, sin, rows, heads: HEADS, sign: 1.0 };
            host.run(call);
            let (all, moved) = (query + 2 * key, query + key);
            let twin = leaf(&xs, [rows, all, dim]);
            let biased = twin.clone() + fixed(&biases, [1, all, dim]);
            let tables = tables.each_ref().map(|table| fixed(table, [9, half]));
            let want = Tensor::cat(
                vec![
                    turned(biased.clone().slice([0..rows, 0..moved]), tables, &positions),
                    biased.slice([0..rows, moved..all]),
                ],
                1,
            );
            near("rope", dtype, &host.read(x, rows * width), &floats(want.clone().inner()));
            host.run(Rope { x: d, bias: None, sign: -1.0, ..call });
            let want = gradients(want, fixed(&ds, [rows, all, dim]), &[&twin]);
            near("rope back", dtype, &host.read(d, rows * width), &want[0]);
        }
    }
}

#[test]
fn cross_entropy_with_z_loss_and_its_gradient_in_place() {
    let targets = [4, 0, 10, 3, 10];
    let weights = [1.0, 0.0, 0.5, 2.0, 1.0];
    let (rows, vocab, inverse_divisor) = (5, 11, 0.25);
    for dtype in KEPT {
        for z in [0.0, 0.3] {
            let mut host = Host::new();
            let mut values: Vec<f32> = numbers(1, rows * vocab).iter().map(|value| value * 6.0).collect();
            // A row of weight 0 is not looked at, whatever it holds.
            values[vocab..2 * vocab].fill(f32::NAN);
            let (target_at, weight_at) = (host.ints(&targets), host.put(Dtype::F32, &weights));
            let logits = host.put(dtype, &values);
            let loss = host.put(Dtype::F32, &[7.0; 5]);
            let held = host.read(logits, rows * vocab);
            let call = CrossEntropy {
                logits,
                loss,
                targets: target_at,
                weights: weight_at,
                z,
                inverse_divisor,
                rows,
                vocab,
                backward: false,
            };
            let finite: Vec<f32> = held.iter().map(|value| if value.is_nan() { 0.0 } else { *value }).collect();
            let twin = leaf(&finite, [rows, vocab]);
            let lse = twin.clone().exp().sum_dim(1).log();
            let index = places(&targets, &twin.device()).reshape([rows, 1]);
            let scores = lse.clone() - twin.clone().gather(1, index) + lse.clone() * lse * z;
            let want = scores * fixed(&weights, [rows, 1]) * inverse_divisor;
            host.run(call);
            near("cross_entropy", Dtype::F32, &host.read(loss, rows), &floats(want.clone().inner()));
            let same = host.read(logits, rows * vocab);
            assert!(same.iter().zip(&held).all(|(same, held)| same.to_bits() == held.to_bits()), "logits stay");
            host.run(CrossEntropy { backward: true, ..call });
            near("cross_entropy backward", Dtype::F32, &host.read(loss, rows), &floats(want.clone().inner()));
            let want = gradients(want, fixed(&[1.0; 5], [rows, 1]), &[&twin]);
            near("the gradient of logits", dtype, &host.read(logits, rows * vocab), &want[0]);
        }
    }
}

#[test]
fn rows_are_taken_put_and_added_up() {
    let (vocab, width, ids) = (9, 5, [3, 8, 3, 0, 3, 7]);
    let rows = ids.len();
    let device = Device::flex();
    for dtype in KEPT {
        let mut host = Host::new();
        let table = host.put(dtype, &numbers(1, vocab * width));
        let (y, index) = (host.zeros(dtype, rows * width), host.ints(&ids));
        host.run(Gather { y, x: table, index, rows, width });
        let held = tensor(&host.read(table, vocab * width), [vocab, width]);
        let want = held.clone().select(0, places(&ids, &device));
        near("gather_rows", dtype, &host.read(y, rows * width), &floats(want));
        // Each place once.
        let to = [6, 1, 0];
        let (x, index) = (host.put(dtype, &numbers(2, 3 * width)), host.ints(&to));
        host.run(Scatter { y: table, x, index, rows: 3, width });
        let values = tensor(&host.read(x, 3 * width), [3, width]);
        let index = places(&to, &device);
        let cleared = held.clone().select_assign(
            0,
            index.clone(),
            held.clone().select(0, index.clone()).neg(),
            IndexingUpdateOp::Add,
        );
        let want = cleared.select_assign(0, index, values, IndexingUpdateOp::Add);
        near("scatter_rows", dtype, &host.read(table, vocab * width), &floats(want));
        // Tokens 3, 1, 0, 2, 4, 5 have the ids 0, 3, 3, 3, 7, 8 in this order.
        let dx = host.put(dtype, &numbers(3, rows * width));
        let gradient = host.put(Dtype::F32, &numbers(4, vocab * width));
        let before = tensor(&host.read(gradient, vocab * width), [vocab, width]);
        let values = tensor(&host.read(dx, rows * width), [rows, width]);
        let order = host.ints(&[3, 0, 2, 4, 5, 1]);
        let (starts, distinct) = (host.ints(&[0, 1, 4, 5, 6]), host.ints(&[0, 3, 7, 8]));
        host.run(EmbedBackward { gradient, dx, order, starts, ids: distinct, distinct: 4, width });
        let want = before.select_assign(0, places(&ids, &device), values, IndexingUpdateOp::Add);
        near("embed_backward", Dtype::F32, &host.read(gradient, vocab * width), &floats(want));
    }
}

#[test]
fn sums_squares_and_casts() {
    for len in [1, 7, 2000] {
        let mut host = Host::new();
        let x = host.put(Dtype::F32, &numbers(1, len));
        let (out, partial, square) =
            (host.put(Dtype::F32, &[3.0]), host.zeros(Dtype::F64, SQUARE_PARTS), host.put(Dtype::F64, &[2.0]));
        let y = host.zeros(Dtype::Bf16, len);
        let values = host.read(x, len);
        let twin = tensor(&values, [len]);
        host.run(Sum { out, x, len });
        near_to("sum", 1e-5, 1e-4, &host.read(out, 1), &[3.0 + twin.clone().sum().into_scalar::<f32>()]);
        host.run(SquareSum { partial, x, len });
        host.run(SumDoubles { out: square, x: partial, len: SQUARE_PARTS });
        let want = (twin.clone() * twin).sum().into_scalar::<f32>() + 2.0;
        near_to("square_sum", 1e-5, 1e-5, &host.read(square, 1), &[want]);
        host.run(Cast { y, x, len });
        let want: Vec<f32> = values.iter().map(|value| bf16::from_f32(*value).to_f32()).collect();
        assert_eq!(host.read(y, len), want, "cast_bf16");
    }
}

/// A step's numbers from what a recipe says.
fn adam(step: i32, learning_rate: f64, decay: f64) -> AdamNumbers {
    let betas = [0.9, 0.95_f64];
    AdamNumbers {
        scale: 0.5,
        betas: betas.map(|beta| beta as f32),
        rests: betas.map(|beta| (1.0 - beta) as f32),
        step_size: (learning_rate / (1.0 - betas[0].powi(step))) as f32,
        root: (1.0 / (1.0 - betas[1].powi(step)).sqrt()) as f32,
        epsilon: 1e-8,
        kept: (1.0 - learning_rate * decay) as f32,
    }
}

/// Three steps by the paper's formulas in Burn's tensors: parameters and moments.
fn stepped([mut w, mut m, mut v]: [Tensor<1>; 3], g: &Tensor<1>, learning_rate: f64, decay: f64) -> [Tensor<1>; 3] {
    for step in 1..=3 {
        let g = g.clone() * 0.5;
        m = m * 0.9 + g.clone() * 0.1;
        v = v * 0.95 + g.clone() * g * 0.05;
        let first = m.clone() / (1.0 - 0.9_f64.powi(step));
        let second = v.clone() / (1.0 - 0.95_f64.powi(step));
        w = w.clone() - w * (learning_rate * decay) - first / (second.sqrt() + 1e-8) * learning_rate;
    }
    [w, m, v]
}

#[test]
fn adamw_takes_the_papers_steps() {
    let len = 37;
    for [learning_rate, decay] in [[0.05, 0.1], [0.2, 0.0]] {
        let mut host = Host::new();
        let [w, g] = [1, 2].map(|seed| host.put(Dtype::F32, &numbers(seed, len)));
        let [m, v] = [0; 2].map(|_| host.zeros(Dtype::F32, len));
        let twin = [w, m, v, g].map(|at| tensor(&host.read(at, len), [len]));
        for step in 1..=3 {
            host.run(AdamW { w, g, m, v, shadow: None, len, numbers: adam(step, learning_rate, decay) });
        }
        let [tw, tm, tv, tg] = twin;
        let want = stepped([tw, tm, tv], &tg, learning_rate, decay);
        for ((name, at), want) in [("weights", w), ("first moments", m), ("second moments", v)].into_iter().zip(want) {
            near_to(name, 1e-5, 1e-6, &host.read(at, len), &floats(want));
        }
    }
}

/// Rounded at random the step is one of the two neighbours, by its place and seed alone, and right on average.
#[test]
fn adamw_in_bfloat16_is_rounded_to_a_neighbour_and_right_on_average() {
    let len = 4000;
    let numbers_of = adam(1, 0.01, 0.1);
    let run = |stretches: &[[usize; 2]], seed| {
        let mut host = Host::new();
        // All the same, so that their mean tells whether rounding drifts.
        let [w, m, v] = [0.7, 0.1, 0.3].map(|value| host.put(Dtype::Bf16, &vec![value; len]));
        let g = host.put(Dtype::F32, &vec![0.4; len]);
        for [first, end] in stretches {
            let [w, g, m, v] = [w, g, m, v].map(|at| at.plus(*first));
            host.run(AdamWRounded { w, g, m, v, len: end - first, numbers: numbers_of, seed, first: 100 + first });
        }
        [w, m, v].map(|at| host.read(at, len))
    };
    let found = run(&[[0, len]], 3);
    let start = [0.7, 0.1, 0.3].map(|value| bf16::from_f32(value).to_f32());
    let mut host = Host::new();
    let [w, m, v] = start.map(|value| host.put(Dtype::F32, &[value]));
    let g = host.put(Dtype::F32, &[0.4]);
    host.run(AdamW { w, g, m, v, shadow: None, len: 1, numbers: numbers_of });
    for (values, at) in found.iter().zip([w, m, v]) {
        let want = host.read(at, 1)[0];
        let below = f32::from_bits(want.to_bits() & 0xffff_0000);
        let above = f32::from_bits((want.to_bits() & 0xffff_0000) + 0x1_0000);
        assert!(values.iter().all(|value| *value == below || *value == above), "{want}: a neighbour");
        let mean = values.iter().copied().map(f64::from).sum::<f64>() / len as f64;
        let tolerance = f64::from(above - below) * 0.04;
        assert!((mean - f64::from(want)).abs() < tolerance, "{want}: on average {mean}");
    }
    assert_eq!(run(&[[0, 1234], [1234, len]], 3), found, "stretches do not matter, places do");
    assert_ne!(run(&[[0, len]], 4), found, "another step is rounded otherwise");
}
