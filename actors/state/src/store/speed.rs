//! What folding costs. Run by hand: `cargo test --release -p openprod-state speed -- --nocapture`.

use std::time::Instant;

use openprod_domain::cell::Cell;
use openprod_domain::view::View;
use openprod_messages::testing::MemoryLog;
use openprod_model::bundle::Bundle;
use openprod_model::operation::Operation;
use redb::ReadableTableMetadata;

use super::*;
use crate::tables::DEAD;
use crate::tables::ENTRIES;
use crate::tables::TIPS;
use crate::testing::{Author, WORKSPACE, attach, entity, name, set};

const FIELDS: [&str; 10] = ["label", "note", "time", "page", "who", "where", "cue", "kit", "level", "colour"];
const RECORDS: u64 = 10_000;

/// 10,000 records of 10 fields, in bundles of 100 records.
fn records(author: &Author) -> Vec<Bundle> {
    let record = |number| {
        let sets = FIELDS.iter().map(move |field| set(number, field, &format!("{field} {number}"), vec![]));
        std::iter::once(attach(number)).chain(sets)
    };
    let ops: Vec<Operation> = (0..RECORDS).flat_map(record).collect();
    let mut head = Vec::new();
    let next = |ops| {
        let bundle = author.writes(std::mem::take(&mut head), 1, ops);
        head = vec![bundle.digest()];
        bundle
    };
    ops.chunks(1_100).map(next).collect()
}

/// As many single edits, each of another field than the last.
fn edits(author: &Author, records: &[Bundle]) -> Vec<Bundle> {
    let sets =
        records.iter().flat_map(Bundle::ops).filter(|op| matches!(op.operation, Some(Operation::SetField { .. })));
    let mut before: Vec<_> = sets.map(|op| op.reference).collect();
    let count = before.len();
    let mut head = records[records.len() - 1].digest();
    (0..count)
        .map(|step| {
            let at = step * 7_919 % count;
            let (number, field) = (at as u64 / 10, FIELDS[at % 10]);
            let edit = set(number, field, &format!("edit {step}"), vec![before[at]]);
            let bundle = author.writes(vec![head], 2 + step as u64, &[edit]);
            head = bundle.digest();
            before[at] = bundle.ops()[0].reference;
            bundle
        })
        .collect()
}

/// Wall clock and this thread's processor time, which others on the machine do not spoil.
struct Watch(Instant, f64);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), Self::processor_seconds())
    }

    fn processor_seconds() -> f64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
    }

    fn report(&self, what: &str, ops: u64, store: &StateStore) {
        let (wall, processor) = (self.0.elapsed().as_secs_f64(), Self::processor_seconds() - self.1);
        let (ops, kib) = (ops as f64, store.bytes_on_disk() / 1024);
        println!(
            "{what}: {:.0} ops/s; processor {:.0} ops/s, {:.2} us; file {kib} KiB",
            ops / wall,
            ops / processor,
            processor / ops * 1e6
        );
    }
}

fn sizes(store: &StateStore, ops: u64) {
    let living = store.living.read().unwrap();
    let transaction = living.as_ref().unwrap().database.begin_write().unwrap();
    let stats = transaction.stats().unwrap();
    let (stored, metadata, fragmented) = (stats.stored_bytes(), stats.metadata_bytes(), stats.fragmented_bytes());
    println!("  bytes/op: {} stored, {} metadata, {} fragmented", stored / ops, metadata / ops, fragmented / ops);
    let show = |what: &str, stats: redb::TableStats| {
        println!(
            "  {what}: {} stored/op, {} pages * 4096 / op",
            stats.stored_bytes() / ops,
            stats.leaf_pages() * 4096 / ops
        );
    };
    show("tips", transaction.open_table(TIPS).unwrap().stats().unwrap());
    show("superseded", transaction.open_table(DEAD).unwrap().stats().unwrap());
    show("entries", transaction.open_table(ENTRIES).unwrap().stats().unwrap());
}

