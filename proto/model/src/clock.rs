//! The hybrid logical clock (Kulkarni et al., 2014): orders history without trusting anybody's wall clock.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The wall reading is capped here, 2200-01-01T00:00Z, so that a broken clock cannot bring the logical one to its end.
pub const LATEST_WALL_MS: u64 = 7_258_118_400_000;

/// A reading of the hybrid logical clock: wall milliseconds, then a counter. 12 bytes, big-endian, in keys.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hlc {
    /// Milliseconds since 1970, or more where the past demands it.
    pub ms: u64,
    /// Counts events within one `ms`.
    pub counter: u32,
}

impl Hlc {
    /// Before everything.
    pub const ZERO: Self = Self { ms: 0, counter: 0 };

    /// The clock of op `index` of a bundle whose clock this is. None if the counter would overflow.
    pub fn plus(self, index: u32) -> Option<Self> {
        Some(Self { ms: self.ms, counter: self.counter.checked_add(index)? })
    }

    /// The 12-byte big-endian form; it sorts as the clock does.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.ms.to_be_bytes());
        bytes[8..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    /// The reverse of [`Self::to_bytes`].
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let (mut ms, mut counter) = ([0; 8], [0; 4]);
        ms.copy_from_slice(&bytes[..8]);
        counter.copy_from_slice(&bytes[8..]);
        Self { ms: u64::from_be_bytes(ms), counter: u32::from_be_bytes(counter) }
    }

    /// The clock for a new bundle of `ops` ops (I-8): greater than `seen`, the last clock used or seen, even where
    /// the wall clock went back; `wall_ms` is the wall reading, capped at [`LATEST_WALL_MS`].
    #[must_use]
    pub fn tick(wall_ms: u64, seen: Self, ops: u32) -> Self {
        let wall = Self { ms: wall_ms.min(LATEST_WALL_MS), counter: 0 };
        if wall > seen && wall.ms > seen.ms {
            return wall;
        }
        match seen.counter.checked_add(1).and_then(|counter| counter.checked_add(ops).map(|_| counter)) {
            Some(counter) => Self { ms: seen.ms, counter },
            None => Self { ms: seen.ms + 1, counter: 0 },
        }
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms, self.counter)
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_that_jumps_ahead_and_back_never_goes_back() {
        let ahead = Hlc::tick(9_000, Hlc::ZERO, 3);
        let back = Hlc::tick(1_000, ahead.plus(2).unwrap_or_default(), 1);
        assert!(back > ahead.plus(2).unwrap_or_default());
    }

    #[test]
    fn a_clock_in_the_year_9999_is_held_at_2200() {
        assert_eq!(Hlc::tick(u64::MAX, Hlc::ZERO, 1).ms, LATEST_WALL_MS);
    }

    proptest! {
        #[test]
        fn every_tick_exceeds_what_was_seen_and_leaves_room_for_its_ops(
            wall in any::<u64>(), ms in 0..LATEST_WALL_MS, counter in any::<u32>(), ops in 1_u32..100_000,
        ) {
            let seen = Hlc { ms, counter };
            let hlc = Hlc::tick(wall, seen, ops);
            prop_assert!(hlc > seen);
            prop_assert!(hlc.plus(ops).is_some());
        }

        #[test]
        fn the_bytes_sort_as_the_clock_does(a in any::<(u64, u32)>(), b in any::<(u64, u32)>()) {
            let (a, b) = (Hlc { ms: a.0, counter: a.1 }, Hlc { ms: b.0, counter: b.1 });
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(Hlc::from_bytes(a.to_bytes()), a);
        }
    }
}
