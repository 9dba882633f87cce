//! Cells: everything mutable in a workspace is one, named by a typed key that sorts as bytes.
//!
//! The key's bytes begin with a tag, so that all cells of a kind, all fields of a table, all fields of a record
//! are contiguous. Names end in a zero byte (names hold none), ids have a fixed width; so a key reads back.

use openprod_model::clock::Hlc;
use openprod_model::ids::{ActorId, BlobHash, EdgeId, EntityId, OpId, OpRef, Position};
use openprod_model::operation::{ColumnRef, EdgeEnds};
use openprod_model::schema::{ColumnSpec, TableSpec};
use openprod_model::value::{Name, Text, Value};
use serde::{Deserialize, Serialize};

/// What a write writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Cell {
    /// A table's description.
    Table {
        /// Its key.
        table: Name,
    },
    /// A column's description.
    Column {
        /// The table's key.
        table: Name,
        /// The column's key.
        column: Name,
    },
    /// Whether an entity is a record of a table.
    Facet {
        /// The table's key.
        table: Name,
        /// The entity.
        entity: EntityId,
    },
    /// A field.
    Field {
        /// The table's key.
        table: Name,
        /// The record's entity.
        entity: EntityId,
        /// The column's key.
        field: Name,
    },
    /// Whether an edge exists.
    Edge {
        /// The edge.
        edge: EdgeId,
    },
    /// A property of an edge.
    EdgeProperty {
        /// The edge.
        edge: EdgeId,
        /// The property.
        property: Name,
    },
    /// The place of an ordered edge.
    EdgePosition {
        /// The edge.
        edge: EdgeId,
    },
    /// A setting of the workspace.
    Setting {
        /// Its name.
        setting: Name,
    },
    /// Whether an actor is a member.
    Member {
        /// The actor.
        member: ActorId,
    },
    /// An actor's display name.
    ActorName {
        /// The actor.
        actor: ActorId,
    },
    /// Whether two entities are one and the same. See [`Cell::merge`].
    Merge {
        /// The one of them that was made first.
        low: EntityId,
        /// The other.
        high: EntityId,
    },
    /// Whether two columns hold the same fact. See [`Cell::mapping`].
    Mapping {
        /// The lesser of them.
        low: ColumnRef,
        /// The other.
        high: ColumnRef,
    },
    /// Whether a file was deleted: the reason, if so.
    Asset {
        /// The address of the file.
        hash: BlobHash,
    },
}

/// A half-open range of keys, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key inside.
    pub from: Vec<u8>,
    /// The first key behind.
    pub to: Vec<u8>,
}

impl KeyRange {
    /// All keys that begin with `prefix`, whose first byte is a tag and therefore below 255.
    pub fn prefix(prefix: Vec<u8>) -> Self {
        let mut to = prefix.clone();
        while to.last() == Some(&u8::MAX) {
            to.pop();
        }
        if let Some(last) = to.last_mut() {
            *last += 1;
        }
        Self { from: prefix, to }
    }

    /// The part of this range behind `key`.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        let behind = [key, &[0]].concat();
        if behind > self.from {
            self.from = behind;
        }
        self
    }
}

/// Builds and reads the bytes of keys.
pub(crate) struct KeyBytes(Vec<u8>);

impl KeyBytes {
    pub(crate) fn tag(tag: u8) -> Self {
        // Most keys fit: folding makes one for each write.
        let mut bytes = Vec::with_capacity(64);
        bytes.push(tag);
        Self(bytes)
    }

    pub(crate) fn name(mut self, name: &Name) -> Self {
        self.0.extend_from_slice(name.as_str().as_bytes());
        self.0.push(0);
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

pub(crate) struct KeyReader<'a>(pub(crate) &'a [u8]);

impl KeyReader<'_> {
    pub(crate) fn name(&mut self) -> Option<Name> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let name = std::str::from_utf8(&self.0[..end]).ok()?;
        self.0 = &self.0[end + 1..];
        Name::try_from(std::sync::Arc::<str>::from(name)).ok()
    }

    fn column(&mut self) -> Option<ColumnRef> {
        Some(ColumnRef { table: self.name()?, column: self.name()? })
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }
}

impl Cell {
    const TABLE: u8 = 1;
    const COLUMN: u8 = 2;
    const FACET: u8 = 3;
    const FIELD: u8 = 4;
    const EDGE: u8 = 5;
    const EDGE_PROPERTY: u8 = 6;
    const EDGE_POSITION: u8 = 7;
    const SETTING: u8 = 8;
    const MEMBER: u8 = 9;
    const ACTOR_NAME: u8 = 10;
    const MERGE: u8 = 11;
    const MAPPING: u8 = 12;
    const ASSET: u8 = 13;

