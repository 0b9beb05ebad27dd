//! An interpreter that is kept warm: started once in the worker, forked for every program.
//!
//! It speaks sequenced packets on descriptor 0. First it is told the seccomp filters (a count, then length and bytes of
//! each, numbers of 32 bits); it answers `R` when it is ready, or `E` and why not. Then, again and again:
//!
//! - `F`, the six limits of `confine::numbers` as 64 bits each, one byte that says whether a Landlock ruleset and one that
//!   says whether a control group comes along, and the job's argument. Descriptors: the cell's pid, mount and ipc
//!   namespaces, where to write the byte that says that the program begins, standard input, output and error, the
//!   ruleset, the channel's two ends, the group's entrance. It forks into the cell and answers `P` and the pid, 32 bits.
//! - `W` and a pid: waits for it and answers `W`, the status as 32 bits, CPU milliseconds and the largest resident set in
//!   bytes, 64 bits each.
//!
//! `warm.py` is the other side, for Python.

use super::{
    confine, filter,
    wire::{self, Begin},
};
use crate::{How, Warm};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    process::Pid,
    thread::{CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities},
};
use seccompiler::BpfProgram;
use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    process::{Child, Command, Stdio},
};

/// How long the interpreter may take for one answer, in milliseconds.
const PATIENCE_MS: i64 = 30_000;

/// The interpreter.
pub(super) struct Interpreter {
    child: Child,
    socket: OwnedFd,
}

/// What a forked program enters by.
pub(super) struct Entrance<'c> {
    /// The cell's pid, mount and ipc namespaces.
    pub(super) namespaces: &'c [OwnedFd],
    /// Where it says that the program begins.
    pub(super) status: BorrowedFd<'c>,
    /// The Landlock ruleset.
    pub(super) rules: Option<&'c OwnedFd>,
    /// Standard input, output, error, and the channel.
    pub(super) streams: &'c [OwnedFd],
    /// The entrance of the control group.
    pub(super) group: Option<&'c OwnedFd>,
}

impl Interpreter {
    /// Starts it. What it says on standard error is the reason when it fails.
    pub(super) fn start(warm: &Warm, filters: &[BpfProgram]) -> Result<Interpreter, String> {
        let (socket, theirs) = wire::pair().map_err(|error| error.to_string())?;
        // A file, which takes whatever is said; a pipe that nobody reads would stop the interpreter some day.
        let words = memfd_create("words", MemfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
        lend_capabilities().map_err(|error| format!("lending capabilities: {error}"))?;
        let spawned = Command::new(&warm.program)
            .args(&warm.arguments)
            .env_clear()
            .envs(warm.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(words.try_clone().map_err(|error| error.to_string())?))
            .spawn();
        let _ = clear_ambient_capability_set();
        let child = spawned.map_err(|error| format!("{}: {error}", warm.program.display()))?;
        let mut interpreter = Interpreter { child, socket };
        interpreter.prepare(filters).map_err(|error| match interpreter.last_words(File::from(words)) {
            words if words.is_empty() => error.to_string(),
            words => words,
        })?;
        Ok(interpreter)
    }

    fn prepare(&self, filters: &[BpfProgram]) -> io::Result<()> {
        let mut message = (filters.len() as u32).to_ne_bytes().to_vec();
        for program in filters {
            let bytes = filter::bytes(program);
            message.extend((bytes.len() as u32).to_ne_bytes());
            message.extend(bytes);
        }
        wire::send_bytes(&self.socket, &message, &[])?;
        self.answer(b'R').map(drop)
    }

    /// The next answer, without its first byte.
    fn answer(&self, expected: u8) -> io::Result<Vec<u8>> {
        if !wire::readable(&self.socket, PATIENCE_MS)? {
            return Err(io::Error::other("the interpreter does not answer"));
        }
        let Some((bytes, _)) = wire::receive_bytes(&self.socket)? else {
            return Err(io::Error::other("the interpreter went away"));
        };
        match bytes.split_first() {
            Some((first, rest)) if *first == expected => Ok(rest.to_vec()),
            _ => Err(io::Error::other(String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).into_owned())),
        }
    }

    fn last_words(&mut self, said: File) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut bytes = [0; 2000];
        let length = said.read_at(&mut bytes, 0).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    }

    /// Forks a program into a cell.
    pub(super) fn fork(&self, begin: &Begin, argument: &str, entrance: &Entrance<'_>) -> io::Result<Pid> {
        let Entrance { namespaces, status, rules, streams, group } = entrance;
        let mut message = vec![b'F'];
        for number in confine::numbers(&begin.limits) {
            message.extend(number.to_ne_bytes());
        }
        message.extend([u8::from(rules.is_some()), u8::from(group.is_some())]);
        message.extend(argument.as_bytes());
        let (standard, channel) = streams.split_at(streams.len().min(3));
        let mut beside: Vec<_> = namespaces.iter().map(AsFd::as_fd).collect();
        beside.push(*status);
        beside.extend(standard.iter().map(AsFd::as_fd));
        beside.extend(rules.iter().map(AsFd::as_fd));
        beside.extend(channel.iter().map(AsFd::as_fd));
        beside.extend(group.iter().map(AsFd::as_fd));
        wire::send_bytes(&self.socket, &message, &beside)?;
        let answer = self.answer(b'P')?;
        let pid = answer.try_into().ok().and_then(|bytes| Pid::from_raw(i32::from_ne_bytes(bytes)));
        pid.ok_or_else(|| io::Error::other("the interpreter forked nothing"))
    }

    /// Waits for a program that ended or was killed: how, CPU milliseconds, largest resident set.
    pub(super) fn reap(&self, pid: Pid) -> io::Result<(How, u64, u64)> {
        let mut message = vec![b'W'];
        message.extend(pid.as_raw_pid().to_ne_bytes());
        wire::send_bytes(&self.socket, &message, &[])?;
        let answer = self.answer(b'W')?;
        let garbled = || io::Error::other("the interpreter's answer is garbled");
        let (status, rest) = answer.split_first_chunk().ok_or_else(garbled)?;
        let (cpu_ms, memory) = rest.split_first_chunk().ok_or_else(garbled)?;
        let status = i32::from_ne_bytes(*status);
        let how = if libc::WIFSIGNALED(status) {
            How::Signalled(libc::WTERMSIG(status))
        } else {
            How::Exited(libc::WEXITSTATUS(status))
        };
        let memory = memory.try_into().map_err(|_| garbled())?;
        Ok((how, u64::from_ne_bytes(*cpu_ms), u64::from_ne_bytes(memory)))
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the interpreter needs to enter cells and to give everything up, kept over its execution although it is not root
/// inside.
fn lend_capabilities() -> io::Result<()> {
    let lent = CapabilitySet::SYS_ADMIN
        | CapabilitySet::SYS_CHROOT
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::SETPCAP;
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { inheritable: lent, ..sets })?;
    for capability in lent.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
