//! What was asked and what was paid for: intents, attempts, the archived responses, and the targets that were refused.

mod archive;
mod attempt;
mod bundle;
mod refused;

pub use archive::{EarlierAttempt, Ledger, Packed, RunRecord, Unanswered};
pub use attempt::{Attempt, AttemptResult, Charged, Intent, Outcome};
pub(crate) use bundle::{Bundles, FORMAT, Index, forget_bundles, indexes};
pub use refused::{RefusedTarget, refused_since, remember_refused};
