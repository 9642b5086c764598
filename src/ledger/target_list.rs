//! The target list of a run as it was read, and the targets without a response: what `replay` needs
//! to rebuild tables.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::handle::Ledger;
use super::pack::{LEVEL, pack};
use crate::error::{Context, Result};
use crate::fate::Fate;
use crate::targets::{Rules, TargetList};

/// Bytes that are read or written at once.
const BUFFER: usize = 1 << 16;

/// A target that has no archived response: it was refused, has failed, or was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnansweredTarget {
    /// The target in canonical form.
    pub target: String,
    /// Its fate.
    pub fate: Fate,
    /// The reason, if the fate has one.
    pub reason: Option<String>,
    /// The last batch that asked for it.
    pub batch: Option<u32>,
}

impl Ledger {
    /// Writes the input lines of a run as it has read them, so that its tables can be rebuilt after
    /// the list changes.
    ///
    /// # Errors
    /// A lake or a disk that fails.
    pub async fn write_target_list(
        &self,
        run: &str,
        list: &Arc<TargetList>,
        rules: Rules,
    ) -> Result<()> {
        let (list, file) = (
            Arc::clone(list),
            self.store.temporary(self.layout.snapshot)?,
        );
        let path = file.path().to_owned();
        let written = tokio::task::spawn_blocking(move || {
            let failed = || format!("failed to write {}", path.display());
            let mut packed = zstd::Encoder::new(BufWriter::new(file), LEVEL).context(failed)?;
            packed.include_checksum(true).context(failed)?;
            let mut lines = BufWriter::with_capacity(BUFFER, &mut packed);
            list.write_kept(&rules, &mut lines).context(failed)?;
            lines.flush().context(failed)?;
            drop(lines);
            let file = packed.finish().context(failed)?;
            file.into_inner().context(failed)
        });
        let file = written
            .await
            .context(|| "writing the target list panicked")??;
        self.store
            .deliver(file.path(), &self.layout.lines(run))
            .await?
            .complete()
            .await
    }

    /// The input lines of a run and the rules they were read by, or `None` if they were never
    /// written.
    ///
    /// # Errors
    /// A lake that fails, or lines that are damaged.
    pub async fn target_list(&self, run: &str) -> Result<Option<(TargetList, Rules)>> {
        let path = self.layout.lines(run);
        let Some(file) = self.store.as_file(&path).await? else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            let failed = || format!("failed to read {path} from the lake");
            let packed = std::fs::File::open(&file.path).context(failed)?;
            let lines = zstd::Decoder::new(packed).context(failed)?;
            TargetList::read_kept(BufReader::with_capacity(BUFFER, lines)).context(failed)
        });
        read.await
            .context(|| "reading the target list panicked")?
            .map(Some)
    }

    /// The number of input lines of a run, or `None` if they were never written.
    ///
    /// # Errors
    /// A lake that fails, or lines that are damaged.
    pub async fn line_count(&self, run: &str) -> Result<Option<u64>> {
        let path = self.layout.lines(run);
        let Some(file) = self.store.as_file(&path).await? else {
            return Ok(None);
        };
        let counted = tokio::task::spawn_blocking(move || {
            let failed = || format!("failed to read {path} from the lake");
            let packed = std::fs::File::open(&file.path).context(failed)?;
            let lines = zstd::Decoder::new(packed).context(failed)?;
            let mut lines = BufReader::with_capacity(BUFFER, lines);
            let mut ends = 0;
            while lines.skip_until(b'\n').context(failed)? > 0 {
                ends += 1_u64;
            }
            // The first line is the head of the list.
            Ok(ends.saturating_sub(1))
        });
        counted
            .await
            .context(|| "counting the target list panicked")?
            .map(Some)
    }

    /// Writes the targets of a run that have no response, so that its tables can be rebuilt.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn write_unanswered(&self, run: &str, targets: &[UnansweredTarget]) -> Result<()> {
        let json = serde_json::to_vec(targets)
            .context(|| "failed to write the targets without a response")?;
        let packed = pack(json.into()).await?;
        self.store.put(&self.layout.unanswered(run), packed).await
    }

    /// The targets of a run that have no response. Empty if they were never written.
    ///
    /// # Errors
    /// A lake that fails, or an object that is damaged.
    pub async fn unanswered(&self, run: &str) -> Result<Vec<UnansweredTarget>> {
        let targets = self.read(self.layout.unanswered(run)).await?.undamaged()?;
        Ok(targets.unwrap_or_default())
    }
}
