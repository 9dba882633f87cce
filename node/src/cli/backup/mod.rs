//! `openprod backup` and `openprod restore`: copies of a workspace, with a node and without.

pub(in crate::cli) mod offline;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use futures::stream;
use openprod_client::v1;
use openprod_domain::describe::bytes;
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::CliError;
use super::export::bar::Bar;
use super::output::{Style, json as show, line, remark};
use crate::backup::{self, Place, Present, Written};
use crate::storage;
use offline::Stopped;

/// The largest piece of a workspace file that a node takes.
const PIECE_BYTES: u64 = 1024 * 1024;

/// What `backup` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct BackupArgs {
    /// Where to, on the node's computer: a folder that is not there yet; without it a new one beside the workspace
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// What `restore` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct RestoreArgs {
    /// Folder of a backup, or a workspace file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Puts a workspace aside that is there already, and restores in its place
    #[arg(long)]
    yes_replace: bool,
}

/// Runs `backup`.
pub async fn run(args: BackupArgs, context: &Context) -> Result<(), CliError> {
    let output = args.output.as_deref().map(std::path::absolute).transpose()?;
    if let Some(stopped) = offline::stopped(context)? {
        return without_node(context, stopped, output).await;
    }
    let workspace = context.workspace().await?;
    let path = output.map(|path| path.display().to_string()).unwrap_or_default();
    let (bar, mut report) = (Bar::new(), None);
    let mut answers = workspace.backup(&path).await?;
    while let Some(answer) = answers.next().await? {
        match answer.event {
            Some(v1::backup_response::Event::Progress(progress)) => bar.told(&progress),
            Some(v1::backup_response::Event::Report(told)) => report = Some(told),
            None => {}
        }
    }
    drop(bar);
    let report = report.ok_or_else(|| CliError::failed("The node did not say how the backup went."))?;
    tell(context, &report)
}

async fn without_node(context: &Context, stopped: Stopped, output: Option<PathBuf>) -> Result<(), CliError> {
    let ids = stopped.folder.workspaces()?;
    let id = offline::chosen(context.globals.workspace.as_deref(), &ids)?;
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    let written = tokio::task::spawn_blocking(move || {
        let files = stopped.folder.workspace(id);
        let stores = storage::open(&files, id, &stopped.config).map_err(CliError::failed)?;
        let place = output.map_or_else(|| Place::Within(files.backups()), Place::Exactly);
        let written = backup::write(&stores.log, &files.blobs(), id, &id.to_string(), &place, now_ms);
        stores.state.close();
        written.map_err(|error| CliError::failed(format!("There is no backup: {error}.")))
    });
    let written = written.await.map_err(|error| CliError::failed(format!("The backup broke off: {error}.")))??;
    let Written { path, revision, bytes, damaged } = written;
    let path = path.display().to_string();
    tell(context, &v1::BackupReport { path, revision: revision.0, bundles: revision.0, bytes })?;
    match damaged.len() {
        0 => Ok(()),
        many => Err(CliError::partial(format!("{many} bundles are damaged in the log, and so in its copy."))
            .next("`openprod verify` tells which.")),
    }
}

fn tell(context: &Context, report: &v1::BackupReport) -> Result<(), CliError> {
    let v1::BackupReport { path, revision, bundles, bytes } = report;
    if context.style == Style::Json {
        return show(&json!({"path": path, "revision": revision, "bundles": bundles, "bytes": bytes}));
    }
    line(&openprod_domain::describe::escaped(path))?;
    remark(&format!("Wrote revision {revision}, {bytes} bytes."));
    Ok(())
}

/// Runs `restore`.
pub async fn restore(args: RestoreArgs, context: &Context) -> Result<(), CliError> {
    let path = std::path::absolute(&args.path)?;
    let metadata = std::fs::metadata(&path).map_err(|error| CliError::file(&path, &error))?;
    if runs(context)? {
        return match (metadata.is_file(), args.yes_replace) {
            (true, false) => into_node(context, &path).await,
            (true, true) => Err(stop_first("A workspace cannot be replaced while its node runs.")),
            (false, _) => Err(stop_first("A backup cannot be restored while the node runs.")),
        };
    }
    let present = if args.yes_replace { Present::PutAside } else { Present::Refuse };
    let restored = backup::restore(context.config()?, &path, present).await;
    let restored = restored.map_err(|error| {
        CliError::failed(format!("{}.", error.to_string().trim_end_matches('.'))).affected("Nothing was changed.")
    })?;
    let blobs = restored.files.map(v1::ImportedBlobs::from);
    if context.style == Style::Json {
        return show(&json!({
            "workspace": restored.workspace.to_string(), "name": restored.name, "revision": restored.revision.0,
            "aside": restored.aside.as_ref().map(|aside| aside.display().to_string()),
            "blobs": blobs.as_ref().map(blobs_json),
        }))
        .and_then(|()| blobs_told(blobs.as_ref()));
    }
    if let Some(aside) = &restored.aside {
        remark(&format!("The workspace that was there lies in {} now.", aside.display()));
    }
    remark(&format!("Restored {} at revision {}.", restored.name, restored.revision));
    if let Some(blobs) = &blobs {
        remark(&brought(blobs));
    }
    line(&restored.workspace.to_string())?;
    blobs_told(blobs.as_ref())
}

