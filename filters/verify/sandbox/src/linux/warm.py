"""The interpreter's side of `warm.rs`: forks itself into cells.

It runs with power over the worker's cells and never touches what is judged: it receives descriptors and numbers alone.
The forked child enters the cell, gives up every privilege, and only then lets `harness.run` read the program.
"""

import _socket
import ctypes
import fcntl
import gc
import os
import resource
import struct
import sys

import harness

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x08000000, 0x20000000
PR_SET_NAME, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 15, 4, 22, 24, 38, 47
LANDLOCK_RESTRICT_SELF, PIDFD_OPEN = 446, 434
PROGRAM_ID = 1000
ABOVE = 100

libc = ctypes.CDLL(None, use_errno=True)


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def check(result, doing):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{doing}: {os.strerror(error)}")
    return result


def prctl(option, a=0, b=0, doing="prctl"):
    unsigned = ctypes.c_ulong
    return check(libc.prctl(option, unsigned(a), unsigned(b), unsigned(0), unsigned(0)), doing)


def read_filters(message):
    """Buffers that stay alive, and the structures that point to them."""
    (count,), place, filters = struct.unpack_from("=I", message), 4, []
    for _ in range(count):
        (length,) = struct.unpack_from("=I", message, place)
        buffer = ctypes.create_string_buffer(message[place + 4 : place + 4 + length], length)
        filters.append((buffer, Filter(length // 8, ctypes.addressof(buffer))))
        place += 4 + length
    return filters


def enter(mounts, ipc, status, streams, rules, channel, group, limits, filters):
    """Becomes a process of the cell without any privilege. Returns when the program may begin."""
    if group is not None:
        os.write(group, b"0")
    # The pid namespace was entered by being forked.
    check(libc.setns(ipc, CLONE_NEWIPC), "entering the cell's ipc namespace")
    check(libc.setns(mounts, CLONE_NEWNS), "entering the cell's mounts")
    os.chdir("/tmp")
    os.setsid()
    status = fcntl.fcntl(status, fcntl.F_DUPFD, ABOVE)
    rules = fcntl.fcntl(rules, fcntl.F_DUPFD, ABOVE) if rules is not None else None
    kept = [fcntl.fcntl(fd, fcntl.F_DUPFD, ABOVE) for fd in streams + channel]
    for number, fd in enumerate(kept):
        os.dup2(fd, number)
        os.close(fd)
    os.closerange(len(kept), ABOVE)
    os.closerange(ABOVE + 2, 1024)
    space, seconds, size, descriptors, processes, stack = limits
    for name, limit in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, size),
        (resource.RLIMIT_NOFILE, descriptors),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_STACK, stack),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, 64),
    ):
        resource.setrlimit(name, (limit, limit))
    try:
        os.setgroups([])
    except PermissionError:
        pass  # Where only one user can be mapped, groups are nobody's already.
    os.setresgid(PROGRAM_ID, PROGRAM_ID, PROGRAM_ID)
    os.setresuid(PROGRAM_ID, PROGRAM_ID, PROGRAM_ID)
    prctl(PR_CAP_AMBIENT, 4, 0, "clearing capabilities")
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    check(libc.capset(header, none), "giving up capabilities")
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, "giving up new privileges")
    if rules is not None:
        check(libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0), "entering Landlock")
        os.close(rules)
    for _, program in filters:
        prctl(PR_SET_SECCOMP, 2, ctypes.addressof(program), "installing the filter")
    os.write(status, b"1")
    os.close(status)


def main():
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=0)
    prctl(PR_SET_DUMPABLE, 0)
    filters = read_filters(control.recv(1 << 17))
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)
    own = check(libc.syscall(PIDFD_OPEN, os.getpid(), 0), "opening this process")
    harness.prepare()
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()
    # Nobody listens from here on, and what is written would be kept.
    silence = os.open("/dev/null", os.O_WRONLY)
    os.dup2(silence, 2)
    os.close(silence)
    control.send(b"R")
    space = _socket.CMSG_SPACE(16 * 4)
    while True:
        message, beside, _, _ = control.recvmsg(1 << 16, space)
        if not message:
            os._exit(0)
        if message[:1] == b"W":
            pid, status, usage = os.wait4(struct.unpack_from("=i", message, 1)[0], 0)
            milliseconds = int((usage.ru_utime + usage.ru_stime) * 1000)
            control.send(b"W" + struct.pack("=iQQ", status, milliseconds, usage.ru_maxrss * 1024))
            continue
        descriptors = list(struct.unpack(f"={len(beside[0][2]) // 4}i", beside[0][2]))
        limits = struct.unpack_from("=6Q", message, 1)
        (with_rules, with_group), argument = message[49:51], message[51:].decode()
        (cell, mounts, ipc, status), streams, rest = descriptors[:4], descriptors[4:7], descriptors[7:]
        rules = rest.pop(0) if with_rules else None
        group = rest.pop() if with_group else None
        try:
            check(libc.setns(cell, CLONE_NEWPID), "entering the cell's processes")
            pid = os.fork()
            if pid == 0:
                control.detach()
                break
            check(libc.setns(own, CLONE_NEWPID), "leaving the cell's processes")
            control.send(b"P" + struct.pack("=i", pid))
        except OSError as error:
            control.send(b"E" + str(error).encode())
        for fd in descriptors:
            os.close(fd)
    try:
        enter(mounts, ipc, status, streams, rules, rest, group, limits, filters)
    except BaseException as error:
        try:
            os.write(status if status < ABOVE else ABOVE, f"{error}".encode())
        finally:
            os._exit(127)
    del control, message, beside, descriptors
    harness.run(argument)


if __name__ == "__main__":
    sys.path[:1] = []
    main()
