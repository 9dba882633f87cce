//! Commands that go back and forth in history: `undo` and `redo`.

use clap::Args;
use openprod_client::{Change, Workspace, v1};
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::CliError;
use super::output::{self, Grid, Style, grid, line, more, remark};
use super::{json as told, time};

/// As many bundles as a person looks ahead.
const FOR_PEOPLE: usize = 20;

/// Undoes the own last change, or another one
#[derive(Debug, Clone, Args)]
pub struct UndoArgs {
    #[command(flatten)]
    which: Which,
}

/// Does again what was undone last, or another change that was undone
#[derive(Debug, Clone, Args)]
pub struct RedoArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Clone, Args)]
struct Which {
    /// Of everybody's changes, not of the own ones only
    #[arg(long)]
    shared: bool,
    /// A certain change: its bundle's id or digest, as `openprod history` tells it
    #[arg(long, value_name = "BUNDLE", conflicts_with = "list")]
    bundle: Option<String>,
    /// Changes nothing; lists what comes next, and what stands in its way
    #[arg(long)]
    list: bool,
    /// How many to list at most; on a terminal 20 unless said, else all
    #[arg(long, value_name = "COUNT", requires = "list")]
    limit: Option<usize>,
}

impl Which {
    fn scope(&self) -> v1::UndoScope {
        if self.shared { v1::UndoScope::Shared } else { v1::UndoScope::Mine }
    }
}

/// Runs `undo`.
pub async fn undo(args: UndoArgs, context: &Context) -> Result<(), CliError> {
    let (workspace, which) = (context.workspace().await?, args.which);
    if which.list {
        return list(context, &workspace, v1::UndoTurn::Undo, &which).await;
    }
    let done = workspace.execute(&Change::undo(which.scope(), which.bundle.as_deref())).await?;
    tell(context, &done, "Undone")
}

/// Runs `redo`.
pub async fn redo(args: RedoArgs, context: &Context) -> Result<(), CliError> {
    let (workspace, which) = (context.workspace().await?, args.which);
    if which.list {
        return list(context, &workspace, v1::UndoTurn::Redo, &which).await;
    }
    let done = workspace.execute(&Change::redo(which.scope(), which.bundle.as_deref())).await?;
    tell(context, &done, "Redone")
}

/// Tells what was turned on standard output, and what was passed over as remarks.
fn tell(context: &Context, done: &v1::ExecuteResponse, verb: &str) -> Result<(), CliError> {
    if context.style == Style::Json {
        return output::json(&told::done(done));
    }
    for skipped in &done.skipped {
        let (bundle, why) = (skipped.bundle.clone().unwrap_or_default(), skipped.obstacle.clone().unwrap_or_default());
        remark(&format!("Passed over \"{}\": {}", bundle.label, why.sentence));
    }
    for conflict in &done.opened_conflicts {
        remark(&format!("Conflict: {}", conflict.sentence));
    }
    if let Some(bundle) = done.undone.as_ref().or(done.redone.as_ref()) {
        line(&openprod_domain::describe::escaped(&bundle.label))?;
    }
    remark(&format!("{verb}. Revision {}.", done.revision));
    Ok(())
}

async fn list(context: &Context, workspace: &Workspace, turn: v1::UndoTurn, which: &Which) -> Result<(), CliError> {
    let limit = which.limit.unwrap_or(if context.style.is_for_people() { FOR_PEOPLE } else { usize::MAX });
    let mut pages = workspace.list_undo(turn, which.scope());
    let mut shown = Grid::new(&["REVISION", "TIME", "WHO", "LABEL", "IN THE WAY", "BUNDLE"]);
    if context.style == Style::Plain {
        grid(context.style, &shown)?;
    }
    let mut left = limit;
    while left > 0
        && let Some(page) = pages.next().await?
    {
        let items = &page.items[..page.items.len().min(left)];
        left -= items.len();
        shown.rows.extend(items.iter().map(row));
        match context.style {
            Style::Json => items.iter().try_for_each(|item| output::json(&item_json(item)))?,
            Style::Plain => more(&shown)?,
            Style::Bare | Style::Colored => continue,
        }
        shown.rows.clear();
    }
    if context.style.is_for_people() { grid(context.style, &shown) } else { Ok(()) }
}

fn row(item: &v1::UndoItem) -> Vec<String> {
    let bundle = item.bundle.clone().unwrap_or_default();
    let obstacle = item.obstacle.as_ref().map(|obstacle| obstacle.sentence.clone()).unwrap_or_default();
    let (revision, time, who) = (bundle.revision.to_string(), time::of_bundle(&bundle), told::who(&bundle));
    vec![revision, time, who, bundle.label, obstacle, bundle.bundle_id]
}

fn item_json(item: &v1::UndoItem) -> Json {
    json!({
        "bundle": item.bundle.as_ref().map(told::bundle), "possible": item.obstacle.is_none(),
        "obstacle": item.obstacle.as_ref().map(told::obstacle),
    })
}
