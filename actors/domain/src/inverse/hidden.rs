//! What a removal would hide, and whether any of it is another person's later work.

use std::collections::{BTreeMap, BTreeSet};

use openprod_model::ids::{ActorId, EntityId, OpRef};
use openprod_model::value::Name;

use super::obstacle::{Attempt, Obstacle};
use super::{Choice, Inverse, Planned, author, leads_to, root, text};
use crate::cell::{Cell, Content, Tip};
use crate::read;
use crate::view::{Read, Reading, View};

/// How many cells of other people are looked for before it is said that there are some: enough for a sentence.
const ENOUGH: usize = 100;

/// What is taken away.
#[derive(Default)]
struct Leaving {
    /// The tables that each entity is taken out of.
    records: BTreeMap<EntityId, BTreeSet<Name>>,
    tables: BTreeSet<Name>,
}

/// Refuses what would hide another person's later work, and notes for every removal what its author has seen.
pub(super) fn check(inverse: &mut Inverse<'_>) -> Attempt<()> {
    let leaving = Leaving::of(inverse);
    let (mut later, mut seen) = (Vec::new(), Vec::new());
    for (index, planned) in inverse.puttings.iter().enumerate().filter(|(_, planned)| leaving.takes_along(planned)) {
        seen.push((index, of_one(inverse, &leaving, planned, &mut later)?));
        if later.len() >= ENOUGH {
            break;
        }
    }
    if !later.is_empty() {
        return Err(Obstacle::would_hide(inverse.ground.view, inverse.turn, &later)?.into());
    }
    for (index, seen) in seen {
        inverse.puttings[index].putting.seen = seen;
    }
    Ok(())
}

/// Finds what hangs on one removed thing: what nobody may hide goes to `later`, what the remover has seen comes back.
fn of_one(
    inverse: &Inverse<'_>,
    leaving: &Leaving,
    planned: &Planned,
    later: &mut Vec<(Cell, Vec<ActorId>)>,
) -> Read<Vec<OpRef>> {
    let (cell, mut seen) = (&planned.putting.cell, Vec::new());
    let says_what_it_saw = matches!(cell, Cell::Facet { .. } | Cell::Edge { .. });
    for item in leaving.hanging_on(inverse.ground.view, cell)? {
        let (hanging, tips) = item?;
        let is_text = tips.iter().any(|tip| matches!(tip.content, Content::Edit(_)));
        let writers = if is_text { text::later_authors(inverse, &hanging)? } else { Vec::new() };
        if !writers.is_empty() {
            later.push((hanging.clone(), writers));
        }
        for tip in &tips {
            if let Some(who) = later_author(inverse, &hanging, tip)? {
                later.push((hanging.clone(), vec![who]));
            } else if says_what_it_saw && is_known(inverse, &hanging, tip, planned.known.as_deref())? {
                seen.push(tip.op);
            }
        }
        if later.len() >= ENOUGH {
            break;
        }
    }
    Ok(seen)
}

impl Leaving {
    fn of(inverse: &Inverse<'_>) -> Self {
        let mut leaving = Self::default();
        for putting in inverse.puttings.iter().map(|planned| &planned.putting) {
            match (&putting.cell, &putting.content) {
                (Cell::Facet { table, entity }, Content::Absent) => {
                    leaving.records.entry(*entity).or_default().insert(table.clone());
                }
                (Cell::Table { table }, Content::Absent) => {
                    leaving.tables.insert(table.clone());
                }
                _ => {}
            }
        }
        leaving
    }

    /// Whether other things hide with what is written.
    fn takes_along(&self, planned: &Planned) -> bool {
        match (&planned.putting.cell, &planned.putting.content) {
            (Cell::Facet { .. } | Cell::Edge { .. } | Cell::Table { .. }, Content::Absent) => true,
            // What is in a column of a table that goes is found with the table.
            (Cell::Column { table, .. }, Content::Column(_)) => planned.unmakes && !self.tables.contains(table),
            _ => false,
        }
    }

