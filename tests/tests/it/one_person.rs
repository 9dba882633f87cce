//! One person, two tables: contacts has John Smith, the schedule has J. Smith, and they are the same.

use openprod_client::{From, v1};

use crate::world::{Person, World, aloud, row};

/// Contacts with John Smith, a schedule with J. Smith.
async fn two_smiths(mara: &Person) {
    mara.makes_table("contacts", &["phone text"]).await;
    mara.makes_table("schedule", &["call text"]).await;
    mara.adds("contacts", "John Smith", row!["phone" => "12"]).await;
    mara.adds("schedule", "J. Smith", row!["call" => "18:00"]).await;
}

/// The name that each of the two tables shows, with a mark where people disagree.
async fn names(person: &Person) -> [String; 2] {
    let mut names = Vec::new();
    for record in ["John Smith", "J. Smith"] {
        let field = person.looks_at(record, "name").await;
        names.push(format!("{}{}", aloud(field.value.as_ref()), if field.in_conflict { "?" } else { "" }));
    }
    names.try_into().unwrap()
}

#[tokio::test]
async fn one_person_in_two_tables_is_made_one_named_and_taken_apart_again() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    two_smiths(&mara).await;
    // A person confirms that both names are the same fact; then the two records are merged by hand.
    mara.maps("contacts.name", "schedule.name").await;
    assert_eq!(mara.knows_mappings().await, ["contacts.name and schedule.name: confirmed"]);
    assert_eq!(names(&mara).await, ["John Smith", "J. Smith"], "nobody is in both tables yet");
    let done = mara.merges(&["John Smith", "J. Smith"]).await;
    let [conflict] = &done.opened_conflicts[..] else { panic!("one conflict, on the name: {done:?}") };
    assert!(conflict.sentence.contains("John Smith") && conflict.sentence.contains("J. Smith"), "{conflict:?}");
    // Both tables show the disagreement, until somebody who has seen it decides.
    assert_eq!(names(&leo).await, ["J. Smith?", "J. Smith?"]);
    leo.sets("J. Smith", "name", "John Smith").await;
    assert_eq!(names(&mara).await, ["John Smith", "John Smith"]);
    assert_eq!(mara.sees("J. Smith", "call").await, "18:00");
    assert_eq!(mara.knows_merges().await, ["John Smith in contacts, schedule"]);
    assert_eq!((mara.lists("contacts").await, mara.lists("schedule").await).0, ["John Smith"]);
    assert_eq!(mara.asks("table == \"schedule\" AND name == \"John Smith\" AND contacts exists").await, ["John Smith"]);
    let history = mara.reads_history(v1::ListBundlesRequest::default()).await;
    assert_eq!(history[1], "Mara: Merge John Smith with J. Smith");
    // It can be taken apart again; what was decided stays with both.
    leo.splits("John Smith", &["J. Smith"]).await;
    assert_eq!(names(&mara).await, ["John Smith", "John Smith"]);
    assert!(mara.knows_merges().await.is_empty());
    assert_eq!(mara.knows_exceptions().await, ["John Smith and John Smith"]);
    mara.looks("J. Smith").await;
    mara.sets("J. Smith", "name", "Jay Smith").await;
    assert_eq!(names(&leo).await, ["John Smith", "Jay Smith"]);
    mara.finds_all_well().await;
}

#[tokio::test]
async fn the_names_come_back_when_the_decision_and_the_merge_are_undone() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    two_smiths(&mara).await;
    mara.maps("contacts.name", "schedule.name").await;
    mara.merges(&["John Smith", "J. Smith"]).await;
    mara.looks("John Smith").await;
    mara.sets("John Smith", "name", "John Smith").await;
    assert_eq!(names(&mara).await, ["John Smith", "John Smith"]);
    mara.undoes().await;
    assert_eq!(names(&mara).await, ["J. Smith?", "J. Smith?"]);
    assert_eq!(mara.undoes().await, "Merge John Smith with J. Smith");
    assert_eq!(names(&mara).await, ["John Smith", "J. Smith"]);
    mara.redoes().await;
    mara.redoes().await;
    assert_eq!(names(&mara).await, ["John Smith", "John Smith"]);
}

