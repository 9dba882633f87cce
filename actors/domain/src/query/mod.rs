//! Queries: one language for filters of records, parsed once, then checked against tables and run on any view.
//!
//! ```text
//! table == "cues" AND is_called == true AND NOT is_archived
//! department IN ["lighting", "sound"]   name LIKE "Jane%"   email exists   lighting.cues exists   due < $now
//! ... ORDER BY cue_number DESC, label LIMIT 50 OFFSET 100
//! ```
//!
//! **Meaning.** Precedence: parentheses, NOT, comparison, AND, OR. Keywords may be written in any case; names may
//! not. A missing value or one of another type makes a comparison false, not an error; `null` equals only `null`. So
//! `NOT a == 1` holds for a record without `a`, and `a != 1` does not. Text is equal when it is exactly equal, LIKE
//! (`%` any characters, `_` one, `\%` the sign itself) does not mind case, and `<` and ORDER BY follow natural order:
//! "2" < "10" < "10.5" < "A3". Enums compare and sort in the order that their column lists; times with offsets as
//! instants; missing values sort last, or first with DESC. Rows without ORDER BY come in the order of creation.
//!
//! **Ways to the records.** All lead to the same rows; the planner takes the first that applies.
//! 1. *Among*: a test that no missing value passes can only hold for records that have an index entry for it. Equality
//!    and IN read the entries of those values; `<` and `>` on numbers and times, the entries between; anything else
//!    (LIKE, `!=`, order of text), all entries of the column, testing the value that stands in the entry itself,
//!    which spares a look at most records. What is left is checked against the cells: entries are only candidates.
//! 2. *Except*: where the filter can only *fail* for records with such an entry, as with NOT, all records are listed
//!    and only those are looked at.
//! 3. *Scan*: every record is looked at, reading just the columns in question. Walking all fields of the table instead
//!    would be sequential, but costs the more the more columns there are.
//!
//! A page in the order of creation stops as soon as it is full, and tries the first records before it reads a long
//! index. ORDER BY reads and sorts all that matches, for each page anew.
//!
//! Reading order: `syntax` with `lexer`, `check` with `literal`, `scalar` and `like` (what comparing means), `eval`,
//! `plan`, `run`.

mod check;
mod error;
mod eval;
mod lexer;
mod like;
mod literal;
mod plan;
mod run;
mod scalar;
mod syntax;
#[cfg(test)]
mod tests;

pub use check::{Checked, Context};
pub use error::{Place, QueryError, QueryProblem};
pub use run::{Found, Page, PageKey};
pub(crate) use scalar::Scalar;
pub use syntax::{MAX_DEPTH, MAX_IN_ITEMS, MAX_LIMIT, MAX_ORDER_COLUMNS, MAX_QUERY_BYTES, Query};
