//! A product as cuBLASLt is asked for it. The library's matrices are column-major; a row-major one is the same memory read
//! as its transpose. So `out = a · b` becomes `outᵀ = bᵀ · aᵀ`: the factors change places, and nothing is moved.

use crate::{
    call::{At, Dtype, Form, Matrix, Product},
    host::Memory,
};
use rayon::prelude::*;

/// A column-major matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Layout {
    pub(crate) dtype: Dtype,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    /// Numbers from one column to the next.
    pub(crate) leading: i64,
    /// Numbers from one matrix of a batch to the next.
    pub(crate) batch_stride: i64,
}

impl Layout {
    pub(crate) fn of(matrix: &Matrix) -> Layout {
        Layout {
            dtype: matrix.at.dtype(),
            rows: matrix.columns as u64,
            columns: matrix.rows as u64,
            leading: matrix.stride as i64,
            batch_stride: matrix.batch_stride as i64,
        }
    }
}

/// What a product looks like apart from where its matrices lie: the key under which what the library found for it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Problem {
    pub(crate) first: Layout,
    pub(crate) second: Layout,
    pub(crate) out: Layout,
    pub(crate) transposed: [bool; 2],
    pub(crate) adds: bool,
    pub(crate) batch: i32,
}

/// One call of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lowered {
    pub(crate) problem: Problem,
    pub(crate) first: At,
    pub(crate) second: At,
    /// What is multiplied by beta and added; `out` where nothing is.
    pub(crate) added: At,
    pub(crate) out: At,
}

impl Lowered {
    /// # Panics
    /// When the library would refuse it: a mistake in a program, found the first time that it runs, with a card or without.
    pub(crate) fn of(product: &Product) -> Lowered {
        product.sizes();
        let Product { a, b, out: result, added, .. } = product;
        let (factors, kept) = (a.at.dtype(), result.at.dtype());
        let fits = factors == b.at.dtype() && (kept == factors || (factors, kept) == (Dtype::Bf16, Dtype::F32));
        assert!(fits && added.is_none_or(|at| at.dtype() == kept), "no library multiplies such numbers: {product:?}");
        assert!([a, b, result].iter().all(|matrix| matrix.stride >= matrix.columns), "rows overlap: {product:?}");
        let problem = Problem {
            first: Layout::of(&product.b),
            second: Layout::of(&product.a),
            out: Layout::of(&product.out),
            transposed: [product.form == Form::Nt, product.form == Form::Tn],
            adds: product.added.is_some(),
            batch: i32::try_from(product.batch).expect("a batch that fits"),
        };
        let out = product.out.at;
        Lowered { problem, first: product.b.at, second: product.a.at, added: product.added.unwrap_or(out), out }
    }

    /// What the library does with it, number by number.
    pub(crate) fn on_host(&self, memory: &mut Memory) {
        for index in 0..self.problem.batch as usize {
            self.one(memory, index);
        }
    }

    fn one(&self, memory: &mut Memory, index: usize) {
        let Problem { first, second, out, transposed, adds, .. } = self.problem;
        for (layout, at) in [(first, self.first), (second, self.second), (out, self.out), (out, self.added)] {
            assert_eq!(layout.dtype, at.dtype(), "a layout's numbers are not its buffer's");
        }
        // op(first) is [m, k], op(second) is [k, n]; both are laid out so that a sum runs over neighbours.
        let first = gathered(memory, self.first, first, index, !transposed[0]);
        let second = gathered(memory, self.second, second, index, transposed[1]);
        let (m, n) = (out.rows as usize, out.columns as usize);
        let k = first.len() / m.max(1);
        let place = |column: usize| index * out.batch_stride as usize + column * out.leading as usize;
        let columns: Vec<Vec<f32>> = (0..n)
            .into_par_iter()
            .map(|column| {
                let right = &second[column * k..(column + 1) * k];
                (0..m).map(|row| dot(&first[row * k..(row + 1) * k], right)).collect()
            })
            .collect();
        for (column, mut values) in columns.into_iter().enumerate() {
            if adds {
                let held = memory.read(self.added.plus(place(column)), m);
                values.iter_mut().zip(held).for_each(|(value, held)| *value += held);
            }
            memory.write(self.out.plus(place(column)), &values);
        }
    }
}

/// A column-major matrix as rows of `k` neighbours: its columns as they lie, or with `across` its rows.
fn gathered(memory: &Memory, at: At, layout: Layout, index: usize, across: bool) -> Vec<f32> {
    let (rows, columns) = (layout.rows as usize, layout.columns as usize);
    let column = |column: usize| {
        let offset = index * layout.batch_stride as usize + column * layout.leading as usize;
        memory.read(at.plus(offset), rows)
    };
    let mut out = vec![0.0; rows * columns];
    for at in 0..columns {
        for (row, value) in column(at).into_iter().enumerate() {
            out[if across { row * columns + at } else { at * rows + row }] = value;
        }
    }
    out
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
    sums.iter().sum::<f32>() + rest
}
