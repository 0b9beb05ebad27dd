"""Whether memory grows with the corpus, and how soon a training that is resumed takes its first step.

Usage: memory.py WORKDIR [MIB ...]     (from the repository's root, after `cargo build --release -p distill-student --examples`;
by default 2048 and 4096 MiB of text, of which the token caches take four times as much on the disk: 26 GiB in all)

Synthetic conversations of 2 to 38 KiB, nano's tokenizer (a token a byte, so a token of the cache for each byte of text), sequences of at most
8,192 tokens, packed. For each size: peak resident memory of rendering, tokenising and packing, then of a training that is
stopped in its second step; then seconds from the start of a process that resumes it to the end of its first step. `again` is
opening the cache and planning an epoch once it is made: a run that is resumed in a later epoch plans one more.
"""

import json
import pathlib
import shutil
import subprocess
import sys

PACK = pathlib.Path("target/release/examples/pack")
NANO, MAX_TOKENS = pathlib.Path("recipes/nano"), 8192


def run(*command):
    line = subprocess.run(list(map(str, [PACK, *command])), check=True, capture_output=True, text=True).stdout
    return json.loads(line) if line.strip() else None


def main(work, sizes):
    print(f"{'MiB':>6}{'sequences':>11}{'tokens':>15}{'prepare s':>11}{'again s':>9}{'peak MiB':>10}{'train peak':>12}{'step':>6}{'first step s':>14}")
    peaks = []
    for mib in sizes:
        folder, scratch = work / str(mib), work / str(mib) / "scratch"
        if not (folder / "base").exists():
            run("make", folder, mib)
            run("base", folder, NANO / "student.json", NANO)
        shutil.rmtree(scratch, ignore_errors=True)
        made = run("prepare", folder, scratch, MAX_TOKENS)
        again = run("prepare", folder, scratch, MAX_TOKENS)
        started = run("train", folder, scratch, MAX_TOKENS, 2)
        resumed = run("train", folder, scratch, MAX_TOKENS, 1)
        assert resumed["first_step"] == started["last_step"] + 1, (started, resumed)
        peaks.append((made["peak_mib"], max(started["peak_mib"], resumed["peak_mib"])))
        print(
            f"{mib:>6}{made['sequences']:>11,}{made['tokens']:>15,}{made['seconds']:>11.0f}{again['seconds']:>9.2f}{made['peak_mib']:>10}"
            f"{peaks[-1][1]:>12}{resumed['first_step']:>6}{resumed['first_step_s']:>14.2f}", flush=True)
        assert resumed["first_step_s"] < 5, "a resumed training takes its first step in under 5 s"
        shutil.rmtree(scratch)
    for what, values in zip(["prepare", "train"], zip(*peaks)):
        print(f"{what}: the last peak is {values[-1] / values[0]:.3f} of the first")
        assert values[-1] <= 1.1 * values[0], f"{what}: memory grows with the corpus"


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), [int(size) for size in sys.argv[2:]] or [2048, 4096])
