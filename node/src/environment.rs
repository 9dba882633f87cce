//! The real world, as rooms see it: the machine's clock, the system's randomness, threads for blocking work.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use openprod_messages::environment::{Clock, Environment, Randomness, Spawner};

struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        // A machine whose clock is so many seconds off.
        fail::fail_point!("wall-clock", |seconds| {
            let seconds = seconds.and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
            now_ms.saturating_add_signed(seconds * 1_000)
        });
        now_ms
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// Blocking work runs on the runtime's threads for it.
struct BlockingThreads(tokio::runtime::Handle);

impl Spawner for BlockingThreads {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        self.0.spawn_blocking(job);
    }
}

/// The environment of a real node; called inside its runtime.
pub fn real() -> Environment {
    Environment {
        clock: Arc::new(SystemClock { start: Instant::now() }),
        random: Arc::new(SystemRandomness),
        spawner: Arc::new(BlockingThreads(tokio::runtime::Handle::current())),
    }
}

/// 32 fresh random bytes.
pub fn secret(random: &dyn Randomness) -> zeroize::Zeroizing<[u8; 32]> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    random.fill(bytes.as_mut_slice());
    bytes
}
