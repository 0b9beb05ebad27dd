"""Tokenizers of real models, folder → GGUF → folder, against `tokenizers` and llama.cpp.

Usage: tokenizer_journeys.py WORKDIR TEXTS NAME=SOURCE...   (from the repository's root, after `cargo build --release`)

SOURCE is a folder with tokenizer.json and tokenizer_config.json, or a GGUF file, whole or cut off after its metadata. A
tiny random model is put around each. Every line of TEXTS and a list of hard texts must become the same tokens in: the
original tokenizer, llama.cpp on our GGUF, and the tokenizer.json that we make of that GGUF. Of a GGUF source there is no
original, and llama.cpp's tokens are the reference. Needs transformers, torch, gguf, xllamacpp.
"""

import io
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import unicodedata
import urllib.request

import torch
import xllamacpp
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

work, texts, sources = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), [arg.split("=", 1) for arg in sys.argv[3:]]
HARD = [
    "", " ", "   ", "\n", "\n\n\n", " \n \n", "  two  spaces ", "tab\tand\r\nline", "1234567890 12 345 6789", "3.14159e-10", "don't we'll I'M YOU'RE 'S",
    "naïve café ﬁ ½ ²", "日本語のテキスト 中文字符 한국어", "🙂👩‍👩‍👧‍👦🇩🇪", "\u200b\u00a0\u3000\ufeff", "x" * 300, "$\\frac{1}{2} \\cdot \\sqrt{x^2+1}$",
    "<think>\nOkay.\n</think>", "for(int i=0;i<10;i++){a[i]+=i;}", "\x01\x7f", "مرحبا שלום नमस्ते ไทย", "A\u030a e\u0301", "...!!!???", "#### 42", "a\n b\n  c\n\td",
    "<|im_start|>user\nhi<|im_end|>\n", "<｜User｜>x<｜Assistant｜><think>\n", "<|begin_of_text|><|eot_id|>", "٣٤٥ ⅷ ①", "ǅ ß ẞ İ ı",
]
corpus = HARD + texts.read_text().splitlines()[:500]
SHAPE = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True)


def distill(*command):
    subprocess.run(["target/release/distill", *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def tokenizer_pairs(path):
    """The raw key–value pairs of a GGUF file whose keys begin with `tokenizer.`, and the number of its tokens."""
    file = io.BufferedReader(io.FileIO(path))
    read = lambda form: struct.unpack("<" + form, file.read(struct.calcsize(form)))[0]
    skip = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def value(kind):
        if kind == 8:
            file.seek(read("Q"), 1)
        elif kind == 9:
            inner, count = read("I"), read("Q")
            for _ in range(count):
                value(inner)
            return count
        else:
            file.seek(skip[kind], 1)

    assert file.read(4) == b"GGUF"
    read("I"), read("Q")
    pairs, tokens = [], 0
    for _ in range(read("Q")):
        start = file.tell()
        key = file.read(read("Q")).decode()
        count = value(read("I"))
        end = file.tell()
        if key == "tokenizer.ggml.tokens":
            tokens = count
        if key.startswith("tokenizer."):
            file.seek(start)
            pairs.append(file.read(end - start))
    return pairs, tokens


def around(pairs, tokens, path):
    """A GGUF file of a tiny Qwen2 with these tokenizer pairs."""
    text = lambda string: struct.pack("<Q", len(string)) + string.encode()
    own = {"block_count": 1, "context_length": 512, "embedding_length": 32, "feed_forward_length": 32, "attention.head_count": 2,
           "attention.head_count_kv": 1}
    head = text("general.architecture") + struct.pack("<I", 8) + text("qwen2")
    head += b"".join(text("qwen2." + key) + struct.pack("<II", 4, number) for key, number in own.items())
    head += text("qwen2.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-6)
    shapes = {"token_embd.weight": [32, tokens], "output_norm.weight": [32], "blk.0.attn_norm.weight": [32], "blk.0.ffn_norm.weight": [32]}
    for name, rows in {"attn_q": 32, "attn_k": 16, "attn_v": 16, "attn_output": 32, "ffn_gate": 32, "ffn_up": 32, "ffn_down": 32}.items():
        shapes[f"blk.0.{name}.weight"] = [32, rows]
        if name in ("attn_q", "attn_k", "attn_v"):
            shapes[f"blk.0.{name}.bias"] = [rows]
    entries, offset = b"", 0
    for name, shape in shapes.items():
        entries += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", dim) for dim in shape) + struct.pack("<IQ", 0, offset)
        offset += 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), 8 + len(pairs)) + head + b"".join(pairs) + entries
    path.write_bytes(header.ljust((len(header) + 31) // 32 * 32, b"\0") + torch.randn(offset // 4).numpy().tobytes())


shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
failed = False
for number, (name, source) in enumerate(sources):
    source, gguf, back = pathlib.Path(source), work / f"{name}.gguf", work / f"{name}-back"
    original = None
    if source.is_dir():
        original = Tokenizer.from_file(str(source / "tokenizer.json"))
        rows = (max(original.get_vocab(True).values()) + 1 + 127) // 128 * 128
        kind = (LlamaConfig, LlamaForCausalLM) if "llama" in name else (Qwen2Config, Qwen2ForCausalLM)
        folder = work / name
        kind[1](kind[0](vocab_size=rows, **SHAPE)).save_pretrained(folder)
        for file in ["tokenizer.json", "tokenizer_config.json"]:
            shutil.copy(source / file, folder / file)
        if "chat_template" not in json.loads((folder / "tokenizer_config.json").read_text()):
            (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
        distill("convert", folder, gguf, "--dtype", "f16")
    else:
        pairs, tokens = tokenizer_pairs(source)
        around(pairs, tokens, work / f"{name}-source.gguf")
        distill("convert", work / f"{name}-source.gguf", gguf, "--dtype", "f16")
    distill("convert", gguf, back)
    ours = Tokenizer.from_file(str(back / "tokenizer.json"))
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port, params.n_ctx, params.warmup = str(gguf), ["127.0.0.1"], 18400 + number, 512, False
    server = xllamacpp.Server(params)

    def llama(text):
        body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{params.port}/tokenize", body, {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))["tokens"]

    wrong = {"llama.cpp": [], "our tokenizer.json": []}
    for text in corpus:
        theirs, own = llama(text), ours.encode(text, add_special_tokens=False).ids
        expected = original.encode(text, add_special_tokens=False).ids if original else theirs
        # llama.cpp does not normalise to NFC, as Qwen's tokenizers do.
        if theirs != expected and unicodedata.normalize("NFC", text) == text:
            wrong["llama.cpp"].append((text, expected, theirs))
        if own != expected:
            wrong["our tokenizer.json"].append((text, expected, own))
    print(f"{name}: {len(corpus)} texts; " + "; ".join(f"{who} differs in {len(cases)}" for who, cases in wrong.items()))
    for who, cases in wrong.items():
        for text, expected, found in cases[:4]:
            print("  ", who, repr(text[:60]), expected[:12], found[:12])
    failed |= bool(wrong["our tokenizer.json"])
    del server
sys.exit(failed)
