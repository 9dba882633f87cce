//! Holds the promise that nothing is lost against real files, if `OPENPROD_REAL_DATA` names a folder of them.

use std::fs;
use std::path::{Path, PathBuf};

use openprod_model::value::Text;

use super::{
    ImportOptions, LineEnding, ReadOptions, Sheet, TableNow, format_value, guess_types, parse_value, plan_import,
    read_sheet, write_csv, write_xlsx,
};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let kind = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
        if path.is_dir() {
            files(&path, found);
        } else if ["csv", "tsv", "xlsx"].contains(&kind.as_str()) {
            found.push(path);
        }
    }
}

fn cells(sheet: &Sheet) -> (Vec<String>, Vec<&[String]>) {
    (sheet.header.clone(), sheet.rows.iter().map(|row| row.cells.as_slice()).collect())
}

fn survives_csv(sheet: &Sheet) {
    let bytes = write_csv(&sheet.header, sheet.rows.iter().map(|row| &row.cells), LineEnding::CrLf);
    let options = ReadOptions { delimiter: Some(b','), ..ReadOptions::default() };
    let again = read_sheet(&bytes, "again.csv", &options).expect("our own file");
    assert_eq!(cells(&again), cells(sheet));
}

fn survives_types(sheet: &Sheet) {
    for guess in guess_types(sheet) {
        for row in &sheet.rows {
            let cell = &row.cells[guess.column];
            let value = parse_value(cell, &guess.field_type).expect("a guess fits every cell");
            let text = value.as_ref().map(format_value).unwrap_or_default();
            let normal = Text::new(cell).expect("real files have no NUL");
            assert_eq!(text, normal.as_str(), "line {}", row.line);
        }
    }
}

fn survives_excel(sheet: &Sheet) {
    let plan = plan_import(sheet, &ImportOptions::default(), &TableNow::default()).expect("planned");
    assert_eq!(plan.bad, []);
    let filled = sheet.rows.iter().filter(|row| row.cells.iter().any(|cell| !cell.is_empty()));
    assert_eq!(plan.new_records.len(), filled.count());
    let row = |values: &super::NewRecord| {
        let value = |title: &String| values.values.iter().find(|(name, _)| name.as_str() == title);
        sheet.header.iter().map(|title| value(title).map(|(_, value)| value.clone())).collect()
    };
    let rows: Vec<Vec<_>> = plan.new_records.iter().map(row).collect();
    let Ok(bytes) = write_xlsx(&[(sheet.name.clone(), sheet.header.clone(), rows.clone())]) else {
        return assert!(sheet.rows.iter().any(|row| row.cells.iter().any(|cell| cell.len() > 32_767)));
    };
    let again = read_sheet(&bytes, "", &ReadOptions::default()).expect("our own file");
    for (row, again) in rows.iter().zip(&again.rows) {
        for ((value, cell), (_, field_type)) in row.iter().zip(&again.cells).zip(&plan.new_columns) {
            assert_eq!(parse_value(cell, field_type).as_ref(), Ok(value));
        }
    }
}

#[test]
fn real_files_are_read_without_loss_or_refused_with_a_reason() {
    let Some(folder) = std::env::var_os("OPENPROD_REAL_DATA") else { return };
    let mut found = Vec::new();
    files(Path::new(&folder), &mut found);
    found.sort();
    for path in &found {
        let name = path.display().to_string();
        match read_sheet(&fs::read(path).expect("a readable file"), &name, &ReadOptions::default()) {
            Err(refused) => println!("REFUSED {name}: {refused}"),
            Ok(sheet) => {
                let types: Vec<_> = guess_types(&sheet).iter().map(|guess| guess.field_type.word()).collect();
                println!("{name}: {} rows, {types:?}\n    {}", sheet.rows.len(), sheet.notes.join("\n    "));
                survives_csv(&sheet);
                survives_types(&sheet);
                survives_excel(&sheet);
            }
        }
    }
    assert!(!found.is_empty());
}
