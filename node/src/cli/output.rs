//! What is shown: tables on a terminal, tab-separated lines where a program reads, JSON where it is asked for.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table, presets};
use openprod_domain::describe::escaped;
use serde_json::Value as Json;

use super::error::CliError;

/// Columns of ids, which people copy: never broken into lines.
const UNBROKEN: [&str; 4] = ["ID", "ACTOR", "BUNDLE", "WORKSPACE"];

/// The narrowest terminal into which tables are fitted, in characters.
const NARROWEST: u16 = 60;

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Tables for people, in color.
    Colored,
    /// Tables for people.
    Bare,
    /// Tab-separated lines, the first with the names of the columns.
    Plain,
    /// One JSON object per line.
    Json,
}

/// Rows of text under column names.
#[derive(Debug, Clone)]
pub struct Grid {
    /// The names.
    pub header: Vec<String>,
    /// The rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// Without rows yet.
    pub fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// With one more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl Style {
    /// JSON if asked for, tables on a terminal, else lines.
    pub fn choose(json: Option<()>, no_color: Option<()>) -> Self {
        let silenced = no_color.is_some() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match (json, io::stdout().is_terminal(), silenced) {
            (Some(()), _, _) => Self::Json,
            (None, false, _) => Self::Plain,
            (None, true, true) => Self::Bare,
            (None, true, false) => Self::Colored,
        }
    }

    /// Whether a person reads it.
    pub fn is_for_people(self) -> bool {
        matches!(self, Self::Colored | Self::Bare)
    }
}

/// Writes a line as it is; text of people must have gone through [`escaped`].
pub fn line(text: &str) -> Result<(), CliError> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Writes a JSON object on one line. JSON escapes control characters by itself.
pub fn json(value: &Json) -> Result<(), CliError> {
    line(&value.to_string())
}

/// Writes a remark for people on standard error.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", escaped(text));
}

/// Writes rows; the names of the columns too, unless these rows continue others.
pub fn grid(style: Style, grid: &Grid) -> Result<(), CliError> {
    if style.is_for_people() { line(&table(style, grid)) } else { lines(&grid.header, &grid.rows) }
}

/// Writes rows that continue others, as tab-separated lines.
pub fn more(grid: &Grid) -> Result<(), CliError> {
    grid.rows.iter().try_for_each(|row| line(&joined(row)))
}

fn lines(header: &[String], rows: &[Vec<String>]) -> Result<(), CliError> {
    line(&joined(header))?;
    rows.iter().try_for_each(|row| line(&joined(row)))
}

/// Tabs and line ends are control characters, so that none is left within a cell.
fn joined(cells: &[String]) -> String {
    cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join("\t")
}

fn table(style: Style, grid: &Grid) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // A terminal that does not tell its width, or a tiny one, would break words into letters.
    if table.width().is_some_and(|width| width >= NARROWEST) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    let bold = |cell: Cell| if style == Style::Colored { cell.add_attribute(Attribute::Bold) } else { cell };
    table.set_header(grid.header.iter().map(|name| bold(Cell::new(escaped(name)))));
    for row in &grid.rows {
        table.add_row(row.iter().map(|cell| Cell::new(escaped(cell))));
    }
    for (index, _) in grid.header.iter().enumerate().filter(|(_, name)| UNBROKEN.contains(&name.as_str())) {
        table.column_mut(index).into_iter().for_each(|column| {
            column.set_constraint(ColumnConstraint::ContentWidth);
        });
    }
    table.trim_fmt()
}

/// Writes facts, one per line: a name and what it says.
pub fn facts(style: Style, facts: &[(&str, String)]) -> Result<(), CliError> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    facts.iter().try_for_each(|(name, says)| {
        let gap = if style.is_for_people() { " ".repeat(width - name.len() + 2) } else { "\t".to_owned() };
        line(&format!("{name}{gap}{}", escaped(says)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_never_breaks_its_line() {
        assert_eq!(joined(&["a\tb".to_owned(), "c\nd\x1b[0m".to_owned()]), "a\\tb\tc\\nd\\u{1b}[0m");
    }

    #[test]
    fn a_table_shows_escapes_instead_of_colors_that_people_wrote() {
        let mut grid = Grid::new(&["id", "label"]);
        grid.row(["1".to_owned(), "Dawn\x07".to_owned()]);
        assert!(table(Style::Bare, &grid).contains("Dawn\\u{7}"));
    }
}
