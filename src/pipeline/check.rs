//! Checks everything that a run needs besides its target lists, for free.

use std::time::Duration;

use super::connect::{connect, credentials_for};
use super::means::Means;
use super::ready::{Pipeline, Provider};
use super::reconcile::reconcile;
use super::report::CheckReport;
use super::surroundings::Surroundings;
use crate::error::Result;
use crate::fetch::require_account;
use crate::lake::check_tables;

/// How far a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckScope {
    /// Credentials, prices, balance and the lake.
    #[default]
    Setup,
    /// These, and the recorded costs of the snapshot against the provider's task list.
    Reconcile,
}

/// Checks credentials, prices, balance and that the lake can be written. Nothing is paid.
///
/// # Errors
/// The first of these that fails. Differences in costs are not an error: they are in the report.
pub async fn check(
    pipeline: &Pipeline,
    scope: CheckScope,
    env: &Surroundings<'_>,
) -> Result<CheckReport> {
    // Someone waits for the answer.
    let store = env
        .lake(pipeline)?
        .patient(&env.clock, &env.stop, Duration::ZERO);
    store.probe(&env.owner).await?;
    check_tables(
        &store,
        &pipeline.lake.table_formats,
        &pipeline.lake.contracts,
    )
    .await?;
    let connection = connect(pipeline, &credentials_for(pipeline, env)?, env).await?;
    let account = require_account(&connection.client, &env.clock).await?;
    // Prices that a run would refuse are a reason for the check to fail, too.
    Means::of(pipeline, Some(&account))?;
    let reconciled = match scope {
        CheckScope::Setup => None,
        CheckScope::Reconcile => Some(reconcile(pipeline, &store, &connection.client, env).await?),
    };
    let provider = &pipeline.api.provider;
    Ok(CheckReport {
        pipeline: pipeline.name.clone(),
        provider: provider.name(),
        invented: provider.is_invented(),
        base_url: match provider {
            Provider::Simulator(_) => "simulator".to_owned(),
            Provider::Remote(url) => url.clone(),
        },
        lake: store.display(),
        balance_usd: account.balance,
        price_per_request_usd: account.prices.map(|prices| prices.per_request),
        price_per_row_usd: account.prices.map(|prices| prices.per_row),
        requests_per_minute: account.requests_per_minute,
        reconciled,
    })
}
