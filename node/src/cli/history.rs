//! Commands that read history: `history` and `explain`.

use clap::{Args, Subcommand};
use jiff::Zoned;
use openprod_client::{Workspace, v1};
use openprod_domain::describe::escaped;
use openprod_model::bundle::BundleKind;
use serde_json::{Value as Json, json};

use super::context::{self, Context};
use super::error::CliError;
use super::known::{KnownTable, anywhere};
use super::output::{self, Grid, Style, facts, grid, line, more, remark};
use super::{json as told, time};

/// As many bundles as a person scrolls through.
const FOR_PEOPLE: usize = 50;

/// Tells who did what, newest first
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HistoryArgs {
    #[command(subcommand)]
    command: Option<HistoryCommand>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Clone, Subcommand)]
enum HistoryCommand {
    /// Tells one bundle with its changes
    Show {
        /// The bundle's id or digest
        bundle: String,
    },
}

/// Each that is given must fit.
#[derive(Debug, Clone, Args)]
struct Filter {
    /// Signed by this member: a name, an id or the beginning of it
    #[arg(long = "by", visible_alias = "signed-by", value_name = "NAME|ID")]
    by: Option<String>,
    /// At or after this time by the authors' clocks: a day, a time, or how long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time by the authors' clocks
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Made by one of these: edit, import, schema, member ...
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Changes this table or its records
    #[arg(long)]
    table: Option<String>,
    /// Changes this record: its id, or table/name
    #[arg(long)]
    record: Option<String>,
    /// The label contains this text, regardless of case
    #[arg(long)]
    text: Option<String>,
    /// How many at most; on a terminal 50 unless said, else all
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

/// Tells how a field came to hold what it holds
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Table
    pub table: String,
    /// Record: its id, the value of its first column, or the beginning of its id
    pub record: String,
    /// Column
    pub field: String,
    /// At a point in the past: a revision, a bundle or a time
    #[arg(long, value_name = "REV|BUNDLE|TIME")]
    pub as_of: Option<String>,
}

/// Runs `history`.
pub async fn history(args: HistoryArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    match args.command {
        Some(HistoryCommand::Show { bundle }) => show(context, &workspace, bundle).await,
        None => list(context, &workspace, args.filter).await,
    }
}

async fn list(context: &Context, workspace: &Workspace, filter: Filter) -> Result<(), CliError> {
    let for_people = context.style.is_for_people();
    let limit = filter.limit.unwrap_or(if for_people { FOR_PEOPLE } else { usize::MAX });
    let mut question = question(workspace, filter).await?;
    question.page_size = u32::try_from(limit).unwrap_or_default();
    let mut pages = workspace.pages(question);
    let mut shown = Grid::new(&["REVISION", "TIME", "WHO", "KIND", "LABEL", "BUNDLE"]);
    if context.style == Style::Plain {
        grid(context.style, &shown)?;
    }
    let mut left = limit;
    while left > 0
        && let Some(page) = pages.next().await?
    {
        let bundles = &page.bundles[..page.bundles.len().min(left)];
        left -= bundles.len();
        shown.rows.extend(bundles.iter().map(row));
        match context.style {
            Style::Json => bundles.iter().try_for_each(|bundle| output::json(&told::bundle(bundle)))?,
            Style::Plain => more(&shown)?,
            Style::Bare | Style::Colored => continue,
        }
        shown.rows.clear();
    }
    if for_people {
        grid(context.style, &shown)?;
        if left == 0 {
            remark(&format!("{limit} bundles; there may be more: --limit shows them."));
        }
    }
    Ok(())
}

fn row(bundle: &v1::BundleInfo) -> Vec<String> {
    vec![
        bundle.revision.to_string(),
        time::of_bundle(bundle),
        told::who(bundle),
        told::kind_word(bundle).to_owned(),
        bundle.label.clone(),
        bundle.bundle_id.clone(),
    ]
}

async fn question(workspace: &Workspace, filter: Filter) -> Result<v1::ListBundlesRequest, CliError> {
    let now = Zoned::now();
    let at = |text: Option<String>| text.map(|text| time::parse(&text, &now)).transpose();
    let actor = match &filter.by {
        Some(wanted) => member(workspace, wanted).await?,
        None => String::new(),
    };
    let record = match (&filter.record, &filter.table) {
        (Some(wanted), Some(table)) => {
            KnownTable::read(workspace, table).await?.record(workspace, wanted).await?.to_string()
        }
        (Some(wanted), None) => anywhere(workspace, wanted).await?.to_string(),
        (None, _) => String::new(),
    };
    Ok(v1::ListBundlesRequest {
        actor,
        since_ms: at(filter.since)?,
        until_ms: at(filter.until)?,
        kinds: filter.kind.iter().map(|word| kind(word)).collect::<Result<_, _>>()?,
        table: filter.table.unwrap_or_default(),
        record,
        text: filter.text.unwrap_or_default(),
        ..Default::default()
    })
}

async fn member(workspace: &Workspace, wanted: &str) -> Result<String, CliError> {
    let members = workspace.describe().await?.members;
    let known: Vec<_> = members.iter().map(|one| (one.actor.as_str(), one.name.as_str())).collect();
    Ok(context::actor(wanted, &known, "member")?.to_string())
}

