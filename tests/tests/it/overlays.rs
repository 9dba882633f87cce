//! Overlays: private until committed, isolated from each other, persistent, never committed twice.

use std::path::Path;

use openprod_client::{Change, From, v1};

use crate::world::{Person, Setup, World, admit_member, brings_in, connected, create_record, row, set_fields, set_to};

async fn two_cues(world: &World) -> (Person, Person) {
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    mara.adds("cues", "LX 2", row!["label" => "Dusk"]).await;
    (mara, leo)
}

#[tokio::test]
async fn what_is_staged_is_seen_in_its_overlay_and_nowhere_else() {
    let world = World::new().await;
    let (mara, leo) = two_cues(&world).await;
    let before = leo.everything().await;
    let (one, other) = (mara.opens_overlay("one").await, mara.opens_overlay("other").await);
    one.sets("LX 1", "label", "Noon").await;
    one.adds("cues", "LX 3", row!["label" => "Night"]).await;
    one.joins("LX 1", "follows", "LX 3").await;
    one.sets("LX 3", "label", "Midnight").await;
    other.deletes("LX 1").await;
    assert_eq!(one.lists("cues").await, ["LX 1", "LX 2", "LX 3"]);
    assert_eq!(one.asks("table == \"cues\" AND label == \"Midnight\"").await, ["LX 3"]);
    assert_eq!(one.follows("follows", "LX 3").await, ["LX 1"]);
    assert_eq!(other.lists("cues").await, ["LX 2"]);
    assert_eq!(leo.everything().await, before);
    assert!(
        leo.fails_at(vec![set_fields(&one.id("LX 3"), "cues", row!["label" => "x"])]).await.reason == "UNKNOWN_RECORD"
    );

    mara.commits("one").await;
    assert_eq!(leo.lists("cues").await, ["LX 1", "LX 2", "LX 3"]);
    assert_eq!(leo.follows("follows", "LX 3").await, ["LX 1"]);
    assert_eq!(leo.sees("LX 3", "label").await, "Midnight");
    assert_eq!(other.lists("cues").await, ["LX 2", "LX 3"], "the other one lies on what there is now");
    mara.discards("other").await;
    assert!(mara.lists_overlays().await.is_empty());
    leo.finds_all_well().await;
}

#[tokio::test]
async fn an_overlay_is_active_in_one_session_until_it_is_left_or_the_node_restarts() {
    let mut world = World::new().await;
    let (mara, _) = two_cues(&world).await;
    mara.opens_overlay("draft").await;
    let tablet = mara.in_another_browser().await;
    mara.works_in("draft").await;
    assert_eq!(mara.looks_at_overlay("draft").await.active_sessions, 1);
    assert!(mara.sets("LX 1", "label", "Noon").await.staged.is_some());
    assert!(tablet.sets("LX 2", "label", "Late").await.staged.is_none());
    mara.leaves_overlay().await;
    assert!(mara.sets("LX 2", "label", "Later").await.staged.is_none());
    mara.works_in("draft").await;
    world.restarts().await;
    assert_eq!(mara.looks_at_overlay("draft").await.staged_cells, 1, "what is staged stays");
    assert!(mara.sets("LX 2", "label", "Latest").await.staged.is_none(), "active nowhere");
    mara.renames_overlay("draft", "first draft").await;
    assert_eq!(mara.commits("first draft").await.opened_conflicts.len(), 0);
    assert_eq!(mara.sees("LX 1", "label").await, "Noon");
}

