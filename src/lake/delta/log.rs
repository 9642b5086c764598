//! The Delta log of one table: read by deltalake, written by the lake's own put-if-absent.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use deltalake::checkpoints::create_checkpoint;
use deltalake::kernel::transaction::{CommitData, PROTOCOL};
use deltalake::kernel::{
    Action, Add, CommitInfo, DeletionVectorDescriptor, EagerSnapshot, IsolationLevel, Metadata,
    Protocol, Remove, Transaction, Version,
};
use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_with};
use deltalake::protocol::DeltaOperation;
use deltalake::{DeltaTable, DeltaTableError};
use serde_json::json;
use tracing::{info, warn};
use url::Url;

use super::schema::{CHECKPOINT_INTERVAL, PARTITION};
use super::store::DeltaStore;
use crate::contract::Table;
use crate::error::{Context, Result};
use crate::store::{Layout, Store};

/// The log of a table, as of the last time it was read.
pub(super) struct Log {
    store: Store,
    pub(super) table: Table,
    log_store: LogStoreRef,
    /// The replayed log; none if the table has no log.
    snapshot: Option<EagerSnapshot>,
    /// The version of the next commit.
    next: Version,
    metadata: Option<Metadata>,
    /// The active files, by partition and by path relative to the table.
    files: BTreeMap<Option<String>, BTreeMap<String, Active>>,
}

/// A file that the log lists.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) bytes: i64,
    /// The number of rows; none if the log does not have it.
    pub(super) rows: Option<usize>,
    /// The rows that another writer has deleted from the file.
    deleted: Option<DeletionVectorDescriptor>,
}

impl Active {
    /// Whether no row of the file is deleted.
    pub(super) fn is_whole(&self) -> bool {
        self.deleted.is_none()
    }
}

/// The changes of one commit.
pub(super) struct LogChange {
    pub(super) operation: DeltaOperation,
    pub(super) at: DateTime<Utc>,
    /// A description for people who read the table's history.
    pub(super) note: String,
    pub(super) metadata: Option<Metadata>,
    pub(super) transaction: Option<Transaction>,
    pub(super) removes: Vec<Remove>,
    pub(super) adds: Vec<Add>,
}

impl Log {
    /// Reads the log of a table, if it has one.
    pub(super) async fn open(store: &Store, table: Table) -> Result<Self> {
        // The URL is only a label: with this scheme, deltalake uses the lake's store and opens no other.
        let label: Url = format!("memory:///{}", Layout::table(table))
            .parse()
            .context(|| "failed to make the URL of a table")?;
        let objects = Arc::new(DeltaStore(store.clone()));
        let log_store = logstore_with(objects, &label, StorageConfig::default())
            .context(|| "failed to set up the Delta log")?;
        let mut log = Self {
            store: store.clone(),
            table,
            log_store,
            snapshot: None,
            next: 0,
            metadata: None,
            files: BTreeMap::new(),
        };
        log.reload().await?;
        Ok(log)
    }

