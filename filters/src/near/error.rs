//! What can go wrong while near duplicates are found. Every message says what was expected, what was found, and on its
//! own line what to do.

use std::{error::Error, fmt, io, path::PathBuf};

/// Why a run stopped.
#[derive(Debug)]
pub enum NearError<E> {
    /// The corpus, or a callback of the caller, refused.
    Caller(E),
    /// The engine could not go on.
    Fault(NearFault),
}

/// Why the engine could not go on.
#[derive(Debug)]
pub enum NearFault {
    /// A setting is out of range.
    Setting {
        /// Its name.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A file or folder could not be read or written.
    Io {
        /// What was tried.
        task: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of the scratch folder is not as it was written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The scratch folder belongs to a run with other settings or another corpus.
    OtherRun {
        /// The file that says so.
        path: PathBuf,
        /// The settings of this run.
        expected: String,
        /// Those of the folder.
        found: String,
    },
    /// Rows of a unit did not come in rising order.
    Order {
        /// The unit.
        unit: u32,
        /// The least row that could come next.
        expected: u64,
        /// The row that came.
        found: u32,
    },
    /// The index of the texts that are compared does not fit the ceiling.
    Memory {
        /// Bytes that the ceiling leaves to it.
        expected: u64,
        /// Bytes that it takes.
        found: u64,
    },
}

impl fmt::Display for NearFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NearFault::Setting { name, expected, found } => {
                write!(f, "`{name}`: expected {expected}, found {found}\nhelp: change the setting")
            }
            NearFault::Io { task, path, source } => {
                writeln!(f, "cannot {task} {}: {source}", path.display())?;
                f.write_str("help: finished files are whole; mend the cause and start again with the same folder")
            }
            NearFault::Damaged { path, expected, found } => {
                writeln!(f, "{}: expected {expected}, found {found}", path.display())?;
                f.write_str("help: delete the scratch folder and start again")
            }
            NearFault::OtherRun { path, expected, found } => {
                writeln!(f, "{}: expected the run `{expected}`, found `{found}`", path.display())?;
                f.write_str("help: give every corpus and every setting a scratch folder of its own")
            }
            NearFault::Order { unit, expected, found } => {
                writeln!(f, "unit {unit}: expected row {expected} or a later one, found row {found}")?;
                f.write_str("help: a corpus gives the rows of a unit in rising order")
            }
            NearFault::Memory { expected, found } => {
                writeln!(f, "index of compared texts: expected at most {expected} bytes, found {found}")?;
                f.write_str("help: raise the memory ceiling; the same folder goes on where it stopped")
            }
        }
    }
}

impl Error for NearFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            NearFault::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for NearError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NearError::Caller(error) => error.fmt(f),
            NearError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for NearError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            NearError::Caller(error) => error.source(),
            NearError::Fault(fault) => fault.source(),
        }
    }
}

impl<E> From<NearFault> for NearError<E> {
    fn from(fault: NearFault) -> Self {
        NearError::Fault(fault)
    }
}
