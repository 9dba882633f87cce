//! Folders that come back from the past, and folders that are on two machines at once.

use std::path::Path;
use std::process::Command;

use super::cables::{Lan, Machine};
use super::crew::{Crew, all_hold};
use super::form;
use crate::world::{Node, Setup};

/// Copies a folder with all that is in it, in place of what is there.
fn copies(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test]
async fn an_old_backup_that_comes_back_catches_up_with_what_it_forgot_and_loses_nothing() {
    let Some(_) = form() else { return };
    let lan = Lan::new();
    let ((house, _), (tour, to_tour)) = (Machine::on(&lan), Machine::on(&lan));
    let mut crew = Crew::gathers(&[("Mara", &house), ("Leo", &tour)]).await;
    crew.has_cues(10).await;
    let backup = crew.world.desk().join("backup");

    crew.edits(1, 0, "label", "before the backup").await;
    crew.agrees(0).await;
    crew.restarts(1, |folder| copies(folder, &backup)).await;
    for cue in 1..5 {
        crew.edits(1, cue, "label", "after the backup").await;
        crew.edits(0, cue + 5, "label", "at home").await;
    }
    crew.agrees(0).await;

    // The disk is new. Leo goes on with the backup before the network is back, and writes to one field again.
    to_tour.is_pulled();
    crew.restarts(1, |folder| copies(&backup, folder)).await;
    assert_eq!(crew.people[1].sees("LX 4", "label").await, "Preset");
    crew.edits(1, 4, "label", "with the backup").await;
    crew.edits(1, 0, "note", "with the backup").await;
    to_tour.is_put_back();
    crew.agrees(1).await;
    assert_eq!(crew.people[1].sees("LX 3", "label").await, "after the backup", "what it had forgotten");
    assert_eq!(crew.people[0].sees("LX 0", "note").await, "with the backup");
}

#[tokio::test]
async fn a_folder_that_was_copied_and_is_used_on_two_machines_loses_and_hides_nothing() {
    let Some(_) = form() else { return };
    let lan = Lan::new();
    let ((house, _), (tour, _), (twin, to_twin)) = (Machine::on(&lan), Machine::on(&lan), Machine::on(&lan));
    let mut crew = Crew::gathers(&[("Mara", &house), ("Leo", &tour)]).await;
    crew.has_cues(10).await;
    let copied = crew.world.desk().join("twin");
    crew.restarts(1, |folder| copies(folder, &copied)).await;

    to_twin.is_pulled();
    let node = Node::start(&copied, Setup::on(&twin.name())).await;
    let leo_again = crew.people[1].through(node.socket()).await;
    crew.nodes.push(node);
    crew.people.push(leo_again);
    for cue in 0..5 {
        crew.edits(1, cue, "label", "on the laptop").await;
        crew.edits(2, cue + 5, "label", "on its copy").await;
    }
    crew.edits(1, 0, "note", "on the laptop").await;
    crew.edits(2, 0, "note", "on its copy").await;
    to_twin.is_put_back();
    // Both show one key, so that others keep a connection with one of them at a time; all of it comes all the same.
    all_hold(&crew.people, crew.all()).await;
    crew.is_judged(1).await;
}
