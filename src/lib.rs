//! backlake turns lists of pages and domains into nightly Parquet snapshots of their backlink profiles.
//!
//! Data flows in one direction, and one named type crosses each border:
//!
//! ```text
//! target lists
//!      │ lines
//!      ▼
//! targets   each target once, in canonical form
//!      │ TargetList
//!      ▼
//! plan      the fewest valid requests
//!      │ Batch
//!      ▼
//! fetch     ──── intents, attempts, responses ───▶ ledger   what was asked and paid
//!                                                     │ response bytes
//!                                                     ▼
//!                                                  flatten  rows, by contract
//!                                                     │ RecordBatch
//!                                                     ▼
//!                                                  lake     staged, audited, published as a whole
//!                                                     │ Manifest, Parquet files
//!                                                     ▼
//!                                                  history  what changed between two snapshots
//!                                                     │ Summary, NightPages
//!                                                     ▼
//!                                                  report   one HTML page
//! ```
//!
//! The modules below are in reading order. A module imports only modules above it and the shared
//! vocabulary; a test enforces this.
//!
//! - [`targets`] reads lists. [`provider`] says what the API is, without policy and without I/O.
//! - [`plan`] packs targets into batches.
//! - [`store`] is an object store or a local disk, with every path in it and the lock on a snapshot.
//! - [`ledger`] records what is asked and archives every response before anything else happens to it.
//! - [`fetch`] sends batches within the account's limits and the budget, and settles unknown charges.
//! - [`flatten`] turns response bytes into rows. [`lake`] publishes them: write, audit, publish.
//! - [`history`] compares snapshots. [`upkeep`] says what became of each night, abandons runs, deletes
//!   what is old and packs small objects. [`alerts`] says what needs attention, and tells it once.
//!   [`report`] draws what moved as one HTML page.
//! - [`simulator`] is the provider, embedded, for demos and tests.
//! - [`pipeline`] is the only module that knows every stage: it runs a pipeline file.
//! - [`cli`] is the only module that prints.
//!
//! Rows come from the ledger alone, also those that a run flattens and writes while it still fetches.
//! So an interrupted run continues, `replay` rebuilds a snapshot for free, and nothing that is archived
//! is paid for twice.
//!
//! The shared vocabulary: `aside` (keeps work for the processor off the threads that wait for the
//! network), [`clock`] (time comes from outside), [`contract`] (the schemas of the tables),
//! [`counted`] (a number with its noun), [`error`], [`fate`], [`files`] (opening never waits for a
//! FIFO), [`money`], [`question`] (what a run asks, and of whom), [`secret`] (keeps credentials out of
//! messages and the archive), [`stop`] and [`visible`] (foreign text is escaped before it is printed).

pub mod targets;
pub mod provider;
pub mod plan;
pub mod store;
pub mod ledger;
pub mod fetch;
pub mod flatten;
pub mod lake;
pub mod history;
pub mod upkeep;
pub mod alerts;
pub mod report;
pub mod simulator;
pub mod pipeline;
pub mod cli;

mod aside;
pub mod clock;
pub mod contract;
pub mod counted;
pub mod error;
pub mod fate;
pub mod files;
pub mod money;
pub mod question;
pub mod secret;
pub mod stop;
pub mod visible;
