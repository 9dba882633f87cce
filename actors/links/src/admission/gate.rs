//! The gate: whether a node may sync a workspace now, by what the workspace's present state says of its key.
//!
//! Whose bundles are *applied* is judged by their own past alone; this here is about who is talked to. A removal shuts
//! the gate at once, and keeps it shut beside a concurrent admission until people decide. So does an admission by
//! somebody whose own removal was concurrent with it: whoever removed him did not know whom he would let in. It opens
//! when somebody whose word counts admits again either of the two; two who were let in like that do not help each other.

use std::collections::BTreeSet;

use openprod_domain::cell::{Cell, Content};
use openprod_domain::view::Read;
use openprod_messages::log::LogReader;
use openprod_messages::snapshot::Snapshot;
use openprod_model::ids::{ActorId, OpRef};

/// How the gate stands for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may sync.
    Open,
    /// It may not.
    Shut(Shut),
}

/// Why a gate is shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    /// Nobody ever admitted it.
    #[error("it is not a member")]
    Stranger,
    /// Somebody removed it.
    #[error("it was removed")]
    Removed,
    /// Somebody admitted it who was being removed elsewhere at that time.
    #[error("it was admitted by {} while others removed that member", .by.short())]
    Disputed {
        /// Who admitted it.
        by: ActorId,
    },
}

/// One admission or removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The op.
    pub op: OpRef,
    /// Whom it admits or removes.
    pub member: ActorId,
    /// Who made it.
    pub by: ActorId,
    /// Whether it admits.
    pub admits: bool,
    /// The writes of the same member that it supersedes.
    pub preds: Vec<OpRef>,
    /// All admissions and removals that its author had seen.
    pub saw: BTreeSet<OpRef>,
}

/// All admissions and removals of a workspace, superseded ones too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roll(pub Vec<Entry>);

impl Roll {
    /// Reads it from one revision of the state and the log that it came to.
    pub fn of(snapshot: &dyn Snapshot, log: &dyn LogReader) -> Read<Self> {
        let mut roll = Self::default();
        for item in snapshot.cells(&Cell::members()) {
            let (cell, _) = item?;
            let Cell::Member { member } = cell else { continue };
            for row in snapshot.written(&cell)? {
                let Some((tip, preds)) = snapshot.write(&cell, row.op)? else { continue };
                let Some(entry) = log.entry(row.position)? else { continue };
                let saw = log.member_ops_known(row.position)?;
                let admits = tip.content == Content::Present;
                roll.0.push(Entry { op: row.op, member, by: entry.actor, admits, preds, saw });
            }
        }
        Ok(roll)
    }

    /// How the gate stands for `key`.
    pub fn gate(&self, key: ActorId) -> Gate {
        let standing: Vec<&Entry> = self.of_member(key).filter(|entry| !self.is_superseded(entry)).collect();
        let Some(last) = standing.last() else { return Gate::Shut(Shut::Stranger) };
        if standing.iter().any(|entry| !entry.admits) {
            return Gate::Shut(Shut::Removed);
        }
        let counting = self.counting();
        if standing.iter().any(|entry| counting.contains(&entry.op)) {
            return Gate::Open;
        }
        Gate::Shut(Shut::Disputed { by: last.by })
    }

