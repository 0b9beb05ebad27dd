"""Causal attention: forward, gradient of keys and values, gradient of queries. Triton source of the shipped PTX.

What enters: q, k, v as heads side by side in rows of a token ([T, stride], head h at column h * D; the strides may be that of a
merged qkv row), float32 statistics [H, T] (`L`: natural logarithm of the sum of exp(scale * score); `DE`: sum of o * do), and
`CU`, int32 prefix sums of the packed documents. What leaves: o and L; float32 dk, dv per *query* head [T, H * D]; dq in rows of
stride sq. Query head h reads key head h * HK // H. `W` is the window: a token sees the last W positions, itself included; 0 = all.

Grid of all three: (blocks of the longest document, H, documents), where a block is BM queries (forward, dq) or BN keys (dkdv).
Blocks that lie behind their document's end return at once, so a document of length 0 has none.

Why it is written like this:
- Two backward kernels that both recompute the scores cost 7 products instead of 5, but need no atomics: every sum has one order.
- dkdv runs a program for each query head, not key head: with few key heads the longest block would hold up the whole card.
- Programs are handed out longest first over all heads and documents, so that the short ones fill the tail.
- With SPLIT a loop without masks does the blocks that are seen whole, and the masked one only the diagonal and the window's edge;
  twice the text, so only where the masks weigh. dkdv has one loop: two made the compiler spill.
- Masks act before the exponential: exp2(score - lse) of an unseen pair overflows when lse is far below 0, and inf * 0 is NaN.
- Rows behind a document's end may hold anything, NaN included: they are loaded as 0 and their lse as +inf, so that p is 0.

`scale` must be positive. Row offsets inside a document are 32 bits, those of a document 64. BN divides BM (forward, dq), BM divides
BN (dkdv).
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
# Below every finite score, so that a row that has seen nothing yet gives exp2(-inf) = 0 and no inf - inf.
LOWEST = tl.constexpr(-3.0e38)
ALL = tl.constexpr(1 << 30)


@triton.jit
def place(CU):
    """Rank of this program's block (0 = longest), its head and its document: the grid read with the blocks slowest."""
    blocks, heads, documents = tl.num_programs(0), tl.num_programs(1), tl.num_programs(2)
    program = tl.program_id(0) + blocks * (tl.program_id(1) + heads * tl.program_id(2))
    rank = program // (heads * documents)
    rest = program % (heads * documents)
    document = rest // heads
    start = tl.load(CU + document)
    return rank, rest % heads, start, tl.load(CU + document + 1) - start


@triton.jit
def load_rows(base, first, offsets, stride, inside):
    """Rows first.. of a document; `inside` None where the block cannot cross the document's end."""
    pointers = base + first * stride + offsets
    if inside is None:
        rows = tl.load(pointers)
    else:
        rows = tl.load(pointers, mask=inside[:, None], other=0.0)
    return rows


@triton.jit
def hide(scores, query, key, seen):
    """-inf where the query does not see the key (positions that broadcast to the scores' shape)."""
    # One comparison for both ends: the distance to a later key wraps to a large unsigned number.
    return tl.where((query - key).to(tl.uint32) < seen.to(tl.uint32), scores, float("-inf"))


