//! What is wrong with a query, where, and what to write instead.

use openprod_model::refusal::{Reason, Refusal};

use crate::view::ReadFailure;

/// How many characters of the query are shown on either side of an error.
const SNIPPET_CHARS: usize = 40;

/// A place in the text of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes before it.
    pub offset: usize,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

impl Place {
    fn of(text: &str, offset: usize) -> Self {
        let before = &text[..offset];
        let start = line_start(text, offset);
        Self { offset, line: before.matches('\n').count() + 1, column: text[start..offset].chars().count() + 1 }
    }
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |newline| newline + 1)
}

/// A query that does not parse, or does not fit the tables there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {}, column {})\n{snippet}\n{next}", position.line, position.column)]
pub struct QueryError {
    /// Where.
    pub position: Place,
    /// What is wrong, for people: one sentence.
    pub message: String,
    /// What to do next, for people: one sentence; may be empty.
    pub next: String,
    /// The part of the query at fault, and below it a caret.
    pub snippet: String,
}

impl QueryError {
    /// An error at byte `offset` of `text`.
    pub(super) fn new(text: &str, offset: usize, message: impl Into<String>, next: impl Into<String>) -> Self {
        let offset = text.floor_char_boundary(offset);
        let snippet = snippet(text, offset);
        Self { position: Place::of(text, offset), message: message.into(), next: next.into(), snippet }
    }
}

/// The surroundings of `offset` within its line, without control characters, and a caret below it.
fn snippet(text: &str, offset: usize) -> String {
    let before: Vec<char> = text[line_start(text, offset)..offset].chars().rev().take(SNIPPET_CHARS).collect();
    let after = text[offset..].chars().take_while(|c| *c != '\n').take(SNIPPET_CHARS);
    let shown = before.iter().rev().copied().chain(after).map(|c| if c.is_control() { ' ' } else { c });
    format!("{}\n{}^", shown.collect::<String>(), " ".repeat(before.len()))
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let sentence = error.message.trim_end_matches('.');
        let message = format!("{sentence} (line {}, column {}).", error.position.line, error.position.column);
        Self::new(Reason::InvalidQuery, message).next(error.next)
    }
}

/// Why a query gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryProblem {
    /// The query is at fault.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The store is at fault.
    #[error(transparent)]
    Read(#[from] ReadFailure),
}

/// Which of `names` was probably meant by `wrong`: the same but for case, or else the fewest typing mistakes away.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let bearable = wrong.chars().count().div_ceil(3);
    let measured = names.map(|name| (mistakes(&wrong, &name.to_lowercase()), name));
    measured.filter(|(distance, _)| *distance <= bearable).min().map(|(_, name)| name)
}

/// Levenshtein's distance.
fn mistakes(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_points_at_its_place() {
        let error = QueryError::new("a == 1\nAND ümlaut ==\t2", 21, "No.", "Yes.");
        assert_eq!((error.position.line, error.position.column), (2, 14));
        assert_eq!(error.snippet, "AND ümlaut == 2\n             ^");
        assert_eq!(Refusal::from(error).message, "No (line 2, column 14).");
    }

    #[test]
    fn the_nearest_name_is_a_likely_one() {
        let names = ["label", "cue_number", "Department"];
        assert_eq!(nearest("lable", names.into_iter()), Some("label"));
        assert_eq!(nearest("department", names.into_iter()), Some("Department"));
        assert_eq!(nearest("cue_nubmer", names.into_iter()), Some("cue_number"));
        assert_eq!(nearest("weather", names.into_iter()), None);
    }
}
