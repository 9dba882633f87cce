//! Values as queries compare them: numbers with numbers, text in natural order, times as instants where they can be.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::Chars;

use openprod_model::ids::EntityId;
use openprod_model::value::{Date, DateTime, Duration, List, Name, Value};

const MINUTE_MS: i64 = 60_000;

/// A value, borrowed from a cell or from an index entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar<'a> {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Date(Date),
    DateTime(DateTime),
    Duration(Duration),
    Text(&'a str),
    Enum(&'a str),
    Entity(EntityId),
    /// A file, by its name.
    Blob(&'a str),
    List(&'a List),
    /// A field reference that was not followed.
    Reference,
}

impl<'a> From<&'a Value> for Scalar<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.as_str()),
            Value::Integer(number) => Self::Integer(*number),
            Value::Float(number) => Self::Float(number.as_f64()),
            Value::Boolean(yes) => Self::Boolean(*yes),
            Value::Date(date) => Self::Date(*date),
            Value::DateTime(at) => Self::DateTime(*at),
            Value::Duration(length) => Self::Duration(*length),
            Value::Enum(name) => Self::Enum(name.as_str()),
            Value::Entity(entity) => Self::Entity(*entity),
            Value::Blob(blob) => Self::Blob(blob.name.as_str()),
            Value::List(list) => Self::List(list),
            Value::FieldRef(_) => Self::Reference,
        }
    }
}

/// How two values of the types that a comparison expects stand to each other; none if one is of another type.
/// `listed` are the values of the column's enum, in their order.
pub(super) fn compare(a: Scalar<'_>, b: Scalar<'_>, listed: &[Name]) -> Option<Ordering> {
    match (a, b) {
        (Scalar::DateTime(a), Scalar::DateTime(b)) => Some(compare_times(a, b)),
        _ => (class(a) == class(b)).then(|| order(a, b, listed)),
    }
}

/// The total order in which rows are sorted: by class of type, within it as people expect.
pub(super) fn order(a: Scalar<'_>, b: Scalar<'_>, listed: &[Name]) -> Ordering {
    match (a, b) {
        (Scalar::Boolean(a), Scalar::Boolean(b)) => a.cmp(&b),
        (Scalar::Integer(a), Scalar::Integer(b)) => a.cmp(&b),
        (Scalar::Float(a), Scalar::Float(b)) => a.total_cmp(&b),
        (Scalar::Integer(a), Scalar::Float(b)) => integer_to_float(a, b),
        (Scalar::Float(a), Scalar::Integer(b)) => integer_to_float(b, a).reverse(),
        (Scalar::Date(a), Scalar::Date(b)) => a.cmp(&b),
        (Scalar::DateTime(a), Scalar::DateTime(b)) => (instant(a), a).cmp(&(instant(b), b)),
        (Scalar::Duration(a), Scalar::Duration(b)) => a.cmp(&b),
        (Scalar::Text(a), Scalar::Text(b)) | (Scalar::Blob(a), Scalar::Blob(b)) => natural(a, b),
        (Scalar::Enum(a), Scalar::Enum(b)) => {
            let place = |name: &str| listed.iter().position(|known| known.as_str() == name).unwrap_or(usize::MAX);
            place(a).cmp(&place(b)).then_with(|| natural(a, b))
        }
        (Scalar::Entity(a), Scalar::Entity(b)) => a.cmp(&b),
        (Scalar::List(a), Scalar::List(b)) => a.cmp(b),
        _ => class(a).cmp(&class(b)),
    }
}

fn class(value: Scalar<'_>) -> u8 {
    match value {
        Scalar::Boolean(_) => 0,
        Scalar::Integer(_) | Scalar::Float(_) => 1,
        Scalar::Date(_) => 2,
        Scalar::DateTime(_) => 3,
        Scalar::Duration(_) => 4,
        Scalar::Text(_) => 5,
        Scalar::Enum(_) => 6,
        Scalar::Entity(_) => 7,
        Scalar::Blob(_) => 8,
        Scalar::List(_) => 9,
        Scalar::Reference => 10,
    }
}

/// Exact, where converting the integer to a float would round.
#[allow(clippy::cast_possible_truncation, reason = "the float was found to be within the range of i64")]
fn integer_to_float(integer: i64, float: f64) -> Ordering {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if float >= END {
        Ordering::Less
    } else if float < -END {
        Ordering::Greater
    } else {
        integer.cmp(&(float.trunc() as i64)).then_with(|| 0.0_f64.total_cmp(&(float.fract() + 0.0)))
    }
}

/// Two readings with offsets compare as instants; where one floats, both are readings of the same clock on the wall.
fn compare_times(a: DateTime, b: DateTime) -> Ordering {
    match (a.offset_min(), b.offset_min()) {
        (Some(_), Some(_)) => instant(a).cmp(&instant(b)),
        _ => a.local_ms().cmp(&b.local_ms()),
    }
}

