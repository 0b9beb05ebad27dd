"""Every architecture and rotary rule of the parity fixtures, as our GGUF in llama.cpp against Transformers.

Usage: gguf_architectures.py WORKDIR   (from the repository's root, after `cargo build --release`; needs transformers,
torch, xllamacpp)

The fixtures' shapes with the nano tokenizer's 268 tokens; log-probabilities of the whole vocabulary after 40 tokens, from a
float32 GGUF with a float32 cache. Sliding windows, Qwen3's biases and an untruncated YaRN ramp must be
refused: GGUF cannot say them, or llama.cpp does not load them.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import urllib.request

import torch
import xllamacpp
from transformers import AutoModelForCausalLM

source = pathlib.Path("tests/parity/models.py").read_text()
exec(source[: source.index("shutil.rmtree(HERE")].replace("__file__", repr("tests/parity/models.py")))
work = pathlib.Path(sys.argv[1])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
REFUSED = {"sliding": "`sliding_window`", "qwen3_untied_bias": "`attention_bias`", "qwen3_yarn": "`rope_parameters.truncate`"}
worst_of_all, port = 0.0, 18500
for seed, (name, (kind, changes, save)) in enumerate(FIXTURES.items()):
    torch.manual_seed(seed)
    shape = SHAPE | dict(vocab_size=268, hidden_size=64, intermediate_size=96) | changes
    model = AutoModelForCausalLM.from_config(kind(**shape))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (1.0 if "norm" in key else 0.0))
    folder, gguf = work / name, work / f"{name}.gguf"
    model.save_pretrained(folder)
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]:
        shutil.copy(pathlib.Path("recipes/nano") / file, folder / file)
    done = subprocess.run(["target/release/distill", "convert", folder, gguf, "--dtype", "f32"], capture_output=True, text=True)
    refused = next((key for part, key in REFUSED.items() if part in name), None)
    if refused:
        assert refused in done.stderr, done.stderr
        print(f"{name:34} refused, as it should be")
        continue
    assert done.returncode == 0, done.stderr
    tokens = torch.randint(7, 268, (1, 40))
    with torch.no_grad():
        expected = torch.log_softmax(model(tokens).logits[0, -1].double(), 0)
    port += 1
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port, params.n_ctx, params.warmup = str(gguf), ["127.0.0.1"], port, 64, False
    params.cache_type_k = params.cache_type_v = 0  # F32
    server = xllamacpp.Server(params)
    body = {"prompt": tokens[0].tolist(), "n_predict": 1, "n_probs": 268, "temperature": 0, "grammar": "root ::= [0-9]"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request))
    assert "completion_probabilities" in answer, answer
    found = {entry["id"]: entry["logprob"] for entry in answer["completion_probabilities"][0]["top_logprobs"]}
    worst = max(abs(found[id] - expected[id].item()) for id in found if found[id] > -30)
    worst_of_all = max(worst_of_all, worst)
    print(f"{name:34} largest difference of {len(found)} log-probabilities {worst:.1e}")
    del server
assert worst_of_all < 0.02, worst_of_all
