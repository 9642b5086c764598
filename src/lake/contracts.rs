//! The contracts that the lake's files keep, kept beside them: the lake says itself what stands in it.

use bytes::Bytes;

use super::manifest::Manifest;
use crate::contract::{Contract, Contracts, Table};
use crate::error::{Context, Error, Result};
use crate::store::{Layout, Store};

/// Keeps the contracts of a publication.
///
/// # Errors
/// A lake that fails, or one that holds another contract of the same version.
pub(super) async fn keep_contracts(store: &Store, contracts: &Contracts) -> Result<()> {
    for table in Table::ALL {
        let contract = contracts.of(table);
        let path = Layout::contract(&contract.id());
        let text = Bytes::from(contract.text().to_owned());
        if !store.put_new(&path, text).await? {
            return Err(Error::usage(format!(
                "{path} in the lake says something else than {}",
                contract.id()
            ))
            .with_hint("a published contract never changes: give the new one another version"));
        }
    }
    Ok(())
}

/// The contracts that a manifest's files keep: built in, or as the lake keeps them.
///
/// # Errors
/// A lake that fails; a contract that is neither built in nor kept in the lake.
pub(super) async fn contracts_of(store: &Store, manifest: &Manifest) -> Result<Contracts> {
    let mut contracts = Contracts::default();
    for table in Table::ALL {
        let Some(entry) = manifest.tables.get(table.name()) else {
            continue;
        };
        if entry.contract == contracts.of(table).id() {
            continue;
        }
        let path = Layout::contract(&entry.contract);
        let text = store.get(&path).await?.ok_or_else(|| {
            Error::unexpected(format!(
                "{path} is missing, which files of snapshot {} keep",
                manifest.snapshot
            ))
            .with_hint("put the contract file back, or use the version of backlake that wrote the snapshot")
        })?;
        let read = || format!("{path} is no contract");
        let text = std::str::from_utf8(&text).context(read)?;
        contracts
            .adopt(Contract::parse(text).context(read)?)
            .context(read)?;
    }
    Ok(contracts)
}
