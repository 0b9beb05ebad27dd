"""The student of `recipes/smollm2.toml` in other people's programs: the same greedy answers in Transformers, in llama.cpp and
here, and as many of them right.

Usage: first `distill run recipes/smollm2.toml`, then   trained_smollm2.py runs/smollm2 [PROBLEMS]     (default 24)
Needs torch, transformers, pyarrow, xllamacpp, and `cargo build --release`. Three programs form their sums in three orders:
answers that differ are counted and shown, and judged by `distill verify math` like the others.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import pyarrow.parquet as pq
import torch
import xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer

BIN = pathlib.Path("target/release/distill")
run = pathlib.Path(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 24
folder, new = run / "published", 256


def rows(stage):
    return [row for part in sorted((run / stage).glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


held_out = {row["problem_id"] for row in rows("evaluation-after")}
problems = [row for row in rows("problems") if row["id"] in held_out][:count]
tokenizer = AutoTokenizer.from_pretrained(folder)
prompts = [
    tokenizer.apply_chat_template(problem["messages"], add_generation_prompt=True, return_dict=True)["input_ids"]
    for problem in problems
]


def post(port, path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request, timeout=300))


def transformers():
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt in prompts:
        ids = torch.tensor([prompt])
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new, pad_token_id=0)
        yield tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True)


def llama_cpp(work):
    path = work / "student.gguf"
    subprocess.run([BIN, "convert", folder.resolve(), path, "--dtype", "f32"], check=True)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames, params.port = ["127.0.0.1"], 18411
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2048, 1, 2
    params.cache_type_k = params.cache_type_v = 0  # F32
    server = xllamacpp.Server(params)
    for prompt in prompts:
        yield post(18411, "/completion", {"prompt": prompt, "n_predict": new, "temperature": 0})["content"]
    del server


def ours():
    server = subprocess.Popen([BIN, "serve", folder.resolve(), "--port", "18412"], stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen("http://127.0.0.1:18412/health", timeout=5)
                break
            except OSError:
                assert server.poll() is None, "the server ended"
        model = json.load(urllib.request.urlopen("http://127.0.0.1:18412/v1/models"))["data"][0]["id"]
        for prompt in prompts:
            body = {"model": model, "prompt": prompt, "max_tokens": new, "temperature": 0}
            yield post(18412, "/v1/completions", body)["choices"][0]["text"]
    finally:
        server.terminate()
        server.wait()


def right(answers):
    lines = [{"id": index, "gold": problem["answer"], "response": text} for index, (problem, text) in enumerate(zip(problems, answers))]
    judged = subprocess.run(
        [BIN, "verify", "math"], input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True, check=True
    )
    return sum(json.loads(line)["verdict"] == "equal" for line in judged.stdout.splitlines())


with tempfile.TemporaryDirectory() as work:
    found = {"ours": list(ours()), "Transformers": list(transformers()), "llama.cpp": list(llama_cpp(pathlib.Path(work)))}
for name, answers in found.items():
    same = sum(a.strip() == b.strip() for a, b in zip(answers, found["ours"]))
    print(f"{name}: {right(answers)} of {len(problems)} right, {same} answers as ours")
    for a, b in zip(answers, found["ours"]):
        if a.strip() != b.strip():
            print(f"  differs: {a!r}\n     ours: {b!r}")
