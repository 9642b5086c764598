//! Targets in, [`Batch`]es out: the fewest requests that contain every target once.
//!
//! Every target of a [`Plan`] is in exactly one batch, no batch exceeds the provider's two caps,
//! and the same set of targets gives the same plan in whatever order they come. Targets that differ
//! only in their spelling are in different batches where that costs no request.

mod batches;
mod estimate;
mod pack;
mod spread;

pub use batches::{Batch, Plan};
pub use estimate::{Estimate, Pace, lower_bound, requests_in_input_order};
pub use pack::{Share, pack};
