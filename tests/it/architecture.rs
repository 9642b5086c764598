//! The picture in lib.rs is true: modules import in one direction, files stay small, and generated
//! documentation agrees with the code.

use std::collections::{BTreeMap, BTreeSet};
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

/// The modules that the files of a module import by `crate::`.
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
        "aside", "clock", "contract", "counted", "error", "fate", "files", "money", "question",
        "secret", "stop", "visible",
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
        (
            "alerts",
            &[
                "flatten", "history", "lake", "ledger", "provider", "store", "upkeep",
            ],
        ),
        (
            "report",
            &["alerts", "history", "lake", "provider", "store", "upkeep"],
        ),
        ("simulator", &["provider", "targets"]),
        (
            "pipeline",
            &[
                "alerts",
                "fetch",
                "flatten",
                "lake",
                "ledger",
                "plan",
                "provider",
                "report",
                "simulator",
                "store",
                "targets",
                "upkeep",
            ],
        ),
        (
            "cli",
            &[
                "alerts",
                "fetch",
                "flatten",
                "history",
                "lake",
                "ledger",
                "pipeline",
                "provider",
                "report",
                "simulator",
                "store",
                "targets",
                "upkeep",
            ],
        ),
    ];
    let vocabulary = [
        ("aside", &[][..]),
        ("clock", &[]),
        ("contract", &[]),
        ("counted", &[]),
        ("error", &["secret"]),
        ("fate", &[]),
        ("files", &[]),
        ("money", &[]),
        ("question", &["provider"]),
        ("secret", &[]),
        ("stop", &["error"]),
        ("visible", &[]),
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

/// The files of a module that each of its files imports, by stem.
fn siblings(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let stem = |file: &Path| file.file_stem().unwrap().to_string_lossy().into_owned();
    let files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .filter(|path| stem(path) != "mod")
        .collect();
    let stems: BTreeSet<String> = files.iter().map(|file| stem(file)).collect();
    files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let imported = text
                .match_indices("super::")
                .filter(|(at, _)| !text[..*at].ends_with("super::"))
                .map(|(at, _)| {
                    let rest = &text[at + "super::".len()..];
                    rest.chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect::<String>()
                })
                .filter(|name| stems.contains(name) && *name != stem(file))
                .collect();
            (stem(file), imported)
        })
        .collect()
}

#[test]
fn the_files_of_a_module_import_each_other_in_one_direction() {
    let folders: BTreeSet<PathBuf> = sources(&root().join("src"))
        .into_iter()
        .map(|file| file.parent().unwrap().to_owned())
        .filter(|folder| *folder != root().join("src"))
        .collect();
    for folder in folders {
        let mut open = siblings(&folder);
        // Remove every file that imports none of the remaining ones: a circle is what stays.
        loop {
            let done: BTreeSet<String> = open
                .iter()
                .filter(|(_, imports)| imports.iter().all(|name| !open.contains_key(name)))
                .map(|(name, _)| name.clone())
                .collect();
            if done.is_empty() {
                break;
            }
            open.retain(|name, _| !done.contains(name));
        }
        assert!(
            open.is_empty(),
            "{}: a circle among {open:?}",
            folder.display()
        );
    }
}

#[test]
fn files_and_modules_stay_small_enough_to_read() {
    let lines = |file: &PathBuf| std::fs::read_to_string(file).unwrap().lines().count();
    let files = sources(&root().join("src"));
    for file in files.iter().chain(&sources(&root().join("tests"))) {
        assert!(
            lines(file) <= 500,
            "{} has {} lines",
            file.display(),
            lines(file)
        );
    }
    let all: usize = files.iter().map(lines).sum();
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let module = entry.unwrap().path();
        if module.is_dir() {
            let own: usize = sources(&module).iter().map(lines).sum();
            let share = own * 100 / all;
            assert!(
                share <= 18,
                "{} holds {share} % of the code",
                module.display()
            );
        }
    }
}

#[test]
fn only_one_file_talks_to_the_network_and_only_the_command_line_prints() {
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
            !text.contains("apache_avro::") || name.starts_with("src/lake/iceberg/"),
            "{name} uses apache-avro"
        );
        assert!(
            !text.contains("deltalake::") || name.starts_with("src/lake/delta/"),
            "{name} uses deltalake"
        );
        assert!(
            !text.contains("io::stdout") || name.starts_with("src/cli/"),
            "{name} prints"
        );
        assert!(text.starts_with("//!"), "{name} has no //! sentence");
    }
}

#[test]
fn the_documentation_of_the_tables_is_generated_from_the_contracts() {
    let file = root().join("schemas/README.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, contract::markdown()).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap();
    assert_eq!(
        written,
        contract::markdown(),
        "run UPDATE_DOCS=1 cargo test --test it the_documentation_of_the_tables"
    );
}

#[test]
fn a_published_contract_never_changes() {
    // The hash of each published contract file: a change needs a new version in a new file.
    use xxhash_rust::xxh3::xxh3_64;
    for (file, hash) in [
        ("pages.v1.toml", 0x9cf5d4ab810a6198),
        ("breakdowns.v1.toml", 0x3e173ddd2aa19b47),
        ("targets.v1.toml", 0xa6417141a137aa53),
        ("requests.v1.toml", 0xc63a4067692ed232),
    ] {
        let text = std::fs::read_to_string(root().join("schemas").join(file)).unwrap();
        let found = xxh3_64(text.as_bytes());
        assert_eq!(found, hash, "{file} has changed: {found:#x}");
    }
}
