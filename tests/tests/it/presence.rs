//! People see who else is there, and where; and that they are gone.

use openprod_client::{From, v1};

use crate::world::World;

#[tokio::test]
async fn people_at_two_nodes_see_where_the_other_is_and_that_he_goes() {
    let (_world, mara, _tour, leo) = World::at_two_nodes().await;
    let bundles = mara.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    mara.is_equal_at(bundles.max(4)).await;

    mara.types("openprod who").await.ok().says("Nobody is here");
    let mut watch = mara.watches(From::Now, &[]);
    assert!(leo.is_seen_at("LX 1", "label", false).await >= 10_000, "a client need not say so all the time");
    assert_eq!(watch.hears_who_is_here().await, ["Leo at label"]);
    leo.is_seen_at("LX 1", "label", true).await;
    assert_eq!(watch.hears_who_is_here().await, ["Leo at label, typing"]);
    mara.is_seen_at("LX 1", "label", false).await;
    assert_eq!(watch.hears_who_is_here().await, ["Mara at label", "Leo at label, typing"]);
    assert_eq!(mara.sees_who_is_here().await, ["Mara at label", "Leo at label, typing"]);
    mara.types("openprod who").await.ok().says("Leo").says("types").says("cues").says("this one");
    leo.is_seen_leaving().await;
    assert_eq!(watch.hears_who_is_here().await, ["Mara at label"]);
    let stored = mara.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    assert_eq!(stored, bundles.max(4), "nothing of it is stored");

    // Who follows from now on is told who is there already.
    assert_eq!(mara.watches(From::Now, &[]).hears_who_is_here().await, ["Mara at label"]);
}

#[tokio::test]
async fn only_members_are_told_of_and_only_at_places_that_there_are() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let stranger = world.stranger("Nobody").await;
    let seen = |workspace: String, actor: String, table: &str| v1::SetPresenceRequest {
        workspace,
        actor,
        session: mara.client.session().to_string(),
        table: table.to_owned(),
        ..Default::default()
    };
    let id = mara.workspace_id().to_string();
    let by_stranger = stranger.client.ask(seen(id.clone(), stranger.actor.to_string(), "")).await.unwrap_err();
    assert!(by_stranger.to_string().contains("Only members"), "{by_stranger}");
    assert!(mara.client.ask(seen(id, mara.actor.to_string(), "unknown")).await.is_err());
    assert!(mara.sees_who_is_here().await.is_empty());
}
