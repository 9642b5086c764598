//! What changed between two snapshots is what a comparison of all their rows finds.

mod oracle;
mod output;
mod comparison;
mod two_days;
