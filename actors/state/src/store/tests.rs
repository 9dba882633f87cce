//! The store against a log in memory and a disk that misbehaves.

use openprod_domain::cell::{Cell, Content};
use openprod_domain::view::Moment;
use openprod_model::value::Value;

use super::*;
use crate::testing::{Author, Disk, FakeLog, WORKSPACE, attach, entity, name, set};

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

fn folded(log: &Arc<FakeLog>, backends: impl Backends + 'static) -> Arc<StateStore> {
    let store = StateStore::open(backends, WORKSPACE, log.clone(), Options::default()).unwrap();
    store.fold_all(&mut |_, _| {}).unwrap();
    store
}

fn hash(store: &StateStore) -> StateHash {
    store.snapshot().unwrap().hash().unwrap()
}

/// Two authors who edit cue 1, unseen by each other, after it was made.
fn two_authors() -> Arc<FakeLog> {
    let (mara, leo) = (Author::new(1), Author::new(2));
    let made = mara.writes(vec![], 10, &[attach(1), set(1, "label", "Preset", vec![])]);
    let first = made.ops()[1].reference;
    let hers = mara.writes(vec![made.digest()], 20, &[set(1, "label", "Blackout", vec![first])]);
    let his = leo.writes(vec![made.digest()], 30, &[set(1, "label", "Sunrise", vec![first])]);
    FakeLog::of(&[made, hers, his])
}

#[test]
fn what_was_written_is_read() {
    let log = two_authors();
    let store = folded(&log, InMemory);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(shown(&*snapshot, 1), ["Blackout", "Sunrise"]);
    assert_eq!(snapshot.position(), Position(3));
    assert_eq!(snapshot.chain(), log.tail().unwrap().chain);
    assert_eq!(snapshot.heads().unwrap().len(), 2);
    assert_eq!(snapshot.counts().unwrap().cells, 2);
    assert_eq!(snapshot.written(&field(1, "label")).unwrap().len(), 3);
}

#[test]
fn the_past_is_remembered() {
    let store = folded(&two_authors(), InMemory);
    let snapshot = store.snapshot().unwrap();
    let at = |moment: Moment| snapshot.tips_at(&field(1, "label"), &moment).unwrap().len();
    assert_eq!(at(Moment::Revision(Position(0))), 0);
    let first = snapshot.tips_at(&field(1, "label"), &Moment::Revision(Position(1))).unwrap();
    assert_eq!(first[0].content, Content::Value(Value::text("Preset").unwrap()));
    assert_eq!(at(Moment::Revision(Position(2))), 1);
    assert_eq!(at(Moment::Bundles(Arc::new([Position(1), Position(3)].into()))), 1);
    assert_eq!(at(Moment::Bundles(Arc::new([Position(2), Position(3)].into()))), 2);
}
