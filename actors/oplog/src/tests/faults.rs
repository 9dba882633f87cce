//! Disks that fill up, fail and heal: writes are refused with the reason, reads go on, nothing acknowledged is lost.

use openprod_messages::log::LogReader;
use openprod_messages::oplog::{AppendError, OplogMsg};
use openprod_model::bundle::Bundle;
use openprod_model::identity::Keys;
use openprod_model::ids::Position;
use openprod_model::operation::{Basis, Operation};
use openprod_model::value::{Name, Text, Value};
use redb::{ReadableDatabase, TableDefinition};

use super::kit::{
    Knowledge, MemoryDisk, Running, Trouble, Working, bytes, check_log, command, person, running, running_on,
};

async fn with_history(bundles: usize) -> (Running, Keys, Knowledge, Vec<Bundle>) {
    let oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    let all: Vec<Bundle> =
        (0..bundles).map(|n| if n == 0 { known.bootstrap(&mara) } else { known.edit(&mara) }).collect();
    let asked: Vec<_> = all.iter().map(|bundle| oplog.ask_append(bundle, command())).collect();
    for asked in asked {
        asked.answer().await.unwrap().unwrap();
    }
    (oplog, mara, known, all)
}

fn reads_go_on(oplog: &Running, all: &[Bundle]) {
    assert_eq!(oplog.store.tail().unwrap().position, Position(all.len() as u64));
    assert_eq!(check_log(&oplog.store).len(), all.len());
}

