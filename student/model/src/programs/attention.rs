//! Attention as calls: fused, or as batched products with a softmax between them. The second is the reference on a card, and
//! serves float32 and heads that no fused kernel is made for.

use super::block::Scratch;
use crate::device::operations;
use distill_ops::{
    At, AttentionPart, Call, Dtype, Engine, Form, Matrix, Product,
    kernels::{
        AttentionBackward, AttentionDelta, AttentionForward, Documents, GroupSum, Heads, Scores, Softmax,
        SoftmaxBackward,
    },
};

/// Scores that exist at once: [`CHUNK`] queries of all the heads that share a key head, or fewer. In tests so few that they
/// bound the chunks too.
const SCORES: usize = if cfg!(test) { 40 } else { 64 << 20 };
/// Queries of a chunk: in tests so few that every fixture takes several.
const CHUNK: usize = if cfg!(test) { 3 } else { 512 };

/// How attention is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the fused kernels.
    Fused,
    /// By products.
    Plain,
}

impl Way {
    /// The fused kernels where there are some, and where they were not left out.
    pub(crate) fn choose(engine: &Engine, dim: usize, dtype: Dtype) -> Way {
        if engine.has_fused_attention(dim, dtype) && !operations().products { Way::Fused } else { Way::Plain }
    }
}

/// A layer's attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    pub(crate) way: Way,
    pub(crate) heads: Heads,
    /// Positions that a token sees; 0 for all.
    pub(crate) window: usize,
    /// `[tokens, heads.width()]`
    pub(crate) qkv: At,
    /// `[tokens, heads.queries()]`
    pub(crate) out: At,
    /// `[heads, tokens]`
    pub(crate) lse: At,
}

/// Queries of a document that are looked at together.
struct Chunk {
    /// The document's first row.
    start: usize,
    /// Position of the first query.
    first: usize,
    queries: usize,
    /// Keys that any of them may see.
    keys: usize,
}

/// Queries of a chunk where the longest document has so many tokens.
fn chunk_len(heads: Heads, longest: usize) -> usize {
    (SCORES / (heads.group() * longest.max(1))).clamp(1, CHUNK)
}

/// Room for the scores of any chunk where no document has more than `longest` tokens.
pub(crate) fn scores(heads: Heads, longest: usize) -> usize {
    let row = heads.group() * longest;
    (row * CHUNK.min(longest)).min(SCORES).max(row)
}

impl Attention {
    /// The output from queries, keys and values.
    pub(crate) fn forward(&self, documents: Documents, lengths: &[usize], scratch: &Scratch, calls: &mut Vec<Call>) {
        let Attention { qkv, out, lse, heads, window, .. } = *self;
        if self.way == Way::Fused {
            calls.push(AttentionForward { qkv, out, lse, documents, heads, window }.into());
            return;
        }
        for chunk in self.chunks(lengths) {
            for key in 0..heads.key {
                let (s, p) = (scratch.s.start(), scratch.p.start());
                calls.push(self.scores(&chunk, key, s).into());
                let head = key * heads.group();
                let lse = lse.plus(head * documents.tokens + chunk.start + chunk.first);
                let scores = self.shape(&chunk, documents.tokens);
                calls.push(Softmax { p, lse, s, scale: heads.scale(), scores }.into());
                let out = self.of_queries(out, &chunk, heads.queries(), head);
                calls.push(
                    Product {
                        batch: heads.group(),
                        ..Product::new(Form::Nn, self.square(&chunk, p), self.values(&chunk, key), out)
                    }
                    .into(),
                );
            }
        }
    }

    /// Gradients of queries, keys and values into `scratch.dqkv` from that of the output.
    pub(crate) fn backward(
        &self,
        documents: Documents,
        lengths: &[usize],
        dout: At,
        scratch: &Scratch,
        calls: &mut Vec<Call>,
    ) {
        let Attention { qkv, out, lse, heads, window, .. } = *self;
        let rows = documents.tokens;
        let [delta, dqkv, dk, dv] = [scratch.delta, scratch.dqkv, scratch.dk, scratch.dv].map(|buffer| buffer.start());
        calls.push(AttentionDelta { delta, out, dout, rows, heads }.into());
        if self.way == Way::Fused {
            for part in [AttentionPart::Dkdv, AttentionPart::Dq] {
                let call = AttentionBackward { part, qkv, dout, lse, delta, dqkv, dk, dv, documents, heads, window };
                calls.push(call.into());
            }
        } else {
            calls.extend([dk, dv].map(|at| Call::Zero(at, rows * heads.queries())));
            for chunk in self.chunks(lengths) {
                for key in 0..heads.key {
                    self.chunk_backward(&chunk, key, (rows, dout), scratch, calls);
                }
            }
        }
        calls.push(GroupSum { dqkv, dk, dv, rows, heads }.into());
    }

