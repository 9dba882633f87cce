//! Any history of merging, splitting and mapping: replicas agree, reading is what the definition says, people decide.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

mod kit;

use std::collections::BTreeSet;

use kit::smiths::{CONTACTS, SCHEDULE, confirm, merge, reject, revoke, show, split};
use kit::{Eyes, World, adds, name, record, sets};
use openprod_domain::cell::{Cell, Content, Tip};
use openprod_domain::command::Command;
use openprod_domain::read;
use openprod_domain::view::View;
use openprod_model::ids::{EntityId, OpRef};
use openprod_model::operation::ColumnRef;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Act {
    Add(u8, bool),
    Remove(u8, bool),
    Set(u8, bool, u8, bool),
    Clear(u8, bool),
    Merge(u8, u8),
    Split(u8, u8),
    SplitOff(u8),
    Confirm,
    Reject,
    Revoke,
    Hear(Vec<usize>),
}

/// A table and its mapped column.
fn side(contacts: bool) -> (&'static str, &'static str) {
    if contacts { (CONTACTS, "name") } else { (SCHEDULE, "attendee") }
}

impl Act {
    fn on(&self, world: &mut World, at: usize) {
        let known = |blind: &bool| if *blind { Eyes::Unknown } else { Eyes::Open };
        let id = |number: &u8| record(number + 1);
        let table = |contacts: &bool| name(side(*contacts).0);
        let (command, eyes) = match self {
            Self::Hear(order) => return world.hears(at, order),
            Self::Add(number, contacts) => (adds(id(number), side(*contacts).0, &[]), Eyes::Open),
            Self::Remove(number, contacts) => {
                (Command::RemoveFromTable { record: id(number), table: table(contacts) }, Eyes::Open)
            }
            Self::Set(number, contacts, said, blind) => {
                let (table, column) = side(*contacts);
                (sets(id(number), table, column, &format!("word {said}")), known(blind))
            }
            Self::Clear(number, contacts) => {
                let values = vec![(name(side(*contacts).1), None)];
                (Command::SetFields { record: id(number), table: table(contacts), values }, Eyes::Open)
            }
            Self::Merge(a, b) => (merge(&[id(a), id(b)]), Eyes::Open),
            Self::Split(a, b) => (split(id(a), &[id(b)]), Eyes::Open),
            Self::SplitOff(a) => {
                let tables = vec![name(SCHEDULE)];
                (Command::SplitOff { record: id(a), tables, edges: vec![], new: None }, Eyes::Open)
            }
            Self::Confirm => (confirm(), Eyes::Open),
            Self::Reject => (reject(), Eyes::Open),
            Self::Revoke => (revoke(), Eyes::Open),
        };
        // What a replica refuses does not happen.
        drop(world.tries(at, vec![command], eyes));
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    let id = || 0..4_u8;
    prop_oneof![
        4 => (id(), any::<bool>()).prop_map(|(number, contacts)| Act::Add(number, contacts)),
        1 => (id(), any::<bool>()).prop_map(|(number, contacts)| Act::Remove(number, contacts)),
        6 => (id(), any::<bool>(), 0..4_u8, any::<bool>()).prop_map(|(number, contacts, word, blind)| {
            Act::Set(number, contacts, word, blind)
        }),
        1 => (id(), any::<bool>()).prop_map(|(number, contacts)| Act::Clear(number, contacts)),
        3 => (id(), id()).prop_map(|(a, b)| Act::Merge(a, b)),
        2 => (id(), id()).prop_map(|(a, b)| Act::Split(a, b)),
        1 => id().prop_map(Act::SplitOff),
        2 => Just(Act::Confirm),
        1 => Just(Act::Reject),
        1 => Just(Act::Revoke),
        4 => prop::collection::vec(any::<usize>(), 1..4).prop_map(Act::Hear),
    ]
}

/// What a field says, by definition: look at each cell whose pairs lead there, and take those that speak.
fn by_definition(view: &dyn View, table: &str, entity: EntityId, column: &str) -> Vec<Tip> {
    let stands = |cell: &Cell| {
        let tips = view.tips(cell).unwrap();
        !tips.is_empty() && tips.iter().all(|tip| tip.content == Content::Present)
    };
    let mut ids = BTreeSet::from([entity]);
    let all: Vec<EntityId> = view
        .cells(&Cell::merges())
        .flat_map(|item| match item.unwrap().0 {
            Cell::Merge { low, high } => [low, high],
            other => panic!("{other:?}"),
        })
        .collect();
    for _ in &all {
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
            if a != b && ids.contains(&a) && stands(&Cell::merge(a, b)) {
                ids.insert(b);
            }
        }
    }
    let column_at = |(table, column): (&str, &str)| ColumnRef { table: name(table), column: name(column) };
    let mut columns = vec![(table, column)];
    if stands(&Cell::mapping(column_at(side(true)), column_at(side(false)))) {
        columns = vec![side(true), side(false)];
    }
    let mut levels: [Vec<Tip>; 3] = Default::default();
    for (table, column) in columns {
        let facet = |id: &EntityId| {
            let tips = view.tips(&Cell::Facet { table: name(table), entity: *id }).unwrap();
            tips.iter().any(|tip| tip.content == Content::Present)
        };
        let attached = ids.iter().any(facet);
        for id in &ids {
            let tips = view.tips(&Cell::Field { table: name(table), entity: *id, field: name(column) }).unwrap();
            let empty = tips.iter().all(|tip| tip.content == Content::Absent);
            levels[if empty { 2 } else { usize::from(!attached) }].extend(tips);
        }
    }
    let mut tips = levels.into_iter().find(|level| !level.is_empty()).unwrap_or_default();
    tips.sort_by_key(Tip::order);
    tips.dedup_by_key(|tip| tip.op);
    tips
}

