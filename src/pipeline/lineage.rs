//! Reports runs to a data catalogue as OpenLineage events: START, then COMPLETE or FAIL.
//!
//! Events go to a file, one JSON document per line, or to a URL, or both. A failure here is
//! logged and never changes the outcome of the run.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tracing::warn;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::ready::{LineageSettings, Pipeline};
use super::report::RunEnd;
use super::surroundings::Surroundings;
use crate::contract::Table;
use crate::error::{Context as _, Result};
use crate::fetch::post_json;
use crate::files::open_without_waiting;
use crate::lake::Manifest;
use crate::secret::shown;

/// The producer of the events.
const PRODUCER: &str = concat!("urn:backlake:", env!("CARGO_PKG_VERSION"));
const EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
const SCHEMA: &str =
    "https://openlineage.io/spec/facets/1-1-1/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet";
const STATISTICS: &str = "https://openlineage.io/spec/facets/1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet";
const ERROR: &str = "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet";
/// The variable with the token for the server, as OpenLineage's own clients read it.
const TOKEN: &str = "OPENLINEAGE_API_KEY";

/// Runs `work`, and emits an event before and after it if `[lineage]` is set.
pub(super) async fn with_events(
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
    work: impl Future<Output = Result<RunEnd>>,
) -> Result<RunEnd> {
    if pipeline.lineage == LineageSettings::default() {
        return work.await;
    }
    let seed = format!("{} {} {}", pipeline.snapshot, env.seed, env.clock.now());
    let run = Uuid::new_v8(xxh3_128(seed.as_bytes()).to_be_bytes());
    let event = Event { pipeline, env, run };
    event.emit("START", json!({}), None).await;
    let end = work.await;
    let error = end.as_ref().map_or_else(Some, |end| end.error.as_ref());
    match error {
        Some(error) => {
            let facet = json!({ "errorMessage": facet(ERROR, json!({
                "message": error.to_string(),
                "programmingLanguage": "Rust",
            })) });
            event.emit("FAIL", facet, None).await;
        }
        None => {
            let manifest = event.manifest().await;
            event.emit("COMPLETE", json!({}), manifest.as_ref()).await;
        }
    }
    end
}

/// What all events of a run share.
struct Event<'a> {
    pipeline: &'a Pipeline,
    env: &'a Surroundings<'a>,
    run: Uuid,
}

impl Event<'_> {
    async fn manifest(&self) -> Option<Manifest> {
        let store = self.env.lake(self.pipeline).ok()?;
        Manifest::read(&store, self.pipeline.snapshot).await.ok()?
    }

    async fn emit(&self, kind: &str, run_facets: Value, manifest: Option<&Manifest>) {
        let event = self.json(kind, run_facets, manifest);
        let LineageSettings { file, url } = &self.pipeline.lineage;
        if let Some(file) = file {
            append(file, &event)
                .unwrap_or_else(|error| warn!(%error, "failed to write a lineage event"));
        }
        if let Some(url) = url {
            let token = (self.env.variable)(TOKEN);
            let sent = post_json(url, token.as_deref(), event.to_string(), &self.env.clock).await;
            let url = shown(url.as_str());
            sent.unwrap_or_else(|error| warn!(%error, url, "failed to send a lineage event"));
        }
    }

    fn json(&self, kind: &str, run_facets: Value, manifest: Option<&Manifest>) -> Value {
        let pipeline = self.pipeline;
        let lists = pipeline.targets.sources.paths.iter().map(|path| {
            let (namespace, name) = dataset(&shown(path));
            json!({ "namespace": namespace, "name": name })
        });
        let outputs = Table::ALL.map(|table| self.output(table, manifest));
        json!({
            "eventType": kind,
            "eventTime": self.env.clock.now().to_rfc3339(),
            "producer": PRODUCER,
            "schemaURL": EVENT,
            "run": { "runId": self.run, "facets": run_facets },
            "job": { "namespace": "backlake", "name": pipeline.name },
            "inputs": lists.collect::<Vec<_>>(),
            "outputs": outputs,
        })
    }

    /// A table, with its columns and what was published.
    fn output(&self, table: Table, manifest: Option<&Manifest>) -> Value {
        let lake = shown(&self.pipeline.lake.url);
        let (namespace, name) =
            dataset(&format!("{}/{}", lake.trim_end_matches('/'), table.name()));
        let schema = self.pipeline.lake.contracts.of(table).schema();
        let fields = schema
            .fields()
            .iter()
            .map(|field| json!({ "name": field.name(), "type": field.data_type().to_string() }));
        let fields = json!({ "fields": fields.collect::<Vec<_>>() });
        let mut output = json!({
            "namespace": namespace,
            "name": name,
            "facets": { "schema": facet(SCHEMA, fields) },
        });
        if let Some(written) = manifest.and_then(|manifest| manifest.tables.get(table.name())) {
            let size: u64 = written.files.iter().map(|file| file.bytes).sum();
            let statistics = json!({
                "rowCount": written.rows,
                "size": size,
                "fileCount": written.files.len(),
            });
            output["outputFacets"] = json!({ "outputStatistics": facet(STATISTICS, statistics) });
        }
        output
    }
}

fn facet(schema: &str, mut content: Value) -> Value {
    content["_producer"] = PRODUCER.into();
    content["_schemaURL"] = schema.into();
    content
}

/// The namespace and the name of a dataset: bucket and path, or `file` and the path on this machine.
fn dataset(url: &str) -> (String, String) {
    match url.split_once("://") {
        Some(("file", path)) => ("file".to_owned(), path.to_owned()),
        Some((scheme, rest)) => {
            let (place, name) = rest.split_once('/').unwrap_or((rest, ""));
            (format!("{scheme}://{place}"), name.to_owned())
        }
        None => {
            let path = std::path::absolute(url).unwrap_or_else(|_| url.into());
            ("file".to_owned(), path.display().to_string())
        }
    }
}

fn append(file: &Path, event: &Value) -> Result<()> {
    // A FIFO without a reader must not hold up the run.
    let opened = open_without_waiting(file, OpenOptions::new().create(true).append(true));
    let written = opened.and_then(|mut opened| opened.write_all(format!("{event}\n").as_bytes()));
    written.context(|| format!("failed to write {}", file.display()))
}
