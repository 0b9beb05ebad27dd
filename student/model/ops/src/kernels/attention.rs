//! Causal attention with grouped queries over packed documents, fused: scores exist a tile at a time (Dao, 2023). The
//! kernels are written in Triton (`../../kernels/attention`); a card runs their PTX.

use crate::{
    call::{Arg, At, AttentionPart, Entry, Kernel, Launch},
    host::Memory,
};

/// Heads of a row `[queries | keys | values]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key heads, and as many of values.
    pub key: usize,
    /// Numbers of a head.
    pub dim: usize,
}

impl Heads {
    /// Numbers of a row.
    pub fn width(self) -> usize {
        (self.query + 2 * self.key) * self.dim
    }

    /// Numbers of a row's queries.
    pub fn queries(self) -> usize {
        self.query * self.dim
    }

    /// Query heads that share a key head.
    pub fn group(self) -> usize {
        self.query / self.key
    }

    /// Factor of the scores: one over the root of a head's numbers.
    pub fn scale(self) -> f32 {
        (self.dim as f64).powf(-0.5) as f32
    }

    pub(crate) fn args(self) -> [Arg; 4] {
        [self.width(), self.query, self.key, self.dim].map(Arg::from)
    }
}

/// Documents that lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Documents {
    /// Where they begin, and the end of the last: integers `[count + 1]`.
    pub starts: At,
    /// How many.
    pub count: usize,
    /// Tokens of the longest.
    pub longest: usize,
    /// Tokens of all.
    pub tokens: usize,
}

/// `out = softmax(scale · q · kᵀ) · v`, each token over those of its document before it and itself.
#[derive(Clone, Copy, Debug)]
pub struct AttentionForward {
    /// `[tokens, heads.width()]`: queries, keys, values.
    pub qkv: At,
    /// `[tokens, heads.queries()]`
    pub out: At,
    /// `[heads, tokens]`, float32: `log Σ e^score`.
    pub lse: At,
    /// The documents.
    pub documents: Documents,
    /// The heads.
    pub heads: Heads,
    /// Positions that a token sees, its own included; 0 for all.
    pub window: usize,
}

/// Arguments that the three kernels share, behind their own.
fn shared_args(documents: &Documents, heads: Heads, window: usize) -> Vec<Arg> {
    let (row, out) = (heads.width(), heads.queries());
    let sizes = [row, row, out, heads.query, heads.key, documents.tokens, window];
    [documents.starts.into(), Arg::Float(heads.scale())].into_iter().chain(sizes.map(Arg::from)).collect()
}

fn entry(part: AttentionPart, documents: &Documents, heads: Heads) -> Entry {
    let (longest, count) = (documents.longest, documents.count);
    Entry::Attention { part, dim: heads.dim, longest, heads: heads.query, documents: count }
}

/// Queries, keys and values in a row.
fn columns(qkv: At, heads: Heads) -> [At; 3] {
    [qkv, qkv.plus(heads.queries()), qkv.plus(heads.queries() + heads.key * heads.dim)]
}

impl Kernel for AttentionForward {
    fn launch(&self) -> Launch {
        let [q, k, v] = columns(self.qkv, self.heads).map(Arg::from);
        let mut args = vec![q, k, v, self.out.into(), self.lse.into()];
        args.extend(shared_args(&self.documents, self.heads, self.window));
        Launch { entry: entry(AttentionPart::Forward, &self.documents, self.heads), args }
    }

    fn define(&self, memory: &mut Memory) {
        let heads = self.heads;
        let walk = Walk::new(memory, self.qkv, &self.documents, heads, self.window);
        for head in 0..heads.query {
            for row in 0..self.documents.tokens {
                let (weights, lse) = walk.weights(head, row);
                let mut out = vec![0.0_f32; heads.dim];
                for (weight, other) in &weights {
                    out.iter_mut().zip(walk.value(head, *other)).for_each(|(out, v)| *out += weight * v);
                }
                memory.write(self.out.plus(row * heads.queries() + head * heads.dim), &out);
                memory.write(self.lse.plus(head * self.documents.tokens + row), &[lse]);
            }
        }
    }
}

