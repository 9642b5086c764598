//! `completions`: print shell completions.

use clap::Args;

use super::console::{Failure, print};
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  backlake completions bash > /etc/bash_completion.d/backlake
  backlake completions zsh > ~/.zfunc/_backlake";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

impl CompletionsArgs {
    pub(super) fn exec(self, command: &mut clap::Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "backlake", &mut script);
        let script = String::from_utf8(script)
            .map_err(|_| Error::unexpected("the completions are not UTF-8"))?;
        Ok(print(&script)?)
    }
}
