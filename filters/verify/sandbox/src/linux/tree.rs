//! The root that cells see: built under `/new` from bind mounts of the old root, read-only, with the few devices that
//! programs need. `/tmp` and `/proc` are empty folders, mounted anew for every cell.

use super::{Fault, fault, raw};
use crate::{Layer, View};
use rustix::{
    fs::{Mode, mkdir, symlink},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change},
    process::{chdir, pivot_root},
};
use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

/// Where the old root is while the new one is built.
const OLD: &str = "/old";
/// Where the new root is built.
pub(super) const NEW: &str = "/new";
/// Devices that cannot keep or leak anything.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/random"];
/// Links that programs expect.
const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/shm", "/tmp"),
];
/// Links followed on the way to one path.
const MAX_LINKS: usize = 40;

/// Builds the root under [`NEW`], in a mount namespace of this process's own.
pub(super) fn build(view: &View) -> Result<(), Fault> {
    let layer = Layer::ReadOnlyRoot;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(fault(Layer::MountNamespace, "cannot separate the mounts"))?;
    empty("/tmp").map_err(fault(layer, "cannot mount a tmpfs"))?;
    for folder in ["/tmp/old", "/tmp/new"] {
        mkdir(folder, Mode::from_bits_truncate(0o755)).map_err(fault(layer, "cannot make a folder"))?;
    }
    pivot_root("/tmp", "/tmp/old").map_err(fault(layer, "cannot change the root"))?;
    chdir("/").map_err(fault(layer, "cannot enter the root"))?;
    empty(NEW).map_err(fault(layer, "cannot mount a tmpfs"))?;
    let mut tree = Tree { shown: Vec::new() };
    for folder in ["/tmp", "/proc", "/dev"] {
        tree.folder(Path::new(folder)).map_err(fault(layer, format!("cannot make {folder}")))?;
    }
    for (link, target) in LINKS {
        symlink(target, inside(Path::new(link))).map_err(fault(layer, format!("cannot make {link}")))?;
    }
    for path in &view.paths {
        tree.show(path, MAX_LINKS).map_err(fault(layer, format!("cannot show {}", path.display())))?;
    }
    for (path, content) in &view.files {
        let doing = || format!("cannot write {}", path.display());
        tree.folder(path.parent().unwrap_or(Path::new("/"))).map_err(fault(layer, doing()))?;
        fs::write(inside(path), content).map_err(fault(layer, doing()))?;
    }
    for device in DEVICES {
        fs::write(inside(Path::new(device)), "").map_err(fault(layer, format!("cannot make {device}")))?;
    }
    let root = CString::new(NEW).map_err(fault(layer, "a name"))?;
    raw::seal_mounts(&root, true, true).map_err(fault(layer, "cannot make the mounts read-only"))?;
    for device in DEVICES {
        let place = inside(Path::new(device));
        let doing = || format!("cannot show {device}");
        mount_bind_recursive(format!("{OLD}{device}"), &place).map_err(fault(layer, doing()))?;
        let place = CString::new(place.as_os_str().as_bytes()).map_err(fault(layer, doing()))?;
        raw::seal_mounts(&place, false, false).map_err(fault(layer, doing()))?;
    }
    Ok(())
}

fn empty(place: &str) -> Result<(), Errno> {
    mount("tmpfs", place, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755,size=4m,nr_inodes=16384"))
}

/// A path of the new root, as seen while it is built.
fn inside(path: &Path) -> PathBuf {
    Path::new(NEW).join(path.strip_prefix("/").unwrap_or(path))
}

struct Tree {
    /// What is mounted already.
    shown: Vec<PathBuf>,
}

impl Tree {
    /// Makes a folder of the new root with those above it.
    fn folder(&self, path: &Path) -> io::Result<()> {
        if self.covered(path) { Ok(()) } else { fs::create_dir_all(inside(path)) }
    }

    fn covered(&self, path: &Path) -> bool {
        self.shown.iter().any(|shown| path.starts_with(shown))
    }

    /// Mounts a path of the old root under the same name. Links on the way are kept as links, and what they lead to is
    /// shown too.
    fn show(&mut self, path: &Path, links: usize) -> io::Result<()> {
        let path = lexical(path);
        let mut walked = PathBuf::from("/");
        let mut rest = path.components();
        rest.next();
        while let Some(component) = rest.next() {
            let next = walked.join(component);
            let old = Path::new(OLD).join(next.strip_prefix("/").unwrap_or(&next));
            let Ok(metadata) = fs::symlink_metadata(&old) else { return Ok(()) };
            if metadata.is_symlink() {
                if links == 0 {
                    return Err(io::Error::other("too many links"));
                }
                let target = fs::read_link(&old)?;
                if !self.covered(&next) && fs::symlink_metadata(inside(&next)).is_err() {
                    self.folder(&walked)?;
                    symlink(&target, inside(&next))?;
                }
                return self.show(&walked.join(target).join(rest.as_path()), links - 1);
            }
            walked = next;
        }
        if self.covered(&walked) {
            return Ok(());
        }
        if matches!(
            walked.to_str(),
            Some("/" | "/proc" | "/sys" | "/dev" | "/home" | "/root" | "/tmp" | "/run" | "/etc" | "/var")
        ) {
            return Err(io::Error::other("that would show more than a program needs"));
        }
        let old = Path::new(OLD).join(walked.strip_prefix("/").unwrap_or(&walked));
        if fs::metadata(&old)?.is_dir() {
            self.folder(&walked)?;
        } else {
            self.folder(walked.parent().unwrap_or(Path::new("/")))?;
            fs::write(inside(&walked), "")?;
        }
        mount_bind_recursive(&old, inside(&walked))?;
        self.shown.push(walked);
        Ok(())
    }
}

/// A path without `.` and `..`, which may lead through links that are resolved already.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}
