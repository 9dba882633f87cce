//! The grammar: a recursive descent from tokens to a tree that remembers where everything stood.
//!
//! ```text
//! query      = [or] ["ORDER" "BY" key {"," key}] ["LIMIT" number] ["OFFSET" number]
//! key        = column ["ASC" | "DESC"]
//! or         = and {"OR" and}
//! and        = not {"AND" not}
//! not        = "NOT" not | "(" or ")" | test
//! test       = column [comparison literal | "IN" "[" literals "]" | "LIKE" text | "exists"]
//! ```

use std::sync::Arc;

use openprod_model::value::{Float, InvalidValue, Name, Text};

use super::error::QueryError;
use super::lexer::{self, Placed, Token};

/// Longest query in bytes: more than any person writes, and little enough to parse without a thought for time.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;
/// Deepest nesting of parentheses and NOTs: whoever evaluates a query does so recursively, on a small stack.
pub const MAX_DEPTH: usize = 64;
/// Most values after IN: each record is compared with all of them.
pub const MAX_IN_ITEMS: usize = 1_000;
/// Most columns to order by.
pub const MAX_ORDER_COLUMNS: usize = 16;
/// Highest LIMIT and OFFSET: whoever wants more rows leaves LIMIT out, or turns pages.
pub const MAX_LIMIT: usize = 1_000_000;

/// Words that stand for themselves only between backticks.
const RESERVED: [&str; 17] = [
    "AND", "OR", "NOT", "IN", "LIKE", "EXISTS", "ORDER", "BY", "ASC", "DESC", "LIMIT", "OFFSET", "TRUE", "FALSE",
    "NULL", "MATCHES", "CONTAINS",
];
/// The subject of the test that names the table.
const TABLE: &str = "table";

/// A query as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Syntax {
    pub(super) table: Option<Identifier>,
    pub(super) filter: Option<Expr>,
    pub(super) order: Vec<Key>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

/// A name and the offset at which it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Identifier {
    pub(super) name: Name,
    pub(super) at: usize,
}

/// A column to order by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) column: Identifier,
    pub(super) direction: Direction,
}

/// Which way rows are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ascending,
    Descending,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Table(Identifier),
    Test(Test),
}

/// What is asked of one column, and the bytes of the query that ask it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    pub(super) subject: Identifier,
    pub(super) condition: Condition,
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// Nothing but the column's name: it is true.
    Holds,
    Exists,
    Compare(Comparison, Operand),
    In(Vec<Operand>),
    Like(Operand),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) literal: Literal,
    pub(super) at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(Text),
    Integer(i64),
    Float(Float),
    Boolean(bool),
    Null,
    /// The time that the caller gives.
    Now,
}

