//! Bundles from elsewhere: what is let in, what waits, what is put into quarantine.

use openprod_messages::log::{Lanes, LogReader, member_ops_before};
use openprod_messages::oplog::{Admitted, Hands, OplogMsg};
use openprod_model::bundle::{Bundle, BundleKind, Draft, Stamp};
use openprod_model::clock::{Hlc, LATEST_WALL_MS};
use openprod_model::ids::{Position, WorkspaceId};

use super::kit::{Dice, Knowledge, Running, bytes, check_log, edit, person, running, unsigned};
use crate::store::MAX_WAITING;

async fn founded() -> (Running, Knowledge) {
    let oplog = running().await;
    let mut known = Knowledge::default();
    oplog.append(&known.bootstrap(&person("Mara"))).await.unwrap();
    (oplog, known)
}

fn counts(admitted: &Admitted) -> (u64, u64, usize, u64) {
    (admitted.appended, admitted.known, admitted.quarantined.len(), admitted.waiting)
}

#[tokio::test]
async fn a_whole_log_comes_in_from_elsewhere_once_in_any_order() {
    let oplog = running().await;
    let (mara, leo, mut known) = (person("Mara"), person("Leo"), Knowledge::default());
    let mut all = vec![known.bootstrap(&mara), known.admit(&mara, &leo)];
    all.extend((0..60).map(|n| known.edit(if n % 3 == 0 { &leo } else { &mara })));
    let mut shuffled: Vec<Vec<u8>> = all.iter().map(|bundle| bundle.bytes().to_vec()).collect();
    let mut dice = Dice(1);
    for n in (1..shuffled.len()).rev() {
        shuffled.swap(n, dice.below(n + 1));
    }
    let admitted = oplog.admit(shuffled.clone()).await;
    assert_eq!(counts(&admitted), (62, 0, 0, 0));
    assert_eq!(admitted.through, Position(62));
    assert_eq!(counts(&oplog.admit(shuffled).await), (0, 62, 0, 0));
    assert_eq!(check_log(&oplog.store).len(), 62);
}

/// Who was admitted concurrently is not in the past: neither as it is kept, nor as the bundles themselves tell.
#[tokio::test]
async fn what_a_bundle_knew_of_the_members_is_kept_with_it() {
    let (oplog, mut known) = founded().await;
    let (mara, leo) = (person("Mara"), person("Leo"));
    let mut apart = known.clone();
    let (here, there) = (known.admit(&mara, &leo), apart.admit(&mara, &person("Ines")));
    let (later, removal) = (apart.edit(&mara), known.remove(&mara, &leo));
    oplog.admit(bytes(&[&here, &there, &later, &removal])).await;
    let ops = |bundle: &Bundle| {
        let at = oplog.store.position_of(bundle.digest()).unwrap().unwrap();
        let kept = oplog.store.member_ops_known(at).unwrap();
        assert_eq!(kept, member_ops_before(&*oplog.store, at).unwrap());
        kept
    };
    let [admission, elsewhere] = [&here, &there].map(|bundle| bundle.ops()[0].reference);
    assert!(ops(&removal).contains(&admission) && !ops(&removal).contains(&elsewhere));
    assert!(ops(&later).contains(&elsewhere) && !ops(&later).contains(&admission));
    assert!(oplog.store.member_ops_known(Position(99)).unwrap().is_empty());
}

/// I-7.
#[tokio::test]
async fn what_lacks_a_parent_waits_until_it_comes() {
    let (oplog, mut known) = founded().await;
    let mara = person("Mara");
    let (first, second, third) = (known.edit(&mara), known.edit(&mara), known.edit(&mara));
    let admitted = oplog.admit(bytes(&[&third, &second])).await;
    assert_eq!((counts(&admitted), &*admitted.missing), ((0, 0, 0, 2), &[first.digest()][..]));
    assert_eq!((&*admitted.held, &*admitted.unheld), (&[][..], &[0, 1][..]));
    let waiting = oplog.store.waiting(0, 10).unwrap();
    let told: Vec<_> = waiting.iter().map(|waiting| (waiting.digest, waiting.missing.clone())).collect();
    assert_eq!(told, [(second.digest(), vec![first.digest()]), (third.digest(), vec![second.digest()])]);
    assert_eq!(waiting[0].source, "a file");
    // Told again, they are kept once; and what is here already is not asked for.
    let admitted = oplog.admit(bytes(&[&third])).await;
    assert_eq!((counts(&admitted), admitted.missing), ((0, 0, 0, 1), vec![]));
    assert_eq!(oplog.store.waiting(0, 10).unwrap().len(), 2);
    let admitted = oplog.admit(bytes(&[&first])).await;
    let held: Vec<_> = admitted.held.iter().map(|held| held.digest).collect();
    assert_eq!((counts(&admitted), held), ((3, 0, 0, 0), vec![first.digest()]));
    assert!(oplog.holds(&second) && oplog.holds(&third));
    assert_eq!(oplog.store.waiting(0, 10).unwrap(), []);
    assert_eq!(oplog.store.quarantine_alarms().unwrap(), 0);
}

