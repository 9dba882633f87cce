//! A log and a state in memory, for tests: they hold what they are given, and the log says whatever it is made to say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::watch;
use openprod_domain::cell::{Cell, KeyRange, Tip};
use openprod_domain::edits::Edit;
use openprod_domain::oracle::Oracle;
use openprod_domain::unions::Unions;
use openprod_domain::view::{History, Moment, Read, ReadFailure, Reading, View};
use openprod_model::bundle::Bundle;
use openprod_model::clock::Hlc;
use openprod_model::ids::{ActorId, BundleId, CommandId, Digest, OpRef, Position};

use crate::log::{
    CHAIN_START, Entry, Lane, Lanes, LogReader, Placed, Quarantined, Receipt, Spot, Stored, Tail, Waiting, chain,
};
use crate::snapshot::{CellPrint, Counts, Folded, Snapshot, Snapshots, StateHash, Written};

/// A log in memory. Nobody judges what is appended, and it has neither receipts nor a quarantine.
#[derive(Debug, Default)]
pub struct MemoryLog(Mutex<Rows>);

/// What a log in memory holds.
#[derive(Debug)]
pub struct Rows {
    /// The bundles, the one at position 1 first.
    pub rows: Vec<(Entry, Stored)>,
    /// The bundles that no other has as a parent.
    pub heads: Vec<Digest>,
    /// How many rows it gives at once, whatever it is asked for.
    pub most_at_once: usize,
}

impl Default for Rows {
    fn default() -> Self {
        Self { rows: Vec::new(), heads: Vec::new(), most_at_once: usize::MAX }
    }
}

impl Rows {
    fn get(&self, at: Position) -> Option<&(Entry, Stored)> {
        self.rows.get(usize::try_from(at.0).ok()?.checked_sub(1)?)
    }

    fn chain(&self) -> Digest {
        self.rows.last().map_or(CHAIN_START, |(entry, _)| entry.chain)
    }

    fn placed(&self) -> impl Iterator<Item = (Position, &Entry, &Stored)> {
        (1..).map(Position).zip(&self.rows).map(|(at, (entry, stored))| (at, entry, stored))
    }

    fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Option<Position> {
        self.placed().find(|(_, entry, _)| wanted(entry)).map(|(at, ..)| at)
    }

    fn behind(&self, from: Position, limit: usize) -> impl Iterator<Item = (Position, &Entry, &Stored)> {
        self.placed().filter(move |(at, ..)| *at >= from).take(limit.min(self.most_at_once))
    }
}

impl MemoryLog {
    /// A log of these bundles.
    pub fn of(bundles: &[Bundle]) -> Arc<Self> {
        let log = Arc::<Self>::default();
        for bundle in bundles {
            log.append(bundle);
        }
        log
    }

    /// Puts a bundle at the end.
    pub fn append(&self, bundle: &Bundle) {
        let mut rows = self.rows();
        let entry = Entry::of(bundle, chain(rows.chain(), bundle.digest()), None, 0);
        rows.heads.retain(|head| bundle.ancestors().all(|ancestor| ancestor != *head));
        rows.heads.push(bundle.digest());
        rows.rows.push((entry, Stored::Whole(Arc::new(bundle.clone()))));
    }

    /// Makes the bundle at a position unreadable.
    pub fn damage(&self, at: Position) {
        self.tamper(|rows| {
            for (_, (_, stored)) in (1..).map(Position).zip(&mut rows.rows).filter(|(place, _)| *place == at) {
                *stored = Stored::Damaged { bytes: vec![1], reason: "a bit flipped".to_owned() };
            }
        });
    }

    /// Makes it say something else.
    pub fn tamper(&self, change: impl FnOnce(&mut Rows)) {
        change(&mut self.rows());
    }

