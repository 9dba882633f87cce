//! Values read back from index entries, so that records which cannot match are never looked at.

use openprod_model::ids::EntityId;
use openprod_model::value::{Date, DateTime, Duration};

use super::scalar::Scalar;

/// Texts this long may have been cut when they entered the index.
const CUT_TEXT_BYTES: usize = 40;
const ENTITY_BYTES: usize = 16;

/// The value of `entry`, which begins with `prefix` bytes that name table and column; none if the entry does not
/// tell, because it is cut, stands for another record's field, or is of a type that is not read here.
pub(super) fn value_in(entry: &[u8], prefix: usize) -> Option<Scalar<'_>> {
    let (tag, bytes) = entry.get(prefix..entry.len().checked_sub(ENTITY_BYTES)?)?.split_first()?;
    Some(match *tag {
        1 => Scalar::Text(text(bytes)?),
        2 => Scalar::Integer(integer(bytes)?),
        3 => Scalar::Float(float(bytes)?),
        4 => Scalar::Boolean(bytes == [1]),
        5 => Scalar::Date(Date { days: i32::try_from(integer(bytes)?).ok()? }),
        6 => Scalar::DateTime(date_time(bytes)?),
        7 => Scalar::Duration(Duration { ms: integer(bytes)? }),
        8 => Scalar::Enum(text(bytes)?),
        9 => Scalar::Entity(EntityId::from_bytes(bytes.try_into().ok()?)),
        _ => return None,
    })
}

fn text(bytes: &[u8]) -> Option<&str> {
    let (_, text) = bytes.split_last()?;
    if text.len() < CUT_TEXT_BYTES { std::str::from_utf8(text).ok() } else { None }
}

fn integer(bytes: &[u8]) -> Option<i64> {
    Some((u64::from_be_bytes(bytes.try_into().ok()?) ^ (1 << 63)).cast_signed())
}

fn float(bytes: &[u8]) -> Option<f64> {
    let bits = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }))
}

fn date_time(bytes: &[u8]) -> Option<DateTime> {
    let (reading, offset) = bytes.split_at_checked(8)?;
    let offset = u16::from_be_bytes(offset.try_into().ok()?);
    let offset_min = (offset != 0).then_some((offset ^ 0x8000).cast_signed());
    DateTime::new(integer(reading)?, offset_min).ok()
}

#[cfg(test)]
mod tests {
    use openprod_model::value::{Name, Value};

    use super::*;
    use crate::cell::{Cell, Content};
    use crate::index;

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
        let prefix = index::values(&table, &field).from.len();
        let cell = Cell::Field { table, entity, field };
        for value in values {
            let entries = index::entries(&cell, &Content::Value(value.clone()));
            let long = matches!(&value, Value::Text(t) if t.as_str().len() >= CUT_TEXT_BYTES)
                || matches!(&value, Value::Enum(t) if t.as_str().len() >= CUT_TEXT_BYTES);
            let expected = (!long).then(|| Scalar::from(&value));
            assert_eq!(value_in(&entries[0], prefix), expected, "{value:?}");
        }
    }
}
