"""Compiles attention.py to the PTX that is shipped: `python generate.py`; `--check` fails when the files here differ from that.

Needs `pip install triton==3.9.0` (the text depends on it), no card. Writes ptx/ARCH/ENTRY.ptx and attention.json, which says of
each entry what a launch needs: threads, dynamic shared memory in bytes (above 48 KB it must be set as the function's attribute),
block sizes, parameters in the entry's order. Triton adds `scratch` pointers at the end; these kernels use none: pass null.
The driver compiles the text at load; PTX 8.4 asks for CUDA 12.4 or newer. sm_90a runs on compute capability 9.0 only.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TRITON, PTX_VERSION = "3.9.0", 84
SPILLS_MAX = 128
SHARED_MAX = {"sm_90a": 227 * 1024, "sm_80": 163 * 1024}


class Variant(NamedTuple):
    """A kernel for an arch and dim, with its block sizes."""

    kernel: str
    arch: str
    dim: int
    bm: int
    bn: int
    warps: int
    stages: int
    split: bool = False

    @property
    def entry(self):
        return f"attention_{self.kernel}_d{self.dim}"

    @property
    def file(self):
        return f"ptx/{self.arch}/{self.entry}.ptx"


# On sm_90a one warp group a program and two programs a multiprocessor. Two warp groups on blocks of 128 were 8 to 30 % slower on an
# H100 (2026-11-27) in all but the forward pass over 8,192 tokens, which they did 4 % faster.
VARIANTS = [
    Variant("forward", "sm_90a", 128, 64, 64, 4, 3, True),
    Variant("dkdv", "sm_90a", 128, 64, 64, 4, 2),
    Variant("dq", "sm_90a", 128, 64, 64, 4, 2, True),
    Variant("forward", "sm_90a", 64, 64, 64, 4, 3, True),
    Variant("dkdv", "sm_90a", 64, 64, 64, 4, 2),
    Variant("dq", "sm_90a", 64, 64, 64, 4, 3, True),
    Variant("forward", "sm_90a", 32, 64, 64, 4, 3),
    Variant("dkdv", "sm_90a", 32, 64, 64, 4, 2),
    Variant("dq", "sm_90a", 32, 64, 64, 4, 2),
    Variant("forward", "sm_80", 128, 128, 64, 8, 3, True),
    Variant("dkdv", "sm_80", 128, 32, 64, 4, 2),
    Variant("dq", "sm_80", 128, 64, 64, 4, 2),
    Variant("forward", "sm_80", 64, 128, 64, 4, 3),
    Variant("dkdv", "sm_80", 64, 64, 64, 4, 2),
    Variant("dq", "sm_80", 64, 64, 64, 4, 2),
    Variant("forward", "sm_80", 32, 64, 64, 4, 2),
    Variant("dkdv", "sm_80", 32, 64, 64, 4, 2),
    Variant("dq", "sm_80", 32, 64, 64, 4, 2),
]

TYPES = {"CU": "*i32", "scale": "fp32"} | {n: "*fp32" for n in ("L", "DE", "DK", "DV")}
TYPES |= {n: "*bf16" for n in ("Q", "K", "V", "O", "DO", "DQ")} | {n: "i32" for n in ("sq", "sk", "so", "H", "HK", "T", "W")}
PTX_TYPES = {"*": ".u64", "i": ".u32", "f": ".f32"}


def without_comments(ptx):
    lines = (re.sub(r"\s*//.*", "", line) for line in ptx.splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def assembled(text, arch):
    """Registers and bytes spilled, as the bundled ptxas counts them, and its warnings."""
    import triton

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.ptx")
        path.write_text(text)
        command = [triton.knobs.nvidia.ptxas.path, "-v", f"--gpu-name={arch}", path, "-o", os.devnull]
        log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    registers = int(re.search(r"Used (\d+) registers", log)[1])
    spills = max(int(n) for n in re.findall(r"(\d+) bytes spill", log))
    return registers, spills, [line for line in log.splitlines() if "warning" in line or "Performance" in line]


def compiled(variant):
    """The text of a variant and its entry of attention.json; asserts what is promised of it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    import attention

    def without_assembling(*call):
        """Triton's hook for its stages: called with nothing for a name of what it does, or to change the dictionary of stages."""
        if not call:
            return "text only", "text only"
        backend, stages, *_ = call
        stages["cubin"] = lambda text, metadata: b""

    triton.knobs.runtime.add_stages_inspection_hook = without_assembling
    function = getattr(attention, f"attention_{variant.kernel}")
    constants = {"D": variant.dim, "BM": variant.bm, "BN": variant.bn}
    if "SPLIT" in function.arg_names:
        constants["SPLIT"] = variant.split
    signature = {name: TYPES.get(name, "constexpr") for name in function.arg_names}
    # Heads start at multiples of dim elements, so that rows of 16 bytes are aligned; nothing is promised of counts.
    aligned = [i for i, name in enumerate(function.arg_names) if signature[name][0] == "*" or name in ("sq", "sk", "so")]
    source = ASTSource(function, signature, constants, {(i,): [["tt.divisibility", 16]] for i in aligned})
    options = dict(num_warps=variant.warps, num_stages=variant.stages, ptx_version=PTX_VERSION, enable_fp_fusion=True)
    target = GPUTarget("cuda", int(re.search(r"\d+", variant.arch)[0]), 32)
    result = triton.compile(source, target=target, options=options)
    text = without_comments(result.asm["ptx"]).replace(function.__name__, variant.entry)

    names = [name for name in function.arg_names if signature[name] != "constexpr"]
    parameters = re.findall(rf"\.param (\.\w+) [^\n]*{variant.entry}_param_(\d+)", text)
    scratch = len(parameters) - len(names)
    found = [kind for kind, _ in parameters]
    expected = [PTX_TYPES[signature[name][0]] for name in names] + [".u64"] * scratch
    shared = result.metadata.shared
    registers, spills, warnings = assembled(text, variant.arch)
    said = f"{variant.file}: {registers} registers, {spills} bytes spilled, {shared} bytes shared, {len(text)} bytes of text"
    assert found == expected and scratch >= 0, f"{said}: expected parameters {expected}, got {found}"
    assert result.metadata.global_scratch_size == 0 and not warnings, f"{said}: {warnings}"
    assert f".version {PTX_VERSION // 10}.{PTX_VERSION % 10}\n" in text and f".target {variant.arch}\n" in text, said
    assert f".visible .entry {variant.entry}(" in text and f".reqntid {32 * variant.warps}\n" in text, said
    assert ".loc" not in text and ".file" not in text, f"{said}: line information"
    assert ("wgmma.mma_async" in text) == (variant.arch == "sm_90a") != ("mma.sync" in text.replace("wgmma", "")), said
    assert spills <= SPILLS_MAX and shared <= SHARED_MAX[variant.arch], said
    return text, said, {
        "entry": variant.entry,
        "file": variant.file,
        "kernel": variant.kernel,
        "arch": variant.arch,
        "dim": variant.dim,
        "bm": variant.bm,
        "bn": variant.bn,
        "grid_block": variant.bn if variant.kernel == "dkdv" else variant.bm,
        "threads": 32 * variant.warps,
        "shared_bytes": shared,
        "parameters": names + ["scratch"] * scratch,
        "num_parameters": len(parameters),
    }


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: generate.py [--check]")
    import triton

    if triton.__version__ != TRITON:
        sys.exit(f"expected triton {TRITON}, got {triton.__version__}")
    files, entries = {}, []
    # An empty cache: the text must come from this source.
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= {"TRITON_CACHE_DIR": cache, "TRITON_DISABLE_LINE_INFO": "1"}
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for variant, (text, said, entry) in zip(VARIANTS, pool.map(compiled, VARIANTS)):
                print(said, flush=True)
                files[variant.file] = text
                entries.append(entry)
    files["attention.json"] = json.dumps({"triton": TRITON, "kernels": entries}, indent=1) + "\n"
    present = {str(p.relative_to(HERE)) for p in [HERE / "attention.json", *HERE.glob("ptx/*/*")] if p.exists()}
    if check:
        wrong = sorted(p for p in present | set(files) if p not in present & set(files) or (HERE / p).read_text() != files[p])
        for path in wrong:
            print(f"differs from attention.py: {path}")
        sys.exit(len(wrong) > 0)
    for path in present - set(files):
        (HERE / path).unlink()
    for path, text in files.items():
        (HERE / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / path).write_text(text)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes")


if __name__ == "__main__":
    main()
