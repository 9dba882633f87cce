//! Starting: what is wrong is refused with the reason and what to do, and nothing is repaired behind anybody's back.

use crate::world::{Node, Setup, World, row};

/// A node that does not start: what it said, which must hold these words.
async fn refuses_to_start(folder: &std::path::Path, words: &[&str]) {
    let mut node = Node::asleep(folder, Setup::default());
    node.launches();
    let line = node.says("error").await;
    let status = node.ends().await;
    assert!(!status.success());
    for word in words {
        assert!(node.has_said(word), "{word} is not said: {line}");
    }
}

#[tokio::test]
async fn a_second_node_on_one_folder_is_told_who_has_it() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    refuses_to_start(world.house.folder(), &["process"]).await;
    mara.makes_table("cues", &[]).await;
}

#[tokio::test]
async fn a_file_in_place_of_the_folder_is_left_alone() {
    let world = World::new().await;
    let file = world.file("notes", "mine");
    refuses_to_start(&file, &["notes"]).await;
    refuses_to_start(&file.join("below"), &["below"]).await;
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[tokio::test]
async fn a_folder_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut world = World::new().await;
    world.house.stops().await;
    let key = world.house.folder().join("node.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refuses_to_start(world.house.folder(), &["chmod 600"]).await;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    world.house.comes_back().await;
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_left_alone_and_the_other_workspaces_go_on() {
    let mut world = World::new().await;
    let (mara, tara) = (world.person_in("Hamlet", "Mara").await, world.person_in("Tosca", "Tara").await);
    mara.makes_table("cues", &["label text"]).await;
    tara.makes_table("cues", &["label text"]).await;
    tara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    world.house.stops().await;
    let manifest = world.house.folder().join(format!("workspaces/{}/workspace.toml", mara.workspace_id()));
    let text = std::fs::read_to_string(&manifest).unwrap();
    let (format, rest) = text.split_once('\n').unwrap();
    assert!(format.starts_with("format = "), "{text}");
    std::fs::write(&manifest, format!("format = 99\nfeathers = true\n{rest}")).unwrap();
    let before = std::fs::read(manifest.with_file_name("log.redb")).unwrap();
    world.house.comes_back().await;

    let refused = mara.client.workspace(mara.workspace_id()).describe().await.unwrap_err();
    assert!(refused.to_string().contains("format 99"), "{refused}");
    assert_eq!(tara.sees("LX 1", "label").await, "Dawn");
    let status = mara.asks_how_it_is().await;
    assert!(status.why.contains("newer version"), "{status:?}");
    world.house.stops().await;
    assert_eq!(std::fs::read(manifest.with_file_name("log.redb")).unwrap(), before);
    std::fs::write(&manifest, text).unwrap();
    world.house.comes_back().await;
    assert_eq!(mara.knows_tables().await, ["cues"]);
}

#[tokio::test]
async fn where_no_node_runs_the_command_line_says_how_to_start_one() {
    let mut world = World::new().await;
    world.house.stops().await;
    world.types("openprod records cues").await.fails(3).says("openprod up");
    world.types("openprod nonsense").await.fails(2);
    world.types("openprod records").await.fails(2);
}

#[tokio::test]
async fn a_node_that_ran_out_of_open_files_goes_on_when_they_are_closed() {
    let setup = Setup { open_files: Some(64), ..Setup::default() };
    let world = World::with(setup).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    let socket = world.house.folder().join("openprod.sock");
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.extend(tokio::net::UnixStream::connect(&socket).await);
    }
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    drop(crowd);
    let late = mara.in_another_browser().await;
    assert_eq!(late.sees("LX 1", "label").await, "Dawn");
}

#[tokio::test]
async fn a_frozen_node_is_waited_for_and_acts_once() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "0"]).await;
    world.house.freezes();
    let writing = mara.sets("LX 1", "label", "1");
    let waking = async {
        tokio::task::yield_now().await;
        world.house.thaws();
    };
    tokio::join!(writing, waking);
    assert_eq!(mara.sees("LX 1", "label").await, "1");
    let history = mara.reads_history(openprod_client::v1::ListBundlesRequest::default()).await;
    assert_eq!(history.iter().filter(|line| line.contains("Set label")).count(), 1);
}
