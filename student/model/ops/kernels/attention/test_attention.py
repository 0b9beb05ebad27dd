"""Proves attention.py without a card: Triton's interpreter against float64. `python test_attention.py`, a minute or two.

Needs triton and numpy, nothing else. The interpreter does not do bfloat16 products, so the kernels run in float32 and float16.
Rows behind the packed total hold NaN, outputs start as NaN: a read across the end or a row left out shows in the error.
"""

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from triton.runtime.errors import InterpreterError

import attention

LENGTHS = (1, 37, 0, 63, 64, 65, 127, 128, 129, 130)
BEHIND = 130
# Largest relative error (norm of the difference by norm of the reference) that passes.
LIMITS = {np.float32: 2e-6, np.float16: 2e-3}
# At an lse of 120 the last place of a float32 score is 1e-5; dq has a column of 60 times ds, which sums to 0 before its rounding.
LIMITS_STEEP = {np.float32: 1e-4, np.float16: 5e-3}


class Memory:
    """A numpy array with what the interpreter asks of a tensor."""

    def __init__(self, array):
        self.array = array
        self.dtype = {"float32": "fp32", "float16": "fp16", "int32": "i32"}[array.dtype.name]

    def data_ptr(self):
        return self.array.ctypes.data

    def untyped_storage(self):
        return self

    def cpu(self):
        return self

    def copy_(self, other):
        pass  # the kernels wrote into the array itself

    def new_empty(self, size, device):
        return Memory(self.array)

    def set_(self, storage, *layout):
        pass

    def storage_offset(self):
        return 0

    def size(self):
        return self.array.shape

    def stride(self):
        return self.array.strides


def launch(kernel, grid, arguments, **tiles):
    kernel[grid](*(Memory(a) if isinstance(a, np.ndarray) else a for a in arguments), **tiles)


