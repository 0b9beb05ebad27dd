//! The program's side: starts a supervisor, hands it runs, reads what they write.

use super::{
    group::{self, Group},
    wire::{self, Begin, Report, Request},
};
use crate::{Capped, End, How, Job, Launcher, Layer, Layers, SandboxError, Stopped, View};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Largest frame of a channel. A program that sends a longer one has sent too much.
const MAX_FRAME: usize = 32 << 20;
/// How long a supervisor may take beyond a run's wall time before it is given up.
const GRACE: Duration = Duration::from_secs(30);
/// Read from a stream at once.
const CHUNK: usize = 64 << 10;

/// A supervisor with its root, in which programs are run: one after another, or a few that talk to each other.
///
/// Dropping it ends everything that is left.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    control: Option<OwnedFd>,
    layers: Layers,
    /// Where runs get control groups.
    groups: Option<&'static Path>,
    next_id: u64,
    /// What streams are read into.
    chunk: Box<[u8]>,
}

/// A contained program, running or ended.
#[derive(Debug)]
pub struct Process {
    id: u64,
    stdout: Stream,
    stderr: Stream,
    channel: Option<Channel>,
    deadline: Instant,
    asked_to_stop: Option<Stopped>,
    group: Option<Group>,
    /// How much of a collected file is read.
    collect_bytes: u64,
    end: Option<Result<End, String>>,
    told: bool,
}

/// What happened to one of several processes.
#[derive(Debug)]
pub enum Event {
    /// A frame came out of its channel.
    Frame(usize, Vec<u8>),
    /// It ended; nothing more comes.
    Ended(usize),
}

#[derive(Debug)]
struct Stream {
    fd: Option<OwnedFd>,
    /// Whether it is worth reading.
    ready: bool,
    taken: Capped,
    limit: usize,
}

#[derive(Debug)]
struct Channel {
    requests: Option<OwnedFd>,
    outgoing: Vec<u8>,
    /// How much of it was given out.
    given: usize,
    replies: Option<OwnedFd>,
    incoming: Vec<u8>,
    readable: bool,
    writable: bool,
}

impl Worker {
    /// Starts a supervisor with this view.
    ///
    /// # Errors
    /// When a required layer is missing, or the supervisor or the interpreter does not start.
    pub fn start(launcher: &Launcher, view: &View) -> Result<Worker, SandboxError> {
        if let Some(layer) = view.without.iter().find(|layer| !layer.can_be_left_out()) {
            return Err(SandboxError::Needed(*layer));
        }
        let supervisor = |what| move |error: io::Error| SandboxError::Supervisor { what, why: error.to_string() };
        let (control, theirs) = wire::pair().map_err(supervisor("could not be started"))?;
        let mut command = Command::new(&launcher.program);
        if let Some((user, group)) = launcher.user {
            command.gid(group).uid(user);
        }
        let child = command
            .args(&launcher.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal from the terminal is for the program, which decides what becomes of its runs.
            .process_group(0)
            .spawn()
            .map_err(supervisor("could not be started"))?;
        // With its end of the socket, so that its death is heard.
        drop(command);
        let chunk = vec![0; CHUNK].into_boxed_slice();
        let mut worker =
            Worker { child, control: Some(control), layers: Layers::default(), groups: None, next_id: 0, chunk };
        // A program that is no supervisor may be gone already; that is found out below.
        let _ = wire::send(worker.control()?, &Request::Setup(view.clone()), &[]);
        if !wire::readable(worker.control()?, GRACE.as_millis() as i64).map_err(supervisor("failed"))? {
            return Err(SandboxError::Supervisor { what: "does not answer", why: format!("{} s", GRACE.as_secs()) });
        }
        match wire::receive(worker.control()?).map_err(supervisor("failed"))? {
            Some((Report::Ready(layers), _)) => worker.layers = layers,
            Some((Report::Missing { layer, why }, _)) => {
                return Err(SandboxError::Missing { layer, why, hint: layer.hint() });
            }
            Some((Report::Cold { why }, _)) => return Err(SandboxError::Warm { why }),
            _ => {
                let why = format!("{} did not become one", launcher.program.display());
                return Err(SandboxError::Supervisor { what: "went away", why });
            }
        }
        for (layer, why) in &worker.layers.missing {
            if layer.required() && !view.without.contains(layer) {
                return Err(SandboxError::Missing { layer: *layer, why: why.clone(), hint: layer.hint() });
            }
        }
        worker.look_for_groups(view);
        Ok(worker)
    }

    fn look_for_groups(&mut self, view: &View) {
        if view.without.contains(&Layer::ControlGroup) {
            return;
        }
        match group::delegated() {
            Ok(groups) => {
                self.groups = Some(groups);
                self.layers.obtained.push(Layer::ControlGroup);
            }
            Err(why) => self.layers.missing.push((Layer::ControlGroup, why.to_owned())),
        }
    }

    /// What holds.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    fn control(&self) -> Result<&OwnedFd, SandboxError> {
        let gone = || SandboxError::Supervisor { what: "went away", why: "it had to be ended".to_owned() };
        self.control.as_ref().ok_or_else(gone)
    }

