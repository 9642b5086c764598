//! Parses the command line, runs the command, prints its error, and returns the exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use super::command::Cli;
use super::console::{Console, Failure};
use super::global::{Global, LogFormat, Output};
use super::logging;
use super::usage::usage_error;
use crate::clock::Clock;
use crate::error::{Context as _, Result};

/// How long threads may take to end after the command.
const AT_THE_END: Duration = Duration::from_secs(1);

/// Runs the program and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let (parsed, global) = match Cli::try_parse() {
        Ok(Cli { command, global }) => (Ok(command), global),
        // Help and version are results.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) if is_help(&error) && is_text(&asked_for(&args)) => error.exit(),
        Err(error) => (Err(usage_error(&error, &args)), asked_for(&args)),
    };
    forbid_core_files();
    let (screen, started) = logging::start(&global);
    let console = Console::new(Clock::system(), screen, &global);
    let outcome = parsed.map_err(Failure::from).and_then(|command| {
        started?;
        let runtime = runtime()?;
        let end = runtime.block_on(command.exec(&console));
        // Nothing that is still at work counts: a thread that reads a list may never end.
        runtime.shutdown_timeout(AT_THE_END);
        end
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.show(&failure);
            ExitCode::from(failure.error().kind().exit_code())
        }
    }
}

/// Whether the command line is so empty that help is the best message.
fn is_help(error: &clap::Error) -> bool {
    error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// Whether a person reads what is printed.
fn is_text(global: &Global) -> bool {
    global.log_format == LogFormat::Text && global.output == Output::Text
}

/// The formats that a command line asks for which is otherwise wrong.
fn asked_for(args: &[String]) -> Global {
    let asks = |flag: &str| {
        let joined = format!("{flag}=json");
        args.windows(2).any(|pair| pair == [flag, "json"]) || args.contains(&joined)
    };
    let variable = std::env::var("BACKLAKE_LOG_FORMAT").is_ok_and(|format| format == "json");
    Global {
        output: if asks("--output") {
            Output::Json
        } else {
            Output::Text
        },
        log_format: if asks("--log-format") || variable {
            LogFormat::Json
        } else {
            LogFormat::Text
        },
        verbose: 0,
        quiet: false,
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
