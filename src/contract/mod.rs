//! The contracts of the lake's four tables, read from `schemas/*.toml`, which are compiled into the program.
//!
//! A contract gives the type, unit, meaning and source of every column, and the version that added it. Flattening
//! decodes by it, the writer writes by it and the audit checks by it. [`Contracts`] holds the contracts that a
//! pipeline uses: the built-in ones, or a later version of `pages` that adopts more fields.

mod built_in;
mod column;
mod contracts;
mod definition;
mod docs;
mod table;

pub use column::{Column, ColumnType, ItemField, ItemType, bloom_filter, counts_entry};
pub use contracts::Contracts;
pub use definition::Contract;
pub use docs::markdown;
pub use table::{DIMENSIONS, Table};
