//! The memory of a process, for the benches that measure it, and the processes to measure.

use std::ffi::OsStr;
use std::process::Command;

/// Runs this bench again with `--measure` and the arguments, in a process whose peak is only its
/// own, and prints what it prints.
///
/// # Panics
/// The process fails.
pub(crate) fn measure_in_a_child<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) {
    let bench = std::env::current_exe().expect("the path of this bench");
    let child = Command::new(bench)
        .arg("--measure")
        .args(args)
        .output()
        .expect("a child");
    print!("{}", String::from_utf8_lossy(&child.stdout));
    eprint!("{}", String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "a measurement failed");
}

/// The most megabytes that this process has held; 0 where the system does not tell.
pub(crate) fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
