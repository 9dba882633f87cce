//! Made-up values, commands and requests for property tests.

use openprod_domain::cell::Cell;
use openprod_domain::command::{Choice, Command, NamedColumn, NewColumn, Place, Request, Stance, TableChange};
use openprod_domain::inverse::stack::{Scope, Which};
use openprod_domain::text::{ListEdit, TextEdit};
use openprod_model::bundle::{BundleKind, Source};
use openprod_model::ids::{
    ActorId, BlobHash, BundleId, CommandId, Digest, EdgeId, EntityId, OpRef, OverlayId, Position, SessionId,
    WorkspaceId,
};
use openprod_model::operation::ColumnRef;
use openprod_model::value::{
    BlobRef, Date, DateTime, Duration, FieldRef, FieldType, Float, List, Name, Primitive, PrimitiveType, Text, Value,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::command::{Execution, Stage};

/// An id that is well formed.
pub(super) const UUID: &str = "0192a5c3-5b7e-7abc-8def-0123456789ab";

fn text() -> impl Strategy<Value = Text> {
    "[^\0]{0,12}".prop_map(|text| Text::new(&text).unwrap())
}

fn name() -> impl Strategy<Value = Name> {
    "[a-zA-ZäéÅ日]([a-z _.Ω]{0,8}[a-z0-9])?".prop_map(|name| Name::new(&name).unwrap())
}

fn entity() -> impl Strategy<Value = EntityId> {
    any::<[u8; 16]>().prop_map(EntityId::from_bytes)
}

fn edge() -> impl Strategy<Value = EdgeId> {
    any::<[u8; 16]>().prop_map(EdgeId::from_bytes)
}

fn actor() -> impl Strategy<Value = ActorId> {
    any::<[u8; 32]>().prop_map(ActorId::from_bytes)
}

fn float() -> impl Strategy<Value = Float> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    (POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO).prop_map(|number| Float::new(number).unwrap())
}

fn date() -> impl Strategy<Value = Date> {
    any::<i32>().prop_map(|days| Date { days })
}

fn datetime() -> impl Strategy<Value = DateTime> {
    let local_ms = prop_oneof![any::<i64>(), 0..4_102_444_800_000_i64];
    (local_ms, of(-1_080..=1_080_i16)).prop_map(|(local_ms, offset)| DateTime::new(local_ms, offset).unwrap())
}

fn primitive() -> impl Strategy<Value = Primitive> {
    prop_oneof![
        text().prop_map(Primitive::Text),
        any::<i64>().prop_map(Primitive::Integer),
        float().prop_map(Primitive::Float),
        any::<bool>().prop_map(Primitive::Boolean),
        date().prop_map(Primitive::Date),
        datetime().prop_map(Primitive::DateTime),
        any::<i64>().prop_map(|ms| Primitive::Duration(Duration { ms })),
    ]
}

fn hash() -> impl Strategy<Value = BlobHash> {
    any::<[u8; 32]>().prop_map(BlobHash::from_bytes)
}

fn blob() -> impl Strategy<Value = BlobRef> {
    (hash(), any::<u64>(), text(), text()).prop_map(|(hash, size, name, media_type)| BlobRef {
        hash,
        size,
        name,
        media_type,
    })
}

fn field_ref() -> impl Strategy<Value = FieldRef> {
    (entity(), name(), name()).prop_map(|(entity, table, field)| FieldRef { entity, table, field })
}

/// Any value.
pub(super) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Integer),
        float().prop_map(Value::Float),
        any::<bool>().prop_map(Value::Boolean),
        date().prop_map(Value::Date),
        datetime().prop_map(Value::DateTime),
        any::<i64>().prop_map(|ms| Value::Duration(Duration { ms })),
        name().prop_map(Value::Enum),
        entity().prop_map(Value::Entity),
        blob().prop_map(Value::Blob),
        vec(primitive(), 0..5).prop_map(|items| Value::List(List::try_from(items).unwrap())),
        field_ref().prop_map(Value::FieldRef),
    ]
}

/// Any type of a field.
pub(super) fn field_type() -> impl Strategy<Value = FieldType> {
    let plain = [
        FieldType::Text,
        FieldType::Integer,
        FieldType::Float,
        FieldType::Boolean,
        FieldType::Date,
        FieldType::DateTime,
        FieldType::Duration,
        FieldType::Blob,
    ];
    let items = [
        PrimitiveType::Text,
        PrimitiveType::Integer,
        PrimitiveType::Float,
        PrimitiveType::Boolean,
        PrimitiveType::Date,
        PrimitiveType::DateTime,
        PrimitiveType::Duration,
    ];
    prop_oneof![
        proptest::sample::select(plain.to_vec()),
        vec(name(), 0..4).prop_map(|values| FieldType::Enum { values }),
        of(name()).prop_map(|table| FieldType::Reference { table }),
        proptest::sample::select(items.to_vec()).prop_map(|item| FieldType::List { item }),
        Just(FieldType::Document),
        proptest::sample::select(items.to_vec()).prop_map(|item| FieldType::Sequence { item }),
    ]
}

