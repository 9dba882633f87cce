//! Texts and lists that several people write together: nobody's letters are lost, whoever writes when and where.

use std::path::PathBuf;
use std::process::Command;

use openprod_client::v1::sequence_edit::{Delete, Insert, Kind, ReplaceAll};
use openprod_client::{From, v1};

use crate::world::{Person, World, aloud, cleared, delete, insert, items, row, set_fields, set_to};

async fn with_cue(world: &World) -> Person {
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text", "notes document", "crew sequence text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn", "notes" => "Go on the word"]).await;
    mara
}

#[tokio::test]
async fn two_browsers_that_write_at_once_both_have_their_say() {
    let world = World::new().await;
    let mara = with_cue(&world).await;
    let leo = world.person("Leo").await;
    assert_eq!(mara.says("LX 12", "notes").await, "Go on the word");
    assert_eq!(leo.says("LX 12", "notes").await, "Go on the word");

    // Neither sees the other's letters: positions are those of what each was shown, with one's own later edits.
    mara.edits("LX 12", "notes", vec![insert(0, "STANDBY. ")]).await;
    leo.edits("LX 12", "notes", vec![insert(14, " \"ghost\"")]).await;
    mara.edits("LX 12", "notes", vec![insert(9, "Then: ")]).await;
    leo.edits("LX 12", "notes", vec![delete(0, 3), insert(0, "FIRE ")]).await;
    let done = mara.edits("LX 12", "notes", vec![insert(0, "* ")]).await;
    assert!(done.opened_conflicts.is_empty());
    for person in [&mara, &leo] {
        assert_eq!(person.says("LX 12", "notes").await, "* STANDBY. Then: FIRE on the word \"ghost\"");
        assert!(!person.looks_at("LX 12", "notes").await.in_conflict);
    }
    mara.finds_all_well().await;
}

#[tokio::test]
async fn setting_a_text_edits_only_what_differs_from_what_was_shown() {
    let world = World::new().await;
    let mara = with_cue(&world).await;
    let leo = world.person("Leo").await;
    mara.says("LX 12", "notes").await;
    leo.says("LX 12", "notes").await;
    mara.rewrites("LX 12", "notes", "Go on the last word").await;
    leo.rewrites("LX 12", "notes", "LX 12: Go on the word").await;
    assert_eq!(mara.says("LX 12", "notes").await, "LX 12: Go on the last word");
    let told = mara.explains("LX 12", "notes").await;
    assert!(told.sentence.contains("last edited by Leo"), "{}", told.sentence);
    assert_eq!(told.history.len(), 3);
}

#[tokio::test]
async fn what_is_written_in_an_overlay_merges_with_what_others_write_meanwhile() {
    let mut world = World::new().await;
    let mara = with_cue(&world).await;
    let leo = world.person("Leo").await;
    assert_eq!(mara.says("LX 12", "notes").await, "Go on the word");
    let draft = mara.opens_overlay("draft").await;
    draft.edits("LX 12", "notes", vec![insert(14, " ghost")]).await;
    draft.edits("LX 12", "notes", vec![insert(20, "!")]).await;
    draft.arranges("LX 12", "crew", vec![Kind::Insert(Insert { at: 0, items: items(&["Jo", "Ann"]) })]).await;
    draft.adds("cues", "LX 15", row!["label" => "Dusk", "notes" => "Fade"]).await;
    // Whoever edits outside at the same time, even the same person, writes other letters.
    mara.edits("LX 12", "notes", vec![insert(0, "STANDBY. ")]).await;
    leo.edits("LX 12", "notes", vec![delete(9, 3), insert(9, "FIRE ")]).await;
    assert_eq!(leo.says("LX 12", "notes").await, "STANDBY. FIRE on the word");
    assert_eq!(draft.says("LX 12", "notes").await, "STANDBY. FIRE on the word ghost!");
    assert_eq!(draft.reads_whole("LX 12", "crew").await.items, items(&["Jo", "Ann"]));
    assert_eq!(draft.asks("table == \"cues\" and notes like \"%ghost%\"").await, ["LX 12"]);
    assert!(mara.finds_drift("draft").await.is_empty());
    let (counts, _) = mara.previews("draft").await;
    assert_eq!((counts.new_records, counts.changed_records), (1, 1));

    world.restarts().await;
    draft.edits("LX 12", "notes", vec![insert(0, "* ")]).await;
    assert!(mara.commits("draft").await.opened_conflicts.is_empty());
    assert_eq!(leo.says("LX 12", "notes").await, "* STANDBY. FIRE on the word ghost!");
    assert_eq!(leo.says("LX 15", "notes").await, "Fade");
    mara.finds_all_well().await;
}