/// Its parent comes while the disk is still busy with keeping it.
#[tokio::test]
async fn what_waits_is_known_before_it_is_written() {
    let (oplog, mut known) = founded().await;
    let mara = person("Mara");
    let (first, second) = (known.edit(&mara), known.edit(&mara));
    let offer = |bundle: &Bundle| {
        let bundles = bytes(&[bundle]);
        oplog.ask(|reply| OplogMsg::Admit { bundles, source: "a file".into(), hands: Hands::Members, reply })
    };
    let (one, other) = (offer(&second), offer(&first));
    assert_eq!(one.answer().await.unwrap().unwrap().waiting, 1);
    assert_eq!(other.answer().await.unwrap().unwrap().appended, 2);
    assert_eq!(oplog.store.waiting(0, 10).unwrap(), []);
    check_log(&oplog.store);
}

/// Wherever a run is cut, it comes in.
#[tokio::test]
async fn a_run_that_comes_in_pieces_is_vouched_for_all_the_same() {
    let (oplog, mut known) = founded().await;
    let (mara, leo) = (person("Mara"), person("Leo"));
    oplog.append(&known.admit(&mara, &leo)).await.unwrap();
    let run = [known.edit(&mara), known.edit(&mara), known.edit(&mara)];
    let (on_top, later) = (known.edit(&leo), known.edit(&mara));
    for piece in [unsigned(&run[0]), unsigned(&run[1]), unsigned(&run[2]), on_top.bytes().to_vec()] {
        assert_eq!(oplog.admit(vec![piece]).await.appended, 0);
    }
    assert_eq!(oplog.admit(bytes(&[&later])).await.appended, 5);
    assert_eq!(oplog.store.quarantine_alarms().unwrap(), 0);
    check_log(&oplog.store);
}

#[tokio::test]
async fn room_for_what_waits_is_bounded_and_the_oldest_goes_first() {
    let (oplog, mut known) = founded().await;
    let mara = person("Mara");
    known.edit(&mara);
    let orphans: Vec<Bundle> = (0..=MAX_WAITING).map(|_| known.clone().edit(&mara)).collect();
    for some in orphans.chunks(1_000) {
        oplog.admit(bytes(&some.iter().collect::<Vec<_>>())).await;
    }
    let waiting = oplog.store.waiting(0, usize::MAX).unwrap();
    assert_eq!((waiting.len() as u64, waiting[0].number), (MAX_WAITING, 2));
}

/// Every bit of a bundle is covered: by its checksums, its digest (which is its name), or its signature.
#[tokio::test]
async fn no_altered_byte_gets_in() {
    let (oplog, known) = founded().await;
    let bundle = known.clone().edit(&person("Mara"));
    let mut dice = Dice(2);
    for _ in 0..300 {
        let mut altered = bundle.bytes().to_vec();
        let at = dice.below(altered.len());
        altered[at] ^= 1 << dice.below(8);
        let admitted = oplog.admit(vec![altered]).await;
        assert_eq!(admitted.appended, 0, "byte {at}");
    }
    for length in [0, 1, 2, 9, 10, bundle.bytes().len() - 1] {
        assert_eq!(oplog.admit(vec![bundle.bytes()[..length].to_vec()]).await.appended, 0);
    }
    let longer = [bundle.bytes(), &[0][..]].concat();
    assert_eq!(oplog.admit(vec![longer]).await.quarantined.len(), 1);
    assert_eq!(oplog.admit(bytes(&[&bundle])).await.appended, 1);
    assert_eq!(check_log(&oplog.store).len(), 2);
}

#[tokio::test]
async fn a_forged_bundle_is_quarantined_and_what_builds_on_it_waits() {
    let (oplog, mut known) = founded().await;
    let (mara, leo) = (person("Mara"), person("Leo"));
    let admits_leo = known.admit(&mara, &leo);
    let forged = known.edit(&mara);
    let on_top = known.edit(&leo);
    let admitted = oplog.admit(vec![admits_leo.bytes().to_vec(), unsigned(&forged), on_top.bytes().to_vec()]).await;
    assert_eq!(counts(&admitted), (1, 0, 1, 1));
    assert!(oplog.reasons()[0].contains("signature"));
    assert!(!oplog.holds(&forged) && !oplog.holds(&on_top));
    // The first good copy takes its place, and its alarm ends.
    assert_eq!(counts(&oplog.admit(vec![unsigned(&forged), forged.bytes().to_vec()]).await), (2, 1, 0, 0));
    assert_eq!(oplog.store.quarantine_alarms().unwrap(), 0);
    assert!(oplog.holds(&on_top), "what waited for it came along");
}

