//! Planning: which records have to be looked at.
//!
//! A *probe* reads index entries and names every record for which one test may hold; it works because a comparison
//! never holds for a missing value, so whoever satisfies it has an entry. Probes for AND are those of its cheapest
//! part, for OR those of all parts; for NOT one asks what may *fail* instead, with AND and OR in each other's place.

use openprod_model::ids::EntityId;
use openprod_model::value::{Date, DateTime, Duration, Float, List, Name, Value};

use super::check::{Asked, Checked, FieldTest, Predicate};
use super::scalar::Scalar;
use super::syntax::Comparison;
use crate::cell::KeyRange;
use crate::index;
use crate::read;
use crate::unions::Unions;
use crate::view::{Read, ReadFailure, Reading, View};

/// Two readings of one instant differ by at most this much: the widest offsets east and west.
const WIDEST_OFFSETS_MS: i64 = 36 * 60 * 60 * 1_000;

/// How the records of a query are found. Each way is checked against the cells afterwards.
#[derive(Debug)]
pub(super) enum Access {
    /// Every record of the table is looked at.
    Scan,
    /// Only the records that probes name can match.
    Among(Vec<Probe>),
    /// All records match but some of those that probes name.
    Except(Vec<Probe>),
}

/// A reading of the index that names every record for which a test may hold.
#[derive(Debug)]
pub(super) enum Probe {
    /// The entries of a column, and of those mapped to it, within spans of keys; those that fail the test left out.
    Entries { spans: Vec<Span>, test: FieldTest, cost: Cost },
    /// The records of another table.
    Members { table: Name, words: std::ops::Range<usize> },
}

/// Entries of one column.
#[derive(Debug)]
pub(super) struct Span {
    keys: KeyRange,
    /// How many bytes of a key name the column.
    prefix: usize,
}

/// How much of a column's index a probe reads, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    /// The entries of a few values.
    Values,
    /// The entries between two values.
    Range,
    /// All.
    Column,
}

/// What a record is looked for to do to a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Holds,
    Fails,
}

impl Outcome {
    fn opposite(self) -> Self {
        match self {
            Self::Holds => Self::Fails,
            Self::Fails => Self::Holds,
        }
    }
}

impl Access {
    /// The way to the records of `query` for which `filter` holds.
    pub(super) fn choose(view: &dyn View, unions: &Unions, query: &Checked, filter: &Predicate) -> Self {
        let nobody = EntityId::from_bytes([0; 16]);
        if view.entries(&index::facets_of(nobody)).is_none() {
            return Self::Scan;
        }
        let planner = Planner { query, unions };
        let among = planner.probes(filter, Outcome::Holds).map(Self::Among);
        among.or_else(|| planner.probes(filter, Outcome::Fails).map(Self::Except)).unwrap_or(Self::Scan)
    }

    /// Whether it begins by reading much, so that a few rows may be found sooner without it.
    pub(super) fn is_slow_to_start(&self) -> bool {
        match self {
            Self::Scan => false,
            Self::Among(probes) | Self::Except(probes) => cost(probes) > Cost::Values,
        }
    }

    /// One sentence.
    pub(super) fn words(&self, query: &Checked) -> String {
        let table = &query.table.spec.name;
        let named = |probes: &[Probe]| probes.iter().map(|probe| probe.words(query)).collect::<Vec<_>>().join(" or ");
        match self {
            Self::Scan => format!("Looks at every record of `{table}`"),
            Self::Among(probes) if probes.is_empty() => "Finds nothing".to_owned(),
            Self::Among(probes) => {
                format!("Looks only at records of `{table}` that the index names for {}", named(probes))
            }
            Self::Except(probes) if probes.is_empty() => format!("Lists the records of `{table}`"),
            Self::Except(probes) => {
                format!(
                    "Lists the records of `{table}` and looks only at those that the index names for {}",
                    named(probes)
                )
            }
        }
    }
}

fn cost(probes: &[Probe]) -> Cost {
    probes.iter().map(Probe::cost).max().unwrap_or(Cost::Values)
}

/// What planning looks at.
struct Planner<'a> {
    query: &'a Checked,
    unions: &'a Unions,
}

