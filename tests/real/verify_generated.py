#!/usr/bin/env python3
"""Pairs of answers with a label that is not ours: random expressions, equivalent rewritings, mutations.

    pip install sympy
    tests/real/verify_generated.py [--count 100000] [--seed 1] [--binary target/release/distill] [--list 40]

SymPy writes and rewrites the expressions; a label comes from their values (mpmath, 40 digits): at one point for
constants, at real points of both signs and at complex ones for functions. A pair whose label is not sure is left out.
The verifier sees text alone. Every disagreement is printed; the exit code is 1 after a false equal.
"""

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from fractions import Fraction

import mpmath
import sympy as sp

mpmath.mp.dps = 40
x, y, t = sp.symbols("x y t")
R = random.Random()


def digits(n):
    return R.randint(1, 10**n)


# ---- values: what a label is made of ---------------------------------------------------------------------------------


def close(a, b):
    return abs(a - b) <= mpmath.mpf(10) ** -28 * max(abs(a), abs(b), mpmath.mpf(10) ** -8)


def constant(expr):
    """The value of a constant, or nothing where it has none."""
    value = sp.N(expr, 40)
    if not value.is_number or value.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
        return None
    re, im = value.as_real_imag()
    return mpmath.mpc(mpmath.mpmathify(sp.Float(re, 40)), mpmath.mpmathify(sp.Float(im, 40)))


POINTS = [
    {x: mpmath.mpc(a, b), y: mpmath.mpc(c, d), t: mpmath.mpc(e, f)}
    for a, b, c, d, e, f in [
        ("0.3717", 0, "0.8313", 0, "0.5391", 0),
        ("2.7317", 0, "1.2391", 0, "3.1937", 0),
        ("-1.3719", 0, "2.1913", 0, "0.7713", 0),
        ("1.9137", 0, "-0.6139", 0, "-1.1379", 0),
        ("-0.4391", 0, "-3.3171", 0, "2.3917", 0),
        ("-2.9173", 0, "-1.7391", 0, "-0.2913", 0),
        ("5.1391", 0, "0.1937", 0, "-4.7139", 0),
        ("0.7139", "0.4417", "1.3391", "-0.7137", "-0.9317", "0.3719"),
        ("-1.1937", "0.9139", "-0.5713", "0.2391", "1.4139", "-1.7391"),
    ]
]


def same_function(a, b):
    """True, False, or nothing where that is not sure."""
    names = sorted(a.free_symbols | b.free_symbols, key=str)
    if not names:
        left, right = sp.sympify(a).doit(), sp.sympify(b).doit()
        if left.is_Rational and right.is_Rational:
            return bool(left == right)
        left, right = constant(a), constant(b)
        return None if left is None or right is None else bool(close(left, right))
    try:
        f, g = sp.lambdify(names, a, "mpmath"), sp.lambdify(names, b, "mpmath")
    except Exception:
        return None
    agreed = 0
    for point in POINTS:
        values = []
        for h in (f, g):
            try:
                value = mpmath.mpc(h(*(point[name] for name in names)))
                values.append(value if mpmath.isfinite(value) else None)
            except (ZeroDivisionError, ValueError, TypeError, OverflowError):
                values.append(None)
        left, right = values
        if left is None or right is None:
            continue
        if not close(left, right):
            return False
        agreed += 1
    return True if agreed >= 4 else None


# ---- expressions ------------------------------------------------------------------------------------------------------


def rational(n=2):
    return sp.Rational(R.choice([-1, 1, 1]) * digits(n), R.choice([1, 1, digits(1), digits(n)]))


def radical():
    terms = []
    for _ in range(R.randint(1, 3)):
        base = sp.Integer(R.randint(2, 60))
        kind = R.random()
        root = sp.sqrt(base) if kind < 0.7 else sp.cbrt(base) if kind < 0.85 else sp.sqrt(base + sp.sqrt(R.randint(2, 9)))
        terms.append(rational(1) * root)
    value = sum(terms) + R.choice([0, rational(1)])
    if R.random() < 0.35:
        below = R.randint(1, 5) + sp.sqrt(R.choice([2, 3, 5, 6, 7]))
        value = value / below
    return value


