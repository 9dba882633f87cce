//! Conflicts: what people who had not seen each other's writes have left for a person to decide.
//!
//! There are two sorts. Standing writes of one field (or of whatever else is not merged by itself) say different things;
//! and something was removed while somebody else edited what hangs there. Both follow from the standing writes alone, so
//! every node that holds the same bundles finds the same conflicts, under the same ids, with the same candidates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openprod_model::bundle::Bundle;
use openprod_model::ids::{ConflictId, EdgeId, EntityId, OpRef, Position};
use openprod_model::value::Name;

use crate::cell::{Cell, Content, Tip};
use crate::view::{History, Read, View};
use crate::{fold, index, read};

const ID_DOMAIN: &[u8] = b"openprod/conflict/1\0";

/// A conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What it is about: of all cells that read as one, the first.
    pub cell: Cell,
    /// What is in dispute.
    pub dispute: Dispute,
    /// Whether what is shown was decided before, and later edits have opened the conflict again.
    pub reopened: bool,
}

/// What is in dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dispute {
    /// Different values, at least two, in the order in which the first write of each was made.
    Values(Vec<Candidate>),
    /// Somebody took a record or an edge away, and somebody else edited it meanwhile.
    RemovedWhileEdited {
        /// The removals.
        removals: Vec<Tip>,
        /// What those who removed it had not seen, and where.
        edits: Vec<(Cell, Tip)>,
    },
}

/// One of the values in dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it says.
    pub content: Content,
    /// The standing writes that say so, in canonical order.
    pub tips: Vec<Tip>,
    /// Whether it is the one on show.
    pub shown: bool,
}

impl Conflict {
    /// Its id.
    pub fn id(&self) -> ConflictId {
        id(&self.cell)
    }

    /// All standing writes that are in dispute.
    pub fn tips(&self) -> Vec<&Tip> {
        match &self.dispute {
            Dispute::Values(candidates) => candidates.iter().flat_map(|candidate| &candidate.tips).collect(),
            Dispute::RemovedWhileEdited { removals, edits } => {
                removals.iter().chain(edits.iter().map(|(_, tip)| tip)).collect()
            }
        }
    }
}

/// Where what a write in dispute says was first written: an undo only puts back what somebody else has said.
pub fn origin(history: &dyn History, conflict: &Conflict, tip: &Tip) -> Read<Option<Position>> {
    let Some(restored) = tip.restores else { return Ok(tip.position) };
    let mut cells = history.unions()?.cells(&conflict.cell);
    if let Dispute::RemovedWhileEdited { edits, .. } = &conflict.dispute {
        cells.extend(edits.iter().map(|(cell, _)| cell.clone()));
    }
    for cell in cells {
        if let Some((said, _)) = history.write(&cell, restored)? {
            return Ok(said.position.or(tip.position));
        }
    }
    Ok(tip.position)
}

