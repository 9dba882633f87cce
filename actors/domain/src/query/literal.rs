//! Literals made into values of the column that they are compared with.

use jiff::SignedDuration;
use jiff::civil;
use jiff::fmt::temporal::{Pieces, PiecesOffset};
use openprod_model::ids::EntityId;
use openprod_model::value::{Date, DateTime, Duration, FieldType, Name, Text, Value};

use super::syntax::Literal;

const DAY_MS: i64 = 86_400_000;
const EPOCH: civil::Date = civil::date(1970, 1, 1);

/// What a literal is to a column.
#[derive(Debug, PartialEq)]
pub(super) enum Fitted {
    /// A value that the column could hold.
    Value(Value),
    /// No value.
    Null,
    /// The time that the caller gives.
    Now,
    /// Of another type: no comparison with it holds.
    Foreign,
    /// Text that was to become a value of the column's type and is none: what such text looks like.
    Malformed(&'static str),
}

/// Makes `literal` fit a column of type `field_type`.
pub(super) fn fit(literal: &Literal, field_type: &FieldType) -> Fitted {
    match (literal, field_type) {
        (Literal::Null, _) => Fitted::Null,
        (Literal::Now, FieldType::Date | FieldType::DateTime) => Fitted::Now,
        (Literal::Integer(number), FieldType::Integer | FieldType::Float) => Fitted::Value(Value::Integer(*number)),
        (Literal::Float(number), FieldType::Integer | FieldType::Float) => Fitted::Value(Value::Float(*number)),
        (Literal::Boolean(yes), FieldType::Boolean) => Fitted::Value(Value::Boolean(*yes)),
        (Literal::Text(text), _) => fit_text(text, field_type),
        _ => Fitted::Foreign,
    }
}

fn fit_text(text: &Text, field_type: &FieldType) -> Fitted {
    let parsed = |value: Option<Value>, looks: &'static str| value.map_or(Fitted::Malformed(looks), Fitted::Value);
    match field_type {
        FieldType::Text | FieldType::Document => Fitted::Value(Value::Text(text.clone())),
        FieldType::Enum { .. } => {
            Name::new(text.as_str()).map_or(Fitted::Foreign, |name| Fitted::Value(Value::Enum(name)))
        }
        FieldType::Date => parsed(date(text.as_str()).map(Value::Date), "a date, such as \"2026-05-01\""),
        FieldType::DateTime => {
            parsed(date_time(text.as_str()).map(Value::DateTime), "a date and time, such as \"2026-05-01T18:00\"")
        }
        FieldType::Duration => parsed(duration(text.as_str()).map(Value::Duration), "a duration, such as \"1h 30m\""),
        FieldType::Reference { .. } => {
            parsed(text.as_str().parse::<EntityId>().ok().map(Value::Entity), "a record's id, a UUID")
        }
        _ => Fitted::Foreign,
    }
}

fn days(date: civil::Date) -> Option<i32> {
    i32::try_from(date.duration_since(EPOCH).as_hours() / 24).ok()
}

fn date(text: &str) -> Option<Date> {
    let pieces = Pieces::parse(text).ok()?;
    let only_a_date = pieces.time().is_none() && pieces.offset().is_none();
    if only_a_date { days(pieces.date()).map(|days| Date { days }) } else { None }
}

/// A date alone is its midnight.
fn date_time(text: &str) -> Option<DateTime> {
    let pieces = Pieces::parse(text).ok()?;
    let reading = pieces.date().to_datetime(pieces.time().unwrap_or(civil::Time::midnight()));
    let local_ms = reading.duration_since(EPOCH.to_datetime(civil::Time::midnight())).as_millis();
    let offset_min = match pieces.offset() {
        None => None,
        Some(PiecesOffset::Numeric(offset)) => Some(i16::try_from(offset.offset().seconds() / 60).ok()?),
        Some(_) => Some(0),
    };
    DateTime::new(i64::try_from(local_ms).ok()?, offset_min).ok()
}

fn duration(text: &str) -> Option<Duration> {
    let length: SignedDuration = text.parse().ok()?;
    Some(Duration { ms: i64::try_from(length.as_millis()).ok()? })
}

/// The day or the reading that `$now` is to a column of type `field_type`.
pub(super) fn now_as(now: DateTime, field_type: &FieldType) -> Option<Value> {
    match field_type {
        FieldType::DateTime => Some(Value::DateTime(now)),
        FieldType::Date => {
            let days = i32::try_from(now.local_ms().div_euclid(DAY_MS)).ok()?;
            Some(Value::Date(Date { days }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_write_them() {
        assert_eq!(date("1970-01-03"), Some(Date { days: 2 }));
        assert_eq!(date("1969-12-31"), Some(Date { days: -1 }));
        assert_eq!((date("1970-01-03T10:00"), date("tomorrow"), date("1970-13-01")), (None, None, None));
        assert_eq!(date_time("1970-01-01T18:00"), DateTime::new(18 * 3_600_000, None).ok());
        assert_eq!(date_time("1970-01-01 18:00:00.5+02:00"), DateTime::new(18 * 3_600_000 + 500, Some(120)).ok());
        assert_eq!(date_time("1970-01-02"), DateTime::new(DAY_MS, None).ok());
        assert_eq!(date_time("1970-01-02T00:00Z"), DateTime::new(DAY_MS, Some(0)).ok());
        assert_eq!(duration("1h 30m"), Some(Duration { ms: 5_400_000 }));
        assert_eq!(duration("PT2.5S"), Some(Duration { ms: 2_500 }));
        let evening = DateTime::new(-1, None).unwrap();
        assert_eq!(now_as(evening, &FieldType::Date), Some(Value::Date(Date { days: -1 })));
    }
}
