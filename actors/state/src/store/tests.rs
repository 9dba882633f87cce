//! The store against a log in memory and a disk that misbehaves.

use openprod_domain::cell::{Cell, Content};
use openprod_domain::view::Moment;
use openprod_messages::testing::MemoryLog;
use openprod_model::value::Value;

use super::*;
use crate::testing::{Author, WORKSPACE, attach, entity, name, set};

fn field(number: u64, field: &str) -> Cell {
    Cell::Field { table: name("cues"), entity: entity(number), field: name(field) }
}

fn shown(snapshot: &dyn Snapshot, number: u64) -> Vec<String> {
    let tips = snapshot.tips(&field(number, "label")).unwrap();
    tips.iter()
        .map(|tip| match &tip.content {
            Content::Value(Value::Text(text)) => text.to_string(),
            other => format!("{other:?}"),
        })
        .collect()
}

fn folded(log: &Arc<MemoryLog>, backends: impl Backends + 'static) -> Arc<StateStore> {
    let store = StateStore::open(backends, WORKSPACE, log.clone(), Options::default()).unwrap();
    store.fold_all(&mut |_, _| {}).unwrap();
    store
}

fn hash(store: &StateStore) -> StateHash {
    store.snapshot().unwrap().hash().unwrap()
}

/// Two authors who edit cue 1, unseen by each other, after it was made.
fn two_authors() -> Arc<MemoryLog> {
    let (mara, leo) = (Author::new(1), Author::new(2));
    let made = mara.writes(vec![], 10, &[attach(1), set(1, "label", "Preset", vec![])]);
    let first = made.ops()[1].reference;
    let hers = mara.writes(vec![made.digest()], 20, &[set(1, "label", "Blackout", vec![first])]);
    let his = leo.writes(vec![made.digest()], 30, &[set(1, "label", "Sunrise", vec![first])]);
    MemoryLog::of(&[made, hers, his])
}

#[test]
fn what_was_written_is_read() {
    let log = two_authors();
    let store = folded(&log, MemoryDisk::default());
    let snapshot = store.snapshot().unwrap();
    assert_eq!(shown(&*snapshot, 1), ["Blackout", "Sunrise"]);
    assert_eq!(snapshot.position(), Position(3));
    assert_eq!(snapshot.chain(), log.tail().unwrap().chain);
    assert_eq!(snapshot.heads().unwrap().len(), 2);
    assert_eq!(snapshot.counts().unwrap().cells, 2);
    assert_eq!(snapshot.written(&field(1, "label")).unwrap().len(), 3);
}

/// What the cells of a bucket add is what the bucket says, however they are paged.
#[test]
fn a_bucket_is_the_sum_of_its_cells() {
    let store = folded(&two_authors(), MemoryDisk::default());
    let snapshot = store.snapshot().unwrap();
    let buckets = snapshot.hash().unwrap().buckets;
    let mut cells = 0;
    for number in 0..=u8::MAX {
        let (mut sum, mut after) = ([0_u64; 4], Vec::new());
        while let Some((key, print)) = snapshot.bucket(number, &after, 1).unwrap().pop() {
            for (lane, bytes) in sum.iter_mut().zip(print.as_chunks().0) {
                *lane = lane.wrapping_add(u64::from_le_bytes(*bytes));
            }
            assert!(Cell::from_key(&key).is_some());
            after = key;
            cells += 1;
        }
        assert_eq!(sum.map(u64::to_le_bytes).as_flattened(), buckets[usize::from(number)]);
    }
    assert_eq!(cells, 2);
}

#[test]
fn the_past_is_remembered() {
    let store = folded(&two_authors(), MemoryDisk::default());
    let snapshot = store.snapshot().unwrap();
    let at = |moment: Moment| snapshot.tips_at(&field(1, "label"), &moment).unwrap().len();
    assert_eq!(at(Moment::Revision(Position(0))), 0);
    let first = snapshot.tips_at(&field(1, "label"), &Moment::Revision(Position(1))).unwrap();
    assert_eq!(first[0].content, Content::Value(Value::text("Preset").unwrap()));
    assert_eq!(at(Moment::Revision(Position(2))), 1);
    assert_eq!(at(Moment::Bundles(Arc::new([Position(1), Position(3)].into()))), 1);
    assert_eq!(at(Moment::Bundles(Arc::new([Position(2), Position(3)].into()))), 2);
}

