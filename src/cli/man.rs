//! `man`: print man pages.

use std::path::PathBuf;

use clap::Args;

use super::console::{Failure, print};
use crate::error::{Context as _, Error};

const EXAMPLES: &str = "\
Examples:
  backlake man > /usr/local/share/man/man1/backlake.1
  backlake man --out /usr/local/share/man/man1              one page per command
  backlake man run | man -l -";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ManArgs {
    /// Print the page of this command instead of the program's
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write the pages of the program and of all commands to DIR
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
}

impl ManArgs {
    pub(super) fn exec(self, program: clap::Command) -> Result<(), Failure> {
        if let Some(folder) = &self.out {
            let written = clap_mangen::generate_to(program, folder);
            return Ok(written.usage(|| format!("--out: failed to write to {}", folder.display()))?);
        }
        let page = match &self.command {
            None => program,
            Some(name) => named(program, name)?,
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page)
            .render(&mut text)
            .context(|| "failed to write the man page")?;
        let text =
            String::from_utf8(text).map_err(|_| Error::unexpected("the man page is not UTF-8"))?;
        Ok(print(&text)?)
    }
}

/// The command of this name, called `backlake-NAME` as its page is.
fn named(mut program: clap::Command, name: &str) -> Result<clap::Command, Error> {
    program.build();
    let found = program
        .get_subcommands()
        .find(|found| found.get_name() == name);
    let Some(found) = found else {
        return Err(Error::usage(format!("`{name}` is not a command"))
            .with_hint("`backlake --help` lists the commands"));
    };
    // clap's names live as long as the program does.
    let page: &'static str = Box::leak(format!("backlake-{name}").into_boxed_str());
    Ok(found.clone().name(page))
}
