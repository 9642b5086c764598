//! Shared by all tests: a pipeline in a folder of its own, run in this process or as the real
//! program.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use backlake::clock::Clock;
use backlake::contract::Table;
use backlake::error::Result;
use backlake::fetch::{SendError, StreamingResponse, Transport};
use backlake::pipeline::{
    FindingsMode, Overrides, Pipeline, RunEnd, RunMode, Surroundings, replay, run,
};
use backlake::simulator::{Behaviour, LOGIN, PASSWORD, Reaction, Scripted, Simulator};
use backlake::stop::Stop;
use backlake::store::Owner;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

/// A folder with a target list, a pipeline file and a lake.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    /// Lines after those that every pipeline file has.
    extra: String,
    targets: String,
    /// Lines after the `[lake]` table's first.
    lake: String,
}

/// The snapshot that all tests make.
pub(crate) fn date() -> NaiveDate {
    "2026-11-23".parse().unwrap()
}

/// The time at which all tests start.
pub(crate) fn noon() -> DateTime<Utc> {
    date().and_hms_opt(12, 0, 0).unwrap().and_utc()
}

impl Site {
    /// A site with this target list, one target per line.
    pub(crate) fn new(targets: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut list = String::new();
        for target in targets {
            let _ = writeln!(list, "{}", target.as_ref());
        }
        let path = folder.path().join("targets.txt");
        std::fs::write(&path, list).unwrap();
        let targets = format!("paths = [\"{}\"]", path.display());
        Self {
            folder,
            extra: String::new(),
            targets,
            lake: String::new(),
        }
    }

    /// Adds lines to the pipeline file.
    pub(crate) fn with(mut self, extra: &str) -> Self {
        self.extra.push_str(extra);
        self.extra.push('\n');
        self
    }

    /// Replaces a text of the added lines.
    pub(crate) fn replaced(mut self, before: &str, after: &str) -> Self {
        self.extra = self.extra.replace(before, after);
        self
    }

    /// Replaces the `[targets]` table's lines.
    pub(crate) fn with_targets(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.targets);
        self
    }

    /// Adds lines to the `[lake]` table.
    pub(crate) fn with_lake(mut self, lines: &str) -> Self {
        self.lake = format!("{lines}\n");
        self
    }

    /// Writes a file into the folder and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    /// The pipeline file as text. It asks the embedded simulator, unless it says otherwise.
    pub(crate) fn text(&self) -> String {
        let text = format!(
            "name = \"test\"\nendpoint = \"backlinks/bulk_pages_summary\"\nsnapshot = \"2026-11-23\"\n\
             [lake]\nurl = \"{}\"\n{}[targets]\n{}\n{}",
            self.lake().display(),
            self.lake,
            self.targets,
            self.extra
        );
        if text.contains("base_url") {
            return text;
        }
        // At the end of [api], so that tests can count lines.
        let Some(api) = text.find("[api]\n") else {
            return text + "[api]\nbase_url = \"simulator\"\n";
        };
        let end = text[api..]
            .find("\n[")
            .map_or(text.len(), |at| api + at + 1);
        let (before, after) = text.split_at(end);
        format!("{before}base_url = \"simulator\"\n{after}")
    }

    /// The pipeline, as if these flags were on the command line.
    pub(crate) fn pipeline_with(&self, overrides: Overrides) -> Pipeline {
        let clock = Clock::simulated(noon());
        Pipeline::parse("test.toml", &self.text(), overrides, &clock).unwrap()
    }

    pub(crate) fn pipeline(&self, base_url: &str) -> Pipeline {
        self.pipeline_with(Overrides {
            base_url: Some(base_url.to_owned()),
            ..Overrides::default()
        })
    }

    /// The pipeline for the snapshot of another date.
    pub(crate) fn pipeline_of(&self, snapshot: NaiveDate, base_url: &str) -> Pipeline {
        self.pipeline_with(Overrides {
            base_url: Some(base_url.to_owned()),
            snapshot: Some(snapshot),
            ..Overrides::default()
        })
    }

    /// Runs the pipeline against this simulator, in this process and without sockets.
    pub(crate) async fn run(&self, simulator: &Arc<Simulator>, clock: &Clock) -> Result<RunEnd> {
        let pipeline = self.pipeline(&simulator.url());
        let env = surroundings(simulator, clock);
        run(&pipeline, RunMode::default(), &env).await
    }

    /// Rebuilds the snapshot from its archive.
    pub(crate) async fn replay(&self, simulator: &Arc<Simulator>, clock: &Clock) -> Result<RunEnd> {
        let pipeline = self.pipeline(&simulator.url());
        let env = surroundings(simulator, clock);
        replay(&pipeline, FindingsMode::Hold, &env).await
    }

    /// The problems that `verify` finds in the lake.
    pub(crate) fn problems(&self) -> Vec<String> {
        let output = program()
            .arg("verify")
            .arg(self.lake())
            .args(["--output", "json"])
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let audits = report["snapshots"].as_array().unwrap().iter();
        let problems: Vec<String> = audits
            .flat_map(|audit| audit["problems"].as_array().unwrap())
            .chain(report["strays"].as_array().unwrap())
            .map(|found| found.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(output.status.success(), problems.is_empty());
        problems
    }

    /// The manifest of the published snapshot.
    pub(crate) fn manifest(&self) -> serde_json::Value {
        let path = self.lake().join("_snapshots/2026-11-23.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// Every file of the four published tables, by its path in the lake.
    pub(crate) fn published_files(&self) -> BTreeMap<String, Vec<u8>> {
        let lake = self.lake();
        let paths = Table::ALL.into_iter().flat_map(|table| files(&lake, table));
        let files = paths.map(|path| {
            let name = path.strip_prefix(&lake).unwrap().display().to_string();
            (name, std::fs::read(&path).unwrap())
        });
        files.collect()
    }

    /// Every file of the lake, by its path in it.
    pub(crate) fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        tree(&self.lake())
    }

    /// Runs the real program on this site's pipeline file.
    pub(crate) fn program(&self, command: &str, more: &[&str]) -> Output {
        let file = self.write("pipeline.toml", self.text());
        program()
            .arg(command)
            .arg(file)
            .args(more)
            .output()
            .unwrap()
    }

    /// All rows of a table of the published snapshot.
    pub(crate) fn table(&self, table: Table) -> RecordBatch {
        read_table(&self.lake(), table)
    }
}

/// The surroundings of a run in a test: the simulator's credentials, and a transport to it without
/// sockets.
pub(crate) fn surroundings(simulator: &Arc<Simulator>, clock: &Clock) -> Surroundings<'static> {
    through(simulator, clock, None)
}

