//! How far the rows of a snapshot are final: below the first target whose response is still to come.
//!
//! Only an item that matches no target, or a response that arrives twice, can still add a row below
//! it. The sorter notices such a row.
//!
//! # Memory
//! A byte per target, besides the list.

use std::sync::Arc;

use crate::targets::{TargetId, TargetList};

/// By how many targets the frontier must move before rows are written: as many as a sorted batch has
/// rows.
const STEP: usize = 16384;

/// The first target, in the order of pages, whose response is still to come.
pub(super) struct Frontier {
    list: Arc<TargetList>,
    /// Whether the response of a target is still to come, by its number.
    awaited: Vec<bool>,
    /// The number of the first awaited target.
    at: usize,
    /// The number up to which rows were taken.
    taken: usize,
}

impl Frontier {
    /// The frontier when the responses of these targets are still to come.
    pub(super) fn new(list: &Arc<TargetList>, is_awaited: impl Fn(TargetId) -> bool) -> Self {
        let mut frontier = Self {
            list: Arc::clone(list),
            awaited: list.ids().map(is_awaited).collect(),
            at: 0,
            taken: 0,
        };
        frontier.advance();
        frontier
    }

    /// Whether rows can become due at all.
    pub(super) fn can_be_due(&self) -> bool {
        self.awaited.len() > STEP
    }

    /// Nothing more is to come for these targets.
    pub(super) fn settle(&mut self, targets: &[TargetId]) {
        for target in targets {
            self.awaited[target.0 as usize] = false;
        }
        self.advance();
    }

    fn advance(&mut self) {
        let rest = self.awaited[self.at..].iter();
        self.at += rest.take_while(|&&awaited| !awaited).count();
    }

    /// Whether the frontier has moved far enough to take rows. Never at the end, where all rows are
    /// taken anyway.
    fn is_due(&self) -> bool {
        self.at - self.taken >= STEP && self.at < self.awaited.len()
    }

    /// The key of the first awaited target, if it is due: rows below it are final.
    pub(super) fn take(&mut self) -> Option<Vec<String>> {
        if !self.is_due() {
            return None;
        }
        self.taken = self.at;
        let target = self.list.target(TargetId(self.at as u32));
        Some(vec![
            target.root_domain.to_owned(),
            target.text.into_owned(),
        ])
    }
}
