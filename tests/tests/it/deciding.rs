//! Deciding: conflicts are listed, told, decided one by one or many at once, and opened again; by API and command line.

use openprod_client::v1::{self, ConflictChangeKind as Turned};
use openprod_client::{Change, From};

use crate::world::{Person, World, row};

/// Mara and Leo have written different labels on these cues without having seen each other's.
async fn torn(world: &World, cues: &[&str]) -> (Person, Person) {
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text", "page integer"]).await;
    for cue in cues {
        mara.adds("cues", cue, row!["label" => "Preset", "page" => 1]).await;
        for person in [&mara, &leo] {
            person.looks(cue).await;
        }
        mara.sets(cue, "label", format!("Mara's {cue}")).await;
        leo.sets(cue, "label", format!("Leo's {cue}")).await;
    }
    (mara, leo)
}

fn all() -> v1::ListConflictsRequest {
    v1::ListConflictsRequest::default()
}

#[tokio::test]
async fn conflicts_are_listed_by_pages_and_by_what_they_are_about() {
    let world = World::new().await;
    let (mara, leo) = torn(&world, &["LX 1", "LX 2", "LX 3"]).await;
    mara.looks("LX 1").await;
    mara.makes_table("scenes", &["weather text"]).await;
    mara.adds("scenes", "Heath", row!["weather" => "Storm"]).await;
    assert_eq!(mara.disputes(v1::ListConflictsRequest { page_size: 2, ..all() }).await.len(), 3);
    assert_eq!(mara.disputes(v1::ListConflictsRequest { table: "cues".into(), ..all() }).await.len(), 3);
    assert!(mara.disputes(v1::ListConflictsRequest { table: "scenes".into(), ..all() }).await.is_empty());
    let of_record = mara.disputes(v1::ListConflictsRequest { record: mara.id("LX 2"), ..all() }).await;
    let [conflict] = &of_record[..] else { panic!("{of_record:?}") };
    assert_eq!(conflict.sort(), v1::ConflictSort::ValuesDiffer);
    let [mine, theirs] = &conflict.candidates[..] else { panic!("{conflict:?}") };
    assert!(!mine.shown && theirs.shown && !conflict.reopened);
    let bundle = theirs.writes[0].bundle.clone().unwrap();
    assert_eq!((bundle.actor_name.as_str(), bundle.label.as_str()), ("Leo", "Set label of cues LX 2"));
    let of_bundle = v1::ListConflictsRequest { bundle: bundle.bundle_id, ..all() };
    assert_eq!(mara.disputes(of_bundle).await.len(), 1);
    let of_leo = v1::ListConflictsRequest { actor: leo.actor.to_string(), ..all() };
    assert_eq!(mara.disputes(of_leo).await.len(), 3);
    assert_eq!(&mara.looks_into(&conflict.conflict).await, conflict);
    let opened = leo.sets("LX 2", "label", "Leo's LX 2").await.opened_conflicts;
    assert!(opened.is_empty(), "{opened:?}");
}

#[tokio::test]
async fn the_command_line_lists_tells_and_decides() {
    let world = World::new().await;
    let (mara, _leo) = torn(&world, &["LX 1", "LX 2", "LX 3", "LX 4"]).await;
    mara.types("openprod status").await.ok().says("4 in conflict");
    mara.types("openprod conflicts").await.ok().says("cues LX 2 label was edited by Mara").says("4 conflicts.");
    let listed = mara.types("openprod conflicts --json --record 'cues/LX 2'").await.ok().json();
    let id = listed[0]["conflict"].as_str().unwrap().to_owned();
    mara.types(&format!("openprod conflicts show {}", &id[..12])).await.ok().says("Mara's LX 2").says("(shown)");
    mara.types("openprod resolve").await.fails(2).says("nobody is at the terminal");
    mara.types(&format!("openprod resolve {id} --take 3")).await.fails(2).says("There is no value number 3 here.");
    mara.types(&format!("openprod resolve {id} --restore")).await.fails(1).says("Nothing was removed here");
    mara.types(&format!("openprod resolve {} --take 1", &id[..12])).await.ok().says("Resolved. Revision");
    assert_eq!(mara.sees("LX 2", "label").await, "Mara's LX 2");
    mara.types(&format!("openprod resolve {id} --clear")).await.fails(1).says("There is no conflict");
    for (cue, choice, becomes) in
        [("LX 1", "--value 'Blackout = dark'", "Blackout = dark"), ("LX 3", "--clear", "nothing")]
    {
        let listed = mara.types(&format!("openprod conflicts --json --record 'cues/{cue}'")).await.ok().json();
        let id = listed[0]["conflict"].as_str().unwrap();
        mara.types(&format!("openprod resolve {id} {choice}")).await.ok();
        assert_eq!(mara.sees(cue, "label").await, becomes);
    }
    assert_eq!(mara.hears_of_disputes().await.len(), 1);
    mara.types("openprod explain cues 'LX 2' label").await.ok().says("(decided a conflict)");
    mara.types("openprod history --kind resolution").await.ok().says("Resolve cues LX 2 label");
}

