//! A log as it was at an earlier revision: for replaying what a snapshot shows while the log goes on growing.

use std::collections::BTreeSet;
use std::sync::Arc;

use openprod_domain::view::Read;
use openprod_messages::log::{Entry, LogReader, Quarantined, Receipt, Stored, Tail};
use openprod_model::ids::{ActorId, BundleId, CommandId, Digest, OpRef, Position};

/// The log up to `end`.
pub(super) struct UpTo {
    /// The whole log.
    pub(super) log: Arc<dyn LogReader>,
    /// Where it is to end.
    pub(super) end: Position,
    /// The chain there.
    pub(super) chain: Digest,
}

impl UpTo {
    fn within(&self, at: Option<Position>) -> Option<Position> {
        at.filter(|at| *at <= self.end)
    }
}

impl LogReader for UpTo {
    fn tail(&self) -> Read<Tail> {
        // Heads are compared elsewhere; folding does not ask for them.
        Ok(Tail { position: self.end, chain: self.chain, ..self.log.tail()? })
    }
    fn entry(&self, at: Position) -> Read<Option<Entry>> {
        if at <= self.end { self.log.entry(at) } else { Ok(None) }
    }
    fn entries(&self, from: Position, limit: usize) -> Read<Vec<(Position, Entry)>> {
        let mut entries = self.log.entries(from, limit)?;
        entries.retain(|(at, _)| *at <= self.end);
        Ok(entries)
    }
    fn bundle(&self, at: Position) -> Read<Option<Stored>> {
        if at <= self.end { self.log.bundle(at) } else { Ok(None) }
    }
    fn bundles(&self, from: Position, limit: usize, bytes: usize) -> Read<Vec<(Position, Entry, Stored)>> {
        // Whoever replays a log to compare it with something makes sure of what lies on the disk.
        let mut bundles = self.log.bundles_on_disk(from, limit, bytes)?;
        bundles.retain(|(at, ..)| *at <= self.end);
        Ok(bundles)
    }
    fn position_of(&self, digest: Digest) -> Read<Option<Position>> {
        Ok(self.within(self.log.position_of(digest)?))
    }
    fn position_of_id(&self, id: BundleId) -> Read<Option<Position>> {
        Ok(self.within(self.log.position_of_id(id)?))
    }
    fn prev_of(&self, actor: ActorId) -> Read<Option<Digest>> {
        self.log.prev_of(actor)
    }
    fn member_ops_known(&self, at: Position) -> Read<BTreeSet<OpRef>> {
        if at <= self.end { self.log.member_ops_known(at) } else { Ok(BTreeSet::new()) }
    }
    fn receipt(&self, command: CommandId) -> Read<Option<(Position, Receipt)>> {
        let receipt = self.log.receipt(command)?;
        Ok(receipt.filter(|(at, _)| *at <= self.end))
    }
    fn quarantined(&self, from: u64, limit: usize) -> Read<Vec<Quarantined>> {
        self.log.quarantined(from, limit)
    }
    fn quarantine_alarms(&self) -> Read<u64> {
        self.log.quarantine_alarms()
    }
    fn bytes_on_disk(&self) -> u64 {
        self.log.bytes_on_disk()
    }
}