    /// The cell of a pair of entities, in whatever order.
    pub fn merge(one: EntityId, other: EntityId) -> Self {
        Self::Merge { low: one.min(other), high: one.max(other) }
    }

    /// The cell of a pair of columns, in whatever order.
    pub fn mapping(one: ColumnRef, other: ColumnRef) -> Self {
        if one <= other { Self::Mapping { low: one, high: other } } else { Self::Mapping { low: other, high: one } }
    }

    /// Its key: canonical, sorts by kind, then by the parts in the order in which the variant lists them.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Table { table } => KeyBytes::tag(Self::TABLE).name(table).done(),
            Self::Column { table, column } => KeyBytes::tag(Self::COLUMN).name(table).name(column).done(),
            Self::Facet { table, entity } => KeyBytes::tag(Self::FACET).name(table).raw(entity.as_bytes()).done(),
            Self::Field { table, entity, field } => {
                KeyBytes::tag(Self::FIELD).name(table).raw(entity.as_bytes()).name(field).done()
            }
            Self::Edge { edge } => KeyBytes::tag(Self::EDGE).raw(edge.as_bytes()).done(),
            Self::EdgeProperty { edge, property } => {
                KeyBytes::tag(Self::EDGE_PROPERTY).raw(edge.as_bytes()).name(property).done()
            }
            Self::EdgePosition { edge } => KeyBytes::tag(Self::EDGE_POSITION).raw(edge.as_bytes()).done(),
            Self::Setting { setting } => KeyBytes::tag(Self::SETTING).name(setting).done(),
            Self::Member { member } => KeyBytes::tag(Self::MEMBER).raw(member.as_bytes()).done(),
            Self::ActorName { actor } => KeyBytes::tag(Self::ACTOR_NAME).raw(actor.as_bytes()).done(),
            Self::Merge { low, high } => KeyBytes::tag(Self::MERGE).raw(low.as_bytes()).raw(high.as_bytes()).done(),
            Self::Mapping { low, high } => {
                let low = KeyBytes::tag(Self::MAPPING).name(&low.table).name(&low.column);
                low.name(&high.table).name(&high.column).done()
            }
            Self::Asset { hash } => KeyBytes::tag(Self::ASSET).raw(hash.as_bytes()).done(),
        }
    }

    /// The cell of a key; none if the bytes are not one.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let (tag, rest) = key.split_first()?;
        let mut parts = KeyReader(rest);
        let cell = match *tag {
            Self::TABLE => Self::Table { table: parts.name()? },
            Self::COLUMN => Self::Column { table: parts.name()?, column: parts.name()? },
            Self::FACET => Self::Facet { table: parts.name()?, entity: parts.bytes()?.into() },
            Self::FIELD => Self::Field { table: parts.name()?, entity: parts.bytes()?.into(), field: parts.name()? },
            Self::EDGE => Self::Edge { edge: parts.bytes()?.into() },
            Self::EDGE_PROPERTY => Self::EdgeProperty { edge: parts.bytes()?.into(), property: parts.name()? },
            Self::EDGE_POSITION => Self::EdgePosition { edge: parts.bytes()?.into() },
            Self::SETTING => Self::Setting { setting: parts.name()? },
            Self::MEMBER => Self::Member { member: ActorId::from_bytes(parts.bytes()?) },
            Self::ACTOR_NAME => Self::ActorName { actor: ActorId::from_bytes(parts.bytes()?) },
            Self::MERGE => Self::Merge { low: parts.bytes()?.into(), high: parts.bytes()?.into() },
            Self::MAPPING => Self::Mapping { low: parts.column()?, high: parts.column()? },
            Self::ASSET => Self::Asset { hash: BlobHash::from_bytes(parts.bytes()?) },
            _ => return None,
        };
        parts.0.is_empty().then_some(cell)
    }

    /// All tables.
    pub fn tables() -> KeyRange {
        KeyRange::prefix(vec![Self::TABLE])
    }

    /// All columns of a table.
    pub fn columns(table: &Name) -> KeyRange {
        KeyRange::prefix(KeyBytes::tag(Self::COLUMN).name(table).done())
    }

    /// All memberships of a table.
    pub fn facets(table: &Name) -> KeyRange {
        KeyRange::prefix(KeyBytes::tag(Self::FACET).name(table).done())
    }

    /// All fields of one record of a table.
    pub fn fields(table: &Name, entity: EntityId) -> KeyRange {
        KeyRange::prefix(KeyBytes::tag(Self::FIELD).name(table).raw(entity.as_bytes()).done())
    }

    /// All fields of all records of a table.
    pub fn all_fields(table: &Name) -> KeyRange {
        KeyRange::prefix(KeyBytes::tag(Self::FIELD).name(table).done())
    }

    /// All edges.
    pub fn edges() -> KeyRange {
        KeyRange::prefix(vec![Self::EDGE])
    }

    /// All properties of an edge.
    pub fn properties(edge: EdgeId) -> KeyRange {
        KeyRange::prefix(KeyBytes::tag(Self::EDGE_PROPERTY).raw(edge.as_bytes()).done())
    }

    /// All settings.
    pub fn settings() -> KeyRange {
        KeyRange::prefix(vec![Self::SETTING])
    }

    /// All members, admitted or removed.
    pub fn members() -> KeyRange {
        KeyRange::prefix(vec![Self::MEMBER])
    }

    /// All display names.
    pub fn actor_names() -> KeyRange {
        KeyRange::prefix(vec![Self::ACTOR_NAME])
    }

    /// All pairs of entities that were ever merged or split.
    pub fn merges() -> KeyRange {
        KeyRange::prefix(vec![Self::MERGE])
    }

    /// All pairs of columns that were ever confirmed, rejected or revoked.
    pub fn mappings() -> KeyRange {
        KeyRange::prefix(vec![Self::MAPPING])
    }

    /// All files that were ever deleted.
    pub fn assets() -> KeyRange {
        KeyRange::prefix(vec![Self::ASSET])
    }

    /// Every cell of every kind.
    pub fn everything() -> KeyRange {
        KeyRange { from: Vec::new(), to: vec![u8::MAX] }
    }
}

