//! Explaining a cell: which writes stand, who made them when and why, and what they replaced.

use std::collections::{BTreeMap, BTreeSet};

use openprod_api::convert::history::cell_content;
use openprod_api::convert::path::required_part;
use openprod_api::v1;
use openprod_domain::cell::{Cell, Content};
use openprod_domain::read::{self, CellReading, Tables};
use openprod_domain::text::Flaw;
use openprod_domain::view::{History, Read, ReadFailure, View};
use openprod_domain::{conflict, describe, edits, fold};
use openprod_messages::log::{Entry, LogReader, Stored};
use openprod_messages::overlays::Overlay;
use openprod_messages::snapshot::Written;
use openprod_model::ids::{OpRef, Position};
use openprod_model::operation::Basis;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Name, Value};

use super::super::batch::{Names, info};
use super::super::blob::blob;
use super::super::paging::{self, Pages};
use super::super::reading::{self, Problem, Scene};

mod file;

/// The place of a write in the log: which bundle, and which of its ops.
type Place = (Position, u32);

pub(super) fn explain(scene: &Scene, request: &v1::ExplainCellRequest) -> Result<v1::ExplainCellResponse, Problem> {
    let unpaged =
        v1::ExplainCellRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&unpaged);
    let before = pages.place::<Place>(&request.page_token)?.map(|(_, place)| place);
    let asked: Cell = required_part(request.cell.clone(), "cell")?;
    let view = scene.view();
    let view = &*view;
    let reading = far(view, named(view, asked)?)?;
    let cells = view.unions()?.cells(&reading.cell);
    let mut writes = written(scene, &cells)?;
    writes.sort_unstable_by_key(|row| std::cmp::Reverse((row.position, row.index)));
    let staged = scene.overlay.as_ref().filter(|overlay| overlay.staging.cell(&reading.cell).is_some());
    if writes.is_empty() && staged.is_none() {
        let message = format!("{} was never written.", describe::cell(&reading.cell));
        return Err(Refusal::new(Reason::UnknownHistory, message).at("cell").into());
    }
    let edited = Edited::of(view, &reading)?;
    let mut telling = Telling {
        history: &*scene.snapshot,
        log: &*scene.log,
        reading: &reading,
        cells,
        edited,
        names: Names::of(view),
        bundles: BTreeMap::new(),
    };
    let mut tips = writes.iter().filter(|row| telling.stands(row)).copied().collect::<Vec<Written>>();
    tips.sort_by_key(|row| std::cmp::Reverse(telling.is_shown(row)));
    let mut tips = tips.iter().map(|row| telling.write(row)).collect::<Read<Vec<_>>>()?;
    if staged.is_some() {
        tips.splice(0..0, telling.staged());
    }
    let behind = |row: &&Written| before.is_none_or(|before| (row.position, row.index) < before);
    let mut rest = writes.iter().filter(behind).peekable();
    let page: Vec<&Written> = rest.by_ref().take(paging::items(request.page_size)).collect();
    let last = page.last().filter(|_| rest.peek().is_some());
    let next = last.map(|row| pages.token(scene.revision(), &(row.position, row.index)));
    let sentence = match staged {
        Some(overlay) => telling.staged_sentence(view, overlay)?,
        None => telling.sentence(view)?,
    };
    let (file, of_file) = telling.file(scene)?.unzip();
    Ok(v1::ExplainCellResponse {
        cell: Some((&reading.cell).into()),
        sentence: [Some(sentence), of_file].into_iter().flatten().collect::<Vec<_>>().join(" "),
        file: file.as_ref().map(blob),
        in_conflict: reading.in_conflict(),
        tips,
        history: page.into_iter().map(|row| telling.write(row)).collect::<Read<_>>()?,
        next_page_token: next.unwrap_or_default(),
        revision: scene.revision().0,
    })
}

