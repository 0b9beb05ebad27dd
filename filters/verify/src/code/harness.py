"""What runs inside a cell, in Python: a solution as a program, a solution that answers calls, or a checker that calls one.

Nothing here is trusted to keep a secret from a solution: it shares the solution's interpreter. Expected values never come
in, and what goes out is judged outside. A checker runs in a cell of its own, without the solution.
"""

import builtins
import marshal
import os
import sys
import types

# Frames on descriptors 3 (in) and 4 (out): a length of 32 bits, then bytes. Values are marshalled in version 2, which has
# no references, so that whoever reads them outside needs no trust.
VERSION = 2
SYNTAX_ERROR = 121
PRELUDE = """
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
"""
# What most solutions import. More would cost every fork; less would cost every solution that imports it.
WARM = (
    "bisect cmath collections collections.abc contextlib copy functools hashlib heapq io itertools json math operator random"
    " re string struct time typing"
).split()


def prepare():
    """Imports what solutions import, once."""
    for name in WARM:
        try:
            __import__(name)
        except ImportError:
            pass


def run(argument):
    """Runs `script` (with arguments), `calls`, `calls+prelude` or `check:NAME`."""
    sys.stdin, sys.stdout, sys.stderr = (
        open(0, closefd=False),
        open(1, "w", closefd=False),
        open(2, "w", 1, closefd=False, errors="backslashreplace"),
    )
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.path.insert(0, "/tmp")
    argument, *arguments = argument.split(" ")
    sys.argv = ["main.py", *arguments]
    code = 1
    try:
        if argument == "script":
            code = script()
        elif argument.startswith("check:"):
            code = check(argument[len("check:") :])
        else:
            code = calls(argument.endswith("+prelude"))
    finally:
        os._exit(code)


