//! What the tests share: a pipeline in a folder of its own, run in this process or as the real program.

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
use backlake::pipeline::{Overrides, Pipeline, RunEnd, Surroundings, run};
use backlake::simulator::{Behaviour, LOGIN, PASSWORD, Reaction, Scripted, Simulator};
use backlake::stop::Stop;
use backlake::store::Owner;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
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

/// When all tests take place.
pub(crate) fn noon() -> DateTime<Utc> {
    date().and_hms_opt(12, 0, 0).unwrap().and_utc()
}

impl Site {
    /// A site with this target list, one a line.
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

    /// Says more in the pipeline file.
    pub(crate) fn with(mut self, extra: &str) -> Self {
        self.extra.push_str(extra);
        self.extra.push('\n');
        self
    }

    /// Says something else in the pipeline file.
    pub(crate) fn replaced(mut self, before: &str, after: &str) -> Self {
        self.extra = self.extra.replace(before, after);
        self
    }

    /// Replaces the `[targets]` table's lines.
    pub(crate) fn with_targets(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.targets);
        self
    }

    /// Says more in the `[lake]` table.
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

    /// The pipeline file as text.
    pub(crate) fn text(&self) -> String {
        format!(
            "name = \"test\"\nendpoint = \"backlinks/bulk_pages_summary\"\nsnapshot = \"2026-11-23\"\n\
             [lake]\nurl = \"{}\"\n{}[targets]\n{}\n{}",
            self.lake().display(),
            self.lake,
            self.targets,
            self.extra
        )
    }

    pub(crate) fn pipeline(&self, base_url: &str) -> Pipeline {
        let overrides = Overrides {
            base_url: Some(base_url.to_owned()),
            ..Overrides::default()
        };
        Pipeline::parse(
            "test.toml",
            &self.text(),
            overrides,
            &Clock::simulated(noon()),
        )
        .unwrap()
    }

    /// Runs the pipeline against this simulator, in this process and without sockets.
    pub(crate) async fn run(&self, simulator: &Arc<Simulator>, clock: &Clock) -> Result<RunEnd> {
        run(
            &self.pipeline(&simulator.url()),
            &surroundings(simulator, clock),
        )
        .await
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

/// The surroundings of a run in a test: the simulator's credentials, and a transport to it without sockets.
pub(crate) fn surroundings(simulator: &Arc<Simulator>, clock: &Clock) -> Surroundings<'static> {
    Surroundings {
        clock: clock.clone(),
        seed: 7,
        variable: &credential,
        on_progress: &|_| {},
        stop: Stop::default(),
        owner: Owner::this_process(),
        transport: Some(Arc::new(Within(Arc::clone(simulator)))),
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
struct Within(Arc<Simulator>);

impl std::fmt::Debug for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Within")
    }
}

impl Transport for Within {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<StreamingResponse, SendError>> {
        let simulator = Arc::clone(&self.0);
        // The provider does what it was asked, whether or not the client waits for it.
        let reaction = tokio::spawn(async move { simulator.react(request).await });
        Box::pin(async move {
            let half = |answer: &Scripted| Ok(answer.body.slice(..answer.body.len() / 2));
            match reaction.await.unwrap() {
                Reaction::Response(answer) => {
                    let body = stream::iter([Ok(answer.body.clone())]).boxed();
                    Ok(response(answer, body))
                }
                Reaction::Refused => Err(SendError::NotSent("connection refused".to_owned())),
                Reaction::HangUp => Err(SendError::NoResponse("connection reset".to_owned())),
                Reaction::BreakOff(_, answer) => {
                    let body =
                        stream::iter([half(&answer), Err("connection reset".to_owned())]).boxed();
                    Ok(response(answer, body))
                }
                Reaction::Stall(_, answer) => {
                    let body = stream::iter([half(&answer)])
                        .chain(stream::pending())
                        .boxed();
                    Ok(response(answer, body))
                }
            }
        })
    }
}

fn response(
    answer: Scripted,
    body: stream::BoxStream<'static, Result<Bytes, String>>,
) -> StreamingResponse {
    let mut headers = HeaderMap::new();
    for (name, value) in answer.headers {
        headers.append(name, HeaderValue::from_str(&value).unwrap());
    }
    StreamingResponse {
        status: StatusCode::from_u16(answer.status).unwrap(),
        headers,
        body,
    }
}

/// The real program, without what the environment might say.
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
            // Readers name the inner fields of maps in their own way; here they bear the contract's names.
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

/// What a program printed, for messages and comparisons.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