def transcendental():
    pick = R.random
    atom = R.choice(
        [
            sp.pi,
            sp.E,
            sp.log(R.randint(2, 40)),
            sp.log(sp.Rational(R.randint(2, 9), R.randint(11, 17))),
            sp.sin(sp.pi * sp.Rational(R.randint(1, 11), R.choice([3, 4, 5, 6, 7, 8, 12]))),
            sp.cos(sp.pi * sp.Rational(R.randint(1, 11), R.choice([3, 4, 5, 6, 7, 9, 12]))),
            sp.exp(rational(1)),
            sp.atan(rational(1)),
            sp.sqrt(sp.pi),
        ],
    )
    value = rational(1) * atom + R.choice([0, 0, rational(1)])
    if pick() < 0.3:
        value = value * R.choice([sp.pi, sp.sqrt(R.choice([2, 3, 5])), sp.log(R.choice([2, 3]))])
    return value


def polynomial(names=None):
    names = names or R.choice([[x], [x], [x, y], [x, y, t]])
    factors = []
    for _ in range(R.randint(1, 3)):
        factors.append(sum(R.randint(-7, 7) * name ** R.randint(1, 2) for name in names) + R.randint(-9, 9))
    return sp.Mul(*factors, evaluate=False) if R.random() < 0.6 else sp.expand(sp.Mul(*factors))


def fraction():
    top, bottom = polynomial([x]), polynomial([x])
    return top / bottom if sp.expand(bottom) != 0 else top


def function():
    inner = R.choice([x, 2 * x, x + 1, x / 2, 3 * x - 1])
    parts = [
        sp.sin(inner) ** R.choice([1, 2]),
        sp.cos(inner) ** R.choice([1, 2]),
        sp.sin(x) * sp.cos(x),
        sp.tan(inner),
        sp.exp(inner),
        sp.exp(2 * x) - sp.exp(x),
        sp.log(sp.Abs(x)),
        sp.sqrt(x**2 + R.randint(1, 5)),
        sp.sqrt(R.randint(2, 9) * x**2 + 1),
        x ** sp.Rational(R.choice([1, 3]), 2),
        sp.Abs(inner),
        x ** R.randint(1, 4),
        2**x,
        1 / (x**2 + 1),
        sp.atan(x),
    ]
    return sum(R.randint(1, 5) * R.choice([-1, 1]) * R.choice(parts) for _ in range(R.randint(1, 3)))


REWRITES = [
    sp.expand,
    sp.factor,
    sp.together,
    lambda e: sp.apart(e, x) if e.free_symbols == {x} and e.is_rational_function(x) else sp.expand(e),
    sp.radsimp,
    sp.expand_trig,
    lambda e: e.rewrite(sp.cos) if e.has(sp.sin) else e,
    lambda e: sp.expand_log(e, force=False),
    lambda e: sp.powsimp(e),
    lambda e: sp.Add(e + 7, -7, evaluate=False),
    lambda e: sp.Mul(sp.Mul(e, 6, evaluate=False), sp.Rational(1, 6), evaluate=False),
    lambda e: 1 / (1 / e) if e != 0 else e,
]


def rewritten(expr):
    for _ in range(R.randint(1, 2)):
        try:
            expr = R.choice(REWRITES)(expr)
        except Exception:
            pass
    return expr


def mutated(expr):
    """A sign, a digit, an exponent, a root, a bracket: changed once."""
    atoms = sorted(expr.atoms(sp.Integer, sp.Rational) - {sp.Integer(0)}, key=str)
    powers = sorted(expr.atoms(sp.Pow), key=str)
    kind = R.random()
    try:
        if kind < 0.25 and isinstance(expr, sp.Add):
            args = list(expr.args)
            at = R.randrange(len(args))
            args[at] = -args[at]
            return sp.Add(*args)
        if kind < 0.4 and powers:
            power = R.choice(powers)
            return expr.subs(power, power.base if power.exp != 1 else power.base**2)
        if kind < 0.5:
            return -expr
        if kind < 0.6:
            return expr + R.choice([sp.Rational(1, 1000), sp.Rational(-1, 10**7), 1, -1])
        if atoms:
            old = R.choice(atoms)
            return expr.subs(old, old + R.choice([1, -1, 10, sp.Rational(1, 100)]))
    except Exception:
        pass
    return expr * sp.Rational(1001, 1000)


