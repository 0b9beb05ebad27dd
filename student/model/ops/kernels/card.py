#!/usr/bin/env python3
"""Runs every kernel of kernels.ptx on a GPU at the sizes of a training step: compares with torch, and measures.

    card.py RESULT.json

The driver compiles the PTX, as it does for the crate; torch holds the data and is the reference. One line a kernel, then the
JSON. A kernel that fails is reported and the others go on; the exit status is 1 if one was wrong. It needs torch with CUDA only.
Milliseconds are the median of 10 launches from a cold cache, and bytes what the kernel must move at least.
"""

import ctypes
import json
import statistics
import sys
import time
import traceback

import torch

from compile import PTX, entries

ENTRIES = entries()
KINDS = {"int": ctypes.c_int, "unsigned": ctypes.c_uint, "float": ctypes.c_float, "long long": ctypes.c_longlong, "unsigned long long": ctypes.c_ulonglong}
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
# A row of the residual stream, an MLP, the heads, the vocabulary: Qwen2.5-1.5B.
ROWS, HIDDEN, INNER, VOCAB, Q, KV, DIM = 8192, 1536, 8960, 151936, 12, 2, 128
LOGIT_ROWS, TABLE, FLAT = 2048, 50000, 150_000_003
CASES, results = [], []


def check(code):
    if code != 0:
        text = ctypes.c_char_p()
        CUDA.cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"driver error {code}: {(text.value or b'').decode()}")


def load():
    global COLD, CUDA, MODULE
    CUDA = ctypes.CDLL("libcuda.so.1")
    COLD = torch.zeros(1 << 27, device="cuda")  # this makes the primary context current, too
    size = 1 << 16
    log = ctypes.create_string_buffer(size)
    options = (ctypes.c_int * 2)(5, 6)  # CU_JIT_ERROR_LOG_BUFFER and its size
    values = (ctypes.c_void_p * 2)(ctypes.addressof(log), size)
    MODULE = ctypes.c_void_p()
    began = time.time()
    code = CUDA.cuModuleLoadDataEx(ctypes.byref(MODULE), PTX.read_bytes() + b"\0", 2, options, values)
    if code != 0:
        sys.exit(f"the driver refuses kernels.ptx ({code}): {log.value.decode()}")
    return time.time() - began


def prepare(name, grid, threads=256, **given):
    """A function that launches the kernel once."""
    parameters = ENTRIES[name]
    assert [of for _, of in parameters] == list(given), f"arguments {list(given)}, got for {parameters}"
    values = []
    for (kind, of), value in zip(parameters, given.values()):
        if kind.endswith("*"):
            assert value is None or value.is_contiguous(), of
            values.append(ctypes.c_void_p(0 if value is None else value.data_ptr()))
        else:
            values.append(KINDS[kind](value))
    function = ctypes.c_void_p()
    check(CUDA.cuModuleGetFunction(ctypes.byref(function), MODULE, name.encode()))
    arguments = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
    x, y = grid if isinstance(grid, tuple) else (grid, 1)
    keep = (values, given)

    def launch():
        keep  # the arguments live as long as the launch can be made
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        check(CUDA.cuLaunchKernel(function, x, y, 1, threads, 1, 1, 0, stream, arguments, None))

    return launch


def milliseconds(launch):
    """Of one launch with nothing of its data in the L2 cache. While the card reads `COLD`, the CPU queues the launch: without
    that, the time would hold the CPU's own, 20 microseconds a launch."""
    for _ in range(2):
        launch()
    times = []
    for _ in range(10):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        COLD.sum()
        start.record()
        launch()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def error(got, want, scale=None):
    """Largest error over what is allowed: a rounding of the stored type, and 2^-18 of `scale` for the sums in float32."""
    worst = 0.0
    step = 2.0**-8 if got.dtype == torch.bfloat16 else 2.0**-19
    scale = float(want.abs().max()) if scale is None else scale
    for a, b in zip(got.reshape(-1).split(1 << 26), want.reshape(-1).split(1 << 26)):
        b = b.double()
        ratio = (a.double() - b).abs() / (b.abs() * step * 1.02 + scale * 2.0**-18 + 1e-30)
        worst = max(worst, float("inf") if ratio.isnan().any() else float(ratio.max()))
    return worst


