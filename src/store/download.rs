//! A temporary copy of something remote, within a size limit.

use std::io::Write as _;

use tempfile::{NamedTempFile, TempPath};

use crate::error::{Context, Error, Result};

/// A temporary file that grows up to a limit. It is deleted with this, or with its path.
#[derive(Debug)]
pub(crate) struct Download {
    file: NamedTempFile,
    written: u64,
    max: u64,
}

impl Download {
    /// An empty file for at most `max` bytes.
    pub(crate) fn new(max: u64) -> Result<Self> {
        let file = NamedTempFile::new().context(|| {
            let folder = std::env::temp_dir();
            format!("failed to create a temporary file in {}", folder.display())
        })?;
        let written = 0;
        Ok(Self { file, written, max })
    }

    /// Adds bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        if self.written > self.max {
            let mib = self.max >> 20;
            return Err(Error::usage(format!("it is larger than {mib} MiB"))
                .with_hint("raise [targets] max_list_mib if that is expected; nothing was sent"));
        }
        let path = self.file.path().to_owned();
        self.file
            .write_all(bytes)
            .context(|| format!("failed to write the temporary file {}", path.display()))
    }

    /// The complete file.
    pub(crate) fn finish(self) -> TempPath {
        self.file.into_temp_path()
    }
}
