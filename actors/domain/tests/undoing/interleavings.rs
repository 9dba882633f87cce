//! Histories at random: three people write, remove, merge, decide, undo and redo, and what they do arrives in any order
//! that its causes allow. Nobody's later work is ever written over or hidden, and all replicas come to the same.

use std::collections::BTreeSet;

use openprod_domain::cell::{Cell, Content, Tip};
use openprod_domain::command::{Choice, Command, NewColumn, Place, Stance, TableChange};
use openprod_domain::conflict::{self, Conflict, Dispute};
use openprod_domain::inverse::Turn;
use openprod_domain::inverse::stack::{Scope, Which};
use openprod_domain::view::{History, View};
use openprod_domain::{fold, read};
use openprod_model::bundle::{Bundle, BundleKind};
use openprod_model::ids::{EdgeId, EntityId, Position};
use openprod_model::operation::{Operation, PairAt};
use openprod_model::value::{FieldType, Text};
use proptest::prelude::*;

use crate::kit::{Replica, keys, name, text};

/// How many histories are played. Each is one interleaving of three people.
const HISTORIES: u32 = 10_000;
/// How many for the laws about one person alone.
const LONELY_HISTORIES: u32 = 300;

/// What somebody does; numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Act {
    Adds,
    Sets(u8, u8),
    Clears(u8),
    Deletes(u8),
    Restores(u8),
    Joins(u8, u8),
    Parts(u8),
    Moves(u8),
    Notes(u8, u8),
    Merges(u8, u8),
    Splits(u8, u8),
    Settles(u8),
    Renames(u8),
    AddsColumn(u8),
    SetsBoth(u8, u8),
    Resolves(u8, u8),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Somebody does something, deciding what is in conflict or writing beside it.
    Does(usize, Act, bool),
    /// Somebody undoes and redoes what comes next in the stack, several times.
    Turns(usize, [Option<Turn>; 3], Scope),
    /// Somebody undoes or redoes a certain bundle.
    Names(usize, Turn, u8),
    /// Some of what one has comes to another, beginning somewhere.
    Hears(usize, usize, u8, u8),
}

fn act() -> impl Strategy<Value = Act> {
    let few = || 0..4_u8;
    prop_oneof![
        2 => Just(Act::Adds),
        6 => (few(), few()).prop_map(|(at, to)| Act::Sets(at, to)),
        1 => few().prop_map(Act::Clears),
        2 => few().prop_map(Act::Deletes),
        2 => few().prop_map(Act::Restores),
        2 => (few(), few()).prop_map(|(from, to)| Act::Joins(from, to)),
        1 => few().prop_map(Act::Parts),
        1 => few().prop_map(Act::Moves),
        1 => (few(), few()).prop_map(|(at, to)| Act::Notes(at, to)),
        1 => (few(), few()).prop_map(|(one, other)| Act::Merges(one, other)),
        1 => (few(), few()).prop_map(|(one, other)| Act::Splits(one, other)),
        1 => few().prop_map(Act::Settles),
        1 => few().prop_map(Act::Renames),
        1 => few().prop_map(Act::AddsColumn),
        2 => (few(), few()).prop_map(|(at, to)| Act::SetsBoth(at, to)),
        3 => (few(), few()).prop_map(|(which, choice)| Act::Resolves(which, choice)),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![3 => Just(Turn::Undo), 2 => Just(Turn::Redo)]
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![3 => Just(Scope::Mine), 1 => Just(Scope::Shared)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3_usize, act(), any::<bool>()).prop_map(|(who, act, decides)| Step::Does(who, act, decides)),
        4 => (0..3_usize, turn(), proptest::option::of(turn()), proptest::option::of(turn()), scope())
            .prop_map(|(who, one, two, three, scope)| Step::Turns(who, [Some(one), two, three], scope)),
        1 => (0..3_usize, turn(), any::<u8>()).prop_map(|(who, turn, which)| Step::Names(who, turn, which)),
        3 => (0..3_usize, 0..3_usize, any::<u8>(), 1..12_u8)
            .prop_map(|(who, from, start, count)| Step::Hears(who, from, start, count)),
    ]
}

/// What there is to act on, by the names that all of them use.
#[derive(Default)]
struct Things {
    records: Vec<EntityId>,
    edges: Vec<EdgeId>,
}