#[tokio::test]
async fn steps_in_an_overlay_are_undone_and_redone_and_records_knocked_out() {
    let world = World::new().await;
    let (mara, leo) = two_cues(&world).await;
    let draft = mara.opens_overlay("draft").await;
    draft.sets("LX 1", "label", "Noon").await;
    draft.adds("cues", "LX 3", row!["label" => "Night"]).await;
    assert!(mara.takes_back("draft").await.contains("LX 3") || draft.lists("cues").await == ["LX 1", "LX 2"]);
    assert_eq!(draft.lists("cues").await, ["LX 1", "LX 2"]);
    mara.takes_back("draft").await;
    assert_eq!(draft.sees("LX 1", "label").await, "Dawn");
    mara.does_again("draft").await;
    mara.does_again("draft").await;
    assert_eq!(draft.lists("cues").await, ["LX 1", "LX 2", "LX 3"]);
    mara.knocks_out("draft", "LX 3").await;
    assert_eq!(draft.lists("cues").await, ["LX 1", "LX 2"]);
    mara.types("openprod overlay undo draft").await.ok().says("Taken back");
    mara.types("openprod overlay knock-out draft cues \"LX 3\"").await.ok();
    mara.types("openprod overlay undo draft").await.ok();
    mara.types("openprod overlay redo draft").await.ok().says("Done again");
    leo.looks("LX 1").await;
    leo.sets("LX 1", "label", "Theirs").await;
    mara.types("openprod overlay keep-mine draft --all").await.ok().says("Kept mine: 1");
    mara.commits("draft").await;
    let shown = leo.looks_at("LX 1", "label").await;
    assert_eq!((crate::world::aloud(shown.value.as_ref()).as_str(), shown.in_conflict), ("Noon", false));
}

#[tokio::test]
async fn drift_is_kept_or_given_up_field_by_field_through_the_api_too() {
    let world = World::new().await;
    let (mara, leo) = two_cues(&world).await;
    let draft = mara.opens_overlay("draft").await;
    draft.sets("LX 1", "label", "Mine 1").await;
    draft.sets("LX 2", "label", "Mine 2").await;
    leo.looks("LX 1").await;
    leo.sets("LX 1", "label", "Theirs 1").await;
    leo.sets("LX 2", "label", "Theirs 2").await;
    assert_eq!(mara.finds_drift("draft").await.len(), 2);
    mara.keeps_mine("draft", Some(("LX 1", "label"))).await;
    mara.uses_canonical("draft", None).await;
    assert!(mara.finds_drift("draft").await.is_empty());
    mara.commits("draft").await;
    assert_eq!(
        (leo.sees("LX 1", "label").await, leo.sees("LX 2", "label").await),
        ("Mine 1".into(), "Theirs 2".into())
    );
}

#[tokio::test]
async fn records_are_merged_in_an_overlay_first_and_then_for_everybody() {
    let world = World::new().await;
    let (mara, leo) = two_cues(&world).await;
    let draft = mara.opens_overlay("draft").await;
    draft.merges(&["LX 1", "LX 2"]).await;
    draft.decides("LX 1", "label", "Both").await;
    draft.decides("LX 1", "name", "LX 1+2").await;
    assert_eq!(draft.lists("cues").await, ["LX 1+2"]);
    assert_eq!(leo.lists("cues").await, ["LX 1", "LX 2"]);
    leo.looks("LX 2").await;
    leo.sets("LX 2", "label", "Theirs").await;
    assert_eq!(mara.finds_drift("draft").await.len(), 1, "under one of its ids");
    mara.keeps_mine("draft", None).await;
    assert!(mara.commits("draft").await.opened_conflicts.is_empty());
    assert_eq!(leo.lists("cues").await, ["LX 1+2"]);
    assert_eq!(leo.sees("LX 2", "label").await, "Both");
    leo.finds_all_well().await;
}

#[tokio::test]
async fn membership_is_not_staged_and_a_commit_stands_alone() {
    let world = World::new().await;
    let (mara, leo) = two_cues(&world).await;
    let draft = mara.opens_overlay("draft").await;
    let stranger = world.stranger("Eve").await;
    let refused = draft.fails_at(vec![admit_member(&stranger.actor.to_string(), "Eve")]).await;
    assert_eq!((refused.reason.as_str(), refused.next.is_empty()), ("NOT_IN_OVERLAY", false), "{refused:?}");
    draft.sets("LX 1", "label", "Noon").await;
    let overlay = mara.overlay_id("draft").await.to_string();
    let commit = v1::Command { kind: Some(v1::command::Kind::CommitOverlay(v1::CommitOverlay { overlay })) };
    let two = vec![commit, set_fields(&mara.id("LX 2"), "cues", row!["label" => "x"])];
    assert_eq!(leo.fails_at(two).await.reason, "INVALID_REQUEST");
    mara.types("openprod overlay create draft").await.fails(1).says("already");
}

