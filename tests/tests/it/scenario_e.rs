//! Scenario E, as people do it by hand: a schedule made in an overlay is stashed and looked at; meanwhile somebody changes
//! one room, which drifts, and the rest is committed.

use crate::world::{World, aloud, row};

#[tokio::test]
async fn a_schedule_is_stashed_drifts_on_one_field_and_is_committed_without_it() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("events", &["room text", "note text"]).await;
    let names: Vec<String> = (1..=15).map(|n| format!("Rehearsal {n:02}")).collect();
    for name in &names {
        mara.adds("events", name, row!["room" => "tbd"]).await;
    }
    let draft = mara.opens_overlay("my own edits").await;
    draft.sets("Rehearsal 01", "note", "bring the swords").await;

    let schedule = mara.opens_overlay("schedule").await;
    for name in &names {
        schedule.sets(name, "room", "Hall A").await;
    }
    mara.stashes("schedule").await;
    assert!(mara.looks_at_overlay("schedule").await.stashed);
    let refused =
        schedule.fails_at(vec![crate::world::set_fields(&mara.id("Rehearsal 01"), "events", row!["room" => "Hall B"])]);
    assert!(refused.await.next.contains("Recall"));

    leo.looks("Rehearsal 07").await;
    leo.sets("Rehearsal 07", "room", "Foyer").await;
    let drifted = mara.finds_drift("schedule").await;
    let [sentence] = &drifted[..] else { panic!("just that field: {drifted:?}") };
    for word in ["Rehearsal 07", "room", "Hall A", "Leo", "Foyer"] {
        assert!(sentence.contains(word), "{word} is not in: {sentence}");
    }
    let refused = mara.workspace().commit_overlay(mara.overlay_id("schedule").await).await.unwrap_err();
    assert_eq!(refused.reason(), Some(openprod_client::v1::Reason::Drifted), "{refused}");
    assert!(mara.finds_drift("my own edits").await.is_empty());

    mara.types("openprod overlay drift schedule").await.ok().says("Foyer");
    mara.types("openprod overlay use-canonical schedule events \"Rehearsal 07\" room").await.ok();
    let (counts, _) = mara.previews("schedule").await;
    assert_eq!((counts.changed_records, counts.drifted), (14, 0));
    let done = mara.commits("schedule").await;
    assert!(done.opened_conflicts.is_empty(), "{done:?}");
    for name in &names {
        let room = if name == "Rehearsal 07" { "Foyer" } else { "Hall A" };
        let shown = leo.looks_at(name, "room").await;
        assert_eq!((aloud(shown.value.as_ref()).as_str(), shown.in_conflict), (room, false), "{name}");
    }

    mara.stashes("my own edits").await;
    mara.recalls("my own edits").await;
    draft.sets("Rehearsal 02", "note", "and the crowns").await;
    assert_eq!(draft.sees("Rehearsal 01", "note").await, "bring the swords");
    assert_eq!(draft.sees("Rehearsal 01", "room").await, "Hall A", "the commit shines through");
    assert_eq!(leo.sees("Rehearsal 01", "note").await, "nothing");
}
