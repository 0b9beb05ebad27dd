#!/usr/bin/env python3
"""Runs every kernel of kernels.cu on the CPU and compares it with numpy in float64. It needs g++ and numpy, and no card.

    test_kernels.py            all tests; exit status 1 if one fails
    test_kernels.py rope sum   the tests whose names contain one of these words

shim.h plays CUDA. Each launch runs twice, with threads and blocks in rising and in falling order, and both must give the same
bits. Every buffer lies between guards of NaN, which no kernel may write, and outputs begin as NaN. Tolerances are a rounding of
the stored type plus float32 rounding of what was summed.
"""

import ctypes
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from compile import SOURCE, entries

GUARD = 256  # bytes on either side of a buffer
ENTRIES = entries()
KINDS = {"int": ctypes.c_int, "unsigned": ctypes.c_uint, "float": ctypes.c_float, "long long": ctypes.c_longlong, "unsigned long long": ctypes.c_ulonglong}
BOTH = ("f32", "bf16")


def build(folder, source=SOURCE):
    lines = "\n".join(f'    if (!std::strcmp(name, "{n}")) return shim::launch({n}, {{x, y, 1}}, threads, falling, arguments), 0;' for n in ENTRIES)
    unit = pathlib.Path(folder) / "unit.cpp"
    unit.write_text(f'''#include "{SOURCE.parent / "shim.h"}"
#include "{source}"
extern "C" int launch(const char* name, unsigned x, unsigned y, int threads, int falling, void** arguments) {{
{lines}
    return 1;
}}
''')
    library = pathlib.Path(folder) / "unit.so"
    flags = "-O1 -std=c++17 -shared -fPIC -fno-strict-aliasing -Wall -Wno-unknown-pragmas -Wno-maybe-uninitialized -Werror"
    subprocess.run(["g++", *flags.split(), "-fsanitize=alignment", "-fno-sanitize-recover", unit, "-o", library], check=True)
    return ctypes.CDLL(str(library))


# ------------------------------------------------------------------------------------------------------------------ buffers


