//! Why a file cannot be read or written: one sentence each, naming the place and what to do.

use super::decode::{MAX_CELL_BYTES, MAX_CELLS, MAX_COLUMNS, MAX_FILE_BYTES, MAX_ROWS, MAX_WORKBOOK_BYTES};

/// Why a sheet cannot be read, planned or written. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SheetError {
    /// More than [`MAX_FILE_BYTES`].
    #[error("the file has {0} bytes, more than the {MAX_FILE_BYTES} that can be imported at once; split it")]
    FileTooLarge(usize),
    /// No row at all, or none from the header line on.
    #[error("the file has no rows{0}")]
    Empty(String),
    /// More than [`MAX_COLUMNS`].
    #[error("line {line} has more than {MAX_COLUMNS} cells; is \"{delimiter}\" what separates the columns?")]
    TooManyColumns {
        /// Where the row starts.
        line: u64,
        /// What was taken for the delimiter.
        delimiter: String,
    },
    /// More than [`MAX_ROWS`].
    #[error("the file has more than {MAX_ROWS} rows; split it")]
    TooManyRows,
    /// More than [`MAX_CELLS`].
    #[error("the sheet has more than {MAX_CELLS} cells, counting every row as wide as the widest; split it")]
    TooManyCells,
    /// More than [`MAX_CELL_BYTES`].
    #[error(
        "line {line}, column {column}: the cell is longer than {MAX_CELL_BYTES} bytes; \
         is a quotation mark without its partner, or should the text be a file?"
    )]
    CellTooLong {
        /// Where the cell starts.
        line: u64,
        /// Its number.
        column: usize,
    },
    /// A quoted cell without an end.
    #[error(
        "line {line}, column {column}: the quotation mark that opens this cell is never closed; close or double it"
    )]
    OpenQuote {
        /// Where the quotation mark stands.
        line: u64,
        /// The number of the cell.
        column: usize,
    },
    /// Bytes that mean nothing in the encoding.
    #[error("line {line} cannot be read as {encoding}; name the encoding in which the file was saved")]
    Malformed {
        /// What was assumed.
        encoding: &'static str,
        /// Where the first such byte is.
        line: u64,
    },
    /// No encoding of that name.
    #[error("\"{0}\" is not an encoding; try utf-8, utf-16le, windows-1252, macintosh or shift_jis")]
    UnknownEncoding(String),
    /// A delimiter that cannot separate cells.
    #[error("\"{0}\" cannot separate columns; use a comma, semicolon, tab or another single ASCII character")]
    Delimiter(String),
    /// A header cell that cannot name a column.
    #[error(
        "line {line}, column {column} (\"{text}\"): {problem}; \
         change it, name another header line, or read the file without header"
    )]
    Header {
        /// The line of the header.
        line: u64,
        /// The column's number.
        column: usize,
        /// The start of what stands there, control characters escaped.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No such sheet in the workbook.
    #[error("the workbook has no sheet \"{wanted}\"; it has {found}")]
    UnknownSheet {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// A workbook that unpacks to more than [`MAX_WORKBOOK_BYTES`], or holds an implausibly large part.
    #[error(
        "the workbook unpacks to more than the {MAX_WORKBOOK_BYTES} bytes allowed{0}; save the sheet alone, or as CSV"
    )]
    WorkbookTooLarge(String),
    /// A workbook that cannot be read.
    #[error("the workbook cannot be read: {0}; open it and save it again as XLSX or CSV")]
    Workbook(String),
    /// A spreadsheet format that is recognized but not read.
    #[error("the file is {0}; save it as XLSX or CSV")]
    Unsupported(&'static str),
    /// An option that names a column that is neither in the file nor in the table.
    #[error("{option} names a column \"{column}\" that is not there; the columns are {known}")]
    UnknownColumn {
        /// Which option.
        option: &'static str,
        /// The name given.
        column: String,
        /// What there is.
        known: String,
    },
    /// Options that contradict each other.
    #[error("{0}")]
    Options(String),
    /// A cell that the format to be written cannot hold.
    #[error("sheet \"{sheet}\", row {row}, column \"{column}\": {problem}; export to CSV or JSON Lines instead")]
    Unwritable {
        /// The sheet's name.
        sheet: String,
        /// The row's number in the sheet.
        row: usize,
        /// The column's name.
        column: String,
        /// What is wrong.
        problem: String,
    },
}

/// The start of `text` as it may be shown in a terminal: control and direction characters escaped.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    let mut out = String::new();
    for c in text.chars().take(SHOWN_CHARS) {
        if c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    if text.chars().nth(SHOWN_CHARS).is_some() {
        out.push('…');
    }
    out
}

/// Names in quotation marks, separated by commas; the first twenty.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const LISTED: usize = 20;
    let mut names = names.into_iter();
    let first: Vec<String> = names.by_ref().take(LISTED).map(|n| format!("\"{}\"", shown(n))).collect();
    match (first.is_empty(), names.count()) {
        (true, _) => "none".to_owned(),
        (false, 0) => first.join(", "),
        (false, more) => format!("{} and {more} more", first.join(", ")),
    }
}
