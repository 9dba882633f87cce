//! The picture that a watcher begins with: everything in scope at one revision, in parts.
//!
//! Each part is read from a snapshot of its own, as of the first one's revision. So the parts fit together, and a slow
//! reader does not keep an old state alive.

use openprod_api::v1;
use openprod_domain::cell::Cell;
use openprod_domain::read::{self, Table};
use openprod_domain::view::{Read, View};
use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::value::Name;

use super::super::batch::Scope;
use super::super::reading;

/// Most records or edges in a part.
const PART_ITEMS: usize = 250;
/// About how many bytes a part has at most.
const PART_BYTES: usize = 512 * 1024;

/// What comes next.
#[derive(Debug, Clone)]
pub(super) enum Cursor {
    /// The tables.
    Tables,
    /// The records of the table of that number, behind one.
    Records(usize, Option<EntityId>),
    /// The edges, behind one.
    Edges(Option<EdgeId>),
}

/// The part at `cursor`, and what comes behind it; none behind the last.
pub(super) fn part(view: &dyn View, scope: &Scope, cursor: &Cursor) -> Read<(v1::SnapshotPart, Option<Cursor>)> {
    match cursor {
        Cursor::Tables => {
            let tables = tables(view, scope)?.iter().map(v1::Table::from).collect();
            Ok((v1::SnapshotPart { tables, ..v1::SnapshotPart::default() }, Some(Cursor::Records(0, None))))
        }
        Cursor::Records(number, after) => match tables(view, scope)?.get(*number) {
            Some(table) => records(view, table, *number, *after),
            None => edges(view, scope, None),
        },
        Cursor::Edges(after) => edges(view, scope, *after),
    }
}

fn tables(view: &dyn View, scope: &Scope) -> Read<Vec<Table>> {
    Ok(read::tables(view)?.into_iter().filter(|table| scope.holds(&table.key)).collect())
}

fn records(
    view: &dyn View,
    table: &Table,
    number: usize,
    after: Option<EntityId>,
) -> Read<(v1::SnapshotPart, Option<Cursor>)> {
    let columns: Vec<Name> = table.columns.iter().map(|column| column.key.clone()).collect();
    let (mut records, mut bytes) = (Vec::new(), 0);
    for entity in read::records(view, &table.key, after) {
        let entity = entity?;
        let record = reading::record(view, table, entity, &columns)?;
        bytes += reading::weight(&record);
        records.push(record);
        if records.len() == PART_ITEMS || bytes > PART_BYTES {
            let part = v1::SnapshotPart { records, ..v1::SnapshotPart::default() };
            return Ok((part, Some(Cursor::Records(number, Some(entity)))));
        }
    }
    Ok((v1::SnapshotPart { records, ..v1::SnapshotPart::default() }, Some(Cursor::Records(number + 1, None))))
}

fn edges(view: &dyn View, scope: &Scope, after: Option<EdgeId>) -> Read<(v1::SnapshotPart, Option<Cursor>)> {
    let mut range = Cell::edges();
    if let Some(edge) = after {
        range = range.after(&Cell::Edge { edge }.key());
    }
    let (mut edges, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
    for item in view.cells(&range) {
        let (Cell::Edge { edge: id }, _) = item? else { continue };
        if let Some(edge) = shown(view, scope, id)? {
            bytes += reading::edge_weight(&edge);
            edges.push(edge);
        }
        looked_at += 1;
        if looked_at == PART_ITEMS || bytes > PART_BYTES {
            return Ok((v1::SnapshotPart { edges, ..v1::SnapshotPart::default() }, Some(Cursor::Edges(Some(id)))));
        }
    }
    Ok((v1::SnapshotPart { edges, ..v1::SnapshotPart::default() }, None))
}

fn shown(view: &dyn View, scope: &Scope, id: EdgeId) -> Read<Option<v1::Edge>> {
    let Some(edge) = read::edge(view, id)? else { return Ok(None) };
    Ok(scope.holds_edge(view, &edge)?.then(|| (&edge).into()))
}

/// Whether a part tells nothing, and need not be sent.
pub(super) fn is_empty(part: &v1::SnapshotPart) -> bool {
    part.tables.is_empty() && part.records.is_empty() && part.edges.is_empty()
}