    /// The position of the last bundle.
    pub fn end(&self) -> Position {
        self.rows().placed().last().map_or(Position::ZERO, |(at, ..)| at)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    /// Every lane, and the lane of each bundle, found by reading all of them.
    fn lanes(&self) -> (Vec<Lane>, Vec<u32>) {
        let (mut lanes, mut spots, mut numbers) = (Vec::<Lane>::new(), BTreeMap::new(), Vec::new());
        for (at, entry, stored) in self.placed() {
            let Stored::Whole(bundle) = stored else { panic!("lanes of a damaged log") };
            let (actor, tip, hlc, prev) = (entry.actor, entry.digest, entry.hlc, bundle.header().prev);
            let goes_on = lanes.iter().position(|lane| Some(lane.tip) == prev && lane.actor == actor);
            let lane = goes_on.unwrap_or_else(|| {
                let number = u32::try_from(lanes.iter().filter(|lane| lane.actor == actor).count()).unwrap_or(0);
                let from = prev.and_then(|prev| spots.get(&prev).copied());
                lanes.push(Lane { actor, number, first: at, from, tip, hlc, at });
                lanes.len() - 1
            });
            lanes[lane] = Lane { tip, hlc, at, ..lanes[lane].clone() };
            let number = lanes[lane].number;
            spots.insert(tip, Spot { lane: number, hlc, at });
            numbers.push(number);
        }
        lanes.sort_unstable_by_key(|lane| (lane.actor, lane.number));
        (lanes, numbers)
    }
}

impl Lanes for MemoryLog {
    fn lanes(&self) -> Read<Vec<Lane>> {
        Ok(self.rows().lanes().0)
    }

    fn lanes_of(&self, actor: ActorId) -> Read<Vec<Lane>> {
        let mut lanes = self.lanes()?;
        lanes.retain(|lane| lane.actor == actor);
        Ok(lanes)
    }

    fn placed(&self, from: Position, limit: usize) -> Read<Vec<Placed>> {
        let rows = self.rows();
        let numbered = rows.placed().zip(rows.lanes().1);
        let placed = numbered.map(|((at, entry, _), lane)| Placed { at, entry: entry.clone(), lane });
        Ok(placed.filter(|placed| placed.at >= from).take(limit.min(rows.most_at_once)).collect())
    }

    fn find(&self, digests: &[Digest]) -> Read<Vec<Option<Placed>>> {
        let placed = self.placed(Position(1), usize::MAX)?;
        let find = |digest: &Digest| placed.iter().find(|placed| placed.entry.digest == *digest).cloned();
        Ok(digests.iter().map(find).collect())
    }

    fn select(&self, at: &[Position], bytes: usize) -> Read<Vec<(Position, Stored)>> {
        let (rows, mut taken, mut selected) = (self.rows(), 0, Vec::new());
        for at in at {
            let Some((_, stored)) = rows.get(*at) else { continue };
            if let Stored::Whole(bundle) = stored {
                taken += bundle.bytes().len();
            }
            if taken > bytes && !selected.is_empty() {
                break;
            }
            selected.push((*at, stored.clone()));
        }
        Ok(selected)
    }

    fn waiting(&self, _: u64, _: usize) -> Read<Vec<Waiting>> {
        Ok(Vec::new())
    }

    fn damaged(&self, _: usize) -> Read<Vec<Digest>> {
        Ok(Vec::new())
    }
}

impl LogReader for MemoryLog {
    fn tail(&self) -> Read<Tail> {
        let (position, rows) = (self.end(), self.rows());
        let hlc = rows.rows.iter().map(|(entry, _)| entry.hlc).max().unwrap_or(Hlc::ZERO);
        Ok(Tail { position, chain: rows.chain(), heads: rows.heads.clone(), hlc })
    }

    fn entry(&self, at: Position) -> Read<Option<Entry>> {
        Ok(self.rows().get(at).map(|(entry, _)| entry.clone()))
    }

    fn entries(&self, from: Position, limit: usize) -> Read<Vec<(Position, Entry)>> {
        Ok(self.rows().behind(from, limit).map(|(at, entry, _)| (at, entry.clone())).collect())
    }

    fn bundle(&self, at: Position) -> Read<Option<Stored>> {
        Ok(self.rows().get(at).map(|(_, stored)| stored.clone()))
    }

    fn bundles(&self, from: Position, limit: usize, bytes: usize) -> Read<Vec<(Position, Entry, Stored)>> {
        let (rows, mut taken, mut given) = (self.rows(), 0, Vec::new());
        for (at, entry, stored) in rows.behind(from, limit) {
            if taken >= bytes && !given.is_empty() {
                break;
            }
            taken += match stored {
                Stored::Whole(bundle) => bundle.bytes().len(),
                Stored::Damaged { bytes, .. } => bytes.len(),
            };
            given.push((at, entry.clone(), stored.clone()));
        }
        Ok(given)
    }