/// The id of a conflict about the first of the cells that read as one.
pub fn id(first: &Cell) -> ConflictId {
    let hash = blake3::hash(&[ID_DOMAIN, &first.key()].concat());
    ConflictId::from_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// The conflict about a cell, or about all that reads as one with it, if there is one.
pub fn of(view: &dyn View, cell: &Cell) -> Read<Option<Conflict>> {
    let first = view.unions()?.cells(cell).swap_remove(0);
    let reading = read::united(view, first.clone())?;
    if reading.in_conflict() {
        return Ok(Some(values(first, &reading)));
    }
    match (&first, reading.content()) {
        (Cell::Facet { table, entity }, Some(Content::Absent)) => removed_record(view, table, *entity),
        (Cell::Edge { edge }, Some(Content::Absent)) => removed_edge(view, *edge, reading.tips),
        _ => Ok(None),
    }
}

fn values(cell: Cell, reading: &read::CellReading) -> Conflict {
    let shown = reading.shown();
    let mut candidates: Vec<Candidate> = Vec::new();
    // Edits of one text merge: they are nobody's other value.
    for tip in reading.tips.iter().filter(|tip| !matches!(tip.content, Content::Edit(_))) {
        match candidates.iter_mut().find(|candidate| candidate.content == tip.content) {
            Some(candidate) => candidate.tips.push(tip.clone()),
            None => candidates.push(Candidate {
                content: tip.content.clone(),
                tips: vec![tip.clone()],
                shown: shown.is_some_and(|shown| shown.content == tip.content),
            }),
        }
    }
    let reopened = shown.is_some_and(|shown| shown.decision);
    Conflict { cell, dispute: Dispute::Values(candidates), reopened }
}

/// A record that is in none of its tables, or not in this one, with edits that those who removed it had not seen.
fn removed_record(view: &dyn View, table: &Name, entity: EntityId) -> Read<Option<Conflict>> {
    if read::is_record(view, table, entity)? {
        return Ok(None);
    }
    let cell = Cell::Facet { table: table.clone(), entity };
    let seen = seen_by_removers(view, entity)?;
    let mut hanging = read::hanging_on(view, table, entity)?;
    if answers_for_edges(view, table, entity)? {
        for edge in read::edges_hanging_on(view, entity)? {
            hanging.extend(read::writes_of_edge(view, edge)?.into_iter().map(without_deletions));
        }
    }
    let removals = view.tips(&cell)?;
    unseen(view, cell, removals, hanging, &seen)
}

fn removed_edge(view: &dyn View, edge: EdgeId, removals: Vec<Tip>) -> Read<Option<Conflict>> {
    let seen = removals.iter().flat_map(|tip| tip.seen.iter().copied()).collect();
    let mut hanging = Vec::new();
    for item in view.cells(&Cell::properties(edge)) {
        hanging.push(item?);
    }
    unseen(view, Cell::Edge { edge }, removals, hanging, &seen)
}

/// The conflict, if anything hangs there that is neither seen nor shown elsewhere.
fn unseen(
    view: &dyn View,
    cell: Cell,
    removals: Vec<Tip>,
    hanging: Vec<(Cell, Vec<Tip>)>,
    seen: &BTreeSet<OpRef>,
) -> Read<Option<Conflict>> {
    let mut edits = Vec::new();
    for (at, tips) in hanging {
        let hidden: Vec<Tip> = tips.into_iter().filter(|tip| !seen.contains(&tip.op)).collect();
        if hidden.is_empty() {
            continue;
        }
        let elsewhere = shown_elsewhere(view, &at)?;
        let lost = hidden.into_iter().filter(|tip| !elsewhere.contains(&tip.op));
        edits.extend(lost.map(|tip| (at.clone(), tip)));
    }
    if edits.is_empty() {
        return Ok(None);
    }
    edits.sort_by_key(|(_, tip)| tip.order());
    let reopened = removals.iter().any(|tip| tip.decision);
    Ok(Some(Conflict { cell, dispute: Dispute::RemovedWhileEdited { removals, edits }, reopened }))
}

/// All that those who removed a record had seen hanging on it: the lists of all standing removals together.
fn seen_by_removers(view: &dyn View, entity: EntityId) -> Read<BTreeSet<OpRef>> {
    let mut seen = BTreeSet::new();
    for (cell, _) in facets(view, entity)? {
        for tip in view.tips(&cell)? {
            seen.extend(tip.seen);
        }
    }
    Ok(seen)
}

/// The memberships of a record under all its ids that were ever written, with what each shows.
fn facets(view: &dyn View, entity: EntityId) -> Read<BTreeMap<Cell, bool>> {
    let mut facets = BTreeMap::new();
    for id in view.unions()?.ids(&entity) {
        for table in read::tables_ever_of(view, *id)? {
            let attached = read::holds_facet(view, &table, *id)?;
            facets.insert(Cell::Facet { table, entity: *id }, attached);
        }
    }
    Ok(facets)
}

/// Whether this membership is the one at which edits of a gone record's edges are shown: it is the first of them.
fn answers_for_edges(view: &dyn View, table: &Name, entity: EntityId) -> Read<bool> {
    let facets = facets(view, entity)?;
    let gone = facets.values().all(|attached| !attached);
    let own = Cell::Facet { table: table.clone(), entity };
    Ok(gone && facets.keys().find(|cell| matches!(cell, Cell::Facet { entity: id, .. } if *id == entity)) == Some(&own))
}

/// Who deleted an edge meanwhile agrees that it goes.
fn without_deletions((cell, mut tips): (Cell, Vec<Tip>)) -> (Cell, Vec<Tip>) {
    if matches!(cell, Cell::Edge { .. }) {
        tips.retain(|tip| tip.content != Content::Absent);
    }
    (cell, tips)
}

/// The writes that stand in a visible cell which reads as one with a hidden one.
fn shown_elsewhere(view: &dyn View, hidden: &Cell) -> Read<BTreeSet<OpRef>> {
    let mut elsewhere = BTreeSet::new();
    for cell in view.unions()?.cells(hidden) {
        if let Cell::Field { table, entity, .. } = &cell
            && cell != *hidden
            && read::is_record(view, table, *entity)?
        {
            elsewhere.extend(view.tips(&cell)?.into_iter().map(|tip| tip.op));
        }
    }
    Ok(elsewhere)
}

/// Every conflict of a view.
pub fn all(view: &dyn View) -> Read<Vec<Conflict>> {
    let mut conflicts = BTreeMap::new();
    for cell in suspects(view)? {
        if let Some(conflict) = of(view, &cell)? {
            conflicts.insert(conflict.cell.clone(), conflict);
        }
    }
    Ok(conflicts.into_values().collect())
}

/// The cells that may be in conflict, as the index names them, or all that there are.
pub fn suspects(view: &dyn View) -> Read<BTreeSet<Cell>> {
    let mut suspects = BTreeSet::new();
    for range in [index::disputed(), index::removed()] {
        let Some(entries) = view.entries(&range) else { return every_cell(view) };
        for entry in entries {
            suspects.extend(index::cell_in(&entry?));
        }
    }
    suspects.extend(of_merged(view)?);
    suspects.extend(of_mapped(view)?);
    Ok(suspects)
}

fn every_cell(view: &dyn View) -> Read<BTreeSet<Cell>> {
    view.cells(&Cell::everything()).map(|item| item.map(|(cell, _)| cell)).collect()
}

/// The fields of merged records: what differs under their ids is in conflict, though each cell says one thing.
fn of_merged(view: &dyn View) -> Read<BTreeSet<Cell>> {
    let mut suspects = BTreeSet::new();
    for class in view.unions()?.classes(None) {
        for id in class.iter() {
            suspects.extend(fields_of(view, *id)?);
        }
    }
    Ok(suspects)
}

fn fields_of(view: &dyn View, entity: EntityId) -> Read<Vec<Cell>> {
    let mut fields = Vec::new();
    for table in read::tables_ever_of(view, entity)? {
        for item in view.cells(&Cell::fields(&table, entity)) {
            fields.push(item?.0);
        }
    }
    Ok(fields)
}

/// The fields of mapped columns.
fn of_mapped(view: &dyn View) -> Read<BTreeSet<Cell>> {
    let mut suspects = BTreeSet::new();
    for group in view.unions()?.groups() {
        // What is in one table only differs from nothing; any but one of the columns therefore finds all.
        for column in group.iter().skip(1) {
            for item in view.cells(&Cell::all_fields(&column.table)) {
                let (cell, _) = item?;
                if matches!(&cell, Cell::Field { field, .. } if *field == column.column) {
                    suspects.insert(cell);
                }
            }
        }
    }
    Ok(suspects)
}

/// Whether a write of this cell may unite or part other cells, and so open and close conflicts anywhere.
pub fn reaches_far(view: &dyn View, cell: &Cell) -> Read<bool> {
    match cell {
        Cell::Merge { .. } | Cell::Mapping { .. } => Ok(true),
        // Columns of different types are not one, whatever was confirmed.
        Cell::Column { .. } => Ok(view.cells(&Cell::mappings()).next().transpose()?.is_some()),
        _ => Ok(false),
    }
}

/// The cells that the ops of a bundle write, as far as their kinds are known.
pub fn written_by(bundle: &Bundle) -> BTreeSet<Cell> {
    let operations = bundle.ops().iter().filter_map(|op| op.operation.as_ref());
    operations.flat_map(fold::writes).map(|write| write.cell).collect()
}

/// The cells about which writes of these may have opened or closed conflicts, each under its first; none if that may
/// be any of all [`suspects`].
pub fn reach<'a>(view: &dyn View, written: impl IntoIterator<Item = &'a Cell>) -> Read<Option<BTreeSet<Cell>>> {
    let unions = view.unions()?;
    let (mut reached, hides) = (BTreeSet::new(), hides_anything(view)?);
    for cell in written {
        match cell {
            _ if reaches_far(view, cell)? => return Ok(None),
            // Nothing can hide what stands in it.
            Cell::Field { .. } if !hides => drop(reached.insert(unions.cells(cell).swap_remove(0))),
            _ => reached.extend(related(view, cell)?.iter().map(|cell| unions.cells(cell).swap_remove(0))),
        }
    }
    Ok(Some(reached))
}

