//! What people do: one row for each kind of command. **A new kind of command needs a row here, and nothing else.**
//!
//! An act looks at what its replica shows and throws dice. It meets the acts of others often, because tables, records
//! and edges come from small sets. What it makes may be refused: that is part of the story.

#![allow(clippy::unnecessary_wraps, reason = "all acts have one type")]

use openprod_domain::cell::{Cell, Content};
use openprod_domain::command::{Choice, Command, NamedColumn, NewColumn, Place, TableChange};
use openprod_domain::compose::Putting;
use openprod_domain::conflict::{self, Dispute};
use openprod_domain::edits;
use openprod_domain::index::Direction;
use openprod_domain::inverse::stack::Scope;
use openprod_domain::read::{self, Column, Membership, Table};
use openprod_domain::text::{ClientId, Document, Kind, ListEdit, TextEdit};
use openprod_domain::view::View;
use openprod_model::ids::{ActorId, BlobHash, EdgeId, EntityId, OpRef};
use openprod_model::operation::{Basis, ColumnRef, Operation, PositionAt, RawOp};
use openprod_model::value::{FieldRef, FieldType, Name, Primitive, PrimitiveType, Text, Value};

use super::chance::Dice;
use super::replica::Cast;

/// What an act sees.
pub(crate) struct Scene<'a> {
    pub(crate) view: &'a dyn View,
    pub(crate) cast: &'a Cast,
    pub(crate) dice: Dice,
}

type Act = fn(&mut Scene) -> Option<Command>;
type HandAct = fn(&mut Scene) -> Option<RawOp>;

/// Acts that go through the door for commands; those that are listed twice happen twice as often.
pub(crate) const ACTS: &[Act] = &[
    set_fields,
    set_fields,
    set_fields,
    set_fields,
    create_record,
    create_record,
    add_to_table,
    remove_from_table,
    delete_record,
    create_edge,
    create_edge,
    move_edge,
    delete_edge,
    set_edge_properties,
    set_edge_properties,
    type_into,
    type_into,
    type_into,
    rewrite,
    arrange,
    arrange,
    create_table,
    alter_table,
    drop_table,
    put_setting,
    admit_member,
    remove_member,
    name_actor,
    delete_asset,
    restore_asset,
    merge_records,
    merge_records,
    split_record,
    split_off,
    confirm_mapping,
    reject_mapping,
    revoke_mapping,
    resolve,
    resolve,
    resolve,
    undo,
    undo,
    redo,
    redo,
    redo,
    redo,
    redo,
    redo,
];

/// Whether a command is the only one of its request.
pub(crate) fn is_alone(command: &Command) -> bool {
    matches!(command, Command::Undo { .. } | Command::Redo { .. })
}

/// Acts past that door: operations that no command makes yet, or that another program may write at will.
pub(crate) const HAND_ACTS: &[HandAct] =
    &[merge, merge, split, split, confirm, revoke, edit_text, rebalance, rebalance, set_unseen, of_the_future];

/// The tables that everything begins with.
pub(crate) const TABLES: [&str; 2] = ["cues", "props"];
const ENTITIES: u8 = 8;
const EDGES: u8 = 6;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

pub(crate) fn entity(number: u8) -> EntityId {
    EntityId::from_bytes([number + 1; 16])
}

fn column(name: Name, field_type: FieldType, default: Option<Value>) -> NewColumn {
    NewColumn { name, field_type, required: false, default }
}

/// The commands that everything begins with.
pub(crate) fn beginning(cast: &Cast) -> Vec<Command> {
    let states = FieldType::Enum { values: vec![name("on"), name("off")] };
    let columns = || {
        vec![
            column(name("label"), FieldType::Text, None),
            column(name("page"), FieldType::Integer, Some(Value::Integer(1))),
            column(name("state"), states.clone(), None),
            column(name("partner"), FieldType::Reference { table: None }, None),
            column(name("note"), FieldType::Document, None),
            column(name("crew"), FieldType::Sequence { item: PrimitiveType::Text }, None),
        ]
    };
    let tables =
        TABLES.map(|table| Command::CreateTable { name: name(table), description: text(""), columns: columns() });
    let admitted = cast.0[1..].iter().map(|keys| Command::AdmitMember { member: keys.actor(), name: None });
    let records = (0..3).map(|number| Command::CreateRecord {
        record: Some(entity(number)),
        table: name(TABLES[usize::from(number) % 2]),
        values: vec![(name("label"), Value::Text(text("begin")))],
    });
    tables.into_iter().chain(admitted).chain(records).collect()
}

