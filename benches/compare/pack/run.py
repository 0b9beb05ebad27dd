"""Rendering, tokenising and packing: ours beside TRL's SFTTrainer with datasets, the same Parquet files in one run.

Usage: run.py WORKDIR [MIB]     (from the repository's root, after `cargo build --release -p distill-student --examples`;
makes a virtual environment in WORKDIR and installs trl, datasets and transformers into it; asks no hub)

MIB (default 128) of synthetic conversations of 2 to 38 KiB are rendered with the chat template of recipes/nano, tokenised with
a byte-level BPE of 8,192 tokens that is trained on them here, masked so that the assistant's turns carry loss, and packed
best-fit-decreasing into 16,384 tokens. Two threads or processes each. Ours ends with tokens on the disk, synced; TRL with its
cache of Arrow files, made anew every time. The programs take turns; medians of ROUNDS. Peak memory is the peak of resident memory of
the process; for TRL, that of its largest worker is added twice, since two run.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

ROUNDS, THREADS, MAX_TOKENS, VOCAB = 3, 2, 16384, 8192
PACK = pathlib.Path("target/release/examples/pack")
NANO = pathlib.Path("recipes/nano")
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def tokenizer(work):
    """A folder with a small BPE and nano's template; and the shape of a model that has as many rows."""
    import pyarrow.parquet
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = work / "chat"
    folder.mkdir(exist_ok=True)
    table = pyarrow.parquet.read_table(work / "examples/part-00000.parquet", columns=["messages"]).slice(0, 2000)
    texts = [message["content"] for row in table["messages"].to_pylist() for message in row]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    specials = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=specials, initial_alphabet=alphabet))
    bpe.save(str(folder / "tokenizer.json"))
    for name in ["tokenizer_config.json", "chat_template.jinja"]:
        shutil.copy(NANO / name, folder / name)
    shape = json.loads((NANO / "student.json").read_text()) | {"vocab_size": VOCAB, "max_position_embeddings": MAX_TOKENS}
    (work / "student.json").write_text(json.dumps(shape))


def trl(work):
    """One run of TRL, in this process: what it does before its first step."""
    import resource
    import time

    begin = time.perf_counter()
    from datasets import load_dataset
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
    from trl import SFTConfig, SFTTrainer

    shape = json.loads((work / "student.json").read_text())
    model = Qwen2ForCausalLM(Qwen2Config(**shape))
    imported = time.perf_counter()
    files = sorted(map(str, (work / "examples").glob("part-*.parquet")))
    dataset = load_dataset("parquet", data_files=files, split="train", cache_dir=str(work / "cache")).select_columns(["messages"])
    arguments = SFTConfig(
        output_dir=str(work / "trl"), max_length=MAX_TOKENS, packing=True, packing_strategy="bfd", assistant_only_loss=True,
        dataset_num_proc=THREADS, report_to="none", use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False)
    # Not `AutoTokenizer`: it takes the class of the model, with a pre-tokenizer of its own.
    chat = PreTrainedTokenizerFast.from_pretrained(work / "base")
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=dataset, processing_class=chat)
    seconds = time.perf_counter() - imported
    status = pathlib.Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    packed = trainer.train_dataset
    packed.set_format("numpy")
    tokens = sum(len(row["input_ids"]) for row in packed)
    print(json.dumps({
        "seconds": seconds, "import_s": imported - begin, "bins": len(packed), "tokens": tokens,
        "peak_mib": (peak + THREADS * worker) >> 10, "self_mib": peak >> 10, "worker_mib": worker >> 10}))


def run(command, environment):
    line = subprocess.run(list(map(str, command)), env=os.environ | environment, check=True, capture_output=True, text=True)
    return json.loads(line.stdout.strip().splitlines()[-1])


def main(work, mib):
    work.mkdir(parents=True, exist_ok=True)
    python = work / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "trl", "datasets", "transformers"], check=True)
    if not (work / "base").exists():
        subprocess.run([PACK, "make", work, str(mib)], check=True)
        subprocess.run([python, __file__, "--tokenizer", work], check=True)
        subprocess.run([PACK, "base", work, work / "student.json", work / "chat"], check=True)
    found = {"ours": [], "TRL": []}
    for _ in range(ROUNDS):
        shutil.rmtree(work / "scratch", ignore_errors=True)
        command = [PACK, "prepare", work, work / "scratch", MAX_TOKENS]
        found["ours"].append(run(command, {"RAYON_NUM_THREADS": str(THREADS)}))
        shutil.rmtree(work / "cache", ignore_errors=True)
        found["TRL"].append(run([python, __file__, "--trl", work], OFFLINE | {"HF_HOME": str(work / "home")}))
        print({name: round(rows[-1]["seconds"], 1) for name, rows in found.items()}, flush=True)
    medians = {name: statistics.median(row["seconds"] for row in rows) for name, rows in found.items()}
    print(f"{'':6}{'s':>8}{'tokens/s':>12}{'tokens':>13}{'bins':>7}{'peak MiB':>10}")
    for name, rows in found.items():
        row = rows[-1]
        peak = max(row["peak_mib"] for row in rows)
        print(f"{name:6}{medians[name]:>8.1f}{row['tokens'] / medians[name]:>12,.0f}{row['tokens']:>13,}{row['bins']:>7,}{peak:>10,}")
    print(f"ratio {medians['TRL'] / medians['ours']:.1f}")
    ours, theirs = (found[name][0]["tokens"] for name in ["ours", "TRL"])
    assert ours == theirs, f"tokens: ours {ours}, TRL {theirs}"


if __name__ == "__main__":
    if sys.argv[1] == "--trl":
        trl(pathlib.Path(sys.argv[2]))
    elif sys.argv[1] == "--tokenizer":
        tokenizer(pathlib.Path(sys.argv[2]))
    else:
        main(pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 128)
