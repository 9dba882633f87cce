//! A value as text and back: the one spelling that the command line, imports and exports share.
//!
//! [`parse_value`] takes back exactly what [`format_value`] wrote, and some other spellings that people use. Two
//! things it cannot take back, because a cell cannot say them: empty text, which is no value, and in a column of text
//! a reference to another field, which stays text.

use std::time::Duration as Span;

use jiff::civil;
use openprod_model::ids::EntityId;
use openprod_model::value::{
    BlobRef, Date, DateTime, Duration, FieldRef, FieldType, Float, List, Name, Primitive, PrimitiveType, Text, Value,
};
use serde_json::Value as Json;

use super::error::{listed, shown};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Reads `text` as a value of type `field_type`. Empty text is no value. The error is a sentence that says what was
/// expected.
///
/// Except in text and file names, white space at the ends does not count. Spellings other than those of
/// [`format_value`]: `+5`; `yes`, `no`, `on`, `off`, `1`, `0` for booleans, in any case; a blank for the `T` of a date
/// and time, no seconds, an offset as `+0200` or `+02`; durations as `90`, `90s`, `1m30s`, `1:30` (minutes and
/// seconds); enum values in another case if only one is meant. Field references, as `record/table/field`, are read in
/// every column that is not of text.
pub fn parse_value(text: &str, field_type: &FieldType) -> Result<Option<Value>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if *field_type == FieldType::Text {
        return Value::text(text).map(Some).map_err(|invalid| format!("\"{}\": {invalid}.", shown(text)));
    }
    if text.trim().is_empty() {
        return Ok(None);
    }
    match typed(text, field_type) {
        Some(value) => Ok(Some(value)),
        None => parse_field_ref(text.trim()).map(Some).ok_or_else(|| expected(text, field_type)),
    }
}

/// The text of a value, without loss: `2024-03-01`, `2024-03-01T18:00:00.500+02:00`, `1:02:03.5` (hours, minutes,
/// seconds), `["a","b"]` (JSON), `plot.pdf [blake3:HASH SIZE MEDIA/TYPE]`, `record/table/field` with `~1` for a slash
/// and `~0` for a tilde in a name (RFC 6901).
pub fn format_value(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.as_f64().to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Date(date) => format_date(*date),
        Value::DateTime(at) => format_datetime(*at),
        Value::Duration(length) => format_duration(*length),
        Value::Enum(name) => name.to_string(),
        Value::Entity(entity) => entity.to_string(),
        Value::Blob(blob) => format_blob(blob),
        Value::List(list) => Json::Array(list.items().iter().map(item_json).collect()).to_string(),
        Value::FieldRef(field) => format!("{}/{}/{}", field.entity, escaped(&field.table), escaped(&field.field)),
    }
}

fn typed(text: &str, field_type: &FieldType) -> Option<Value> {
    let trimmed = text.trim();
    match field_type {
        FieldType::Text | FieldType::Document => Value::text(text).ok(),
        FieldType::Integer => trimmed.parse().ok().map(Value::Integer),
        FieldType::Float => parse_float(trimmed).map(Value::Float),
        FieldType::Boolean => parse_boolean(trimmed).map(Value::Boolean),
        FieldType::Date => parse_date(trimmed).map(Value::Date),
        FieldType::DateTime => parse_datetime(trimmed).map(Value::DateTime),
        FieldType::Duration => parse_duration(trimmed).map(Value::Duration),
        FieldType::Enum { values } => parse_enum(trimmed, values).map(Value::Enum),
        FieldType::Reference { .. } => trimmed.parse().ok().map(Value::Entity),
        FieldType::Blob => parse_blob(text).map(Value::Blob),
        FieldType::List { item } | FieldType::Sequence { item } => parse_list(trimmed, *item).map(Value::List),
    }
}

fn expected(text: &str, field_type: &FieldType) -> String {
    let what = match field_type {
        FieldType::Text | FieldType::Document => "text".to_owned(),
        FieldType::Integer => "a whole number such as 42".to_owned(),
        FieldType::Float => "a number such as 4.5".to_owned(),
        FieldType::Boolean => "true or false".to_owned(),
        FieldType::Date => "a date such as 2024-03-01".to_owned(),
        FieldType::DateTime => "a date and time such as 2024-03-01T18:00:00".to_owned(),
        FieldType::Duration => "a duration such as 1:02:03.5 (hours, minutes, seconds) or 90s".to_owned(),
        FieldType::Enum { values } => format!("one of {}", listed(values.iter().map(Name::as_str))),
        FieldType::Reference { .. } => "the id of a record (a UUID)".to_owned(),
        FieldType::Blob => "a file such as plot.pdf [blake3:HASH SIZE MEDIA/TYPE]".to_owned(),
        FieldType::List { item } | FieldType::Sequence { item } => {
            format!("a JSON array of type {} such as {}", item.word(), list_example(*item))
        }
    };
    format!("\"{}\" is not {what}.", shown(text))
}

