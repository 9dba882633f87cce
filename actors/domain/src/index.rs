//! Index entries: keys derived from what cells hold, by which records and edges are found without a scan.
//!
//! An entry says "some standing write says so"; whether that write is the one shown, the reader checks. So the
//! index is right however registers are read, and every layer of staged writes carries its own.

use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::value::{Date, DateTime, Duration, Float, Name, Value};

use crate::cell::{Cell, Content, KeyBytes, KeyRange, KeyReader};
use crate::query::Scalar;
use crate::register;

const FACET_OF: u8 = 1;
const EDGE_FROM: u8 = 2;
const EDGE_TO: u8 = 3;
const EQUALS: u8 = 4;
const DISPUTED: u8 = 5;
const REMOVED: u8 = 6;

/// What the key of a value begins with.
mod tag {
    pub(super) const TEXT: u8 = 1;
    pub(super) const INTEGER: u8 = 2;
    pub(super) const FLOAT: u8 = 3;
    pub(super) const BOOLEAN: u8 = 4;
    pub(super) const DATE: u8 = 5;
    pub(super) const DATE_TIME: u8 = 6;
    pub(super) const DURATION: u8 = 7;
    pub(super) const ENUM: u8 = 8;
    pub(super) const ENTITY: u8 = 9;
    pub(super) const BLOB: u8 = 10;
    pub(super) const FIELD_REF: u8 = 12;
}

/// How much of a text enters its index key. Longer texts that begin alike share candidates.
const INDEXED_TEXT_BYTES: usize = 40;
const ENTITY_BYTES: usize = 16;
/// Set where a number is not negative, so that bytes sort as numbers do.
const SIGN_BIT: u64 = 1 << 63;
/// Likewise for the offset of a time: so none is zero, which stands for a time without one.
const OFFSET_BIT: u16 = 1 << 15;

/// The entries of a cell whose standing writes say this, sorted.
pub fn entries<'a>(cell: &Cell, standing: impl Iterator<Item = &'a Content> + Clone) -> Vec<Vec<u8>> {
    let mut entries: Vec<_> = standing.clone().flat_map(|content| of_content(cell, content)).collect();
    if register::disagree(cell, standing.clone()) {
        entries.push(KeyBytes::tag(DISPUTED).raw(&cell.key()).done());
    }
    let removable = matches!(cell, Cell::Facet { .. } | Cell::Edge { .. });
    if removable && standing.into_iter().any(|content| *content == Content::Absent) {
        entries.push(KeyBytes::tag(REMOVED).raw(&cell.key()).done());
    }
    entries.sort_unstable();
    entries.dedup();
    entries
}

/// The cells whose standing writes disagree.
pub fn disputed() -> KeyRange {
    KeyRange::prefix(vec![DISPUTED])
}

/// The memberships of tables and the edges that somebody took away.
pub fn removed() -> KeyRange {
    KeyRange::prefix(vec![REMOVED])
}

/// The cell that an entry of [`disputed`] or [`removed`] names.
pub fn cell_in(entry: &[u8]) -> Option<Cell> {
    Cell::from_key(entry.get(1..)?)
}

fn of_content(cell: &Cell, content: &Content) -> Vec<Vec<u8>> {
    match (cell, content) {
        (Cell::Facet { table, entity }, Content::Present) => {
            vec![KeyBytes::tag(FACET_OF).raw(entity.as_bytes()).name(table).done()]
        }
        (Cell::Field { table, entity, field }, Content::Value(value)) => value_key(value)
            .map(|key| KeyBytes::tag(EQUALS).name(table).name(field).raw(&key).raw(entity.as_bytes()).done())
            .into_iter()
            .collect(),
        (Cell::Edge { edge }, Content::Edge(ends)) => vec![
            KeyBytes::tag(EDGE_FROM).raw(ends.source.as_bytes()).name(&ends.edge_type).raw(edge.as_bytes()).done(),
            KeyBytes::tag(EDGE_TO).raw(ends.target.as_bytes()).name(&ends.edge_type).raw(edge.as_bytes()).done(),
        ],
        _ => Vec::new(),
    }
}

