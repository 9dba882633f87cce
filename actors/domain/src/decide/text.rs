//! Documents and sequences: edits that merge.
//!
//! Positions are those of the text that the author saw: at his base, with his own later edits. The edit is made there,
//! and merges with whatever others have written since; so two browsers that type at once both stay right. What a client
//! made itself, as an update, is held against the document as it stands.

use std::collections::BTreeSet;

use openprod_model::ids::EntityId;
use openprod_model::operation::{Basis, FieldAt, Operation};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{FieldRef, Name, PrimitiveType, Text, Value};

use super::records::{column, no_record, required};
use super::{Decision, Planner, Problem};
use crate::cell::{Cell, Content};
use crate::command::Stance;
use crate::compose::Putting;
use crate::describe;
use crate::edits::{self, Edit};
use crate::read::{self, Column, Table};
use crate::text::{BadEdit, ClientId, Document, Flaw, Kind, ListEdit, Refused, TextEdit};
use crate::view::View;

/// A field whose edits merge.
pub(super) struct TextPlace {
    /// The field that is edited: the far one, where the one named refers to it.
    cell: Cell,
    kind: Kind,
    /// The type of a sequence's items.
    item: Option<PrimitiveType>,
    /// Whether it may not be emptied: then, what it is called.
    required: Option<Refusal>,
}

/// The updates of an edit.
type Updates = Result<Vec<Vec<u8>>, BadEdit>;

