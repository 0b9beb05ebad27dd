//! A bias and rotary positions (Su et al., 2021) in the half-split layout, in place.

use super::Heads;
use crate::{
    call::{Arg, At, Kernel, Launch},
    host::Memory,
};

/// `x += bias`, then the query and key heads are rotated by their positions; `sign` -1 turns them back. Values get only the
/// bias.
#[derive(Clone, Copy, Debug)]
pub struct Rope {
    /// `[rows, (heads + 2 · kv_heads) · dim]`
    pub x: At,
    /// `[(heads + 2 · kv_heads) · dim]`, float32.
    pub bias: Option<At>,
    /// Integers `[rows]`.
    pub positions: At,
    /// `[positions, dim / 2]`, float32.
    pub cos: At,
    /// Likewise.
    pub sin: At,
    /// Rows.
    pub rows: usize,
    /// Their heads.
    pub heads: Heads,
    /// 1 forward, -1 backward.
    pub sign: f32,
}

impl Kernel for Rope {
    fn launch(&self) -> Launch {
        let args = vec![
            self.x.into(),
            self.bias.into(),
            self.positions.into(),
            self.cos.into(),
            self.sin.into(),
            self.rows.into(),
            self.heads.width().into(),
            (self.heads.query + self.heads.key).into(),
            self.heads.dim.into(),
            Arg::Float(self.sign),
        ];
        Launch::new("rope", Some(self.x.dtype()), self.rows, args)
    }

    fn define(&self, memory: &mut Memory) {
        let Heads { query, key, dim } = self.heads;
        let (width, half) = (self.heads.width(), dim / 2);
        let bias = self.bias.map(|bias| memory.read(bias, width));
        for (row, position) in memory.ints(self.positions, self.rows).into_iter().enumerate() {
            let mut x = memory.read(self.x.plus(row * width), width);
            if let Some(bias) = &bias {
                x.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            }
            let cos = memory.read(self.cos.plus(position as usize * half), half);
            let sin = memory.read(self.sin.plus(position as usize * half), half);
            for head in x.chunks_exact_mut(dim).take(query + key) {
                for at in 0..half {
                    let (a, b, c, s) = (head[at], head[at + half], cos[at], self.sign * sin[at]);
                    head[at] = a * c - b * s;
                    head[at + half] = b * c + a * s;
                }
            }
            memory.write(self.x.plus(row * width), &x);
        }
    }
}
