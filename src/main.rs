//! The binary: parse, dispatch, exit code.

use std::process::ExitCode;

use backlake::cli;

fn main() -> ExitCode {
    cli::main()
}
