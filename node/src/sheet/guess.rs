//! What type a column may have without any cell losing a character.

use openprod_model::value::FieldType;

use super::cell::{format_value, parse_value};
use super::decode::{Sheet, SheetRow};
use super::error::shown;

/// What a column seems to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    /// The column's index, from 0.
    pub column: usize,
    /// The narrowest type that fits all its cells; text where none does.
    pub field_type: FieldType,
    /// Why, in a sentence.
    pub because: String,
}

/// In the order in which they are tried.
const CANDIDATES: [FieldType; 5] =
    [FieldType::Boolean, FieldType::Integer, FieldType::Float, FieldType::Date, FieldType::DateTime];

/// Guesses the type of every column. A column is other than text only if each of its cells, read as that type and
/// written again, is the same text: "007", "1.10", "+5" and "1e3" make a column of text.
pub fn guess_types(sheet: &Sheet) -> Vec<Guess> {
    (0..sheet.header.len()).map(|column| guess(&sheet.rows, column)).collect()
}

fn guess(rows: &[SheetRow], column: usize) -> Guess {
    let cells = || rows.iter().map(|row| (row.line, row.cells[column].as_str())).filter(|(_, cell)| !cell.is_empty());
    let text = |because: String| Guess { column, field_type: FieldType::Text, because };
    let Some((_, first)) = cells().next() else { return text("It has no values.".to_owned()) };
    let Some(field_type) = CANDIDATES.into_iter().find(|candidate| survives(first, candidate)) else {
        return text(format!("\"{}\" is text.", shown(first)));
    };
    let field_type = widened(field_type, cells().map(|(_, cell)| cell));
    match cells().find(|(_, cell)| !survives(cell, &field_type)) {
        Some((line, odd)) => {
            text(format!("\"{}\" on line {line} would not stay as it is as {}.", shown(odd), field_type.word()))
        }
        None => Guess {
            column,
            because: format!("All {} values are of type {}.", cells().count(), field_type.word()),
            field_type,
        },
    }
}

/// Whole numbers among which there are others are floats.
fn widened<'a>(field_type: FieldType, mut cells: impl Iterator<Item = &'a str>) -> FieldType {
    let float = field_type == FieldType::Integer && cells.any(|cell| !survives(cell, &field_type));
    if float { FieldType::Float } else { field_type }
}

/// Whether `cell` read as `field_type` and written again is the same text.
fn survives(cell: &str, field_type: &FieldType) -> bool {
    matches!(parse_value(cell, field_type), Ok(Some(value)) if format_value(&value) == cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(cells: &[&str]) -> FieldType {
        let row = |(i, cell): (usize, &&str)| SheetRow { line: 2 + i as u64, cells: vec![(*cell).to_owned()] };
        let rows = cells.iter().enumerate().map(row).collect();
        let sheet = Sheet { header: vec!["A".into()], rows, ..Sheet::default() };
        guess_types(&sheet).remove(0).field_type
    }

    #[test]
    fn only_what_comes_back_unchanged_is_typed() {
        for (cells, expected) in [
            (&["1", "", "-20"][..], FieldType::Integer),
            (&["1", "2.5"], FieldType::Float),
            (&["0.001", "2"], FieldType::Float),
            (&["true", "false"], FieldType::Boolean),
            (&["2024-02-29"], FieldType::Date),
            (&["2024-03-01T18:00:00", "2024-03-01T18:00:00.250", "2024-03-01T18:00:00+02:00"], FieldType::DateTime),
            (&[], FieldType::Text),
            (&["", ""], FieldType::Text),
        ] {
            assert_eq!(guessed(cells), expected, "{cells:?}");
        }
        for odd in [
            "007",
            "1.10",
            "+5",
            "1e3",
            "-0",
            " 1",
            "1.",
            ".5",
            "True",
            "TRUE",
            "yes",
            "2024-3-1",
            "2023-02-29",
            "NaN",
            "01/02/2024",
            "2024-03-01T18:00",
            "2024-03-01 18:00:00",
            "9223372036854775808",
            "inf",
            "1,5",
            "1a",
            "0:05",
        ] {
            assert_eq!(guessed(&[odd]), FieldType::Text, "{odd:?}");
            assert_eq!(guessed(&["1", odd]), FieldType::Text, "{odd:?}");
        }
        assert_eq!(guessed(&["1.5", "1"]), FieldType::Float);
    }

    #[test]
    fn the_reason_names_the_cell() {
        let row = |line, cell: &str| SheetRow { line, cells: vec![cell.to_owned()] };
        let sheet = Sheet { header: vec!["A".into()], rows: vec![row(2, "1"), row(7, "007")], ..Sheet::default() };
        assert_eq!(guess_types(&sheet)[0].because, "\"007\" on line 7 would not stay as it is as float.");
    }
}
