//! From the bytes of a CSV, TSV or XLSX file to a header and rows of text, all of one width.

use std::collections::HashSet;

use openprod_model::value::{MAX_TEXT_BYTES, Name};

use super::error::{SheetError, listed, shown};
use super::{text, workbook};

/// Most bytes of a file: 256 MiB. The whole file is held in memory while it is read.
pub const MAX_FILE_BYTES: usize = 256 * 1024 * 1024;
/// Most columns: 4,096. A table of more is a mistaken delimiter, or a matrix that should be transposed.
pub const MAX_COLUMNS: usize = 4_096;
/// Most rows: 2,000,000, twice what a spreadsheet program can show.
pub const MAX_ROWS: usize = 2_000_000;
/// Most bytes of a cell: the longest text a value may have.
pub const MAX_CELL_BYTES: usize = MAX_TEXT_BYTES;
/// Most cells, every row counted as wide as the widest: 20 million, about a gigabyte of memory. Without it a small
/// file of delimiters would become many gigabytes of empty cells.
pub const MAX_CELLS: usize = 20_000_000;
/// Most bytes to which a workbook (a ZIP file) may unpack, and most bytes of text in one sheet: 512 MiB. A few
/// kilobytes of ZIP can hold gigabytes of zeros.
pub const MAX_WORKBOOK_BYTES: u64 = 512 * 1024 * 1024;

/// What a person says of a file; whatever is not said is found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// What separates cells, as an ASCII character. Text files only.
    pub delimiter: Option<u8>,
    /// A label of the WHATWG Encoding Standard, such as `windows-1252`. Text files only.
    pub encoding: Option<String>,
    /// The sheet's name. Workbooks only; without it the first visible one is read.
    pub sheet: Option<String>,
    /// The line (or row) of the header, counting from 1; lines before it are left out. Without it: the first with text.
    pub header_line: Option<u64>,
    /// Whether the first row is data already; columns are then called "Column 1", "Column 2" and so on.
    pub no_header: bool,
}

/// A header and rows as wide as the header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    /// The sheet's name in its workbook, or the file's name without its ending.
    pub name: String,
    /// The columns' names: unique, and each a valid field name.
    pub header: Vec<String>,
    /// The rows, in the file's order.
    pub rows: Vec<SheetRow>,
    /// Sentences for people: what was found out, and what was changed to make a table of it.
    pub notes: Vec<String>,
}

/// A row of cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SheetRow {
    /// The line of the file on which it starts, or its number in a workbook's sheet; from 1.
    pub line: u64,
    /// Its cells as text; an empty one is no value.
    pub cells: Vec<String>,
}

/// Rows as they stand in the file, of any width, header included.
pub(super) struct RawSheet {
    pub(super) name: String,
    pub(super) rows: Vec<SheetRow>,
    pub(super) notes: Vec<String>,
}

/// Reads a CSV, TSV or XLSX file. `file_name` gives the sheet its name, and `.tsv` a hint of the delimiter; what kind
/// of file it is, the bytes say.
pub fn read_sheet(bytes: &[u8], file_name: &str, options: &ReadOptions) -> Result<Sheet, SheetError> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(SheetError::FileTooLarge(bytes.len()));
    }
    let raw = if bytes.starts_with(b"PK\x03\x04") {
        workbook::read(bytes, options)?
    } else if bytes.starts_with(b"\xD0\xCF\x11\xE0") {
        return Err(SheetError::Unsupported("a workbook in an old format or with a password"));
    } else {
        text::read(bytes, file_name, options)?
    };
    into_table(raw, options)
}

/// Makes a table of rows of any width: every column named, every row as wide as the header.
fn into_table(raw: RawSheet, options: &ReadOptions) -> Result<Sheet, SheetError> {
    let RawSheet { name, mut rows, mut notes } = raw;
    skip_to_header(&mut rows, options.header_line, &mut notes)?;
    let header = if options.no_header { SheetRow::default() } else { rows.remove(0) };
    let width = rows.iter().chain([&header]).map(filled_width).max().unwrap_or(0);
    if width.saturating_mul(rows.len()) > MAX_CELLS {
        return Err(SheetError::TooManyCells);
    }
    if !options.no_header {
        note_ragged(&header, &rows, width, &mut notes);
    }
    level(&mut rows, width);
    let names = cleaned(&header, width)?;
    let keep = worth_keeping(&names, &rows);
    let mut header = named(&names, &keep, &header, &mut notes)?;
    retain(&mut header, &keep);
    for row in &mut rows {
        retain(&mut row.cells, &keep);
    }
    Ok(Sheet { name, header, rows, notes })
}

fn skip_to_header(rows: &mut Vec<SheetRow>, line: Option<u64>, notes: &mut Vec<String>) -> Result<(), SheetError> {
    let before = |row: &SheetRow| line.map_or_else(|| filled_width(row) == 0, |line| row.line < line);
    let skipped = rows.iter().position(|row| !before(row)).unwrap_or(rows.len());
    rows.drain(..skipped);
    let Some(first) = rows.first().filter(|_| rows.iter().any(|row| filled_width(row) > 0)) else {
        return Err(SheetError::Empty(line.map_or_else(String::new, |line| format!(" from line {line} on"))));
    };
    if skipped > 0 {
        notes.push(format!("Rows before line {} that were left out: {skipped}.", first.line));
    }
    Ok(())
}

