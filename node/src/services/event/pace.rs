//! The pace of a watcher's reader: whether the log runs away from it.

use openprod_model::ids::Position;

/// How many bundles a reader may lose to the log by its own slowness.
pub(super) const MAX_LAG_BUNDLES: u64 = 10_000;

/// Counts what the log gains while the reader does not ask.
///
/// A backlog at the start is not the reader's fault, nor is what comes while the node makes the next message. So only
/// bundles count that came between a message's being handed over and the next one's being asked for, and only if
/// the reader is that much farther behind than it has ever been.
#[derive(Debug)]
pub(super) struct Pace {
    /// How far the state was when the last message was handed over.
    handed_over_at: Option<Position>,
    /// What came while the reader did not ask, since it last knew everything.
    lost: u64,
    /// The least that it was ever behind.
    least_behind: u64,
}

/// What the pace says of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    KeepsUp,
    /// The log runs away from it.
    Lags,
}

impl Pace {
    /// The pace of a reader that has asked for nothing yet.
    pub(super) fn new() -> Self {
        Self { handed_over_at: None, lost: 0, least_behind: u64::MAX }
    }

    /// The reader got a message, with the state at `now`.
    pub(super) fn handed_over(&mut self, now: Position) {
        self.handed_over_at = Some(now);
    }

    /// The reader asks for more, with the state at `now`, and was told of everything up to `told`.
    pub(super) fn asked(&mut self, now: Position, told: Position) -> Verdict {
        let behind = now.0.saturating_sub(told.0);
        if let Some(then) = self.handed_over_at.take() {
            self.lost = self.lost.saturating_add(now.0.saturating_sub(then.0));
        }
        if behind == 0 {
            self.lost = 0;
        }
        self.least_behind = self.least_behind.min(behind);
        let lags = self.lost > MAX_LAG_BUNDLES && behind - self.least_behind > MAX_LAG_BUNDLES;
        if lags { Verdict::Lags } else { Verdict::KeepsUp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: u64 = 1_000_000;

    #[test]
    fn a_backlog_is_told_at_the_readers_pace() {
        let mut pace = Pace::new();
        for told in (0..FAR).step_by(1_000) {
            // The log grows by a tenth of what the reader takes.
            let now = Position(FAR + told / 10);
            assert_eq!(pace.asked(now, Position(told)), Verdict::KeepsUp, "{told}");
            pace.handed_over(now);
        }
    }

    #[test]
    fn a_reader_that_stops_asking_lags_once_the_log_ran_away() {
        let mut pace = Pace::new();
        assert_eq!(pace.asked(Position(5), Position(5)), Verdict::KeepsUp);
        pace.handed_over(Position(5));
        assert_eq!(pace.asked(Position(5 + MAX_LAG_BUNDLES), Position(5)), Verdict::KeepsUp);
        pace.handed_over(Position(5 + MAX_LAG_BUNDLES));
        assert_eq!(pace.asked(Position(6 + MAX_LAG_BUNDLES), Position(5)), Verdict::Lags);
    }

    #[test]
    fn a_burst_while_the_reader_waits_is_not_its_fault() {
        let mut pace = Pace::new();
        assert_eq!(pace.asked(Position(5), Position(5)), Verdict::KeepsUp);
        let now = Position(FAR);
        for told in (6..FAR).step_by(64) {
            pace.handed_over(now);
            assert_eq!(pace.asked(now, Position(told)), Verdict::KeepsUp, "{told}");
        }
    }

    #[test]
    fn a_reader_that_is_slower_than_the_log_lags_in_the_end() {
        let mut pace = Pace::new();
        let verdicts = (1..100_u64).map(|second| {
            let (now, told) = (Position(second * 1_000), Position(second * 100));
            let verdict = pace.asked(now, told);
            pace.handed_over(now);
            verdict
        });
        assert!(verdicts.into_iter().any(|verdict| verdict == Verdict::Lags));
    }
}