    /// Begins a run.
    ///
    /// # Errors
    /// When the supervisor is gone, or the system is out of descriptors.
    pub fn begin(&mut self, job: &Job) -> Result<Process, SandboxError> {
        let failed =
            |error: io::Error| SandboxError::Supervisor { what: "could not be given a run", why: error.to_string() };
        self.try_begin(job).map_err(failed)
    }

    fn try_begin(&mut self, job: &Job) -> io::Result<Process> {
        let id = self.next_id;
        self.next_id += 1;
        let (stdout, their_stdout) = output()?;
        let (stderr, their_stderr) = output()?;
        let mut theirs = vec![content("stdin", &job.stdin)?, their_stdout, their_stderr];
        let mut channel = None;
        if job.channel {
            let (their_requests, requests) = pipe_with(PipeFlags::CLOEXEC)?;
            let (replies, their_replies) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&requests, true)?;
            rustix::io::ioctl_fionbio(&replies, true)?;
            theirs.extend([their_requests, their_replies]);
            let (outgoing, incoming) = (Vec::new(), Vec::new());
            let (requests, replies) = (Some(requests), Some(replies));
            channel =
                Some(Channel { requests, outgoing, given: 0, replies, incoming, readable: false, writable: false });
        }
        let group = self.groups.map(|parent| Group::new(parent, &job.limits)).transpose()?;
        let group = group.map(|(group, entrance)| {
            theirs.push(entrance);
            group
        });
        for file in &job.files {
            theirs.push(content(&file.name, &file.content)?);
        }
        let begin = Begin {
            id,
            start: job.start.clone(),
            limits: job.limits,
            channel: job.channel,
            group: group.is_some(),
            files: job.files.iter().map(|file| (file.name.clone(), file.executable)).collect(),
            collect: job.collect.as_ref().map(|(name, _)| name.clone()),
        };
        let beside: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        let control = self.control().map_err(io::Error::other)?;
        wire::send(control, &Request::Begin(begin), &beside)?;
        let stream =
            |fd, limit: u64| Stream { fd: Some(fd), ready: false, taken: Capped::default(), limit: limit as usize };
        Ok(Process {
            id,
            stdout: stream(stdout, job.limits.stdout_bytes),
            stderr: stream(stderr, job.limits.stderr_bytes),
            channel,
            deadline: Instant::now() + Duration::from_millis(job.limits.wall_ms) + GRACE,
            asked_to_stop: None,
            group,
            collect_bytes: job.collect.as_ref().map_or(0, |(_, bytes)| *bytes),
            end: None,
            told: false,
        })
    }

    /// Runs one program to its end.
    ///
    /// # Errors
    /// When the supervisor goes away.
    pub fn run(&mut self, job: &Job) -> Result<Process, SandboxError> {
        let mut processes = [self.begin(job)?];
        while !matches!(self.next(&mut processes)?, Event::Ended(_)) {}
        let [process] = processes;
        Ok(process)
    }

    /// Asks for the end of a run; [`Event::Ended`] follows.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn stop(&mut self, process: &mut Process, why: Stopped) -> Result<(), SandboxError> {
        if process.asked_to_stop.is_some() || process.end.is_some() {
            return Ok(());
        }
        process.asked_to_stop = Some(why);
        let stop = Request::Stop { id: process.id, why };
        wire::send(self.control()?, &stop, &[]).map_err(|error| SandboxError::Supervisor {
            what: "could not be told to stop a run",
            why: error.to_string(),
        })
    }

    /// Waits for the next thing to happen to one of these processes of this worker, taking in what they write.
    ///
    /// # Errors
    /// When the supervisor went away or does not keep its limits: it is ended then, and everything with it.
    pub fn next(&mut self, processes: &mut [Process]) -> Result<Event, SandboxError> {
        let outcome = self.try_next(processes);
        outcome.map_err(|why| {
            self.control = None;
            let _ = self.child.kill();
            let _ = self.child.wait();
            SandboxError::Supervisor { what: "was ended", why: why.to_string() }
        })
    }

    fn try_next(&mut self, processes: &mut [Process]) -> io::Result<Event> {
        loop {
            for (index, process) in processes.iter_mut().enumerate() {
                if let Some(frame) = process.frame() {
                    match frame {
                        Some(frame) => return Ok(Event::Frame(index, frame)),
                        None => self.stop(process, Stopped::Output).map_err(io::Error::other)?,
                    }
                }
                if process.end.is_some() && !process.told {
                    process.told = true;
                    return Ok(Event::Ended(index));
                }
            }
            if processes.iter().all(|process| process.told) {
                return Err(io::Error::other("it was waited for without anything running"));
            }
            let told = self.wait(processes)?;
            for process in processes.iter_mut() {
                if process.take(&mut self.chunk)? {
                    self.stop(process, Stopped::Output).map_err(io::Error::other)?;
                }
            }
            if told {
                let control = self.control().map_err(io::Error::other)?;
                let Some((report, beside)) = wire::receive::<Report>(control)? else {
                    return Err(io::Error::other("it went away"));
                };
                let (id, end) = match report {
                    Report::Ended { id, end } => (id, Ok(end)),
                    Report::Failed { id, why } => (id, Err(why)),
                    _ => return Err(io::Error::other("it spoke out of turn")),
                };
                if let Some(process) = processes.iter_mut().find(|process| process.id == id) {
                    process.finish(end, beside, &mut self.chunk)?;
                }
            }
        }
    }

    /// Waits until something can be read or written, and notes what; true when the supervisor says something.
    fn wait(&self, processes: &mut [Process]) -> io::Result<bool> {
        let control = self.control().map_err(io::Error::other)?;
        let mut fds = vec![PollFd::new(control, PollFlags::IN)];
        for process in processes.iter() {
            let channel = process.channel.as_ref();
            let replies = channel.and_then(|channel| channel.replies.as_ref());
            let reads = [process.stdout.fd.as_ref(), process.stderr.fd.as_ref(), replies];
            fds.extend(reads.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)));
            let pending = channel.filter(|channel| !channel.outgoing.is_empty());
            let writes = pending.and_then(|channel| channel.requests.as_ref());
            fds.extend(writes.map(|fd| PollFd::new(fd, PollFlags::OUT)));
        }
        let running = processes.iter().filter(|process| process.end.is_none());
        let Some(deadline) = running.map(|process| process.deadline).max() else { return Ok(false) };
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Err(io::Error::other("it did not keep a run's limits")),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        let told = ready.next().unwrap_or(false);
        for process in processes {
            // In the order in which they were asked about.
            let mut next = |asked: bool| asked && ready.next().unwrap_or(false);
            process.stdout.ready = next(process.stdout.fd.is_some());
            process.stderr.ready = next(process.stderr.fd.is_some());
            if let Some(channel) = &mut process.channel {
                channel.readable = next(channel.replies.is_some());
                channel.writable = next(!channel.outgoing.is_empty() && channel.requests.is_some());
            }
        }
        Ok(told)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The worker ends when its socket closes, the supervisor with it. A supervisor that does not is killed, which ends
        // the worker too.
        self.control = None;
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// How it ended.
    ///
    /// # Errors
    /// When it could not be started or its end is not known: nothing can be said of it then.
    pub fn end(&self) -> Result<&End, SandboxError> {
        match &self.end {
            Some(Ok(end)) => Ok(end),
            Some(Err(why)) => Err(SandboxError::Cell(why.clone())),
            None => Err(SandboxError::Cell("it is still running".to_owned())),
        }
    }

    /// Whether it ended.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The file that was brought back.
    pub fn collected(&self) -> Option<&[u8]> {
        self.end.as_ref()?.as_ref().ok()?.collected.as_deref()
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> &Capped {
        &self.stdout.taken
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> &Capped {
        &self.stderr.taken
    }

    /// Sends a frame, given in parts; it is delivered while [`Worker::next`] waits.
    pub fn send(&mut self, parts: &[&[u8]]) {
        let Some(channel) = &mut self.channel else { return };
        let length: usize = parts.iter().map(|part| part.len()).sum();
        channel.outgoing.reserve_exact(4 + length);
        channel.outgoing.extend((length as u32).to_le_bytes());
        parts.iter().for_each(|part| channel.outgoing.extend(*part));
    }

    /// The next whole frame; `Some(None)` when what comes is none.
    fn frame(&mut self) -> Option<Option<Vec<u8>>> {
        let incoming = &mut self.channel.as_mut()?.incoming;
        let length = u32::from_le_bytes(*incoming.first_chunk()?) as usize;
        if length > MAX_FRAME {
            incoming.clear();
            self.channel = None;
            return Some(None);
        }
        if incoming.len() < 4 + length {
            return None;
        }
        let rest = incoming.split_off(4 + length);
        let mut frame = std::mem::replace(incoming, rest);
        frame.drain(..4);
        Some(Some(frame))
    }

    /// Takes in what can be read, gives out what can be written. True when a stream carries too much.
    fn take(&mut self, chunk: &mut [u8]) -> io::Result<bool> {
        let mut overflowed = self.stdout.take(chunk)?;
        overflowed |= self.stderr.take(chunk)?;
        let Some(channel) = &mut self.channel else { return Ok(overflowed) };
        if let (Some(replies), true) = (&channel.replies, channel.readable) {
            match rustix::io::read(replies, &mut *chunk) {
                Ok(0) => channel.replies = None,
                Ok(length) => channel.keep(&chunk[..length]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let (Some(requests), true) = (&channel.requests, channel.writable) {
            match rustix::io::write(requests, channel.outgoing.get(channel.given..).unwrap_or_default()) {
                Ok(length) => {
                    channel.given += length;
                    if channel.given >= channel.outgoing.len() {
                        // What was large is not kept for what is small.
                        (channel.outgoing, channel.given) = (Vec::new(), 0);
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Nobody reads any more; the end will say why.
                Err(_) => {
                    channel.requests = None;
                    (channel.outgoing, channel.given) = (Vec::new(), 0);
                }
            }
        }
        Ok(overflowed)
    }

    fn finish(&mut self, end: Result<End, String>, beside: Vec<OwnedFd>, chunk: &mut [u8]) -> io::Result<()> {
        // Nobody is left to write: what is in the pipes is all there is.
        for stream in [&mut self.stdout, &mut self.stderr] {
            while stream.fd.is_some() && !stream.taken.overflowed {
                let before = stream.taken.bytes.len();
                stream.ready = true;
                stream.take(chunk)?;
                if stream.taken.bytes.len() == before {
                    break;
                }
            }
            stream.fd = None;
        }
        if let Some(channel) = &mut self.channel {
            while let Some(replies) = &channel.replies {
                match rustix::io::read(replies, &mut *chunk) {
                    Ok(length @ 1..) => channel.keep(&chunk[..length]),
                    Err(Errno::INTR) => {}
                    Ok(0) | Err(_) => channel.replies = None,
                }
            }
            channel.requests = None;
        }
        let overflowed = self.stdout.taken.overflowed || self.stderr.taken.overflowed;
        self.end = Some(match end {
            Ok(mut end) => {
                if overflowed {
                    end.stopped = Some(Stopped::Output);
                }
                let killed = end.stopped.is_none() && end.how == How::Signalled(rustix::process::Signal::KILL.as_raw());
                if killed && self.group.as_ref().is_some_and(Group::ran_out_of_memory) {
                    end.stopped = Some(Stopped::Memory);
                }
                if let Some(fd) = beside.into_iter().next() {
                    let mut bytes = Vec::new();
                    File::from(fd).take(self.collect_bytes).read_to_end(&mut bytes)?;
                    end.collected = Some(bytes);
                }
                Ok(end)
            }
            Err(why) => Err(why),
        });
        self.group = None;
        Ok(())
    }
}

impl Channel {
    /// Takes in what was read. There is room for one frame as soon as its length is known and half of it came; a length
    /// alone costs nothing.
    fn keep(&mut self, bytes: &[u8]) {
        let needed = self.incoming.len() + bytes.len();
        if needed > self.incoming.capacity() {
            let told = self.incoming.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize + 4);
            let room = (2 * needed).min(told.max(needed));
            self.incoming.reserve_exact(room - self.incoming.len());
        }
        self.incoming.extend_from_slice(bytes);
    }
}

impl Stream {
    /// True when it carries more than its limit, at the first time.
    fn take(&mut self, chunk: &mut [u8]) -> io::Result<bool> {
        let Some(fd) = self.fd.as_ref().filter(|_| self.ready) else { return Ok(false) };
        match rustix::io::read(fd, &mut *chunk) {
            Ok(0) => self.fd = None,
            Ok(length) => {
                let room = self.limit.saturating_sub(self.taken.bytes.len());
                self.taken.bytes.extend_from_slice(&chunk[..length.min(room)]);
                if length > room {
                    self.taken.overflowed = true;
                    self.fd = None;
                    return Ok(true);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(false)
    }
}

/// A pipe that a contained program writes to, which it may also open by its name in `/proc`.
fn output() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    fchmod(&theirs, Mode::from_bits_truncate(0o622))?;
    Ok((ours, theirs))
}

/// Content as a file that nobody can change.
fn content(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    io::Seek::rewind(&mut file)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}
