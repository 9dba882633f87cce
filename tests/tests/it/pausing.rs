//! Syncing paused and resumed: for a show on a bad Wi-Fi, say.

use openprod_client::v1;

use crate::world::{Setup, World, row};

/// What a peer shares, where it shares one workspace.
fn shared(peer: &v1::Peer) -> Option<&v1::SharedWorkspace> {
    peer.connection.as_ref()?.sharing.first()
}

/// Whether the other node has paused syncing, and something is to be given to it.
fn keeps_us_waiting(peer: &v1::Peer) -> bool {
    shared(peer).is_some_and(|one| one.paused_there && one.giving.is_some_and(|giving| giving.left > 0))
}

#[tokio::test]
async fn whoever_pauses_syncing_for_a_show_gets_and_gives_nothing_until_it_is_resumed() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    let (mut tour, leo) = world.joined_by("Leo", &mara).await;
    leo.comes_to_see("LX 1", "label", "Dawn").await;

    leo.types("openprod sync pause").await.ok().says("Syncing is paused since").says("openprod sync resume");
    let since = leo.pauses_sync().await;
    assert_eq!(leo.pauses_sync().await, since, "it is paused already");
    assert_eq!(leo.asks_how_it_is().await.sync_paused_ms, Some(since));
    mara.sets("LX 1", "label", "Noon").await;
    leo.adds("cues", "LX 2", row!["label" => "Storm"]).await;
    mara.sees_peer(keeps_us_waiting).await;
    mara.types("openprod peers").await.ok().says("Hamlet: paused on that node");
    leo.types("openprod peers").await.ok().says("Hamlet: paused here; `openprod sync resume`");
    leo.types("openprod status").await.ok().says("syncing is paused").says("workspace.sync");
    leo.types("openprod doctor")
        .await
        .ok()
        .says("it is paused since")
        .says("openprod sync resume --workspace \"Hamlet\"");
    assert_eq!(mara.asks_how_it_is().await.sync_paused_ms, None, "she has paused nothing");

    // A machine that starts again in the middle of the show stays as quiet as it was.
    tour.dies();
    tour.comes_back().await;
    let leo = leo.through(tour.socket()).await.in_workspace(mara.workspace_id());
    mara.sees_peer(keeps_us_waiting).await;
    assert_eq!(leo.sees("LX 1", "label").await, "Dawn");

    leo.types("openprod sync resume").await.ok().says("Syncing goes on");
    leo.resumes_sync().await;
    leo.comes_to_see("LX 1", "label", "Noon").await;
    let bundles = leo.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    mara.is_equal_at(bundles).await;
    assert_eq!(mara.sees("LX 2", "label").await, "Storm");
    leo.types("openprod status").await.ok().says_nothing_of("paused");
}

#[tokio::test]
async fn whoever_pauses_before_anything_came_is_told_that_it_is_paused() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.pauses_sync().await;
    let ticket = mara.invites(1).await.ticket;
    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    leo.types(&format!("openprod join {ticket}")).await.ok().says("Joined Hamlet");
    let leo = leo.in_workspace(mara.workspace_id());
    leo.pauses_sync().await;
    let said = leo.types("openprod peers").await.ok();
    said.says(&format!("{}: paused here; `openprod sync resume`", leo.workspace_id()))
        .says_nothing_of("nothing is shared");
    leo.resumes_sync().await;
    mara.resumes_sync().await;
    leo.is_a_member().await;
    leo.types("openprod peers").await.ok().says("Hamlet: ");
}

#[tokio::test]
async fn while_syncing_is_paused_files_do_not_come_either_and_then_they_do() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("scenes", &["plan blob"]).await;
    let (_tour, leo) = world.joined_by("Leo", &mara).await;
    let (plan, sound) = (mara.puts_file(b"the plan").await.hash, mara.puts_file(b"the sound").await.hash);
    leo.pauses_sync().await;
    assert_eq!(leo.gets_file(&plan).await.unwrap_err().reason(), Some(v1::Reason::BlobUnavailable));
    leo.resumes_sync().await;
    assert_eq!(leo.gets_file(&plan).await.unwrap(), b"the plan");
    mara.pauses_sync().await;
    assert_eq!(leo.gets_file(&sound).await.unwrap_err().reason(), Some(v1::Reason::BlobUnavailable));
}

#[tokio::test]
async fn a_catch_up_that_is_paused_tells_how_much_is_left_and_goes_on_where_it_stopped() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    let (_tour, leo) = world.joined_by("Leo", &mara).await;
    mara.pauses_sync().await;
    for number in 0..40 {
        mara.adds("cues", &format!("LX {number}"), row!["label" => "Dawn"]).await;
    }
    let waits = |peer: &v1::Peer| shared(peer).and_then(|one| one.giving).is_some_and(|giving| giving.left >= 40);
    let peer = mara.sees_peer(waits).await;
    assert_eq!(shared(&peer).unwrap().paused_ms, mara.asks_how_it_is().await.sync_paused_ms);
    mara.resumes_sync().await;
    let bundles = mara.reads_history(v1::ListBundlesRequest::default()).await.len() as u64;
    leo.is_equal_at(bundles).await;
    assert_eq!(leo.sees("LX 39", "label").await, "Dawn");
    mara.sees_peer(|peer| shared(peer).is_some_and(|one| one.giving.is_none() && one.given >= 40)).await;
}