fn new_column() -> impl Strategy<Value = NewColumn> {
    (name(), field_type(), any::<bool>(), of(value())).prop_map(|(name, field_type, required, default)| NewColumn {
        name,
        field_type,
        required,
        default,
    })
}

fn table_change() -> impl Strategy<Value = TableChange> {
    let column = name;
    prop_oneof![
        name().prop_map(|name| TableChange::Rename { name }),
        text().prop_map(|description| TableChange::Describe { description }),
        new_column().prop_map(TableChange::AddColumn),
        (column(), name()).prop_map(|(column, name)| TableChange::RenameColumn { column, name }),
        (column(), of(name())).prop_map(|(column, before)| TableChange::MoveColumn { column, before }),
        column().prop_map(|column| TableChange::HideColumn { column }),
        column().prop_map(|column| TableChange::ShowColumn { column }),
        (column(), vec(name(), 0..3)).prop_map(|(column, values)| TableChange::WidenEnum { column, values }),
        (column(), any::<bool>()).prop_map(|(column, required)| TableChange::Require { column, required }),
        (column(), of(value())).prop_map(|(column, default)| TableChange::SetDefault { column, default }),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![Just(Place::First), Just(Place::Last), edge().prop_map(Place::Before), edge().prop_map(Place::After)]
}

fn values() -> impl Strategy<Value = Vec<(Name, Value)>> {
    vec((name(), value()), 0..4)
}

fn changes() -> impl Strategy<Value = Vec<(Name, Option<Value>)>> {
    vec((name(), of(value())), 0..4)
}

/// Any command.
pub(super) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![table_command(), record_command(), edge_command(), workspace_command(), identity_command()]
}

fn table_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (name(), text(), vec(new_column(), 0..3)).prop_map(|(name, description, columns)| Command::CreateTable {
            name,
            description,
            columns
        }),
        (name(), vec(table_change(), 0..3)).prop_map(|(table, changes)| Command::AlterTable { table, changes }),
        name().prop_map(|table| Command::DropTable { table }),
    ]
}

fn record_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (of(entity()), name(), values()).prop_map(|(record, table, values)| Command::CreateRecord {
            record,
            table,
            values
        }),
        (entity(), name(), values()).prop_map(|(record, table, values)| Command::AddToTable { record, table, values }),
        (entity(), name()).prop_map(|(record, table)| Command::RemoveFromTable { record, table }),
        entity().prop_map(|record| Command::DeleteRecord { record }),
        (entity(), name(), changes()).prop_map(|(record, table, values)| Command::SetFields { record, table, values }),
    ]
}

fn edge_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (of(edge()), name(), entity(), entity(), values(), of(place())).prop_map(
            |(edge, edge_type, source, target, properties, place)| Command::CreateEdge {
                edge,
                edge_type,
                source,
                target,
                properties,
                place
            }
        ),
        (edge(), place()).prop_map(|(edge, place)| Command::MoveEdge { edge, place }),
        edge().prop_map(|edge| Command::DeleteEdge { edge }),
        (edge(), changes()).prop_map(|(edge, values)| Command::SetEdgeProperties { edge, values }),
    ]
}

fn identity_command() -> impl Strategy<Value = Command> {
    let named = || (name(), name()).prop_map(|(table, column)| NamedColumn { table, column });
    let pair = || (named(), named());
    prop_oneof![
        vec(entity(), 0..4).prop_map(|records| Command::MergeRecords { records }),
        (entity(), vec(entity(), 0..4)).prop_map(|(record, ids)| Command::SplitRecord { record, ids }),
        (entity(), vec(name(), 0..3), vec(edge(), 0..3), of(entity()))
            .prop_map(|(record, tables, edges, new)| Command::SplitOff { record, tables, edges, new }),
        pair().prop_map(|(one, other)| Command::ConfirmMapping { one, other }),
        pair().prop_map(|(one, other)| Command::RejectMapping { one, other }),
        pair().prop_map(|(one, other)| Command::RevokeMapping { one, other }),
    ]
}

fn workspace_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (name(), of(value())).prop_map(|(setting, value)| Command::PutSetting { setting, value }),
        (actor(), of(text())).prop_map(|(member, name)| Command::AdmitMember { member, name }),
        (actor(), text()).prop_map(|(member, why)| Command::RemoveMember { member, why }),
        (actor(), text()).prop_map(|(actor, name)| Command::NameActor { actor, name }),
        (hash(), text()).prop_map(|(hash, reason)| Command::DeleteAsset { hash, reason }),
        hash().prop_map(|hash| Command::RestoreAsset { hash }),
        (scope(), of(which())).prop_map(|(scope, bundle)| Command::Undo { scope, bundle }),
        (scope(), of(which())).prop_map(|(scope, bundle)| Command::Redo { scope, bundle }),
        (cell(), choice()).prop_map(|(cell, choice)| Command::Resolve { cell, choice }),
        overlay().prop_map(|overlay| Command::CommitOverlay { overlay }),
        text_command(),
    ]
}

