"""Near duplicates: `distill dedup` beside datatrove's MinHash and rensa, the same file in one run, one core each.

Usage: run.py WORKDIR [MIB]     (from the repository's root, after `cargo build --release`; makes a virtual environment in
WORKDIR and installs datatrove, spacy and rensa into it)

The corpus is MIB (default 64) of pieces of at most 4,000 characters of the Python sources and texts of that environment, in an
order that a seed decides; of every 20th piece a mutation is planted with a share of its words changed (0, 2, 5, 10 or 20 %).
Word 5-grams, 14 bands of 8 rows, as are datatrove's defaults. Ours reads JSON lines and ends with the rows that stay and the
reasons of the others on the disk; each pair is compared exactly at a threshold of 0.7, and must have the same numbers unless
told otherwise: it is told otherwise here. datatrove reads the same JSON lines and ends with the rows that stay. rensa is handed
the shingles by Python, signs and looks up in memory, and writes nothing: it is the least that a Python program does.
Programs run one after the other, pinned to one core; the figure is wall time, start-up included. Peak memory is that of the
largest process.
"""

import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

DISTILL = pathlib.Path("target/release/distill").resolve()
SEED, PIECE, EVERY, CHANGED = 17, 4000, 20, [0.0, 0.02, 0.05, 0.10, 0.20]
ENDINGS = {".py", ".pyi", ".txt", ".md", ".rst"}


def corpus(work, mib):
    """The file, and for each planted row the share of changed words."""
    draws = random.Random(SEED)
    paths = sorted(path for path in work.glob("venv/lib/**/*") if path.suffix in ENDINGS and path.is_file())
    draws.shuffle(paths)
    size, row, planted = 0, 0, {}
    with (work / "corpus.jsonl").open("w") as file:
        for path in paths:
            text = path.read_text(errors="replace")
            for start in range(0, len(text), PIECE):
                piece = text[start : start + PIECE]
                if len(piece.split()) < 40:
                    continue
                pieces = [piece]
                if row % EVERY == 0:
                    share = CHANGED[row // EVERY % len(CHANGED)]
                    words = re.split(r"(\s+)", piece)
                    pieces.append("".join("q%d" % draws.randrange(9999) if w.strip() and draws.random() < share else w for w in words))
                    planted[row + 1] = share
                for one in pieces:
                    line = json.dumps({"id": str(row), "text": one}, ensure_ascii=False) + "\n"
                    size += len(line.encode())
                    row += 1
                    file.write(line)
                if size > mib << 20:
                    return size, row, planted
    return size, row, planted


def timed(command, work):
    """Wall seconds and peak MiB of a command on one core."""
    before = time.perf_counter()
    process = subprocess.Popen(["taskset", "-c", "0", *map(str, command)], cwd=work)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - before, usage.ru_maxrss / 1024


def datatrove(folder):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config, state = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8), str(pathlib.Path(folder) / "datatrove")
    reader = lambda: JsonlReader(folder, glob_pattern="corpus.jsonl")
    for stage in [
        [reader(), MinhashDedupSignature(output_folder=state + "/signatures", config=config)],
        [MinhashDedupBuckets(input_folder=state + "/signatures", output_folder=state + "/buckets", config=config)],
        [MinhashDedupCluster(input_folder=state + "/buckets", output_folder=state + "/clusters", config=config)],
        [reader(), MinhashDedupFilter(input_folder=state + "/clusters"), JsonlWriter(state + "/kept", compression=None)],
    ]:
        # One task a bucket where a stage has them; they run one after the other.
        tasks = config.num_buckets if isinstance(stage[0], MinhashDedupBuckets) else 1
        LocalPipelineExecutor(stage, tasks=tasks, workers=1).run()


def rensa(folder):
    from rensa import RMinHash, RMinHashLSH

    lsh, kept = RMinHashLSH(threshold=0.7, num_perm=112, num_bands=14), 0
    with open(pathlib.Path(folder) / "corpus.jsonl") as file:
        for row, line in enumerate(file):
            words = json.loads(line)["text"].lower().split()
            signature = RMinHash(num_perm=112, seed=SEED)
            signature.update([" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))])
            kept += not lsh.query(signature)
            lsh.insert(row, signature)
    (pathlib.Path(folder) / "rensa.kept").write_text(str(kept))


def main():
    work, mib = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 64
    work.mkdir(parents=True, exist_ok=True)
    python = work / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "datatrove", "spacy", "rensa"], check=True)
    size, rows, planted = corpus(work, mib)
    for left in ["datatrove", "kept.jsonl", "kept.jsonl.dropped.jsonl"]:
        path = work / left
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    settings = ["threshold=0.7", "bands=[14,8]", "same-numbers=false"]
    sets = [word for setting in settings for word in ["--set", setting]]
    ours = timed([DISTILL, "dedup", "corpus.jsonl", "--text", "text", "--out", "kept.jsonl", "--threads", "1", *sets], work)
    script = pathlib.Path(__file__).resolve()
    theirs = timed([python, script, "--datatrove", work], work)
    least = timed([python, script, "--rensa", work], work)
    count = lambda path: sum(1 for _ in path.open())
    kept = {
        "distill dedup": count(work / "kept.jsonl"),
        "datatrove": sum(count(path) for path in (work / "datatrove/kept").glob("*.jsonl")),
        "rensa": int((work / "rensa.kept").read_text()),
    }
    print(f"{size / 1e6:.0f} MB, {rows} rows, {len(planted)} of them planted")
    print("| program | s | MB/s | beside ours | peak MiB | rows kept |\n|---|---|---|---|---|---|")
    for name, (wall, peak) in [("distill dedup", ours), ("datatrove", theirs), ("rensa", least)]:
        print(f"| {name} | {wall:.1f} | {size / 1e6 / wall:.1f} | {wall / ours[0]:.1f} | {peak:.0f} | {kept[name]} |")
    dropped = {json.loads(line)["row"] - 1 for line in (work / "kept.jsonl.dropped.jsonl").open()}
    print("\n| words changed | planted | found |\n|---|---|---|")
    for share in CHANGED:
        of = [row for row, changed in planted.items() if changed == share]
        # Either of the two goes.
        print(f"| {share:.0%} | {len(of)} | {sum(row in dropped or row - 1 in dropped for row in of)} |")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--datatrove", folder]:
            datatrove(folder)
        case ["--rensa", folder]:
            rensa(folder)
        case _:
            main()
