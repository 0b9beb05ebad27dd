"""Two interpreters as one: the assertions in one cell, the solution in another, objects between them.

What Python compares by value is sent by value and built anew from data, in the receiver's own types: so `==` is the
receiver's. What can change is shared under a number: whoever is to go on gets its contents wherever they changed, so that two
names for one list stay two names for one list. Everything else (functions, generators, objects of classes that only one side
knows) stays where it is, and the other side gets a stand-in that asks.

The assertions trust nothing that comes. A stand-in never answers for a comparison or a calculation with one of their own
values, unless a class is what is asked for: an object that says it equals everything equals nothing here. What they hand out
is asked for by calls, iteration and public names alone.

Only one side runs at a time, and says when the other may: a message is `(kind, body, contents, released, written, random)`,
marshalled in version 2. `code/calls.rs` stands between and passes on plain data alone.
"""

import _thread
import builtins
import collections
import gc
import importlib
import marshal
import sys
import types

import stand_ins
from stand_ins import FORWARDED, Malformed, Remote, RemoteClass, brief, brief_call, brief_error, expect, forwarding
from stand_ins import remote_coroutine, remote_function, remote_generator

VERSION = 2
NONE = type(None)
ATOMS = frozenset((NONE, bool, int, float, complex, str, bytes))
FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    type([].__len__),
    type(list.append),
    type(list.__len__),
)
# Objects through which one gets at a whole interpreter.
KEPT = (types.ModuleType, types.FrameType, types.CodeType, types.TracebackType)
# Built from arguments that `__reduce__` tells.
BUILT = {
    ("fractions", "Fraction"),
    ("decimal", "Decimal"),
    ("datetime", "date"),
    ("datetime", "time"),
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("ipaddress", "IPv4Address"),
    ("ipaddress", "IPv6Address"),
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib._local", "PurePosixPath"),
}
# Where exceptions may come from, beside the builtins.
RAISING = frozenset(
    "json.decoder decimal queue statistics re struct zlib binascii copy csv configparser dataclasses graphlib socket"
    " asyncio.exceptions concurrent.futures concurrent.futures._base pickle _pickle _queue _struct _csv re._constants"
    " sre_constants subprocess zipfile tarfile urllib.error xml.etree.ElementTree ast inspect calendar".split()
)
# These would end a loop of the assertions, or a test of theirs, without a word.
QUIET = (StopIteration, StopAsyncIteration, GeneratorExit)
def all_atoms(values):
    return ATOMS.issuperset(map(type, values))


