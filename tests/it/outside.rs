//! What is not a file: a device, a FIFO or a link is never replaced, and nothing waits for a FIFO.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Site, program, text};

/// The longest that a command may take here; most take milliseconds.
const LONGEST: Duration = Duration::from_secs(60);

/// A FIFO that nobody reads or writes.
pub(crate) fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// The output of a child, which must end by itself.
fn ended(child: Child, what: &str) -> Output {
    let pid = Pid::from_child(&child);
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output().unwrap()));
    ended.recv_timeout(LONGEST).unwrap_or_else(|_| {
        let _ = kill_process(pid, Signal::KILL);
        panic!("{what} does not end")
    })
}

/// Runs a command, which must end by itself. Returns its exit code and what it says.
fn run(command: &mut Command) -> (Option<i32>, String) {
    let what = format!("{command:?}");
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ended(piped.stdin(Stdio::null()).spawn().unwrap(), &what);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!said.contains("panicked"), "{what}: {said}");
    (output.status.code(), said)
}

#[test]
fn a_fifo_in_place_of_a_file_that_is_named_is_refused_at_once() {
    let site = Site::new(["https://example.com/"]);
    fifo(&site.folder.path().join("pipe.txt"));
    let pipe = site.folder.path().join("pipe.txt");
    let pipe = pipe.to_str().unwrap();
    let good = site.write("pipeline.toml", site.text());
    let good = good.to_str().unwrap();
    let with = |name: &str, before: &str, after: &str| {
        let text = site.text().replace(before, after);
        site.write(name, text).display().to_string()
    };
    let list = site.folder.path().join("targets.txt");
    let list = list.to_str().unwrap();
    let in_list = with("list.toml", list, pipe);
    let in_glob = with("glob.toml", "targets.txt", "pip*.txt");
    let contracts = format!("[lake]\ncontracts = [\"{pipe}\"]");
    let in_contracts = with("contracts.toml", "[lake]", &contracts);
    let remote = ["--backfill", "--base-url", "https://api.invalid"];
    for args in [
        &["plan", pipe][..],
        &["run", pipe],
        &["plan", &in_list],
        &["run", &in_list],
        &["run", &in_glob],
        &["check", &in_contracts],
        &["run", good, remote[0], remote[1], remote[2]],
        &["status", pipe],
        &["verify", pipe],
    ] {
        let mut command = program();
        command.args(args).env("DATAFORSEO_LOGIN", "me");
        let (code, said) = run(command.env("DATAFORSEO_PASSWORD_FILE", pipe));
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.contains("pipe.txt"), "{args:?}: {said}");
    }
}