# ---- spelling ---------------------------------------------------------------------------------------------------------


def spelled(expr):
    style = R.random()
    if style < 0.75:
        text = sp.latex(
            expr,
            ln_notation=True,
            fold_frac_powers=R.random() < 0.15,
            root_notation=R.random() < 0.85,
            mul_symbol=R.choice([None, None, "dot", "times"]),
        )
        if R.random() < 0.2:
            text = text.replace("\\frac", "\\dfrac")
        if R.random() < 0.2:
            text = text.replace("\\left(", "(").replace("\\right)", ")")
        return R.choice(["{}", "${}$", "\\({}\\)", "{}."]).replace("{}", text)
    text = str(expr).replace("Abs", "abs").replace("log", "ln").replace("E", "e")
    if style < 0.9:
        text = text.replace("**", "^")
    return text


def number_text(value):
    """A rational as people and models write it; exactly."""
    value = Fraction(value)
    sign, size = ("-" if value < 0 else ""), abs(value)
    whole, rest = divmod(size.numerator, size.denominator)
    forms = [f"{sign}\\frac{{{size.numerator}}}{{{size.denominator}}}", f"{sign}{size.numerator}/{size.denominator}"]
    if size.denominator == 1:
        forms += [f"{sign}{whole}", f"{sign}{whole}", f"{sign}{whole:,}", f"{sign}{whole:,}".replace(",", "{,}"), f"{sign}{whole}.0"]
    elif whole:
        forms += [f"{sign}{whole}\\frac{{{rest}}}{{{size.denominator}}}", f"{sign}{whole} {rest}/{size.denominator}"]
    places = 0
    while (size * 10**places).denominator != 1 and places < 12:
        places += 1
    if (size * 10**places).denominator == 1:
        scaled = str((size * 10**places).numerator).rjust(places + 1, "0")
        decimal = scaled[: len(scaled) - places] + ("." + scaled[len(scaled) - places :] if places else "")
        forms += [sign + decimal, sign + decimal + ("0" if places else "")]
        percent = size * 100
        if percent.denominator == 1:
            forms += [f"{sign}{percent.numerator}\\%"]
        exponent = len(str(size.numerator)) - 1
        if size.numerator % 10**exponent == 0 or exponent > 2:
            mantissa = Fraction(size, 10**exponent)
            text = str(float(mantissa)) if mantissa == Fraction(str(float(mantissa))) else None
            if text:
                forms += [f"{sign}{text} \\times 10^{{{exponent}}}", f"{sign}{text}e{exponent}"]
    return R.choice(forms)


def last_digit(text):
    """What the last digit of a decimal is worth."""
    mantissa, _, exponent = text.replace(" \\times 10^{", "e").rstrip("}").partition("e")
    places = len(mantissa.partition(".")[2])
    return Fraction(10) ** (int(exponent or 0) - places)


UNITS = {"km": 1000, "m": 1, "cm": Fraction(1, 100), "mm": Fraction(1, 1000)}
TIMES = {"hours": 3600, "minutes": 60, "seconds": 1, "days": 86400}

# ---- pairs: gold, answer, label ---------------------------------------------------------------------------------------


def numbers():
    value = Fraction(R.choice([-1, 1]) * digits(R.randint(1, 6)), R.choice([1, 1, 2, 4, 5, 8, 10, 20, 25, 40, 100, 3, 7, 9, 12]))
    other = value
    if R.random() < 0.6:
        other = R.choice(
            [
                -value,
                value + 1,
                value * 10,
                value / 10,
                value + Fraction(1, 100),
                1 / value,
                value + Fraction(1, 10**7),
                Fraction(value.numerator + 1, value.denominator),
                Fraction(int(str(abs(value.numerator))[::-1]), value.denominator),
            ]
        )
    gold, answer = number_text(value), number_text(other)
    if "." in gold or "\\%" in gold or "\\%" in answer:
        # Rounding and bare percentages are conventions, tested by themselves.
        if value != other and ("\\%" in gold) != ("\\%" in answer):
            return None
        if value != other and "." in gold and abs(value - other) <= last_digit(gold):
            return None
    return gold, answer, value == other


