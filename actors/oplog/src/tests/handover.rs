//! What a removed member wrote without knowing: kept for a person where anybody hands it over, and let in where a
//! member gives it, has built on it, or takes it.

use openprod_messages::log::{Lanes, LogReader};
use openprod_messages::oplog::AppendError;
use openprod_model::bundle::Bundle;
use openprod_model::identity::Keys;

use super::kit::{Knowledge, Running, bytes, check_log, person, running};

/// Mara's log, in which she has removed Leo, and what he knows, who has not heard of it.
async fn removed() -> (Running, Knowledge, Knowledge, [Keys; 2]) {
    let oplog = running().await;
    let (mara, leo, mut known) = (person("Mara"), person("Leo"), Knowledge::default());
    let (begins, admits) = (known.bootstrap(&mara), known.admit(&mara, &leo));
    let apart = known.clone();
    let removes = known.remove(&mara, &leo);
    oplog.admit(bytes(&[&begins, &admits, &removes])).await;
    (oplog, known, apart, [mara, leo])
}

fn held(oplog: &Running) -> Vec<u64> {
    let all = oplog.store.quarantined(0, 100).unwrap().into_iter();
    all.filter(|one| one.held).map(|one| one.number).collect()
}

#[tokio::test]
async fn it_is_kept_until_a_person_takes_it_and_what_it_builds_on_comes_along() {
    let (oplog, _, mut apart, [_, leo]) = removed().await;
    let written: Vec<Bundle> = (0..3).map(|_| apart.edit(&leo)).collect();
    let all = bytes(&written.iter().collect::<Vec<_>>());
    let admitted = oplog.is_handed(all.clone()).await;
    assert_eq!((admitted.appended, admitted.kept_for_people, admitted.waiting), (0, 3, 0));
    assert_eq!(held(&oplog), admitted.quarantined);
    assert!(oplog.reasons()[0].contains("was removed meanwhile"), "{:?}", oplog.reasons());
    // Handed over again, or tried again, it is still for a person to decide.
    assert_eq!(oplog.is_handed(all).await.quarantined, admitted.quarantined);
    assert_eq!(oplog.retry(admitted.quarantined[0]).await.unwrap().appended, 0);
    assert_eq!(oplog.take(admitted.quarantined[1]).await.unwrap().appended, 2);
    assert_eq!(held(&oplog), admitted.quarantined[2..]);
    assert_eq!(oplog.take(admitted.quarantined[2]).await.unwrap().appended, 1);
    assert!(matches!(oplog.take(admitted.quarantined[2]).await, Err(AppendError::Refused(_))));
    assert_eq!((held(&oplog), check_log(&oplog.store).len()), (vec![], 6));
}

#[tokio::test]
async fn what_a_member_gives_or_has_built_on_is_let_in() {
    let (oplog, known, mut apart, [mara, leo]) = removed().await;
    let (first, second) = (apart.edit(&leo), apart.edit(&leo));
    assert_eq!(oplog.is_handed(bytes(&[&first])).await.kept_for_people, 1);
    let mut elsewhere = known;
    elsewhere.sees(&first);
    let built_on = elsewhere.edit(&mara);
    assert_eq!(oplog.is_handed(bytes(&[&built_on, &second])).await.appended, 2, "the first, and what Mara built on it");
    assert_eq!(held(&oplog).len(), 1);
    assert_eq!(oplog.admit(bytes(&[&second])).await.appended, 1);
    assert!(held(&oplog).is_empty());
}

/// Leo lets Sam in while he is being removed, and forges a word of Mara's that builds on both.
#[tokio::test]
async fn nobody_whom_the_removed_let_in_and_no_forgery_vouches_for_it() {
    let (oplog, _, mut apart, [mara, leo]) = removed().await;
    let sam = person("Sam");
    let (lets_in, by_sam) = (apart.admit(&leo, &sam), apart.edit(&sam));
    let forged = super::kit::unsigned(&apart.clone().edit(&mara));
    let mut all = bytes(&[&lets_in, &by_sam]);
    all.push(forged);
    let admitted = oplog.is_handed(all).await;
    assert_eq!((admitted.appended, admitted.kept_for_people, admitted.waiting), (0, 1, 1), "{:?}", oplog.reasons());
    // Sam is nobody until a person lets in what Leo wrote.
    let number = held(&oplog)[0];
    assert_eq!(oplog.take(number).await.unwrap().appended, 2);
    assert_eq!(oplog.store.waiting(0, 10).unwrap(), []);
}

#[tokio::test]
async fn whoever_takes_in_a_whole_workspace_takes_in_its_past() {
    let (mara, leo, mut known) = (person("Mara"), person("Leo"), Knowledge::default());
    let (begins, admits) = (known.bootstrap(&mara), known.admit(&mara, &leo));
    let unaware = known.clone().edit(&leo);
    let removes = known.remove(&mara, &leo);
    let admitted = running().await.is_handed(bytes(&[&begins, &admits, &removes, &unaware])).await;
    assert_eq!((admitted.appended, admitted.kept_for_people), (4, 0));
}
