//! Edits of documents and sequences, from and to messages.

use openprod_domain::command::Command;
use openprod_domain::text::{ListEdit, TextEdit};
use openprod_model::ids::EntityId;
use openprod_model::refusal::Refusal;
use openprod_model::value::{Name, Text};

use super::ids::id;
use super::path::{each, name, required, text};
use crate::v1;
use crate::v1::command::Kind;

impl From<&TextEdit> for v1::TextEdit {
    fn from(edit: &TextEdit) -> Self {
        use v1::text_edit::{Delete, Insert, Kind};
        let kind = match edit {
            TextEdit::Insert { at, text } => Kind::Insert(Insert { at: *at, text: text.clone() }),
            TextEdit::Delete { at, length } => Kind::Delete(Delete { at: *at, length: *length }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::TextEdit> for TextEdit {
    type Error = Refusal;
    fn try_from(edit: v1::TextEdit) -> Result<Self, Refusal> {
        use v1::text_edit::Kind;
        Ok(match required(edit.kind, "kind")? {
            Kind::Insert(insert) => Self::Insert { at: insert.at, text: insert.text },
            Kind::Delete(delete) => Self::Delete { at: delete.at, length: delete.length },
        })
    }
}

impl From<&ListEdit> for v1::SequenceEdit {
    fn from(edit: &ListEdit) -> Self {
        use v1::sequence_edit::{Delete, Insert, Kind, ReplaceAll};
        let kind = match edit {
            ListEdit::Insert { at, items } => {
                Kind::Insert(Insert { at: *at, items: items.iter().map(v1::Primitive::from).collect() })
            }
            ListEdit::Delete { at, length } => Kind::Delete(Delete { at: *at, length: *length }),
            ListEdit::ReplaceAll { items } => {
                Kind::ReplaceAll(ReplaceAll { items: items.iter().map(v1::Primitive::from).collect() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::SequenceEdit> for ListEdit {
    type Error = Refusal;
    fn try_from(edit: v1::SequenceEdit) -> Result<Self, Refusal> {
        use v1::sequence_edit::Kind;
        Ok(match required(edit.kind, "kind")? {
            Kind::Insert(insert) => {
                Self::Insert { at: insert.at, items: each(insert.items, "items", TryFrom::try_from)? }
            }
            Kind::Delete(delete) => Self::Delete { at: delete.at, length: delete.length },
            Kind::ReplaceAll(all) => Self::ReplaceAll { items: each(all.items, "items", TryFrom::try_from)? },
        })
    }
}

pub(super) fn edit_text(record: &EntityId, table: &Name, column: &Name, edits: &[TextEdit]) -> Kind {
    Kind::EditText(v1::EditText {
        record: record.to_string(),
        table: table.to_string(),
        column: column.to_string(),
        edits: edits.iter().map(v1::TextEdit::from).collect(),
    })
}

pub(super) fn set_text(record: &EntityId, table: &Name, column: &Name, text: &Text) -> Kind {
    Kind::SetText(v1::SetText {
        record: record.to_string(),
        table: table.to_string(),
        column: column.to_string(),
        text: text.to_string(),
    })
}

pub(super) fn edit_sequence(record: &EntityId, table: &Name, column: &Name, edits: &[ListEdit]) -> Kind {
    Kind::EditSequence(v1::EditSequence {
        record: record.to_string(),
        table: table.to_string(),
        column: column.to_string(),
        edits: edits.iter().map(v1::SequenceEdit::from).collect(),
    })
}

pub(super) fn apply_update(record: &EntityId, table: &Name, column: &Name, client: u64, update: &[u8]) -> Kind {
    Kind::ApplyUpdate(v1::ApplyUpdate {
        record: record.to_string(),
        table: table.to_string(),
        column: column.to_string(),
        client_id: client,
        update: update.to_vec(),
    })
}

impl TryFrom<v1::EditText> for Command {
    type Error = Refusal;
    fn try_from(command: v1::EditText) -> Result<Self, Refusal> {
        Ok(Self::EditText {
            record: id(&command.record, "record")?,
            table: name(&command.table, "table")?,
            column: name(&command.column, "column")?,
            edits: each(command.edits, "edits", TryFrom::try_from)?,
        })
    }
}

impl TryFrom<v1::SetText> for Command {
    type Error = Refusal;
    fn try_from(command: v1::SetText) -> Result<Self, Refusal> {
        Ok(Self::SetText {
            record: id(&command.record, "record")?,
            table: name(&command.table, "table")?,
            column: name(&command.column, "column")?,
            text: text(&command.text, "text")?,
        })
    }
}

impl TryFrom<v1::EditSequence> for Command {
    type Error = Refusal;
    fn try_from(command: v1::EditSequence) -> Result<Self, Refusal> {
        Ok(Self::EditSequence {
            record: id(&command.record, "record")?,
            table: name(&command.table, "table")?,
            column: name(&command.column, "column")?,
            edits: each(command.edits, "edits", TryFrom::try_from)?,
        })
    }
}

impl TryFrom<v1::ApplyUpdate> for Command {
    type Error = Refusal;
    fn try_from(command: v1::ApplyUpdate) -> Result<Self, Refusal> {
        Ok(Self::ApplyUpdate {
            record: id(&command.record, "record")?,
            table: name(&command.table, "table")?,
            column: name(&command.column, "column")?,
            client: command.client_id,
            update: command.update,
        })
    }
}
