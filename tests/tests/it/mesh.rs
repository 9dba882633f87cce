//! Nodes that work as one: what is written on one is seen on the other, at once or after a weekend apart.

use openprod_client::v1;

use crate::world::{Setup, World, row};

#[tokio::test]
async fn what_is_written_on_one_node_is_seen_on_the_other_and_both_know_that_they_are_equal() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    let ticket = mara.invites(1).await.ticket;
    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    leo.types(&format!("openprod join {ticket}")).await.ok().says("Joined Hamlet");
    let leo = leo.in_workspace(mara.workspace_id());
    leo.is_a_member().await;
    leo.comes_to_see("LX 1", "label", "Dawn").await;

    leo.sets("LX 1", "label", "Noon").await;
    mara.comes_to_see("LX 1", "label", "Noon").await;
    mara.sets("LX 1", "label", "Dusk").await;
    leo.comes_to_see("LX 1", "label", "Dusk").await;

    let bundles = mara.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    assert_eq!(mara.is_equal_at(bundles).await.verified_bundles, leo.is_equal_at(bundles).await.verified_bundles);
    mara.types("openprod peers").await.ok().says("Hamlet: equal at");
    assert_eq!(mara.finds_all_well().await.state_hash, leo.finds_all_well().await.state_hash);
}

#[tokio::test]
async fn after_a_time_apart_both_have_everything_and_what_they_disagree_on_is_a_conflict_on_both() {
    let mut world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    let ticket = mara.invites(1).await.ticket;
    let mut tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    leo.types(&format!("openprod join {ticket}")).await.ok();
    let leo = leo.in_workspace(mara.workspace_id());
    leo.is_a_member().await;
    leo.comes_to_see("LX 1", "label", "Dawn").await;
    mara.comes_to_see("LX 1", "label", "Dawn").await;

    tour.dies();
    mara.sets("LX 1", "label", "Noon").await;
    for number in 2..20 {
        mara.adds("cues", &format!("LX {number}"), row!["label" => "Home"]).await;
    }
    world.house.dies();
    tour.comes_back().await;
    let leo = leo.through(tour.socket()).await.in_workspace(mara.workspace_id());
    leo.looks("LX 1").await;
    leo.sets("LX 1", "label", "Dusk").await;
    world.house.comes_back().await;
    // Both have other ports now, and nothing tells them of each other but a person.
    mara.names_peer(&leo.is_dialled_at().await).await;
    let bundles = mara.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    mara.is_equal_at(bundles + 1).await;
    leo.is_equal_at(bundles + 1).await;
    assert_eq!(leo.sees("LX 19", "label").await, "Home");
    for person in [&mara, &leo] {
        let disputes = person.disputes(v1::ListConflictsRequest::default()).await;
        let [conflict] = &disputes[..] else { panic!("{disputes:?}") };
        assert!(conflict.sentence.contains("Mara (") && conflict.sentence.contains("Leo ("), "{}", conflict.sentence);
    }
    assert_eq!(mara.finds_all_well().await.state_hash, leo.finds_all_well().await.state_hash);
}
