//! Durable and atomic writes to a lake on a local disk.
//!
//! `object_store` renames a written file into place but does not sync it: `LocalFileSystem::with_fsync` comes with
//! object_store 0.14, and deltalake pins 0.13. Until then, this file does it.

use std::fs::File;
use std::io::{ErrorKind, Result, Write as _};
use std::path::Path as FsPath;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a small file of the lake or of the spill folder durably and atomically. Its folder must exist.
///
/// # What this guarantees
/// Readers see the old content or all of the new content, also after a crash at any point. When this returns, content
/// and name are on the disk. On an error the old file is unchanged and no temporary file is left.
///
/// # Errors
/// A disk that is full or fails, or a folder that does not exist or is not writable.
pub fn write_whole(file: &FsPath, bytes: &[u8]) -> Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = folder_of(file);
    // `object_store` leaves names with this ending out of its listings.
    let ending = format!(
        "#{}{:06}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    );
    let mut temporary = tempfile::Builder::new()
        .prefix(file.file_name().unwrap_or_default())
        .suffix(&ending)
        .rand_bytes(0)
        .make_in(folder, |path| {
            // A file that a crashed process with the same number has left, or a link that someone else has put there.
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != ErrorKind::NotFound
            {
                return Err(error);
            }
            File::create_new(path)
        })?;
    temporary.as_file_mut().write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(file).map_err(|failed| failed.error)?;
    sync_directory(folder)
}

/// The folder of a file; the current one for a bare name.
fn folder_of(file: &FsPath) -> &FsPath {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => FsPath::new("."),
    }
}

/// Makes the entries of a directory durable. Has no effect on systems that cannot sync a directory.
pub(super) fn sync_directory(directory: &FsPath) -> Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()
    } else {
        Ok(())
    }
}

/// Runs disk work on a thread that may block.
pub(super) async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        for text in ["first", "", "the second, which is longer"] {
            write_whole(&file, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        // A file cannot replace a folder.
        let taken = folder.path().join("taken");
        std::fs::create_dir_all(taken.join("full")).unwrap();
        assert!(write_whole(&taken, b"text").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(write_whole(&folder.path().join("none/report.json"), b"text").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_the_temporary_file_is_not_written_through() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, kept) = (folder.path().join("a.json"), outside.path().join("kept"));
        std::fs::write(&kept, "kept").unwrap();
        for number in 0..10_000 {
            let name = format!("a.json#{}{number:06}", std::process::id());
            std::os::unix::fs::symlink(&kept, folder.path().join(name)).unwrap();
        }
        write_whole(&file, b"text").unwrap();
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "kept");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
        assert!(!file.is_symlink());
        // The planted link whose name it took is gone, and the others are as they were.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 10_000);
    }
}
