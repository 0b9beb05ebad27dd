#!/usr/bin/env python3
"""Reading many streams at once: distill, a reader that discards everything, and the official Python client.

    cargo build --release --workspace
    pip install openai          (for the peer; without it, it is left out)
    benches/compare/sampling/run.py [--streams 4096] [--rate 30] [--tokens 1800] [--python PYTHON]

The simulated server has one core and sends each stream `rate` tokens a second, an event each; the client has another core.
All three read from it one after the other, each from a fresh one. distill runs as users run it (`distill sample`): it
renders prompts, keeps what arrives four times a second, and writes answers to its journal and a dataset. Prints tokens a second of
wall time, tokens a second of CPU time, and memory for each stream.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RELEASE = ROOT / "target/release"
RECIPE = """
name = "streams"
seed = 1
[[sources]]
holdout = 0
problems = {{ jsonl = "problems.jsonl", columns = {{ question = "question", answer = "answer" }}, answer-format = "gsm8k", licence = "MIT" }}
[sources.teacher.http]
url = "{url}"
model = "sim"
api = "completions"
chat = "{root}/recipes/nano"
concurrency = {streams}
[sources.sampling]
samples-per-problem = 1
temperature = 0.6
top-p = 0.95
max-new-tokens = {most}
[[filters]]
kind = "format"
[export]
dataset-name = "Streams"
license = "mit"
"""


def serve(core, rate, tokens):
    command = ["taskset", "-c", str(core), RELEASE / "distill-simulator", "127.0.0.1:0",
               f"rate={rate}", f"least={tokens}", f"most={tokens}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return server, server.stdout.readline().strip()


def measured(command, **options):
    """Runs a command; its output, wall and CPU seconds, and peak memory in KiB."""
    start = time.monotonic()
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, **options)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed: {status}")
    return output, time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def server_load(server):
    """CPU seconds that the server took."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--tokens", type=int, default=1800)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--cores", type=int, nargs=2, default=(0, 1), help="of the server and of the client")
    arguments = parser.parse_args()
    streams, tokens, total = arguments.streams, arguments.tokens, arguments.streams * arguments.tokens
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    on = ["taskset", "-c", str(arguments.cores[1])]
    rows = []

    def row(name, received, wall, cpu, rss, server):
        rows.append((name, received / wall, received / cpu, rss / streams, server / wall))
        print(f"{name}: {received:,} tokens in {wall:.1f} s, {cpu:.1f} s of CPU, server's core {server / wall:.0%}", flush=True)

    server, url = serve(arguments.cores[0], arguments.rate, tokens)
    output, _, cpu, rss = measured([*on, RELEASE / "discard", url, streams, tokens])
    row("discarding reader", total, json.loads(output)["seconds"], cpu, rss, server_load(server))
    server.kill()

    with tempfile.TemporaryDirectory() as place:
        server, url = serve(arguments.cores[0], arguments.rate, tokens)
        problems = "".join(json.dumps({"question": f"What is {i}?", "answer": "#### 7"}) + "\n" for i in range(streams))
        Path(place, "problems.jsonl").write_text(problems)
        Path(place, "streams.toml").write_text(RECIPE.format(url=url, root=ROOT, streams=streams, most=2 * tokens))
        command = [*on, RELEASE / "distill", "sample", "streams.toml", "--threads", "1"]
        _, wall, cpu, rss = measured(command, cwd=place, stderr=subprocess.DEVNULL)
        row("distill sample", total, wall, cpu, rss, server_load(server))
        server.kill()
        manifest = json.loads(Path(place, "runs/streams/traces/manifest.json").read_text())
        assert manifest["tally"]["rows_out"] == streams, "every answer is there"

    if subprocess.run([arguments.python, "-c", "import openai"], capture_output=True).returncode == 0:
        server, url = serve(arguments.cores[0], arguments.rate, tokens)
        client = Path(__file__).with_name("openai_client.py")
        command = [*on, arguments.python, client, url, streams, tokens, tokens / arguments.rate]
        output, _, cpu, rss = measured(command)
        told = json.loads(output.splitlines()[-1])
        row("openai (Python, asyncio)", told["tokens"], told["seconds"], cpu, rss, server_load(server))
        server.kill()
    else:
        print("the official Python client is not installed: left out")

    print(f"\n| {streams} streams at {arguments.rate:g} tokens/s, {tokens} tokens each | tokens/s | of the discarding reader | tokens per CPU-second | KiB a stream |")
    print("|---|---|---|---|---|")
    for name, wall, cpu, rss, _ in rows:
        print(f"| {name} | {wall:,.0f} | {wall / rows[0][1]:.3f} | {cpu:,.0f} | {rss:.0f} |")
    if len(rows) == 3:
        print(f"\ndistill has {rows[1][2] / rows[2][2]:.1f} times the official client's tokens per CPU-second")


main()
