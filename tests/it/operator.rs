//! Ten faults of a night, as an operator meets them at 02:00: the last line, the hint, the exit code,
//! the event in the log, the metrics and what `status` says. One snapshot shows all of them.
//!
//! `INSTA_UPDATE=always cargo test --test it operator` accepts what has changed, once it is read.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use backlake::contract::Table;
use backlake::money::Usd;
use backlake::pipeline::{RunMode, Surroundings, run};
use backlake::simulator::{Behaviour, LOGIN, Milestone, PASSWORD, Poison, Simulator, What};
use backlake::store::Store;
use object_store::local::LocalFileSystem;
use serde_json::Value;

use crate::faulty::{Faulty, Troubles};
use crate::harness::{Site, date, files, listening, program, simulator, surroundings, text};
use crate::scripted::pages;
use crate::texts::pinned;

/// One fault, at the real program.
struct Fault {
    name: &'static str,
    site: Site,
    simulator: Simulator,
    password: &'static str,
    args: Vec<String>,
}

impl Fault {
    async fn new(name: &'static str, extra: &str, behaviour: Behaviour) -> Self {
        let extra = format!("[api]\nmax_in_flight = 1\n{extra}");
        Self {
            name,
            site: Site::new(pages(2500)).with(&extra),
            simulator: listening(behaviour).await,
            password: PASSWORD,
            args: Vec::new(),
        }
    }

    fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    fn metrics(&self) -> PathBuf {
        self.site.folder.path().join("backlake.prom")
    }

    /// A command of the program on the site's pipeline file.
    fn command(&self, command: &str) -> Command {
        let file = self.site.write("pipeline.toml", self.site.text());
        let mut program = program();
        program
            .arg(command)
            .arg(file)
            .env("DATAFORSEO_LOGIN", LOGIN)
            .env("DATAFORSEO_PASSWORD", self.password);
        program
    }

    fn run(&self, log_format: &str) -> Command {
        let mut run = self.command("run");
        run.args(["--log-format", log_format, "--metrics-file"])
            .arg(self.metrics())
            .args(["--base-url", &self.simulator.url()])
            .args(&self.args);
        run
    }

    /// What an operator sees after a start: the text, then the same from a start that logs JSON.
    fn seen(&self) -> String {
        let output = self.run("text").output().unwrap();
        let mut shown = format!("# {}\n", self.name);
        self.ended(&output, &mut shown);
        let again = self.run("json").output().unwrap();
        let log = text(&again.stderr);
        let events = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let errors: Vec<Value> = events.filter(|event| event["level"] == "ERROR").collect();
        for event in &errors {
            let fields = serde_json::to_string(&event["fields"]).unwrap();
            let _ = writeln!(shown, "event    {fields}");
        }
        assert_eq!(errors.is_empty(), again.status.success(), "{log}");
        self.looked_at(&mut shown);
        shown
    }

    /// The exit code and the last lines.
    fn ended(&self, output: &Output, shown: &mut String) {
        let code = output.status.code();
        let code = code.map_or("killed".to_owned(), |code| code.to_string());
        let _ = writeln!(shown, "exit     {code}");
        let said = text(&output.stderr);
        let last = said
            .lines()
            .skip_while(|line| !line.starts_with("error"))
            .map(str::trim_end);
        for line in last {
            let _ = writeln!(shown, "last     {line}");
        }
    }

    /// The metrics that rules look at, and the night in `status`.
    fn looked_at(&self, shown: &mut String) {
        // A pipeline file that is wrong names no metrics.
        let metrics = std::fs::read_to_string(self.metrics()).unwrap_or_default();
        for name in ["run_exit_code", "snapshot_published", "open_snapshots"] {
            let name = format!("backlake_{name}{{");
            let value = metrics.lines().find(|line| line.starts_with(&name));
            if let Some((_, value)) = value.and_then(|line| line.rsplit_once(' ')) {
                let _ = writeln!(shown, "metric   {} {value}", name.trim_end_matches('{'));
            }
        }
        shown.push_str(&self.status());
    }

    /// Without what differs from machine to machine and from day to day.
    fn anonymous(&self, shown: &str) -> String {
        let folder = self.site.folder.path().display().to_string();
        let address = self.simulator.url().replace("http://", "");
        let shown = shown.replace(&folder, "[folder]");
        let shown = shown.replace(&address, "[simulator]");
        // What the search takes differs from run to run.
        match shown.split_once("found with ") {
            Some((before, after)) => {
                let (_, rest) = after.split_once(" in all").unwrap();
                format!("{before}found with [so many requests] in all{rest}")
            }
            None => shown,
        }
    }