/// Whether somebody took any record or edge away, as far as the index tells.
fn hides_anything(view: &dyn View) -> Read<bool> {
    let Some(mut removed) = view.entries(&index::removed()) else { return Ok(true) };
    Ok(removed.next().transpose()?.is_some())
}

/// The cells whose conflicts a write of `cell` may open or close, itself first. A write that [`reaches_far`] has no
/// such list: whoever keeps conflicts looks at all [`suspects`] then.
pub fn related(view: &dyn View, cell: &Cell) -> Read<Vec<Cell>> {
    let mut related = vec![cell.clone()];
    match cell {
        Cell::Facet { table, entity } => {
            related.extend(facets(view, *entity)?.into_keys());
            // Of mapped columns those speak whose tables the record is in.
            let field = |field: &Name| Cell::Field { table: table.clone(), entity: *entity, field: field.clone() };
            related.extend(view.unions()?.mapped_in(table).map(field));
        }
        // What stands in one of them is not lost where another hides it.
        Cell::Field { .. } => related.extend(view.unions()?.cells(cell).into_iter().filter_map(membership)),
        Cell::Edge { edge } => related.extend(ends_of(view, *edge)?),
        Cell::EdgeProperty { edge, .. } => {
            related.push(Cell::Edge { edge: *edge });
            related.extend(ends_of(view, *edge)?);
        }
        _ => {}
    }
    Ok(related)
}