fn list_example(item: PrimitiveType) -> &'static str {
    match item {
        PrimitiveType::Text => r#"["a","b"]"#,
        PrimitiveType::Integer | PrimitiveType::Float => "[1,2]",
        PrimitiveType::Boolean => "[true,false]",
        PrimitiveType::Date => r#"["2024-03-01"]"#,
        PrimitiveType::DateTime => r#"["2024-03-01T18:00:00"]"#,
        PrimitiveType::Duration => r#"["0:01:30"]"#,
    }
}

/// Decimal or exponent form; the words for infinities and NaN are text to us.
fn parse_float(text: &str) -> Option<Float> {
    let numeric = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    Float::new(text.parse().ok().filter(|_| numeric)?).ok()
}

fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn parse_enum(text: &str, values: &[Name]) -> Option<Name> {
    let name = Name::new(text).ok()?;
    let folded = name.as_str().to_lowercase();
    let mut alike = values.iter().filter(|value| value.as_str().to_lowercase() == folded);
    match (values.contains(&name), alike.next(), alike.next()) {
        (true, _, _) => Some(name),
        (false, Some(only), None) => Some(only.clone()),
        _ => None,
    }
}

// Dates. The calendar is jiff's, years -9999 to 9999; what lies beyond is written as a count of days.

const EPOCH: civil::Date = civil::date(1970, 1, 1);

fn format_date(date: Date) -> String {
    match civil_date(i64::from(date.days)) {
        Some(civil) => civil_text(civil),
        None => format!("day {}", date.days),
    }
}

fn parse_date(text: &str) -> Option<Date> {
    if let Some(days) = text.strip_prefix("day ") {
        return Some(Date { days: days.parse().ok()? });
    }
    Some(Date { days: i32::try_from(days_since_epoch(text)?).ok()? })
}

fn civil_date(days: i64) -> Option<civil::Date> {
    let hours = i32::try_from(days).ok()?.checked_mul(24)?;
    EPOCH.checked_add(jiff::SignedDuration::from_hours(i64::from(hours))).ok()
}

fn civil_text(date: civil::Date) -> String {
    let (year, month, day) = (date.year(), date.month(), date.day());
    if year < 0 { format!("{year:07}-{month:02}-{day:02}") } else { format!("{year:04}-{month:02}-{day:02}") }
}

