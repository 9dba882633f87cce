//! Edits: what was written to a document or a sequence, all of it, and the document that it amounts to.
//!
//! A register forgets what is superseded; a text is made of everything that was ever typed. So every view gives, beside
//! the standing writes of a cell, all its edits.

use std::sync::Arc;

use openprod_model::bundle::Op;
use openprod_model::clock::Hlc;
use openprod_model::ids::{OpId, OpRef, Position};
use openprod_model::operation::Operation;
use openprod_model::value::{FieldType, List, MAX_LIST_ITEMS, MAX_TEXT_BYTES, Primitive, PrimitiveType, Text, Value};

use crate::cell::{Cell, Content};
use crate::fold;
use crate::register;
use crate::text::{Document, Kind};
use crate::view::{Read, View};

/// One edit of a document or a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The op that made it.
    pub op: OpRef,
    /// That op's clock.
    pub hlc: Hlc,
    /// That op's id.
    pub op_id: OpId,
    /// Where its bundle lies in this node's log; none while it is pending.
    pub position: Option<Position>,
    /// The update.
    pub update: Arc<[u8]>,
}

impl Edit {
    /// Its place in canonical order.
    pub fn order(&self) -> (Hlc, OpId, OpRef) {
        (self.hlc, self.op_id, self.op)
    }

    /// The edits that an op makes, with their cells.
    pub fn by(op: &Op, position: Option<Position>) -> Vec<(Cell, Self)> {
        let Some(Operation::ApplyCrdt { update, .. } | Operation::ClearAndAdd { update, .. }) = &op.operation else {
            return Vec::new();
        };
        let update: Arc<[u8]> = update.as_slice().into();
        let edit = Self { op: op.reference, hlc: op.hlc, op_id: op.id, position, update };
        let writes = op.operation.iter().flat_map(fold::writes);
        writes.map(|write| (write.cell, edit.clone())).collect()
    }
}

/// Edits in canonical order, each op once: where it lies first.
pub fn in_order(mut edits: Vec<Edit>) -> Vec<Edit> {
    let place = |edit: &Edit| edit.position.map_or(u64::MAX, |position| position.0);
    edits.sort_by_key(|edit| (edit.order(), place(edit)));
    edits.dedup_by_key(|edit| edit.op);
    edits
}

/// The document that `edits`, in canonical order, amount to.
pub fn document(kind: Kind, edits: &[Edit]) -> Document {
    Document::build(kind, edits.iter().map(|edit| (edit.op, &edit.update)))
}

/// The edits of several cells that read as one, and `more`, in canonical order.
pub fn of_cells(view: &(impl View + ?Sized), cells: &[Cell], more: &[Edit]) -> Read<Vec<Edit>> {
    let mut all = more.to_vec();
    for cell in cells {
        all.extend(view.edits(cell)?);
    }
    Ok(in_order(all))
}

/// What a column's fields are, where their edits merge: the kind of document, and for a sequence the type of its items.
pub fn kind_of(field_type: &FieldType) -> Option<(Kind, Option<PrimitiveType>)> {
    match field_type {
        FieldType::Document => Some((Kind::Text, None)),
        FieldType::Sequence { item } => Some((Kind::List, Some(*item))),
        _ => None,
    }
}

/// The same of the column of a field; none if its edits do not merge, or it is not known.
pub fn kind_at(view: &dyn View, cell: &Cell) -> Read<Option<(Kind, Option<PrimitiveType>)>> {
    let Cell::Field { table, field, .. } = cell else { return Ok(None) };
    let column = Cell::Column { table: table.clone(), column: field.clone() };
    let tips = view.tips(&column)?;
    Ok(match register::shown(&column, &tips).map(|tip| &tip.content) {
        Some(Content::Column(spec)) => kind_of(&spec.field_type),
        _ => None,
    })
}

/// Reads the document of a field, with all that reads as one with it.
pub fn read<T>(view: &dyn View, cell: &Cell, kind: Kind, tell: impl FnOnce(&Document) -> T) -> Read<T> {
    let cells = view.unions()?.cells(cell);
    let (mut tell, mut told) = (Some(tell), None);
    view.with_document(&cells, kind, &[], &mut |document| told = tell.take().map(|tell| tell(document)))?;
    told.ok_or_else(|| crate::view::ReadFailure("a document was not shown".to_owned()))
}

/// What a document shows as a value: none if it is empty, cut where it is longer than a value may be.
pub fn value(document: &Document, item: Option<PrimitiveType>) -> Option<Value> {
    if document.is_empty() {
        return None;
    }
    match item {
        None => Some(Value::Text(text_value(&document.text()))),
        Some(item) => Some(Value::List(list_value(document.items(item)))).filter(|value| !is_empty(value)),
    }
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::List(list) if list.items().is_empty())
}

/// The mark at the end of a text that is longer than a value may be.
const CUT: &str = "\n[... cut here: the field holds more]";

fn text_value(text: &str) -> Text {
    // Normalization may make a text longer, up to three times.
    Text::new(text).unwrap_or_else(|_| {
        let mut end = MAX_TEXT_BYTES - CUT.len();
        loop {
            end = text.floor_char_boundary(end);
            match Text::new(&format!("{}{CUT}", &text[..end.min(text.len())])) {
                Ok(cut) => return cut,
                Err(_) => end /= 2,
            }
        }
    })
}

/// As many of the items as a value may have, and as take no more bytes than a text may.
fn list_value(items: Vec<Primitive>) -> List {
    let mut bytes = 0;
    let fits = |item: &Primitive| {
        bytes += if let Primitive::Text(text) = item { text.as_str().len() } else { 0 };
        bytes <= MAX_TEXT_BYTES
    };
    let shown: Vec<Primitive> = items.into_iter().take(MAX_LIST_ITEMS).take_while(fits).collect();
    List::try_from(shown).expect("no more items than allowed were taken")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{ClientId, TextEdit};

    #[test]
    fn a_text_that_is_too_long_for_a_value_is_cut_with_a_mark() {
        let long = "é".repeat(MAX_TEXT_BYTES);
        let shown = text_value(&long);
        assert!(shown.as_str().len() <= MAX_TEXT_BYTES && shown.as_str().ends_with(CUT));
        assert!(shown.as_str().len() > MAX_TEXT_BYTES - 100);
    }

    #[test]
    fn an_empty_document_shows_no_value() {
        let empty = document(Kind::Text, &[]);
        assert_eq!(value(&empty, None), None);
        let writes = empty.edit_text(ClientId::new(1), &[TextEdit::Insert { at: 0, text: "Go".into() }]).unwrap();
        let written = Document::build(Kind::Text, [(OpRef::from_bytes([1; 16]), &writes[0])]);
        assert_eq!(value(&written, None), Some(Value::text("Go").unwrap()));
    }
}
