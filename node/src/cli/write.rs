//! Commands that change records: `new`, `set`, `rm`; and how every change is sent and told.

use openprod_client::{Change, Workspace, v1};
use openprod_domain::command::Command;
use openprod_model::ids::EntityId;

use super::context::Context;
use super::error::CliError;
use super::known::KnownTable;
use super::output::{Style, json, line, remark};
use super::{ask, json as told};

/// Makes a record and prints its id
#[derive(Debug, Clone, clap::Args)]
pub struct NewArgs {
    /// Table
    pub table: String,
    /// Values, each as column=value; a file as column=@path
    #[arg(value_name = "COLUMN=VALUE")]
    pub values: Vec<String>,
}

/// Sets and clears fields of a record
#[derive(Debug, Clone, clap::Args)]
pub struct SetArgs {
    /// Table
    pub table: String,
    /// Record: its id, the value of its first column, or the beginning of its id
    pub record: String,
    /// Values, each as column=value; column= clears the field; a file as column=@path
    #[arg(value_name = "COLUMN=VALUE", required = true)]
    pub values: Vec<String>,
    /// Refuses if one of these fields changed since this revision
    #[arg(long, value_name = "REVISION")]
    pub if_unchanged: Option<u64>,
}

/// Deletes records: takes them out of all their tables
#[derive(Debug, Clone, clap::Args)]
pub struct RmArgs {
    /// Table
    pub table: String,
    /// Records: their ids, the values of their first column, or the beginnings of their ids
    #[arg(value_name = "RECORD", required = true)]
    pub records: Vec<String>,
    /// Takes them out of this table only
    #[arg(long)]
    pub from_table: bool,
}

/// Runs `new`.
pub async fn new(args: NewArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let table = KnownTable::read(&workspace, &args.table).await?;
    let values = table.values(&workspace, &args.values).await?;
    let values = values.into_iter().filter_map(|(column, value)| Some((column, value?))).collect();
    let command = Command::CreateRecord { record: None, table: table.key, values };
    send(context, &workspace, &[command], "Made").await
}

/// Runs `set`.
pub async fn set(args: SetArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let table = KnownTable::read(&workspace, &args.table).await?;
    let values = table.values(&workspace, &args.values).await?;
    let record = table.record(&workspace, &args.record).await?;
    let change = Change::new(&Command::setting(record, &table.key, values, |column| table.merges(column)));
    let change = match args.if_unchanged {
        Some(revision) => change.base(revision).stance(v1::Stance::IfUnchanged),
        None => change,
    };
    tell(context, &workspace.execute(&change).await?, "Set")
}

/// Runs `rm`.
pub async fn rm(args: RmArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let table = KnownTable::read(&workspace, &args.table).await?;
    let mut commands = Vec::new();
    for wanted in &args.records {
        let record = table.record(&workspace, wanted).await?;
        // An id is taken as it is; so make sure that it is the one that people think it is.
        present(&workspace, &table, record).await?;
        let take_out = Command::RemoveFromTable { record, table: table.key.clone() };
        commands.push(if args.from_table { take_out } else { Command::DeleteRecord { record } });
    }
    let whence = if args.from_table { format!("Take out of {}", table.name) } else { "Delete".to_owned() };
    ask::sure(context, &format!("{whence}: {}?", args.records.join(", ")))?;
    send(context, &workspace, &commands, "Deleted").await
}

async fn present(workspace: &Workspace, table: &KnownTable, record: EntityId) -> Result<(), CliError> {
    let (record, table) = (record.to_string(), table.key.to_string());
    workspace.read(v1::GetRecordRequest { record, table, ..Default::default() }).await?;
    Ok(())
}

/// Makes a change of these commands and tells of it.
pub async fn send(context: &Context, workspace: &Workspace, commands: &[Command], verb: &str) -> Result<(), CliError> {
    tell(context, &workspace.execute(&Change::new(commands)).await?, verb)
}

/// Tells of a change: the ids it made on standard output, conflicts that it opened as remarks.
pub fn tell(context: &Context, done: &v1::ExecuteResponse, verb: &str) -> Result<(), CliError> {
    use v1::created::Thing;
    if context.style == Style::Json {
        return json(&told::done(done));
    }
    for created in &done.created {
        match &created.thing {
            Some(Thing::Record(id) | Thing::Edge(id)) => line(id)?,
            None => {}
        }
    }
    for conflict in &done.opened_conflicts {
        remark(&format!("Conflict: {}", conflict.sentence));
    }
    match &done.staged {
        Some(_) => remark(&format!("{verb}, in the overlay only.")),
        None => remark(&format!("{verb}. Revision {}.", done.revision)),
    }
    Ok(())
}
