//! A member's node that keeps no rule: what it sends is refused or set aside, told, and hurts nobody.

use openprod_client::v1;
use openprod_model::ids::{Digest, WorkspaceId};
use openprod_wire::opening::Opening;
use openprod_wire::replication::{Acknowledge, Checkpoint, MAX_CHECKPOINT_BUNDLES, MAX_FRAME_BYTES, Message, Part};

use crate::intruder::{Intruder, Place, bundle, forged, hears, is_given_up};
use crate::world::{Node, Person, World, admit_member, row};

/// Bundles that wait for what never comes, in the short form.
const FEW_ORPHANS: u64 = 1_000;
/// What all this may cost in memory.
const MAX_GROWTH_KIB: u64 = 160 * 1024;

/// Mara and Leo at two nodes, and a member who is nobody's friend.
struct Stage {
    world: World,
    mara: Person,
    leo: Person,
    _tour: Node,
    villain: Intruder,
    before_kib: u64,
}

impl Stage {
    async fn set(number: u8) -> Self {
        let (world, mara, tour, leo) = World::at_two_nodes().await;
        let villain = Intruder::number(number);
        mara.does(vec![admit_member(&villain.keys.actor().to_string(), "Iago")]).await;
        let before_kib = world.house.memory_kib();
        Self { world, mara, leo, _tour: tour, villain, before_kib }
    }

    async fn takes_place(&self) -> Place {
        let node = self.mara.is_dialled_at().await.parse().unwrap();
        Place::taken_by(&self.villain, node, self.workspace()).await
    }

    fn workspace(&self) -> WorkspaceId {
        self.mara.workspace_id()
    }

    /// Waits until the node tells of its trouble with this peer.
    async fn is_told(&self, what: &str) {
        let key = self.villain.keys.actor().to_string();
        let tells = |one: &v1::SharedWorkspace| one.trouble.contains(what);
        let is_it = |peer: &v1::Peer| {
            let sharing = peer.connection.iter().flat_map(|one| &one.sharing);
            peer.key == key && (peer.trouble.contains(what) || sharing.into_iter().any(tells))
        };
        self.mara.comes_to_know(is_it).await;
    }

    /// The others have noticed nothing.
    async fn goes_on(self) {
        self.mara.sets("LX 1", "label", "Dusk").await;
        self.leo.comes_to_see("LX 1", "label", "Dusk").await;
        self.leo.sets("LX 1", "label", "Night").await;
        self.mara.comes_to_see("LX 1", "label", "Night").await;
        let (here, there) = (self.mara.verifies().await, self.leo.verifies().await);
        assert_eq!((here.bundles, here.state_hash), (there.bundles, there.state_hash));
        let (before, now) = (self.before_kib, self.world.house.memory_kib());
        println!("memory {before} KiB before, {now} KiB after");
        assert!(now < before + MAX_GROWTH_KIB, "memory grew from {before} to {now} KiB");
    }
}

fn checkpoint(number: u64, bundles: Vec<Vec<u8>>) -> Message {
    Checkpoint { number, remaining: u64::MAX, bundles }.into()
}

/// The answer to the checkpoint of that number, past whatever else the node says.
async fn answer(channel: &mut openprod_links::transport::Channel, wanted: u64) -> Acknowledge {
    loop {
        match hears(channel).await.expect("a checkpoint is answered") {
            Message::Acknowledge(answer) if answer.number == wanted => return answer,
            _ => {}
        }
    }
}

#[tokio::test]
async fn frames_that_are_no_frames_end_the_session_and_are_told() {
    let stage = Stage::set(111).await;
    let place = stage.takes_place().await;
    for rubbish in [vec![0xee; 40], vec![1], Vec::new(), vec![4, 0, 0, 0, 0xff]] {
        let (mut channel, _) = place.greets().await;
        let is_of_tomorrow = rubbish.len() == 40;
        channel.send.send(rubbish.clone()).await.unwrap();
        if is_of_tomorrow {
            // What only a newer version knows is passed over; the length of a frame is no such thing.
            let _ = channel.send.send(vec![0; MAX_FRAME_BYTES + 1]).await;
            is_given_up(&mut channel).await;
        } else {
            let last = is_given_up(&mut channel).await;
            assert!(last.is_some_and(|sentence| sentence.contains("malformed")), "{rubbish:?}");
            stage.is_told("malformed").await;
        }
    }
    for nonsense in [
        Message::from(Acknowledge { number: 7, lacking: vec![] }),
        checkpoint(99, vec![vec![1, 2, 3]]),
        Part { number: 1, remaining: 0, total: 9_000_000, bytes: vec![0; 100_000] }.into(),
    ] {
        let (mut channel, _) = place.greets().await;
        let is_part = matches!(nonsense, Message::Part(_));
        channel.send.say(&nonsense).await.unwrap();
        if is_part {
            let torn = Part { number: 2, remaining: 0, total: 2_000_000, bytes: vec![0; 9] };
            channel.send.say(&Message::from(torn)).await.unwrap();
        }
        assert!(is_given_up(&mut channel).await.is_some(), "{nonsense:?}");
    }
    stage.goes_on().await;
}

