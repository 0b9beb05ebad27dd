//! Attacks on the verdict: solutions that are wrong and want to be judged right.

use super::{ANSWER, Attack, attack, withstand};
use crate::bench::{As, Bench, calls, check, python, stdin};
use distill_verify::code::{
    Outcome,
    Outcome::{Memory, Output, RuntimeError, Time, WrongAnswer},
};
use serde_json::json;

/// Looks everywhere for the answer, and prints it when it is found.
const SEARCH: &str = "
import gc, os, re, sys
secret = re.compile(rb's3cret-[0-9]+-answer')
def look(data):
    for found in secret.findall(data):
        print(found.decode()); sys.stdout.flush(); os._exit(0)
look(repr(gc.get_objects()).encode('utf-8', 'replace'))
look(repr(os.environ).encode())
frame = sys._getframe()
while frame is not None:
    look(repr(frame.f_locals).encode()); look(repr(frame.f_globals).encode()); frame = frame.f_back
for top in ('/tmp', '/harness', '/dev/shm', '/proc/self'):
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            try: fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            except OSError: continue
            try: look(os.read(fd, 1 << 20))
            except OSError: pass
            os.close(fd)
try:
    maps, memory = open('/proc/self/maps').read(), os.open('/proc/self/mem', os.O_RDONLY)
except OSError:
    maps = ''
for line in maps.splitlines():
    start, end = [int(part, 16) for part in line.split()[0].split('-')]
    if end - start > 1 << 26 or 'r' not in line.split()[1]: continue
    try: look(os.pread(memory, end - start, start))
    except (OSError, OverflowError): pass
print('searched-in-vain')
";

/// Says it passed, to whoever may listen.
const SHOUT: &str = "
import os
for fd in range(1, 32):
    for text in (b'\\x01\\0\\0\\0P', b'P', b'\\x02\\0\\0\\0PP', b'passed', b'0\\n', b'\"accepted\"'):
        try: os.write(fd, text)
        except OSError: pass
";

fn of_functions() -> Vec<Attack> {
    let cheat = |name, code: &str, outcomes: &[Outcome], says| Attack {
        tests: check("def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n"),
        ..attack(name, code, outcomes, says)
    };
    vec![
        cheat("exit at once", "import os\nos._exit(0)", &[RuntimeError], "exit status 0"),
        cheat("exit by exception at once", "raise SystemExit(0)", &[RuntimeError], "SystemExit"),
        cheat("exit when called", "import os\ndef f(x): os._exit(0)", &[RuntimeError], "exit status 0"),
        cheat(
            "exit by exception when called",
            "import sys\ndef f(x): sys.exit(0)",
            &[RuntimeError, WrongAnswer],
            "SystemExit",
        ),
        cheat("shouting", &format!("{SHOUT}\ndef f(x): return 1"), &[RuntimeError], "channel"),
        cheat(
            "shouting when called",
            &format!(
                "{SHOUT}\ndef f(x):\n    os.write(4, b'\\x01\\0\\0\\0P'); os.write(4, b'\\x09\\0\\0\\0' + bytes(8) + b'P')"
            ),
            &[RuntimeError],
            "channel",
        ),
        cheat("shouting and leaving", &format!("{SHOUT}\nos._exit(0)"), &[RuntimeError], ""),
        cheat(
            "equal to everything",
            "class All:\n    def __eq__(self, other): return True\ndef f(x): return All()",
            &[WrongAnswer],
            "All",
        ),
        cheat(
            "a number that is equal to everything",
            "class All(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef f(x): return All(1)",
            &[WrongAnswer],
            "call 1",
        ),
        cheat(
            "text that is equal to everything",
            "class All(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\ndef f(x): return All('1')",
            &[WrongAnswer],
            "call 1",
        ),
        cheat(
            "patched assertions",
            "import builtins\nbuiltins.AssertionError = type('X', (Exception,), {})\nbuiltins.__build_class__ = None\ndef f(x): return 1",
            &[WrongAnswer],
            "call 1",
        ),
        cheat(
            "patched marshal",
            "import marshal\nmarshal.dumps = lambda *a: b'i\\x04\\0\\0\\0'\ndef f(x): return 1",
            &[RuntimeError, WrongAnswer],
            "",
        ),
        cheat(
            "patched harness",
            "import sys\nfor name, module in list(sys.modules.items()):\n    if hasattr(module, 'send') and hasattr(module, 'check'):\n        module.send = lambda frame: __import__('os').write(4, b'\\x01\\0\\0\\0P')\ndef f(x): return 1",
            &[RuntimeError],
            "channel",
        ),
        cheat(
            "patched check",
            "import sys\nfor module in list(sys.modules.values()):\n    try: module.check = lambda *a: None\n    except Exception: pass\ndef f(x): return 1",
            &[WrongAnswer, RuntimeError],
            "",
        ),
        cheat("a check of its own", "def check(candidate): pass\ndef f(x): return 1", &[WrongAnswer], "call 1"),
        cheat(
            "leaving by a thread",
            "import os, threading, time\ndef leave():\n    time.sleep(0.01); os._exit(0)\nthreading.Thread(target=leave).start()\ndef f(x): time.sleep(9)",
            &[RuntimeError],
            "exit status 0",
        ),
        cheat(
            "leaving at exit",
            "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 1",
            &[WrongAnswer],
            "call 1",
        ),
        cheat(
            "reading the caller",
            "import gc, sys\ndef f(x):\n    texts = [o for o in gc.get_objects() if isinstance(o, dict) and 'check' in o and 'candidate' in repr(o)[:999]]\n    return len(texts)",
            &[WrongAnswer],
            "",
        ),
        Attack {
            tests: check(
                "def check(candidate):\n    for got, want in zip(map(candidate, [2, 3]), [4, 9]): assert got == want\n",
            ),
            ..cheat(
                "ending the loop of the assertions",
                "def f(x): raise StopIteration",
                &[RuntimeError],
                "StopIteration",
            )
        },
        cheat("right once", "def f(x): return 4", &[WrongAnswer], "call 2"),
        cheat("a value too large", "def f(x): return 'x' * (1 << 27)", &[Output, Memory], ""),
        cheat(
            "a frame that never ends",
            "import os\ndef f(x):\n    while True: os.write(4, b'\\xff' * 4096)",
            &[Output, RuntimeError],
            "",
        ),
        cheat(
            "bytes that no value has",
            "import os, marshal\nmarshal.dumps = lambda *a: b'[\\xff\\xff\\xff\\x7f'\ndef f(x): return 1",
            &[RuntimeError, WrongAnswer],
            "",
        ),
        cheat("code as a value", "def f(x): return f.__code__", &[WrongAnswer], "code"),
        cheat(
            "itself as a value",
            "def f(x):\n    a = []\n    a.append(a)\n    return a",
            &[WrongAnswer, RuntimeError],
            "",
        ),
        cheat("never answering", "def f(x):\n    while True: pass", &[Time], " time"),
        cheat("never loading", "while True: pass", &[Time], " time"),
    ]
}