#[test]
fn a_write_that_was_superseded_before_it_came_does_not_stand() {
    let (mara, leo) = (Author::new(1), Author::new(2));
    let old = mara.writes(vec![], 10, &[set(1, "label", "Preset", vec![])]);
    let new = leo.writes(vec![], 20, &[set(1, "label", "Blackout", vec![old.ops()[0].reference])]);
    let store = folded(&MemoryLog::of(&[new, old]), MemoryDisk::default());
    let snapshot = store.snapshot().unwrap();
    assert_eq!(shown(&*snapshot, 1), ["Blackout"]);
    let written = snapshot.written(&field(1, "label")).unwrap();
    assert_eq!(written[1].superseded_at, Some(Position(1)));
    assert_eq!(hash(&store).total, hash(&folded(&two_writes_in_order(), MemoryDisk::default())).total);
}

fn two_writes_in_order() -> Arc<MemoryLog> {
    let (mara, leo) = (Author::new(1), Author::new(2));
    let old = mara.writes(vec![], 10, &[set(1, "label", "Preset", vec![])]);
    let new = leo.writes(vec![], 20, &[set(1, "label", "Blackout", vec![old.ops()[0].reference])]);
    MemoryLog::of(&[old, new])
}

#[test]
fn a_snapshot_sees_one_revision_while_folding_goes_on() {
    let log = two_authors();
    let store = folded(&log, MemoryDisk::default());
    let before = store.snapshot().unwrap();
    log.append(&Author::new(3).writes(vec![], 99, &[set(1, "label", "Later", vec![]), set(2, "label", "New", vec![])]));
    store.fold_all(&mut |_, _| {}).unwrap();
    assert_eq!(shown(&*before, 1).len(), 2);
    assert_eq!(shown(&*before, 2).len(), 0);
    assert_eq!(shown(&*store.snapshot().unwrap(), 1).len(), 3);
}

#[test]
fn a_damaged_bundle_is_passed_over_and_reported() {
    let log = two_authors();
    log.damage(Position(2));
    let store = StateStore::open(MemoryDisk::default(), WORKSPACE, log.clone(), Options::default()).unwrap();
    let round = store.fold_some().unwrap();
    assert_eq!(round.damaged, [(Position(2), "a bit flipped".to_owned())]);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(shown(&*snapshot, 1), ["Sunrise"]);
    assert_eq!((snapshot.counts().unwrap().damaged, snapshot.position()), (1, Position(3)));
    assert_eq!(snapshot.heads().unwrap(), log.tail().unwrap().heads);
}

/// A log with a damaged bundle, and what mends it.
fn damaged() -> (Arc<MemoryLog>, impl Fn(&MemoryLog)) {
    let log = two_authors();
    let whole = log.bundle(Position(2)).unwrap().unwrap();
    log.damage(Position(2));
    (log, move |log: &MemoryLog| log.tamper(|rows| rows.rows[1].1 = whole.clone()))
}

#[test]
fn what_was_passed_over_is_folded_when_it_is_whole_again() {
    let whole = hash(&folded(&two_authors(), MemoryDisk::default())).total;
    let (log, mend) = damaged();
    let store = folded(&log, MemoryDisk::default());
    assert_ne!(hash(&store).total, whole);
    mend(&log);
    store.passes_over_nothing();
    assert!(!store.is_fine());
    store.fold_all(&mut |_, _| {}).unwrap();
    assert_eq!((hash(&store).total, store.snapshot().unwrap().counts().unwrap().damaged), (whole, 0));
    let before = store.folded().borrow().incarnation;
    store.passes_over_nothing();
    store.fold_some().unwrap();
    assert!(store.is_fine() && store.folded().borrow().incarnation == before, "what passed over nothing stays");
}

#[test]
fn a_state_that_passed_over_damage_is_folded_anew_at_the_next_start() {
    let whole = hash(&folded(&two_authors(), MemoryDisk::default())).total;
    let ((log, mend), disk) = (damaged(), MemoryDisk::default());
    folded(&log, disk.clone()).close();
    mend(&log);
    assert_eq!(hash(&folded(&log, disk)).total, whole);
}

#[test]
fn an_op_of_an_unknown_kind_is_counted_and_passed_over() {
    let raw = openprod_model::operation::RawOp { kind: 60_000, body: vec![1, 2, 3] };
    let store = folded(&MemoryLog::of(&[Author::new(1).writes_raw(vec![], 1, vec![raw])]), MemoryDisk::default());
    assert_eq!(store.snapshot().unwrap().counts().unwrap().unknown_ops, 1);
    assert_eq!(hash(&store).unknown_ops, 1);
}

#[test]
fn what_was_made_durable_is_not_folded_again() {
    let (log, disk) = (two_authors(), MemoryDisk::default());
    folded(&log, disk.clone()).close();
    let again = StateStore::open(disk.after_power_cut(), WORKSPACE, log.clone(), Options::default()).unwrap();
    assert_eq!(again.position(), Position(3));
    assert_eq!(hash(&again), hash(&folded(&log, MemoryDisk::default())));
}

