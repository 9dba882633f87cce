//! The cases that have a name, each in plain words. Every story ends like the long ones: everybody meets, agrees with
//! everybody and with the oracle, and nothing is lost.

use std::collections::BTreeMap;

use openprod_domain::cell::{Cell, Content};
use openprod_domain::command::{Command, NamedColumn, Stance};
use openprod_domain::compose::Putting;
use openprod_domain::read;
use openprod_messages::commands::Outcome;
use openprod_model::bundle::BundleKind;
use openprod_model::ids::{EntityId, Position};
use openprod_model::operation::Basis;
use openprod_model::value::{Name, Value};

use super::acts::{TABLES, beginning, entity, name, text};
use super::alone;
use super::company::{Asked, Company};
use super::linked::{Links, in_its_own_time};
use super::meeting::ends_well;
use super::portrait::conflicts;

/// Several replicas that have all heard of the same beginning. Person `n` works at replica `n`.
struct Story(Company);

/// The record that most stories are about; it is in the first table.
const CUE: u8 = 0;

fn cues() -> Name {
    name(TABLES[0])
}

fn label(record: EntityId) -> Cell {
    Cell::Field { table: cues(), entity: record, field: name("label") }
}

fn set_label(record: u8, value: &str) -> Command {
    let values = vec![(name("label"), Some(Value::Text(text(value))))];
    Command::SetFields { record: entity(record), table: cues(), values }
}

impl Story {
    async fn of(replicas: usize) -> Self {
        Self::with(replicas, BTreeMap::new()).await
    }

    async fn with(replicas: usize, ignorant: BTreeMap<usize, &'static [u16]>) -> Self {
        let mut story = Self(Company::new(replicas, 1, &ignorant).await);
        story.does_all(0, beginning(&story.0.cast)).await;
        story.everyone_hears().await;
        story
    }

    /// Somebody asks, having seen everything that is there; it is acknowledged.
    async fn does(&mut self, at: usize, command: Command) -> Outcome {
        self.does_all(at, vec![command]).await
    }

    async fn does_all(&mut self, at: usize, commands: Vec<Command>) -> Outcome {
        self.asks(at, commands).await.expect("it is not refused")
    }

    /// None if it is refused.
    async fn asks(&mut self, at: usize, commands: Vec<Command>) -> Option<Outcome> {
        let asked = Asked {
            actor: self.0.actor(at),
            session: None,
            base: Some(self.position(at)),
            stance: Stance::Beside,
            kind: BundleKind::EDIT,
            commands,
        };
        self.0.asks(at, &[asked]).await.unwrap().remove(0)
    }

    async fn sets(&mut self, at: usize, value: &str) {
        self.does(at, set_label(CUE, value)).await;
    }

    /// Somebody's other program says something of a cell, knowing what stands there.
    async fn says(&mut self, at: usize, cell: Cell, content: Content) {
        let preds = self.0.snapshot(at).view().tips(&cell).unwrap().iter().map(|tip| tip.op).collect();
        let putting = Putting { cell, content, basis: Basis { preds, ..Basis::default() }, seen: Vec::new() };
        let actor = self.0.actor(at);
        self.0.writes_by_hand(at, actor, vec![putting.operation().unwrap().to_raw()]).await;
    }

    async fn merges(&mut self, at: usize, one: u8, other: u8) {
        self.does(at, Command::MergeRecords { records: vec![entity(one), entity(other)] }).await;
    }

    async fn hears(&mut self, to: usize, from: usize) {
        self.0.tells(from, to).await.unwrap();
    }

    async fn everyone_hears(&mut self) {
        self.0.everyone_meets().await.unwrap();
    }

    fn position(&self, at: usize) -> Position {
        self.0.snapshot(at).position()
    }

    /// What a replica shows as the label, and all that stands there.
    fn label(&self, at: usize) -> (String, Vec<String>) {
        self.label_of(at, entity(CUE))
    }

