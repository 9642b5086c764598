//! From a pipeline file to a published snapshot: what to do, as written and ready to run, and the doing of it.

mod books;
mod check;
mod connect;
mod credentials;
mod file;
mod gates;
mod means;
mod plan;
mod publish;
mod replay;
mod report;
mod run;
mod spec;
mod surroundings;
mod target_states;
mod write_tables;

pub use check::check;
pub use credentials::credentials;
pub use means::{Means, PricesFrom};
pub use plan::plan;
pub use replay::replay;
pub use report::{
    CheckReport, Findings, InvalidLine, PlanReport, Progress, Reconciled, RunEnd, RunReport,
    RunState,
};
pub use run::run;
pub use spec::{Api, OnFinding, Overrides, Pipeline, SimulatorOptions};
pub use surroundings::Surroundings;
