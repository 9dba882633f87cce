//! Restores and copies: an old backup, a folder that was copied, one identity on two computers. Nothing of anybody's is
//! lost or hidden, all come to the same, and people are told.

use openprod_client::v1;

use crate::world::{Node, Person, Setup, World, row, typed, unpacks_identity};

const PASSPHRASE: &str = "rosencrantz and guildenstern";

/// Mara at the house, and Leo at a node of his own that has joined.
async fn two_nodes() -> (World, Person, Node, Person) {
    let (mut world, mara, mut tour, leo) = World::at_two_nodes().await;
    tour.keeps_its_port(&leo).await;
    world.house.keeps_its_port(&mara).await;
    (world, mara, tour, leo)
}

/// Both hold and show the same: how many bundles, and the state hash.
async fn are_equal(one: &Person, other: &Person) -> u64 {
    one.catches_up_with(1).await;
    other.catches_up_with(1).await;
    let (here, there) = (one.finds_all_well().await, other.finds_all_well().await);
    assert_eq!((here.bundles, &here.state_hash), (there.bundles, &there.state_hash));
    here.bundles
}

async fn is_told(person: &Person, check: &str) -> v1::Diagnosis {
    let checks = person.has_it_checked().await;
    checks.into_iter().find(|found| found.id == check).unwrap()
}

#[tokio::test]
async fn an_old_backup_that_is_restored_and_worked_on_loses_nothing_of_what_it_had_forgotten() {
    let (mut world, mara, mut tour, leo) = two_nodes().await;
    let saved = world.desk().join("saved");
    let backup = leo.backs_up(saved.to_str().unwrap()).await;
    leo.sets("LX 1", "label", "Noon").await;
    leo.adds("cues", "LX 2", row!["label" => "Forgotten"]).await;
    mara.comes_to_have("cues", "LX 2").await;

    tour.stops().await;
    world.house.dies();
    typed(&format!("openprod restore {} --yes-replace", backup.path), tour.folder(), &[]).await.ok();
    tour.comes_back().await;
    let leo = leo.through(tour.socket()).await;
    assert_eq!(leo.sees("LX 1", "label").await, "Dawn");
    leo.sets("LX 1", "label", "Dusk").await;
    leo.adds("cues", "LX 3", row!["label" => "Afterwards"]).await;
    world.house.comes_back().await;

    are_equal(&mara, &leo).await;
    for person in [&mara, &leo] {
        assert_eq!(person.sees("LX 2", "label").await, "Forgotten");
        assert_eq!(person.sees("LX 3", "label").await, "Afterwards");
        let disputes = person.disputes(v1::ListConflictsRequest::default()).await;
        assert_eq!(disputes.len(), 1, "his Noon and his Dusk did not know each other: {disputes:?}");
        let told = is_told(person, "workspace.branches").await;
        assert_eq!(told.outcome(), v1::CheckOutcome::Warning);
        assert!(told.evidence.contains("Leo (") && told.fix.contains("Nothing is lost"), "{told:?}");
    }
    leo.types("openprod doctor").await.says("two branches");
}

#[tokio::test]
async fn one_identity_that_writes_on_two_computers_at_once_grows_a_branch_and_loses_nothing() {
    let (mut world, mara, mut tour, leo) = two_nodes().await;
    let sealed = mara.packs_identity(PASSPHRASE).await;
    unpacks_identity(&leo.client, &sealed, PASSPHRASE).await.unwrap();
    let mara_on_tour = leo.through(tour.socket()).await.with_identity_of(&mara);
    are_equal(&mara, &leo).await;

    world.house.dies();
    mara_on_tour.looks("LX 1").await;
    mara_on_tour.sets("LX 1", "label", "on tour").await;
    mara_on_tour.adds("cues", "LX 7", row!["label" => "Tour"]).await;
    tour.dies();
    world.house.comes_back().await;
    mara.looks("LX 1").await;
    mara.sets("LX 1", "label", "at home").await;
    mara.adds("cues", "LX 8", row!["label" => "Home"]).await;
    tour.comes_back().await;

    let leo = leo.through(tour.socket()).await;
    are_equal(&mara, &leo).await;
    for person in [&mara, &leo] {
        assert_eq!(
            (person.sees("LX 7", "label").await, person.sees("LX 8", "label").await),
            ("Tour".into(), "Home".into())
        );
        let disputes = person.disputes(v1::ListConflictsRequest::default()).await;
        assert_eq!(disputes.len(), 1, "{disputes:?}");
        assert!(is_told(person, "workspace.branches").await.evidence.contains("Mara ("));
    }
}

#[tokio::test]
async fn two_computers_with_one_node_key_take_turns_lose_nothing_and_are_told() {
    let (world, mara, mut tour, leo) = two_nodes().await;
    tour.stops().await;
    let folder = world.desk().join("copy");
    tour.is_copied_to(&folder);
    tour.comes_back().await;
    let mut copy = Node::start(&folder, Setup::among_peers()).await;
    let leo = leo.through(tour.socket()).await;
    let twin = leo.through(copy.socket()).await.in_folder(copy.folder());
    copy.keeps_its_port(&twin).await;
    leo.adds("cues", "LX 5", row!["label" => "Original"]).await;
    twin.adds("cues", "LX 6", row!["label" => "Copy"]).await;

    for person in [&mara, &leo, &twin] {
        person.comes_to_have("cues", "LX 5").await;
        person.comes_to_have("cues", "LX 6").await;
        let told = person.sees_peer(|peer| peer.trouble.contains("folder was copied")).await;
        assert!(told.trouble.contains("Nothing is lost"), "{told:?}");
    }
    twin.types("openprod peers").await.ok().says("delete node.key");
    // Named by its address, each finds its own key there, and says whose it is.
    let address = twin.is_dialled_at().await;
    leo.names_peer(&address).await;
    let is_told_of_it =
        |peer: &v1::Peer| peer.addresses.contains(&address) && peer.trouble.contains("folder was copied");
    leo.comes_to_know(is_told_of_it).await;

    // What it says to do: the copy becomes a node of its own.
    copy.stops().await;
    std::fs::remove_file(copy.folder().join("node.key")).unwrap();
    copy.comes_back().await;
    let twin = twin.through(copy.socket()).await;
    let ticket = mara.invites(1).await.ticket;
    twin.types(&format!("openprod join {ticket}")).await.ok();
    leo.adds("cues", "LX 9", row!["label" => "Both"]).await;
    twin.comes_to_have("cues", "LX 9").await;
    let keys = [leo.knows_peers().await.key, twin.knows_peers().await.key];
    assert_ne!(keys[0], keys[1]);
    mara.catches_up_with(2).await;
    let hashes = [mara.finds_all_well().await.state_hash, leo.finds_all_well().await.state_hash];
    assert_eq!([&hashes[0], &hashes[1]], [&twin.finds_all_well().await.state_hash; 2]);
}
