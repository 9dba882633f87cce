//! Checking: a query's names and literals made to fit the tables there are.

use std::ops::Range;
use std::sync::Arc;

use openprod_model::value::{DateTime, FieldType, Name, Value};

use super::error::{QueryError, QueryProblem, nearest};
use super::like::{MAX_PATTERN_CHARS, Pattern};
use super::literal::{self, Fitted};
use super::syntax::{Comparison, Condition, Direction, Expr, Identifier, Key, Literal, Operand, Query, Test};
use crate::read::{self, Column, Table};
use crate::unions::Unions;
use crate::view::View;

/// What the caller knows and a query may refer to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Context {
    /// `$now`; without it, no comparison with `$now` holds.
    pub now: Option<DateTime>,
}

/// A query that fits a table, ready to run on views of the same schema. Cheap to clone but for its tests.
#[derive(Debug, Clone)]
pub struct Checked {
    pub(super) text: Arc<str>,
    pub(super) table: Table,
    /// The keys of the columns that filter and order, each once: tests and sorting name them by their place here.
    pub(super) columns: Vec<Name>,
    pub(super) filter: Predicate,
    pub(super) order: Vec<SortKey>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
    /// What a person should know, though it is no error.
    pub(super) notes: Vec<String>,
}

/// A column to order by.
#[derive(Debug, Clone)]
pub(super) struct SortKey {
    pub(super) slot: usize,
    pub(super) direction: Direction,
    pub(super) listed: Arc<[Name]>,
}

/// What must be so of a record.
#[derive(Debug, Clone)]
pub(super) enum Predicate {
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    Not(Box<Predicate>),
    /// It is a record of the table of that key, too.
    Member(Name, Range<usize>),
    Field(FieldTest),
}

/// What must be so of one of its fields.
#[derive(Debug, Clone)]
pub(super) struct FieldTest {
    pub(super) slot: usize,
    pub(super) asked: Asked,
    /// The bytes of the query that ask it.
    pub(super) words: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// A comparison that holds for nothing.
    Never,
    Missing,
    Present,
    Compare {
        how: Comparison,
        to: Value,
        listed: Arc<[Name]>,
    },
    /// A comparison with the caller's time, for a column of that type.
    Now {
        how: Comparison,
        field_type: FieldType,
    },
    Among {
        values: Arc<[Value]>,
        missing: Missing,
    },
    Like(Arc<Pattern>),
}

/// Whether a missing value is among those after IN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Listed,
    NotListed,
}

impl Query {
    /// Makes the query fit the tables of `view`. The table is `table`, unless the query names it itself.
    pub fn check(&self, view: &dyn View, table: Option<&Name>) -> Result<Checked, QueryProblem> {
        let table = self.table(view, table)?;
        let mut checker = Checker { view, text: &self.text, table, columns: Vec::new(), notes: Vec::new() };
        let filter = match &self.syntax.filter {
            Some(expr) => checker.predicate(expr)?,
            None => Predicate::And(Vec::new()),
        };
        let order = self.syntax.order.iter().map(|key| checker.sort_key(key)).collect::<Result<_, _>>()?;
        let Checker { table, columns, notes, .. } = checker;
        let (limit, offset) = (self.syntax.limit, self.syntax.offset);
        Ok(Checked { text: self.text.clone(), table, columns, filter, order, limit, offset, notes })
    }

    fn table(&self, view: &dyn View, given: Option<&Name>) -> Result<Table, QueryProblem> {
        let named = self.syntax.table.as_ref();
        let at = named.map_or(0, |named| named.at);
        let Some(name) = named.map(|named| &named.name).or(given) else {
            let next = "Begin with table == \"...\", naming one.";
            return Err(QueryError::new(&self.text, at, "The query does not say which table it is about.", next).into());
        };
        let Some(found) = read::table(view, name)? else {
            let tables = read::tables(view)?;
            let next = did_you_mean(name, tables.iter().map(|table| &table.spec.name), "table");
            return Err(QueryError::new(&self.text, at, format!("There is no table `{name}`."), next).into());
        };
        if let Some(other) = given.filter(|given| **given != found.key && **given != found.spec.name) {
            let message = format!("The query names table `{name}`, but was put to table `{other}`.");
            return Err(QueryError::new(&self.text, at, message, "Leave one of the two out.").into());
        }
        Ok(found)
    }
}

