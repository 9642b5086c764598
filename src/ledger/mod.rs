//! The record of what was asked and paid for: intents, attempts, archived responses and refused
//! targets.

mod abandoned;
mod archive;
mod attempt;
mod attempts;
mod audit;
mod bundle;
mod handle;
mod pack;
mod refused;
mod run;
mod spill;
mod stored;
mod target_list;

pub use attempt::{Attempt, AttemptResult, BodyDigest, Charged, Intent, Outcome};
pub use attempts::{EarlierAttempt, EarlierAttempts};
pub use audit::ArchiveAudit;
pub(crate) use bundle::{Bundles, FORMAT, Index, forget_bundles, indexes};
pub use handle::Ledger;
pub use pack::Packed;
pub(crate) use refused::refused_until;
pub use refused::{RefusedTarget, ReturnedTarget, refused_before, remember_refused};
pub use run::RunRecord;
pub use stored::Stored;
pub use target_list::UnansweredTarget;