    fn status(&self) -> String {
        let mut command = self.command("status");
        command.args(["--nights", "100000", "--max-age", "100000d"]);
        night(&command.args(["--output", "json"]).output().unwrap())
    }
}

/// The night of the tests in the output of `status`.
fn night(status: &Output) -> String {
    let report: Value = serde_json::from_slice(&status.stdout).unwrap();
    let mut shown = String::new();
    let nights = report["nights"].as_array().into_iter().flatten();
    for night in nights.filter(|night| night["snapshot"] == date().to_string()) {
        for key in ["state", "why", "hint", "command"] {
            if let Some(text) = night[key].as_str() {
                let _ = writeln!(shown, "status   {key}: {text}");
            }
        }
    }
    if shown.is_empty() {
        let _ = writeln!(shown, "status   {}", report["error"]["message"]);
    }
    shown
}

/// A fault within this process: a test can neither fill a disk nor wait as long as a run that tries
/// again.
async fn within(name: &str, site: Site, behaviour: Behaviour, troubles: Troubles) -> String {
    let (simulator, clock) = simulator(behaviour).await;
    std::fs::create_dir_all(site.lake()).unwrap();
    let disk = Arc::new(LocalFileSystem::new_with_prefix(site.lake()).unwrap());
    let store = Store::over(Arc::new(Faulty::new(disk, &clock, troubles)), "lake");
    let env = Surroundings {
        store: Some(store),
        ..surroundings(&simulator, &clock)
    };
    let pipeline = site.pipeline(&simulator.url());
    let error = match Box::pin(run(&pipeline, RunMode::default(), &env)).await {
        Ok(end) => end.error.unwrap(),
        Err(error) => error,
    };
    let mut shown = format!("# {name}\n");
    let _ = writeln!(shown, "exit     {}", error.kind().exit_code());
    let _ = writeln!(shown, "last     error: {error}");
    let _ = writeln!(shown, "last     hint: {}", error.hint());
    let file = site.write("pipeline.toml", site.text());
    let mut status = program();
    status.arg("status").arg(file);
    status.args(["--nights", "100000", "--max-age", "100000d"]);
    let status = status.args(["--output", "json"]).output().unwrap();
    let folder = site.folder.path().display().to_string();
    (shown + &night(&status)).replace(&folder, "[folder]")
}

/// A disk that is full, and a provider that cannot be reached.
fn on_a_simulated_clock() -> [String; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let refused = backlake::simulator::Fault {
        what: What::Refused,
        charged: false,
        share: 1.0,
        from: 0,
        until: u64::MAX,
        code: 0,
        seconds: 0.0,
        times: 1,
    };
    runtime.block_on(async {
        let site = || Site::new(pages(2500)).with("[api]\nmax_in_flight = 1");
        let full = Troubles {
            room: 300_000,
            ..Troubles::default()
        };
        let down = Behaviour {
            faults: vec![refused],
            ..Behaviour::default()
        };
        let patient = site().with_lake("retry_minutes = 0");
        [
            within("full disk", patient, Behaviour::default(), full).await,
            within("provider down", site(), down, Troubles::default()).await,
        ]
    })
}

/// A start that is killed, and the next one.
fn killed(fault: &Fault) -> String {
    let (send, coming) = channel();
    fault
        .simulator
        .on_milestone(move |milestone| _ = send.send(milestone));
    let mut run = fault.run("text");
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = run.spawn().unwrap();
    while coming.recv_timeout(Duration::from_secs(60)).unwrap() != Milestone::Request(2) {}
    child.kill().unwrap();
    child.wait().unwrap();
    let mut shown = format!("# {}\n", fault.name);
    shown.push_str("exit     killed\n");
    fault.looked_at(&mut shown);
    let next = fault.run("text").output().unwrap();
    shown.push_str("the next start:\n");
    fault.ended(&next, &mut shown);
    fault.looked_at(&mut shown);
    shown
}

