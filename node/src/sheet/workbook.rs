//! XLSX workbooks: one sheet's cells as text. What the file unpacks to is weighed before anything is unpacked.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Xlsx, XlsxError};
use openprod_model::value::{Date, DateTime, Duration, Value};
use zip::ZipArchive;

use super::cell::format_value;
use super::decode::{
    MAX_CELL_BYTES, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, MAX_WORKBOOK_BYTES, RawSheet, ReadOptions, SheetRow,
};
use super::error::{SheetError, listed, shown};

/// Most bytes of the parts that describe formats, sheets and links: 8 MiB. In memory they grow fifty times, and
/// Excel's own limits keep them far below.
const MAX_SMALL_PART_BYTES: u64 = 8 * 1024 * 1024;

pub(super) fn read(bytes: &[u8], options: &ReadOptions) -> Result<RawSheet, SheetError> {
    weigh(bytes)?;
    // A last resort: the decoder is not ours, and a broken file must not take a node down.
    catch_unwind(AssertUnwindSafe(|| read_weighed(bytes, options)))
        .unwrap_or_else(|_| Err(SheetError::Workbook("it is broken in a way that was not foreseen".to_owned())))
}

/// Adds up what the parts of a ZIP file say they unpack to; the decoder holds them to it.
///
/// Every place that looks like an entry of a ZIP directory counts (APPNOTE.TXT 4.3.12), so that a file with two
/// directories cannot show us one and the decoder another.
fn weigh(bytes: &[u8]) -> Result<(), SheetError> {
    let mut total = 0;
    for (size, name) in directory_entries(bytes) {
        let small = ["styles.xml", "workbook.xml", ".rels"].iter().any(|end| name.ends_with(end.as_bytes()));
        if small && size > MAX_SMALL_PART_BYTES {
            return Err(SheetError::WorkbookTooLarge(format!(", in {}", shown(&String::from_utf8_lossy(&name)))));
        }
        total += size;
    }
    if total > MAX_WORKBOOK_BYTES { Err(SheetError::WorkbookTooLarge(String::new())) } else { Ok(()) }
}

/// Unpacked size and lower-case name of every directory entry.
fn directory_entries(bytes: &[u8]) -> impl Iterator<Item = (u64, Vec<u8>)> {
    const SIGNATURE: &[u8] = b"PK\x01\x02";
    let entry = |entry: &[u8]| {
        let size = u32::from_le_bytes(entry.get(24..28)?.try_into().ok()?);
        let name_len = u16::from_le_bytes(entry.get(28..30)?.try_into().ok()?);
        let name = entry.get(46..46 + usize::from(name_len))?;
        Some((u64::from(size), name.to_ascii_lowercase()))
    };
    let starts = bytes.windows(SIGNATURE.len()).enumerate().filter(|(_, window)| *window == SIGNATURE);
    starts.filter_map(move |(at, _)| entry(&bytes[at..]))
}

/// Refuses a workbook that states more shared texts than its bytes can hold. The decoder would reserve memory for as
/// many, and memory that is refused ends the whole process.
fn check_stated_texts(bytes: &[u8]) -> Result<(), SheetError> {
    const SHORTEST: u64 = "<si/>".len() as u64;
    let broken = |error: &dyn std::fmt::Display| SheetError::Workbook(shown(&error.to_string()));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).map_err(|error| broken(&error))?;
        let name = part.name().map_err(|error| broken(&error))?.to_ascii_lowercase();
        if !name.ends_with("sharedstrings.xml") {
            continue;
        }
        let mut xml = Vec::new();
        part.by_ref().take(MAX_WORKBOOK_BYTES).read_to_end(&mut xml).map_err(|error| broken(&error))?;
        if stated_counts(&xml).any(|count| count > xml.len() as u64 / SHORTEST) {
            return Err(SheetError::WorkbookTooLarge(", by the number of texts that it states".to_owned()));
        }
    }
    Ok(())
}

/// The number in every `uniqueCount="..."`, wherever it stands; the largest there is if it is larger than that.
fn stated_counts(xml: &[u8]) -> impl Iterator<Item = u64> {
    const ATTRIBUTE: &[u8] = b"uniqueCount";
    let starts = xml.windows(ATTRIBUTE.len()).enumerate().filter(|(_, window)| *window == ATTRIBUTE);
    starts.map(|(at, _)| {
        let value = xml[at + ATTRIBUTE.len()..].iter().skip_while(|byte| !byte.is_ascii_digit() && **byte != b'>');
        let digits: String = value.take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
        if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) }
    })
}