    fn label_of(&self, at: usize, record: EntityId) -> (String, Vec<String>) {
        let snapshot = self.0.snapshot(at);
        let reading = read::united(snapshot.view(), label(record)).unwrap();
        let word = |content: &Content| match content {
            Content::Value(Value::Text(text)) => text.to_string(),
            other => format!("{other:?}"),
        };
        let all = reading.tips.iter().map(|tip| word(&tip.content)).collect();
        (reading.content().map_or_else(|| "nothing".to_owned(), word), all)
    }

    fn conflicts(&self, at: usize) -> usize {
        conflicts(self.0.snapshot(at).view()).len()
    }

    async fn ends(mut self) {
        ends_well(&mut self.0).await.unwrap();
    }
}

#[test]
fn work_that_arrives_late_opens_a_decided_conflict_again_and_the_decision_stays_on_show() {
    alone(async {
        let mut story = Story::of(3).await;
        story.sets(0, "Dawn").await;
        story.sets(1, "Dusk").await;
        story.sets(2, "Noon").await;
        story.hears(0, 1).await;
        assert_eq!(story.conflicts(0), 1);
        story.sets(0, "Sunrise").await;
        assert_eq!((story.label(0).1.len(), story.conflicts(0)), (1, 0), "she decided between what she saw");
        story.hears(0, 2).await;
        let (shown, mut candidates) = story.label(0);
        candidates.sort();
        assert_eq!((shown.as_str(), candidates), ("Sunrise", vec!["Noon".to_owned(), "Sunrise".to_owned()]));
        story.ends().await;
    });
}

#[test]
fn six_replicas_that_edit_one_field_have_six_candidates_and_not_the_values_in_between() {
    alone(async {
        let mut story = Story::of(6).await;
        for at in 0..6 {
            story.sets(at, "a first thought").await;
            story.sets(at, &format!("version {at}")).await;
        }
        story.everyone_hears().await;
        let (shown, candidates) = story.label(3);
        assert_eq!(candidates.last(), Some(&shown), "of undecided ones the latest is shown");
        let mut sorted = candidates.clone();
        sorted.sort();
        assert_eq!(sorted, (0..6).map(|at| format!("version {at}")).collect::<Vec<_>>());
        for at in 0..6 {
            assert_eq!((story.label(at).1, story.conflicts(at)), (candidates.clone(), 1));
        }
        story.ends().await;
    });
}

#[test]
fn equal_values_agree() {
    alone(async {
        let mut story = Story::of(3).await;
        for at in 0..3 {
            story.sets(at, "Dawn").await;
        }
        story.everyone_hears().await;
        assert_eq!((story.label(1).0.as_str(), story.label(1).1.len(), story.conflicts(1)), ("Dawn", 3, 0));
        story.ends().await;
    });
}

#[test]
fn mapped_columns_conflict_as_one() {
    alone(async {
        let mut story = Story::of(3).await;
        story.does(0, Command::AddToTable { record: entity(CUE), table: name("props"), values: Vec::new() }).await;
        story.everyone_hears().await;
        let column = |table: &str| NamedColumn { table: name(table), column: name("label") };
        story.does(0, Command::ConfirmMapping { one: column("cues"), other: column("props") }).await;
        story.sets(1, "Dawn").await;
        let values = vec![(name("label"), Some(Value::Text(text("Dusk"))))];
        story.does(2, Command::SetFields { record: entity(CUE), table: name("props"), values }).await;
        story.everyone_hears().await;
        for at in 0..3 {
            assert_eq!(story.label(at).1, ["Dawn", "Dusk"]);
            assert_eq!(story.conflicts(at), 1, "one fact, so one conflict");
        }
        story.sets(1, "Noon").await;
        story.everyone_hears().await;
        assert_eq!((story.label(2).0.as_str(), story.conflicts(2)), ("Noon", 0), "decided in both columns at once");
        story.ends().await;
    });
}

#[test]
fn merged_records_show_the_values_of_both() {
    alone(async {
        let mut story = Story::of(3).await;
        let values = vec![(name("label"), Value::Text(text("Sunset")))];
        story.does(1, Command::CreateRecord { record: Some(entity(6)), table: cues(), values }).await;
        story.everyone_hears().await;
        story.merges(0, CUE, 6).await;
        story.does(2, set_label(6, "Dusk")).await;
        story.everyone_hears().await;
        for record in [entity(CUE), entity(6)] {
            assert_eq!(story.label_of(1, record).1, ["begin", "Dusk"], "an absorbed id works as well");
        }
        story.does(1, set_label(6, "Night")).await;
        assert_eq!((story.label(1).0.as_str(), story.conflicts(1)), ("Night", 0));
        story.ends().await;
    });
}

