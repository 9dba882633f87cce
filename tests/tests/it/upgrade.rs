//! Upgrades: a folder of an older version is brought forward after a backup, and that of a newer one is left alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use openprod_client::v1;

use crate::world::{Node, Setup, World, connected, row, typed};

/// Unpacks a folder that an older version left, as it was.
fn unpacked(name: &str) -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("house");
    std::fs::create_dir(&folder).unwrap();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("old").join(name);
    let tar = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&folder).arg("--no-same-owner").status();
    assert!(tar.unwrap().success());
    (place, folder)
}

/// The only folder below this one.
fn only(folder: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let first = entries.next().unwrap();
    assert!(entries.next().is_none(), "{} holds several", folder.display());
    first
}

#[tokio::test]
async fn a_folder_with_a_log_of_format_1_is_backed_up_brought_forward_and_goes_on() {
    let (_place, folder) = unpacked("log-format-1.tar.gz");
    let workspace = only(&folder.join("workspaces"));
    let before = std::fs::read(workspace.join("log.redb")).unwrap();
    let mut node = Node::start(&folder, Setup::default()).await;
    node.says("migrating").await;
    typed("openprod records cast", &folder, &[]).await.ok().says("18:30").says("Orsino").says_nothing_of("Duke");
    typed("openprod set cast \"Jane Doe\" call=19:00", &folder, &[]).await.ok();
    typed("openprod undo", &folder, &[]).await.ok();
    typed("openprod undo", &folder, &[]).await.ok();
    typed("openprod records cast", &folder, &[]).await.ok().says("18:00");
    typed("openprod verify", &folder, &[]).await.ok().says("ok");
    let backup = only(&workspace.join("backups"));
    assert_eq!(std::fs::read(backup.join("log.redb")).unwrap(), before, "the way back is as it was");

    node.stops().await;
    node.comes_back().await;
    assert!(!node.has_said("migrating"), "it is done once");
    assert_eq!(only(&workspace.join("backups")), backup);
}

/// The node's build says that it speaks these protocol versions.
fn speaking(versions: &str) -> Setup {
    Setup { peers: "127.0.0.1:0".to_owned(), ..Setup::failpoints(&format!("peers-versions=return({versions})")) }
}

#[tokio::test]
async fn a_newer_protocol_version_talks_down_to_an_older_one_and_no_overlap_is_told_with_what_to_do() {
    let mut world = World::with(Setup::among_peers()).await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    let (mut tour, leo) = world.joined_at(speaking("1-2"), "Leo", &mara).await;
    leo.comes_to_see("LX 1", "label", "Dawn").await;
    let figures = leo.sees_peer(|peer| peer.connection.is_some()).await.connection.unwrap();
    assert_eq!(figures.protocol_version, 1);

    tour.stops().await;
    tour.set_up(speaking("2-3"));
    tour.comes_back().await;
    let leo = leo.through(tour.socket()).await.in_workspace(mara.workspace_id());
    leo.names_peer(&mara.is_dialled_at().await).await;
    leo.sees_peer(|peer| peer.advice.iter().any(|advice| advice.contains("same version of openprod"))).await;
    leo.types("openprod doctor").await.fails(1).says("peers.version").says("Install the same version");
    leo.types("openprod peers").await.ok().says("no protocol version in common");

    // The older of the two is updated.
    world.house.stops().await;
    world.house.set_up(speaking("1-2"));
    world.house.comes_back().await;
    let mara = mara.through(world.house.socket()).await.in_workspace(mara.workspace_id());
    mara.names_peer(&leo.is_dialled_at().await).await;
    leo.sets("LX 1", "label", "Dusk").await;
    mara.comes_to_see("LX 1", "label", "Dusk").await;
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_refused_in_words_and_not_touched() {
    let (_place, folder) = unpacked("log-format-1.tar.gz");
    let workspace = only(&folder.join("workspaces"));
    let manifest = std::fs::read_to_string(workspace.join("workspace.toml")).unwrap();
    let newer = manifest.replace("format = 2", "format = 99").replace("0.1.0", "7.0.0");
    std::fs::write(workspace.join("workspace.toml"), &newer).unwrap();
    let files =
        || ["log.redb", "state.redb", "workspace.toml"].map(|file| std::fs::read(workspace.join(file)).unwrap());
    let before = files();
    let mut node = Node::start(&folder, Setup::default()).await;
    let client = connected(node.socket()).await;
    let status = client.ask(v1::GetStatusRequest {}).await.unwrap();
    assert_eq!(status.workspaces[0].state(), v1::WorkspaceState::Failed);
    typed("openprod status", &folder, &[]).await.ok().says("format 99").says("openprod 7.0.0");
    typed("openprod records cast", &folder, &[]).await.fails(1).says("Install the newer version");
    typed("openprod doctor", &folder, &[]).await.fails(1).says("Install the version that wrote it");
    typed("openprod init \"Something else\"", &folder, &[]).await.ok();
    node.stops().await;
    assert_eq!(files(), before);
}