/// What a write puts into a cell. Two are equal exactly when their canonical bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Content {
    /// Cleared, detached, deleted, dropped, removed, split, revoked, restored: nothing is there any more.
    Absent,
    /// Attached, admitted, merged or confirmed: it is so.
    Present,
    /// The value of a field, property or setting; why a file was deleted.
    Value(Value),
    /// What an edge joins.
    Edge(EdgeEnds),
    /// A fractional key.
    Place(Vec<u8>),
    /// A table's description.
    Table(TableSpec),
    /// A column's description.
    Column(ColumnSpec),
    /// A display name.
    Name(Text),
    /// Two columns hold different facts, and nobody shall suggest otherwise.
    Rejected,
    /// An edit of a document or sequence: a Yrs update. All edits of a cell together are what it shows.
    Edit(Vec<u8>),
}

impl Content {
    /// The value, where it is one.
    pub fn value(&self) -> Option<&Value> {
        if let Self::Value(value) = self { Some(value) } else { None }
    }
}

/// A write that stands: nobody who has seen it has written over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// The op that wrote it.
    pub op: OpRef,
    /// That op's clock.
    pub hlc: Hlc,
    /// That op's id: with the clock and the reference, its place in canonical order.
    pub op_id: OpId,
    /// Where its bundle lies in this node's log; none while it is pending. Never hashed.
    pub position: Option<Position>,
    /// Whether a person decided a conflict by it.
    pub decision: bool,
    /// The op whose value it puts back.
    pub restores: Option<OpRef>,
    /// For removals: the tips that the remover had seen on what hangs there.
    pub seen: Vec<OpRef>,
    /// What it says.
    pub content: Content,
}

impl Tip {
    /// Its place in canonical order.
    pub fn order(&self) -> (Hlc, OpId, OpRef) {
        (self.hlc, self.op_id, self.op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn every_key_reads_back() {
        let (entity, edge) = (EntityId::from_bytes([0; 16]), EdgeId::from_bytes([255; 16]));
        let actor = ActorId::from_bytes([0; 32]);
        let cells = [
            Cell::Table { table: name("lighting.cues") },
            Cell::Column { table: name("a"), column: name("Über") },
            Cell::Facet { table: name("a"), entity },
            Cell::Field { table: name("a"), entity, field: name("b c") },
            Cell::Edge { edge },
            Cell::EdgeProperty { edge, property: name("p") },
            Cell::EdgePosition { edge },
            Cell::Setting { setting: name("s") },
            Cell::Member { member: actor },
            Cell::ActorName { actor },
            Cell::merge(EntityId::from_bytes([9; 16]), entity),
            Cell::mapping(
                ColumnRef { table: name("b"), column: name("x") },
                ColumnRef { table: name("a"), column: name("y") },
            ),
            Cell::Asset { hash: BlobHash::from_bytes([0; 32]) },
        ];
        for cell in cells {
            assert_eq!(Cell::from_key(&cell.key()), Some(cell));
        }
    }

    #[test]
    fn a_table_does_not_reach_into_one_whose_name_begins_like_it() {
        let range = Cell::all_fields(&name("cue"));
        let other = Cell::Field { table: name("cues"), entity: EntityId::from_bytes([7; 16]), field: name("x") }.key();
        assert!(other < range.from || other >= range.to);
    }
}