impl Scene<'_> {
    fn one_of<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        self.dice.pick(from)
    }

    fn table(&mut self) -> Option<Table> {
        let tables = read::tables(self.view).unwrap();
        self.one_of(&tables)
    }

    fn column(&mut self, table: &Table) -> Option<Column> {
        self.one_of(&table.columns)
    }

    fn record(&mut self, table: &Table) -> Option<EntityId> {
        let records: Vec<EntityId> = read::records(self.view, &table.key, None).map(|record| record.unwrap()).collect();
        let record = self.one_of(&records)?;
        // An absorbed id must work as well as the one it was absorbed by.
        let ids = self.view.unions().unwrap().ids(&record).to_vec();
        self.one_of(&ids)
    }

    fn any_record(&mut self) -> Option<EntityId> {
        let table = self.table()?;
        self.record(&table)
    }

    /// All ids of a merged record.
    fn merged(&mut self) -> Option<Vec<EntityId>> {
        let unions = self.view.unions().unwrap();
        self.one_of(unions.classes(None)).map(|class| class.to_vec())
    }

    fn any_entity(&mut self) -> EntityId {
        entity(self.dice.roll().to_le_bytes()[0] % ENTITIES)
    }

    fn edge(&mut self) -> Option<EdgeId> {
        let edges: Vec<EdgeId> =
            (0..EDGES).map(edge).filter(|edge| read::edge(self.view, *edge).unwrap().is_some()).collect();
        self.one_of(&edges)
    }

    fn actor(&mut self) -> ActorId {
        let number = self.dice.below(self.cast.0.len());
        self.cast.actor(number)
    }

    fn word(&mut self) -> Text {
        text(["red", "green", "blue", "10", "9"][self.dice.below(5)])
    }

    fn value(&mut self, column: &Column) -> Option<Value> {
        if self.dice.one_in(8) && edits::kind_of(&column.spec.field_type).is_none() {
            return self.reference(&column.spec.field_type);
        }
        match &column.spec.field_type {
            FieldType::Text => Some(Value::Text(self.word())),
            FieldType::Integer => Some(Value::Integer(i64::try_from(self.dice.below(4)).unwrap())),
            FieldType::Enum { values } => self.dice.pick(values).map(Value::Enum),
            FieldType::Reference { .. } => self.any_record().map(Value::Entity),
            _ => None,
        }
    }

    /// The field of another record, of the same type.
    fn reference(&mut self, wanted: &FieldType) -> Option<Value> {
        let table = self.table()?;
        let fitting: Vec<Column> =
            table.columns.iter().filter(|column| column.spec.field_type == *wanted).cloned().collect();
        let (entity, column) = (self.record(&table)?, self.one_of(&fitting)?);
        Some(Value::FieldRef(FieldRef { entity, table: table.key, field: column.key }))
    }

    fn values(&mut self, table: &Table) -> Vec<(Name, Value)> {
        let named = (0..=self.dice.below(2)).filter_map(|_| {
            let column = self.column(table)?;
            Some((column.spec.name.clone(), self.value(&column)?))
        });
        named.collect()
    }

    fn place(&mut self) -> Place {
        match (self.dice.below(4), self.edge()) {
            (0, Some(edge)) => Place::Before(edge),
            (1, Some(edge)) => Place::After(edge),
            (2, _) => Place::First,
            _ => Place::Last,
        }
    }

    /// What a careful author of another program says he knew of a cell: all that stands, or only the first of it.
    fn basis(&mut self, cell: &Cell) -> Basis {
        let mut preds: Vec<OpRef> = self.view.tips(cell).unwrap().iter().map(|tip| tip.op).collect();
        preds.truncate(if self.dice.one_in(3) { 1 } else { usize::MAX });
        Basis { preds, ..Basis::default() }
    }

    fn put(&mut self, cell: Cell, content: Content) -> Option<RawOp> {
        let basis = self.basis(&cell);
        Putting { cell, content, basis, seen: Vec::new() }.operation().map(|operation| operation.to_raw())
    }
}

fn edge(number: u8) -> EdgeId {
    EdgeId::from_bytes([number + 1; 16])
}

fn set_fields(scene: &mut Scene) -> Option<Command> {
    let table = scene.table()?;
    let (record, column) = (scene.record(&table)?, scene.column(&table)?);
    let clears = scene.dice.one_in(8) && edits::kind_of(&column.spec.field_type).is_none();
    let value = if clears { None } else { Some(scene.value(&column)?) };
    Some(Command::SetFields { record, table: table.spec.name, values: vec![(column.spec.name, value)] })
}

