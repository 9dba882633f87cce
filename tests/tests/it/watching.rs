//! Watching: a snapshot, then every bundle once, in order, across restarts; and a plain word where that cannot be.

use openprod_client::{Event, From, v1};

use crate::world::{World, row, told};

#[tokio::test]
async fn a_watcher_is_shown_what_is_there_and_then_what_happens() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    let mut watch = leo.watches(From::Snapshot, &[]);
    let snapshot = watch.hears_the_snapshot().await;
    assert_eq!((snapshot.tables.len(), snapshot.records.len(), snapshot.edges.len()), (1, 1, 0));

    mara.sets("LX 12", "label", "Sunrise").await;
    mara.looks("LX 12").await;
    mara.removes("LX 12", "cues").await;
    let batch = watch.hears_of_a_bundle().await;
    assert_eq!(told(&batch, "label"), "changed: label=Sunrise");
    let bundle = batch.bundle.as_ref().unwrap();
    assert_eq!((bundle.actor_name.as_str(), bundle.kind()), ("Mara", v1::BundleKind::Edit));
    assert_eq!(told(&watch.hears_of_a_bundle().await, "label"), "removed: label=nothing");
}

#[tokio::test]
async fn a_watcher_of_one_table_hears_of_no_other() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.makes_table("notes", &["label text"]).await;
    let mut watch = mara.watches(From::Snapshot, &["cues"]);
    watch.hears_the_snapshot().await;
    mara.adds("notes", "A note", row!["label" => "quiet"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    assert_eq!(told(&watch.hears_of_a_bundle().await, "label"), "created: label=Dawn");
}

#[tokio::test]
async fn nothing_is_missed_or_told_twice_when_the_node_dies_and_comes_back() {
    let mut world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "0"]).await;
    let mut watch = mara.watches(From::Snapshot, &[]);
    watch.hears_the_snapshot().await;
    let mut heard = Vec::new();
    for round in 1..=3 {
        mara.sets("LX 12", "label", format!("{round}a")).await;
        heard.push(told(&watch.hears_of_a_bundle().await, "label"));
        mara.sets("LX 12", "label", format!("{round}b")).await;
        world.pulls_the_plug().await;
        mara.sets("LX 12", "label", format!("{round}c")).await;
        heard.push(told(&watch.hears_of_a_bundle().await, "label"));
        heard.push(told(&watch.hears_of_a_bundle().await, "label"));
    }
    let expected =
        ["1a", "1b", "1c", "2a", "2b", "2c", "3a", "3b", "3c"].map(|label| format!("changed: label={label}"));
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_token_goes_on_where_it_was_given_even_in_another_client() {
    let mut world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    let mut watch = mara.watches(From::Snapshot, &[]);
    watch.hears_the_snapshot().await;
    let token = watch.token();
    drop(watch);
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    world.restarts().await;
    mara.adds("cues", "LX 2", row!["label" => "Dusk"]).await;
    let phone = mara.in_another_browser().await;
    let mut watch = phone.watches(From::Token(token), &[]);
    assert_eq!(told(&watch.hears_of_a_bundle().await, "name"), "created: name=LX 1");
    assert_eq!(told(&watch.hears_of_a_bundle().await, "name"), "created: name=LX 2");
    let mut again = phone.watches(From::Revision(2), &[]);
    assert_eq!(told(&again.hears_of_a_bundle().await, "name"), "created: name=LX 1");
}

#[tokio::test]
async fn a_token_of_a_past_that_was_restored_away_begins_anew_with_a_snapshot() {
    let mut world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    world.house.stops().await;
    let folder = world.house.workspace_folder();
    std::fs::copy(folder.join("log.redb"), world.desk().join("old.redb")).unwrap();
    world.house.comes_back().await;
    let mut watch = mara.watches(From::Snapshot, &[]);
    watch.hears_the_snapshot().await;
    mara.sets("LX 1", "label", "Sunrise").await;
    watch.hears_of_a_bundle().await;

    world.house.stops().await;
    std::fs::copy(world.desk().join("old.redb"), folder.join("log.redb")).unwrap();
    world.house.comes_back().await;
    // Another history grows over the one that the watcher saw.
    let phone = mara.in_another_browser().await;
    phone.sets("LX 1", "label", "Noon").await;
    phone.sets("LX 1", "label", "Dusk").await;
    loop {
        match watch.hears().await {
            Event::Resynced => break,
            Event::Bookmark(_) => {}
            other => panic!("a silent gap: {other:?}"),
        }
    }
    let snapshot = watch.hears_the_snapshot().await;
    assert_eq!(snapshot.records.len(), 1);
    assert_eq!(phone.sees("LX 1", "label").await, "Dusk");
}

#[tokio::test]
async fn an_import_is_told_whole_or_named_as_too_large() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let rows: String = (0..3_000).fold(String::new(), |rows, n| rows + &format!("{n},Cue number {n}\n"));
    world.file("many.csv", format!("name,label\n{rows}"));
    mara.makes_table("cues", &["label text"]).await;
    let mut watch = mara.watches(From::Snapshot, &[]);
    watch.hears_the_snapshot().await;
    mara.types("openprod import many.csv --table cues --commit").await.ok();
    let batch = watch.hears_of_a_bundle().await;
    match &batch.too_large {
        Some(too_large) => assert_eq!(too_large.tables, ["cues"]),
        None => assert_eq!(batch.records.len(), 3_000),
    }
    assert_eq!(mara.lists("cues").await.len(), 3_000);
}

#[tokio::test]
async fn the_command_line_watches_from_a_revision() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    // Its output is read until the bundle comes; a pipe that closes ends the command.
    let line = world.hears_typed("openprod watch --from 2 --json", "\"LX 1\"").await;
    assert!(line.contains("Dawn"), "{line}");
}