    /// Reads the log again, because another writer may have changed it.
    pub(super) async fn reload(&mut self) -> Result<()> {
        let failed = || format!("failed to read the Delta log of {}", self.table.name());
        // For a missing log, the Delta kernel would write an error to the program's log.
        if self
            .store
            .list_here(&Layout::delta_log(self.table))
            .await?
            .is_empty()
        {
            return Ok(());
        }
        let snapshot = match Box::pin(EagerSnapshot::try_new(self.log_store.as_ref(), None)).await {
            Ok(snapshot) => snapshot,
            Err(DeltaTableError::NotATable(_)) => return Ok(()),
            Err(error) => return Err(error).context(failed),
        };
        self.files.clear();
        for file in snapshot.try_log_data().context(failed)?.iter() {
            let partition = file.partition_values_map().remove(PARTITION).flatten();
            let active = Active {
                bytes: file.size(),
                rows: file.num_records(),
                deleted: file.deletion_vector_descriptor(),
            };
            self.files
                .entry(partition)
                .or_default()
                .insert(file.path().into_owned(), active);
        }
        self.next = snapshot.version() + 1;
        self.metadata = Some(snapshot.metadata().clone());
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// The lake's store.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The table's metadata; none if there is no log.
    pub(super) fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// The active files by partition.
    pub(super) fn partitions(
        &self,
    ) -> impl Iterator<Item = (Option<&str>, &BTreeMap<String, Active>)> {
        self.files
            .iter()
            .map(|(partition, files)| (partition.as_deref(), files))
    }

    /// The active files of a partition.
    pub(super) fn partition(&self, partition: &str) -> impl Iterator<Item = (&str, &Active)> {
        let files = self.files.get(&Some(partition.to_owned()));
        files
            .into_iter()
            .flatten()
            .map(|(path, active)| (path.as_str(), active))
    }

    /// The version of an application's last transaction when the log was read; none if there is none.
    pub(super) async fn transaction(&self, application: &str) -> Result<Option<i64>> {
        let Some(snapshot) = &self.snapshot else {
            return Ok(None);
        };
        let version =
            Box::pin(snapshot.transaction_version(self.log_store.as_ref(), application)).await;
        version.context(|| {
            format!(
                "failed to read transactions from the Delta log of {}",
                self.table.name()
            )
        })
    }

    /// The action that removes a file from the table.
    pub(super) fn remove(
        partition: &str,
        path: &str,
        active: &Active,
        at: DateTime<Utc>,
    ) -> Remove {
        Remove {
            path: path.to_owned(),
            data_change: true,
            deletion_timestamp: Some(at.timestamp_millis()),
            extended_file_metadata: Some(true),
            partition_values: Some([(PARTITION.to_owned(), Some(partition.to_owned()))].into()),
            size: Some(active.bytes),
            deletion_vector: active.deleted.clone(),
            ..Remove::default()
        }
    }

    /// Commits a change durably as the next version. False if another writer has committed that version: then nothing is
    /// changed, and the caller must reload the log.
    pub(super) async fn commit(&mut self, change: LogChange) -> Result<bool> {
        let failed = || format!("failed to write to the Delta log of {}", self.table.name());
        let (metadata, adds, removes) = (
            change.metadata.clone(),
            change.adds.clone(),
            change.removes.clone(),
        );
        let operation = change.operation.clone();
        let actions = self.actions(change).context(failed)?;
        if let Some(snapshot) = &self.snapshot {
            PROTOCOL
                .can_commit(snapshot, &actions.actions, &operation)
                .usage(|| {
                    format!(
                        "the Delta table {} requires a writer feature that backlake does not support",
                        self.table.name()
                    )
                })?;
        }
        let path = Layout::delta_commit(self.table, self.next);
        if !self
            .store
            .put_new(&path, actions.get_bytes().context(failed)?)
            .await?
        {
            return Ok(false);
        }
        let (added, removed) = (adds.len(), removes.len());
        info!(
            table = self.table.name(),
            version = self.next,
            added,
            removed,
            "committed to the Delta log"
        );
        self.apply(metadata, adds, removes);
        self.checkpoint(self.next - 1).await;
        Ok(true)
    }

    fn actions(&self, change: LogChange) -> Result<CommitData, serde_json::Error> {
        let info = CommitInfo {
            timestamp: Some(change.at.timestamp_millis()),
            read_version: self.next.checked_sub(1),
            isolation_level: Some(IsolationLevel::Serializable),
            is_blind_append: Some(false),
            engine_info: Some(concat!("backlake/", env!("CARGO_PKG_VERSION")).to_owned()),
            user_metadata: Some(change.note),
            ..change.operation.get_commit_info()
        };
        let mut actions = vec![Action::CommitInfo(info)];
        if self.metadata.is_none() {
            // Every Delta reader of recent years supports these versions.
            let protocol: Protocol =
                serde_json::from_value(json!({ "minReaderVersion": 1, "minWriterVersion": 2 }))?;
            actions.push(protocol.into());
        }
        actions.extend(change.metadata.map(Action::from));
        actions.extend(change.transaction.map(Action::from));
        actions.extend(change.removes.into_iter().map(Action::from));
        actions.extend(change.adds.into_iter().map(Action::from));
        Ok(CommitData::new(
            actions,
            change.operation,
            Default::default(),
            Vec::new(),
        ))
    }

    /// Applies a change that was just committed, to avoid reading it back.
    fn apply(&mut self, metadata: Option<Metadata>, adds: Vec<Add>, removes: Vec<Remove>) {
        self.next += 1;
        self.metadata = metadata.or_else(|| self.metadata.take());
        for remove in removes {
            let partition = remove
                .partition_values
                .unwrap_or_default()
                .remove(PARTITION)
                .flatten();
            if let Some(files) = self.files.get_mut(&partition) {
                files.remove(&remove.path);
            }
        }
        for mut add in adds {
            let partition = add.partition_values.remove(PARTITION).flatten();
            let active = Active {
                bytes: add.size,
                rows: None,
                deleted: None,
            };
            self.files
                .entry(partition)
                .or_default()
                .insert(add.path, active);
        }
        self.files.retain(|_, files| !files.is_empty());
    }

    /// Writes a checkpoint if one is due. A failure is harmless: readers then replay more commits.
    async fn checkpoint(&self, version: Version) {
        if version == 0 || !version.is_multiple_of(CHECKPOINT_INTERVAL) {
            return;
        }
        let write = async {
            let mut table = DeltaTable::new(self.log_store.clone());
            Box::pin(table.load()).await?;
            Box::pin(create_checkpoint(&table, None)).await?;
            // A checkpoint that was written as a multipart upload is not durable yet.
            self.store
                .sync(&Layout::delta_checkpoint(self.table, version))
                .await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        if let Err(error) = Box::pin(write).await {
            warn!(table = self.table.name(), version, %error, "failed to write a checkpoint of the Delta log (harmless)");
        }
    }

    /// Makes the newest commit durable: its writer may have been interrupted before that.
    pub(super) async fn sync(&self) -> Result<()> {
        match self.next.checked_sub(1) {
            Some(version) => {
                self.store
                    .sync(&Layout::delta_commit(self.table, version))
                    .await
            }
            None => Ok(()),
        }
    }
}
