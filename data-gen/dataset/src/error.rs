//! What can go wrong with a dataset, said for people.

use std::{io, path::PathBuf};

/// An error in reading or writing datasets.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried, e.g. `write`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A Parquet file is damaged or not what it claims to be.
    #[error("{}: not a readable Parquet shard: {message}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        message: String,
    },
    /// A file of somebody else's is not what was expected.
    #[error("{}: {message}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was expected, what was found, and what to do.
        message: String,
    },
    /// A file of somebody else's lacks a column.
    #[error("{}: expected a column `{column}`, found {found}\nhint: `columns` says which column holds what; `a.b` is `b` in the struct `a`, `a.0` the first item of the list `a`", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column that is wanted.
        column: String,
        /// Those that are there.
        found: String,
    },
    /// A column of a file of somebody else's holds no text.
    #[error("{}: column `{column}`: expected text, numbers, truths, or lists and structs of them, found {found}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it holds.
        found: String,
    },
    /// Rows that are to be sorted are not.
    #[error("{}: expected rows in order of their key, found {found} after {last}", path.display())]
    Order {
        /// The folder they are written to.
        path: PathBuf,
        /// The key of the row before.
        last: String,
        /// The key of the row that is out of order.
        found: String,
    },
    /// A shard's bytes do not match its manifest.
    #[error("{}: expected checksum {expected}, found {found}\nhint: the file changed after it was written; delete its folder to have the stage run again", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What the bytes say.
        found: String,
    },
    /// A manifest that cannot be understood.
    #[error("{}: not a manifest of this version: {message}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// A journal, or an entry of one, that cannot be understood or written.
    #[error("{}: {message}", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What was expected, and what is there.
        message: String,
    },
    /// A file of log-probabilities that is damaged or cannot be written.
    #[error("{}: not readable as log-probabilities: {message}", path.display())]
    LogProbs {
        /// The file.
        path: PathBuf,
        /// What was expected, and what is there.
        message: String,
    },
    /// Another process is at work on the same stage.
    #[error("{} is being written by another process\nhint: wait for it, or end it; its work is resumed by the next run", path.display())]
    Busy {
        /// The stage's folder.
        path: PathBuf,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => "\nhint: free some space and run the same command again; finished work is kept",
        _ => "",
    }
}

impl DatasetError {
    /// Wraps an I/O error with what was tried on which file.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> DatasetError {
        let path = path.into();
        move |source| DatasetError::Io { action, path, source }
    }
}
