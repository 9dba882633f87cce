//! `openprod quarantine`: bundles that were not taken into history, or are no longer whole there; and those that wait.

use std::path::PathBuf;

use openprod_client::v1;
use openprod_domain::describe::escaped;
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::CliError;
use super::output::{Grid, Style, facts, grid, json as show, line, remark};
use super::{ask, json as told, time};

/// As many are asked for in one request as one may hold.
const MOST_AT_ONCE: usize = 1_000;

/// What `quarantine` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    command: Option<QuarantineCommand>,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum QuarantineCommand {
    /// Lists what is there
    List,
    /// Shows one, as far as it can be read
    Show {
        /// Number
        number: u64,
    },
    /// Tries again to take one in
    Retry {
        /// Number
        number: u64,
    },
    /// Takes some in whose author was removed before they came here; they stay what they are, signed by their author
    Take {
        /// Numbers; what they build on comes along
        #[arg(required_unless_present = "all")]
        numbers: Vec<u64>,
        /// Takes all that can be taken
        #[arg(long, conflicts_with = "numbers")]
        all: bool,
    },
    /// Lists the bundles that wait for others which they build on, and what for
    Waiting,
    /// Silences the alarm of one; it is kept
    Skip {
        /// Number
        number: u64,
    },
    /// Writes the bytes of one into a file
    Export {
        /// Number
        number: u64,
        /// File that is not there yet
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
}

/// Runs `quarantine`.
pub async fn run(args: QuarantineArgs, context: &Context) -> Result<(), CliError> {
    match args.command.unwrap_or(QuarantineCommand::List) {
        QuarantineCommand::List => list(context).await,
        QuarantineCommand::Show { number } => shown(context, number).await,
        QuarantineCommand::Retry { number } => retry(context, number).await,
        QuarantineCommand::Take { numbers, all } => take(context, numbers, all).await,
        QuarantineCommand::Waiting => waiting(context).await,
        QuarantineCommand::Skip { number } => skip(context, number).await,
        QuarantineCommand::Export { number, output } => export(context, number, output).await,
    }
}

async fn list(context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let items = workspace.pages(v1::ListQuarantineRequest::default()).all().await?;
    if context.style == Style::Json {
        return items.iter().try_for_each(|item| show(&json_of(item)));
    }
    let mut table = Grid::new(&["NUMBER", "SINCE", "STATE", "LABEL", "WHY", "WHAT TO DO"]);
    for item in items {
        let state = match (item.skipped, item.held) {
            (true, _) => "skipped",
            (false, true) => "to be taken",
            (false, false) => "refused",
        };
        let number = item.number.to_string();
        table.row([number, time::shown(item.since_ms), state.to_owned(), item.label, item.sentence, item.next]);
    }
    grid(context.style, &table)
}

async fn shown(context: &Context, number: u64) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let answer = workspace.read(v1::GetQuarantinedRequest { number, ..Default::default() }).await?;
    let item = answer.item.unwrap_or_default();
    if context.style == Style::Json {
        let mut json = json_of(&item);
        json["bundle"] = answer.bundle.as_ref().map_or(Json::Null, told::bundle);
        json["ops"] = answer.ops.into();
        json["missing_parents"] = answer.missing_parents.into();
        return show(&json);
    }
    let by = answer.bundle.as_ref().map(|bundle| format!("{}, {}", told::who(bundle), time::of_bundle(bundle)));
    facts(
        context.style,
        &[
            ("number", item.number.to_string()),
            ("digest", item.bundle_digest),
            ("label", item.label),
            ("claims to be by", by.unwrap_or(item.actor)),
            ("from", item.origin),
            ("since", time::shown(item.since_ms)),
            ("bytes", item.size.to_string()),
            ("skipped", if item.skipped { "yes" } else { "no" }.to_owned()),
            ("missing", answer.missing_parents.join(", ")),
            ("why", item.sentence),
            ("what to do", item.next),
        ],
    )?;
    answer.ops.iter().try_for_each(|op| line(&format!("  {}", escaped(op))))
}

