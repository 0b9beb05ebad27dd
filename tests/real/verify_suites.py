#!/usr/bin/env python3
"""The verifier on other people's data: Math-Verify's own suite, golds of public sets, labelled model outputs.

    pip install pytest math-verify sympy
    tests/real/verify_suites.py --math-verify DIR --qwen DIR --gsm8k DIR [--binary target/release/distill]

The folders are checkouts of huggingface/Math-Verify, QwenLM/Qwen2.5-Math and openai/grade-school-math; what is not given is
left out. Their data is read, and not part of this project.
"""

import argparse
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

# Labels of Math-Verify's suite that record something else than whether the answers are the same.
LABELLED_WRONGLY = {
    "test_all::test_latex_notation[5]": "9 between single dollars on lines of their own is still 9; the label says that it is not found",
    "test_all::test_latex_notation[6]": "the same with \\( and \\)",
    "test_boxed::test_boxed[0]": "35 cm and 4 with '++++++' between their boxes are labelled as one answer",
    "test_yujianll::test_string_extraction[9]": "1 - 1/e is no 1 + 1/e (mended there later, pull request 82)",
}


def judge(binary, questions, *arguments):
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    command = [binary, "verify", "math", *arguments]
    run = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    verdicts = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(verdicts) == len(questions)
    return verdicts


def math_verify(binary, root):
    sys.path.insert(0, str(root))
    cases, options = [], 0
    modules = ("all", "boxed", "numina_cases", "open_thoughts", "strict", "yujianll")
    for module in (importlib.import_module(f"tests.test_{name}") for name in modules):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            for mark in getattr(function, "pytestmark", []) if name.startswith("test_") else []:
                names = [part.strip() for part in mark.args[0].split(",")]
                for at, values in enumerate(mark.args[1]):
                    case = dict(zip(names, values))
                    # Their switches for strictness have no counterpart.
                    if case.get("strict") is False or case.get("allow_set_relation_comp") is False:
                        options += 1
                        continue
                    label = bool(int(case.get("expected", case.get("result"))))
                    key = f"{module.__name__.split('.')[-1]}::{name}[{at}]"
                    cases.append((key, case["gold"], case["pred"], label))
    questions = []
    for key, gold, answer, _ in cases:
        # Sentences are responses; anything else is the answer itself.
        outside = re.sub(r"\\[a-zA-Z]+(\{[a-z ]*\})?", "", answer)
        sentence = re.search(r"[A-Za-z]{2,},? [A-Za-z]{2,}|[a-z] ?: ", outside) or "\\boxed" in answer or "nswer" in answer
        questions.append({"id": key, "gold": gold, "response" if sentence else "answer": answer})
    # Its conventions: a list may be a tuple, decimals stand for what they round, the last formula is the answer.
    policy = [word for key in ("loose", "tuple-for-set", "rounded-answers") for word in ("--policy", f"{key}=true")]
    wrong = []
    for (key, gold, answer, label), verdict in zip(cases, judge(binary, questions, *policy)):
        if verdict["verdict"] != ("equal" if label else "unequal"):
            wrong.append(key)
            reason = LABELLED_WRONGLY.get(key, "")
            print(f"  {key}: labelled {label}, judged {verdict['verdict']} ({verdict['reason']}) {reason}")
            print(f"    gold {gold[-90:]!r}, answer {answer[-90:]!r}")
    sound = len(cases) - len(LABELLED_WRONGLY)
    right = sound - len([key for key in wrong if key not in LABELLED_WRONGLY])
    print(f"Math-Verify's suite: {right} of {sound} as labelled ({right / sound:.1%}); "
          f"{len(LABELLED_WRONGLY)} labelled wrongly, {options} for switches of its own")


def golds(binary, qwen, gsm8k):
    def rows(name):
        path = qwen / f"evaluation/data/{name}/test.jsonl"
        if not path.exists():
            print(f"{name}: left out, the checkout has no {path.name} of it")
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def boxed(text):
        start = text.rindex("\\boxed{") + len("\\boxed{")
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start:end]
        return text[start:]

    sets = {}
    if qwen:
        first = lambda value: value[0] if isinstance(value, list) else value
        sets["Olympiad"] = [first(row["final_answer"]) for row in rows("olympiadbench")]
        sets["Minerva"] = [boxed(row["solution"]) for row in rows("minerva_math")]
        sets["Gaokao-en"] = [str(row["answer"]) for row in rows("gaokao2023en")]
        sets["college_math"] = [str(row["answer"]) for row in rows("college_math")]
    if gsm8k:
        for part in ("train", "test"):
            text = (gsm8k / f"grade_school_math/data/{part}.jsonl").read_text()
            sets[f"GSM8K {part}"] = [json.loads(line)["answer"].split("#### ")[1] for line in text.splitlines()]
    # What no reading fits; a gold that is read is compared with it and found to be another, or of another kind.
    unreadable = "\\frac{17}{19}+\\mathfrak{Q}"
    for name, answers in ((name, answers) for name, answers in sets.items() if answers):
        same = judge(binary, [{"gold": gold, "answer": gold} for gold in answers])
        probe = judge(binary, [{"gold": gold, "answer": unreadable} for gold in answers])
        good = sum(a["verdict"] == "equal" and b["reason"] != "gold-unread" for a, b in zip(same, probe))
        slowest = max(verdict["micros"] for verdict in same)
        print(f"{name}: {good} of {len(answers)} are read and equal themselves, slowest {slowest} microseconds")


def outputs(binary, gsm8k, qwen):
    if gsm8k:
        text = (gsm8k / "grade_school_math/data/example_model_solutions.jsonl").read_text()
        questions, labels = [], []
        for row in map(json.loads, text.splitlines()):
            for model in (part for part in row.values() if isinstance(part, dict)):
                questions.append({"gold": row["ground_truth"].split("\nA: ")[-1], "response": model["solution"]})
                labels.append(model["is_correct"])
        verdicts = judge(binary, questions)
        counts = Counter((label, verdict["verdict"], verdict["reason"]) for label, verdict in zip(labels, verdicts))
        print(f"GSM8K's labelled model outputs: {len(labels)}")
        for (label, verdict, reason), count in counts.most_common():
            print(f"  labelled {label}, judged {verdict} ({reason}): {count}")
    if qwen:
        text = (qwen / "evaluation/data/eval_rm_maj_example/math_cot_100.jsonl").read_text()
        questions, labels = [], []
        for row in map(json.loads, text.splitlines()):
            for code, score in zip(row["code"], row["score"]):
                questions.append({"gold": str(row["gt"]), "response": code})
                labels.append(bool(score))
        verdicts = judge(binary, questions)
        agree = sum((verdict["verdict"] == "equal") == label for verdict, label in zip(verdicts, labels))
        print(f"Qwen's graded MATH outputs: {agree} of {len(labels)} as graded")
        for question, verdict, label in zip(questions, verdicts, labels):
            if (verdict["verdict"] == "equal") != label:
                print(f"  graded {label}, judged {verdict['verdict']} ({verdict['reason']}): "
                      f"gold {question['gold']!r}, read {verdict['answer'][:90]!r}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("math-verify", "qwen", "gsm8k"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--binary", default="target/release/distill")
    arguments = parser.parse_args()
    if arguments.math_verify:
        math_verify(arguments.binary, arguments.math_verify)
    golds(arguments.binary, arguments.qwen, arguments.gsm8k)
    outputs(arguments.binary, arguments.gsm8k, arguments.qwen)


if __name__ == "__main__":
    main()
