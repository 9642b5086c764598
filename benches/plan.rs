//! Time and memory of planning, reading included: `cargo bench --bench plan [-- --large]`.
//!
//! One million targets as txt and as csv; with `--large` also ten million. Each list is planned in its
//! own process.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, and ends where it fails"
)]

mod peak;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use backlake::clock::Clock;
use backlake::pipeline::{Overrides, Pipeline, Surroundings, plan};

use peak::{measure_in_a_child, peak_megabytes};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--measure") {
        return measure(&args[at + 1]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let sizes: &[usize] = if args.iter().any(|arg| arg == "--large") {
        &[1_000_000, 10_000_000]
    } else {
        &[1_000_000]
    };
    for &targets in sizes {
        for name in ["list.txt", "list.csv"] {
            let list = folder.path().join(name);
            write_list(&list, targets);
            print!("{name}: ");
            measure_in_a_child([&list]);
        }
    }
}

/// Writes pages of domains whose sizes have a heavy tail, in mixed order.
fn write_list(path: &std::path::Path, targets: usize) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    let mut line = String::new();
    let is_csv = path.extension().is_some_and(|extension| extension == "csv");
    if is_csv {
        file.write_all(b"client,url,note\n").expect("a line");
    }
    for n in 0..targets as u64 {
        // A permutation of 0..targets (the factor is prime), mapped to a few large and many small domains.
        let at = n.wrapping_mul(7_368_787) % targets as u64;
        let domain = (at as f64).powf(0.82) as u64;
        line.clear();
        let category = at % 17;
        let page = format!("https://www.site{domain}.com/blog/category-{category}/post-{at}");
        let _ = if is_csv {
            writeln!(line, "client {category},{page},\"a note, with a comma\"")
        } else {
            writeln!(line, "{page}")
        };
        file.write_all(line.as_bytes()).expect("a line");
    }
    file.flush().expect("a file");
}

fn measure(list: &str) {
    let text = format!(
        "name = \"bench\"\nendpoint = \"backlinks/bulk_pages_summary\"\n[targets]\npaths = [\"{list}\"]\n[api]\nbase_url = \"simulator\"\n[lake]\nurl = \"none\"\n"
    );
    let pipeline = Pipeline::parse("bench.toml", &text, Overrides::default(), &Clock::system())
        .expect("a pipeline");
    let start = Instant::now();
    let env = Surroundings::of_process(&Clock::system(), 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let report = runtime.block_on(plan(&pipeline, &env)).expect("a plan");
    println!(
        "{:>10} targets in {:>7} root domains: {:>6} requests (bound {}), {:.2} s, peak {} MB",
        report.targets,
        report.root_domains,
        report.requests,
        report.lower_bound,
        start.elapsed().as_secs_f64(),
        peak_megabytes(),
    );
}
