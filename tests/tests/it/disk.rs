//! Disks that are full, damaged or empty: writes are refused with the reason, what is damaged is named, the rest goes on.

use std::path::{Path, PathBuf};

use openprod_api::status::ApiError;
use openprod_client::v1;

use crate::world::{Names, Node, Person, Setup, World, create_record, row};

/// A file system of its own with very little room.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where mounting is not permitted; that is said, and the test passes.
    fn of(size: &str) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(place.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(place));
        }
        println!("SKIPPED: mounting a small tmpfs needs root");
        None
    }

    /// Takes all room but so many bytes.
    fn fill_but(&self, left: u64) -> PathBuf {
        use std::io::Write as _;
        let path = self.0.path().join("ballast");
        let mut ballast = std::fs::File::create(&path).unwrap();
        while ballast.write_all(&[1; 4096]).is_ok() {}
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length - left).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_serves_reads_and_loses_nothing() {
    let Some(disk) = SmallDisk::of("40m") else { return };
    let node = Node::start(&disk.0.path().join("house"), Setup::default()).await;
    let mara = Person::arrives(&node, "Mara", Names::default()).await;
    let show = mara.founds("Hamlet").await;
    let mara = mara.in_workspace(show);
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "first", Vec::new()).await;
    let ballast = disk.fill_but(2 * 1024 * 1024);

    let mut acknowledged = vec!["first".to_owned()];
    let long = "x".repeat(64 * 1024);
    let refused = loop {
        let name = format!("cue {:03}", acknowledged.len());
        let add = create_record("", "cues", row!["name" => name.as_str(), "label" => long.as_str()]);
        match mara.client.commands().execute(mara.request(vec![add])).await {
            Ok(_) => acknowledged.push(name),
            Err(status) => break ApiError::from(status),
        }
        assert!(acknowledged.len() < 200, "the disk is never full");
    };
    assert_eq!(refused.reason, "DISK_FULL", "{refused:?}");
    assert!(refused.next.contains("space"), "{refused:?}");

    let question = v1::ListRecordsRequest { workspace: show.to_string(), table: "cues".into(), ..Default::default() };
    let page = mara.client.tables().list_records(question).await.expect("reads go on").into_inner();
    assert!(!page.records.is_empty());
    std::fs::remove_file(ballast).unwrap();
    mara.adds("cues", "after", Vec::new()).await;
    acknowledged.push("after".to_owned());
    assert_eq!(mara.lists("cues").await, acknowledged);
    mara.finds_all_well().await;
}

/// A workspace with two records, of which one has a text that is found again in the file.
async fn marked(world: &World) -> Person {
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "good", row!["label" => "Dawn"]).await;
    mara.adds("cues", "bad", row!["label" => "MARKED-FOR-DAMAGE"]).await;
    mara.adds("cues", "late", row!["label" => "Dusk"]).await;
    mara
}