impl Planner<'_> {
    /// Probes that name every record for which `predicate` comes out as wanted; none if the index cannot tell.
    fn probes(&self, predicate: &Predicate, wanted: Outcome) -> Option<Vec<Probe>> {
        match (predicate, wanted) {
            (Predicate::Not(inner), _) => self.probes(inner, wanted.opposite()),
            (Predicate::And(parts), Outcome::Holds) | (Predicate::Or(parts), Outcome::Fails) => {
                let each = parts.iter().filter_map(|part| self.probes(part, wanted));
                each.min_by_key(|probes| (cost(probes), probes.len()))
            }
            (Predicate::Or(parts), Outcome::Holds) | (Predicate::And(parts), Outcome::Fails) => {
                let each = parts.iter().map(|part| self.probes(part, wanted));
                each.collect::<Option<Vec<_>>>().map(|probes| probes.into_iter().flatten().collect())
            }
            (Predicate::Member(table, words), Outcome::Holds) => {
                Some(vec![Probe::Members { table: table.clone(), words: words.clone() }])
            }
            (Predicate::Field(test), Outcome::Holds) => self.entries(test),
            (Predicate::Member(..) | Predicate::Field(_), Outcome::Fails) => None,
        }
    }

    fn entries(&self, test: &FieldTest) -> Option<Vec<Probe>> {
        if matches!(test.asked, Asked::Never) {
            return Some(Vec::new());
        }
        if self.merges(test) {
            return None;
        }
        // Lists have no entries; so a test that holds for them, or for nothing at all, cannot be answered by entries.
        let empty = List::try_from(Vec::new()).expect("no items are not too many");
        if test.asked.holds(None) || test.asked.holds(Some(Scalar::List(&empty))) {
            return None;
        }
        let (table, column) = (&self.query.table.key, &self.query.columns[test.slot]);
        let (mut spans, mut cost) = self.spans(table, column, &test.asked);
        for other in self.unions.mapped(table, column).into_iter().flatten() {
            if (&other.table, &other.column) != (table, column) {
                let more = self.spans(&other.table, &other.column, &test.asked);
                spans.extend(more.0);
                cost = cost.max(more.1);
            }
        }
        Some(vec![Probe::Entries { spans, test: test.clone(), cost }])
    }

    /// Whether the column's fields are edited: what they show has no entries.
    fn merges(&self, test: &FieldTest) -> bool {
        let key = &self.query.columns[test.slot];
        self.query.table.columns.iter().any(|column| column.key == *key && column.spec.field_type.merges())
    }

    /// The spans of one column's keys that hold every entry for which `asked` can hold.
    fn spans(&self, table: &Name, column: &Name, asked: &Asked) -> (Vec<Span>, Cost) {
        let all = index::values(table, column);
        let prefix = all.from.len();
        let (ranges, cost) = self.ranges(table, column, asked).unwrap_or_else(|| (vec![all], Cost::Column));
        (ranges.into_iter().map(|keys| Span { keys, prefix }).collect(), cost)
    }

    /// The key ranges of [`Planner::spans`], if they are fewer than all keys.
    fn ranges(&self, table: &Name, column: &Name, asked: &Asked) -> Option<(Vec<KeyRange>, Cost)> {
        let (spans, cost) = match asked {
            Asked::Compare { how: Comparison::Equal, to, .. } => (self.equal(to)?, Cost::Values),
            Asked::Compare { how, to, .. } => (spans(*how, to)?, Cost::Range),
            Asked::Among { values, .. } => {
                let each = values.iter().map(|value| self.equal(value)).collect::<Option<Vec<_>>>()?;
                (each.concat(), Cost::Values)
            }
            _ => return None,
        };
        let keys = |(low, high): &(Value, Value)| {
            Some(KeyRange { from: index::equals(table, column, low)?.from, to: index::equals(table, column, high)?.to })
        };
        let mut ranges = spans.iter().map(keys).collect::<Option<Vec<_>>>()?;
        ranges.push(index::references(table, column));
        Some((ranges, cost))
    }

    /// The spans that hold every value equal to this one; a merged record goes by any of its ids.
    fn equal(&self, value: &Value) -> Option<Vec<(Value, Value)>> {
        let Value::Entity(entity) = value else { return spans(Comparison::Equal, value) };
        let ids = self.unions.ids(entity).iter();
        Some(ids.map(|id| (Value::Entity(*id), Value::Entity(*id))).collect())
    }
}

/// The spans of values, both ends included, outside of which `how` does not hold for `to`; none if there are none,
/// as for text, which the index keeps in another order than people do.
fn spans(how: Comparison, to: &Value) -> Option<Vec<(Value, Value)>> {
    let ends = |low: Value, at: (Value, Value), high: Value| match how {
        Comparison::Equal => Some(at),
        Comparison::Less | Comparison::LessOrEqual => Some((low, at.1)),
        Comparison::Greater | Comparison::GreaterOrEqual => Some((at.0, high)),
        Comparison::Unequal => None,
    };
    let one = |low, at: Value, high| Some(vec![ends(low, (at.clone(), at), high)?]);
    match to {
        Value::Integer(number) => numbers(ends, (*number, *number), widened(*number)),
        Value::Float(number) => numbers(ends, around(number.as_f64()), *number),
        Value::Date(_) => one(day(i32::MIN), to.clone(), day(i32::MAX)),
        Value::Duration(_) => one(length(i64::MIN), to.clone(), length(i64::MAX)),
        Value::DateTime(at) => {
            let early = at.local_ms().saturating_sub(WIDEST_OFFSETS_MS);
            let late = at.local_ms().saturating_add(WIDEST_OFFSETS_MS);
            Some(vec![ends(earliest(i64::MIN), (earliest(early), latest(late)), latest(i64::MAX))?])
        }
        _ if how == Comparison::Equal => Some(vec![(to.clone(), to.clone())]),
        _ => None,
    }
}

