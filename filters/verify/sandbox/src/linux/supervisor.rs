//! The outermost process: builds the root with the rights it was started with, splits off the worker into namespaces of
//! its own, maps its users, and waits. It dies with the worker, and the worker with it.

use super::{
    Fault, confine, fault, raw, tree,
    wire::{self, Report, Request},
    worker,
};
use crate::{Layer, View};
use rustix::process::{Pid, WaitOptions, getegid, geteuid, getpid, waitpid};
use std::{
    fs,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

/// The first of the users that programs of root's sandboxes have outside: numbers that nobody has.
const FIRST_USER: u32 = 1_900_000_000;

/// Which users and groups there are inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// 0 is the worker, 1000 the programs; both are nobody outside.
    Two,
    /// 1000 is everybody; outside it is whoever started the supervisor, who is not root.
    One,
}

/// What the supervisor process does: serves the program whose socket is its standard input, until that closes it.
pub fn supervise() -> ExitCode {
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return ExitCode::FAILURE };
    let Ok(Some((Request::Setup(view), _))) = wire::receive(&control) else {
        let _ = writeln!(
            std::io::stderr(),
            "error: this is the supervisor of a sandbox; it is started by `distill verify code`, not by hand"
        );
        return ExitCode::from(2);
    };
    match serve(&control, &view) {
        Ok(code) => ExitCode::from(code),
        Err(Fault { layer, why }) => {
            // Nobody listens any more: nothing to tell.
            let _ = wire::send(&control, &Report::Missing { layer, why }, &[]);
            ExitCode::FAILURE
        }
    }
}

fn serve(control: &OwnedFd, view: &View) -> Result<u8, Fault> {
    let null = fs::File::open("/dev/null").map_err(fault(Layer::MountNamespace, "opening /dev/null"))?;
    raw::place(null.as_fd(), 0).map_err(fault(Layer::MountNamespace, "closing standard input"))?;
    let users = namespace_for_building()?;
    // Opened before the root changes: the worker's maps are written through it.
    let processes = fs::File::open("/proc").map_err(fault(Layer::UserNamespace, "opening /proc"))?;
    tree::build(view)?;
    let (go, wait) = wire::pair().map_err(fault(Layer::UserNamespace, "making a socket"))?;
    let worker = raw::split(raw::namespaces(raw::WORKER, &view.without))
        .map_err(fault(Layer::UserNamespace, "making the namespaces"))?;
    let Some(worker) = worker else {
        drop((go, processes));
        std::process::exit(worker::work(control, &wait, view, users));
    };
    drop(wait);
    let mapped = map_users(&processes, worker, users);
    if let Err(fault) = &mapped {
        let _ = rustix::process::kill_process(worker, rustix::process::Signal::KILL);
        let _ = waitpid(Some(worker), WaitOptions::empty());
        return Err(Fault { layer: fault.layer, why: fault.why.clone() });
    }
    wire::send_bytes(&go, b"go", &[]).map_err(fault(Layer::UserNamespace, "telling the worker"))?;
    loop {
        match waitpid(Some(worker), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some((_, status))) => return Ok(status.exit_status().map_or(1, |code| code as u8)),
            Ok(None) | Err(_) => return Ok(1),
        }
    }
}

/// Root builds in a mount namespace of its own; everybody else in a user namespace in which they are root.
fn namespace_for_building() -> Result<Users, Fault> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() && raw::unshare(libc::CLONE_NEWNS).is_ok() {
        return Ok(Users::Two);
    }
    if user.is_root() {
        let why =
            "started as root, but without the right to make mounts, so that programs would be root outside".to_owned();
        return Err(Fault { layer: Layer::NonRoot, why });
    }
    raw::unshare(raw::BUILDER).map_err(fault(Layer::UserNamespace, "making a user namespace"))?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(fault(Layer::UserNamespace, format!("writing {file}")))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {} 1", user.as_raw()))?;
    write("gid_map", format!("0 {} 1", group.as_raw()))?;
    Ok(Users::One)
}

fn map_users(processes: &fs::File, worker: Pid, users: Users) -> Result<(), Fault> {
    let program = confine::PROGRAM_ID;
    let map = match users {
        Users::One => format!("{program} 0 1"),
        Users::Two => {
            // Two numbers a worker: limits that count by user count this worker alone.
            let first = FIRST_USER + (getpid().as_raw_pid() as u32 % (1 << 24)) * 2;
            format!("0 {first} 1\n{program} {} 1", first + 1)
        }
    };
    let write = |file: &str, text: &str| {
        let path = format!("{}/{file}", worker.as_raw_pid());
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
        let opened = rustix::fs::openat(processes, path, flags, rustix::fs::Mode::empty());
        let written = opened.map_err(std::io::Error::from).and_then(|fd| fs::File::from(fd).write_all(text.as_bytes()));
        written.map_err(fault(Layer::UserNamespace, format!("writing {file}")))
    };
    if users == Users::One {
        write("setgroups", "deny")?;
    }
    write("gid_map", &map)?;
    write("uid_map", &map)
}