/// Of `YYYY-MM-DD`, or `-YYYYYY-MM-DD` before year 0.
fn days_since_epoch(text: &str) -> Option<i64> {
    let (before_zero, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let [year, month, day] = unsigned.split('-').collect::<Vec<_>>().try_into().ok()?;
    let year = digits(year, if before_zero { 6 } else { 4 })?;
    let year = i16::try_from(if before_zero { -year } else { year }).ok()?;
    let date = civil::Date::new(year, two_digits(month)?, two_digits(day)?).ok()?;
    Some(date.duration_since(EPOCH).as_hours() / 24)
}

fn digits(text: &str, len: usize) -> Option<i64> {
    (text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn two_digits(text: &str) -> Option<i8> {
    digits(text, 2).and_then(|number| i8::try_from(number).ok())
}

fn format_datetime(at: DateTime) -> String {
    let (day, ms) = (at.local_ms().div_euclid(DAY_MS), at.local_ms().rem_euclid(DAY_MS));
    let offset = at.offset_min().map_or_else(String::new, format_offset);
    match civil_date(day) {
        Some(date) => format!("{}T{}{offset}", civil_text(date), format_clock(ms)),
        None => format!("ms {} {offset}", at.local_ms()).trim_end().to_owned(),
    }
}

fn format_clock(ms: i64) -> String {
    let (h, m, s) = (ms / HOUR_MS, ms / MINUTE_MS % 60, ms / SECOND_MS % 60);
    match ms % SECOND_MS {
        0 => format!("{h:02}:{m:02}:{s:02}"),
        ms => format!("{h:02}:{m:02}:{s:02}.{ms:03}"),
    }
}

fn format_offset(minutes: i16) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    match minutes.abs() {
        0 => "Z".to_owned(),
        size => format!("{sign}{:02}:{:02}", size / 60, size % 60),
    }
}

fn parse_datetime(text: &str) -> Option<DateTime> {
    if let Some(counted) = text.strip_prefix("ms ") {
        let (ms, offset) = counted.split_once(' ').map_or((counted, None), |(ms, offset)| (ms, Some(offset)));
        let offset = match offset {
            Some(offset) => Some(parse_offset(offset)?),
            None => None,
        };
        return DateTime::new(ms.parse().ok()?, offset).ok();
    }
    let (date, time) = text.split_once(['T', ' '])?;
    let (clock, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => (&time[..at], Some(parse_offset(&time[at..])?)),
        None => (time, None),
    };
    let ms = days_since_epoch(date)?.checked_mul(DAY_MS)?.checked_add(parse_clock(clock)?)?;
    DateTime::new(ms, offset).ok()
}

/// Milliseconds since midnight of `HH:MM`, `HH:MM:SS` or `HH:MM:SS.mmm`.
fn parse_clock(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let (h, m) = (two_digits(parts.next()?)?, two_digits(parts.next()?)?);
    let (whole, fraction) =
        parts.next().map_or(("00", None), |s| s.split_once('.').map_or((s, None), |(s, f)| (s, Some(f))));
    let ms = fraction.map_or(Some(0), thousandths_after_point)?;
    let time = civil::Time::new(h, m, two_digits(whole)?, 0).ok()?;
    Some(time.duration_since(civil::Time::midnight()).as_secs() * SECOND_MS + ms)
}

fn parse_offset(text: &str) -> Option<i16> {
    let sign = match text.as_bytes().first()? {
        b'Z' if text.len() == 1 => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = match (text.len(), text.get(1..3), text.get(3..)) {
        (3, Some(hours), _) => (hours, "00"),
        (5 | 6, Some(hours), Some(minutes)) => (hours, minutes.trim_start_matches(':')),
        _ => return None,
    };
    let (hours, minutes) = (i16::from(two_digits(hours)?), i16::from(two_digits(minutes)?));
    (minutes < 60).then_some(sign * (hours * 60 + minutes))
}

// Durations.

/// Hours always stand there: "1:30" alone is minutes to one program and hours to the next.
fn format_duration(length: Duration) -> String {
    let sign = if length.ms < 0 { "-" } else { "" };
    let whole = Span::from_millis(length.ms.unsigned_abs());
    let (h, m, s) = (whole.as_secs() / 3600, whole.as_secs() / 60 % 60, whole.as_secs() % 60);
    let fraction = match whole.subsec_millis() {
        0 => String::new(),
        ms => format!(".{ms:03}").trim_end_matches('0').to_owned(),
    };
    format!("{sign}{h}:{m:02}:{s:02}{fraction}")
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let ms = if unsigned.contains(':') {
        parse_colons(unsigned)?
    } else if unsigned.ends_with(|c: char| c.is_ascii_alphabetic()) {
        parse_units(unsigned)?
    } else {
        thousandths(unsigned)?
    };
    Some(Duration { ms: i64::try_from(sign * ms).ok()? })
}

/// Milliseconds of `m:ss` or `h:mm:ss`, either with up to three decimals. Only the first part may exceed 59.
fn parse_colons(text: &str) -> Option<i128> {
    let parts: Vec<&str> = text.split(':').collect();
    let (seconds, upper) = parts.split_last()?;
    let seconds = thousandths(seconds).filter(|ms| *ms < i128::from(MINUTE_MS))?;
    let minute_or_hour = |text: &&str| thousandths(text).filter(|_| !text.contains('.')).map(|n| n / 1000);
    match upper {
        [minutes] => Some(minute_or_hour(minutes)? * i128::from(MINUTE_MS) + seconds),
        [hours, minutes] => {
            let minutes = minute_or_hour(minutes).filter(|minutes| *minutes < 60)?;
            Some(minute_or_hour(hours)? * i128::from(HOUR_MS) + minutes * i128::from(MINUTE_MS) + seconds)
        }
        _ => None,
    }
}

/// Milliseconds of numbers with units, largest first: `1h`, `1m30s`, `1.5 min`, `250ms`.
fn parse_units(text: &str) -> Option<i128> {
    let (mut rest, mut total, mut limit) = (text, 0, i64::MAX);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let (word, next) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let unit = unit_ms(word).filter(|unit| *unit < limit)?;
        let exact = thousandths(number.trim())? * i128::from(unit);
        total += (exact % 1000 == 0).then_some(exact / 1000)?;
        (rest, limit) = (next.trim_start(), unit);
    }
    Some(total)
}

fn unit_ms(word: &str) -> Option<i64> {
    match word {
        "h" | "hr" => Some(HOUR_MS),
        "m" | "min" => Some(MINUTE_MS),
        "s" | "sec" => Some(SECOND_MS),
        "ms" => Some(1),
        _ => None,
    }
}

/// A thousand times the decimal number `text`, which has at most three decimals and no sign.
fn thousandths(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').map_or((text, "0"), |(whole, fraction)| (whole, fraction));
    let fraction = thousandths_after_point(fraction)?;
    let whole: u64 = whole.parse().ok().filter(|_| !whole.starts_with('+'))?;
    Some(i128::from(whole) * 1000 + i128::from(fraction))
}

fn thousandths_after_point(fraction: &str) -> Option<i64> {
    (1..=3).contains(&fraction.len()).then(|| digits(&format!("{fraction:0<3}"), 3))?
}

// Files, lists, references.

fn format_blob(blob: &BlobRef) -> String {
    let media_type = match blob.media_type.as_str() {
        "" => String::new(),
        media_type => format!(" {media_type}"),
    };
    format!("{} [blake3:{} {}{media_type}]", blob.name, blob.hash, blob.size)
}

fn parse_blob(text: &str) -> Option<BlobRef> {
    let (name, rest) = text.trim_end().strip_suffix(']')?.rsplit_once(" [blake3:")?;
    let mut parts = rest.splitn(3, ' ');
    Some(BlobRef {
        hash: parts.next()?.parse().ok()?,
        size: parts.next()?.parse().ok()?,
        name: Text::new(name).ok()?,
        media_type: Text::new(parts.next().unwrap_or_default()).ok()?,
    })
}

/// A list item as JSON: numbers and booleans as such, all else as the text of [`format_value`].
pub(super) fn item_json(item: &Primitive) -> Json {
    match item {
        Primitive::Text(text) => text.as_str().into(),
        Primitive::Integer(number) => (*number).into(),
        Primitive::Float(number) => number.as_f64().into(),
        Primitive::Boolean(yes) => (*yes).into(),
        Primitive::Date(date) => format_date(*date).into(),
        Primitive::DateTime(at) => format_datetime(*at).into(),
        Primitive::Duration(length) => format_duration(*length).into(),
    }
}

fn parse_list(text: &str, item: PrimitiveType) -> Option<List> {
    let items: Option<Vec<Primitive>> = match item {
        PrimitiveType::Float => parse_floats(text),
        _ => serde_json::from_str::<Vec<Json>>(text).ok()?.iter().map(|json| parse_item(json, item)).collect(),
    };
    List::try_from(items?).ok()
}

/// Without serde_json, which may read the last digit of a float wrongly.
fn parse_floats(text: &str) -> Option<Vec<Primitive>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    if inner.trim().is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(|number| parse_float(number.trim()).map(Primitive::Float)).collect()
}

fn parse_item(json: &Json, item: PrimitiveType) -> Option<Primitive> {
    match item {
        PrimitiveType::Text => Text::new(json.as_str()?).ok().map(Primitive::Text),
        PrimitiveType::Integer => json.as_i64().map(Primitive::Integer),
        PrimitiveType::Float => Float::new(json.as_f64()?).ok().map(Primitive::Float),
        PrimitiveType::Boolean => json.as_bool().map(Primitive::Boolean),
        PrimitiveType::Date => parse_date(json.as_str()?).map(Primitive::Date),
        PrimitiveType::DateTime => parse_datetime(json.as_str()?).map(Primitive::DateTime),
        PrimitiveType::Duration => parse_duration(json.as_str()?).map(Primitive::Duration),
    }
}

fn parse_field_ref(text: &str) -> Option<Value> {
    let [entity, table, field] = text.split('/').collect::<Vec<_>>().try_into().ok()?;
    let entity: EntityId = entity.parse().ok()?;
    Some(Value::FieldRef(FieldRef { entity, table: unescaped(table)?, field: unescaped(field)? }))
}

fn escaped(name: &Name) -> String {
    name.as_str().replace('~', "~0").replace('/', "~1")
}

fn unescaped(text: &str) -> Option<Name> {
    Name::new(&text.replace("~1", "/").replace("~0", "~")).ok()
}

#[cfg(test)]
mod tests {
    use openprod_model::ids::BlobHash;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIST_TYPES: [PrimitiveType; 7] = [
        PrimitiveType::Text,
        PrimitiveType::Integer,
        PrimitiveType::Float,
        PrimitiveType::Boolean,
        PrimitiveType::Date,
        PrimitiveType::DateTime,
        PrimitiveType::Duration,
    ];

    fn name() -> impl Strategy<Value = Name> {
        "[a-zé/~][a-z /~]{0,6}[a-z~/]".prop_map(|name| Name::new(&name).expect("a name"))
    }

    fn text() -> impl Strategy<Value = Text> {
        any::<String>().prop_filter_map("no NUL", |text| Text::new(&text).ok())
    }

    fn datetime() -> impl Strategy<Value = DateTime> {
        let near = -400_000_000_000_000_i64..400_000_000_000_000;
        let ms = prop_oneof![any::<i64>(), near.clone(), near.prop_map(|ms| ms / 1000 * 1000)];
        (ms, prop::option::of(-1080_i16..=1080)).prop_map(|(ms, offset)| DateTime::new(ms, offset).expect("in range"))
    }

    fn date() -> impl Strategy<Value = Date> {
        prop_oneof![any::<i32>(), -5_000_000..5_000_000].prop_map(|days| Date { days })
    }

    fn duration() -> impl Strategy<Value = Duration> {
        prop_oneof![any::<i64>(), -100_000_000_i64..100_000_000].prop_map(|ms| Duration { ms })
    }

    fn float() -> impl Strategy<Value = Float> {
        any::<f64>().prop_filter_map("finite", |number| Float::new(number).ok())
    }

    fn primitive(item: PrimitiveType) -> BoxedStrategy<Primitive> {
        match item {
            PrimitiveType::Text => text().prop_map(Primitive::Text).boxed(),
            PrimitiveType::Integer => any::<i64>().prop_map(Primitive::Integer).boxed(),
            PrimitiveType::Float => float().prop_map(Primitive::Float).boxed(),
            PrimitiveType::Boolean => any::<bool>().prop_map(Primitive::Boolean).boxed(),
            PrimitiveType::Date => date().prop_map(Primitive::Date).boxed(),
            PrimitiveType::DateTime => datetime().prop_map(Primitive::DateTime).boxed(),
            PrimitiveType::Duration => duration().prop_map(Primitive::Duration).boxed(),
        }
    }

    fn list() -> impl Strategy<Value = (FieldType, Value)> {
        prop::sample::select(&LIST_TYPES[..]).prop_flat_map(|item| {
            let list = |items| Value::List(List::try_from(items).expect("short"));
            vec(primitive(item), 0..4).prop_map(move |items| (FieldType::List { item }, list(items)))
        })
    }

    fn blob() -> impl Strategy<Value = Value> {
        let media_type = "([a-z]{1,5}/[a-z.+-]{1,8}(; charset=[a-z]{1,4})?)?";
        (any::<[u8; 32]>(), any::<u64>(), text(), media_type).prop_map(|(hash, size, name, media_type)| {
            let media_type = Text::new(&media_type).expect("text");
            Value::Blob(BlobRef { hash: BlobHash::from_bytes(hash), size, name, media_type })
        })
    }

    fn entity() -> impl Strategy<Value = EntityId> {
        any::<[u8; 16]>().prop_map(EntityId::from_bytes)
    }

    fn field_ref() -> impl Strategy<Value = (FieldType, Value)> {
        let types = [FieldType::Integer, FieldType::Blob, FieldType::Reference { table: None }, FieldType::Duration];
        (prop::sample::select(types.to_vec()), entity(), name(), name())
            .prop_map(|(of, entity, table, field)| (of, Value::FieldRef(FieldRef { entity, table, field })))
    }

    fn any_value() -> impl Strategy<Value = (FieldType, Value)> {
        prop_oneof![
            text().prop_filter("not empty", |t| !t.as_str().is_empty()).prop_map(|t| (FieldType::Text, Value::Text(t))),
            any::<i64>().prop_map(|number| (FieldType::Integer, Value::Integer(number))),
            float().prop_map(|number| (FieldType::Float, Value::Float(number))),
            any::<bool>().prop_map(|yes| (FieldType::Boolean, Value::Boolean(yes))),
            date().prop_map(|date| (FieldType::Date, Value::Date(date))),
            datetime().prop_map(|at| (FieldType::DateTime, Value::DateTime(at))),
            duration().prop_map(|length| (FieldType::Duration, Value::Duration(length))),
            vec(name(), 1..4)
                .prop_map(|values| (FieldType::Enum { values: values.clone() }, Value::Enum(values[0].clone()))),
            entity().prop_map(|entity| (FieldType::Reference { table: None }, Value::Entity(entity))),
            blob().prop_map(|blob| (FieldType::Blob, blob)),
            list(),
            field_ref(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn every_value_comes_back((field_type, value) in any_value()) {
            let text = format_value(&value);
            prop_assert_eq!(parse_value(&text, &field_type), Ok(Some(value)), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), odd in "[-+0-9:.TZhms \\[\\]/,]{0,20}") {
            for item in LIST_TYPES {
                let _ = parse_value(&odd, &FieldType::List { item });
            }
            for field_type in [FieldType::Date, FieldType::DateTime, FieldType::Duration, FieldType::Blob, FieldType::Float] {
                let _ = (parse_value(&text, &field_type), parse_value(&odd, &field_type));
            }
        }
    }

    fn reads(field_type: &FieldType, text: &str) -> Option<String> {
        parse_value(text, field_type).ok().flatten().map(|value| format_value(&value))
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, expected) in [
            ("90", "0:01:30"),
            ("90s", "0:01:30"),
            ("1m30s", "0:01:30"),
            ("1 min 30 s", "0:01:30"),
            ("1.5m", "0:01:30"),
            ("1:30", "0:01:30"),
            ("0:05", "0:00:05"),
            ("90:00", "1:30:00"),
            ("1:02:03.5", "1:02:03.5"),
            ("250ms", "0:00:00.25"),
            ("3.5", "0:00:03.5"),
            ("-0:05", "-0:00:05"),
            (" 2h ", "2:00:00"),
        ] {
            assert_eq!(reads(&FieldType::Duration, text).as_deref(), Some(expected), "{text:?}");
        }
        for text in [
            "1:60",
            "1:2:3:4",
            "5s1m",
            "1.2345",
            "1.5ms",
            "1.5:00",
            ":30",
            "soon",
            "1x",
            "--1",
            "99999999999999999999h",
        ] {
            assert_eq!(reads(&FieldType::Duration, text), None, "{text:?}");
        }
    }

    #[test]
    fn dates_and_times_keep_their_offset_and_refuse_what_no_calendar_has() {
        for (text, expected) in [
            ("2024-03-01T18:00", "2024-03-01T18:00:00"),
            ("2024-03-01 18:00:00.5", "2024-03-01T18:00:00.500"),
            ("2024-03-01T18:00:00+0200", "2024-03-01T18:00:00+02:00"),
            ("2024-03-01T18:00:00-05", "2024-03-01T18:00:00-05:00"),
            ("2024-03-01T18:00:00+00:00", "2024-03-01T18:00:00Z"),
        ] {
            assert_eq!(reads(&FieldType::DateTime, text).as_deref(), Some(expected), "{text:?}");
        }
        for text in
            ["2024-02-30T18:00", "2024-03-01T24:00", "2024-03-01", "2024-03-01T18:00+19:00", "2024-03-01T18:00:00.1234"]
        {
            assert_eq!(reads(&FieldType::DateTime, text), None, "{text:?}");
        }
        assert_eq!(reads(&FieldType::Date, "2024-03-01T18:00"), None);
    }

    #[test]
    fn the_error_says_what_was_expected() {
        let modes = FieldType::Enum { values: ["Go", "Wait"].map(|n| Name::new(n).expect("a name")).to_vec() };
        assert_eq!(parse_value("go", &modes), Ok(Some(Value::Enum(Name::new("Go").expect("a name")))));
        assert_eq!(parse_value("Stop", &modes), Err("\"Stop\" is not one of \"Go\", \"Wait\".".to_owned()));
        let said = "\"4\\u{1b}[2J\" is not a whole number such as 42.";
        assert_eq!(parse_value("4\u{1b}[2J", &FieldType::Integer), Err(said.to_owned()));
        assert_eq!(parse_value("a\0b", &FieldType::Text), Err("\"a\\u{0}b\": text holds a NUL character.".to_owned()));
    }
}
