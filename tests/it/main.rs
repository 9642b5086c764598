//! The promises of backlake, a module each. Nothing here needs a network beyond loopback, and nothing waits.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod architecture;
mod bad_input;
mod command_line;
mod fetching;
mod flattening;
mod harness;
mod planning;
mod publishing;
mod targets;
mod truth;