/// All writes of cells that read as one, each op once.
fn written(scene: &Scene, cells: &[Cell]) -> Read<Vec<Written>> {
    let mut writes = Vec::new();
    for cell in cells {
        writes.extend(scene.snapshot.written(cell)?.into_iter().filter(|row| scene.includes(row.position)));
    }
    let mut known = BTreeSet::new();
    writes.retain(|row| known.insert(row.op));
    Ok(writes)
}

/// The cell with the keys of its table and column in place of their names.
fn named(view: &dyn View, cell: Cell) -> Result<Cell, Problem> {
    Ok(match cell {
        Cell::Table { table } => Cell::Table { table: reading::table_key(view, table.as_str())? },
        Cell::Facet { table, entity } => Cell::Facet { table: reading::table_key(view, table.as_str())?, entity },
        Cell::Column { table, column } => {
            let table = reading::table_key(view, table.as_str())?;
            let column = column_key(view, &table, column)?;
            Cell::Column { table, column }
        }
        Cell::Field { table, entity, field } => {
            let table = reading::table_key(view, table.as_str())?;
            let field = column_key(view, &table, field)?;
            Cell::Field { table, entity, field }
        }
        other => other,
    })
}

/// The key of a column; a name that no column has is taken as it is, for columns that other versions know.
fn column_key(view: &dyn View, table: &Name, named: Name) -> Read<Name> {
    let known = read::table_of_key(view, table)?;
    let column = known.as_ref().and_then(|table| table.column(&named));
    Ok(column.map_or(named, |column| column.key.clone()))
}

/// The cell's reading, or that of the cell which it refers to.
fn far(view: &dyn View, cell: Cell) -> Read<CellReading> {
    match &cell {
        Cell::Field { table, entity, field } => Ok(read::field(view, table, *entity, field)?.reading),
        Cell::EdgeProperty { edge, property } => {
            let properties = read::edge(view, *edge)?.map(|edge| edge.properties).unwrap_or_default();
            match properties.into_iter().find(|(name, _)| name == property) {
                Some((_, field)) => Ok(field.reading),
                None => read::united(view, cell),
            }
        }
        _ => read::united(view, cell),
    }
}

/// What one op wrote into the cell.
struct Said {
    content: Content,
    basis: Basis,
}

/// What a document or a sequence shows, and which of its edits do not count.
#[derive(Default)]
struct Edited {
    value: Option<Value>,
    left_out: BTreeMap<OpRef, Flaw>,
}

impl Edited {
    fn of(view: &dyn View, reading: &CellReading) -> Read<Self> {
        match edits::kind_at(view, &reading.cell)? {
            Some((kind, item)) if reading.is_edited() => edits::read(view, &reading.cell, kind, |document| Self {
                value: edits::value(document, item),
                left_out: document.left_out().clone(),
            }),
            _ => Ok(Self::default()),
        }
    }
}

struct Telling<'a> {
    history: &'a dyn History,
    log: &'a dyn LogReader,
    reading: &'a CellReading,
    /// All that read as one with it.
    cells: Vec<Cell>,
    edited: Edited,
    names: Names<'a>,
    bundles: BTreeMap<Position, (Entry, Stored)>,
}