/// Parses a query.
pub(super) fn parse(text: &str) -> Result<Syntax, QueryError> {
    if text.len() > MAX_QUERY_BYTES {
        let message = format!("A query of {} bytes is longer than the {MAX_QUERY_BYTES} allowed.", text.len());
        return Err(QueryError::new(text, MAX_QUERY_BYTES, message, "Ask for less at once."));
    }
    let mut parser = Parser { text, tokens: lexer::tokens(text)?, next: 0, depth: 0 };
    let filter = if parser.at_clause() { None } else { Some(parser.or()?) };
    let (table, filter) = parser.lift_table(filter)?;
    let order = parser.order()?;
    let (limit, offset) = parser.limit()?;
    match parser.peek() {
        Token::End => Ok(Syntax { table, filter, order, limit, offset }),
        _ => Err(parser.unexpected("AND, OR, ORDER BY, LIMIT or the end of the query")),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Never empty: the last is [`Token::End`], and is never taken.
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].token
    }

    fn at(&self) -> usize {
        self.tokens[self.next].start
    }

    /// The end of the token taken last.
    fn end(&self) -> usize {
        self.next.checked_sub(1).map_or(0, |last| self.tokens[last].end)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn at_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.take();
        }
        found
    }

    fn take_symbol(&mut self, symbol: &'static str) -> bool {
        let found = *self.peek() == Token::Symbol(symbol);
        if found {
            self.take();
        }
        found
    }

    fn error(&self, at: usize, message: impl Into<String>, next: impl Into<String>) -> QueryError {
        QueryError::new(self.text, at, message, next)
    }

    fn unexpected(&self, wanted: &str) -> QueryError {
        let found = match self.peek() {
            Token::End => "the query ends".to_owned(),
            Token::Word(word) => format!("`{word}` stands"),
            Token::Symbol(symbol) => format!("`{symbol}` stands"),
            Token::Quoted(_) => "a name stands".to_owned(),
            Token::Text(_) => "text stands".to_owned(),
            Token::Integer(_) | Token::Float(_) => "a number stands".to_owned(),
            Token::Reference(name) => format!("`${name}` stands"),
        };
        self.error(self.at(), format!("Here {found}, where {wanted} should be."), "")
    }

    fn expect_symbol(&mut self, symbol: &'static str) -> Result<(), QueryError> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    /// Whether the filter is over, or was never there.
    fn at_clause(&self) -> bool {
        *self.peek() == Token::End || ["ORDER", "LIMIT", "OFFSET"].iter().any(|word| self.at_word(word))
    }

    fn or(&mut self) -> Result<Expr, QueryError> {
        let mut parts = vec![self.and()?];
        while self.take_word("OR") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Or(parts) })
    }

    fn and(&mut self) -> Result<Expr, QueryError> {
        let mut parts = Vec::new();
        loop {
            match self.not()? {
                // Flat, so that a table named between parentheses is found at the top.
                Expr::And(inner) => parts.extend(inner),
                part => parts.push(part),
            }
            if !self.take_word("AND") {
                break;
            }
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::And(parts) })
    }

    fn not(&mut self) -> Result<Expr, QueryError> {
        if self.take_word("NOT") {
            self.deeper(|parser| Ok(Expr::Not(Box::new(parser.not()?))))
        } else if self.take_symbol("(") {
            let inner = self.deeper(Self::or)?;
            self.expect_symbol(")")?;
            Ok(inner)
        } else {
            self.test()
        }
    }

    fn deeper(&mut self, parse: impl FnOnce(&mut Self) -> Result<Expr, QueryError>) -> Result<Expr, QueryError> {
        if self.depth == MAX_DEPTH {
            let message = format!("Parentheses and NOTs go deeper than the {MAX_DEPTH} levels allowed.");
            return Err(self.error(self.at(), message, "Write the query with fewer of them."));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn test(&mut self) -> Result<Expr, QueryError> {
        if self.at_word(TABLE) {
            return self.table();
        }
        let subject = self.column()?;
        let condition = self.condition()?;
        Ok(Expr::Test(Test { subject, condition, end: self.end() }))
    }

    fn table(&mut self) -> Result<Expr, QueryError> {
        self.take();
        if !(self.take_symbol("==") || self.take_symbol("=")) {
            let next = "Write table == \"cues\"; a column of that name stands between backticks.";
            return Err(self.error(self.at(), "A table can only be named with `==`.", next));
        }
        let at = self.at();
        match self.take() {
            Token::Text(text) => Ok(Expr::Table(Identifier { name: self.named(&text, at)?, at })),
            _ => Err(self.error(at, "Here the table's name should stand as text.", "Put it between quotes.")),
        }
    }

    fn column(&mut self) -> Result<Identifier, QueryError> {
        let at = self.at();
        let name = match self.peek() {
            Token::Word(word) if reserved(word) => return Err(self.reserved(word)),
            Token::Word(name) | Token::Quoted(name) => self.named(name, at)?,
            Token::Text(_) | Token::Integer(_) | Token::Float(_) | Token::Reference(_) => {
                let next = "Write the column first and the value behind; names between backticks, not quotes.";
                return Err(self.error(at, "A comparison begins with a column, not with a value.", next));
            }
            _ => return Err(self.unexpected("a column")),
        };
        self.take();
        Ok(Identifier { name, at })
    }

    fn reserved(&self, word: &str) -> QueryError {
        let message = format!("Here `{word}` stands, a word of the query language, where a column should be.");
        self.error(self.at(), message, format!("A column of that name is written `{word}` between backticks."))
    }

    fn named(&self, name: &str, at: usize) -> Result<Name, QueryError> {
        Name::new(name).map_err(|invalid| self.invalid(&invalid, at))
    }

    fn invalid(&self, invalid: &InvalidValue, at: usize) -> QueryError {
        self.error(at, format!("This cannot stand in any record: {invalid}."), "")
    }

    fn condition(&mut self) -> Result<Condition, QueryError> {
        if let Some(comparison) = self.comparison() {
            return Ok(Condition::Compare(comparison, self.operand()?));
        }
        if self.take_word("IN") {
            return self.items().map(Condition::In);
        }
        if self.take_word("LIKE") {
            return self.operand().map(Condition::Like);
        }
        if self.take_word("EXISTS") {
            return Ok(Condition::Exists);
        }
        match self.peek() {
            Token::Word(word) if ["MATCHES", "CONTAINS"].iter().any(|later| word.eq_ignore_ascii_case(later)) => Err(
                self.error(self.at(), format!("{word} is not known yet."), "LIKE \"%text%\" finds text within text."),
            ),
            Token::Word(word) if word.eq_ignore_ascii_case("NOT") => {
                Err(self.error(self.at(), "NOT stands before the column.", "Write NOT column IN [...]."))
            }
            _ => Ok(Condition::Holds),
        }
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.peek() {
            Token::Symbol("==" | "=") => Comparison::Equal,
            Token::Symbol("!=" | "<>") => Comparison::Unequal,
            Token::Symbol("<") => Comparison::Less,
            Token::Symbol("<=") => Comparison::LessOrEqual,
            Token::Symbol(">") => Comparison::Greater,
            Token::Symbol(">=") => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.take();
        Some(comparison)
    }

    fn operand(&mut self) -> Result<Operand, QueryError> {
        let at = self.at();
        let literal = match self.peek() {
            Token::Text(text) => Literal::Text(Text::new(text).map_err(|invalid| self.invalid(&invalid, at))?),
            Token::Integer(number) => Literal::Integer(*number),
            Token::Float(number) => Literal::Float(Float::new(*number).map_err(|invalid| self.invalid(&invalid, at))?),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Literal::Boolean(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Literal::Boolean(false),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => Literal::Null,
            Token::Reference(name) if name == "now" => Literal::Now,
            Token::Reference(name) => {
                let message = format!("`${name}` is not known here.");
                return Err(self.error(at, message, "$now is; other references are for rules and triggers."));
            }
            Token::Word(word) => {
                let message = format!("Here `{word}` stands, where a value should be.");
                return Err(self.error(at, message, format!("Text stands between quotes: \"{word}\".")));
            }
            _ => return Err(self.unexpected("a value")),
        };
        self.take();
        Ok(Operand { literal, at })
    }

    fn items(&mut self) -> Result<Vec<Operand>, QueryError> {
        self.expect_symbol("[")?;
        let mut items = Vec::new();
        while !self.take_symbol("]") {
            if !items.is_empty() && !self.take_symbol(",") {
                return Err(self.unexpected("`,` or `]`"));
            }
            if items.len() == MAX_IN_ITEMS {
                let message = format!("IN has more than the {MAX_IN_ITEMS} values allowed.");
                return Err(self.error(self.at(), message, "Ask in several queries."));
            }
            items.push(self.operand()?);
        }
        Ok(items)
    }

    fn order(&mut self) -> Result<Vec<Key>, QueryError> {
        let mut keys = Vec::new();
        if !self.take_word("ORDER") {
            return Ok(keys);
        }
        if !self.take_word("BY") {
            return Err(self.unexpected("BY"));
        }
        loop {
            if keys.len() == MAX_ORDER_COLUMNS {
                let message = format!("ORDER BY has more than the {MAX_ORDER_COLUMNS} columns allowed.");
                return Err(self.error(self.at(), message, "Leave some out."));
            }
            keys.push(Key { column: self.column()?, direction: self.direction() });
            if !self.take_symbol(",") {
                return Ok(keys);
            }
        }
    }

    fn direction(&mut self) -> Direction {
        if self.take_word("DESC") {
            return Direction::Descending;
        }
        self.take_word("ASC");
        Direction::Ascending
    }

    fn limit(&mut self) -> Result<(Option<usize>, usize), QueryError> {
        let limit = if self.take_word("LIMIT") { Some(self.count()?) } else { None };
        let offset = if self.take_word("OFFSET") { self.count()? } else { 0 };
        Ok((limit, offset))
    }

    fn count(&mut self) -> Result<usize, QueryError> {
        let Token::Integer(number) = *self.peek() else { return Err(self.unexpected("a whole number")) };
        let count = usize::try_from(number).ok().filter(|count| *count <= MAX_LIMIT);
        let count = count.ok_or_else(|| {
            let message = format!("{number} is not a number of rows between 0 and {MAX_LIMIT}.");
            self.error(self.at(), message, "Leave LIMIT out to get all rows.")
        })?;
        self.take();
        Ok(count)
    }

    /// Takes the test that names the table out of the filter.
    fn lift_table(&self, filter: Option<Expr>) -> Result<(Option<Identifier>, Option<Expr>), QueryError> {
        let conjuncts = match filter {
            Some(Expr::And(parts)) => parts,
            other => other.into_iter().collect(),
        };
        let (mut tables, mut rest) = (Vec::new(), Vec::new());
        for conjunct in conjuncts {
            match conjunct {
                Expr::Table(table) => tables.push(table),
                other => rest.push(other),
            }
        }
        if let Some(stray) = tables.get(1).or_else(|| rest.iter().find_map(stray_table)) {
            let next =
                "Name one table, joined to the rest with AND; `x exists` asks whether a record is in table x too.";
            return Err(self.error(stray.at, "A query is about exactly one table.", next));
        }
        let filter = if rest.len() > 1 { Some(Expr::And(rest)) } else { rest.pop() };
        Ok((tables.pop(), filter))
    }
}

fn stray_table(expr: &Expr) -> Option<&Identifier> {
    match expr {
        Expr::Table(table) => Some(table),
        Expr::And(parts) | Expr::Or(parts) => parts.iter().find_map(stray_table),
        Expr::Not(inner) => stray_table(inner),
        Expr::Test(_) => None,
    }
}

fn reserved(word: &str) -> bool {
    RESERVED.iter().any(|known| known.eq_ignore_ascii_case(word))
}

impl Syntax {
    /// All records of a table.
    pub(super) fn of_table(name: &Name) -> Self {
        let table = Identifier { name: name.clone(), at: 0 };
        Self { table: Some(table), filter: None, order: Vec::new(), limit: None, offset: 0 }
    }
}

/// A parsed query. It knows nothing of tables yet: [`Query::check`] makes it fit them. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub(super) text: Arc<str>,
    pub(super) syntax: Arc<Syntax>,
}

impl Query {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        Ok(Self { text: text.into(), syntax: Arc::new(parse(text)?) })
    }

    /// All records of the table of that name, in the order of their creation.
    pub fn of_table(name: &Name) -> Self {
        Self { text: "".into(), syntax: Arc::new(Syntax::of_table(name)) }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it sorts its rows: its pages then belong to one revision.
    pub fn is_ordered(&self) -> bool {
        !self.syntax.order.is_empty()
    }
}

#[cfg(test)]
mod tests;