#[test]
fn a_power_cut_loses_only_what_can_be_folded_again() {
    let (log, disk) = (two_authors(), MemoryDisk::default());
    let store = folded(&log, disk.clone());
    assert!(store.unsettled());
    let cut = disk.after_power_cut();
    let again = StateStore::open(cut, WORKSPACE, log.clone(), Options::default()).unwrap();
    assert_eq!(again.position(), Position::ZERO);
    again.fold_all(&mut |_, _| {}).unwrap();
    assert_eq!(hash(&again), hash(&store));
}

#[test]
fn a_state_of_another_log_is_emptied() {
    let disk = MemoryDisk::default();
    folded(&two_authors(), disk.clone()).close();
    let other = MemoryLog::of(&[Author::new(5).writes(vec![], 1, &[set(7, "label", "Other", vec![])])]);
    let store = folded(&other, disk.clone());
    assert_eq!(store.snapshot().unwrap().counts().unwrap().cells, 1);
    store.close();
    // A log that was restored from an older copy is shorter than what was folded.
    let store = StateStore::open(disk, WORKSPACE, MemoryLog::of(&[]), Options::default()).unwrap();
    assert_eq!(store.position(), Position::ZERO);
    assert_eq!(store.snapshot().unwrap().cells(&Cell::everything()).count(), 0);
}

#[test]
fn a_state_of_another_workspace_is_emptied() {
    let (log, disk) = (two_authors(), MemoryDisk::default());
    folded(&log, disk.clone()).close();
    let store = StateStore::open(disk, WorkspaceId::from_bytes([1; 16]), log, Options::default()).unwrap();
    assert_eq!(store.position(), Position::ZERO);
}

