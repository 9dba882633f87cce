//! Commands about what is the same: `merge`, `split`, `split-off`, `merges`, `mappings`.

use clap::{Args, Subcommand};
use openprod_client::{Workspace, v1};
use openprod_domain::command::{Command, NamedColumn};
use openprod_domain::describe::suggestion;
use openprod_model::ids::EntityId;

use super::context::{Context, SHORTEST_PREFIX, parsed};
use super::error::CliError;
use super::known::{anywhere, name};
use super::output::{Grid, Style, grid, json};
use super::{ask, json as told, write};

/// Makes several records one: of one person in two tables, say
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// Records: their ids, or table/name
    #[arg(value_name = "RECORD", required = true, num_args = 2..)]
    pub records: Vec<String>,
}

/// Takes merged records apart, and remembers that they are not the same
#[derive(Debug, Clone, Args)]
pub struct SplitArgs {
    /// The merged record: any of its ids, or table/name
    pub record: String,
    /// Those of its ids, or the beginnings of them, that become a record of their own; `openprod merges` tells them
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
}

/// Makes some of a record's tables a record of its own, and prints its id
#[derive(Debug, Clone, Args)]
pub struct SplitOffArgs {
    /// The record: its id, or table/name
    pub record: String,
    /// Tables that it leaves
    #[arg(long = "table", value_name = "TABLE", required = true)]
    pub tables: Vec<String>,
    /// Edges that go along, by their ids; all others stay
    #[arg(long = "edge", value_name = "EDGE")]
    pub edges: Vec<String>,
}

/// Lists the merged records
#[derive(Debug, Clone, Args)]
pub struct MergesArgs {
    /// Lists what is not the same in its place: the pairs of records that were split
    #[arg(long)]
    pub exceptions: bool,
}

/// Lists and decides which columns hold the same fact
#[derive(Debug, Clone, Args)]
pub struct MappingsArgs {
    #[command(subcommand)]
    command: Option<MappingsCommand>,
}

#[derive(Debug, Clone, Subcommand)]
enum MappingsCommand {
    /// Lists the pairs of columns of which something was said
    List,
    /// Makes two columns one: in every record that is in both tables they show and change the same
    Confirm(Pair),
    /// Says that two columns do not hold the same fact
    Reject(Pair),
    /// Takes back what was said; both columns keep what they show
    Revoke(Pair),
}

#[derive(Debug, Clone, Args)]
struct Pair {
    /// One column, as table.column
    #[arg(value_name = "TABLE.COLUMN")]
    one: String,
    /// The other, as table.column
    #[arg(value_name = "TABLE.COLUMN")]
    other: String,
}

/// Runs `merge`.
pub async fn merge(args: MergeArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let mut records = Vec::new();
    for wanted in &args.records {
        records.push(anywhere(&workspace, wanted).await?);
    }
    write::send(context, &workspace, &[Command::MergeRecords { records }], "Merged").await
}

/// Runs `split`.
pub async fn split(args: SplitArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let record = anywhere(&workspace, &args.record).await?;
    let known = workspace.record(&record.to_string()).await?;
    let known: &[String] = known.first().map_or(&[], |record| &record.ids);
    let ids = args.ids.iter().map(|wanted| id_among(known, wanted)).collect::<Result<_, _>>()?;
    write::send(context, &workspace, &[Command::SplitRecord { record, ids }], "Split").await
}

/// An id of the record, or the only one of them that begins so.
fn id_among(known: &[String], wanted: &str) -> Result<EntityId, CliError> {
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    let beginning = wanted.to_lowercase();
    let long_enough = wanted.len() >= SHORTEST_PREFIX;
    let meant: Vec<&String> = known.iter().filter(|id| long_enough && id.starts_with(&beginning)).collect();
    match meant[..] {
        [only] => parsed(only),
        _ if known.is_empty() => Err(CliError::failed("This record is not merged with any other.")),
        _ => Err(CliError::usage(format!("\"{wanted}\" is not one of this record's ids."))
            .affected(format!("They are: {}.", known.join(", ")))),
    }
}

/// Runs `split-off`.
pub async fn split_off(args: SplitOffArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let record = anywhere(&workspace, &args.record).await?;
    let edge = |text: &String| text.parse().map_err(|invalid| CliError::usage(format!("{invalid}.")));
    let command = Command::SplitOff {
        record,
        tables: args.tables.iter().map(|table| name(table)).collect::<Result<_, _>>()?,
        edges: args.edges.iter().map(edge).collect::<Result<_, _>>()?,
        new: None,
    };
    write::send(context, &workspace, &[command], "Split off").await
}

/// Runs `merges`.
pub async fn merges(args: &MergesArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    if args.exceptions {
        return exceptions(context, &workspace).await;
    }
    let records = workspace.merges().all().await?;
    if context.style == Style::Json {
        return records.iter().try_for_each(|record| json(&told::merged(record)));
    }
    let mut shown = Grid::new(&["ID", "NAME", "TABLES", "OTHER IDS"]);
    for record in records {
        let others: Vec<String> = record.ids.into_iter().filter(|id| *id != record.id).collect();
        shown.row([record.id, record.name, record.tables.join(", "), others.join(" ")]);
    }
    grid(context.style, &shown)
}

