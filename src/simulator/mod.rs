//! The provider, embedded: an HTTP server on the loopback interface with the rules, prices and
//! limits of the real one.
//!
//! It speaks real HTTP, so the same client code serves both, and it is as strict as the provider is
//! known to be. Its responses are a pure function of (seed, date, target), so a test knows the
//! truth of every row. Where the behaviour of the provider is a guess, the simulator takes the
//! worse case.

mod behaviour;
mod draws;
mod embedded;
mod faults;
mod free;
mod listen;
mod odd;
mod population;
mod reaction;
mod response;
mod rules;
mod server;
mod state;
mod stories;
mod task;

pub use behaviour::{Behaviour, LOGIN, PASSWORD, Told};
pub use embedded::Simulator;
pub use faults::{Fault, Poison, What};
pub use population::{CountsByKey, Page, Population};
pub use reaction::{Milestone, Reaction, Scripted};
pub use state::Charge;
