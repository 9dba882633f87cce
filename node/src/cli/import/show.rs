//! What an import shows to people.

use openprod_domain::describe::escaped;

use super::outcome::ImportSummary;
use crate::cli::error::CliError;
use crate::cli::output::{Grid, Style, grid, line};

/// How many cells that were set aside are shown.
const SHOWN_BAD: usize = 20;

/// Shows what an import would do: columns and their types, numbers, what is set aside.
pub(super) fn summary(style: Style, summary: &ImportSummary) -> Result<(), CliError> {
    let mut columns = Grid::new(&["COLUMN", "TYPE", "", "WHY"]);
    for column in &summary.columns {
        let state = if column.is_new { "new" } else { "" };
        columns.row([column.name.clone(), column.kind.clone(), state.to_owned(), column.why.clone()]);
    }
    grid(style, &columns)?;
    if summary.makes_table {
        line(&format!("The table {} is made.", escaped(&summary.table)))?;
    }
    summary.notes.iter().try_for_each(|note| line(&format!("Note: {}", escaped(note))))?;
    for bad in summary.bad.iter().take(SHOWN_BAD) {
        line(&format!("Line {}, {}: {}", bad.line, escaped(&bad.column), escaped(&bad.message)))?;
    }
    if summary.bad.len() > SHOWN_BAD {
        line(&format!("... and {} more; --json tells all.", summary.bad.len() - SHOWN_BAD))?;
    }
    line(&format!("{}.", summary.sentence()))
}
