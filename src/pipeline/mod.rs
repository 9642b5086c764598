//! From a pipeline file to a published snapshot: what to do, as written and ready to run, and the doing of it.

mod account;
mod books;
mod credentials;
mod publication;
mod report;
mod run;
mod spec;

pub use account::check;
pub use credentials::credentials;
pub use report::{CheckReport, InvalidLine, PlanReport, Progress, RunEnd, RunReport, RunState};
pub use run::{Surroundings, plan, run};
pub use spec::{Api, Overrides, Pipeline, SimulatorOptions};
