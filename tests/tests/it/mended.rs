//! Damaged disks beside nodes that have good copies: what was damaged or lost here is fetched from there.

use std::path::Path;

use openprod_client::v1;

use crate::disk::flip;
use crate::world::{Node, Person, Setup, World, row, typed};

const MARKER: &str = "MARKED-FOR-DAMAGE";

/// Mara at the house with three cues, and Leo at a node of his own that has them too.
async fn two_nodes() -> (World, Person, Node, Person) {
    let mut world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    for (name, label) in [("good", "Dawn"), ("bad", MARKER), ("late", "Dusk")] {
        mara.adds("cues", name, row!["label" => label]).await;
    }
    let (mut tour, leo) = world.joined_by("Leo", &mara).await;
    leo.comes_to_have("cues", "late").await;
    tour.keeps_its_port(&leo).await;
    world.house.keeps_its_port(&mara).await;
    mara.catches_up_with(1).await;
    (world, mara, tour, leo)
}

async fn are_whole_and_equal(one: &Person, other: &Person) {
    one.comes_to_have("cues", "late").await;
    one.comes_to_find_all_well().await;
    assert_eq!(one.sees("bad", "label").await, MARKER);
    one.catches_up_with(1).await;
    other.catches_up_with(1).await;
    let (here, there) = (one.finds_all_well().await, other.finds_all_well().await);
    assert_eq!((here.bundles, here.state_hash), (there.bundles, there.state_hash));
    assert!(one.lists_quarantine().await.is_empty(), "what was mended waits for nobody");
}

#[tokio::test]
async fn a_bundle_that_is_damaged_on_the_disk_is_replaced_by_the_copy_of_another_node() {
    for without_state in [false, true] {
        let (mut world, mara, tour, leo) = two_nodes().await;
        world.house.stops().await;
        let folder = world.house.workspace_folder();
        flip(&folder.join("log.redb"), MARKER.as_bytes());
        if without_state {
            std::fs::remove_file(folder.join("state.redb")).unwrap();
        }
        world.house.comes_back().await;
        // Found by whoever folds, or by whoever looks; the look breaks off if the state is folded anew meanwhile.
        drop(mara.tries_to_verify().await);
        are_whole_and_equal(&mara, &leo).await;
        mara.sets("good", "label", "Sunrise").await;
        leo.comes_to_see("good", "label", "Sunrise").await;
        drop(tour);
    }
}

#[tokio::test]
async fn a_log_that_is_lost_is_fetched_again_by_a_ticket_and_what_nobody_else_had_is_taken_back() {
    for what in ["garbage", "removed", "half of it"] {
        let (mut world, mara, mut tour, leo) = two_nodes().await;
        world.house.dies();
        leo.adds("cues", "alone", row!["label" => "Nobody else has this yet"]).await;
        tour.stops().await;
        let log = tour.workspace_folder().join("log.redb");
        lose(&log, what);
        world.house.comes_back().await;
        tour.comes_back().await;
        let leo = leo.through(tour.socket()).await;
        let status = leo.asks_how_it_is().await;
        assert_eq!(status.state(), v1::WorkspaceState::Failed, "{what}: {status:?}");
        assert!(status.why.contains("log.redb"), "{what}: {status:?}");
        typed("openprod doctor", tour.folder(), &[]).await.says("openprod join");

        let ticket = mara.invites(1).await.ticket;
        typed(&format!("openprod join {ticket}"), tour.folder(), &[]).await.ok().says("Joined Hamlet");
        are_whole_and_equal(&leo, &mara).await;
        if what == "half of it" {
            mara.comes_to_have("cues", "alone").await;
        }
        leo.sets("good", "label", "Sunrise").await;
        mara.comes_to_see("good", "label", "Sunrise").await;
        let kept = tour.workspace_folder().join("lost");
        assert_eq!(kept.exists(), what != "removed" || kept.read_dir().is_ok(), "{what}: nothing is thrown away");
        tour.stops().await;
        tour.comes_back().await;
        let leo = leo.through(tour.socket()).await;
        assert_eq!(leo.sees("good", "label").await, "Sunrise");
    }
}

fn lose(log: &Path, what: &str) {
    match what {
        "garbage" => std::fs::write(log, vec![0x5a; 50_000]).unwrap(),
        "removed" => std::fs::remove_file(log).unwrap(),
        // The engine's own head is gone; the bundles lie there.
        _ => {
            let mut bytes = std::fs::read(log).unwrap();
            bytes[..4_096].fill(0);
            std::fs::write(log, bytes).unwrap();
        }
    }
}
