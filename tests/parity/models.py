"""Makes the fixtures of student/model's parity tests: python tests/parity/models.py   (seen with Transformers 5.23)

Small random Llama, Qwen2 and Qwen3 models: what Transformers computes in float32 for one batch of tokens, logits, loss
and every gradient. One folder for each; the folder's files stay under 200 KiB together.
"""

import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

HERE = pathlib.Path(__file__).parent / "models"
VOCAB = 40
SHAPE = dict(
    vocab_size=VOCAB, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, attn_implementation="eager", bos_token_id=1, eos_token_id=2,
)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)


def rope(theta, **scaling):
    return dict(rope_parameters=dict(rope_type="default", rope_theta=theta) | scaling)


def old_spelling(config):
    """As Transformers 4 wrote it."""
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind} | parameters
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    return config


FIXTURES = {
    # name: (configuration class, what it changes, how it is saved)
    "llama_multi_head": (LlamaConfig, dict(num_key_value_heads=4), {}),
    "llama_grouped_tied": (LlamaConfig, dict(tie_word_embeddings=True), {}),
    "llama_one_key_head": (LlamaConfig, dict(num_key_value_heads=1, rms_norm_eps=1e-5), {}),
    "llama_attention_bias": (LlamaConfig, dict(attention_bias=True), {}),
    "llama_mlp_bias": (LlamaConfig, dict(mlp_bias=True), {}),
    "llama_all_biases_tied": (LlamaConfig, dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True), {}),
    "llama_wide_heads": (LlamaConfig, dict(head_dim=10), {}),
    "llama_llama3_rope": (LlamaConfig, dict(head_dim=16, rope_parameters=LLAMA3, eos_token_id=[2, 3]), {}),
    "llama_llama3_rope_old_spelling": (LlamaConfig, dict(head_dim=16, rope_parameters=LLAMA3), dict(old=True)),
    "llama_linear_rope": (LlamaConfig, rope(10000.0, rope_type="linear", factor=2.5), {}),
    "llama_yarn": (LlamaConfig, dict(head_dim=16, rope_parameters=YARN), {}),
    "llama_large_base": (LlamaConfig, rope(500000.0), {}),
    "llama_long": (LlamaConfig, dict(max_position_embeddings=1024, num_hidden_layers=1), dict(tokens=(1, 400))),
    "llama_bfloat16_sharded": (LlamaConfig, dict(attention_bias=True), dict(dtype="bfloat16", shard="8KB")),
    "qwen2_tied": (Qwen2Config, dict(tie_word_embeddings=True), {}),
    "qwen2_untied_float16": (Qwen2Config, dict(), dict(dtype="float16")),
    "qwen2_old_spelling": (Qwen2Config, rope(1000000.0), dict(old=True)),
    "qwen2_sliding": (
        Qwen2Config, dict(use_sliding_window=True, sliding_window=5, max_window_layers=1, num_hidden_layers=3),
        dict(old=True),
    ),
    "qwen2_sliding_by_layer": (
        Qwen2Config, dict(use_sliding_window=True, sliding_window=3, layer_types=["sliding_attention", "full_attention"]),
        {},
    ),
    "qwen2_yarn_old_spelling": (Qwen2Config, dict(rope_parameters=YARN), dict(old=True)),
    "qwen3_tied": (Qwen3Config, dict(head_dim=16, tie_word_embeddings=True), {}),
    "qwen3_untied_bias": (Qwen3Config, dict(head_dim=8, attention_bias=True), dict(shard="12KB")),
    "qwen3_yarn": (
        Qwen3Config,
        dict(head_dim=16, rope_parameters=YARN | dict(attention_factor=0.9, beta_fast=16.0, beta_slow=2.0, truncate=False)),
        {},
    ),
    "qwen3_sliding": (
        Qwen3Config, dict(head_dim=6, use_sliding_window=True, sliding_window=4, max_window_layers=0), {},
    ),
    "qwen3_one_key_head_old_spelling": (Qwen3Config, dict(head_dim=12, num_key_value_heads=1), dict(old=True)),
}

shutil.rmtree(HERE, ignore_errors=True)
for seed, (name, (kind, changes, save)) in enumerate(FIXTURES.items()):
    torch.manual_seed(seed)
    folder = HERE / name
    model = AutoModelForCausalLM.from_config(kind(**(SHAPE | changes)))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1.0 if "norm" in key else 0.0))
    dtype = save.get("dtype", "float32")
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=save.get("shard", "50GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    assert config["dtype"] == dtype, config["dtype"]
    path.write_text(json.dumps(old_spelling(config) if save.get("old") else config, indent=1) + "\n")

    # The reference is what Transformers makes of the files themselves.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    tokens = torch.randint(0, VOCAB, save.get("tokens", (2, 23)))
    logits = model(tokens).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), tokens[:, 1:].reshape(-1))
    loss.backward()
    expected = {"grad." + key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    expected |= {"logits": logits.detach().clone(), "loss": loss.detach().reshape(1), "tokens": tokens.int()}
    save_file(expected, folder / "expected.safetensors", metadata={"format": "pt"})
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < 200 * 1024, (name, size)
    print(f"{name:32} {size / 1024:6.1f} KiB   loss {loss.item():.4f}")
