//! Whether a peer may be given anything now, and how far: judged when it is given, not when somebody has had time to end
//! the conversation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use openprod_domain::view::Read;
use openprod_messages::log::LogReader;
use openprod_messages::snapshot::{Folded, Snapshots};
use openprod_messages::watch;
use openprod_model::ids::{ActorId, Position};

use crate::admission::gate::{Gate, Roll};

/// Says what peers may be given.
pub trait Host: Send + Sync {
    /// Through which position of the log a peer may be given what it lacks: up to there, the state shows it as a member.
    /// None if it is none, or that cannot be told now.
    fn gives_through(&self, peer: ActorId) -> Option<Position>;
}

/// The host of a workspace, by what the state shows of its members. They are judged again only when they have changed.
pub struct Welcome {
    log: Arc<dyn LogReader>,
    snapshots: Arc<dyn Snapshots>,
    folded: watch::Receiver<Folded>,
    judged: Mutex<Option<Judged>>,
}

struct Judged {
    incarnation: u64,
    members: Position,
    /// The state may have come further than was told.
    through: Position,
    roll: Roll,
    is_open: BTreeMap<ActorId, bool>,
}

impl Judged {
    fn holds_at(&self, folded: Folded) -> bool {
        (self.incarnation, self.members) == (folded.incarnation, folded.members)
    }

    fn is_open(&mut self, peer: ActorId) -> bool {
        *self.is_open.entry(peer).or_insert_with(|| self.roll.gate(peer) == Gate::Open)
    }
}

impl Welcome {
    /// That of the workspace with this log and state.
    pub fn new(log: Arc<dyn LogReader>, snapshots: Arc<dyn Snapshots>) -> Self {
        let folded = snapshots.folded();
        Self { log, snapshots, folded, judged: Mutex::default() }
    }

    /// Whether a node may sync the workspace now. Who cannot be asked about may not.
    pub fn is_member(&self, peer: ActorId) -> bool {
        self.gives_through(peer).is_some()
    }

    fn judge(&self, Folded { incarnation, members, position }: Folded) -> Read<Judged> {
        let snapshot = self.snapshots.snapshot()?;
        let roll = Roll::of(&*snapshot, &*self.log)?;
        let through = position.min(snapshot.position());
        Ok(Judged { incarnation, members, through, roll, is_open: BTreeMap::new() })
    }
}

impl Host for Welcome {
    fn gives_through(&self, peer: ActorId) -> Option<Position> {
        let folded = *self.folded.borrow();
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        match judged.as_mut().filter(|judged| judged.holds_at(folded)) {
            Some(still) => still.through = still.through.max(folded.position),
            // A state that cannot be read is being made anew, and then wakes the conversation.
            None => *judged = Some(self.judge(folded).ok()?),
        }
        judged.as_mut().and_then(|judged| judged.is_open(peer).then_some(judged.through))
    }
}
