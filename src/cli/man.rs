//! `man`: print man pages.

use std::path::{Path, PathBuf};

use clap::Args;

use super::console::{Failure, print};
use super::outside::write_named;
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
            return Ok(write_all(&program, folder)?);
        }
        let page = match &self.command {
            None => program,
            Some(name) => named(program, name)?,
        };
        Ok(print(&page_of(page)?)?)
    }
}

/// Writes the pages of the program and of every command.
fn write_all(program: &clap::Command, folder: &Path) -> Result<(), Error> {
    let mut pages = vec![program.clone()];
    for command in program
        .get_subcommands()
        .filter(|found| !found.is_hide_set())
    {
        pages.push(named(program.clone(), command.get_name())?);
    }
    for page in pages {
        let file = folder.join(format!("{}.1", page.get_name()));
        write_named("--out", &file, page_of(page)?.as_bytes())?;
    }
    Ok(())
}

fn page_of(command: clap::Command) -> Result<String, Error> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut text)
        .context(|| "failed to write the man page")?;
    let text =
        String::from_utf8(text).map_err(|_| Error::unexpected("the man page is not UTF-8"))?;
    // What follows the options of each command are its examples.
    Ok(text.replace(".SH EXTRA", ".SH EXAMPLES"))
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
