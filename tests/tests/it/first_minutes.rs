//! The first ten minutes: a workspace, a spreadsheet, a question, an edit, and how it came about.

use crate::world::{World, at_revision, row};

const CUES: &str = "cue,label,page,called\n1,House to half,1,yes\n2,Dawn,3,no\n3,\"Storm, loud\",12,yes\n";

#[tokio::test]
async fn a_stage_manager_comes_from_an_empty_folder_to_a_queried_cue_list() {
    let world = World::new().await;
    world.file("cues.csv", CUES);
    world.types("openprod init Hamlet").await.ok().says("Made the workspace Hamlet");
    world.types("openprod workspaces").await.ok().says("Hamlet");
    world.types("openprod import cues.csv --table cues --key cue --commit").await.ok();
    world.types("openprod tables").await.ok().says("cues");
    world.types("openprod tables show cues").await.ok().says("page").says("integer");
    let found = world.types("openprod query 'page < 10 ORDER BY page DESC' --table cues").await.ok();
    let found = found.says("Dawn").says("House to half").says_nothing_of("Storm");
    assert!(found.out.find("Dawn") < found.out.find("House to half"), "{found}");
    world.types("openprod set cues 2 label=Sunrise").await.ok();
    world.types("openprod records cues").await.ok().says("Sunrise").says_nothing_of("Dawn");
    world.types("openprod new cues cue=4 label=Curtain page=20 called=no").await.ok();
    world.types("openprod rm cues 1").await.fails(2).says("yes");
    world.types("openprod rm cues 1 --yes").await.ok();
    world.types("openprod records cues").await.ok().says("Curtain").says_nothing_of("House to half");
}

#[tokio::test]
async fn the_second_import_of_a_file_changes_nothing_and_the_next_version_only_what_it_changes() {
    let world = World::new().await;
    world.file("cues.csv", CUES);
    world.file("cues-2.csv", CUES.replace("Dawn", "Sunrise"));
    world.types("openprod init Hamlet").await.ok();
    world.types("openprod import cues.csv --table cues --key cue --commit").await.ok();
    let before = world.types("openprod history --json").await.ok().json().len();
    world.types("openprod import cues.csv --table cues --key cue --commit").await.ok();
    assert_eq!(world.types("openprod history --json").await.ok().json().len(), before);
    world.types("openprod import cues-2.csv --table cues --key cue --commit").await.ok();
    assert_eq!(world.types("openprod history --json").await.ok().json().len(), before + 1);
    world.types("openprod explain cues 2 label").await.ok().says("Sunrise").says("Dawn").says("cues-2.csv");
}

#[tokio::test]
async fn history_tells_who_did_what_and_the_past_can_be_seen() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text", "page integer"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn", "page" => 3]).await;
    let first = mara.looks_at("LX 12", "label").await;
    assert_eq!(first.column, "label");
    let then = mara.has_seen().unwrap();
    leo.sets("LX 12", "label", "Blackout").await;

    assert_eq!(mara.sees("LX 12", "label").await, "Blackout");
    assert_eq!(mara.looks_back("LX 12", "label", at_revision(then)).await, "Dawn");
    let told = mara.explains("LX 12", "label").await;
    assert!(told.sentence.contains("Blackout"), "{}", told.sentence);
    let who: Vec<_> = told.history.iter().map(|write| write.bundle.as_ref().unwrap().actor_name.as_str()).collect();
    assert_eq!(who, ["Leo", "Mara"]);
    let history = mara.reads_history(openprod_client::v1::ListBundlesRequest::default()).await;
    assert!(history[0].starts_with("Leo: Set label of"), "{history:?}");

    let bundle = &told.history[0].bundle.as_ref().unwrap().bundle_id;
    let opened = mara.opens_bundle(bundle).await;
    assert_eq!(opened.ops.len(), 1);
    assert_eq!(opened.ops[0].changes.len(), 1);
    mara.types("openprod history --by Leo").await.ok().says("Set label").says_nothing_of("Create table");
    mara.types(&format!("openprod history show {bundle}")).await.ok().says("Blackout").says("Dawn");
    mara.types(&format!("openprod records cues --as-of {then}")).await.ok().says("Dawn").says_nothing_of("Blackout");
}