/// A published snapshot that has lost a file.
fn lost_file(fault: &Fault) -> String {
    assert!(fault.run("text").status().unwrap().success());
    let [file, ..] = &files(&fault.site.lake(), Table::Pages)[..] else {
        panic!("no files")
    };
    std::fs::remove_file(file).unwrap();
    let mut shown = format!("# {}\n", fault.name);
    let mut verify = program();
    let output = verify
        .arg("verify")
        .arg(fault.site.lake())
        .output()
        .unwrap();
    fault.ended(&output, &mut shown);
    shown.push_str(&fault.status());
    let mut replay = fault.command("replay");
    replay.env("BACKLAKE_BASE_URL", fault.simulator.url());
    let replayed = replay.output().unwrap();
    shown.push_str("after `replay`:\n");
    fault.ended(&replayed, &mut shown);
    shown.push_str(&fault.status());
    shown
}

/// Targets that the provider refuses: no error, but the report tells what it took.
fn refused_targets(fault: &Fault) -> String {
    let output = fault.run("text").output().unwrap();
    let mut shown = format!("# {}\n", fault.name);
    fault.ended(&output, &mut shown);
    let report = text(&output.stdout);
    let told = report
        .lines()
        .skip_while(|line| !line.contains("found with"))
        .take_while(|line| !line.contains("balance"));
    for line in told {
        // The date is a month after today.
        let until = line.find("before 20").map(|at| at + "before ".len());
        let line = &line[..until.unwrap_or(line.len())];
        let _ = writeln!(shown, "report   {}", line.trim());
    }
    fault.looked_at(&mut shown);
    let mut plan = fault.command("plan");
    plan.env("BACKLAKE_BASE_URL", fault.simulator.url());
    let plan = plan.output().unwrap();
    let plan = text(&plan.stdout);
    for line in plan.lines().filter(|line| line.contains("not asked for")) {
        let until = line.find("before 20").map(|at| at + "before ".len());
        let _ = writeln!(
            shown,
            "plan     {}",
            line[..until.unwrap_or(line.len())].trim()
        );
    }
    shown
}

/// A contract with a field that no response has.
fn later_contract(site: &Site) -> String {
    let schema = program()
        .args(["schema", "pages", "--toml"])
        .output()
        .unwrap();
    let schema = text(&schema.stdout).replacen("\nversion = 1\n", "\nversion = 2\n", 1);
    let column = "[[column]]\nname = \"expected\"\ntype = \"int64\"\nnullable = true\n\
                  item = \"expected\"\nsince = 2\nmeaning = \"a field that no response has\"\n";
    let contract = site.write("later.toml", format!("{schema}\n{column}"));
    contract.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_says_what_happened_and_what_to_do() {
    let quiet = Behaviour::default;
    let mut wrong = Fault::new("wrong password", "", quiet()).await;
    wrong.password = "wrong-password";
    let poor = Behaviour {
        balance: "0.05".parse::<Usd>().unwrap(),
        ..quiet()
    };
    let revoked = Behaviour {
        revoked_after: Some(1),
        ..quiet()
    };
    let refused = Behaviour {
        poison: Poison {
            targets: Arc::new([pages(2500)[77].clone(), pages(2500)[1777].clone()].into()),
            ..Poison::default()
        },
        ..quiet()
    };
    let mut drift = Fault::new("drift", "[publish]\non_drift = \"hold\"", quiet()).await;
    let contract = format!("contracts = [\"{}\"]", later_contract(&drift.site));
    drift.site = drift.site.with_lake(&contract);
    let faults = [
        wrong,
        Fault::new("no funds", "", poor).await,
        Fault::new("login revoked in the middle", "", revoked).await,
        Fault::new("budget", "", quiet())
            .await
            .with(&["--max-cost-usd", "0.07"]),
        drift,
    ];
    let kill = Fault::new("kill", "", quiet()).await;
    let refused = Fault::new("refused targets", "", refused).await;
    let lost = Fault::new("lost file", "", quiet()).await;
    let rows = tokio::task::spawn_blocking(move || {
        let mut rows: Vec<String> = faults
            .iter()
            .map(|fault| fault.anonymous(&fault.seen()))
            .collect();
        rows.push(kill.anonymous(&killed(&kill)));
        rows.push(refused.anonymous(&refused_targets(&refused)));
        rows.push(lost.anonymous(&lost_file(&lost)));
        rows
    });
    let mut rows = rows.await.unwrap();
    let simulated = tokio::task::spawn_blocking(on_a_simulated_clock);
    rows.extend(simulated.await.unwrap());
    assert_eq!(rows.len(), 10);
    pinned("operator", &rows.join("\n"), None);
}
