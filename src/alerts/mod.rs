//! Says what needs attention: rules over the last nights, told once.
//!
//! The rules are pure functions of [`Series`]: what the pages were on each night. What was told is
//! written beside each snapshot, so that an alert is quiet afterwards unless it gets worse.
//! Finding alerts reads published snapshots and changes nothing; only [`write()`] writes.

mod alert;
mod bursts;
mod find;
mod groups;
mod judge;
mod night;
mod pages;
mod robust;
mod rule;
mod series;
mod settings;
mod sql;
mod state;
mod tell;
mod words;

pub use alert::{Alert, Finding, Subject};
pub use bursts::{BASE_NIGHTS, Links, bursts, grown};
pub use find::{AlertOptions, find, read};
pub use groups::{Group, group_findings};
pub use night::shift_finding;
pub use pages::page_findings;
pub use rule::{Rule, Severity, rules_markdown};
pub use series::{COLUMNS, Figures, Series};
pub use settings::AlertSettings;
pub use state::{Alerts, ShiftCheck, write};
