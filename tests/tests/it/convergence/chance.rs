//! Chance and time, all from seeds: so that a seed tells the whole story again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use openprod_messages::environment::{Clock, Environment, Randomness, Spawner};

/// A small generator (SplitMix64).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % limit.max(1) as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len());
        from.get(at).cloned()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.roll().to_le_bytes()[0])
    }
}

/// A wall clock that stands still until it is moved, forwards or back.
#[derive(Debug)]
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    pub(super) fn moves_to(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    pub(super) fn moves_by(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn wall_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic_ms(&self) -> u64 {
        self.wall_ms()
    }
}

pub(crate) struct Seeded(pub(crate) Mutex<Dice>);

impl Randomness for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = self.0.lock().unwrap();
        bytes.fill_with(|| dice.roll().to_le_bytes()[0]);
    }
}

struct Inline;

impl Spawner for Inline {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

/// A world of its own for one replica, and the hand on its clock.
pub(super) fn environment(seed: u64, now_ms: u64) -> (Environment, Arc<HandClock>) {
    let clock = Arc::new(HandClock(AtomicU64::new(now_ms)));
    let random = Arc::new(Seeded(Mutex::new(Dice(seed))));
    (Environment { clock: clock.clone(), random, spawner: Arc::new(Inline) }, clock)
}
