//! The report of a snapshot: one HTML file that says what moved, and how far to trust it.
//!
//! The file needs no network and no script. Everything that comes from a list or a lake is escaped
//! by the template engine, and invisible characters in it are made visible.
//!
//! Every number has its SQL: an element with `data-sql` names a query of the appendix, and the
//! `<data>` elements in it have the values of the query's rows, in order. A check runs the queries.

mod appendix;
mod bill;
mod collect;
mod groups;
mod head;
mod movers;
mod numbers;
mod page;
mod profile;
mod queries;
mod svg;
mod tiles;
mod trends;
mod trust;

pub use collect::{Day, Report, ReportOptions, Settled, collect};
pub use page::html;
