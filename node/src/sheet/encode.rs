//! From values to the bytes of CSV, JSON Lines and XLSX files.

use std::collections::HashSet;

use openprod_model::value::{BlobRef, Value};
use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};
use serde_json::{Map, Value as Json, json};

use super::cell::{format_value, item_json};
use super::error::{SheetError, shown};

/// What ends each line of a CSV file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineEnding {
    /// CR LF, as RFC 4180 has it.
    #[default]
    CrLf,
    /// LF, as Unix has it.
    Lf,
}

/// A CSV file (RFC 4180): UTF-8, commas, quotation marks only where needed. Cells are written as they are, also those
/// that a spreadsheet program would take for a formula.
pub fn write_csv<R, C>(header: &[String], rows: R, ending: LineEnding) -> Vec<u8>
where
    R: IntoIterator,
    R::Item: IntoIterator<Item = C>,
    C: AsRef<[u8]>,
{
    const HOLDS: &str = "a vector takes every byte, and rows may be of any width";
    let terminator = match ending {
        LineEnding::CrLf => csv::Terminator::CRLF,
        LineEnding::Lf => csv::Terminator::Any(b'\n'),
    };
    let mut writer = csv::WriterBuilder::new().flexible(true).terminator(terminator).from_writer(Vec::new());
    writer.write_record(header).expect(HOLDS);
    for row in rows {
        writer.write_record(row).expect(HOLDS);
    }
    writer.into_inner().expect(HOLDS)
}

/// A JSON Lines file: an object per row with a member per column, null where there is no value. Numbers and booleans
/// are JSON's own, lists are arrays, files are objects, all else is the text of [`format_value`].
pub fn write_jsonl(header: &[String], rows: &[Vec<Option<Value>>]) -> Vec<u8> {
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().map(|value| value.as_ref().map_or(Json::Null, json_of));
        let object: Map<String, Json> = header.iter().cloned().zip(cells).collect();
        out.push_str(&Json::Object(object).to_string());
        out.push('\n');
    }
    out.into_bytes()
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => number.as_f64().into(),
        Value::Boolean(yes) => (*yes).into(),
        Value::List(list) => list.items().iter().map(item_json).collect(),
        Value::Blob(BlobRef { hash, size, name, media_type }) => json!({
            "hash": hash.to_string(), "size": size, "name": name.as_str(), "media_type": media_type.as_str(),
        }),
        other => format_value(other).into(),
    }
}

/// Most UTF-16 units of a cell's text, by Excel's specification.
const EXCEL_MAX_CELL: usize = 32_767;
/// Most characters of a sheet's name, likewise.
const EXCEL_MAX_SHEET_NAME: usize = 31;
/// Whole numbers above this are not exact in Excel, whose numbers are 64-bit floats.
const EXACT_INTEGER: u64 = 1 << 53;
const DAY_MS: i64 = 86_400_000;
/// Milliseconds from Excel's day 0, 1899-12-30, to 1970-01-01.
const EXCEL_EPOCH_MS: i64 = 25_569 * DAY_MS;
/// What Excel knows of the calendar, in milliseconds from its day 0: from 1900-03-01, since it believes in a
/// 29 February before that, to 9999-12-31.
const EXCEL_CALENDAR_MS: std::ops::Range<i64> = 61 * DAY_MS..2_958_466 * DAY_MS;

/// A table as a sheet of a workbook: its name, its header, its rows.
pub type NamedTable = (String, Vec<String>, Vec<Vec<Option<Value>>>);

/// An XLSX workbook with a sheet per table. Numbers, booleans, dates and durations become typed cells where Excel can
/// hold them exactly; everything else is text, which Excel leaves alone.
pub fn write_xlsx(tables: &[NamedTable]) -> Result<Vec<u8>, SheetError> {
    let mut workbook = Workbook::new();
    let formats = Formats::new();
    // Excel keeps this name for itself.
    let mut taken = HashSet::from(["history".to_owned()]);
    for (name, header, rows) in tables {
        let sheet = workbook.add_worksheet();
        sheet.set_name(sheet_name(name, &mut taken)).map_err(|error| SheetError::Workbook(error.to_string()))?;
        write_table(sheet, header, rows, &formats).map_err(|(row, column, problem)| SheetError::Unwritable {
            sheet: shown(name),
            row: row + 1,
            column: header.get(column).map_or_else(String::new, |column| shown(column)),
            problem,
        })?;
    }
    workbook.save_to_buffer().map_err(|error| SheetError::Workbook(error.to_string()))
}

/// Row and column, from 0, of a cell that cannot be written, and why.
type BadCell = (usize, usize, String);

fn write_table(
    sheet: &mut Worksheet,
    header: &[String],
    rows: &[Vec<Option<Value>>],
    formats: &Formats,
) -> Result<(), BadCell> {
    for (column, title) in header.iter().enumerate() {
        write_cell(sheet, (0, column), Cell::Title(title), formats)?;
    }
    for (row, values) in rows.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            if let Some(value) = value {
                write_cell(sheet, (row + 1, column), cell_of(value), formats)?;
            }
        }
    }
    Ok(())
}