/// Authentic by vouching: the author's later signature covers `prev`, and so everything it reaches.
#[tokio::test]
async fn a_later_signature_vouches_for_a_run_of_unsigned_bundles() {
    let (oplog, mut known) = founded().await;
    let mara = person("Mara");
    let run: Vec<Bundle> = (0..5).map(|_| known.edit(&mara)).collect();
    let mut offered: Vec<Vec<u8>> = run[..4].iter().map(unsigned).collect();
    assert_eq!(counts(&oplog.admit(offered.clone()).await), (0, 0, 4, 0), "nobody vouches yet");
    offered.push(unsigned(&run[4]));
    assert_eq!(oplog.admit(offered.clone()).await.appended, 0, "an unsigned one vouches for nothing");
    offered[4] = run[4].bytes().to_vec();
    assert_eq!(counts(&oplog.admit(offered).await), (5, 0, 0, 0));
    assert_eq!(oplog.store.quarantine_alarms().unwrap(), 0, "and nobody is suspected any more");
    check_log(&oplog.store);
}

#[tokio::test]
async fn only_what_is_let_in_itself_vouches() {
    let (oplog, mut known) = founded().await;
    let (mara, leo) = (person("Mara"), person("Leo"));
    oplog.append(&known.admit(&mara, &leo)).await.unwrap();
    let unsigned_one = known.edit(&leo);
    oplog.admit(bytes(&[&known.clone().edit(&mara)])).await;
    let removal = known.remove(&mara, &leo);
    let after_removal = known.edit(&leo);
    let offered = vec![unsigned(&unsigned_one), removal.bytes().to_vec(), after_removal.bytes().to_vec()];
    let admitted = oplog.admit(offered).await;
    assert!(!oplog.holds(&unsigned_one) && !oplog.holds(&after_removal));
    assert_eq!(admitted.appended, 0, "{admitted:?}");
    // Somebody else's signature vouches for nobody, though it builds on it.
    let mut known = Knowledge::default();
    let oplog = running().await;
    let start = [known.bootstrap(&mara), known.admit(&mara, &leo)];
    oplog.admit(bytes(&[&start[0], &start[1]])).await;
    let (leos, maras) = (known.edit(&leo), known.edit(&mara));
    assert_eq!(counts(&oplog.admit(vec![unsigned(&leos), maras.bytes().to_vec()]).await), (0, 0, 1, 1));
}

/// I-7: the verdict depends on the bundle's own past, never on when it comes or what else is known.
#[tokio::test]
async fn a_member_is_who_the_own_past_of_the_bundle_shows_admitted() {
    let (oplog, mut known) = founded().await;
    let (mara, leo, eve) = (person("Mara"), person("Leo"), person("Eve"));
    let stranger = known.clone().edit(&eve);
    assert_eq!(counts(&oplog.admit(bytes(&[&stranger])).await), (0, 0, 1, 0));
    assert!(oplog.reasons()[0].contains("not a member"));

    oplog.append(&known.admit(&mara, &leo)).await.unwrap();
    let mut leos = known.clone();
    oplog.append(&known.remove(&mara, &leo)).await.unwrap();
    // Written without knowing of the removal: applied, however late it comes.
    let unknowing = leos.edit(&leo);
    assert_eq!(counts(&oplog.admit(bytes(&[&unknowing])).await), (1, 0, 0, 0));
    // Written on top of the removal: not.
    let knowing = known.clone().edit(&leo);
    assert_eq!(counts(&oplog.admit(bytes(&[&knowing])).await), (0, 0, 1, 0));
    // Admitted by him whose removal is concurrent: the past of the admitted has no removal in it.
    let admits_eve = leos.admit(&leo, &eve);
    let eves = leos.edit(&eve);
    assert_eq!(counts(&oplog.admit(bytes(&[&admits_eve, &eves])).await), (2, 0, 0, 0));
    // Once both are seen, the removal stands, for Leo and for nobody else.
    known.sees(&unknowing);
    known.sees(&admits_eve);
    known.sees(&eves);
    let merged = known.edit(&mara);
    assert_eq!(oplog.admit(bytes(&[&merged])).await.appended, 1);
    assert_eq!(oplog.admit(bytes(&[&known.clone().edit(&eve)])).await.appended, 1);
    assert_eq!(oplog.admit(bytes(&[&known.clone().edit(&leo)])).await.appended, 0);
    // Admitted again, he may write again.
    let again = known.admit(&mara, &leo);
    let back = known.edit(&leo);
    assert_eq!(oplog.admit(bytes(&[&again, &back])).await.appended, 2);
    check_log(&oplog.store);
}