class Peer:
    """One side. `space` is the namespace whose classes both sides know, by the names in `known`; `trusting` is false for
    whoever judges."""

    def __init__(self, send, receive, first, space, trusting):
        stand_ins.PEER = self
        self.send, self.receive, self.space, self.trusting = send, receive, space, trusting
        # Whether stand-ins may answer for comparisons with one's own values.
        self.believes = trusting
        self.known = frozenset()
        # Whether the assertions draw random numbers, so that both sides must draw from one state.
        self.draws = False
        self.lock = _thread.RLock()
        self.raised, self.pending = [], None
        self.next = first
        # What can change: by number, and the numbers by identity; the contents that both sides have seen.
        self.shared, self.numbers, self.contents = {}, {}, {}
        # What stays here and is asked for, and what stays there: by number, and numbers by identity.
        self.exports, self.exported, self.callable = {}, {}, set()
        self.foreign, self.stand_ins = {}, {}
        self.made = {}
        self.written = None
        self.random = sys.modules["random"].getstate() if "random" in sys.modules else None
        probe = {0: []}
        each = probe[0]
        self.unheld = sys.getrefcount(each)
        self.handlers = {
            "name": self.on_name,
            "call": self.on_call,
            "get": self.on_get,
            "set": self.on_set,
            "del": self.on_del,
            "op": self.on_op,
            "resume": self.on_resume,
            "await": self.on_await,
            "input": self.on_input,
            "stdin": self.on_stdin,
        }

    # What goes out.

    def number_of(self, stand_in):
        return self.foreign[id(stand_in)]

    def fresh(self):
        self.next += 2
        return self.next

    def node(self, value):
        """A value as plain data, and whatever it shares noted for the message."""
        kind = type(value)
        if kind in ATOMS:
            return value
        number = self.foreign.get(id(value))
        if number is not None:
            return ("o", number)
        if kind is tuple:
            return ("t", value) if all_atoms(value) else ("T", [self.node(each) for each in value])
        if id(value) in self.numbers or kind in SHARED or self.is_known(kind):
            return self.share(value)
        maker = NODES.get(kind)
        return maker(self, value) if maker is not None else self.other_node(kind, value)

    def share(self, value):
        number = self.numbers.get(id(value))
        if number is None:
            number = self.fresh()
            self.numbers[id(value)] = number
            self.shared[number] = value
            self.fresh_numbers.append(number)
        return ("@", number)

    def is_known(self, kind):
        """Whether the other side has the same class, from what solutions begin with."""
        name = getattr(kind, "__name__", None)
        if name not in self.known or self.space.get(name) is not kind or is_enum(kind):
            return False
        return all(base is object or base.__module__ != "builtins" for base in kind.__mro__)

    def other_node(self, kind, value):
        if isinstance(value, BaseException):
            return self.error_node(value)
        if isinstance(value, type):
            return self.class_node(value, True)
        if is_enum(kind) and kind.__name__ in self.known and self.space.get(kind.__name__) is kind:
            return ("E", kind.__name__, value.name)
        for base, exact in EXACT:
            if isinstance(value, base):
                return exact(value)
        if isinstance(value, tuple):
            fields = getattr(kind, "_fields", None)
            if isinstance(fields, tuple) and all(type(field) is str for field in fields):
                return ("n", kind.__name__, list(fields), [self.node(each) for each in value])
            return ("T", [self.node(each) for each in value])
        if isinstance(value, (list, dict, set, bytearray)):
            return self.share(value)
        if isinstance(value, frozenset):
            return ("f", [self.node(each) for each in value])
        if (kind.__module__, kind.__qualname__) in BUILT:
            reduced = value.__reduce__()
            if reduced[0] is kind and not any(reduced[2:]):
                return ("c", kind.__module__, kind.__qualname__, [self.node(each) for each in reduced[1]])
        if kind.__module__ == "numpy" and hasattr(value, "tobytes"):
            if not value.dtype.hasobject:
                return ("a", value.dtype.str, list(value.shape), kind.__name__ == "ndarray", value.tobytes())
        if kind is types.GeneratorType:
            return ("r", self.export(value), "generator", kind.__name__)
        if kind is types.CoroutineType:
            return ("r", self.export(value), "coroutine", kind.__name__)
        if isinstance(value, FUNCTIONS):
            return ("r", self.export(value, True), "function", getattr(value, "__name__", "function"))
        return ("r", self.export(value), "object", self.class_node(kind, False, True))

    def class_node(self, kind, given=False, remote=False):
        """A class, by its name where both sides have it; `remote` where its objects stay here."""
        if kind.__module__ == "builtins" and getattr(builtins, kind.__name__, None) is kind and not remote:
            return ("g", kind.__name__)
        if kind.__name__ in self.known and self.space.get(kind.__name__) is kind and not remote:
            return ("G", kind.__name__)
        special = [name for name in FORWARDED if getattr(kind, name, None) is not getattr(object, name, None)]
        if id(kind) in self.foreign:
            return ("o", self.foreign[id(kind)])
        bases = [self.class_node(base) for base in kind.__bases__ if base is not object]
        return ("r", self.export(kind, given), "class", kind.__name__, sorted(special), bases)

    def export(self, value, given=False):
        """The number of what stays here; `given` where it may be called."""
        number = self.exported.get(id(value))
        if number is None:
            number = self.fresh()
            self.exported[id(value)] = number
            self.exports[number] = value
        if given:
            self.callable.add(number)
        return number

    def error_node(self, error):
        chain = [[base.__module__, base.__qualname__] for base in type(error).__mro__ if base is not object]
        text = ""
        try:
            text = str(error)[:2000]
        except Exception:
            pass
        args = [self.node(each) for each in error.args]
        attributes = [(key, self.node(each)) for key, each in getattr(error, "__dict__", {}).items() if type(key) is str]
        return ("e", self.export(error), chain, args, attributes, text)

    def content(self, value):
        """What is in something that can change."""
        kind = type(value)
        if isinstance(value, collections.deque):
            return ("q", [self.node(each) for each in value], value.maxlen)
        if isinstance(value, list):
            return ("l", list(value)) if all_atoms(value) else ("L", [self.node(each) for each in value])
        if isinstance(value, dict):
            tag, factory = DICTS.get(kind, "d"), None
            if kind is collections.defaultdict and value.default_factory is not None:
                factory = self.node(value.default_factory)
            if all_atoms(value) and all_atoms(value.values()):
                return ("d", tag, factory, dict(value))
            return ("D", tag, factory, [(self.node(key), self.node(each)) for key, each in value.items()])
        if isinstance(value, set):
            return ("s", list(value)) if all_atoms(value) else ("S", [self.node(each) for each in value])
        if isinstance(value, bytearray):
            return ("y", bytes(value))
        state = dict(getattr(value, "__dict__", {}))
        for base in kind.__mro__:
            slots = base.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                    state[name] = getattr(value, name)
        name = "" if kind is types.SimpleNamespace else kind.__name__
        return ("x", name, [(key, self.node(each)) for key, each in state.items() if type(key) is str])

    def message(self, kind, body):
        self.fresh_numbers = []
        body = tuple([self.node(each) for each in body])
        contents, seen, waiting = [], {}, list(self.shared)
        while waiting:
            for number in waiting:
                content = self.content(self.shared[number])
                seen[number] = marshal.dumps(content, VERSION)
                if self.contents.get(number) != seen[number]:
                    contents.append((number, content))
            waiting, self.fresh_numbers = [number for number in self.fresh_numbers if number not in seen], []
        self.contents.update(seen)
        released = self.released()
        written = [stream.taken() for stream in self.written] if self.written else None
        random = None
        if self.draws and "random" in sys.modules:
            state = sys.modules["random"].getstate()
            if state != self.random:
                self.random = random = state
        return marshal.dumps((kind, body, contents, released, written, random), VERSION)

    def released(self):
        """Lets go of what nobody here holds any more: the other side need not hear of it again."""
        released, before = [], -1
        while len(released) != before:
            before = len(released)
            for number in list(self.shared):
                each = self.shared[number]
                if sys.getrefcount(each) <= self.unheld:
                    del self.numbers[id(each)], self.shared[number]
                    self.contents.pop(number, None)
                    released.append(number)
                del each
        return released

    # What comes in.

    def value(self, node):
        if type(node) in ATOMS:
            return node
        if type(node) is not tuple or not node or type(node[0]) is not str:
            raise Malformed("a node")
        tag = node[0]
        if tag == "t":
            return expect(node[1], tuple)
        if tag == "T":
            return tuple([self.value(each) for each in expect(node[1], list)])
        if tag == "@":
            return self.shared[node[1]]
        if tag == "o":
            return self.exports[node[1]]
        if tag == "f":
            return frozenset([self.value(each) for each in expect(node[1], list)])
        if tag == "r":
            return self.stand_in(*node[1:])
        if tag == "e":
            return self.error(*node[1:])
        if tag == "g":
            found = getattr(builtins, expect(node[1], str), None)
            return expect(found, type)
        if tag == "G" and node[1] in self.known:
            return expect(self.space.get(node[1]), type)
        if tag == "E" and node[1] in self.known and is_enum(self.space.get(node[1])):
            return self.space[node[1]][expect(node[2], str)]
        if tag == "n":
            return self.named_tuple(*node[1:])
        if tag == "c" and (node[1], node[2]) in BUILT:
            made = getattr(importlib.import_module(node[1]), node[2])
            return made(*[self.value(each) for each in node[3]])
        if tag == "a":
            return array(*node[1:])
        maker = VALUES.get(tag)
        if maker is None:
            raise Malformed(f"a node {tag}")
        return maker(*[self.value(each) for each in node[1:]])

    def named_tuple(self, name, fields, nodes):
        values = [self.value(each) for each in nodes]
        found = self.space.get(name) if name in self.known else None
        if not (isinstance(found, type) and issubclass(found, tuple) and list(getattr(found, "_fields", ())) == fields):
            key = (name, tuple(fields))
            if key not in self.made:
                self.made[key] = collections.namedtuple(name, fields, rename=True)
            found = self.made[key]
        if len(values) != len(fields):
            raise Malformed("a named tuple")
        return tuple.__new__(found, values)

    def stand_in(self, number, what, *rest):
        found = self.stand_ins.get(number)
        if found is None:
            expect(number, int)
            if what == "function":
                found = remote_function(number, expect(rest[0], str))
            elif what == "generator":
                found = remote_generator(number)
            elif what == "coroutine":
                found = remote_coroutine(number)
            elif what == "class":
                found = self.remote_class(*rest)
            elif what == "object":
                kind = self.value(rest[0])
                if not isinstance(kind, RemoteClass):
                    raise Malformed("an object's class")
                found = object.__new__(kind)
            else:
                raise Malformed("a stand-in")
            self.stand_ins[number] = found
            self.foreign[id(found)] = number
        return found

    def remote_class(self, name, special, bases):
        members = {each: forwarding(each) for each in expect(special, list) if each in FORWARDED}
        if "__eq__" in members and "__hash__" not in members:
            members["__hash__"] = None
        bases = [each for each in map(self.value, bases) if isinstance(each, RemoteClass)]
        try:
            return RemoteClass(expect(name, str), tuple(bases) or (Remote,), members)
        except TypeError:
            return RemoteClass(name, (Remote,), members)

    def error(self, number, chain, args, attributes, text):
        found = self.stand_ins.get(number)
        if found is not None:
            return found
        args = [self.value(each) for each in args]
        kind = self.error_class(chain)
        error = None
        if kind.__module__ == "builtins":
            try:
                error = kind(*args)
            except Exception:
                args = [text]
        if error is None:
            error = kind.__new__(kind)
            error.args = tuple(args)
        state = getattr(error, "__dict__", None)
        if state is not None:
            state.update((expect(key, str), self.value(each)) for key, each in attributes)
        self.stand_ins[number] = error
        self.foreign[id(error)] = number
        return error

    def error_class(self, chain):
        name = expect(chain[0][1], str).rsplit(".", 1)[-1]
        found, exact = Exception, False
        for place, (module, qualified) in enumerate(chain):
            each = None
            if module == "builtins":
                each = getattr(builtins, qualified, None)
            elif qualified in self.known:
                each = self.space.get(qualified)
            elif module in RAISING:
                each = getattr(importlib.import_module(module), qualified, None)
            if isinstance(each, type) and issubclass(each, BaseException):
                if issubclass(each, QUIET) and not self.trusting:
                    each, place = Exception, 1
                found, exact = each, place == 0
                break
        if exact:
            return found
        key = (name, found)
        if key not in self.made:
            self.made[key] = type(name, (found,), {"__module__": "solution"})
        return self.made[key]

    def apply(self, message):
        """Takes over what changed; the kind and the body are left."""
        kind, body, contents, released, written, random = message
        new = []
        for number, content in contents:
            if number not in self.shared:
                made = self.shell(content)
                self.shared[number], self.numbers[id(made)] = made, number
            new.append((number, content))
        # What hashes what it holds comes last.
        new.sort(key=lambda pair: pair[1][0] in "dDsS")
        for number, content in new:
            self.fill(self.shared[number], content)
        body = tuple(self.value(each) for each in body)
        for number, content in new:
            # A list of atoms is what was sent; with others numbers may be new, and a set has its own order here.
            same = content if content[0] == "l" else self.content(self.shared[number])
            self.contents[number] = marshal.dumps(same, VERSION)
        for number in released:
            if number in self.shared:
                del self.numbers[id(self.shared[number])], self.shared[number]
                self.contents.pop(number, None)
        if written:
            for stream, text in zip((sys.stdout, sys.stderr), written):
                if text:
                    stream.write(text)
        if random is not None and "random" in sys.modules:
            sys.modules["random"].setstate(random)
            self.random = random
        return kind, body

    def shell(self, content):
        tag = content[0]
        if tag in "lL":
            return []
        if tag in "dD":
            kind = {name: each for each, name in DICTS.items()}.get(content[1], dict)
            return kind()
        if tag in "sS":
            return set()
        if tag == "q":
            return collections.deque(maxlen=content[2])
        if tag == "y":
            return bytearray()
        if tag == "x" and content[1] == "":
            return types.SimpleNamespace()
        if tag == "x" and content[1] in self.known:
            return object.__new__(expect(self.space.get(content[1]), type))
        raise Malformed("contents")

    def fill(self, made, content):
        tag = content[0]
        if tag == "l":
            made[:] = expect(content[1], list)
        elif tag == "L":
            made[:] = [self.value(each) for each in content[1]]
        elif tag == "q":
            made.clear()
            made.extend([self.value(each) for each in content[1]])
        elif tag == "y":
            made[:] = expect(content[1], bytes)
        elif tag in "sS":
            values = content[1] if tag == "s" else [self.value(each) for each in content[1]]
            made.clear()
            made.update(values)
        elif tag in "dD":
            pairs = content[3] if tag == "d" else [(self.value(key), self.value(each)) for key, each in content[3]]
            if content[2] is not None and isinstance(made, collections.defaultdict):
                made.default_factory = self.value(content[2])
            made.clear()
            items = pairs.items() if tag == "d" else pairs
            for key, each in items:
                made[key] = each
        else:
            state = getattr(made, "__dict__", None)
            if state is not None:
                state.clear()
            for key, each in content[2]:
                object.__setattr__(made, expect(key, str), self.value(each))

    # Asking and answering.

    def request(self, kind, *body):
        """Asks the other side, and answers what it asks meanwhile."""
        with self.lock:
            message = self.message(kind, body)
            del body
            while True:
                self.send(message)
                del message
                kind = self.next_message()
                if kind in ("ok", "stop", "error"):
                    (value,), self.pending = self.pending, None
                    if kind == "ok":
                        return value
                    if kind == "stop":
                        raise StopIteration(value)
                    error = expect(value, BaseException)
                    self.raised.append(error)
                    raise error
                message = self.answer(kind)

    def next_message(self):
        """The kind of what comes; its body is pending then, and held by nobody else."""
        frame = self.receive()
        if frame is None:
            raise SystemExit(0)
        try:
            kind, self.pending = self.apply(marshal.loads(frame))
            return kind
        except (Malformed, LookupError, TypeError, ValueError, AttributeError, ImportError, ArithmeticError, RuntimeError) as error:
            if self.trusting:
                raise
            said = TypeError(f"a value that cannot be: {type(error).__name__}: {error}")
            self.raised.append(said)
            raise said from None

    def answer(self, kind):
        handler = self.handlers.get(kind)
        body, self.pending = self.pending, None
        try:
            if handler is None:
                raise Malformed(f"a message {kind}")
            value = handler(*body)
            del body
            return self.message("ok", (value,))
        except StopIteration as stop:
            value = stop.value if kind == "resume" else stop
            return self.message("stop" if kind in ("resume", "op") else "error", (value,))
        except BaseException as error:
            # Frames hold what they had.
            error.__traceback__ = None
            return self.message("error", (error,))

    def serve(self):
        while True:
            try:
                kind = self.next_message()
            except SystemExit:
                return
            self.send(self.answer(kind))

    # What the last call gave: a value or an exception.
    last = None

    def call(self, name, number, args, kwargs):
        self.calls += 1
        try:
            self.last = self.request("call", brief_call(name, args, kwargs), number, args, kwargs)
        except BaseException as error:
            self.last = error
            raise
        return self.last

    def shown(self):
        """What the last call gave, in short."""
        if isinstance(self.last, BaseException):
            return brief_error(self.last)
        return brief(self.last) if self.calls else ""

    calls = 0

    def target(self, number):
        return self.exports[expect(number, int)]

    def on_name(self, name, known, draws):
        """What a solution answers to a name: the function, or a method of its `Solution`."""
        self.known, self.draws = frozenset(known), draws
        found = self.space.get(name)
        if found is None and "Solution" in self.space:
            found = getattr(self.space["Solution"](), name)
        if found is None:
            raise NameError(f"name {name!r} is not defined")
        return found

    def on_call(self, _, number, args, kwargs):
        if not self.trusting and number not in self.callable:
            raise TypeError("not to be called")
        return self.target(number)(*args, **kwargs)

    def on_get(self, number, name):
        return getattr(self.owned(number, name), name)

    def on_set(self, number, name, value):
        setattr(self.owned(number, name), name, value)

    def on_del(self, number, name):
        delattr(self.owned(number, name), name)

    def owned(self, number, name):
        value = self.target(number)
        if not self.trusting and (name.startswith("_") or isinstance(value, FUNCTIONS + KEPT + (BaseException,))):
            raise AttributeError(name)
        return value

    def on_op(self, number, name, args, kwargs):
        value = self.target(number)
        if name not in FORWARDED or not self.trusting and isinstance(value, (type, *FUNCTIONS, *KEPT)):
            raise AttributeError(name)
        return getattr(type(value), name)(value, *args, **kwargs)

    def on_resume(self, number, how, value):
        generator = expect(self.target(number), types.GeneratorType)
        if how == "next":
            return next(generator)
        return getattr(generator, how)(*value) if how in ("send", "throw", "close") else None

    def on_await(self, number):
        import asyncio

        async def wait():
            return await expect(self.target(number), types.CoroutineType)

        return asyncio.run(wait())

    def on_input(self, prompt):
        return input(prompt)

    def on_stdin(self, how, size):
        return (sys.stdin.readline if how == "readline" else sys.stdin.read)(size)


