//! Files: opening, refusing, backing up, and saving what can be saved.

use std::fs;
use std::path::PathBuf;

use openprod_messages::log::LogReader;
use openprod_messages::oplog::{AppendError, Hands};
use openprod_model::bundle::Bundle;
use openprod_model::ids::{Position, WorkspaceId};
use tempfile::TempDir;

use super::kit::{Dice, Knowledge, OPTIONS, WORKSPACE, check_log, person, running};
use crate::logic::admission::{Admission, Candidate, Origin};
use crate::logic::batch::Batch;
use crate::store::{BackupError, LogStore, OpenError, salvage};
use crate::tables::{End, FORMAT, META, META_FORMAT};

/// A log in a file with that many bundles, closed.
fn a_log(bundles: usize) -> (TempDir, PathBuf, Vec<Bundle>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.redb");
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    let all: Vec<Bundle> =
        (0..bundles).map(|n| if n == 0 { known.bootstrap(&mara) } else { known.edit(&mara) }).collect();
    let store = LogStore::open_file(&path, WORKSPACE, OPTIONS).unwrap();
    let writer = store.writer();
    let mut ledger = writer.ledger().unwrap();
    let candidates = all.iter().map(|bundle| Candidate::read(bundle.bytes().to_vec())).collect();
    let origin = Origin { source: "test".into(), hands: Hands::Members, now_ms: 1 };
    let mut admission = Admission::begin(&mut ledger, &*store, candidates, origin).unwrap();
    let answers = admission.wanted().into_iter().map(|wanted| (wanted, true)).collect();
    admission.verified(answers);
    let (_, unit) = admission.finish(&mut ledger, &*store).unwrap();
    writer.commit(&Batch { base: End::EMPTY, changes: unit.changes, end: unit.end, now_ms: 1 }).unwrap();
    drop(writer);
    drop(store);
    (folder, path, all)
}

/// What the dead incarnation's writer still had in hand is never written behind the back of the next.
#[test]
fn only_the_newest_writer_writes() {
    let (_folder, path, _) = a_log(3);
    let store = LogStore::open_file(&path, WORKSPACE, OPTIONS).unwrap();
    let dead = store.writer();
    let base = dead.ledger().unwrap().end();
    let living = store.writer();
    let batch = Batch { base, changes: Vec::new(), end: base, now_ms: 1 };
    assert_eq!(dead.commit(&batch), Err(AppendError::Stale));
    assert!(matches!(dead.ledger(), Err(AppendError::Stale)));
    assert_eq!(living.commit(&batch).unwrap(), store.tail().unwrap());
    let elsewhere = Batch { base: End::EMPTY, ..batch };
    assert_eq!(living.commit(&elsewhere), Err(AppendError::Stale), "made for another log");
}

fn open_error(path: &PathBuf, workspace: WorkspaceId) -> OpenError {
    LogStore::open_file(path, workspace, OPTIONS).unwrap_err()
}

#[test]
fn a_log_opens_once_for_its_own_workspace_and_in_a_format_that_is_known() {
    let (_folder, path, _) = a_log(3);
    let open = LogStore::open_file(&path, WORKSPACE, OPTIONS).unwrap();
    assert_eq!(open_error(&path, WORKSPACE), OpenError::AlreadyOpen);
    drop(open);
    let other = WorkspaceId::from_bytes([8; 16]);
    assert_eq!(open_error(&path, other), OpenError::OtherWorkspace { found: WORKSPACE }, "I-12");
    let database = redb::Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(META_FORMAT, &(FORMAT + 1).to_le_bytes()[..]).unwrap();
    txn.commit().unwrap();
    drop(database);
    assert_eq!(open_error(&path, WORKSPACE), OpenError::FromTheFuture { found: FORMAT + 1, known: FORMAT });
}

#[test]
fn what_is_not_a_log_is_said_to_be_damaged() {
    let (folder, path, _) = a_log(3);
    let other = folder.path().join("other");
    fs::write(&other, vec![b'x'; 10_000]).unwrap();
    let error = open_error(&other, WORKSPACE);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    fs::write(&other, &fs::read(&path).unwrap()[..5_000]).unwrap();
    let error = open_error(&other, WORKSPACE);
    assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Io(_)), "{error:?}");
    assert!(matches!(open_error(&folder.path().join("no/such/folder"), WORKSPACE), OpenError::Io(_)));
}

