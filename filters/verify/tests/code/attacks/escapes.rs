//! Attacks on the walls.

use super::{Attack, attack, system, withstand};
use crate::bench::As;
use distill_verify::code::Outcome::{RuntimeError, WrongAnswer};

/// System calls by their numbers on x86-64, which end the process.
const FATAL: [(&str, &str); 17] = [
    ("ptrace of the parent", "syscall(101, 16, os.getppid(), 0, 0)"),
    ("ptrace of pid 1", "syscall(101, 16, 1, 0, 0)"),
    ("seizing pid 1", "syscall(101, 0x4206, 1, 0, 0)"),
    ("memory of pid 1 by process_vm_readv", "syscall(310, 1, 0, 0, 0, 0, 0)"),
    ("nested user namespace by unshare", "syscall(272, 0x10000000)"),
    ("entering another namespace", "syscall(308, 3, 0)"),
    ("io_uring", "syscall(425, 8, ctypes.create_string_buffer(256))"),
    ("keyctl", "syscall(250, 0, -3, 1)"),
    ("add_key", "syscall(248, b'user', b'x', b'y', 1, -3)"),
    ("bpf", "syscall(321, 0, ctypes.create_string_buffer(128), 128)"),
    ("userfaultfd", "syscall(323, 1)"),
    ("perf_event_open", "syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0)"),
    ("mounting", "syscall(165, b'none', b'/tmp', b'tmpfs', 0, 0)"),
    ("unmounting", "syscall(166, b'/tmp', 2)"),
    ("changing the root", "syscall(161, b'/tmp')"),
    ("setting the clock", "syscall(227, 0, ctypes.create_string_buffer(16))"),
    ("opening by handle", "syscall(304, 3, 0, 0)"),
];

/// Reads whatever it is given, and exits with 99 when that worked.
const READS: &str = "
def read(path):
    with open(path, 'rb') as file: return file.read(64)
";

