#!/usr/bin/env python3
"""The authored pairs of filters/verify/tests/pairs against SymPy: is each label right, where SymPy can tell?

    pip install sympy math-verify
    tests/real/verify_pairs.py

Both texts become SymPy expressions (latex2sympy2_extended), and their values decide. What SymPy cannot read, or reads as
something else than an expression, is left out and counted. Exit code 1 where a label and SymPy disagree and the pair is
not explained below.
"""

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "real"))
from verify_generated import same_function, sp  # noqa: E402

# Kinds whose labels are conventions, or which SymPy's reader takes for products of letters and quotients.
CONVENTIONS = {"units", "currency", "antiderivatives", "ratios", "number bases", "dates and times", "words", "choices"}
# Pairs that SymPy reads as something else, or that a convention labels.
EXPLAINED = {
    r"1000 | 1 000": "the space parts thousands",
    r"12345678 | 12\,345\,678": "the thin space parts thousands",
    r"0.333 | 1/3": "rounds to the gold",
    r"3.1416 | \pi": "rounds to the gold",
    r"1.414 | \sqrt{2}": "rounds to the gold",
    r"2.718 | e": "rounds to the gold",
    r"4.123105625617661 | \sqrt{17}": "rounds to the gold",
    r"3.1416 | 3.14159265": "rounds to the gold",
    r"-0.667 | -\frac{2}{3}": "rounds to the gold",
    r"2 3/4 | \frac{11}{4}": "a mixed number, read as 2·3/4",
    r"1.2\overline{34} | \frac{611}{495}": "repeating digits, read as a letter with a bar",
    r"3\times10^{8} | 3e8": "e8 read as a product",
    r"2.5 x 10^4 | 25000": "the x is a multiplication sign",
    r"2(\cos 60^\circ + i\sin 60^\circ) | 1+\sqrt{3}i": "the degree sign is dropped",
    r"\sin 30^\circ | \frac{1}{2}": "the degree sign is dropped",
    r"\arcsin\frac{1}{2} | 30^\circ": "the degree sign is dropped",
    r"\cos 36^\circ | \frac{1+\sqrt{5}}{4}": "the degree sign is dropped",
    r"\tan 15^\circ | 2-\sqrt{3}": "the degree sign is dropped",
    r"\sin 30^\circ | \sin 30": "the degree sign is dropped",
    r"\sqrt[3]{-8} | -2": "the real root here, the principal one there",
    r"\sqrt[3]{2+\sqrt{5}}+\sqrt[3]{2-\sqrt{5}} | 1": "the real root here, the principal one there",
    r"1-2i | \overline{1+2i}": "the bar read as part of a name",
    r"|x| | \sqrt{x^2}": "a real variable here, a complex one there",
    r"1 - \frac{1}{\mathrm{e}} | 1-e^{-1}": "the upright e read as a letter",
    r"25\pi | 25pi": "pi read as p·i",
    r"e^{\pi\sqrt{163}} | 262537412640768744": "they differ in the 31st digit",
    r"x | X": "letters without case there",
    r"\frac{1}{3} | 0.3333333333": "the decimal made a fraction again, by rounding",
    r"28\% | 28": "a convention",
    r"28 | 28\%": "a convention",
    r"\mathbf{12} | 12": "a bold number, read as a letter",
}


def read(text):
    from latex2sympy2_extended import latex2sympy

    try:
        value = latex2sympy(text.strip().strip("$"), is_real=False)
    except Exception:
        return None
    if not isinstance(value, sp.Expr) or isinstance(value, sp.core.relational.Relational):
        return None
    return None if value.has(sp.oo, sp.zoo, sp.nan) else value


def main():
    counts, wrong = Counter(), []
    for file in sorted((ROOT / "filters/verify/tests/pairs").glob("*.tsv")):
        kind = ""
        for line in file.read_text().splitlines():
            if line.startswith("# "):
                kind = line[2:]
                continue
            label, gold, answer = line.split("\t")
            if kind in CONVENTIONS:
                counts["of a convention"] += 1
                continue
            left, right = read(gold), read(answer)
            if kind == "complex numbers" and left is not None and right is not None:
                unit = {name: sp.I for name in left.free_symbols | right.free_symbols if str(name) == "i"}
                left, right = left.subs(unit), right.subs(unit)
            if left is None or right is None:
                counts["not read"] += 1
                continue
            try:
                spare = iter(sp.symbols("x y t"))
                swap = {name: next(spare) for name in sorted(left.free_symbols | right.free_symbols, key=str)}
                left, right = (sp.nsimplify(side, rational=True) if side.has(sp.Float) else side for side in (left, right))
                same = same_function(left.subs(swap), right.subs(swap))
            except Exception:
                same = None
            if same is None:
                counts["not decided"] += 1
                continue
            counts["checked"] += 1
            counts[f"checked, {'equal' if label == '=' else 'unequal'}"] += 1
            if same != (label == "="):
                wrong.append((f"{gold} | {answer}", f"{kind}: {label} {gold} | {answer}   SymPy: {left} | {right}"))
    print(dict(counts))
    for key, row in wrong:
        print(f"  {row}: {EXPLAINED.get(key, 'NOT EXPLAINED')}")
    return 1 if any(key not in EXPLAINED for key, _ in wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