#[tokio::test]
async fn whoever_watches_hears_of_overlays() {
    let world = World::new().await;
    let (mara, leo) = two_cues(&world).await;
    mara.catches_up().await;
    let mut watch = mara.watches(From::Snapshot, &[]);
    watch.hears_the_snapshot().await;
    let draft = mara.opens_overlay("draft").await;
    let event = watch.hears_of_an_overlay().await;
    assert_eq!((event.kind(), event.name.as_str()), (v1::OverlayEventKind::Changed, "draft"));
    draft.sets("LX 1", "label", "Noon").await;
    assert_eq!(watch.hears_of_an_overlay().await.kind(), v1::OverlayEventKind::Changed);
    leo.looks("LX 1").await;
    leo.sets("LX 1", "label", "Theirs").await;
    assert_eq!(watch.hears_of_an_overlay().await.kind(), v1::OverlayEventKind::Drifted);
    mara.uses_canonical("draft", None).await;
    assert_eq!(watch.hears_of_an_overlay().await.kind(), v1::OverlayEventKind::Changed);
    draft.sets("LX 2", "label", "Noon").await;
    assert_eq!(watch.hears_of_an_overlay().await.kind(), v1::OverlayEventKind::Changed);
    mara.commits("draft").await;
    let done = watch.hears_of_an_overlay().await;
    assert_eq!((done.kind(), done.revision > 0), (v1::OverlayEventKind::Committed, true), "{done:?}");
    mara.opens_overlay("another").await;
    watch.hears_of_an_overlay().await;
    mara.discards("another").await;
    assert_eq!(watch.hears_of_an_overlay().await.kind(), v1::OverlayEventKind::Discarded);
}

const SECRET: &str = "SWORDFISH-NOBODY-MAY-READ-THIS";

fn holds(path: &Path) -> bool {
    if path.is_dir() {
        return std::fs::read_dir(path).unwrap().any(|entry| holds(&entry.unwrap().path()));
    }
    // A socket holds nothing.
    path.is_file() && std::fs::read(path).unwrap().windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes())
}

#[tokio::test]
async fn nothing_of_an_overlay_leaves_the_node() {
    let world = World::new().await;
    let (mara, _) = two_cues(&world).await;
    let draft = mara.opens_overlay("draft").await;
    draft.sets("LX 1", "label", SECRET).await;
    let folder = world.house.workspace_folder();
    assert!(holds(&folder.join("overlays.redb")), "it is kept here");
    assert!(!holds(&folder.join("log.redb")) && !holds(&folder.join("state.redb")));

    for export in ["cues -o out.csv", "--all -o all --format jsonl", "--workspace-file show.openprod"] {
        mara.types(&format!("openprod export {export}")).await.ok();
    }
    for name in ["out.csv", "all", "show.openprod"] {
        assert!(!holds(&world.desk().join(name)), "{name}");
    }
    mara.backs_up(world.desk().join("saved").to_str().unwrap()).await;
    assert!(!holds(&world.desk().join("saved")));
    let tour = world.another_node("tour").await;
    let there = connected(tour.socket()).await;
    let taken = brings_in(&there, mara.takes_out().await).await.unwrap();
    let copy = there.workspace(taken.workspace.parse().unwrap());
    assert!(copy.list_overlays().await.unwrap().is_empty());
    assert!(!holds(tour.folder()), "not even packed");
}

/// Stages a change under one command id, and commits under another.
async fn staged_and_ready(mara: &Person) -> (Person, Change) {
    let draft = mara.opens_overlay("draft").await;
    draft.sets("LX 1", "label", "Noon").await;
    let overlay = mara.overlay_id("draft").await.to_string();
    let commit = v1::Command { kind: Some(v1::command::Kind::CommitOverlay(v1::CommitOverlay { overlay })) };
    (draft, Change::new([commit]))
}