impl Telling<'_> {
    fn stands(&self, row: &Written) -> bool {
        self.reading.tips.iter().any(|tip| tip.op == row.op)
    }

    fn is_shown(&self, row: &Written) -> bool {
        self.reading.shown().is_some_and(|tip| tip.op == row.op)
    }

    fn bundle(&mut self, at: Position) -> Read<&(Entry, Stored)> {
        if let std::collections::btree_map::Entry::Vacant(unknown) = self.bundles.entry(at) {
            let read = self.log.entry(at)?.zip(self.log.bundle(at)?);
            unknown.insert(read.ok_or_else(|| ReadFailure(format!("the log lacks position {at}")))?);
        }
        Ok(&self.bundles[&at])
    }

    /// What the op of that row wrote; none if its bundle was damaged since.
    fn said(&mut self, row: &Written) -> Read<Option<Said>> {
        let cells = self.cells.clone();
        let Stored::Whole(bundle) = &self.bundle(row.position)?.1 else { return Ok(None) };
        let index = usize::try_from(row.index).unwrap_or(usize::MAX);
        let operation = bundle.ops().get(index).and_then(|op| op.operation.as_ref());
        let writes = operation.map(fold::writes).unwrap_or_default();
        let mut of_cells = writes.into_iter().filter(|write| cells.contains(&write.cell));
        let replaced: BTreeSet<OpRef> = of_cells.clone().flat_map(|write| write.basis.preds.clone()).collect();
        let last = of_cells.next_back();
        Ok(last.map(|write| {
            let basis = Basis { preds: replaced.into_iter().collect(), ..write.basis.clone() };
            Said { content: write.content, basis }
        }))
    }

    fn write(&mut self, row: &Written) -> Read<v1::CellWrite> {
        let said = self.said(row)?;
        let basis = said.as_ref().map(|said| said.basis.clone()).unwrap_or_default();
        // What the op said was read from there.
        let (entry, stored) = &self.bundles[&row.position];
        Ok(v1::CellWrite {
            op: row.op.to_string(),
            bundle: Some(info(&mut self.names, row.position, entry, stored.outline().as_ref())?),
            content: said.map(|said| cell_content(&self.reading.cell, &said.content)),
            standing: self.stands(row),
            shown: self.is_shown(row),
            decision: basis.decision,
            replaced: basis.preds.iter().map(OpRef::to_string).collect(),
            left_out: self.edited.left_out.get(&row.op).map_or_else(String::new, ToString::to_string),
            restores: basis.restores.as_ref().map_or_else(String::new, OpRef::to_string),
            staged: false,
        })
    }

    /// The write that is only staged, as if it stood already.
    fn staged(&self) -> Option<v1::CellWrite> {
        let tip = self.reading.tips.iter().rev().find(|tip| tip.position.is_none())?;
        Some(v1::CellWrite {
            content: Some(cell_content(&self.reading.cell, &tip.content)),
            standing: true,
            shown: self.reading.shown().is_some_and(|shown| shown.op == tip.op),
            decision: tip.decision,
            staged: true,
            ..v1::CellWrite::default()
        })
    }

    fn staged_sentence(&self, view: &dyn View, overlay: &Overlay) -> Read<String> {
        let subject = describe::cell_on(view, &self.reading.cell)?;
        let content = self.reading.content().map_or_else(|| "nothing".to_owned(), describe::content);
        let drifted = if self.reading.in_conflict() { " Others have changed it too." } else { "" };
        Ok(format!("{subject} is {content}, staged in the overlay \"{}\".{drifted}", overlay.info.name))
    }

    /// What the cell holds, for people.
    fn sentence(&mut self, view: &dyn View) -> Read<String> {
        if let Some(conflict) = conflict::of(view, &self.reading.cell)? {
            let history = self.history;
            return describe::conflict(&mut Tables::of(view), &conflict, &mut |tip| {
                self.author(conflict::origin(history, &conflict, tip)?)
            });
        }
        let subject = describe::cell_on(view, &self.reading.cell)?;
        let Some(tip) = self.reading.shown() else { return Ok(format!("{subject} holds nothing.")) };
        let who = self.author(tip.position)?;
        if self.reading.is_edited() {
            let shown = self.edited.value.as_ref().map_or_else(|| "empty".to_owned(), describe::value);
            return Ok(format!("{subject} is {shown}, last edited by {who}."));
        }
        Ok(format!("{subject} is {}, written by {who}.", describe::content(&tip.content)))
    }

    fn author(&mut self, at: Option<Position>) -> Read<String> {
        let Some(at) = at else { return Ok("somebody".to_owned()) };
        let actor = self.bundle(at)?.0.actor;
        self.names.called(actor)
    }
}