/// The same with a provider that sends items which differ from the contract.
pub(crate) fn drifting(
    simulator: &Arc<Simulator>,
    clock: &Clock,
    alter: AlterItem,
) -> Surroundings<'static> {
    through(simulator, clock, Some(alter))
}

/// Changes an item, of which the number in its response is given.
pub(crate) type AlterItem = fn(usize, &mut serde_json::Value);

fn through(
    simulator: &Arc<Simulator>,
    clock: &Clock,
    alter: Option<AlterItem>,
) -> Surroundings<'static> {
    let simulator = Arc::clone(simulator);
    Surroundings {
        clock: clock.clone(),
        seed: 7,
        variable: &credential,
        on_progress: &|_| {},
        stop: Stop::default(),
        owner: Owner::this_process(),
        transport: Some(Arc::new(Within { simulator, alter })),
        store: None,
    }
}

/// The simulator's credentials as environment variables.
pub(crate) fn credential(name: &str) -> Option<String> {
    match name {
        "DATAFORSEO_LOGIN" => Some(LOGIN.to_owned()),
        "DATAFORSEO_PASSWORD" => Some(PASSWORD.to_owned()),
        _ => None,
    }
}

/// A simulator and the clock that it shares with the run.
pub(crate) async fn simulator(behaviour: Behaviour) -> (Arc<Simulator>, Clock) {
    let clock = Clock::simulated(noon());
    let behaviour = Behaviour {
        date: Some(date()),
        ..behaviour
    };
    (Arc::new(Simulator::new(behaviour, &clock)), clock)
}

/// A simulator that listens, for the real program.
pub(crate) async fn listening(behaviour: Behaviour) -> Simulator {
    let behaviour = Behaviour {
        date: Some(date()),
        ..behaviour
    };
    Simulator::start(behaviour, &Clock::system(), 0)
        .await
        .unwrap()
}

/// A transport to the simulator within this process.
struct Within {
    simulator: Arc<Simulator>,
    /// What becomes of each item on its way.
    alter: Option<AlterItem>,
}

