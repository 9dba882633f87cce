//! Commands for files: putting them on the node, getting them back, and looking after them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use futures::stream;
use openprod_client::blobs::MAX_PIECE_BYTES;
use openprod_client::{Workspace, v1};
use openprod_domain::command::Command;
use openprod_domain::describe::escaped;
use openprod_model::ids::BlobHash;
use openprod_model::value::{BlobRef, Text};
use serde_json::{Value as Json, json};
use tokio::io::AsyncReadExt as _;

use super::context::{Context, SHORTEST_PREFIX, parsed};
use super::error::CliError;
use super::export::bar::Bar;
use super::output::{Grid, Style, grid, json as show, line, more, remark};
use super::{ask, time, write};

/// Puts, gets and looks after files
#[derive(Debug, Clone, clap::Args)]
pub struct BlobArgs {
    #[command(subcommand)]
    command: BlobCommands,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum BlobCommands {
    /// Puts files on the node and prints their hashes; `openprod set TABLE RECORD COLUMN=@FILE` also refers to one
    Put {
        /// Files of this computer
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Has the node fetch files from other nodes; `get` and whoever opens a file does so by itself
    Fetch {
        /// Files: their names, their hashes or the beginnings of them
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Gets a file from the node, which fetches it from other nodes if it has to
    Get {
        /// File: its name, its hash or the beginning of it
        file: String,
        /// Where to write it; - for standard output. Without this, under its name here
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Gets a small picture of a picture or of a PDF, as a PNG
    Thumbnail {
        /// File: its name, its hash or the beginning of it
        file: String,
        /// Where to write it; - for standard output
        #[arg(long, short)]
        output: PathBuf,
    },
    /// Lists the files that are on the node or that fields refer to
    List,
    /// Reads every file on the node again and compares it with its hash
    Verify,
    /// Keeps files on this node whatever happens
    Pin {
        /// Files: their names, their hashes or the beginnings of them
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Keeps them no longer than others
    Unpin {
        /// Files, as in `pin`
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
    /// Deletes a file for everybody; its bytes stay for a while, so that it can be restored
    Delete {
        /// File: its name, its hash or the beginning of it
        file: String,
        /// Why, for the others
        #[arg(long)]
        reason: String,
    },
    /// Takes the deletion of a file back
    Restore {
        /// File: its name, its hash or the beginning of it
        file: String,
    },
    /// Removes from this node the files that nothing has needed for long
    Collect {
        /// Only tells which they would be
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs `blob`.
pub async fn run(args: BlobArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    match args.command {
        BlobCommands::Put { files } => put_all(context, &workspace, &files).await,
        BlobCommands::Fetch { files } => fetch_all(context, &workspace, &files).await,
        BlobCommands::Get { file, output } => get(&workspace, &file, output).await,
        BlobCommands::Thumbnail { file, output } => thumbnail(&workspace, &file, &output).await,
        BlobCommands::List => list(context, &workspace).await,
        BlobCommands::Verify => verify(context, &workspace).await,
        BlobCommands::Pin { files } => pin(context, &workspace, &files, true).await,
        BlobCommands::Unpin { files } => pin(context, &workspace, &files, false).await,
        BlobCommands::Delete { file, reason } => delete(context, &workspace, &file, &reason).await,
        BlobCommands::Restore { file } => {
            let hash = meant(&workspace, &file).await?.0;
            write::send(context, &workspace, &[Command::RestoreAsset { hash }], "Restored").await
        }
        BlobCommands::Collect { dry_run } => collect(context, &workspace, dry_run).await,
    }
}

async fn put_all(context: &Context, workspace: &Workspace, files: &[PathBuf]) -> Result<(), CliError> {
    for path in files {
        let BlobRef { hash, size, name, media_type } = put(workspace, path).await?;
        if context.style == Style::Json {
            let (hash, name, media_type) = (hash.to_string(), name.to_string(), media_type.to_string());
            show(&json!({ "hash": hash, "size": size, "name": name, "media_type": media_type }))?;
        } else {
            line(&hash.to_string())?;
        }
    }
    Ok(())
}

/// Puts a file of this computer on the node, and tells what a field may say of it.
pub async fn put(workspace: &Workspace, path: &Path) -> Result<BlobRef, CliError> {
    let unusable = |error: &io::Error| CliError::file(path, error).affected("Nothing was changed.");
    let file = tokio::fs::File::open(path).await.map_err(|error| unusable(&error))?;
    let metadata = file.metadata().await.map_err(|error| unusable(&error))?;
    if !metadata.is_file() {
        return Err(CliError::failed(format!("{}: this is not a file.", path.display())));
    }
    let (bar, total) = (Bar::new(), metadata.len());
    let pieces = stream::try_unfold((file, bar, 0), move |(mut file, bar, done)| async move {
        let mut piece = vec![0; MAX_PIECE_BYTES];
        let count = file.read(&mut piece).await?;
        piece.truncate(count);
        let done = done + count as u64;
        bar.at("Sending", done, total);
        Ok((count > 0).then_some((piece, (file, bar, done))))
    });
    let kept = workspace.put_blob(pieces, None).await?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let name = Text::new(&name).map_err(|invalid| CliError::failed(format!("{}: {invalid}.", path.display())))?;
    let media_type = Text::new(media_type(path)).expect("media types are short");
    Ok(BlobRef { hash: parsed(&kept.hash)?, size: kept.size, name, media_type })
}

/// The media type that the ending of a file's name promises; none if it is none of those that teams use every day.
fn media_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "csv" => "text/csv",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "mp4" | "m4v" => "video/mp4",
        "mov" => "video/quicktime",
        "zip" => "application/zip",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => "",
    }
}

async fn fetch_all(context: &Context, workspace: &Workspace, files: &[String]) -> Result<(), CliError> {
    let mut told = Vec::new();
    for file in files {
        let hash = meant(workspace, file).await?.0;
        told.push(fetch(workspace, hash).await?);
    }
    tell(context, &told, true)
}

/// Has the node fetch a file, and shows how that goes.
async fn fetch(workspace: &Workspace, hash: BlobHash) -> Result<v1::Blob, CliError> {
    use v1::fetch_blob_response::Event;
    let bar = Bar::new();
    let mut answers = workspace.fetch_blob(hash).await?;
    while let Some(answer) = answers.next().await? {
        match answer.event {
            Some(Event::Progress(progress)) => bar.told(&progress),
            Some(Event::Blob(blob)) => return Ok(blob),
            None => {}
        }
    }
    Err(CliError::failed("The node did not say whether the file has come."))
}

async fn get(workspace: &Workspace, wanted: &str, output: Option<PathBuf>) -> Result<(), CliError> {
    let (hash, blob) = meant(workspace, wanted).await?;
    let output = output.unwrap_or_else(|| own_name(&blob.name, hash));
    if matches!(blob.availability(), v1::BlobAvailability::Unavailable | v1::BlobAvailability::Damaged) {
        fetch(workspace, hash).await?;
    }
    let mut answers = workspace.get_blob(hash, 0, 0).await?;
    if output == Path::new("-") {
        let mut out = io::stdout().lock();
        while let Some(answer) = answers.next().await? {
            out.write_all(&answer.chunk)?;
        }
        return Ok(out.flush()?);
    }
    if output.exists() {
        return Err(CliError::failed(format!("{}: there is something already.", output.display()))
            .next("Name another place with --output."));
    }
    let unusable = |error: &io::Error| CliError::file(&output, error);
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Under its name it is whole, or not there.
    let mut part = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder).map_err(|e| unusable(&e))?;
    let (bar, mut done, mut total) = (Bar::new(), 0, 0);
    while let Some(answer) = answers.next().await? {
        part.write_all(&answer.chunk).map_err(|error| unusable(&error))?;
        (done, total) = (done + answer.chunk.len() as u64, total.max(answer.size));
        bar.at("Getting", done, total);
    }
    part.persist_noclobber(&output).map_err(|error| unusable(&error.error))?;
    remark(&format!("Written to {}.", output.display()));
    Ok(())
}

async fn thumbnail(workspace: &Workspace, wanted: &str, output: &Path) -> Result<(), CliError> {
    let png = workspace.thumbnail(meant(workspace, wanted).await?.0).await?;
    if output == Path::new("-") {
        return Ok(io::stdout().lock().write_all(&png)?);
    }
    std::fs::write(output, png).map_err(|error| CliError::file(output, &error))
}

/// The name of a file, without any way out of this folder.
fn own_name(name: &str, hash: BlobHash) -> PathBuf {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_plain = !last.is_empty() && !last.starts_with('.') && !last.chars().any(char::is_control);
    PathBuf::from(if is_plain { last.to_owned() } else { hash.to_string() })
}

/// The file that people mean: by its hash, its name, or the beginning of its hash.
async fn meant(workspace: &Workspace, wanted: &str) -> Result<(BlobHash, v1::Blob), CliError> {
    if let Ok(hash) = wanted.parse() {
        return Ok((hash, workspace.blob(hash).await?));
    }
    let (all, folded) = (workspace.blobs().all().await?, wanted.to_lowercase());
    let fits = |fits: &dyn Fn(&v1::Blob) -> bool| all.iter().filter(|blob| fits(blob)).cloned().collect::<Vec<_>>();
    let named = fits(&|blob| blob.name == wanted);
    let begins = |blob: &v1::Blob| wanted.len() >= SHORTEST_PREFIX && blob.hash.starts_with(&folded);
    let mut found = if named.is_empty() { fits(&begins) } else { named };
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok((parsed(&only.hash)?, only)),
        (None, _) => {
            Err(CliError::failed(format!("There is no file \"{wanted}\".")).next("`openprod blob list` lists them."))
        }
        (Some(_), false) => Err(CliError::usage(format!("\"{wanted}\" may mean several files."))
            .next("Name it by its hash: `openprod blob list` tells.")),
    }
}

const HEADER: [&str; 5] = ["HASH", "NAME", "SIZE", "STATE", "SINCE"];

async fn list(context: &Context, workspace: &Workspace) -> Result<(), CliError> {
    let (mut pages, mut first) = (workspace.blobs(), true);
    while let Some(page) = pages.next().await? {
        tell(context, &page.blobs, first)?;
        first = false;
    }
    Ok(())
}

fn tell(context: &Context, blobs: &[v1::Blob], first: bool) -> Result<(), CliError> {
    if context.style == Style::Json {
        return blobs.iter().try_for_each(|blob| show(&as_json(blob)));
    }
    let mut rows = Grid::new(&HEADER);
    for blob in blobs {
        let hash = if context.style.is_for_people() { &blob.hash[..12.min(blob.hash.len())] } else { &blob.hash };
        let since = i64::try_from(blob.added_ms).ok().filter(|ms| *ms > 0).map(time::shown).unwrap_or_default();
        rows.row([hash.to_owned(), blob.name.clone(), blob.size.to_string(), state(blob), since]);
    }
    if first { grid(context.style, &rows) } else { more(&rows) }
}

/// How a file is, in words.
fn state(blob: &v1::Blob) -> String {
    let pinned = if blob.pinned { ", pinned" } else { "" };
    let state = match blob.availability() {
        v1::BlobAvailability::Here => "here",
        v1::BlobAvailability::Damaged => "damaged",
        v1::BlobAvailability::Deleted => return format!("deleted: {}", blob.deletion_reason),
        v1::BlobAvailability::Unavailable | v1::BlobAvailability::Unspecified => "not on this node",
    };
    format!("{state}{pinned}")
}

/// What is known of a file.
pub(super) fn as_json(blob: &v1::Blob) -> Json {
    let state = match blob.availability() {
        v1::BlobAvailability::Here => "here",
        v1::BlobAvailability::Damaged => "damaged",
        v1::BlobAvailability::Deleted => "deleted",
        v1::BlobAvailability::Unavailable | v1::BlobAvailability::Unspecified => "unavailable",
    };
    json!({
        "hash": blob.hash,
        "name": blob.name,
        "size": blob.size,
        "media_type": blob.media_type,
        "state": state,
        "stored_bytes": blob.stored_bytes,
        "added_ms": blob.added_ms,
        "pinned": blob.pinned,
        "deletion_reason": blob.deletion_reason,
    })
}

async fn verify(context: &Context, workspace: &Workspace) -> Result<(), CliError> {
    let (bar, mut report) = (Bar::new(), None);
    let mut answers = workspace.verify_blobs().await?;
    while let Some(answer) = answers.next().await? {
        match answer.event {
            Some(v1::verify_blobs_response::Event::Progress(progress)) => bar.told(&progress),
            Some(v1::verify_blobs_response::Event::Report(told)) => report = Some(told),
            None => {}
        }
    }
    drop(bar);
    let report = report.ok_or_else(|| CliError::failed("The node did not say what it found."))?;
    if context.style == Style::Json {
        let (damaged, gone) = (&report.damaged, &report.gone);
        show(&json!({ "files": report.blobs, "bytes": report.bytes, "damaged": damaged, "gone": gone }))?;
    } else {
        line(&format!("{} files with {} bytes were read.", report.blobs, report.bytes))?;
        report.damaged.iter().try_for_each(|hash| line(&format!("damaged: {}", escaped(hash))))?;
        report.gone.iter().try_for_each(|hash| line(&format!("gone: {}", escaped(hash))))?;
    }
    if report.damaged.is_empty() && report.gone.is_empty() {
        return Ok(());
    }
    let wrong = report.damaged.len() + report.gone.len();
    let failed = CliError::failed(format!("{wrong} files on this node are not what they were."));
    Err(failed.affected("They are given to nobody.").next("Put them again: `openprod blob put FILE`."))
}

async fn pin(context: &Context, workspace: &Workspace, files: &[String], pins: bool) -> Result<(), CliError> {
    let mut told = Vec::new();
    for file in files {
        let hash = meant(workspace, file).await?.0;
        told.push(if pins { workspace.pin_blob(hash).await? } else { workspace.unpin_blob(hash).await? });
    }
    tell(context, &told, true)
}

async fn delete(context: &Context, workspace: &Workspace, file: &str, reason: &str) -> Result<(), CliError> {
    let (hash, blob) = meant(workspace, file).await?;
    let called = if blob.name.is_empty() { blob.hash } else { blob.name };
    ask::sure(context, &format!("Delete {called} for everybody?"))?;
    let reason =
        Text::new(reason).map_err(|invalid| CliError::usage(format!("The reason cannot be used: {invalid}.")))?;
    write::send(context, workspace, &[Command::DeleteAsset { hash, reason }], "Deleted").await
}

async fn collect(context: &Context, workspace: &Workspace, dry_run: bool) -> Result<(), CliError> {
    let collected = workspace.collect_blobs(dry_run).await?;
    if context.style == Style::Json {
        let files: Vec<_> = collected.blobs.iter().map(as_json).collect();
        let (freed, days) = (collected.freed_bytes, collected.retention_days);
        return show(&json!({ "files": files, "freed_bytes": freed, "retention_days": days }));
    }
    if !collected.blobs.is_empty() {
        tell(context, &collected.blobs, true)?;
    }
    let (count, freed, days) = (collected.blobs.len(), collected.freed_bytes, collected.retention_days);
    let done = if dry_run { "would be removed" } else { "were removed" };
    remark(&format!("{count} files with {freed} bytes {done}; what nothing needs is kept for {days} days."));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        let hash = BlobHash::from_bytes([9; 32]);
        for (name, wanted) in [
            ("plot.pdf", "plot.pdf".to_owned()),
            ("../../etc/passwd", "passwd".to_owned()),
            ("C:\\shows\\plot.pdf", "plot.pdf".to_owned()),
            ("..", hash.to_string()),
            (".bashrc", hash.to_string()),
            ("", hash.to_string()),
            ("a\nb", hash.to_string()),
        ] {
            assert_eq!(own_name(name, hash), PathBuf::from(wanted), "{name}");
        }
    }
}
