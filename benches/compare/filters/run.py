"""The filters of traces beside near duplicates: how much text each measures a second, on one core, and all of them together.

Usage: run.py WORKDIR [--mib 128] [--distill target/release/distill]   (WORKDIR may be that of ../dedup: downloads are shared)

Ready traces are made of the text of installable packages (../dedup/corpus.py): the reasoning is some 12,000 characters of one
file, behind it an answer in a box; a row in 16 repeats its end as a loop does, one in 64 is cut, one in 8 has a question that a
benchmark has. `distill filter RECIPE` reads them, measures each filter in a stage of its own and decides; the seconds are those
that the stages say of themselves, MB are of the traces' text. Reading the file is told apart: it is done once, for all of them.
"""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "dedup"))
from corpus import Rows, pieces  # noqa: E402

SEED, TRACE = 17, 12_000
FILTERS = ["format", "length", "language", "style", "repetition", "duplicates", "contamination"]
RECIPE = """
name = "speed"
seed = 17

[[sources]]
holdout = 0
problems = {{ jsonl = "traces.jsonl", columns = {{ question = "problem", responses = "generation", finish-reasons = "finish" }} }}
teacher = {{ ready-traces = true }}

[[benchmarks]]
name = "held-out"
problems = {{ jsonl = "benchmark.jsonl", columns = {{ question = "question" }} }}
{filters}
"""
SETTINGS = {"length": "max-chars = 100000"}


def traces(work, most):
    """Traces and a benchmark, as files; bytes of the traces' text, and rows."""
    draws, size, rows, reasoning = random.Random(SEED), 0, 0, ""
    with (work / "traces.jsonl").open("w") as file, (work / "benchmark.jsonl").open("w") as benchmark:
        for piece in pieces(work, SEED):
            reasoning += piece + "\n"
            if len(reasoning) < TRACE:
                continue
            question = " ".join(piece.split()[:60])
            if rows % 8 == 0:
                benchmark.write(json.dumps({"question": question}) + "\n")
            if draws.random() < 1 / 16:
                reasoning += reasoning[-300:] * 8
            end = "" if draws.random() < 1 / 64 else f"</think>\n\n\\boxed{{{draws.randrange(1000)}}}"
            text = f"<think>\n{reasoning}{end}"
            row = {"problem": f"{rows}. {question}", "generation": text, "finish": "stop" if end else "length"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            size, rows, reasoning = size + len(text.encode()), rows + 1, ""
            if size > most:
                break
    return size, rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--mib", type=int, default=128)
    parser.add_argument("--distill", type=pathlib.Path, default=pathlib.Path("target/release/distill"))
    arguments = parser.parse_args()
    work, distill = arguments.work.resolve(), arguments.distill.resolve()
    work.mkdir(parents=True, exist_ok=True)
    size, rows = traces(work, arguments.mib << 20)
    filters = "".join(f'\n[[filters]]\nkind = "{kind}"\n{SETTINGS.get(kind, "")}\n' for kind in FILTERS)
    (work / "speed.toml").write_text(RECIPE.format(filters=filters))
    shutil.rmtree(work / "store", ignore_errors=True)
    shutil.rmtree(work / "runs", ignore_errors=True)
    places = ["--store", "store", "--runs", "runs"]
    command = ["taskset", "-c", "0", distill, "filter", "speed.toml", "--threads", "1", *places]
    done = subprocess.run(list(map(str, command)), cwd=work, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    seconds = {}
    for line in done.stderr.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "done":
            seconds[event["stage"]] = event["wall_s"]
    print(f"{size / 1e6:.0f} MB of {rows} traces, one core")
    print("| stage | s | MB/s |\n|---|---|---|")
    line = lambda name, wall: print(f"| {name} | {wall:.2f} | {size / 1e6 / wall if wall else 0:.0f} |")
    judging = 0
    for index, kind in enumerate(FILTERS, 1):
        wall = sum(seconds.pop(f"{step}-{index}-{kind}", 0) for step in ["survey", "measure"])
        line(f"`{kind}`", wall)
        judging += wall
    deciding = seconds.pop("selection", 0)
    line("deciding", deciding)
    line("**all filters together, deciding too**", judging + deciding)
    line("reading the file", sum(seconds.values()))


if __name__ == "__main__":
    main()