#[test]
fn a_file_whose_making_was_cut_short_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.redb");
    for header in [0, 9, 320, 4_096] {
        let mut bytes = vec![0; 100_000];
        bytes[..header].fill(1);
        fs::write(&path, bytes).unwrap();
        let store = LogStore::open_file(&path, WORKSPACE, OPTIONS).unwrap();
        assert_eq!(store.tail().unwrap().position, Position::ZERO);
    }
}

#[test]
fn a_backup_is_the_log_as_it_was_and_overwrites_nothing() {
    let (folder, path, all) = a_log(200);
    let store = LogStore::open_file(&path, WORKSPACE, OPTIONS).unwrap();
    let copy = folder.path().join("backup.redb");
    let backup = store.backup_to(&copy).unwrap();
    assert_eq!((backup.through, backup.damaged.len()), (Position(200), 0));
    assert_eq!(backup.bytes, fs::metadata(&copy).unwrap().len());
    assert_eq!(store.backup_to(&copy), Err(BackupError::Exists));
    let opened = LogStore::open_file(&copy, WORKSPACE, OPTIONS).unwrap();
    assert_eq!(opened.tail().unwrap(), store.tail().unwrap());
    assert_eq!(check_log(&opened), all.iter().map(Bundle::digest).collect::<Vec<_>>());
    assert!(matches!(store.backup_to(&folder.path().join("no/such")), Err(BackupError::Failed(_))));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half is left");
}

#[tokio::test]
async fn a_backup_can_be_made_while_the_log_grows() {
    let oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    oplog.append(&known.bootstrap(&mara)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = (oplog.store.clone(), folder.path().join("backup.redb"));
    let backup = std::thread::spawn(move || store.backup_to(&path));
    for _ in 0..50 {
        oplog.append(&known.edit(&mara)).await.unwrap();
    }
    assert!(backup.join().unwrap().unwrap().through >= Position(1));
}

#[test]
fn a_whole_log_is_saved_whole_and_left_untouched() {
    let (_folder, path, all) = a_log(50);
    let before = fs::read(&path).unwrap();
    let saved = salvage(&path).unwrap();
    assert_eq!(saved.problems, Vec::<String>::new());
    assert_eq!(
        saved.bundles.iter().map(Bundle::digest).collect::<Vec<_>>(),
        all.iter().map(Bundle::digest).collect::<Vec<_>>()
    );
    assert!(before == fs::read(&path).unwrap());
}

#[test]
fn of_a_log_that_does_not_open_the_bundles_are_found_in_its_bytes() {
    let (_folder, path, all) = a_log(100);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..4096].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert!(LogStore::open_file(&path, WORKSPACE, OPTIONS).is_err());
    fs::write(&path, &bytes).unwrap();
    let saved = salvage(&path).unwrap();
    assert!(!saved.problems.is_empty());
    assert_eq!(saved.bundles.len(), all.len());
    assert!(fs::read(&path).unwrap() == bytes, "the file is not changed");
}

#[test]
fn of_a_log_with_holes_everything_else_is_found_and_nothing_wrong() {
    let mut dice = Dice(4);
    let (_folder, path, all) = a_log(100);
    let whole = fs::read(&path).unwrap();
    let mut least = all.len();
    for _ in 0..40 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            let at = dice.below(bytes.len() - 600);
            bytes[at..at + 600].fill(dice.roll() as u8);
        }
        bytes.truncate(if dice.one_in(4) { dice.below(bytes.len()) } else { bytes.len() });
        fs::write(&path, &bytes).unwrap();
        let saved = salvage(&path).unwrap();
        least = least.min(saved.bundles.len());
        for bundle in &saved.bundles {
            assert!(all.iter().any(|known| known.digest() == bundle.digest()));
        }
    }
    assert!(least < all.len(), "some hole hit something");
}
