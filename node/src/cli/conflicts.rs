//! The command `conflicts`: where people disagree, and who said what.

use clap::{Args, Subcommand};
use openprod_client::{Workspace, v1};
use openprod_domain::describe::{self, escaped};
use serde_json::{Value as Json, json};

use super::context::{self, Context, SHORTEST_PREFIX};
use super::error::CliError;
use super::known::{KnownTable, anywhere};
use super::output::{self, Grid, Style, grid, line, more, remark};
use super::{json as told, time};

/// A conflict's id has as many digits.
const ID_DIGITS: usize = 32;

/// Lists the conflicts that wait for a decision
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConflictsArgs {
    #[command(subcommand)]
    command: Option<ConflictsCommand>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Clone, Subcommand)]
enum ConflictsCommand {
    /// Tells one conflict: what is in dispute, and who said what
    Show {
        /// The conflict's id, or the beginning of it
        conflict: String,
    },
}

/// Each that is given must fit.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// About this table or its records
    #[arg(long)]
    pub table: Option<String>,
    /// About this record, its id or table/name, or about an edge at it
    #[arg(long)]
    pub record: Option<String>,
    /// This member wrote something that is in dispute: a name, an id or the beginning of it
    #[arg(long = "by", value_name = "NAME|ID")]
    pub by: Option<String>,
    /// This bundle wrote something that is in dispute: its id or digest
    #[arg(long, value_name = "BUNDLE")]
    pub bundle: Option<String>,
}

/// Conflicts as they stood at one revision.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The conflicts.
    pub conflicts: Vec<v1::Conflict>,
    /// The revision of the first of them: the base of decisions about them.
    pub revision: u64,
}

/// Runs `conflicts`.
pub async fn run(args: ConflictsArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    match args.command {
        Some(ConflictsCommand::Show { conflict }) => show(context, &find(&workspace, &conflict).await?.0),
        None => list(context, &workspace, &args.filter).await,
    }
}

async fn list(context: &Context, workspace: &Workspace, filter: &Filter) -> Result<(), CliError> {
    let for_people = context.style.is_for_people();
    let mut pages = workspace.pages(question(workspace, filter).await?);
    let (mut shown, mut total) = (Grid::new(&["ID", "CONFLICT"]), 0);
    if context.style == Style::Plain {
        grid(context.style, &shown)?;
    }
    while let Some(page) = pages.next().await? {
        total = page.total_count;
        shown.rows.extend(page.conflicts.iter().map(row));
        match context.style {
            Style::Json => page.conflicts.iter().try_for_each(|conflict| output::json(&as_json(conflict)))?,
            Style::Plain => more(&shown)?,
            Style::Bare | Style::Colored => continue,
        }
        shown.rows.clear();
    }
    if for_people && total > 0 {
        grid(context.style, &shown)?;
    }
    remark(&counted(total));
    Ok(())
}

fn counted(total: u64) -> String {
    match total {
        0 => "No conflicts.".to_owned(),
        1 => "1 conflict. `openprod resolve` decides it.".to_owned(),
        many => format!("{many} conflicts. `openprod resolve` walks through them."),
    }
}

fn row(conflict: &v1::Conflict) -> Vec<String> {
    let again = if conflict.reopened { " (decided before, and opened again)" } else { "" };
    vec![conflict.conflict.clone(), format!("{}{again}", conflict.sentence)]
}

/// The conflicts that fit a filter, all of them.
pub async fn all(workspace: &Workspace, filter: &Filter) -> Result<Listed, CliError> {
    let mut pages = workspace.pages(question(workspace, filter).await?);
    let mut listed = Listed { conflicts: Vec::new(), revision: 0 };
    while let Some(page) = pages.next().await? {
        if listed.conflicts.is_empty() {
            listed.revision = page.revision;
        }
        listed.conflicts.extend(page.conflicts);
    }
    Ok(listed)
}

async fn question(workspace: &Workspace, filter: &Filter) -> Result<v1::ListConflictsRequest, CliError> {
    let record = match (&filter.record, &filter.table) {
        (Some(wanted), Some(table)) => {
            KnownTable::read(workspace, table).await?.record(workspace, wanted).await?.to_string()
        }
        (Some(wanted), None) => anywhere(workspace, wanted).await?.to_string(),
        (None, _) => String::new(),
    };
    let actor = match &filter.by {
        Some(wanted) => member(workspace, wanted).await?,
        None => String::new(),
    };
    let (table, bundle) = (filter.table.clone().unwrap_or_default(), filter.bundle.clone().unwrap_or_default());
    Ok(v1::ListConflictsRequest { table, record, actor, bundle, ..Default::default() })
}