/// A text, and how many units it has.
fn text_at(scene: &mut Scene) -> Option<(EntityId, Name, u32)> {
    let table = scene.table()?;
    let record = scene.record(&table)?;
    let cell = Cell::Field { table: table.key.clone(), entity: record, field: name("note") };
    let length = edits::read(scene.view, &cell, Kind::Text, Document::len).unwrap();
    Some((record, table.spec.name, length))
}

fn type_into(scene: &mut Scene) -> Option<Command> {
    let (record, table, length) = text_at(scene)?;
    let mut unit = || u32::try_from(scene.dice.below(length as usize + 1)).unwrap();
    let (from, to, at) = (unit(), unit(), unit());
    let gone = TextEdit::Delete { at: from.min(to), length: from.abs_diff(to) };
    let edits = match scene.dice.below(3) {
        0 => vec![gone],
        1 => vec![gone, TextEdit::Insert { at: from.min(to), text: scene.word().as_str().into() }],
        _ => vec![TextEdit::Insert { at, text: scene.word().as_str().into() }],
    };
    Some(Command::EditText { record, table, column: name("note"), edits })
}

fn rewrite(scene: &mut Scene) -> Option<Command> {
    let (record, table, _) = text_at(scene)?;
    let text = text(&format!("{} {}", scene.word(), scene.word()));
    Some(Command::SetText { record, table, column: name("note"), text })
}

fn arrange(scene: &mut Scene) -> Option<Command> {
    let table = scene.table()?;
    let record = scene.record(&table)?;
    let cell = Cell::Field { table: table.key.clone(), entity: record, field: name("crew") };
    let length = edits::read(scene.view, &cell, Kind::List, Document::len).unwrap();
    let at = u32::try_from(scene.dice.below(length as usize + 1)).unwrap();
    let items = vec![Primitive::Text(scene.word())];
    let edit = match scene.dice.below(4) {
        0 => ListEdit::ReplaceAll { items },
        1 if at < length => ListEdit::Delete { at, length: 1 },
        _ => ListEdit::Insert { at, items },
    };
    Some(Command::EditSequence { record, table: table.spec.name, column: name("crew"), edits: vec![edit] })
}

fn create_record(scene: &mut Scene) -> Option<Command> {
    let table = scene.table()?;
    let record = if scene.dice.one_in(4) { None } else { Some(scene.any_entity()) };
    Some(Command::CreateRecord { record, values: scene.values(&table), table: table.spec.name })
}

fn add_to_table(scene: &mut Scene) -> Option<Command> {
    let table = scene.table()?;
    Some(Command::AddToTable { record: scene.any_record()?, values: scene.values(&table), table: table.spec.name })
}

fn remove_from_table(scene: &mut Scene) -> Option<Command> {
    let table = scene.table()?;
    Some(Command::RemoveFromTable { record: scene.record(&table)?, table: table.spec.name })
}

fn delete_record(scene: &mut Scene) -> Option<Command> {
    Some(Command::DeleteRecord { record: scene.any_record()? })
}

fn create_edge(scene: &mut Scene) -> Option<Command> {
    let is_ordered = !scene.dice.one_in(3);
    Some(Command::CreateEdge {
        edge: Some(edge(scene.dice.roll().to_le_bytes()[0] % EDGES)),
        edge_type: name(if is_ordered { "follows" } else { "uses" }),
        source: scene.any_record()?,
        target: scene.any_record()?,
        properties: Vec::new(),
        place: is_ordered.then(|| scene.place()),
    })
}

fn move_edge(scene: &mut Scene) -> Option<Command> {
    Some(Command::MoveEdge { edge: scene.edge()?, place: scene.place() })
}

fn delete_edge(scene: &mut Scene) -> Option<Command> {
    Some(Command::DeleteEdge { edge: scene.edge()? })
}

fn set_edge_properties(scene: &mut Scene) -> Option<Command> {
    let value = (!scene.dice.one_in(4)).then(|| Value::Text(scene.word()));
    Some(Command::SetEdgeProperties { edge: scene.edge()?, values: vec![(name("how"), value)] })
}

fn create_table(scene: &mut Scene) -> Option<Command> {
    let word = scene.word();
    let columns = vec![column(name("label"), FieldType::Text, Some(Value::Text(word)))];
    let table = ["people", "cues"][scene.dice.below(2)];
    Some(Command::CreateTable { name: name(table), description: scene.word(), columns })
}

