//! The worker: first process of the outer pid namespace. It starts cells, watches over what they use, ends them, and
//! tells how each ended. One thread; everything it waits for is in one `poll`.

use super::{
    Fault,
    cell::{self, Order, STARTED},
    confine, fault, filter, raw,
    supervisor::Users,
    tree,
    warm::{Entrance, Interpreter},
    watch::Watch,
    wire::{self, Begin, CellReport, Report, Request},
};
use crate::{End, How, Layer, Layers, Start, Stopped, View};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, unmount},
    process::{
        DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, chdir, pidfd_open, pidfd_send_signal, pivot_root,
        set_dumpable_behavior, set_parent_process_death_signal, waitpid,
    },
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use seccompiler::BpfProgram;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

/// Between two looks at what cells use.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a cell may take to be set up, in milliseconds.
const SETUP_MS: i64 = 20_000;
/// How long a cell that was killed may take to be gone, in milliseconds.
const ENDING_MS: i64 = 10_000;

/// Works until the program closes its end. The return value is the exit status.
pub(super) fn work(control: &OwnedFd, go: &OwnedFd, view: &View, users: Users) -> i32 {
    match Worker::prepare(go, view, users) {
        Err(Fault { layer, why }) => {
            let _ = wire::send(control, &Report::Missing { layer, why }, &[]);
            1
        }
        Ok(mut worker) => {
            if let Some(warm) = &view.warm {
                match Interpreter::start(warm, &worker.filters) {
                    Ok(interpreter) => worker.interpreter = Some(interpreter),
                    Err(why) => {
                        let _ = wire::send(control, &Report::Cold { why }, &[]);
                        return 1;
                    }
                }
            }
            match worker.serve(control) {
                Ok(()) => 0,
                Err(_) => 1,
            }
        }
    }
}

struct Worker {
    layers: Layers,
    filters: Vec<BpfProgram>,
    landlock: bool,
    interpreter: Option<Interpreter>,
    cells: Vec<Cell>,
    /// The namespaces that every cell gets.
    namespaces: i32,
}

/// A cell with a program in it.
struct Cell {
    id: u64,
    init: Pid,
    init_fd: OwnedFd,
    socket: OwnedFd,
    /// The program's process, when it was forked from the interpreter.
    program: Option<(Pid, OwnedFd)>,
    limits: crate::Limits,
    began: Instant,
    watch: Watch,
    /// The last and the largest that was seen.
    cpu_ms: u64,
    memory_bytes: u64,
}

impl Worker {
    /// Enters the new root and finds out what there is.
    fn prepare(go: &OwnedFd, view: &View, users: Users) -> Result<Worker, Fault> {
        let mut layers = Layers::default();
        let told = wire::receive_bytes(go).map_err(fault(Layer::UserNamespace, "waiting for the maps"))?;
        if told.is_none() {
            return Err(Fault { layer: Layer::UserNamespace, why: "the supervisor went away".to_owned() });
        }
        if users == Users::Two {
            let doing = || "becoming the worker's user";
            set_thread_res_gid(zero_group(), zero_group(), zero_group()).map_err(fault(Layer::NonRoot, doing()))?;
            set_thread_groups(&[]).map_err(fault(Layer::NonRoot, doing()))?;
            set_thread_res_uid(zero_user(), zero_user(), zero_user()).map_err(fault(Layer::NonRoot, doing()))?;
        }
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(fault(Layer::PidNamespace, "tying its life"))?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(fault(Layer::PidNamespace, "hiding its memory"))?;
        let with = |layer: &Layer| !view.without.contains(layer);
        if with(&Layer::UtsNamespace) {
            rustix::system::sethostname(b"sandbox").map_err(fault(Layer::UtsNamespace, "naming the host"))?;
        }
        enter_root()?;
        layers.obtained = vec![
            Layer::UserNamespace,
            Layer::MountNamespace,
            Layer::PidNamespace,
            Layer::NetworkNamespace,
            Layer::IpcNamespace,
            Layer::UtsNamespace,
            Layer::ReadOnlyRoot,
            Layer::Tmpfs,
            Layer::NonRoot,
            Layer::NoNewPrivileges,
            Layer::Limits,
        ];
        let mut filters = Vec::new();
        if with(&Layer::Seccomp) {
            filters = filter::programs(with(&Layer::NetworkNamespace))
                .map_err(fault(Layer::Seccomp, "compiling the filter"))?;
            layers.obtained.push(Layer::Seccomp);
        }
        let rules = confine::landlock().map(|rules| rules.and_then(Option::<OwnedFd>::from));
        let landlock = matches!(rules, Ok(Some(_))) && with(&Layer::Landlock);
        match rules {
            _ if !with(&Layer::Landlock) => {}
            Ok(Some(_)) => layers.obtained.push(Layer::Landlock),
            Ok(None) => layers.missing.push((Layer::Landlock, "this kernel has none".to_owned())),
            Err(error) => layers.missing.push((Layer::Landlock, error.to_string())),
        }
        layers.obtained.retain(with);
        layers.obtained.sort();
        layers.missing.extend(view.without.iter().map(|layer| (*layer, "left out as asked".to_owned())));
        let namespaces = raw::namespaces(raw::CELL, &view.without);
        Ok(Worker { layers, filters, landlock, interpreter: None, cells: Vec::new(), namespaces })
    }