impl std::fmt::Debug for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Within")
    }
}

impl Transport for Within {
    fn send(
        &self,
        mut request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<StreamingResponse, SendError>> {
        let simulator = Arc::clone(&self.simulator);
        if self.alter.is_some() {
            // Compressed items cannot be altered.
            request.headers_mut().remove(ACCEPT_ENCODING);
        }
        // The provider does its work whether or not the client waits for it.
        let reaction = tokio::spawn(async move { simulator.react(request).await });
        Box::pin(async move {
            let half = |scripted: &Scripted| Ok(scripted.body.slice(..scripted.body.len() / 2));
            match reaction.await.unwrap() {
                Reaction::Response(mut scripted) => {
                    if let Some(alter) = self.alter {
                        scripted.body = altered(&scripted.body, alter);
                    }
                    let body = stream::iter([Ok(scripted.body.clone())]).boxed();
                    Ok(response(scripted, body))
                }
                Reaction::Refused => Err(SendError::NotSent("connection refused".to_owned())),
                Reaction::HangUp => Err(SendError::NoResponse("connection reset".to_owned())),
                Reaction::BreakOff(_, scripted) => {
                    let body =
                        stream::iter([half(&scripted), Err("connection reset".to_owned())]).boxed();
                    Ok(response(scripted, body))
                }
                Reaction::Stall(_, scripted) => {
                    let body = stream::iter([half(&scripted)])
                        .chain(stream::pending())
                        .boxed();
                    Ok(response(scripted, body))
                }
            }
        })
    }
}

/// A response with changed items.
fn altered(body: &[u8], alter: AlterItem) -> Bytes {
    let mut response: serde_json::Value = serde_json::from_slice(body).unwrap();
    let items = response.pointer_mut("/tasks/0/result/0/items");
    let items = items.and_then(serde_json::Value::as_array_mut);
    for (n, item) in items.into_iter().flatten().enumerate() {
        alter(n, item);
    }
    response.to_string().into()
}

fn response(
    scripted: Scripted,
    body: stream::BoxStream<'static, Result<Bytes, String>>,
) -> StreamingResponse {
    let mut headers = HeaderMap::new();
    for (name, value) in scripted.headers {
        headers.append(name, HeaderValue::from_str(&value).unwrap());
    }
    StreamingResponse {
        status: StatusCode::from_u16(scripted.status).unwrap(),
        headers,
        body,
    }
}

/// The real program, without the settings of the environment.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backlake"));
    for (name, _) in std::env::vars()
        .filter(|(name, _)| name.starts_with("BACKLAKE_") || name.starts_with("DATAFORSEO_"))
    {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// The files of a table's snapshot, by name.
pub(crate) fn files(lake: &Path, table: Table) -> Vec<PathBuf> {
    files_of(lake, table, date())
}

fn files_of(lake: &Path, table: Table, date: NaiveDate) -> Vec<PathBuf> {
    let folder = lake
        .join(table.name())
        .join(format!("snapshot_date={date}"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Every file of a lake, by its path in it.
pub(crate) fn tree(lake: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![lake.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(lake).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// All rows of a table's snapshot, in the order of its files.
pub(crate) fn read_table(lake: &Path, table: Table) -> RecordBatch {
    read_snapshot(lake, table, date())
}

/// All rows of a table's snapshot of any date, in the order of its files.
pub(crate) fn read_snapshot(lake: &Path, table: Table, date: NaiveDate) -> RecordBatch {
    let schema = table.contract().schema();
    let mut batches = Vec::new();
    for file in files_of(lake, table, date) {
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
        for batch in reader.build().unwrap() {
            // Readers name the inner fields of maps in their own way; here they get the contract's
            // names.
            let batch = batch.unwrap();
            let columns = batch
                .columns()
                .iter()
                .zip(schema.fields())
                .map(|(column, field)| arrow::compute::cast(column, field.data_type()).unwrap());
            batches.push(RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap());
        }
    }
    concat_batches(&schema, &batches).unwrap()
}

/// The output of a program as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A target list with domains and pages, several of them per root domain.
pub(crate) fn mixed_targets(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| {
        if n % 3 == 0 {
            format!("d{n}.com")
        } else {
            format!("https://e{}.org/{n}", n % 40)
        }
    })
}
