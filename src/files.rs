//! Files that someone else has named: opened only if reading them comes to an end.
//!
//! To open a FIFO waits for its other end, and some devices never end. So only regular files are
//! read, and what is open already: standard input, or the FIFO of `<(command)`.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Opens a file to read it, without waiting.
///
/// # Errors
/// What is neither a regular file nor open already; a file that does not exist or cannot be read.
pub fn open_to_read(path: &Path) -> Result<File> {
    let file = open_without_waiting(path, OpenOptions::new().read(true))?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || (is_descriptor(path) && !kind.is_dir()) {
        Ok(file)
    } else {
        Err(not_a_file(kind))
    }
}

/// The text of a file that is small.
///
/// # Errors
/// As [`open_to_read`], and a text that is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    open_to_read(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Opens a file; if it is a FIFO without another end, this fails or finds nothing instead of
/// waiting. Later reads and writes wait as usual.
///
/// # Errors
/// As [`OpenOptions::open`].
pub fn open_without_waiting(path: &Path, how: &mut OpenOptions) -> Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = how.custom_flags(flags).open(path)?;
    let flags = fcntl_getfl(&file)?.difference(OFlags::NONBLOCK);
    fcntl_setfl(&file, flags)?;
    Ok(file)
}

/// Whether a path names a file that is open already, such as `/dev/stdin`.
#[must_use]
pub fn is_descriptor(path: &Path) -> bool {
    [
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
        "/dev/fd",
        "/proc",
    ]
    .iter()
    .any(|open| path.starts_with(open))
}

/// Refuses what is there and is neither a file nor a folder.
///
/// # Errors
/// A FIFO, a socket or a device.
pub fn refuse_odd(found: &Metadata) -> Result<()> {
    if found.is_file() || found.is_dir() {
        Ok(())
    } else {
        Err(not_a_file(found.file_type()))
    }
}

fn not_a_file(kind: FileType) -> Error {
    let kind = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    // An error that no retry changes.
    Error::new(ErrorKind::InvalidInput, format!("it is {kind}, not a file"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    #[test]
    fn only_what_ends_is_read_and_nothing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        let kind = rustix::fs::FileType::Fifo;
        mknodat(CWD, at("pipe"), kind, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink("pipe", at("link to a pipe")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read_text(&at(name)).unwrap(), "text");
        }
        for (name, why) in [
            ("pipe", "a FIFO, not a file"),
            ("link to a pipe", "a FIFO, not a file"),
            ("socket", ""),
            (".", "a folder, not a file"),
            ("none", "No such file"),
            ("/dev/zero", "a device, not a file"),
            ("/dev/fd", "a folder, not a file"),
        ] {
            let error = read_text(&at(name)).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
    }

    #[test]
    fn what_is_open_already_is_read_to_its_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&reader);
        let written = std::thread::spawn(move || writer.write_all(&[b'x'; 1 << 20]).unwrap());
        let path = format!("/dev/fd/{number}");
        let mut read = Vec::new();
        let file = open_to_read(Path::new(&path)).unwrap();
        file.take(1 << 20).read_to_end(&mut read).unwrap();
        written.join().unwrap();
        assert_eq!(read.len(), 1 << 20);
    }
}
