//! The table of exit codes, for the help and for the documentation: from [`ErrorKind`] alone.

use std::fmt::Write as _;

use crate::error::ErrorKind;

/// The lines of `--help`.
pub(super) fn exit_codes_help() -> String {
    let mut text = String::from("Exit codes:\n  0    done\n");
    for kind in ErrorKind::ALL {
        let _ = writeln!(text, "  {:<5}{}", kind.exit_code(), kind.meaning());
    }
    text.push_str("After every code except 0, 2 and 7, run the same command again: it continues, and pays for\nnothing that is archived.");
    text
}

/// The table in `docs/operations.md`.
#[must_use]
pub fn exit_codes_markdown() -> String {
    let mut text = String::from("| code | meaning | what to do |\n|---|---|---|\n| 0 | done | |\n");
    for kind in ErrorKind::ALL {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            kind.exit_code(),
            kind.meaning(),
            kind.hint()
        );
    }
    text
}
