//! What the writers of all table formats do about other writers: they try again, up to a limit.

use crate::contract::Table;
use crate::error::Error;

/// How often a commit is tried if other writers commit the same version first.
pub(super) const ATTEMPTS: usize = 20;

/// The error of a commit that others are always ahead of.
pub(super) fn gave_up(format: &str, table: Table) -> Error {
    let table = table.name();
    let message = format!(
        "gave up after {ATTEMPTS} conflicting commits by other writers to the {format} table {table}"
    );
    Error::unexpected(message).with_hint(format!(
        "nothing is lost; run the same command again when the other writers of {table} are done, and it continues where it stopped"
    ))
}
