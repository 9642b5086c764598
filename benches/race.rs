//! How fast `replay` rebuilds a snapshot: backlake, DuckDB and ClickHouse from the same responses, in turns, on one core and
//! on two. The race itself is `.ci/readers/test_replay.py`, which CI runs with one round.
//!
//! ```sh
//! cargo bench --bench race                  # 200, 1,000 and 3,000 responses of 1,000 rows
//! cargo bench --bench race -- 200           # only 200
//! ```

use std::process::{Command, ExitCode};

const ROUNDS: &str = "5";

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument.parse::<u32>().is_ok())
        .collect();
    let all = ["200", "1000", "3000"].map(str::to_owned).to_vec();
    let sizes = if given.is_empty() { all } else { given };
    let run = |responses: &String| {
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/readers/run"))
            .arg(env!("CARGO_BIN_EXE_backlake"))
            .args(["-k", "test_replay", "--quiet", "--rounds", ROUNDS])
            .args(["--responses", responses])
            .status()
            .is_ok_and(|status| status.success())
    };
    // All sizes, even after one that fails.
    match sizes.iter().filter(|size| !run(size)).count() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