    fn serve(&mut self, control: &OwnedFd) -> io::Result<()> {
        wire::send(control, &Report::Ready(self.layers.clone()), &[])?;
        loop {
            self.wait(control)?;
            if wire::readable(control, 0)? {
                match wire::receive::<Request>(control)? {
                    None => return Ok(()),
                    Some((Request::Begin(begin), descriptors)) => {
                        let id = begin.id;
                        if let Err(why) = self.begin(begin, descriptors) {
                            wire::send(control, &Report::Failed { id, why }, &[])?;
                        }
                    }
                    Some((Request::Stop { id, why }, _)) => {
                        if let Some(index) = self.cells.iter().position(|cell| cell.id == id) {
                            self.finish(control, index, Some(why))?;
                        }
                    }
                    Some((Request::Setup(_), _)) => {}
                }
            }
            let mut index = 0;
            while index < self.cells.len() {
                let ended = self.ended(index)?;
                let stopped = if ended { None } else { self.over_limit(index) };
                if ended || stopped.is_some() {
                    self.finish(control, index, stopped)?;
                } else {
                    index += 1;
                }
            }
        }
    }

    /// Until something happens, or it is time to look.
    fn wait(&self, control: &OwnedFd) -> io::Result<()> {
        let mut fds = vec![PollFd::new(control, PollFlags::IN)];
        for cell in &self.cells {
            let fd = cell.program.as_ref().map_or(&cell.socket, |(_, fd)| fd);
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        let look = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.as_nanos() as i64 };
        match poll(&mut fds, (!self.cells.is_empty()).then_some(&look)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn begin(&mut self, begin: Begin, descriptors: Vec<OwnedFd>) -> Result<(), String> {
        let said = |doing: &'static str| move |error: io::Error| format!("{doing}: {error}");
        let (ours, theirs) = wire::pair().map_err(said("making a socket"))?;
        // The program's streams stay here until the interpreter has them.
        let kept = match begin.start {
            Start::Warm { .. } => {
                let kept = begin.streams() + usize::from(begin.group);
                let kept = descriptors.iter().take(kept).map(OwnedFd::try_clone);
                kept.collect::<io::Result<Vec<_>>>().map_err(said("keeping the streams"))?
            }
            Start::Exec { .. } => Vec::new(),
        };
        let Some(init) = raw::split(self.namespaces).map_err(said("making the cell's namespaces"))? else {
            drop((ours, kept));
            let order = Order { begin: &begin, descriptors, filters: &self.filters, landlock: self.landlock };
            std::process::exit(cell::live(&theirs, order));
        };
        drop((theirs, descriptors));
        let started = pidfd_open(init, PidfdFlags::empty()).map_err(|error| error.to_string()).and_then(|init_fd| {
            let (namespace, program) = self.start(&begin, &ours, kept)?;
            Ok((init_fd, namespace, program))
        });
        match started {
            Ok((init_fd, namespace, program)) => {
                self.cells.push(Cell {
                    id: begin.id,
                    init,
                    init_fd,
                    socket: ours,
                    program,
                    limits: begin.limits,
                    began: Instant::now(),
                    watch: Watch::new(init, namespace),
                    cpu_ms: 0,
                    memory_bytes: 0,
                });
                Ok(())
            }
            Err(why) => {
                let _ = rustix::process::kill_process(init, Signal::KILL);
                if let Ok(fd) = pidfd_open(init, PidfdFlags::empty()) {
                    wait_for(init, &fd);
                }
                Err(why)
            }
        }
    }

    /// From a cell that is being furnished to a program that has begun.
    #[allow(clippy::type_complexity)]
    fn start(
        &self,
        begin: &Begin,
        cell: &OwnedFd,
        mut streams: Vec<OwnedFd>,
    ) -> Result<(u64, Option<(Pid, OwnedFd)>), String> {
        let mut namespaces = match report(cell)? {
            (CellReport::Ready, beside) => beside,
            (CellReport::Failed(why), _) => return Err(why),
            _ => return Err("the cell spoke out of turn".to_owned()),
        };
        let rules = (namespaces.len() > 3).then(|| namespaces.pop()).flatten();
        let first = namespaces.first().ok_or("the cell showed no namespaces")?;
        let namespace = rustix::fs::fstat(first).map_err(|error| error.to_string())?.st_ino;
        let Start::Warm { argument } = &begin.start else {
            return match report(cell)? {
                (CellReport::Started, _) => Ok((namespace, None)),
                (CellReport::Failed(why), _) => Err(why),
                _ => Err("the cell spoke out of turn".to_owned()),
            };
        };
        let Some(interpreter) = &self.interpreter else { return Err("no interpreter is kept warm here".to_owned()) };
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| e.to_string())?;
        let group = streams.split_off(begin.streams().min(streams.len())).pop();
        let entrance = Entrance {
            namespaces: &namespaces,
            status: theirs.as_fd(),
            rules: rules.as_ref(),
            streams: &streams,
            group: group.as_ref(),
        };
        let pid = interpreter.fork(begin, argument, &entrance).map_err(|error| error.to_string())?;
        drop((theirs, streams, rules, group));
        let fd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| error.to_string())?;
        let mut said = [0; 512];
        let length = match wire::readable(&ours, SETUP_MS) {
            Ok(true) => rustix::io::read(&ours, &mut said).unwrap_or(0),
            _ => 0,
        };
        if said[..length] == [STARTED] {
            return Ok((namespace, Some((pid, fd))));
        }
        let _ = pidfd_send_signal(&fd, Signal::KILL);
        let _ = interpreter.reap(pid);
        Err(match length {
            0 => "the forked interpreter died before the program began".to_owned(),
            _ => String::from_utf8_lossy(&said[..length]).into_owned(),
        })
    }

