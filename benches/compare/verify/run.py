#!/usr/bin/env python3
"""Verification of mathematics, ours beside Math-Verify: the same pairs, one core, one run.

    pip install math-verify sympy
    taskset -c 0 benches/compare/verify/run.py [--count 20000] [--binary target/release/distill]

Pairs come from tests/real/verify_generated.py. Ours is timed as a user runs it: one process, JSON lines in and out, its
start included. Math-Verify is timed within Python, `verify(parse(gold), parse(answer))` a pair, on the first pairs of the
same list, until its share of the time is used up.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "real"))
import verify_generated as generated  # noqa: E402

NUMBERS = ("integers and fractions", "decimals, percent, mixed")


def is_plain(pair):
    return all(c in "0123456789-/{}\\frac" for text in pair[:2] for c in text)


def whole_or_fraction():
    pair = generated.numbers()
    return pair if pair and is_plain(pair) else None


def other_number():
    pair = generated.numbers()
    return pair if pair and not is_plain(pair) else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long Math-Verify gets for a class")
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "distill"))
    arguments = parser.parse_args()
    from math_verify import parse, verify

    classes = [(NUMBERS[0], whole_or_fraction), (NUMBERS[1], other_number)]
    classes += [(name, make) for name, make, _ in generated.CLASSES if name != "numbers"]
    generated.R.seed(11)
    print(f"{'class':<28}{'ours/s':>10}{'p50 us':>8}{'p99.9 us':>10}{'max us':>8}{'Math-Verify/s':>15}{'ratio':>8}")
    for name, make in classes:
        # SymPy takes longer to make a symbolic pair than to judge it; those are judged several times over.
        unique = arguments.count if name in NUMBERS else min(arguments.count, 1500)
        pairs = []
        while len(pairs) < unique:
            try:
                pair = make()
            except Exception:
                continue
            if pair is not None and max(map(len, pair[:2])) < 600:
                pairs.append(pair)
        repeated = (pairs * (arguments.count // len(pairs) + 1))[: arguments.count]
        lines = "".join(json.dumps({"id": 0, "gold": gold, "answer": answer}) + "\n" for gold, answer, _ in repeated)
        begin = time.perf_counter()
        command = [arguments.binary, "verify", "math", "--threads", "1"]
        run = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
        ours = len(repeated) / (time.perf_counter() - begin)
        micros = sorted(json.loads(line)["micros"] for line in run.stdout.splitlines())
        assert len(micros) == len(repeated)
        begin, done = time.perf_counter(), 0
        for gold, answer, _ in pairs:
            wrapped = [text if "$" in text or "\\(" in text else f"${text}$" for text in (gold, answer)]
            verify(parse(wrapped[0]), parse(wrapped[1]))
            done += 1
            if time.perf_counter() - begin > arguments.seconds:
                break
        theirs = done / (time.perf_counter() - begin)
        at = lambda share: micros[min(len(micros) - 1, int(len(micros) * share))]
        print(f"{name:<28}{ours:>10.0f}{at(0.5):>8}{at(0.999):>10}{micros[-1]:>8}{theirs:>15.0f}{ours / theirs:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
