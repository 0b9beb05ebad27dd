//! Files that somebody else may have put there: read only where they are files, written only where nothing is.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! # let path = std::env::temp_dir().join(format!("distill-files-{}", std::process::id()));
//! std::io::Write::write_all(&mut distill_files::create_fresh(&path)?, b"{}")?;
//! assert_eq!(distill_files::read_regular_text(&path, 1 << 20)?, "{}");
//! assert!(distill_files::open_regular("/dev/zero".as_ref()).is_err());
//! # std::fs::remove_file(&path)
//! # }
//! ```

use rustix::fs::OFlags;
use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Opens a file that a person or a program named. A pipe, a device, a socket or a folder is refused: reading it might never
/// end.
///
/// # Errors
/// When it is not there, cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Before it is opened, as that alone may do something to a device; and after, as it may be another by then.
    regular(&fs::metadata(path)?)?;
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

fn regular(data: &Metadata) -> io::Result<()> {
    if data.is_file() {
        return Ok(());
    }
    let found = if data.is_dir() { "a folder" } else { "a pipe, a socket or a device" };
    Err(io::Error::new(ErrorKind::InvalidInput, format!("expected a regular file, found {found}")))
}

/// Copies such a file to a name that is nobody's, as [`create_fresh`] does.
///
/// # Errors
/// As [`open_regular`] and [`create_fresh`].
pub fn copy_fresh(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = open_regular(from)?;
    io::copy(&mut source, &mut create_fresh(to)?).map(drop)
}

/// The bytes of such a file, which may be `most` at most.
///
/// # Errors
/// As [`open_regular`], and when it is longer.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("expected at most {most} bytes, found more")));
    }
    Ok(bytes)
}

/// The text of such a file.
///
/// # Errors
/// As [`read_regular`], and when it is not UTF-8.
pub fn read_regular_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read_regular(path, most)?).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// What is in a folder, in no order; nothing where there is none.
///
/// # Errors
/// When it cannot be listed.
pub fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// Creates a file under a name that is nobody's: what is there, a link to somewhere else above all, is removed and not
/// followed.
///
/// # Errors
/// When the disk refuses, or somebody puts another file there at the same moment.
pub fn create_fresh(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().read(true).write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        os::unix::{fs::symlink, net::UnixListener},
        process::Command,
    };

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| dir.path().join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo").success());
        let _socket = UnixListener::bind(at("socket")).expect("a socket");
        symlink("/dev/zero", at("zero")).expect("a link");
        for name in ["pipe", "socket", "zero", "."] {
            let error = open_regular(&at(name)).expect_err(name);
            assert!(error.to_string().contains("expected a regular file"), "{name}: {error}");
        }
        fs::write(at("file"), "four").expect("a file");
        assert_eq!(read_regular(&at("file"), 4).expect("a file"), b"four");
        assert!(read_regular(&at("file"), 3).expect_err("too long").to_string().contains("at most 3 bytes"));
    }

    #[test]
    fn a_link_at_a_temporary_name_is_not_followed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (victim, link) = (dir.path().join("victim"), dir.path().join("x.tmp"));
        fs::write(&victim, "mine").expect("a file");
        symlink(&victim, &link).expect("a link");
        create_fresh(&link).expect("a file").write_all(b"yours").expect("written");
        assert_eq!(fs::read_to_string(&victim).expect("the victim"), "mine");
        assert_eq!(fs::read_to_string(&link).expect("the file"), "yours");
        fs::remove_file(&link).expect("the file");
        symlink(&victim, &link).expect("a link");
        let source = dir.path().join("source");
        fs::write(&source, "copied").expect("a file");
        copy_fresh(&source, &link).expect("a copy");
        assert_eq!(fs::read_to_string(&victim).expect("the victim"), "mine");
        assert_eq!(fs::read_to_string(&link).expect("the file"), "copied");
    }
}
