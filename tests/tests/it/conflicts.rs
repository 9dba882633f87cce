//! Two people who have not seen each other's writes: both values stand until somebody decides.

use openprod_client::{Change, v1};

use crate::world::{World, aloud, create_table, row, set_fields, set_to};

#[tokio::test]
async fn two_browsers_that_overwrite_each_other_unseen_are_in_conflict() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    mara.looks("LX 12").await;
    leo.looks("LX 12").await;

    assert!(mara.sets("LX 12", "label", "Sunrise").await.opened_conflicts.is_empty());
    let done = leo.sets("LX 12", "label", "Blackout").await;
    let [opened] = &done.opened_conflicts[..] else { panic!("{done:?}") };
    for word in ["LX 12", "label", "Mara", "Sunrise", "Leo", "Blackout"] {
        assert!(opened.sentence.contains(word), "{word} is not in: {}", opened.sentence);
    }

    let shown = mara.looks_at("LX 12", "label").await;
    assert!(shown.in_conflict && shown.candidate_count == 2, "{shown:?}");
    assert_eq!(aloud(shown.value.as_ref()), "Blackout", "the later one is shown meanwhile");
    let told = mara.explains("LX 12", "label").await;
    assert!(told.in_conflict && told.tips.len() == 2 && told.tips[0].shown, "{told:?}");

    mara.sets("LX 12", "label", "Sunrise").await;
    let shown = leo.looks_at("LX 12", "label").await;
    assert_eq!((aloud(shown.value.as_ref()).as_str(), shown.in_conflict), ("Sunrise", false), "a person decided");
    assert!(leo.explains("LX 12", "label").await.tips[0].decision);
    mara.finds_all_well().await;
}

#[tokio::test]
async fn one_person_in_two_browsers_is_two_readers() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    let phone = mara.in_another_browser().await;
    mara.looks("LX 12").await;
    phone.looks("LX 12").await;
    mara.sets("LX 12", "label", "Sunrise").await;
    mara.sets("LX 12", "label", "Sunset").await;
    assert!(!mara.looks_at("LX 12", "label").await.in_conflict, "one's own writes are known");
    assert_eq!(phone.sets("LX 12", "label", "Noon").await.opened_conflicts.len(), 1);
}

#[tokio::test]
async fn equal_values_are_no_conflict_and_other_fields_are_untouched() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text", "page integer"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn", "page" => 3]).await;
    mara.looks("LX 12").await;
    leo.looks("LX 12").await;
    mara.sets("LX 12", "label", "Sunrise").await;
    assert!(leo.sets("LX 12", "label", "Sunrise").await.opened_conflicts.is_empty());
    assert!(leo.sets("LX 12", "page", 4).await.opened_conflicts.is_empty());
    assert!(!mara.looks_at("LX 12", "label").await.in_conflict);
    assert_eq!(mara.sees("LX 12", "page").await, "4");
}

#[tokio::test]
async fn clearing_against_setting_is_a_conflict_too_and_a_late_edit_opens_a_decided_one_again() {
    let world = World::new().await;
    let (mara, leo, ann) = (world.person("Mara").await, world.person("Leo").await, world.person("Ann").await);
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    for person in [&mara, &leo, &ann] {
        person.looks("LX 12").await;
    }
    mara.clears("LX 12", "label").await;
    assert_eq!(leo.sets("LX 12", "label", "Blackout").await.opened_conflicts.len(), 1);
    mara.looks("LX 12").await;
    mara.decides("LX 12", "label", "Sunrise").await;
    assert!(!leo.looks_at("LX 12", "label").await.in_conflict);
    ann.sets("LX 12", "label", "Noon").await;
    let shown = leo.looks_at("LX 12", "label").await;
    assert!(shown.in_conflict, "Ann had not seen the decision");
    assert_eq!(aloud(shown.value.as_ref()), "Sunrise", "the decision stays on show");
}

#[tokio::test]
async fn a_one_shot_command_line_writes_over_what_is_shown() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    mara.types("openprod set cues \"LX 12\" label=Sunrise").await.ok();
    mara.types("openprod set cues \"LX 12\" label=Noon").await.ok().says_nothing_of("Conflict");
    assert_eq!(mara.sees("LX 12", "label").await, "Noon");
}

#[tokio::test]
async fn a_command_that_is_sent_twice_happens_once() {
    let mut world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    let id = mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    let change = Change::new([set_fields(&id, "cues", vec![set_to("label", "Noon")])]).label("Rename LX 12");
    let first = mara.brings(&change).await;
    let again = mara.brings(&change).await;
    assert!(!first.replayed && again.replayed);
    assert_eq!((first.revision, &first.bundle_id), (again.revision, &again.bundle_id));
    world.restarts().await;
    let after = mara.brings(&change).await;
    assert!(after.replayed && after.bundle_digest == first.bundle_digest);
    // Planned anew, it would be refused: there is a table of that name.
    let table = Change::new([create_table("moods", &["label text"])]);
    let made = mara.brings(&table).await;
    let again = mara.brings(&table).await;
    assert!(again.replayed && again.created == made.created, "{again:?}");
    let renamed = v1::ListBundlesRequest { text: "rename lx".to_owned(), ..Default::default() };
    assert_eq!(mara.reads_history(renamed).await, ["Mara: Rename LX 12"], "the label is the client's, and stands once");
}

/// An edge that is gone does not say what it joined; its history does.
#[tokio::test]
async fn a_conflict_about_a_removed_edge_is_found_by_what_it_joined() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    for table in ["people", "notes", "cues"] {
        mara.makes_table(table, &[]).await;
    }
    mara.adds("people", "Jane", Vec::new()).await;
    mara.adds("notes", "Fix the door", Vec::new()).await;
    let edge = mara.joins("Fix the door", "assigned_to", "Jane").await;
    mara.looks_at_edge(&edge).await;
    leo.looks_at_edge(&edge).await;
    mara.notes(&edge, "share", "half").await;
    leo.parts(&edge).await;
    let found = async |table: &str, record: String| {
        mara.disputes(v1::ListConflictsRequest { table: table.into(), record, ..Default::default() }).await.len()
    };
    assert_eq!(found("", String::new()).await, 1);
    assert_eq!((found("people", String::new()).await, found("notes", String::new()).await), (1, 1));
    assert_eq!((found("", mara.id("Jane")).await, found("cues", String::new()).await), (1, 0));
}
