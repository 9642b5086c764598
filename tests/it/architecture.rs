//! The picture in lib.rs is true: who imports whom, and that generated documentation is what generates it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use backlake::contract;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The modules that the files of a module name behind `crate::`.
fn imports(module: &str) -> BTreeSet<String> {
    let folder = root().join("src").join(module);
    let files = if folder.is_dir() {
        sources(&folder)
    } else {
        vec![folder.with_extension("rs")]
    };
    let mut found = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("crate::") {
            let name: String = text[at + 7..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.insert(name);
        }
    }
    found.remove(module);
    found
}

#[test]
fn a_stage_imports_only_what_comes_before_it() {
    let shared = [
        "clock", "contract", "error", "fate", "money", "question", "stop",
    ];
    let stages = [
        ("targets", &[][..]),
        ("provider", &[]),
        ("plan", &["provider", "targets"]),
        ("store", &[]),
        ("ledger", &["provider", "store", "targets"]),
        ("fetch", &["ledger", "plan", "provider", "store", "targets"]),
        ("flatten", &["provider", "targets"]),
        ("lake", &["flatten", "ledger", "store", "targets"]),
        ("history", &["lake", "store"]),
        ("upkeep", &["lake", "ledger", "store"]),
        ("simulator", &["provider", "targets"]),
        (
            "pipeline",
            &[
                "fetch",
                "flatten",
                "lake",
                "ledger",
                "plan",
                "provider",
                "simulator",
                "store",
                "targets",
                "upkeep",
            ],
        ),
        (
            "cli",
            &[
                "fetch",
                "flatten",
                "history",
                "lake",
                "pipeline",
                "simulator",
                "store",
                "targets",
                "upkeep",
            ],
        ),
    ];
    let vocabulary = [
        ("clock", &[][..]),
        ("contract", &[]),
        ("error", &[]),
        ("fate", &[]),
        ("money", &[]),
        ("question", &["provider"]),
        ("stop", &["error"]),
    ];
    for (module, may) in stages {
        for import in imports(module) {
            let allowed = may.contains(&import.as_str()) || shared.contains(&import.as_str());
            assert!(allowed, "{module} imports {import}");
        }
    }
    for (module, may) in vocabulary {
        for import in imports(module) {
            assert!(may.contains(&import.as_str()), "{module} imports {import}");
        }
    }
}

#[test]
fn only_one_place_talks_to_the_network_and_only_one_prints() {
    for file in sources(&root().join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        assert!(
            !text.contains("reqwest::") || name == "src/fetch/transport.rs",
            "{name} uses reqwest"
        );
        let uses_polars = text.contains("polars::") || text.contains("polars_plan::");
        assert!(
            !uses_polars || name.starts_with("src/history/"),
            "{name} uses polars"
        );
        assert!(
            !text.contains("deltalake::") || name.starts_with("src/lake/delta/"),
            "{name} uses deltalake"
        );
        assert!(
            !text.contains("io::stdout") || name.starts_with("src/cli/"),
            "{name} prints"
        );
        assert!(
            text.starts_with("//!"),
            "{name} does not say what it is for"
        );
    }
}

#[test]
fn the_documentation_of_the_tables_is_what_the_contracts_say() {
    let file = root().join("schemas/README.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, contract::markdown()).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap();
    assert_eq!(
        written,
        contract::markdown(),
        "run UPDATE_DOCS=1 cargo test the_documentation_of_the_tables"
    );
}

#[test]
fn a_published_contract_never_changes() {
    // The hash of each contract file as it was published; a change is a new version in a new file.
    use xxhash_rust::xxh3::xxh3_64;
    for (file, hash) in [
        ("pages.v1.toml", 0x315538e4af6b4696),
        ("breakdowns.v1.toml", 0x4b5f0cd3dd3213c4),
        ("targets.v1.toml", 0x6178bd7c21f3f062),
        ("requests.v1.toml", 0x35492758e7f15986),
    ] {
        let text = std::fs::read_to_string(root().join("schemas").join(file)).unwrap();
        assert_eq!(xxh3_64(text.as_bytes()), hash, "{file} has changed");
    }
}
