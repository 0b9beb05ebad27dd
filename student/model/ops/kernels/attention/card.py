"""Runs every shipped attention kernel on a GPU: errors against torch in float32, repeatability, milliseconds beside torch's SDPA.

    card.py RESULT.json

It needs torch with CUDA; the driver compiles the PTX, as it does for the crate. One line a step, flushed; a step that fails is
reported and the others go on (not past an illegal address: it ends the context); the exit status is 1 if one was wrong. On compute capability 9.0 the sm_90a texts run on all cases,
those of sm_80 (which any newer card takes) on the small ones. The torch ops here stand in for attention_delta and group_sum.
FLOP are those of scores under the diagonal, backward 2.5 times forward: what is recomputed counts as time, not as work.
"""

import ctypes
import json
import statistics
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

HERE = Path(__file__).parent
KERNELS = json.loads((HERE / "attention.json").read_text())["kernels"]
SECONDS_MAX = 55.0
BEHIND = 128
# Largest relative error that passes. Steep: a key column of 85 times the bfloat16 rounding of ds, which sums to 0 exactly.
LIMIT, LIMIT_STEEP, LIMIT_LSE = 1e-2, 5e-2, 1e-4
BEGAN = time.time()


class Case(NamedTuple):
    name: str
    heads: int
    key_heads: int
    dim: int
    lengths: list
    window: int = 0
    logit: float = 0.0
    small: bool = False

    @property
    def even(self):
        return len(set(self.lengths)) == 1 and self.window == 0 and not self.logit

    @property
    def forward_flop(self):
        pairs = sum(n * n / 2 if not 0 < self.window < n else n * self.window - self.window**2 / 2 for n in self.lengths)
        return 4 * self.dim * self.heads * pairs


ODD = [1, 37, 0, 63, 64, 65, 127, 128, 129, 130, 704, 1087]
CASES = [
    Case("packed odd, 12/2 x 128", 12, 2, 128, ODD, small=True),
    Case("packed odd, 14/2 x 64", 14, 2, 64, ODD, small=True),
    Case("2 x 256, 8/4 x 32", 8, 4, 32, [256, 256], small=True),
    Case("logits -120, 12/2 x 128", 12, 2, 128, [130, 300], logit=-120.0, small=True),
    Case("logits +120, 14/2 x 64", 14, 2, 64, [130, 300], logit=120.0, small=True),
    Case("window 300, packed odd, 12/2 x 128", 12, 2, 128, ODD, window=300, small=True),
    Case("window 300, packed odd, 8/4 x 32", 8, 4, 32, ODD, window=300, small=True),
    Case("8 x 1024, 12/2 x 128", 12, 2, 128, [1024] * 8),
    Case("1 x 8192, 12/2 x 128", 12, 2, 128, [8192]),
    Case("16 x 512, 12/2 x 128", 12, 2, 128, [512] * 16),
    Case("8 x 1024, 14/2 x 64", 14, 2, 64, [1024] * 8),
    Case("window 300, 1 x 8192, 12/2 x 128", 12, 2, 128, [8192], window=300),
    Case("1 x 4096 + 64 x 64, 12/2 x 128", 12, 2, 128, [4096] + [64] * 64),
]

results, wrong = [], 0


def say(good, **what):
    """A line and a record; `good` None where nothing was judged."""
    global wrong
    wrong += good is False
    results.append({"good": good, **what})
    words = " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in what.items())
    print(f"{time.time() - BEGAN:5.1f} s {'    ' if good is None else 'ok  ' if good else 'FAIL'} {words}", flush=True)


def check(code):
    if code != 0:
        text = ctypes.c_char_p()
        CUDA.cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"driver error {code}: {(text.value or b'').decode()}")


