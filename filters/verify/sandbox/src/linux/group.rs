//! Control groups (version 2), where this program's own was delegated to it: a hard wall behind the watch, which looks only
//! now and then. Every run gets a group beneath ours with a limit of memory and processes; its program puts itself in,
//! through a descriptor that was opened here, before it gives anything up. Nothing depends on them.
//!
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>, <https://systemd.io/CGROUP_DELEGATION/>

use crate::Limits;
use rustix::{fs::OFlags, process::geteuid};
use std::{
    fs::{self, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// What the files of a run's folder are charged with beside them: page tables, pipes, stacks in the kernel.
const KERNEL: u64 = 32 << 20;
/// How often, a millisecond apart, a group is tried to be removed whose processes are on their way out.
const TRIES: u32 = 100;
/// What our groups are called, before this process's number.
const PREFIX: &str = "distill-";

/// The group that is ours to divide, or why there is none.
pub(super) fn delegated() -> Result<&'static Path, &'static str> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(find).as_deref().map_err(String::as_str)
}

/// One run's group. Dropping it kills whoever is in it and removes it.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
}

impl Group {
    /// Makes one beneath `parent`. Who writes `0` to the descriptor is in it from then on.
    pub(super) fn new(parent: &Path, limits: &Limits) -> io::Result<(Group, OwnedFd)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = parent.join(format!("{PREFIX}{}-{}", process::id(), NEXT.fetch_add(1, Relaxed)));
        fs::create_dir(&folder)?;
        let group = Group { folder };
        // Files in its tmpfs are memory to the group and disk to the watch.
        let memory = limits.memory_bytes.saturating_add(limits.disk_bytes).saturating_add(KERNEL);
        group.set("memory.max", &memory.to_string())?;
        group.set("memory.oom.group", "1")?;
        group.set("pids.max", &limits.processes.to_string())?;
        // Not there without swap.
        match group.set("memory.swap.max", "0") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let entrance = OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::CLOEXEC.bits() as i32)
            .open(group.folder.join("cgroup.procs"))?;
        Ok((group, entrance.into()))
    }

    /// Whether the kernel killed what was in it because it had no memory left.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        put(&self.folder.join(file), value)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if fs::remove_dir(&self.folder).is_ok() {
            return;
        }
        // What is left is removed when this process is gone and the next one looks.
        let _ = self.set("cgroup.kill", "1");
        for _ in 0..TRIES {
            std::thread::sleep(Duration::from_millis(1));
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
        }
    }
}

fn find() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let groups = read("/proc/self/cgroup")?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or("this system has no cgroup v2")?;
    let mounts = read("/proc/self/mountinfo")?;
    let mount = mounts.lines().find_map(cgroup2_mount).ok_or("cgroup v2 is not mounted")?;
    let folder = Path::new(mount).join(own.trim_start_matches('/'));
    // Root may write everywhere: only what systemd marks as given away, or the root of a container's own tree, is ours.
    if geteuid().is_root() && own != "/" && !is_marked(&folder) {
        return Err(format!("{own} belongs to the system's manager"));
    }
    let controllers = fs::read_to_string(folder.join("cgroup.controllers"))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    if !has_both(&controllers) {
        return Err(format!("memory and pids are needed, and {own} has `{}`", controllers.trim()));
    }
    sweep(&folder);
    divide(&folder, own)?;
    let denied = |error: io::Error| format!("{own} is not delegated: {error}");
    let (group, _) = Group::new(&folder, &Limits::default()).map_err(denied)?;
    drop(group);
    Ok(folder)
}

/// Lets groups beneath have memory and pids of their own, for which this one must hold no processes itself.
fn divide(folder: &Path, own: &str) -> Result<(), String> {
    let control = folder.join("cgroup.subtree_control");
    if fs::read_to_string(&control).is_ok_and(|controllers| has_both(&controllers)) {
        return Ok(());
    }
    let why = |error: io::Error| format!("{own} is not delegated: {error}");
    match put(&control, "+memory +pids") {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        other => return other.map_err(why),
    }
    let members = fs::read_to_string(folder.join("cgroup.procs")).map_err(why)?;
    if members.trim() != process::id().to_string() {
        return Err(format!("{own} has other processes in it"));
    }
    let leaf = folder.join(format!("{PREFIX}{}", process::id()));
    fs::create_dir(&leaf).map_err(why)?;
    put(&leaf.join("cgroup.procs"), "0").map_err(why)?;
    put(&control, "+memory +pids").map_err(why)
}

/// Removes groups of ours that were left behind by processes that are gone.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let owner = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            // Whoever still has processes in it keeps it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The mount point, where this line of `mountinfo` mounts a whole cgroup v2 tree.
fn cgroup2_mount(line: &str) -> Option<&str> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    (system.starts_with("cgroup2 ") && fields.next() == Some("/")).then(|| fields.next()).flatten()
}

fn has_both(controllers: &str) -> bool {
    ["memory", "pids"].iter().all(|needed| controllers.split_ascii_whitespace().any(|name| name == *needed))
}

/// Whether systemd says that this group was given away.
fn is_marked(folder: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        let mut value = [0; 4];
        matches!(rustix::fs::getxattr(folder, *name, &mut value), Ok(1) if value[0] == b'1')
    })
}

/// Writes to a file that is there.
fn put(path: &Path, value: &str) -> io::Result<()> {
    io::Write::write_all(&mut OpenOptions::new().write(true).open(path)?, value.as_bytes())
}
