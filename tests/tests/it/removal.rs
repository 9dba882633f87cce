//! Removal hides, it does not empty: what comes back is as it was.

use openprod_client::v1;

use crate::world::{World, aloud, row};

#[tokio::test]
async fn a_removed_record_comes_back_with_everything_it_had() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &["label text", "page integer"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn", "page" => 3]).await;
    mara.looks("LX 12").await;
    mara.removes("LX 12", "cues").await;
    assert!(mara.lists("cues").await.is_empty());
    mara.brings_back("LX 12").await;
    assert_eq!(mara.sees("LX 12", "label").await, "Dawn");
    assert_eq!(mara.sees("LX 12", "page").await, "3");
}

#[tokio::test]
async fn a_record_may_stand_in_several_tables_and_leave_one_of_them() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("people", &["phone text"]).await;
    mara.makes_table("crew", &["role text"]).await;
    mara.adds("people", "Jane", row!["phone" => "12"]).await;
    mara.lists_also("Jane", "crew", row!["name" => "Jane", "role" => "Fly"]).await;
    assert_eq!((mara.lists("people").await, mara.lists("crew").await), (vec!["Jane".into()], vec!["Jane".into()]));
    mara.looks("Jane").await;
    mara.removes("Jane", "crew").await;
    assert!(mara.lists("crew").await.is_empty());
    assert_eq!(mara.sees("Jane", "phone").await, "12");
    mara.deletes("Jane").await;
    assert!(mara.lists("people").await.is_empty());
}

#[tokio::test]
async fn a_deleted_record_takes_its_edges_along_and_brings_them_back() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    mara.makes_table("cues", &[]).await;
    mara.makes_table("scenes", &[]).await;
    mara.adds("cues", "LX 12", Vec::new()).await;
    mara.adds("scenes", "Storm", Vec::new()).await;
    mara.joins("LX 12", "belongs_to", "Storm").await;
    mara.looks("LX 12").await;
    mara.deletes("LX 12").await;
    assert!(mara.follows("belongs_to", "Storm").await.is_empty());
    assert_eq!(mara.lists("scenes").await, ["Storm"]);
    mara.brings_back("LX 12").await;
    assert_eq!(mara.follows("belongs_to", "Storm").await, ["LX 12"]);
}

#[tokio::test]
async fn who_edits_what_another_removes_unseen_is_not_overruled() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    mara.looks("LX 12").await;
    leo.looks("LX 12").await;
    leo.sets("LX 12", "label", "Blackout").await;
    mara.deletes("LX 12").await;
    leo.brings_back("LX 12").await;
    let label = leo.looks_at("LX 12", "label").await;
    assert_eq!(aloud(label.value.as_ref()), "Blackout", "no edit is lost by a removal");
}

#[tokio::test]
async fn taking_out_against_putting_in_shows_the_record_until_somebody_decides() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 12", row!["label" => "Dawn"]).await;
    mara.looks("LX 12").await;
    mara.removes("LX 12", "cues").await;
    mara.knows_tables().await;
    let seen = leo.reads(v1::ListRecordsRequest { table: "cues".into(), ..Default::default() }).await;
    assert!(seen.records.is_empty());
    leo.brings_back("LX 12").await;
    assert_eq!(leo.lists("cues").await, ["LX 12"]);
}
