//! Operations: one field-level change each, immutable, identified by a checksum over everything they say.
//!
//! An op travels as `{kind: u16, body bytes}`. A changed body is a new kind: old kinds keep their meaning for
//! ever, and a node that does not know a kind keeps the op unharmed (I-10).

use serde::{Deserialize, Serialize};

use crate::clock::Hlc;
use crate::codec::{self, DecodeError};
use crate::ids::{ActorId, BlobHash, EdgeId, EntityId, OpId, OpRef, WorkspaceId};
use crate::schema::{ColumnSpec, TableSpec};
use crate::value::{FieldRef, Name, Text, Value};

const OP_DOMAIN: &[u8] = b"openprod/op/1\0";

/// What the author of one cell's write knew of that cell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Basis {
    /// The writes of this cell that the author had seen standing: this write supersedes exactly them (I-5).
    pub preds: Vec<OpRef>,
    /// The op whose value this write puts back, if it undoes or redoes something.
    pub restores: Option<OpRef>,
    /// Whether a person decided a conflict by this write: it is what is shown until somebody decides again.
    pub decision: bool,
}

/// A write to one entity's membership of one table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FacetAt {
    /// The entity.
    pub entity: EntityId,
    /// The table's key.
    pub table: Name,
    /// What the author knew.
    pub basis: Basis,
}

/// A write to one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FieldAt {
    /// The record's entity.
    pub entity: EntityId,
    /// The table's key.
    pub table: Name,
    /// The column's key.
    pub field: Name,
    /// What the author knew.
    pub basis: Basis,
}

/// A write to one column's description.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnAt {
    /// The column's key.
    pub column: Name,
    /// What it says from now on.
    pub spec: ColumnSpec,
    /// What the author knew.
    pub basis: Basis,
}

/// A write to one ordered edge's position.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PositionAt {
    /// The edge.
    pub edge: EdgeId,
    /// A fractional key; positions sort as bytes.
    pub position: Vec<u8>,
    /// What the author knew.
    pub basis: Basis,
}

/// A write to one pair of entities: whether they are one and the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PairAt {
    /// One entity.
    pub one: EntityId,
    /// The other. The order of the two means nothing.
    pub other: EntityId,
    /// What the author knew.
    pub basis: Basis,
}

/// A column of a table, by their keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColumnRef {
    /// The table's key.
    pub table: Name,
    /// The column's key.
    pub column: Name,
}

/// A write to one pair of columns: whether they hold the same fact wherever a record is in both tables.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MappingAt {
    /// One column.
    pub one: ColumnRef,
    /// The other. The order of the two means nothing.
    pub other: ColumnRef,
    /// What the author knew.
    pub basis: Basis,
}

