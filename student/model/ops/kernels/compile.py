#!/usr/bin/env python3
"""Compiles kernels.cu to kernels.ptx, which the crate embeds and the driver turns into machine code.

    compile.py           writes kernels.ptx and prints what each kernel takes
    compile.py --check   fails if the committed kernels.ptx is not what kernels.cu gives

The compiler is NVRTC 12.4, so that any driver from 12.4 on reads the text (PTX ISA 8.4); the target is compute_80, the oldest
card the kernels are for. NVRTC writes the same text each time, so a difference is a real one. No GPU is needed:

    python3 -m venv venv
    venv/bin/pip install 'nvidia-cuda-nvrtc-cu12==12.4.*' 'nvidia-cuda-runtime-cu12==12.4.*' 'nvidia-cuda-nvcc-cu12==12.8.*'
    venv/bin/python compile.py

ptxas (of 12.8, the first that knows sm_120) then assembles the text for each architecture; a kernel that spills registers is an
error. `entries` is read by the tests, which call the kernels by the types that the source declares.
"""

import ctypes
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE / "kernels.cu"
PTX = HERE / "kernels.ptx"
VERSION = (12, 4)
TARGET = "compute_80"
ARCHITECTURES = ["sm_80", "sm_90a", "sm_120"]


def entries(source=None):
    """Every entry point: name to the list of its parameters, each as (C type, name)."""
    text = (source or SOURCE.read_text()).replace("\\\n", " ")
    found = {}
    for name, parameters in re.findall(r"\bENTRY(?:_\w+)?(?:\(E\))? ([\w#]+)\(([^)]*)\) \{", text):
        pairs = [re.fullmatch(r"(.*?[ *])(\w+)", " ".join(p.split())).groups() for p in parameters.split(",")]
        pairs = [(kind.strip(), of) for kind, of in pairs]
        if name.endswith("##S"):
            for suffix, element in [("f32", "float"), ("bf16", "Bf16")]:
                full = name.replace("##S", suffix)
                found[full] = [(re.sub(r"\bE\b", element, kind), of) for kind, of in pairs]
        else:
            found[name] = pairs
    return found


def package(name):
    """The folder of an NVIDIA wheel in this Python's environment."""
    for place in map(pathlib.Path, sys.path):
        folder = place / "nvidia" / name
        if folder.is_dir():
            return folder
    sys.exit(f"no NVIDIA package {name} in this environment\nhint: install the packages that {__file__} names")


def compile_ptx():
    nvrtc = ctypes.CDLL(str(package("cuda_nvrtc") / "lib" / "libnvrtc.so.12"))

    def call(name, *arguments):
        code = getattr(nvrtc, name)(*arguments)
        if code != 0:
            nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise RuntimeError(f"{name}: {nvrtc.nvrtcGetErrorString(code).decode()}")

    major, minor = ctypes.c_int(), ctypes.c_int()
    call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    if (major.value, minor.value) != VERSION:
        sys.exit(f"NVRTC {VERSION[0]}.{VERSION[1]} is needed, got {major.value}.{minor.value}")

    options = [f"--gpu-architecture={TARGET}", "--std=c++17", f"--include-path={package('cuda_runtime') / 'include'}"]
    program = ctypes.c_void_p()
    call("nvrtcCreateProgram", ctypes.byref(program), SOURCE.read_bytes(), SOURCE.name.encode(), 0, None, None)
    array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    call("nvrtcGetProgramLog", program, log)
    if log.value.strip():
        print(log.value.decode(), file=sys.stderr)
    if failed:
        sys.exit("kernels.cu does not compile")
    call("nvrtcGetPTXSize", program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    call("nvrtcGetPTX", program, text)
    call("nvrtcDestroyProgram", ctypes.byref(program))
    return text.value.decode()


def assemble(text):
    """Runs ptxas for each architecture; returns {kernel: {architecture: (registers, shared bytes)}} or exits on a spill."""
    ptxas = package("cuda_nvcc") / "bin" / "ptxas"
    release = re.search(r"release (\d+)\.(\d+)", subprocess.run([ptxas, "--version"], capture_output=True, text=True).stdout)
    known = tuple(map(int, release.groups()))
    table, spilled = {}, []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "kernels.ptx"
        path.write_text(text)
        for architecture in ARCHITECTURES:
            if architecture == "sm_120" and known < (12, 8):
                print(f"ptxas {known[0]}.{known[1]} does not know {architecture}: skipped")
                continue
            ran = subprocess.run([ptxas, "-v", f"-arch={architecture}", path, "-o", f"{folder}/out"], capture_output=True, text=True)
            if ran.returncode != 0:
                sys.exit(f"ptxas -arch={architecture}:\n{ran.stdout}{ran.stderr}")
            blocks = re.split(r"Compiling entry function '(\w+)'", ran.stdout + ran.stderr)[1:]
            for name, block in zip(blocks[::2], blocks[1::2]):
                stack, stores, loads = map(int, re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", block).groups())
                registers = int(re.search(r"Used (\d+) registers", block).group(1))
                shared = re.search(r"(\d+) bytes smem", block)
                table.setdefault(name, {})[architecture] = (registers, int(shared.group(1)) if shared else 0)
                if stack or stores or loads:
                    spilled.append(f"{name} on {architecture}: stack {stack} B, spill stores {stores} B, spill loads {loads} B")
    print(f"{'registers':28}" + "".join(f"{a:>8}" for a in ARCHITECTURES) + f"{'shared B':>10}")
    for name, of in sorted(table.items()):
        print(f"{name:28}" + "".join(f"{of[a][0]:8}" if a in of else f"{'-':>8}" for a in ARCHITECTURES) + f"{max(s for _, s in of.values()):10}")
    if spilled:
        sys.exit("kernels that spill registers:\n" + "\n".join(spilled))
    print(f"{len(table)} kernels, no spills")
    return table


def main():
    text = compile_ptx()
    names = set(re.findall(r"\.entry (\w+)\(", text))
    if names != set(entries()):
        sys.exit(f"entry points differ between source and PTX: {sorted(names ^ set(entries()))}")
    if "--check" in sys.argv[1:]:
        if not PTX.exists() or PTX.read_text() != text:
            sys.exit("kernels.ptx is not what kernels.cu compiles to\nhint: run compile.py without --check and commit both")
    else:
        PTX.write_text(text)
    assemble(text)


if __name__ == "__main__":
    main()
