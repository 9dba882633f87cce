//! Folding: what an op does to cells. It reads only the op, never the state (I-3).

use openprod_model::bundle::Op;
use openprod_model::ids::{OpRef, Position};
use openprod_model::operation::{Basis, MappingAt, Operation, PairAt, PositionAt};
use openprod_model::value::{Name, Value};

use crate::cell::{Cell, Content, Tip};

/// The version of these laws: states are compared between nodes only where it is equal.
pub const FOLD_VERSION: u16 = 1;

/// What one op writes into one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write<'a> {
    /// The cell.
    pub cell: Cell,
    /// What it says from now on.
    pub content: Content,
    /// What its author knew.
    pub basis: &'a Basis,
    /// For removals: the tips seen on what hangs on the cell.
    pub seen: &'a [OpRef],
}

impl Write<'_> {
    /// This write of `op`, standing at `position`.
    pub fn tip(&self, op: &Op, position: Option<Position>) -> Tip {
        Tip {
            op: op.reference,
            hlc: op.hlc,
            op_id: op.id,
            position,
            decision: self.basis.decision,
            restores: self.basis.restores,
            seen: self.seen.to_vec(),
            content: self.content.clone(),
        }
    }
}

/// The name under which the workspace's own name is a setting.
pub fn workspace_name_setting() -> Name {
    Name::new("name").expect("a word is a name")
}

static NO_BASIS: Basis = Basis { preds: Vec::new(), restores: None, decision: false };

fn write(cell: Cell, content: Content, basis: &Basis) -> Write<'_> {
    Write { cell, content, basis, seen: &[] }
}

fn place(to: &PositionAt) -> Write<'_> {
    write(Cell::EdgePosition { edge: to.edge }, Content::Place(to.position.clone()), &to.basis)
}

/// The writes of an op, in order.
#[allow(clippy::too_many_lines, reason = "one arm for each kind of op: the table itself")]
pub fn writes(operation: &Operation) -> Vec<Write<'_>> {
    match operation {
        Operation::Bootstrap { name, founder, founder_name, recovery: _ } => vec![
            write(
                Cell::Setting { setting: workspace_name_setting() },
                Content::Value(Value::Text(name.clone())),
                &NO_BASIS,
            ),
            write(Cell::Member { member: *founder }, Content::Present, &NO_BASIS),
            write(Cell::ActorName { actor: *founder }, Content::Name(founder_name.clone()), &NO_BASIS),
        ],
        Operation::AttachFacet { at } => at
            .iter()
            .map(|at| write(Cell::Facet { table: at.table.clone(), entity: at.entity }, Content::Present, &at.basis))
            .collect(),
        Operation::DetachFacet { at, seen } | Operation::DeleteEntity { at, seen } => at
            .iter()
            .map(|at| Write {
                cell: Cell::Facet { table: at.table.clone(), entity: at.entity },
                content: Content::Absent,
                basis: &at.basis,
                seen,
            })
            .collect(),
        Operation::SetField { at, value } => fields(at, &Content::Value(value.clone())),
        Operation::ClearField { at } => fields(at, &Content::Absent),
        Operation::SetFieldReference { at, target } => fields(at, &Content::Value(Value::FieldRef(target.clone()))),
        Operation::ApplyCrdt { at, update } | Operation::ClearAndAdd { at, update } => {
            fields(at, &Content::Edit(update.clone()))
        }
        Operation::CreateEdge { edge, ends, basis } => {
            vec![write(Cell::Edge { edge: *edge }, Content::Edge(ends.clone()), basis)]
        }
        Operation::CreateOrderedEdge { edge, ends, basis, position, position_basis } => vec![
            write(Cell::Edge { edge: *edge }, Content::Edge(ends.clone()), basis),
            write(Cell::EdgePosition { edge: *edge }, Content::Place(position.clone()), position_basis),
        ],
        Operation::DeleteEdge { edge, basis, seen } => {
            vec![Write { cell: Cell::Edge { edge: *edge }, content: Content::Absent, basis, seen }]
        }
        Operation::SetEdgeProperty { edge, property, value, basis } => vec![write(
            Cell::EdgeProperty { edge: *edge, property: property.clone() },
            Content::Value(value.clone()),
            basis,
        )],
        Operation::ClearEdgeProperty { edge, property, basis } => {
            vec![write(Cell::EdgeProperty { edge: *edge, property: property.clone() }, Content::Absent, basis)]
        }
        Operation::MoveOrderedEdge { to } => vec![place(to)],
        Operation::RebalanceOrderedEdges { to } => to.iter().map(place).collect(),
        Operation::CreateTable { table, spec, basis, columns } => {
            let described = write(Cell::Table { table: table.clone() }, Content::Table(spec.clone()), basis);
            std::iter::once(described).chain(columns_of(table, columns)).collect()
        }
        Operation::AlterTable { table, spec, columns } => {
            let described = spec
                .iter()
                .map(|(spec, basis)| write(Cell::Table { table: table.clone() }, Content::Table(spec.clone()), basis));
            described.chain(columns_of(table, columns)).collect()
        }
        Operation::DropTable { table, basis } => {
            vec![write(Cell::Table { table: table.clone() }, Content::Absent, basis)]
        }
        Operation::PutSetting { setting, value, basis } => vec![write(
            Cell::Setting { setting: setting.clone() },
            value.clone().map_or(Content::Absent, Content::Value),
            basis,
        )],
        Operation::AdmitMember { member, basis } => {
            vec![write(Cell::Member { member: *member }, Content::Present, basis)]
        }
        Operation::RemoveMember { member, why: _, basis } => {
            vec![write(Cell::Member { member: *member }, Content::Absent, basis)]
        }
        Operation::NameActor { actor, name, basis } => {
            vec![write(Cell::ActorName { actor: *actor }, Content::Name(name.clone()), basis)]
        }
        Operation::MergeEntities { at } => at.iter().map(|at| pair(at, Content::Present)).collect(),
        Operation::SplitEntity { at } => at.iter().map(|at| pair(at, Content::Absent)).collect(),
        Operation::ConfirmFieldMapping { at } => vec![mapping(at, Content::Present)],
        Operation::RejectFieldMapping { at } => vec![mapping(at, Content::Rejected)],
        Operation::RevokeFieldMapping { at } => vec![mapping(at, Content::Absent)],
        Operation::DeleteAsset { hash, reason, basis } => {
            vec![write(Cell::Asset { hash: *hash }, Content::Value(Value::Text(reason.clone())), basis)]
        }
        Operation::RestoreAsset { hash, basis } => vec![write(Cell::Asset { hash: *hash }, Content::Absent, basis)],
    }
}

fn pair(at: &PairAt, content: Content) -> Write<'_> {
    write(Cell::merge(at.one, at.other), content, &at.basis)
}

fn mapping(at: &MappingAt, content: Content) -> Write<'_> {
    write(Cell::mapping(at.one.clone(), at.other.clone()), content, &at.basis)
}

fn fields<'a>(at: &'a [openprod_model::operation::FieldAt], content: &Content) -> Vec<Write<'a>> {
    at.iter()
        .map(|at| {
            let cell = Cell::Field { table: at.table.clone(), entity: at.entity, field: at.field.clone() };
            write(cell, content.clone(), &at.basis)
        })
        .collect()
}

fn columns_of<'a>(table: &Name, columns: &'a [openprod_model::operation::ColumnAt]) -> impl Iterator<Item = Write<'a>> {
    columns.iter().map(move |at| {
        let cell = Cell::Column { table: table.clone(), column: at.column.clone() };
        write(cell, Content::Column(at.spec.clone()), &at.basis)
    })
}
