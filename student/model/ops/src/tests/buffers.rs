//! Buffers: what was given back or is not there is refused, what is written is what is read, a step happens in place.

use super::{Host, numbers};
use crate::{
    At, Call, Dtype, Form, Matrix, OpsError, Product,
    kernels::{AdamNumbers, AdamW, Cast, Gather},
};
use half::bf16;

/// The message of an operation that must be refused.
fn refused<T>(what: &str, result: Result<T, OpsError>) -> String {
    match result {
        Ok(_) => panic!("{what} was not refused"),
        Err(error) => error.to_string(),
    }
}

fn square(at: At) -> Matrix {
    Matrix::new(at, 4, 4)
}

#[test]
fn a_buffer_that_was_given_back_is_refused_everywhere() {
    let mut host = Host::new();
    let [gone, a, b, out] = [0; 4].map(|_| host.put(Dtype::F32, &numbers(1, 16)));
    let rounded = host.zeros(Dtype::Bf16, 16);
    let integers = host.ints(&[0, 1]);
    host.0.free(gone.buffer).expect("given back");
    host.0.free(integers.buffer).expect("given back");
    let good = Product::new(Form::Nt, square(a), square(b), square(out));
    host.run(good);
    let calls: [Call; 8] = [
        Product { a: square(gone), ..good }.into(),
        Product { b: square(gone), ..good }.into(),
        Product { out: square(gone), ..good }.into(),
        good.plus(Some(gone)).into(),
        Call::Zero(gone, 16),
        Call::Zero(gone, 0),
        Cast { y: rounded, x: gone, len: 16 }.into(),
        Gather { y: out, x: a, index: integers, rows: 2, width: 4 }.into(),
    ];
    for call in calls {
        let name = call.name();
        let message = refused(&name, host.0.run(&[call]));
        assert!(message.contains("given back") && message.contains(&name), "{name}: {message}");
    }
    for (what, message) in [
        ("a read", refused("a read", host.0.read(gone, 1))),
        ("a write", refused("a write", host.0.write(gone, &[1.0]))),
        ("a write of integers", refused("a write of integers", host.0.write_ints(integers, &[1]))),
    ] {
        assert!(message.contains("given back"), "{what}: {message}");
    }
}

/// A learner that makes more room frees the old; whoever kept the old place must hear of it, not read what lies there now.
#[test]
fn the_place_of_a_weight_that_was_replaced_is_refused() {
    let mut host = Host::new();
    let [x, weight, out] = [0; 3].map(|_| host.put(Dtype::F32, &numbers(2, 16)));
    let product = |weight| Product::new(Form::Nt, square(x), square(weight), square(out));
    host.run(product(weight));
    host.0.free(weight.buffer).expect("given back");
    let other = host.put(Dtype::F32, &numbers(3, 16));
    assert_ne!(other.buffer, weight.buffer, "a buffer's number is used once");
    let message = refused("a stale place", host.0.run(&[product(weight).into()]));
    assert!(message.contains("given back"), "{message}");
    host.run(product(other));
}

#[test]
fn a_place_that_is_not_there_is_refused_and_nothing_after_it_runs() {
    let mut host = Host::new();
    let [a, b, out, added] = [0; 4].map(|_| host.put(Dtype::F32, &numbers(4, 16)));
    let short = host.zeros(Dtype::F32, 15);
    let integers = host.ints(&[7, 8]);
    let good = Product::new(Form::Nn, square(a), square(b), square(out)).plus(Some(added));
    let calls: [Call; 9] = [
        Product { a: square(short), ..good }.into(),
        Product { b: square(short), ..good }.into(),
        Product { out: square(short), ..good }.into(),
        good.plus(Some(short)).into(),
        Product { a: square(a.plus(1)), ..good }.into(),
        Product { batch: 2, b: square(b).batch(1), ..good }.into(),
        Call::Zero(a.plus(1), 16),
        Call::Zero(integers, 3),
        Cast { y: short, x: a.plus(17), len: 0 }.into(),
    ];
    for call in calls {
        let name = call.name();
        let message = refused(&name, host.0.run(&[call, Call::Zero(b, 16)]));
        assert!(message.contains("of a buffer of") && message.contains(&name), "{name}: {message}");
    }
    assert_eq!(host.read(b, 16), numbers(4, 16), "what comes after a refused call did not run");
    for message in [
        refused("a read past the end", host.0.read(a.plus(10), 7)),
        refused("a write past the end", host.0.write(a.plus(16), &[0.0])),
        refused("integers past the end", host.0.write_ints(integers, &[0; 3])),
    ] {
        assert!(message.contains("of a buffer of"), "{message}");
    }
    host.run(Product { batch: 2, b: square(b).batch(0), out: square(out), ..good });
    host.run(Call::Zero(a.plus(16), 0));
    // Rows with gaps: behind the last there need be none.
    let (gapped, b) = (Matrix::new(a.plus(1), 4, 3).stride(4), Matrix::new(b, 3, 4));
    host.run(Product::new(Form::Nn, gapped, b, square(out)));
}