/// Milliseconds since 1970 in UTC; a floating reading counts as UTC, so that sorting has one order.
fn instant(at: DateTime) -> i64 {
    at.local_ms().saturating_sub(i64::from(at.offset_min().unwrap_or(0)) * MINUTE_MS)
}

/// Natural order: runs of digits count as numbers and come before other characters, case does not matter; texts
/// that are alike so far compare exactly.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    loosely(a, b).then_with(|| a.cmp(b))
}

fn loosely(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (Parts::of(a), Parts::of(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) if a == b => {}
            // None sorts first: what ends here comes before what goes on.
            (a, b) => return a.cmp(&b),
        }
    }
}

/// A run of digits or another character; the derived order puts numbers first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    /// Without leading zeros: the longer is the greater, of equal length the later in order.
    Number(usize, &'a str),
    Char(char),
}

struct Parts<'a> {
    rest: Chars<'a>,
    /// What is left of a character whose lower case is several.
    lowered: Option<Peekable<std::char::ToLowercase>>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        Self { rest: text.chars(), lowered: None }
    }

    fn number(&mut self, from: &'a str) -> Part<'a> {
        let length = from.bytes().take_while(u8::is_ascii_digit).count();
        self.rest = from[length..].chars();
        let number = from[..length].trim_start_matches('0');
        Part::Number(number.len(), number)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if let Some(c) = self.lowered.as_mut().and_then(Iterator::next) {
            return Some(Part::Char(c));
        }
        let from = self.rest.as_str();
        let c = self.rest.next()?;
        if c.is_ascii_digit() {
            return Some(self.number(from));
        }
        if c.is_ascii() {
            return Some(Part::Char(c.to_ascii_lowercase()));
        }
        let mut lowered = c.to_lowercase().peekable();
        let first = lowered.next().unwrap_or(c);
        self.lowered = lowered.peek().is_some().then_some(lowered);
        Some(Part::Char(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cue_numbers_sort_as_a_stage_manager_reads_them() {
        let mut cues = ["A10", "10.5", "a3", "2", "A3", "10", "1", "LX 9", "LX 10", "", "02"];
        cues.sort_by(|a, b| natural(a, b));
        assert_eq!(cues, ["", "1", "02", "2", "10", "10.5", "A3", "a3", "A10", "LX 9", "LX 10"]);
    }

    #[test]
    fn numbers_compare_exactly_across_types() {
        let order = |a, b| compare(Scalar::Integer(a), Scalar::Float(b), &[]);
        assert_eq!(order(i64::MAX, 9_223_372_036_854_775_808.0), Some(Ordering::Less));
        assert_eq!(order(i64::MIN, -9_223_372_036_854_775_808.0), Some(Ordering::Equal));
        assert_eq!(order(2, 2.5), Some(Ordering::Less));
        assert_eq!(order(-2, -2.5), Some(Ordering::Greater));
        assert_eq!(order(0, -0.0), Some(Ordering::Equal));
        assert_eq!(compare(Scalar::Integer(1), Scalar::Text("1"), &[]), None);
    }

    #[test]
    fn times_with_offsets_are_instants_and_others_are_readings() {
        let time =
            |hours: i64, offset: Option<i16>| Scalar::DateTime(DateTime::new(hours * 3_600_000, offset).unwrap());
        assert_eq!(compare(time(18, Some(120)), time(16, Some(0)), &[]), Some(Ordering::Equal));
        assert_eq!(compare(time(18, Some(120)), time(18, None), &[]), Some(Ordering::Equal));
    }

    proptest! {
        #[test]
        fn natural_order_is_total(mut texts in prop::collection::vec("[aAbİß0-2. ]{0,6}", 3)) {
            texts.sort_by(|a, b| natural(a, b));
            for (i, a) in texts.iter().enumerate() {
                for b in &texts[i..] {
                    prop_assert_ne!(natural(a, b), Ordering::Greater);
                    prop_assert_eq!(natural(a, b), natural(b, a).reverse());
                    prop_assert_eq!(natural(a, b) == Ordering::Equal, a == b);
                }
            }
        }

        #[test]
        #[allow(clippy::cast_possible_truncation, reason = "floats beyond 128 bits stop at the end, where they belong")]
        fn integers_and_floats_have_one_order(
            a in any::<i64>(), b in any::<f64>(), c in -3_i64..3, d in -3.0_f64..3.0,
        ) {
            prop_assume!(b.is_finite());
            // Widening to 128 bits is exact for every float near an integer of 64 bits.
            let exact = |i: i64, f: f64| i128::from(i).cmp(&(f.floor() as i128)).then(f.floor().total_cmp(&f));
            prop_assert_eq!(integer_to_float(a, b), exact(a, b));
            prop_assert_eq!(integer_to_float(c, d), exact(c, d));
        }
    }
}
