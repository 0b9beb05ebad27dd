"""Makes the corpus of bad checkpoints beside it: python tests/hostile/make.py   (standard library only)

`cases.json` lists every case with a part of the message that must name what is wrong, or null for a sound one. The test
is `student/checkpoint/src/tests.rs`.
"""

import json
import pathlib
import shutil
import struct

HERE = pathlib.Path(__file__).parent / "files"
shutil.rmtree(HERE, ignore_errors=True)
HERE.mkdir()
CASES = []

CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 8, "hidden_size": 4,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 16, "rope_theta": 10000.0, "tie_word_embeddings": True,
}
SHAPES = {
    "model.embed_tokens.weight": [8, 4],
    "model.layers.0.input_layernorm.weight": [4],
    "model.layers.0.self_attn.q_proj.weight": [4, 4],
    "model.layers.0.self_attn.k_proj.weight": [2, 4],
    "model.layers.0.self_attn.v_proj.weight": [2, 4],
    "model.layers.0.self_attn.o_proj.weight": [4, 4],
    "model.layers.0.post_attention_layernorm.weight": [4],
    "model.layers.0.mlp.gate_proj.weight": [8, 4],
    "model.layers.0.mlp.up_proj.weight": [8, 4],
    "model.layers.0.mlp.down_proj.weight": [4, 8],
    "model.norm.weight": [4],
}
EMBED, DOWN = "model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight"


def elements(shape):
    count = 1
    for dim in shape:
        count *= dim
    return count


# ---- safetensors ----

def tensors(shapes=SHAPES, dtype="F32", width=4):
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = elements(shape) * width
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    return header, bytes(offset)


