//! Commands that read records: `records` and `query`.

use openprod_client::{Workspace, v1};

use super::context::Context;
use super::error::CliError;
use super::known::KnownTable;
use super::output::{Grid, Style, grid, json, line, more, remark};
use super::{json as told, time};
use openprod_domain::describe::escaped;

/// As many rows as a person scrolls through.
const FOR_PEOPLE: usize = 200;

/// Lists the records of a table, in the order of their creation
#[derive(Debug, Clone, clap::Args)]
pub struct RecordsArgs {
    /// Table
    pub table: String,
    /// Columns to show, separated by commas
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// How many at most; on a terminal 200 unless said, else all
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<usize>,
    /// At a point in the past: a revision, a bundle or a time
    #[arg(long, value_name = "REV|BUNDLE|TIME")]
    pub as_of: Option<String>,
}

/// Finds records by a query
#[derive(Debug, Clone, clap::Args)]
pub struct QueryArgs {
    /// The query
    pub query: String,
    /// The table, if the query does not name it
    #[arg(long)]
    pub table: Option<String>,
    /// How many at most; on a terminal 200 unless said, else all
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<usize>,
    /// Tells how the query is carried out, too
    #[arg(long)]
    pub explain: bool,
    /// At a point in the past: a revision, a bundle or a time
    #[arg(long, value_name = "REV|BUNDLE|TIME")]
    pub as_of: Option<String>,
}

/// Runs `records`.
pub async fn records(args: RecordsArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let as_of = time::as_of(args.as_of.as_deref())?;
    let question = v1::GetTableRequest { table: args.table, as_of: as_of.clone(), ..Default::default() };
    let table = KnownTable::of(&workspace.read(question).await?.table.unwrap_or_default())?;
    let named = args.columns.iter().map(|column| Ok(table.column(column.trim())?.key.to_string()));
    let columns: Vec<String> = named.collect::<Result<_, CliError>>()?;
    let mut listing = Listing::new(context, args.limit);
    listing.head(&table, &columns);
    let mut pages = workspace.pages(v1::ListRecordsRequest {
        table: table.key.to_string(),
        columns,
        page_size: listing.page_size(),
        as_of,
        ..Default::default()
    });
    while let Some(page) = pages.next().await? {
        if listing.page(&page.records)? == Wants::NoMore {
            break;
        }
    }
    listing.end()
}

/// Runs `query`.
pub async fn query(args: QueryArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let as_of = time::as_of(args.as_of.as_deref())?;
    let mut listing = Listing::new(context, args.limit);
    let mut pages = workspace.pages(v1::QueryRequest {
        table: args.table.unwrap_or_default(),
        query: args.query,
        page_size: listing.page_size(),
        as_of: as_of.clone(),
        explain: args.explain,
        ..Default::default()
    });
    let mut is_first = true;
    while let Some(page) = pages.next().await? {
        if is_first {
            is_first = false;
            plan(context, &page.plan)?;
            listing.head_of(&workspace, &page, as_of.clone()).await?;
        }
        if listing.page(&page.records)? == Wants::NoMore {
            break;
        }
    }
    listing.end()
}