#[tokio::test]
async fn many_conflicts_are_decided_in_one_bundle_and_undone_as_one() {
    let world = World::new().await;
    let (mara, leo) = torn(&world, &["LX 1", "LX 2", "LX 3"]).await;
    mara.types("openprod resolve --all --mine").await.fails(2).says("needs a yes");
    mara.types("openprod resolve --all").await.fails(2);
    mara.types("openprod resolve --all --theirs Leo --yes").await.ok().says("Resolved. Revision");
    assert!(mara.hears_of_disputes().await.is_empty());
    assert_eq!(mara.sees("LX 3", "label").await, "Leo's LX 3");
    let kinds = vec![v1::BundleKind::Resolution.into()];
    let decisions = v1::ListBundlesRequest { kinds, ..Default::default() };
    assert_eq!(mara.reads_history(decisions.clone()).await, ["Mara: Resolve 3 conflicts"]);
    let bundle = mara.reads(decisions).await.bundles[0].clone();
    assert_eq!(mara.opens_bundle(&bundle.bundle_id).await.ops.len(), 3, "one operation each");
    mara.undoes().await;
    let again = mara.hears_of_disputes().await;
    assert_eq!(again.len(), 3);
    for who in ["Mara (\"Mara's LX 1\")", "Leo (\"Leo's LX 1\")"] {
        assert!(again[0].contains(who), "an undo puts back what others have said, under their names: {}", again[0]);
    }
    leo.types("openprod resolve --all --mine --table cues --yes").await.ok();
    assert_eq!(mara.sees("LX 1", "label").await, "Leo's LX 1");
    leo.undoes().await;
    let listed = mara.disputes(all()).await;
    let bundle = listed[0].candidates[0].writes[0].bundle.clone().unwrap().bundle_id;
    mara.types(&format!("openprod resolve --all --from-bundle {bundle} --yes")).await.ok();
    assert_eq!(mara.hears_of_disputes().await.len(), 2);
}

#[tokio::test]
async fn what_was_deleted_while_it_was_edited_comes_back_or_is_let_go() {
    let world = World::new().await;
    let (mara, leo) = (world.person("Mara").await, world.person("Leo").await);
    mara.makes_table("cues", &["label text"]).await;
    let mut watch = mara.watches(From::Snapshot, &[]);
    watch.hears_the_snapshot().await;
    for cue in ["LX 1", "LX 2", "LX 3"] {
        mara.adds("cues", cue, row!["label" => "Preset"]).await;
        watch.hears_of_a_bundle().await;
        mara.looks(cue).await;
        leo.looks(cue).await;
        leo.sets(cue, "label", "Storm").await;
        watch.hears_of_a_bundle().await;
        // Her screen still shows what it showed before Leo's edit.
        let deletes = vec![crate::world::delete_record(&mara.id(cue))];
        let change = Change::new(deletes).base(mara.has_seen().unwrap() - 1);
        let opened = mara.brings(&change).await.opened_conflicts;
        assert_eq!(opened.len(), 1, "{opened:?}");
        let told = watch.hears_of_a_bundle().await.conflicts;
        assert_eq!((told[0].kind(), &told[0].conflict), (Turned::Opened, &opened[0].conflict));
    }
    let open = mara.disputes(all()).await;
    assert_eq!(open.len(), 3);
    assert!(open.iter().all(|one| one.sort() == v1::ConflictSort::RemovedWhileEdited));
    assert_eq!(open[0].sentence, "cues LX 1 in cues was removed by Mara and edited by Leo. Restore it or let it go.");
    assert_eq!((open[0].removals.len(), open[0].edits.len()), (1, 1));
    mara.types(&format!("openprod resolve {} --restore", open[0].conflict)).await.ok();
    mara.rules(&open[1], v1::resolve::Choice::LetGo(true)).await;
    mara.types("openprod resolve --all --theirs Leo --yes").await.ok();
    assert_eq!(mara.lists("cues").await, ["LX 1", "LX 3"], "Leo had edited, so his side keeps it");
    assert_eq!(mara.sees("LX 1", "label").await, "Storm");
    assert!(mara.hears_of_disputes().await.is_empty());
}

#[tokio::test]
async fn watchers_hear_how_a_conflict_opens_widens_is_resolved_and_opens_again() {
    let world = World::new().await;
    let (mara, leo, ann) = (world.person("Mara").await, world.person("Leo").await, world.person("Ann").await);
    mara.makes_table("cues", &["label text"]).await;
    mara.adds("cues", "LX 1", row!["label" => "Preset"]).await;
    for person in [&mara, &leo, &ann] {
        person.looks("LX 1").await;
    }
    let ann_late = ann.in_another_browser().await;
    ann_late.looks("LX 1").await;
    let mut watch = leo.watches(From::Snapshot, &["cues"]);
    watch.hears_the_snapshot().await;
    leo.types("openprod conflicts").await.ok().says("No conflicts.");
    mara.sets("LX 1", "label", "Sunrise").await;
    assert!(watch.hears_of_a_bundle().await.conflicts.is_empty());
    ann.sets("LX 1", "label", "Noon").await;
    let opened = watch.hears_of_a_bundle().await.conflicts.remove(0);
    assert_eq!(opened.kind(), Turned::Opened);
    let conflict = mara.looks_into(&opened.conflict).await;
    assert_eq!(conflict.sentence, opened.sentence);
    mara.resolves(&conflict, "Noon").await;
    assert_eq!(watch.hears_of_a_bundle().await.conflicts[0].kind(), Turned::Resolved);
    ann_late.sets("LX 1", "label", "Night").await;
    let again = watch.hears_of_a_bundle().await.conflicts.remove(0);
    assert_eq!((again.kind(), &again.conflict), (Turned::Reopened, &opened.conflict));
    let conflict = mara.looks_into(&opened.conflict).await;
    assert!(conflict.reopened);
    assert_eq!(mara.sees("LX 1", "label").await, "Noon", "what was decided stays on show");
    mara.types("openprod conflicts").await.ok().says("opened again");
}
