//! Keeps the pages with the largest values while they pass by in the order of their keys.

use super::totals::PageNumbers;

/// The pages with the largest values, largest first. Of equal values, the first page stays.
pub(super) struct Ranked {
    most: usize,
    pages: Vec<(f64, String, PageNumbers)>,
}

impl Ranked {
    /// At most so many pages.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            pages: Vec::new(),
        }
    }

    /// Takes a page with this value into account.
    pub(super) fn add(&mut self, value: Option<f64>, target: &str, page: PageNumbers) {
        let Some(value) = value else {
            return;
        };
        let place = self.pages.partition_point(|other| other.0 >= value);
        if place < self.most {
            self.pages.insert(place, (value, target.to_owned(), page));
            self.pages.truncate(self.most);
        }
    }

    pub(super) fn finish(self) -> Vec<(String, PageNumbers)> {
        let pages = self.pages.into_iter();
        pages.map(|(_, target, page)| (target, page)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_pages_stay_and_equal_ones_in_their_order() {
        let mut ranked = Ranked::new(3);
        for (value, target) in [(1.0, "a"), (5.0, "b"), (1.0, "c"), (5.0, "d"), (0.5, "e")] {
            ranked.add(Some(value), target, PageNumbers::default());
        }
        ranked.add(None, "f", PageNumbers::default());
        let targets: Vec<_> = ranked.finish().into_iter().map(|page| page.0).collect();
        assert_eq!(targets, ["b", "d", "a"]);
    }
}