async fn retry(context: &Context, number: u64) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let answer = workspace.read(v1::RetryQuarantinedRequest { number, ..Default::default() }).await?;
    if context.style == Style::Json {
        let item = answer.item.as_ref().map_or(Json::Null, json_of);
        show(&json!({"admitted": answer.admitted, "revision": answer.revision, "item": item}))?;
    }
    if answer.admitted {
        remark(&format!("It was taken in. Revision {}.", answer.revision));
        return Ok(());
    }
    let item = answer.item.unwrap_or_default();
    Err(CliError::failed("It was not taken in.").affected(item.sentence).next(item.next))
}

async fn take(context: &Context, mut numbers: Vec<u64>, all: bool) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    if all {
        let items = workspace.pages(v1::ListQuarantineRequest::default()).all().await?;
        numbers = items.iter().filter(|item| item.held).map(|item| item.number).collect();
    }
    if numbers.is_empty() {
        remark("There is nothing to take.");
        return Ok(());
    }
    ask::sure(context, &format!("Take {} into the history of everybody?", counted(numbers.len())))?;
    let actor = workspace.actor().map(|actor| actor.to_string()).unwrap_or_default();
    let (mut taken, mut revision) = (0, 0);
    for numbers in numbers.chunks(MOST_AT_ONCE) {
        let (numbers, actor) = (numbers.to_vec(), actor.clone());
        let answer = workspace.read(v1::TakeQuarantinedRequest { numbers, actor, ..Default::default() }).await?;
        (taken, revision) = (taken + answer.taken, revision.max(answer.revision));
    }
    if context.style == Style::Json {
        return show(&json!({"taken": taken, "revision": revision}));
    }
    remark(&format!("Took in {}. Revision {revision}.", counted(usize::try_from(taken).unwrap_or(usize::MAX))));
    Ok(())
}

fn counted(bundles: usize) -> String {
    if bundles == 1 { "1 bundle".to_owned() } else { format!("{bundles} bundles") }
}

async fn waiting(context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let items = workspace.pages(v1::ListWaitingRequest::default()).all().await?;
    if context.style == Style::Json {
        return items.iter().try_for_each(|item| show(&waiting_json(item)));
    }
    if items.is_empty() {
        remark("Nothing waits.");
        return Ok(());
    }
    let mut table = Grid::new(&["BUNDLE", "SINCE", "FROM", "WHAT FOR"]);
    for item in items {
        table.row([item.bundle_digest[..12].to_owned(), time::shown(item.since_ms), item.origin, item.sentence]);
    }
    grid(context.style, &table)
}

fn waiting_json(item: &v1::WaitingBundle) -> Json {
    let missing = item
        .missing
        .iter()
        .map(|one| json!({"bundle_digest": one.bundle_digest, "quarantined": one.quarantined, "waits": one.waits}));
    json!({
        "bundle_digest": item.bundle_digest, "origin": item.origin, "since_ms": item.since_ms,
        "sentence": item.sentence, "missing": missing.collect::<Vec<_>>(),
    })
}

async fn skip(context: &Context, number: u64) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    ask::sure(context, &format!("Silence the alarm of number {number}? It is kept, but no more reported."))?;
    workspace.read(v1::SkipQuarantinedRequest { number, ..Default::default() }).await?;
    if context.style == Style::Json {
        return show(&json!({"number": number, "skipped": true}));
    }
    remark("It is kept, and no more reported.");
    Ok(())
}

async fn export(context: &Context, number: u64, output: PathBuf) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let answer = workspace.read(v1::ExportQuarantinedRequest { number, ..Default::default() }).await?;
    let failed = |error| CliError::file(&output, &error);
    let mut file = std::fs::File::create_new(&output).map_err(failed)?;
    std::io::Write::write_all(&mut file, &answer.content).and_then(|()| file.sync_all()).map_err(failed)?;
    let bytes = answer.content.len();
    if context.style == Style::Json {
        return show(&json!({"output": output.display().to_string(), "bytes": bytes}));
    }
    remark(&format!("Wrote {bytes} bytes to {}.", output.display()));
    Ok(())
}

fn json_of(item: &v1::Quarantined) -> Json {
    json!({
        "number": item.number, "bundle_digest": item.bundle_digest, "origin": item.origin, "sentence": item.sentence,
        "next": item.next, "since_ms": item.since_ms, "skipped": item.skipped, "size": item.size, "actor": item.actor,
        "label": item.label, "held": item.held,
    })
}