#[test]
fn a_list_may_be_what_is_open_already() {
    let site = Site::new([""]).with_targets("paths = [\"/dev/stdin\"]\nformat = \"txt\"");
    let file = site.write("pipeline.toml", site.text());
    let pipe = site.folder.path().join("pipe");
    fifo(&pipe);
    let lines: String = (0..50_000)
        .map(|n| format!("https://example.com/{n}\n"))
        .collect();
    let plan = |stdin: Stdio| {
        let mut plan = program();
        plan.arg("plan").arg(&file).args(["--output", "json"]);
        plan.stdin(stdin).stdout(Stdio::piped()).spawn().unwrap()
    };
    let targets = |output: Output| {
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["targets"].as_u64()
    };
    // A pipe, whose writer is slow.
    let mut child = plan(Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    let (first, second) = lines.split_at(lines.len() / 2);
    stdin.write_all(first.as_bytes()).unwrap();
    stdin.write_all(second.as_bytes()).unwrap();
    drop(stdin);
    assert_eq!(targets(ended(child, "a pipe")), Some(50_000));
    // A FIFO, whose writer has gone before it is read.
    let mut both = OpenOptions::new();
    let mut writer = both.read(true).write(true).open(&pipe).unwrap();
    writer.write_all(b"https://example.com/\n").unwrap();
    let reader = std::fs::File::open(&pipe).unwrap();
    drop(writer);
    assert_eq!(targets(ended(plan(reader.into()), "a FIFO")), Some(1));
}

#[test]
fn a_fifo_in_place_of_an_object_of_the_lake_never_hangs_a_command() {
    let site = Site::new(["https://example.com/", "https://example.org/"]);
    let pipeline = site.write("pipeline.toml", site.text());
    let pipeline = pipeline.to_str().unwrap();
    for date in ["2026-11-22", "2026-11-23"] {
        let args = ["run", pipeline, "-q", "--snapshot", date];
        let (code, said) = run(program().args(args));
        assert_eq!(code, Some(0), "{said}");
    }
    let lake = site.lake();
    let lake = lake.to_str().unwrap();
    let sound = site.tree();
    let kinds = [
        "_snapshots/2026-11-23.json",
        "_archive/2026-11-23/",
        "_runs/2026-11-23/intents/",
        "_runs/2026-11-23/attempts/",
        "_runs/2026-11-23/run.json",
        "_runs/2026-11-23/summary.json",
        ".lines.ndjson.zst",
        "_contracts/pages.v1.toml",
        "pages/snapshot_date=2026-11-23/",
    ];
    for kind in kinds {
        let object = sound.keys().find(|path| path.contains(kind));
        let object = site
            .lake()
            .join(object.unwrap_or_else(|| panic!("no {kind}")));
        std::fs::remove_file(&object).unwrap();
        fifo(&object);
        for args in [
            &["status", lake][..],
            &["snapshots", lake],
            &["verify", lake, "--archive"],
            &["diff", lake],
            &["sql", lake],
            &["compact", lake],
            &["prune", lake, "--keep-snapshots", "1"],
            &["replay", pipeline, "--snapshot", "2026-11-23"],
            &["run", pipeline, "--snapshot", "2026-11-23"],
        ] {
            let (code, said) = run(program().args(args));
            assert!(
                code.is_some_and(|code| code <= 7),
                "{kind} {args:?}: {said}"
            );
        }
        // A replay may have put a file in its place.
        std::fs::remove_file(&object).unwrap();
        for (path, bytes) in &sound {
            let file = site.lake().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
    }
}

#[test]
fn a_signal_is_heard_while_a_list_is_read() {
    let site = Site::new([""]).with_targets("paths = [\"-\"]");
    let file = site.write("pipeline.toml", site.text());
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut command = program();
        command.arg("run").arg(&file).stdin(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // More than a pipe holds: when this is written, the list is being read.
        stdin
            .write_all(&b"https://example.com/\n".repeat(100_000))
            .unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = ended(child, "a run whose list never ends");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("nothing was sent"), "{said}");
        drop(stdin);
    }
}

#[test]
fn every_command_that_writes_a_file_keeps_links_devices_and_fifos() {
    let site = Site::new(["https://example.com/"]);
    let lake = site.lake();
    let lake = lake.to_str().unwrap();
    let pipeline = site.write("pipeline.toml", site.text());
    let pipeline = pipeline.to_str().unwrap();
    for date in ["2026-11-22", "2026-11-23"] {
        let run = site.program("run", &["-q", "--backfill", "--snapshot", date]);
        assert!(run.status.success(), "{}", text(&run.stderr));
    }
    let commands: [&[&str]; 4] = [
        &["sql", lake, "--write"],
        &["diff", lake, "--out"],
        &["diff", lake, "--what", "new", "--format", "csv", "--out"],
        &["run", pipeline, "-q", "--metrics-file"],
    ];
    for command in commands {
        let folder = tempfile::tempdir_in(site.folder.path()).unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str| {
            let output = program().args(command).arg(at(name)).output().unwrap();
            (output.status.code(), text(&output.stderr))
        };
        std::fs::write(at("file"), "before").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        fifo(&at("pipe"));
        std::fs::create_dir(at("folder")).unwrap();

        assert_eq!(write("link").0, Some(0), "{command:?}");
        assert_ne!(std::fs::read_to_string(at("file")).unwrap(), "before");
        assert_eq!(write("null").0, Some(0), "{command:?}");
        for (name, why) in [
            ("dangling", "does not exist"),
            ("pipe", "FIFO"),
            ("folder", "neither"),
        ] {
            let (code, errors) = write(name);
            assert_eq!(code, Some(2), "{command:?} {name}: {errors}");
            assert!(errors.contains(why), "{command:?} {name}: {errors}");
        }
        for link in ["link", "null", "dangling"] {
            assert!(at(link).is_symlink(), "{command:?} {link}");
        }
        assert!(at("pipe").metadata().unwrap().file_type().is_fifo());
        assert_eq!(folder.path().read_dir().unwrap().count(), 6, "{command:?}");

        // A FIFO that is read gets the result; metrics are rewritten while a run works, so they need a file.
        let mut both = OpenOptions::new();
        let reader = both.read(true).write(true).open(at("pipe")).unwrap();
        let metrics = command.contains(&"--metrics-file");
        assert_eq!(write("pipe").0, Some(if metrics { 2 } else { 0 }));
        drop(reader);
    }
}