#[tokio::test]
async fn questions_find_by_value_by_likeness_and_by_absence() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text", "page integer", "called boolean"]).await;
    mara.adds("cues", "LX 2", row!["label" => "Dawn", "page" => 3, "called" => true]).await;
    mara.adds("cues", "LX 10", row!["label" => "Dusk", "page" => 12, "called" => false]).await;
    mara.adds("cues", "SND 1", row!["page" => 1]).await;
    assert_eq!(mara.asks("table == \"cues\" AND called == true").await, ["LX 2"]);
    assert_eq!(mara.asks("table == \"cues\" AND name LIKE \"lx%\" ORDER BY name DESC").await, ["LX 10", "LX 2"]);
    assert_eq!(mara.asks("table == \"cues\" AND NOT label exists").await, ["SND 1"]);
    assert_eq!(mara.asks("table == \"cues\" AND page IN [1, 12] ORDER BY page").await, ["SND 1", "LX 10"]);
    assert_eq!(mara.asks("table == \"cues\" ORDER BY page LIMIT 1 OFFSET 1").await, ["LX 2"]);
    assert_eq!(mara.lists("cues").await, ["LX 2", "LX 10", "SND 1"]);
}

#[tokio::test]
async fn a_node_tells_what_it_is_and_how_it_is() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    let info = mara.asks_what_it_is().await;
    assert_eq!((info.api_version.as_str(), info.node_id.len()), ("openprod.v1", 64));
    assert_eq!(info.data_dir, world.house.folder().display().to_string());
    mara.makes_table("cues", &[]).await;
    let status = mara.asks_how_it_is().await;
    assert_eq!((status.name.as_str(), status.revision, status.quarantine_count), ("Hamlet", 2, 0));
    assert!(!mara.has_it_checked().await.is_empty());
    assert_eq!(mara.turns_the_log_to("debug").await, "info");
    assert_eq!(mara.turns_the_log_to("info").await, "debug");
    mara.types("openprod status").await.ok().says("Hamlet");
    mara.types("openprod doctor").await.ok();
    mara.types("openprod config show --origin").await.ok().says("OPENPROD_DATA_DIR");
    mara.types("openprod config check").await.ok();
    mara.types("openprod completions bash").await.ok().says("openprod");
    mara.types("openprod man pages").await.ok();
    assert!(world.desk().join("pages/openprod.1").exists());
}

#[tokio::test]
async fn a_spreadsheet_comes_out_as_it_went_in() {
    let world = World::new().await;
    world.file("cues.csv", CUES);
    world.types("openprod init Hamlet").await.ok();
    world.types("openprod import cues.csv --table cues --commit").await.ok();
    world.types("openprod export cues --output out.csv").await.ok();
    let out = std::fs::read_to_string(world.desk().join("out.csv")).unwrap();
    assert_eq!(out.lines().next(), Some("cue,label,page,called"));
    assert!(out.contains("3,\"Storm, loud\",12,"), "{out}");
}

#[tokio::test]
async fn a_record_is_named_by_its_first_column_or_the_beginning_of_its_id() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.types("openprod tables create notes --column at:duration:required --column text").await.ok();
    mara.types("openprod new notes at=1:30:00 text=Late").await.ok();
    let id = mara.types("openprod new notes at=90s text=Early").await.ok().out.trim().to_owned();
    mara.types("openprod set notes 1:30:00 text=Later").await.ok();
    mara.types(&format!("openprod set notes {} text=Earlier", &id[..30])).await.ok();
    mara.types("openprod set notes 2:00:00 text=Never").await.fails(1).says("notes has no record \"2:00:00\".");
    mara.types("openprod set notes Nobody text=Never").await.fails(1).says("notes has no record \"Nobody\".");
    mara.types("openprod new notes at=1:30:00").await.ok();
    mara.types("openprod set notes 1:30:00 text=Never").await.fails(1).says("notes has 2 records \"1:30:00\".");
    mara.types("openprod records notes").await.ok().says("Later").says("Earlier").says_nothing_of("Never");
}