def of(make, label=same_function):
    def pair():
        expr = make()
        if not expr.free_symbols and constant(expr) is None:
            return None
        other = rewritten(expr) if R.random() < 0.45 else mutated(expr)
        if R.random() < 0.3:
            other = rewritten(other)
        same = label(expr, other)
        return None if same is None else (spelled(expr), spelled(other), same)

    return pair


def member():
    return R.choice([lambda: rational(1), lambda: rational(2), radical, transcendental])()


def structures():
    parts = [member() for _ in range(R.randint(2, 4))]
    values = [constant(part) for part in parts]
    if any(value is None or value.imag != 0 for value in values) or len({mpmath.nstr(v, 20) for v in values}) < len(values):
        return None
    others = [rewritten(part) for part in parts]
    same = True
    if R.random() < 0.6:
        at = R.randrange(len(parts))
        others[at] = mutated(parts[at])
        label = same_function(parts[at], others[at])
        if label is None:
            return None
        same = label
    def plain(expr):
        return sp.latex(expr, ln_notation=True)
    kind = R.random()
    if kind < 0.35:
        if R.random() < 0.25:
            others[0], others[1] = others[1], others[0]
            if same_function(parts[0], others[0]) is not False:
                return None
            same = False
        return "(" + ", ".join(map(plain, parts)) + ")", "(" + ", ".join(map(plain, others)) + ")", same
    if kind < 0.65:
        if not same:
            # The changed member may have become another one.
            changed = [constant(other) for other in others]
            if any(value is None for value in changed):
                return None
            covers = lambda a, b: all(any(close(u, v) for v in b) for u in a)
            same = covers(values, changed) and covers(changed, values)
        R.shuffle(others)
        return "\\{" + ", ".join(map(plain, parts)) + "\\}", "\\{" + ", ".join(map(plain, others)) + "\\}", same
    low, high = sorted(range(len(parts)), key=lambda at: values[at].real)[:2]
    brackets = R.choice(["()", "[]", "(]", "[)"])
    other_brackets = R.choice(["()", "[]", "(]", "[)"]) if R.random() < 0.4 else brackets
    changed = [same_function(parts[at], others[at]) for at in (low, high)]
    if None in changed:
        return None
    ends = [constant(others[at]) for at in (low, high)]
    if any(end is None or end.imag != 0 for end in ends) or ends[0].real >= ends[1].real:
        return None
    gold = f"{brackets[0]}{plain(parts[low])}, {plain(parts[high])}{brackets[1]}"
    if R.random() < 0.4 and other_brackets != "()":
        signs = ["\\le" if other_brackets[0] == "[" else "<", "\\le" if other_brackets[1] == "]" else "<"]
        answer = f"{plain(others[low])} {signs[0]} x {signs[1]} {plain(others[high])}"
    else:
        answer = f"{other_brackets[0]}{plain(others[low])}, {plain(others[high])}{other_brackets[1]}"
    return gold, answer, brackets == other_brackets and all(changed)


def quantities():
    table = R.choice([UNITS, UNITS, TIMES])
    unit, other_unit = R.choice(list(table)), R.choice(list(table))
    value = Fraction(digits(2), R.choice([1, 1, 2, 4]))
    other = value * table[unit] / table[other_unit]
    same = True
    if R.random() < 0.6:
        kind = R.random()
        if kind < 0.5:
            # The unit changed and the figure did not.
            other, same = value, unit == other_unit
        else:
            other, same = other * 10, False
    if R.random() < 0.1:
        wrong = R.choice([name for name in {**UNITS, **TIMES} if name not in table])
        return f"{value} \\text{{ {unit}}}", f"{value} \\text{{ {wrong}}}", False
    return f"{value} \\text{{ {unit}}}", f"{other} {other_unit}", same


