//! Index entries: keys derived from what cells hold, by which records and edges are found without a scan.
//!
//! An entry says "some standing write says so"; whether that write is the one shown, the reader checks. So the
//! index is right however registers are read, and every layer of staged writes carries its own.

use openprod_model::ids::{EdgeId, EntityId};
use openprod_model::value::{Float, Name, Value};

use crate::cell::{Cell, Content, KeyBytes, KeyRange, KeyReader};

const FACET_OF: u8 = 1;
const EDGE_FROM: u8 = 2;
const EDGE_TO: u8 = 3;
const EQUALS: u8 = 4;

/// How much of a text enters its index key. Longer texts that begin alike share candidates.
const INDEXED_TEXT_BYTES: usize = 40;

/// The entries of a cell that holds `content`.
pub fn entries(cell: &Cell, content: &Content) -> Vec<Vec<u8>> {
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
    KeyRange::prefix(KeyBytes::tag(EQUALS).name(table).name(field).raw(&[FIELD_REF]).done())
}

/// All indexed values of a field, in the order of the values.
pub fn values(table: &Name, field: &Name) -> KeyRange {
    KeyRange::prefix(KeyBytes::tag(EQUALS).name(table).name(field).done())
}

/// The entity that an entry of [`equals`], [`references`] or [`values`] names.
pub fn entity_in(entry: &[u8]) -> Option<EntityId> {
    entry.last_chunk::<16>().map(|bytes| EntityId::from_bytes(*bytes))
}

const FIELD_REF: u8 = 12;

/// The order-preserving bytes of a value within its type, ended so that none is the beginning of another.
fn value_key(value: &Value) -> Option<Vec<u8>> {
    Some(match value {
        Value::Text(text) => text_key(1, text.as_str()),
        Value::Integer(number) => tagged(2, &ordered_integer(*number)),
        Value::Float(number) => tagged(3, &ordered_float(*number)),
        Value::Boolean(yes) => tagged(4, &[u8::from(*yes)]),
        Value::Date(date) => tagged(5, &ordered_integer(i64::from(date.days))),
        Value::DateTime(at) => {
            let offset = at.offset_min().map_or(0, |minutes| minutes.cast_unsigned() ^ 0x8000);
            tagged(6, &[&ordered_integer(at.local_ms())[..], &offset.to_be_bytes()].concat())
        }
        Value::Duration(duration) => tagged(7, &ordered_integer(duration.ms)),
        Value::Enum(name) => text_key(8, name.as_str()),
        Value::Entity(entity) => tagged(9, entity.as_bytes()),
        Value::Blob(blob) => tagged(10, blob.hash.as_bytes()),
        Value::List(_) => return None,
        Value::FieldRef(_) => vec![FIELD_REF],
    })
}

fn tagged(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag], bytes].concat()
}

fn text_key(tag: u8, text: &str) -> Vec<u8> {
    let bytes = &text.as_bytes()[..text.len().min(INDEXED_TEXT_BYTES)];
    [&[tag], bytes, &[0]].concat()
}

fn ordered_integer(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn ordered_float(number: Float) -> [u8; 8] {
    let bits = number.as_f64().to_bits();
    (if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }).to_be_bytes()
}