/// Gradients of queries (into their columns of `dqkv`), and of keys and values by query head.
#[derive(Clone, Copy, Debug)]
pub struct AttentionBackward {
    /// Which: [`AttentionPart::Dkdv`] or [`AttentionPart::Dq`].
    pub part: AttentionPart,
    /// As it went in.
    pub qkv: At,
    /// The gradient of what came out, `[tokens, heads.queries()]`.
    pub dout: At,
    /// As it came out.
    pub lse: At,
    /// `[heads, tokens]`, float32, of [`AttentionDelta`].
    pub delta: At,
    /// `[tokens, heads.width()]`
    pub dqkv: At,
    /// `[tokens, heads.queries()]`, float32.
    pub dk: At,
    /// Likewise.
    pub dv: At,
    /// The documents.
    pub documents: Documents,
    /// The heads.
    pub heads: Heads,
    /// Positions that a token sees, its own included; 0 for all.
    pub window: usize,
}

impl Kernel for AttentionBackward {
    fn launch(&self) -> Launch {
        let [q, k, v] = columns(self.qkv, self.heads).map(Arg::from);
        let mut args = vec![q, k, v, self.dout.into(), self.lse.into(), self.delta.into()];
        match self.part {
            AttentionPart::Dq => args.push(self.dqkv.into()),
            _ => args.extend([self.dk, self.dv].map(Arg::At)),
        }
        args.extend(shared_args(&self.documents, self.heads, self.window));
        Launch { entry: entry(self.part, &self.documents, self.heads), args }
    }

    fn define(&self, memory: &mut Memory) {
        let (heads, tokens) = (self.heads, self.documents.tokens);
        let Heads { dim, .. } = heads;
        let width = heads.queries();
        let walk = Walk::new(memory, self.qkv, &self.documents, heads, self.window);
        let dout = memory.read(self.dout, tokens * width);
        let (mut dk, mut dv) = (vec![0.0_f32; tokens * width], vec![0.0_f32; tokens * width]);
        for head in 0..heads.query {
            for row in 0..tokens {
                let at = row * width + head * dim;
                let d = &dout[at..at + dim];
                let delta = memory.read(self.delta.plus(head * tokens + row), 1)[0];
                let mut dq = vec![0.0_f32; dim];
                for (weight, other) in walk.weights(head, row).0 {
                    let dp: f32 = d.iter().zip(walk.value(head, other)).map(|(d, v)| d * v).sum();
                    let ds = weight * (dp - delta) * walk.scale;
                    let place = other * width + head * dim;
                    dq.iter_mut().zip(walk.key(head, other)).for_each(|(dq, k)| *dq += ds * k);
                    dk[place..place + dim].iter_mut().zip(walk.query(head, row)).for_each(|(dk, q)| *dk += ds * q);
                    dv[place..place + dim].iter_mut().zip(d).for_each(|(dv, d)| *dv += weight * d);
                }
                if self.part == AttentionPart::Dq {
                    memory.write(self.dqkv.plus(row * heads.width() + head * dim), &dq);
                }
            }
        }
        if self.part != AttentionPart::Dq {
            memory.write(self.dk, &dk);
            memory.write(self.dv, &dv);
        }
    }
}

/// What the definitions walk over.
struct Walk {
    qkv: Vec<f32>,
    /// For each token the first that it sees.
    first: Vec<usize>,
    heads: Heads,
    scale: f32,
}

impl Walk {
    fn new(memory: &Memory, qkv: At, documents: &Documents, heads: Heads, window: usize) -> Walk {
        let starts = memory.ints(documents.starts, documents.count + 1);
        let mut first = Vec::with_capacity(documents.tokens);
        for span in starts.windows(2) {
            let (begin, end) = (span[0] as usize, span[1] as usize);
            let seen = |row: usize| if window == 0 { begin } else { begin.max((row + 1).saturating_sub(window)) };
            first.extend((begin..end).map(seen));
        }
        Walk { qkv: memory.read(qkv, documents.tokens * heads.width()), first, heads, scale: heads.scale() }
    }

