//! The pipeline file and the commands on it: plan, run, replay and check. The only module that
//! knows every stage.

mod ahead;
mod alerting;
mod attempts;
mod check;
mod checked;
mod connect;
mod continue_open;
mod credentials;
mod evidence;
mod file;
mod first_file;
mod frontier;
mod gates;
mod gathered;
mod grace;
mod init;
mod invalid;
mod key_docs;
mod key_schema;
mod keys;
mod lineage;
mod lists;
mod means;
mod notice;
mod notify;
mod page;
mod page_tables;
mod plan;
mod publish;
mod ready;
mod reconcile;
mod refusals;
mod repeated;
mod replay;
mod report;
mod resolve;
mod resolve_alerts;
mod responses;
mod run;
mod run_mode;
mod session;
mod start;
mod surroundings;
mod target_states;
mod write_tables;

pub use check::{CheckScope, check};
pub use continue_open::open_yesterday;
pub use credentials::credentials;
pub use file::{ContinueOpen, NotifyFormat, Occasion, OnFinding};
pub use first_file::InitSettings;
pub use init::{Init, file_for, init};
pub use key_docs::{configuration_markdown, configuration_toml};
pub use key_schema::pipeline_schema;
pub use means::{Means, PricesFrom};
pub use plan::plan;
pub use ready::{
    ApiSettings, Budget, LakeSettings, LineageSettings, MaxInvalid, NotifySettings, Overrides,
    Pipeline, Provider, PublishSettings, RequestSettings, SimulatorOptions, TargetSettings,
};
pub use replay::replay;
pub use report::{
    CheckReport, Findings, InitReport, InvalidLine, InvalidReason, PlanReport, Progress,
    Reconciled, Refusals, RefusedBefore, RefusedExample, RunEnd, RunReport, RunState,
};
pub use resolve::check_given_lake;
pub use run::run;
pub use run_mode::{BalanceMode, Begins, FindingsMode, RunMode, StartMode};
pub use surroundings::Surroundings;
