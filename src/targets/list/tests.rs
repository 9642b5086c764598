//! Properties of the target list: sorted, found by its texts, and read back as it was written.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::block::Block;
use super::super::rules::{BareUrl, Rules, SuffixList};
use super::*;

fn list(lines: &[String], rules: &Rules) -> TargetList {
    let (list, ()) = TargetList::gather(Vec::new(), vec!["list".to_owned()], rules, |sink| {
        let mut block = Block::of(0);
        for (number, line) in (1..).zip(lines) {
            block.push_target(number, line.as_bytes());
        }
        sink(block)
    })
    .unwrap();
    list
}

fn host() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a.com",
        "x.a.com",
        "y.x.a.com",
        "ba.com",
        "github.io",
        "x.github.io",
        "y.x.github.io",
        "z.github.io",
        "a.co.uk",
        "b.a.co.uk",
        "9.9.9.9",
        "xn--bcher-kva.de",
    ])
}

fn line() -> impl Strategy<Value = String> {
    let page = (host(), "(:8080)?", "/[a-c]{0,2}", any::<bool>());
    prop_oneof![
        8 => page.prop_map(|(host, port, path, is_http)| {
            let scheme = if is_http { "http" } else { "https" };
            format!("{scheme}://{host}{port}{path}")
        }),
        2 => host().prop_map(str::to_owned),
        1 => Just("not a target".to_owned()),
    ]
}

proptest! {
    #[test]
    fn targets_are_sorted_found_by_their_texts_and_known_by_their_first_lines(
        lines in prop::collection::vec(line(), 0..150),
        icann in any::<bool>(),
        asked in prop::collection::vec(line(), 0..50),
        some in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
    ) {
        let suffixes = if icann { SuffixList::Icann } else { SuffixList::IcannAndPrivate };
        let rules = Rules { bare_url: BareUrl::Page, suffixes };
        let list = list(&lines, &rules);
        let targets: Vec<Target<'_>> = list.targets().collect();
        let keys = targets.iter().map(|target| (target.root_domain, &target.text));
        let is_sorted = keys.is_sorted_by(|left, right| left < right);
        prop_assert!(is_sorted);
        let mut first_lines = BTreeMap::new();
        let mut in_input_order = Vec::new();
        for (index, line) in list.lines().enumerate() {
            let own = super::super::canonical(&lines[index], &rules).ok();
            let target = line.target.as_ref();
            prop_assert_eq!(line.input(), &lines[index]);
            prop_assert_eq!(target.map(|target| &*target.text), own.as_ref().map(|own| own.text()));
            prop_assert_eq!(target.map(|target| target.kind), own.as_ref().map(|own| own.kind()));
            prop_assert_eq!(target.map(|target| target.root_domain), own.as_ref().map(|own| own.root_domain()));
            let Some(target) = target else { continue };
            let first = *first_lines.entry(target.id).or_insert(index);
            if first == index {
                in_input_order.push(target.id);
                prop_assert_eq!(line.end, LineEnd::Target(target.id));
            } else {
                prop_assert_eq!(line.end, LineEnd::Duplicate { of: target.id, first });
            }
        }
        let places: Vec<usize> = some.iter().filter(|_| !lines.is_empty()).map(|at| at.index(lines.len())).collect();
        let texts = list.texts_of_lines(places.iter().copied());
        let read = list.lines_with(places.iter().copied(), &texts);
        prop_assert!(read.eq(places.iter().map(|&place| list.line(place))));
        let ids: Vec<TargetId> = places.iter().filter_map(|&place| list.line(place).target.map(|target| target.id)).collect();
        let texts = list.texts_of(ids.iter().copied());
        let read = list.targets_with(ids.iter().copied(), &texts);
        prop_assert!(read.eq(ids.iter().map(|&id| list.target(id))));
        prop_assert_eq!(first_lines.len(), targets.len());
        prop_assert_eq!(list.in_input_order().collect::<Vec<_>>(), in_input_order);
        for target in &targets {
            prop_assert_eq!(list.find(&target.text), Some(target.id));
            prop_assert_eq!(&list.target(target.id), target);
        }
        let known = |text: &&String| targets.iter().find(|target| target.text == **text).map(|target| target.id);
        let found = list.find_all(asked.iter().map(String::as_str));
        prop_assert_eq!(found, asked.iter().map(|text| known(&text)).collect::<Vec<_>>());
    }
}