fn attacks() -> Vec<Attack> {
    let mut attacks = vec![
        system(
            "nested user namespace by clone",
            "if syscall(56, 0x10000000 | 17, 0, 0, 0, 0) == 0: os._exit(0)\nsys.exit(99)",
            &[RuntimeError],
            "PermissionError",
        ),
        system(
            "nested user namespace by clone3",
            "syscall(435, ctypes.create_string_buffer(88), 88)\nsys.exit(99)",
            &[RuntimeError],
            "not implemented",
        ),
        attack(
            "network v4",
            "import socket, sys\nsocket.create_connection(('127.0.0.1', 22), 1)\nsys.exit(99)",
            &[RuntimeError],
            "PermissionError",
        ),
        attack(
            "network v6",
            "import socket, sys\nsocket.socket(socket.AF_INET6)\nsys.exit(99)",
            &[RuntimeError],
            "PermissionError",
        ),
        attack(
            "datagrams",
            "import socket, sys\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nsys.exit(99)",
            &[RuntimeError],
            "PermissionError",
        ),
        attack(
            "abstract socket",
            "import socket, sys\nsocket.socket(socket.AF_UNIX).connect('\\0/tmp/.X11-unix/X0')\nsys.exit(99)",
            &[RuntimeError],
            "Error",
        ),
        attack(
            "netlink",
            "import socket, sys\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\nsys.exit(99)",
            &[RuntimeError],
            "PermissionError",
        ),
        attack(
            "environment of pid 1",
            &format!("{READS}import sys\nread('/proc/1/environ')\nsys.exit(99)"),
            &[RuntimeError],
            "No such file",
        ),
        attack(
            "memory of pid 1",
            &format!("{READS}import sys\nread('/proc/1/mem')\nsys.exit(99)"),
            &[RuntimeError],
            "No such file",
        ),
        attack(
            "root of pid 1",
            "import os, sys\nos.listdir('/proc/1/root')\nsys.exit(99)",
            &[RuntimeError],
            "No such file",
        ),
        attack(
            "everybody else in /proc",
            "import os, sys\nothers = [n for n in os.listdir('/proc') if n.isdigit() and int(n) != os.getpid()]\n\
             sys.exit(99 if others else 3)",
            &[RuntimeError],
            "status 3",
        ),
        attack(
            "settings of the kernel",
            "import os, sys\nos.listdir('/proc/sys')\nsys.exit(99)",
            &[RuntimeError],
            "No such file",
        ),
        attack(
            "sysrq",
            "import sys\nopen('/proc/sysrq-trigger', 'w').write('b')\nsys.exit(99)",
            &[RuntimeError],
            "No such file",
        ),
        attack(
            "kill -1",
            "import os, time\nos.kill(-1, 9)\ntime.sleep(0.05)\nprint('alive')",
            &[WrongAnswer, RuntimeError],
            "",
        ),
        attack(
            "kill pid 1",
            "import os, time\nos.kill(1, 9)\nos.kill(1, 15)\ntime.sleep(0.05)\nprint('alive')",
            &[WrongAnswer, RuntimeError],
            "",
        ),
        attack(
            "kill every pid",
            "import os\nfor n in range(1, 40000):\n    try:\n        if n != os.getpid(): os.kill(n, 9)\n    except OSError: pass\nprint('alive')",
            &[WrongAnswer],
            "alive",
        ),
        attack(
            "symlink",
            "import os, sys\nos.symlink('/etc/passwd', '/tmp/x')\nopen('/tmp/x').read()\nsys.exit(99)",
            &[RuntimeError],
            "No such file",
        ),
        attack(
            "hard link",
            "import os, sys\nos.link('/usr/lib/os-release', '/tmp/x')\nsys.exit(99)",
            &[RuntimeError],
            "Error",
        ),
        attack(
            "parents of the root",
            "import os, sys\nfor _ in range(64): os.chdir('..')\nsys.exit(99 if 'home' in os.listdir('.') or os.path.exists('etc/passwd') else 3)",
            &[RuntimeError],
            "status 3",
        ),
        attack(
            "inherited descriptors",
            "import os, sys\nopen_ones = []\nfor n in range(3, 4096):\n    try: os.fstat(n)\n    except OSError: continue\n    \
             open_ones.append(n)\nsys.exit(99 if open_ones else 3)",
            &[RuntimeError],
            "status 3",
        ),
        attack(
            "writing to standard input",
            "import os, sys\nos.write(os.open('/proc/self/fd/0', os.O_RDWR), b'x')\nsys.exit(99)",
            &[RuntimeError],
            "Error",
        ),
        attack("writing to the root", "import sys\nopen('/escaped', 'w')\nsys.exit(99)", &[RuntimeError], "Error"),
        attack(
            "writing to a library",
            "import sys\nopen('/usr/lib/escaped', 'w')\nsys.exit(99)",
            &[RuntimeError],
            "Error",
        ),
        attack(
            "writing to the harness",
            "import sys\nopen('/harness/harness.py', 'a').write('escaped')\nsys.exit(99)",
            &[RuntimeError],
            "Error",
        ),
        attack(
            "writing to /proc",
            "import sys\nopen('/proc/self/oom_score_adj', 'w').write('-1000')\nsys.exit(99)",
            &[RuntimeError],
            "Error",
        ),
        attack("becoming root", "import os, sys\nos.setuid(0)\nsys.exit(99)", &[RuntimeError], "PermissionError"),
        attack(
            "limits of pid 1",
            "import resource, sys\nresource.prlimit(1, resource.RLIMIT_NOFILE)\nsys.exit(99)",
            &[RuntimeError],
            "PermissionError",
        ),
        attack(
            "limits of its own",
            "import resource, sys\nresource.setrlimit(resource.RLIMIT_NPROC, (99999, 99999))\nsys.exit(99)",
            &[RuntimeError],
            "Error",
        ),
        attack(
            "typing into a terminal",
            "import fcntl, sys\nfcntl.ioctl(0, 0x5412, b'x')\nsys.exit(99)",
            &[RuntimeError],
            "PermissionError",
        ),
        attack(
            "a device",
            "import os, stat, sys\nos.mknod('/tmp/x', stat.S_IFBLK | 0o600, os.makedev(254, 0))\nsys.exit(99)",
            &[RuntimeError],
            "PermissionError",
        ),
        attack(
            "escape codes",
            "print('\\x1b]0;owned\\x07\\x1b[2J\\x1b[31m\\u202eowned')",
            &[WrongAnswer],
            "\u{fffd}[2J",
        ),
        attack(
            "a program of its own",
            "import os, sys\nopen('/tmp/x', 'w').write('#!/bin/sh\\nid')\nos.chmod('/tmp/x', 0o4755)\nos.execv('/tmp/x', ['x'])\nsys.exit(99)",
            &[RuntimeError],
            "Error",
        ),
    ];
    if cfg!(target_arch = "x86_64") {
        attacks.extend(
            FATAL.map(|(name, call)| system(name, &format!("{call}\nsys.exit(99)"), &[RuntimeError], "SIGSYS")),
        );
    }
    attacks
}

#[test]
fn nobody_gets_out() {
    withstand(As::Myself, attacks());
}

#[test]
fn nobody_gets_out_for_an_ordinary_user() {
    withstand(As::Ordinary, attacks());
}