/// The number of the last cell that is not empty.
fn filled_width(row: &SheetRow) -> usize {
    row.cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1)
}

fn level(rows: &mut [SheetRow], width: usize) {
    for row in rows {
        row.cells.resize(width, String::new());
    }
}

fn note_ragged(header: &SheetRow, rows: &[SheetRow], width: usize, notes: &mut Vec<String>) {
    let expected = header.cells.len();
    note_rows(
        rows.iter().filter(|row| row.cells.len() < expected),
        "fewer cells than the header; the rest is empty",
        notes,
    );
    let longer = rows.iter().filter(|row| filled_width(row) > expected);
    note_rows(longer, "more cells than the header; they have columns of their own", notes);
    let names = header.cells.iter().filter(|cell| !cell.is_empty()).count();
    if names * 2 < width {
        notes.push(format!(
            "Line {} names {names} columns where rows have up to {width}. If the names are elsewhere, give their line.",
            header.line
        ));
    }
}

fn note_rows<'a>(mut rows: impl Iterator<Item = &'a SheetRow>, what: &str, notes: &mut Vec<String>) {
    if let Some(first) = rows.next() {
        notes.push(match rows.count() {
            0 => format!("Line {} has {what}.", first.line),
            more => format!("Line {} and {more} more have {what}.", first.line),
        });
    }
}

/// The header's cells as names, empty where there is none. Line breaks and tabs inside a name become spaces.
fn cleaned(header: &SheetRow, width: usize) -> Result<Vec<String>, SheetError> {
    let clean = |(index, cell): (usize, &String)| {
        let flat = if cell.contains(['\n', '\r', '\t']) {
            cell.split_whitespace().collect::<Vec<_>>().join(" ")
        } else {
            cell.trim().to_owned()
        };
        if flat.is_empty() { Ok(flat) } else { valid_name(&flat, header.line, index) }
    };
    let mut names = header.cells.iter().take(width).enumerate().map(clean).collect::<Result<Vec<_>, _>>()?;
    names.resize(width, String::new());
    Ok(names)
}

fn valid_name(name: &str, line: u64, index: usize) -> Result<String, SheetError> {
    Name::new(name).map(|name| name.as_str().to_owned()).map_err(|invalid| SheetError::Header {
        line,
        column: index + 1,
        text: shown(name),
        problem: invalid.to_string(),
    })
}

/// All columns but those that have neither a name nor any value: spreadsheets export them by the dozen.
fn worth_keeping(names: &[String], rows: &[SheetRow]) -> Vec<bool> {
    let mut keep: Vec<bool> = names.iter().map(|name| !name.is_empty()).collect();
    for row in rows {
        keep.iter_mut().zip(&row.cells).for_each(|(keep, cell)| *keep |= !cell.is_empty());
    }
    keep
}

fn retain(cells: &mut Vec<String>, keep: &[bool]) {
    let mut kept = keep.iter();
    cells.retain(|_| kept.next().copied().unwrap_or(true));
}

fn column_number(index: usize) -> String {
    format!("Column {}", index + 1)
}

