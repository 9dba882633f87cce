//! Collection: what is needed stays, whatever the clocks say and whatever cannot be read; what is not needed goes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use openprod_messages::commands::CommandError;
use openprod_messages::overlays::{End, Overlay, Overlays, StagedReceipt};
use openprod_messages::testing::{MemoryLog, MemoryState};
use openprod_messages::watch;
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{BlobHash, BundleId, CommandId, EntityId, OpId, OverlayId, Position, SessionId};
use openprod_model::operation::{Basis, FieldAt, Operation, RawOp};
use openprod_model::value::{BlobRef, Name, Text, Value};

use crate::collect::{CollectError, Facts, Library};
use crate::kit::{Bench, NOW_MS, WORKSPACE, hash_of};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Overlays in which one file is staged, or none, or which cannot be read.
#[derive(Default)]
struct Staged(Mutex<Option<String>>);

impl Overlays for Staged {
    fn all(&self) -> Result<Vec<Overlay>, CommandError> {
        match &*self.0.lock().unwrap() {
            Some(why) => Err(CommandError::Unavailable(why.clone())),
            None => Ok(Vec::new()),
        }
    }
    fn overlay(&self, _: OverlayId) -> Result<Overlay, CommandError> {
        Err(CommandError::Unavailable("there is none".to_owned()))
    }
    fn active(&self, _: SessionId) -> Option<OverlayId> {
        None
    }
    fn active_in(&self, _: OverlayId) -> usize {
        0
    }
    fn followed(&self) -> watch::Receiver<Position> {
        watch::channel(Position::ZERO).1
    }
    fn receipt(&self, _: CommandId) -> Result<Option<StagedReceipt>, CommandError> {
        Ok(None)
    }
    fn ended(&self, _: OverlayId) -> Option<End> {
        None
    }
    fn changed(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

pub(super) struct House {
    pub(super) bench: Bench,
    log: Arc<MemoryLog>,
    state: Arc<MemoryState>,
    overlays: Arc<Staged>,
    pub(super) library: Library,
    ops: u64,
    /// Whether the state stays behind what happens from now on.
    lags: bool,
}

impl House {
    pub(super) fn new() -> Self {
        let (bench, log, state) = (Bench::new(), Arc::<MemoryLog>::default(), Arc::<MemoryState>::default());
        let overlays = Arc::<Staged>::default();
        let store = bench.store.clone();
        let library = Library { store, log: log.clone(), snapshots: state.clone(), overlays: overlays.clone() };
        Self { bench, log, state, overlays, library, ops: 0, lags: false }
    }

    pub(super) fn puts(&self, bytes: &[u8]) -> BlobHash {
        self.bench.puts(bytes).unwrap().hash
    }

    fn days_pass(&self, days: u64) {
        self.bench.time.now_ms.fetch_add(days * DAY_MS, Ordering::Relaxed);
    }

    fn does(&mut self, operation: &Operation) -> Bundle {
        self.does_raw(operation.to_raw())
    }

    fn does_raw(&mut self, raw: RawOp) -> Bundle {
        self.ops += 1;
        let keys = Keys::from_seed(&[1; 32]);
        // Its author's clock is years off: it decides nothing.
        let (ms, wall_ms) = (self.ops, 5);
        let hlc = Hlc { ms, counter: 0 };
        let draft = Draft {
            stamp: Stamp { workspace: WORKSPACE, actor: keys.actor(), hlc, op_base: OpId::new(ms, [1; 10]) },
            id: BundleId::new(ms, [1; 10]),
            wall_ms,
            parents: Vec::new(),
            prev: None,
            kind: BundleKind::EDIT,
            label: Text::new("Test").unwrap(),
            source: Source::default(),
            undoes: Vec::new(),
            ops: vec![raw],
        };
        let bundle = draft.seal(&keys).unwrap();
        self.log.append(&bundle);
        let now_ms = self.bench.time.now_ms.load(Ordering::Relaxed);
        self.log.tamper(|rows| rows.rows.last_mut().unwrap().0.appended_ms = now_ms);
        if !self.lags {
            self.state.fold(&bundle, self.log.end());
        }
        bundle
    }

    /// Sets the plan of a scene to a file, knowing of these bundles.
    pub(super) fn shows(&mut self, hash: BlobHash, seen: &[&Bundle]) -> Bundle {
        let (size, name) = (5, Text::new("plan.pdf").unwrap());
        let media_type = Text::new("application/pdf").unwrap();
        let value = Value::Blob(BlobRef { hash, size, name, media_type });
        self.does(&Operation::SetField { at: vec![plan(seen)], value })
    }

    pub(super) fn deletes(&mut self, hash: BlobHash) -> Bundle {
        let (reason, basis) = (Text::new("an old plan").unwrap(), Basis::default());
        self.does(&Operation::DeleteAsset { hash, reason, basis })
    }

    fn collected(&self) -> Vec<BlobHash> {
        let would = self.library.collect(true).unwrap();
        let done = self.library.collect(false).unwrap();
        assert_eq!(would, done);
        done.blobs.iter().map(|kept| kept.hash).collect()
    }
}

fn plan(seen: &[&Bundle]) -> FieldAt {
    let mut preds: Vec<_> = seen.iter().flat_map(|bundle| bundle.ops()).map(|op| op.reference).collect();
    preds.sort_unstable();
    FieldAt {
        entity: EntityId::from_bytes([1; 16]),
        table: Name::new("scenes").unwrap(),
        field: Name::new("plan").unwrap(),
        basis: Basis { preds, restores: None, decision: false },
    }
}

#[test]
fn what_nobody_refers_to_goes_after_the_retention_and_not_before() {
    let house = House::new();
    let (orphan, pinned) = (house.puts(b"orphan"), house.puts(b"pinned"));
    house.bench.store.pin(pinned).unwrap();
    assert_eq!(house.collected(), []);
    house.days_pass(89);
    assert_eq!(house.puts(b"orphan"), orphan);
    assert_eq!(house.collected(), []);
    house.days_pass(89);
    assert_eq!(house.collected(), [], "it was put again meanwhile");
    house.days_pass(1);
    assert_eq!(house.collected(), [orphan]);
    assert_eq!(house.collected(), []);
    assert_eq!(house.bench.files().len(), 1);
    house.bench.store.unpin(pinned).unwrap();
    assert_eq!(house.collected(), [], "from now on nothing needs it");
    house.days_pass(90);
    assert_eq!(house.collected(), [pinned]);
}

#[test]
fn what_a_field_shows_stays_and_what_it_showed_goes_when_that_was_long_ago() {
    let mut house = House::new();
    let (old, new) = (house.puts(b"old"), house.puts(b"new!"));
    let first = house.shows(old, &[]);
    house.days_pass(1_000);
    assert_eq!(house.collected(), []);
    house.shows(new, &[&first]);
    assert_eq!(house.collected(), [], "it was shown until now, and the change may be undone");
    house.days_pass(89);
    assert_eq!(house.collected(), []);
    house.days_pass(1);
    assert_eq!(house.collected(), [old]);
    house.days_pass(1_000);
    assert_eq!(house.collected(), []);
    assert_eq!(house.library.mention(old).unwrap().unwrap().name, "plan.pdf");
}

#[test]
fn both_sides_of_a_conflict_stay() {
    let mut house = House::new();
    let (one, other) = (house.puts(b"one"), house.puts(b"other"));
    house.shows(one, &[]);
    house.shows(other, &[]);
    house.days_pass(1_000);
    assert_eq!(house.collected(), []);
}

#[test]
fn a_deleted_file_goes_though_fields_show_it_but_not_before_the_deletion_is_old() {
    let mut house = House::new();
    let hash = house.puts(b"plan");
    house.shows(hash, &[]);
    house.days_pass(1_000);
    let deletion = house.deletes(hash);
    assert_eq!(house.collected(), []);
    house.days_pass(89);
    assert_eq!(house.collected(), [], "it can still be taken back");
    let basis = Basis { preds: vec![deletion.ops()[0].reference], restores: None, decision: false };
    house.does(&Operation::RestoreAsset { hash, basis });
    house.days_pass(1_000);
    assert_eq!(house.collected(), [], "it was");
    house.deletes(hash);
    house.days_pass(90);
    assert_eq!(house.collected(), [], "somebody wants it still, and nobody who knew of that has deleted it");
    let house = {
        let mut house = House::new();
        house.puts(b"plan");
        house.shows(hash, &[]);
        house.deletes(hash);
        house.days_pass(1_000);
        house
    };
    assert_eq!(house.collected(), [], "nobody has looked yet");
    house.days_pass(90);
    assert_eq!(house.collected(), [hash]);
}

#[test]
fn what_is_not_understood_may_need_any_file() {
    let mut house = House::new();
    let orphan = house.puts(b"orphan");
    house.days_pass(1_000);
    house.does_raw(RawOp { kind: 60_000, body: vec![1] });
    assert_eq!(house.library.collect(false), Err(CollectError::Obscure(1)));
    *house.overlays.0.lock().unwrap() = Some("the overlays cannot be read".to_owned());
    assert!(house.library.collect(true).is_err());
    let house = {
        let mut house = House::new();
        house.puts(b"orphan");
        house.days_pass(1_000);
        house.shows(hash_of(b"elsewhere"), &[]);
        house.log.damage(Position(1));
        house
    };
    assert_eq!(house.library.collect(false), Err(CollectError::Obscure(1)));
    assert!(house.bench.store.kept(orphan).unwrap().is_some());
}

#[test]
fn files_staged_in_overlays_cannot_be_known_where_overlays_cannot_be_read() {
    let house = House::new();
    house.puts(b"orphan");
    house.days_pass(1_000);
    *house.overlays.0.lock().unwrap() = Some("the overlays cannot be read".to_owned());
    assert!(matches!(house.library.collect(false), Err(CollectError::Blob(_))));
    *house.overlays.0.lock().unwrap() = None;
    assert_eq!(house.collected(), []);
    house.days_pass(90);
    assert_eq!(house.collected().len(), 1);
}

#[test]
fn the_retention_is_a_setting_and_an_upload_has_a_day_whatever_it_says() {
    let mut house = House::new();
    let setting = openprod_domain::asset::retention_setting();
    house.does(&Operation::PutSetting { setting, value: Some(Value::Integer(0)), basis: Basis::default() });
    let orphan = house.puts(b"orphan");
    assert_eq!(house.collected(), []);
    house.days_pass(1);
    assert_eq!(house.collected(), [orphan]);
}

#[test]
fn what_the_state_does_not_show_yet_is_needed() {
    let mut house = House::new();
    let setting = openprod_domain::asset::retention_setting();
    house.does(&Operation::PutSetting { setting, value: Some(Value::Integer(0)), basis: Basis::default() });
    let plan = house.puts(b"plan");
    let orphan = house.puts(b"orphan");
    house.days_pass(1);
    house.lags = true;
    let shown = house.shows(plan, &[]);
    assert_eq!(house.collected(), [orphan]);
    house.state.fold(&shown, house.log.end());
    assert_eq!(house.collected(), []);
    assert_eq!(house.bench.reads(plan).unwrap(), b"plan");
}

#[test]
fn another_log_is_read_from_its_beginning() {
    let mut house = House::new();
    let hash = house.puts(b"plan");
    house.shows(hash, &[]);
    assert!(house.library.mention(hash).unwrap().is_some());
    let log = Arc::<MemoryLog>::default();
    house.library = Library { log, ..house.library };
    assert_eq!(house.library.mention(hash).unwrap(), None);
}

#[test]
fn a_kill_while_collecting_leaves_it_whole_or_gone() {
    let mut house = House::new();
    let orphan = house.puts(b"orphan");
    assert_eq!(house.collected(), []);
    house.days_pass(1_000);
    house.bench.folder.fails_after(0, std::io::ErrorKind::Other);
    assert!(house.library.collect(false).is_err());
    house.bench.restarts();
    assert_eq!(house.bench.reads(orphan).unwrap(), b"orphan");
    let row = house.bench.store.index.row(orphan).unwrap().unwrap();
    // Killed between the two steps: the file is gone, and the index knows it still.
    let name = crate::store::file_name(orphan, row.squeezed);
    std::fs::remove_file(house.bench.path(&name)).unwrap();
    house.bench.restarts();
    assert_eq!(house.bench.store.kept(orphan).unwrap(), None);
}

#[test]
fn a_clock_that_was_ahead_keeps_rather_than_removes() {
    let facts = Facts { idle_since_ms: 0, touched_ms: 0, mentioned_ms: None };
    assert!(facts.go(NOW_MS, DAY_MS));
    assert!(!facts.go(NOW_MS, u64::MAX));
    for later in [
        Facts { idle_since_ms: NOW_MS + 9, ..facts },
        Facts { touched_ms: NOW_MS + 9, ..facts },
        Facts { mentioned_ms: Some(u64::MAX), ..facts },
    ] {
        assert!(!later.go(NOW_MS, 0), "{later:?}");
    }
}