def is_enum(kind):
    return "enum" in sys.modules and isinstance(kind, sys.modules["enum"].EnumMeta)


def array(dtype, shape, is_array, data):
    numpy = importlib.import_module("numpy")
    found = numpy.frombuffer(data, dtype=dtype)
    return found.reshape(shape).copy() if is_array else found[0]


def view_node(tag):
    # The dictionary itself, which a view does not tell otherwise.
    return lambda peer, view: (tag, peer.node(gc.get_referents(view)[0]))


# Exact values of what only began as one.
EXACT = [(int, int.__int__), (float, float.__float__), (complex, complex), (str, str.__str__), (bytes, bytes)]
DICTS = {
    dict: "d",
    collections.OrderedDict: "o",
    collections.Counter: "c",
    collections.defaultdict: "f",
}
SHARED = frozenset((list, set, bytearray, collections.deque, types.SimpleNamespace, *DICTS))
NODES = {
    frozenset: lambda peer, value: ("f", [peer.node(each) for each in value]),
    range: lambda peer, value: ("range", value.start, value.stop, value.step),
    slice: lambda peer, value: ("slice", peer.node(value.start), peer.node(value.stop), peer.node(value.step)),
    type({}.keys()): view_node("keys"),
    type({}.values()): view_node("values"),
    type({}.items()): view_node("items"),
    memoryview: lambda peer, value: ("memoryview", value.tobytes()),
    type(NotImplemented): lambda peer, value: ("NotImplemented",),
    type(...): lambda peer, value: ("Ellipsis",),
}
VALUES = {
    "range": range,
    "slice": slice,
    "keys": lambda found: expect(found, dict).keys(),
    "values": lambda found: expect(found, dict).values(),
    "items": lambda found: expect(found, dict).items(),
    "memoryview": lambda found: memoryview(expect(found, bytes)),
    "NotImplemented": lambda: NotImplemented,
    "Ellipsis": lambda: ...,
}