/// What redb does, and why the store opens it again: after a failed commit it goes on serving what is in its cache,
/// and refuses the rest until it is opened anew.
#[test]
fn the_engine_latches_after_a_failed_write() {
    const TABLE: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("t");
    let disk = MemoryDisk::default();
    let database = redb::Builder::new().set_cache_size(0).create_with_backend(disk.clone()).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(TABLE).unwrap().insert(1, &[1; 100][..]).unwrap();
    txn.commit().unwrap();
    let read = || -> Result<bool, redb::Error> { Ok(database.begin_read()?.open_table(TABLE)?.get(1)?.is_some()) };
    assert!(read().unwrap());
    disk.has(Trouble::Full, 0);
    let txn = database.begin_write().unwrap();
    txn.open_table(TABLE).unwrap().insert(2, &[1; 100][..]).unwrap();
    assert!(txn.commit().is_err());
    disk.heals();
    assert!(matches!(read(), Err(redb::Error::PreviousIo)), "reads fail though the disk is well again");
    assert!(matches!(database.begin_write(), Err(redb::TransactionError::Storage(redb::StorageError::PreviousIo))));
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_nothing_else_until_there_is_space() {
    for trouble in [Trouble::Full, Trouble::WriteError, Trouble::SyncError] {
        for after in [0, 1, 3] {
            let (oplog, mara, mut known, mut all) = with_history(100).await;
            oplog.disk.has(trouble, after);
            let refused = loop {
                let bundle = known.clone().edit(&mara);
                match oplog.append(&bundle).await {
                    Ok(_) => {
                        known.sees(&bundle);
                        all.push(bundle);
                    }
                    Err(refused) => break refused,
                }
            };
            assert!(
                matches!(refused, AppendError::Disk { full, .. } if full == (trouble == Trouble::Full)),
                "{refused:?}"
            );
            // Under SyncError the failed bundle may or may not be there; with the others it is not.
            if trouble != Trouble::SyncError {
                reads_go_on(&oplog, &all);
                let again = oplog.append(&known.clone().edit(&mara)).await;
                assert!(matches!(again, Err(AppendError::Disk { .. })), "{trouble:?} goes on: {again:?}");
                assert!(matches!(
                    oplog.try_admit(bytes(&[&known.clone().edit(&mara)])).await,
                    Err(AppendError::Disk { .. })
                ));
                reads_go_on(&oplog, &all);
            }
            oplog.disk.heals();
            let tail = oplog.tail().await.unwrap();
            known.heads = tail.heads;
            known.hlc = tail.hlc;
            known.prev.insert(mara.actor(), oplog.store.prev_of(mara.actor()).unwrap().unwrap());
            oplog.append(&known.edit(&mara)).await.unwrap();
            let stored = check_log(&oplog.store);
            assert!(all.iter().all(|bundle| stored.contains(&bundle.digest())), "I-1");
        }
    }
}

/// As a file system that is full refuses to give a file more room, but takes writes where it has some.
#[tokio::test]
async fn a_disk_that_gives_no_more_room_takes_what_fits() {
    let (oplog, mara, mut known, mut all) = with_history(10).await;
    oplog.disk.has(Trouble::CannotGrow, 0);
    loop {
        let before = known.clone();
        let bundle = known.write(&mara, &large());
        match oplog.append(&bundle).await {
            Ok(_) => all.push(bundle),
            Err(error) => {
                assert!(matches!(error, AppendError::Disk { full: true, .. }), "{error:?}");
                // Whether it was written before the disk said so is unknown to whoever asked.
                if oplog.holds(&bundle) {
                    all.push(bundle);
                } else {
                    known = before;
                }
                break;
            }
        }
        assert!(all.len() < 1_000, "the disk never filled up");
    }
    reads_go_on(&oplog, &all);
    let small = known.edit(&mara);
    oplog.append(&small).await.unwrap();
    oplog.disk.heals();
    oplog.append(&known.write(&mara, &large())).await.unwrap();
    assert_eq!(check_log(&oplog.store).len(), all.len() + 2);
}

fn large() -> Vec<Operation> {
    let value = Some(Value::Text(Text::new(&"x".repeat(60_000)).unwrap()));
    let setting = Name::new("colour").unwrap();
    vec![Operation::PutSetting { setting, value, basis: Basis::default() }; 4]
}

/// I-6 under I/O errors: what is unknown, the receipt knows.
#[tokio::test]
async fn after_an_unknown_outcome_a_retry_with_the_same_command_acts_once() {
    for after in 0..12 {
        let (oplog, mara, mut known, _) = with_history(20).await;
        oplog.disk.has(Trouble::WriteError, after);
        let (id, bundle) = (command(), known.edit(&mara));
        let first = oplog.ask_append(&bundle, id).answer().await.unwrap();
        oplog.disk.heals();
        let again = oplog.ask_append(&bundle, id).answer().await.unwrap();
        assert_eq!(again, Ok(Position(21)), "after {after}: first {first:?}");
        assert_eq!(check_log(&oplog.store).len(), 21);
        assert_eq!(oplog.store.receipt(id).unwrap().unwrap().0, Position(21));
    }
}

/// Who asked was told that it failed, and goes home.
#[tokio::test(start_paused = true)]
async fn what_is_there_though_it_failed_is_told_though_nobody_asks_again() {
    let mut written = 0;
    for after in 0..4 {
        let oplog = running_on(MemoryDisk::default(), &Working::Inline).await;
        let (mara, mut known) = (person("Mara"), Knowledge::default());
        oplog.append(&known.bootstrap(&mara)).await.unwrap();
        oplog.disk.has(Trouble::SyncError, after);
        let bundle = known.edit(&mara);
        let is_refused = oplog.append(&bundle).await.is_err();
        oplog.disk.heals();
        if is_refused && oplog.holds(&bundle) {
            written += 1;
            let mut appended = oplog.appended.subscribe();
            appended.wait_for(|through| *through == Position(2)).await.unwrap();
        }
    }
    assert!(written > 0, "some were written, and only the disk's word for it was missing");
}

#[tokio::test]
async fn what_was_queued_behind_a_failed_commit_is_told_to_plan_again() {
    let (oplog, mara, mut known, all) = with_history(3).await;
    oplog.disk.has(Trouble::Full, 0);
    let asked: Vec<_> = (0..40).map(|_| oplog.ask_append(&known.edit(&mara), command())).collect();
    let mut stale = 0;
    for asked in asked {
        match asked.answer().await.unwrap() {
            Err(AppendError::Disk { full: true, .. }) => {}
            Err(AppendError::Stale) => stale += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(stale > 0);
    reads_go_on(&oplog, &all);
}

#[tokio::test]
async fn a_dead_disk_that_comes_back_is_read_and_written_again() {
    let (mut oplog, mara, mut known, all) = with_history(200).await;
    oplog.disk.has(Trouble::Dead, 0);
    assert!(matches!(oplog.append(&known.clone().edit(&mara)).await, Err(AppendError::Disk { full: false, .. })));
    assert!(oplog.store.tail().is_err());
    assert!(oplog.tail().await.is_err());
    oplog.killed_and_restarted().await;
    assert!(oplog.tail().await.is_err(), "it starts nevertheless, and says so");
    oplog.disk.heals();
    reads_go_on(&oplog, &all);
    oplog.append(&known.edit(&mara)).await.unwrap();
    assert_eq!(check_log(&oplog.store).len(), 201);
}

#[tokio::test]
async fn a_reader_opens_the_engine_again_by_itself_once() {
    let (oplog, _, _, all) = with_history(200).await;
    let before = oplog.disk.openings();
    oplog.disk.has(Trouble::Dead, 0);
    // A cache of 1 MiB holds all of this small log, so that the trouble is met at the next writing.
    let close = oplog.ask(|reply| OplogMsg::Skip { number: 1, reply });
    assert!(close.answer().await.unwrap().is_err());
    oplog.disk.heals();
    let store = &oplog.store;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(store.tail().unwrap().position, Position(all.len() as u64)));
        }
    });
    assert!(oplog.disk.openings() - before <= 4);
}

/// A store that was restored from an old copy, or is copied while nobody looks, is just a shorter log.
#[tokio::test]
async fn a_copy_of_the_disk_opens_as_it_was() {
    let (oplog, ..) = with_history(10).await;
    let copy = running_on(oplog.disk.copied(), &Working::Threads).await;
    assert_eq!(copy.tail().await.unwrap(), oplog.tail().await.unwrap());
}