/// Whether the record of a field is in its table.
fn membership(field: Cell) -> Option<Cell> {
    match field {
        Cell::Field { table, entity, .. } => Some(Cell::Facet { table, entity }),
        _ => None,
    }
}

/// The memberships of the records that an edge joins, or ever joined as far as its standing writes tell.
fn ends_of(view: &dyn View, edge: EdgeId) -> Read<Vec<Cell>> {
    let mut memberships = Vec::new();
    for tip in view.tips(&Cell::Edge { edge })? {
        if let Content::Edge(ends) = tip.content {
            for entity in [ends.source, ends.target] {
                memberships.extend(facets(view, entity)?.into_keys());
            }
        }
    }
    Ok(memberships)
}

/// What a person picks.
pub fn candidate(conflict: &Conflict, op: OpRef) -> Option<&Candidate> {
    let Dispute::Values(candidates) = &conflict.dispute else { return None };
    candidates.iter().find(|candidate| candidate.tips.iter().any(|tip| tip.op == op))
}

/// Brings `standing`, the first cells of all conflicts as they were before some bundles, up to `view`, which shows what
/// these have `written`. Where that opens and closes nothing, as most edits do, whoever shares the cells goes on so.
pub fn keep_up(view: &dyn View, standing: &mut Arc<BTreeSet<Cell>>, written: &BTreeSet<Cell>) -> Read<()> {
    let Some(mut reached) = reach(view, written)? else {
        *standing = Arc::new(all(view)?.into_iter().map(|conflict| conflict.cell).collect());
        return Ok(());
    };
    if written.iter().any(|cell| matches!(cell, Cell::Edge { .. })) {
        // An edge that is gone no longer names the removed records whose conflict it was.
        reached.extend(standing.iter().filter(|cell| matches!(cell, Cell::Facet { .. })).cloned());
    }
    for cell in reached {
        match of(view, &cell)? {
            Some(conflict) if !standing.contains(&conflict.cell) => Arc::make_mut(standing).insert(conflict.cell),
            None if standing.contains(&cell) => Arc::make_mut(standing).remove(&cell),
            _ => false,
        };
    }
    Ok(())
}

/// What became of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It is there now.
    Opened(Conflict),
    /// Somebody who had not seen a decision wrote: it is there again, and the decision stays on show.
    Reopened(Conflict),
    /// More or fewer writes are in dispute than before.
    Changed(Conflict),
    /// It is no more; this is what it was.
    Resolved(Conflict),
}

/// What became of the conflicts about these cells between two views, in the order of the cells. Each view is asked
/// about its own first cells: what was another conflict before a merge is resolved, and opened under its new id.
pub fn turns(before: &dyn View, after: &dyn View, cells: &BTreeSet<Cell>) -> Read<Vec<Turn>> {
    let (mut was, mut is) = (BTreeMap::new(), BTreeMap::new());
    for (view, found) in [(before, &mut was), (after, &mut is)] {
        for cell in cells {
            found.extend(of(view, cell)?.map(|conflict| (conflict.cell.clone(), conflict)));
        }
    }
    let cells: BTreeSet<Cell> = was.keys().chain(is.keys()).cloned().collect();
    Ok(cells.into_iter().filter_map(|cell| turn(was.remove(&cell), is.remove(&cell))).collect())
}

fn turn(was: Option<Conflict>, is: Option<Conflict>) -> Option<Turn> {
    match (was, is) {
        (None, Some(is)) if is.reopened => Some(Turn::Reopened(is)),
        (None, Some(is)) => Some(Turn::Opened(is)),
        (Some(was), None) => Some(Turn::Resolved(was)),
        (Some(was), Some(is)) if was != is => Some(Turn::Changed(is)),
        _ => None,
    }
}
