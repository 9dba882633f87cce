//! The diff: what an overlay would change, as people see it: records and edges that are new, changed or removed.

use std::collections::BTreeSet;

use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::value::Name;

use super::Staging;
use crate::cell::{Cell, Content};
use crate::read::{self, EdgeReading, FieldReading};
use crate::view::{Read, View};

/// What a part of a diff is about. Parts are told in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Subject {
    /// A record of a table.
    Record {
        /// The table's key.
        table: Name,
        /// The record; a merged one by its canonical id.
        entity: EntityId,
    },
    /// An edge.
    Edge(EdgeId),
    /// Another cell, by its key: a table, a column, a setting, a name, a merge, a mapping.
    Other(Vec<u8>),
}

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// It is made.
    New,
    /// It changes.
    Changed,
    /// It is taken away.
    Removed,
    /// It is staged, and yet nothing about it differs.
    Same,
}

/// A field or property that changes.
#[derive(Debug, Clone)]
pub struct FieldDiff {
    /// The column's key, or the property.
    pub field: Name,
    /// As it is shown canonically; none if it has never been written.
    pub before: Option<FieldReading>,
    /// As it is shown in the overlay.
    pub after: Option<FieldReading>,
}

/// One part of a diff.
#[derive(Debug, Clone)]
pub struct Difference {
    /// What it is about.
    pub subject: Subject,
    /// What becomes of it.
    pub becomes: Becomes,
    /// Its fields or properties that differ; of what is removed, those that it has.
    pub fields: Vec<FieldDiff>,
    /// For an edge: as it is shown, before if it is removed.
    pub edge: Option<EdgeReading>,
    /// For another cell: what is shown before and after.
    pub contents: Option<(Option<Content>, Option<Content>)>,
}

/// How much an overlay changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that are made.
    pub new_records: usize,
    /// Records that change.
    pub changed_records: usize,
    /// Records that are taken away.
    pub removed_records: usize,
    /// Edges that are made.
    pub new_edges: usize,
    /// Edges that change.
    pub changed_edges: usize,
    /// Edges that are taken away.
    pub removed_edges: usize,
    /// Other things.
    pub others: usize,
}

impl Counts {
    fn add(&mut self, subject: &Subject, becomes: Becomes) {
        let count = match (subject, becomes) {
            (_, Becomes::Same) => return,
            (Subject::Record { .. }, Becomes::New) => &mut self.new_records,
            (Subject::Record { .. }, Becomes::Changed) => &mut self.changed_records,
            (Subject::Record { .. }, Becomes::Removed) => &mut self.removed_records,
            (Subject::Edge(_), Becomes::New) => &mut self.new_edges,
            (Subject::Edge(_), Becomes::Changed) => &mut self.changed_edges,
            (Subject::Edge(_), Becomes::Removed) => &mut self.removed_edges,
            (Subject::Other(_), _) => &mut self.others,
        };
        *count += 1;
    }
}

/// What an overlay changes, and how much that is.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// What differs, in the order in which it is told.
    pub subjects: BTreeSet<Subject>,
    /// How much that is.
    pub counts: Counts,
    /// In how many cells others have written something else meanwhile.
    pub drifted: usize,
}

impl Staging {
    /// Looks at everything staged.
    pub fn survey(&self, base: &dyn View) -> Read<Survey> {
        let view = self.over(base);
        let mut survey = Survey { drifted: self.drift(base)?.len(), ..Survey::default() };
        for subject in self.subjects(&view)? {
            let becomes = self.becomes(base, &view, &subject)?;
            if becomes != Becomes::Same {
                survey.counts.add(&subject, becomes);
                survey.subjects.insert(subject);
            }
        }
        Ok(survey)
    }

    /// What the staged cells are about.
    fn subjects(&self, view: &dyn View) -> Read<BTreeSet<Subject>> {
        let unions = view.unions()?;
        let subject = |cell: Cell| match cell {
            Cell::Facet { table, entity } | Cell::Field { table, entity, .. } => {
                Subject::Record { table, entity: unions.canonical(entity) }
            }
            Cell::Edge { edge } | Cell::EdgeProperty { edge, .. } | Cell::EdgePosition { edge } => Subject::Edge(edge),
            other => Subject::Other(other.key()),
        };
        Ok(self.cells().map(|(cell, _)| subject(cell)).collect())
    }

