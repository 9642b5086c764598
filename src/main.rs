//! The binary: starts the command line and returns its exit code.

use std::process::ExitCode;

use backlake::cli;

fn main() -> ExitCode {
    cli::main()
}
