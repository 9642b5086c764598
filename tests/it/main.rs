//! The promises of backlake, one module each. No test needs a network beyond loopback, and none sleeps.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod architecture;
mod bad_input;
mod command_line;
mod compacting;
mod delta;
mod faulty;
mod fetching;
mod flattening;
mod harness;
mod history;
mod interleavings;
mod killing;
mod pipe;
mod planning;
mod publishing;
mod replaying;
mod targets;
mod truth;
mod written;