    /// Everything that hangs on a cell and hides with it.
    fn hanging_on<'a>(&self, view: &'a dyn View, cell: &Cell) -> Read<Reading<'a, (Cell, Vec<Tip>)>> {
        Ok(match cell {
            Cell::Facet { table, entity } => {
                let edges = if self.holds_all_of(view, *entity)? { at_edges(view, *entity)? } else { Vec::new() };
                Box::new(view.cells(&Cell::fields(table, *entity)).chain(edges.into_iter().map(Ok)))
            }
            Cell::Edge { edge } => {
                let place = Cell::EdgePosition { edge: *edge };
                let places = vec![(place.clone(), view.tips(&place)?)];
                Box::new(view.cells(&Cell::properties(*edge)).chain(places.into_iter().map(Ok)))
            }
            Cell::Table { table } => {
                let inside = view.cells(&Cell::facets(table)).chain(view.cells(&Cell::all_fields(table)));
                Box::new(view.cells(&Cell::columns(table)).chain(inside))
            }
            Cell::Column { table, column } => {
                let column = column.clone();
                Box::new(view.cells(&Cell::all_fields(table)).filter(move |item| match item {
                    Ok((Cell::Field { field, .. }, _)) => *field == column,
                    Ok(_) => false,
                    Err(_) => true,
                }))
            }
            _ => Box::new(std::iter::empty()),
        })
    }

    /// Whether the entity is left in no table: its edges go with it.
    fn holds_all_of(&self, view: &dyn View, entity: EntityId) -> Read<bool> {
        let gone = |id: &EntityId, table: &Name| self.records.get(id).is_some_and(|tables| tables.contains(table));
        for table in read::tables_of(view, entity)? {
            if !read::ids_in(view, &table, entity)?.iter().all(|id| gone(id, &table)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The edges at an entity, with their properties and places.
fn at_edges(view: &dyn View, entity: EntityId) -> Read<Vec<(Cell, Vec<Tip>)>> {
    let mut cells = Vec::new();
    for edge in read::edges_hanging_on(view, entity)? {
        cells.extend(read::writes_of_edge(view, edge)?);
        let place = Cell::EdgePosition { edge };
        cells.push((place.clone(), view.tips(&place)?));
    }
    Ok(cells)
}

/// Who wrote this since, if it is somebody whose work is not to be hidden.
fn later_author(inverse: &Inverse<'_>, cell: &Cell, tip: &Tip) -> Read<Option<ActorId>> {
    let ground = inverse.ground;
    let elsewhere = matches!(tip.content, Content::Absent | Content::Edit(_));
    if elsewhere || tip.position.is_none() || leads_to(ground.history, cell, tip, &inverse.own)? {
        return Ok(None);
    }
    if is_gone(ground.view, cell)? {
        return Ok(None);
    }
    // Whoever put back what stood before has added nothing.
    let first = root(ground.history, cell, tip)?;
    let first = if first == tip.op { None } else { ground.history.write(cell, first)?.map(|(tip, _)| tip) };
    let tip = first.as_ref().unwrap_or(tip);
    let who = author(ground, tip)?;
    let minds = inverse.choice == Choice::Next || who != ground.actor;
    Ok((minds && tip.position.is_some_and(|position| position > inverse.since)).then_some(who))
}

/// Whether the remover had seen a write: one that only puts a removal back knows no more than the removal did.
fn is_known(inverse: &Inverse<'_>, cell: &Cell, tip: &Tip, known: Option<&[OpRef]>) -> Read<bool> {
    let Some(known) = known else { return Ok(true) };
    if known.contains(&tip.op) || tip.restores.is_some_and(|op| known.contains(&op)) {
        return Ok(true);
    }
    Ok(leads_to(inverse.ground.history, cell, tip, &inverse.own)?
        || author(inverse.ground, tip)? == inverse.ground.actor)
}

/// Whether a cell is of an edge that is not there anyway.
fn is_gone(view: &dyn View, cell: &Cell) -> Read<bool> {
    Ok(match cell {
        Cell::Edge { edge } | Cell::EdgeProperty { edge, .. } | Cell::EdgePosition { edge } => {
            read::edge(view, *edge)?.is_none()
        }
        _ => false,
    })
}
