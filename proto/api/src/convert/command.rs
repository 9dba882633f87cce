//! Commands and requests to execute them, from and to messages.

use std::str::FromStr;

use openprod_domain::command::{Command, Created, NamedColumn, Place, Request, Stance};
use openprod_model::bundle::BundleKind;
use openprod_model::ids::{ActorId, InvalidId, OverlayId, Position, WorkspaceId};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Name, Value};

use super::ids::{id, optional_id};
use super::path::{each, known, name, optional_part, or_empty, part, required, required_part, text};
use super::text;
use super::undo::{redo, scope_from, undo, which};
use crate::v1;

/// A request to execute commands: where, as whom, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Which of the node's identities acts; none for its default one.
    pub actor: Option<ActorId>,
    /// What to do.
    pub request: Request,
    /// Where it is staged instead.
    pub stage: Stage,
}

/// Where commands are staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In the overlay that is active in the session, if one is.
    Active,
    /// Nowhere: they are done.
    Nowhere,
    /// In this overlay.
    In(OverlayId),
}

impl Stage {
    fn from_message(overlay: Option<&str>) -> Result<Self, Refusal> {
        Ok(match overlay {
            None => Self::Active,
            Some(overlay) => optional_id(overlay, "overlay")?.map_or(Self::Nowhere, Self::In),
        })
    }

    fn to_message(self) -> Option<String> {
        match self {
            Self::Active => None,
            Self::Nowhere => Some(String::new()),
            Self::In(overlay) => Some(overlay.to_string()),
        }
    }
}

impl From<&Execution> for v1::ExecuteRequest {
    fn from(execution: &Execution) -> Self {
        let request = &execution.request;
        Self {
            command_id: request.command_id.to_string(),
            workspace: execution.workspace.to_string(),
            actor: or_empty(execution.actor.as_ref()),
            session: or_empty(request.session.as_ref()),
            base: request.base.map(|base| base.0),
            stance: stance_to(request.stance).into(),
            kind: kind_to(request.kind).into(),
            label: request.label.as_ref().map(ToString::to_string),
            source: Some((&request.source).into()),
            commands: request.commands.iter().map(v1::Command::from).collect(),
            overlay: execution.stage.to_message(),
        }
    }
}

impl TryFrom<v1::ExecuteRequest> for Execution {
    type Error = Refusal;
    fn try_from(message: v1::ExecuteRequest) -> Result<Self, Refusal> {
        let stage = Stage::from_message(message.overlay.as_deref())?;
        let request = Request {
            command_id: id(&message.command_id, "command_id")?,
            session: optional_id(&message.session, "session")?,
            base: message.base.map(Position),
            stance: stance_from(known(message.stance, "stance")?),
            kind: kind_from(known(message.kind, "kind")?),
            label: message.label.map(|label| text(&label, "label")).transpose()?,
            source: optional_part(message.source, "source")?.unwrap_or_default(),
            commands: each(message.commands, "commands", Command::try_from)?,
        };
        let workspace = id(&message.workspace, "workspace")?;
        Ok(Self { workspace, actor: optional_id(&message.actor, "actor")?, request, stage })
    }
}

fn stance_to(stance: Stance) -> v1::Stance {
    match stance {
        Stance::Beside => v1::Stance::Beside,
        Stance::IfUnchanged => v1::Stance::IfUnchanged,
        Stance::Decide => v1::Stance::Decide,
    }
}

fn stance_from(stance: v1::Stance) -> Stance {
    match stance {
        v1::Stance::Unspecified | v1::Stance::Beside => Stance::Beside,
        v1::Stance::IfUnchanged => Stance::IfUnchanged,
        v1::Stance::Decide => Stance::Decide,
    }
}

/// A client makes edits and imports only; anything else is asked for as an edit.
fn kind_to(kind: BundleKind) -> v1::ExecuteKind {
    if kind == BundleKind::IMPORT { v1::ExecuteKind::Import } else { v1::ExecuteKind::Edit }
}

