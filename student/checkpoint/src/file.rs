//! A checkpoint's files, which anybody may have made.

use crate::CheckpointError;
use distill_files::{open_regular, read_regular_text};
use std::{fs::File, path::Path};

/// Most bytes of a text: a configuration, a tokenizer, a template.
const MAX_TEXT: u64 = 1 << 28;

/// Opens a file.
pub(crate) fn open(path: &Path) -> Result<File, CheckpointError> {
    open_regular(path).map_err(CheckpointError::io("open", path))
}

/// The text of a file.
pub(crate) fn read_text(path: &Path) -> Result<String, CheckpointError> {
    read_regular_text(path, MAX_TEXT).map_err(CheckpointError::io("read", path))
}
