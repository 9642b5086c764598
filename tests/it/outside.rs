//! What is outside the lake keeps its kind: a device, a FIFO or a link is never replaced.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::Path;

use crate::harness::{Site, program, text};

/// A FIFO that nobody reads or writes.
fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
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