#[tokio::test]
async fn what_two_nodes_wrote_apart_is_one_text_when_they_meet() {
    let world = World::new().await;
    let mara = with_cue(&world).await;
    let (_tour, leo) = world.away("Leo").await;
    mara.edits("LX 12", "notes", vec![insert(14, ", slowly")]).await;
    leo.edits("LX 12", "notes", vec![insert(0, "Tour: ")]).await;
    leo.arranges("LX 12", "crew", vec![Kind::Insert(Insert { at: 0, items: items(&["Jo", "Ann"]) })]).await;
    mara.arranges("LX 12", "crew", vec![Kind::Insert(Insert { at: 0, items: items(&["Kim"]) })]).await;
    mara.meets(&leo).await;
    mara.agrees_with(&[&leo]).await;
    let (here, there) = (mara.reads_whole("LX 12", "crew").await, leo.reads_whole("LX 12", "crew").await);
    assert_eq!((here.items.len(), &here.items), (3, &there.items));
    for person in [&mara, &leo] {
        assert_eq!(person.says("LX 12", "notes").await, "Tour: Go on the word, slowly");
    }

    // The same edit, undone on both sides before they meet again, is undone once.
    leo.undoes().await;
    leo.undoes().await;
    mara.undoes().await;
    mara.undoes().await;
    mara.meets(&leo).await;
    mara.agrees_with(&[&leo]).await;
    assert_eq!(mara.says("LX 12", "notes").await, "Go on the word");
    assert_eq!(leo.says("LX 12", "notes").await, "Go on the word");
}