/// The id of a member.
pub async fn member(workspace: &Workspace, wanted: &str) -> Result<String, CliError> {
    let members = workspace.describe().await?.members;
    let known: Vec<_> = members.iter().map(|one| (one.actor.as_str(), one.name.as_str())).collect();
    Ok(context::actor(wanted, &known, "member")?.to_string())
}

/// The conflict of that id, or whose id begins so, and the revision at which it was read.
pub async fn find(workspace: &Workspace, wanted: &str) -> Result<(v1::Conflict, u64), CliError> {
    if wanted.len() >= ID_DIGITS {
        let found = workspace.conflict(wanted).await?;
        return Ok((found.conflict.unwrap_or_default(), found.revision));
    }
    let Listed { mut conflicts, revision } = all(workspace, &Filter::default()).await?;
    let beginning = wanted.to_lowercase();
    conflicts.retain(|conflict| wanted.len() >= SHORTEST_PREFIX && conflict.conflict.starts_with(&beginning));
    match conflicts.len() {
        1 => Ok((conflicts.swap_remove(0), revision)),
        0 => Err(CliError::failed(format!("There is no conflict \"{wanted}\"."))
            .next("Somebody may have decided it already: `openprod conflicts` lists those that are open.")),
        several => Err(CliError::failed(format!("The ids of {several} conflicts begin with \"{wanted}\"."))
            .next("Write more of it.")),
    }
}

fn show(context: &Context, conflict: &v1::Conflict) -> Result<(), CliError> {
    if context.style == Style::Json {
        return output::json(&as_json(conflict));
    }
    if context.style.is_for_people() {
        line(&escaped(&conflict.sentence))?;
        line("")?;
    }
    grid(context.style, &choices(conflict))
}

/// What can be chosen, numbered as people choose it; where something was removed, what happened to it.
pub fn choices(conflict: &v1::Conflict) -> Grid {
    let mut shown = Grid::new(&["NUMBER", "VALUE", "WHO", "TIME", "IN", "BUNDLE"]);
    for (index, candidate) in conflict.candidates.iter().enumerate() {
        for write in &candidate.writes {
            let on_show = if candidate.shown { " (shown)" } else { "" };
            let value = format!("{}{on_show}", told::content(candidate.content.as_ref()));
            shown.row(write_row((index + 1).to_string(), value, write));
        }
    }
    for write in &conflict.removals {
        shown.row(write_row(String::new(), "removed".to_owned(), write));
    }
    for write in &conflict.edits {
        let value = format!("{}: {}", place(write), told::content(write.content.as_ref()));
        shown.row(write_row(String::new(), value, write));
    }
    shown
}

fn write_row(number: String, value: String, write: &v1::DisputedWrite) -> Vec<String> {
    let bundle = write.bundle.clone().unwrap_or_default();
    let (who, time) = (told::who(&bundle), time::of_bundle(&bundle));
    vec![number, value, who, time, bundle.label, bundle.bundle_id]
}

/// Where an edit stands, in short.
fn place(write: &v1::DisputedWrite) -> String {
    use v1::cell::Kind;
    match write.cell.as_ref().and_then(|cell| cell.kind.as_ref()) {
        Some(Kind::Field(field)) => field.column.clone(),
        Some(Kind::EdgeProperty(property)) => property.property.clone(),
        Some(_) => {
            write.cell.clone().and_then(|cell| cell.try_into().ok()).as_ref().map_or_else(String::new, describe::cell)
        }
        None => String::new(),
    }
}

/// A conflict as JSON.
pub fn as_json(conflict: &v1::Conflict) -> Json {
    let sort = conflict.sort().as_str_name();
    let sort = sort.strip_prefix("CONFLICT_SORT_").unwrap_or(sort).to_lowercase();
    let candidate = |candidate: &v1::ConflictCandidate| {
        json!({
            "content": told::content(candidate.content.as_ref()), "shown": candidate.shown,
            "writes": candidate.writes.iter().map(write_json).collect::<Vec<_>>(),
        })
    };
    json!({
        "conflict": conflict.conflict, "sort": sort, "sentence": conflict.sentence, "reopened": conflict.reopened,
        "candidates": conflict.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "removals": conflict.removals.iter().map(write_json).collect::<Vec<_>>(),
        "edits": conflict.edits.iter().map(write_json).collect::<Vec<_>>(),
    })
}

fn write_json(write: &v1::DisputedWrite) -> Json {
    json!({
        "op": write.op, "content": told::content(write.content.as_ref()), "decision": write.decision,
        "bundle": write.bundle.as_ref().map(told::bundle),
    })
}