/// A value as Excel can hold it.
enum Cell<'a> {
    Title(&'a str),
    Text(String),
    Number(f64),
    Boolean(bool),
    /// Days since 1899-12-30.
    Date(f64),
    /// Likewise, with a fraction.
    DateTime(f64),
    /// Days and a fraction.
    Duration(f64),
}

fn cell_of(value: &Value) -> Cell<'_> {
    let exact = match value {
        Value::Integer(number) => (number.unsigned_abs() <= EXACT_INTEGER).then(|| Cell::Number(whole(*number))),
        Value::Float(number) => Some(Cell::Number(number.as_f64())),
        Value::Boolean(yes) => Some(Cell::Boolean(*yes)),
        Value::Date(date) => calendar_days(i64::from(date.days) * DAY_MS).map(Cell::Date),
        Value::DateTime(at) if at.offset_min().is_none() => calendar_days(at.local_ms()).map(Cell::DateTime),
        Value::Duration(length) => {
            (0..EXCEL_CALENDAR_MS.end).contains(&length.ms).then(|| Cell::Duration(days(length.ms)))
        }
        _ => None,
    };
    exact.unwrap_or_else(|| Cell::Text(format_value(value)))
}

fn calendar_days(ms_since_1970: i64) -> Option<f64> {
    let ms = ms_since_1970.checked_add(EXCEL_EPOCH_MS)?;
    EXCEL_CALENDAR_MS.contains(&ms).then(|| days(ms))
}

fn days(ms: i64) -> f64 {
    whole(ms) / whole(DAY_MS)
}

#[expect(clippy::cast_precision_loss, reason = "callers keep within 2^53, where every whole number is exact")]
fn whole(number: i64) -> f64 {
    number as f64
}

fn write_cell(sheet: &mut Worksheet, at: (usize, usize), cell: Cell<'_>, formats: &Formats) -> Result<(), BadCell> {
    let bad = |problem: String| (at.0, at.1, problem);
    let (Ok(row), Ok(column)) = (u32::try_from(at.0), u16::try_from(at.1)) else {
        return Err(bad(XlsxError::RowColumnLimitError.to_string()));
    };
    let written = match cell {
        Cell::Title(text) => sheet.write_string_with_format(row, column, fitting(text).map_err(bad)?, &formats.title),
        Cell::Text(text) => sheet.write_string(row, column, fitting(&text).map_err(bad)?),
        Cell::Number(number) => sheet.write_number(row, column, number),
        Cell::Boolean(yes) => sheet.write_boolean(row, column, yes),
        Cell::Date(days) => sheet.write_number_with_format(row, column, days, &formats.date),
        Cell::DateTime(days) => sheet.write_number_with_format(row, column, days, &formats.datetime),
        Cell::Duration(days) => sheet.write_number_with_format(row, column, days, &formats.duration),
    };
    written.map(|_| ()).map_err(|error| bad(error.to_string()))
}

fn fitting(text: &str) -> Result<&str, String> {
    match text.encode_utf16().count() {
        0..=EXCEL_MAX_CELL => Ok(text),
        long => Err(format!("text of {long} characters is longer than the {EXCEL_MAX_CELL} that Excel can hold")),
    }
}

/// `name` as Excel admits it: 31 characters, none of `[]:*?/\`, and not used before in another case.
fn sheet_name(name: &str, taken: &mut HashSet<String>) -> String {
    let admitted =
        |c: char| if matches!(c, '[' | ']' | ':' | '*' | '?' | '/' | '\\') || c.is_control() { '_' } else { c };
    let clean: String = name.trim_matches('\'').chars().map(admitted).collect();
    let base = if clean.trim().is_empty() { "Sheet" } else { &clean };
    let numbered = |n: usize| {
        let suffix = if n == 1 { String::new() } else { format!(" {n}") };
        let cut: String = base.chars().take(EXCEL_MAX_SHEET_NAME - suffix.len()).collect();
        format!("{}{suffix}", cut.trim_end_matches('\''))
    };
    let free = (1..=usize::MAX).map(numbered).find(|name| taken.insert(name.to_lowercase()));
    free.expect("there are more numbers than tables")
}

struct Formats {
    title: Format,
    date: Format,
    datetime: Format,
    duration: Format,
}

impl Formats {
    fn new() -> Self {
        let with = |number: &str| Format::new().set_num_format(number);
        Self {
            title: Format::new().set_bold(),
            date: with("yyyy-mm-dd"),
            datetime: with("yyyy-mm-dd hh:mm:ss.000"),
            duration: with("[h]:mm:ss.000"),
        }
    }
}

#[cfg(test)]
mod tests {
    use openprod_model::value::{Date, DateTime, Duration, FieldType, Float};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::sheet::{ReadOptions, parse_value, read_sheet};

