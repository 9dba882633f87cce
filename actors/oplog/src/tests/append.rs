//! Own bundles: group commit, command ids, staleness, membership.

use std::sync::Arc;

use openprod_messages::log::{Lanes, LogReader, Stored};
use openprod_messages::oplog::{AppendError, OplogMsg};
use openprod_model::bundle::{BundleKind, Draft, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::ids::{Position, WorkspaceId};
use openprod_model::refusal::Reason;

use super::kit::{
    Asked, Gate, Knowledge, MemoryDisk, WORKSPACE, Working, append_of, check_log, command, edit, person, running,
    running_on,
};

fn reason<T>(result: Result<T, AppendError>) -> Reason {
    match result {
        Err(AppendError::Refused(refusal)) => refusal.reason,
        Err(other) => panic!("not refused but {other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

/// I-1, I-2: a thousand appends in flight keep their order and are all there; facts carry the positions.
#[tokio::test]
async fn what_queues_during_a_commit_is_committed_together_and_in_order() {
    let oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    let mut asked = vec![oplog.ask_append(&known.bootstrap(&mara), command())];
    for _ in 0..999 {
        asked.push(oplog.ask_append(&known.edit(&mara), command()));
    }
    for (at, asked) in (1..).zip(asked) {
        assert_eq!(asked.answer().await.unwrap(), Ok(Position(at)));
    }
    let tail = oplog.tail().await.unwrap();
    assert_eq!(tail.position, Position(1_000));
    assert_eq!(tail, oplog.store.tail().unwrap());
    assert_eq!(*oplog.appended.borrow(), Position(1_000));
    check_log(&oplog.store);
    let heard = oplog.heard.lock().unwrap().clone();
    assert!(heard.len() < 500, "a commit serves many: {}", heard.len());
    assert!(heard.is_sorted());
    assert!(oplog.store.bytes_on_disk() > 0);
}

/// I-6.
#[tokio::test]
async fn a_command_id_acts_once_queued_or_stored() {
    let oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    oplog.append(&known.bootstrap(&mara)).await.unwrap();
    let id = command();
    let first = known.edit(&mara);
    let asked = [oplog.ask_append(&first, id), oplog.ask_append(&first, id), oplog.ask_append(&first, id)];
    for asked in asked {
        assert_eq!(asked.answer().await.unwrap(), Ok(Position(2)));
    }
    // A retry planned anew is another bundle, and still the same command.
    assert_eq!(oplog.ask_append(&known.edit(&mara), id).answer().await.unwrap(), Ok(Position(2)));
    assert_eq!(oplog.tail().await.unwrap().position, Position(2));
    let (position, receipt) = oplog.store.receipt(id).unwrap().unwrap();
    assert_eq!((position, receipt.answer), (Position(2), b"answer".to_vec()));

    let mut other = append_of(&known.edit(&mara), id);
    other.receipt.payload = [9; 32];
    let asked = oplog.ask(|reply| OplogMsg::Append { append: Box::new(other), reply });
    assert_eq!(reason(asked.answer().await.unwrap()), Reason::CommandIdReused);
}

/// I-1: neither a bundle nor a retry of its command is acknowledged before its commit.
#[tokio::test]
async fn nothing_is_acknowledged_before_its_commit_and_all_that_queued_shares_the_next() {
    let gate = Gate::default();
    let oplog = running_on(MemoryDisk::default(), &Working::Behind(gate.clone())).await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    oplog.append(&known.bootstrap(&mara)).await.unwrap();
    gate.closes();
    let (id, first) = (command(), known.edit(&mara));
    let mut asked = vec![oplog.ask_append(&first, id), oplog.ask_append(&first, id)];
    asked.extend((0..50).map(|_| oplog.ask_append(&known.edit(&mara), command())));
    asked.push(oplog.ask_append(&first, id));
    let mut tail = oplog.ask(|reply| OplogMsg::Tail { reply });
    assert!(oplog.skip(99).await.is_err(), "behind all of them in the mailbox, and answered at once");
    assert!(asked.iter_mut().all(Asked::is_open) && tail.is_open());
    assert_eq!(*oplog.appended.borrow(), Position(1));
    gate.opens();
    for asked in asked {
        asked.answer().await.unwrap().unwrap();
    }
    assert_eq!(tail.answer().await.unwrap().unwrap().position, Position(52));
    let heard = oplog.heard.lock().unwrap().clone();
    assert!([&[Position(1), Position(2), Position(52)][..], &[Position(1), Position(2)]].contains(&&heard[..]));
}

#[tokio::test]
async fn receipts_are_forgotten_after_a_day_a_few_per_commit() {
    let oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    let id = command();
    oplog.ask_append(&known.bootstrap(&mara), id).answer().await.unwrap().unwrap();
    let day = 24 * 60 * 60 * 1000;
    oplog.clock.0.fetch_add(day, std::sync::atomic::Ordering::Relaxed);
    oplog.append(&known.edit(&mara)).await.unwrap();
    assert!(oplog.store.receipt(id).unwrap().is_some(), "remembered for a day");
    oplog.clock.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    oplog.append(&known.edit(&mara)).await.unwrap();
    assert!(oplog.store.receipt(id).unwrap().is_none(), "and no longer");
}

#[tokio::test]
async fn a_bundle_planned_on_another_log_is_stale() {
    let oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    oplog.append(&known.bootstrap(&mara)).await.unwrap();
    let mut elsewhere = known.clone();
    oplog.append(&known.edit(&mara)).await.unwrap();
    let behind = elsewhere.edit(&mara);
    assert_eq!(oplog.append(&behind).await, Err(AppendError::Stale), "its prev is not the last");
    let mut ahead = known.clone();
    let unknown = ahead.edit(&mara);
    let draft = Draft { prev: known.prev.get(&mara.actor()).copied(), ..ahead.draft(&mara, &[edit()]) };
    assert!(draft.parents.contains(&unknown.digest()));
    assert_eq!(oplog.append(&draft.seal(&mara).unwrap()).await, Err(AppendError::Stale), "a parent is missing");
    oplog.append(&known.edit(&mara)).await.unwrap();
    check_log(&oplog.store);
}

/// I-7, I-8, I-12.
#[tokio::test]
async fn own_bundles_that_break_the_laws_are_refused() {
    let oplog = running().await;
    let (mara, leo, mut known) = (person("Mara"), person("Leo"), Knowledge::default());
    assert_eq!(reason(oplog.append(&Knowledge::default().edit(&mara)).await), Reason::BadBundle, "no beginning");
    oplog.append(&known.bootstrap(&mara)).await.unwrap();
    assert_eq!(reason(oplog.append(&known.clone().edit(&leo)).await), Reason::NotAMember);
    let again = known.bootstrap_draft(&mara).seal(&mara).unwrap();
    assert_eq!(reason(oplog.append(&again).await), Reason::BadBundle, "a second beginning");

    let draft = known.draft(&mara, &[edit()]);
    let early = Draft { stamp: Stamp { hlc: Hlc::ZERO, ..draft.stamp }, ..draft.clone() };
    assert_eq!(reason(oplog.append(&early.seal(&mara).unwrap()).await), Reason::BadBundle, "I-8");
    let workspace = WorkspaceId::from_bytes([8; 16]);
    assert_ne!(workspace, WORKSPACE);
    let foreign = Draft { stamp: Stamp { workspace, ..draft.stamp }, ..draft.clone() };
    assert_eq!(reason(oplog.append(&foreign.seal(&mara).unwrap()).await), Reason::BadBundle, "I-12");
    let posing = Draft { kind: BundleKind::BOOTSTRAP, ..draft };
    assert_eq!(reason(oplog.append(&posing.seal(&mara).unwrap()).await), Reason::BadBundle);

    oplog.append(&known.admit(&mara, &leo)).await.unwrap();
    oplog.append(&known.edit(&leo)).await.unwrap();
    oplog.append(&known.remove(&leo, &mara)).await.unwrap();
    assert_eq!(reason(oplog.append(&known.clone().edit(&mara)).await), Reason::NotAMember);
    assert_eq!(check_log(&oplog.store).len(), 4);
}

#[tokio::test]
async fn the_tail_waits_for_what_was_queued_before_it_and_close_for_everything() {
    let oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    oplog.append(&known.bootstrap(&mara)).await.unwrap();
    let appends: Vec<_> = (0..50).map(|_| oplog.ask_append(&known.edit(&mara), command())).collect();
    let tail = oplog.ask(|reply| OplogMsg::Tail { reply });
    let close = oplog.ask(|reply| OplogMsg::Close { reply });
    assert_eq!(tail.answer().await.unwrap().unwrap().position, Position(51));
    close.answer().await.unwrap();
    for append in appends {
        append.answer().await.unwrap().unwrap();
    }
    assert!(matches!(oplog.append(&known.edit(&mara)).await, Err(AppendError::Disk { full: false, .. })));
    assert_eq!(check_log(&oplog.store).len(), 51);
}

#[tokio::test]
async fn everything_works_with_the_writer_inline() {
    let oplog = running_on(MemoryDisk::default(), &Working::Inline).await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    let asked: Vec<_> =
        [known.bootstrap(&mara), known.edit(&mara)].iter().map(|bundle| oplog.ask_append(bundle, command())).collect();
    for asked in asked {
        asked.answer().await.unwrap().unwrap();
    }
    let far = known.edit(&mara);
    assert_eq!(oplog.admit(vec![far.bytes().to_vec()]).await.appended, 1);
    assert_eq!(check_log(&oplog.store).len(), 3);
}

/// I-1: whatever was acknowledged is there; the next incarnation continues where the store ends.
#[tokio::test]
async fn killed_between_any_two_messages_it_goes_on_from_the_store() {
    let mut oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    oplog.append(&known.bootstrap(&mara)).await.unwrap();
    for round in 0..30_u64 {
        let asked: Vec<_> = (0..20)
            .map(|_| {
                let bundle = known.edit(&mara);
                (bundle.clone(), oplog.ask_append(&bundle, command()))
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_micros(150 * round)).await;
        oplog.killed_and_restarted().await;
        let tail = oplog.tail().await.unwrap();
        for (bundle, asked) in asked {
            if let Some(Ok(position)) = asked.answer().await {
                assert_eq!(oplog.store.position_of(bundle.digest()).unwrap(), Some(position));
            }
        }
        // What a commands room does: it drops its plans and goes on from the tail.
        known.heads = tail.heads;
        known.prev.insert(mara.actor(), oplog.store.prev_of(mara.actor()).unwrap().unwrap());
        oplog.append(&known.edit(&mara)).await.unwrap();
    }
    check_log(&oplog.store);
}

#[tokio::test]
async fn what_was_appended_a_moment_ago_is_shared_and_what_lies_on_the_disk_is_read_each_time() {
    let oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    for bundle in [known.bootstrap(&mara), known.edit(&mara)] {
        oplog.append(&bundle).await.unwrap();
    }
    let shared = || oplog.store.bundles(Position(1), 10, usize::MAX).unwrap();
    let on_disk = || oplog.store.bundles_on_disk(Position(1), 10, usize::MAX).unwrap();
    let same = |one: &Stored, other: &Stored| match (one, other) {
        (Stored::Whole(one), Stored::Whole(other)) => (Arc::ptr_eq(one, other), one.bytes() == other.bytes()),
        _ => panic!("a damaged bundle"),
    };
    for ((one, other), stored) in shared().iter().zip(shared()).zip(on_disk()) {
        assert_eq!((one.0, &one.1, same(&one.2, &other.2)), (other.0, &other.1, (true, true)));
        assert_eq!((one.0, &one.1, same(&one.2, &stored.2)), (stored.0, &stored.1, (false, true)));
    }
    assert_eq!((shared().len(), on_disk().len()), (2, 2));
    assert_eq!(oplog.store.bundles(Position(1), 10, 1).unwrap().len(), 1, "one, however large");
    assert_eq!(oplog.store.entries(Position(2), 10).unwrap(), [(Position(2), shared()[1].1.clone())]);
    assert_eq!(oplog.store.placed(Position(2), 10).unwrap()[0].entry, shared()[1].1);
}
