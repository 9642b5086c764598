//! `config`: print a pipeline file with every key.

use clap::Args;

use super::console::{Failure, print};
use crate::pipeline::{configuration_markdown, configuration_toml};

const EXAMPLES: &str = "\
Examples:
  backlake config > nightly.toml
  backlake config --markdown

The file is complete: change targets.paths and lake.url, then run `backlake check nightly.toml`.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ConfigArgs {
    /// Print the keys as in docs/configuration.md
    #[arg(long)]
    markdown: bool,
}

impl ConfigArgs {
    pub(super) fn exec(self) -> Result<(), Failure> {
        let text = if self.markdown {
            configuration_markdown()
        } else {
            configuration_toml()
        };
        Ok(print(&text)?)
    }
}