impl Planner<'_> {
    pub(super) fn edit_text(
        &mut self,
        entity: EntityId,
        table: &Name,
        column: &Name,
        edits: &[TextEdit],
    ) -> Decision<()> {
        let place = self.text_place(entity, table, column)?;
        let updates = self.edited(&place, |document, client| document.edit_text(client, edits))?;
        self.push_edit(&place, updates, Edited::InPart)
    }

    pub(super) fn set_text(&mut self, entity: EntityId, table: &Name, column: &Name, text: &Text) -> Decision<()> {
        let place = self.text_place(entity, table, column)?;
        self.write_text(&place, text)
    }

    fn write_text(&mut self, place: &TextPlace, text: &Text) -> Decision<()> {
        if let Some(refusal) = place.required.clone().filter(|_| text.as_str().is_empty()) {
            return Err(refusal.into());
        }
        let updates = self.edited(place, |document, client| document.set_text(client, text.as_str()))?;
        self.push_edit(place, updates, Edited::InPart)
    }

    pub(super) fn edit_sequence(
        &mut self,
        entity: EntityId,
        table: &Name,
        column: &Name,
        edits: &[ListEdit],
    ) -> Decision<()> {
        let place = self.text_place(entity, table, column)?;
        self.write_items(&place, edits)
    }

    fn write_items(&mut self, place: &TextPlace, edits: &[ListEdit]) -> Decision<()> {
        // A document takes the edit, too, and refuses it.
        let item = place.item.unwrap_or(PrimitiveType::Text);
        let updates = self.edited(place, |document, client| document.edit_list(client, item, edits))?;
        let edited = if matches!(edits, [ListEdit::ReplaceAll { .. }]) { Edited::Whole } else { Edited::InPart };
        self.push_edit(place, updates, edited)
    }

    pub(super) fn apply_update(
        &mut self,
        entity: EntityId,
        table: &Name,
        column: &Name,
        (client, update): (u64, &[u8]),
    ) -> Decision<()> {
        let place = self.text_place(entity, table, column)?;
        let client = ClientId::new(client);
        let admitted = edits::read(&self.view(), &place.cell, place.kind, |document| document.admit(client, update))?;
        self.push_edit(&place, admitted.map_err(|refused| not_taken(&refused))?, Edited::InPart)
    }

    /// Gives a field of a new record, whose edits merge, its first content.
    pub(super) fn begin(
        &mut self,
        table: &Table,
        column: &Column,
        entity: EntityId,
        value: &Value,
        at: &str,
    ) -> Decision<()> {
        let place = self.place_of(table, column, entity)?;
        let begun = match (value, place.kind) {
            (Value::Text(text), Kind::Text) => self.write_text(&place, text),
            (Value::List(list), Kind::List) => {
                self.write_items(&place, &[ListEdit::ReplaceAll { items: list.items().to_vec() }])
            }
            _ => Err(not_of_type(table, column, value).into()),
        };
        begun.map_err(|problem| match problem {
            Problem::Refused(refusal) => refusal.at(at).into(),
            failure @ Problem::Read(_) => failure,
        })
    }

    fn text_place(&mut self, entity: EntityId, table: &Name, named: &Name) -> Decision<TextPlace> {
        let table = self.table(table)?;
        if !read::is_record(&self.view(), &table.key, entity)? {
            return Err(no_record(entity, "record").into());
        }
        let column = column(&table, named, "column")?;
        self.place_of(&table, column, entity)
    }

    fn place_of(&self, table: &Table, column: &Column, entity: EntityId) -> Decision<TextPlace> {
        let Some((kind, item)) = edits::kind_of(&column.spec.field_type) else {
            let (name, holds) = (&column.spec.name, describe::a_type(&column.spec.field_type));
            let message = format!("{name} in {} holds {holds}: it is set, not edited.", table.spec.name);
            return Err(Refusal::new(Reason::WrongType, message).at("column").next("Set the field.").into());
        };
        let own = FieldRef { entity, table: table.key.clone(), field: column.key.clone() };
        let FieldRef { entity, table: key, field } = self.through_references(own, "column")?;
        let required = column.spec.required.then(|| required(table, column));
        Ok(TextPlace { cell: Cell::Field { table: key, entity, field }, kind, item, required })
    }

    /// What `edit` makes of the document that the author saw.
    fn edited(&mut self, place: &TextPlace, edit: impl Fn(&Document, ClientId) -> Updates) -> Decision<Vec<Vec<u8>>> {
        let client = self.ids.writer(&[&place.cell.key()[..], &self.hand].concat());
        let cells = self.view().unions()?.cells(&place.cell);
        let (planned, mut updates) = (self.layer.edits(&cells), None);
        let mut tell = |document: &Document| updates = Some(edit(document, client));
        if !self.seen.with_document(&cells, place.kind, &planned, &mut tell)? {
            self.base.with_document(&cells, place.kind, &planned, &mut tell)?;
        }
        Ok(updates.unwrap_or_else(|| Ok(Vec::new())).map_err(|bad| bad_edit(&bad))?)
    }

    /// Makes an op of each update. All of them go on from what stands: an edit supersedes the edits before it, and
    /// takes none of them away.
    fn push_edit(&mut self, place: &TextPlace, updates: Vec<Vec<u8>>, edited: Edited) -> Decision<()> {
        let cells = read::written_with(&self.view(), &place.cell)?;
        if self.stance == Stance::IfUnchanged {
            self.known(&place.cell, &cells)?;
        }
        let mut is_first = true;
        for update in updates {
            let at = self.frontier(&cells)?;
            self.push(match edited {
                Edited::Whole if is_first => Operation::ClearAndAdd { at, update },
                _ => Operation::ApplyCrdt { at, update },
            })?;
            is_first = false;
        }
        Ok(())
    }

    /// The writes by which `own` comes to hold by itself the document that `shown` shows: the edits of all that reads as
    /// one with that, as they are, so that whoever else carries them over carries over the same. None if it is no
    /// document.
    pub(super) fn carried(&self, shown: &Cell, own: &Cell) -> Decision<Option<Vec<Putting>>> {
        let view = self.view();
        if edits::kind_at(&view, shown)?.is_none() {
            return Ok(None);
        }
        let held: BTreeSet<_> = view.edits(own)?.into_iter().map(|edit| edit.update).collect();
        let mut preds: Vec<_> = view.tips(own)?.into_iter().map(|tip| tip.op).collect();
        preds.sort_unstable();
        let all = edits::of_cells(&view, &view.unions()?.cells(shown), &[])?;
        let lacks = all.into_iter().filter(|edit| !held.contains(&edit.update));
        let putting = |edit: Edit| Putting {
            cell: own.clone(),
            content: Content::Edit(edit.update.to_vec()),
            basis: Basis { preds: preds.clone(), restores: None, decision: false },
            seen: Vec::new(),
        };
        Ok(Some(lacks.map(putting).collect()))
    }

    /// Whether a field by itself, without what reads as one with it, would lack what its edits build on.
    pub(super) fn is_fragment(&self, own: &Cell) -> Decision<bool> {
        let view = self.view();
        let Some((kind, _)) = edits::kind_at(&view, own)? else { return Ok(false) };
        let document = edits::document(kind, &view.edits(own)?);
        Ok(document.left_out().values().any(|flaw| *flaw == Flaw::Waiting))
    }

    fn frontier(&self, cells: &[Cell]) -> Decision<Vec<FieldAt>> {
        let mut at = Vec::new();
        for cell in cells {
            let Cell::Field { table, entity, field } = cell.clone() else { continue };
            let mut preds: Vec<_> = self.view().tips(cell)?.into_iter().map(|tip| tip.op).collect();
            preds.sort_unstable();
            at.push(FieldAt { entity, table, field, basis: Basis { preds, restores: None, decision: false } });
        }
        Ok(at)
    }
}