fn kind_from(kind: v1::ExecuteKind) -> BundleKind {
    match kind {
        v1::ExecuteKind::Unspecified | v1::ExecuteKind::Edit => BundleKind::EDIT,
        v1::ExecuteKind::Import => BundleKind::IMPORT,
    }
}

/// What the command of that index made.
pub fn created(command_index: u32, created: Created) -> v1::Created {
    let thing = match created {
        Created::Record(record) => v1::created::Thing::Record(record.to_string()),
        Created::Edge(edge) => v1::created::Thing::Edge(edge.to_string()),
    };
    v1::Created { command_index, thing: Some(thing) }
}

impl TryFrom<v1::Created> for Created {
    type Error = Refusal;
    fn try_from(created: v1::Created) -> Result<Self, Refusal> {
        Ok(match required(created.thing, "thing")? {
            v1::created::Thing::Record(record) => Self::Record(id(&record, "record")?),
            v1::created::Thing::Edge(edge) => Self::Edge(id(&edge, "edge")?),
        })
    }
}

impl From<&Command> for v1::Command {
    fn from(command: &Command) -> Self {
        Self { kind: Some(kind_of(command)) }
    }
}

fn kind_of(command: &Command) -> v1::command::Kind {
    use v1::command::Kind;
    match command {
        Command::CreateTable { name, description, columns } => Kind::CreateTable(v1::CreateTable {
            name: name.to_string(),
            description: description.to_string(),
            columns: columns.iter().map(v1::NewColumn::from).collect(),
        }),
        Command::AlterTable { table, changes } => Kind::AlterTable(v1::AlterTable {
            table: table.to_string(),
            changes: changes.iter().map(v1::TableChange::from).collect(),
        }),
        Command::DropTable { table } => Kind::DropTable(v1::DropTable { table: table.to_string() }),
        Command::CreateRecord { record, table, values } => Kind::CreateRecord(v1::CreateRecord {
            record: or_empty(record.as_ref()),
            table: table.to_string(),
            values: values.iter().map(|(column, value)| field_value(column, Some(value))).collect(),
        }),
        Command::AddToTable { record, table, values } => Kind::AddToTable(v1::AddToTable {
            record: record.to_string(),
            table: table.to_string(),
            values: values.iter().map(|(column, value)| field_value(column, Some(value))).collect(),
        }),
        Command::RemoveFromTable { record, table } => {
            Kind::RemoveFromTable(v1::RemoveFromTable { record: record.to_string(), table: table.to_string() })
        }
        Command::DeleteRecord { record } => Kind::DeleteRecord(v1::DeleteRecord { record: record.to_string() }),
        Command::SetFields { record, table, values } => Kind::SetFields(v1::SetFields {
            record: record.to_string(),
            table: table.to_string(),
            values: values.iter().map(|(column, value)| field_value(column, value.as_ref())).collect(),
        }),
        Command::CreateEdge { edge, edge_type, source, target, properties, place } => {
            Kind::CreateEdge(v1::CreateEdge {
                edge: or_empty(edge.as_ref()),
                r#type: edge_type.to_string(),
                source: source.to_string(),
                target: target.to_string(),
                properties: properties.iter().map(|(name, value)| property_value(name, Some(value))).collect(),
                place: place.map(v1::Place::from),
            })
        }
        Command::MoveEdge { edge, place } => {
            Kind::MoveEdge(v1::MoveEdge { edge: edge.to_string(), place: Some((*place).into()) })
        }
        Command::DeleteEdge { edge } => Kind::DeleteEdge(v1::DeleteEdge { edge: edge.to_string() }),
        Command::SetEdgeProperties { edge, values } => Kind::SetEdgeProperties(v1::SetEdgeProperties {
            edge: edge.to_string(),
            values: values.iter().map(|(name, value)| property_value(name, value.as_ref())).collect(),
        }),
        Command::PutSetting { setting, value } => Kind::PutSetting(v1::PutSetting {
            setting: setting.to_string(),
            value: value.as_ref().map(v1::Value::from),
        }),
        Command::AdmitMember { member, name } => Kind::AdmitMember(v1::AdmitMember {
            member: member.to_string(),
            name: name.as_ref().map(ToString::to_string),
        }),
        Command::RemoveMember { member, why } => {
            Kind::RemoveMember(v1::RemoveMember { member: member.to_string(), why: why.to_string() })
        }
        Command::NameActor { actor, name } => {
            Kind::NameActor(v1::NameActor { actor: actor.to_string(), name: name.to_string() })
        }
        Command::MergeRecords { records } => Kind::MergeRecords(v1::MergeRecords { records: words(records) }),
        Command::SplitRecord { record, ids } => {
            Kind::SplitRecord(v1::SplitRecord { record: record.to_string(), ids: words(ids) })
        }
        Command::SplitOff { record, tables, edges, new } => Kind::SplitOff(v1::SplitOff {
            record: record.to_string(),
            tables: words(tables),
            edges: words(edges),
            new: or_empty(new.as_ref()),
        }),
        Command::ConfirmMapping { one, other } => {
            Kind::ConfirmMapping(v1::ConfirmMapping { one: Some(one.into()), other: Some(other.into()) })
        }
        Command::RejectMapping { one, other } => {
            Kind::RejectMapping(v1::RejectMapping { one: Some(one.into()), other: Some(other.into()) })
        }
        Command::RevokeMapping { one, other } => {
            Kind::RevokeMapping(v1::RevokeMapping { one: Some(one.into()), other: Some(other.into()) })
        }
        Command::Resolve { cell, choice } => {
            Kind::Resolve(v1::Resolve { cell: Some(cell.into()), choice: Some(choice.into()) })
        }
        Command::EditText { record, table, column, edits } => text::edit_text(record, table, column, edits),
        Command::SetText { record, table, column, text } => text::set_text(record, table, column, text),
        Command::EditSequence { record, table, column, edits } => text::edit_sequence(record, table, column, edits),
        Command::ApplyUpdate { record, table, column, client, update } => {
            text::apply_update(record, table, column, *client, update)
        }
        Command::Undo { scope, bundle } => Kind::Undo(undo(*scope, *bundle)),
        Command::Redo { scope, bundle } => Kind::Redo(redo(*scope, *bundle)),
        Command::CommitOverlay { overlay } => Kind::CommitOverlay(v1::CommitOverlay { overlay: overlay.to_string() }),
        Command::DeleteAsset { hash, reason } => {
            Kind::DeleteAsset(v1::DeleteAsset { hash: hash.to_string(), reason: reason.to_string() })
        }
        Command::RestoreAsset { hash } => Kind::RestoreAsset(v1::RestoreAsset { hash: hash.to_string() }),
    }
}