/// The tables that an entity may be a record of.
pub fn facets_of(entity: EntityId) -> KeyRange {
    KeyRange::prefix(KeyBytes::tag(FACET_OF).raw(entity.as_bytes()).done())
}

/// The table that an entry of [`facets_of`] names.
pub fn facet_in(entry: &[u8]) -> Option<Name> {
    KeyReader(entry.get(17..)?).name()
}

/// The edges that may start at (`outgoing`) or lead to an entity, of one type or of all.
pub fn edges_at(entity: EntityId, direction: Direction, edge_type: Option<&Name>) -> KeyRange {
    let tag = match direction {
        Direction::From => EDGE_FROM,
        Direction::To => EDGE_TO,
    };
    let at = KeyBytes::tag(tag).raw(entity.as_bytes());
    KeyRange::prefix(match edge_type {
        Some(edge_type) => at.name(edge_type).done(),
        None => at.done(),
    })
}

/// The edge that an entry of [`edges_at`] names.
pub fn edge_in(entry: &[u8]) -> Option<EdgeId> {
    entry.last_chunk::<16>().map(|bytes| EdgeId::from_bytes(*bytes))
}

/// Which end of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Edges that start here.
    From,
    /// Edges that lead here.
    To,
}

/// The records of a table whose field may hold a value equal to `value`; none if such values are not indexed.
pub fn equals(table: &Name, field: &Name, value: &Value) -> Option<KeyRange> {
    let key = value_key(value)?;
    Some(KeyRange::prefix(KeyBytes::tag(EQUALS).name(table).name(field).raw(&key).done()))
}

/// The records of a table whose field shows another record's field: candidates for any value.
pub fn references(table: &Name, field: &Name) -> KeyRange {
    KeyRange::prefix(KeyBytes::tag(EQUALS).name(table).name(field).raw(&[tag::FIELD_REF]).done())
}

/// All indexed values of a field, in the order of the values.
pub fn values(table: &Name, field: &Name) -> KeyRange {
    KeyRange::prefix(KeyBytes::tag(EQUALS).name(table).name(field).done())
}

/// The entity that an entry of [`equals`], [`references`] or [`values`] names.
pub fn entity_in(entry: &[u8]) -> Option<EntityId> {
    entry.last_chunk::<16>().map(|bytes| EntityId::from_bytes(*bytes))
}

/// The value of an `entry` of [`values`], whose key begins with `prefix` bytes; none if the entry does not tell, because
/// it is cut, stands for another record's field, or is of a type that is not read here.
pub(crate) fn value_in(entry: &[u8], prefix: usize) -> Option<Scalar<'_>> {
    let (tag, bytes) = entry.get(prefix..entry.len().checked_sub(ENTITY_BYTES)?)?.split_first()?;
    Some(match *tag {
        tag::TEXT => Scalar::Text(text_in(bytes)?),
        tag::INTEGER => Scalar::Integer(integer_in(bytes)?),
        tag::FLOAT => Scalar::Float(float_in(bytes)?),
        tag::BOOLEAN => Scalar::Boolean(bytes == [1]),
        tag::DATE => Scalar::Date(Date { days: i32::try_from(integer_in(bytes)?).ok()? }),
        tag::DATE_TIME => Scalar::DateTime(date_time_in(bytes)?),
        tag::DURATION => Scalar::Duration(Duration { ms: integer_in(bytes)? }),
        tag::ENUM => Scalar::Enum(text_in(bytes)?),
        tag::ENTITY => Scalar::Entity(EntityId::from_bytes(bytes.try_into().ok()?)),
        _ => return None,
    })
}

