//! The pace: from how far a conversation came in what time, how long it takes about until the rest has come.

use super::engine::Progress;

/// One direction of a conversation, since there was last something to catch up with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    began: Option<Began>,
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
    /// The conversation is so far now.
    pub fn note(&mut self, progress: Progress, now_ms: u64) {
        self.giving.note(progress.given, progress.to_give, now_ms);
        self.taking.note(progress.taken, progress.to_take, now_ms);
    }
}

impl Pace {
    /// In about how many milliseconds the rest is done, as far as was last noted; none if nothing is left, or nothing was
    /// done yet.
    pub fn remaining_ms(&self) -> Option<u64> {
        self.remaining_ms
    }

    fn note(&mut self, done: u64, left: u64, now_ms: u64) {
        if left == 0 {
            *self = Self::default();
            return;
        }
        let began = *self.began.get_or_insert(Began { at_ms: now_ms, done });
        let (done, took_ms) = (done.saturating_sub(began.done), now_ms.saturating_sub(began.at_ms));
        let remaining = u128::from(left) * u128::from(took_ms);
        self.remaining_ms = (done > 0).then(|| u64::try_from(remaining / u128::from(done)).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_was_done_at_the_same_pace() {
        let mut paces = Paces::default();
        let mut told = |taken, to_take, now_ms| {
            paces.note(Progress { taken, to_take, ..Progress::default() }, now_ms);
            assert_eq!(paces.giving.remaining_ms(), None, "nothing is to be given");
            paces.taking.remaining_ms()
        };
        assert_eq!(told(500, 1_000, 10_000), None, "nothing was done yet");
        assert_eq!(told(750, 750, 11_000), Some(3_000));
        assert_eq!(told(1_500, 0, 13_000), None);
        // What was done before does not count for the next time.
        assert_eq!(told(1_500, 300, 90_000), None);
        assert_eq!(told(1_600, 200, 91_000), Some(2_000));
    }
}
