//! Spreadsheets, in and out: bytes become rows, rows become a plan of changes, values become files. Nothing here
//! reads a disk, a clock or the network; bytes go in and bytes come out.
//!
//! Two promises hold throughout. *Nothing is lost*: whatever a file says arrives in a cell, or is named in a note or
//! an error with its line and column. *Nothing is guessed twice*: a column has a type other than text only if every
//! one of its cells, read and written again, is the same text.
//!
//! Reading order: [`decode`] (bytes to [`Sheet`]; its parts are `text` for CSV and `workbook` for XLSX), [`guess`]
//! (types of columns), [`cell`] (text to value and back), [`plan`] (sheet and records to changes), [`encode`] (values
//! to CSV, JSON Lines and XLSX).

pub mod cell;
pub mod decode;
pub mod encode;
pub mod error;
pub mod guess;
pub mod plan;
mod text;
mod workbook;

#[cfg(test)]
mod real_data;

pub use cell::{format_value, parse_value};
pub use decode::{ReadOptions, Sheet, SheetRow, read_sheet};
pub use encode::{LineEnding, write_csv, write_jsonl, write_xlsx};
pub use error::SheetError;
pub use guess::{Guess, guess_types};
pub use plan::{
    BadRow, Changed, Existing, ImportOptions, ImportPlan, LinkWish, NewRecord, RowRef, TableNow, plan_import,
};
