//! Evaluation: whether a predicate holds for one record, and in which order rows come.

use std::cmp::Ordering;

use openprod_model::ids::EntityId;
use openprod_model::value::{Name, Value};

use super::check::{Asked, Missing, Predicate, SortKey};
use super::scalar::{self, Scalar};
use super::syntax::{Comparison, Direction};
use crate::read;
use crate::view::{Read, View};

/// A record, of which each column is read at most once.
pub(super) struct Row<'a> {
    view: &'a dyn View,
    table: &'a Name,
    columns: &'a [Name],
    entity: EntityId,
    /// By slot.
    values: Vec<Slot>,
}

#[derive(Clone)]
enum Slot {
    Unread,
    Shows(Option<Value>),
}

impl<'a> Row<'a> {
    pub(super) fn new(view: &'a dyn View, table: &'a Name, columns: &'a [Name], entity: EntityId) -> Self {
        Self { view, table, columns, entity, values: vec![Slot::Unread; columns.len()] }
    }

    /// The value shown in the column of that slot.
    pub(super) fn value(&mut self, slot: usize) -> Read<Option<&Value>> {
        if matches!(self.values[slot], Slot::Unread) {
            let field = read::field(self.view, self.table, self.entity, &self.columns[slot])?;
            self.values[slot] = Slot::Shows(field.value);
        }
        Ok(match &self.values[slot] {
            Slot::Shows(value) => value.as_ref(),
            Slot::Unread => None,
        })
    }

    /// Whether `predicate` holds for this record.
    pub(super) fn satisfies(&mut self, predicate: &Predicate) -> Read<bool> {
        match predicate {
            Predicate::And(parts) => self.all(parts),
            Predicate::Or(parts) => self.any(parts),
            Predicate::Not(inner) => Ok(!self.satisfies(inner)?),
            Predicate::Member(table, _) => read::is_record(self.view, table, self.entity),
            Predicate::Field(test) => Ok(test.asked.holds(self.value(test.slot)?.map(Scalar::from))),
        }
    }

    fn all(&mut self, parts: &[Predicate]) -> Read<bool> {
        for part in parts {
            if !self.satisfies(part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn any(&mut self, parts: &[Predicate]) -> Read<bool> {
        for part in parts {
            if self.satisfies(part)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the record is sorted by.
    pub(super) fn sort_values(&mut self, order: &[SortKey]) -> Read<Vec<Option<Value>>> {
        order.iter().map(|key| Ok(self.value(key.slot)?.cloned())).collect()
    }
}

impl Asked {
    /// Whether it holds for a field that shows `value`. A missing value, or one of another type, satisfies nothing
    /// but what asks for it.
    pub(super) fn holds(&self, value: Option<Scalar<'_>>) -> bool {
        match (self, value) {
            (Self::Missing, None) | (Self::Present, Some(_)) => true,
            (Self::Among { missing, .. }, None) => *missing == Missing::Listed,
            (Self::Compare { how, to, listed }, Some(value)) => {
                scalar::compare(value, to.into(), listed).is_some_and(|order| how.accepts(order))
            }
            (Self::Among { values, .. }, Some(value)) => {
                values.iter().any(|listed| scalar::compare(value, listed.into(), &[]) == Some(Ordering::Equal))
            }
            (Self::Like(pattern), Some(Scalar::Text(text) | Scalar::Enum(text))) => pattern.matches(text),
            _ => false,
        }
    }
}

impl Comparison {
    fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A row and what it is sorted by.
pub(super) type Sortable = (Vec<Option<Value>>, EntityId);

/// The total order of rows: by the columns, then by creation.
pub(super) fn order(keys: &[SortKey], a: &Sortable, b: &Sortable) -> Ordering {
    let mut columns = keys.iter().zip(a.0.iter().zip(&b.0)).map(|(key, (a, b))| {
        let ascending = order_in_column(key, a.as_ref(), b.as_ref());
        if key.direction == Direction::Descending { ascending.reverse() } else { ascending }
    });
    columns.find(|order| order.is_ne()).unwrap_or_else(|| a.1.cmp(&b.1))
}

/// What is missing comes last.
fn order_in_column(key: &SortKey, a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => scalar::order(a.into(), b.into(), &key.listed),
        _ => b.is_some().cmp(&a.is_some()),
    }
}
