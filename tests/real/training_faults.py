#!/usr/bin/env python3
"""A training run that is killed thirty times, and one whose disk is full three times: the same weights as undisturbed.

Usage: tests/real/training_faults.py [DISTILL]      (default target/release/distill; about ten minutes on 2 cores)
The full disk is a small tmpfs in a mount namespace of its own (`unshare`); without one that part is left out, and said so.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DISTILL = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/distill").resolve()
KILLS, FILLS = 30, 3
RECIPE = [ROOT / "recipes/quickstart.toml", "--set", "student.training.save-every-seconds=0.5"]


def command(folder):
    return list(map(str, [DISTILL, "run", *RECIPE, "--store", folder / "store", "--runs", folder / "runs"]))


def run(folder):
    return subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def digests(folder):
    status = subprocess.run(
        [DISTILL, "status", "quickstart", "--runs", folder / "runs", "--json"], check=True, capture_output=True, text=True
    )
    stages = {stage["label"]: stage["digest"] for stage in json.loads(status.stdout)["stages"] if stage["digest"]}
    weights = (folder / "runs/quickstart/published/model.safetensors").read_bytes()
    return {label: stages[label] for label in stages if "training" in label or "evaluation" in label}, weights


def steps(folder):
    """How many steps the training that is under way has written down."""
    for path in (folder / "store").rglob("metrics.jsonl"):
        if "scratch" in str(path):
            try:
                return path.read_bytes().count(b"\n")
            except OSError:
                pass
    return 0


def prepared(folder, whole):
    """The store as it was before the training: without it and what came after."""
    shutil.copytree(whole / "store", folder / "store")
    status = json.loads(subprocess.run([DISTILL, "status", "quickstart", "--runs", whole / "runs", "--json"], check=True, capture_output=True, text=True).stdout)
    keys = [stage["key"] for stage in status["stages"] if any(name in stage["label"] for name in ("training", "evaluation", "publish"))]
    assert keys, "the run has a training"
    for path in sorted((folder / "store").rglob("*")):
        if path.is_dir() and any(path.name.startswith(key[:16]) for key in keys):
            shutil.rmtree(path)


def killed(folder, expected):
    choice, seen = random.Random(7), []
    for kill in range(KILLS):
        process, before = run(folder), None
        wait, begin = choice.randint(1, 60), time.monotonic()
        while process.poll() is None and time.monotonic() - begin < 120:
            now = steps(folder)
            before = now if before is None and now else before
            if before is not None and now >= before + wait:
                process.send_signal(signal.SIGKILL)
                seen.append(now)
                break
            time.sleep(0.002)
        process.wait()
        assert process.returncode == -signal.SIGKILL, f"kill {kill}: {process.returncode} {process.stderr.read()[-500:]}"
    process = run(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert digests(folder) == expected, "digests or weights differ"
    print(f"{KILLS} kills, after steps {seen}: digests and weights equal")


def filled(folder, expected):
    """Runs inside the namespace, with a small tmpfs on `folder`."""
    choice, said = random.Random(8), []
    for fill in range(FILLS):
        process, start, begin = run(folder), None, time.monotonic()
        wait = choice.randint(60, 200)
        while process.poll() is None and time.monotonic() - begin < 120:
            now = steps(folder)
            start = now if start is None and now else start
            if start is not None and now >= start + wait:
                break
            time.sleep(0.005)
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
            try:
                while True:
                    file.write(b"0")
            except OSError:
                pass
        _, errors = process.communicate(timeout=300)
        said.append(errors.strip().splitlines()[-1][:200])
        assert process.returncode != 0, "a full disk is no success"
        filler.unlink()
    process = run(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert digests(folder) == expected, "digests or weights differ"
    print(f"{FILLS} times a full disk: digests and weights equal; what was said:", *said, sep="\n  ")


def main():
    if os.environ.get("DISTILL_FULL_DISK"):
        folder, whole = map(pathlib.Path, os.environ["DISTILL_FULL_DISK"].split(os.pathsep))
        size = sum(path.stat().st_size for path in (whole / "store").rglob("*") if path.is_file()) + (48 << 20)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
        prepared(folder, whole)
        filled(folder, digests(whole))
        return
    with tempfile.TemporaryDirectory() as root:
        folders = [pathlib.Path(root) / name for name in ("whole", "killed", "full")]
        for folder in folders:
            folder.mkdir()
        whole, victim, full = folders
        process = run(whole)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        expected = digests(whole)
        prepared(victim, whole)
        killed(victim, expected)
        apart = ["unshare", "--map-root-user", "--mount"]
        if subprocess.run([*apart, "true"], check=False).returncode != 0:
            print("no mount namespace can be had here: the full disk is left out")
            return
        environment = os.environ | {"DISTILL_FULL_DISK": f"{full}{os.pathsep}{whole}"}
        subprocess.run([*apart, sys.executable, __file__, DISTILL], env=environment, check=True)


if __name__ == "__main__":
    main()