fn read_weighed(bytes: &[u8], options: &ReadOptions) -> Result<RawSheet, SheetError> {
    check_stated_texts(bytes)?;
    let mut workbook = Xlsx::new(Cursor::new(bytes)).map_err(|error| unreadable(&error))?;
    let mut notes = Vec::new();
    let name = chosen(&workbook, options.sheet.as_deref(), &mut notes)?;
    let epoch_ms = if workbook.has_1904_epoch() { EPOCH_1904_MS } else { EPOCH_1900_MS };
    let mut reader = workbook.worksheet_cells_reader(&name).map_err(|error| unreadable(&error))?;
    let (mut grid, mut errors) = (Grid::default(), Vec::new());
    while let Some((cell, style)) = reader.next_cell_with_style_id().map_err(|error| unreadable(&error))? {
        let (row, column) = cell.get_position();
        let format = reader.styles().get(style).and_then(|style| style.number_format.as_ref());
        let text = match cell.get_value() {
            DataRef::DateTime(at) => time_text(*at, epoch_ms, format.map(|format| format.format_code.as_str())),
            DataRef::Error(error) => {
                errors.push(format!("line {} column {} ({error})", row + 1, column + 1));
                error.to_string()
            }
            other => plain_text(other),
        };
        grid.put(row, column, text)?;
    }
    if !errors.is_empty() {
        const NAMED: usize = 20;
        let more = if errors.len() > NAMED { format!(" and {} more", errors.len() - NAMED) } else { String::new() };
        errors.truncate(NAMED);
        notes.push(format!("Formulas that gave an error: {}{more}.", errors.join(", ")));
    }
    Ok(RawSheet { name, rows: grid.into_rows()?, notes })
}

fn unreadable(error: &XlsxError) -> SheetError {
    match error {
        XlsxError::Password => SheetError::Unsupported("protected by a password"),
        XlsxError::FileNotFound(_) => SheetError::Unsupported("a ZIP file, but not an XLSX workbook"),
        other => SheetError::Workbook(shown(&other.to_string())),
    }
}

/// The sheet that was asked for, or the first visible one.
fn chosen(workbook: &Xlsx<Cursor<&[u8]>>, wanted: Option<&str>, notes: &mut Vec<String>) -> Result<String, SheetError> {
    let sheets: Vec<_> = workbook.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet).collect();
    let found = || listed(sheets.iter().map(|sheet| sheet.name.as_str()));
    let sheet = match wanted {
        Some(wanted) => sheets.iter().find(|sheet| sheet.name == wanted),
        None => sheets.iter().find(|sheet| sheet.visible == SheetVisible::Visible).or(sheets.first()),
    };
    let Some(sheet) = sheet else {
        return Err(SheetError::UnknownSheet { wanted: shown(wanted.unwrap_or_default()), found: found() });
    };
    if sheets.len() > 1 {
        notes.push(format!("Sheet \"{}\" of {}.", shown(&sheet.name), found()));
    }
    Ok(sheet.name.clone())
}

fn plain_text(value: &DataRef<'_>) -> String {
    match value {
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) => number.to_string(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => text.clone(),
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(yes) => yes.to_string(),
        DataRef::DateTime(_) | DataRef::Error(_) | DataRef::Empty => String::new(),
    }
}

const DAY_MS: f64 = 86_400_000.0;
/// Milliseconds from 1899-12-30, from which most workbooks count, to 1970-01-01.
const EPOCH_1900_MS: i64 = 25_569 * 86_400_000;
/// Milliseconds from 1904-01-01, from which those of old Macs count.
const EPOCH_1904_MS: i64 = 24_107 * 86_400_000;
/// Serial days that are dates in both programs and calendars: from 1900-03-01 to 9999-12-31. Excel believes in a
/// 29 February 1900, and its dates before that are off by one.
const CALENDAR_DAYS: std::ops::Range<f64> = 61.0..2_958_466.0;

/// A serial number that is shown as date or time: a duration as hours, minutes and seconds; below one day the time;
/// else the date, with the time if the cell shows or has one. What no calendar has stays a number.
fn time_text(at: ExcelDateTime, epoch_ms: i64, format: Option<&str>) -> String {
    let serial = at.as_f64();
    let ms = milliseconds(serial);
    if at.is_duration() {
        return format_value(&Value::Duration(Duration { ms }));
    }
    if (0.0..1.0).contains(&serial) {
        let midnight = DateTime::new(ms, None).map(|at| format_value(&Value::DateTime(at)));
        return midnight.ok().and_then(|text| Some(text.split_once('T')?.1.to_owned())).unwrap_or_default();
    }
    let local_ms = ms - epoch_ms;
    let value = match (CALENDAR_DAYS.contains(&serial), i32::try_from(local_ms.div_euclid(86_400_000))) {
        (true, Ok(days)) if local_ms % 86_400_000 == 0 && !shows_clock(format) => Ok(Value::Date(Date { days })),
        (true, Ok(_)) => DateTime::new(local_ms, None).map(Value::DateTime),
        _ => Value::float(serial),
    };
    value.map_or_else(|_| serial.to_string(), |value| format_value(&value))
}

