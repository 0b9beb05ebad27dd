#!/usr/bin/env python3
"""Parity, decoding and full fine-tuning on one GPU, ours beside PyTorch/Transformers in the same run; one table.

Usage: benches/gpu/check.py WORKDIR [--device cuda] [--bin benches/gpu/bin] [--minutes 9] [--only parity,decode,train]

On a GPU machine with torch and transformers, after `benches/gpu/build.sh` (here or elsewhere: the folder `bin` is all that is
needed beside this file). The models have the shapes of Qwen2.5-0.5B and 1.5B and random weights. `--device flex` checks
parity where there is no GPU: the same tensors on the CPU.

  parity   eight steps of AdamW of a 6.5M-parameter model, on the CPU by our own passes and on the device: float32 (TF32
           off), then bfloat16. The worst relative difference of loss and gradient norm, the weights' in L2.
  decode   greedy, 128 new tokens after 128, for 1, 32 and 256 prompts: new tokens a second. Ours multiplies in float32 on a
           device so far (TF32 allowed), theirs in bfloat16.
  train    forward, backward, clipping and AdamW with float32 states and bfloat16 products: tokens a second by the median
           step, MFU = (6 N + 12 L h d s/2) tokens/s over the GPU's dense bfloat16 peak (N without the input embedding),
           memory at its peak. Transformers: SDPA, autocast, a loss in chunks, checkpointing where it says so.
What does not start before the minutes are over is left out, and named.
"""

import argparse
import array
import json
import math
import os
import pathlib
import site
import statistics
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
# Dense bfloat16 peaks in TFLOP/s, from the vendor's data sheets.
PEAKS = {"H100": 989.4, "H200": 989.4, "A100": 312.0, "L40S": 362.0, "4090": 165.2}
LLMQ = "llmq, published: 58,800 tokens/s for 1.5B at 1,024 on one H100 (57 % MFU)"


def shape(hidden, inner, layers, heads, kv_heads, vocab, tied):
    return {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": vocab, "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
        "tie_word_embeddings": tied, "initializer_range": 0.02, "hidden_act": "silu",
    }


SHAPES = {
    "6.5M": shape(256, 688, 6, 8, 4, 8192, True),
    "0.5B": shape(896, 4864, 24, 14, 2, 151936, True),
    "1.5B": shape(1536, 8960, 28, 12, 2, 151936, True),
}


