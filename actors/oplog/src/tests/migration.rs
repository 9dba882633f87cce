//! Logs of older formats, opened by this version.

use openprod_messages::log::{Lanes, LogReader};
use openprod_model::bundle::Bundle;

use super::kit::{Knowledge, MemoryDisk, OPTIONS, WORKSPACE, Working, bytes, check_log, person, running_on};
use crate::store::LogStore;
use crate::tables::{held, lanes};

fn rewinds(disk: &MemoryDisk) {
    let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
    let txn = database.begin_write().unwrap();
    lanes::forget(&txn).unwrap();
    txn.commit().unwrap();
}

#[tokio::test]
async fn a_log_of_format_2_keeps_what_is_in_quarantine() {
    let oplog = running_on(MemoryDisk::default(), &Working::Inline).await;
    oplog.admit(vec![b"garbage".to_vec()]).await;
    let before = oplog.store.quarantined(0, 10).unwrap();
    let disk = oplog.disk.copied();
    let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
    let txn = database.begin_write().unwrap();
    held::forget(&txn).unwrap();
    txn.commit().unwrap();
    drop(database);
    let store = LogStore::open(disk, WORKSPACE, OPTIONS).unwrap();
    assert_eq!((store.quarantined(0, 10).unwrap(), before.len()), (before, 1));
}

#[tokio::test]
async fn a_log_of_format_1_learns_of_its_lanes() {
    let oplog = running_on(MemoryDisk::default(), &Working::Inline).await;
    let (mara, leo, mut known) = (person("Mara"), person("Leo"), Knowledge::default());
    oplog.admit(bytes(&[&known.bootstrap(&mara), &known.admit(&mara, &leo)])).await;
    // A copy of Mara's machine goes on for itself; so her history forks, and both branches go on.
    let mut copy = known.clone();
    let here: Vec<Bundle> = (0..6).map(|n| known.edit(if n % 3 == 0 { &leo } else { &mara })).collect();
    let there: Vec<Bundle> = (0..4).map(|_| copy.edit(&mara)).collect();
    oplog.admit(bytes(&here.iter().chain(&there).collect::<Vec<_>>())).await;
    let (before, told) = (oplog.store.lanes().unwrap(), oplog.store.tail().unwrap());
    assert_eq!(before.len(), 3, "two of Mara's, one of Leo's");
    let disk = oplog.disk.copied();
    rewinds(&disk);
    let store = LogStore::open(disk, WORKSPACE, OPTIONS).unwrap();
    check_log(&store);
    assert_eq!((store.lanes().unwrap(), store.tail().unwrap()), (before, told));
    assert_eq!(store.waiting(0, 1).unwrap(), []);
}
