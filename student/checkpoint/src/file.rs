//! Files that somebody else may have put there: read only where they are files, written only where nothing is.

use crate::CheckpointError;
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::Path,
};

/// Most bytes of a text: a configuration, a tokenizer, a template.
const MAX_TEXT: u64 = 1 << 28;

/// Opens a file. A pipe, a device, a socket or a folder is refused before it is opened: reading it might never end.
pub(crate) fn open(path: &Path) -> Result<File, CheckpointError> {
    let opened = fs::metadata(path).and_then(|data| match data.is_file() {
        true => File::open(path),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "expected a regular file, found something else")),
    });
    opened.map_err(CheckpointError::io("open", path))
}

/// The text of a file.
pub(crate) fn read_text(path: &Path) -> Result<String, CheckpointError> {
    let mut text = String::new();
    let length = open(path)?.take(MAX_TEXT + 1).read_to_string(&mut text).map_err(CheckpointError::io("read", path))?;
    if length as u64 > MAX_TEXT {
        let error = io::Error::new(ErrorKind::FileTooLarge, format!("expected at most {MAX_TEXT} bytes of text"));
        return Err(CheckpointError::io("read", path)(error));
    }
    Ok(text)
}

/// Creates a file under a name that is nobody's: what is there, a link to somewhere else above all, is removed and not
/// followed.
pub(crate) fn create_fresh(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().read(true).write(true).create_new(true).open(path)
}