@triton.jit
def key_range(m0, n, seen, BM: tl.constexpr, BN: tl.constexpr, SPLIT: tl.constexpr):
    """Of the queries m0..m0+BM: start of the keys seen by any, start of those seen by all (up to m0), masked blocks: edge, sum."""
    first = tl.maximum(m0 - seen + 1, 0) // BN * BN
    if SPLIT:
        whole = tl.minimum((tl.maximum(m0 + BM - seen, 0) + BN - 1) // BN * BN, m0)
    else:
        whole = m0
    edge = tl.maximum(whole - first, 0) // BN
    diagonal = (tl.minimum(m0 + BM, n) - m0 + BN - 1) // BN
    return first, whole, edge, edge + diagonal


@triton.jit
def forward_step(acc, top, total, q, k, v, scores_scale, query, key, seen, MASKED: tl.constexpr):
    scores = tl.dot(q, tl.trans(k))
    if MASKED:
        scores = hide(scores, query[:, None], key[None, :], seen)
    new_top = tl.maximum(top, tl.max(scores, 1) * scores_scale)
    p = tl.math.exp2(scores * scores_scale - new_top[:, None])
    shrink = tl.math.exp2(top - new_top)
    total = total * shrink + tl.sum(p, 1)
    acc = tl.dot(p.to(v.dtype), v, acc * shrink[:, None])
    return acc, new_top, total


@triton.jit
def attention_forward(Q, K, V, O, L, CU, scale, sq, sk, so, H, HK, T, W,
                      D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, SPLIT: tl.constexpr):
    rank, head, start, n = place(CU)
    m0 = (tl.num_programs(0) - 1 - rank) * BM
    if m0 >= n:
        return
    row = start.to(tl.int64)
    column = tl.arange(0, D)[None, :]
    query = m0 + tl.arange(0, BM)
    keys = tl.arange(0, BN)
    key_offsets = keys[:, None] * sk + column
    key_head = head * HK // H * D
    K += row * sk + key_head
    V += row * sk + key_head
    q = load_rows(Q + row * sq + head * D, m0, (query - m0)[:, None] * sq + column, sq, query < n)
    scores_scale = scale * LOG2_E
    seen = tl.where(W == 0, ALL, W)

    acc = tl.zeros((BM, D), tl.float32)
    top = tl.full((BM,), LOWEST, tl.float32)
    total = tl.zeros((BM,), tl.float32)
    first, whole, edge, masked = key_range(m0, n, seen, BM, BN, SPLIT)
    for j in range(whole, m0, BN):  # empty without SPLIT
        k = load_rows(K, j, key_offsets, sk, None)
        v = load_rows(V, j, key_offsets, sk, None)
        acc, top, total = forward_step(acc, top, total, q, k, v, scores_scale, query, j + keys, seen, False)
    for i in range(0, masked):
        j = tl.where(i < edge, first + i * BN, m0 + (i - edge) * BN)
        k = load_rows(K, j, key_offsets, sk, j + keys < n)
        v = load_rows(V, j, key_offsets, sk, j + keys < n)
        acc, top, total = forward_step(acc, top, total, q, k, v, scores_scale, query, j + keys, seen, True)

    total = tl.where(query < n, total, 1.0)  # rows behind the end may have seen nothing
    out = O + row * so + head * D + query[:, None] * so + column
    tl.store(out, (acc / total[:, None]).to(O.dtype.element_ty), mask=query[:, None] < n)
    tl.store(L + head.to(tl.int64) * T + row + query, (top + tl.math.log2(total)) * LN_2, mask=query < n)


@triton.jit
def attention_dkdv(Q, K, V, DO, L, DE, DK, DV, CU, scale, sq, sk, so, H, HK, T, W,
                   D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    rank, head, start, n = place(CU)
    # The work of a key block is what lies behind it: aligned at the documents' ends, equal ranks mean equal work.
    n0 = ((n + BN - 1) // BN - tl.num_programs(0) + rank) * BN
    if n0 < 0:
        return
    row = start.to(tl.int64)
    column = tl.arange(0, D)[None, :]
    key = n0 + tl.arange(0, BN)
    queries = tl.arange(0, BM)
    key_offsets = (key - n0)[:, None] * sk + column
    q_offsets = queries[:, None] * sq + column
    do_offsets = queries[:, None] * so + column
    key_head = head * HK // H * D
    k = load_rows(K + row * sk + key_head, n0, key_offsets, sk, key < n)
    v = load_rows(V + row * sk + key_head, n0, key_offsets, sk, key < n)
    Q += row * sq + head * D
    DO += row * so + head * D
    L += head.to(tl.int64) * T + row
    DE += head.to(tl.int64) * T + row
    scores_scale = scale * LOG2_E
    seen = tl.where(W == 0, ALL, W)

    dk = tl.zeros((BN, D), tl.float32)
    dv = tl.zeros((BN, D), tl.float32)
    for i in range(n0, tl.minimum(n, n0 + BN - 1 + seen), BM):
        query = i + queries
        q = load_rows(Q, i, q_offsets, sq, query < n)
        do = load_rows(DO, i, do_offsets, so, query < n)
        lse = tl.load(L + query, mask=query < n, other=float("inf")) * LOG2_E
        delta = tl.load(DE + query, mask=query < n, other=0.0)
        scores = hide(tl.dot(k, tl.trans(q)), query[None, :], key[:, None], seen)
        p = tl.math.exp2(scores * scores_scale - lse[None, :])
        dv = tl.dot(p.to(do.dtype), do, dv)
        ds = p * (tl.dot(v, tl.trans(do)) - delta[None, :])
        dk = tl.dot(ds.to(q.dtype), q, dk)

    out = (row + key)[:, None] * (H * D) + head * D + column
    tl.store(DK + out, dk * scale, mask=key[:, None] < n)
    tl.store(DV + out, dv, mask=key[:, None] < n)


@triton.jit
def dq_step(acc, q, do, k, v, lse, delta, scores_scale, query, key, seen, MASKED: tl.constexpr):
    scores = tl.dot(q, tl.trans(k))
    if MASKED:
        scores = hide(scores, query[:, None], key[None, :], seen)
    p = tl.math.exp2(scores * scores_scale - lse[:, None])
    dp = tl.dot(do, tl.trans(v))
    ds = p * (dp - delta[:, None])
    return tl.dot(ds.to(k.dtype), k, acc)


@triton.jit
def attention_dq(Q, K, V, DO, L, DE, DQ, CU, scale, sq, sk, so, H, HK, T, W,
                 D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, SPLIT: tl.constexpr):
    rank, head, start, n = place(CU)
    m0 = (tl.num_programs(0) - 1 - rank) * BM
    if m0 >= n:
        return
    row = start.to(tl.int64)
    column = tl.arange(0, D)[None, :]
    query = m0 + tl.arange(0, BM)
    keys = tl.arange(0, BN)
    q_offsets = (query - m0)[:, None] * sq + column
    key_offsets = keys[:, None] * sk + column
    key_head = head * HK // H * D
    K += row * sk + key_head
    V += row * sk + key_head
    q = load_rows(Q + row * sq + head * D, m0, q_offsets, sq, query < n)
    do = load_rows(DO + row * so + head * D, m0, (query - m0)[:, None] * so + column, so, query < n)
    statistics = head.to(tl.int64) * T + row + query
    lse = tl.load(L + statistics, mask=query < n, other=float("inf")) * LOG2_E
    delta = tl.load(DE + statistics, mask=query < n, other=0.0)
    scores_scale = scale * LOG2_E
    seen = tl.where(W == 0, ALL, W)

    acc = tl.zeros((BM, D), tl.float32)
    first, whole, edge, masked = key_range(m0, n, seen, BM, BN, SPLIT)
    for j in range(whole, m0, BN):  # empty without SPLIT
        k = load_rows(K, j, key_offsets, sk, None)
        v = load_rows(V, j, key_offsets, sk, None)
        acc = dq_step(acc, q, do, k, v, lse, delta, scores_scale, query, j + keys, seen, False)
    for i in range(0, masked):
        j = tl.where(i < edge, first + i * BN, m0 + (i - edge) * BN)
        k = load_rows(K, j, key_offsets, sk, j + keys < n)
        v = load_rows(V, j, key_offsets, sk, j + keys < n)
        acc = dq_step(acc, q, do, k, v, lse, delta, scores_scale, query, j + keys, seen, True)

    out = DQ + row * sq + head * D + m0 * sq + q_offsets
    tl.store(out, (acc * scale).to(DQ.dtype.element_ty), mask=query[:, None] < n)
