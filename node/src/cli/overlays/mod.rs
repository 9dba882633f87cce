//! Commands for overlays: changes that are staged on this node until somebody commits or discards all of them.

mod show;

use clap::{Args, Subcommand};
use openprod_client::{Workspace, v1};
use openprod_model::ids::OverlayId;
use serde_json::json;

use super::context::{self, Context, parsed};
use super::error::CliError;
use super::known::KnownTable;
use super::output::{self, Style, line, remark};
use super::{ask, write};
use openprod_domain::describe::escaped;

/// How many differences are asked for at once.
const PAGE: u32 = 1_000;

/// Stages changes on this node until they are committed or discarded
#[derive(Debug, Clone, Args)]
#[command(after_help = "With --overlay NAME, or OPENPROD_OVERLAY in the environment, other commands read through an \
                        overlay and stage in it what they would change.")]
pub struct OverlayArgs {
    #[command(subcommand)]
    command: OverlayCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum OverlayCommand {
    /// Makes an empty overlay and prints its id
    Create {
        /// What to call it
        name: String,
        /// The label of its commit, in the imperative
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Lists the overlays
    List,
    /// Tells one overlay
    Show(Which),
    /// Calls an overlay something else
    Rename {
        /// Overlay
        overlay: String,
        /// The new name
        name: String,
    },
    /// Tells what an overlay would change
    Preview(Which),
    /// Lists what others have changed that an overlay also changes
    Drift(Which),
    /// Decides drift: what is staged stands, over what others wrote
    KeepMine(Decided),
    /// Decides drift: what others wrote stands, and what is staged goes
    UseCanonical(Decided),
    /// Takes a staged field or record out of an overlay
    KnockOut {
        /// Overlay
        overlay: String,
        /// Table
        table: String,
        /// Record: its id, the value of its first column, or the beginning of its id
        record: String,
        /// Field; without it the whole record
        field: Option<String>,
    },
    /// Takes the last step within an overlay back
    Undo(Which),
    /// Does the step within an overlay again that was taken back last
    Redo(Which),
    /// Sets an overlay aside: nothing is staged in it until it is recalled
    Stash(Which),
    /// Takes a stashed overlay up again
    Recall(Which),
    /// Commits everything that an overlay stages, as one bundle
    Commit(Which),
    /// Drops an overlay with everything staged in it
    Discard(Which),
}

#[derive(Debug, Clone, Args)]
struct Which {
    /// Overlay: its name, its id or the beginning of it; without it that of --overlay, or the only one
    overlay: Option<String>,
}

#[derive(Debug, Clone, Args)]
struct Decided {
    /// Overlay
    overlay: String,
    /// Table
    #[arg(required_unless_present = "all", requires = "record")]
    table: Option<String>,
    /// Record: its id, the value of its first column, or the beginning of its id
    #[arg(requires = "field")]
    record: Option<String>,
    /// Field
    field: Option<String>,
    /// All drift of the overlay
    #[arg(long, conflicts_with = "table")]
    all: bool,
}

/// Which way drift is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Mine,
    Canonical,
}

/// An overlay, as commands act on it.
struct Meant {
    workspace: Workspace,
    id: OverlayId,
    told: v1::Overlay,
}

/// Runs `overlay`.
pub async fn run(args: OverlayArgs, context: &Context) -> Result<(), CliError> {
    match args.command {
        OverlayCommand::Create { name, label } => create(context, &name, &label).await,
        OverlayCommand::List => show::list(context, &context.canonical().await?.list_overlays().await?),
        OverlayCommand::Show(which) => show::one(context, &meant(context, which.overlay).await?.told),
        OverlayCommand::Rename { overlay, name } => {
            let meant = meant(context, Some(overlay)).await?;
            meant.workspace.rename_overlay(meant.id, &name).await?;
            done(context, &meant, &format!("It is called {name} now."))
        }
        OverlayCommand::Preview(which) => {
            let meant = meant(context, which.overlay).await?;
            let overlay = meant.id.to_string();
            let question = v1::PreviewOverlayRequest { overlay, page_size: PAGE, ..Default::default() };
            show::preview(context, meant.workspace.pages(question)).await
        }
        OverlayCommand::Drift(which) => {
            let meant = meant(context, which.overlay).await?;
            show::drift(context, meant.workspace.drift(meant.id)).await
        }
        OverlayCommand::KeepMine(decided) => decide(context, decided, Side::Mine).await,
        OverlayCommand::UseCanonical(decided) => decide(context, decided, Side::Canonical).await,
        OverlayCommand::KnockOut { overlay, table, record, field } => {
            knock_out(context, overlay, &table, &record, field.as_deref()).await
        }
        OverlayCommand::Undo(which) => {
            let meant = meant(context, which.overlay).await?;
            let label = meant.workspace.undo_staged(meant.id).await?;
            done(context, &meant, &format!("Taken back: {label}."))
        }
        OverlayCommand::Redo(which) => {
            let meant = meant(context, which.overlay).await?;
            let label = meant.workspace.redo_staged(meant.id).await?;
            done(context, &meant, &format!("Done again: {label}."))
        }
        OverlayCommand::Stash(which) => {
            let meant = meant(context, which.overlay).await?;
            meant.workspace.stash_overlay(meant.id).await?;
            done(context, &meant, "Stashed.")
        }
        OverlayCommand::Recall(which) => {
            let meant = meant(context, which.overlay).await?;
            meant.workspace.recall_overlay(meant.id).await?;
            done(context, &meant, "Recalled.")
        }
        OverlayCommand::Commit(which) => {
            let meant = meant(context, which.overlay).await?;
            write::tell(context, &meant.workspace.commit_overlay(meant.id).await?, "Committed")
        }
        OverlayCommand::Discard(which) => discard(context, which).await,
    }
}

async fn create(context: &Context, name: &str, label: &str) -> Result<(), CliError> {
    let made = context.canonical().await?.create_overlay(name, label, None).await?;
    if context.style == Style::Json {
        return output::json(&show::as_json(&made));
    }
    line(&made.overlay)?;
    remark(&format!("Made. Stage in it with --overlay \"{}\", or OPENPROD_OVERLAY.", made.name));
    Ok(())
}

async fn discard(context: &Context, which: Which) -> Result<(), CliError> {
    let meant = meant(context, which.overlay).await?;
    ask::sure(context, &format!("Discard {} with everything staged in it?", meant.told.name))?;
    meant.workspace.discard_overlay(meant.id).await?;
    done(context, &meant, "Discarded. Nothing else was changed.")
}

/// The overlay that was named, else that of the flag, else the only one.
async fn meant(context: &Context, wanted: Option<String>) -> Result<Meant, CliError> {
    let workspace = context.canonical().await?;
    let told = match wanted.or(context.globals.overlay.clone()).filter(|wanted| !wanted.is_empty()) {
        Some(wanted) => context::overlay(&workspace, &wanted).await?,
        None => only(workspace.list_overlays().await?)?,
    };
    Ok(Meant { id: parsed(&told.overlay)?, workspace, told })
}

fn only(mut all: Vec<v1::Overlay>) -> Result<v1::Overlay, CliError> {
    match (all.pop(), &all[..]) {
        (Some(only), []) => Ok(only),
        (None, _) => {
            Err(CliError::failed("There is no overlay.").next("Make one with `openprod overlay create NAME`."))
        }
        (Some(last), others) => {
            let names: Vec<&str> = others.iter().chain([&last]).map(|one| one.name.as_str()).collect();
            Err(CliError::usage(format!("There are {} overlays.", names.len()))
                .affected(format!("They are: {}.", escaped(&names.join(", "))))
                .next("Name one."))
        }
    }
}

fn done(context: &Context, meant: &Meant, words: &str) -> Result<(), CliError> {
    if context.style == Style::Json {
        return output::json(&json!({"overlay": meant.told.overlay, "name": meant.told.name, "done": words}));
    }
    remark(words);
    Ok(())
}

/// Decides what has drifted as it is listed at this moment: what comes in between stays undecided.
async fn decide(context: &Context, decided: Decided, side: Side) -> Result<(), CliError> {
    let meant = meant(context, Some(decided.overlay.clone())).await?;
    let (drift, revision) = drift_of(&meant).await?;
    let wanted = match (&decided.table, &decided.record, &decided.field) {
        (Some(table), Some(record), Some(field)) => Some(field_of(&meant, table, record, field).await?),
        _ => None,
    };
    let mut cells: Vec<v1::Cell> = drift.into_iter().filter_map(|drift| drift.cell).collect();
    // A field of a merged record goes by another name perhaps; so the node is asked for what was named.
    if let Some(wanted) = wanted {
        cells = vec![wanted];
    }
    if cells.is_empty() {
        return done(context, &meant, "Nothing has drifted.");
    }
    let count = cells.len();
    match side {
        Side::Mine => meant.workspace.keep_mine(meant.id, cells, Some(revision)).await?,
        Side::Canonical => meant.workspace.use_canonical(meant.id, cells).await?,
    }
    let words = match side {
        Side::Mine => format!("Kept mine: {count}."),
        Side::Canonical => format!("Used canonical: {count}."),
    };
    done(context, &meant, &words)
}

async fn drift_of(meant: &Meant) -> Result<(Vec<v1::DriftedCell>, u64), CliError> {
    let mut pages = meant.workspace.drift(meant.id);
    let (mut drift, mut revision) = (Vec::new(), u64::MAX);
    while let Some(page) = pages.next().await? {
        revision = revision.min(page.revision);
        drift.extend(page.drift);
    }
    Ok((drift, revision))
}

async fn field_of(meant: &Meant, table: &str, record: &str, field: &str) -> Result<v1::Cell, CliError> {
    let through = meant.workspace.clone().through(meant.id);
    let table = KnownTable::read(&through, table).await?;
    let record = table.record(&through, record).await?.to_string();
    let column = table.column(field)?.key.to_string();
    let field = v1::cell::Field { table: table.key.to_string(), record, column };
    Ok(v1::Cell { kind: Some(v1::cell::Kind::Field(field)) })
}

async fn knock_out(
    context: &Context,
    overlay: String,
    table: &str,
    record: &str,
    field: Option<&str>,
) -> Result<(), CliError> {
    let meant = meant(context, Some(overlay)).await?;
    let (cells, records) = if let Some(field) = field {
        (vec![field_of(&meant, table, record, field).await?], Vec::new())
    } else {
        let through = meant.workspace.clone().through(meant.id);
        let known = KnownTable::read(&through, table).await?;
        (Vec::new(), vec![known.record(&through, record).await?.to_string()])
    };
    meant.workspace.knock_out(meant.id, cells, records).await?;
    done(context, &meant, "Knocked out.")
}
