//! The root domains of a list, sorted by name. The targets of each follow each other, so a root
//! domain only has to know its first one.
//!
//! # Memory
//! About 25 bytes per root domain without its name, and four per [`GROUP`] targets.

use std::ops::Range;

use super::texts::{Index, Text, Texts};

/// The number of targets per entry of `of_groups`.
const GROUP: usize = 64;

/// The root domains of a list, each with its place in the order of names as its number.
#[derive(Debug, Default)]
pub(super) struct Roots {
    names: Vec<Text>,
    index: Index,
    /// The number of the first target of each root domain; at the end, the number of targets.
    starts: Vec<u32>,
    /// The root domain of the first target of each group.
    of_groups: Vec<u32>,
}

impl Roots {
    /// Root domains by name. `index` finds them, and `sizes` is how many targets each has.
    pub(super) fn new(names: Vec<Text>, index: Index, sizes: &[u32]) -> Self {
        let mut starts = Vec::with_capacity(names.len() + 1);
        let mut of_groups = Vec::new();
        let mut end = 0;
        starts.push(end);
        for (root, &size) in (0..).zip(sizes) {
            end += size;
            starts.push(end);
            of_groups.resize((end as usize).div_ceil(GROUP), root);
        }
        Self {
            names,
            index,
            starts,
            of_groups,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name<'a>(&self, store: &'a Texts, root: u32) -> &'a str {
        store.get(self.names[root as usize])
    }

    /// The root domain of this name, if there is one.
    pub(super) fn find(&self, store: &Texts, name: &str) -> Option<u32> {
        self.index.find(name, |root| self.name(store, root) == name)
    }

    /// The numbers of the targets of a root domain.
    pub(super) fn targets(&self, root: u32) -> Range<u32> {
        self.starts[root as usize]..self.starts[root as usize + 1]
    }

    /// The root domain of a target.
    pub(super) fn of(&self, target: u32) -> u32 {
        let group = target as usize / GROUP;
        let first = self.of_groups[group] as usize;
        let next_group = self.of_groups.get(group + 1);
        let last = next_group.map_or(self.names.len() - 1, |&root| root as usize);
        let later = &self.starts[first + 1..=last];
        (first + later.partition_point(|&start| start <= target)) as u32
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.names.capacity() * size_of::<Text>()
            + self.index.memory_bytes()
            + (self.starts.capacity() + self.of_groups.capacity()) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::texts::Interner;
    use super::*;

    proptest! {
        #[test]
        fn every_target_has_the_root_domain_whose_range_contains_it(
            sizes in prop::collection::vec(prop_oneof![Just(1_u32), 1..200_u32], 0..300),
        ) {
            let mut store = Texts::default();
            let mut names = Interner::default();
            for root in 0..sizes.len() {
                names.insert(&mut store, &root.to_string());
            }
            let (names, index) = names.into_parts();
            let roots = Roots::new(names, index, &sizes);
            prop_assert_eq!(roots.len(), sizes.len());
            prop_assert_eq!(roots.find(&store, "none"), None);
            let mut target = 0;
            for (root, &size) in (0..).zip(&sizes) {
                prop_assert_eq!(roots.targets(root), target..target + size);
                let name = root.to_string();
                prop_assert_eq!(roots.name(&store, root), &name);
                prop_assert_eq!(roots.find(&store, &name), Some(root));
                for _ in 0..size {
                    prop_assert_eq!(roots.of(target), root);
                    target += 1;
                }
            }
        }
    }
}