/// What an edge joins. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EdgeEnds {
    /// The kind of relationship, such as `assigned_to`.
    pub edge_type: Name,
    /// Where it starts.
    pub source: EntityId,
    /// Where it leads.
    pub target: EntityId,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $kind:literal $name:ident { $($(#[$field_doc:meta])* $field:ident : $type:ty,)* })*) => {
        /// One change. See the module for how it is encoded.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($(#[$doc])* $name { $($(#[$field_doc])* $field: $type,)* },)*
        }

        /// The body of each kind, in the order and under the names in which it is encoded.
        mod body {
            use super::*;
            $(#[derive(Serialize, Deserialize)] pub(super) struct $name { $(pub(super) $field: $type,)* })*
        }

        impl Operation {
            /// Every kind that this version knows, with its name.
            pub const KINDS: &'static [(u16, &'static str)] = &[$(($kind, stringify!($name)),)*];

            /// The number of its kind.
            pub fn kind(&self) -> u16 {
                match self { $(Self::$name { .. } => $kind,)* }
            }

            /// Its bytes.
            pub fn to_raw(&self) -> RawOp {
                // A tuple of the fields has the bytes of the struct, and needs no copy of them.
                match self {
                    $(Self::$name { $($field,)* } => RawOp { kind: $kind, body: codec::encode(&($($field,)*)) },)*
                }
            }

            /// What `raw` says; none if this version does not know its kind.
            pub fn from_raw<B: AsRef<[u8]>>(raw: &RawOp<B>) -> Result<Option<Self>, DecodeError> {
                Ok(Some(match raw.kind {
                    $($kind => { let body::$name { $($field,)* } = codec::decode(raw.body.as_ref())?; Self::$name { $($field,)* } })*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

operations! {
    /// The first op of a workspace: names it and admits its founder.
    1 Bootstrap {
        /// The workspace's name.
        name: Text,
        /// Its founder, admitted by this op.
        founder: ActorId,
        /// What people call the founder.
        founder_name: Text,
        /// The public half of a key that can re-admit its holder, if one was made.
        recovery: Option<ActorId>,
    }
    /// Makes an entity a record of tables. An entity is only an id, so nothing else creates it.
    2 AttachFacet {
        /// Each entity and table.
        at: Vec<FacetAt>,
    }
    /// Takes an entity out of tables. Hides its fields, empties none.
    3 DetachFacet {
        /// Each entity and table.
        at: Vec<FacetAt>,
        /// The tips, at the author's base, of all that hangs on what is removed: edits outside them surface as *removed while edited*.
        seen: Vec<OpRef>,
    }
    /// Takes an entity out of all its tables.
    4 DeleteEntity {
        /// The entity in each table it was a record of.
        at: Vec<FacetAt>,
        /// As in `DetachFacet`.
        seen: Vec<OpRef>,
    }
    /// Gives a field a value.
    5 SetField {
        /// The field; several where one fact is kept in several registers.
        at: Vec<FieldAt>,
        /// The value.
        value: Value,
    }
    /// Takes a field's value away.
    6 ClearField {
        /// The field, as in `SetField`.
        at: Vec<FieldAt>,
    }
    /// Makes a field show another record's field.
    7 SetFieldReference {
        /// The field, as in `SetField`.
        at: Vec<FieldAt>,
        /// The field to show.
        target: FieldRef,
    }
    /// Edits a document or a sequence: a field whose edits merge and never conflict.
    8 ApplyCrdt {
        /// The field, as in `SetField`. Its preds are the cell's frontier.
        at: Vec<FieldAt>,
        /// A Yrs update, version 1. What cannot be read is kept, and left out where the field is shown.
        update: Vec<u8>,
    }
    /// Replaces what its author saw in a document or a sequence; what others add meanwhile stays.
    9 ClearAndAdd {
        /// As in `ApplyCrdt`.
        at: Vec<FieldAt>,
        /// As in `ApplyCrdt`.
        update: Vec<u8>,
    }
    /// Joins two entities.
    10 CreateEdge {
        /// The new edge's id.
        edge: EdgeId,
        /// What it joins.
        ends: EdgeEnds,
        /// What the author knew; empty unless it brings a deleted edge back.
        basis: Basis,
    }
    /// Joins two entities, at a place among the sources of `(target, type)`.
    11 CreateOrderedEdge {
        /// The new edge's id.
        edge: EdgeId,
        /// What it joins.
        ends: EdgeEnds,
        /// What the author knew.
        basis: Basis,
        /// Its place: a fractional key.
        position: Vec<u8>,
        /// What the author knew of its place.
        position_basis: Basis,
    }
    /// Removes an edge. Its properties are hidden, not emptied.
    12 DeleteEdge {
        /// The edge.
        edge: EdgeId,
        /// What the author knew.
        basis: Basis,
        /// The tips of its properties, as in `DetachFacet`.
        seen: Vec<OpRef>,
    }
    /// Gives an edge's property a value.
    13 SetEdgeProperty {
        /// The edge.
        edge: EdgeId,
        /// The property.
        property: Name,
        /// The value.
        value: Value,
        /// What the author knew.
        basis: Basis,
    }
    /// Takes an edge's property away.
    14 ClearEdgeProperty {
        /// The edge.
        edge: EdgeId,
        /// The property.
        property: Name,
        /// What the author knew.
        basis: Basis,
    }
    /// Moves an ordered edge. Of concurrent moves the latest is shown; they are never a conflict.
    15 MoveOrderedEdge {
        /// Where to.
        to: PositionAt,
    }
    /// Gives ordered edges fresh, short positions in their present order.
    16 RebalanceOrderedEdges {
        /// Each edge's new position.
        to: Vec<PositionAt>,
    }
    /// Makes a table, or brings a dropped one back.
    20 CreateTable {
        /// Its key.
        table: Name,
        /// What it says of itself.
        spec: TableSpec,
        /// What the author knew.
        basis: Basis,
        /// Its first columns.
        columns: Vec<ColumnAt>,
    }
    /// Changes a table's description, or adds or changes columns.
    21 AlterTable {
        /// Its key.
        table: Name,
        /// A new description, if that changes, and what the author knew of the old.
        spec: Option<(TableSpec, Basis)>,
        /// New and changed columns.
        columns: Vec<ColumnAt>,
    }
    /// Hides a table. Its records and their values are kept.
    22 DropTable {
        /// Its key.
        table: Name,
        /// What the author knew.
        basis: Basis,
    }
    /// Changes a setting of the workspace.
    30 PutSetting {
        /// Its name.
        setting: Name,
        /// Its value; none for the default.
        value: Option<Value>,
        /// What the author knew.
        basis: Basis,
    }
    /// Admits a member.
    40 AdmitMember {
        /// Who.
        member: ActorId,
        /// What the author knew.
        basis: Basis,
    }
    /// Removes a member.
    41 RemoveMember {
        /// Who.
        member: ActorId,
        /// Why, for the others.
        why: Text,
        /// What the author knew.
        basis: Basis,
    }
    /// Gives an actor a display name.
    42 NameActor {
        /// Who.
        actor: ActorId,
        /// The name.
        name: Text,
        /// What the author knew.
        basis: Basis,
    }
    /// Says that entities are one and the same: they read and are written as one record from then on.
    50 MergeEntities {
        /// Each pair.
        at: Vec<PairAt>,
    }
    /// Says that entities are not the same, whatever was said before.
    51 SplitEntity {
        /// Each pair.
        at: Vec<PairAt>,
    }
    /// Says that two columns hold the same fact.
    52 ConfirmFieldMapping {
        /// The pair.
        at: MappingAt,
    }
    /// Says that two columns do not hold the same fact, so that nobody suggests it again.
    53 RejectFieldMapping {
        /// The pair.
        at: MappingAt,
    }
    /// Takes a confirmed mapping back.
    54 RevokeFieldMapping {
        /// The pair.
        at: MappingAt,
    }
    /// Says that a file is no longer wanted, wherever it is referred to. Its bytes go later.
    60 DeleteAsset {
        /// The address of the file.
        hash: BlobHash,
        /// Why, for the others.
        reason: Text,
        /// What the author knew.
        basis: Basis,
    }
    /// Takes the deletion of a file back.
    61 RestoreAsset {
        /// The address of the file.
        hash: BlobHash,
        /// What the author knew.
        basis: Basis,
    }
}

/// An op as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawOp<B = Vec<u8>> {
    /// Its kind.
    pub kind: u16,
    /// Its encoded body: its own bytes, or a part of others.
    pub body: B,
}

impl<B: AsRef<[u8]>> RawOp<B> {
    /// The checksum over everything the op says: workspace, actor, id, clock, kind and body.
    pub fn checksum(&self, workspace: WorkspaceId, actor: ActorId, id: OpId, hlc: Hlc) -> [u8; 32] {
        codec::hash(
            OP_DOMAIN,
            &[
                workspace.as_bytes(),
                actor.as_bytes(),
                id.as_bytes(),
                &hlc.to_bytes(),
                &self.kind.to_le_bytes(),
                self.body.as_ref(),
            ],
        )
    }
}

/// What refers to the op of this checksum: its first 16 bytes.
pub fn op_ref(checksum: &[u8; 32]) -> OpRef {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&checksum[..16]);
    OpRef::from_bytes(bytes)
}
