//! backlake turns lists of pages and domains into nightly Parquet snapshots of their backlink profiles.
//!
//! The way of the data, one direction, one named type at each door:
//!
//! ```text
//! target lists                                     [`targets`]     lines → TargetList: canonical, each counted once
//!      │ TargetList
//!      ▼
//! the fewest valid requests                        [`plan`]       TargetList → Plan → Batch
//!      │ Batch
//!      ▼
//! paid answers, archived before they are read      [`fetch`]      Batch → Attempt, by what [`provider`] says the API is
//!      │ answer bytes
//!      ▼
//! rows, straight from the bytes                    [`flatten`]    bytes → RecordBatch, by [`contract`]
//!      │ RecordBatch
//!      ▼
//! a snapshot, all there or not there               [`lake`]       RecordBatch → staged files → published Manifest
//!      │ Manifest, files
//!      ▼
//! what changed since the last one                  [`history`]    Manifests → Pair → Summary, List
//! ```
//!
//! Published once, a snapshot can be published again for nothing: `replay` reads the same archive, by a later contract if
//! there is one, and a replacement takes its place in one step. Its answers and books, thousands of small objects, can be
//! bundled ([`upkeep::compact`]); whoever reads the archive sees no difference.
//!
//! What makes a run survive: intents and answers are durable in the lake before they count, [`fetch::RetryPolicy`] decides
//! what follows a failure, [`fetch::settle`] asks what was charged unseen, and [`store::Lock`] lets one run at a time.
//!
//! [`pipeline`] reads what to do from a TOML file and is the only one that knows every stage; publishing reads from
//! the archive alone, so a run that was broken off continues, and what is archived is never asked for again.
//! [`simulator`] is the provider, embedded, for demos and tests. [`cli`] is the only place that prints.
//!
//! Four small files are shared by all: [`contract`], [`fate`], [`money`], [`error`]; and time comes from [`clock`].

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

pub mod pipeline;

pub mod simulator;

pub mod cli;

pub mod clock;
pub mod contract;
pub mod error;
pub mod fate;
pub mod money;
pub mod question;
pub mod stop;
