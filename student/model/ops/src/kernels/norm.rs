//! RMSNorm (Zhang and Sennrich, 2019), over rows and over the heads of a row, forward and backward.

use crate::{
    call::{At, Kernel, Launch},
    host::Memory,
};

/// `y = x · rstd · weight`, `rstd = 1 / √(mean(x²) + eps)`.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm {
    /// `[rows, width]`
    pub y: At,
    /// `[rows]`, float32.
    pub rstd: At,
    /// `[rows, width]`
    pub x: At,
    /// `[width]`, float32.
    pub weight: At,
    /// Added to the mean square.
    pub eps: f32,
    /// Rows.
    pub rows: usize,
    /// Numbers of a row.
    pub width: usize,
}

impl Kernel for RmsNorm {
    fn launch(&self) -> Launch {
        let places = [self.y, self.rstd, self.x, self.weight].map(Into::into);
        let args = places.into_iter().chain([self.eps.into(), self.rows.into(), self.width.into()]).collect();
        Launch::new("rms_norm", Some(self.x.dtype()), self.rows, args)
    }

    fn define(&self, memory: &mut Memory) {
        let weight = memory.read(self.weight, self.width);
        for row in 0..self.rows {
            let x = memory.read(self.x.plus(row * self.width), self.width);
            let (y, rstd) = normed(&x, &weight, self.eps);
            memory.write(self.rstd.plus(row), &[rstd]);
            memory.write(self.y.plus(row * self.width), &y);
        }
    }
}

fn normed(x: &[f32], weight: &[f32], eps: f32) -> (Vec<f32>, f32) {
    let square: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let rstd = (1.0 / (square / x.len() as f64 + f64::from(eps)).sqrt()) as f32;
    (x.iter().zip(weight).map(|(x, weight)| x * rstd * weight).collect(), rstd)
}

/// `dx = rstd · (g - x̂ · mean(g · x̂))` with `g = dy · weight` and `x̂ = x · rstd`.
fn back(dy: &[f32], x: &[f32], rstd: f32, weight: &[f32]) -> Vec<f32> {
    let terms = dy.iter().zip(x).zip(weight);
    let mean: f64 = terms.clone().map(|((dy, x), weight)| f64::from(dy * weight) * f64::from(x * rstd)).sum::<f64>();
    let mean = (mean / x.len() as f64) as f32;
    terms.map(|((dy, x), weight)| rstd * (dy * weight - x * rstd * mean)).collect()
}

/// `dx = residual + ` the gradient of [`RmsNorm`]; the weight's gradient in parts, for [`super::ColumnReduce`]. `dx` may be
/// `residual` or `dy`.
#[derive(Clone, Copy, Debug)]
pub struct RmsNormBackward {
    /// `[rows, width]`
    pub dx: At,
    /// `[parts, width]`, float32: part `p` sums over the rows `p`, `p + parts`, …
    pub partial: At,
    /// `[rows, width]`
    pub residual: Option<At>,
    /// `[rows, width]`
    pub dy: At,
    /// `[rows, width]`
    pub x: At,
    /// `[rows]`
    pub rstd: At,
    /// `[width]`
    pub weight: At,
    /// Rows.
    pub rows: usize,
    /// Numbers of a row.
    pub width: usize,
    /// Parts.
    pub parts: usize,
}

impl Kernel for RmsNormBackward {
    fn launch(&self) -> Launch {
        let args = vec![
            self.dx.into(),
            self.partial.into(),
            self.residual.into(),
            self.dy.into(),
            self.x.into(),
            self.rstd.into(),
            self.weight.into(),
            self.rows.into(),
            self.width.into(),
            self.parts.into(),
        ];
        Launch::new("rms_norm_backward", Some(self.x.dtype()), self.parts, args)
    }

    fn define(&self, memory: &mut Memory) {
        let width = self.width;
        let weight = memory.read(self.weight, width);
        memory.write(self.partial, &vec![0.0; self.parts * width]);
        for row in 0..self.rows {
            let at = |base: At| base.plus(row * width);
            let (dy, x) = (memory.read(at(self.dy), width), memory.read(at(self.x), width));
            let rstd = memory.read(self.rstd.plus(row), 1)[0];
            let mut dx = back(&dy, &x, rstd, &weight);
            if let Some(residual) = self.residual {
                let residual = memory.read(at(residual), width);
                dx.iter_mut().zip(residual).for_each(|(dx, residual)| *dx += residual);
            }
            memory.write(at(self.dx), &dx);
            let learnt: Vec<f32> = dy.iter().zip(&x).map(|(dy, x)| dy * x * rstd).collect();
            memory.add(self.partial.plus(row % self.parts * width), &learnt);
        }
    }
}

