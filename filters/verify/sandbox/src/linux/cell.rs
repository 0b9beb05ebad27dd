//! The first process of a cell. It mounts the cell's own `/tmp` and `/proc`, puts the files there, starts the program or
//! lets a warm interpreter enter, reaps orphans, and takes everybody along when it ends.
//!
//! It is a copy of the worker, which holds no content: programs and inputs are descriptors here.

use super::{
    confine, raw,
    wire::{self, Begin, CellReport},
};
use crate::{How, Start};
use landlock::RulesetCreated;
use rustix::{
    fs::{Mode, OFlags},
    mount::{MountFlags, mount},
    process::{DumpableBehavior, WaitOptions, WaitStatus, set_dumpable_behavior, wait},
};
use seccompiler::BpfProgram;
use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    process::Command,
};

/// Between two looks for orphans, in milliseconds.
const REAP_EVERY_MS: i64 = 10;

type Error = Box<dyn std::error::Error>;

/// What the worker hands over.
pub(super) struct Order<'w> {
    pub(super) begin: &'w Begin,
    /// Standard input, output, error; the two ends of the channel; the entrance of the group; the files.
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) filters: &'w [BpfProgram],
    /// Whether the kernel has Landlock.
    pub(super) landlock: bool,
}

/// Lives as the first process of a cell. The worker is told how it went; the return value is the exit status.
pub(super) fn live(worker: &OwnedFd, order: Order<'_>) -> i32 {
    match try_live(worker, order) {
        Ok(()) => 0,
        Err(error) => {
            // When the worker is gone too, nobody can be told.
            let _ = wire::send(worker, &CellReport::Failed(error.to_string()), &[]);
            1
        }
    }
}

fn try_live(worker: &OwnedFd, mut order: Order<'_>) -> Result<(), Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    furnish(&mut order)?;
    let rules = if order.landlock { confine::landlock()? } else { None };
    // Only this process may open them: its memory belongs to the outermost user namespace.
    let mut beside = Vec::new();
    for name in ["pid", "mnt", "ipc"] {
        beside.push(OwnedFd::from(File::open(format!("/proc/self/ns/{name}"))?));
    }
    match &order.begin.start {
        Start::Warm { .. } => {
            drop(order.descriptors);
            beside.extend(rules.and_then(Option::<OwnedFd>::from));
            ready(worker, beside)?;
            // The worker closes its end, or kills. Orphans are waited for, so that their CPU time is counted here.
            while !wire::readable(worker, REAP_EVERY_MS)? {
                while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
            }
            Ok(())
        }
        Start::Exec { program, arguments, environment } => {
            ready(worker, beside)?;
            let mut command = Command::new(program);
            command.args(arguments).env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
            execute(worker, &order, command, rules)
        }
    }
}

fn ready(worker: &OwnedFd, beside: Vec<OwnedFd>) -> io::Result<()> {
    let beside: Vec<_> = beside.iter().map(AsFd::as_fd).collect();
    wire::send(worker, &CellReport::Ready, &beside)
}

/// Mounts what belongs to this cell alone.
fn furnish(order: &mut Order<'_>) -> Result<(), Error> {
    let limits = &order.begin.limits;
    let id = confine::PROGRAM_ID;
    let options =
        format!("mode=0700,uid={id},gid={id},size={},nr_inodes={}", limits.disk_bytes, limits.inodes.saturating_add(1));
    let options = CString::new(options)?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", "/tmp", "tmpfs", quiet, Some(options.as_c_str()))
        .map_err(|error| format!("mounting /tmp: {error}"))?;
    mount("proc", "/proc", "proc", quiet | MountFlags::NOEXEC, Some(c"hidepid=invisible,subset=pid"))
        .map_err(|error| format!("mounting /proc: {error}"))?;
    let first = order.begin.streams() + usize::from(order.begin.group);
    if order.descriptors.len() != first + order.begin.files.len() {
        return Err("the worker handed over the wrong number of descriptors".into());
    }
    for (fd, (name, executable)) in order.descriptors.drain(first..).zip(&order.begin.files) {
        let mode = if *executable { 0o555 } else { 0o444 };
        let path = format!("/tmp/{name}");
        let copied = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).and_then(|mut file| {
            io::copy(&mut File::from(fd), &mut file)?;
            Ok(())
        });
        copied.map_err(|error| format!("writing {path}: {error}"))?;
    }
    Ok(())
}

/// Starts the program, waits for it, reports.
fn execute(worker: &OwnedFd, order: &Order<'_>, command: Command, rules: Option<RulesetCreated>) -> Result<(), Error> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let Some(program) = raw::split(0)? else {
        drop(ours);
        let error = become_program(order, command, rules, &theirs);
        // The first byte says that the program begins; whatever follows it, or stands alone, says why it did not.
        let _ = File::from(theirs).write_all(error.to_string().as_bytes());
        std::process::exit(127);
    };
    drop((theirs, rules));
    let mut said = Vec::new();
    File::from(ours).take(4096).read_to_end(&mut said)?;
    if said != [STARTED] {
        let why = said.strip_prefix(&[STARTED]).unwrap_or(&said);
        return Err(String::from_utf8_lossy(why).into_owned().into());
    }
    wire::send(worker, &CellReport::Started, &[])?;
    let how = loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => break how(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let (cpu_ms, memory_bytes) = raw::children_usage();
    let collected = order.begin.collect.as_ref().filter(|_| how == How::Exited(0)).and_then(|name| collect(name));
    let beside: Vec<_> = collected.iter().map(AsFd::as_fd).collect();
    wire::send(worker, &CellReport::Ended { how, cpu_ms, memory_bytes }, &beside)?;
    Ok(())
}

/// The byte that says that everything was given up and the program begins.
pub(super) const STARTED: u8 = b'1';

/// Turns this process into the program; returns only when that fails.
fn become_program(order: &Order<'_>, mut command: Command, rules: Option<RulesetCreated>, status: &OwnedFd) -> Error {
    let prepared = (|| -> Result<OwnedFd, Error> {
        // Beyond everything that is placed below, so that nothing is closed by being replaced.
        let above = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 64);
        let (streams, group) = order.descriptors.split_at(order.begin.streams());
        if let Some(group) = group.first() {
            rustix::io::write(group, b"0")?;
        }
        let sources = streams.iter().map(above).collect::<Result<Vec<_>, _>>()?;
        let status = above(status)?;
        for (number, fd) in sources.iter().enumerate() {
            raw::place(fd.as_fd(), number as i32)?;
        }
        std::env::set_current_dir("/tmp")?;
        confine::confine(&order.begin.limits, rules, order.filters)?;
        // Everything else is closed by the execution itself: the worker's descriptors all are, and this one is too.
        File::from(status.try_clone()?).write_all(&[STARTED])?;
        Ok(status)
    })();
    match prepared {
        Ok(_status) => command.exec().into(),
        Err(error) => error,
    }
}

/// A regular file of the cell's folder.
fn collect(name: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(format!("/tmp/{name}"), flags, Mode::empty()).ok()?;
    let regular = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd).ok()?.st_mode).is_file();
    regular.then_some(fd)
}

fn how(status: WaitStatus) -> How {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => How::Exited(code),
        (None, signal) => How::Signalled(signal.unwrap_or(0)),
    }
}
