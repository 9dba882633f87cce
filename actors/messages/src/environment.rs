//! The environment: the clock, the randomness and the threads that a room may use, handed to it at its start.
//!
//! Nothing inside a room reaches for these by itself; so a whole node can run under a simulated world.

use std::sync::Arc;

use openprod_model::ids::{BundleId, CommandId, EdgeId, EntityId, OpId, OverlayId};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970, as this machine believes. Not trusted for any order.
    fn wall_ms(&self) -> u64;
    /// Milliseconds since some fixed moment; never goes back.
    fn monotonic_ms(&self) -> u64;
}

/// Gives random bytes.
pub trait Randomness: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// Runs work that would block an actor: disk syncs, folding, verification.
pub trait Spawner: Send + Sync {
    /// Runs `job` on another thread, or inline under simulation.
    fn run(&self, job: Box<dyn FnOnce() + Send>);
}

/// What a room may use of the world. Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub random: Arc<dyn Randomness>,
    /// The threads.
    pub spawner: Arc<dyn Spawner>,
}

impl Environment {
    fn ten(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        self.random.fill(&mut bytes);
        bytes
    }

    /// A fresh command id, for what the node asks of itself.
    pub fn command(&self) -> CommandId {
        CommandId::new(self.clock.wall_ms(), self.ten())
    }

    /// A fresh record id.
    pub fn entity(&self) -> EntityId {
        EntityId::new(self.clock.wall_ms(), self.ten())
    }

    /// A fresh edge id.
    pub fn edge(&self) -> EdgeId {
        EdgeId::new(self.clock.wall_ms(), self.ten())
    }

    /// A fresh bundle id.
    pub fn bundle(&self) -> BundleId {
        BundleId::new(self.clock.wall_ms(), self.ten())
    }

    /// A fresh first op id.
    pub fn op_base(&self) -> OpId {
        OpId::new(self.clock.wall_ms(), self.ten())
    }

    /// A fresh overlay id.
    pub fn overlay(&self) -> OverlayId {
        OverlayId::new(self.clock.wall_ms(), self.ten())
    }

    /// Runs `job` off the actor and gives its result, or none if it panicked.
    pub async fn offload<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.spawner.run(Box::new(move || {
            // The receiver is gone only if the caller gave up, and then nobody wants the result.
            let _ = done.send(job());
        }));
        result.await.ok()
    }
}