fn alter_table(scene: &mut Scene) -> Option<Command> {
    let table = scene.table()?;
    let (picked, other) = (scene.column(&table)?.spec.name, scene.column(&table)?.spec.name);
    let fresh = name(["label", "title", "act"][scene.dice.below(3)]);
    let change = match scene.dice.below(8) {
        0 => TableChange::Rename { name: name(["cues", "props", "queues"][scene.dice.below(3)]) },
        1 => TableChange::Describe { description: scene.word() },
        2 => TableChange::AddColumn(column(fresh, FieldType::Text, None)),
        3 => TableChange::RenameColumn { column: picked, name: fresh },
        4 => TableChange::MoveColumn { column: picked, before: Some(other) },
        5 => TableChange::HideColumn { column: picked },
        6 => TableChange::ShowColumn { column: picked },
        _ => TableChange::WidenEnum {
            column: name("state"),
            values: vec![name(["standby", "gone"][scene.dice.below(2)])],
        },
    };
    Some(Command::AlterTable { table: table.spec.name, changes: vec![change] })
}

fn drop_table(scene: &mut Scene) -> Option<Command> {
    // Rare, for little is left to write to afterwards.
    let table = if scene.dice.one_in(6) { scene.table()?.spec.name } else { name("people") };
    Some(Command::DropTable { table })
}

fn put_setting(scene: &mut Scene) -> Option<Command> {
    let setting = name(["name", "theme"][scene.dice.below(2)]);
    Some(Command::PutSetting { setting, value: (!scene.dice.one_in(5)).then(|| Value::Text(scene.word())) })
}

fn admit_member(scene: &mut Scene) -> Option<Command> {
    let out: Vec<ActorId> = read::members(scene.view)
        .unwrap()
        .into_iter()
        .filter(|(_, is)| *is != Membership::Admitted)
        .map(|(member, _)| member)
        .collect();
    Some(Command::AdmitMember { member: scene.one_of(&out)?, name: None })
}

fn remove_member(scene: &mut Scene) -> Option<Command> {
    // Rare, for who is removed writes no more.
    let member = scene.actor();
    scene.dice.one_in(3).then(|| Command::RemoveMember { member, why: text("") })
}

fn name_actor(scene: &mut Scene) -> Option<Command> {
    Some(Command::NameActor { actor: scene.actor(), name: scene.word() })
}

/// One of three files, by its hash.
fn file(scene: &mut Scene) -> BlobHash {
    BlobHash::from_bytes([u8::try_from(scene.dice.below(3)).unwrap(); 32])
}

fn delete_asset(scene: &mut Scene) -> Option<Command> {
    Some(Command::DeleteAsset { hash: file(scene), reason: scene.word() })
}

fn restore_asset(scene: &mut Scene) -> Option<Command> {
    Some(Command::RestoreAsset { hash: file(scene) })
}

fn merge_records(scene: &mut Scene) -> Option<Command> {
    let some = 2 + scene.dice.below(2);
    Some(Command::MergeRecords { records: (0..some).filter_map(|_| scene.any_record()).collect() })
}

fn split_record(scene: &mut Scene) -> Option<Command> {
    let class = scene.merged()?;
    Some(Command::SplitRecord { record: scene.one_of(&class)?, ids: vec![scene.one_of(&class)?] })
}

fn split_off(scene: &mut Scene) -> Option<Command> {
    let table = scene.table()?;
    let new = (!scene.dice.one_in(3)).then(|| scene.any_entity());
    let edges = scene.edge().into_iter().collect();
    Some(Command::SplitOff { record: scene.record(&table)?, tables: vec![table.spec.name], edges, new })
}

fn pair(scene: &mut Scene) -> Option<(NamedColumn, NamedColumn)> {
    let mut column = |table: &str| {
        let columns = read::table_of_key(scene.view, &name(table)).unwrap()?.columns;
        Some(NamedColumn { table: name(table), column: scene.dice.pick(&columns)?.spec.name })
    };
    Some((column(TABLES[0])?, column(TABLES[1])?))
}

fn confirm_mapping(scene: &mut Scene) -> Option<Command> {
    pair(scene).map(|(one, other)| Command::ConfirmMapping { one, other })
}

fn reject_mapping(scene: &mut Scene) -> Option<Command> {
    pair(scene).map(|(one, other)| Command::RejectMapping { one, other })
}

fn revoke_mapping(scene: &mut Scene) -> Option<Command> {
    pair(scene).map(|(one, other)| Command::RevokeMapping { one, other })
}

