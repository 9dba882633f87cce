//! Delimited text: its encoding, its delimiter, and RFC 4180 with the liberties that programs take.
//!
//! The reader is our own and not the csv crate's because of what a person is told when a file is broken: on which
//! line a row starts (lone CR counts), where a quotation mark was opened that nobody closed; and because it keeps every
//! character of cells that are quoted wrongly. A test holds the two against each other.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::decode::{MAX_CELL_BYTES, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, RawSheet, ReadOptions, SheetRow};
use super::error::{SheetError, shown};

/// What is tried where no delimiter is given; of two that fit equally well, the first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

pub(super) fn read(bytes: &[u8], file_name: &str, options: &ReadOptions) -> Result<RawSheet, SheetError> {
    let (text, mut notes) = decoded(bytes, options.encoding.as_deref())?;
    let (stated, skip) = stated_delimiter(&text);
    let delimiter = match options.delimiter.or(stated) {
        Some(delimiter) => checked(delimiter)?,
        None => detected(&text, file_name),
    };
    notes.push(format!("Columns are separated by {}.", spoken(delimiter)));
    let mut reader = Reader::new(&text, delimiter);
    reader.advance(skip);
    let rows = all_rows(&mut reader)?;
    if let Some(line) = reader.bare_quote {
        notes.push(format!("Line {line}: a quotation mark within a quoted cell is not doubled; it was kept as it is."));
    }
    Ok(RawSheet { name: stem(file_name), rows, notes })
}