def reference(q, k, v, do, starts, scale, window):
    """float64 o, lse, dq, dk, dv (the last two per query head) of [T, heads, D]; dq, dk and dv by the softmax's derivative."""
    q, k, v, do = (x.astype(np.float64) for x in (q, k, v, do))
    heads, group = q.shape[1], q.shape[1] // k.shape[1]
    o, dq, dk, dv = (np.zeros_like(q) for _ in range(4))
    lse = np.zeros((heads, len(q)))
    for a, b in zip(starts[:-1], starts[1:]):
        n = b - a
        distance = np.arange(n)[:, None] - np.arange(n)[None, :]
        seen = (distance >= 0) & ((window == 0) | (distance < window))
        for h in range(heads if n else 0):
            kh, vh = k[a:b, h // group], v[a:b, h // group]
            scores = np.where(seen, q[a:b, h] @ kh.T * scale, -np.inf)
            top = scores.max(1, keepdims=True)
            lse[h, a:b] = (top + np.log(np.exp(scores - top).sum(1, keepdims=True)))[:, 0]
            p = np.exp(scores - lse[h, a:b, None])
            o[a:b, h] = p @ vh
            delta = (o[a:b, h] * do[a:b, h]).sum(1, keepdims=True)
            ds = p * (do[a:b, h] @ vh.T - delta) * scale
            dq[a:b, h], dk[a:b, h], dv[a:b, h] = ds @ kh, ds.T @ q[a:b, h], p.T @ do[a:b, h]
    return o, lse, dq, dk, dv


def error(got, expected):
    return float(np.linalg.norm(got.astype(np.float64) - expected) / np.linalg.norm(expected))


def check(dtype, heads, key_heads, dim, window=0, logit=0.0, tiles=(64, 32), split=True, lengths=LENGTHS):
    """Relative errors of o, lse, dq, dk, dv. `tiles` = rows of the outer block, of the inner block."""
    random = np.random.default_rng(heads * 1000 + dim + window)
    starts = np.cumsum((0,) + lengths).astype(np.int32)
    total, outer, inner = int(starts[-1]), *tiles
    rows = total + BEHIND
    # q, k and v are columns of one buffer, as in the product.
    width = (heads + 2 * key_heads) * dim
    qkv = random.standard_normal((rows, width)).astype(dtype)
    do = random.standard_normal((rows, heads * dim)).astype(dtype)
    qkv[total:] = do[total:] = np.nan
    scale = dim**-0.5
    parts = np.cumsum([0, heads * dim, key_heads * dim, key_heads * dim])
    q, k, v = (qkv[:, a:b] for a, b in zip(parts[:-1], parts[1:]))
    if logit:
        q[:total, ::dim], k[:total, ::dim] = 16, logit / scale / 16
    o, dqkv = np.full_like(do, np.nan), np.full_like(qkv, np.nan)
    dk, dv = (np.full((rows, heads * dim), np.nan, np.float32) for _ in range(2))
    lse, delta = (np.full((heads, rows), np.nan, np.float32) for _ in range(2))

    base, longest, documents = qkv.ctypes.data, max(lengths), len(lengths)
    numbers = (scale, width, width, heads * dim, heads, key_heads, rows, window)
    shape = dict(D=dim, SPLIT=split)
    blocks = (-(-longest // outer), heads, documents)
    launch(attention.attention_forward, blocks, (q, k, v, o, lse, starts, *numbers), BM=outer, BN=inner, **shape)
    delta[:] = (o.astype(np.float32) * do.astype(np.float32)).reshape(rows, heads, dim).sum(2).T
    inputs = (q, k, v, do, lse, delta)
    launch(attention.attention_dkdv, blocks, (*inputs, dk, dv, starts, *numbers), BM=inner, BN=outer, D=dim)
    launch(attention.attention_dq, blocks, (*inputs, dqkv, starts, *numbers), BM=outer, BN=inner, **shape)

    assert base == qkv.ctypes.data
    for name, buffer in (("o", o), ("dqkv", dqkv), ("dk", dk), ("dv", dv), ("lse", lse.T)):
        assert np.isnan(buffer[total:]).all(), f"{name}: written behind the packed total"
    assert np.isnan(dqkv[:, heads * dim :]).all(), "dq: written beside the queries' columns"
    split_heads = lambda x: x[:total].reshape(total, -1, dim)
    got = o, lse.T, dqkv[:, : heads * dim], dk, dv
    expected = reference(*map(split_heads, (q, k, v, do)), starts, scale, window)
    return [
        error(split_heads(x) if name != "lse" else x[:total].T, y)
        for name, x, y in zip(("o", "lse", "dq", "dk", "dv"), got, expected)
    ]


# Each head costs the interpreter seconds, so the groups of 6 and 7 and the steep logits get four documents.
SHORT = (0, 65, 1, 130)
ONE, TWO, SIX, SEVEN = dict(heads=1, key_heads=1), dict(heads=2, key_heads=1), dict(heads=6, key_heads=1), dict(heads=7, key_heads=1)
CASES = [
    dict(dtype=dtype, **case)
    for dtype in (np.float32, np.float16)
    for case in (
        dict(**ONE, dim=32),
        dict(**ONE, dim=64, tiles=(128, 64)),
        dict(**ONE, dim=128, tiles=(64, 64)),
        dict(**ONE, dim=64, window=50),
        dict(**ONE, dim=32, window=100, lengths=SHORT),
        dict(**ONE, dim=128, window=50, tiles=(128, 64), split=False),
        dict(**SIX, dim=128, tiles=(128, 128), lengths=SHORT),
        dict(**SEVEN, dim=64, tiles=(128, 64), window=50, lengths=SHORT),
        dict(heads=4, key_heads=2, dim=32, tiles=(64, 64), window=2, lengths=SHORT),
        dict(**TWO, dim=64, logit=-120.0, lengths=SHORT),
        dict(**TWO, dim=64, logit=120.0, lengths=SHORT),
        dict(**TWO, dim=32, logit=-120.0, window=50, split=False, lengths=SHORT),
    )
]


def main():
    began, failed = time.time(), 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = [pool.submit(check, **case) for case in CASES]
        for case, result in zip(CASES, results):
            limit = (LIMITS_STEEP if case.get("logit") else LIMITS)[case["dtype"]]
            try:
                errors = dict(zip(("o", "lse", "dq", "dk", "dv"), result.result()))
                good = all(e <= limit for e in errors.values())  # NaN fails
                said = " ".join(f"{name} {e:.1e}" for name, e in errors.items())
            except (AssertionError, InterpreterError) as problem:
                good, said = False, repr(problem)
            failed += not good
            words = " ".join(f"{k}={v.__name__ if k == 'dtype' else v}" for k, v in case.items())
            print(f"{'ok  ' if good else 'FAIL'} {said} | {words}", flush=True)
    print(f"{len(CASES) - failed} passed, {failed} failed in {time.time() - began:.0f} s")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
