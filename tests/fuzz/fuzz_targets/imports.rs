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
            let cell = &row.cells[guess.column];
            // A NUL is kept in its cell so that the import can name it; it fits no type.
            assert!(cell.contains('\0') || parse_value(cell, &guess.field_type).is_ok(), "a guess must hold for every cell");
        }
    }
});