#[test]
fn a_file_of_garbage_is_emptied_and_folded_again() {
    let log = two_authors();
    for at in 0..64 {
        let disk = MemoryDisk::default();
        folded(&log, disk.clone()).close();
        disk.flips(at);
        disk.flips(4096 + 13 * at);
        assert_eq!(hash(&folded(&log, disk)), hash(&folded(&log, MemoryDisk::default())));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    std::fs::write(&path, "this is not a database, but a letter to one".repeat(1000)).unwrap();
    assert_eq!(folded(&log, OnDisk(path)).position(), Position(3));
}

#[test]
fn a_file_that_somebody_else_has_open_is_left_alone() {
    let (log, directory) = (two_authors(), tempfile::tempdir().unwrap());
    let place = OnDisk(directory.path().join("state.redb"));
    let first = folded(&log, place.clone());
    let second = StateStore::open(place, WORKSPACE, log, Options::default());
    assert!(matches!(second, Err(OpenError::InUse)));
    assert_eq!(shown(&*first.snapshot().unwrap(), 1).len(), 2);
}

#[test]
fn after_an_error_of_the_disk_the_file_is_opened_anew_and_nobody_goes_back_in_time() {
    let (log, disk) = (two_authors(), MemoryDisk::default());
    let store = folded(&log, disk.clone());
    let incarnation = store.folded().borrow().incarnation;
    log.append(&Author::new(3).writes(vec![], 99, &[set(2, "label", "New", vec![])]));
    disk.fails(1);
    assert!(store.settle().is_err());
    assert!(!store.is_fine());
    // Opened anew, the file has only what was durable: nothing. Until that is folded again there is no snapshot.
    store.settle().unwrap();
    assert!(store.folded().borrow().incarnation > incarnation);
    assert!(store.snapshot().is_err());
    store.fold_all(&mut |_, _| {}).unwrap();
    assert_eq!(store.snapshot().unwrap().position(), Position(4));
    assert_eq!(hash(&store), hash(&folded(&log, MemoryDisk::default())));
}

#[test]
fn a_full_disk_stops_neither_readers_nor_folding() {
    let (log, disk) = (two_authors(), MemoryDisk::default());
    let store = folded(&log, disk.clone());
    store.settle().unwrap();
    disk.holds_at_most(4096);
    for number in 10..400 {
        let text = "x".repeat(900);
        log.append(&Author::new(3).writes(vec![], number, &[set(number, "label", &text, vec![])]));
        store.fold_all(&mut |_, _| {}).unwrap();
    }
    assert_eq!(store.settle().unwrap(), Settled::DiskFull);
    assert!(store.unsettled());
    assert_eq!(shown(&*store.snapshot().unwrap(), 399).len(), 1);
    // A crash now loses the work, and nothing else.
    let crashed = folded(&log, disk.after_power_cut());
    assert_eq!(hash(&crashed), hash(&store));
    disk.has_room();
    assert_eq!(store.settle().unwrap(), Settled::Durable);
    assert!(!store.unsettled());
    let again = StateStore::open(disk.after_power_cut(), WORKSPACE, log.clone(), Options::default()).unwrap();
    assert_eq!(again.position(), store.position());
    assert_eq!(hash(&again), hash(&store));
    assert_eq!(disk.removals(), 0);
}

#[test]
fn a_closed_store_says_so() {
    let store = folded(&two_authors(), MemoryDisk::default());
    store.close();
    assert!(store.snapshot().is_err());
    assert!(matches!(store.fold_some(), Err(FoldError::Closed)));
}

#[test]
fn a_replay_from_nothing_gives_the_same_hash() {
    let log = two_authors();
    let replayed = replay_hash(log.clone(), WORKSPACE, &mut |_, _| {}).unwrap();
    assert_eq!(replayed, hash(&folded(&log, MemoryDisk::default())));
}

#[test]
fn a_large_bundle_is_visible_whole_or_not_at_all() {
    let ops: Vec<_> = (0..MAX_PIECE_OPS + 10_000).map(|number| set(number, "label", "A", vec![])).collect();
    let log = MemoryLog::of(&[Author::new(1).writes(vec![], 1, &ops)]);
    let store = StateStore::open(MemoryDisk::default(), WORKSPACE, log, Options::default()).unwrap();
    let mut seen = Vec::new();
    store.fold_all(&mut |at, _| seen.push(at)).unwrap();
    assert_eq!(seen, [Position(1)]);
    assert_eq!(store.snapshot().unwrap().counts().unwrap().cells, MAX_PIECE_OPS + 10_000);
}

#[test]
fn every_revision_knows_what_was_merged_then_and_nothing_else() {
    use openprod_domain::view::{AsOf, View};
    use openprod_model::operation::{Basis, Operation, PairAt};

    let mara = Author::new(1);
    let pair = |preds| {
        let (one, other) = (entity(1), entity(2));
        vec![PairAt { one, other, basis: Basis { preds, ..Basis::default() } }]
    };
    let made = mara.writes(vec![], 10, &[attach(1), attach(2)]);
    let merged = mara.writes(vec![made.digest()], 20, &[Operation::MergeEntities { at: pair(vec![]) }]);
    let edited = mara.writes(vec![merged.digest()], 30, &[set(1, "label", "A", vec![])]);
    let at = pair(vec![merged.ops()[0].reference]);
    let split = mara.writes(vec![edited.digest()], 40, &[Operation::SplitEntity { at }]);
    let expected = [false, true, true, false];
    let log = MemoryLog::of(&[]);
    let store = StateStore::open(MemoryDisk::default(), WORKSPACE, log.clone(), Options::default()).unwrap();
    let mut snapshots = Vec::new();
    for (bundle, is_merged) in [made, merged, edited, split].iter().zip(expected) {
        log.append(bundle);
        let before = store.snapshot().unwrap();
        store.fold_all(&mut |_, _| {}).unwrap();
        let now = store.snapshot().unwrap();
        assert_eq!(now.unions().unwrap().is_merged(entity(1)), is_merged);
        // An older revision that is asked later does not answer for a newer one.
        snapshots.extend([before, now]);
    }
    for (revision, is_merged) in (1..).zip(expected) {
        for snapshot in snapshots.iter().filter(|snapshot| snapshot.position() >= Position(revision)) {
            let then = AsOf::new(&**snapshot, Moment::Revision(Position(revision)));
            assert_eq!(then.unions().unwrap().is_merged(entity(1)), is_merged, "revision {revision}");
        }
    }
    for snapshot in snapshots.iter().filter(|snapshot| snapshot.position() > Position::ZERO) {
        let is_merged = expected[usize::try_from(snapshot.position().0 - 1).unwrap()];
        assert_eq!(snapshot.unions().unwrap().is_merged(entity(1)), is_merged);
    }
}

#[test]
fn what_an_older_version_passed_over_is_folded_by_one_that_knows_it() {
    const FIELDS: &[u16] = &[5];
    let (log, disk) = (two_authors(), MemoryDisk::default());
    let older = Options { unknown: FIELDS, ..Options::default() };
    let store = StateStore::open(disk.clone(), WORKSPACE, log.clone(), older).unwrap();
    store.fold_all(&mut |_, _| {}).unwrap();
    assert_eq!(shown(&*store.snapshot().unwrap(), 1), [""; 0]);
    assert_eq!(hash(&store).unknown_ops, 3);
    store.close();
    let store = folded(&log, disk);
    assert_eq!(shown(&*store.snapshot().unwrap(), 1), ["Blackout", "Sunrise"]);
    assert_eq!(hash(&store), hash(&folded(&log, MemoryDisk::default())));
}
