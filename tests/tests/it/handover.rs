//! A removed member works on, not knowing; what he wrote reaches the others only by a person who takes it.

use openprod_client::v1;

use crate::world::{Node, Person, World, admit_member, brings_in, remove_member, row};

/// Mara at the house, and Leo, who has joined at another node, which is switched off. Both have LX 1, "Dawn".
async fn apart() -> (World, Person, Node, Person) {
    let (world, mara, mut tour, leo) = World::at_two_nodes().await;
    mara.is_equal_at(4).await;
    tour.dies();
    (world, mara, tour, leo)
}

/// Mara removes Leo and his node, and it comes back; nobody speaks with it any more.
async fn removed(mara: &Person, tour: &mut Node, leo: Person) -> (Person, String) {
    let node = mara.knows_peers().await.peers[0].key.clone();
    mara.dismisses(&leo, "left the production").await;
    mara.does(vec![remove_member(&node, "left with Leo")]).await;
    tour.comes_back().await;
    (leo.through(tour.socket()).await.in_workspace(mara.workspace_id()), node)
}

#[tokio::test]
async fn what_a_removed_member_wrote_unaware_waits_until_somebody_takes_it() {
    let (world, mara, mut tour, leo) = apart().await;
    let (leo, _) = removed(&mara, &mut tour, leo).await;
    // Whoever knows of nothing that the other is in is let go after half a minute only.
    let is_sent_away = |peer: &v1::Peer| match &peer.connection {
        Some(connection) => connection.workspaces.is_empty(),
        None => !peer.trouble.is_empty(),
    };
    leo.sees_peer(is_sent_away).await;
    leo.looks("LX 1").await;
    leo.sets("LX 1", "label", "Dusk").await;
    leo.adds("cues", "LX 2", row!["label" => "Storm"]).await;
    // He lets somebody in, who works on as well.
    let sam = world.visitor(&tour, "Sam").await.in_workspace(mara.workspace_id());
    leo.admits(&sam).await;
    sam.sets("LX 2", "label", "Calm").await;

    let taken = brings_in(&mara.client, leo.takes_out().await).await.unwrap();
    assert_eq!((taken.new_bundles, taken.held_bundles, taken.refused_bundles), (0, 3, 1), "{taken:?}");
    assert_eq!((mara.sees("LX 1", "label").await, mara.lists("cues").await.len()), ("Dawn".to_owned(), 1));
    let held = mara.lists_quarantine().await;
    assert!(held.iter().all(|one| one.held && one.sentence.contains("was removed meanwhile")), "{held:?}");
    let waiting = mara.lists_waiting().await;
    let [sams] = &waiting[..] else { panic!("{waiting:?}") };
    assert_eq!(sams.missing[0].quarantined, held[2].number, "{sams:?}");
    mara.types("openprod quarantine waiting").await.ok().says(&format!("number {}", held[2].number));
    mara.types("openprod quarantine").await.ok().says("to be taken").says("openprod quarantine take");
    mara.types(&format!("openprod quarantine retry {}", held[0].number)).await.fails(1).says("was removed meanwhile");
    let stranger = world.stranger("Nobody").await;
    stranger.types("openprod quarantine take --all --yes").await.fails(1).says("Only a member");

    assert_eq!(mara.takes_over(&[held[0].number]).await.taken, 1);
    assert_eq!((mara.sees("LX 1", "label").await, mara.lists("cues").await.len()), ("Dusk".to_owned(), 1));
    mara.types("openprod quarantine take --all --yes").await.ok().says("Took in 3 bundles");
    assert_eq!(mara.sees("LX 2", "label").await, "Calm");
    assert!(mara.lists_quarantine().await.is_empty() && mara.lists_waiting().await.is_empty());
    let by_leo = v1::ListBundlesRequest { actor: leo.actor.to_string(), ..Default::default() };
    assert_eq!(mara.reads_history(by_leo).await.len(), 3, "what he wrote is his still");
    mara.finds_all_well().await;
}

#[tokio::test]
async fn who_is_let_in_again_brings_what_he_wrote_by_himself() {
    let (_world, mara, mut tour, leo) = apart().await;
    let (leo, node) = removed(&mara, &mut tour, leo).await;
    leo.looks("LX 1").await;
    leo.sets("LX 1", "label", "Dusk").await;
    mara.types(&format!("openprod members admit {}", leo.actor)).await.ok().says("Admitted");
    mara.does(vec![admit_member(&node, "")]).await;
    mara.types(&format!("openprod members admit {}", leo.actor)).await.fails(1).says("a member already");
    mara.types(&format!("openprod members admit {} --decide", leo.actor)).await.ok().says("Admitted");
    leo.names_peer(&mara.is_dialled_at().await).await;
    mara.comes_to_see("LX 1", "label", "Dusk").await;
    assert!(mara.lists_quarantine().await.is_empty());
}

#[tokio::test]
async fn nobody_removes_himself() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    let refused = mara.fails_at(vec![remove_member(&mara.actor.to_string(), "")]).await;
    assert!(refused.message.contains("cannot remove yourself"), "{refused:?}");
    assert!(refused.next.contains("another member"), "{refused:?}");
    leo.dismisses(&mara, "she said so").await;
    leo.types("openprod members").await.ok().says("removed");
}