def equations():
    left = polynomial([x, y])
    if not sp.expand(left).free_symbols:
        return None
    factor = rational(1)
    other = left if R.random() < 0.45 else mutated(left)
    ratio = sp.simplify(sp.expand(other) / sp.expand(left)) if sp.expand(left) != 0 else None
    if ratio is None or sp.expand(other) == 0:
        return None
    moved = R.choice([0, R.randint(-5, 5), R.randint(1, 3) * y])
    scaled = sp.expand(other * factor)
    def plain(expr):
        return sp.latex(sp.expand(expr))
    return f"{plain(left)} = 0", f"{plain(scaled + moved)} = {plain(moved)}", bool(ratio.is_number)


CLASSES = [
    ("numbers", numbers, 24),
    ("radicals", of(radical), 16),
    ("transcendental constants", of(transcendental), 12),
    ("polynomials", of(polynomial), 14),
    ("rational functions", of(fraction), 10),
    ("functions", of(function), 8),
    ("structures", structures, 10),
    ("quantities", quantities, 3),
    ("equations", equations, 3),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--binary", default="target/release/distill")
    parser.add_argument("--list", type=int, default=40, help="how many disagreements of each kind to print")
    parser.add_argument("--save", help="writes the pairs there, JSON lines")
    arguments = parser.parse_args()
    R.seed(arguments.seed)
    total = sum(weight for _, _, weight in CLASSES)
    pairs = []
    for name, make, weight in CLASSES:
        wanted, tries = arguments.count * weight // total, 0
        while wanted > 0:
            tries += 1
            if tries > 1_000_000:
                sys.exit(f"{name}: no more pairs to be had")
            try:
                pair = make()
            except Exception as error:  # SymPy gives up on some; the next one will do
                pair = None
            if pair is None:
                continue
            gold, answer, same = pair
            if len(gold) > 600 or len(answer) > 600 or "nan" in gold + answer or "zoo" in gold + answer:
                continue
            pairs.append((name, gold, answer, same))
            wanted -= 1
        print(f"made {name}", file=sys.stderr, flush=True)
    lines = [json.dumps({"id": at, "gold": gold, "answer": answer}) for at, (_, gold, answer, _) in enumerate(pairs)]
    if arguments.save:
        with open(arguments.save, "w") as file:
            for name, gold, answer, same in pairs:
                file.write(json.dumps({"class": name, "gold": gold, "answer": answer, "equal": same}) + "\n")
    run = subprocess.run(
        [arguments.binary, "verify", "math"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True
    )
    verdicts = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(verdicts) == len(pairs), (len(verdicts), len(pairs))
    table, wrong, slowest = {}, {"FALSE EQUAL": [], "false unequal": [], "unknown": []}, 0
    for (name, gold, answer, same), verdict in zip(pairs, verdicts):
        row = table.setdefault(name, Counter())
        found = verdict["verdict"]
        row["pairs"] += 1
        row["equal"] += same
        row["proven"] += verdict["certainty"] == "proven"
        slowest = max(slowest, verdict["micros"])
        kind = None
        if found == "unknown":
            kind = "unknown"
        elif (found == "equal") != same:
            kind = "FALSE EQUAL" if found == "equal" else "false unequal"
        if kind:
            row[kind] += 1
            wrong[kind].append((name, verdict["reason"], gold, answer, verdict["gold"], verdict["answer"]))
    for kind, rows in wrong.items():
        print(f"{kind}: {len(rows)}")
        for row in rows[: arguments.list]:
            print("  " + " | ".join(row))
    print(f"{'class':<26}{'pairs':>8}{'equal':>8}{'proven':>8}{'false =':>9}{'false !=':>10}{'unknown':>9}")
    for name, row in table.items():
        print(
            f"{name:<26}{row['pairs']:>8}{row['equal']:>8}{row['proven']:>8}"
            f"{row['FALSE EQUAL']:>9}{row['false unequal']:>10}{row['unknown']:>9}"
        )
    print(f"{len(pairs)} pairs, slowest {slowest} microseconds")
    return 1 if wrong["FALSE EQUAL"] else 0


if __name__ == "__main__":
    sys.exit(main())
