//! Attacks on the machine's time, memory, disk and patience.

use super::{Attack, attack, from_lines, system, withstand};
use crate::bench::As;
use distill_verify::code::Outcome::{Memory, Output, RuntimeError, Time, WrongAnswer};

fn attacks() -> Vec<Attack> {
    let mut attacks = from_lines(include_str!("evasions.jsonl"));
    attacks.extend([
        // Which limit comes first, time or the summed memory of all processes, is up to the machine's speed.
        attack(
            "fork bomb",
            "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
            &[Time, Memory],
            "",
        ),
        attack("fork bomb that gives up", "import os\nwhile True:\n    os.fork()", &[RuntimeError, Time, Memory], ""),
        attack(
            "thread bomb",
            "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
            &[RuntimeError, Time, Memory],
            "",
        ),
        attack("memory bomb in one process", "kept = []\nwhile True: kept.append(bytearray(1 << 20))", &[Memory], ""),
        attack("memory bomb at once", "bytearray(1 << 40)", &[Memory], "MemoryError"),
        attack(
            "memory bomb in many processes",
            "import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n        kept = bytearray(40 << 20)\n        \
             time.sleep(9)\ntime.sleep(9)",
            &[Memory],
            "128 MiB",
        ),
        attack(
            "memory that nobody maps",
            "import mmap\nkept = [mmap.mmap(-1, 1 << 26) for _ in range(64)]",
            &[RuntimeError],
            "PermissionError",
        ),
        attack(
            "memory in a file without a name",
            "import os\nfd = os.memfd_create('x')\nos.write(fd, bytes(1 << 20))",
            &[RuntimeError],
            "PermissionError",
        ),
        system(
            "memory in a System V segment",
            "print(syscall(29, 0, 1 << 26, 0o1600))",
            &[RuntimeError],
            "PermissionError",
        ),
        attack(
            "disk bytes",
            "for n in range(99):\n    with open(f'/tmp/{n}', 'wb') as file: file.write(bytes(10 << 20))",
            &[RuntimeError],
            "No space left",
        ),
        attack("disk inodes", "for n in range(1 << 20): open(f'/tmp/{n}', 'w').close()", &[RuntimeError, Time], ""),
        attack("a file too large", "open('/tmp/x', 'wb').truncate(1 << 40)", &[RuntimeError], "File too large"),
        attack("output flood", "while True: print('x' * 65536)", &[Output], "output"),
        attack("error flood", "import sys\nwhile True: sys.stderr.write('x' * 65536)", &[Output], "output"),
        attack(
            "output flood from many processes",
            "import os\nos.fork(); os.fork(); os.fork()\nwhile True: os.write(1, b'x' * 65536)",
            &[Output],
            "output",
        ),
        attack(
            "every signal ignored",
            "import signal, time\nfor n in set(signal.Signals) - {9, 19}: signal.signal(n, signal.SIG_IGN)\nwhile True: time.sleep(9)",
            &[Time],
            "wall time",
        ),
        attack("stopped by itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", &[Time], "wall time"),
        attack("waiting for what never comes", "import os\nos.read(os.pipe()[0], 1)", &[Time], "wall time"),
        attack("waiting for standard input", "while True: input()", &[RuntimeError], "EOFError"),
        attack(
            "daemons",
            "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(99)\n    os._exit(0)\nos.wait()\nprint('gone')",
            &[WrongAnswer],
            "gone",
        ),
        attack(
            "stack overflow",
            "import sys\nsys.setrecursionlimit(1 << 30)\ndef f(n): return f(n + 1) + 1\nf(0)",
            &[RuntimeError, Memory],
            "",
        ),
        attack(
            "a number too long to print",
            "import sys\nif hasattr(sys, 'set_int_max_str_digits'): sys.set_int_max_str_digits(0)\nprint(str(7 ** (1 << 24)))",
            &[Time],
            " time",
        ),
        attack("clock spin", "import time\nwhile True: time.time()", &[Time], " time"),
        attack("spin in many processes", "import os\nos.fork(); os.fork()\nwhile True: pass", &[Time], "time"),
        attack("regular expression that backtracks", "import re\nre.match('(a+)+$', 'a' * 40 + 'b')", &[Time], " time"),
        attack(
            "deep value",
            "x = []\nfor _ in range(10 ** 6): x = [x]\nprint(repr(x))",
            &[RuntimeError, Memory, Time],
            "",
        ),
    ]);
    attacks
}

#[test]
fn what_exhausts_is_stopped() {
    withstand(As::Myself, attacks());
}

#[test]
fn what_exhausts_is_stopped_for_an_ordinary_user() {
    withstand(As::Ordinary, attacks());
}