fn resolve(scene: &mut Scene) -> Option<Command> {
    let conflicts = conflict::all(scene.view).unwrap();
    let conflict = scene.one_of(&conflicts)?;
    let choice = match &conflict.dispute {
        Dispute::RemovedWhileEdited { .. } => scene.one_of(&[Choice::Restore, Choice::LetGo])?,
        Dispute::Values(candidates) => match scene.dice.below(6) {
            0 => Choice::Value(Value::Text(scene.word())),
            1 => Choice::Clear,
            _ => Choice::Candidate(scene.one_of(candidates)?.tips[0].op),
        },
    };
    Some(Command::Resolve { cell: conflict.cell, choice })
}

fn scope(scene: &mut Scene) -> Scope {
    if scene.dice.one_in(3) { Scope::Shared } else { Scope::Mine }
}

fn undo(scene: &mut Scene) -> Option<Command> {
    Some(Command::Undo { scope: scope(scene), bundle: None })
}

fn redo(scene: &mut Scene) -> Option<Command> {
    Some(Command::Redo { scope: scope(scene), bundle: None })
}

fn merge(scene: &mut Scene) -> Option<RawOp> {
    let (one, other) = (scene.any_record()?, scene.any_record()?);
    if one == other { None } else { scene.put(Cell::merge(one, other), Content::Present) }
}

fn split(scene: &mut Scene) -> Option<RawOp> {
    let class = scene.merged()?;
    let (one, other) = (scene.one_of(&class)?, class[0]);
    if one == other {
        return None;
    }
    scene.put(Cell::merge(one, other), Content::Absent)
}

fn pair_of_columns(scene: &mut Scene) -> Option<Cell> {
    let mut column = |table: &str| {
        let columns = read::table_of_key(scene.view, &name(table)).unwrap()?.columns;
        let column = scene.dice.pick(&columns)?.key;
        Some(ColumnRef { table: name(table), column })
    };
    Some(Cell::mapping(column(TABLES[0])?, column(TABLES[1])?))
}

fn confirm(scene: &mut Scene) -> Option<RawOp> {
    let cell = pair_of_columns(scene)?;
    scene.put(cell, Content::Present)
}

fn revoke(scene: &mut Scene) -> Option<RawOp> {
    let cell = pair_of_columns(scene)?;
    let content = if scene.dice.one_in(2) { Content::Rejected } else { Content::Absent };
    scene.put(cell, content)
}

fn field(scene: &mut Scene, wanted: &str) -> Option<Cell> {
    let table = scene.table()?;
    Some(Cell::Field { entity: scene.record(&table)?, table: table.key, field: name(wanted) })
}

/// Letters typed by another program into an empty document by a client of their own, or what a stranger takes for an update.
fn edit_text(scene: &mut Scene) -> Option<RawOp> {
    let cell = field(scene, "note")?;
    let update = if scene.dice.one_in(4) {
        scene.dice.bytes::<12>().to_vec()
    } else {
        let empty = Document::build(Kind::Text, [] as [(OpRef, Vec<u8>); 0]);
        let client = ClientId::new(scene.dice.roll());
        empty.set_text(client, scene.word().as_str()).unwrap().remove(0)
    };
    scene.put(cell, Content::Edit(update))
}

fn rebalance(scene: &mut Scene) -> Option<RawOp> {
    let target = scene.any_record()?;
    let edges = read::edges(scene.view, target, Direction::To, Some(&name("follows"))).unwrap();
    let ordered = edges.iter().filter(|edge| edge.place.is_some());
    let to = (1_u8..).zip(ordered).map(|(number, edge)| PositionAt {
        edge: edge.edge,
        position: vec![0x80, number],
        basis: scene.basis(&Cell::EdgePosition { edge: edge.edge }),
    });
    let to: Vec<PositionAt> = to.collect();
    (!to.is_empty()).then(|| Operation::RebalanceOrderedEdges { to }.to_raw())
}

/// Into a field that may be hidden, or of a table that is gone, or of another type: what peers wrote is kept.
fn set_unseen(scene: &mut Scene) -> Option<RawOp> {
    let cell =
        Cell::Field { table: name(TABLES[scene.dice.below(2)]), entity: scene.any_entity(), field: name("label") };
    let value = Value::Integer(i64::try_from(scene.dice.below(3)).unwrap());
    scene.put(cell, Content::Value(value))
}

/// A kind of operation that nobody here knows: it is kept, relayed and counted.
fn of_the_future(scene: &mut Scene) -> Option<RawOp> {
    Some(RawOp { kind: 60_000, body: scene.dice.bytes::<4>().to_vec() })
}
