//! Output files that the user names with `--out`, `--write` and `--metrics-file`.
//!
//! A regular file appears under its name when it is complete. A link is followed and stays a link. A
//! device or a FIFO is written through, never replaced.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::files::{is_descriptor, open_without_waiting};

/// A file outside the lake that is being written.
pub(super) enum Outside {
    /// A new file, and the name that it gets when it is complete.
    Whole(NamedTempFile, PathBuf),
    /// A character device, a FIFO that has a reader, or a file that the process was started with.
    Through(File),
}

impl Outside {
    /// Opens a file to write it. Nothing is visible under its name before [`Outside::close`].
    ///
    /// # Errors
    /// A folder that does not exist or is not writable; a link to nothing; a FIFO without a reader;
    /// what is neither a file, a FIFO nor a character device.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let found = match path.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if path.is_symlink() {
                    return Err(refused("it is a link to a file that does not exist"));
                }
                return Self::whole(path.to_owned(), ordinary());
            }
            Err(error) => return Err(error),
        };
        let kind = found.file_type();
        if kind.is_file() && !is_descriptor(path) {
            // The file that a link names is replaced, and not the link.
            Self::whole(path.canonicalize()?, found.permissions())
        } else if kind.is_file() || kind.is_char_device() || kind.is_fifo() {
            through(path).map(Self::Through)
        } else {
            Err(refused(
                "it is neither a file, a FIFO nor a character device",
            ))
        }
    }

    fn whole(path: PathBuf, permissions: Permissions) -> Result<Self> {
        let file = beside(&path, permissions)?;
        Ok(Self::Whole(file, path))
    }

    /// Where to write.
    pub(super) fn writer(&self) -> Result<File> {
        match self {
            Self::Whole(file, _) => file.as_file().try_clone(),
            Self::Through(file) => file.try_clone(),
        }
    }

    /// Ends writing. A regular file gets its name now, and is durable.
    ///
    /// # Errors
    /// A disk that is full or fails.
    pub(super) fn close(self) -> Result<()> {
        match self {
            Self::Whole(file, path) => {
                file.as_file().sync_all()?;
                file.persist(path).map(drop).map_err(|failed| failed.error)
            }
            Self::Through(_) => Ok(()),
        }
    }
}

/// Writes a file whole.
///
/// # Errors
/// As [`Outside::open`], and a disk that is full or fails.
fn write_outside(path: &Path, bytes: &[u8]) -> Result<()> {
    let to = Outside::open(path)?;
    to.writer()?.write_all(bytes)?;
    to.close()
}

/// Writes a file whole that does not exist yet.
///
/// # Errors
/// A file that exists, a folder that does not exist or is not writable, and a disk that is full or
/// fails.
pub(super) fn write_new_outside(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = beside(path, ordinary())?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let named = file.persist_noclobber(path);
    named.map(drop).map_err(|failed| failed.error)
}

/// A temporary file in the folder of a file.
fn beside(path: &Path, permissions: Permissions) -> Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".backlake-");
    builder.permissions(permissions);
    builder.tempfile_in(folder).map_err(without_name)
}

/// The error without the name of the temporary file, which means nothing to the user.
fn without_name(error: Error) -> Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((said, _)) => Error::new(error.kind(), said.to_owned()),
        None => error,
    }
}

/// Temporary files are private by default; this makes one an ordinary file.
fn ordinary() -> Permissions {
    Permissions::from_mode(0o666)
}

/// Writes the file that this flag names.
///
/// # Errors
/// A usage error that names the flag and the file.
pub(super) fn write_named(flag: &str, path: &Path, bytes: &[u8]) -> crate::error::Result<()> {
    write_outside(path, bytes).map_err(|error| not_written(flag, path, error))
}

/// A usage error about a file that this flag names and that cannot be written.
pub(super) fn not_written(flag: &str, path: &Path, error: Error) -> crate::error::Error {
    let kind = error.kind();
    let message = format!("{flag}: failed to write {}", path.display());
    let error = crate::error::Error::usage_caused_by(message, error);
    match kind {
        ErrorKind::NotFound => {
            error.with_hint("create the folder first, or name a file in another folder")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            error.with_hint("name a file in a folder in which this user may write")
        }
        _ => error,
    }
}

/// Opens a device or a FIFO. Opening a FIFO without a reader fails instead of waiting for one.
fn through(path: &Path) -> Result<File> {
    let opened = open_without_waiting(path, OpenOptions::new().append(true));
    opened.map_err(|error| {
        if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) {
            refused("it is a FIFO that no process reads")
        } else {
            error
        }
    })
}

fn refused(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn fifo(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("changes.csv");
        for text in ["first", "", "the second, which is longer"] {
            write_outside(&file, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        write_outside(&file, b"private").unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for refused in ["none/changes.csv", "."] {
            let refused = folder.path().join(refused);
            let error = write_outside(&refused, b"text").unwrap_err();
            assert!(!error.to_string().contains(".backlake-"), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_file_never_replaces_another_and_nothing_is_left_of_one_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pages.toml");
        write_new_outside(&file, b"first").unwrap();
        let error = write_new_outside(&file, b"second").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link_and_a_link_to_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        symlink("file", &link).unwrap();
        assert!(write_outside(&link, b"text").is_err());
        assert!(link.is_symlink() && !file.exists());
        std::fs::write(&file, "before").unwrap();
        write_outside(&link, b"after").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "after");
        assert!(link.is_symlink() && file.metadata().unwrap().is_file());
    }

    #[test]
    fn a_device_or_a_fifo_is_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        fifo(&pipe);
        let error = write_outside(&pipe, b"text").unwrap_err();
        assert!(error.to_string().contains("no process reads"), "{error}");
        // Open for both, so that opening it does not wait.
        let mut reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe)
            .unwrap();
        write_outside(&pipe, b"text").unwrap();
        let mut read = [0; 4];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"text");
        assert!(pipe.metadata().unwrap().file_type().is_fifo());

        let null = folder.path().join("null");
        symlink("/dev/null", &null).unwrap();
        write_outside(&null, b"text").unwrap();
        assert!(null.is_symlink());
    }
}
