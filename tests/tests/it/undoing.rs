//! Undo and redo: everything back and forth, and never over what somebody else has done since.

use std::fmt::Write as _;

use openprod_client::Change;
use openprod_client::v1::{self, UndoScope, UndoTurn};

use crate::world::{World, aloud, row, set_fields, set_to};

#[tokio::test]
async fn undo_undo_redo_undo_also_after_a_restart_and_after_the_lights_went_out() {
    let mut world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    for label in ["Sunrise", "Noon", "Dusk"] {
        mara.sets("LX 12", "label", label).await;
    }
    assert_eq!(mara.undoes().await, "Set label of cues LX 12", "right behind the edit, before anything was read");
    mara.undoes().await;
    assert_eq!(mara.sees("LX 12", "label").await, "Sunrise");
    world.restarts().await;
    mara.redoes().await;
    assert_eq!(mara.sees("LX 12", "label").await, "Noon");
    world.pulls_the_plug().await;
    mara.undoes().await;
    mara.undoes().await;
    assert_eq!(mara.sees("LX 12", "label").await, "Dawn");
    mara.undoes().await;
    assert!(mara.lists("cues").await.is_empty());
    for _ in 0..4 {
        mara.redoes().await;
    }
    assert_eq!(mara.sees("LX 12", "label").await, "Dusk");
    assert!(!mara.looks_at("LX 12", "label").await.in_conflict);
    let why = mara.cannot(Change::redo(UndoScope::Mine, None)).await;
    assert!(why.contains("There is nothing to be redone."), "{why}");
    let history = mara.reads_history(v1::ListBundlesRequest::default()).await;
    assert_eq!(history[0], "Mara: Redo: Set label of cues LX 12");
    assert_eq!(history[5], "Mara: Undo: Set label of cues LX 12");
    mara.sets("LX 12", "label", "Storm").await;
    mara.undoes().await;
    mara.sets("LX 12", "label", "Blackout").await;
    mara.cannot(Change::redo(UndoScope::Mine, None)).await;
}

#[tokio::test]
async fn what_another_changed_since_is_passed_over_with_his_name_and_the_next_goes() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text", "notes text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    mara.sets("LX 12", "notes", "Check").await;
    mara.sets("LX 12", "label", "Sunrise").await;
    leo.looks("LX 12").await;
    leo.sets("LX 12", "label", "Blackout").await;

    let ahead = mara.foresees(UndoTurn::Undo, UndoScope::Mine).await;
    let said = "cues LX 12 label was changed by Leo since.";
    assert_eq!(ahead[0], ("Set label of cues LX 12".to_owned(), said.to_owned()));
    assert_eq!(ahead[1], ("Set notes of cues LX 12".to_owned(), String::new()));
    let done = mara.brings(&Change::undo(UndoScope::Mine, None)).await;
    let skipped = &done.skipped[0];
    assert_eq!(skipped.obstacle.as_ref().unwrap().sentence, said);
    assert_eq!(skipped.obstacle.as_ref().unwrap().names, ["Leo"]);
    assert_eq!(done.undone.unwrap().label, "Set notes of cues LX 12");
    assert_eq!(mara.sees("LX 12", "label").await, "Blackout");
    assert_eq!(mara.sees("LX 12", "notes").await, "nothing");

    let set = v1::ListBundlesRequest { text: "Set label".into(), ..Default::default() };
    let both = mara.reads(set).await.bundles;
    let leos = Change::undo(UndoScope::Mine, Some(&both[0].bundle_id));
    assert!(mara.cannot(leos).await.contains("This bundle was made by Leo."));
    mara.brings(&Change::undo(UndoScope::Shared, None)).await;
    assert_eq!(mara.sees("LX 12", "label").await, "Sunrise", "in the shared scope what Leo did goes first");
    leo.redoes().await;
    assert_eq!(mara.sees("LX 12", "label").await, "Blackout");
}

#[tokio::test]
async fn an_undone_deletion_brings_back_everything_with_its_edges() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text"]).await;
    mara.makes_table("scenes", &[]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    mara.adds("scenes", "Storm", Vec::new()).await;
    let edge = mara.joins("LX 12", "belongs_to", "Storm").await;
    mara.notes("LX 12-Storm", "page", 12).await;
    mara.looks("LX 12").await;
    mara.deletes("LX 12").await;
    assert!(leo.follows("belongs_to", "Storm").await.is_empty());
    assert_eq!(mara.undoes().await, "Delete a record");
    assert_eq!(leo.follows("belongs_to", "Storm").await, ["LX 12"]);
    assert_eq!(leo.sees("LX 12", "label").await, "Dawn");
    let edge = leo.looks_at_edge(&edge).await;
    assert_eq!(aloud(edge.properties[0].value.as_ref()), "12");

    leo.sets("LX 12", "label", "Blackout").await;
    let why = mara.cannot(Change::redo(UndoScope::Mine, None)).await;
    assert!(why.contains("Redoing it would hide what Leo wrote since: cues LX 12 label."), "{why}");
    leo.undoes().await;
    mara.redoes().await;
    assert!(mara.lists("cues").await.is_empty());
}

