//! The words of a query: text into tokens, each with its place.

use std::iter::Peekable;
use std::str::CharIndices;

use super::error::QueryError;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A bare word: a keyword, or a name of letters, digits, `_` and dots.
    Word(String),
    /// A name between backticks.
    Quoted(String),
    /// Text between quotes, its escapes resolved; `\%` and `\_` are kept for LIKE.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// `$` and a word.
    Reference(String),
    /// Punctuation.
    Symbol(&'static str),
    /// The end of the query.
    End,
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    /// The token.
    pub(super) token: Token,
    /// The offset of its first byte.
    pub(super) start: usize,
    /// The offset behind its last byte.
    pub(super) end: usize,
}

/// Longer symbols first, so that none is read as the beginning of a shorter one.
const SYMBOLS: [&str; 14] = ["==", "!=", "<>", "<=", ">=", "->", "=", "<", ">", "(", ")", "[", "]", ","];

/// Splits a query into tokens, the last of which is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, QueryError> {
    let mut lexer = Lexer { text, rest: text.char_indices().peekable() };
    let mut tokens = Vec::new();
    loop {
        let placed = lexer.token()?;
        let last = placed.token == Token::End;
        tokens.push(placed);
        if last {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
}

impl Lexer<'_> {
    fn token(&mut self) -> Result<Placed, QueryError> {
        while self.rest.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        let start = self.offset();
        let token = match self.peek() {
            None => Token::End,
            Some('"' | '\'') => Token::Text(self.quoted()?),
            Some('`') => Token::Quoted(self.backticks()?),
            Some('$') => self.reference()?,
            Some(c) if c.is_ascii_digit() || (c == '-' && self.digit_follows()) => self.number()?,
            Some(c) if begins_word(c) => Token::Word(self.word()),
            Some(c) => self.symbol(c)?,
        };
        Ok(Placed { token, start, end: self.offset() })
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, c)| *c)
    }

    fn offset(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |(offset, _)| *offset)
    }

    fn digit_follows(&mut self) -> bool {
        let next = self.offset() + 1;
        self.text.as_bytes().get(next).is_some_and(u8::is_ascii_digit)
    }

    fn error(&self, at: usize, message: impl Into<String>, next: impl Into<String>) -> QueryError {
        QueryError::new(self.text, at, message, next)
    }

    fn symbol(&mut self, first: char) -> Result<Token, QueryError> {
        let start = self.offset();
        match SYMBOLS.into_iter().find(|symbol| self.text[start..].starts_with(symbol)) {
            Some("->") => Err(self.error(start, "Edges cannot be followed in a query yet.", "Leave `->` out.")),
            Some(symbol) => {
                self.rest.by_ref().take(symbol.len()).for_each(drop);
                Ok(Token::Symbol(symbol))
            }
            None => Err(self.error(
                start,
                format!("{} has no meaning here.", shown(first)),
                "Names with spaces or signs stand between backticks, such as `Cue #`; text between quotes.",
            )),
        }
    }

    fn word(&mut self) -> String {
        let start = self.offset();
        while self.rest.next_if(|(_, c)| begins_word(*c) || c.is_alphanumeric()).is_some() || self.dot_in_word() {}
        let end = self.offset();
        self.text[start..end].to_owned()
    }

    /// Takes a dot that a further part of a name follows.
    fn dot_in_word(&mut self) -> bool {
        let offset = self.offset();
        let mut ahead = self.text[offset..].chars();
        let continues =
            ahead.next() == Some('.') && ahead.next().is_some_and(|c| begins_word(c) || c.is_alphanumeric());
        continues && self.rest.next().is_some()
    }

    fn reference(&mut self) -> Result<Token, QueryError> {
        let start = self.offset();
        self.rest.next();
        match self.peek() {
            Some(c) if begins_word(c) => Ok(Token::Reference(self.word())),
            _ => Err(self.error(start, "A name must follow `$`.", "Write $now, or put text that begins so in quotes.")),
        }
    }

    fn digits(&mut self) {
        while self.rest.next_if(|(_, c)| c.is_ascii_digit()).is_some() {}
    }

    fn number(&mut self) -> Result<Token, QueryError> {
        let start = self.offset();
        self.rest.next_if(|(_, c)| *c == '-');
        self.digits();
        let whole = self.offset();
        if self.peek() == Some('.') && self.digit_follows() {
            self.rest.next();
            self.digits();
        }
        if self.exponent_follows() {
            self.rest.next();
            self.rest.next_if(|(_, c)| matches!(c, '+' | '-'));
            self.digits();
        }
        let end = self.offset();
        if self.peek().is_some_and(|c| begins_word(c) || c == '.') {
            let next = "A name that begins with a digit stands between backticks; text and dates between quotes.";
            return Err(self.error(start, "This begins like a number and goes on otherwise.", next));
        }
        let digits = &self.text[start..end];
        let token = if whole == end { digits.parse().ok().map(Token::Integer) } else { float(digits) };
        token.ok_or_else(|| self.error(start, "This number is too large.", "Whole numbers have at most 64 bits."))
    }

    fn exponent_follows(&mut self) -> bool {
        let offset = self.offset();
        let mut ahead = self.text[offset..].bytes().peekable();
        ahead.next_if(|byte| matches!(byte, b'e' | b'E')).is_some() && {
            ahead.next_if(|byte| matches!(byte, b'+' | b'-'));
            ahead.next().is_some_and(|byte| byte.is_ascii_digit())
        }
    }

    fn backticks(&mut self) -> Result<String, QueryError> {
        let start = self.offset();
        self.rest.next();
        let mut name = String::new();
        while let Some((_, c)) = self.rest.next() {
            // Two backticks are one that belongs to the name.
            if c == '`' && self.rest.next_if(|(_, c)| *c == '`').is_none() {
                return Ok(name);
            }
            name.push(c);
        }
        Err(self.error(start, "This name has no end.", "Close it with a backtick."))
    }

    fn quoted(&mut self) -> Result<String, QueryError> {
        let start = self.offset();
        let quote = self.rest.next().map(|(_, c)| c);
        let mut text = String::new();
        while let Some((at, c)) = self.rest.next() {
            match c {
                '\\' => self.escape(at, &mut text)?,
                _ if Some(c) == quote => return Ok(text),
                _ => text.push(c),
            }
        }
        Err(self.error(start, "This text has no end.", "Close it with the quote that it begins with."))
    }

    fn escape(&mut self, at: usize, text: &mut String) -> Result<(), QueryError> {
        match self.rest.next().map(|(_, c)| c) {
            Some(c @ ('"' | '\'' | '\\')) => text.push(c),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some(c @ ('%' | '_')) => text.extend(['\\', c]),
            _ => {
                let next = r#"There are \" \' \\ \n \r \t, and \% and \_ for LIKE; a backslash is written \\."#;
                return Err(self.error(at, "This backslash begins nothing that is known.", next));
            }
        }
        Ok(())
    }
}

fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn float(digits: &str) -> Option<Token> {
    digits.parse().ok().filter(|number: &f64| number.is_finite()).map(Token::Float)
}

/// A character as an error names it.
fn shown(c: char) -> String {
    if c.is_control() { format!("The control character U+{:04X}", u32::from(c)) } else { format!("`{c}`") }
}
