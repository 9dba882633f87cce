//! A portrait of a replica: everything that people can see of it, as lines that are equal wherever the state is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use openprod_domain::cell::{Cell, Tip};
use openprod_domain::conflict::{self, Conflict};
use openprod_domain::index::Direction;
use openprod_domain::query::{Context, Query};
use openprod_domain::read::{self, FieldReading, Table};
use openprod_domain::view::{AsOf, History, Moment, View};
use openprod_model::ids::{EntityId, Position};
use openprod_model::value::Name;

use super::company::{Verdict, ensure};

/// Questions that are put to each table: by equality, by order, by absence, sorted and not.
const QUERIES: [&str; 6] = [
    "label == \"red\"",
    "page >= 1 ORDER BY page DESC, label",
    "NOT state == \"on\"",
    "label exists ORDER BY label LIMIT 3",
    "label LIKE \"%e%\" OR page == null",
    "label IN [\"green\", \"10\"] AND NOT page == 2 ORDER BY state",
];

/// A write without what only this replica knows of it.
pub(super) fn candidate(tip: &Tip) -> String {
    let Tip { op, hlc, op_id, position: _, decision, restores, seen, content } = tip;
    format!("{op:?} {hlc} {op_id:?} {decision} {restores:?} {seen:?} {content:?}")
}

struct Lines<'a> {
    view: &'a dyn View,
    lines: Vec<String>,
}

/// Everything that `view` shows.
pub(super) fn portrait(view: &dyn View) -> Vec<String> {
    let mut lines = Lines { view, lines: Vec::new() };
    let tables = read::tables(view).unwrap();
    for table in &tables {
        lines.table(table);
    }
    lines.everything_else();
    lines.conflicts();
    lines.lines
}

/// The conflicts of a view: as the index finds them, which must be all that there are.
pub(crate) fn conflicts(view: &dyn View) -> Vec<Conflict> {
    let conflicts = conflict::all(view).unwrap();
    let cells = view.cells(&Cell::everything()).map(|item| item.unwrap().0);
    let each =
        cells.filter_map(|cell| conflict::of(view, &cell).unwrap()).map(|conflict| (conflict.cell.clone(), conflict));
    assert!(
        each.collect::<BTreeMap<_, _>>().into_values().eq(conflicts.iter().cloned()),
        "the index misses a conflict"
    );
    conflicts
}

/// The same questions, answered with and without the index: once in the present, once as of the present.
pub(super) fn answers_need_no_index(view: &dyn View, history: &dyn History, now: Position) -> Verdict {
    let past = AsOf::new(history, Moment::Revision(now));
    for table in read::tables(view).unwrap() {
        for query in QUERIES {
            let (indexed, scanned) = (answer(view, &table, query), answer(&past, &table, query));
            ensure!(indexed == scanned, "{query} of {}: {indexed} by the index, {scanned} without", table.key);
        }
    }
    Ok(())
}

fn answer(view: &dyn View, table: &Table, query: &str) -> String {
    let query = Query::parse(query).unwrap();
    match query.check(view, Some(&table.spec.name)) {
        Ok(checked) => format!("{:?}", checked.run(view, &Context { now: None }).unwrap().rows),
        Err(problem) => format!("{problem:?}"),
    }
}

impl Lines<'_> {
    fn say(&mut self, what: &str, said: &impl Debug) {
        self.lines.push(format!("{what}: {said:?}"));
    }

    fn table(&mut self, table: &Table) {
        self.say("table", table);
        let records: Vec<EntityId> = read::records(self.view, &table.key, None).map(|record| record.unwrap()).collect();
        for record in &records {
            for (field, reading) in read::fields(self.view, &table.key, *record).unwrap() {
                self.field(&format!("{} {record} {field}", table.key), &reading);
            }
            self.edges(*record);
        }
        self.say("records", &records);
        for query in QUERIES {
            self.lines.push(format!("{} {query}: {}", table.key, answer(self.view, table, query)));
        }
    }

    fn field(&mut self, what: &str, reading: &FieldReading) {
        let candidates: Vec<String> = reading.reading.tips.iter().map(candidate).collect();
        let FieldReading { value, origin, reading } = reading;
        self.say(what, &(value, origin, &reading.cell, reading.in_conflict(), candidates));
    }

    fn edges(&mut self, record: EntityId) {
        for direction in [Direction::From, Direction::To] {
            for edge in read::edges(self.view, record, direction, None).unwrap() {
                self.say(
                    &format!("edge {direction:?} {record}"),
                    &(edge.edge, &edge.ends, &edge.place, edge.in_conflict),
                );
                for (property, reading) in &edge.properties {
                    self.field(&format!("{} {property}", edge.edge), reading);
                }
            }
        }
    }

    fn everything_else(&mut self) {
        let members = read::members(self.view).unwrap();
        for (member, _) in &members {
            self.say("name", &read::actor_name(self.view, *member).unwrap());
        }
        self.say("members", &members);
        for setting in ["name", "theme"] {
            let setting = Name::new(setting).unwrap();
            self.say("setting", &read::setting(self.view, &setting).unwrap());
        }
        let unions = self.view.unions().unwrap();
        self.say("unions", &(unions.classes(None), unions.groups()));
    }

    fn conflicts(&mut self) {
        for conflict in conflicts(self.view) {
            let tips = conflict.tips();
            let candidates: BTreeSet<String> = tips.iter().map(|tip| candidate(tip)).collect();
            assert_eq!(candidates.len(), tips.len(), "each candidate once: {conflict:?}");
            self.say("conflict", &(conflict.id(), &conflict.cell, conflict.reopened, candidates));
        }
    }
}