#[tokio::test]
async fn undo_takes_back_ones_own_letters_only() {
    let world = World::new().await;
    let mara = with_cue(&world).await;
    let leo = world.person("Leo").await;
    mara.says("LX 12", "notes").await;
    mara.edits("LX 12", "notes", vec![delete(0, 6), insert(0, "Wait for ")]).await;
    leo.says("LX 12", "notes").await;
    leo.edits("LX 12", "notes", vec![insert(9, "exactly ")]).await;
    assert_eq!(mara.says("LX 12", "notes").await, "Wait for exactly the word");
    assert_eq!(mara.undoes().await, "Edit notes of cues LX 12");
    assert_eq!(mara.says("LX 12", "notes").await, "Go on exactly the word");
    mara.redoes().await;
    assert_eq!(mara.says("LX 12", "notes").await, "Wait for exactly the word");
    leo.undoes().await;
    assert_eq!(mara.says("LX 12", "notes").await, "Wait for the word");
    mara.finds_all_well().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_at_the_door() {
    let world = World::new().await;
    let mara = with_cue(&world).await;
    for hostile in
        [vec![], vec![255; 40], vec![1, 1, 7, 0, 4, 1, 4, 104, 97], vec![0, 1, 99, 1, 0, 5], vec![7; 2_000_000]]
    {
        let refused = mara.fails_at(vec![mara.apply_update("LX 12", "notes", 7, hostile)]).await;
        assert!(refused.message.starts_with("The update was not taken"), "{refused:?}");
        assert!(refused.at.ends_with("apply_update.update") && !refused.next.is_empty(), "{refused:?}");
    }
    let beyond = mara.fails_at(vec![mara.edit_text("LX 12", "notes", vec![insert(99, "!")])]).await;
    assert!(beyond.message.contains("behind the end"), "{beyond:?}");
    let set = set_fields(&mara.id("LX 12"), "cues", vec![set_to("notes", "Stop")]);
    let wrong = mara.fails_at(vec![set]).await;
    assert_eq!(wrong.reason, "WRONG_TYPE");
    assert!(wrong.next.contains("set_text"), "{wrong:?}");
    let cleared = mara.fails_at(vec![set_fields(&mara.id("LX 12"), "cues", vec![cleared("notes")])]).await;
    assert_eq!(cleared.reason, "WRONG_TYPE");
    let plain = mara.fails_at(vec![mara.edit_text("LX 12", "label", vec![insert(0, "!")])]).await;
    assert_eq!(plain.reason, "WRONG_TYPE");
    assert_eq!(mara.says("LX 12", "notes").await, "Go on the word");
    mara.finds_all_well().await;
}

#[tokio::test]
async fn an_editor_that_binds_directly_follows_by_updates() {
    let world = World::new().await;
    let mara = with_cue(&world).await;
    let revision = mara.reads_whole("LX 12", "notes").await.revision;
    let mut window = mara.watches(From::Revision(revision), &["cues"]);
    mara.edits("LX 12", "notes", vec![insert(0, "A")]).await;
    let batch = window.hears_of_a_bundle().await;
    let [change] = &batch.documents[..] else { panic!("{batch:?}") };
    assert_eq!((change.column.as_str(), change.updates.len(), change.reload), ("notes", 1, false));
    assert_eq!(aloud(batch.records[0].record.as_ref().unwrap().fields[0].value.as_ref()), "AGo on the word");

    // What the editor has done comes as the same kind of update; sent twice, it is taken once.
    let update = change.updates[0].clone();
    let whole = mara.reads_whole("LX 12", "notes").await;
    assert!(whole.update.len() > update.len());
    let before = mara.says("LX 12", "notes").await;
    mara.hands_over("LX 12", "notes", 7, whole.update).await;
    assert_eq!(mara.says("LX 12", "notes").await, before);
    // By hand: client 7 writes "hi" in front of nothing, as the root's first child.
    let hi = [&[1, 1, 7, 0, 4, 1, 4][..], b"text", &[2], b"hi", &[0]].concat();
    mara.hands_over("LX 12", "notes", 7, hi.clone()).await;
    mara.hands_over("LX 12", "notes", 7, hi).await;
    let after = mara.says("LX 12", "notes").await;
    assert_eq!((after.len(), after.matches("hi").count()), (before.len() + 2, 1), "{after}");
}

#[tokio::test]
async fn texts_and_lists_are_found_shown_and_remembered_like_other_fields() {
    let world = World::new().await;
    let mara = with_cue(&world).await;
    let first = mara.reads_whole("LX 12", "notes").await.revision;
    mara.adds("cues", "LX 13", row!["notes" => "Blackout"]).await;
    mara.adds("cues", "LX 14", row![]).await;
    mara.edits("LX 12", "notes", vec![insert(14, " ghost")]).await;
    assert_eq!(mara.asks("table == \"cues\" and notes like \"%ghost%\"").await, ["LX 12"]);
    assert_eq!(mara.asks("table == \"cues\" and notes == \"Blackout\"").await, ["LX 13"]);
    assert_eq!(mara.asks("table == \"cues\" and notes == null").await, ["LX 14"]);
    assert_eq!(mara.asks("table == \"cues\" order by notes").await, ["LX 13", "LX 12", "LX 14"]);
    let past = mara.types(&format!("openprod text show cues \"LX 12\" notes --as-of {first}")).await.ok();
    past.says("Go on the word").says_nothing_of("ghost");
    assert_eq!(mara.sees("LX 12", "notes").await, "Go on the word ghost");

    mara.arranges("LX 12", "crew", vec![Kind::ReplaceAll(ReplaceAll { items: items(&["Jo", "Ann", "Kim"]) })]).await;
    mara.arranges("LX 12", "crew", vec![Kind::Delete(Delete { at: 1, length: 1 })]).await;
    assert_eq!(mara.reads_whole("LX 12", "crew").await.items, items(&["Jo", "Kim"]));
    let shown = mara.looks_at("LX 12", "crew").await.value.unwrap();
    let list = v1::value::Kind::List(v1::List { items: items(&["Jo", "Kim"]) });
    assert_eq!(shown.kind, Some(list));
    mara.types("openprod export cues").await.ok().says("Go on the word ghost").says("Kim");
}

#[tokio::test]
async fn texts_and_lists_at_the_command_line() {
    let world = World::new().await;
    let mara = with_cue(&world).await;
    mara.types("openprod text insert cues \"LX 12\" notes end \" ghost\"").await.ok();
    mara.types("openprod text delete cues \"LX 12\" notes 0 6").await.ok();
    mara.types("openprod text show cues \"LX 12\" notes").await.ok().says("the word ghost");
    mara.types("openprod text set cues \"LX 12\" notes \"the last word ghost\"").await.ok();
    mara.types("openprod set cues \"LX 12\" \"notes=the last word, ghost\" label=Noon").await.ok();
    mara.types("openprod text show cues \"LX 12\" notes --json").await.ok().says("\"text\":\"the last word, ghost\"");
    mara.types("openprod text insert cues \"LX 12\" label 0 x").await.fails(1).says("is set, not edited");
    mara.types("openprod sequence insert cues \"LX 12\" crew end Jo Ann").await.ok();
    mara.types("openprod sequence remove cues \"LX 12\" crew 0").await.ok();
    mara.types("openprod sequence show cues \"LX 12\" crew").await.ok().says("Ann").says_nothing_of("Jo");
    mara.types("openprod sequence replace cues \"LX 12\" crew").await.ok();
    mara.types("openprod sequence show cues \"LX 12\" crew --json").await.ok().says("\"items\":[]");
    mara.types("openprod explain cues \"LX 12\" notes").await.ok().says("an edit of");
    let sheet = world.file("cues.csv", "name,notes,crew\nLX 12,Wait,\"[\"\"Kim\"\"]\"\nLX 15,Stand by,\n");
    let import = format!("openprod import {} --table cues --key name --yes", sheet.display());
    mara.types(&import).await.ok();
    mara.types("openprod overlay preview cues.csv").await.ok().says("Wait").says("Stand by");
    mara.types("openprod text insert cues \"LX 12\" notes end \"!\" --overlay cues.csv").await.ok();
    mara.types("openprod text show cues \"LX 12\" notes --overlay cues.csv").await.ok().says("Wait!");
    mara.types("openprod overlay undo cues.csv").await.ok();
    mara.types("openprod text show cues \"LX 12\" notes").await.ok().says_nothing_of("Wait");
    mara.types("openprod overlay commit cues.csv").await.ok();
    mara.types("openprod text show cues \"LX 12\" notes").await.ok().says("Wait").says_nothing_of("!");
    mara.types(&import).await.ok().says("0 new, 0 changed");
    assert_eq!(mara.asks("table == \"cues\" and notes == \"Stand by\"").await, ["LX 15"]);
}

/// A trace of `05_text_traces`, if `OPENPROD_REAL_DATA` names the folder with it.
fn trace(name: &str) -> Option<serde_json::Value> {
    let folder = PathBuf::from(std::env::var_os("OPENPROD_REAL_DATA")?).join("05_text_traces");
    let output = Command::new("gzip").arg("-dc").arg(folder.join(name)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn a_real_session_of_writing_replays_through_a_node() {
    /// Keystrokes of one request: as many as somebody types between two breaths.
    const AT_ONCE: usize = 200;
    let Some(trace) = trace("sveltecomponent.json.gz") else {
        println!("SKIPPED: OPENPROD_REAL_DATA does not name a folder");
        return;
    };
    let world = World::new().await;
    let mara = with_cue(&world).await;
    mara.rewrites("LX 12", "notes", trace["startContent"].as_str().unwrap()).await;
    let number = |patch: &serde_json::Value, at: usize| u32::try_from(patch[at].as_u64().unwrap()).unwrap();
    let edits = trace["txns"].as_array().unwrap().iter().flat_map(|txn| txn["patches"].as_array().unwrap());
    let edits = edits.flat_map(|patch| {
        let (at, gone, text) = (number(patch, 0), number(patch, 1), patch[2].as_str().unwrap());
        let gone = (gone > 0).then(|| delete(at, gone));
        gone.into_iter().chain((!text.is_empty()).then(|| insert(at, text)))
    });
    let edits: Vec<v1::TextEdit> = edits.collect();
    for some in edits.chunks(AT_ONCE) {
        mara.edits("LX 12", "notes", some.to_vec()).await;
    }
    assert_eq!(mara.says("LX 12", "notes").await, trace["endContent"].as_str().unwrap());
    mara.finds_all_well().await;
}
