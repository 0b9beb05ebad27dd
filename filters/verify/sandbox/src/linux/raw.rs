//! The system calls that no crate wraps safely for a process with one thread. All of this crate's unsafe code is here.
#![allow(unsafe_code)]

use crate::Layer;
use rustix::process::Pid;
use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
};

/// The namespaces that a worker and its cells get, for a view.
pub(super) fn namespaces(all: i32, without: &[Layer]) -> i32 {
    without.iter().fold(all, |flags, layer| match layer {
        Layer::NetworkNamespace => flags & !libc::CLONE_NEWNET,
        Layer::IpcNamespace => flags & !libc::CLONE_NEWIPC,
        Layer::UtsNamespace => flags & !libc::CLONE_NEWUTS,
        _ => flags,
    })
}

/// The namespaces of a worker.
pub(super) const WORKER: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;
/// The namespaces of a cell inside a worker.
pub(super) const CELL: i32 = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
/// A user namespace to build a root in, for ordinary users.
pub(super) const BUILDER: i32 = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Splits this process in two, the new one in new namespaces; `None` in the child.
pub(super) fn split(namespaces: i32) -> io::Result<Option<Pid>> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack given this is `fork` into other namespaces. The supervisor has one thread,
    // so the child's copy of memory and locks is consistent.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) })?;
    Ok(Pid::from_raw(pid as i32))
}

/// Moves this process into new namespaces.
pub(super) fn unshare(namespaces: i32) -> io::Result<()> {
    // SAFETY: takes flags alone; the supervisor has one thread, so nothing shared is torn apart.
    check(unsafe { libc::unshare(namespaces) }.into()).map(drop)
}

/// Makes every mount at and beneath `path` read-only, without set-user-id and without devices.
pub(super) fn seal_mounts(path: &CStr, recursive: bool, no_devices: bool) -> io::Result<()> {
    let devices = if no_devices { libc::MOUNT_ATTR_NODEV } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | devices,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `path` ends in NUL and `attributes` is a live struct of the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}

/// Duplicates a descriptor onto `number`, inherited by what is executed.
pub(super) fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        // SAFETY: changes a flag of a descriptor that is borrowed, so open.
        return check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(drop);
    }
    // SAFETY: the process is about to execute another program or to exit: no owner of `number` will use it again.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}

/// CPU milliseconds and largest resident set in bytes of all children waited for.
pub(super) fn children_usage() -> (u64, u64) {
    // SAFETY: `usage` is a plain struct for which all zeros is a value, and lives through the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let milliseconds = |time: libc::timeval| time.tv_sec as u64 * 1000 + time.tv_usec as u64 / 1000;
    (milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime), usage.ru_maxrss as u64 * 1024)
}

/// Bytes in a page. The C library was told when the program began; rustix asks again, and before Linux 6.4 a process that
/// cannot be traced gets no answer.
pub(super) fn page_size() -> u64 {
    // SAFETY: reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096).max(1)
}

/// Clock ticks a second, in which `/proc` counts CPU time.
pub(super) fn ticks_per_second() -> u64 {
    // SAFETY: reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1)
}
