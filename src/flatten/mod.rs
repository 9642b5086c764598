//! Response bytes in, record batches out, by contract: no I/O, no async, no intermediate tree.
//!
//! A [`Flattened`] response has one row for every item that is not null, in the order of the
//! response. Every value is in its column, or its original is in `extra`. Every row that belongs to
//! a requested target is matched to it by key.

mod breakdowns;
mod columns;
mod decode;
mod drift;
mod error;
mod extra;
mod matching;
mod response;
mod target_columns;

pub use breakdowns::breakdowns;
pub use drift::{Drift, Drifted};
pub use error::FlattenError;
pub use extra::Irregularities;
pub use response::{Flattened, Requested, flatten};