    /// What becomes of a subject. Of a record that stays mostly one staged field tells, so the others are not read.
    fn becomes(&self, base: &dyn View, view: &dyn View, subject: &Subject) -> Read<Becomes> {
        let Subject::Record { table, entity } = subject else { return Ok(difference(base, view, subject)?.becomes) };
        let (was, is) = (read::is_record(base, table, *entity)?, read::is_record(view, table, *entity)?);
        if was && is && !self.changes_a_field(base, view, table, *entity)? {
            return Ok(difference(base, view, subject)?.becomes);
        }
        Ok(becomes(was, is, false))
    }

    fn changes_a_field(&self, base: &dyn View, view: &dyn View, table: &Name, entity: EntityId) -> Read<bool> {
        for id in view.unions()?.ids(&entity) {
            let fields = Cell::fields(table, *id);
            for (key, _) in self.cells.range(fields.from..fields.to) {
                if let Some(Cell::Field { field, .. }) = Cell::from_key(key)
                    && read::field(base, table, entity, &field)?.value
                        != read::field(view, table, entity, &field)?.value
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// One part of the diff between `base` and `view`, which shows it through an overlay.
pub fn difference(base: &dyn View, view: &dyn View, subject: &Subject) -> Read<Difference> {
    match subject {
        Subject::Record { table, entity } => of_record(base, view, subject, table, *entity),
        Subject::Edge(edge) => of_edge(base, view, subject, *edge),
        Subject::Other(key) => of_other(base, view, subject, key),
    }
}

fn of_record(base: &dyn View, view: &dyn View, subject: &Subject, table: &Name, entity: EntityId) -> Read<Difference> {
    let (was, is) = (read::is_record(base, table, entity)?, read::is_record(view, table, entity)?);
    let before = if was { read::fields(base, table, entity)? } else { Vec::new() };
    let after = if is { read::fields(view, table, entity)? } else { Vec::new() };
    let fields = differing(before, after);
    let becomes = becomes(was, is, fields.is_empty());
    Ok(Difference { subject: subject.clone(), becomes, fields, edge: None, contents: None })
}

fn of_edge(base: &dyn View, view: &dyn View, subject: &Subject, edge: EdgeId) -> Read<Difference> {
    let (before, after) = (read::edge(base, edge)?, read::edge(view, edge)?);
    let properties = |edge: &Option<EdgeReading>| edge.as_ref().map(|edge| edge.properties.clone()).unwrap_or_default();
    let fields = differing(properties(&before), properties(&after));
    let moved = before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| before.place != after.place);
    let becomes = becomes(before.is_some(), after.is_some(), fields.is_empty() && !moved);
    Ok(Difference { subject: subject.clone(), becomes, fields, edge: after.or(before), contents: None })
}

fn of_other(base: &dyn View, view: &dyn View, subject: &Subject, key: &[u8]) -> Read<Difference> {
    let shown = |view: &dyn View| -> Read<Option<Content>> {
        let Some(cell) = Cell::from_key(key) else { return Ok(None) };
        Ok(read::cell(view, cell)?.content().cloned())
    };
    let (before, after) = (shown(base)?, shown(view)?);
    let there = |content: &Option<Content>| content.as_ref().is_some_and(|content| *content != Content::Absent);
    let becomes = becomes(there(&before), there(&after), before == after);
    let contents = Some((before, after));
    Ok(Difference { subject: subject.clone(), becomes, fields: Vec::new(), edge: None, contents })
}

fn becomes(was: bool, is: bool, same: bool) -> Becomes {
    match (was, is) {
        (false, true) => Becomes::New,
        (true, false) => Becomes::Removed,
        (true, true) if !same => Becomes::Changed,
        _ => Becomes::Same,
    }
}

/// The fields that differ, by name.
fn differing(before: Vec<(Name, FieldReading)>, after: Vec<(Name, FieldReading)>) -> Vec<FieldDiff> {
    let mut pairs: std::collections::BTreeMap<Name, (Option<FieldReading>, Option<FieldReading>)> =
        before.into_iter().map(|(name, field)| (name, (Some(field), None))).collect();
    for (name, field) in after {
        pairs.entry(name).or_default().1 = Some(field);
    }
    let value = |field: &Option<FieldReading>| field.as_ref().and_then(|field| field.value.clone());
    let differs = |(before, after): &(Option<FieldReading>, Option<FieldReading>)| value(before) != value(after);
    let diff = |(field, (before, after))| FieldDiff { field, before, after };
    pairs.into_iter().filter(|(_, pair)| differs(pair)).map(diff).collect()
}