#[tokio::test]
async fn a_node_that_dies_between_a_commit_and_the_overlays_end_commits_once() {
    let mut world = World::new().await;
    let (mara, leo) = two_cues(&world).await;
    let (_, commit) = staged_and_ready(&mara).await;
    for action in ["abort", "stop"] {
        world.house.dies();
        world.house.set_up(Setup::faults(&format!("overlays-before-drop:1={action}")));
        world.house.launches();
        world.house.says("ready").await;
        let _ = tokio::time::timeout(std::time::Duration::from_secs(20), mara.workspace().execute(&commit)).await;
        world.house.says("fault at overlays-before-drop").await;
        world.house.dies();
    }
    world.house.set_up(Setup::default());
    world.house.comes_back().await;
    let again = mara.brings(&commit).await;
    assert!(again.replayed, "the answer is known");
    assert!(mara.lists_overlays().await.is_empty());
    let commits = v1::ListBundlesRequest { kinds: vec![v1::BundleKind::Overlay.into()], ..Default::default() };
    assert_eq!(leo.reads_history(commits).await, ["Mara: Commit draft"]);
    assert_eq!(leo.sees("LX 1", "label").await, "Noon");
    leo.finds_all_well().await;
}

#[tokio::test]
async fn a_second_commit_before_the_overlay_is_dropped_is_refused() {
    let mut world = World::new().await;
    let (mara, leo) = two_cues(&world).await;
    let (_, commit) = staged_and_ready(&mara).await;
    world.house.dies();
    world.house.set_up(Setup::faults("overlays-before-drop:1=stop"));
    world.house.comes_back().await;
    let first = mara.workspace().execute(&commit).await.unwrap();
    world.house.says("fault at overlays-before-drop").await;
    let overlay = mara.overlay_id("draft").await.to_string();
    let command = v1::Command { kind: Some(v1::command::Kind::CommitOverlay(v1::CommitOverlay { overlay })) };
    let refused = leo.fails_at(vec![command]).await;
    assert!(refused.message.contains("committed"), "{refused:?}");
    world.house.dies();
    world.house.set_up(Setup::default());
    world.house.comes_back().await;
    assert!(mara.lists_overlays().await.is_empty());
    assert_eq!(mara.describes().await.revision, first.revision);
}

#[tokio::test]
async fn a_node_that_dies_while_it_stages_has_staged_once_or_not_at_all() {
    let mut world = World::new().await;
    let (mara, _) = two_cues(&world).await;
    let draft = mara.opens_overlay("draft").await;
    let mut names = vec!["LX 1".to_owned(), "LX 2".to_owned()];
    for point in ["commands-after-plan", "overlays-before-commit", "overlays-after-commit"] {
        for action in ["abort", "stop"] {
            world.house.dies();
            world.house.set_up(Setup::faults(&format!("{point}:1={action}")));
            world.house.launches();
            world.house.says("ready").await;
            let name = format!("{point} {action}");
            let add = Change::new([create_record("", "cues", vec![set_to("name", name.as_str())])]);
            let through = draft.workspace();
            let staging = tokio::time::timeout(std::time::Duration::from_secs(20), through.execute(&add));
            let (dying, ()) = tokio::join!(staging, async {
                world.house.says(&format!("fault at {point}")).await;
                world.house.dies();
                world.house.set_up(Setup::default());
                world.house.comes_back().await;
            });
            if !matches!(dying, Ok(Ok(_))) {
                draft.brings(&add).await;
            }
            draft.brings(&add).await;
            names.push(name);
            assert_eq!(draft.lists("cues").await, names, "{point} {action}");
        }
    }
    mara.commits("draft").await;
    assert_eq!(mara.lists("cues").await, names);
    mara.finds_all_well().await;
}

#[tokio::test]
async fn a_damaged_file_of_overlays_stops_nothing_else() {
    let mut world = World::new().await;
    let (mara, _) = two_cues(&world).await;
    mara.opens_overlay("draft").await.sets("LX 1", "label", "Noon").await;
    world.house.stops().await;
    let file = world.house.workspace_folder().join("overlays.redb");
    std::fs::write(&file, vec![7; 40_000]).unwrap();
    world.house.comes_back().await;
    mara.sets("LX 1", "label", "Night").await;
    assert_eq!(mara.sees("LX 1", "label").await, "Night");
    mara.types("openprod overlay list").await.fails(1).says("overlays.redb");
    world.house.stops().await;
    std::fs::remove_file(&file).unwrap();
    world.house.comes_back().await;
    assert!(mara.lists_overlays().await.is_empty());
    mara.opens_overlay("draft").await.sets("LX 1", "label", "Noon").await;
    mara.commits("draft").await;
}