#[test]
fn opposite_merges_come_to_the_same_record() {
    alone(async {
        let mut story = Story::of(3).await;
        let create = |record| Command::CreateRecord { record: Some(entity(record)), table: cues(), values: Vec::new() };
        story.does_all(0, vec![create(5), create(6), create(7)]).await;
        story.everyone_hears().await;
        story.merges(0, 5, 6).await;
        story.merges(1, 6, 5).await;
        story.merges(2, 7, 6).await;
        story.everyone_hears().await;
        for at in 0..3 {
            let unions = story.0.snapshot(at).view().unions().unwrap();
            assert_eq!(unions.ids(&entity(7)), [entity(5), entity(6), entity(7)]);
        }
        story.ends().await;
    });
}

#[test]
fn a_merge_that_somebody_split_meanwhile_unites_nothing_until_they_agree() {
    alone(async {
        let mut story = Story::of(3).await;
        story.merges(0, 0, 2).await;
        story.everyone_hears().await;
        story.says(1, Cell::merge(entity(0), entity(2)), Content::Absent).await;
        story.says(2, Cell::merge(entity(0), entity(2)), Content::Present).await;
        story.everyone_hears().await;
        for at in 0..3 {
            assert!(!story.0.snapshot(at).view().unions().unwrap().is_merged(entity(0)));
            assert_eq!(conflicts(story.0.snapshot(at).view())[0].cell, Cell::merge(entity(0), entity(2)));
        }
        story.ends().await;
    });
}

#[test]
fn a_record_that_one_deletes_and_another_edits_keeps_the_edit() {
    alone(async {
        let mut story = Story::of(3).await;
        story.does(0, Command::DeleteRecord { record: entity(CUE) }).await;
        story.sets(1, "Dawn").await;
        story.everyone_hears().await;
        let snapshot = story.0.snapshot(2);
        assert!(!read::exists(snapshot.view(), entity(CUE)).unwrap(), "nobody attached it again");
        let facet = read::cell(snapshot.view(), Cell::Facet { table: cues(), entity: entity(CUE) }).unwrap();
        let edit = &snapshot.view().tips(&label(entity(CUE))).unwrap()[0];
        assert!(!facet.tips[0].seen.contains(&edit.op), "the removal says what it had not seen");
        story.does(2, Command::CreateRecord { record: Some(entity(CUE)), table: cues(), values: Vec::new() }).await;
        assert_eq!(story.label(2).0, "Dawn");
        story.ends().await;
    });
}

#[test]
fn a_store_that_is_restored_from_an_old_copy_grows_a_branch() {
    alone(async {
        let mut story = Story::of(2).await;
        story.0.backs_up(1);
        story.sets(1, "before the disk broke").await;
        story.0.forks(7, false).await;
        story.0.forks(8, true).await;
        for (at, value) in [(2, "after the restore"), (3, "on the cloned machine")] {
            let asked = Asked {
                actor: story.0.actor(1),
                session: None,
                base: Some(story.position(at)),
                stance: Stance::Beside,
                kind: BundleKind::EDIT,
                commands: vec![set_label(CUE, value)],
            };
            story.0.asks(at, &[asked]).await.unwrap();
        }
        story.everyone_hears().await;
        assert_eq!(
            (story.label(0).1.len(), story.conflicts(0)),
            (3, 1),
            "one actor's three branches are three candidates"
        );
        story.sets(1, "whole again").await;
        story.ends().await;
    });
}

#[test]
fn what_is_delivered_twice_counts_once() {
    alone(async {
        let mut story = Story::of(2).await;
        story.sets(0, "Dawn").await;
        let news = story.0.news(0, 1);
        let twice: Vec<_> = news.iter().chain(&news).cloned().collect();
        story.0.offers(1, &twice).await.unwrap();
        let (position, hash) = (story.position(1), story.0.snapshot(1).hash().unwrap());
        story.0.offers(1, &twice).await.unwrap();
        assert_eq!((story.position(1), story.0.snapshot(1).hash().unwrap()), (position, hash));
        story.ends().await;
    });
}