fn kind(word: &str) -> Result<i32, CliError> {
    let unknown = || {
        CliError::usage(format!("There is no kind of bundle \"{word}\"."))
            .next("Some are: edit, import, schema, member, undo, redo, overlay, rule, script.")
    };
    let kind = BundleKind::from_word(word.trim()).ok_or_else(unknown)?;
    Ok(openprod_api::convert::history::bundle_kind(kind))
}

async fn show(context: &Context, workspace: &Workspace, bundle: String) -> Result<(), CliError> {
    let mut pages = workspace.pages(v1::GetBundleRequest { bundle, ..Default::default() });
    let Some(mut whole) = pages.next().await? else { return Ok(()) };
    while let Some(page) = pages.next().await? {
        whole.ops.extend(page.ops);
    }
    let info = whole.bundle.clone().unwrap_or_default();
    if context.style == Style::Json {
        let mut object = told::bundle(&info);
        object["parents"] = json!(whole.parents);
        object["ops"] = whole.ops.iter().map(op_json).collect();
        return output::json(&object);
    }
    facts(
        context.style,
        &[
            ("bundle", info.bundle_id.clone()),
            ("digest", info.bundle_digest.clone()),
            ("revision", info.revision.to_string()),
            ("label", info.label.clone()),
            ("who", told::who(&info)),
            ("time", time::of_bundle(&info)),
            ("kind", told::kind_word(&info).to_owned()),
            ("source", info.source.clone().map(|source| source.name).unwrap_or_default()),
        ],
    )?;
    if info.shown_in_part {
        remark("This bundle holds operations of a newer version, which are kept but not shown.");
    }
    let mut shown = Grid::new(&["OPERATION", "BEFORE", "AFTER"]);
    for op in &whole.ops {
        let before = op.changes.iter().flat_map(|change| &change.before).map(|content| told::content(Some(content)));
        let after = op.changes.iter().map(|change| told::content(change.after.as_ref()));
        shown.row([op.words.clone(), before.collect::<Vec<_>>().join(" | "), after.collect::<Vec<_>>().join(" | ")]);
    }
    line("")?;
    grid(context.style, &shown)
}

fn op_json(op: &v1::OpInfo) -> Json {
    let change = |change: &v1::CellChange| {
        let before: Vec<String> = change.before.iter().map(|content| told::content(Some(content))).collect();
        json!({"before": before, "after": told::content(change.after.as_ref())})
    };
    json!({"op": op.op, "kind": op.kind, "words": op.words, "changes": op.changes.iter().map(change).collect::<Vec<_>>()})
}

/// Runs `explain`.
pub async fn explain(args: ExplainArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let table = KnownTable::read(&workspace, &args.table).await?;
    let record = table.record(&workspace, &args.record).await?.to_string();
    let column = table.column(&args.field)?.key.to_string();
    let field = v1::cell::Field { table: table.key.to_string(), record, column };
    let mut pages = workspace.pages(v1::ExplainCellRequest {
        cell: Some(v1::Cell { kind: Some(v1::cell::Kind::Field(field)) }),
        as_of: time::as_of(args.as_of.as_deref())?,
        ..Default::default()
    });
    let Some(first) = pages.next().await? else { return Ok(()) };
    let (sentence, in_conflict, file) = (first.sentence, first.in_conflict, first.file);
    let mut writes: Vec<v1::CellWrite> = first.tips.into_iter().filter(|write| write.staged).collect();
    writes.extend(first.history);
    while let Some(page) = pages.next().await? {
        writes.extend(page.history);
    }
    if context.style == Style::Json {
        let writes: Vec<Json> = writes.iter().map(write_json).collect();
        let file = file.as_ref().map(super::blobs::as_json);
        return output::json(
            &json!({"sentence": sentence, "in_conflict": in_conflict, "file": file, "history": writes}),
        );
    }
    if context.style.is_for_people() {
        line(&escaped(&sentence))?;
        line("")?;
    }
    let mut shown = Grid::new(&["STANDS", "VALUE", "WHO", "TIME", "IN", "REVISION"]);
    for write in &writes {
        shown.row(write_row(write));
    }
    grid(context.style, &shown)
}

fn write_row(write: &v1::CellWrite) -> Vec<String> {
    let stands = match (write.shown, write.standing) {
        (true, _) => "shown",
        (false, true) => "stands",
        (false, false) => "",
    };
    let value = told::content(write.content.as_ref());
    let Some(bundle) = write.bundle.clone() else {
        return [stands, &value, "", "", "(staged)", ""].map(str::to_owned).to_vec();
    };
    let decision = match (write.decision, write.left_out.as_str()) {
        (true, _) => " (decided a conflict)".to_owned(),
        (false, "") => String::new(),
        (false, why) => format!(" (does not count: {})", escaped(why)),
    };
    let label = format!("{}{decision}", bundle.label);
    vec![stands.to_owned(), value, told::who(&bundle), time::of_bundle(&bundle), label, bundle.revision.to_string()]
}

fn write_json(write: &v1::CellWrite) -> Json {
    json!({
        "op": write.op, "content": told::content(write.content.as_ref()), "standing": write.standing,
        "shown": write.shown, "decision": write.decision, "replaced": write.replaced, "restores": write.restores,
        "staged": write.staged, "left_out": write.left_out, "bundle": write.bundle.as_ref().map(told::bundle),
    })
}
