//! What can be wrong with a checkpoint, said for people.

use std::{
    io,
    path::{Path, PathBuf},
};

/// An error in reading or writing a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `config.json` or an index is not what it should be.
    #[error("{}: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Which key, expected and found.
        message: String,
    },
    /// A safetensors or GGUF file is damaged or lies about its contents.
    #[error("{}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which tensor, expected and found.
        message: String,
    },
    /// A tensor that the model needs is not there, has another shape, or holds what is no number.
    #[error("{}: {message}", path.display())]
    Tensor {
        /// The folder.
        path: PathBuf,
        /// Which tensor, expected and found.
        message: String,
    },
    /// Where weights come from failed: a device, say.
    #[error("{0}")]
    Source(String),
    /// Where weights come from was asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl CheckpointError {
    /// A tensor that should be there and is not.
    pub fn missing(path: &Path, name: &str) -> CheckpointError {
        CheckpointError::Tensor { path: path.to_owned(), message: format!("tensor {name:?} is missing") }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CheckpointError {
        let path = path.into();
        move |source| CheckpointError::Io { action, path, source }
    }
}

/// Whether bytes are not a file but what Git leaves in its place where large files are stored elsewhere.
pub(crate) fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs")
}

/// Such a pointer where a file was expected.
pub(crate) fn pointer(path: &Path) -> CheckpointError {
    let message = "expected the file itself, found a pointer to it of Git LFS\nhint: `git lfs pull` in its repository fetches what it points to";
    damaged(path, message.to_owned())
}

pub(crate) fn damaged(path: &Path, message: String) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), message }
}
