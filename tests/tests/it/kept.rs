//! What is kept: backups, files of a whole workspace, checks.

use openprod_client::v1;

use crate::world::{Person, World, brings_in, connected, row, typed, workspace_id};

async fn some_work(mara: &Person) {
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    mara.sets("LX 1", "label", "Sunrise").await;
}

#[tokio::test]
async fn a_workspace_goes_to_another_node_in_one_file_with_its_whole_history() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    some_work(&mara).await;
    let report = mara.finds_all_well().await;
    let file = mara.takes_out().await;

    let tour = world.another_node("tour").await;
    let there = connected(tour.socket()).await;
    let taken = brings_in(&there, file.clone()).await.unwrap();
    assert_eq!((taken.name.as_str(), taken.revision, taken.new_bundles), ("Hamlet", report.revision, report.bundles));
    let again = brings_in(&there, file).await.unwrap();
    assert_eq!((again.new_bundles, again.known_bundles), (0, report.bundles), "nothing is doubled");

    let copy = there.workspace(workspace_id(&taken.workspace));
    let bundles = copy.pages(v1::ListBundlesRequest::default()).all().await.unwrap();
    let labels: Vec<_> = bundles.iter().map(|bundle| format!("{}: {}", bundle.actor_name, bundle.label)).collect();
    assert_eq!(labels, mara.reads_history(openprod_client::v1::ListBundlesRequest::default()).await);
    let mut answers = copy.verify().await.unwrap();
    let mut last = None;
    while let Some(answer) = answers.next().await.unwrap() {
        last = answer.event;
    }
    let Some(v1::verify_response::Event::Report(over_there)) = last else { panic!("{last:?}") };
    assert_eq!(over_there.state_hash, report.state_hash, "same bundles, same state");
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_leaves_no_trace() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    some_work(&mara).await;
    let file = mara.takes_out().await.concat();
    let tour = world.another_node("tour").await;
    let there = connected(tour.socket()).await;
    let mut flipped = file.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (what, bytes) in [
        ("cut", file[..file.len() / 2].to_vec()),
        ("flipped", flipped),
        ("garbage", vec![7; 5_000]),
        ("empty", Vec::new()),
    ] {
        let refused = brings_in(&there, vec![bytes]).await.expect_err(what);
        assert!(!refused.reason.is_empty() && !refused.message.is_empty(), "{what}: {refused:?}");
        assert_ne!(refused.reason, "INTERNAL", "{what}: {refused:?}");
        assert!(there.list_workspaces().await.unwrap().is_empty(), "{what}");
    }
    assert_eq!(brings_in(&there, vec![file]).await.unwrap().name, "Hamlet");
}

#[tokio::test]
async fn a_backup_is_written_while_people_work_and_restored_on_another_computer() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    some_work(&mara).await;
    let path = world.desk().join("saved");
    let report = mara.backs_up(path.to_str().unwrap()).await;
    assert_eq!((report.revision, report.bundles), (4, 4));
    mara.sets("LX 1", "label", "Noon").await;
    mara.types("openprod backup").await.ok();
    let again = mara.types(&format!("openprod backup --output {}", path.display())).await.fails(1);
    assert!(again.err.starts_with("error: "), "nothing is overwritten: {again}");

    let mut tour = world.another_node("tour").await;
    let restore = format!("openprod restore {} --yes", report.path);
    typed(&restore, tour.folder(), &[]).await.fails(1).says("node runs");
    tour.stops().await;
    typed(&restore, tour.folder(), &[]).await.ok();
    tour.comes_back().await;
    typed("openprod records cues", tour.folder(), &[]).await.ok().says("Sunrise").says_nothing_of("Noon");
    typed("openprod verify", tour.folder(), &[]).await.ok();
}

#[tokio::test]
async fn a_backup_that_was_cut_is_refused_with_the_reason() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    some_work(&mara).await;
    let path = world.desk().join("saved");
    let report = mara.backs_up(path.to_str().unwrap()).await;
    let saved = std::path::PathBuf::from(&report.path);
    let files = std::fs::read_dir(&saved).unwrap().map(|entry| entry.unwrap().path());
    let largest = files.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&largest).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let mut tour = world.another_node("tour").await;
    tour.stops().await;
    let refused = typed(&format!("openprod restore {} --yes", report.path), tour.folder(), &[]).await.fails(1);
    assert!(refused.err.starts_with("error: "), "{refused}");
    tour.comes_back().await;
    typed("openprod workspaces", tour.folder(), &[]).await.ok().says_nothing_of("Hamlet");
}

#[tokio::test]
async fn a_check_finds_nothing_in_what_people_do() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    some_work(&mara).await;
    mara.looks("LX 1").await;
    leo.looks("LX 1").await;
    mara.sets("LX 1", "label", "a").await;
    leo.sets("LX 1", "label", "b").await;
    mara.deletes("LX 1").await;
    let report = mara.verifies().await;
    assert_eq!((report.outcome(), report.bundles), (v1::CheckOutcome::Ok, report.revision), "{report:#?}");
    assert!(mara.lists_quarantine().await.is_empty());
    mara.types("openprod verify").await.ok();
    mara.types("openprod quarantine").await.ok();
    mara.types("openprod export --workspace-file hamlet.openprod").await.ok();
    assert!(world.desk().join("hamlet.openprod").exists());
}

#[tokio::test]
async fn a_check_of_a_node_without_its_state_warns_and_does_not_fail() {
    let mut world = World::new().await;
    let mara = world.person("Mara").await;
    some_work(&mara).await;
    world.house.stops().await;
    std::fs::remove_file(world.house.workspace_folder().join("state.redb")).unwrap();
    world.types("openprod verify --offline").await.ok().says("state.missing").says("warning");
}