fn plan(context: &Context, plan: &str) -> Result<(), CliError> {
    match context.style {
        _ if plan.is_empty() => Ok(()),
        Style::Json => json(&serde_json::json!({"plan": plan})),
        Style::Plain => {
            plan.lines().for_each(remark);
            Ok(())
        }
        Style::Bare | Style::Colored => {
            plan.lines().try_for_each(|text| line(&escaped(text)))?;
            line("")
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    More,
    NoMore,
}

/// Records on their way out: a table needs them all to find its widths; lines go out page by page.
struct Listing {
    style: Style,
    limit: usize,
    columns: Vec<String>,
    grid: Grid,
    told: usize,
    cut: Wants,
    flagged: Option<()>,
}

impl Listing {
    fn new(context: &Context, limit: Option<usize>) -> Self {
        let style = context.style;
        let limit = limit.unwrap_or(if style.is_for_people() { FOR_PEOPLE } else { usize::MAX });
        let (columns, grid) = (Vec::new(), Grid::new(&[]));
        Self { style, limit, columns, grid, told: 0, cut: Wants::More, flagged: None }
    }

    /// Never more than are wanted; the node's default if more are than it gives at once.
    fn page_size(&self) -> u32 {
        u32::try_from(self.limit).unwrap_or_default()
    }

    fn head(&mut self, table: &KnownTable, keys: &[String]) {
        let shown = table.shown(keys);
        self.columns = shown.iter().map(|column| column.key.to_string()).collect();
        self.header(shown.iter().map(|column| column.name.clone()).collect());
    }

    /// The names of a query's columns, as far as the table that its records tell is known.
    async fn head_of(
        &mut self,
        workspace: &Workspace,
        page: &v1::QueryResponse,
        as_of: Option<v1::AsOf>,
    ) -> Result<(), CliError> {
        self.columns.clone_from(&page.columns);
        let Some(record) = page.records.first() else {
            self.header(page.columns.clone());
            return Ok(());
        };
        let question = v1::GetTableRequest { table: record.table.clone(), as_of, ..Default::default() };
        let table = KnownTable::of(&workspace.read(question).await?.table.unwrap_or_default())?;
        let name = |key: &String| table.column(key).map_or_else(|_| key.clone(), |column| column.name.clone());
        self.header(page.columns.iter().map(name).collect());
        Ok(())
    }

    fn header(&mut self, names: Vec<String>) {
        let last = (self.style == Style::Plain).then(|| "CONFLICTS".to_owned());
        self.grid.header = std::iter::once("ID".to_owned()).chain(names).chain(last).collect();
    }

    fn page(&mut self, records: &[v1::Record]) -> Result<Wants, CliError> {
        let wanted = &records[..records.len().min(self.limit - self.told)];
        if wanted.len() < records.len() {
            self.cut = Wants::NoMore;
        }
        let is_first = self.told == 0;
        self.told += wanted.len();
        if self.style == Style::Json {
            wanted.iter().try_for_each(|record| json(&told::record(record)))?;
        } else {
            let rows: Vec<Vec<String>> = wanted.iter().map(|record| self.row(record)).collect();
            self.grid.rows.extend(rows);
        }
        if self.style == Style::Plain {
            if is_first {
                grid(self.style, &self.grid)?;
            } else {
                more(&self.grid)?;
            }
            self.grid.rows.clear();
        }
        Ok(if self.told >= self.limit { Wants::NoMore } else { self.cut })
    }

    /// Tables flag a value on which people disagree in its place; lines name its column at their end, so that values
    /// stay values.
    fn row(&mut self, record: &v1::Record) -> Vec<String> {
        let conflicts = told::in_conflict(&record.fields);
        if !conflicts.is_empty() {
            self.flagged = Some(());
        }
        let is_plain = self.style == Style::Plain;
        let cell = |key: &String| match record.fields.iter().find(|field| field.column == *key) {
            Some(field) if is_plain => field.value.as_ref().map(told::text_of).unwrap_or_default(),
            Some(field) => told::flagged(field),
            None => String::new(),
        };
        let cells = std::iter::once(record.id.clone()).chain(self.columns.iter().map(cell));
        cells.chain(is_plain.then(|| conflicts.join(","))).collect()
    }

    fn end(self) -> Result<(), CliError> {
        if self.style.is_for_people() || (self.style == Style::Plain && self.told == 0) {
            grid(self.style, &self.grid)?;
        }
        if !self.style.is_for_people() {
            return Ok(());
        }
        if self.flagged.is_some() {
            remark("(!2): two values stand there, of people who had not seen each other's; `openprod explain` tells.");
        }
        match self.told {
            told if told >= self.limit => remark(&format!("{told} records; there may be more: --limit shows them.")),
            1 => remark("1 record."),
            told => remark(&format!("{told} records.")),
        }
        Ok(())
    }
}