    fn of_member(&self, member: ActorId) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.member == member)
    }

    fn is_superseded(&self, entry: &Entry) -> bool {
        self.of_member(entry.member).any(|later| later.preds.contains(&entry.op))
    }

    /// The admissions that count: the founder's own, and those that follow from others which do. It grows from nothing,
    /// so that none vouches for itself by way of others.
    fn counting(&self) -> BTreeSet<OpRef> {
        let mut counting = BTreeSet::new();
        loop {
            let more = self.0.iter().filter(|entry| entry.admits && !counting.contains(&entry.op));
            let more: Vec<OpRef> = more.filter(|entry| self.counts(entry, &counting)).map(|entry| entry.op).collect();
            if more.is_empty() {
                return counting;
            }
            counting.extend(more);
        }
    }

    /// Whether whoever made an admission was let in by one that counts, and was not being removed meanwhile.
    fn counts(&self, entry: &Entry, counting: &BTreeSet<OpRef>) -> bool {
        let own = || self.of_member(entry.by).filter(|own| own.op != entry.op);
        let known: Vec<&Entry> = own().filter(|own| entry.saw.contains(&own.op)).collect();
        if known.is_empty() {
            // Only the founder admits himself: everybody else has seen his own admission when he writes.
            return entry.by == entry.member;
        }
        let stood = |own: &Entry| !known.iter().any(|later| later.preds.contains(&own.op));
        let mut unknown_removals = own().filter(|own| !own.admits && !entry.saw.contains(&own.op));
        known.iter().any(|own| stood(own) && counting.contains(&own.op))
            && unknown_removals.all(|removal| self.is_settled(removal, entry, counting))
    }

    /// Whether a removal of somebody says nothing against what he did in `entry` without having seen it: whoever removed
    /// him, or removed him again, knew of that; or he was let in again since.
    fn is_settled(&self, removal: &Entry, entry: &Entry, counting: &BTreeSet<OpRef>) -> bool {
        let (mut looked_at, mut rest) = (BTreeSet::new(), vec![removal]);
        while let Some(write) = rest.pop() {
            if counting.contains(&write.op) || !write.admits && write.saw.contains(&entry.op) {
                return true;
            }
            if !write.admits && looked_at.insert(write.op) {
                rest.extend(self.of_member(write.member).filter(|later| later.preds.contains(&write.op)));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARA: ActorId = ActorId::from_bytes([1; 32]);
    const LEO: ActorId = ActorId::from_bytes([2; 32]);
    const INES: ActorId = ActorId::from_bytes([3; 32]);
    const SAM: ActorId = ActorId::from_bytes([4; 32]);
    const DISPUTED: fn(ActorId) -> Gate = |by| Gate::Shut(Shut::Disputed { by });
    const REMOVED: Gate = Gate::Shut(Shut::Removed);

    /// What one replica has seen. Ops are numbered over all of them.
    #[derive(Clone, Default)]
    struct Seen(Roll);

    impl Seen {
        fn founded() -> Self {
            let mut seen = Self::default();
            seen.write(MARA, MARA, true);
            seen
        }

        fn write(&mut self, by: ActorId, member: ActorId, admits: bool) {
            static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
            let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let op = OpRef::from_bytes(u128::from(number).to_be_bytes());
            let preds = self.0.of_member(member).filter(|entry| !self.0.is_superseded(entry)).map(|entry| entry.op);
            let (preds, saw) = (preds.collect(), self.0.0.iter().map(|entry| entry.op).chain([op]).collect());
            self.0.0.push(Entry { op, member, by, admits, preds, saw });
        }

        fn admits(mut self, by: ActorId, member: ActorId) -> Self {
            self.write(by, member, true);
            self
        }

        fn removes(mut self, by: ActorId, member: ActorId) -> Self {
            self.write(by, member, false);
            self
        }

        fn meets(mut self, other: &Self) -> Self {
            let new: Vec<Entry> = other.0.0.iter().filter(|entry| !self.0.0.contains(entry)).cloned().collect();
            self.0.0.extend(new);
            self
        }

        fn gate(&self, key: ActorId) -> Gate {
            let mut backwards = self.0.clone();
            backwards.0.reverse();
            let gate = self.0.gate(key);
            assert_eq!(gate == Gate::Open, backwards.gate(key) == Gate::Open, "the order of arrival does not matter");
            gate
        }
    }

    #[test]
    fn members_may_strangers_and_the_removed_may_not() {
        let all = Seen::founded().admits(MARA, LEO).admits(LEO, INES).removes(MARA, INES);
        assert_eq!((all.gate(MARA), all.gate(LEO)), (Gate::Open, Gate::Open));
        assert_eq!((all.gate(INES), all.gate(SAM)), (REMOVED, Gate::Shut(Shut::Stranger)));
        assert_eq!(all.admits(LEO, INES).gate(INES), Gate::Open);
    }

    #[test]
    fn a_removal_stands_beside_a_concurrent_admission_until_somebody_decides() {
        let start = Seen::founded().admits(MARA, LEO).admits(MARA, INES).removes(MARA, INES);
        let both = start.clone().admits(LEO, INES).removes(LEO, INES).meets(&start.admits(MARA, INES));
        assert_eq!(both.gate(INES), REMOVED);
        assert_eq!(both.admits(MARA, INES).gate(INES), Gate::Open);
    }

    #[test]
    fn who_was_admitted_by_somebody_being_removed_waits_for_a_decision() {
        let start = Seen::founded().admits(MARA, LEO);
        let met = start.clone().removes(MARA, LEO).meets(&start.admits(LEO, SAM).admits(SAM, INES));
        assert_eq!((met.gate(LEO), met.gate(SAM), met.gate(INES)), (REMOVED, DISPUTED(LEO), DISPUTED(SAM)));
        let ines = met.clone().admits(MARA, INES);
        assert_eq!((ines.gate(SAM), ines.gate(INES)), (DISPUTED(LEO), Gate::Open));
        let leo = met.clone().admits(MARA, LEO);
        assert_eq!((leo.gate(LEO), leo.gate(SAM), leo.gate(INES)), (Gate::Open, Gate::Open, Gate::Open));
        assert_eq!(met.removes(MARA, SAM).gate(SAM), REMOVED);
    }

    #[test]
    fn who_was_let_in_like_that_cannot_decide_it() {
        let start = Seen::founded().admits(MARA, LEO);
        let met = start.clone().removes(MARA, LEO).meets(&start.admits(LEO, SAM));
        let helped = met.clone().admits(SAM, LEO).admits(SAM, SAM).admits(LEO, SAM);
        assert_ne!(met.admits(SAM, LEO).gate(LEO), Gate::Open);
        assert_ne!(helped.gate(LEO), Gate::Open);
        assert_ne!(helped.gate(SAM), Gate::Open);
    }

    #[test]
    fn whom_a_member_admitted_stays_when_the_member_is_removed_later() {
        let later = Seen::founded().admits(MARA, LEO).admits(LEO, INES).removes(MARA, LEO);
        assert_eq!(later.gate(INES), Gate::Open);
        // Those two admitted each other, one after the other, and nobody was removed without knowing.
        let circle = later.removes(INES, MARA).admits(INES, MARA).admits(MARA, INES);
        assert_eq!((circle.gate(INES), circle.gate(MARA)), (Gate::Open, Gate::Open));
    }

    #[test]
    fn a_second_removal_that_knew_settles_the_first() {
        let start = Seen::founded().admits(MARA, LEO).admits(MARA, INES);
        let met = start.clone().removes(MARA, LEO).meets(&start.admits(LEO, SAM));
        assert_eq!(met.gate(SAM), DISPUTED(LEO));
        // Ines saw whom Leo had let in, and removed nobody but Leo.
        assert_eq!(met.removes(INES, LEO).gate(SAM), Gate::Open);
    }
}
