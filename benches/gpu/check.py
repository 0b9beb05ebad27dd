#!/usr/bin/env python3
"""What this project does on one GPU: every operation against the processor, then training and decoding beside PyTorch.

Usage: benches/gpu/check.py WORKDIR [--device cuda] [--bin benches/gpu/bin] [--minutes 9] [--only PART,...] [--ops WORDS]

On a GPU machine with torch and transformers, after `benches/gpu/build.sh` (here or elsewhere: this repository and the folder
`bin` are all that is needed). The models have the shapes of Qwen2.5-0.5B and 1.5B, or SmolLM2-135M, and random weights. Parts,
in this order; what does not start before the minutes are over is left out, and named:

  ladder      every operation of training and decoding by itself against its definition, at the shapes of three models
              (`student/model/ops/examples/ladder`), a process for each group of them, ended with all its children after 20 s.
              Work that does not end is among them: it has to be told, and its process has to end.
              Needs nothing but the driver and cuBLASLt, and fits three minutes: `--only ladder`. WORKDIR/ladder.jsonl has its
              lines, WORKDIR/ladder.md the table: what was measured beside what bytes and operations predict.
  parity      eight steps of AdamW of a 6.5M-parameter model, on the CPU by our own passes and on the device: float32, then
              bfloat16. The worst relative difference of loss and gradient norm, the weights' in L2.
  train       forward, backward, clipping and AdamW with float32 states and bfloat16 products: tokens a second by the median
              step, MFU = (6 N + 12 L h d s/2) tokens/s over the GPU's dense bfloat16 peak (N without the input embedding),
              memory at its peak. Transformers: SDPA, autocast, a loss in chunks, checkpointing where it says so.
  decode      greedy, 128 new tokens after 128, for 1, 32 and 256 prompts, bfloat16: new tokens a second.
  long        500 steps of SmolLM2-135M: memory after 50 steps and after all, which must be the same; the losses fall.
  kill        the quickstart's training twice undisturbed and once ended by SIGKILL and resumed: the losses of the third are as
              near to those of the others as these are to each other.
  quickstart  `distill run recipes/quickstart.toml` in a fresh folder ends well.

`--device flex` climbs the ladder of the smallest model and checks parity where there is no GPU; `distill` and the examples of
a default build are what it needs (`--bin` with a folder that has them). There `ladder` also spoils rungs on purpose, which
must fail. `--ops` is handed on to `distill` and to the training that is measured: `products` (attention without fused kernels) or
`checked` (the operation that fails or hangs is named), to find what is at fault.
"""

import argparse
import array
import collections
import contextlib
import hashlib
import json
import math
import os
import pathlib
import shutil
import signal
import site
import statistics
import subprocess
import sys
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
RECIPE = HERE.parent.parent / "recipes" / "quickstart.toml"
PARTS = ["ladder", "parity", "train", "decode", "long", "kill", "quickstart"]
# Seconds for a group of rungs, and for the first process, in which the driver compiles all kernels.
GROUP_LIMIT, OPEN_LIMIT = 20, 90
# Groups whose matrices are so large that each model has a process of its own.
BY_MODEL = ("products_bf16", "products_f32", "decode_bf16", "decode_f32")
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


def llama(hidden, inner, layers, heads, kv_heads, vocab):
    return {
        **shape(hidden, inner, layers, heads, kv_heads, vocab, True), "architectures": ["LlamaForCausalLM"],
        "model_type": "llama", "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000.0,
    }