/// What redb alone takes for the same rows, written in key order in one durable transaction.
fn floor(store: &StateStore, ops: u64, place: &std::path::Path) {
    let snapshot = store.take_snapshot().unwrap();
    let everything = openprod_domain::cell::KeyRange { from: Vec::new(), to: vec![u8::MAX] };
    let entries: Vec<_> = snapshot.entries(&everything).unwrap().map(Result::unwrap).collect();
    let tips: Vec<_> = snapshot.raw_tips();
    let since = Watch::start();
    let database = Database::builder().set_cache_size(64 * 1024 * 1024).create(place).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(TIPS).unwrap();
        for (key, row) in &tips {
            table.insert(&**key, &**row).unwrap();
        }
        let mut table = transaction.open_table(ENTRIES).unwrap();
        for key in &entries {
            table.insert(&**key, ()).unwrap();
        }
    }
    transaction.commit().unwrap();
    since.report("floor: the same rows in redb alone", ops, store);
}

#[test]
fn speed() {
    if std::env::var_os("OPENPROD_MEASURE").is_none() {
        return println!("not run: it only measures; see the head of this file");
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let place = OnDisk(directory.path().join("state.redb"));
    let author = Author::new(1);
    let bulk = records(&author);
    let edits = edits(&author, &bulk);
    let log = MemoryLog::of(&bulk);
    let store = StateStore::open(place.clone(), WORKSPACE, log.clone(), Options::default()).unwrap();

    let since = Watch::start();
    store.fold_all(&mut |_, _| {}).unwrap();
    since.report("bulk of 1,100 ops a bundle", RECORDS * 11, &store);
    sizes(&store, RECORDS * 11);
    floor(&store, RECORDS * 11, &directory.path().join("floor.redb"));

    for bundle in &edits {
        log.append(bundle);
    }
    let since = Watch::start();
    store.fold_all(&mut |_, _| {}).unwrap();
    since.report("catching up with single edits", edits.len() as u64, &store);
    sizes(&store, RECORDS * 11 + edits.len() as u64);

    let (since, mut head) = (Watch::start(), edits[edits.len() - 1].digest());
    for number in 0..5_000 {
        let bundle = author.writes(vec![head], 1_000_000 + number, &[set(number, "label", "again", vec![])]);
        head = bundle.digest();
        log.append(&bundle);
        store.fold_some().unwrap();
    }
    since.report("one edit at a time (signed and folded)", 5_000, &store);

    let since = Instant::now();
    (0..10_000).for_each(|_| drop(store.take_snapshot().unwrap()));
    println!("a fresh snapshot: {:.2} us", since.elapsed().as_secs_f64() * 100.0);
    let snapshot = store.snapshot().unwrap();
    let since = Instant::now();
    for number in 0..10_000 {
        let field = Cell::Field { table: name("cues"), entity: entity(number), field: name("label") };
        assert!(!snapshot.tips(&field).unwrap().is_empty());
    }
    println!("a cell: {:.2} us", since.elapsed().as_secs_f64() * 100.0);
    let since = Instant::now();
    let cells = snapshot.cells(&Cell::everything()).count();
    println!("a cell in a scan: {:.2} us", since.elapsed().as_secs_f64() * 1e6 / cells as f64);

    store.close();
    println!("closed: file {} KiB", std::fs::metadata(&place.0).unwrap().len() / 1024);
    let since = Instant::now();
    let store = StateStore::open(place, WORKSPACE, log.clone(), Options::default()).unwrap();
    drop(store.snapshot().unwrap());
    println!("opened: {:.2} ms", since.elapsed().as_secs_f64() * 1e3);
    let since = Watch::start();
    let mut at = Position(1);
    while let Some((last, ..)) = log.bundles(at, BATCH_BUNDLES, BATCH_BYTES).unwrap().last() {
        at = last.next();
    }
    since.report("of which the test's log takes", store.snapshot().unwrap().counts().unwrap().ops, &store);
    let since = Watch::start();
    let replayed = replay_hash(log.clone(), WORKSPACE, &mut |_, _| {}).unwrap();
    since.report("replay in memory", store.snapshot().unwrap().counts().unwrap().ops, &store);
    assert_eq!(replayed, store.snapshot().unwrap().hash().unwrap());
}
