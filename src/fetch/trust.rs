//! Whether the responses can be used, as far as the ones before show: until one is usable, few
//! requests are in flight. When too many responses in a row are paid for but unusable, sending stops.

use crate::ledger::{AttemptResult, Charged};

/// What the lake shows before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Whether responses of this provider were usable at the prices that apply.
    pub usable: bool,
    /// How many responses this run has paid for but could not use, since the last usable one.
    pub wasted: u32,
}

/// Requests in flight before a response was usable.
const CANARIES: usize = 2;
/// How many responses may be paid for but unusable before any was usable.
const FIRST_WASTED: u32 = 3;
/// The same in a row, once a response was usable. A full pipe may hold this many bad ones.
const LATER_WASTED: u32 = 30;

/// What the responses so far say.
#[derive(Debug)]
pub(super) struct Trust {
    usable: bool,
    wasted: u32,
}

impl Trust {
    /// Every start may try once more, whatever it knows.
    pub(super) fn of(evidence: Evidence) -> Self {
        Self {
            usable: evidence.usable,
            wasted: evidence.wasted.min(FIRST_WASTED - 1),
        }
    }

    /// The most requests that may be in flight, if they are limited.
    pub(super) fn in_flight(&self) -> Option<usize> {
        let canaries = if self.wasted > 0 { 1 } else { CANARIES };
        (!self.usable).then_some(canaries)
    }

    /// Learns from how an attempt ended.
    pub(super) fn learn(&mut self, result: AttemptResult, charged: Charged) {
        if result.counts() {
            self.usable = true;
            self.wasted = 0;
        } else {
            self.wasted += u32::from(is_wasted(result, charged));
        }
    }

    /// Whether so many responses were paid for but unusable that nothing more should be sent.
    pub(super) fn is_lost(&self) -> bool {
        let most = if self.usable {
            LATER_WASTED
        } else {
            FIRST_WASTED
        };
        self.wasted >= most
    }
}

/// Whether a whole response arrived that is paid for and cannot be used. A body that cannot be read
/// may be paid for. A connection that breaks says nothing about the next one, and a failure of
/// unknown charge is one that passes.
fn is_wasted(result: AttemptResult, charged: Charged) -> bool {
    match result {
        AttemptResult::Malformed | AttemptResult::TooLarge => charged != Charged::No,
        AttemptResult::Status(_) => charged == Charged::Yes && !result.counts(),
        AttemptResult::NotSent
        | AttemptResult::NoResponse
        | AttemptResult::WayRefused
        | AttemptResult::HttpStatus(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: AttemptResult = AttemptResult::Malformed;
    const GOOD: AttemptResult = AttemptResult::Status(20000);

    #[test]
    fn the_pipe_is_full_once_a_response_is_usable() {
        let mut trust = Trust::of(Evidence::default());
        assert_eq!(trust.in_flight(), Some(2));
        for (result, charged, in_flight) in [
            (AttemptResult::NoResponse, Charged::Unknown, Some(2)),
            (AttemptResult::Status(40501), Charged::No, Some(2)),
            (BAD, Charged::Unknown, Some(1)),
            (GOOD, Charged::Yes, None),
            (BAD, Charged::Unknown, None),
        ] {
            trust.learn(result, charged);
            assert_eq!(trust.in_flight(), in_flight, "{result:?}");
        }
        let evidence = Evidence {
            usable: true,
            wasted: 0,
        };
        assert_eq!(Trust::of(evidence).in_flight(), None);
    }

    #[test]
    fn responses_that_are_paid_for_but_unusable_stop_the_run() {
        for (evidence, bought) in [
            ((false, 0), 3),
            ((false, 1), 2),
            ((false, 9), 1),
            ((true, 0), 30),
        ] {
            let (usable, wasted) = evidence;
            let mut trust = Trust::of(Evidence { usable, wasted });
            for n in 1..=bought {
                assert!(!trust.is_lost(), "{evidence:?}, {n}");
                trust.learn(BAD, Charged::Unknown);
            }
            assert!(trust.is_lost(), "{evidence:?}");
        }
    }
}