def operations(name, seq):
    """For a token, forward and backward, nothing computed twice."""
    s = SHAPES[name]
    hidden, inner, layers, heads, kv = (s[key] for key in (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"))
    dim = hidden // heads
    weights = layers * (hidden * dim * (2 * heads + 2 * kv) + 3 * hidden * inner) + hidden * s["vocab_size"]
    return 6 * weights + 12 * layers * heads * dim * seq / 2


def tokens(batch, seq, vocab):
    return [[(row * 7919 + place * 104729 + 13) % vocab for place in range(seq + 1)] for row in range(batch)]


def build(work, name, device):
    folder = work / name
    if not (folder / "config.json").exists():
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        (work / "config.json").write_text(json.dumps(SHAPES[name]))
        torch.manual_seed(0)
        dtype = torch.float32 if name == "6.5M" else torch.bfloat16
        with torch.device(device):
            AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(work), dtype=dtype).save_pretrained(folder)
    return folder


def peer_train(folder, batch, seq, steps, checkpointing):
    """Full fine-tuning by PyTorch, in a process of its own."""
    import torch
    import torch.nn.functional as F
    from torch.utils.checkpoint import checkpoint
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").cuda()
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
    ids = torch.tensor(tokens(batch, seq, model.config.vocab_size)).cuda()
    head = model.get_output_embeddings()

    def part(hidden, labels):
        return F.cross_entropy(head(hidden).float(), labels, reduction="sum")

    seconds, losses = [], []
    for _ in range(steps):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state.flatten(0, 1)
            labels = ids[:, 1:].flatten()
            chunks = zip(hidden.split(2048), labels.split(2048))
            loss = sum(checkpoint(part, *chunk, use_reentrant=False) for chunk in chunks) / labels.numel()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": seconds, "losses": losses, "peak_mib": torch.cuda.max_memory_allocated() >> 20}))


def peer_decode(folder, prompts, new):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").cuda().eval()
    ids = torch.tensor([list(map(int, line.split())) for line in pathlib.Path(prompts).read_text().splitlines()[1:]]).cuda()
    best = 0.0
    for _ in range(2):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        with torch.no_grad():
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
        torch.cuda.synchronize()
        best = max(best, ids.shape[0] * new / (time.perf_counter() - begin))
    print(json.dumps({"batch": best}))


def environment():
    """Where the CUDA that PyTorch brings along is, for machines without another."""
    found = dict(os.environ)
    homes = [pathlib.Path(place) for place in ("/usr/local/cuda", "/opt/cuda", os.environ.get("CUDA_PATH", "/usr/local/cuda"))]
    if not any((home / "include").is_dir() for home in homes):
        sites = [pathlib.Path(place) / "nvidia" for place in site.getsitepackages()]
        home = next((path.parent for root in sites for path in sorted(root.glob("*/include")) if (path / "cuda.h").exists()), None)
        if home:
            found["CUDA_PATH"] = str(home)
        libraries = [str(path) for root in sites for path in root.glob("*/lib")]
        found["LD_LIBRARY_PATH"] = os.pathsep.join([*libraries, found.get("LD_LIBRARY_PATH", "")])
    return found


class Check:
    def __init__(self, options):
        self.options = options
        self.work = options.workdir
        self.bin = options.bin
        self.deadline = time.monotonic() + 60 * options.minutes
        self.failed = False
        self.left_out = []

    def late(self, what):
        if time.monotonic() > self.deadline:
            self.left_out.append(what)
            return True
        return False

    def call(self, *command):
        left = max(30.0, self.deadline + 30 - time.monotonic())
        try:
            run = subprocess.run(
                list(map(str, command)), cwd=self.work, env=environment(), capture_output=True, text=True, timeout=left
            )
        except subprocess.TimeoutExpired:
            return {"error": "no end in time"}
        if run.returncode == 0:
            # Rust writes `inf`, which is no JSON.
            return json.loads(run.stdout.splitlines()[-1].replace("inf", "Infinity"))
        lines = [line for line in run.stderr.strip().splitlines() if not line.startswith("note:")] or ["no message"]
        panics = [after for line, after in zip(lines, lines[1:]) if "panicked at" in line]
        return {"error": (panics or lines)[-1][:200]}

    def judged(self, values, allowed):
        """Whether all are finite and at most what is allowed; if not, the check has failed."""
        fine = all(math.isfinite(value) and value <= allowed for value in values)
        self.failed |= not fine
        return fine

    def peer(self, what, *arguments):
        return self.call(sys.executable, HERE / "check.py", "--peer", what, *arguments)

    def parity(self):
        folder = build(self.work, "6.5M", "cpu")
        shape = [folder, 2, 256, 8]
        found = {}
        for name, device, compute in [("cpu", "cpu", "float32"), ("float32", self.options.device, "float32"), ("bfloat16", self.options.device, "bfloat16")]:
            weights = self.work / f"{name}.bin"
            found[name] = self.call(self.bin / "train_speed", *shape, device, compute, weights)
            if "error" in found[name]:
                print(f"parity {name}: {found[name]['error']}")
                self.failed = True
                continue
            values = array.array("f")
            values.frombytes(weights.read_bytes())
            found[name]["weights"] = values
        print(f"\n| parity on {self.options.device} | loss | gradient norm | weights | allowed (the norm ten times that) | |\n|---|---|---|---|---|---|")
        for name, allowed in [("float32", 1e-4), ("bfloat16", 3e-2)]:
            if "weights" not in found["cpu"] or "weights" not in found[name]:
                continue
            ours, theirs = found[name], found["cpu"]
            relative = lambda key: max(abs(a - b) / abs(b) for a, b in zip(ours[key], theirs[key]))
            square = sum((a - b) ** 2 for a, b in zip(ours["weights"], theirs["weights"]))
            weights = math.sqrt(square / sum(b * b for b in theirs["weights"]))
            values = ours["losses"] + ours["norms"] + [relative("losses"), weights]
            fine = all(map(math.isfinite, values)) and self.judged([relative("losses"), weights, relative("norms") / 10], allowed)
            self.failed |= not fine
            print(f"| {name} | {relative('losses'):.1e} | {relative('norms'):.1e} | {weights:.1e} | {allowed:.0e} | {'ok' if fine else 'FAILED'} |")

    def decode(self):
        folder = build(self.work, "1.5B", "cuda")
        print("\n| decoding, 1.5B | ours, float32 | Transformers, bfloat16 | ratio |\n|---|---|---|---|")
        for batch in (1, 32, 256):
            if self.late(f"decoding {batch}"):
                continue
            prompts = self.work / "prompts.txt"
            rows = tokens(batch + 1, 127, 150_000)
            prompts.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
            ours = self.call(self.bin / "decode", folder, "stored", prompts, 128, 2, self.options.device)
            theirs = self.peer("decode", folder, prompts, 128)
            self.row(f"| {batch} prompts", ours, theirs, lambda found: found["batch"])

    def train(self):
        import torch

        gpu = torch.cuda.get_device_name()
        peak = next((value for key, value in PEAKS.items() if key in gpu), None)
        print(f"\n{LLMQ}\n\n| training | ours tokens/s | MFU | MiB | Transformers tokens/s | MFU | MiB | ratio |\n|---|---|---|---|---|---|---|---|")
        for name, batch, seq, recompute in [
            ("0.5B", 8, 1024, False), ("0.5B", 1, 8192, False), ("1.5B", 8, 1024, False), ("1.5B", 1, 8192, True),
            ("0.5B", 1, 16384, True), ("1.5B", 1, 16384, True),
        ]:
            what = f"{name}, {batch} x {seq}" + (", theirs checkpointed" if recompute else "")
            if self.late(what):
                continue
            folder, steps = build(self.work, name, "cuda"), 8
            ours = self.call(self.bin / "train_speed", folder, batch, seq, steps, self.options.device, "bfloat16")
            theirs = self.peer("train", folder, batch, seq, steps, int(recompute))
            cells, rates = [], []
            for found in (ours, theirs):
                if "error" in found:
                    cells.append(f"{found['error']} | | ")
                    continue
                rate = batch * seq / statistics.median(found["seconds"][3:])
                rates.append(rate)
                share = f"{rate * operations(name, seq) / peak / 1e12:.0%}" if peak else "?"
                cells.append(f"{rate:,.0f} | {share} | {found['peak_mib']:,}")
            ratio = f"{rates[0] / rates[1]:.2f}" if len(rates) == 2 else ""
            print(f"| {what} | {cells[0]} | {cells[1]} | {ratio} |", flush=True)
            if "losses" in ours and "losses" in theirs:
                apart = [abs(a - b) / b for a, b in zip(ours["losses"], theirs["losses"])]
                if not self.judged(apart, 3e-2):
                    print(f"losses differ: {ours['losses']} and {theirs['losses']}")
            self.failed |= "error" in ours

    def row(self, head, ours, theirs, rate):
        self.failed |= "error" in ours
        cell = lambda found: found["error"] if "error" in found else f"{rate(found):,.0f}"
        both = "error" not in ours and "error" not in theirs
        print(f"{head} | {cell(ours)} | {cell(theirs)} | {f'{rate(ours) / rate(theirs):.2f}' if both else ''} |", flush=True)


def main():
    if sys.argv[1:2] == ["--peer"]:
        what, folder, *numbers = sys.argv[2:]
        if what == "train":
            peer_train(folder, *map(int, numbers))
        else:
            peer_decode(folder, numbers[0], int(numbers[1]))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--bin", type=lambda text: pathlib.Path(text).resolve(), default=HERE / "bin")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", default="parity,decode,train")
    check = Check(parser.parse_args())
    check.work.mkdir(parents=True, exist_ok=True)
    # Compiled kernels and tuning results are kept there.
    (check.work / "cubecl.toml").write_text('[compilation]\ncache = true\n')
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    print(f"{time.strftime('%Y-%m-%d')}, device {check.options.device}")
    parts = check.options.only.split(",")
    if check.options.device == "flex":
        parts = ["parity"]
    else:
        subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"], check=False)
    for part in parts:
        # Float32 products are float32 where parity is looked at.
        (check.work / "cubek.toml").write_text(f"[matmul]\nallow_tf32 = {'false' if part == 'parity' else 'true'}\n")
        try:
            getattr(check, part)()
        except Exception:  # noqa: BLE001: one part's failure must not cost the others
            traceback.print_exc()
            check.failed = True
    if check.left_out:
        print("left out, the time was over: " + "; ".join(check.left_out))
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
