//! Composing: the op that makes a cell say something. What undoing a bundle and committing an overlay have in common.

use openprod_model::ids::OpRef;
use openprod_model::operation::{Basis, ColumnAt, FacetAt, FieldAt, MappingAt, Operation, PairAt, PositionAt};
use openprod_model::value::Value;

use crate::cell::{Cell, Content};

/// One cell's write, to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Putting {
    /// The cell.
    pub cell: Cell,
    /// What it shall say.
    pub content: Content,
    /// What the author knows of it.
    pub basis: Basis,
    /// For removals: the tips that the author has seen on what hangs there.
    pub seen: Vec<OpRef>,
}

impl Putting {
    /// The op that writes it; none where no op can say that, such as that a column never was.
    pub fn operation(self) -> Option<Operation> {
        let Self { cell, content, basis, seen } = self;
        Some(match (cell, content) {
            (Cell::Table { table }, Content::Table(spec)) if basis.preds.is_empty() => {
                Operation::CreateTable { table, spec, basis, columns: Vec::new() }
            }
            (Cell::Table { table }, Content::Table(spec)) => {
                Operation::AlterTable { table, spec: Some((spec, basis)), columns: Vec::new() }
            }
            (Cell::Table { table }, Content::Absent) => Operation::DropTable { table, basis },
            (Cell::Column { table, column }, Content::Column(spec)) => {
                Operation::AlterTable { table, spec: None, columns: vec![ColumnAt { column, spec, basis }] }
            }
            (Cell::Facet { table, entity }, Content::Present) => {
                Operation::AttachFacet { at: vec![FacetAt { entity, table, basis }] }
            }
            (Cell::Facet { table, entity }, Content::Absent) => {
                Operation::DetachFacet { at: vec![FacetAt { entity, table, basis }], seen }
            }
            (Cell::Field { table, entity, field }, content) => {
                return of_field(FieldAt { entity, table, field, basis }, content);
            }
            (Cell::Edge { edge }, Content::Edge(ends)) => Operation::CreateEdge { edge, ends, basis },
            (Cell::Edge { edge }, Content::Absent) => Operation::DeleteEdge { edge, basis, seen },
            (Cell::EdgeProperty { edge, property }, Content::Value(value)) => {
                Operation::SetEdgeProperty { edge, property, value, basis }
            }
            (Cell::EdgeProperty { edge, property }, Content::Absent) => {
                Operation::ClearEdgeProperty { edge, property, basis }
            }
            (Cell::EdgePosition { edge }, Content::Place(position)) => {
                Operation::MoveOrderedEdge { to: PositionAt { edge, position, basis } }
            }
            (Cell::Setting { setting }, Content::Value(value)) => {
                Operation::PutSetting { setting, value: Some(value), basis }
            }
            (Cell::Setting { setting }, Content::Absent) => Operation::PutSetting { setting, value: None, basis },
            (Cell::ActorName { actor }, Content::Name(name)) => Operation::NameActor { actor, name, basis },
            (Cell::Merge { low, high }, content) => {
                let at = vec![PairAt { one: low, other: high, basis }];
                match content {
                    Content::Present => Operation::MergeEntities { at },
                    _ => Operation::SplitEntity { at },
                }
            }
            (Cell::Mapping { low, high }, content) => {
                let at = MappingAt { one: low, other: high, basis };
                match content {
                    Content::Present => Operation::ConfirmFieldMapping { at },
                    Content::Rejected => Operation::RejectFieldMapping { at },
                    _ => Operation::RevokeFieldMapping { at },
                }
            }
            (Cell::Asset { hash }, Content::Value(Value::Text(reason))) => {
                Operation::DeleteAsset { hash, reason, basis }
            }
            (Cell::Asset { hash }, Content::Absent) => Operation::RestoreAsset { hash, basis },
            _ => return None,
        })
    }
}

fn of_field(at: FieldAt, content: Content) -> Option<Operation> {
    let at = vec![at];
    Some(match content {
        Content::Value(Value::FieldRef(target)) => Operation::SetFieldReference { at, target },
        Content::Value(value) => Operation::SetField { at, value },
        Content::Edit(update) => Operation::ApplyCrdt { at, update },
        Content::Absent => Operation::ClearField { at },
        _ => return None,
    })
}

/// The ops of several writes, in order; fields that say the same right after one another share one op, as those of
/// merged records and mapped columns do.
pub fn operations(puttings: impl IntoIterator<Item = Putting>) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    for putting in puttings {
        let Some(operation) = putting.operation() else { continue };
        let rest = match operations.last_mut() {
            Some(last) => joined(last, operation),
            None => Some(operation),
        };
        operations.extend(rest);
    }
    operations
}

/// Adds `next` to `last` if one op can say both; gives it back otherwise.
fn joined(last: &mut Operation, next: Operation) -> Option<Operation> {
    match (last, next) {
        (Operation::SetField { at, value }, Operation::SetField { at: more, value: same })
            if *value == same
                && at.iter().all(|one| one.basis.restores == more[0].basis.restores && differs(one, &more[0])) =>
        {
            at.extend(more);
            None
        }
        (Operation::ApplyCrdt { at, update }, Operation::ApplyCrdt { at: more, update: same })
            if *update == same && at.iter().all(|one| differs(one, &more[0])) =>
        {
            at.extend(more);
            None
        }
        (Operation::MergeEntities { at }, Operation::MergeEntities { at: more })
        | (Operation::SplitEntity { at }, Operation::SplitEntity { at: more }) => {
            at.extend(more);
            None
        }
        (_, next) => Some(next),
    }
}

/// Whether two writes are of different cells: several siblings of one cell need an op each.
fn differs(one: &FieldAt, other: &FieldAt) -> bool {
    (one.entity, &one.table, &one.field) != (other.entity, &other.table, &other.field)
}
