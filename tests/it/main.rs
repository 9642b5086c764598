//! The promises of backlake, one module each. No test needs a network beyond loopback, and none sleeps.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
#![expect(
    clippy::too_many_lines,
    reason = "a test reads best from top to bottom, tables included"
)]

mod abandoning;
mod absurd;
mod alert_rules;
mod alerts;
mod altered;
mod architecture;
mod at_once;
mod auditing;
mod bad_input;
mod bad_usage;
mod budgeting;
mod campaign;
mod clocks;
mod command_line;
mod compacting;
mod configuration;
mod continuing;
mod dating;
mod deleting;
mod delta;
mod faulty;
mod flattening;
mod full;
mod grace;
mod harness;
mod hiccups;
mod history;
mod holding;
mod hostile;
mod init;
mod interfering;
mod interleavings;
mod killed_anywhere;
#[cfg(target_os = "linux")]
mod killed_on_disk;
mod killing;
mod lineage;
mod lists;
mod lists_any;
mod lists_made;
mod metrics;
mod notifying;
mod on_the_way;
mod operator;
mod outside;
mod overlapping;
mod pipe;
mod places;
mod planning;
mod probing;
mod pruning;
mod publishing;
mod refusals;
mod repeating;
mod replacing;
mod replaying;
mod reporting;
mod retrying;
mod same_seed;
mod scripted;
mod searching;
mod separating;
mod spellings;
mod status;
mod status_codes;
mod stored_lake;
mod stories;
mod table_formats;
mod taken_over;
mod targets;
mod texts;
mod truth;
mod turns;
mod world;
mod written;
