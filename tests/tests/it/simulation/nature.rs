//! What is under a node: a clock that follows virtual time and can be set wrong, chance from a seed, and threads whose
//! jobs are done a little later than they were given.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openprod_messages::environment::{Clock, Environment, Spawner};
use tokio::time::Instant;

use crate::convergence::chance::{Dice, Seeded};
use crate::convergence::replica::BEGIN_MS;

/// The wall clock of one node. Its steady clock is everybody's.
pub(super) struct NodeClock {
    begin: Instant,
    ahead_ms: AtomicI64,
}

impl NodeClock {
    /// It is set wrong, by so much.
    pub(super) fn is_set(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }
}

impl Clock for NodeClock {
    fn wall_ms(&self) -> u64 {
        (BEGIN_MS + self.monotonic_ms()).saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap()
    }
}

/// Threads that take their time: most jobs are done in the next moment, some milliseconds later, as on a busy disk. Each
/// job is done at one moment of virtual time.
struct LateThreads(Mutex<Dice>);

impl LateThreads {
    fn lateness(&self) -> Duration {
        let mut dice = self.0.lock().unwrap();
        let ms = match dice.below(32) {
            0..24 => 0,
            24..31 => 1 + dice.below(4),
            _ => dice.below(60),
        };
        Duration::from_millis(ms as u64)
    }
}

impl Spawner for LateThreads {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        let late = self.lateness();
        tokio::spawn(async move {
            if !late.is_zero() {
                tokio::time::sleep(late).await;
            }
            job();
        });
    }
}

/// What one node is given.
#[derive(Clone)]
pub(super) struct Nature {
    pub(super) env: Environment,
    pub(super) clock: Arc<NodeClock>,
    random: Arc<Seeded>,
}

impl Nature {
    pub(super) fn of(begin: Instant, mut dice: Dice) -> Self {
        let random = Arc::new(Seeded(Mutex::new(Dice(dice.roll()))));
        Self::with(begin, i64::try_from(dice.below(3_600_000)).unwrap(), random, dice)
    }

    /// That of a machine that was cloned: chance goes on at the same place, so its fresh ids are not fresh.
    pub(super) fn cloned(&self, dice: Dice) -> Self {
        let random = Arc::new(Seeded(Mutex::new(*self.random.0.lock().unwrap())));
        Self::with(self.clock.begin, self.clock.ahead_ms.load(Ordering::Relaxed), random, dice)
    }

    fn with(begin: Instant, ahead_ms: i64, random: Arc<Seeded>, dice: Dice) -> Self {
        let clock = Arc::new(NodeClock { begin, ahead_ms: AtomicI64::new(ahead_ms) });
        let spawner = Arc::new(LateThreads(Mutex::new(dice)));
        Self { env: Environment { clock: clock.clone(), random: random.clone(), spawner }, clock, random }
    }
}
