//! Stores the contracts in the lake, so that the lake itself describes its files.

use bytes::Bytes;

use super::manifest::Manifest;
use crate::contract::{Contract, Contracts, Table};
use crate::error::{Context, Error, Result};
use crate::store::{Layout, Store};

/// Stores the contracts of a publication in the lake.
///
/// # Errors
/// A lake that fails, or that already has a different contract with the same version.
pub(super) async fn store_contracts(store: &Store, contracts: &Contracts) -> Result<()> {
    for table in Table::ALL {
        let contract = contracts.of(table);
        let path = Layout::contract(&contract.id());
        let text = Bytes::from(contract.text().to_owned());
        if !store.put_new(&path, text).await? {
            return Err(Error::usage(format!(
                "{path} in the lake differs from the {} of this pipeline",
                contract.id()
            ))
            .with_hint(
                "a published contract never changes: give the new contract the next version number",
            ));
        }
    }
    Ok(())
}

/// The contracts that a manifest's files follow: built-in ones, or those stored in the lake.
///
/// # Errors
/// A lake that fails; a contract that is neither built in nor stored in the lake.
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
                "{path} is missing, but files of snapshot {} follow it",
                manifest.snapshot
            ))
            .with_hint(
                "restore the contract file, or use the version of backlake that wrote the snapshot",
            )
        })?;
        let read = || format!("{path} is not a valid contract");
        let text = std::str::from_utf8(&text).context(read)?;
        contracts
            .adopt(Contract::parse(text).context(read)?)
            .context(read)?;
    }
    Ok(contracts)
}