fn one_of<T: Copy>(all: &[T], number: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(number) % all.len()])
}

fn set(record: EntityId, column: &str, to: Option<u8>) -> Command {
    let values = vec![(name(column), to.map(|to| text(&to.to_string())))];
    Command::SetFields { record, table: name("cues"), values }
}

fn alter(table: &str, change: TableChange) -> Command {
    Command::AlterTable { table: name(table), changes: vec![change] }
}

impl Things {
    /// Does it, if it can be done here and now; says whether it was.
    fn happen(&mut self, replica: &mut Replica, act: Act) -> bool {
        match act {
            Act::Merges(one, other) => return self.pair(replica, one, other, true),
            Act::Splits(one, other) => return self.pair(replica, one, other, false),
            Act::Resolves(which, choice) => {
                let conflicts = conflict::all(&replica.view()).unwrap();
                let Some(conflict) = conflicts.get(usize::from(which) % conflicts.len().max(1)) else { return false };
                let choice = decision(conflict, choice);
                return replica.tries(vec![Command::Resolve { cell: conflict.cell.clone(), choice }]).is_ok();
            }
            _ => {}
        }
        let Some(commands) = self.commands(act) else { return false };
        let Ok((_, plan)) = replica.tries(commands) else { return false };
        for (_, made) in plan.created {
            match made {
                openprod_domain::command::Created::Record(record) if !self.records.contains(&record) => {
                    self.records.push(record);
                }
                openprod_domain::command::Created::Edge(edge) => self.edges.push(edge),
                openprod_domain::command::Created::Record(_) => {}
            }
        }
        true
    }

    fn commands(&self, act: Act) -> Option<Vec<Command>> {
        let (record, edge) = (|at| one_of(&self.records, at), |at| one_of(&self.edges, at));
        let column = |at: u8| if at.is_multiple_of(2) { "label" } else { "notes" };
        Some(vec![match act {
            Act::Adds => {
                Command::CreateRecord { record: None, table: name("cues"), values: vec![(name("name"), text("LX"))] }
            }
            Act::Sets(at, to) => set(record(at)?, column(to), Some(to)),
            Act::Clears(at) => set(record(at)?, column(at), None),
            Act::Deletes(at) => Command::DeleteRecord { record: record(at)? },
            Act::Restores(at) => {
                Command::CreateRecord { record: Some(record(at)?), table: name("cues"), values: Vec::new() }
            }
            Act::Joins(from, to) => Command::CreateEdge {
                edge: None,
                edge_type: name("after"),
                source: record(from)?,
                target: record(to)?,
                properties: Vec::new(),
                place: Some(Place::Last),
            },
            Act::Parts(at) => Command::DeleteEdge { edge: edge(at)? },
            Act::Moves(at) => Command::MoveEdge { edge: edge(at)?, place: Place::First },
            Act::Notes(at, to) => {
                let values = vec![(name("note"), Some(text(&to.to_string())))];
                Command::SetEdgeProperties { edge: edge(at)?, values }
            }
            Act::Settles(to) => Command::PutSetting { setting: name("paper"), value: Some(text(&to.to_string())) },
            Act::Renames(to) => {
                let description = Text::new(&to.to_string()).unwrap();
                alter("scenes", TableChange::Describe { description })
            }
            Act::AddsColumn(at) => {
                let name = name(&format!("extra {at}"));
                let column = NewColumn { name, field_type: FieldType::Text, required: false, default: None };
                alter("cues", TableChange::AddColumn(column))
            }
            Act::SetsBoth(at, to) => {
                return Some(vec![set(record(at)?, "label", Some(to)), set(record(to)?, "notes", Some(at))]);
            }
            Act::Merges(..) | Act::Splits(..) | Act::Resolves(..) => return None,
        }])
    }

    fn pair(&self, replica: &mut Replica, one: u8, other: u8, together: bool) -> bool {
        let (Some(one), Some(other)) = (one_of(&self.records, one), one_of(&self.records, other)) else { return false };
        if one == other {
            return false;
        }
        let at = vec![PairAt { one, other, basis: replica.all_of(&Cell::merge(one, other)) }];
        let operation = if together { Operation::MergeEntities { at } } else { Operation::SplitEntity { at } };
        replica.seals(BundleKind::MERGE, &[operation]);
        true
    }
}