#[test]
fn a_bundle_that_comes_before_its_parents_waits() {
    alone(async {
        let mut story = Story::of(2).await;
        story.sets(0, "Dawn").await;
        story.sets(0, "Sunrise").await;
        let [first, second] = &story.0.news(0, 1)[..] else { panic!("two edits") };
        let (first, second) = (first.clone(), second.clone());
        story.0.offers(1, std::slice::from_ref(&second)).await.unwrap();
        assert_eq!(story.label(1).0, "begin", "it is neither appended nor folded");
        story.0.offers(1, &[first]).await.unwrap();
        assert_eq!(story.label(1).0, "Sunrise", "it was kept, and comes in the right order");
        story.ends().await;
    });
}

#[test]
fn what_a_removed_member_wrote_before_he_heard_of_it_counts_everywhere() {
    alone(async {
        let mut story = Story::of(3).await;
        let member = story.0.actor(1);
        story.does(0, Command::RemoveMember { member, why: text("he left") }).await;
        story.sets(1, "written on the train").await;
        story.everyone_hears().await;
        for at in 0..3 {
            assert_eq!(story.label(at).0, "written on the train");
            assert_eq!(read::membership(story.0.snapshot(at).view(), member).unwrap(), read::Membership::Removed);
        }
        assert!(story.asks(1, vec![set_label(CUE, "and now?")]).await.is_none(), "now he knows");
        story.ends().await;
    });
}

#[test]
fn an_old_version_keeps_what_it_does_not_know_and_folds_it_after_an_upgrade() {
    const FIELDS: &[u16] = &[5];
    alone(async {
        let mut story = Story::with(3, BTreeMap::from([(2, FIELDS)])).await;
        story.sets(0, "Dawn").await;
        story.everyone_hears().await;
        assert_eq!(story.label(2).0, "nothing");
        assert!(story.0.snapshot(2).counts().unwrap().unknown_ops > 0);
        let create = Command::CreateRecord { record: Some(entity(7)), table: cues(), values: Vec::new() };
        story.does(2, create).await;
        story.0.replicas[2].learns().await;
        assert_eq!((story.label(2).0.as_str(), story.0.snapshot(2).counts().unwrap().unknown_ops), ("Dawn", 0));
        story.ends().await;
    });
}

/// Wi-Fi that drops again and again, in mid-show.
#[test]
fn edits_go_on_while_links_come_and_go() {
    alone(async {
        let mut story = Story::of(3).await;
        for round in 0..30_usize {
            let mut links = Links::among(&story.0);
            in_its_own_time();
            links.join(&story.0, 0, 1).await;
            links.join(&story.0, 1, 2).await;
            for at in 0..3 {
                story.sets(at, &format!("round {round} of {at}")).await;
                links.go_on_for(round * 37 % 300).await;
            }
            links.are_cut().await;
            tokio::time::resume();
        }
        story.ends().await;
    });
}

/// The disk of one rots. Whoever has the bundle gives it back, to whoever lacks it too.
#[test]
fn a_bundle_that_rots_comes_back_from_a_peer() {
    alone(async {
        let mut story = Story::of(3).await;
        let rotten = story.does(0, set_label(CUE, "Dawn")).await.answer.digest;
        story.sets(0, "Sunrise").await;
        story.0.tells(0, 1).await.unwrap();
        story.0.replicas[0].loses_a_bit_of(rotten).await;
        in_its_own_time();
        let mut links = Links::among(&story.0);
        links.join(&story.0, 0, 1).await;
        links.join(&story.0, 0, 2).await;
        links.are_synced(&story.0).await.unwrap();
        assert_eq!(story.0.replicas[0].bundle(rotten).digest(), rotten, "it is whole again");
        assert_eq!(story.0.replicas[0].log().quarantine_alarms().unwrap(), 0);
        assert_eq!(story.label(2).0, "Sunrise");
        links.are_cut().await;
        tokio::time::resume();
        story.ends().await;
    });
}
