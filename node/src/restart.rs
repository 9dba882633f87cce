//! The restart policy: a room that dies is started again, unless it keeps dying.

use std::collections::VecDeque;

/// More deaths than this within [`WINDOW_MS`] stop the workspace: something is wrong that a restart does not mend.
pub const MAX_RESTARTS: usize = 10;
/// The window in which deaths are counted, in milliseconds.
pub const WINDOW_MS: u64 = 60_000;
/// The pause before a room is started again, doubled with every death in the window.
const FIRST_PAUSE_MS: u64 = 10;

/// What to do about a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after a pause.
    Restart {
        /// How long to wait first.
        after_ms: u64,
    },
    /// Stop the workspace, loudly.
    GiveUp,
}

/// The deaths of a workspace's rooms.
#[derive(Debug, Default)]
pub struct Restarts(VecDeque<u64>);

impl Restarts {
    /// Notes a death at `now_ms` (monotonic) and judges.
    pub fn died(&mut self, now_ms: u64) -> Verdict {
        self.0.push_back(now_ms);
        while self.0.front().is_some_and(|first| now_ms.saturating_sub(*first) > WINDOW_MS) {
            self.0.pop_front();
        }
        if self.0.len() > MAX_RESTARTS {
            return Verdict::GiveUp;
        }
        let doublings = u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX);
        Verdict::Restart { after_ms: FIRST_PAUSE_MS << doublings.min(10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_dies_now_and_then_is_always_started_again() {
        let mut restarts = Restarts::default();
        for day in 0..1_000 {
            assert!(matches!(restarts.died(day * 86_400_000), Verdict::Restart { .. }));
        }
    }

    #[test]
    fn a_room_that_keeps_dying_stops_its_workspace() {
        let mut restarts = Restarts::default();
        let verdicts: Vec<Verdict> = (0..=MAX_RESTARTS as u64).map(|n| restarts.died(n * 100)).collect();
        assert!(verdicts[..MAX_RESTARTS].iter().all(|verdict| matches!(verdict, Verdict::Restart { .. })));
        assert_eq!(verdicts[MAX_RESTARTS], Verdict::GiveUp);
    }
}