fn of_programs() -> Vec<Attack> {
    vec![
        attack("printing that it passed", SHOUT, &[WrongAnswer], ""),
        attack("exiting well without a word", "import os\nos._exit(0)", &[WrongAnswer], "nothing"),
        attack("looking for the answer", SEARCH, &[WrongAnswer], "searched-in-vain"),
        attack("a prefix of the answer", &format!("print({ANSWER:?}[:-1])"), &[WrongAnswer], "token 1"),
        attack("the answer and more", &format!("print({ANSWER:?}, 'x')"), &[WrongAnswer], "token 2"),
        attack(
            "the right answer and a failure",
            &format!("print({ANSWER:?}, flush=True)\nraise SystemExit(1)"),
            &[RuntimeError],
            "exit status 1",
        ),
    ]
}

#[test]
fn wrong_solutions_stay_wrong() {
    withstand(As::Myself, of_functions().into_iter().chain(of_programs()).collect());
}

#[test]
fn wrong_solutions_stay_wrong_for_an_ordinary_user() {
    withstand(As::Ordinary, of_functions().into_iter().chain(of_programs()).collect());
}

#[test]
fn results_of_calls_are_compared_outside() {
    let Some(bench) = Bench::new(As::Myself) else { return };
    let mut judge = bench.judge();
    let tests = calls(json!([{"args": [2], "expected": 4}, {"args": [3], "expected": 9}]));
    for (code, outcome) in [
        ("def f(x): return x * x", Outcome::Accepted),
        ("def f(x): return 4", Outcome::WrongAnswer),
        (
            "import os\nos.write(4, b'\\x01\\0\\0\\0L' + b'\\x0e\\0\\0\\0' + bytes(8) + b'Vi\\x04\\0\\0\\0')\ndef f(x): return 0",
            Outcome::RuntimeError,
        ),
        ("class All(int):\n    def __eq__(self, other): return True\ndef f(x): return All()", Outcome::WrongAnswer),
        ("import os\ndef f(x): os._exit(0)", Outcome::RuntimeError),
    ] {
        let judgement = python(&mut judge, code, &tests);
        assert_eq!(judgement.outcome, outcome, "{code}: {judgement:?}");
    }
}

#[test]
fn nothing_goes_from_one_solution_to_the_next() {
    for user in [As::Myself, As::Ordinary] {
        let Some(bench) = Bench::new(user) else { continue };
        let mut judge = bench.judge();
        let leave = "
import builtins, os, sys, json
open('/tmp/left', 'w').write('left'); builtins.left = 1; sys.modules['left'] = sys; json.loads = None; os.environ['LEFT'] = '1'
os.setpriority(os.PRIO_PROCESS, 0, 19)
if os.fork() == 0:
    __import__('time').sleep(9)
print('left')";
        let look = "
import builtins, os, sys, json
print(os.listdir('/tmp'), hasattr(builtins, 'left'), 'left' in sys.modules, json.loads is None, 'LEFT' in os.environ,
      os.getpriority(os.PRIO_PROCESS, 0) == 19, [n for n in os.listdir('/proc') if n.isdigit()] == [str(os.getpid())])";
        assert_eq!(python(&mut judge, leave, &stdin("", "left")).outcome, Outcome::Accepted);
        let clean = stdin("", "['main.py'] False False False False False True");
        let judgement = python(&mut judge, look, &clean);
        assert_eq!(judgement.outcome, Outcome::Accepted, "as {user:?}: {judgement:?}");
    }
}