/// The order-preserving bytes of a value within its type, ended so that none is the beginning of another.
fn value_key(value: &Value) -> Option<Vec<u8>> {
    Some(match value {
        Value::Text(text) => text_key(tag::TEXT, text.as_str()),
        Value::Integer(number) => tagged(tag::INTEGER, &ordered_integer(*number)),
        Value::Float(number) => tagged(tag::FLOAT, &ordered_float(*number)),
        Value::Boolean(yes) => tagged(tag::BOOLEAN, &[u8::from(*yes)]),
        Value::Date(date) => tagged(tag::DATE, &ordered_integer(i64::from(date.days))),
        Value::DateTime(at) => {
            let offset = at.offset_min().map_or(0, |minutes| minutes.cast_unsigned() ^ OFFSET_BIT);
            tagged(tag::DATE_TIME, &[&ordered_integer(at.local_ms())[..], &offset.to_be_bytes()].concat())
        }
        Value::Duration(duration) => tagged(tag::DURATION, &ordered_integer(duration.ms)),
        Value::Enum(name) => text_key(tag::ENUM, name.as_str()),
        Value::Entity(entity) => tagged(tag::ENTITY, entity.as_bytes()),
        Value::Blob(blob) => tagged(tag::BLOB, blob.hash.as_bytes()),
        Value::List(_) => return None,
        Value::FieldRef(_) => vec![tag::FIELD_REF],
    })
}

fn tagged(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag], bytes].concat()
}

fn text_key(tag: u8, text: &str) -> Vec<u8> {
    let bytes = &text.as_bytes()[..text.len().min(INDEXED_TEXT_BYTES)];
    [&[tag], bytes, &[0]].concat()
}

/// Texts this long may have been cut.
fn text_in(bytes: &[u8]) -> Option<&str> {
    let (_, text) = bytes.split_last()?;
    if text.len() < INDEXED_TEXT_BYTES { std::str::from_utf8(text).ok() } else { None }
}

fn ordered_integer(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ SIGN_BIT).to_be_bytes()
}

fn integer_in(bytes: &[u8]) -> Option<i64> {
    Some((u64::from_be_bytes(bytes.try_into().ok()?) ^ SIGN_BIT).cast_signed())
}

fn ordered_float(number: Float) -> [u8; 8] {
    let bits = number.as_f64().to_bits();
    (if bits & SIGN_BIT == 0 { bits | SIGN_BIT } else { !bits }).to_be_bytes()
}

fn float_in(bytes: &[u8]) -> Option<f64> {
    let bits = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(f64::from_bits(if bits & SIGN_BIT == 0 { !bits } else { bits & !SIGN_BIT }))
}

fn date_time_in(bytes: &[u8]) -> Option<DateTime> {
    let (reading, offset) = bytes.split_at_checked(8)?;
    let offset = u16::from_be_bytes(offset.try_into().ok()?);
    let offset_min = (offset != 0).then_some((offset ^ OFFSET_BIT).cast_signed());
    DateTime::new(integer_in(reading)?, offset_min).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_indexed_value_reads_back_or_says_that_it_cannot() {
        let name = |text: &str| Name::new(text).unwrap();
        let (table, field, entity) = (name("t"), name("f"), EntityId::from_bytes([0; 16]));
        let time = |ms, offset| Value::DateTime(DateTime::new(ms, offset).unwrap());
        let mut values = vec![time(-1, None), time(1, Some(0)), time(1, Some(-1080)), Value::Entity([7; 16].into())];
        values.extend([i64::MIN, -1, 0, i64::MAX].map(Value::Integer));
        values.extend([i64::MIN, 5].map(|ms| Value::Duration(Duration { ms })));
        values.extend([i32::MIN, 5].map(|days| Value::Date(Date { days })));
        values.extend([f64::MIN, -0.5, 0.0, 1e-300, f64::MAX].map(|number| Value::float(number).unwrap()));
        values.extend([true, false].map(Value::Boolean));
        values.extend(
            (0..100).flat_map(|n| [Value::text(&"é".repeat(n)).unwrap(), Value::text(&"x".repeat(n)).unwrap()]),
        );
        values.extend((1..60).map(|n| Value::Enum(name(&"v".repeat(n)))));
        let prefix = super::values(&table, &field).from.len();
        let cell = Cell::Field { table, entity, field };
        for value in values {
            let entries = super::of_content(&cell, &Content::Value(value.clone()));
            let long = matches!(&value, Value::Text(t) if t.as_str().len() >= INDEXED_TEXT_BYTES)
                || matches!(&value, Value::Enum(t) if t.as_str().len() >= INDEXED_TEXT_BYTES);
            let expected = (!long).then(|| Scalar::from(&value));
            assert_eq!(value_in(&entries[0], prefix), expected, "{value:?}");
        }
    }
}
