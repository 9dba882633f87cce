//! Commands for tables and their columns.

use clap::Subcommand;
use openprod_client::{Workspace, v1};
use openprod_domain::command::{Command, TableChange};
use openprod_model::value::Text;

use super::context::Context;
use super::error::CliError;
use super::known::{KnownTable, name};
use super::output::{Grid, Style, facts, grid, json};
use super::{ask, columns, json as told, time, write};
use crate::sheet::cell::parse_value;

/// Lists, shows and changes tables
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct TablesArgs {
    #[command(subcommand)]
    command: Option<TablesCommand>,
    /// At a point in the past: a revision, a bundle or a time
    #[arg(long, value_name = "REV|BUNDLE|TIME")]
    as_of: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum TablesCommand {
    /// Shows a table and its columns
    Show {
        /// Table
        table: String,
        /// At a point in the past: a revision, a bundle or a time
        #[arg(long, value_name = "REV|BUNDLE|TIME")]
        as_of: Option<String>,
    },
    /// Makes a table
    #[command(after_help = columns::TYPES)]
    Create {
        /// Name
        table: String,
        /// A column, as name:type[:required][=default]
        #[arg(long, short, value_name = "COLUMN")]
        column: Vec<String>,
        /// What the table is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Hides a table; its records and values are kept
    Drop {
        /// Table
        table: String,
    },
    #[command(flatten)]
    Alter(AlterCommand),
}

#[derive(Debug, Clone, Subcommand)]
enum AlterCommand {
    /// Gives a table another name
    Rename {
        /// Table
        table: String,
        /// New name
        name: String,
    },
    /// Says what a table is for
    Describe {
        /// Table
        table: String,
        /// A sentence
        description: String,
    },
    /// Adds a column at the end
    #[command(after_help = columns::TYPES)]
    AddColumn {
        /// Table
        table: String,
        /// The column, as name:type[:required][=default]
        column: String,
    },
    /// Gives a column another name
    RenameColumn {
        /// Table
        table: String,
        /// Column
        column: String,
        /// New name
        name: String,
    },
    /// Puts a column before another, or at the end
    MoveColumn {
        /// Table
        table: String,
        /// Column
        column: String,
        /// The column before which it goes
        #[arg(long)]
        before: Option<String>,
    },
    /// Leaves a column out where all columns are shown
    HideColumn {
        /// Table
        table: String,
        /// Column
        column: String,
    },
    /// Shows a hidden column again
    ShowColumn {
        /// Table
        table: String,
        /// Column
        column: String,
    },
    /// Adds values to an enum
    WidenEnum {
        /// Table
        table: String,
        /// Column
        column: String,
        /// Values to add, in order
        #[arg(value_name = "VALUE", required = true)]
        values: Vec<String>,
    },
    /// Says whether a column's fields must have values
    Require {
        /// Table
        table: String,
        /// Column
        column: String,
        /// Whether they must
        #[arg(value_enum, default_value = "yes")]
        answer: Answer,
    },
    /// Says what new records get where nothing is given
    SetDefault {
        /// Table
        table: String,
        /// Column
        column: String,
        /// The default; left out for none
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Answer {
    Yes,
    No,
}

/// Runs `tables`.
pub async fn run(args: TablesArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    match args.command {
        None => list(context, &workspace, args.as_of.as_deref()).await,
        Some(TablesCommand::Show { table, as_of }) => show(context, &workspace, &table, as_of.as_deref()).await,
        Some(TablesCommand::Create { table, column, description }) => {
            let columns = column.iter().map(|text| columns::column(text)).collect::<Result<_, _>>()?;
            let command = Command::CreateTable { name: name(&table)?, description: text(&description)?, columns };
            write::send(context, &workspace, &[command], "Made").await
        }
        Some(TablesCommand::Drop { table }) => {
            let table = KnownTable::read(&workspace, &table).await?;
            ask::sure(context, &format!("Drop the table {}?", table.name))?;
            write::send(context, &workspace, &[Command::DropTable { table: table.key }], "Dropped").await
        }
        Some(TablesCommand::Alter(command)) => alter(context, &workspace, command).await,
    }
}

async fn list(context: &Context, workspace: &Workspace, as_of: Option<&str>) -> Result<(), CliError> {
    let question = v1::ListTablesRequest { as_of: time::as_of(as_of)?, ..Default::default() };
    let tables = workspace.read(question).await?.tables;
    if context.style == Style::Json {
        return tables.iter().try_for_each(|table| json(&told::table(table)));
    }
    let mut shown = Grid::new(&["TABLE", "COLUMNS", "DESCRIPTION"]);
    for table in tables {
        let columns: Vec<_> = table.columns.iter().filter(|column| !column.hidden).map(|c| c.name.clone()).collect();
        shown.row([table.name, columns.join(", "), table.description]);
    }
    grid(context.style, &shown)
}

async fn show(context: &Context, workspace: &Workspace, table: &str, as_of: Option<&str>) -> Result<(), CliError> {
    let question = v1::GetTableRequest { table: table.to_owned(), as_of: time::as_of(as_of)?, ..Default::default() };
    let table = workspace.read(question).await?.table.unwrap_or_default();
    if context.style == Style::Json {
        return json(&told::table(&table));
    }
    if context.style.is_for_people() {
        facts(context.style, &[("table", table.name), ("key", table.key), ("for", table.description)])?;
    }
    let mut shown = Grid::new(&["COLUMN", "KEY", "TYPE", "REQUIRED", "DEFAULT", "HIDDEN"]);
    for column in &table.columns {
        let yes = |truth: bool| if truth { "yes".to_owned() } else { String::new() };
        let default = column.default.as_ref().map(told::text_of).unwrap_or_default();
        let (named, key, of) = (column.name.clone(), column.key.clone(), told::type_words(column));
        shown.row([named, key, of, yes(column.required), default, yes(column.hidden)]);
    }
    grid(context.style, &shown)
}

async fn alter(context: &Context, workspace: &Workspace, command: AlterCommand) -> Result<(), CliError> {
    let (table, change) = match command {
        AlterCommand::Rename { table, name: new } => (table, TableChange::Rename { name: name(&new)? }),
        AlterCommand::Describe { table, description } => {
            (table, TableChange::Describe { description: text(&description)? })
        }
        AlterCommand::AddColumn { table, column } => (table, TableChange::AddColumn(columns::column(&column)?)),
        AlterCommand::RenameColumn { table, column, name: new } => {
            (table, TableChange::RenameColumn { column: name(&column)?, name: name(&new)? })
        }
        AlterCommand::MoveColumn { table, column, before } => {
            let before = before.as_deref().map(name).transpose()?;
            (table, TableChange::MoveColumn { column: name(&column)?, before })
        }
        AlterCommand::HideColumn { table, column } => (table, TableChange::HideColumn { column: name(&column)? }),
        AlterCommand::ShowColumn { table, column } => (table, TableChange::ShowColumn { column: name(&column)? }),
        AlterCommand::WidenEnum { table, column, values } => {
            let values = values.iter().map(|value| name(value)).collect::<Result<_, _>>()?;
            (table, TableChange::WidenEnum { column: name(&column)?, values })
        }
        AlterCommand::Require { table, column, answer } => {
            (table, TableChange::Require { column: name(&column)?, required: answer == Answer::Yes })
        }
        AlterCommand::SetDefault { table, column, value } => {
            let change = default_of(workspace, &table, &column, value.as_deref()).await?;
            (table, change)
        }
    };
    let command = Command::AlterTable { table: name(&table)?, changes: vec![change] };
    write::send(context, workspace, &[command], "Changed").await
}

async fn default_of(
    workspace: &Workspace,
    table: &str,
    column: &str,
    value: Option<&str>,
) -> Result<TableChange, CliError> {
    let table = KnownTable::read(workspace, table).await?;
    let column = table.column(column)?;
    let wrong = |why| CliError::failed(format!("{}: {why}", column.name)).affected("Nothing was changed.");
    let default = value.map_or(Ok(None), |text| parse_value(text, &column.field_type)).map_err(wrong)?;
    Ok(TableChange::SetDefault { column: column.key.clone(), default })
}

/// A text that a person typed.
pub fn text(said: &str) -> Result<Text, CliError> {
    Text::new(said).map_err(|invalid| CliError::usage(format!("\"{said}\" cannot be used: {invalid}.")))
}
