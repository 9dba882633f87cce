//! Items of a list as Yrs holds them.
//!
//! | type | as | |
//! |---|---|---|
//! | text | string | normalized where it is read |
//! | integer | number | one beyond 2^31 may come back as a float without fraction |
//! | float | number | NaN and the infinities do not read back |
//! | boolean | boolean | |
//! | date | number | days since 1970-01-01 |
//! | datetime | string | milliseconds on the wall clock, then, where given, a space and the offset in minutes |
//! | duration | number | milliseconds |

use openprod_model::value::{Date, DateTime, Duration, Float, Primitive, PrimitiveType, Text};
use yrs::{Any, Number};

/// `item` as Yrs holds it.
pub(super) fn to_any(item: &Primitive) -> Any {
    match item {
        Primitive::Text(text) => Any::String(text.as_str().into()),
        Primitive::Integer(number) => Any::Number(Number::Int(*number)),
        Primitive::Float(number) => Any::Number(Number::Float(number.as_f64())),
        Primitive::Boolean(yes) => Any::Bool(*yes),
        Primitive::Date(date) => Any::Number(Number::Int(i64::from(date.days))),
        Primitive::DateTime(at) => Any::String(datetime_text(*at).into()),
        Primitive::Duration(duration) => Any::Number(Number::Int(duration.ms)),
    }
}

/// What `any` says, if it reads back as an item of type `item`.
pub(super) fn from_any(any: &Any, item: PrimitiveType) -> Option<Primitive> {
    match (item, any) {
        (PrimitiveType::Text, Any::String(text)) => Text::new(text).ok().map(Primitive::Text),
        (PrimitiveType::Integer, Any::Number(number)) => whole(*number).map(Primitive::Integer),
        (PrimitiveType::Float, Any::Number(number)) => Float::new(float(*number)).ok().map(Primitive::Float),
        (PrimitiveType::Boolean, Any::Bool(yes)) => Some(Primitive::Boolean(*yes)),
        (PrimitiveType::Date, Any::Number(number)) => {
            let days = i32::try_from(whole(*number)?).ok()?;
            Some(Primitive::Date(Date { days }))
        }
        (PrimitiveType::DateTime, Any::String(text)) => read_datetime(text).map(Primitive::DateTime),
        (PrimitiveType::Duration, Any::Number(number)) => whole(*number).map(|ms| Primitive::Duration(Duration { ms })),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "what a browser writes as 3 is meant as 3.0; more it cannot hold")]
fn float(number: Number) -> f64 {
    match number {
        Number::Int(number) => number as f64,
        Number::Float(number) => number,
    }
}

/// Yrs writes an integer beyond 2^31 as a float where that loses nothing (and `i64::MAX` as 2^63, which saturates).
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within range just before")]
fn whole(number: Number) -> Option<i64> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    match number {
        Number::Int(number) => Some(number),
        Number::Float(number) if number.fract() == 0.0 && number.abs() <= BOUND => Some(number as i64),
        Number::Float(_) => None,
    }
}

fn datetime_text(at: DateTime) -> String {
    let offset = at.offset_min().map(|minutes| format!(" {minutes}"));
    format!("{}{}", at.local_ms(), offset.unwrap_or_default())
}

fn read_datetime(text: &str) -> Option<DateTime> {
    let (ms, offset) = text.split_once(' ').map_or((text, None), |(ms, offset)| (ms, Some(offset)));
    let offset = offset.map(str::parse).transpose().ok()?;
    DateTime::new(ms.parse().ok()?, offset).ok()
}
