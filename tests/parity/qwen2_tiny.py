"""Makes the fixture of student/model's parity test with Transformers: python tests/parity/qwen2_tiny.py

A small random Qwen2, its logits, loss and every gradient for one batch of tokens, in float32.
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

HERE = pathlib.Path(__file__).parent / "qwen2_tiny"

torch.manual_seed(0)
config = Qwen2Config(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, rope_theta=10000.0, tie_word_embeddings=True,
    attn_implementation="eager",
)
model = Qwen2ForCausalLM(config)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.15 + (1.0 if "norm" in name else 0.0))
tokens = torch.randint(0, 96, (2, 17))
logits = model(tokens).logits
loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 96), tokens[:, 1:].reshape(-1))
loss.backward()

HERE.mkdir(exist_ok=True)
model.save_pretrained(HERE)
for extra in ["generation_config.json"]:
    (HERE / extra).unlink(missing_ok=True)
expected = {"grad." + name: parameter.grad.clone() for name, parameter in model.named_parameters()}
expected |= {"logits": logits.detach().clone(), "loss": loss.detach().reshape(1), "tokens": tokens.float()}
save_file(expected, HERE / "expected.safetensors", metadata={"format": "pt"})
print(sorted(path.name for path in HERE.iterdir()), loss.item())