    fn position_of(&self, digest: Digest) -> Read<Option<Position>> {
        Ok(self.rows().find(|entry| entry.digest == digest))
    }

    fn position_of_id(&self, id: BundleId) -> Read<Option<Position>> {
        Ok(self.rows().find(|entry| entry.id == id))
    }

    fn prev_of(&self, actor: ActorId) -> Read<Option<Digest>> {
        Ok(self.rows().rows.iter().rev().find(|(entry, _)| entry.actor == actor).map(|(entry, _)| entry.digest))
    }

    fn receipt(&self, _: CommandId) -> Read<Option<(Position, Receipt)>> {
        Ok(None)
    }

    fn quarantined(&self, _: u64, _: usize) -> Read<Vec<Quarantined>> {
        Ok(Vec::new())
    }

    fn quarantine_alarms(&self) -> Read<u64> {
        Ok(0)
    }

    fn bytes_on_disk(&self) -> u64 {
        0
    }
}

/// A state in memory that folds what it is given at once, by the naive law.
pub struct MemoryState {
    oracle: Mutex<Oracle>,
    folded: watch::Sender<Folded>,
    fails: AtomicBool,
}

impl Default for MemoryState {
    fn default() -> Self {
        let fails = AtomicBool::new(false);
        Self { oracle: Mutex::default(), folded: watch::channel(Folded::default()).0, fails }
    }
}

impl MemoryState {
    /// Folds a bundle that lies at a position of the log.
    pub fn fold(&self, bundle: &Bundle, position: Position) {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner).add(position, bundle);
        self.folded.send_modify(|folded| folded.position = position);
    }

    /// Whether whoever reads fails from now on. Nobody is told.
    pub fn fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Can be read again, and tells so, as a state does whose file was opened anew.
    pub fn opens_anew(&self) {
        self.fails(false);
        self.folded.send_modify(|folded| folded.incarnation += 1);
    }
}

impl Snapshots for MemoryState {
    fn snapshot(&self) -> Read<Arc<dyn Snapshot>> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(ReadFailure("the state in memory fails".into()));
        }
        let oracle = self.oracle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Arc::new(Picture { oracle, position: self.folded.borrow().position }))
    }
    fn folded(&self) -> watch::Receiver<Folded> {
        self.folded.subscribe()
    }
    fn bytes_on_disk(&self) -> u64 {
        0
    }
}

/// A revision of a state in memory.
struct Picture {
    oracle: Oracle,
    position: Position,
}

impl View for Picture {
    fn tips(&self, cell: &Cell) -> Read<Vec<Tip>> {
        View::tips(&self.oracle, cell)
    }
    fn cells(&self, range: &KeyRange) -> Reading<'_, (Cell, Vec<Tip>)> {
        View::cells(&self.oracle, range)
    }
    fn entries(&self, _: &KeyRange) -> Option<Reading<'_, Vec<u8>>> {
        None
    }
    fn unions(&self) -> Read<Arc<Unions>> {
        View::unions(&self.oracle)
    }
    fn edits(&self, cell: &Cell) -> Read<Vec<Edit>> {
        View::edits(&self.oracle, cell)
    }
}

impl History for Picture {
    fn tips_at(&self, cell: &Cell, moment: &Moment) -> Read<Vec<Tip>> {
        self.oracle.tips_at(cell, moment)
    }
    fn write(&self, cell: &Cell, op: OpRef) -> Read<Option<(Tip, Vec<OpRef>)>> {
        self.oracle.write(cell, op)
    }
}

/// What the naive law does not know.
fn unknown<T>() -> Read<T> {
    Err(ReadFailure("a state in memory does not know that".into()))
}

impl Snapshot for Picture {
    fn position(&self) -> Position {
        self.position
    }
    fn chain(&self) -> Digest {
        CHAIN_START
    }
    fn heads(&self) -> Read<Vec<Digest>> {
        unknown()
    }
    fn written(&self, _: &Cell) -> Read<Vec<Written>> {
        unknown()
    }
    fn hash(&self) -> Read<StateHash> {
        unknown()
    }
    fn bucket(&self, _: u8, _: &[u8], _: usize) -> Read<Vec<CellPrint>> {
        unknown()
    }
    fn counts(&self) -> Read<Counts> {
        unknown()
    }
    fn view(&self) -> &dyn View {
        self
    }
}
