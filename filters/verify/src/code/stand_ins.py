"""What stands in for objects of the other side, and how values are shown without asking it; `peer` is the other half."""

import io
import reprlib

BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod".split()
COMPARING = frozenset(f"__{name}__" for name in "eq ne lt le gt ge".split())
WITH_OPERAND = COMPARING | {f"__{side}{name}__" for side in ("", "r", "i") for name in BINARY} | {"__contains__"}
FORWARDED = WITH_OPERAND | {
    f"__{name}__"
    for name in "len iter next getitem setitem delitem call str repr hash int float index complex enter exit reversed neg pos"
    " abs invert bool format round trunc floor ceil bytes length_hint missing".split()
}
# Questions about a value that the asker names.
PREDICATES = frozenset(
    "startswith endswith issubset issuperset isdisjoint count index find rfind rindex is_integer equals".split()
)


# The one peer of this interpreter.
PEER = None


class Malformed(Exception):
    """What came is nothing that this module sends."""


def expect(value, kind):
    if not isinstance(value, kind):
        raise Malformed(f"expected {kind}, found {type(value)}")
    return value


class Remote:
    """Stands in for an object of the other side."""

    def __getattr__(self, name):
        return ask(self, "get", name)

    def __setattr__(self, name, value):
        ask(self, "set", name, value)

    def __delattr__(self, name):
        ask(self, "del", name)


class RemoteClass(type):
    """Stands in for a class of the other side; its objects are stand-ins too."""

    def __call__(cls, *args, **kwargs):
        return PEER.call(cls.__name__, PEER.number_of(cls), args, kwargs)

    def __getattr__(cls, name):
        if name.startswith("__") or name.startswith("_abc"):
            raise AttributeError(name)
        return PEER.request("get", PEER.number_of(cls), name)


def ask(stand_in, kind, name, *rest):
    if kind == "get" and name.startswith("__"):
        raise AttributeError(f"{type(stand_in).__name__!r} object has no attribute {name!r}")
    found = PEER.request(kind, PEER.number_of(stand_in), name, *rest)
    if kind == "get" and name in PREDICATES and not PEER.believes and callable(found):
        raise TypeError(f"an object of {type(stand_in).__name__} does not say whether it is what is expected")
    return found


def forwarding(name):
    def method(self, *args, **kwargs):
        if name in WITH_OPERAND and not PEER.believes and not all(isinstance(each, Remote) for each in args):
            if name == "__contains__":
                return any(each is args[0] or each == args[0] for each in self)
            return NotImplemented
        return PEER.request("op", PEER.number_of(self), name, args, kwargs)

    method.__name__ = name
    return method


class Brief(reprlib.Repr):
    """Shows values in short, without asking the other side."""

    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 4, 200, 200, 200
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 40

    def repr1(self, value, level):
        if isinstance(value, Remote):
            return f"<{type(value).__name__} object>"
        try:
            return super().repr1(value, level)
        except Exception:
            return f"<{type(value).__name__}>"


BRIEF = Brief()
PLAIN = frozenset((type(None), bool, int, float, str, bytes))


def brief(value):
    kind = type(value)
    if kind in PLAIN or kind in (list, tuple) and len(value) < 40 and PLAIN.issuperset(map(type, value)):
        try:
            return repr(value)[:400]
        except ValueError:
            pass  # A number of too many digits.
    return BRIEF.repr(value)[:400]


def brief_call(name, args, kwargs):
    parts = [brief(each) for each in args] + [f"{key}={brief(each)}" for key, each in kwargs.items()]
    return f"{name}({', '.join(parts)})"[:400]


def brief_error(error):
    try:
        return f"{type(error).__name__}: {error}"[:400]
    except Exception:
        return type(error).__name__


def remote_function(number, name):
    def function(*args, **kwargs):
        return PEER.call(name, number, args, kwargs)

    function.__name__ = function.__qualname__ = name
    return function


def remote_generator(number):
    def generator():
        how, value = "next", None
        while True:
            try:
                got = PEER.request("resume", number, how, value)
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield got
                how, value = ("next", None) if sent is None else ("send", (sent,))
            except GeneratorExit:
                PEER.request("resume", number, "close", ())
                raise
            except BaseException as error:
                how, value = "throw", (error,)

    return generator()


async def remote_coroutine(number):
    return PEER.request("await", number)


class Written(io.TextIOWrapper):
    """What is written, until it is taken."""

    def __init__(self):
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="utf-8", errors="surrogatepass", write_through=True, newline="\n")

    def taken(self):
        self.flush()
        text = self.bytes.getvalue()
        if text:
            self.seek(0)
            self.truncate()
        return text.decode("utf-8", "replace")[: 1 << 23]


class Asked(io.TextIOBase):
    """Standard input, wherever the assertions have it from."""

    def read(self, size=-1):
        return PEER.request("stdin", "read", size)

    def readline(self, size=-1):
        return PEER.request("stdin", "readline", size)

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def readable(self):
        return True