def load(kernel, context):
    """The kernel's function with its registers, bytes of local memory (spills) and seconds of compiling."""
    check(CUDA.cuCtxSetCurrent(context))
    log = ctypes.create_string_buffer(1 << 14)
    options = (ctypes.c_int * 2)(5, 6)  # CU_JIT_ERROR_LOG_BUFFER and its size
    values = (ctypes.c_void_p * 2)(ctypes.addressof(log), len(log))
    module, function, value = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
    began = time.time()
    text = (HERE / kernel["file"]).read_bytes() + b"\0"
    code = CUDA.cuModuleLoadDataEx(ctypes.byref(module), text, 2, options, values)
    if code != 0:
        raise RuntimeError(f"the driver refuses {kernel['file']} ({code}): {log.value.decode()}")
    seconds = time.time() - began
    check(CUDA.cuModuleGetFunction(ctypes.byref(function), module, kernel["entry"].encode()))
    check(CUDA.cuFuncSetAttribute(function, 8, kernel["shared_bytes"]))  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    attributes = []
    for number in (4, 3):  # CU_FUNC_ATTRIBUTE_NUM_REGS, _LOCAL_SIZE_BYTES
        check(CUDA.cuFuncGetAttribute(ctypes.byref(value), number, function))
        attributes.append(value.value)
    return function, *attributes, seconds


def load_all(arch):
    context = ctypes.c_void_p()
    check(CUDA.cuCtxGetCurrent(ctypes.byref(context)))
    loaded = []
    with ThreadPoolExecutor(8) as pool:
        chosen = [kernel for kernel in KERNELS if kernel["arch"] == arch]
        for kernel, future in [(kernel, pool.submit(load, kernel, context)) for kernel in chosen]:
            try:
                function, registers, local, seconds = future.result()
                say(True, load=kernel["file"], registers=registers, local_bytes=local, seconds=seconds)
                loaded.append(kernel | {"function": function})
            except Exception as problem:
                say(False, load=kernel["file"], problem=str(problem)[:300])
    return loaded


def launcher(kernel, case, values):
    """A function that launches the kernel once on the current stream; `values` are by the parameters' names."""
    arguments = []
    for name in kernel["parameters"]:
        value = values.get(name)
        if name == "scratch":
            arguments.append(ctypes.c_void_p(0))
        elif isinstance(value, torch.Tensor):
            arguments.append(ctypes.c_void_p(value.data_ptr()))
        else:
            arguments.append(ctypes.c_float(value) if name == "scale" else ctypes.c_int(value))
    pointers = (ctypes.c_void_p * len(arguments))(*[ctypes.addressof(a) for a in arguments])
    grid = -(-max(case.lengths) // kernel["grid_block"]), case.heads, len(case.lengths)

    def launch():
        arguments, values  # kept alive with the function
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        check(
            CUDA.cuLaunchKernel(
                kernel["function"], *grid, kernel["threads"], 1, 1, kernel["shared_bytes"], stream, pointers, None
            )
        )

    return launch


def milliseconds(launch, launches=5):
    """Median over 5 of the mean of `launches` in a row."""
    for _ in range(2):
        launch()
    times = []
    for _ in range(5):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(launches):
            launch()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / launches)
    return statistics.median(times)


def make(case):
    """Inputs by the parameters' names, with NaN behind the packed tokens; q, k and v are columns of one buffer."""
    generator = torch.Generator("cuda").manual_seed(1)
    total = sum(case.lengths)
    rows, width, q_width, k_width = total + BEHIND, (case.heads + 2 * case.key_heads) * case.dim, case.heads * case.dim, case.key_heads * case.dim
    qkv = torch.randn(rows, width, device="cuda", generator=generator).bfloat16()
    do = torch.randn(rows, q_width, device="cuda", generator=generator).bfloat16()
    q, k, v = qkv.split([q_width, k_width, k_width], 1)
    scale = case.dim**-0.5
    if case.logit:
        q[:, :: case.dim] = 16
        k[:, :: case.dim] = case.logit / scale / 16
    qkv[total:] = do[total:] = float("nan")
    starts = torch.tensor([0, *case.lengths]).cumsum(0).int().cuda()
    numbers = dict(scale=scale, sq=width, sk=width, so=q_width, H=case.heads, HK=case.key_heads, T=rows, W=case.window)
    return dict(Q=q, K=k, V=v, DO=do, CU=starts, **numbers)