SHAPES = {
    "6.5M": shape(256, 688, 6, 8, 4, 8192, True),
    "0.5B": shape(896, 4864, 24, 14, 2, 151936, True),
    "1.5B": shape(1536, 8960, 28, 12, 2, 151936, True),
    "135M": llama(576, 1536, 30, 9, 3, 49152),
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
        with torch.device(device if torch.cuda.is_available() else "cpu"):
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


def end(process):
    """Ends a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def limited(command, limit, **options):
    """Status, standard output and error of a command; nothing for a status where the limit was over."""
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )
    try:
        out, error = process.communicate(timeout=limit)
        return process.returncode, out, error
    except subprocess.TimeoutExpired:
        end(process)
        out, error = process.communicate()
        return None, out, error
    finally:
        # Children that outlive it would keep the card's memory.
        end(process)


def last_words(error):
    """What a program that failed said."""
    lines = [line for line in error.strip().splitlines() if not line.startswith("note:")] or ["no message"]
    panics = [after for line, after in zip(lines, lines[1:]) if "panicked at" in line]
    return (panics or lines)[-1][:300]


def used_mib():
    """Memory of the card in use, by all."""
    run = subprocess.run(
        ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True, check=False
    )
    return int(run.stdout.split()[0]) if run.returncode == 0 and run.stdout.strip() else 0


def metrics(folder):
    """Steps and losses of a training, of one that runs too."""
    found = sorted(folder.glob("store/training/*/metrics.jsonl")) or sorted(folder.glob("store/training/*/scratch/**/metrics.jsonl"))
    rows = []
    for line in found[-1].read_text().splitlines() if found else []:
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            if row.get("loss") is not None:
                rows.append((row["step"], row["loss"]))
    return rows


def digest(folder):
    found = sorted(folder.glob("store/training/*/model.safetensors"))
    return hashlib.sha256(found[-1].read_bytes()).hexdigest() if found else None


def table(rows, path):
    """The ladder as Markdown: small and full size of a rung in one line."""
    rungs = {}
    for row in rows:
        key = (row["group"], row["rung"], row.get("model"), row.get("dtype"))
        kind = "small" if row.get("check") == "definition" else "full"
        # What has several sizes, as decoding has, gets a line for each.
        key += (row.get("shape") if (kind in rungs.get(key, {}) or row["group"].startswith("decode")) else None,)
        rungs.setdefault(key, {})[kind] = row
    share = lambda row: "" if row is None else row["why"][:80] if "why" in row else over(row)
    number = lambda value: "" if value is None else f"{value:.3g}"
    lines = [
        "Errors are shares of what is allowed, small by small and in full size; more than 1 is wrong.", "",
        "| group | rung | model | type | shape | small | full | checked by | ms | predicted | rate | |", "|---" * 12 + "|",
    ]
    for (group, rung, model, dtype, _), kinds in rungs.items():
        small, full = kinds.get("small"), kinds.get("full")
        row = full or small
        rate = f"{number(row['tflop_s'])} TFLOP/s" if row.get("tflop_s") else f"{number(row['gb_s'])} GB/s" if row.get("gb_s") else ""
        extra = ", ".join(f"{key} {row[key]}" for key in ("device", "opened_s", "told", "host_us", "listed_us", "with_allocation_us") if key in row)
        cells = [
            group, rung, model or "", dtype or "", row.get("shape", extra), share(small), share(full) if "check" in (full or {}) or "why" in (full or {}) else "",
            row.get("check", ""), number(row.get("ms")), number(row.get("predicted_ms")), rate,
            "ok" if all(row["ok"] for row in kinds.values()) else "WRONG",
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    path.write_text("\n".join(lines) + "\n")


def over(row):
    """The larger of a row's two errors over what is allowed."""
    shares = []
    for value, allowed in ((row.get("error"), row.get("allowed")), (row.get("worst"), row.get("worst_allowed"))):
        if value is None:
            return "not finite"
        shares.append(value / allowed if allowed else (0.0 if value == 0 else math.inf))
    return f"{max(shares):.2g}"


class Check:
    def __init__(self, options):
        self.options = options
        self.work = options.workdir
        self.bin = options.bin
        self.deadline = time.monotonic() + 60 * options.minutes
        self.failed = False
        self.left_out = []
        self.environment = environment()
        if options.ops:
            self.environment["DISTILL_OPS"] = options.ops
        self.is_gpu = options.device.startswith("cuda")

    def late(self, what):
        if time.monotonic() > self.deadline:
            self.left_out.append(what)
            return True
        return False

    def limit(self):
        """Seconds that a command may take now."""
        return max(30.0, self.deadline + 30 - time.monotonic())

    def call(self, *command):
        status, out, error = limited(command, self.limit(), cwd=self.work, env=self.environment)
        if status is None:
            return {"error": "no end in time"}
        if status == 0:
            # Rust writes `inf`, which is no JSON.
            return json.loads(out.splitlines()[-1].replace("inf", "Infinity"))
        return {"error": last_words(error)}

    def judged(self, values, allowed):
        """Whether all are finite and at most what is allowed; if not, the check has failed."""
        fine = all(math.isfinite(value) and value <= allowed for value in values)
        self.failed |= not fine
        return fine

    def peer(self, what, *arguments):
        return self.call(sys.executable, HERE / "check.py", "--peer", what, *arguments)

    def ladder(self):
        program = self.bin / "ladder"
        rows = [] if self.is_gpu else ["--rows", 300]
        models = ["6.5M", "0.5B", "1.5B"] if self.is_gpu else ["6.5M"]
        listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
        groups = list(dict.fromkeys(line.split()[0] for line in listed.splitlines()))
        begin, found = time.monotonic(), []
        with (self.work / "ladder.jsonl").open("w") as journal:
            for group in groups:
                model = "all" if self.is_gpu else "6.5M"
                for model in models if group in BY_MODEL else [model]:
                    arguments = [program, self.options.device, "--only", group, "--model", model, *rows]
                    found += self.climb(group, model, arguments, journal)
        table(found, self.work / "ladder.md")
        wrong = [row for row in found if not row["ok"]]
        self.failed |= bool(wrong) or not found
        lines = collections.Counter(row["group"] for row in found)
        bad = collections.Counter(row["group"] for row in wrong)
        spent = collections.Counter()
        for row in found:
            spent[row["group"]] += row.get("seconds", 0.0)
        print(f"\nladder: {len(found)} lines, {len(wrong)} wrong, {time.monotonic() - begin:.0f} s\n")
        print("| group | lines | wrong | s |\n|---|---|---|---|")
        for group in groups:
            print(f"| {group} | {lines[group]} | {bad[group]} | {spent[group]:.1f} |")
        for row in wrong[:40]:
            print("WRONG " + json.dumps({key: value for key, value in row.items() if key not in ("ok", "seconds")}))
        sys.stdout.flush()
        if not self.is_gpu:
            self.spoilt(program)

    def climb(self, group, model, arguments, journal):
        """A process's lines, and one more if it did not end well."""
        limit = OPEN_LIMIT if group == "open" else GROUP_LIMIT if self.is_gpu else 600
        rows, over = [], threading.Event()
        said = self.work / "ladder.stderr"
        with said.open("w") as error:
            process = subprocess.Popen(
                list(map(str, arguments)), stdout=subprocess.PIPE, stderr=error, text=True, start_new_session=True,
                cwd=self.work, env=self.environment,
            )
            timer = threading.Timer(limit, lambda: (over.set(), end(process)))
            timer.start()
            for line in process.stdout:
                with contextlib.suppress(json.JSONDecodeError):
                    rows.append(json.loads(line))
                    journal.write(line)
                    journal.flush()
            status = process.wait()
            timer.cancel()
            end(process)
        if over.is_set() or status not in (0, 1) or (status == 1 and all(row["ok"] for row in rows)):
            after = rows[-1]["rung"] if rows else "nothing"
            why = f"no end in {limit} s" if over.is_set() else f"status {status}: {last_words(said.read_text())}"
            row = {"group": group, "rung": f"what follows {after}", "model": model, "why": why, "ok": False}
            journal.write(json.dumps(row) + "\n")
            rows.append(row)
        return rows

    def spoilt(self, program):
        """Rungs that are spoilt must fail, whichever way they are checked."""
        for name in ("qkv dX", "rms_norm", "fused dq", "cross_entropy", "adamw"):
            command = [program, self.options.device, "--model", "6.5M", "--rows", 300, "--only", name, "--break", name]
            status, out, _ = limited(command, 600)
            rows = [row for row in map(json.loads, out.splitlines()) if name in row["rung"]]
            fine = status == 1 and rows and not any(row["ok"] for row in rows)
            print(f"spoilt on purpose, {name}: {len(rows)} lines, {'all fail' if fine else 'NOT ALL FAIL'}", flush=True)
            self.failed |= not fine

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
        # Any tokenizer will do: tokens go in and come out.
        for file in (HERE.parent.parent / "recipes" / "nano").glob("tokenizer*.json"):
            shutil.copy(file, folder)
        print("\n| decoding, 1.5B, bfloat16 | ours | Transformers | ratio |\n|---|---|---|---|")
        for batch in (1, 32, 256):
            if self.late(f"decoding {batch}"):
                continue
            prompts = self.work / "prompts.txt"
            rows = tokens(batch + 1, 127, 150_000)
            prompts.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
            ours = self.call(self.bin / "decode", folder, "bf16", prompts, 128, 2, self.options.device)
            theirs = self.peer("decode", folder, prompts, 128)
            self.row(f"| {batch} prompts", ours, theirs, lambda found: found["batch"])

    def train(self):
        import torch

        gpu = torch.cuda.get_device_name()
        peak = next((value for key, value in PEAKS.items() if key in gpu), None)
        print(f"\n{LLMQ}\n\n| training | ours tokens/s | MFU | MiB | Transformers tokens/s | MFU | MiB | ratio |\n|---|---|---|---|---|---|---|---|")
        for name, batch, seq, recompute in [
            ("0.5B", 8, 1024, False), ("1.5B", 8, 1024, False), ("0.5B", 1, 8192, False), ("1.5B", 1, 8192, True),
            ("1.5B", 16, 512, False),
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

    def long(self):
        """Memory that grows with the steps would be seen here."""
        folder = build(self.work, "135M", "cuda")
        batch, seq, steps, early = (8, 1024, 500, 50) if self.is_gpu else (1, 64, 12, 4)
        arguments = [self.bin / "train_speed", folder, batch, seq]
        first = self.call(*arguments, early, self.options.device, "bfloat16")
        samples, over = [], threading.Event()

        def sample():
            while self.is_gpu and not over.wait(0.25):
                samples.append((time.monotonic(), used_mib()))

        watcher = threading.Thread(target=sample)
        watcher.start()
        found = self.call(*arguments, steps, self.options.device, "bfloat16")
        ended = time.monotonic()
        over.set()
        watcher.join()
        print(f"\n| 135M, {batch} x {seq} | after {early} steps | after {steps} | |\n|---|---|---|---|")
        if "error" in first or "error" in found:
            print(f"| failed | {first.get('error', '')} | {found.get('error', '')} | FAILED |", flush=True)
            self.failed = True
            return
        flat = first["peak_mib"] == found["peak_mib"] or not self.is_gpu
        print(f"| buffers, MiB | {first['peak_mib']:,} | {found['peak_mib']:,} | {'ok' if flat else 'FAILED'} |")
        if samples:
            # The program ends soon after its last step, so that the seconds of the steps say when each one ended.
            when = ended - sum(found["seconds"][early:])
            last = ended - sum(found["seconds"][-20:])
            near = lambda moment: min(samples, key=lambda sample: abs(sample[0] - moment))[1]
            grown = near(last) - near(when)
            flat_card = grown <= 64
            flat &= flat_card
            print(f"| nvidia-smi, MiB | {near(when):,} | {near(last):,} | {'ok' if flat_card else 'FAILED'} |")
        losses = found["losses"]
        falls = all(map(math.isfinite, losses)) and losses[-1] < losses[0]
        rate = batch * seq / statistics.median(found["seconds"][3:])
        print(f"| loss ({losses[0]:.4f} at first) | {losses[early - 1]:.4f} | {losses[-1]:.4f} | {'ok' if falls else 'FAILED'} |")
        print(f"\n135M: {rate:,.0f} tokens/s", flush=True)
        self.failed |= not (flat and falls)

    def distill(self, command, folder, *arguments):
        """A command of `distill` over the quickstart's recipe, with everything that it makes in a folder."""
        places = ["--store", folder / "store", "--runs", folder / "runs", "--device", self.options.device]
        operations = ["--ops", self.options.ops] if self.options.ops else []
        return [self.bin / "distill", command, RECIPE, *places, *operations, *arguments]

    def kill(self):
        training = ["--set", "student.training.epochs=2", "--set", "student.training.save-every-seconds=0.2"]
        root = self.work / "kill"
        shutil.rmtree(root, ignore_errors=True)
        run = lambda command, limit: limited(command, limit, cwd=self.work, env=self.environment)
        status, _, error = run(self.distill("filter", root / "made"), self.limit())
        if status != 0:
            return self.broken("kill", "no traces to train on: " + last_words(error))
        for name in ("first", "second", "killed"):
            shutil.copytree(root / "made", root / name, symlinks=True)
        for name in ("first", "second"):
            status, _, error = run(self.distill("train", root / name, *training), self.limit())
            if status != 0:
                return self.broken("kill", last_words(error))
        steps = len(metrics(root / "first"))
        command = self.distill("train", root / "killed", *training)
        said = (root / "stderr").open("w")
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=said, start_new_session=True, cwd=self.work,
            env=self.environment,
        )
        limit = time.monotonic() + self.limit()
        saved, done = [], 0
        while process.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
            done = len(metrics(root / "killed"))
            saved = sorted(path.name for path in (root / "killed").glob("store/training/*/scratch/**/step-*") if path.is_dir())
            if saved and done >= steps * 2 // 5:
                break
        ended_itself = process.poll() is not None
        end(process)
        process.wait()
        if ended_itself or not saved:
            return self.broken("kill", f"the run could not be killed half way: {done} of {steps} steps, states {saved}")
        status, _, error = run(command, self.limit())
        if status != 0:
            return self.broken("kill", "the killed run does not go on: " + last_words(error))
        first, second, killed = (metrics(root / name) for name in ("first", "second", "killed"))
        whole = [step for step, _ in killed] == [step for step, _ in first]
        far = lambda a, b: max(abs(x - y) for (_, x), (_, y) in zip(a, b))
        spread = far(first, second)
        away = max(min(abs(c - a), abs(c - b)) for (_, a), (_, b), (_, c) in zip(first, second, killed))
        fine = whole and away <= spread
        weights = {name: digest(root / name) for name in ("first", "second", "killed")}
        same = "the same bits in all three" if len(set(weights.values())) == 1 else "not the same bits"
        print(
            f"\nkilled by SIGKILL after {done} of {steps} steps (state of {saved[-1]}), resumed: loss at most {away:.2e} from the"
            f" nearer of two undisturbed runs, these {spread:.2e} from each other; weights: {same}. {'ok' if fine else 'FAILED'}",
            flush=True,
        )
        self.failed |= not fine
        return None

    def quickstart(self):
        folder = self.work / "quickstart"
        shutil.rmtree(folder, ignore_errors=True)
        begin = time.monotonic()
        status, out, error = limited(self.distill("run", folder), self.limit(), cwd=self.work, env=self.environment)
        if status != 0:
            return self.broken("quickstart", "no end in time" if status is None else last_words(error))
        print(f"\nquickstart on {self.options.device}: {time.monotonic() - begin:.0f} s\n{out.strip()[-1500:]}", flush=True)
        return None

    def broken(self, part, why):
        print(f"\n{part}: FAILED: {why}", flush=True)
        self.failed = True

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
    parser.add_argument("--only", default="")
    parser.add_argument("--ops", default="")
    check = Check(parser.parse_args())
    check.work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    print(f"{time.strftime('%Y-%m-%d')}, device {check.options.device}", flush=True)
    parts = [part for part in check.options.only.split(",") if part] or (PARTS if check.is_gpu else PARTS[:2])
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown parts {sorted(unknown)}: expected some of {', '.join(PARTS)}")
    if check.is_gpu:
        subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"], check=False)
    for part in parts:
        if check.late(part):
            continue
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
