//! Sums in one fixed order, and casts.

use super::SQUARE_PARTS;
use crate::{
    call::{Arg, At, Kernel, Launch, strided},
    host::Memory,
};

/// Sums of columns in parts: part `p` sums over the rows `p`, `p + parts`, …
#[derive(Clone, Copy, Debug)]
pub struct ColumnSum {
    /// `[parts, width]`, float32.
    pub partial: At,
    /// `[rows, width]`
    pub x: At,
    /// Rows.
    pub rows: usize,
    /// Numbers of a row.
    pub width: usize,
    /// Parts.
    pub parts: usize,
}

impl Kernel for ColumnSum {
    fn launch(&self) -> Launch {
        let args = vec![self.partial.into(), self.x.into(), self.rows.into(), self.width.into(), self.parts.into()];
        Launch::new("column_sum", Some(self.x.dtype()), self.width.div_ceil(256), args).rows(self.parts)
    }

    fn define(&self, memory: &mut Memory) {
        memory.write(self.partial, &vec![0.0; self.parts * self.width]);
        for row in 0..self.rows {
            let x = memory.read(self.x.plus(row * self.width), self.width);
            memory.add(self.partial.plus(row % self.parts * self.width), &x);
        }
    }
}

/// `out[c] += Σ partial[p, c]`, part after part.
#[derive(Clone, Copy, Debug)]
pub struct ColumnReduce {
    /// `[width]`, float32.
    pub out: At,
    /// `[parts, width]`, float32.
    pub partial: At,
    /// Parts.
    pub parts: usize,
    /// Numbers of a part.
    pub width: usize,
}

impl Kernel for ColumnReduce {
    fn launch(&self) -> Launch {
        let args = vec![self.out.into(), self.partial.into(), self.parts.into(), self.width.into()];
        Launch::new("column_reduce", None, self.width.div_ceil(32), args)
    }

    fn define(&self, memory: &mut Memory) {
        let mut sums = vec![0.0; self.width];
        for part in memory.read(self.partial, self.parts * self.width).chunks_exact(self.width.max(1)) {
            sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        memory.add(self.out, &sums);
    }
}

/// `out += Σ x`.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    /// One number, float32.
    pub out: At,
    /// `[len]`, float32.
    pub x: At,
    /// How many.
    pub len: usize,
}

impl Kernel for Sum {
    fn launch(&self) -> Launch {
        Launch::new("sum_f32", None, 1, vec![self.out.into(), self.x.into(), self.len.into()])
    }

    fn define(&self, memory: &mut Memory) {
        let sum: f64 = memory.read(self.x, self.len).into_iter().map(f64::from).sum();
        memory.add(self.out, &[sum as f32]);
    }
}

/// `partial[block] = Σ x²` over a block's share, in float64.
#[derive(Clone, Copy, Debug)]
pub struct SquareSum {
    /// `[SQUARE_PARTS]`, float64.
    pub partial: At,
    /// `[len]`, float32.
    pub x: At,
    /// How many.
    pub len: usize,
}

impl Kernel for SquareSum {
    fn launch(&self) -> Launch {
        let args = vec![self.partial.into(), self.x.into(), Arg::Long(self.len as u64)];
        Launch::new("square_sum", None, SQUARE_PARTS, args)
    }

    fn define(&self, memory: &mut Memory) {
        let sum = memory.read(self.x, self.len).into_iter().map(|x| f64::from(x) * f64::from(x)).sum();
        let mut parts = vec![0.0; SQUARE_PARTS];
        parts[0] = sum;
        memory.write_doubles(self.partial, &parts);
    }
}

/// `out += Σ x` of float64.
#[derive(Clone, Copy, Debug)]
pub struct SumDoubles {
    /// One number.
    pub out: At,
    /// `[len]`
    pub x: At,
    /// How many.
    pub len: usize,
}

impl Kernel for SumDoubles {
    fn launch(&self) -> Launch {
        Launch::new("sum_f64", None, 1, vec![self.out.into(), self.x.into(), self.len.into()])
    }

    fn define(&self, memory: &mut Memory) {
        let sum: f64 = memory.doubles(self.x, self.len).into_iter().sum();
        let held = memory.doubles(self.out, 1)[0];
        memory.write_doubles(self.out, &[held + sum]);
    }
}

/// Float32 rounded to bfloat16.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// `[len]`, bfloat16.
    pub y: At,
    /// `[len]`, float32.
    pub x: At,
    /// How many.
    pub len: usize,
}

impl Kernel for Cast {
    fn launch(&self) -> Launch {
        let args = vec![self.y.into(), self.x.into(), Arg::Long(self.len as u64)];
        Launch::new("cast_bf16", None, strided(self.len), args)
    }

    fn define(&self, memory: &mut Memory) {
        let x = memory.read(self.x, self.len);
        memory.write(self.y, &x);
    }
}