fn did_you_mean<'a>(name: &Name, known: impl Iterator<Item = &'a Name>, what: &str) -> String {
    const SHOWN: usize = 10;
    let mut known: Vec<&str> = known.map(Name::as_str).collect();
    if let Some(near) = nearest(name.as_str(), known.iter().copied()) {
        return format!("Did you mean `{near}`?");
    }
    let others = if known.len() > SHOWN { ", ..." } else { "" };
    known.truncate(SHOWN);
    if known.is_empty() {
        format!("There is no {what} at all.")
    } else {
        format!("There is {}{others}.", known.join(", "))
    }
}

struct Checker<'a> {
    view: &'a dyn View,
    text: &'a str,
    table: Table,
    columns: Vec<Name>,
    notes: Vec<String>,
}

impl Checker<'_> {
    fn error(&self, at: usize, message: impl Into<String>, next: impl Into<String>) -> QueryError {
        QueryError::new(self.text, at, message, next)
    }

    fn predicate(&mut self, expr: &Expr) -> Result<Predicate, QueryProblem> {
        Ok(match expr {
            Expr::And(parts) => Predicate::And(self.predicates(parts)?),
            Expr::Or(parts) => Predicate::Or(self.predicates(parts)?),
            Expr::Not(inner) => Predicate::Not(Box::new(self.predicate(inner)?)),
            Expr::Test(test) => self.test(test)?,
            Expr::Table(_) => unreachable!("the parser takes the table's name out of the filter"),
        })
    }

    fn predicates(&mut self, parts: &[Expr]) -> Result<Vec<Predicate>, QueryProblem> {
        parts.iter().map(|part| self.predicate(part)).collect()
    }

    fn test(&mut self, test: &Test) -> Result<Predicate, QueryProblem> {
        let words = test.subject.at..test.end;
        let Some(column) = self.table.column(&test.subject.name).cloned() else {
            return match (&test.condition, read::table(self.view, &test.subject.name)?) {
                (Condition::Exists, Some(other)) => Ok(Predicate::Member(other.key, words)),
                (_, other) => Err(self.unknown(&test.subject, other.as_ref())?.into()),
            };
        };
        let asked = self.asked(&column, test)?;
        if matches!(asked, Asked::Never) {
            let (name, word) = (&column.spec.name, column.spec.field_type.word());
            self.notes.push(format!("`{name}` holds {word}: {} is never true", &self.text[words.clone()]));
        }
        Ok(Predicate::Field(FieldTest { slot: self.slot(&column), asked, words }))
    }

    fn unknown(&self, subject: &Identifier, table: Option<&Table>) -> Result<QueryError, QueryProblem> {
        let name = &subject.name;
        let next = if table.is_some() {
            format!("There is a table of that name: `{name} exists` asks whether a record is in it.")
        } else {
            let tables = read::tables(self.view)?;
            let namespaced = tables.iter().map(|table| &table.spec.name).filter(|_| name.as_str().contains('.'));
            let columns = self.table.columns.iter().map(|column| &column.spec.name);
            did_you_mean(name, columns.chain(namespaced), "column")
        };
        Ok(self.error(subject.at, format!("Table `{}` has no column `{name}`.", self.table.spec.name), next))
    }

    fn slot(&mut self, column: &Column) -> usize {
        self.columns.iter().position(|key| *key == column.key).unwrap_or_else(|| {
            self.columns.push(column.key.clone());
            self.columns.len() - 1
        })
    }

    fn sort_key(&mut self, key: &Key) -> Result<SortKey, QueryProblem> {
        let Some(column) = self.table.column(&key.column.name).cloned() else {
            return Err(self.unknown(&key.column, None)?.into());
        };
        Ok(SortKey { slot: self.slot(&column), direction: key.direction, listed: listed(&column) })
    }

    fn asked(&self, column: &Column, test: &Test) -> Result<Asked, QueryError> {
        match &test.condition {
            Condition::Exists => Ok(Asked::Present),
            Condition::Holds => self.holds(column, test.subject.at),
            Condition::Compare(how, operand) => self.compare(column, *how, operand),
            Condition::In(items) => self.among(column, items),
            Condition::Like(pattern) => self.like(column, pattern),
        }
    }

    fn holds(&self, column: &Column, at: usize) -> Result<Asked, QueryError> {
        if column.spec.field_type == FieldType::Boolean {
            return Ok(Asked::Compare { how: Comparison::Equal, to: Value::Boolean(true), listed: listed(column) });
        }
        let message = format!("`{}` is no yes or no: it holds {}.", column.spec.name, column.spec.field_type.word());
        Err(self.error(at, message, "Say what it is compared with, or ask whether it `exists`."))
    }

    fn fit(&self, column: &Column, operand: &Operand) -> Result<Fitted, QueryError> {
        match literal::fit(&operand.literal, &column.spec.field_type) {
            Fitted::Malformed(looks) => {
                let message = format!("This cannot be compared with `{}`.", column.spec.name);
                Err(self.error(operand.at, message, format!("Write {looks}.")))
            }
            fitted => Ok(fitted),
        }
    }

    fn compare(&self, column: &Column, how: Comparison, operand: &Operand) -> Result<Asked, QueryError> {
        Ok(match (self.fit(column, operand)?, how) {
            (Fitted::Value(to), _) => Asked::Compare { how, to, listed: listed(column) },
            (Fitted::Now, _) => Asked::Now { how, field_type: column.spec.field_type.clone() },
            (Fitted::Null, Comparison::Equal) => Asked::Missing,
            (Fitted::Null, Comparison::Unequal) => Asked::Present,
            _ => Asked::Never,
        })
    }

    fn among(&self, column: &Column, items: &[Operand]) -> Result<Asked, QueryError> {
        let (mut values, mut missing) = (Vec::new(), Missing::NotListed);
        for item in items {
            match self.fit(column, item)? {
                Fitted::Value(value) => values.push(value),
                Fitted::Null => missing = Missing::Listed,
                Fitted::Now => {
                    return Err(self.error(item.at, "`$now` cannot stand after IN.", "Write it after < or >."));
                }
                Fitted::Foreign | Fitted::Malformed(_) => {}
            }
        }
        let nothing = values.is_empty() && missing == Missing::NotListed;
        Ok(if nothing { Asked::Never } else { Asked::Among { values: values.into(), missing } })
    }

    fn like(&self, column: &Column, operand: &Operand) -> Result<Asked, QueryError> {
        let Literal::Text(text) = &operand.literal else {
            return Err(self.error(operand.at, "A pattern is text.", "Put it between quotes, such as \"Jane%\"."));
        };
        let Some(pattern) = Pattern::new(text.as_str()) else {
            let message = format!("This pattern is longer than the {MAX_PATTERN_CHARS} characters allowed.");
            return Err(self.error(operand.at, message, "Shorten it."));
        };
        let fits = matches!(column.spec.field_type, FieldType::Text | FieldType::Document | FieldType::Enum { .. });
        Ok(if fits { Asked::Like(Arc::new(pattern)) } else { Asked::Never })
    }
}

