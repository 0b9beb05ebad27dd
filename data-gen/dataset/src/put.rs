//! Put-if-absent: a file appears under its name whole, and only if nothing had that name. Atomic on local disks, NFS and
//! Lustre, because a hard link is.

use crate::error::DatasetError;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Puts `bytes` under `path` unless something is there; whether it did. They survive a power cut when this returns.
///
/// # Errors
/// When the disk refuses, or the file system has neither hard links nor renames that spare the target.
pub fn put_if_absent(path: &Path, bytes: &[u8]) -> Result<bool, DatasetError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}.tmp", random_id()?));
    let written =
        File::create_new(&temporary).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    let placed = written.and_then(|()| place(&temporary, path));
    if placed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    let placed = placed.map_err(DatasetError::io("write", path))?;
    sync_dir(dir)?;
    Ok(placed)
}

/// Moves `temporary` to `path` unless something is there; whether it did. `temporary` is gone either way, except after an
/// error.
pub(crate) fn place(temporary: &Path, path: &Path) -> io::Result<bool> {
    let placed = match fs::hard_link(temporary, path) {
        Ok(()) => true,
        // A request that a network sent twice finds its own first result.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::metadata(temporary)?.nlink() > 1,
        Err(error) if lacks_links(&error) => match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => false,
            Err(_) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    fs::remove_file(temporary)?;
    Ok(placed)
}

fn lacks_links(error: &io::Error) -> bool {
    [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Makes names that were created, renamed or removed in `dir` survive a power cut.
///
/// # Errors
/// When the disk refuses. A file system that cannot sync folders is taken at its word that it need not.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), DatasetError> {
    let synced = File::open(dir).and_then(|folder| folder.sync_all());
    match synced {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        other => other.map_err(DatasetError::io("sync", dir)),
    }
}

/// 32 hex digits that nobody else draws.
///
/// # Errors
/// When the system has no random numbers.
pub(crate) fn random_id() -> Result<String, DatasetError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(DatasetError::io("read", path))?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn of_many_who_put_at_once_one_does_and_its_bytes_are_whole() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for round in 0..50 {
            let path = dir.path().join(format!("marker-{round}"));
            let texts: Vec<String> = (0..8).map(|index| format!("{index} ").repeat(5000)).collect();
            let placed: Vec<bool> = thread::scope(|scope| {
                let path = &path;
                let put = |text| scope.spawn(move || put_if_absent(path, String::as_bytes(text)).expect("no error"));
                let threads: Vec<_> = texts.iter().map(put).collect();
                threads.into_iter().map(|thread| thread.join().expect("a result")).collect()
            });
            let winners: Vec<usize> = (0..8).filter(|&index| placed[index]).collect();
            assert_eq!(winners.len(), 1, "expected one winner, found {winners:?}");
            assert_eq!(fs::read_to_string(&path).expect("the file"), texts[winners[0]]);
        }
        let left = fs::read_dir(dir.path()).expect("the folder").count();
        assert_eq!(left, 50, "temporary files were left behind");
    }
}
