//! Two nodes without a network: each works alone, they meet by a stick, and nothing of anybody's is lost.

use crate::world::{World, aloud, row};

#[tokio::test]
async fn what_two_nodes_did_apart_is_there_on_both_when_they_meet() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text", "page integer"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn", "page" => 1]).await;
    mara.adds("cues", "LX 2", row!["label" => "Storm", "page" => 2]).await;
    let (_tour, leo) = world.away("Leo").await;

    mara.looks("LX 1").await;
    mara.sets("LX 1", "label", "Sunrise").await;
    mara.adds("cues", "LX 3", row!["label" => "Blackout"]).await;
    leo.looks("LX 1").await;
    leo.sets("LX 1", "page", 9).await;
    leo.looks("LX 2").await;
    leo.sets("LX 2", "label", "Thunder").await;

    mara.meets(&leo).await;
    mara.agrees_with(&[&leo]).await;
    for person in [&mara, &leo] {
        let label = person.looks_at("LX 1", "label").await;
        assert_eq!((aloud(label.value.as_ref()).as_str(), label.in_conflict), ("Sunrise", false));
        assert_eq!(aloud(person.looks_at("LX 1", "page").await.value.as_ref()), "9");
        assert_eq!(aloud(person.looks_at("LX 2", "label").await.value.as_ref()), "Thunder");
        assert_eq!(aloud(person.looks_at("LX 3", "label").await.value.as_ref()), "Blackout");
    }
}

#[tokio::test]
async fn one_field_written_apart_is_one_conflict_on_both_nodes_until_somebody_decides() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Dawn"]).await;
    let (_tour, leo) = world.away("Leo").await;

    for (person, label) in [(&mara, "Sunrise"), (&leo, "Noon"), (&leo, "Dusk")] {
        person.looks("LX 1").await;
        person.sets("LX 1", "label", label).await;
    }
    mara.meets(&leo).await;
    mara.agrees_with(&[&leo]).await;
    let (here, there) = (mara.explains("LX 1", "label").await, leo.explains("LX 1", "label").await);
    assert!(here.in_conflict && there.in_conflict);
    let said = |tip: &openprod_client::v1::CellWrite| tip.op.clone();
    assert_eq!(here.tips.iter().map(said).collect::<Vec<_>>(), there.tips.iter().map(said).collect::<Vec<_>>());
    assert_eq!(here.tips.len(), 2, "branch tips only: Noon was written over by its own author");

    leo.looks("LX 1").await;
    leo.sets("LX 1", "label", "Dusk").await;
    leo.meets(&mara).await;
    mara.agrees_with(&[&leo]).await;
    assert!(!mara.looks_at("LX 1", "label").await.in_conflict, "a decision travels");
}
