//! The room on a log and a state in memory: it finds, follows, is killed, and is never trusted with what it knew.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openprod_domain::cell::Cell;
use openprod_domain::conflict;
use openprod_messages::conflicts::{Conflicts as _, ConflictsMsg};
use openprod_messages::environment::{Clock, Environment, Randomness, Spawner};
use openprod_messages::snapshot::Snapshots as _;
use openprod_messages::testing::{MemoryLog, MemoryState};
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{BundleId, EntityId, OpId, OpRef, Position, WorkspaceId};
use openprod_model::operation::{Basis, FieldAt, Operation, PairAt};
use openprod_model::value::{Name, Text, Value};
use ractor::{Actor, ActorRef};

use crate::Board;
use crate::actor::{Conflicts, ConflictsArgs};

struct Inline;

impl Clock for Inline {
    fn wall_ms(&self) -> u64 {
        0
    }
    fn monotonic_ms(&self) -> u64 {
        0
    }
}

impl Randomness for Inline {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(4);
    }
}

impl Spawner for Inline {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

struct House {
    log: Arc<MemoryLog>,
    state: Arc<MemoryState>,
    board: Arc<Board>,
    room: ActorRef<ConflictsMsg>,
}

impl House {
    async fn with(bundles: &[Bundle]) -> Self {
        let (log, state, board) = (Arc::<MemoryLog>::default(), Arc::<MemoryState>::default(), Arc::<Board>::default());
        let room = starts(&log, &state, &board).await;
        let house = Self { log, state, board, room };
        for bundle in bundles {
            house.append(bundle);
        }
        house
    }

    fn append(&self, bundle: &Bundle) {
        self.log.append(bundle);
        self.state.fold(bundle, self.log.end());
    }

    /// The cells in conflict, once the room has followed to the end; they are what a look at everything finds.
    async fn finds(&self) -> BTreeSet<Cell> {
        let end = self.log.end();
        let mut standing = self.board.standing();
        let reached = standing.wait_for(|standing| standing.position >= end);
        tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap().unwrap();
        let found = standing.borrow().clone();
        let all = conflict::all(self.state.snapshot().unwrap().view()).unwrap();
        assert_eq!(*found.cells, all.into_iter().map(|conflict| conflict.cell).collect());
        Arc::unwrap_or_clone(found.cells)
    }
}

async fn starts(log: &Arc<MemoryLog>, state: &Arc<MemoryState>, board: &Arc<Board>) -> ActorRef<ConflictsMsg> {
    let env = Environment { clock: Arc::new(Inline), random: Arc::new(Inline), spawner: Arc::new(Inline) };
    let args = ConflictsArgs { board: board.clone(), log: log.clone(), snapshots: state.clone(), env };
    Actor::spawn(None, Conflicts, args).await.unwrap().0
}

fn entity(number: u8) -> EntityId {
    EntityId::from_bytes([number; 16])
}

fn label(record: u8) -> Cell {
    let name = |text| Name::new(text).unwrap();
    Cell::Field { table: name("cues"), entity: entity(record), field: name("label") }
}

fn by(author: u8, ms: u64, operation: &Operation) -> Bundle {
    let keys = Keys::from_seed(&[author; 32]);
    let hlc = Hlc { ms, counter: 0 };
    let op_base = OpId::new(ms, [author; 10]);
    let draft = Draft {
        stamp: Stamp { workspace: WorkspaceId::from_bytes([9; 16]), actor: keys.actor(), hlc, op_base },
        id: BundleId::new(ms, [author; 10]),
        wall_ms: ms,
        parents: Vec::new(),
        prev: None,
        kind: BundleKind::EDIT,
        label: Text::new("Test").unwrap(),
        source: Source::default(),
        undoes: Vec::new(),
        ops: vec![operation.to_raw()],
    };
    draft.seal(&keys).unwrap()
}

/// A write of a label that knows of these bundles.
fn says(author: u8, ms: u64, record: u8, value: &str, seen: &[&Bundle]) -> Bundle {
    let Cell::Field { table, entity, field } = label(record) else { unreachable!() };
    let mut preds: Vec<OpRef> = seen.iter().flat_map(|bundle| bundle.ops()).map(|op| op.reference).collect();
    preds.sort_unstable();
    let basis = Basis { preds, restores: None, decision: false };
    let at = vec![FieldAt { table, entity, field, basis }];
    by(author, ms, &Operation::SetField { at, value: Value::text(value).unwrap() })
}

#[tokio::test]
async fn it_finds_what_there_is_and_follows_what_comes() {
    let (dawn, noon) = (says(1, 1, 1, "Dawn", &[]), says(2, 2, 1, "Noon", &[]));
    let house = House::with(&[dawn.clone(), noon.clone(), says(1, 3, 2, "Dusk", &[])]).await;
    assert_eq!(house.finds().await, BTreeSet::from([label(1)]));
    house.append(&says(2, 4, 2, "Night", &[]));
    assert_eq!(house.finds().await, BTreeSet::from([label(1), label(2)]));
    house.append(&says(1, 5, 1, "Noon", &[&dawn, &noon]));
    assert_eq!(house.finds().await, BTreeSet::from([label(2)]));
}

#[tokio::test]
async fn after_a_merge_it_looks_at_everything_again() {
    let house = House::with(&[says(1, 1, 1, "Dawn", &[]), says(1, 2, 2, "Noon", &[])]).await;
    assert!(house.finds().await.is_empty());
    let at = vec![PairAt { one: entity(1), other: entity(2), basis: Basis::default() }];
    house.append(&by(1, 3, &Operation::MergeEntities { at }));
    assert_eq!(house.finds().await, BTreeSet::from([label(1)]));
    house.append(&says(2, 4, 2, "Dusk", &[]));
    assert_eq!(house.finds().await, BTreeSet::from([label(1)]), "under its first id");
}

#[tokio::test]
async fn what_it_knew_outlives_it_and_a_new_incarnation_begins_anew() {
    let house = House::with(&[says(1, 1, 1, "Dawn", &[]), says(2, 2, 1, "Noon", &[])]).await;
    house.finds().await;
    house.room.kill();
    house.append(&says(2, 3, 2, "Night", &[]));
    assert_eq!(*house.board.standing().borrow().cells, BTreeSet::from([label(1)]), "it stays readable");
    house.append(&says(1, 4, 2, "Dusk", &[]));
    starts(&house.log, &house.state, &house.board).await;
    assert_eq!(house.finds().await, BTreeSet::from([label(1), label(2)]));
}

#[tokio::test]
async fn damage_in_the_log_makes_it_look_at_what_the_state_has() {
    let house = House::with(&[says(1, 1, 1, "Dawn", &[])]).await;
    house.finds().await;
    house.room.kill();
    house.append(&says(2, 2, 1, "Noon", &[]));
    house.log.damage(Position(2));
    starts(&house.log, &house.state, &house.board).await;
    assert_eq!(house.finds().await, BTreeSet::from([label(1)]));
    let other = says(2, 3, 2, "Night", &[]);
    house.append(&other);
    house.log.damage(Position(3));
    house.append(&says(1, 4, 2, "Dusk", &[]));
    assert_eq!(house.finds().await, BTreeSet::from([label(1), label(2)]));
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_waited_for() {
    tokio::time::pause();
    let house = House::with(&[]).await;
    house.state.fails(true);
    house.append(&says(1, 1, 1, "Dawn", &[]));
    house.append(&says(2, 2, 1, "Noon", &[]));
    let state = Arc::clone(&house.state);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        state.fails(false);
    });
    assert_eq!(house.finds().await, BTreeSet::from([label(1)]));
}