fn all_rows(reader: &mut Reader<'_>) -> Result<Vec<SheetRow>, SheetError> {
    let mut rows = Vec::new();
    let mut cells = 0;
    while let Some(row) = reader.next_row()? {
        cells += row.cells.len();
        if rows.len() > MAX_ROWS {
            return Err(SheetError::TooManyRows);
        }
        if cells > MAX_CELLS {
            return Err(SheetError::TooManyCells);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The file's name without folders and ending.
fn stem(file_name: &str) -> String {
    let name = file_name.rsplit(['/', '\\']).next().unwrap_or(file_name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

/// The text of `bytes`, and what was assumed of their encoding.
fn decoded<'a>(bytes: &'a [u8], label: Option<&str>) -> Result<(Cow<'a, str>, Vec<String>), SheetError> {
    let mark = Encoding::for_bom(bytes);
    let (encoding, how) = match (label, mark) {
        (Some(label), _) => (labelled(label)?, "as told"),
        (None, Some((encoding, _))) => (encoding, "as its byte order mark says"),
        (None, None) => guessed(bytes),
    };
    let mark_len = mark.filter(|(marked, _)| *marked == encoding).map_or(0, |(_, len)| len);
    let text = without_loss(&bytes[mark_len..], encoding)?;
    Ok((text, vec![format!("Read as {}, {how}.", encoding.name())]))
}

fn labelled(label: &str) -> Result<&'static Encoding, SheetError> {
    Encoding::for_label(label.trim().as_bytes()).ok_or_else(|| SheetError::UnknownEncoding(shown(label)))
}

fn guessed(bytes: &[u8]) -> (&'static Encoding, &'static str) {
    if let Some(encoding) = utf16_by_zeros(bytes) {
        return (encoding, "since every other byte is zero");
    }
    if std::str::from_utf8(bytes).is_ok() {
        return (UTF_8, "which it is");
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    (detector.guess(None, Utf8Detection::Deny), "which is a guess: look at letters with accents")
}

/// UTF-16 without byte order mark: nearly every second byte of Latin text is zero. In no other encoding is that so.
fn utf16_by_zeros(bytes: &[u8]) -> Option<&'static Encoding> {
    const SAMPLE: usize = 4096;
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    let zeros = |parity: usize| sample.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let mostly = |count: usize| count >= 2 && count * 4 > sample.len();
    match () {
        () if mostly(odd) && even == 0 => Some(UTF_16LE),
        () if mostly(even) && odd == 0 => Some(UTF_16BE),
        () => None,
    }
}

fn without_loss<'a>(bytes: &'a [u8], encoding: &'static Encoding) -> Result<Cow<'a, str>, SheetError> {
    if let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        return Ok(text);
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let room = decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(0);
    let mut sound = String::with_capacity(room);
    let (result, _) = decoder.decode_to_string_without_replacement(bytes, &mut sound, true);
    debug_assert!(matches!(result, DecoderResult::Malformed(..)));
    Err(SheetError::Malformed { encoding: encoding.name(), line: 1 + line_ends(&sound) })
}

/// The number of line ends: CR LF, LF and lone CR are one each.
fn line_ends(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let ends = |(index, byte): (usize, &u8)| match byte {
        b'\n' => index == 0 || bytes[index - 1] != b'\r',
        b'\r' => true,
        _ => false,
    };
    bytes.iter().enumerate().filter(|byte| ends(*byte)).count() as u64
}

/// What Excel writes for itself: a first line `sep=;`. Gives the delimiter and the length of that line.
fn stated_delimiter(text: &str) -> (Option<u8>, usize) {
    match text.as_bytes() {
        [b's', b'e', b'p', b'=', delimiter, b'\r' | b'\n', ..] => (Some(*delimiter), "sep=,".len()),
        _ => (None, 0),
    }
}

fn checked(delimiter: u8) -> Result<u8, SheetError> {
    match delimiter {
        b'"' | b'\r' | b'\n' | 0 | 0x80.. => Err(SheetError::Delimiter(shown(&char::from(delimiter).to_string()))),
        _ => Ok(delimiter),
    }
}

fn spoken(delimiter: u8) -> String {
    match delimiter {
        b',' => "commas".to_owned(),
        b';' => "semicolons".to_owned(),
        b'\t' => "tabs".to_owned(),
        other => format!("\"{}\"", shown(&char::from(other).to_string())),
    }
}

/// The delimiter by which most of the first rows have the same width, above one; the wider where several do.
fn detected(text: &str, file_name: &str) -> u8 {
    let default = if file_name.to_ascii_lowercase().ends_with(".tsv") { b'\t' } else { b',' };
    let fits = DELIMITERS.iter().map(|delimiter| (fit(text, *delimiter), *delimiter));
    let best = fits.rev().max_by_key(|(fit, delimiter)| (*fit, *delimiter == default));
    best.filter(|(fit, _)| *fit > (0, 0)).map_or(default, |(_, delimiter)| delimiter)
}

/// How many of a thousand rows at the start have the most common width above one, and that width.
fn fit(text: &str, delimiter: u8) -> (usize, usize) {
    const SAMPLE_ROWS: usize = 200;
    let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
    let mut reader = Reader::new(text, delimiter);
    while let Ok(Some(row)) = reader.next_row() {
        *widths.entry(row.cells.len()).or_default() += 1;
        if widths.values().sum::<usize>() == SAMPLE_ROWS {
            break;
        }
    }
    let rows: usize = widths.values().sum();
    let common = widths.iter().filter(|(width, _)| **width > 1).max_by_key(|(width, count)| (**count, **width));
    common.map_or((0, 0), |(width, count)| (count * 1000 / rows, *width))
}

/// Reads row by row; holds one row at a time.
struct Reader<'a> {
    rest: &'a str,
    line: u64,
    delimiter: u8,
    /// The first line with a quotation mark in a quoted cell that neither ends it nor is doubled.
    bare_quote: Option<u64>,
}

impl<'a> Reader<'a> {
    fn new(rest: &'a str, delimiter: u8) -> Self {
        Self { rest, line: 1, delimiter, bare_quote: None }
    }

    /// The next row that is not a blank line.
    fn next_row(&mut self) -> Result<Option<SheetRow>, SheetError> {
        while self.end_line() {}
        if self.rest.is_empty() {
            return Ok(None);
        }
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            if cells.len() == MAX_COLUMNS {
                return Err(SheetError::TooManyColumns {
                    line,
                    delimiter: shown(&char::from(self.delimiter).to_string()),
                });
            }
            cells.push(self.cell(cells.len() + 1)?);
            if !self.rest.as_bytes().starts_with(&[self.delimiter]) {
                self.end_line();
                return Ok(Some(SheetRow { line, cells }));
            }
            self.advance(1);
        }
    }

    fn cell(&mut self, column: usize) -> Result<String, SheetError> {
        if self.rest.starts_with('"') {
            return self.quoted(column);
        }
        let ends = |byte: &u8| matches!(byte, b'\r' | b'\n') || *byte == self.delimiter;
        let len = self.rest.as_bytes().iter().position(ends).unwrap_or(self.rest.len());
        if len > MAX_CELL_BYTES {
            return Err(SheetError::CellTooLong { line: self.line, column });
        }
        Ok(self.advance(len).to_owned())
    }

    fn quoted(&mut self, column: usize) -> Result<String, SheetError> {
        let line = self.line;
        let mut cell = String::new();
        self.advance(1);
        loop {
            let len = self.rest.find('"').ok_or(SheetError::OpenQuote { line, column })?;
            if cell.len() + len >= MAX_CELL_BYTES {
                return Err(SheetError::CellTooLong { line, column });
            }
            cell.push_str(self.advance(len));
            self.advance(1);
            if self.rest.starts_with('"') {
                self.advance(1);
            } else if let Some(blanks) = self.blanks_before_end() {
                cell.push_str(self.advance(blanks));
                return Ok(cell);
            } else {
                self.bare_quote.get_or_insert(self.line);
            }
            cell.push('"');
        }
    }

    /// The number of blanks from here to the end of the cell, if nothing else is there.
    fn blanks_before_end(&self) -> Option<usize> {
        let bytes = self.rest.as_bytes();
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t') && *byte != self.delimiter;
        let blanks = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
        let ended = bytes.get(blanks).is_none_or(|byte| matches!(byte, b'\r' | b'\n') || *byte == self.delimiter);
        ended.then_some(blanks)
    }

    /// Steps over one line end, if there is one here.
    fn end_line(&mut self) -> bool {
        let len = match self.rest.as_bytes() {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => return false,
        };
        self.advance(len);
        true
    }

    /// Steps over `len` bytes, counts their lines and gives them back.
    fn advance(&mut self, len: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at(len);
        self.rest = rest;
        self.line += line_ends(passed);
        passed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str, delimiter: u8) -> Vec<Vec<String>> {
        let rows = all_rows(&mut Reader::new(text, delimiter)).expect("readable");
        rows.into_iter().map(|row| row.cells).collect()
    }

    fn lines(text: &str) -> Vec<u64> {
        all_rows(&mut Reader::new(text, b',')).expect("readable").iter().map(|row| row.line).collect()
    }

    #[test]
    fn every_line_ending_counts_as_one_line() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["a,b", "1,\"two", "lines\"", "", "3,4", ""].join(end);
            assert_eq!(lines(&text), [1, 2, 5], "{end:?}");
        }
    }

    #[test]
    fn quotation_marks_that_break_the_rules_are_kept() {
        assert_eq!(rows(r#""\"Big Cat\" Ladd";1964"#, b';'), [[r#"\"Big Cat\" Ladd"#, "1964"]]);
        assert_eq!(rows(r#"5" pipe, "x""#, b','), [[r#"5" pipe"#, r#" "x""#]]);
        assert_eq!(rows("\"a\" ,\"b\"\t\n", b','), [["a ", "b\t"]]);
        assert_eq!(rows("\"a\"\"b\",\"\"", b','), [["a\"b", ""]]);
    }

    #[test]
    fn an_open_quotation_mark_is_named_where_it_stands() {
        let error = all_rows(&mut Reader::new("a,b\n1,2\n3,\"four\n5,6\n", b',')).expect_err("open");
        assert_eq!(error, SheetError::OpenQuote { line: 3, column: 2 });
    }

    #[test]
    fn delimiters_are_found_by_even_rows() {
        for (text, expected) in [
            ("a;b\n1,5;2,5\n", b';'),
            ("a\tb\n1, 2\tx\n", b'\t'),
            ("a|b|c\n1|2|3\n", b'|'),
            ("# a, comment\nid,name\n1,x\n", b','),
            ("word\nother\n", b','),
            ("\"a;b\",c\n\"d;e\",f\n", b','),
        ] {
            assert_eq!(char::from(detected(text, "x.csv")), char::from(expected), "{text:?}");
        }
        assert_eq!(detected("a\n", "x.TSV"), b'\t');
    }

    #[test]
    fn encodings_are_told_by_mark_by_zeros_and_by_letters() {
        let utf16 = |mark: &[u8], swap: bool| {
            let bytes = "é,b\n1,2".encode_utf16().flat_map(|u| if swap { u.to_be_bytes() } else { u.to_le_bytes() });
            [mark, &bytes.collect::<Vec<_>>()].concat()
        };
        for bytes in [
            b"\xEF\xBB\xBF\xC3\xA9,b\n1,2".to_vec(),
            b"\xC3\xA9,b\n1,2".to_vec(),
            b"\xE9,b\n1,2".to_vec(),
            utf16(b"\xFF\xFE", false),
            utf16(b"\xFE\xFF", true),
            utf16(b"", false),
            utf16(b"", true),
        ] {
            let (text, notes) = decoded(&bytes, None).expect("decodes");
            assert_eq!(text, "é,b\n1,2", "{notes:?}");
        }
        let error = decoded(b"a\nb\xE9", Some("utf-8")).expect_err("not UTF-8");
        assert_eq!(error, SheetError::Malformed { encoding: "UTF-8", line: 2 });
    }

    proptest! {
        /// Where the file keeps the rules, both readers agree.
        #[test]
        fn well_formed_files_read_as_the_csv_crate_reads_them(
            table in proptest::collection::vec(proptest::collection::vec("[a-c,;\"\r\n é]{0,5}", 2..4), 1..6)
        ) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &table {
                writer.write_record(row).expect("a vector takes all");
            }
            let bytes = writer.into_inner().expect("a vector takes all");
            let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(&bytes[..]);
            let theirs: Vec<Vec<String>> =
                reader.records().map(|r| r.expect("UTF-8").iter().map(str::to_owned).collect()).collect();
            prop_assert_eq!(rows(std::str::from_utf8(&bytes).expect("UTF-8"), b','), theirs);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = crate::sheet::read_sheet(&bytes, "x.csv", &ReadOptions::default());
        }
    }
}