#[tokio::test]
async fn channels_without_end_are_held_within_bounds() {
    let stage = Stage::set(112).await;
    let place = stage.takes_place().await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(place.opens(|tag| Opening::Workspace { tag }).await);
        drop(place.opens(|tag| Opening::Admission { tag }).await);
        drop(place.opens(|tag| Opening::Presence { tag }).await);
        drop(place.opens(|_| Opening::Control).await);
    }
    for mut earlier in held.drain(..99) {
        is_given_up(&mut earlier).await;
    }
    stage.goes_on().await;
}

#[tokio::test]
async fn forged_and_broken_bundles_are_set_aside_with_the_reason_and_what_is_sent_twice_is_taken_once() {
    let stage = Stage::set(113).await;
    let place = stage.takes_place().await;
    let (mut channel, tips) = place.greets().await;
    let ms = tips.iter().map(|tip| tip.hlc.ms).max().unwrap() + 1;
    let parents: Vec<Digest> = tips.iter().max_by_key(|tip| tip.hlc).map(|tip| tip.digest).into_iter().collect();
    let keys = &stage.villain.keys;
    let stolen = forged(&bundle(keys, stage.workspace(), 1, parents.clone(), ms));
    let elsewhere = bundle(keys, WorkspaceId::new(5, [5; 10]), 2, Vec::new(), ms).bytes().to_vec();
    channel.send.say(&checkpoint(1, vec![stolen, elsewhere, vec![0x5a; 300]])).await.unwrap();
    assert_eq!(answer(&mut channel, 1).await.lacking, [0, 1, 2]);
    let items = stage.mara.lists_quarantine().await;
    assert_eq!(items.len(), 3, "{items:?}");
    assert!(items.iter().all(|item| !item.sentence.is_empty()), "{items:?}");
    stage.mara.types("openprod quarantine").await.ok().says("signature");
    stage.mara.types("openprod doctor").await.says("3 wait");
    for item in &items {
        stage.mara.skips_quarantined(item.number).await;
    }

    let good = bundle(keys, stage.workspace(), 3, parents, ms).bytes().to_vec();
    let again = vec![good.clone(); 100];
    for (number, some) in (2..).zip([vec![good], again.clone(), again]) {
        channel.send.say(&checkpoint(number, some)).await.unwrap();
        assert!(answer(&mut channel, number).await.lacking.is_empty());
    }
    let labels = stage.mara.reads_history(v1::ListBundlesRequest::default()).await;
    assert_eq!(labels.iter().filter(|label| label.contains("Say whatever")).count(), 1);
    stage.goes_on().await;
}

#[tokio::test]
async fn a_flood_of_bundles_that_wait_for_what_never_comes_is_held_within_bounds() {
    let many = std::env::var("OPENPROD_ORPHANS").map_or(FEW_ORPHANS, |many| many.parse().unwrap());
    let stage = Stage::set(114).await;
    let place = stage.takes_place().await;
    let (mut channel, tips) = place.greets().await;
    let ms = tips.iter().map(|tip| tip.hlc.ms).max().unwrap() + 1;
    let nowhere = |number: u64| vec![Digest::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())];
    let orphan = |number| bundle(&stage.villain.keys, stage.workspace(), number, nowhere(number), ms).bytes().to_vec();
    let all: Vec<u64> = (1..=many).collect();
    for (number, some) in (1..).zip(all.chunks(MAX_CHECKPOINT_BUNDLES)) {
        channel.send.say(&checkpoint(number, some.iter().map(|number| orphan(*number)).collect())).await.unwrap();
        assert_eq!(answer(&mut channel, number).await.lacking.len(), some.len(), "none of them can be taken");
    }
    assert!(stage.mara.lists_quarantine().await.is_empty(), "to wait is no fault");
    stage.goes_on().await;
}

#[tokio::test]
async fn a_member_that_never_reads_is_waited_for_by_nobody() {
    let stage = Stage::set(115).await;
    let long = "x".repeat(50_000);
    for number in 0..60 {
        stage.mara.adds("cues", &format!("long {number}"), row!["label" => long.as_str()]).await;
    }
    let place = stage.takes_place().await;
    let (deaf, _) = place.greets().await;
    let (also_deaf, _) = place.greets().await;
    stage.goes_on().await;
    drop((deaf, also_deaf, place));
}