/// Gives every column a name of its own, and says which names were made up.
fn named(
    names: &[String],
    keep: &[bool],
    header: &SheetRow,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, SheetError> {
    let unique = unique_names(names);
    let mut nameless = Vec::new();
    for (index, (old, new)) in names.iter().zip(&unique).enumerate().filter(|(index, _)| keep[*index]) {
        valid_name(new, header.line, index)?;
        if old.is_empty() {
            nameless.push(new.as_str());
        } else if old != new {
            notes.push(format!("Column {} is called \"{new}\", since another is called \"{old}\".", index + 1));
        }
    }
    if !nameless.is_empty() {
        notes.push(format!("Columns without a name of their own are called {}.", listed(nameless)));
    }
    Ok(unique)
}

/// "URL", "URL", "" become "URL", "URL 2", "Column 3". A name made up never takes one that the header has.
fn unique_names(names: &[String]) -> Vec<String> {
    let mut taken: HashSet<String> = names.iter().filter(|name| !name.is_empty()).cloned().collect();
    let mut seen = HashSet::new();
    let mut unique = |(index, name): (usize, &String)| {
        let own = !name.is_empty() && seen.insert(name.clone());
        let base = if name.is_empty() { column_number(index) } else { name.clone() };
        if own || taken.insert(base.clone()) {
            return base;
        }
        let numbered = (2..=usize::MAX).map(|n| format!("{base} {n}")).find(|name| taken.insert(name.clone()));
        numbered.expect("there are more numbers than columns")
    };
    names.iter().enumerate().map(&mut unique).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sheet, SheetError> {
        read_sheet(text.as_bytes(), "folder/cues.csv", &ReadOptions::default())
    }

    fn sheet(text: &str) -> Sheet {
        read(text).expect("readable")
    }

    fn cells(sheet: &Sheet) -> Vec<Vec<&str>> {
        sheet.rows.iter().map(|row| row.cells.iter().map(String::as_str).collect()).collect()
    }

    #[test]
    fn every_column_has_a_name_of_its_own() {
        let sheet = sheet("URL,URL,,URL 2,URL,\"Up\nTime\",\n1,2,3,4,5,6,\n");
        assert_eq!(sheet.header, ["URL", "URL 3", "Column 3", "URL 2", "URL 4", "Up Time"]);
        assert_eq!(cells(&sheet), [["1", "2", "3", "4", "5", "6"]]);
        assert_eq!(sheet.name, "cues");
        assert_eq!(sheet.notes.len(), 5, "{:?}", sheet.notes);
        assert_eq!(sheet.notes[2], "Column 2 is called \"URL 3\", since another is called \"URL\".");
        assert_eq!(sheet.notes[4], "Columns without a name of their own are called \"Column 3\".");
    }

    #[test]
    fn short_rows_are_filled_and_long_rows_get_columns() {
        let sheet = sheet("a,b\n1\n\n2,3,,4\n5,6,,\n");
        assert_eq!(sheet.header, ["a", "b", "Column 4"]);
        assert_eq!(cells(&sheet), [["1", "", ""], ["2", "3", "4"], ["5", "6", ""]]);
        assert_eq!(sheet.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4, 5]);
        assert!(
            sheet.notes.contains(&"Line 4 has more cells than the header; they have columns of their own.".to_owned())
        );
    }

    #[test]
    fn names_that_cannot_be_are_refused_by_line_and_column() {
        let error = read("a,b\u{7}c\n1,2\n").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "line 1, column 2 (\"b\\u{7}c\"): a name may not hold control characters or begin or end with white space; \
             change it, name another header line, or read the file without header"
        );
        assert!(matches!(read(&format!("a,{}\n", "x".repeat(129))), Err(SheetError::Header { column: 2, .. })));
    }

    #[test]
    fn the_header_is_where_it_is_said_to_be() {
        let text = b"\n# Hookup\nid,name\n1,Ann\n";
        let at = |header_line, no_header| {
            let options = ReadOptions { header_line, no_header, ..ReadOptions::default() };
            read_sheet(text, "x.csv", &options).expect("readable").header
        };
        assert_eq!(at(Some(3), false), ["id", "name"]);
        assert_eq!(at(None, false), ["# Hookup", "Column 2"]);
        assert_eq!(at(None, true), ["Column 1", "Column 2"]);
        let beyond = ReadOptions { header_line: Some(9), ..ReadOptions::default() };
        assert_eq!(read_sheet(text, "", &beyond), Err(SheetError::Empty(" from line 9 on".to_owned())));
    }

    #[test]
    fn empty_files_are_refused() {
        for text in ["", "\n\n", ",,\n,,\n", "\u{feff}"] {
            assert_eq!(read(text), Err(SheetError::Empty(String::new())), "{text:?}");
        }
        assert_eq!(sheet("a,b\n").rows, []);
    }

    #[test]
    fn excel_may_state_its_delimiter() {
        let sheet = sheet("sep=|\r\na,b|c\r\n1|2\r\n");
        assert_eq!((sheet.header, sheet.rows[0].line), (vec!["a,b".to_owned(), "c".to_owned()], 3));
    }

    #[test]
    fn hostile_files_are_refused_and_nothing_overflows() {
        assert!(matches!(read(&",".repeat(1_000_000)), Err(SheetError::TooManyColumns { line: 1, .. })));
        assert!(matches!(
            read(&format!("a\n{}", "x".repeat(10_000_000))),
            Err(SheetError::CellTooLong { line: 2, column: 1 })
        ));
        assert!(matches!(
            read(&format!("a\n\"{}\"", "x\n".repeat(1_000_000))),
            Err(SheetError::CellTooLong { line: 2, .. })
        ));
        let wide = format!("{}x\n{}", ",".repeat(4_000), "1\n".repeat(10_000));
        let options = ReadOptions { delimiter: Some(b','), ..ReadOptions::default() };
        assert_eq!(read_sheet(wide.as_bytes(), "", &options), Err(SheetError::TooManyCells));
        let quote = ReadOptions { delimiter: Some(b'"'), ..ReadOptions::default() };
        assert_eq!(read_sheet(b"a", "", &quote), Err(SheetError::Delimiter("\"".to_owned())));
        assert!(matches!(read_sheet(b"\xD0\xCF\x11\xE0rest", "", &options), Err(SheetError::Unsupported(_))));
    }

    #[test]
    fn a_nul_stays_in_its_cell_for_the_plan_to_set_aside() {
        assert_eq!(cells(&sheet("a,b\n1,x\0y\n")), [["1", "x\0y"]]);
    }
}