/// The values of the column's enum, in their order.
fn listed(column: &Column) -> Arc<[Name]> {
    match &column.spec.field_type {
        FieldType::Enum { values } => values.as_slice().into(),
        _ => [].into(),
    }
}

impl Predicate {
    /// With the caller's time in place of `$now`, and merged records under their canonical ids.
    pub(super) fn bound(&self, context: &Context, unions: &Unions) -> Self {
        match self {
            Self::And(parts) => Self::And(parts.iter().map(|part| part.bound(context, unions)).collect()),
            Self::Or(parts) => Self::Or(parts.iter().map(|part| part.bound(context, unions)).collect()),
            Self::Not(inner) => Self::Not(Box::new(inner.bound(context, unions))),
            Self::Member(table, words) => Self::Member(table.clone(), words.clone()),
            Self::Field(test) => Self::Field(FieldTest { asked: test.asked.bound(context, unions), ..test.clone() }),
        }
    }
}

impl Asked {
    fn bound(&self, context: &Context, unions: &Unions) -> Self {
        match self {
            Self::Now { how, field_type } => match context.now.and_then(|now| literal::now_as(now, field_type)) {
                Some(to) => Self::Compare { how: *how, to, listed: [].into() },
                None => Self::Never,
            },
            Self::Compare { how, to: Value::Entity(entity), listed } => {
                let to = Value::Entity(unions.canonical(*entity));
                Self::Compare { how: *how, to, listed: listed.clone() }
            }
            Self::Among { values, missing } if values.iter().any(|value| matches!(value, Value::Entity(_))) => {
                let mut values = values.to_vec();
                for value in &mut values {
                    unions.canonicalize_value(value);
                }
                Self::Among { values: values.into(), missing: *missing }
            }
            other => other.clone(),
        }
    }
}