def outputs(case, kernel, rows, width):
    """Fresh outputs full of NaN."""
    full = lambda *shape, dtype=torch.float32: torch.full(shape, float("nan"), device="cuda", dtype=dtype)
    q_width = case.heads * case.dim
    if kernel == "forward":
        return dict(O=full(rows, q_width, dtype=torch.bfloat16), L=full(case.heads, rows))
    if kernel == "dkdv":
        return dict(DK=full(rows, q_width), DV=full(rows, q_width))
    return dict(DQ=full(rows, width, dtype=torch.bfloat16))


def reference(case, x):
    """float32 O [T, H, D], L [H, T], DQ, DK, DV (the last two summed over their group), document by document."""
    total, group = sum(case.lengths), case.heads // case.key_heads
    q, k, v, do = (x[n][:total].float().reshape(total, -1, case.dim).transpose(0, 1) for n in ("Q", "K", "V", "DO"))
    o, dq, dk, dv = (torch.zeros_like(y) for y in (q, q, k, v))
    lse = torch.zeros(case.heads, total, device="cuda")
    a = 0
    for n in case.lengths:
        b = a + n
        place = torch.arange(n, device="cuda")
        distance = place[:, None] - place[None, :]
        hidden = (distance < 0) | ((distance >= case.window) if case.window else False)
        at_once = group if n <= 2048 else 1
        for first in range(0, case.heads if n else 0, at_once):
            h, g = slice(first, first + at_once), first // group
            scores = (q[h, a:b] @ k[g, a:b].T * x["scale"]).masked_fill_(hidden, float("-inf"))
            lse[h, a:b] = scores.logsumexp(-1)
            p = scores.sub_(lse[h, a:b, None]).exp_()
            o[h, a:b] = p @ v[g, a:b]
            dv[g, a:b] += (p.transpose(1, 2) @ do[h, a:b]).sum(0)
            ds = do[h, a:b] @ v[g, a:b].T
            ds = ds.sub_((o[h, a:b] * do[h, a:b]).sum(-1, keepdim=True)).mul_(p).mul_(x["scale"])
            dq[h, a:b] = ds @ k[g, a:b]
            dk[g, a:b] += (ds.transpose(1, 2) @ q[h, a:b]).sum(0)
        a = b
    return dict(O=o.transpose(0, 1), L=lse, DQ=dq.transpose(0, 1), DK=dk.transpose(0, 1), DV=dv.transpose(0, 1))


def error(got, expected):
    return float((got.double() - expected.double()).norm() / expected.double().norm())


def delta(case, o, do):
    return (o.float() * do.float()).view(len(o), case.heads, case.dim).sum(-1).t().contiguous()


def group_sum(case, gradient):
    return gradient.view(len(gradient), case.key_heads, -1, case.dim).sum(2).bfloat16()


def errors(case, kernel, out, expected):
    """Relative errors of an output's packed rows; asserts that nothing else was written."""
    total, q_width = sum(case.lengths), case.heads * case.dim
    found = {}
    for name, tensor in out.items():
        by_row = tensor.t() if name == "L" else tensor
        assert by_row[total:].isnan().all(), f"{name}: written behind the packed tokens"
        if name == "DQ":
            assert by_row[:, q_width:].isnan().all(), "DQ: written beside the queries' columns"
            by_row = by_row[:, :q_width]
        if name in ("DK", "DV"):
            by_row = group_sum(case, by_row)
        got = by_row[:total].t() if name == "L" else by_row[:total].reshape(expected[name].shape)
        found[name] = error(got, expected[name])
    return found


def try_kernel(case, arch, kernel, x, expected, timed):
    out, again = (outputs(case, kernel["kernel"], x["T"], x["sq"]) for _ in range(2))
    for buffers in (out, again):
        launcher(kernel, case, x | buffers)()
    torch.cuda.synchronize()
    found = errors(case, kernel["kernel"], out, expected)
    repeatable = all(torch.equal(out[n].view(torch.uint8), again[n].view(torch.uint8)) for n in out)
    limit = LIMIT_STEEP if case.logit else LIMIT
    good = repeatable and all(e <= (LIMIT_LSE if n == "L" else limit) for n, e in found.items())
    time_taken = {}
    if timed and time.time() - BEGAN < SECONDS_MAX:
        ms = milliseconds(launcher(kernel, case, x | out))
        time_taken = dict(ms=ms)
        if kernel["kernel"] == "forward":
            time_taken |= dict(tflop_s=case.forward_flop / ms / 1e9)
    say(good, case=case.name, arch=arch, entry=kernel["entry"], repeatable=repeatable, **found, **time_taken)
    return out, time_taken.get("ms")