/// Integers and floats compare with each other, but have entries of their own.
fn numbers(
    ends: impl Fn(Value, (Value, Value), Value) -> Option<(Value, Value)>,
    whole: (i64, i64),
    float: Float,
) -> Option<Vec<(Value, Value)>> {
    let integers = (Value::Integer(whole.0), Value::Integer(whole.1));
    let integers = ends(Value::Integer(i64::MIN), integers, Value::Integer(i64::MAX))?;
    let lowest = Float::new(f64::MIN).expect("the least finite float is finite");
    let highest = Float::new(f64::MAX).expect("the greatest finite float is finite");
    let floats = ends(Value::Float(lowest), (Value::Float(float), Value::Float(float)), Value::Float(highest))?;
    Some(vec![integers, floats])
}

/// The nearest float. Rounding keeps order: whatever float is below the integer is not above this.
#[allow(clippy::cast_precision_loss, reason = "the nearest float is what is wanted")]
fn widened(number: i64) -> Float {
    Float::new(number as f64).expect("an integer is finite")
}

/// The integers on either side of a float, or those at the end of their range.
#[allow(clippy::cast_possible_truncation, reason = "the cast stops at the ends of the range, as wanted")]
fn around(number: f64) -> (i64, i64) {
    (number.floor() as i64, number.ceil() as i64)
}

fn day(days: i32) -> Value {
    Value::Date(Date { days })
}

fn length(ms: i64) -> Value {
    Value::Duration(Duration { ms })
}

/// The first of all readings of that time in the order of the index: the floating one.
fn earliest(local_ms: i64) -> Value {
    Value::DateTime(DateTime::new(local_ms, None).expect("no offset is in range"))
}

/// The last.
fn latest(local_ms: i64) -> Value {
    const EASTERNMOST_MIN: i16 = 18 * 60;
    Value::DateTime(DateTime::new(local_ms, Some(EASTERNMOST_MIN)).expect("18 hours are in range"))
}

impl Probe {
    fn cost(&self) -> Cost {
        match self {
            Self::Entries { cost, .. } => *cost,
            Self::Members { .. } => Cost::Column,
        }
    }

    fn words<'a>(&self, query: &'a Checked) -> &'a str {
        match self {
            Self::Entries { test, .. } => &query.text[test.words.clone()],
            Self::Members { words, .. } => &query.text[words.clone()],
        }
    }

    fn read(&self, view: &dyn View, unions: &Unions, into: &mut Vec<EntityId>) -> Read<()> {
        match self {
            Self::Members { table, .. } => read::records(view, table, None).try_for_each(|entity| {
                into.push(entity?);
                Ok(())
            }),
            Self::Entries { spans, test, .. } => {
                spans.iter().try_for_each(|span| span.matching(view, unions, &test.asked, into))
            }
        }
    }
}

impl Span {
    /// Adds the records of the entries for which `asked` may hold.
    fn matching(&self, view: &dyn View, unions: &Unions, asked: &Asked, into: &mut Vec<EntityId>) -> Read<()> {
        for entry in indexed(view, &self.keys)? {
            let entry = entry?;
            let value = index::value_in(&entry, self.prefix).map(|value| match value {
                Scalar::Entity(entity) => Scalar::Entity(unions.canonical(entity)),
                other => other,
            });
            if value.is_none_or(|value| asked.holds(Some(value))) {
                into.extend(index::entity_in(&entry).map(|entity| unions.canonical(entity)));
            }
        }
        Ok(())
    }
}

fn indexed<'a>(view: &'a dyn View, range: &KeyRange) -> Read<Reading<'a, Vec<u8>>> {
    view.entries(range).ok_or_else(|| ReadFailure("a view with an index has lost it".to_owned()))
}

/// The records that probes name, each once, under their canonical ids, in the order of creation.
pub(super) fn named(view: &dyn View, probes: &[Probe]) -> Read<Vec<EntityId>> {
    let (mut entities, unions) = (Vec::new(), view.unions()?);
    for probe in probes {
        probe.read(view, &unions, &mut entities)?;
    }
    entities.sort_unstable();
    entities.dedup();
    Ok(entities)
}