fn decision(conflict: &Conflict, number: u8) -> Choice {
    match (&conflict.dispute, number) {
        (Dispute::Values(_), 0) => Choice::Clear,
        (Dispute::Values(candidates), _) => {
            Choice::Candidate(candidates[usize::from(number) % candidates.len()].tips[0].op)
        }
        (Dispute::RemovedWhileEdited { .. }, 0..2) => Choice::Restore,
        (Dispute::RemovedWhileEdited { .. }, _) => Choice::LetGo,
    }
}

/// What a bundle wrote into a cell.
fn contents(bundle: &Bundle, cell: &Cell) -> Vec<Content> {
    let writes = bundle.ops().iter().filter_map(|op| op.operation.as_ref()).flat_map(fold::writes);
    writes.filter(|write| write.cell == *cell).map(|write| write.content).collect()
}

/// Whether a person can see what stands in the cell.
fn is_visible(view: &dyn View, cell: &Cell) -> bool {
    match cell {
        Cell::Field { table, entity, field } => {
            let column = Cell::Column { table: table.clone(), column: field.clone() };
            let column = read::cell(view, column).unwrap();
            let hidden = matches!(column.content(), Some(Content::Column(spec)) if spec.hidden);
            read::holds_facet(view, table, *entity).unwrap() && !hidden
        }
        Cell::Edge { edge } | Cell::EdgeProperty { edge, .. } => read::edge(view, *edge).unwrap().is_some(),
        _ => true,
    }
}

fn at(replica: &Replica, position: Position) -> &Bundle {
    &replica.log[usize::try_from(position.0).unwrap() - 1]
}

/// That `turning` wrote over nothing and hid nothing that somebody else has done since.
fn check(before: &Replica, after: &Replica, turning: &Bundle, turn: Turn) {
    let target = turning.header().undoes[0];
    let find = |wanted: &dyn Fn(&&Bundle) -> bool| before.log.iter().rev().map(|bundle| &**bundle).find(wanted);
    let original = find(&|bundle| bundle.digest() == target).unwrap();
    let (meant, since) = match turn {
        Turn::Undo => (original, original),
        Turn::Redo => {
            let undone = |b: &&Bundle| b.header().kind == BundleKind::UNDO && b.header().undoes.contains(&target);
            let last = find(&undone).unwrap();
            (last, last)
        }
    };
    let since = before.log.iter().position(|bundle| bundle.digest() == since.digest()).unwrap() as u64 + 1;
    for write in turning.ops().iter().flat_map(|op| fold::writes(op.operation.as_ref().unwrap())) {
        let expected = contents(meant, &write.cell);
        for pred in &write.basis.preds {
            let (over, _) = before.oracle.write(&write.cell, *pred).unwrap().unwrap();
            assert!(expected.contains(&over.content), "{turn:?} of {:?}: wrote over {over:?}", write.cell);
        }
    }
    let (then, now) = (before.view(), after.view());
    for write in turning.ops().iter().flat_map(|op| fold::writes(op.operation.as_ref().unwrap())) {
        let removal = matches!(write.cell, Cell::Facet { .. } | Cell::Edge { .. }) && write.content == Content::Absent;
        if removal && write.basis.restores.is_none() && conflict::of(&then, &write.cell).unwrap().is_none() {
            let conflict = conflict::of(&now, &write.cell).unwrap();
            assert!(conflict.is_none(), "{turn:?} disputes its own removal: {conflict:?}");
        }
    }
    for (cell, tips) in then.cells(&Cell::everything()).map(Result::unwrap) {
        let own = contents(original, &cell);
        let is_later_work = |tip: &&Tip| {
            let made = at(before, tip.position.unwrap());
            let original = ![BundleKind::UNDO, BundleKind::REDO].contains(&made.header().kind);
            let foreign = made.header().actor != keys(before.who).actor();
            original && foreign && tip.position.unwrap().0 > since && tip.content != Content::Absent
        };
        let later = tips.iter().filter(is_later_work).find(|tip| !own.contains(&tip.content));
        if let Some(tip) = later {
            let hidden = is_visible(&then, &cell) && !is_visible(&now, &cell);
            assert!(!hidden, "{turn:?} hid {cell:?}: {tip:?}");
        }
    }
}