#[tokio::test]
async fn absorbed_ids_go_on_working_everywhere() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    two_smiths(&mara).await;
    mara.makes_table("scenes", &[]).await;
    mara.adds("scenes", "Storm", Vec::new()).await;
    mara.joins("J. Smith", "plays_in", "Storm").await;
    mara.merges(&["J. Smith", "John Smith"]).await;
    mara.looks("J. Smith").await;
    let done = mara.sets("J. Smith", "call", "19:00").await;
    assert!(done.opened_conflicts.is_empty());
    let (john, jay) = (mara.id("John Smith"), mara.id("J. Smith"));
    let record = &mara.reads(v1::GetRecordRequest { record: jay.clone(), ..Default::default() }).await.records[0];
    assert_eq!((record.id.as_str(), &record.ids[..]), (john.as_str(), &[john.clone(), jay.clone()][..]));
    mara.joins("John Smith", "directs", "Storm").await;
    for id in [&john, &jay] {
        let question = v1::ListEdgesRequest { record: id.clone(), ..Default::default() };
        let edges = mara.reads(question).await.edges;
        let sources: Vec<&str> = edges.iter().map(|edge| edge.ends.as_ref().unwrap().source.as_str()).collect();
        assert_eq!(sources, [john.as_str(), john.as_str()]);
    }
    let history = mara.explains("John Smith", "phone").await;
    assert_eq!(history.history.len(), 1);
    let touched = v1::ListBundlesRequest { record: john, ..Default::default() };
    let touched = mara.reads_history(touched).await;
    assert_eq!(touched.len(), 6, "two were added, two edges, a merge, an edit under the other id: {touched:?}");
    assert_eq!(mara.lists("schedule").await, ["J. Smith"]);
}

#[tokio::test]
async fn whoever_watches_is_told_what_became_one_and_what_parted() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    two_smiths(&mara).await;
    let mut watch = mara.watches(From::Snapshot, &[]);
    watch.hears_the_snapshot().await;
    let (john, jay) = (mara.id("John Smith"), mara.id("J. Smith"));
    let told = |batch: &v1::ChangeBatch| -> Vec<(String, String, String)> {
        let of = |change: &v1::RecordChange| {
            let record = change.record.clone().unwrap();
            let kind = change.kind().as_str_name().to_lowercase().replace("change_kind_", "");
            (kind, record.table, record.id)
        };
        batch.records.iter().map(of).collect()
    };
    let says = |kind: &str, table: &str, id: &str| (kind.to_owned(), table.to_owned(), id.to_owned());

    mara.merges(&["John Smith", "J. Smith"]).await;
    let batch = watch.hears_of_a_bundle().await;
    let expected =
        [says("changed", "contacts", &john), says("created", "schedule", &john), says("removed", "schedule", &jay)];
    assert_eq!(told(&batch), expected);
    mara.looks("J. Smith").await;
    mara.sets("J. Smith", "call", "19:00").await;
    assert_eq!(told(&watch.hears_of_a_bundle().await), [says("changed", "schedule", &john)]);
    mara.maps("contacts.name", "schedule.name").await;
    let anew = watch.hears_of_a_bundle().await.too_large.unwrap();
    assert_eq!(anew.tables, ["contacts", "schedule"]);
    mara.looks("J. Smith").await;
    mara.sets("J. Smith", "name", "Jay").await;
    let both = [says("changed", "contacts", &john), says("changed", "schedule", &john)];
    assert_eq!(told(&watch.hears_of_a_bundle().await), both, "one write, and both tables show it");
    mara.splits("John Smith", &["J. Smith"]).await;
    let batch = watch.hears_of_a_bundle().await;
    let expected =
        [says("changed", "contacts", &john), says("removed", "schedule", &john), says("created", "schedule", &jay)];
    assert_eq!(told(&batch), expected);
}

