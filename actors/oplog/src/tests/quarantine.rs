//! Quarantine: listing, retrying, skipping; damaged bundles in the log and the good copies that replace them.

use openprod_messages::log::{LogReader, Stored};
use openprod_messages::oplog::{AppendError, OplogMsg};
use openprod_model::bundle::Bundle;
use openprod_model::ids::Position;

use super::kit::{Knowledge, MemoryDisk, Running, Working, bytes, check_log, person, running, running_on, unsigned};
use crate::tables::BUNDLES;

#[tokio::test]
async fn the_same_bytes_are_quarantined_once_and_listed_with_their_source() {
    let oplog = running().await;
    let first = oplog.admit(vec![b"garbage".to_vec(), b"other".to_vec()]).await.quarantined;
    assert_eq!(oplog.admit(vec![b"garbage".to_vec()]).await.quarantined, first[..1]);
    let listed = oplog.store.quarantined(0, 10).unwrap();
    assert_eq!(listed.iter().map(|entry| entry.number).collect::<Vec<_>>(), first);
    assert_eq!((listed[0].bytes.as_slice(), listed[0].source.as_str()), (&b"garbage"[..], "a file"));
    assert_eq!(oplog.store.quarantined(first[1], 10).unwrap().len(), 1);
    assert_eq!(oplog.store.quarantine_alarms().unwrap(), 2);
}

#[tokio::test]
async fn a_skip_silences_the_alarm_and_nothing_else() {
    let oplog = running().await;
    let number = oplog.admit(vec![b"garbage".to_vec()]).await.quarantined[0];
    oplog.skip(number).await.unwrap();
    assert_eq!(oplog.store.quarantine_alarms().unwrap(), 0);
    assert!(oplog.store.quarantined(0, 10).unwrap()[0].skipped);
    assert!(matches!(oplog.skip(number + 1).await, Err(AppendError::Refused(_))));
    assert!(matches!(oplog.retry(number + 1).await, Err(AppendError::Refused(_))));
    assert_eq!(oplog.retry(number).await.unwrap().quarantined, vec![number], "it is still garbage");
}

#[tokio::test]
async fn a_retry_judges_again_and_a_good_copy_frees_the_bad_one() {
    let oplog = running().await;
    let (mara, leo, mut known) = (person("Mara"), person("Leo"), Knowledge::default());
    let begins = known.bootstrap(&mara);
    let edit = known.edit(&mara);
    let other = Knowledge::default().bootstrap(&leo);
    oplog.append(&begins).await.unwrap();
    let refused = oplog.admit(vec![other.bytes().to_vec(), unsigned(&edit)]).await.quarantined;
    assert_eq!(refused.len(), 2);
    for number in &refused {
        assert_eq!(oplog.retry(*number).await.unwrap().appended, 0);
    }
    oplog.admit(bytes(&[&edit])).await;
    assert_eq!(oplog.store.quarantined(0, 10).unwrap().len(), 1, "only the other beginning is left");
}

/// Breaks the stored bytes of a bundle behind the engine's back, as a failing disk would.
fn damage(disk: &MemoryDisk, at: Position, bytes: &[u8]) {
    struct Wrapped(Box<dyn redb::StorageBackend>);
    impl std::fmt::Debug for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Wrapped")
        }
    }
    impl redb::StorageBackend for Wrapped {
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> std::io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            self.0.write(offset, data)
        }
    }
    let database = redb::Builder::new().create_with_backend(Wrapped(disk.open())).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(BUNDLES).unwrap().insert(at.0, bytes).unwrap();
    txn.commit().unwrap();
}

async fn with_a_damaged_second() -> (Running, Knowledge, Vec<Bundle>) {
    let first = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    let bundles = vec![known.bootstrap(&mara), known.edit(&mara), known.edit(&mara)];
    for bundle in &bundles {
        first.append(bundle).await.unwrap();
    }
    let disk = first.disk.clone();
    first.address.living().unwrap().stop(None);
    first.life.await.unwrap();
    drop(first.store);
    let mut broken = bundles[1].bytes().to_vec();
    *broken.last_mut().unwrap() ^= 1;
    damage(&disk, Position(2), &broken);
    (running_on(disk, &Working::Threads).await, known, bundles)
}

#[tokio::test]
async fn a_damaged_bundle_is_told_served_around_and_replaced_by_a_good_copy() {
    let (oplog, mut known, bundles) = with_a_damaged_second().await;
    let read = oplog.store.bundles(Position(1), 10, usize::MAX).unwrap();
    let whole: Vec<bool> = read.iter().map(|(_, _, stored)| matches!(stored, Stored::Whole(_))).collect();
    assert_eq!(whole, [true, false, true], "the rest is served");
    for _ in 0..3 {
        oplog.address.cast(OplogMsg::FoundDamaged { at: Position(2), reason: "altered".into() }).unwrap();
    }
    oplog.address.cast(OplogMsg::FoundDamaged { at: Position(1), reason: "a lie".into() }).unwrap();
    oplog.address.cast(OplogMsg::FoundDamaged { at: Position(99), reason: "a lie".into() }).unwrap();
    oplog.tail().await.unwrap();
    let listed = oplog.store.quarantined(0, 10).unwrap();
    assert_eq!(listed.len(), 1, "once");
    assert_eq!((listed[0].source.as_str(), listed[0].reason.as_str()), ("log position 2", "altered"));
    assert_eq!(listed[0].digest, Some(bundles[1].digest()));
    assert!(oplog.retry(listed[0].number).await.unwrap().quarantined == vec![listed[0].number]);

    oplog.append(&known.edit(&person("Mara"))).await.unwrap();
    let admitted = oplog.admit(bytes(&[&bundles[1]])).await;
    assert_eq!((admitted.known, admitted.appended), (1, 0));
    assert_eq!(oplog.store.quarantined(0, 10).unwrap().len(), 0);
    assert_eq!(check_log(&oplog.store).len(), 4);
}