    fn ended(&self, index: usize) -> io::Result<bool> {
        let Some(cell) = self.cells.get(index) else { return Ok(false) };
        wire::readable(cell.program.as_ref().map_or(&cell.socket, |(_, fd)| fd), 0)
    }

    fn over_limit(&mut self, index: usize) -> Option<Stopped> {
        let inits: Vec<i32> = self.cells.iter().map(|cell| cell.init.as_raw_pid()).collect();
        let cell = self.cells.get_mut(index)?;
        let elapsed = cell.began.elapsed();
        if elapsed > Duration::from_millis(cell.limits.wall_ms) {
            return Some(Stopped::Wall);
        }
        if elapsed < LOOK_EVERY / 2 {
            return None;
        }
        let usage = cell.watch.look(cell.limits.memory_bytes, &inits);
        cell.cpu_ms = usage.cpu_ms;
        cell.memory_bytes = cell.memory_bytes.max(usage.memory_bytes);
        if usage.memory_bytes > cell.limits.memory_bytes {
            Some(Stopped::Memory)
        } else if usage.cpu_ms > cell.limits.cpu_ms {
            Some(Stopped::Cpu)
        } else {
            None
        }
    }

    /// Ends a cell, whatever is still in it, and tells how its program ended.
    fn finish(&mut self, control: &OwnedFd, index: usize, stopped: Option<Stopped>) -> io::Result<()> {
        let cell = self.cells.swap_remove(index);
        let wall_ms = cell.began.elapsed().as_millis() as u64;
        // What an executed program's cell has to say comes before the cell is killed.
        let last = match (&cell.program, stopped) {
            (None, None) => report(&cell.socket),
            _ => Err(String::new()),
        };
        let _ = pidfd_send_signal(&cell.init_fd, Signal::KILL);
        // The cell's first process waits for all others before it goes, and the program is the interpreter's to reap.
        let reaped = match (&cell.program, &self.interpreter) {
            (Some((pid, _)), Some(interpreter)) => Some(interpreter.reap(*pid)),
            _ => None,
        };
        let gone = wait_for(cell.init, &cell.init_fd);
        // Nothing more can be started where something will not end, or the interpreter does not answer.
        let lost = |doing: &str| io::Error::other(format!("{doing} a cell took too long"));
        let broken = match &reaped {
            Some(Err(error)) => Some(io::Error::other(error.to_string())),
            _ if !gone => Some(lost("ending")),
            _ => None,
        };
        let (how, cpu_ms, memory, beside) = match (reaped, last) {
            (Some(Ok((how, cpu_ms, memory))), _) => (how, cpu_ms, memory, Vec::new()),
            (None, Ok((CellReport::Ended { how, cpu_ms, memory_bytes }, beside))) => {
                (how, cpu_ms, memory_bytes, beside)
            }
            // Why it was stopped is known, however it ended.
            (_, Err(_)) if stopped.is_some() => (How::Signalled(libc::SIGKILL), cell.cpu_ms, 0, Vec::new()),
            (reaped, last) => {
                let why = match (reaped, last) {
                    (Some(Err(error)), _) => error.to_string(),
                    (None, Ok((CellReport::Failed(why), _))) => why,
                    _ => "the cell ended without a word".to_owned(),
                };
                self.failed(control, cell.id, &why)?;
                return broken.map_or(Ok(()), Err);
            }
        };
        let beyond = stopped.is_none()
            && matches!(how, How::Signalled(libc::SIGXCPU | libc::SIGKILL))
            && cpu_ms >= cell.limits.cpu_ms;
        let end = End {
            how,
            stopped: if beyond { Some(Stopped::Cpu) } else { stopped },
            wall_ms,
            cpu_ms,
            memory_bytes: memory.max(cell.memory_bytes),
            collected: None,
        };
        let beside: Vec<_> = beside.iter().map(AsFd::as_fd).collect();
        wire::send(control, &Report::Ended { id: cell.id, end }, &beside)?;
        broken.map_or(Ok(()), Err)
    }

