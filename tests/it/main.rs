//! The promises of backlake, one module each. No test needs a network beyond loopback, and none sleeps.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod architecture;
mod bad_input;
mod command_line;
mod compacting;
mod configuration;
mod delta;
mod faulty;
mod fetching;
mod flattening;
mod harness;
mod history;
mod holding;
mod interleavings;
mod killing;
mod pipe;
mod planning;
mod pruning;
mod publishing;
mod replacing;
mod replaying;
mod targets;
mod truth;
mod written;
