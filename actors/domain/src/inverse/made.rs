//! Making: the planned writes become ops, in an order in which removals can say that they have seen the others.

use std::collections::{BTreeSet, HashMap};

use openprod_model::bundle::{MAX_OPS, Stamp};
use openprod_model::ids::{ActorId, EdgeId, EntityId, OpRef};
use openprod_model::operation::{Operation, RawOp};

use super::obstacle::{Attempt, Obstacle};
use super::{Ground, Planned, author};
use crate::cell::{Cell, Content};
use crate::compose::{self, Putting};
use crate::view::{Layer, Read, View};
use crate::{fold, read};

/// What turns a bundle, as it will be sealed.
#[derive(Debug, Clone)]
pub struct Made {
    /// The ops.
    pub ops: Vec<RawOp>,
    /// The same folded, to be read on top of the view that they were made on.
    pub layer: Layer,
    /// The cells that they write.
    pub touched: Vec<Cell>,
    /// The writes that hang on an entity, or on an edge: whoever removes it in the same bundle has seen them.
    on_entities: HashMap<EntityId, Vec<OpRef>>,
    on_edges: HashMap<EdgeId, Vec<OpRef>>,
}

/// Makes the ops of these writes: removals last.
pub(super) fn make(ground: Ground<'_>, stamp: Stamp, planned: Vec<Planned>) -> Attempt<Made> {
    let (removals, mut writes): (Vec<_>, Vec<_>) = planned.into_iter().partition(is_removal);
    // What one op can write into several cells stands together: the first siblings, then the second.
    writes.sort_by_key(|planned| planned.sibling);
    let mut made = Made {
        ops: Vec::new(),
        layer: Layer::default(),
        touched: Vec::new(),
        on_entities: HashMap::new(),
        on_edges: HashMap::new(),
    };
    for operation in compose::operations(writes.into_iter().map(|planned| planned.putting)) {
        made.push(ground.view, stamp, operation)?;
    }
    for Planned { mut putting, .. } in removals {
        putting.seen.extend(made.hanging_on(ground.view, &putting.cell)?);
        for operation in compose::operations([putting]) {
            made.push(ground.view, stamp, operation)?;
        }
    }
    made.shows_somewhere(ground)?;
    Ok(made)
}

fn is_removal(planned: &Planned) -> bool {
    let Putting { cell, content, .. } = &planned.putting;
    matches!(cell, Cell::Facet { .. } | Cell::Edge { .. }) && *content == Content::Absent
}

impl Made {
    fn push(&mut self, view: &dyn View, stamp: Stamp, operation: Operation) -> Attempt<()> {
        if self.ops.len() >= MAX_OPS {
            return Err(Obstacle::too_large().into());
        }
        let (op, raw) = stamp.op_and_raw(self.ops.len(), operation);
        self.layer.fold(view, &op, None)?;
        for write in op.operation.iter().flat_map(fold::writes) {
            match &write.cell {
                Cell::Field { entity, .. } => self.on_entities.entry(*entity).or_default().push(op.reference),
                Cell::EdgeProperty { edge, .. } => self.on_edges.entry(*edge).or_default().push(op.reference),
                _ => {}
            }
            self.touched.push(write.cell);
        }
        self.ops.push(raw);
        Ok(())
    }

    /// What was written here into what hangs on a cell.
    fn hanging_on(&self, view: &dyn View, cell: &Cell) -> Read<Vec<OpRef>> {
        let (mut hanging, mut edges) = (Vec::new(), Vec::new());
        match cell {
            Cell::Facet { entity, .. } => {
                hanging.extend(self.on_entities.get(entity).into_iter().flatten());
                if !self.on_edges.is_empty() {
                    edges.extend(read::edges_hanging_on(view, *entity)?);
                }
            }
            Cell::Edge { edge } => edges.push(*edge),
            _ => {}
        }
        hanging.extend(edges.iter().filter_map(|edge| self.on_edges.get(edge)).flatten());
        Ok(hanging)
    }

    /// Refuses to write where nobody sees it: on what somebody has removed since.
    fn shows_somewhere(&self, ground: Ground<'_>) -> Attempt<()> {
        let (after, touched) = (self.layer.over(ground.view), self.touched.iter().collect::<BTreeSet<_>>());
        let mut gone = Vec::new();
        for cell in &self.touched {
            // What came and went within one bundle was hidden all along.
            let passed = carrier(cell).is_some_and(|carrier| touched.contains(&carrier));
            if !passed && is_hidden(ground.view, cell)? && is_hidden(&after, cell)? {
                let by = removers(ground, cell)?;
                gone.extend((!by.is_empty()).then(|| (cell.clone(), by)));
            }
        }
        if gone.is_empty() { Ok(()) } else { Err(Obstacle::removed(ground.view, &gone)?.into()) }
    }
}

/// What a field or a property hangs on.
fn carrier(cell: &Cell) -> Option<Cell> {
    match cell {
        Cell::Field { table, entity, .. } => Some(Cell::Facet { table: table.clone(), entity: *entity }),
        Cell::EdgeProperty { edge, .. } | Cell::EdgePosition { edge } => Some(Cell::Edge { edge: *edge }),
        _ => None,
    }
}

/// Whether a field or a property is one of something that is not there.
fn is_hidden(view: &dyn View, cell: &Cell) -> Read<bool> {
    Ok(match cell {
        Cell::Field { table, entity, .. } => !read::is_record(view, table, *entity)?,
        Cell::EdgeProperty { edge, .. } | Cell::EdgePosition { edge } => read::edge(view, *edge)?.is_none(),
        _ => false,
    })
}

/// Who has removed what a cell hangs on.
fn removers(ground: Ground<'_>, cell: &Cell) -> Read<Vec<ActorId>> {
    let mut around: Vec<Cell> = carrier(cell).into_iter().collect();
    if let [edge @ Cell::Edge { .. }] = &around[..] {
        for tip in ground.view.tips(edge)? {
            if let Content::Edge(ends) = tip.content {
                around.extend(facets_of(ground.view, ends.source)?);
                around.extend(facets_of(ground.view, ends.target)?);
            }
        }
    }
    let mut removers = Vec::new();
    for cell in around {
        for tip in ground.view.tips(&cell)?.iter().filter(|tip| tip.content == Content::Absent) {
            removers.push(author(ground, tip)?);
        }
    }
    Ok(removers)
}

fn facets_of(view: &dyn View, entity: EntityId) -> Read<impl Iterator<Item = Cell>> {
    let tables = read::tables_ever_of(view, entity)?.into_iter();
    Ok(tables.map(move |table| Cell::Facet { table, entity }))
}
