"""What runs inside a cell, in Python: a solution as a program, a solution that answers calls, or a checker that calls one.

Nothing here is trusted to keep a secret from a solution: it shares the solution's interpreter. Expected values never come
in, and what goes out is judged outside. A checker runs in a cell of its own, without the solution.
"""

import _signal
import builtins
import marshal
import os
import sys
import types

import peer
import stand_ins

# Frames on descriptors 3 (in) and 4 (out): a length of 32 bits, then bytes. Values are marshalled in version 2, which has
# no references, so that whoever reads them outside needs no trust.
VERSION = 2
SYNTAX_ERROR = 121
# What LiveCodeBench puts before a solution, in its order, and what the judges that its problems come from have.
PRELUDE = """
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools, functools, operator, io
import sys, json
try:
    from sortedcontainers import SortedDict, SortedList, SortedSet
except ImportError:
    pass
sys.setrecursionlimit(50000)
"""
# What most solutions import. More would cost every fork; less would cost every solution that imports it.
WARM = (
    "bisect cmath collections collections.abc contextlib copy datetime functools hashlib heapq io itertools json math"
    " operator random re statistics string struct time typing"
).split()


def prepare():
    """Imports what solutions import, once."""
    for name in WARM:
        try:
            __import__(name)
        except ImportError:
            pass


def run(argument):
    """Runs `script` (with arguments), `script+prelude`, `calls`, `calls+prelude:MS` (milliseconds of CPU time a call),
    `solve` or `check:NAME`."""
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
            code = script(False)
        elif argument == "script+prelude":
            code = script(True)
        elif argument.startswith("check:"):
            code = check(argument[len("check:") :])
        elif argument == "solve":
            code = solve()
        else:
            _, _, milliseconds = argument.partition(":")
            code = calls("+prelude" in argument, int(milliseconds or 0))
    finally:
        os._exit(code)


def read(name):
    with open(f"/tmp/{name}", encoding="utf-8", errors="surrogateescape") as file:
        return file.read().lstrip("\ufeff")


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


def script(prelude):
    made = module("__main__", "main.py")
    try:
        program = compile(read("main.py"), "main.py", "exec")
    except (SyntaxError, ValueError) as error:
        sys.stderr.write(describe(error))
        return SYNTAX_ERROR
    code = 0
    try:
        if prelude:
            exec(PRELUDE, made.__dict__)
        exec(program, made.__dict__)
    except SystemExit as error:
        # LiveCodeBench takes any exit for an end.
        code = 0 if prelude else leave(error)
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


def load(prelude):
    """A solution's namespace; `None` where there is none, and why has been said."""
    made = module("solution", "main.py")
    try:
        program = compile(read("main.py"), "main.py", "exec")
    except (SyntaxError, ValueError) as error:
        send(b"S" + describe(error).encode("utf-8", "replace")[-2000:])
        return None
    try:
        if prelude:
            exec(PRELUDE, made.__dict__)
        exec(program, made.__dict__)
    except BaseException as error:
        send(b"X" + describe(error).encode("utf-8", "replace")[-2000:])
        return None
    return made


def calls(prelude, milliseconds):
    made = load(prelude)
    if made is None:
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
            # What runs out of it is ended by the signal.
            _signal.setitimer(_signal.ITIMER_PROF, milliseconds / 1000)
            value = function(*args, **kwargs)
            _signal.setitimer(_signal.ITIMER_PROF, 0)
            try:
                answer = b"V" + encode(value)
            except ValueError as error:
                answer = b"U" + str(error).encode("utf-8", "replace")[:500]
            send(token + answer)
        except BaseException as error:
            _signal.setitimer(_signal.ITIMER_PROF, 0)
            send(token + b"X" + describe(error).encode("utf-8", "replace")[-2000:])


def solve():
    """A solution for assertions elsewhere: see `peer`. Every frame begins with a word, and so does its answer."""
    token = b""

    def receive_word():
        nonlocal token
        frame = receive()
        token, frame = (b"", None) if frame is None else (frame[:8], frame[8:])
        return frame

    written = sys.stdout, sys.stderr = stand_ins.Written(), stand_ins.Written()
    sys.stdin = stand_ins.Asked()
    made = load(False)
    if made is None:
        return 0
    side = peer.Peer(lambda message: send(token + message), receive_word, 1, made.__dict__, True)
    # What is written while loading belongs to nobody's call.
    for stream in written:
        stream.taken()
    side.written = written
    builtins.input = lambda prompt="": side.request("input", prompt)
    send(b"L")
    side.serve()
    return 0


def check(name):
    """Assertions about `name`, which is elsewhere."""
    space = module("tests", "check.py").__dict__

    def told(kind, line, said):
        shown = side.shown() if side is not None else ""
        texts = [text.encode("utf-8", "replace").decode()[:2000] for text in (line, said, shown)]
        send(kind + marshal.dumps(tuple(texts), VERSION))
        return 0

    side = None
    try:
        exec(compile(read("setup.py"), "setup.py", "exec"), space)
    except BaseException as error:
        return told(b"D", "", describe(error)[-2000:])
    side = peer.Peer(lambda message: send(b"C" + message), receive, 0, space, False)
    known = [key for key, value in space.items() if isinstance(value, type) and value.__module__ == "tests"]
    side.known = frozenset(known) - {name}
    # Where a class is what is asked for, its objects say themselves what they equal.
    side.believes = name in known or name.lstrip("_")[:1].isupper()
    source = read("check.py")
    try:
        program = compile(source, "check.py", "exec")
    except (SyntaxError, ValueError) as error:
        return told(b"D", "", describe(error)[-2000:])
    try:
        side.draws = "random" in source or "random" in space
        space[name] = side.request("name", name, sorted(side.known), side.draws)
        exec(program, space)
        if callable(space.get("check")):
            space["check"](space[name])
        return told(b"P", "", "")
    except BaseException as error:
        by_solution = any(error is each for each in side.raised)
        if isinstance(error, SystemExit) and not by_solution and not error.code:
            return told(b"P", "", "")
        line, trace = "", error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "check.py":
                line = (source.splitlines()[trace.tb_lineno - 1 : trace.tb_lineno] or [""])[0].strip()
            trace = trace.tb_next
        if by_solution:
            kind = b"X"
        elif isinstance(error, (NameError, ImportError, SyntaxError)):
            kind = b"D"
        else:
            kind = b"A"
        return told(kind, line, f"{type(error).__name__}: {error}")
