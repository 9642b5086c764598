//! Parses the command line, runs the command, prints its error, and returns the exit code.

use std::process::ExitCode;

use clap::Parser as _;

use super::command::Cli;
use super::console::Console;
use super::logging;
use crate::clock::Clock;
use crate::error::{Context as _, Result};

/// Runs the program and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { command, global } = Cli::parse();
    forbid_core_files();
    let console = Console {
        clock: Clock::system(),
        screen: logging::start(&global),
        output: global.output,
    };
    let outcome = match runtime() {
        Ok(runtime) => runtime.block_on(command.exec(&console)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.show(&failure);
            ExitCode::from(failure.error().kind().exit_code())
        }
    }
}

/// The credentials are in memory, and must not be in a file that a crash leaves.
fn forbid_core_files() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    // If this is not permitted, the settings of the system apply.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context(|| "failed to start the runtime")
}
