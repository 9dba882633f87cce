//! The pace: from how far a conversation came in what time, how long it takes about until the rest has come.

use super::engine::{Progress, Stretch, share};

/// One direction of a conversation, since there was last something to catch up with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    began: Option<Began>,
    done: u64,
    remaining_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Began {
    at_ms: u64,
    done: u64,
}

/// Both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Paces {
    /// What the peer lacks.
    pub giving: Pace,
    /// What this node lacks.
    pub taking: Pace,
}

impl Paces {
    /// The conversation is so far now, by a clock that never jumps.
    pub fn note(&mut self, progress: Progress, now_ms: u64) {
        self.giving.note(progress.giving, now_ms);
        self.taking.note(progress.taking, now_ms);
    }

    /// For a while nothing could be done: what was done before says nothing of the pace.
    pub fn begin_anew(&mut self) {
        *self = Self::default();
    }
}

impl Pace {
    /// How many bundles were done since there was last something to catch up with.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// In about how many milliseconds the rest is done, as far as was last noted; none if nothing is left, or nothing was
    /// done yet.
    pub fn remaining_ms(&self) -> Option<u64> {
        self.remaining_ms
    }

    fn note(&mut self, Stretch { done, left, .. }: Stretch, now_ms: u64) {
        if left == 0 {
            *self = Self::default();
            return;
        }
        let began = *self.began.get_or_insert(Began { at_ms: now_ms, done });
        let took_ms = now_ms.saturating_sub(began.at_ms);
        self.done = done.saturating_sub(began.done);
        self.remaining_ms = (self.done > 0).then(|| share(took_ms, left, self.done));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_was_done_at_the_same_pace() {
        let mut paces = Paces::default();
        let mut told = |done, left, now_ms| {
            let taking = Stretch { done, left, ..Stretch::default() };
            paces.note(Progress { taking, ..Progress::default() }, now_ms);
            assert_eq!(paces.giving.remaining_ms(), None, "nothing is to be given");
            (paces.taking.done(), paces.taking.remaining_ms())
        };
        assert_eq!(told(500, 1_000, 10_000), (0, None), "nothing was done yet");
        assert_eq!(told(750, 750, 11_000), (250, Some(3_000)));
        assert_eq!(told(1_500, 0, 13_000), (0, None));
        // What was done before does not count for the next time.
        assert_eq!(told(1_500, 300, 90_000), (0, None));
        assert_eq!(told(1_600, 200, 91_000), (100, Some(2_000)));
    }
}