def case(function):
    CASES.append(function)
    return function


def normal(kind, *shape, scale=1.0):
    return (torch.randn(*shape, device="cuda") * scale).to(TYPES[kind])


def new(kind, *shape):
    return torch.full(shape, float("nan"), device="cuda", dtype=TYPES[kind])


def f32(*shape):
    return torch.randn(*shape, device="cuda")


def ints(values):
    return torch.as_tensor(values, dtype=torch.int32, device="cuda")


def size(*tensors):
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


class Sizes:
    def __init__(self, kind):
        small = kind == "f32"
        self.rows = ROWS // 16 if small else ROWS
        self.hidden, self.inner, self.vocab, self.q, self.kv, self.dim = HIDDEN, INNER, VOCAB, Q, KV, DIM
        self.logit_rows = LOGIT_ROWS // 32 if small else LOGIT_ROWS
        self.width = (Q + 2 * KV) * DIM


# A case yields (name, launch, bytes, compare): `compare` looks at the first launch's result and returns error over allowance.


@case
def rows(kind, s):
    x, y, index = normal(kind, s.rows, s.hidden), new(kind, s.rows, s.hidden), torch.randperm(s.rows, device="cuda")
    given = dict(y=y, x=x, index=ints(index), rows=s.rows, width=s.hidden)
    yield f"gather_rows_{kind}", prepare(f"gather_rows_{kind}", s.rows, **given), size(x, y), lambda: 0.0 if torch.equal(y, x[index]) else float("inf")
    yield f"scatter_rows_{kind}", prepare(f"scatter_rows_{kind}", s.rows, **given), size(x, y), lambda: 0.0 if torch.equal(y[index], x) else float("inf")


@case
def rms_norm(kind, s):
    for hidden in (s.hidden, 1537, 8192):
        x, w, y, rstd = normal(kind, s.rows, hidden), f32(hidden), new(kind, s.rows, hidden), new("f32", s.rows)
        tail = "" if hidden == s.hidden else f" {hidden}"
        want = lambda: 1 / (x.double().pow(2).mean(1) + 1e-6).sqrt()
        yield (f"rms_norm_{kind}{tail}", prepare(f"rms_norm_{kind}", s.rows, y=y, rstd=rstd, x=x, w=w, eps=1e-6, rows=s.rows, width=hidden), size(x, y),
               lambda: max(error(rstd, want()), error(y, x.double() * want()[:, None] * w.double())))


@case
def rms_norm_backward(kind, s):
    for hidden, parts in [(s.hidden, 264), (s.hidden, 528), (s.hidden, 1056), (1537, 528), (8192, 528)]:
        x, dy, residual, w = normal(kind, s.rows, hidden), normal(kind, s.rows, hidden), normal(kind, s.rows, hidden), f32(hidden)
        rstd, dx, partial = (1 / (x.double().pow(2).mean(1) + 1e-6).sqrt()).float(), new(kind, s.rows, hidden), new("f32", parts, hidden)

        def compare():
            r, g, v = rstd.double()[:, None], dy.double(), x.double()
            want = residual.double() + r * (g * w.double() - v * r**2 * (g * w.double() * v).mean(1, keepdim=True))
            sums = torch.zeros(parts, hidden, dtype=torch.float64, device="cuda")
            sums.index_add_(0, torch.arange(s.rows, device="cuda") % parts, g * v * r)
            return max(error(dx, want), error(partial, sums))

        yield (f"rms_norm_backward_{kind} {hidden}/{parts}", prepare(f"rms_norm_backward_{kind}", parts, dx=dx, partial=partial, residual=residual, dy=dy, x=x, rstd=rstd,
               w=w, rows=s.rows, width=hidden, parts=parts), size(x, dy, residual, dx, partial), compare)