def to_bits(x):
    """float32 to bf16 bits, to nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bits(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Buffer:
    """An array between guards, aligned like a device buffer, or `off` bytes beside that."""

    def __init__(self, array, bf16=False, off=0):
        self.bf16, self.off = bf16, off
        array = np.ascontiguousarray(array)
        self.shape, self.dtype, self.size = array.shape, array.dtype, array.nbytes
        self.memory = np.full(self.size + 2 * GUARD + 32, 0xFF, np.uint8)
        self.start = GUARD + (-(self.memory.ctypes.data + GUARD)) % 16 + off
        self.memory[self.start : self.start + self.size] = array.reshape(-1).view(np.uint8)

    @property
    def pointer(self):
        return self.memory.ctypes.data + self.start

    @property
    def raw(self):
        return self.memory[self.start : self.start + self.size].view(self.dtype).reshape(self.shape)

    @property
    def value(self):
        return (from_bits(self.raw) if self.bf16 else self.raw).astype(np.float64)

    def guarded(self):
        return (self.memory[: self.start] == 0xFF).all() and (self.memory[self.start + self.size :] == 0xFF).all()


def activations(kind, x, off=0):
    """A buffer of float32 or bf16 with the values of x."""
    return Buffer(to_bits(x), True, off) if kind == "bf16" else Buffer(np.asarray(x, np.float32), False, off)


def empty(kind, *shape, off=0):
    """A buffer of NaN that a kernel is to fill."""
    return activations(kind, np.full(shape, np.nan, np.float32), off)


def f32(x):
    return Buffer(np.asarray(x, np.float32))


def i32(x):
    return Buffer(np.asarray(x, np.int32))


def f64(x):
    return Buffer(np.asarray(x, np.float64))


def launch(name, grid, threads=256, **given):
    x, y = grid if isinstance(grid, tuple) else (grid, 1)
    parameters = ENTRIES[name]
    assert [of for _, of in parameters] == list(given), f"{name}: arguments {list(given)}, got for {parameters}"
    values, buffers = [], []
    for (kind, of), value in zip(parameters, given.values()):
        if not kind.endswith("*"):
            values.append(KINDS[kind](value))
        elif value is None:
            values.append(ctypes.c_void_p(0))
        else:
            element = kind.replace("const", "").replace("*", "").strip()
            wanted = {"float": np.float32, "double": np.float64, "int": np.int32, "Bf16": np.uint16}[element]
            assert value.dtype == wanted, f"{name}: {of} is {value.dtype}, expected {element}"
            values.append(ctypes.c_void_p(value.pointer))
            buffers.append(value)
    arguments = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
    before = [b.memory.copy() for b in buffers]
    results = []
    for falling in (0, 1):
        for b, memory in zip(buffers, before):
            b.memory[:] = memory
        assert LIBRARY.launch(name.encode(), x, y, threads, falling, arguments) == 0, f"no kernel {name}"
        results.append([b.memory.copy() for b in buffers])
    for first, second in zip(*results):
        assert (first == second).all(), f"{name}: the result depends on the order of threads"
    assert all(b.guarded() for b in buffers), f"{name}: wrote outside a buffer"


def close(what, got, want, scale=None):
    """`scale` is the size of what was added up; a float32 rounding of it is allowed beside that of the result."""
    want = np.asarray(want, np.float64)
    value = got.value if isinstance(got, Buffer) else got
    step = 2.0**-8 if isinstance(got, Buffer) and got.bf16 else 2.0**-20
    scale = np.abs(want).max() if scale is None else scale
    allowed = np.abs(want) * step * 1.01 + scale * 2.0**-20
    error = np.abs(value - want)
    bad = ~(error <= allowed) & ~((value == want) | (np.isnan(value) & np.isnan(want)))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise AssertionError(f"{what}: {bad.sum()} of {bad.size} are off; at {at} expected {want[at]!r}, got {value[at]!r}, allowed {allowed[at]:.3g}")


def same(what, got, want):
    if got.dtype != want.dtype or got.tobytes() != want.tobytes():
        raise AssertionError(f"{what}: not equal")


def normal(*shape, scale=1.0):
    return RANDOM.standard_normal(shape).astype(np.float32) * np.float32(scale)


# -------------------------------------------------------------------------------------------------------------------- tests


def test_rows(kind):
    for rows, width, off in [(1, 1, 0), (5, 7, 0), (3, 64, 0), (2, 4100, 0), (4, 2056, 0), (3, 64, 4)]:
        table = activations(kind, normal(9, width), off)
        index = RANDOM.permutation(9)[:rows]
        y = empty(kind, rows, width, off=off)
        launch(f"gather_rows_{kind}", rows, y=y, x=table, index=i32(index), rows=rows, width=width)
        same("gather_rows", y.raw, table.raw[index])
        x = activations(kind, normal(rows, width), off)
        expected = table.raw.copy()
        expected[index] = x.raw
        launch(f"scatter_rows_{kind}", rows, y=table, x=x, index=i32(index), rows=rows, width=width)
        same("scatter_rows", table.raw, expected)


def test_rms_norm(kind):
    for rows, width, off in [(1, 1, 0), (3, 7, 0), (2, 64, 0), (3, 1536, 0), (2, 1537, 0), (1, 10248, 0), (2, 64, 8)]:
        x, w = activations(kind, normal(rows, width, scale=3), off), f32(normal(width))
        y, rstd = empty(kind, rows, width, off=off), empty("f32", rows)
        launch(f"rms_norm_{kind}", rows, y=y, rstd=rstd, x=x, w=w, eps=1e-5, rows=rows, width=width)
        scale = 1 / np.sqrt((x.value**2).mean(1) + 1e-5)
        close("rstd", rstd, scale)
        close("rms_norm", y, x.value * scale[:, None] * w.value)


def test_rms_norm_backward(kind):
    cases = [(1, 1, 1, "none"), (7, 7, 3, "residual"), (5, 1536, 2, "own"), (4, 1537, 3, "dx is residual"), (3, 8, 5, "dx is dy"),
             (4, 8192, 2, "dx is residual"), (3, 8200, 2, "own"), (3, 9001, 2, "dx is dy"), (2, 64, 1, "off")]
    for rows, width, parts, alias in cases:
        off = 4 if alias == "off" else 0
        x, dy, w = activations(kind, normal(rows, width), off), activations(kind, normal(rows, width), off), f32(normal(width))
        residual = None if alias == "none" else activations(kind, normal(rows, width), off)
        rstd = f32(1 / np.sqrt((x.value**2).mean(1) + 1e-5))
        v, g, r = x.value, dy.value, rstd.value[:, None]
        want = r * (g * w.value - v * r**2 * (g * w.value * v).mean(1, keepdims=True))
        want = want + (0 if residual is None else residual.value)
        columns = g * v * r
        dx = {"dx is residual": residual, "dx is dy": dy}.get(alias) or empty(kind, rows, width, off=off)
        partial = empty("f32", parts, width)
        launch(f"rms_norm_backward_{kind}", parts, dx=dx, partial=partial, residual=residual, dy=dy, x=x, rstd=rstd, w=w, rows=rows, width=width, parts=parts)
        close("dx", dx, want, np.abs(r * g * w.value).max() * 2)
        close("partial", partial, np.stack([columns[p::parts].sum(0) for p in range(parts)]), np.abs(columns).max() * 4)


def test_column_sum(kind):
    for rows, width, parts in [(1, 1, 1), (40, 7, 3), (70, 264, 2), (70, 260, 2), (33, 513, 5), (3, 520, 4)]:
        x, partial = activations(kind, normal(rows, width)), empty("f32", parts, width)
        launch(f"column_sum_{kind}", (-(-width // 256), parts), partial=partial, x=x, rows=rows, width=width, parts=parts)
        close("column_sum", partial, np.stack([x.value[p::parts].sum(0) for p in range(parts)]), np.sqrt(rows) * 4)


def test_column_reduce():
    for parts, width in [(1, 1), (3, 300), (37, 513), (16, 64), (528, 40)]:
        out, partial = f32(normal(width)), f32(normal(parts, width))
        want = out.value + partial.value.sum(0)
        launch("column_reduce", -(-width // 32), 256, out=out, partial=partial, parts=parts, width=width)
        close("column_reduce", out, want, np.sqrt(parts) * 4)


def test_rope(kind):
    for rows, heads, dim, extra, bias, sign in [(1, 1, 2, 0, True, 1), (3, 3, 64, 64, True, 1), (3, 3, 64, 64, False, -1), (4, 2, 6, 3, True, -1),
                                               (2, 5, 24, 8, True, 1), (2, 10, 128, 256, True, 1), (2, 3, 64, 5, True, 1)]:
        width = heads * dim + extra
        angles = np.arange(50)[:, None] * 10000.0 ** (-np.arange(dim // 2) / (dim // 2))
        cos, sin, positions = f32(np.cos(angles)), f32(np.sin(angles)), RANDOM.integers(0, 50, rows)
        x, b = activations(kind, normal(rows, width)), f32(normal(width)) if bias else None
        want = x.value + (b.value if bias else 0)
        part = want[:, : heads * dim].reshape(rows, heads, 2, dim // 2)
        c, s = cos.value[positions][:, None], sign * sin.value[positions][:, None]
        turned = np.stack([part[:, :, 0] * c - part[:, :, 1] * s, part[:, :, 1] * c + part[:, :, 0] * s], 2)
        want[:, : heads * dim] = turned.reshape(rows, heads * dim)
        launch(f"rope_{kind}", rows, x=x, bias=b, positions=i32(positions), cos=cos, sin=sin, rows=rows, width=width, heads=heads, dim=dim, sign=sign)
        close("rope", x, want)


def head_case(kind, rows, q_heads, kv_heads, dim):
    width = (q_heads + 2 * kv_heads) * dim
    x, qw, kw = activations(kind, normal(rows, width, scale=2)), f32(normal(dim)), f32(normal(dim))
    heads = x.value.reshape(rows, -1, dim)[:, : q_heads + kv_heads]
    scale = 1 / np.sqrt((heads**2).mean(2) + 1e-6)
    w = np.concatenate([np.tile(qw.value, (q_heads, 1)), np.tile(kw.value, (kv_heads, 1))])
    return width, x, qw, kw, heads, scale, w


HEADS = [(1, 1, 1, 1), (3, 3, 1, 7), (2, 4, 2, 64), (2, 12, 2, 128), (2, 16, 8, 128), (2, 2, 1, 256), (3, 2, 2, 251), (5, 40, 3, 8), (3, 3, 1, 24)]


def test_head_norm(kind):
    for rows, q_heads, kv_heads, dim in [*HEADS, (2, 2, 1, 520)]:
        width, x, qw, kw, heads, scale, w = head_case(kind, rows, q_heads, kv_heads, dim)
        y, rstd = empty(kind, rows, width), empty("f32", rows, q_heads + kv_heads)
        launch(f"head_norm_{kind}", rows, y=y, rstd=rstd, x=x, qw=qw, kw=kw, eps=1e-6, rows=rows, width=width, q_heads=q_heads, kv_heads=kv_heads, dim=dim)
        want = x.value
        want[:, : (q_heads + kv_heads) * dim] = (heads * scale[..., None] * w).reshape(rows, -1)
        close("head_norm", y, want)
        close("rstd", rstd, scale)


def test_head_norm_backward(kind):
    for rows, q_heads, kv_heads, dim in HEADS:
        for parts in (1, 2, 4):
            width, x, qw, kw, heads, scale, w = head_case(kind, rows, q_heads, kv_heads, dim)
            d, partial, rstd = activations(kind, normal(rows, width)), empty("f32", parts, 2, dim), f32(scale)
            g, r = d.value.reshape(rows, -1, dim)[:, : q_heads + kv_heads], rstd.value[..., None]
            want = d.value
            want[:, : (q_heads + kv_heads) * dim] = (r * (g * w - heads * r**2 * (g * w * heads).mean(2, keepdims=True))).reshape(rows, -1)
            change = g * heads * r
            launch(f"head_norm_backward_{kind}", parts, d=d, partial=partial, x=x, rstd=rstd, qw=qw, kw=kw, rows=rows, width=width, q_heads=q_heads,
                   kv_heads=kv_heads, dim=dim, parts=parts)
            close("d", d, want, np.abs(r * g * w).max() * 2)
            sums = [[change[p::parts, :q_heads].sum((0, 1)), change[p::parts, q_heads:].sum((0, 1))] for p in range(parts)]
            close("partial", partial, np.array(sums), np.abs(change).max() * 4)


GRIDS = [(1, 1, 1), (3, 7, 2), (5, 64, 1), (40, 1000, 3), (3, 1001, 2), (2, 16, 70)]


def test_swiglu(kind):
    for rows, inner, grid in GRIDS:
        gu, act = activations(kind, normal(rows, 2 * inner, scale=4)), empty(kind, rows, inner)
        gu.raw[0, 0] = activations(kind, [-100.0]).raw[0]
        launch(f"swiglu_{kind}", grid, act=act, gu=gu, rows=rows, inner=inner)
        g, u = gu.value[:, :inner], gu.value[:, inner:]
        close("swiglu", act, g / (1 + np.exp(-g)) * u, 1.0)


def test_swiglu_backward(kind):
    for rows, inner, grid in GRIDS:
        for alias in (False, True):
            gu, dact = activations(kind, normal(rows, 2 * inner, scale=4)), activations(kind, normal(rows, inner))
            dgu = gu if alias else empty(kind, rows, 2 * inner)
            g, u, d = gu.value[:, :inner], gu.value[:, inner:], dact.value
            s = 1 / (1 + np.exp(-g))
            want = np.concatenate([d * u * s * (1 + g * (1 - s)), d * g * s], 1)
            launch(f"swiglu_backward_{kind}", grid, dgu=dgu, gu=gu, dact=dact, rows=rows, inner=inner)
            close("swiglu_backward", dgu, want)


def test_add_bias(kind):
    for rows, width, grid in GRIDS:
        x, bias = activations(kind, normal(rows, width)), f32(normal(width))
        want = x.value + bias.value
        launch(f"add_bias_{kind}", grid, x=x, bias=bias, rows=rows, width=width)
        close("add_bias", x, want)


def test_attention_delta(kind):
    for rows, heads, dim in [(1, 1, 1), (3, 2, 7), (3, 12, 128), (2, 5, 64), (2, 3, 300), (2, 300, 8)]:
        o, d, delta = activations(kind, normal(rows, heads * dim)), activations(kind, normal(rows, heads * dim)), empty("f32", heads, rows)
        launch(f"attention_delta_{kind}", rows, delta=delta, o=o, d=d, rows=rows, heads=heads, dim=dim)
        close("delta", delta, (o.value * d.value).reshape(rows, heads, dim).sum(2).T)


def test_group_sum(kind):
    for rows, q_heads, kv_heads, dim in [(1, 1, 1, 1), (3, 6, 2, 7), (2, 12, 2, 128), (3, 4, 4, 64), (2, 3, 1, 20)]:
        width = (q_heads + 2 * kv_heads) * dim
        dqkv, dk, dv = activations(kind, normal(rows, width)), f32(normal(rows, q_heads * dim)), f32(normal(rows, q_heads * dim))
        want = dqkv.value
        sums = [x.value.reshape(rows, kv_heads, -1, dim).sum(2).reshape(rows, -1) for x in (dk, dv)]
        want[:, q_heads * dim :] = np.concatenate(sums, 1)
        launch(f"group_sum_{kind}", rows, dqkv=dqkv, dk=dk, dv=dv, rows=rows, width=width, q_heads=q_heads, kv_heads=kv_heads, dim=dim)
        close("group_sum", dqkv, want)


def seen(q, n, first, window):
    position, j = first + np.arange(q)[:, None], np.arange(n)
    return (j <= position) & ((window == 0) | (j > position - window))


ATTENTION = [(1, 1, 1, 0, 0), (2, 5, 7, 2, 0), (2, 6, 64, 58, 0), (3, 4, 64, 20, 9), (1, 3, 1100, 1097, 0), (1, 3, 1101, 1000, 600), (2, 4, 16, 30, 0), (1, 4, 24, 0, 1)]


def test_softmax(kind):
    for heads, q, n, first, window in ATTENTION:
        s, p, stride, scale = f32(normal(heads, q, n, scale=5)), empty(kind, heads, q, n), q + 3, 0.3
        lse = empty("f32", heads, stride)
        launch(f"softmax_{kind}", (q, heads), p=p, lse=lse, s=s, q=q, n=n, first=first, window=window, scale=scale, stride=stride)
        e = np.where(seen(q, n, first, window), np.exp(np.float64(np.float32(scale)) * s.value), 0)
        close("softmax", p, e / e.sum(2, keepdims=True))
        want = np.full((heads, stride), np.nan)
        want[:, :q] = np.log(e.sum(2))
        close("lse", lse, want, 1.0 + np.abs(want[:, :q]).max())
        assert (p.value[:, ~seen(q, n, first, window)] == 0).all()


def test_softmax_backward(kind):
    for heads, q, n, first, window in ATTENTION:
        s, dp, stride, scale = f32(normal(heads, q, n, scale=5)), f32(normal(heads, q, n)), q + 3, 0.3
        s.raw[0, 0, ~seen(q, n, first, window)[0]] = np.nan  # what is not seen does not matter
        ds, p = empty(kind, heads, q, n), empty(kind, heads, q, n)
        see = seen(q, n, first, window)
        scaled = np.where(see, np.float64(np.float32(scale)) * s.value, -np.inf)
        lse, delta = f32(np.zeros((heads, stride))), f32(normal(heads, stride))
        lse.raw[:, :q] = np.log(np.exp(scaled).sum(2))
        weight = np.where(see, np.exp(scaled - lse.value[:, :q, None]), 0)
        want = np.where(see, weight * (dp.value - delta.value[:, :q, None]) * scale, 0)
        launch(f"softmax_backward_{kind}", (q, heads), ds=ds, p=p, s=s, dp=dp, lse=lse, delta=delta, q=q, n=n, first=first, window=window, scale=scale,
               stride=stride)
        close("p", p, weight, 4.0)
        close("ds", ds, want, 4.0)


def test_cache_write(kind):
    for rows, q_heads, kv_heads, dim in [(1, 1, 1, 1), (5, 6, 2, 7), (3, 12, 2, 128), (4, 3, 1, 24), (2, 2, 20, 128), (3, 2, 3, 12)]:
        width, columns = (q_heads + 2 * kv_heads) * dim, kv_heads * dim
        qkv, places = activations(kind, normal(rows, width)), RANDOM.permutation(11)[:rows]
        keys, values = activations(kind, normal(11, columns)), activations(kind, normal(11, columns))
        want = keys.raw.copy(), values.raw.copy()
        want[0][places] = qkv.raw[:, q_heads * dim : q_heads * dim + columns]
        want[1][places] = qkv.raw[:, q_heads * dim + columns :]
        launch(f"cache_write_{kind}", rows, keys=keys, values=values, qkv=qkv, places=i32(places), rows=rows, width=width, q_heads=q_heads, kv_heads=kv_heads, dim=dim)
        same("keys", keys.raw, want[0])
        same("values", values.raw, want[1])


def test_paged_attention(kind):
    # Group, key heads, dim, block, window, and the positions of rows in their requests.
    cases = [(1, 1, 8, 4, 0, [0]), (1, 2, 128, 32, 0, [0, 1, 7, 300]), (6, 2, 128, 32, 0, [0, 31, 32, 256, 257]), (6, 1, 80, 16, 50, [3, 49, 50, 200]),
             (7, 2, 64, 16, 0, [0, 8, 63, 299]), (7, 1, 128, 5, 33, [32, 33, 280]), (6, 2, 32, 32, 1, [0, 5, 70]), (2, 2, 128, 1, 0, [130]),
             (8, 1, 128, 32, 0, [519]), (3, 2, 256, 8, 0, [0, 40]), (13, 1, 64, 16, 0, [90]), (5, 1, 160, 16, 100, [170]), (2, 2, 7, 3, 0, [0, 41]),
             (10, 1, 251, 16, 0, [35]), (4, 2, 16, 16, 0, [260]), (1, 1, 1, 2, 3, [9])]
    for group, kv_heads, dim, block, window, at in cases:
        rows, q_heads, scale, stride = len(at), group * kv_heads, 1.5 / np.sqrt(dim), max(at) // block + 3
        width, columns, positions = (q_heads + 2 * kv_heads) * dim, kv_heads * dim, np.array(at)
        requests = max(rows - 1, 1)  # the last two rows are of one request
        share = RANDOM.permutation(requests)[np.minimum(np.arange(rows), requests - 1)]
        # Each request has pages of its own anywhere in the cache; what no row may see is NaN, and so are the tables' ends.
        pages = RANDOM.permutation(requests * stride).reshape(requests, stride)
        seen_by_any, tables = np.zeros((requests * stride * block, columns), bool), np.full((requests, stride), 1 << 30)
        see = [np.arange(max(0, p - window + 1) if window else 0, p + 1) for p in at]
        places = [pages[s][j // block] * block + j % block for s, j in zip(share, see)]
        for s, j, place in zip(share, see, places):
            seen_by_any[place] = True
            tables[s][j // block] = pages[s][j // block]
        qkv, cache = activations(kind, normal(rows, width)), [activations(kind, np.where(seen_by_any, normal(*seen_by_any.shape), np.nan)) for _ in range(2)]
        qkv.raw[:, q_heads * dim :] = activations(kind, [np.nan]).raw[0]
        q, want = qkv.value[:, : q_heads * dim].reshape(rows, kv_heads, group, dim), np.zeros((rows, kv_heads, group, dim))
        for r, place in enumerate(places):
            k, v = (c.value[place].reshape(-1, kv_heads, dim) for c in cache)
            score = np.einsum("hgd,jhd->hgj", q[r], k) * np.float64(np.float32(scale))
            e = np.exp(score - score.max(2, keepdims=True))
            want[r] = np.einsum("hgj,jhd->hgd", e / e.sum(2, keepdims=True), v)
        out = empty(kind, rows, q_heads * dim)
        launch(f"paged_attention_{kind}", (rows, kv_heads), out=out, qkv=qkv, keys=cache[0], values=cache[1], tables=i32(tables), share=i32(share),
               positions=i32(positions), rows=rows, width=width, q_heads=q_heads, kv_heads=kv_heads, dim=dim, block=block, stride=stride, window=window, scale=scale)
        close(f"paged_attention {group} {dim}", out, want.reshape(rows, -1), 8.0)


def test_cross_entropy(kind):
    pack = 8 if kind == "bf16" else 4
    for rows, vocab, z in [(1, 1, 0.0), (3, 50, 1e-2), (2, 1003, 0.0), (2, 1024 * pack * 11 + 8, 1e-2), (1, 1024 * 10 + 1, 1e-4), (4, 64, 1e-2)]:
        for backward in (0, 1):
            logits = activations(kind, normal(rows, vocab, scale=4))
            targets = RANDOM.integers(0, vocab, rows)
            targets[-1] = vocab - 1
            if vocab > 8:
                logits.raw[:, 3:6] = activations(kind, [-np.inf]).raw[0]
            targets[(targets >= 3) & (targets < 6)] = 0
            weights, divisor = f32(np.abs(normal(rows)) + 0.1), np.float32(1 / 7)
            if rows > 2:
                weights.raw[1] = 0
                logits.raw[1] = activations(kind, [np.nan]).raw[0]
                weights.raw[0] = -0.5
            x, w = logits.value, weights.value[:, None]
            lse = np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) + x.max(1, keepdims=True)
            z32 = np.float64(np.float32(z))
            hot = np.arange(vocab) == targets[:, None]
            of_target = np.take_along_axis(x, targets[:, None], 1)
            want_loss = np.where(w == 0, 0, w * (lse - of_target + z32 * lse**2) * divisor)[:, 0]
            want = np.where(w == 0, 0, w * divisor * (np.exp(x - lse) * (1 + 2 * z32 * lse) - hot)) if backward else x
            before, loss = logits.raw.copy(), empty("f32", rows)
            launch(f"cross_entropy_{kind}", rows, 1024, logits=logits, loss=loss, targets=i32(targets), weights=weights, z=z, inverse_divisor=divisor,
                   rows=rows, vocab=vocab, backward=backward)
            close("loss", loss, want_loss, 1.0 + np.abs(want_loss).max())
            if backward:
                close("gradient", logits, want, np.abs(want).max())
                # Small probabilities are right relative to themselves, not only to the largest.
                few = ~hot & (w != 0) & (want != 0)
                ratio = logits.value[few] / want[few]
                assert not few.any() or np.abs(ratio - 1).max() < (2.0**-7 if kind == "bf16" else 2.0**-17), np.abs(ratio - 1).max()
            else:
                same("logits", logits.raw, before)


def test_cross_entropy_target_outside(kind):
    logits, loss = activations(kind, normal(2, 64)), empty("f32", 2)
    x = logits.value
    launch(f"cross_entropy_{kind}", 2, 1024, logits=logits, loss=loss, targets=i32([-100, 64]), weights=f32([1, 1]), z=0, inverse_divisor=1, rows=2,
           vocab=64, backward=1)
    close("gradient", logits, np.exp(x) / np.exp(x).sum(1, keepdims=True))


def test_embed_backward(kind):
    for tokens, width in [(1, 1), (60, 7), (60, 64), (40, 2100)]:
        tokens_of = RANDOM.choice([2, 2, 2, 5, 9, 11], tokens)
        order = np.argsort(tokens_of, kind="stable")
        ids, counts = np.unique(tokens_of, return_counts=True)
        starts = np.concatenate([[0], np.cumsum(counts)])
        de, dx = activations("f32", normal(12, width)), activations(kind, normal(tokens, width))
        want = de.value
        np.add.at(want, tokens_of, dx.value)
        launch(f"embed_backward_{kind}", len(ids), de=de, dx=dx, order=i32(order), starts=i32(starts), ids=i32(ids), distinct=len(ids), width=width)
        close("embed_backward", de, want)


def test_sum():
    for n in (1, 255, 5000):
        x, out = f32(normal(n)), f32([0.5])
        want = out.value + x.value.sum()
        launch("sum_f32", 1, out=out, x=x, n=n)
        close("sum_f32", out, want)
        x, out = f64(RANDOM.standard_normal(n)), f64([0.5])
        want = out.value + x.value.sum()
        launch("sum_f64", 1, out=out, x=x, n=n)
        assert abs(out.value - want) < 1e-12 * n


def test_square_sum():
    for n, grid in [(1, 2), (4099, 3), (40000, 4)]:
        x, partial = f32(normal(n)), f64(np.full(grid, np.nan))
        launch("square_sum", grid, partial=partial, x=x, n=n)
        total = (x.value**2).sum()
        assert abs(partial.value.sum() - total) < 1e-7 * total


RATES = dict(scale=0.5, beta1=0.9, beta2=0.95, rest1=0.1, rest2=0.05, step_size=0.01, root=1.3, epsilon=1e-8, kept=0.999)


def adamw(w, g, m, v):
    r = {k: np.float64(np.float32(x)) for k, x in RATES.items()}
    g = g * r["scale"]
    m = m * r["beta1"] + g * r["rest1"]
    v = v * r["beta2"] + g * g * r["rest2"]
    return w * r["kept"] - r["step_size"] * m / (np.sqrt(v) * r["root"] + r["epsilon"]), m, v


def test_adamw_f32():
    for n, grid in [(1, 1), (1027, 2), (4096, 1), (3001, 20)]:
        for shadowed in (True, False):
            w, g, m, v = f32(normal(n)), f32(normal(n)), f32(normal(n)), f32(normal(n) ** 2)
            shadow = empty("bf16", n) if shadowed else None
            want = adamw(w.value, g.value, m.value, v.value)
            launch("adamw_f32", grid, w=w, g=g, m=m, v=v, shadow=shadow, n=n, **RATES)
            for name, got, value in zip("wmv", (w, m, v), want):
                close(name, got, value)
            if shadowed:
                same("shadow", shadow.raw, to_bits(w.raw))


def test_adamw_bf16():
    for n, grid in [(1, 1), (1027, 2), (3001, 20), (2048, 1)]:
        w, g, m, v = (activations("bf16", normal(n)), f32(normal(n)), activations("bf16", normal(n)), activations("bf16", normal(n) ** 2))
        want = adamw(w.value, g.value, m.value, v.value)
        launch("adamw_bf16", grid, w=w, g=g, m=m, v=v, n=n, **RATES, seed=7, first=1 << 33)
        for name, got, value in zip("wmv", (w, m, v), want):
            # The result is one of the two bf16 neighbours of the exact value.
            low = from_bits((value.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)).astype(np.float64)
            error = np.abs(got.value - value) / np.maximum(np.abs(value), 1e-30)
            assert error.max() < 2.0**-7 * 1.01, f"{name}: {error.max()}"
            assert n < 1000 or 0.3 < (got.value == low).mean() < 0.7, f"{name}: {(got.value == low).mean()} rounded down"


def test_adamw_bf16_is_exact_in_the_mean():
    n, sums, results = 4096, np.zeros((3, 4096)), []
    start = [np.full(n, x, np.float32) for x in (1.003, 0.37, 0.0201, 0.00313)]
    for seed in range(16):
        w, g, m, v = activations("bf16", start[0]), f32(start[1]), activations("bf16", start[2]), activations("bf16", start[3])
        want = adamw(w.value, g.value, m.value, v.value)
        launch("adamw_bf16", 4, w=w, g=g, m=m, v=v, n=n, **RATES, seed=seed, first=100)
        sums += [b.value / x for b, x in zip((w, m, v), want)]
        results.append([b.raw.copy() for b in (w, m, v)])
    # One rounding is off by 2^-9 or so; the mean of 65,536 must be off by 2^-17 or so.
    assert np.abs(sums.mean(1) / 16 - 1).max() < 2.0**-14.5, sums.mean(1) / 16 - 1
    up = np.array([[b == b.max() for b in result] for result in results], np.float64)
    flat = (up - up.mean((0, 2), keepdims=True)).transpose(1, 0, 2).reshape(3, -1)
    for name, x, y in [("w, m", flat[0], flat[1]), ("w, v", flat[0], flat[2]), ("neighbours", flat[0][1:], flat[0][:-1]), ("seeds", flat[0][n:], flat[0][:-n])]:
        correlation = (x * y).mean() / np.sqrt((x**2).mean() * (y**2).mean())
        assert abs(correlation) < 0.02, f"{name}: correlation {correlation}"


def test_adamw_bf16_is_a_function_of_the_index():
    n, parts = 1000, []
    start = [normal(n), normal(n), normal(n), normal(n) ** 2]
    for lo, hi in [(0, n), (0, 400), (400, n)]:
        w, g, m, v = (activations("bf16", start[0][lo:hi]), f32(start[1][lo:hi]), activations("bf16", start[2][lo:hi]), activations("bf16", start[3][lo:hi]))
        launch("adamw_bf16", 2, w=w, g=g, m=m, v=v, n=hi - lo, **RATES, seed=3, first=50 + lo)
        parts.append(np.stack([w.raw, m.raw, v.raw]))
    same("parts", np.concatenate(parts[1:], 1), parts[0])


def test_adamw_bf16_keeps_what_is_not_finite():
    w, g, m, v = activations("bf16", [np.inf, np.nan, 1]), f32([0, 0, np.nan]), activations("bf16", [0, 0, 0]), activations("bf16", [1, 1, 1])
    launch("adamw_bf16", 1, w=w, g=g, m=m, v=v, n=3, **RATES, seed=1, first=0)
    assert w.value[0] == np.inf and np.isnan(w.value[1:]).all() and np.isnan(m.value[2]) and np.isnan(v.value[2])


def test_cast_bf16():
    for n, grid in [(1, 1), (1003, 2), (4096, 20)]:
        x, y = f32(normal(n)), empty("bf16", n)
        launch("cast_bf16", grid, y=y, x=x, n=n)
        same("cast_bf16", y.raw, to_bits(x.raw))


def test_fill(kind):
    for n, grid in [(1, 1), (1003, 2), (4096, 20)]:
        x = empty(kind, n)
        launch(f"fill_{kind}", grid, x=x, value=1.25, n=n)
        assert (x.value == 1.25).all()


def main():
    global LIBRARY, RANDOM
    words = sys.argv[1:]
    start, failures, ran, launched = time.time(), 0, 0, set()
    with tempfile.TemporaryDirectory() as folder:
        LIBRARY = build(folder)
        print(f"built in {time.time() - start:.1f} s", flush=True)
        for name, test in list(globals().items()):
            if not name.startswith("test_") or (words and not any(word in name for word in words)):
                continue
            for kind in BOTH if test.__code__.co_argcount else [None]:
                RANDOM, began = np.random.default_rng(1), time.time()
                label = name[5:] + (f" {kind}" if kind else "")
                try:
                    test(kind) if kind else test()
                    print(f"ok    {label} ({time.time() - began:.1f} s)", flush=True)
                except AssertionError as error:
                    failures += 1
                    print(f"FAIL  {label}: {error}", flush=True)
                ran += 1
    print(f"{ran} tests, {failures} failed, {time.time() - start:.0f} s")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
