//! Freivalds' check (1977): whether `out = a · b` without forming the product. With a random vector `r` of ±1, `out · r` must be
//! `a · (b · r)`, in float64. The columns of `out` are taken 512 at a time, each stretch by itself: a sum over so few lets even
//! one wrong number be seen beside the roundings to bfloat16.

use crate::case::mixed;
use distill_ops::{Form, Matrix, Product};
use rayon::prelude::*;

/// Columns that are added up together.
const STRETCH: usize = 512;
/// Rows of `out` that a thread takes at once.
const BLOCK: usize = 64;

/// Numbers by the buffers they lie in.
pub(crate) struct Held<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    /// What is added, where something is.
    pub(crate) added: Option<&'a [f32]>,
    pub(crate) out: &'a [f32],
}

/// Of all rows and stretches of all of a batch.
#[derive(Default)]
pub(crate) struct Sums {
    /// As they should be.
    pub(crate) want: Vec<f64>,
    /// As they are.
    pub(crate) got: Vec<f64>,
    /// What their squares add up to on the average of all signs: the squares of what was added up.
    pub(crate) size: f64,
}

/// Both sides of the check.
pub(crate) fn sums(product: &Product, held: &Held) -> Sums {
    let [m, n, k] = product.sizes();
    let signs: Vec<f64> = (0..n).map(|at| if mixed(7, at as u64) & 1 == 0 { 1.0 } else { -1.0 }).collect();
    let stretches = n.div_ceil(STRETCH);
    let mut sums = Sums::default();
    for index in 0..product.batch {
        let right = right(product, held.b, index, &signs, [n, k, stretches]);
        let blocks: Vec<Sums> = (0..m.div_ceil(BLOCK))
            .into_par_iter()
            .map(|block| {
                let rows = block * BLOCK..((block + 1) * BLOCK).min(m);
                let mut want = left(product, held.a, index, rows.clone(), &right, [k, stretches]);
                if let (Some(added), Some(at)) = (held.added, product.added) {
                    let lies = Matrix { at, ..product.out };
                    let sums = rows.clone().flat_map(|row| folded(line(&lies, added, index, row), &signs));
                    want.iter_mut().zip(sums).for_each(|(want, sum)| *want += sum);
                }
                let (mut got, mut size) = (Vec::new(), 0.0);
                for row in rows {
                    let values = line(&product.out, held.out, index, row);
                    got.extend(folded(values, &signs));
                    size += values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
                }
                Sums { want, got, size }
            })
            .collect();
        for block in blocks {
            sums.want.extend(block.want);
            sums.got.extend(block.got);
            sums.size += block.size;
        }
    }
    sums
}

/// A row of a matrix of a batch.
fn line<'a>(matrix: &Matrix, values: &'a [f32], index: usize, row: usize) -> &'a [f32] {
    let start = matrix.at.offset + index * matrix.batch_stride + row * matrix.stride;
    &values[start..start + matrix.columns]
}

/// A row's stretches, added up with signs.
fn folded(row: &[f32], signs: &[f64]) -> Vec<f64> {
    let sum = |(values, signs): (&[f32], &[f64])| values.iter().zip(signs).map(|(x, r)| f64::from(*x) * r).sum();
    row.chunks(STRETCH).zip(signs.chunks(STRETCH)).map(sum).collect()
}

/// `op(b) · r` by stretch: `[k, stretches]`.
fn right(product: &Product, b: &[f32], index: usize, signs: &[f64], [n, k, stretches]: [usize; 3]) -> Vec<f64> {
    if product.form != Form::Nt {
        return (0..k).into_par_iter().flat_map_iter(|row| folded(line(&product.b, b, index, row), signs)).collect();
    }
    let by_stretch: Vec<Vec<f64>> = (0..stretches)
        .into_par_iter()
        .map(|stretch| {
            let mut sums = vec![0.0; k];
            let rows = stretch * STRETCH..((stretch + 1) * STRETCH).min(n);
            for (row, sign) in rows.clone().zip(&signs[rows]) {
                let values = line(&product.b, b, index, row);
                sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += f64::from(*x) * sign);
            }
            sums
        })
        .collect();
    (0..k).flat_map(|at| by_stretch.iter().map(move |sums| sums[at])).collect()
}

/// Rows of `op(a)` times what [`right`] came to: `[rows, stretches]`.
fn left(
    product: &Product,
    a: &[f32],
    index: usize,
    rows: std::ops::Range<usize>,
    right: &[f64],
    [k, stretches]: [usize; 2],
) -> Vec<f64> {
    let mut out = vec![0.0; rows.len() * stretches];
    let mut add = |row: usize, x: f32, term: usize| {
        let sums = &mut out[row * stretches..(row + 1) * stretches];
        let terms = &right[term * stretches..(term + 1) * stretches];
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += f64::from(x) * term);
    };
    if product.form == Form::Tn {
        for term in 0..k {
            let values = &line(&product.a, a, index, term)[rows.clone()];
            values.iter().enumerate().for_each(|(row, x)| add(row, *x, term));
        }
    } else {
        for (at, row) in rows.enumerate() {
            line(&product.a, a, index, row).iter().enumerate().for_each(|(term, x)| add(at, *x, term));
        }
    }
    out
}
