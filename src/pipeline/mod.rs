//! From a pipeline file to a published snapshot: what to do, as written and ready to run, and the doing of it.

mod account;
mod books;
mod credentials;
mod file;
mod planning;
mod publication;
mod replay;
mod report;
mod run;
mod spec;
mod staging;

pub use account::{Means, PricesFrom, check};
pub use credentials::credentials;
pub use planning::plan;
pub use publication::Findings;
pub use replay::replay;
pub use report::{CheckReport, InvalidLine, PlanReport, Progress, Reconciled, RunEnd, RunReport, RunState};
pub use run::{Surroundings, run};
pub use spec::{Api, OnFinding, Overrides, Pipeline, SimulatorOptions};