#[tokio::test]
async fn an_import_of_a_thousand_rows_goes_and_comes_back_at_once() {
    let world = World::new().await;
    let mut rows = "cue,label,page\n".to_owned();
    for cue in 1..=1_000 {
        writeln!(rows, "{cue},Cue {cue},{}", cue / 10).unwrap();
    }
    world.file("cues.csv", rows);
    world.types("openprod init Hamlet").await.ok();
    world.types("openprod import cues.csv --table cues --key cue --commit").await.ok();
    let count = async || world.types("openprod records cues --json").await.ok().json().len();
    assert_eq!(count().await, 1_000);
    world.types("openprod undo --list").await.ok().says("cues.csv");
    world.types("openprod undo").await.ok().says("Undone. Revision").says("cues.csv");
    world.types("openprod records cues").await.fails(1).says("There is no table yet.");
    world.types("openprod redo --list --json").await.ok().says("\"possible\":true");
    let redone = world.types("openprod redo --json").await.ok().json();
    assert!(redone[0]["redone"]["label"].as_str().unwrap().contains("cues.csv"), "{redone:?}");
    assert_eq!(count().await, 1_000);
    world.types("openprod set cues 7 label=Storm").await.ok();
    let last = world.types("openprod history --json --limit 1").await.ok().json()[0]["bundle_id"].clone();
    let last = last.as_str().unwrap();
    world.types(&format!("openprod undo --shared --bundle {last}")).await.ok();
    world.types(&format!("openprod undo --bundle {last}")).await.fails(1).says("It is undone already.");
    world.types("openprod explain cues 7 label").await.ok().says("Cue 7").says("Undo: Set label");
}

#[tokio::test]
async fn two_browsers_share_one_stack_and_see_what_each_other_undid() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text", "notes text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    let tablet = mara.in_another_browser().await;
    mara.looks("LX 12").await;
    tablet.looks("LX 12").await;
    mara.sets("LX 12", "label", "Noon").await;
    tablet.sets("LX 12", "notes", "Check").await;
    assert_eq!(mara.undoes().await, "Set notes of cues LX 12", "the last of both");
    assert_eq!(tablet.undoes().await, "Set label of cues LX 12");
    assert_eq!(mara.sees("LX 12", "label").await, "Dawn");
    mara.redoes().await;
    assert_eq!(tablet.sees("LX 12", "label").await, "Noon");
    assert!(!tablet.looks_at("LX 12", "label").await.in_conflict);
}

#[tokio::test]
async fn the_same_change_undone_on_two_nodes_is_no_conflict() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    let noon = mara.sets("LX 12", "label", "Noon").await.bundle_id;
    let (_tour, leo) = world.away("Leo").await;
    mara.undoes().await;
    leo.brings(&Change::undo(UndoScope::Shared, Some(&noon))).await;
    mara.meets(&leo).await;
    mara.agrees_with(&[&leo]).await;
    for person in [&mara, &leo] {
        let label = person.looks_at("LX 12", "label").await;
        assert_eq!((aloud(label.value.as_ref()).as_str(), label.in_conflict), ("Dawn", false));
        let again = person.cannot(Change::undo(UndoScope::Shared, Some(&noon))).await;
        assert!(again.contains("It is undone already."), "{again}");
    }
}

#[tokio::test]
async fn undoing_stands_alone_and_is_for_members_and_a_retry_undoes_once() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    let undo = v1::Command { kind: Some(v1::command::Kind::Undo(v1::Undo::default())) };
    let set = set_fields(&mara.id("LX 12"), "cues", vec![set_to("label", "Noon")]);
    let refused = mara.fails_at(vec![set, undo]).await;
    assert_eq!(refused.at, "commands[1].undo");
    let stranger = world.stranger("Kim").await;
    assert!(stranger.cannot(Change::undo(UndoScope::Shared, None)).await.contains("not a member"));

    mara.sets("LX 12", "label", "Noon").await;
    let change = Change::undo(UndoScope::Mine, None);
    let (first, again) = (mara.brings(&change).await, mara.brings(&change).await);
    assert!(again.replayed && again.undone == first.undone);
    assert_eq!(mara.sees("LX 12", "label").await, "Dawn");

    let typed = mara.types("openprod undo --list --shared").await.ok();
    typed.says("Found Hamlet").says("A workspace is founded once.").says_nothing_of("digest").says_nothing_of("tip");
    mara.types("openprod redo").await.ok().says("Redone.");
    mara.types("openprod redo").await.fails(1).says("There is nothing to be redone.");
}