async fn exceptions(context: &Context, workspace: &Workspace) -> Result<(), CliError> {
    let pairs = workspace.merge_exceptions().all().await?;
    if context.style == Style::Json {
        return pairs.iter().try_for_each(|pair| json(&told::merge_exception(pair)));
    }
    let mut shown = Grid::new(&["ONE", "NAME", "OTHER", "NAME", "DISPUTED"]);
    for pair in pairs {
        let disputed = if pair.disputed { "yes" } else { "" }.to_owned();
        shown.row([pair.one, pair.one_name, pair.other, pair.other_name, disputed]);
    }
    grid(context.style, &shown)
}

/// Runs `mappings`.
pub async fn mappings(args: MappingsArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let (command, verb) = match args.command {
        None | Some(MappingsCommand::List) => return list(context, &workspace).await,
        Some(MappingsCommand::Confirm(pair)) => {
            let (one, other) = pair.columns(&workspace).await?;
            (Command::ConfirmMapping { one, other }, "Mapped")
        }
        Some(MappingsCommand::Reject(pair)) => {
            let (one, other) = pair.columns(&workspace).await?;
            (Command::RejectMapping { one, other }, "Rejected")
        }
        Some(MappingsCommand::Revoke(pair)) => {
            let (one, other) = pair.columns(&workspace).await?;
            ask::sure(context, &format!("Take back what was said of {one} and {other}?"))?;
            (Command::RevokeMapping { one, other }, "Revoked")
        }
    };
    write::send(context, &workspace, &[command], verb).await
}

async fn list(context: &Context, workspace: &Workspace) -> Result<(), CliError> {
    let mappings = workspace.mappings().all().await?;
    if context.style == Style::Json {
        return mappings.iter().try_for_each(|mapping| json(&told::mapping(mapping)));
    }
    let mut shown = Grid::new(&["ONE", "OTHER", "STATE", "UNITED"]);
    let column = |column: Option<v1::NamedColumn>| {
        let v1::NamedColumn { table, column } = column.unwrap_or_default();
        format!("{table}.{column}")
    };
    for mapping in mappings {
        let state = told::mapping_state(mapping.state()).to_owned();
        let united = if mapping.united { "yes" } else { "" }.to_owned();
        shown.row([column(mapping.one), column(mapping.other), state, united]);
    }
    grid(context.style, &shown)
}

impl Pair {
    async fn columns(&self, workspace: &Workspace) -> Result<(NamedColumn, NamedColumn), CliError> {
        let tables = workspace.list_tables().await?;
        Ok((named(&tables, &self.one)?, named(&tables, &self.other)?))
    }
}

/// The column meant by `table.column`; both names may hold points.
fn named(tables: &[v1::Table], wanted: &str) -> Result<NamedColumn, CliError> {
    let fits = |table: &v1::Table, column: &v1::Column| {
        let both = |table: &str, column: &str| {
            wanted.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| rest == column)
        };
        [&table.name, &table.key].iter().any(|of| both(of, &column.name) || both(of, &column.key))
    };
    let all = || tables.iter().flat_map(|table| table.columns.iter().map(move |column| (table, column)));
    let meant: Vec<_> = all().filter(|(table, column)| fits(table, column)).collect();
    match meant[..] {
        [(table, column)] => Ok(NamedColumn { table: name(&table.key)?, column: name(&column.key)? }),
        [] => {
            let known: Vec<String> = all().map(|(table, column)| format!("{}.{}", table.name, column.name)).collect();
            let next = suggestion(wanted, known.iter().map(String::as_str), "column");
            Err(CliError::usage(format!("There is no column \"{wanted}\".")).next(next))
        }
        _ => Err(CliError::usage(format!("\"{wanted}\" may mean several columns.")).next("Name it by its keys.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_found_though_names_hold_points() {
        let column = |key: &str| v1::Column { key: key.to_owned(), name: key.to_owned(), ..Default::default() };
        let table = |key: &str, columns: &[&str]| v1::Table {
            key: key.to_owned(),
            name: key.to_owned(),
            columns: columns.iter().map(|key| column(key)).collect(),
            ..Default::default()
        };
        let tables = [table("lighting.cues", &["label"]), table("lighting", &["cues.label", "name"])];
        assert_eq!(named(&tables, "lighting.name").unwrap().to_string(), "lighting.name");
        assert!(named(&tables, "lighting.cues.label").is_err(), "it may mean both");
        assert!(named(&tables, "lighting.nam").unwrap_err().to_string().contains("lighting.nam"));
    }

    #[test]
    fn an_id_is_known_by_its_beginning() {
        let known = ["0192a5c3-5b7e-7abc-8def-0123456789ab", "0192b000-5b7e-7abc-8def-0123456789ab"].map(String::from);
        assert_eq!(id_among(&known, "0192B").unwrap().to_string(), known[1]);
        assert!(
            id_among(&known, "0192").is_err() && id_among(&known, "019").is_err() && id_among(&[], "0192").is_err()
        );
    }
}