def try_case(case, arch, kernels, timed):
    """All variants on a case; the backward kernels get what the first forward left."""
    x = make(case)
    expected = reference(case, x)
    best = {}
    for part in ("forward", "dkdv", "dq"):
        for kernel in kernels:
            if (kernel["kernel"], kernel["dim"]) != (part, case.dim):
                continue
            try:
                out, ms = try_kernel(case, arch, kernel, x, expected, timed)
                if part == "forward" and "L" not in x:
                    x |= out | dict(DE=delta(case, out["O"], x["DO"]))
                if ms:
                    best[part] = min(ms, best.get(part, ms))
                if ms and part == "dkdv":
                    best["group_sum"] = milliseconds(lambda: [group_sum(case, g) for g in out.values()])
            except Exception as problem:
                say(False, case=case.name, arch=arch, entry=kernel["entry"], problem=repr(problem)[:300])
    if len(best) == 4:
        backward = best["dkdv"] + best["dq"]
        say(
            None,
            case=case.name,
            arch=arch,
            forward_ms=best["forward"],
            forward_tflop_s=case.forward_flop / best["forward"] / 1e9,
            backward_ms=backward,
            backward_tflop_s=2.5 * case.forward_flop / backward / 1e9,
            both_ms=best["forward"] + backward,
            both_tflop_s=3.5 * case.forward_flop / (best["forward"] + backward) / 1e9,
            torch_delta_ms=milliseconds(lambda: delta(case, x["O"], x["DO"])),
            torch_group_sum_ms=best["group_sum"],
        )
    if timed and case.even:
        torch_times(case)


def torch_times(case):
    documents, n = len(case.lengths), case.lengths[0]
    shape = lambda heads: torch.randn(documents, n, heads, case.dim, device="cuda", dtype=torch.bfloat16).transpose(1, 2).requires_grad_()
    q, k, v = shape(case.heads), shape(case.key_heads), shape(case.key_heads)
    do = torch.randn_like(q)
    attend = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    def forward():
        with torch.no_grad():
            attend()

    fwd = milliseconds(forward)
    both = milliseconds(lambda: torch.autograd.grad(attend(), (q, k, v), do))
    say(
        None,
        case=case.name,
        torch="sdpa",
        forward_ms=fwd,
        forward_tflop_s=case.forward_flop / fwd / 1e9,
        both_ms=both,
        both_tflop_s=3.5 * case.forward_flop / both / 1e9,
    )


def main():
    global CUDA
    CUDA = ctypes.CDLL("libcuda.so.1")
    torch.zeros(1, device="cuda")  # makes the primary context current
    capability = torch.cuda.get_device_capability()
    say(None, device=torch.cuda.get_device_name(), capability=capability, torch=torch.__version__, cuda=torch.version.cuda)
    archs = ["sm_90a", "sm_80"] if capability == (9, 0) else ["sm_80"]
    for arch in archs:
        if time.time() - BEGAN > SECONDS_MAX:
            say(False, arch=arch, problem="no time left")
            continue
        kernels = load_all(arch)
        for case in CASES:
            if case.small or arch == archs[0]:
                try:
                    try_case(case, arch, kernels, timed=not case.small)
                except Exception as problem:
                    traceback.print_exc()
                    say(False, case=case.name, arch=arch, problem=repr(problem)[:300])
    say(None, seconds=time.time() - BEGAN, wrong=wrong)
    Path(sys.argv[1]).write_text(json.dumps(results, indent=1) + "\n")
    return wrong > 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: card.py RESULT.json")
    sys.exit(main())
