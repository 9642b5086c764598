//! `replay`: rebuild a snapshot from its archive, for free.

use clap::Args;

use super::args::{BudgetArgs, PipelineArgs};
use super::console::{Console, Failure};
use super::run::{Work, execute};
use crate::pipeline::FindingsMode;

const EXAMPLES: &str = "\
Examples:
  backlake replay pipelines/nightly.toml --snapshot 2026-11-23
  backlake replay pipelines/nightly.toml --snapshot 2026-11-23 --accept     publish a held snapshot

Use it after a change of a contract, and to restore lost or damaged files of a table.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Publish even if the snapshot is incomplete, or if `on_drift` or `on_change` would hold it
    #[arg(long)]
    accept: bool,
}

impl ReplayArgs {
    pub(super) async fn exec(self, console: &Console) -> Result<(), Failure> {
        let pipeline = self.pipeline.load(BudgetArgs::default(), console)?;
        let findings = if self.accept {
            FindingsMode::Accept
        } else {
            FindingsMode::Hold
        };
        execute(&pipeline, Work::Replay(findings), None, console).await
    }
}