fn words<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

impl From<&NamedColumn> for v1::NamedColumn {
    fn from(column: &NamedColumn) -> Self {
        Self { table: column.table.to_string(), column: column.column.to_string() }
    }
}

impl TryFrom<v1::NamedColumn> for NamedColumn {
    type Error = Refusal;
    fn try_from(named: v1::NamedColumn) -> Result<Self, Refusal> {
        Ok(Self { table: table(&named.table)?, column: name(&named.column, "column")? })
    }
}

fn field_value(column: &Name, value: Option<&Value>) -> v1::FieldValue {
    v1::FieldValue { column: column.to_string(), value: value.map(v1::Value::from) }
}

fn property_value(property: &Name, value: Option<&Value>) -> v1::PropertyValue {
    v1::PropertyValue { property: property.to_string(), value: value.map(v1::Value::from) }
}

impl TryFrom<v1::Command> for Command {
    type Error = Refusal;
    fn try_from(command: v1::Command) -> Result<Self, Refusal> {
        use v1::command::Kind;
        match required(command.kind, "kind")? {
            Kind::CreateTable(command) => part(command, "create_table"),
            Kind::AlterTable(command) => part(command, "alter_table"),
            Kind::DropTable(command) => part(command, "drop_table"),
            Kind::CreateRecord(command) => part(command, "create_record"),
            Kind::AddToTable(command) => part(command, "add_to_table"),
            Kind::RemoveFromTable(command) => part(command, "remove_from_table"),
            Kind::DeleteRecord(command) => part(command, "delete_record"),
            Kind::SetFields(command) => part(command, "set_fields"),
            Kind::CreateEdge(command) => part(command, "create_edge"),
            Kind::MoveEdge(command) => part(command, "move_edge"),
            Kind::DeleteEdge(command) => part(command, "delete_edge"),
            Kind::SetEdgeProperties(command) => part(command, "set_edge_properties"),
            Kind::PutSetting(command) => part(command, "put_setting"),
            Kind::AdmitMember(command) => part(command, "admit_member"),
            Kind::RemoveMember(command) => part(command, "remove_member"),
            Kind::NameActor(command) => part(command, "name_actor"),
            Kind::MergeRecords(command) => part(command, "merge_records"),
            Kind::SplitRecord(command) => part(command, "split_record"),
            Kind::SplitOff(command) => part(command, "split_off"),
            Kind::ConfirmMapping(command) => part(command, "confirm_mapping"),
            Kind::RejectMapping(command) => part(command, "reject_mapping"),
            Kind::RevokeMapping(command) => part(command, "revoke_mapping"),
            Kind::Undo(command) => part(command, "undo"),
            Kind::Redo(command) => part(command, "redo"),
            Kind::Resolve(command) => part(command, "resolve"),
            Kind::CommitOverlay(command) => part(command, "commit_overlay"),
            Kind::DeleteAsset(command) => part(command, "delete_asset"),
            Kind::RestoreAsset(command) => part(command, "restore_asset"),
            Kind::EditText(command) => part(command, "edit_text"),
            Kind::SetText(command) => part(command, "set_text"),
            Kind::EditSequence(command) => part(command, "edit_sequence"),
            Kind::ApplyUpdate(command) => part(command, "apply_update"),
        }
    }
}

