//! Any bytes offered as a spreadsheet: refused with a place, or read to cells that fit what was guessed of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openprod_node::sheet::{ReadOptions, guess_types, parse_value, read_sheet};

fuzz_target!(|input: (bool, &[u8])| {
    let (is_workbook, bytes) = input;
    let name = if is_workbook { "fuzz.xlsx" } else { "fuzz.csv" };
    let Ok(sheet) = read_sheet(bytes, name, &ReadOptions::default()) else { return };
    for guess in guess_types(&sheet) {
        for row in &sheet.rows {
            assert!(parse_value(&row.cells[guess.column], &guess.field_type).is_ok(), "a guess must hold for every cell");
        }
    }
});
