#!/usr/bin/env python3
"""CPU time of two binaries on one job, in turns: does a change cost?

    benches/pairs.py OLD OLD_RECIPE NEW NEW_RECIPE [--pairs 10] [--command run] [--after export]

Each run begins in an empty folder. With `--after`, what that command makes is made once for each binary, and only
`--command` is timed, each time with another learning rate: what was done already would be found. User and system time
of the process and its children; prints each pair and the median of new over old.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import tempfile


def spent():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(binary, command, recipe, folder, *more):
    before = spent()
    subprocess.run([binary, command, recipe, "--threads", "2", *more], cwd=folder, check=True, capture_output=True)
    return spent() - before


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs=4, type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--command", default="run")
    parser.add_argument("--after")
    arguments = parser.parse_args()
    sides = {"old": arguments.files[:2], "new": arguments.files[2:]}
    prepared = {}
    if arguments.after:
        for side, (binary, recipe) in sides.items():
            prepared[side] = tempfile.TemporaryDirectory()
            run(binary, arguments.after, recipe, prepared[side].name)
    ratios = []
    for pair in range(arguments.pairs):
        took = {}
        for side in sorted(sides, reverse=pair % 2 == 0):
            binary, recipe = sides[side]
            if arguments.after:
                rate = f"student.training.learning-rate={3e-4 + 1e-6 * pair}"
                took[side] = run(binary, arguments.command, recipe, prepared[side].name, "--set", rate)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    took[side] = run(binary, arguments.command, recipe, folder)
        ratios.append(took["new"] / took["old"])
        print(f"pair {pair + 1}: old {took['old']:.1f} s, new {took['new']:.1f} s, {ratios[-1]:.3f}", flush=True)
    print(f"median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
