//! Nodes that find each other where they can hear each other, and not by any address.

use std::time::{Duration, Instant};

use openprod_client::v1;

use super::cables::{Lan, Machine};
use super::crew::Crew;
use super::form;
use crate::world::Setup;

/// A goodbye is heard long before silence would be noticed.
const GOODBYE_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn nodes_that_were_given_new_addresses_find_each_other_and_a_clean_stop_is_a_goodbye() {
    let Some(_) = form() else { return };
    let lan = Lan::new();
    let ((house, _), (tour, _)) = (Machine::on(&lan), Machine::on(&lan));
    let mut crew = Crew::gathers(&[("Mara", &house), ("Leo", &tour)]).await;
    crew.has_cues(2).await;

    let stopped = Instant::now();
    crew.nodes[0].stops().await;
    let gone = crew.people[0].sees_peer(|peer| peer.state() != v1::PeerState::Connected).await;
    assert!(stopped.elapsed() < GOODBYE_WITHIN, "{:?} {gone:#?}", stopped.elapsed());
    crew.world.house.stops().await;

    let addresses = [house.gets_a_new_lease(&lan), tour.gets_a_new_lease(&lan)];
    crew.world.house.comes_back().await;
    crew.nodes[0].comes_back().await;
    let (at_house, at_tour) = (crew.world.house.socket(), crew.nodes[0].socket());
    crew.people = vec![crew.people[0].through(at_house).await, crew.people[1].through(at_tour).await];
    crew.edits(0, 0, "label", "Dawn").await;
    crew.edits(1, 1, "label", "Dusk").await;
    crew.agrees(0).await;
    let link = crew.people[0].knows_peers().await.peers[0].connection.clone().unwrap();
    assert_eq!(link.address, addresses[1].to_string(), "it was found where it is now");
}

#[tokio::test]
async fn an_open_workspace_near_is_joined_without_a_ticket_or_an_address() {
    let Some(_) = form() else { return };
    let lan = Lan::new();
    let ((house, _), (tour, _)) = (Machine::on(&lan), Machine::on(&lan));
    let mut crew = Crew::gathers(&[("Mara", &house)]).await;
    let node = crew.world.another_node_as("Leo", Setup::on(&tour.name())).await;
    let leo = crew.world.visitor(&node, "Leo").await;
    leo.types("openprod join").await.fails(1).says("Ask a member for a ticket");

    crew.people[0].settles("join_mode", "open").await;
    leo.types("openprod join --name Macbeth").await.fails(1).says("near can be joined");
    leo.types("openprod join").await.ok().says("Joined Hamlet");
    let leo = leo.in_workspace(crew.people[0].workspace_id());
    leo.is_a_member().await;
    crew.nodes.push(node);
    crew.people.push(leo);
    crew.has_cues(1).await;
    crew.edits(1, 0, "label", "Dawn").await;
    crew.agrees(0).await;
}

#[tokio::test]
async fn a_laptop_on_two_networks_joins_what_cannot_see_each_other() {
    let Some(_) = form() else { return };
    let (stage, office) = (Lan::new(), Lan::new());
    let ((house, _), (desk, _)) = (Machine::on(&stage), Machine::on(&office));
    let laptop = Machine::new();
    let _cables = (laptop.plugs_into(&stage), laptop.plugs_into(&office));
    let mut crew = Crew::gathers(&[("Mara", &house), ("Nina", &laptop)]).await;
    crew.is_joined_by(1, "Leo", Setup::on(&desk.name())).await;
    crew.has_cues(2).await;

    crew.edits(0, 0, "label", "from the stage").await;
    crew.people[2].comes_to_see("LX 0", "label", "from the stage").await;
    crew.edits(2, 0, "label", "from the office").await;
    crew.people[0].comes_to_see("LX 0", "label", "from the office").await;
    crew.edits(1, 1, "label", "from between").await;
    crew.agrees(0).await;
    for (edge, only) in [(0, "stage"), (2, "office")] {
        let connected =
            crew.people[edge].knows_peers().await.peers.into_iter().filter(|peer| peer.connection.is_some());
        assert_eq!(connected.count(), 1, "on the {only} there is the laptop and nobody else");
    }
}