#[expect(clippy::cast_possible_truncation, reason = "a float beyond the range becomes its end, which is no date")]
fn milliseconds(days: f64) -> i64 {
    (days * DAY_MS).round() as i64
}

/// Whether a number format (ECMA-376 part 1, 18.8.31) shows hours or seconds; quoted text and `[...]` do not count.
fn shows_clock(format: Option<&str>) -> bool {
    let mut quoted = false;
    let mut bracketed = false;
    let mut chars = format.unwrap_or_default().chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' | '_' | '*' => drop(chars.next()),
            '[' | ']' => bracketed = c == '[',
            'h' | 'H' | 's' | 'S' if !quoted && !bracketed => return true,
            _ => {}
        }
    }
    false
}

/// Cells as they come, sparse and in any order.
#[derive(Default)]
struct Grid {
    rows: BTreeMap<u32, Vec<String>>,
    cells: usize,
    bytes: u64,
}

impl Grid {
    /// Puts text into a cell, both counted from 0. Empty text takes no room.
    fn put(&mut self, row: u32, column: u32, text: String) -> Result<(), SheetError> {
        if text.is_empty() {
            return Ok(());
        }
        let (line, index) = (u64::from(row) + 1, usize::try_from(column).unwrap_or(usize::MAX));
        if index >= MAX_COLUMNS {
            return Err(SheetError::TooManyColumns { line, delimiter: "the sheet's columns".to_owned() });
        }
        if text.len() > MAX_CELL_BYTES {
            return Err(SheetError::CellTooLong { line, column: index + 1 });
        }
        self.bytes += text.len() as u64;
        if self.bytes > MAX_WORKBOOK_BYTES {
            return Err(SheetError::WorkbookTooLarge(String::new()));
        }
        let cells = self.rows.entry(row).or_default();
        self.cells += (index + 1).saturating_sub(cells.len());
        if self.cells > MAX_CELLS {
            return Err(SheetError::TooManyCells);
        }
        cells.resize(cells.len().max(index + 1), String::new());
        cells[index] = text;
        Ok(())
    }

    fn into_rows(self) -> Result<Vec<SheetRow>, SheetError> {
        let width = self.rows.values().map(Vec::len).max().unwrap_or(0);
        if self.rows.len() > MAX_ROWS {
            return Err(SheetError::TooManyRows);
        }
        if self.rows.len().saturating_mul(width) > MAX_CELLS {
            return Err(SheetError::TooManyCells);
        }
        let level = |(row, mut cells): (u32, Vec<String>)| {
            cells.resize(width, String::new());
            SheetRow { line: u64::from(row) + 1, cells }
        };
        Ok(self.rows.into_iter().map(level).collect())
    }
}

#[cfg(test)]
mod tests {
    use rust_xlsxwriter::{ExcelDateTime as Serial, Format, Formula, Workbook};

    use super::*;
    use crate::sheet::{Sheet, read_sheet};

    fn sheet(bytes: &[u8]) -> Sheet {
        read_sheet(bytes, "plot.xlsx", &ReadOptions::default()).expect("readable")
    }

    fn cells_of_all_types() -> Vec<u8> {
        let mut workbook = Workbook::new();
        let sheet = workbook.add_worksheet();
        let shown_as = |code: &str| Format::new().set_num_format(code);
        let midnight = Serial::from_ymd(2024, 3, 1).expect("a date");
        let evening = Serial::from_ymd(2024, 3, 1).and_then(|day| day.and_hms(18, 0, 0)).expect("a time");
        sheet.write(0, 0, "Name").and_then(|s| s.write(0, 1, "Value")).expect("written");
        sheet.write(2, 1, 1.0).and_then(|s| s.write(3, 1, 0.1)).and_then(|s| s.write(4, 1, true)).expect("written");
        sheet.write_with_format(5, 1, &midnight, &shown_as("dd/mm/yyyy")).expect("written");
        sheet.write_with_format(6, 1, &midnight, &shown_as("dd/mm/yyyy hh:mm")).expect("written");
        sheet.write_with_format(7, 1, &evening, &shown_as("d \"hours\" mmm")).expect("written");
        sheet.write_with_format(8, 1, 0.75, &shown_as("hh:mm")).expect("written");
        sheet.write_with_format(9, 1, 1.5, &shown_as("[h]:mm:ss")).expect("written");
        sheet.write_formula(10, 1, Formula::new("1/0").set_result("#DIV/0!")).expect("written");
        sheet.write(11, 1, "line\r\nbreak _x000D_ é").expect("written");
        sheet.write_with_format(12, 1, -3.0, &shown_as("dd/mm/yyyy")).expect("written");
        workbook.add_worksheet().set_name("Other").expect("named");
        workbook.save_to_buffer().expect("saved")
    }

