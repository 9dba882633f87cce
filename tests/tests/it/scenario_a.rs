//! Two departments offline: lighting edits on Saturday, sound on Sunday, three times the same field. On Monday they
//! meet, and the stage manager decides.

use openprod_client::v1;

use crate::world::{Person, World, aloud, row};

const CUES: std::ops::RangeInclusive<usize> = 30..=60;
/// The cues whose labels both change, and to what.
const SHARED: [(&str, &str, &str); 3] =
    [("42", "Sunrise", "Dawn"), ("43", "Storm", "Thunder"), ("44", "Blackout", "Curtain")];

async fn edits(who: &Person, cue: &str, column: &str, to: &str) {
    who.looks(cue).await;
    who.sets(cue, column, to).await;
}

/// Twenty edits, three of them of labels.
async fn saturday(alex: &Person) {
    for cue in CUES.take(17) {
        edits(alex, &cue.to_string(), "Colour", "L201").await;
    }
    for (cue, label, _) in SHARED {
        edits(alex, cue, "Label", label).await;
    }
}

/// Fifteen edits, three of them of the same labels.
async fn sunday(jordan: &Person) {
    for cue in CUES.take(12) {
        edits(jordan, &cue.to_string(), "Sound", "Wind").await;
    }
    for (cue, _, label) in SHARED {
        edits(jordan, cue, "Label", label).await;
    }
}

#[tokio::test]
async fn two_departments_work_offline_and_a_person_decides_the_three_conflicts() {
    let world = World::new().await;
    let mara = world.person("Mara").await;
    prepares(&mara).await;
    let (_lighting, alex) = world.away("Alex").await;
    let (_sound, jordan) = world.away("Jordan").await;
    let everybody_meets = async |_: u64| {
        alex.meets(&jordan).await;
        mara.meets(&alex).await;
        mara.meets(&jordan).await;
    };
    weekend([&mara, &alex, &jordan], everybody_meets).await;
}

/// The stage manager makes the cues.
pub(crate) async fn prepares(mara: &Person) {
    mara.makes_table("Cue", &["Label text", "Colour text", "Sound text"]).await;
    for cue in CUES {
        mara.adds("Cue", &cue.to_string(), row!["Label" => "Preset"]).await;
    }
}

/// What happens from Saturday to Monday between three people at nodes of their own that do not see each other.
/// `everybody_meets` brings them together; it is given how many bundles all have then.
pub(crate) async fn weekend([mara, alex, jordan]: [&Person; 3], everybody_meets: impl AsyncFn(u64)) {
    let began_with = mara.asks_how_it_is().await.revision;
    saturday(alex).await;
    sunday(jordan).await;
    assert!(alex.hears_of_disputes().await.is_empty() && jordan.hears_of_disputes().await.is_empty());

    // Monday.
    everybody_meets(began_with + 35).await;
    mara.agrees_with(&[alex, jordan]).await;
    let open = the_three_conflicts(mara).await;
    for elsewhere in [alex, jordan] {
        let theirs = elsewhere.disputes(v1::ListConflictsRequest::default()).await;
        assert_eq!(essence(&theirs), essence(&open), "the same ids and candidates everywhere");
    }

    // Mara knows both, and asks neither.
    mara.resolves(&open[0], "Sunrise").await;
    mara.resolves(&open[1], "Thunder").await;
    mara.rules(&open[2], v1::resolve::Choice::Value(crate::world::value("Blackout, then curtain"))).await;
    everybody_meets(began_with + 38).await;
    mara.agrees_with(&[alex, jordan]).await;
    for person in [mara, alex, jordan] {
        sees_what_was_decided(person).await;
    }
    reads_who_did_what(jordan).await;
}

async fn the_three_conflicts(mara: &Person) -> Vec<v1::Conflict> {
    let said: Vec<String> = SHARED
        .map(|(cue, alex, jordan)| {
            format!("Cue {cue} Label was edited by Alex (\"{alex}\") and Jordan (\"{jordan}\"). Choose a value.")
        })
        .into();
    let open = mara.disputes(v1::ListConflictsRequest::default()).await;
    assert_eq!(open.iter().map(|one| one.sentence.clone()).collect::<Vec<_>>(), said);
    open
}

async fn sees_what_was_decided(person: &Person) {
    assert!(person.hears_of_disputes().await.is_empty());
    for (cue, label) in [("42", "Sunrise"), ("43", "Thunder"), ("44", "Blackout, then curtain")] {
        assert_eq!(aloud(person.looks_at(cue, "Label").await.value.as_ref()), label);
    }
    assert_eq!(person.sees("35", "Colour").await, "L201");
    assert_eq!(person.sees("35", "Sound").await, "Wind");
}

async fn reads_who_did_what(jordan: &Person) {
    let history = jordan.reads_history(v1::ListBundlesRequest::default()).await;
    let by = |who: &str| history.iter().filter(|line| line.starts_with(&format!("{who}: Set "))).count();
    assert_eq!((by("Alex"), by("Jordan")), (20, 15));
    let kinds = vec![v1::BundleKind::Resolution.into()];
    let decisions = jordan.reads_history(v1::ListBundlesRequest { kinds, ..Default::default() }).await;
    assert_eq!(decisions, ["44", "43", "42"].map(|cue| format!("Mara: Resolve Cue {cue} Label")));
    let told = jordan.explains("42", "Label").await;
    let writers: Vec<(String, bool)> =
        told.history.iter().map(|one| (one.bundle.clone().unwrap().actor_name, one.decision)).collect();
    assert_eq!(writers.len(), 4, "{writers:?}");
    for (who, decided) in [("Mara", true), ("Alex", false), ("Jordan", false)] {
        assert!(writers.contains(&(who.to_owned(), decided)), "{writers:?}");
    }
}

/// What is the same on every node: the id, and what each candidate says, whether it is shown, and by which writes;
/// revisions are a node's own.
#[derive(Debug, PartialEq)]
struct Essence {
    conflict: String,
    candidates: Vec<(String, bool, Vec<String>)>,
}

fn essence(conflicts: &[v1::Conflict]) -> Vec<Essence> {
    let candidate = |one: &v1::ConflictCandidate| {
        let writes = one.writes.iter().map(|write| write.op.clone()).collect();
        (format!("{:?}", one.content), one.shown, writes)
    };
    let essence = |one: &v1::Conflict| Essence {
        conflict: one.conflict.clone(),
        candidates: one.candidates.iter().map(candidate).collect(),
    };
    conflicts.iter().map(essence).collect()
}