    fn part(&self, row: usize, offset: usize) -> &[f32] {
        let at = row * self.heads.width() + offset;
        &self.qkv[at..at + self.heads.dim]
    }

    fn query(&self, head: usize, row: usize) -> &[f32] {
        self.part(row, head * self.heads.dim)
    }

    fn key(&self, head: usize, row: usize) -> &[f32] {
        self.part(row, self.heads.queries() + head / self.heads.group() * self.heads.dim)
    }

    fn value(&self, head: usize, row: usize) -> &[f32] {
        self.part(row, self.heads.queries() + (self.heads.key + head / self.heads.group()) * self.heads.dim)
    }

    /// Weights of the tokens that one sees, with those tokens, and the logarithm of their sum.
    fn weights(&self, head: usize, row: usize) -> (Vec<(f32, usize)>, f32) {
        let q = self.query(head, row);
        let score = |other| self.scale * q.iter().zip(self.key(head, other)).map(|(q, k)| q * k).sum::<f32>();
        let scores: Vec<(f32, usize)> = (self.first[row]..=row).map(|other| (score(other), other)).collect();
        let most = scores.iter().map(|(score, _)| *score).fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = scores.iter().map(|(score, _)| f64::from(score - most).exp()).sum();
        let lse = (f64::from(most) + sum.ln()) as f32;
        (scores.into_iter().map(|(score, other)| ((score - lse).exp(), other)).collect(), lse)
    }
}

/// `delta[h, t] = Σ out · dout` over a head.
#[derive(Clone, Copy, Debug)]
pub struct AttentionDelta {
    /// `[heads, rows]`, float32.
    pub delta: At,
    /// `[rows, heads · dim]`
    pub out: At,
    /// Likewise.
    pub dout: At,
    /// Rows.
    pub rows: usize,
    /// Their heads.
    pub heads: Heads,
}

impl Kernel for AttentionDelta {
    fn launch(&self) -> Launch {
        let places = [self.delta, self.out, self.dout].map(Into::into);
        let sizes = [self.rows, self.heads.query, self.heads.dim].map(Into::into);
        Launch::new("attention_delta", Some(self.out.dtype()), self.rows, places.into_iter().chain(sizes).collect())
    }

    fn define(&self, memory: &mut Memory) {
        let Heads { query, dim, .. } = self.heads;
        for row in 0..self.rows {
            for head in 0..query {
                let offset = (row * query + head) * dim;
                let (out, dout) = (memory.read(self.out.plus(offset), dim), memory.read(self.dout.plus(offset), dim));
                let delta = out.iter().zip(dout).map(|(out, dout)| out * dout).sum();
                memory.write(self.delta.plus(head * self.rows + row), &[delta]);
            }
        }
    }
}

/// Gradients of keys and values of the query heads that share them, added up into their columns of `dqkv`.
#[derive(Clone, Copy, Debug)]
pub struct GroupSum {
    /// `[rows, heads.width()]`
    pub dqkv: At,
    /// `[rows, heads.queries()]`, float32.
    pub dk: At,
    /// Likewise.
    pub dv: At,
    /// Rows.
    pub rows: usize,
    /// Their heads.
    pub heads: Heads,
}

impl Kernel for GroupSum {
    fn launch(&self) -> Launch {
        let places = [self.dqkv, self.dk, self.dv].map(Into::into);
        let args = places.into_iter().chain([self.rows.into()]).chain(self.heads.args()).collect();
        Launch::new("group_sum", Some(self.dqkv.dtype()), self.rows, args)
    }

    fn define(&self, memory: &mut Memory) {
        let heads = self.heads;
        for row in 0..self.rows {
            for (from, offset) in [(self.dk, 0), (self.dv, heads.key * heads.dim)] {
                for key in 0..heads.key {
                    let mut sum = vec![0.0_f32; heads.dim];
                    for head in key * heads.group()..(key + 1) * heads.group() {
                        let values = memory.read(from.plus(row * heads.queries() + head * heads.dim), heads.dim);
                        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                    }
                    let column = heads.queries() + offset + key * heads.dim;
                    memory.write(self.dqkv.plus(row * heads.width() + column), &sum);
                }
            }
        }
    }
}
