//! Relationships: typed, directed, with properties, and in an order that people choose.

use openprod_client::v1::place::End;

use crate::world::{Person, World, at_end, before, behind};

async fn scene_with_cues(mara: &Person) {
    mara.makes_table("cues", &[]).await;
    mara.makes_table("scenes", &[]).await;
    mara.adds("scenes", "Storm", Vec::new()).await;
    for cue in ["LX 1", "LX 2", "LX 3"] {
        mara.adds("cues", cue, Vec::new()).await;
        mara.joins_at(cue, "runs_in", "Storm", Some(at_end(End::Last))).await;
    }
}

#[tokio::test]
async fn cues_stand_in_a_scene_in_the_order_that_people_give_them() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    scene_with_cues(&mara).await;
    assert_eq!(mara.follows("runs_in", "Storm").await, ["LX 1", "LX 2", "LX 3"]);
    mara.moves("LX 3-Storm", at_end(End::First)).await;
    assert_eq!(mara.follows("runs_in", "Storm").await, ["LX 3", "LX 1", "LX 2"]);
    mara.moves("LX 3-Storm", behind(&mara.id("LX 1-Storm"))).await;
    assert_eq!(mara.follows("runs_in", "Storm").await, ["LX 1", "LX 3", "LX 2"]);
    mara.moves("LX 2-Storm", before(&mara.id("LX 1-Storm"))).await;
    assert_eq!(mara.follows("runs_in", "Storm").await, ["LX 2", "LX 1", "LX 3"]);
    assert!(mara.looks_at_edge("LX 2-Storm").await.ordered);
    mara.finds_all_well().await;
}

#[tokio::test]
async fn two_who_move_the_same_cue_do_not_quarrel() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    scene_with_cues(&mara).await;
    mara.follows("runs_in", "Storm").await;
    leo.follows("runs_in", "Storm").await;
    mara.moves("LX 1-Storm", at_end(End::Last)).await;
    let done = leo.moves("LX 1-Storm", behind(&mara.id("LX 2-Storm"))).await;
    assert!(done.opened_conflicts.is_empty(), "the latest place counts: {done:?}");
    assert_eq!(mara.follows("runs_in", "Storm").await, ["LX 2", "LX 1", "LX 3"]);
}

#[tokio::test]
async fn several_edges_may_join_the_same_records_and_each_says_its_own() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("people", &[]).await;
    mara.makes_table("notes", &[]).await;
    mara.adds("people", "Jane", Vec::new()).await;
    mara.adds("notes", "Fix the door", Vec::new()).await;
    let first = mara.joins("Fix the door", "assigned_to", "Jane").await;
    let second = mara.joins("Fix the door", "assigned_to", "Jane").await;
    assert_ne!(first, second);
    mara.looks_at_edge(&first).await;
    leo.looks_at_edge(&first).await;
    mara.notes(&first, "share", "half").await;
    assert_eq!(leo.notes(&first, "share", "all").await.opened_conflicts.len(), 1);
    assert!(mara.looks_at_edge(&first).await.properties[0].in_conflict);
    assert!(mara.looks_at_edge(&second).await.properties.is_empty());
    mara.parts(&first).await;
    assert_eq!(mara.follows("assigned_to", "Jane").await.len(), 1);
}

#[tokio::test]
async fn edges_are_made_and_listed_from_the_command_line() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    scene_with_cues(&mara).await;
    let made = mara.types("openprod edges add follows 'cues/LX 1' 'cues/LX 2' why=loud").await.ok();
    let edge = made.out.trim().to_owned();
    mara.types("openprod edges list 'cues/LX 2' --direction to").await.ok().says("follows").says("why=loud");
    mara.types(&format!("openprod edges set {edge} why=quiet")).await.ok();
    mara.types("openprod edges list 'cues/LX 1' --type follows").await.ok().says("why=quiet");
    mara.types(&format!("openprod edges rm {edge} --yes")).await.ok();
    mara.types("openprod edges list 'cues/LX 1' --type follows").await.ok().says_nothing_of("follows");
}