def pack(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def folder(name, expected, config=CONFIG, weights=None, index=None, shards=None):
    path = HERE / name
    path.mkdir()
    (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if weights is None and shards is None:
        weights = pack(*tensors())
    for file, content in ({"model.safetensors": weights} if weights is not None else {} | (shards or {})).items():
        (path / file).write_bytes(content)
    if index is not None:
        (path / "model.safetensors.index.json").write_text(index if isinstance(index, str) else json.dumps(index))
    CASES.append({"path": name, "expected": expected})


def changed(**keys):
    """A header with entries of one tensor replaced."""
    header, data = tensors()
    name = keys.pop("name", EMBED)
    header[name] = header[name] | keys
    return header, data


GOOD = pack(*tensors())
folder("st_sound", None)
folder("st_sound_metadata", None, weights=pack({"__metadata__": {"format": "pt", "x": "y" * 1000}} | tensors()[0], tensors()[1]))
folder("st_empty", "found 0 bytes", weights=b"")
folder("st_seven_bytes", "found 7 bytes", weights=bytes(7))
folder("st_header_of_2_64_bytes", "claims 18446744073709551615", weights=b"\xff" * 8 + b"{}")
folder("st_header_of_a_tebibyte", "claims 1099511627776", weights=struct.pack("<Q", 1 << 40) + b"{}")
folder("st_header_longer_than_file", "claims", weights=struct.pack("<Q", 100))
folder("st_no_json", "hold together", weights=pack(b"not json", b""))
folder("st_a_list", "hold together", weights=pack(b"[]", b""))
folder("st_deep_nesting", "hold together", weights=pack(b"[" * 100000, b""))
folder("st_not_utf8", "hold together", weights=pack(b"\xff\xfe", b""))
folder("st_truncated_header", "claims", weights=GOOD[:100])
folder("st_truncated_data", "(truncated?)", weights=GOOD[:-1])
folder("st_trailing_bytes", "its tensors end at", weights=GOOD + b"x")
folder("st_offsets_beyond_file", "(truncated?)", weights=pack(
    {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, bytes(16)))
folder("st_shape_does_not_fill", "hold together", weights=pack(*changed(shape=[8, 3])))
folder("st_shape_overflows", "hold together", weights=pack(*changed(shape=[1 << 32, 1 << 32, 4])))
folder("st_offsets_backwards", "hold together", weights=pack(*changed(data_offsets=[128, 0])))
folder("st_offsets_negative", "hold together", weights=pack(*changed(data_offsets=[-1, 127])))
folder("st_overlap", "hold together", weights=pack(*changed(name="model.layers.0.input_layernorm.weight", data_offsets=[64, 80])))
folder("st_hole", "hold together", weights=pack(
    {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "F32", "shape": [2], "data_offsets": [12, 20]}},
    bytes(20)))
folder("st_unknown_dtype", "hold together", weights=pack(*changed(dtype="F7")))
folder("st_integer_weights", "expected F32, F16 or BF16, found I32", weights=pack(*changed(dtype="I32")))
folder("st_float8_weights", "hold together", weights=pack(*changed(dtype="F8_E4M3")))
folder("st_missing_tensor", f'tensor "{DOWN}" is missing', weights=pack(*tensors({k: v for k, v in SHAPES.items() if k != DOWN})))
folder("st_wrong_shape", f'tensor "{DOWN}": expected shape [4, 8], found [8, 4]', weights=pack(*tensors(SHAPES | {DOWN: [8, 4]})))
folder("st_stranger", "q_proj.bias", weights=pack(*tensors(SHAPES | {"model.layers.0.self_attn.q_proj.bias": [4]})))
folder("st_nan", f'tensor "{EMBED}": expected finite numbers, found NaN at 1',
       weights=pack(tensors()[0], struct.pack("<ff", 0, float("nan")) + tensors()[1][8:]))
folder("st_infinity_in_half", f'tensor "{EMBED}": expected finite numbers, found inf at 0',
       weights=pack(tensors(dtype="F16", width=2)[0], b"\x00\x7c" + tensors(dtype="F16", width=2)[1][2:]))
# An index counts where there is no whole file beside it, as in the reference.
for name, target in [("parent", "../x.safetensors"), ("absolute", "/etc/passwd"), ("inner", "a/b.safetensors"), ("dots", ".."), ("nothing", "")]:
    folder(f"st_index_{name}", "expected shard names in this folder", index={"weight_map": {EMBED: target}}, shards={})
folder("st_index_no_json", "not a shard index", index="{", shards={})
folder("st_index_wrong_type", "not a shard index", index={"weight_map": {EMBED: 3}}, shards={})
folder("st_index_without_shard", "cannot open", index={"weight_map": {EMBED: "model-00001-of-00002.safetensors"}}, shards={})
folder("st_index_lies", "is listed in", shards={"model-1.safetensors": GOOD},
       index={"weight_map": {k: "model-1.safetensors" for k in [*SHAPES, "model.layers.1.x"]}})
folder("st_stored_twice", "is stored twice", shards={"one.safetensors": GOOD, "other.safetensors": GOOD},
       index={"weight_map": {EMBED: "one.safetensors", DOWN: "other.safetensors"}})
folder("st_index_of_others_beside_a_whole", None, index={"weight_map": {EMBED: "model-00001-of-00002.safetensors"}})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1200\n"
folder("st_pointer", "Git LFS", weights=POINTER)
folder("st_pointer_as_index", "Git LFS", index=POINTER.decode(), shards={})
folder("st_pickles", "found pytorch_model.bin alone", shards={"pytorch_model.bin": b"PK", "training_args.bin": b"PK"})
folder("st_no_weights", "cannot open", shards={})
# Tied in the configuration: a second tensor that differs is a second tensor, a single one is both.
HEAD = "lm_head.weight"
folder("st_tied_and_equal", None, weights=pack(*tensors(SHAPES | {HEAD: [8, 4]})))
folder("st_tied_and_other", None, weights=pack(tensors(SHAPES | {HEAD: [8, 4]})[0], tensors(SHAPES | {HEAD: [8, 4]})[1][:-4] + struct.pack("<f", 0.5)))
folder("st_tied_and_larger", f'tensor "{HEAD}": expected shape [8, 4], found [9, 4]', weights=pack(*tensors(SHAPES | {HEAD: [9, 4]})))
folder("st_tied_to_the_head_alone", None, weights=pack(*tensors({k: v for k, v in SHAPES.items() if k != EMBED} | {HEAD: [8, 4]})))

# ---- config.json ----

for name, expected, change in [
    ("no_json", "not a JSON object", "{"), ("a_list", "not a JSON object", "[]"),
    ("text_for_number", "`hidden_size`", {"hidden_size": "4"}), ("negative", "`vocab_size`", {"vocab_size": -8}),
    ("beyond_64_bits", "`vocab_size`", {"vocab_size": 10**30}), ("huge", "`num_hidden_layers`", {"num_hidden_layers": 1 << 40}),
    ("zero_layers", "`num_hidden_layers`", {"num_hidden_layers": 0}),
    ("zero_heads", "`hidden_size`", {"num_attention_heads": 0}), ("zero_key_heads", "`num_key_value_heads`", {"num_key_value_heads": 0}),
    ("heads_do_not_divide", "`hidden_size`", {"num_attention_heads": 3}), ("odd_head", "`head_dim`", {"head_dim": 3}),
    ("key_heads_do_not_divide", "`num_key_value_heads`", {"num_attention_heads": 4, "head_dim": 2, "num_key_value_heads": 3}),
    ("unknown_model", "`model_type`", {"model_type": "mamba"}), ("other_class", "`architectures`", {"architectures": ["LlamaForSequenceClassification"]}),
    ("gelu", "`hidden_act`", {"hidden_act": "gelu"}), ("quantised", "`quantization_config`", {"quantization_config": {"bits": 4}}),
    ("own_code", "`auto_map`", {"auto_map": {"AutoModel": "evil.py"}}), ("softcapping", "`final_logit_softcapping`", {"final_logit_softcapping": 30.0}),
    ("partial_rotary", "`partial_rotary_factor`", {"partial_rotary_factor": 0.5}), ("dropout", "`attention_dropout`", {"attention_dropout": 0.1}),
    ("dynamic_rope", "`rope_scaling.rope_type`", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    ("longrope", "`rope_parameters.rope_type`", {"rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0}}),
    ("rope_unknown_key", "`rope_scaling.mystery`", {"rope_scaling": {"type": "linear", "factor": 2.0, "mystery": 1}}),
    ("rope_by_layer", "`rope_parameters.full_attention`", {"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}),
    ("rope_two_bases", "`rope_parameters.rope_theta`", {"rope_parameters": {"rope_theta": 5.0, "rope_type": "default"}}),
    ("rope_two_scalings", "`rope_scaling`", {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}, "rope_scaling": {"type": "linear", "factor": 4.0}}),
    ("rope_llama3_without_factor", "`rope_scaling.factor`", {"rope_scaling": {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}}),
    ("rope_llama3_backwards", "`high_freq_factor`", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0}}),
    ("rope_zero_factor", "`factor`", {"rope_scaling": {"rope_type": "linear", "factor": 0.0}}),
    ("rope_type_number", "`rope_scaling.type`", {"rope_scaling": {"type": 3}}), ("rope_base_one", "`rope_theta`", {"rope_theta": 1.0}),
    ("eps_negative", "`rms_norm_eps`", {"rms_norm_eps": -1.0}), ("dtype_float8", "`torch_dtype`", {"torch_dtype": "float8_e4m3fn"}),
    ("two_dtypes", "`torch_dtype`", {"dtype": "float32", "torch_dtype": "bfloat16"}), ("eos_text", "`eos_token_id`", {"eos_token_id": "</s>"}),
    ("llama_window", "`sliding_window`", {"sliding_window": 4}), ("llama_no_window", None, {"sliding_window": None}),
    ("pointer", "Git LFS", POINTER.decode()),
    ("layer_types_short", "`layer_types`", {"model_type": "qwen2", "architectures": None, "use_sliding_window": True, "sliding_window": 4, "layer_types": []}),
    ("layer_types_unknown", "`layer_types`", {"model_type": "qwen3", "architectures": None, "layer_types": ["chunked_attention"]}),
    ("window_of_nothing", "`sliding_window`", {"model_type": "qwen2", "architectures": None, "use_sliding_window": True, "sliding_window": 0, "max_window_layers": 0}),
]:
    folder(f"config_{name}", expected, config=change if isinstance(change, str) else CONFIG | change)

# ---- GGUF ----

U32, F32, TEXT, LIST, U64 = 4, 6, 8, 9, 10


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


def value(kind, content):
    body = {U32: lambda: struct.pack("<I", content), F32: lambda: struct.pack("<f", content), TEXT: lambda: text(content),
            U64: lambda: struct.pack("<Q", content)}
    if kind == LIST:
        inner, items = content
        return struct.pack("<IIQ", LIST, inner, len(items)) + b"".join(value(inner, item)[4:] for item in items)
    return struct.pack("<I", kind) + body[kind]()


PAIRS = {
    "general.architecture": (TEXT, "llama"), "llama.block_count": (U32, 1), "llama.context_length": (U32, 16),
    "llama.embedding_length": (U32, 32), "llama.feed_forward_length": (U32, 32), "llama.attention.head_count": (U32, 2),
    "llama.attention.head_count_kv": (U32, 1), "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
    "llama.rope.freq_base": (F32, 10000.0), "llama.rope.dimension_count": (U32, 16),
    "tokenizer.ggml.model": (TEXT, "gpt2"), "tokenizer.ggml.pre": (TEXT, "smollm"),
    "tokenizer.ggml.tokens": (LIST, (TEXT, list("abcdefgh"))), "tokenizer.ggml.merges": (LIST, (TEXT, [])),
    "tokenizer.ggml.eos_token_id": (U32, 7),
}
GGUF_SHAPES = {
    "token_embd.weight": [32, 8], "blk.0.attn_norm.weight": [32], "blk.0.attn_q.weight": [32, 32], "blk.0.attn_k.weight": [32, 16],
    "blk.0.attn_v.weight": [32, 16], "blk.0.attn_output.weight": [32, 32], "blk.0.ffn_norm.weight": [32],
    "blk.0.ffn_gate.weight": [32, 32], "blk.0.ffn_up.weight": [32, 32], "blk.0.ffn_down.weight": [32, 32], "output_norm.weight": [32],
}
Q8_0 = 8


def gguf_tensors():
    """Name → dimensions (innermost first), type, offset, data."""
    out, offset = {}, 0
    for name, shape in GGUF_SHAPES.items():
        kind = 0 if len(shape) == 1 else Q8_0
        size = elements(shape) * 4 if kind == 0 else elements(shape) // 32 * 34
        out[name] = [shape, kind, offset, bytes(size)]
        offset = (offset + size + 31) // 32 * 32
    return out


def gguf(name, expected, pairs=PAIRS, tensors=None, cut=None, head=None, raw_pairs=b"", extra=b"", pair_count=None, tensor_count=None):
    tensors = gguf_tensors() if tensors is None else tensors
    header = (head or b"GGUF" + struct.pack("<I", 3)) + struct.pack(
        "<QQ", len(tensors) if tensor_count is None else tensor_count, len(pairs) + (raw_pairs != b"") if pair_count is None else pair_count)
    for key, (kind, content) in pairs.items():
        header += text(key) + value(kind, content)
    header += raw_pairs
    for key, (shape, kind, offset, _) in tensors.items():
        header += text(key.rstrip("#")) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", dim) for dim in shape)
        header += struct.pack("<IQ", kind, offset)
    body = b""
    for _, _, offset, data in sorted(tensors.values(), key=lambda entry: entry[2]):
        if offset < 1 << 20:
            body = body.ljust(offset, b"\0") + data
    content = header.ljust((len(header) + 31) // 32 * 32, b"\0") + body + extra
    (HERE / f"{name}.gguf").write_bytes(content if cut is None else content[:cut])
    CASES.append({"path": f"{name}.gguf", "expected": expected})


def tensor(name, **keys):
    """The tensors with one changed."""
    tensors = gguf_tensors()
    for key, changed_value in keys.items():
        tensors[name][["shape", "kind", "offset", "data"].index(key)] = changed_value
    return tensors


def pairs(**keys):
    changed_pairs = dict(PAIRS)
    for key, pair in keys.items():
        key = key.replace("__", ".")
        changed_pairs.pop(key, None)
        if pair is not None:
            changed_pairs[key] = pair
    return changed_pairs


gguf("gguf_sound", None)
gguf("gguf_empty", "expected a GGUF file", cut=0)
gguf("gguf_pointer", "Git LFS", head=POINTER)
gguf("gguf_magic_only", "in the middle of the header", cut=4)
gguf("gguf_not_gguf", "expected a GGUF file", head=b"GGML" + struct.pack("<I", 3))
gguf("gguf_version_1", "`version`: expected 3, found 1", head=b"GGUF" + struct.pack("<I", 1))
gguf("gguf_big_endian", "`version`", head=b"GGUF" + struct.pack(">I", 3))
gguf("gguf_truncated_metadata", "in the middle of the header", cut=300)
gguf("gguf_truncated_data", "(truncated?)", cut=-40)
gguf("gguf_tensor_count_lies", "`tensor_count`", tensor_count=1 << 40)
gguf("gguf_tensor_count_one_more", "1 to 4 dimensions", tensor_count=12)
gguf("gguf_pair_count_lies", "claims", pair_count=1 << 60)
gguf("gguf_pair_count_one_more", "", pair_count=len(PAIRS) + 1)
gguf("gguf_key_of_a_tebibyte", "key 15", raw_pairs=struct.pack("<Q", 1 << 40) + b"x")
gguf("gguf_key_not_utf8", "UTF-8", raw_pairs=text(b"\xff\xfe") + value(U32, 1))
gguf("gguf_key_twice", "`llama.block_count` is there twice", raw_pairs=text("llama.block_count") + value(U32, 1))
gguf("gguf_value_type_99", "`x`: expected a type from 0 to 12, found 99", raw_pairs=text("x") + struct.pack("<I", 99))
gguf("gguf_text_of_a_tebibyte", "`x`", raw_pairs=text("x") + struct.pack("<IQ", TEXT, 1 << 40))
gguf("gguf_list_of_a_tebi", "`x`", raw_pairs=text("x") + struct.pack("<IIQ", LIST, 0, 1 << 40))
gguf("gguf_list_overflows", "`x`", raw_pairs=text("x") + struct.pack("<IIQ", LIST, U64, (1 << 61) + 1))
gguf("gguf_list_of_lists", "`x`", raw_pairs=text("x") + struct.pack("<IIQ", LIST, LIST, 1) * 3)
gguf("gguf_texts_of_a_tebi", "`x`", raw_pairs=text("x") + struct.pack("<IIQ", LIST, TEXT, 1 << 40))
gguf("gguf_alignment_zero", "`general.alignment`", pairs=pairs(general__alignment=(U32, 0)))
gguf("gguf_alignment_33", "`general.alignment`", pairs=pairs(general__alignment=(U32, 33)))
gguf("gguf_alignment_huge", "`general.alignment`", pairs=pairs(general__alignment=(U64, 1 << 63)))
gguf("gguf_no_architecture", "`general.architecture`", pairs=pairs(general__architecture=None))
gguf("gguf_other_architecture", "`general.architecture`", pairs=pairs(general__architecture=(TEXT, "mamba")))
gguf("gguf_architecture_number", "`general.architecture`", pairs=pairs(general__architecture=(U32, 7)))
gguf("gguf_unknown_key", "`llama.mystery`", pairs=pairs(llama__mystery=(F32, 2.0)))
gguf("gguf_experts", "`llama.expert_count`", pairs=pairs(llama__expert_count=(U32, 8)))
gguf("gguf_no_layers", "`llama.block_count`", pairs=pairs(llama__block_count=None))
gguf("gguf_layers_as_text", "`llama.block_count`", pairs=pairs(llama__block_count=(TEXT, "1")))
gguf("gguf_layers_huge", "`num_hidden_layers`", pairs=pairs(llama__block_count=(U64, 1 << 62)))
gguf("gguf_zero_heads", "`llama.embedding_length`", pairs=pairs(llama__attention__head_count=(U32, 0)))
gguf("gguf_heads_by_layer", "`llama.attention.head_count`", pairs=pairs(llama__attention__head_count=(LIST, (U32, [2, 1]))))
gguf("gguf_rotary_half", "`llama.rope.dimension_count`", pairs=pairs(llama__rope__dimension_count=(U32, 8)))
gguf("gguf_rope_longrope", "`llama.rope.scaling.type`", pairs=pairs(llama__rope__scaling__type=(TEXT, "longrope")))
gguf("gguf_eps_nan", "`rms_norm_eps`", pairs=pairs(llama__attention__layer_norm_rms_epsilon=(F32, float("nan"))))
gguf("gguf_name_empty", "tensor", tensors={"": [[32], 0, 0, bytes(128)]})
gguf("gguf_no_dimensions", "1 to 4 dimensions", tensors=tensor("output_norm.weight", shape=[]))
gguf("gguf_five_dimensions", "1 to 4 dimensions", tensors=tensor("output_norm.weight", shape=[1] * 5))
gguf("gguf_dimensions_overflow", 'tensor "output_norm.weight"', tensors=tensor("output_norm.weight", shape=[1 << 40, 1 << 40]))
gguf("gguf_type_99", "number 99", tensors=tensor("output_norm.weight", kind=99))
gguf("gguf_type_iq2", "number 16", tensors=tensor("blk.0.attn_q.weight", kind=16))
gguf("gguf_row_not_whole_blocks", "whole q8_0 blocks", tensors=tensor("blk.0.attn_q.weight", shape=[16, 64]))
gguf("gguf_offset_beyond", "(truncated?)", tensors=tensor("output_norm.weight", offset=1 << 41))
gguf("gguf_offset_overflows", "output_norm.weight", tensors=tensor("output_norm.weight", offset=(1 << 64) - 32))
gguf("gguf_offset_unaligned", "multiple of 32", tensors=tensor("output_norm.weight", offset=8))
gguf("gguf_overlap", "overlaps", tensors=tensor("output_norm.weight", offset=32))
gguf("gguf_tensor_twice", "is stored twice", tensors=gguf_tensors() | {"output_norm.weight#": gguf_tensors()["output_norm.weight"]})
gguf("gguf_tensor_stranger", '"blk.0.attn_sinks.weight" belongs to no', tensors=gguf_tensors() | {"blk.0.attn_sinks.weight": [[32], 0, 1 << 14, bytes(128)]})
gguf("gguf_layer_too_many", '"blk.1.attn_norm.weight" belongs to no', tensors=gguf_tensors() | {"blk.1.attn_norm.weight": [[32], 0, 1 << 14, bytes(128)]})
gguf("gguf_no_embedding", '"token_embd.weight" is missing', tensors={k: v for k, v in gguf_tensors().items() if k != "token_embd.weight"})
gguf("gguf_missing_tensor", "mlp.down_proj", tensors={k: v for k, v in gguf_tensors().items() if k != "blk.0.ffn_down.weight"})
gguf("gguf_wrong_shape", "expected shape [16, 32]", tensors=tensor("blk.0.attn_k.weight", shape=[32, 8]))
gguf("gguf_scale_nan", "expected finite numbers", tensors=tensor("blk.0.attn_q.weight", data=b"\x00\x7e" + bytes(34 * 32 - 2)))
gguf("gguf_no_tokenizer", "`tokenizer.ggml.model`", pairs=pairs(tokenizer__ggml__model=None))
gguf("gguf_sentencepiece", "`tokenizer.ggml.model`", pairs=pairs(tokenizer__ggml__model=(TEXT, "llama")))
gguf("gguf_too_few_tokens", "`tokenizer.ggml.tokens`", pairs=pairs(tokenizer__ggml__tokens=(LIST, (TEXT, ["a"]))))
gguf("gguf_eos_out_of_range", "`tokenizer.ggml.eos_token_id`", pairs=pairs(tokenizer__ggml__eos_token_id=(U32, 8)))
gguf("gguf_token_types_unknown", "`tokenizer.ggml.token_type`", pairs=pairs(tokenizer__ggml__token_type=(LIST, (U32, [9] * 8))))
gguf("gguf_template_number", "`tokenizer.chat_template`", pairs=pairs(tokenizer__chat_template=(U32, 1)))

(HERE.parent / "cases.json").write_text(json.dumps(CASES, indent=1) + "\n")
print(len(CASES), "cases,", sum(case["expected"] is None for case in CASES), "of them sound")
