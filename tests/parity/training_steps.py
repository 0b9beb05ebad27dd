"""32 optimiser steps of supervised fine-tuning in PyTorch: what student/src/parity.rs compares with.

Run from the repository's root: python tests/parity/training_steps.py    (torch 2.x, transformers 5.x)
Starts from tests/parity/models/qwen2_tied; writes tests/parity/training_steps.json.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

torch.manual_seed(0)
root = pathlib.Path("tests/parity")
model = AutoModelForCausalLM.from_pretrained(root / "models/qwen2_tied", dtype=torch.float32)
steps, lr, decay, ratio, warmup = 32, 1e-3, 0.1, 0.1, 0.25
betas, eps, most = (0.9, 0.95), 1e-8, 0.5

decays = [p for p in model.parameters() if p.dim() == 2]
others = [p for p in model.parameters() if p.dim() != 2]
optimizer = torch.optim.AdamW([{"params": decays, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}], lr=lr, betas=betas, eps=eps)

# Two sequences of different lengths and weights, each with a prompt that carries no loss.
generator = torch.Generator().manual_seed(7)
sequences = []
for length, prompt, weight in ((14, 5, 1.0), (9, 3, 0.5)):
    ids = torch.randint(0, 40, (length,), generator=generator).tolist()
    sequences.append({"ids": ids, "loss": [place >= prompt for place in range(length)], "weight": weight})

out = []
for step in range(steps):
    warm = round(warmup * steps)
    if step < warm:
        rate = lr * (step + 1) / warm
    else:
        rate = lr * (ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm))))
    for group in optimizer.param_groups:
        group["lr"] = rate
    total, divisor = 0.0, 0.0
    for sequence in sequences:
        ids = torch.tensor([sequence["ids"]])
        mask = torch.tensor(sequence["loss"])[1:].float() * sequence["weight"]
        losses = F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        total, divisor = total + (losses * mask).sum(), divisor + mask.sum()
    loss = total / divisor
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), most)
    optimizer.step()
    out.append({"loss": loss.item(), "grad_norm": norm.item(), "learning_rate": rate})

weights = {name: p.detach().flatten().tolist() for name, p in model.named_parameters()}
text = json.dumps({"sequences": sequences, "steps": out, "weights": weights})
(root / "training_steps.json").write_text(text + "\n")
print([round(step["loss"], 4) for step in out], [round(step["grad_norm"], 3) for step in out])