/// Each command: its message, and how it becomes a command.
macro_rules! commands {
    ($($message:ident($command:ident) => $made:expr;)*) => {$(
        impl TryFrom<v1::$message> for Command {
            type Error = Refusal;
            fn try_from($command: v1::$message) -> Result<Self, Refusal> {
                Ok($made)
            }
        }
    )*};
}

commands! {
    CreateTable(command) => Self::CreateTable {
        name: name(&command.name, "name")?,
        description: text(&command.description, "description")?,
        columns: each(command.columns, "columns", TryFrom::try_from)?,
    };
    AlterTable(command) => Self::AlterTable {
        table: table(&command.table)?,
        changes: each(command.changes, "changes", TryFrom::try_from)?,
    };
    DropTable(command) => Self::DropTable { table: table(&command.table)? };
    CreateRecord(command) => Self::CreateRecord {
        record: optional_id(&command.record, "record")?,
        table: table(&command.table)?,
        values: each(command.values, "values", present_field)?,
    };
    AddToTable(command) => Self::AddToTable {
        record: id(&command.record, "record")?,
        table: table(&command.table)?,
        values: each(command.values, "values", present_field)?,
    };
    RemoveFromTable(command) => Self::RemoveFromTable {
        record: id(&command.record, "record")?,
        table: table(&command.table)?,
    };
    DeleteRecord(command) => Self::DeleteRecord { record: id(&command.record, "record")? };
    SetFields(command) => Self::SetFields {
        record: id(&command.record, "record")?,
        table: table(&command.table)?,
        values: each(command.values, "values", field)?,
    };
    CreateEdge(command) => Self::CreateEdge {
        edge: optional_id(&command.edge, "edge")?,
        edge_type: name(&command.r#type, "type")?,
        source: id(&command.source, "source")?,
        target: id(&command.target, "target")?,
        properties: each(command.properties, "properties", present_property)?,
        place: optional_part(command.place, "place")?,
    };
    MoveEdge(command) => Self::MoveEdge {
        edge: id(&command.edge, "edge")?,
        place: required_part(command.place, "place")?,
    };
    DeleteEdge(command) => Self::DeleteEdge { edge: id(&command.edge, "edge")? };
    SetEdgeProperties(command) => Self::SetEdgeProperties {
        edge: id(&command.edge, "edge")?,
        values: each(command.values, "values", property)?,
    };
    PutSetting(command) => Self::PutSetting {
        setting: name(&command.setting, "setting")?,
        value: optional_part(command.value, "value")?,
    };
    AdmitMember(command) => Self::AdmitMember {
        member: id(&command.member, "member")?,
        name: command.name.map(|name| text(&name, "name")).transpose()?,
    };
    RemoveMember(command) => Self::RemoveMember {
        member: id(&command.member, "member")?,
        why: text(&command.why, "why")?,
    };
    NameActor(command) => Self::NameActor {
        actor: id(&command.actor, "actor")?,
        name: text(&command.name, "name")?,
    };
    MergeRecords(command) => Self::MergeRecords { records: each(command.records, "records", |id| one_id(&id))? };
    SplitRecord(command) => Self::SplitRecord {
        record: id(&command.record, "record")?,
        ids: each(command.ids, "ids", |id| one_id(&id))?,
    };
    SplitOff(command) => Self::SplitOff {
        record: id(&command.record, "record")?,
        tables: each(command.tables, "tables", |table| name(&table, ""))?,
        edges: each(command.edges, "edges", |id| one_id(&id))?,
        new: optional_id(&command.new, "new")?,
    };
    ConfirmMapping(command) => Self::ConfirmMapping {
        one: required_part(command.one, "one")?,
        other: required_part(command.other, "other")?,
    };
    RejectMapping(command) => Self::RejectMapping {
        one: required_part(command.one, "one")?,
        other: required_part(command.other, "other")?,
    };
    RevokeMapping(command) => Self::RevokeMapping {
        one: required_part(command.one, "one")?,
        other: required_part(command.other, "other")?,
    };
    Undo(command) => Self::Undo {
        scope: scope_from(known(command.scope, "scope")?),
        bundle: which(&command.bundle)?,
    };
    Redo(command) => Self::Redo {
        scope: scope_from(known(command.scope, "scope")?),
        bundle: which(&command.bundle)?,
    };
    Resolve(command) => Self::Resolve {
        cell: required_part(command.cell, "cell")?,
        choice: required_part(command.choice, "choice")?,
    };
    CommitOverlay(command) => Self::CommitOverlay {
        overlay: id(&command.overlay, "overlay")?,
    };
    DeleteAsset(command) => Self::DeleteAsset {
        hash: id(&command.hash, "hash")?,
        reason: text(&command.reason, "reason")?,
    };
    RestoreAsset(command) => Self::RestoreAsset { hash: id(&command.hash, "hash")? };
}

/// One of several ids.
fn one_id<T: FromStr<Err = InvalidId>>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|invalid| Refusal::new(Reason::InvalidValue, format!("{invalid}.")))
}