#[tokio::test]
async fn a_merge_here_and_an_edit_there_meet() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    two_smiths(&mara).await;
    mara.maps("contacts.name", "schedule.name").await;
    let (_tour, leo) = world.away("Leo").await;
    mara.merges(&["John Smith", "J. Smith"]).await;
    mara.looks("John Smith").await;
    mara.sets("John Smith", "name", "John Smith").await;
    leo.looks("J. Smith").await;
    leo.sets("J. Smith", "name", "Jay Smith").await;
    leo.sets("J. Smith", "call", "19:00").await;
    mara.meets(&leo).await;
    mara.agrees_with(&[&leo]).await;
    for person in [&mara, &leo] {
        assert_eq!(names(person).await, ["John Smith?", "John Smith?"], "a decision stays on show");
        assert_eq!(person.sees("J. Smith", "call").await, "19:00");
    }
}

#[tokio::test]
async fn after_a_revoke_both_tables_keep_the_value() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    two_smiths(&mara).await;
    mara.maps("contacts.name", "schedule.name").await;
    mara.lists_also("John Smith", "schedule", row!["call" => "20:00"]).await;
    mara.unmaps("schedule.name", "contacts.name").await;
    assert_eq!(mara.lists("schedule").await, ["John Smith", "J. Smith"]);
    mara.keeps_apart("contacts.name", "schedule.name").await;
    assert_eq!(mara.knows_mappings().await, ["contacts.name and schedule.name: rejected"]);
    let new = mara.splits_off("John Smith", &["schedule"]).await;
    let apart = mara.reads(v1::GetRecordRequest { record: new, ..Default::default() }).await.records;
    assert_eq!(apart.len(), 1);
    assert_eq!(mara.lists("schedule").await.len(), 2);
}

#[tokio::test]
async fn all_of_it_can_be_typed() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    two_smiths(&mara).await;
    mara.types("openprod mappings confirm contacts.name schedule.name").await.ok().says("Mapped.");
    mara.types("openprod mappings").await.ok().says("contacts.name\tschedule.name\tconfirmed\tyes");
    mara.types("openprod mappings confirm contacts.name schedule.call")
        .await
        .fails(1)
        .says("one field in every record");
    mara.types("openprod mappings confirm contacts.nam schedule.call").await.fails(2).says("contacts.name");
    let merge = "openprod merge \"contacts/John Smith\" \"schedule/J. Smith\"";
    mara.types(merge).await.ok().says("Conflict: contacts J. Smith name").says("Merged.");
    let (john, jay) = (mara.id("John Smith"), mara.id("J. Smith"));
    mara.types(&format!("openprod merge {jay} {john}")).await.fails(1).says("These are one record already.");
    let merged = mara.types("openprod --json merges").await.ok().json();
    assert_eq!(merged[0]["ids"], serde_json::json!([john, jay]));
    mara.types(&format!("openprod set schedule {jay} name=John --yes")).await.ok();
    mara.types(&format!("openprod explain schedule {jay} name")).await.ok().says("John Smith");
    mara.types(&format!("openprod split {john} {jay}")).await.ok().says("Split.");
    mara.types(&format!("openprod split {john} {jay}")).await.fails(1).says("is not merged with any other");
    mara.types("openprod merges --exceptions").await.ok().says(&jay);
    mara.types("openprod mappings reject contacts.name schedule.name").await.fails(1).says("Revoke the mapping first.");
    mara.types("openprod mappings revoke contacts.name schedule.name --yes").await.ok().says("Revoked.");
    mara.types("openprod mappings list --json").await.ok().says("\"state\":\"revoked\"");
    mara.lists_also("John Smith", "schedule", row!["name" => "John"]).await;
    let new = mara.types("openprod split-off contacts/John --table schedule").await.ok().out;
    mara.types(&format!("openprod set schedule {} call=19:00", new.trim())).await.ok();
    mara.types("openprod history").await.ok().says("Split schedule off from John");
}
