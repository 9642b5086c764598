//! The report of a snapshot: one HTML file that says what moved, and how far to trust it.
//!
//! The file needs no network and no script. Everything that comes from a list or a lake is escaped
//! by the template engine, and invisible characters in it are made visible.
//!
//! Each `<data>` element is inside an element whose `data-sql` names a query in the appendix. The
//! `<data>` elements of a query hold the values of its rows, in order. CI runs the queries and compares.

mod appendix;
mod attention;
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

pub use collect::{NIGHTS, Report, ReportOptions, collect};
pub use page::html;