    fn chunk_backward(
        &self,
        chunk: &Chunk,
        key: usize,
        (rows, dout): (usize, At),
        scratch: &Scratch,
        calls: &mut Vec<Call>,
    ) {
        let heads = self.heads;
        let head = key * heads.group();
        let [s, dp, p, ds] = [scratch.s, scratch.dp, scratch.p, scratch.ds].map(|buffer| buffer.start());
        let [dqkv, dk, dv] = [scratch.dqkv, scratch.dk, scratch.dv].map(|buffer| buffer.start());
        let dout = self.of_queries(dout, chunk, heads.queries(), head);
        let place = head * rows + chunk.start + chunk.first;
        let (lse, delta) = (self.lse.plus(place), scratch.delta.at(place));
        let batch = |product: Product| Call::from(Product { batch: heads.group(), ..product });
        calls.push(self.scores(chunk, key, s).into());
        calls.push(batch(Product::new(Form::Nt, dout, self.values(chunk, key), self.square(chunk, dp))));
        let scores = self.shape(chunk, rows);
        calls.push(SoftmaxBackward { ds, p, s, dp, lse, delta, scale: heads.scale(), scores }.into());
        let (p, ds) = (self.square(chunk, p), self.square(chunk, ds));
        let queries = self.of_queries(self.qkv, chunk, heads.width(), head);
        let d_queries = self.of_queries(dqkv, chunk, heads.width(), head);
        calls.push(batch(Product::new(Form::Nn, ds, self.keys(chunk, key), d_queries)));
        // By query head, float32, added up over the chunks.
        let of_keys = |at: At| {
            let first = at.plus(chunk.start * heads.queries() + head * heads.dim);
            Matrix::new(first, chunk.keys, heads.dim).stride(heads.queries()).batch(heads.dim)
        };
        calls.push(batch(Product::new(Form::Tn, ds, queries, of_keys(dk)).accumulate(true)));
        calls.push(batch(Product::new(Form::Tn, p, dout, of_keys(dv)).accumulate(true)));
    }

    fn chunks(&self, lengths: &[usize]) -> Vec<Chunk> {
        let len = chunk_len(self.heads, lengths.iter().copied().max().unwrap_or(0));
        let mut out = Vec::new();
        let mut start = 0;
        for length in lengths {
            for first in (0..*length).step_by(len) {
                let end = (first + len).min(*length);
                out.push(Chunk { start, first, queries: end - first, keys: end });
            }
            start += length;
        }
        out
    }

    fn shape(&self, chunk: &Chunk, stride: usize) -> Scores {
        let Chunk { first, queries, keys, .. } = *chunk;
        Scores { heads: self.heads.group(), queries, keys, first, window: self.window, stride }
    }

    /// `q · kᵀ` of the heads that share a key head.
    fn scores(&self, chunk: &Chunk, key: usize, s: At) -> Product {
        let queries = self.of_queries(self.qkv, chunk, self.heads.width(), key * self.heads.group());
        let product = Product::new(Form::Nt, queries, self.keys(chunk, key), self.square(chunk, s));
        Product { batch: self.heads.group(), ..product }
    }

    fn square(&self, chunk: &Chunk, at: At) -> Matrix {
        Matrix::new(at, chunk.queries, chunk.keys).batch(chunk.queries * chunk.keys)
    }

    /// A chunk's rows of what lies by query head, from head `head` on.
    fn of_queries(&self, at: At, chunk: &Chunk, stride: usize, head: usize) -> Matrix {
        let first = at.plus((chunk.start + chunk.first) * stride + head * self.heads.dim);
        Matrix::new(first, chunk.queries, self.heads.dim).stride(stride).batch(self.heads.dim)
    }

    fn keys(&self, chunk: &Chunk, key: usize) -> Matrix {
        self.of_keys(chunk, self.heads.query + key)
    }

    fn values(&self, chunk: &Chunk, key: usize) -> Matrix {
        self.of_keys(chunk, self.heads.query + self.heads.key + key)
    }

    /// A document's rows of head `head` of queries, keys and values; the same for all heads of the group.
    fn of_keys(&self, chunk: &Chunk, head: usize) -> Matrix {
        let width = self.heads.width();
        Matrix::new(self.qkv.plus(chunk.start * width + head * self.heads.dim), chunk.keys, self.heads.dim)
            .stride(width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_document_never_needs_more_room_than_a_longer_one_has() {
        for group in 1..9 {
            let heads = Heads { query: group, key: 1, dim: 8 };
            for longest in 1..60 {
                let room = scores(heads, longest);
                for length in 1..=longest {
                    let needed = group * chunk_len(heads, length).min(length) * length;
                    assert!(
                        needed <= room,
                        "{group} heads: {length} tokens need {needed}, room for {longest} is {room}"
                    );
                }
            }
        }
    }
}