fn table(table: &str) -> Result<Name, Refusal> {
    name(table, "table")
}

fn field(field: v1::FieldValue) -> Result<(Name, Option<Value>), Refusal> {
    Ok((name(&field.column, "column")?, optional_part(field.value, "value")?))
}

fn present_field(field: v1::FieldValue) -> Result<(Name, Value), Refusal> {
    Ok((name(&field.column, "column")?, required_part(field.value, "value")?))
}

fn property(property: v1::PropertyValue) -> Result<(Name, Option<Value>), Refusal> {
    Ok((name(&property.property, "property")?, optional_part(property.value, "value")?))
}

fn present_property(property: v1::PropertyValue) -> Result<(Name, Value), Refusal> {
    Ok((name(&property.property, "property")?, required_part(property.value, "value")?))
}

impl From<Place> for v1::Place {
    fn from(place: Place) -> Self {
        use v1::place::{At, End};
        let at = match place {
            Place::First => At::End(End::First.into()),
            Place::Last => At::End(End::Last.into()),
            Place::Before(edge) => At::Before(edge.to_string()),
            Place::After(edge) => At::After(edge.to_string()),
        };
        Self { at: Some(at) }
    }
}

impl TryFrom<v1::Place> for Place {
    type Error = Refusal;
    fn try_from(place: v1::Place) -> Result<Self, Refusal> {
        use v1::place::{At, End};
        Ok(match required(place.at, "at")? {
            At::End(end) => match known(end, "end")? {
                End::First => Self::First,
                End::Last => Self::Last,
                End::Unspecified => return required(None, "end"),
            },
            At::Before(edge) => Self::Before(id(&edge, "before")?),
            At::After(edge) => Self::After(id(&edge, "after")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use openprod_model::refusal::Reason;
    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    proptest! {
        #[test]
        fn every_command_comes_back(command in samples::command()) {
            prop_assert_eq!(Command::try_from(v1::Command::from(&command)), Ok(command));
        }

        #[test]
        fn every_request_comes_back_over_the_wire(execution in samples::execution()) {
            use prost::Message as _;
            let bytes = v1::ExecuteRequest::from(&execution).encode_to_vec();
            let message = v1::ExecuteRequest::decode(bytes.as_slice()).unwrap();
            prop_assert_eq!(Execution::try_from(message), Ok(execution));
        }
    }

    fn request(commands: Vec<v1::command::Kind>) -> v1::ExecuteRequest {
        v1::ExecuteRequest {
            command_id: samples::UUID.into(),
            workspace: samples::UUID.into(),
            commands: commands.into_iter().map(|kind| v1::Command { kind: Some(kind) }).collect(),
            ..Default::default()
        }
    }

    fn label(value: Option<v1::Value>) -> v1::FieldValue {
        v1::FieldValue { column: "label".into(), value }
    }

    #[test]
    fn the_path_leads_to_the_part_at_fault() {
        let nan = v1::Value { kind: Some(v1::value::Kind::Float(f64::NAN)) };
        let record: String = samples::UUID.into();
        let fine = v1::command::Kind::DeleteRecord(v1::DeleteRecord { record: record.clone() });
        let wrong = v1::SetFields { record, table: "cues".into(), values: vec![label(None), label(Some(nan))] };
        let refusal = Execution::try_from(request(vec![fine, v1::command::Kind::SetFields(wrong)])).unwrap_err();
        assert_eq!(refusal.at, "commands[1].set_fields.values[1].value.float");
        assert_eq!(refusal.reason, Reason::InvalidValue);
    }

    #[test]
    fn a_new_record_cannot_be_given_the_absence_of_a_value() {
        let create = v1::CreateRecord { table: "cues".into(), values: vec![label(None)], ..Default::default() };
        let refusal = Execution::try_from(request(vec![v1::command::Kind::CreateRecord(create)])).unwrap_err();
        assert_eq!(refusal.at, "commands[0].create_record.values[0].value");
        assert_eq!(refusal.reason, Reason::InvalidRequest);
    }

    #[test]
    fn a_command_that_this_version_does_not_know_is_refused() {
        let mut unknown = request(vec![]);
        unknown.commands.push(v1::Command { kind: None });
        let refusal = Execution::try_from(unknown).unwrap_err();
        assert_eq!((refusal.reason, refusal.at.as_str()), (Reason::InvalidRequest, "commands[0].kind"));
    }

    #[test]
    fn a_request_without_an_id_or_with_an_unknown_stance_is_refused() {
        let nameless = v1::ExecuteRequest { command_id: String::new(), ..request(vec![]) };
        assert_eq!(Execution::try_from(nameless).unwrap_err().at, "command_id");
        let newer = v1::ExecuteRequest { stance: 77, ..request(vec![]) };
        assert_eq!(Execution::try_from(newer).unwrap_err().at, "stance");
    }

    #[test]
    fn a_request_that_says_little_means_the_defaults() {
        let Execution { actor, request, .. } = Execution::try_from(request(vec![])).unwrap();
        assert_eq!((actor, request.base, request.session), (None, None, None));
        assert_eq!((request.stance, request.kind), (Stance::Beside, BundleKind::EDIT));
    }
}