#[test]
fn integers_are_not_taken_for_floats() {
    let mut host = Host::new();
    let integers = host.ints(&[1, 2]);
    let mut messages = vec![
        refused("floats read", host.0.read(integers, 1)),
        refused("floats written", host.0.write(integers, &[1.0])),
    ];
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F64] {
        let floats = host.zeros(dtype, 2);
        messages.push(refused("integers written", host.0.write_ints(floats, &[1])));
    }
    for message in messages {
        assert!(message.contains("kept"), "{message}");
    }
}

#[test]
fn what_is_written_is_read_back_rounded_and_its_neighbours_stay() {
    let values = [1.0 + 1.0 / 512.0, -3.0e-7, 65_535.0, f32::MIN_POSITIVE, 0.1];
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F64] {
        let mut host = Host::new();
        let at = host.put(dtype, &[0.5; 9]);
        host.0.write(at.plus(3), &values).expect("a write");
        let kept = values.map(|value| if dtype == Dtype::Bf16 { bf16::from_f32(value).to_f32() } else { value });
        let want: Vec<f32> = [0.5; 3].into_iter().chain(kept).chain([0.5]).collect();
        assert_eq!(host.read(at, 9), want, "{dtype:?}");
        assert_eq!(host.read(at.plus(4), 2), kept[1..3], "{dtype:?}: from an offset");
        host.run(Call::Zero(at.plus(2), 4));
        let want: Vec<f32> = [0.5, 0.5, 0.0, 0.0, 0.0, 0.0].into_iter().chain(want[6..].iter().copied()).collect();
        assert_eq!(host.read(at, 9), want, "{dtype:?}: four of them are zero");
    }
    // Integers are seen by what they pick.
    let mut host = Host::new();
    let index = host.ints(&[0; 5]);
    host.0.write_ints(index.plus(1), &[3, 1, 2]).expect("a write");
    let (x, y) = (host.put(Dtype::F32, &[10.0, 11.0, 12.0, 13.0]), host.zeros(Dtype::F32, 5));
    host.run(Gather { y, x, index, rows: 5, width: 1 });
    assert_eq!(host.read(y, 5), [10.0, 13.0, 11.0, 12.0, 10.0]);
}

/// A step that made new buffers would leave products with the old weights.
#[test]
fn a_step_writes_weights_moments_and_shadow_in_place() {
    let mut host = Host::new();
    let len = 37;
    let [w, g, m] = [5, 6, 7].map(|seed| host.put(Dtype::F32, &numbers(seed, len + 4)));
    let v = host.put(Dtype::F32, &numbers(8, len + 4).iter().map(|value| value * value).collect::<Vec<_>>());
    let shadow = host.zeros(Dtype::Bf16, len + 4);
    let out = host.zeros(Dtype::F32, 1);
    let numbers = AdamNumbers {
        scale: 0.5,
        betas: [0.9, 0.99],
        rests: [0.1, 0.01],
        step_size: 0.01,
        root: 1.5,
        epsilon: 1e-8,
        kept: 0.999,
    };
    let [w, g, m, v, shadow] = [w, g, m, v, shadow].map(|at| at.plus(2));
    let picked = Product::new(Form::Nt, Matrix::new(w, 1, 1), Matrix::new(w, 1, 1), Matrix::new(out, 1, 1));
    let before = [w, m, v, g].map(|at| host.read(at.buffer.start(), len + 4));
    host.run(AdamW { w, g, m, v, shadow: Some(shadow), len, numbers });
    let after = [w, m, v, g].map(|at| host.read(at.buffer.start(), len + 4));
    for (name, (before, after)) in ["weights", "first moments", "second moments"].iter().zip(before.iter().zip(&after))
    {
        assert!((2..len + 2).all(|at| before[at] != after[at]), "{name}: every one took the step");
        assert!([0, 1, len + 2, len + 3].iter().all(|at| before[*at] == after[*at]), "{name}: none beside did");
    }
    assert_eq!(before[3], after[3], "gradients stay");
    let rounded: Vec<f32> = after[0][2..len + 2].iter().map(|value| bf16::from_f32(*value).to_f32()).collect();
    assert_eq!(host.read(shadow, len), rounded, "the shadow is the weights in bfloat16");
    assert_eq!(host.read(shadow.buffer.start(), 2), [0.0; 2], "and nothing beside");
    host.run(picked);
    assert_eq!(host.read(out, 1), [after[0][2] * after[0][2]], "a product made before the step sees the new weight");
}
