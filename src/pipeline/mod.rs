//! From a pipeline file to a published snapshot: what to do, as written and ready to run, and the doing of it.

mod account;
mod books;
mod credentials;
mod publication;
mod report;
mod run;
mod spec;

pub use account::{Means, PricesFrom, check};
pub use credentials::credentials;
pub use report::{CheckReport, InvalidLine, PlanReport, Progress, Reconciled, RunEnd, RunReport, RunState};
pub use run::{Surroundings, plan, run};
pub use spec::{Api, Overrides, Pipeline, SimulatorOptions};
