//! Values from and to messages.

use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{BlobRef, Date, DateTime, Duration, FieldRef, Float, List, Primitive, Value};

use super::civil::{self, Civil};
use super::ids;
use super::path::{self, each, name, part, required, text};
use crate::v1;

const MS_PER_DAY: i64 = 86_400_000;

impl From<&Value> for v1::Value {
    fn from(value: &Value) -> Self {
        use v1::value::Kind;
        let kind = match value {
            Value::Text(text) => Kind::Text(text.to_string()),
            Value::Integer(number) => Kind::Integer(*number),
            Value::Float(number) => Kind::Float(number.as_f64()),
            Value::Boolean(truth) => Kind::Boolean(*truth),
            Value::Date(date) => Kind::Date((*date).into()),
            Value::DateTime(at) => Kind::Datetime((*at).into()),
            Value::Duration(length) => Kind::Duration((*length).into()),
            Value::Enum(name) => Kind::Enum(name.to_string()),
            Value::Entity(entity) => Kind::Entity(entity.to_string()),
            Value::Blob(blob) => Kind::Blob(blob.into()),
            Value::List(list) => Kind::List(list.into()),
            Value::FieldRef(target) => Kind::FieldRef(target.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Value> for Value {
    type Error = Refusal;
    fn try_from(value: v1::Value) -> Result<Self, Refusal> {
        use v1::value::Kind;
        Ok(match required(value.kind, "kind")? {
            Kind::Text(said) => Self::Text(text(&said, "text")?),
            Kind::Integer(number) => Self::Integer(number),
            Kind::Float(number) => Self::Float(float(number)?),
            Kind::Boolean(truth) => Self::Boolean(truth),
            Kind::Date(date) => Self::Date(part(date, "date")?),
            Kind::Datetime(at) => Self::DateTime(part(at, "datetime")?),
            Kind::Duration(length) => Self::Duration(length.into()),
            Kind::Enum(value) => Self::Enum(name(&value, "enum")?),
            Kind::Entity(entity) => Self::Entity(ids::id(&entity, "entity")?),
            Kind::Blob(blob) => Self::Blob(part(blob, "blob")?),
            Kind::List(list) => Self::List(part(list, "list")?),
            Kind::FieldRef(target) => Self::FieldRef(part(target, "field_ref")?),
        })
    }
}

impl From<&Primitive> for v1::Primitive {
    fn from(item: &Primitive) -> Self {
        use v1::primitive::Kind;
        let kind = match item {
            Primitive::Text(text) => Kind::Text(text.to_string()),
            Primitive::Integer(number) => Kind::Integer(*number),
            Primitive::Float(number) => Kind::Float(number.as_f64()),
            Primitive::Boolean(truth) => Kind::Boolean(*truth),
            Primitive::Date(date) => Kind::Date((*date).into()),
            Primitive::DateTime(at) => Kind::Datetime((*at).into()),
            Primitive::Duration(length) => Kind::Duration((*length).into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Primitive> for Primitive {
    type Error = Refusal;
    fn try_from(item: v1::Primitive) -> Result<Self, Refusal> {
        use v1::primitive::Kind;
        Ok(match required(item.kind, "kind")? {
            Kind::Text(said) => Self::Text(text(&said, "text")?),
            Kind::Integer(number) => Self::Integer(number),
            Kind::Float(number) => Self::Float(float(number)?),
            Kind::Boolean(truth) => Self::Boolean(truth),
            Kind::Date(date) => Self::Date(part(date, "date")?),
            Kind::Datetime(at) => Self::DateTime(part(at, "datetime")?),
            Kind::Duration(length) => Self::Duration(length.into()),
        })
    }
}

fn float(number: f64) -> Result<Float, Refusal> {
    Float::new(number).map_err(|invalid| Refusal::from(invalid).at("float"))
}

impl From<&List> for v1::List {
    fn from(list: &List) -> Self {
        Self { items: list.items().iter().map(v1::Primitive::from).collect() }
    }
}

impl TryFrom<v1::List> for List {
    type Error = Refusal;
    fn try_from(list: v1::List) -> Result<Self, Refusal> {
        let items = each(list.items, "items", Primitive::try_from)?;
        Self::try_from(items).map_err(|invalid| Refusal::from(invalid).at("items"))
    }
}

impl From<Date> for v1::Date {
    fn from(date: Date) -> Self {
        let Civil { year, month, day } = civil_of(date.days.into());
        Self { year, month, day }
    }
}

impl TryFrom<v1::Date> for Date {
    type Error = Refusal;
    fn try_from(date: v1::Date) -> Result<Self, Refusal> {
        let days = civil::days(Civil { year: date.year, month: date.month, day: date.day });
        let days = days.and_then(|days| i32::try_from(days).ok());
        days.map(|days| Self { days }).ok_or_else(|| no_such_day(date.year, date.month, date.day))
    }
}

impl From<DateTime> for v1::DateTime {
    fn from(at: DateTime) -> Self {
        let Civil { year, month, day } = civil_of(at.local_ms().div_euclid(MS_PER_DAY));
        let ms = i32::try_from(at.local_ms().rem_euclid(MS_PER_DAY)).expect("a day's milliseconds fit into 32 bits");
        Self {
            year,
            month,
            day,
            hour: ms / 3_600_000,
            minute: ms / 60_000 % 60,
            second: ms / 1_000 % 60,
            millisecond: ms % 1_000,
            utc_offset_minutes: at.offset_min().map(i32::from),
        }
    }
}

impl TryFrom<v1::DateTime> for DateTime {
    type Error = Refusal;
    fn try_from(at: v1::DateTime) -> Result<Self, Refusal> {
        let days = civil::days(Civil { year: at.year, month: at.month, day: at.day });
        let local_ms = days.and_then(|days| days.checked_mul(MS_PER_DAY)?.checked_add(ms_of_day(&at)?));
        let local_ms = local_ms.ok_or_else(|| no_such_time(&at))?;
        let offset = at.utc_offset_minutes.map(|minutes| i16::try_from(minutes).unwrap_or(i16::MAX));
        Self::new(local_ms, offset).map_err(|invalid| Refusal::from(invalid).at("utc_offset_minutes"))
    }
}

fn ms_of_day(at: &v1::DateTime) -> Option<i64> {
    let inside = |number: i32, below: i32| (0..below).contains(&number).then_some(i64::from(number));
    let (hour, minute) = (inside(at.hour, 24)?, inside(at.minute, 60)?);
    Some(((hour * 60 + minute) * 60 + inside(at.second, 60)?) * 1_000 + inside(at.millisecond, 1_000)?)
}

fn civil_of(days: i64) -> Civil {
    civil::civil(days).expect("the days of 64-bit milliseconds lie within 32-bit years")
}

fn no_such_day(year: i32, month: i32, day: i32) -> Refusal {
    Refusal::new(Reason::InvalidValue, format!("There is no day {year:04}-{month:02}-{day:02}."))
}

fn no_such_time(at: &v1::DateTime) -> Refusal {
    let v1::DateTime { year, month, day, hour, minute, second, millisecond, .. } = at;
    let time = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}");
    Refusal::new(Reason::InvalidValue, format!("There is no time {time}."))
}

impl From<Duration> for v1::Duration {
    fn from(length: Duration) -> Self {
        Self { milliseconds: length.ms }
    }
}

impl From<v1::Duration> for Duration {
    fn from(length: v1::Duration) -> Self {
        Self { ms: length.milliseconds }
    }
}

impl From<&BlobRef> for v1::BlobRef {
    fn from(blob: &BlobRef) -> Self {
        Self {
            hash: blob.hash.to_string(),
            size: blob.size,
            name: blob.name.to_string(),
            media_type: blob.media_type.to_string(),
        }
    }
}

impl TryFrom<v1::BlobRef> for BlobRef {
    type Error = Refusal;
    fn try_from(blob: v1::BlobRef) -> Result<Self, Refusal> {
        Ok(Self {
            hash: ids::id(&blob.hash, "hash")?,
            size: blob.size,
            name: text(&blob.name, "name")?,
            media_type: text(&blob.media_type, "media_type")?,
        })
    }
}

impl From<&FieldRef> for v1::FieldRef {
    fn from(target: &FieldRef) -> Self {
        Self { entity: target.entity.to_string(), table: target.table.to_string(), field: target.field.to_string() }
    }
}

impl TryFrom<v1::FieldRef> for FieldRef {
    type Error = Refusal;
    fn try_from(target: v1::FieldRef) -> Result<Self, Refusal> {
        Ok(Self {
            entity: ids::id(&target.entity, "entity")?,
            table: path::name(&target.table, "table")?,
            field: path::name(&target.field, "field")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    proptest! {
        #[test]
        fn every_value_comes_back(value in samples::value()) {
            prop_assert_eq!(Value::try_from(v1::Value::from(&value)), Ok(value));
        }
    }

    fn refused(kind: v1::value::Kind) -> Refusal {
        Value::try_from(v1::Value { kind: Some(kind) }).unwrap_err()
    }

    #[test]
    fn a_value_that_says_nothing_is_refused() {
        let refusal = Value::try_from(v1::Value { kind: None }).unwrap_err();
        assert_eq!((refusal.reason, refusal.at.as_str()), (Reason::InvalidRequest, "kind"));
    }

    #[test]
    fn the_place_of_a_bad_item_is_named() {
        let good = v1::Primitive { kind: Some(v1::primitive::Kind::Integer(1)) };
        let bad = v1::Primitive { kind: Some(v1::primitive::Kind::Float(f64::NAN)) };
        let refusal = refused(v1::value::Kind::List(v1::List { items: vec![good, bad] }));
        assert_eq!((refusal.reason, refusal.at.as_str()), (Reason::InvalidValue, "list.items[1].float"));
    }

    #[test]
    fn the_31st_of_april_is_refused() {
        let refusal = refused(v1::value::Kind::Date(v1::Date { year: 2026, month: 4, day: 31 }));
        assert_eq!((refusal.at.as_str(), refusal.message.as_str()), ("date", "There is no day 2026-04-31."));
    }

    #[test]
    fn times_and_offsets_that_no_clock_shows_are_refused() {
        let noon = v1::DateTime { year: 2026, month: 11, day: 20, hour: 12, ..Default::default() };
        let wrong = [
            v1::DateTime { hour: 24, ..noon },
            v1::DateTime { minute: -1, ..noon },
            v1::DateTime { second: 60, ..noon },
            v1::DateTime { year: i32::MAX, ..noon },
            v1::DateTime { utc_offset_minutes: Some(70_000), ..noon },
        ];
        for at in wrong {
            assert_eq!(refused(v1::value::Kind::Datetime(at)).reason, Reason::InvalidValue, "{at:?}");
        }
    }
}