/// How much of a field an edit replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edited {
    Whole,
    InPart,
}

/// A value was set where edits are made.
pub(super) fn is_edited(table: &Table, column: &Column) -> Refusal {
    let (name, holds) = (&column.spec.name, describe::a_type(&column.spec.field_type));
    let message = format!("{name} in {} is {holds}: its fields are edited, not set.", table.spec.name);
    let next = match edits::kind_of(&column.spec.field_type) {
        Some((Kind::List, _)) => "Use `edit_sequence`, or `openprod sequence`.",
        _ => "Use `set_text` or `edit_text`, or `openprod text`.",
    };
    Refusal::new(Reason::WrongType, message).next(next)
}

fn not_of_type(table: &Table, column: &Column, value: &Value) -> Refusal {
    let (name, holds) = (&column.spec.name, describe::a_type(&column.spec.field_type));
    let message = format!("{name} in {} is {holds}, and {} is not.", table.spec.name, describe::value(value));
    Refusal::new(Reason::WrongType, message)
}

fn bad_edit(bad: &BadEdit) -> Refusal {
    let reason = match bad {
        BadEdit::BehindTheEnd { .. } | BadEdit::DividesLetter(_) => Reason::InvalidRequest,
        BadEdit::Nul => Reason::InvalidValue,
        BadEdit::ItemTooLong(_) => Reason::TooLarge,
        BadEdit::ItemType(_) | BadEdit::Kind(_) => Reason::WrongType,
    };
    let refusal = Refusal::new(reason, bad.to_string()).at("edits");
    match bad {
        BadEdit::BehindTheEnd { .. } | BadEdit::DividesLetter(_) => {
            refusal.next("Positions of text count UTF-16 units, as browsers do, in the text as it was read.")
        }
        _ => refusal,
    }
}

fn not_taken(refused: &Refused) -> Refusal {
    let refusal = |reason| Refusal::new(reason, refused.to_string()).at("update");
    match refused {
        Refused::Flawed(Flaw::Waiting) => {
            refusal(Reason::InvalidRequest).next("Send what is missing, or read the document again.")
        }
        Refused::Flawed(Flaw::TooLong(_)) => refusal(Reason::TooLarge).next("Send it in several parts."),
        Refused::Flawed(_) => refusal(Reason::InvalidValue).next("Read the document again, and edit that."),
        Refused::AnotherClient { .. } => {
            refusal(Reason::InvalidValue).next("Send each client's writing by itself, under its own client id.")
        }
    }
}