fn stop_first(message: &str) -> CliError {
    CliError::failed(message).affected("Nothing was changed.").next("Stop the node, run this again, start it again.")
}

/// Whether a node runs: flags name one, or one has the folder.
fn runs(context: &Context) -> Result<bool, CliError> {
    Ok(offline::is_elsewhere(context) || {
        let folder = context.config()?.data_dir;
        folder.join("node.lock").exists() && offline::stopped(context)?.is_none()
    })
}

/// Sends a workspace file to the node, piece by piece.
async fn into_node(context: &Context, path: &Path) -> Result<(), CliError> {
    let client = context.client().await?;
    let mut file = std::fs::File::open(path).map_err(|error| CliError::file(path, &error))?;
    let (failed, failure) = std::sync::mpsc::channel();
    let pieces = std::iter::from_fn(move || {
        let mut piece = Vec::new();
        match file.by_ref().take(PIECE_BYTES).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(piece),
            Err(error) => {
                // The node then refuses a file that ends too early; why it did is told here.
                let _ = failed.send(error);
                None
            }
        }
    });
    let answer = client.import_workspace(stream::iter(pieces)).await;
    if let Ok(error) = failure.try_recv() {
        return Err(CliError::file(path, &error));
    }
    taken_in(context, &answer?)
}

fn taken_in(context: &Context, answer: &v1::ImportWorkspaceResponse) -> Result<(), CliError> {
    let v1::ImportWorkspaceResponse { workspace, name, revision, new_bundles, known_bundles, .. } = answer;
    let (refused_bundles, held_bundles) = (answer.refused_bundles, answer.held_bundles);
    if context.style == Style::Json {
        show(&json!({
            "workspace": workspace, "name": name, "revision": revision, "new_bundles": new_bundles,
            "known_bundles": known_bundles, "refused_bundles": refused_bundles, "held_bundles": held_bundles,
            "blobs": answer.blobs.as_ref().map(blobs_json),
        }))?;
    } else {
        let known = if *known_bundles > 0 { format!(", {known_bundles} were here already") } else { String::new() };
        let name = openprod_domain::describe::escaped(name);
        remark(&format!("Took in {name}: {new_bundles} new bundles{known}, revision {revision}."));
        if let Some(blobs) = &answer.blobs {
            remark(&brought(blobs));
        }
        line(workspace)?;
    }
    match (refused_bundles, held_bundles) {
        (0, 0) => blobs_told(answer.blobs.as_ref()),
        (0, many) => Err(CliError::partial(format!(
            "{many} bundles wait for you: whoever wrote them was removed before they came here."
        ))
        .next("`openprod quarantine` lists them, `openprod quarantine take` takes them in.")),
        (many, _) => Err(CliError::partial(format!("{many} bundles of the file were not taken in."))
            .next("`openprod quarantine list` tells which, and why.")),
    }
}

/// What came of the files that a workspace file carries, in a sentence.
fn brought(blobs: &v1::ImportedBlobs) -> String {
    let v1::ImportedBlobs { new_blobs, new_bytes, known_blobs, unneeded_blobs, .. } = blobs;
    let others = [(known_blobs, "were here already"), (unneeded_blobs, "are not needed here")];
    let others = others.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("; {count} {what}"));
    format!("Files: {new_blobs} new ones of {}{}.", bytes(*new_bytes), others.collect::<String>())
}

/// Fails in part if any file did not come, and says why.
fn blobs_told(blobs: Option<&v1::ImportedBlobs>) -> Result<(), CliError> {
    let Some(v1::ImportedBlobs { refused_blobs, reasons, .. }) = blobs else { return Ok(()) };
    for reason in reasons {
        remark(reason);
    }
    match refused_blobs {
        0 => Ok(()),
        many => Err(CliError::partial(format!("{many} files were not taken in; everything else was."))
            .next("Take in a whole copy of the workspace file; what is here already stays.")),
    }
}

fn blobs_json(blobs: &v1::ImportedBlobs) -> Json {
    json!({
        "new": blobs.new_blobs, "new_bytes": blobs.new_bytes, "known": blobs.known_blobs,
        "unneeded": blobs.unneeded_blobs, "refused": blobs.refused_blobs, "reasons": blobs.reasons,
    })
}
