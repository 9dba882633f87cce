//! Nodes that meet over a real network: by address, by their keys, and by what they both know.

use openprod_client::v1;

use crate::world::{Node, Setup, World};

fn is_connected(peer: &v1::Peer) -> bool {
    peer.state() == v1::PeerState::Connected
}

#[tokio::test]
async fn two_nodes_of_one_show_meet_by_address_and_say_how_it_stands() {
    let mut world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    let (_tour, leo) = world.away("Leo").await;
    mara.lets_in_node_of(&leo).await;
    mara.meets(&leo).await;

    mara.names_peer(&leo.is_dialled_at().await).await;
    let (here, there) = (mara.shares(1).await, leo.shares(1).await);
    assert!(here.dialled_by_this_node && !there.dialled_by_this_node);
    assert_eq!((here.protocol_version, here.workspaces), (1, there.workspaces));
    assert!(here.software.starts_with("openprod ") && here.sent_bytes > 0 && here.received_bytes > 0);
    let measured = |peer: &v1::Peer| peer.connection.as_ref().is_some_and(|one| one.clock_offset_ms.is_some());
    let offset = mara.sees_peer(measured).await.connection.unwrap().clock_offset_ms.unwrap();
    assert!(offset.abs() < 1_000, "one machine has one clock: {offset}");

    let shown = mara.types("openprod peers").await.ok();
    assert!(shown.out.contains("connected since") && shown.out.contains("Hamlet"), "{}", shown.out);

    world.restarts().await;
    mara.shares(1).await;
}

#[tokio::test]
async fn a_node_that_shares_nothing_is_sent_away_without_a_word_and_forgotten_by_a_command() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    let address = mara.is_dialled_at().await;
    let elsewhere = world.another_node("elsewhere").await;
    let oskar = world.visitor(&elsewhere, "Oskar").await;
    oskar.types(&format!("openprod peer add {address}")).await.ok();
    let refused = oskar.sees_peer(|peer| peer.state() == v1::PeerState::Waiting && peer.failures > 0).await;
    assert!(refused.trouble.contains("not a member here"), "{}", refused.trouble);
    assert!(mara.knows_peers().await.peers.is_empty());
    let shown = oskar.types("openprod peers").await.ok();
    assert!(shown.out.contains("not a member here"), "{}", shown.out);
    oskar.types(&format!("openprod peer forget {address}")).await.ok();
    assert!(oskar.knows_peers().await.peers.is_empty());
    let unknown = oskar.types(&format!("openprod peer forget {address}")).await;
    assert_eq!(unknown.code, 1, "{}", unknown.err);
}

#[tokio::test]
async fn a_node_that_is_no_member_any_more_is_disconnected_and_a_forgotten_one_too() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    let (_tour, leo) = world.away("Leo").await;
    mara.lets_in_node_of(&leo).await;
    mara.meets(&leo).await;
    mara.names_peer(&leo.is_dialled_at().await).await;
    let connected = mara.sees_peer(is_connected).await;
    mara.shares(1).await;
    leo.shares(1).await;

    let key = leo.knows_peers().await.key;
    mara.types(&format!("openprod members remove {key} --why lost --yes")).await.ok();
    let apart = mara.sees_peer(|peer| !is_connected(peer)).await;
    assert!(apart.trouble.contains("not a member here"), "{}", apart.trouble);
    leo.sees_peer(|peer| !is_connected(peer)).await;

    mara.forgets_peer(&connected.key).await;
    assert!(mara.knows_peers().await.peers.is_empty());
}

#[tokio::test]
async fn what_stands_between_two_nodes_is_told_with_what_to_do() {
    let world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    let tour = world.another_node("tour").await;
    let leo = world.visitor(&tour, "Leo").await;
    leo.founds("Macbeth").await;
    mara.names_peer(&leo.is_dialled_at().await).await;
    let says = |words: &'static str| move |peer: &v1::Peer| peer.advice.iter().any(|advice| advice.contains(words));
    mara.sees_peer(says("never admitted")).await;
    mara.types("openprod peers").await.ok().says("openprod invite");
    mara.types("openprod status").await.ok().says("peers.member");
    mara.types("openprod doctor").await.ok().says("openprod join TICKET");
    mara.forgets_peer(&leo.is_dialled_at().await).await;

    // Somebody sets up a second machine by copying the folder of the first.
    let copy = world.desk().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::copy(world.house.folder().join("node.key"), copy.join("node.key")).unwrap();
    let copy = Node::start(&copy, Setup::among_peers()).await;
    let ava = world.visitor(&copy, "Ava").await;
    mara.names_peer(&ava.is_dialled_at().await).await;
    mara.sees_peer(says("own key")).await;
    mara.types("openprod doctor").await.fails(1).says("peers.key").says("node.key");
}