/// Turns a bit over in each place of a file where this stands.
pub(crate) fn flip(file: &Path, marker: &[u8]) {
    let mut bytes = std::fs::read(file).unwrap();
    let places: Vec<usize> = (0..bytes.len() - marker.len()).filter(|at| bytes[*at..].starts_with(marker)).collect();
    assert!(!places.is_empty(), "the marker is in the file");
    for at in places {
        bytes[at + 3] ^= 1;
    }
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_bundle_is_named_and_set_aside_and_the_rest_is_served() {
    let mut world = World::new().await;
    let mara = marked(&world).await;
    world.house.stops().await;
    let folder = world.house.workspace_folder();
    flip(&folder.join("log.redb"), b"MARKED-FOR-DAMAGE");
    world.house.comes_back().await;

    let report = mara.verifies().await;
    assert_eq!(report.outcome(), v1::CheckOutcome::Problem, "{report:#?}");
    let finding = report.findings.iter().find(|finding| !finding.bundle_digest.is_empty()).expect("it is named");
    assert!(!finding.sentence.is_empty() && !finding.fix.is_empty(), "{finding:?}");
    mara.types("openprod verify").await.fails(1).says(&finding.bundle_digest[..8]);

    world.house.stops().await;
    std::fs::remove_file(folder.join("state.redb")).unwrap();
    world.house.comes_back().await;
    assert_eq!(mara.sees("good", "label").await, "Dawn");
    assert_eq!(mara.sees("late", "label").await, "Dusk", "what comes behind the damage is served");
    // Whoever folds tells the log of the damage, and folds the next write afterwards; the log takes one after that
    // behind what it was told.
    mara.sets("good", "label", "Sunrise").await;
    assert_eq!(mara.sees("good", "label").await, "Sunrise");
    mara.sets("good", "label", "Morning").await;
    let status = mara.asks_how_it_is().await;
    assert_eq!((status.damaged_count, status.quarantine_count), (1, 1), "{status:?}");
    let items = mara.lists_quarantine().await;
    let [item] = &items[..] else { panic!("{items:?}") };
    assert!(!item.sentence.is_empty() && !item.next.is_empty(), "{item:?}");

    let looked = mara.looks_at_quarantined(item.number).await;
    assert_eq!(looked.item.unwrap().number, item.number);
    assert!(!mara.takes_quarantined(item.number).await.is_empty());
    assert!(!mara.retries_quarantined(item.number).await.admitted, "damage does not go away");
    mara.types("openprod quarantine").await.ok().says(&item.number.to_string());
    mara.types(&format!("openprod quarantine show {}", item.number)).await.ok();
    mara.skips_quarantined(item.number).await;
    assert_eq!(mara.asks_how_it_is().await.quarantine_count, 0, "the alarm is silenced");
    assert!(mara.lists_quarantine().await[0].skipped);
}

#[tokio::test]
async fn state_is_disposable_and_made_anew_from_the_log() {
    let mut world = World::new().await;
    let mara = marked(&world).await;
    let before = mara.finds_all_well().await.state_hash;
    for what in ["deleted", "truncated", "empty", "garbage", "of another workspace"] {
        world.house.stops().await;
        let state = world.house.workspace_folder().join("state.redb");
        match what {
            "deleted" => std::fs::remove_file(&state).unwrap(),
            "truncated" => std::fs::OpenOptions::new().write(true).open(&state).unwrap().set_len(8 * 1024).unwrap(),
            "empty" => std::fs::write(&state, b"").unwrap(),
            "garbage" => std::fs::write(&state, vec![0xa5; 100_000]).unwrap(),
            _ => drop(std::fs::copy(foreign_state().await, &state).unwrap()),
        }
        world.house.comes_back().await;
        assert_eq!(mara.lists("cues").await, ["good", "bad", "late"], "{what}");
        assert_eq!(mara.finds_all_well().await.state_hash, before, "{what}");
    }
}

/// The state of a workspace that has nothing to do with ours.
async fn foreign_state() -> PathBuf {
    let mut other = World::new().await;
    marked(&other).await;
    other.house.stops().await;
    let kept = tempfile::NamedTempFile::new().unwrap().into_temp_path().keep().unwrap();
    std::fs::copy(other.house.workspace_folder().join("state.redb"), &kept).unwrap();
    kept
}

#[tokio::test]
async fn a_log_that_cannot_be_read_stops_its_workspace_loudly_and_no_other() {
    let mut world = World::new().await;
    let (mara, tara) = (world.person_in("Hamlet", "Mara").await, world.person_in("Tosca", "Tara").await);
    tara.makes_table("cues", &["label text"]).await;
    tara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    world.house.stops().await;
    let log = world.house.folder().join(format!("workspaces/{}/log.redb", mara.workspace_id()));
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, vec![0x5a; 50_000]).unwrap();
    world.house.comes_back().await;
    let status = mara.asks_how_it_is().await;
    assert_eq!(status.state(), v1::WorkspaceState::Failed, "{status:?}");
    assert!(status.why.contains("log.redb"), "{status:?}");
    assert_eq!(std::fs::read(&log).unwrap(), vec![0x5a; 50_000], "nothing is overwritten");
    assert_eq!(tara.sees("LX 1", "label").await, "Dawn");
    world.house.stops().await;
    std::fs::write(&log, whole).unwrap();
    world.house.comes_back().await;
    assert_eq!(mara.describes().await.name, "Hamlet");
}

#[tokio::test]
async fn in_an_emergency_everything_readable_is_saved_without_a_node() {
    let mut world = World::new().await;
    let mara = marked(&world).await;
    mara.types("openprod export --emergency --output while-it-runs").await.ok();
    world.house.stops().await;
    let folder = world.house.workspace_folder();
    world.types("openprod verify --offline").await.ok();
    std::fs::remove_file(folder.join("state.redb")).unwrap();
    world.types("openprod export --emergency --output whole").await.ok().says("Saved 1 tables");
    let whole = std::fs::read_to_string(world.desk().join("whole/cues.csv")).unwrap();
    assert!(["Dawn", "MARKED-FOR-DAMAGE", "Dusk"].iter().all(|label| whole.contains(label)), "{whole}");

    flip(&folder.join("log.redb"), b"MARKED-FOR-DAMAGE");
    world.types("openprod verify --offline").await.fails(1);
    world.types("openprod export --emergency --output part").await.fails(4).says("REPORT.txt");
    let part = std::fs::read_to_string(world.desk().join("part/cues.csv")).unwrap();
    assert!(part.contains("Dawn") && part.contains("Dusk"), "what is whole is saved: {part}");
    let report = std::fs::read_to_string(world.desk().join("part/REPORT.txt")).unwrap();
    assert!(!report.is_empty());
    world.types("openprod export --emergency --output part").await.fails(1);

    // Half of the file is gone.
    let log = std::fs::OpenOptions::new().write(true).open(folder.join("log.redb")).unwrap();
    log.set_len(log.metadata().unwrap().len() / 2).unwrap();
    let typed = world.types("openprod export --emergency --output half").await;
    assert!([1, 4].contains(&typed.code) && typed.err.contains("error: "), "it says what it could do: {typed}");
}