def read(name):
    with open(f"/tmp/{name}", encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def describe(error, skip=1):
    """The traceback below the harness's own frames."""
    import traceback

    trace = error.__traceback__
    for _ in range(skip):
        trace = trace.tb_next if trace is not None and trace.tb_next is not None else trace
    return "".join(traceback.format_exception(type(error), error, trace))


def module(name, file):
    made = types.ModuleType(name)
    made.__file__ = f"/tmp/{file}"
    made.__builtins__ = builtins
    sys.modules[name] = made
    return made


def script():
    made = module("__main__", "main.py")
    try:
        program = compile(read("main.py"), "main.py", "exec")
    except (SyntaxError, ValueError) as error:
        sys.stderr.write(describe(error))
        return SYNTAX_ERROR
    code = 0
    try:
        exec(program, made.__dict__)
    except SystemExit as error:
        code = leave(error)
    except BaseException as error:
        sys.stderr.write(describe(error))
        code = 1
    try:
        # As at the end of any interpreter: other threads first, then what was registered, then what was written.
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        if "atexit" in sys.modules:
            sys.modules["atexit"]._run_exitfuncs()
        sys.stdout.flush()
    except BaseException as error:
        sys.stderr.write(describe(error))
        code = code or 1
    return code


def leave(error):
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def send(frame):
    frame = len(frame).to_bytes(4, "little") + frame
    while frame:
        frame = frame[os.write(4, frame) :]


def exactly(length):
    parts = []
    while length:
        part = os.read(3, min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def receive():
    head = exactly(4)
    return None if head is None else exactly(int.from_bytes(head, "little"))


class Iterated(list):
    """What an iterator gave."""


def plain(value, depth=0):
    """The same value in exact built-in types."""
    if depth > 200:
        raise ValueError("a value nested too deeply")
    if value is None or value is True or value is False:
        return value
    for kind in (int, float, complex, str, bytes):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, dict):
        return {plain(key, depth + 1): plain(each, depth + 1) for key, each in value.items()}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return kind([plain(each, depth + 1) for each in value])
    if type(value).__module__ == "numpy":
        return plain(value.tolist(), depth + 1)
    if isinstance(value, (range, type({}.keys()), type({}.values()), type({}.items()))) or hasattr(value, "__next__"):
        import itertools

        taken = list(itertools.islice(value, 1_000_001))
        if len(taken) > 1_000_000:
            raise ValueError("an iterator of more than a million values")
        return [plain(each, depth + 1) for each in taken]
    collections = sys.modules.get("collections")
    if collections is not None and isinstance(value, collections.deque):
        return [plain(each, depth + 1) for each in value]
    raise ValueError(f"a value of type {type(value).__name__}")


def encode(value):
    # Buffers would be marshalled as bytes without a word.
    if "numpy" not in sys.modules and "array" not in sys.modules:
        try:
            return marshal.dumps(value, VERSION)
        except ValueError:
            pass
    return marshal.dumps(plain(value), VERSION)


def calls(prelude):
    made = module("solution", "main.py")
    try:
        program = compile(read("main.py"), "main.py", "exec")
    except (SyntaxError, ValueError) as error:
        send(b"S" + describe(error).encode("utf-8", "replace")[-2000:])
        return 0
    try:
        if prelude:
            exec(PRELUDE, made.__dict__)
        exec(program, made.__dict__)
    except BaseException as error:
        send(b"X" + describe(error).encode("utf-8", "replace")[-2000:])
        return 0
    send(b"L")
    instance = None
    while True:
        frame = receive()
        if frame is None:
            return 0
        token, (name, args, kwargs) = frame[:8], marshal.loads(frame[8:])
        try:
            function = made.__dict__.get(name)
            if function is None and "Solution" in made.__dict__:
                instance = instance or made.__dict__["Solution"]()
                function = getattr(instance, name)
            if function is None:
                raise NameError(f"name {name!r} is not defined")
            before = marshal.dumps(args, VERSION)
            value = function(*args, **kwargs)
            try:
                answer = encode(value)
            except ValueError as error:
                answer = None
                send(token + b"U" + str(error).encode("utf-8", "replace")[:500])
            if answer is not None:
                after = encode(args)
                send(token + (b"V" + answer if after == before else b"M" + encode((value, args))))
        except BaseException as error:
            bases = [base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins"]
            told = (bases, str(error)[:2000], describe(error)[-2000:])
            send(token + b"X" + marshal.dumps(told, VERSION))


class Refused(BaseException):
    """A value of the tests that cannot be sent to the solution."""


def check(name):
    space = module("tests", "check.py").__dict__
    raised = []

    def candidate(*args, **kwargs):
        try:
            call = encode((name, args, kwargs))
        except ValueError as error:
            raise Refused(str(error)) from None
        send(b"C" + call)
        reply = receive()
        if reply is None:
            os._exit(0)
        kind, value = reply[:1], marshal.loads(reply[1:])
        if kind == b"X":
            bases, message = value
            found = [getattr(builtins, base, None) for base in bases]
            # What ends a loop without a word would let assertions be skipped.
            quiet = (StopIteration, StopAsyncIteration)
            loud = lambda base: isinstance(base, type) and issubclass(base, Exception) and base not in quiet
            found = [base for base in found if loud(base)]
            error = (found[0] if found else Exception)(message)
            raised.append(error)
            raise error
        if kind == b"M":
            value, after = value
            for given, left in zip(args, after):
                if isinstance(given, (list, bytearray)):
                    given[:] = left
                elif isinstance(given, (dict, set)):
                    given.clear()
                    given.update(left)
        return value

    try:
        exec(compile(read("setup.py"), "setup.py", "exec"), space)
    except BaseException as error:
        send(b"D" + describe(error).encode("utf-8", "replace")[-2000:])
        return 0
    space[name] = candidate
    source = read("check.py")
    try:
        exec(compile(source, "check.py", "exec"), space)
        if callable(space.get("check")):
            space["check"](candidate)
        send(b"P")
    except Refused as error:
        send(b"D" + f"the tests pass {error}, which cannot be sent to a solution".encode("utf-8", "replace"))
    except BaseException as error:
        line, trace = "", error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "check.py":
                line = (source.splitlines()[trace.tb_lineno - 1 : trace.tb_lineno] or [""])[0].strip()
            trace = trace.tb_next
        if any(error is each for each in raised):
            kind = b"X"
        elif isinstance(error, (NameError, ImportError, SyntaxError)):
            kind = b"D"
        else:
            kind = b"A"
        send(kind + f"{line}\n{type(error).__name__}: {error}".encode("utf-8", "replace")[-2000:])
    return 0