/// Whether some of these writes stand only in tables that the record has left.
fn is_hidden(view: &dyn View, tips: &[Tip], record: EntityId) -> bool {
    let unions = view.unions().unwrap();
    let shown =
        [side(true), side(false)].into_iter().filter(|(table, _)| read::is_record(view, &name(table), record).unwrap());
    let shown = shown.flat_map(|(table, column)| {
        let cell = |id: &EntityId| Cell::Field { table: name(table), entity: *id, field: name(column) };
        unions.ids(&record).iter().flat_map(|id| view.tips(&cell(id)).unwrap()).collect::<Vec<_>>()
    });
    let shown: Vec<OpRef> = shown.map(|tip| tip.op).collect();
    !tips.iter().all(|tip| shown.contains(&tip.op))
}

/// Every field of every record.
fn fields(view: &dyn View) -> Vec<(EntityId, &'static str, &'static str)> {
    let mut fields = Vec::new();
    for (table, column) in [side(true), side(false)] {
        let records = read::records(view, &name(table), None).map(Result::unwrap);
        fields.extend(records.map(|record| (record, table, column)));
    }
    fields
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happened_all_agree_and_a_person_can_decide(
        acts in prop::collection::vec((0..3_usize, any_act()), 0..50),
        word in 0..4_u8,
    ) {
        let mut world = show();
        for (at, act) in &acts {
            act.on(&mut world, *at);
        }
        world.everyone_meets();
        let view = world.replicas[0].view();
        let unions = view.unions().unwrap();
        let fields = fields(&view);
        for (record, table, column) in &fields {
            for id in unions.ids(record) {
                let reading = read::united(&view, Cell::Field { table: name(table), entity: *id, field: name(column) });
                prop_assert_eq!(reading.unwrap().tips, by_definition(&view, table, *id, column));
            }
            let listed = read::fields(&view, &name(table), *record).unwrap();
            let listed = listed.into_iter().find(|(key, _)| *key == name(column)).map(|(_, field)| field.reading.tips);
            prop_assert_eq!(listed.unwrap_or_default(), by_definition(&view, table, *record, column));
        }
        drop(view);
        for (record, table, column) in fields {
            let before = world.replicas[0].field(record, table, column);
            let hidden = is_hidden(&world.replicas[0].view(), &before.tips, record);
            let ids = unions.ids(&record);
            let id = ids[usize::from(word) % ids.len()];
            let new = format!("new {word}");
            // Who does not know what stands there leaves a conflict as it is, and opens none.
            world.tries(0, vec![sets(id, table, column, &new)], Eyes::Unknown).unwrap();
            let after = world.replicas[0].field(record, table, column);
            // What only a table showed that the record has left is no candidate any more once there is something else.
            let kept: Vec<OpRef> = if hidden { Vec::new() } else { others(&before.tips, before.content()) };
            prop_assert_eq!(others(&after.tips, Some(&Content::Value(kit::text(&new)))), kept);
            // Who has seen it decides.
            world.does(0, vec![sets(id, table, column, "decided")]);
            prop_assert_eq!(world.replicas[0].says(record, table, column), ["decided"]);
        }
    }
}

/// The writes that say something else than what is shown.
fn others(tips: &[Tip], shown: Option<&Content>) -> Vec<OpRef> {
    tips.iter().filter(|tip| Some(&tip.content) != shown).map(|tip| tip.op).collect()
}