@case
def column_sum(kind, s):
    parts = 32
    x, partial = normal(kind, s.rows, s.width), new("f32", parts, s.width)

    def compare():
        want = torch.zeros(parts, s.width, dtype=torch.float64, device="cuda")
        return error(partial, want.index_add_(0, torch.arange(s.rows, device="cuda") % parts, x.double()))

    yield (f"column_sum_{kind}", prepare(f"column_sum_{kind}", (-(-s.width // 256), parts), partial=partial, x=x, rows=s.rows, width=s.width, parts=parts),
           size(x, partial), compare)


@case
def rope(kind, s):
    heads = s.q + s.kv
    angles = torch.arange(s.rows, device="cuda")[:, None] * 1e6 ** (-torch.arange(s.dim // 2, device="cuda") / (s.dim // 2))
    cos, sin, positions = angles.cos().float(), angles.sin().float(), torch.randperm(s.rows, device="cuda")
    for biased in (True, False):
        x, bias = normal(kind, s.rows, s.width), f32(s.width) if biased else None
        start = x.clone()

        def compare():
            want = start.double() + (bias.double() if biased else 0)
            a, b = want[:, : heads * s.dim].reshape(s.rows, heads, 2, s.dim // 2).unbind(2)
            c, d = cos.double()[positions][:, None], sin.double()[positions][:, None]
            turned = torch.stack([a * c - b * d, b * c + a * d], 2)
            return error(x, torch.cat([turned.reshape(s.rows, -1), want[:, heads * s.dim :]], 1))

        yield (f"rope_{kind}{'' if biased else ' no bias'}", prepare(f"rope_{kind}", s.rows, x=x, bias=bias, positions=ints(positions), cos=cos, sin=sin, rows=s.rows,
               width=s.width, heads=heads, dim=s.dim, sign=1.0), 2 * size(x if biased else x[:, : heads * s.dim]), compare)


@case
def head_norm(kind, s):
    q, kv = 16, 8  # Qwen3-1.7B
    width, normed = (q + 2 * kv) * s.dim, q + kv
    x, qw, kw = normal(kind, s.rows, width), f32(s.dim), f32(s.dim)
    y, rstd = new(kind, s.rows, width), new("f32", s.rows, normed)
    heads = x.double().reshape(s.rows, -1, s.dim)[:, :normed]
    scale = 1 / (heads.pow(2).mean(2, keepdim=True) + 1e-6).sqrt()
    w = torch.cat([qw.expand(q, -1), kw.expand(kv, -1)]).double()
    shape = dict(rows=s.rows, width=width, q_heads=q, kv_heads=kv, dim=s.dim)
    yield (f"head_norm_{kind}", prepare(f"head_norm_{kind}", s.rows, y=y, rstd=rstd, x=x, qw=qw, kw=kw, eps=1e-6, **shape), size(x, y),
           lambda: max(error(y, torch.cat([(heads * scale * w).reshape(s.rows, -1), x[:, normed * s.dim :].double()], 1)), error(rstd, scale[..., 0])))
    for parts in (264, 528, 1056):
        d, partial, rounded = normal(kind, s.rows, width), new("f32", parts, 2, s.dim), scale[..., 0].float().contiguous()
        g = d.double().reshape(s.rows, -1, s.dim)[:, :normed]

        def compare():
            r = rounded.double()[..., None]
            want = r * (g * w - heads * r**2 * (g * w * heads).mean(2, keepdim=True))
            change = g * heads * r
            sums = torch.zeros(parts, 2, s.dim, dtype=torch.float64, device="cuda")
            sums.index_add_(0, torch.arange(s.rows, device="cuda") % parts, torch.stack([change[:, :q].sum(1), change[:, q:].sum(1)], 1))
            return max(error(d[:, : normed * s.dim], want.reshape(s.rows, -1)), error(partial, sums))

        yield (f"head_norm_backward_{kind} {parts}", prepare(f"head_norm_backward_{kind}", parts, d=d, partial=partial, x=x, rstd=rounded, qw=qw, kw=kw, **shape, parts=parts),
               3 * size(x[:, : normed * s.dim]), compare)


@case
def swiglu(kind, s):
    gu, act, dact, dgu = normal(kind, s.rows, 2 * s.inner, scale=3), new(kind, s.rows, s.inner), normal(kind, s.rows, s.inner), new(kind, s.rows, 2 * s.inner)
    g, u = gu[:, : s.inner], gu[:, s.inner :]

    def forward():
        a = g.double()
        return error(act, a * a.sigmoid() * u.double())

    def backward():
        a, b, d = g.double(), u.double(), dact.double()
        sigma = a.sigmoid()
        return max(error(dgu[:, : s.inner], d * b * sigma * (1 + a * (1 - sigma))), error(dgu[:, s.inner :], d * a * sigma))

    for grid in (1056, 4224, -(-s.rows * s.inner // (8 if kind == "bf16" else 4) // 256)):
        yield f"swiglu_{kind} {grid}", prepare(f"swiglu_{kind}", grid, act=act, gu=gu, rows=s.rows, inner=s.inner), size(gu, act), forward
        yield (f"swiglu_backward_{kind} {grid}", prepare(f"swiglu_backward_{kind}", grid, dgu=dgu, gu=gu, dact=dact, rows=s.rows, inner=s.inner), size(gu, dact, dgu),
               backward)


@case
def add_bias(kind, s):
    x, bias = normal(kind, s.rows, s.width), f32(s.width)
    want = x.double() + bias.double()
    yield f"add_bias_{kind}", prepare(f"add_bias_{kind}", 1056, x=x, bias=bias, rows=s.rows, width=s.width), 2 * size(x), lambda: error(x, want)


@case
def around_attention(kind, s):
    o, d, delta = normal(kind, s.rows, s.q * s.dim), normal(kind, s.rows, s.q * s.dim), new("f32", s.q, s.rows)
    yield (f"attention_delta_{kind}", prepare(f"attention_delta_{kind}", s.rows, delta=delta, o=o, d=d, rows=s.rows, heads=s.q, dim=s.dim), size(o, d),
           lambda: error(delta, (o.double() * d.double()).reshape(s.rows, s.q, s.dim).sum(2).T))
    dk, dv, dqkv = f32(s.rows, s.q * s.dim), f32(s.rows, s.q * s.dim), new(kind, s.rows, s.width)
    sums = lambda x: x.double().reshape(s.rows, s.kv, -1, s.dim).sum(2).reshape(s.rows, -1)
    yield (f"group_sum_{kind}", prepare(f"group_sum_{kind}", s.rows, dqkv=dqkv, dk=dk, dv=dv, rows=s.rows, width=s.width, q_heads=s.q, kv_heads=s.kv, dim=s.dim),
           size(dk, dv, dqkv[:, s.q * s.dim :]), lambda: error(dqkv[:, s.q * s.dim :], torch.cat([sums(dk), sums(dv)], 1)))


@case
def softmax(kind, s):
    heads, q, n, first, window, scale = 12, 512, 2048, 1024, 700, 0.0883883461356163
    scores, dp, p, ds = f32(heads, q, n) * 30, f32(heads, q, n), new(kind, heads, q, n), new(kind, heads, q, n)
    lse, delta = new("f32", heads, q), f32(heads, q)
    position, j = first + torch.arange(q, device="cuda")[:, None], torch.arange(n, device="cuda")
    see = (j <= position) & (j > position - window)
    scaled = (scores.double() * ctypes.c_float(scale).value).masked_fill(~see, -float("inf"))
    shape = dict(q=q, n=n, first=first, window=window, scale=scale, stride=q)
    yield (f"softmax_{kind}", prepare(f"softmax_{kind}", (q, heads), p=p, lse=lse, s=scores, **shape), size(p) + 4 * heads * int(see.sum()),
           lambda: max(error(p, scaled.softmax(2)), error(lse, scaled.logsumexp(2))))
    exact = scaled.logsumexp(2)
    rounded = exact.float()
    weight = (scaled - exact[..., None]).exp()
    yield (f"softmax_backward_{kind}", prepare(f"softmax_backward_{kind}", (q, heads), ds=ds, p=p, s=scores, dp=dp, lse=rounded, delta=delta, **shape),
           size(p, ds) + 8 * heads * int(see.sum()),
           lambda: max(error(p, weight), error(ds, weight * (dp.double() - delta.double()[..., None]) * scale)))


@case
def cache_write(kind, s):
    columns = s.kv * s.dim
    qkv, places = normal(kind, s.rows, s.width), torch.randperm(2 * s.rows, device="cuda")[: s.rows]
    keys, values = new(kind, 2 * s.rows, columns), new(kind, 2 * s.rows, columns)
    want = qkv[:, s.q * s.dim :].split(columns, 1)
    yield (f"cache_write_{kind}", prepare(f"cache_write_{kind}", s.rows, keys=keys, values=values, qkv=qkv, places=ints(places), rows=s.rows, width=s.width, q_heads=s.q,
           kv_heads=s.kv, dim=s.dim), 4 * size(want[0]), lambda: 0.0 if torch.equal(keys[places], want[0]) and torch.equal(values[places], want[1]) else float("inf"))


@case
def paged_attention(kind, s):
    block, scale, columns = 32, s.dim**-0.5, s.kv * s.dim
    for tail, rows, requests, at, window in [("256 at 256", 256, 256, 256, 0), ("1 at 4096", 1, 1, 4096, 0), ("prompt of 128", 128, 1, None, 0),
                                             ("256 at 4096", 256, 256, 4096, 0), ("256 at 4096 window 512", 256, 256, 4096, 512)]:
        if kind == "f32" and at == 4096 and rows > 1:
            continue
        positions = torch.arange(rows, device="cuda") if at is None else torch.full((rows,), at, device="cuda")
        length = int(positions.max()) + 1
        stride = -(-length // block)
        tables = torch.randperm(requests * stride, device="cuda").reshape(requests, stride)
        share = torch.zeros(rows, dtype=torch.int64, device="cuda") if requests == 1 else torch.randperm(requests, device="cuda")
        qkv, cache = normal(kind, rows, s.width), [normal(kind, requests * stride * block, columns) for _ in range(2)]
        out = new(kind, rows, s.q * s.dim)

        def compare():
            worst, j = 0.0, torch.arange(length, device="cuda")
            for r in range(0, rows, max(rows // 32, 1)):
                p = int(positions[r])
                seen = j[(j <= p) & ((window == 0) | (j > p - window))]
                place = tables[share[r]][seen // block] * block + seen % block
                k, v = (c[place].double().reshape(-1, s.kv, s.dim) for c in cache)
                q = qkv[r, : s.q * s.dim].double().reshape(s.kv, -1, s.dim)
                weight = (torch.einsum("hgd,jhd->hgj", q, k) * ctypes.c_float(scale).value).softmax(2)
                worst = max(worst, error(out[r], torch.einsum("hgj,jhd->hgd", weight, v).reshape(-1), 4.0))
            return worst

        read = requests * min(length, window or length) * columns * 2 * qkv.element_size()
        yield (f"paged_attention_{kind} {tail}", prepare(f"paged_attention_{kind}", (rows, s.kv), out=out, qkv=qkv, keys=cache[0], values=cache[1], tables=ints(tables),
               share=ints(share), positions=ints(positions), rows=rows, width=s.width, q_heads=s.q, kv_heads=s.kv, dim=s.dim, block=block, stride=stride, window=window,
               scale=scale), read + size(qkv[:, : s.q * s.dim], out), compare)


@case
def cross_entropy(kind, s):
    for vocab in (s.vocab, 50257):
        for backward in (1, 0):
            count, z, divisor = s.logit_rows, 1e-4, 1 / 1000
            logits, loss = normal(kind, count, vocab, scale=3), new("f32", count)
            start, targets, weights = logits.clone(), torch.randint(vocab, (count,), device="cuda"), torch.rand(count, device="cuda") + 0.5

            def compare():
                worst = 0.0
                for lo in range(0, count, 128):
                    x, t, w = start[lo : lo + 128].double(), targets[lo : lo + 128], weights[lo : lo + 128].double()[:, None] * divisor
                    lse = x.logsumexp(1, keepdim=True)
                    want = w * (lse - x.gather(1, t[:, None]) + z * lse**2)
                    worst = max(worst, error(loss[lo : lo + 128], want[:, 0]))
                    want = w * (x - lse).exp() * (1 + 2 * z * lse)
                    want.scatter_add_(1, t[:, None], -w)
                    want = want if backward else x
                    # The scale is that of a probability: small entries must be right relative to themselves.
                    worst = max(worst, error(logits[lo : lo + 128], want, float(want.abs().median()) * 4))
                return worst

            tail = ("" if vocab == s.vocab else f" {vocab}") + ("" if backward else " forward")
            yield (f"cross_entropy_{kind}{tail}", prepare(f"cross_entropy_{kind}", count, 1024, logits=logits, loss=loss, targets=ints(targets), weights=weights, z=z,
                   inverse_divisor=divisor, rows=count, vocab=vocab, backward=backward), size(logits) * (1 + backward), compare)


@case
def embed_backward(kind, s):
    # Tokens as skewed as text: the most frequent one is a twentieth of all.
    tokens = (torch.rand(s.rows, device="cuda") ** 6 * TABLE).long()
    tokens[torch.rand(s.rows, device="cuda") < 0.05] = 7
    order = torch.argsort(tokens, stable=True)
    ids, counts = torch.unique(tokens, return_counts=True)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    de, dx = normal("f32", TABLE, s.hidden), normal(kind, s.rows, s.hidden)
    want = de.double().index_add_(0, tokens, dx.double())
    given = dict(de=de, dx=dx, order=ints(order), starts=ints(starts), ids=ints(ids), distinct=len(ids), width=s.hidden)
    yield (f"embed_backward_{kind}", prepare(f"embed_backward_{kind}", len(ids), **given), size(dx) + 2 * len(ids) * s.hidden * de.element_size(),
           lambda: error(de, want, 60.0))


@case
def fill(kind, s):
    n = FLAT
    x = new(kind, n)
    yield f"fill_{kind}", prepare(f"fill_{kind}", 1056, x=x, value=1.25, n=n), size(x), lambda: 0.0 if bool((x == 1.25).all()) else float("inf")


@case
def column_reduce(kind, s):
    if kind == "bf16":
        return
    out, partial = f32(HIDDEN), f32(528, HIDDEN)
    want = out.double() + partial.double().sum(0)
    given = dict(out=out, partial=partial, parts=528, width=HIDDEN)
    yield ("column_reduce", prepare("column_reduce", -(-HIDDEN // 32), **given), size(partial), lambda: error(out, want))


@case
def sums(kind, s):
    if kind == "bf16":
        return
    x, out = f32(8192), torch.full((1,), 0.5, device="cuda")
    total = x.double().sum() + 0.5
    yield "sum_f32", prepare("sum_f32", 1, out=out, x=x, n=8192), size(x), lambda: error(out, total[None], 100.0)
    y, wide = torch.randn(1024, device="cuda", dtype=torch.float64), torch.full((1,), 0.5, device="cuda", dtype=torch.float64)
    total_of_y = y.sum() + 0.5
    yield "sum_f64", prepare("sum_f64", 1, out=wide, x=y, n=1024), size(y), lambda: error(wide, total_of_y[None], 1e-6)
    big, partial = f32(FLAT), torch.full((1024,), float("nan"), device="cuda", dtype=torch.float64)
    yield ("square_sum", prepare("square_sum", 1024, partial=partial, x=big, n=big.numel()), size(big),
           lambda: error(partial.sum()[None], sum(part.double().pow(2).sum() for part in big.split(1 << 26))[None]))


RATES = dict(scale=0.5, beta1=0.9, beta2=0.95, rest1=0.1, rest2=0.05, step_size=0.01, root=1.3, epsilon=1e-8, kept=0.999)


@case
def adamw(kind, s):
    n = FLAT
    w, g, m, v = normal(kind, n), f32(n), normal(kind, n), normal(kind, n).square()
    few = slice(max(n - 1_000_003, 0), n)
    old = [t[few].double() for t in (w, g, m, v)]

    def want():
        r = {k: ctypes.c_float(x).value for k, x in RATES.items()}
        a, b = old[2] * r["beta1"] + old[1] * r["scale"] * r["rest1"], old[3] * r["beta2"] + (old[1] * r["scale"]) ** 2 * r["rest2"]
        return old[0] * r["kept"] - r["step_size"] * a / (b.sqrt() * r["root"] + r["epsilon"]), a, b

    def rounded():
        worst = 0.0
        for got, value, before in zip((w, m, v), want(), (old[0], old[2], old[3])):
            off = got[few].double() - value
            # Each is a neighbour, so off by 2^-7 at most; the mean of a million by 2^-18 or so. Where the two terms of m or w
            # cancel, what is left is a sum in float32, off by a rounding of the terms: of what was there before the step.
            worst = max(worst, float((off.abs() / (value.abs() * 2**-7 * 1.02 + before.abs() * 2**-22 + 1e-30)).max()))
            worst = max(worst, abs(float((off / value.abs().clamp_min(before.abs() * 2**-12 + 1e-30) * value.sign()).mean())) * 2**15)
        return worst

    for grid in (1056, 2112):
        if kind == "f32":
            shadow = new("bf16", n)
            yield (f"adamw_f32 {grid}", prepare("adamw_f32", grid, w=w, g=g, m=m, v=v, shadow=shadow, n=n, **RATES), 2 * size(w, m, v) + size(g, shadow),
                   lambda: max(0.0 if torch.equal(shadow, w.bfloat16()) else float("inf"), *[error(a[few], b) for a, b in zip((w, m, v), want())]))
        else:
            yield f"adamw_bf16 {grid}", prepare("adamw_bf16", grid, w=w, g=g, m=m, v=v, n=n, **RATES, seed=5, first=1 << 33), 2 * size(w, m, v) + size(g), rounded
        old = [t[few].double() for t in (w, g, m, v)]


@case
def cast(kind, s):
    if kind == "f32":
        return
    x, y = f32(FLAT), new("bf16", FLAT)
    yield "cast_bf16", prepare("cast_bf16", 1056, y=y, x=x, n=x.numel()), size(x, y), lambda: 0.0 if torch.equal(y, x.bfloat16()) else float("inf")


def run(name, launch, count, compare):
    launch()
    torch.cuda.synchronize()
    off = compare()
    ms = milliseconds(launch)
    return dict(kernel=name, right=off <= 1.0, error=off, ms=ms, bytes=count, gb_per_s=count / ms / 1e6)


def main():
    began = time.time()
    seconds = load()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; the driver compiled kernels.ptx in {seconds:.2f} s", flush=True)
    print(f"{'kernel':38}{'error/allowed':>14}{'ms':>10}{'GB/s':>8}", flush=True)
    torch.manual_seed(1)
    for kind in ("bf16", "f32"):
        for one in CASES:
            # The steps of a case share data, so one that raises ends its case; the others go on.
            try:
                for step in one(kind, Sizes(kind)):
                    result = run(*step)
                    results.append(result)
                    wrong = "" if result["right"] else "  WRONG"
                    print(f"{result['kernel']:38}{result['error']:14.3f}{result['ms']:10.4f}{result['gb_per_s']:8.0f}{wrong}", flush=True)
            except Exception as problem:
                traceback.print_exc()
                results.append(dict(kernel=f"{one.__name__} {kind}", right=False, error=str(problem)))
                print(f"{one.__name__} {kind}: FAILED: {problem}", flush=True)
            torch.cuda.empty_cache()
    untested = sorted(name for name in ENTRIES if not any(r["kernel"].split()[0] == name for r in results))
    wrong = [r["kernel"] for r in results if not r["right"]]
    with open(sys.argv[1], "w") as file:
        json.dump(dict(device=torch.cuda.get_device_name(), torch=torch.__version__, jit_s=seconds, seconds=time.time() - began, untested=untested, results=results), file, indent=1)
    print(f"{len(results)} measured, wrong: {wrong or 'none'}, not run: {untested or 'none'}, {time.time() - began:.0f} s", flush=True)
    sys.exit(bool(wrong or untested))


if __name__ == "__main__":
    main()
