//! Advisory locks, with the three answers that a file system gives: mine, somebody else's, or "no locks here".
//!
//! The third must never be taken for the second: a network mount without locks would look like a busy one for ever.

use rustix::io::Errno;
use std::{
    fs::{File, TryLockError},
    io,
};

/// What the file system said to a request for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// This file now holds the lock, until it is closed.
    Mine,
    /// Another open file holds it.
    Others,
    /// The file system keeps no locks.
    Unsupported,
}

/// Tries to take the exclusive lock; `file` must be open for writing, as NFS wants it.
pub(crate) fn try_lock(file: &File) -> io::Result<Locked> {
    told(file.try_lock())
}

/// Tries to take a shared lock, which fails only where somebody holds the exclusive one: for observers, who must not
/// mistake each other for the owner.
pub(crate) fn try_lock_shared(file: &File) -> io::Result<Locked> {
    told(file.try_lock_shared())
}

fn told(answer: Result<(), TryLockError>) -> io::Result<Locked> {
    match answer {
        Ok(()) => Ok(Locked::Mine),
        Err(TryLockError::WouldBlock) => Ok(Locked::Others),
        Err(TryLockError::Error(error)) if says_unsupported(&error) => Ok(Locked::Unsupported),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn says_unsupported(error: &io::Error) -> bool {
    let unsupported = [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
    error.kind() == io::ErrorKind::Unsupported
        || unsupported.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_is_not_another_process() {
        for errno in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL] {
            let answer = told(Err(TryLockError::Error(errno.into())));
            assert_eq!(answer.expect("no error"), Locked::Unsupported, "{errno:?} was taken for something else");
        }
        assert!(told(Err(TryLockError::Error(Errno::IO.into()))).is_err(), "a failing disk is an error");
        assert_eq!(told(Err(TryLockError::WouldBlock)).expect("no error"), Locked::Others);
    }

    #[test]
    fn observers_see_the_owner_and_not_each_other() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("lock");
        let owner = File::create(&path).expect("a file");
        let open = || File::open(&path).expect("the file");
        assert_eq!(try_lock(&owner).expect("a lock"), Locked::Mine);
        let (one, two) = (open(), open());
        assert_eq!(try_lock_shared(&one).expect("an answer"), Locked::Others);
        drop(owner);
        assert_eq!(try_lock_shared(&one).expect("an answer"), Locked::Mine);
        assert_eq!(try_lock_shared(&two).expect("an answer"), Locked::Mine, "one observer kept the other out");
    }
}