fn takes_a_turn(replica: &mut Replica, turn: Turn, scope: Scope, which: Option<Which>) {
    match replica.plans(turn, scope, which) {
        Ok((stamp, turned)) => {
            let before = replica.clone();
            let bundle = replica.commits(stamp, &turned);
            check(&before, replica, &bundle, turn);
        }
        Err(refusal) => assert!(refusal.message.ends_with('.'), "{}", refusal.message),
    }
}

/// Plays a history; gives the replicas when all have heard everything.
fn play(steps: &[Step]) -> [Replica; 3] {
    let mut replicas = Replica::three();
    let mut things = Things::default();
    for step in steps {
        match *step {
            Step::Does(who, act, decides) => {
                replicas[who].stance = if decides { Stance::Decide } else { Stance::Beside };
                things.happen(&mut replicas[who], act);
            }
            Step::Turns(who, turns, scope) => {
                turns.iter().flatten().for_each(|turn| takes_a_turn(&mut replicas[who], *turn, scope, None));
            }
            Step::Names(who, turn, which) => {
                let log = &replicas[who].log;
                let digest = log[usize::from(which) % log.len()].digest();
                takes_a_turn(&mut replicas[who], turn, Scope::Shared, Some(Which::Digest(digest)));
            }
            Step::Hears(who, from, start, count) => {
                let mut heard = replicas[from].log.clone();
                let start = usize::from(start) % heard.len();
                heard.rotate_left(start);
                heard.iter().filter(|bundle| replicas[who].takes(bundle)).take(usize::from(count)).for_each(drop);
            }
        }
    }
    for (who, from) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
        let heard = replicas[from].log.clone();
        for bundle in &heard {
            replicas[who].takes(bundle);
        }
    }
    replicas
}

proptest! {
    #![proptest_config(ProptestConfig { cases: HISTORIES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_s_later_work_is_lost_and_replicas_converge(steps in proptest::collection::vec(step(), 1..24)) {
        let [mara, leo, jo] = play(&steps);
        for other in [&leo, &jo] {
            prop_assert_eq!(mara.log.len(), other.log.len());
            prop_assert_eq!(mara.oracle.total(), other.oracle.total());
            prop_assert_eq!(mara.shows(), other.shows());
        }
        for (cell, tips) in mara.oracle.cells() {
            prop_assert_eq!(&mara.tips(&cell), &tips);
        }
    }
}

/// What is shown, without the places of edges and the columns that are hidden: they mean nothing.
fn meant(replica: &Replica) -> BTreeSet<String> {
    let shown = replica.shows().into_iter().filter(|(cell, content)| {
        let hidden = matches!(content, Content::Column(spec) if spec.hidden);
        !hidden && !matches!(cell, Cell::EdgePosition { .. })
    });
    shown.map(|(cell, content)| format!("{cell:?} {content:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: LONELY_HISTORIES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever is alone gets every earlier state back, and every later one again.
    #[test]
    fn one_person_goes_all_the_way_back_and_forth(acts in proptest::collection::vec(act(), 1..16), pauses in any::<u16>()) {
        let [mut mara, ..] = Replica::three();
        let mut things = Things::default();
        let mut states = vec![meant(&mara)];
        for (number, act) in acts.iter().enumerate() {
            if things.happen(&mut mara, *act) {
                states.push(meant(&mara));
            }
            // Now and then something is undone and done again: that changes nothing.
            if pauses >> number & 1 == 1 && states.len() > 1 {
                mara.undoes();
                prop_assert_eq!(&meant(&mara), &states[states.len() - 2]);
                mara.redoes();
                prop_assert_eq!(&meant(&mara), &states[states.len() - 1]);
            }
        }
        for state in states.iter().rev().skip(1) {
            prop_assert!(mara.undoes().skipped.is_empty());
            prop_assert_eq!(&meant(&mara), state);
        }
        for state in states.iter().skip(1) {
            prop_assert!(mara.redoes().skipped.is_empty());
            prop_assert_eq!(&meant(&mara), state);
        }
    }
}