    #[test]
    fn typed_cells_become_text_without_loss() {
        let sheet = sheet(&cells_of_all_types());
        let cells: Vec<_> = sheet.rows.iter().map(|row| (row.line, row.cells[1].as_str())).collect();
        let expected = [
            (3, "1"),
            (4, "0.1"),
            (5, "true"),
            (6, "2024-03-01"),
            (7, "2024-03-01T00:00:00"),
            (8, "2024-03-01T18:00:00"),
            (9, "18:00:00"),
            (10, "36:00:00"),
            (11, "#DIV/0!"),
            (12, "line\r\nbreak _x000D_ é"),
            (13, "-3"),
        ];
        assert_eq!(cells, expected);
        assert_eq!((sheet.name.as_str(), sheet.header), ("Sheet1", vec!["Name".to_owned(), "Value".to_owned()]));
        assert_eq!(
            sheet.notes,
            ["Sheet \"Sheet1\" of \"Sheet1\", \"Other\".", "Formulas that gave an error: line 11 column 2 (#DIV/0!)."]
        );
    }

    #[test]
    fn a_sheet_is_chosen_by_name() {
        let read = |name: &str| {
            let options = ReadOptions { sheet: Some(name.to_owned()), ..ReadOptions::default() };
            read_sheet(&cells_of_all_types(), "", &options)
        };
        assert_eq!(read("Other"), Err(SheetError::Empty(String::new())));
        let (wanted, found) = ("None".to_owned(), "\"Sheet1\", \"Other\"".to_owned());
        assert_eq!(read("None"), Err(SheetError::UnknownSheet { wanted, found }));
    }

    /// Overwrites the size that the ZIP file states for its parts, in both places where it stands.
    fn restated(mut bytes: Vec<u8>, size: u32) -> Vec<u8> {
        for at in 0..bytes.len() - 30 {
            let field = match &bytes[at..at + 4] {
                b"PK\x01\x02" => at + 24,
                b"PK\x03\x04" => at + 22,
                _ => continue,
            };
            bytes[field..field + 4].copy_from_slice(&size.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn workbooks_that_unpack_to_too_much_are_refused_and_held_to_what_they_state() {
        let too_large = restated(cells_of_all_types(), 400_000_000);
        assert!(matches!(read(&too_large, &ReadOptions::default()), Err(SheetError::WorkbookTooLarge(_))));
        let understated = restated(cells_of_all_types(), 10);
        assert!(matches!(read(&understated, &ReadOptions::default()), Err(SheetError::Workbook(_))));
    }

    #[test]
    fn broken_workbooks_are_errors() {
        let whole = cells_of_all_types();
        for len in (4..whole.len()).step_by(97) {
            assert!(read(&whole[..len], &ReadOptions::default()).is_err(), "{len}");
        }
        for at in (0..whole.len()).step_by(13) {
            let mut broken = whole.clone();
            broken[at] ^= 0xFF;
            let _ = read(&broken, &ReadOptions::default());
        }
        assert!(matches!(read_sheet(b"PK\x03\x04", "", &ReadOptions::default()), Err(SheetError::Workbook(_))));
    }

    #[test]
    fn a_workbook_may_not_state_more_texts_than_it_can_hold() {
        let stated = |xml: &str| stated_counts(xml.as_bytes()).collect::<Vec<_>>();
        assert_eq!(stated("<sst count=\"1\" uniqueCount = '12'><si><t>uniqueCount</t></si>"), [12, 0]);
        assert_eq!(stated("<sst uniqueCount=\"99999999999999999999\">"), [u64::MAX]);
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("xl/sharedStrings.xml", zip::write::SimpleFileOptions::default()).expect("started");
        let xml = b"<sst uniqueCount=\"1000000000000\"></sst>";
        std::io::Write::write_all(&mut archive, xml).expect("written");
        let bytes = archive.finish().expect("finished").into_inner();
        assert!(matches!(read(&bytes, &ReadOptions::default()), Err(SheetError::WorkbookTooLarge(_))));
    }

    #[test]
    fn far_away_cells_do_not_fill_the_memory() {
        let mut grid = Grid::default();
        let far = (0..1_048_576).map(|row| grid.put(row, 4_000, "x".to_owned())).find_map(Result::err);
        assert_eq!(far, Some(SheetError::TooManyCells));
        assert!(matches!(grid.put(0, 16_383, "x".to_owned()), Err(SheetError::TooManyColumns { .. })));
    }
}