    fn strings(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn csv_leaves_cells_as_they_are() {
        let rows =
            [strings(&["=1+1", "+5"]), strings(&["-1", "@x"]), strings(&["a,b", "say \"hi\"\n"]), strings(&["", ""])];
        let bytes = write_csv(&strings(&["a", "b"]), &rows, LineEnding::CrLf);
        let expected = "a,b\r\n=1+1,+5\r\n-1,@x\r\n\"a,b\",\"say \"\"hi\"\"\n\"\r\n,\r\n";
        assert_eq!(String::from_utf8(bytes).expect("UTF-8"), expected);
        assert_eq!(write_csv(&strings(&["a"]), [strings(&["1"])], LineEnding::Lf), b"a\n1\n");
    }

    #[test]
    fn json_lines_keep_types() {
        let rows = [vec![Some(Value::Integer(i64::MAX)), Some(Value::Boolean(true)), None]];
        let bytes = write_jsonl(&strings(&["n", "called", "note"]), &rows);
        assert_eq!(
            String::from_utf8(bytes).expect("UTF-8"),
            "{\"n\":9223372036854775807,\"called\":true,\"note\":null}\n"
        );
    }

    #[test]
    fn text_too_long_for_excel_is_named() {
        let long = Value::text(&"é".repeat(40_000)).expect("text");
        let error = write_xlsx(&[("Cues".to_owned(), strings(&["a", "Note"]), vec![vec![None, Some(long)]])]);
        assert_eq!(
            error.expect_err("too long").to_string(),
            "sheet \"Cues\", row 2, column \"Note\": text of 40000 characters is longer than the 32767 that Excel can \
             hold; export to CSV or JSON Lines instead"
        );
    }

    #[test]
    fn sheets_have_names_that_excel_admits() {
        let table = |name: &str| (name.to_owned(), strings(&["a"]), Vec::new());
        let names = ["LX/Cues", "lx_cues", "", &"x".repeat(40), &"x".repeat(50), "'quoted'", "History", "sound's"];
        let bytes = write_xlsx(&names.map(table)).expect("written");
        let wanted = ReadOptions { sheet: Some("LX_Cues".to_owned()), ..ReadOptions::default() };
        let sheet = read_sheet(&bytes, "", &wanted).expect("readable");
        let short = "x".repeat(29);
        let expected = format!(
            "Sheet \"LX_Cues\" of \"LX_Cues\", \"lx_cues 2\", \"Sheet\", \"{short}xx\", \"{short} 2\", \"quoted\", \"History 2\", \"sound's\"."
        );
        assert_eq!(sheet.notes, [expected]);
    }

    fn typed() -> impl Strategy<Value = Vec<(FieldType, Value)>> {
        let near = -80_000_000_000_000_i64..300_000_000_000_000;
        let text = "[^\0]{1,12}".prop_filter_map("text", |text| Value::text(&text).ok());
        (
            text,
            any::<i64>(),
            any::<f64>().prop_filter_map("finite", |number| Float::new(number).ok()),
            any::<bool>(),
            -60_000..3_000_000,
            near.clone(),
            prop::option::of(-700_i16..700),
            near,
        )
            .prop_map(|(text, integer, float, boolean, days, local_ms, offset, ms)| {
                vec![
                    (FieldType::Text, text),
                    (FieldType::Integer, Value::Integer(integer)),
                    (FieldType::Integer, Value::Integer(integer >> 20)),
                    (FieldType::Float, Value::Float(float)),
                    (FieldType::Boolean, Value::Boolean(boolean)),
                    (FieldType::Date, Value::Date(Date { days })),
                    (FieldType::DateTime, Value::DateTime(DateTime::new(local_ms, offset).expect("in range"))),
                    (
                        FieldType::DateTime,
                        Value::DateTime(DateTime::new(local_ms / DAY_MS * DAY_MS, None).expect("in range")),
                    ),
                    (FieldType::Duration, Value::Duration(Duration { ms })),
                ]
            })
    }

    proptest! {
        #[test]
        fn what_csv_holds_comes_back(
            rows in vec(vec("[a-z0-9,;|\t\"\r\n =@é\u{1}-\u{8}]{0,6}", 3), 1..8),
            lf in any::<bool>(),
        ) {
            let header = strings(&["one", "two", "three"]);
            let bytes = write_csv(&header, &rows, if lf { LineEnding::Lf } else { LineEnding::CrLf });
            let options = ReadOptions { delimiter: Some(b','), ..ReadOptions::default() };
            let sheet = read_sheet(&bytes, "x.csv", &options).expect("readable");
            let cells: Vec<_> = sheet.rows.into_iter().map(|row| row.cells).collect();
            prop_assert_eq!((sheet.header, cells), (header, rows));
        }

        #[test]
        fn what_excel_holds_comes_back(values in typed()) {
            let header: Vec<String> = (0..values.len()).map(|n| format!("c{n}")).collect();
            let row = values.iter().map(|(_, value)| Some(value.clone())).collect();
            let bytes = write_xlsx(&[("t".to_owned(), header, vec![row])]).expect("written");
            let sheet = read_sheet(&bytes, "", &ReadOptions::default()).expect("readable");
            for ((field_type, value), cell) in values.iter().zip(&sheet.rows[0].cells) {
                prop_assert_eq!(parse_value(cell, field_type), Ok(Some(value.clone())), "{}", cell);
            }
        }
    }
}