    fn failed(&self, control: &OwnedFd, id: u64, why: &str) -> io::Result<()> {
        wire::send(control, &Report::Failed { id, why: why.to_owned() }, &[])
    }
}

/// The next thing a cell says.
fn report(cell: &OwnedFd) -> Result<(CellReport, Vec<OwnedFd>), String> {
    match wire::readable(cell, SETUP_MS) {
        Ok(true) => {}
        Ok(false) => return Err("the cell does not answer".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    match wire::receive(cell) {
        Ok(Some(report)) => Ok(report),
        Ok(None) => Err("the cell ended without a word".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Waits for a child that was killed; false where it does not go.
fn wait_for(pid: Pid, fd: &OwnedFd) -> bool {
    if !wire::readable(fd, ENDING_MS).unwrap_or(false) {
        return false;
    }
    while matches!(waitpid(Some(pid), WaitOptions::NOHANG), Err(Errno::INTR)) {}
    true
}

fn zero_user() -> rustix::process::Uid {
    rustix::process::Uid::ROOT
}

fn zero_group() -> rustix::process::Gid {
    rustix::process::Gid::ROOT
}

/// Mounts the worker's own `/proc`, makes what was built the root, and lets go of the old one.
fn enter_root() -> Result<(), Fault> {
    let layer = Layer::ReadOnlyRoot;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", format!("{}/proc", tree::NEW), "proc", quiet, None)
        .map_err(fault(Layer::Limits, "mounting /proc"))?;
    mount_bind_recursive(tree::NEW, tree::NEW).map_err(fault(layer, "binding the new root"))?;
    chdir(tree::NEW).map_err(fault(layer, "entering the new root"))?;
    pivot_root(".", ".").map_err(fault(layer, "changing the root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(fault(layer, "letting go of the old root"))?;
    chdir("/").map_err(fault(layer, "entering the new root"))
}