fn text_command() -> impl Strategy<Value = Command> {
    let place = || (entity(), name(), name());
    prop_oneof![
        (place(), vec(text_edit(), 0..3)).prop_map(|((record, table, column), edits)| Command::EditText {
            record,
            table,
            column,
            edits
        }),
        (place(), text()).prop_map(|((record, table, column), text)| Command::SetText { record, table, column, text }),
        (place(), vec(list_edit(), 0..3)).prop_map(|((record, table, column), edits)| Command::EditSequence {
            record,
            table,
            column,
            edits
        }),
        (place(), any::<u64>(), vec(any::<u8>(), 0..9)).prop_map(|((record, table, column), client, update)| {
            Command::ApplyUpdate { record, table, column, client, update }
        }),
    ]
}

fn text_edit() -> impl Strategy<Value = TextEdit> {
    prop_oneof![
        (any::<u32>(), any::<String>()).prop_map(|(at, text)| TextEdit::Insert { at, text }),
        (any::<u32>(), any::<u32>()).prop_map(|(at, length)| TextEdit::Delete { at, length }),
    ]
}

fn list_edit() -> impl Strategy<Value = ListEdit> {
    prop_oneof![
        (any::<u32>(), vec(primitive(), 0..3)).prop_map(|(at, items)| ListEdit::Insert { at, items }),
        (any::<u32>(), any::<u32>()).prop_map(|(at, length)| ListEdit::Delete { at, length }),
        vec(primitive(), 0..3).prop_map(|items| ListEdit::ReplaceAll { items }),
    ]
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        any::<[u8; 16]>().prop_map(|bytes| Choice::Candidate(OpRef::from_bytes(bytes))),
        value().prop_map(Choice::Value),
        Just(Choice::Clear),
        Just(Choice::Restore),
        Just(Choice::LetGo),
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![Just(Scope::Mine), Just(Scope::Shared)]
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|bytes| Which::Digest(Digest::from_bytes(bytes))),
        any::<[u8; 16]>().prop_map(|bytes| Which::Id(BundleId::from_bytes(bytes))),
    ]
}

/// Any source that a client may name.
pub(super) fn source() -> impl Strategy<Value = Source> {
    let kind = proptest::sample::select(vec![Source::PERSON, Source::FILE]);
    let detail = prop_oneof![Just(Vec::new()), vec(any::<u8>(), 32)];
    (kind, text(), detail).prop_map(|(kind, name, detail)| Source { kind, name, detail })
}

fn request() -> impl Strategy<Value = Request> {
    let stances = vec![Stance::Beside, Stance::IfUnchanged, Stance::Decide];
    let kinds = vec![BundleKind::EDIT, BundleKind::IMPORT];
    (
        any::<[u8; 16]>().prop_map(CommandId::from_bytes),
        of(any::<[u8; 16]>().prop_map(SessionId::from_bytes)),
        of(any::<u64>().prop_map(Position)),
        proptest::sample::select(stances),
        proptest::sample::select(kinds),
        of(text()),
        source(),
        vec(command(), 0..4),
    )
        .prop_map(|(command_id, session, base, stance, kind, label, source, commands)| Request {
            command_id,
            session,
            base,
            stance,
            kind,
            label,
            source,
            commands,
        })
}

/// Any request to execute commands.
pub(super) fn execution() -> impl Strategy<Value = Execution> {
    let workspace = any::<[u8; 16]>().prop_map(WorkspaceId::from_bytes);
    let stage = prop_oneof![Just(Stage::Active), Just(Stage::Nowhere), overlay().prop_map(Stage::In)];
    (workspace, of(actor()), request(), stage).prop_map(|(workspace, actor, request, stage)| Execution {
        workspace,
        actor,
        request,
        stage,
    })
}

fn overlay() -> impl Strategy<Value = OverlayId> {
    any::<[u8; 16]>().prop_map(OverlayId::from_bytes)
}

fn column_ref() -> impl Strategy<Value = ColumnRef> {
    (name(), name()).prop_map(|(table, column)| ColumnRef { table, column })
}

/// Any cell.
pub(super) fn cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        name().prop_map(|table| Cell::Table { table }),
        (name(), name()).prop_map(|(table, column)| Cell::Column { table, column }),
        (name(), entity()).prop_map(|(table, entity)| Cell::Facet { table, entity }),
        (name(), entity(), name()).prop_map(|(table, entity, field)| Cell::Field { table, entity, field }),
        edge().prop_map(|edge| Cell::Edge { edge }),
        (edge(), name()).prop_map(|(edge, property)| Cell::EdgeProperty { edge, property }),
        edge().prop_map(|edge| Cell::EdgePosition { edge }),
        name().prop_map(|setting| Cell::Setting { setting }),
        actor().prop_map(|member| Cell::Member { member }),
        actor().prop_map(|actor| Cell::ActorName { actor }),
        (entity(), entity()).prop_map(|(one, other)| Cell::merge(one, other)),
        (column_ref(), column_ref()).prop_map(|(one, other)| Cell::mapping(one, other)),
        hash().prop_map(|hash| Cell::Asset { hash }),
    ]
}
