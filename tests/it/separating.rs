//! Targets that differ only in their spelling are in different batches where that costs no request.

use std::collections::{BTreeMap, BTreeSet};

use backlake::plan::{Batch, Plan, pack};
use backlake::targets::{Reading, Rules, Sources, Spelling, TargetList};
use proptest::prelude::*;

/// A list of these lines.
fn list(lines: &[String]) -> TargetList {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let sources = Sources {
        paths: vec![path.display().to_string()],
        reading: Reading::default(),
    };
    TargetList::read(&sources, &Rules::default()).unwrap()
}

/// The batches of a plan. Checks that they are valid, contain every target once, and are as many as
/// packing alone needs.
fn planned(list: &TargetList) -> Vec<Batch> {
    let batches: Vec<Batch> = Plan::of(list).batches().collect();
    let mut seen = BTreeSet::new();
    for batch in &batches {
        let roots: BTreeSet<u32> = batch
            .targets
            .iter()
            .map(|&id| list.root_domain_of(id))
            .collect();
        assert_eq!(roots.len(), batch.root_domains as usize);
        assert!(roots.len() <= 100 && batch.targets.len() <= 1000);
        for id in &batch.targets {
            assert!(seen.insert(id.0), "{} twice", list.target(*id).text);
        }
    }
    assert_eq!(seen.len(), list.target_count());
    let mut sizes: BTreeMap<&str, u32> = BTreeMap::new();
    for target in list.targets() {
        *sizes.entry(target.root_domain).or_default() += 1;
    }
    let sizes: Vec<u32> = sizes.into_values().collect();
    assert_eq!(batches.len(), pack(&sizes).len());
    batches
}

/// How many targets share a batch with another spelling of theirs.
fn together(list: &TargetList, batches: &[Batch]) -> usize {
    let in_batch = |batch: &Batch| {
        let targets = list.targets_of(batch.targets.iter().copied());
        let stems: BTreeSet<String> = targets
            .map(|target| Spelling::of(&target.text).stem.to_owned())
            .collect();
        batch.targets.len() - stems.len()
    };
    batches.iter().map(in_batch).sum()
}

fn spellings(domain: &str) -> [String; 3] {
    [
        domain.to_owned(),
        format!("http://{domain}/"),
        format!("https://{domain}/"),
    ]
}

#[test]
fn spellings_are_kept_apart_where_a_batch_has_a_root_domain_to_spare() {
    let pages = |domain: &str, count: usize| -> Vec<String> {
        (0..count)
            .map(|n| format!("https://{domain}/p{n}"))
            .collect()
    };
    let both_schemes = |domain: &str, count: usize| -> Vec<String> {
        (0..count)
            .flat_map(|n| ["http", "https"].map(|scheme| format!("{scheme}://{domain}/p{n}")))
            .collect()
    };
    for (name, lines, expected) in [
        (
            "the last batch has room",
            [
                pages("a.com", 2000),
                spellings("b.com").to_vec(),
                pages("c.com", 500),
            ]
            .concat(),
            0,
        ),
        (
            "all batches are full",
            [pages("a.com", 2997), spellings("b.com").to_vec()].concat(),
            0,
        ),
        (
            "a large domain is cut anyway",
            both_schemes("a.com", 1000),
            0,
        ),
        (
            "one batch is all that there is",
            spellings("a.com").to_vec(),
            2,
        ),
        (
            "no batch has a root domain to spare",
            (0..200)
                .flat_map(|n| spellings(&format!("d{n}.com")))
                .collect(),
            400,
        ),
    ] {
        let list = list(&lines);
        let found = together(&list, &planned(&list));
        assert_eq!(found, expected, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn keeping_spellings_apart_costs_no_request_and_depends_on_no_order(
        domains in prop::collection::vec((0_usize..60, 0_usize..4, prop::sample::select(vec![0_usize, 0, 0, 900])), 1..60),
        seed in any::<prop::sample::Index>(),
    ) {
        let mut lines: Vec<String> = domains
            .iter()
            .enumerate()
            .flat_map(|(n, &(pages, spelled, more))| {
                let domain = format!("d{n}.com");
                let own = spellings(&domain).into_iter().take(spelled);
                let pages = (0..pages + more).map(move |page| format!("https://{domain}/{page}"));
                own.chain(pages).collect::<Vec<_>>()
            })
            .collect();
        prop_assume!(!lines.is_empty());
        let texts = |lines: &[String]| -> Vec<Vec<String>> {
            let list = list(lines);
            let batches = planned(&list);
            batches.iter().map(|batch| batch.targets.iter().map(|&id| list.target(id).text.into_owned()).collect()).collect()
        };
        let before = texts(&lines);
        let middle = seed.index(lines.len());
        lines.rotate_left(middle);
        lines.reverse();
        prop_assert_eq!(before, texts(&lines));
    }
}