#[tokio::test]
async fn a_fork_of_one_actors_chain_is_kept_and_the_greater_tip_is_the_one_before() {
    let (oplog, mut known) = founded().await;
    let mara = person("Mara");
    let mut restored = known.clone();
    let (left, left_2) = (known.edit(&mara), known.edit(&mara));
    let right = restored.edit(&mara);
    assert_eq!(oplog.admit(bytes(&[&right, &left, &left_2])).await.appended, 3);
    let tail = oplog.tail().await.unwrap();
    assert_eq!(tail.heads.len(), 2);
    assert_eq!(oplog.store.prev_of(mara.actor()).unwrap(), Some(left_2.digest()));
    known.sees(&right);
    known.prev.insert(mara.actor(), left_2.digest());
    oplog.append(&known.edit(&mara)).await.unwrap();
    assert_eq!(oplog.tail().await.unwrap().heads.len(), 1);
    check_log(&oplog.store);
}

/// I-8, I-12, and the rules of beginnings.
#[tokio::test]
async fn what_breaks_the_laws_is_quarantined_with_the_reason() {
    let (oplog, known) = founded().await;
    let (mara, leo) = (person("Mara"), person("Leo"));
    let draft = known.draft(&mara, &[edit()]);
    let stamp = draft.stamp;
    let with_hlc = |hlc| Draft { stamp: Stamp { hlc, ..stamp }, ..draft.clone() };
    let other = Stamp { workspace: WorkspaceId::from_bytes([8; 16]), ..stamp };
    let by_leo = known.clone().bootstrap_draft(&leo);
    let cases = [
        (with_hlc(Hlc::ZERO).seal(&mara).unwrap(), "clock does not exceed"),
        (with_hlc(known.hlc).seal(&mara).unwrap(), "clock does not exceed"),
        (with_hlc(Hlc { ms: LATEST_WALL_MS + 1, counter: 0 }).seal(&mara).unwrap(), "2200"),
        (with_hlc(Hlc { ms: u64::MAX, counter: 0 }).seal(&mara).unwrap(), "2200"),
        (Draft { stamp: other, ..draft.clone() }.seal(&mara).unwrap(), "another workspace"),
        (Draft { kind: BundleKind::BOOTSTRAP, ..draft.clone() }.seal(&mara).unwrap(), "begun before"),
        (known.bootstrap_draft(&mara).seal(&mara).unwrap(), "begun before"),
        (Draft { parents: Vec::new(), prev: None, ..draft.clone() }.seal(&mara).unwrap(), "builds on nothing"),
        (Draft { parents: Vec::new(), prev: None, ..by_leo }.seal(&leo).unwrap(), "another beginning"),
        (known.draft(&leo, &[edit()]).seal(&leo).unwrap(), "not a member"),
        (Draft { prev: known.heads.first().copied(), ..draft.clone() }.seal(&leo).unwrap(), "somebody else's"),
    ];
    for (bundle, why) in &cases {
        let admitted = oplog.admit(bytes(&[bundle])).await;
        assert_eq!(counts(&admitted), (0, 0, 1, 0), "{why}");
        let number = admitted.quarantined[0];
        let quarantined = oplog.store.quarantined(number, 1).unwrap().remove(0);
        assert!(quarantined.reason.contains(why), "{}: {why}", quarantined.reason);
        assert_eq!(quarantined.bytes, bundle.bytes().to_vec());
        assert_eq!(quarantined.digest, Some(bundle.digest()));
        assert_eq!(quarantined.source, "a file");
    }
    let latest = with_hlc(Hlc { ms: LATEST_WALL_MS, counter: u32::MAX - 1 }).seal(&mara).unwrap();
    assert_eq!(oplog.admit(bytes(&[&latest])).await.appended, 1, "the last moment of 2199 is still one");
    let mut at_the_end = known.clone();
    at_the_end.sees(&latest);
    assert_eq!(oplog.admit(bytes(&[&at_the_end.edit(&mara)])).await.appended, 1, "and time goes on behind it");
    assert_eq!(check_log(&oplog.store).len(), 3);
}

#[tokio::test]
async fn hostile_bytes_are_only_bytes() {
    let (oplog, mut known) = founded().await;
    let good = known.edit(&person("Mara"));
    let mut dice = Dice(3);
    for round in 0..200 {
        let mut offered = Vec::new();
        for _ in 0..8 {
            let mut bytes = good.bytes().to_vec();
            for _ in 0..=dice.below(12) {
                let at = dice.below(bytes.len());
                bytes[at] = dice.roll() as u8;
            }
            bytes.truncate(dice.below(bytes.len() * 2).max(1));
            // A die may write what was there.
            offered.extend((*bytes != **good.bytes()).then_some(bytes));
        }
        assert_eq!(oplog.admit(offered).await.appended, 0, "round {round}");
    }
    assert_eq!(oplog.admit(bytes(&[&good])).await.appended, 1);
    check_log(&oplog.store);
}