/// [`RmsNorm`] of every query head by one weight and of every key head by another; values are copied.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorm {
    /// `[rows, (heads + 2 · kv_heads) · dim]`
    pub y: At,
    /// `[rows, heads + kv_heads]`, float32.
    pub rstd: At,
    /// As `y`.
    pub x: At,
    /// `[dim]`, float32: of queries.
    pub q_weight: At,
    /// `[dim]`, float32: of keys.
    pub k_weight: At,
    /// Added to the mean square.
    pub eps: f32,
    /// Rows.
    pub rows: usize,
    /// Their heads.
    pub heads: super::Heads,
}

impl Kernel for HeadNorm {
    fn launch(&self) -> Launch {
        let places = [self.y, self.rstd, self.x, self.q_weight, self.k_weight].map(Into::into);
        let args = places.into_iter().chain([self.eps.into(), self.rows.into()]).chain(self.heads.args()).collect();
        Launch::new("head_norm", Some(self.x.dtype()), self.rows, args)
    }

    fn define(&self, memory: &mut Memory) {
        let super::Heads { query, key, dim } = self.heads;
        let width = self.heads.width();
        let weights = [memory.read(self.q_weight, dim), memory.read(self.k_weight, dim)];
        for row in 0..self.rows {
            for head in 0..query + 2 * key {
                let offset = row * width + head * dim;
                let x = memory.read(self.x.plus(offset), dim);
                let y = if head < query + key {
                    let (y, rstd) = normed(&x, &weights[usize::from(head >= query)], self.eps);
                    memory.write(self.rstd.plus(row * (query + key) + head), &[rstd]);
                    y
                } else {
                    x
                };
                memory.write(self.y.plus(offset), &y);
            }
        }
    }
}

/// The gradient of [`HeadNorm`], in place.
#[derive(Clone, Copy, Debug)]
pub struct HeadNormBackward {
    /// The gradient of what came out, then of what came in.
    pub d: At,
    /// `[parts, 2 · dim]`, float32: of the query weight, then of the key weight.
    pub partial: At,
    /// What came in.
    pub x: At,
    /// `[rows, heads + kv_heads]`
    pub rstd: At,
    /// `[dim]`
    pub q_weight: At,
    /// `[dim]`
    pub k_weight: At,
    /// Rows.
    pub rows: usize,
    /// Their heads.
    pub heads: super::Heads,
    /// Parts.
    pub parts: usize,
}

impl Kernel for HeadNormBackward {
    fn launch(&self) -> Launch {
        let places = [self.d, self.partial, self.x, self.rstd, self.q_weight, self.k_weight].map(Into::into);
        let rest = std::iter::once(self.rows.into()).chain(self.heads.args()).chain([self.parts.into()]);
        Launch::new("head_norm_backward", Some(self.x.dtype()), self.parts, places.into_iter().chain(rest).collect())
    }

    fn define(&self, memory: &mut Memory) {
        let super::Heads { query, key, dim } = self.heads;
        let weights = [memory.read(self.q_weight, dim), memory.read(self.k_weight, dim)];
        memory.write(self.partial, &vec![0.0; self.parts * 2 * dim]);
        for row in 0..self.rows {
            for head in 0..query + key {
                let offset = row * self.heads.width() + head * dim;
                let (d, x) = (memory.read(self.d.plus(offset), dim), memory.read(self.x.plus(offset), dim));
                let rstd = memory.read(self.rstd.plus(row * (query + key) + head), 1)[0];
                let which = usize::from(head >= query);
                memory.write(self.d.plus(offset), &back(&d, &x, rstd, &weights[which]));
                let learnt: Vec<f32> = d.iter().zip(&x).map(|(d, x)| d * x * rstd).collect();
                memory.add(self.partial.plus((row % self.parts * 2 + which) * dim), &learnt);
            }
        }
    }
}
