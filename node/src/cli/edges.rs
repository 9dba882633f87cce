//! Commands for edges: the relationships between records.

use clap::{Args, Subcommand};
use openprod_client::{Workspace, v1};
use openprod_domain::command::{Command, Place};
use openprod_model::ids::EdgeId;

use super::context::Context;
use super::error::CliError;
use super::known::{anywhere, name, untyped};
use super::output::{Grid, Style, grid, json};
use super::{ask, json as told, time, write};

/// Lists and changes the relationships between records
#[derive(Debug, Clone, Args)]
pub struct EdgesArgs {
    #[command(subcommand)]
    command: EdgesCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum EdgesCommand {
    /// Lists the edges at a record
    List {
        /// Record: its id, or table/name
        record: String,
        /// Which end of the edges the record is
        #[arg(long, value_enum, default_value = "both")]
        direction: Direction,
        /// Edges of this type only
        #[arg(long = "type", value_name = "TYPE")]
        of: Option<String>,
        /// At a point in the past: a revision, a bundle or a time
        #[arg(long, value_name = "REV|BUNDLE|TIME")]
        as_of: Option<String>,
    },
    /// Joins two records and prints the edge's id
    Add {
        /// The kind of relationship, such as assigned_to
        #[arg(value_name = "TYPE")]
        of: String,
        /// Record where it starts: its id, or table/name
        source: String,
        /// Record where it leads: its id, or table/name
        target: String,
        /// Properties, each as name=text or name:type=value
        #[arg(value_name = "NAME=VALUE")]
        properties: Vec<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Removes an edge
    Rm {
        /// The edge's id
        edge: String,
    },
    /// Sets and clears properties of an edge
    Set {
        /// The edge's id
        edge: String,
        /// Properties, each as name=text or name:type=value; name= clears one
        #[arg(value_name = "NAME=VALUE", required = true)]
        properties: Vec<String>,
    },
    /// Moves an ordered edge
    Move {
        /// The edge's id
        edge: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Direction {
    From,
    To,
    Both,
}

/// A place among the sources of an ordered edge's target.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
struct PlaceArgs {
    /// Before all others
    #[arg(long)]
    first: bool,
    /// Behind all others
    #[arg(long)]
    last: bool,
    /// Right before this edge
    #[arg(long, value_name = "EDGE")]
    before: Option<String>,
    /// Right behind this edge
    #[arg(long, value_name = "EDGE")]
    after: Option<String>,
}

impl PlaceArgs {
    fn place(&self) -> Result<Option<Place>, CliError> {
        Ok(match (self.first, self.last, &self.before, &self.after) {
            (true, ..) => Some(Place::First),
            (_, true, ..) => Some(Place::Last),
            (_, _, Some(edge), _) => Some(Place::Before(edge_id(edge)?)),
            (_, _, _, Some(edge)) => Some(Place::After(edge_id(edge)?)),
            _ => None,
        })
    }
}

fn edge_id(text: &str) -> Result<EdgeId, CliError> {
    text.parse().map_err(|invalid| {
        CliError::usage(format!("{invalid}.")).next("`openprod edges list RECORD` tells the ids of edges.")
    })
}

/// Runs `edges`.
pub async fn run(args: EdgesArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let (command, verb) = match args.command {
        EdgesCommand::List { record, direction, of, as_of } => {
            let question = v1::ListEdgesRequest {
                record: anywhere(&workspace, &record).await?.to_string(),
                direction: way(direction).into(),
                r#type: of.unwrap_or_default(),
                as_of: time::as_of(as_of.as_deref())?,
                ..Default::default()
            };
            return list(context, &workspace, question).await;
        }
        EdgesCommand::Add { of, source, target, properties, place } => {
            let properties = properties.iter().map(|word| untyped(word)).collect::<Result<Vec<_>, _>>()?;
            let command = Command::CreateEdge {
                edge: None,
                edge_type: name(&of)?,
                source: anywhere(&workspace, &source).await?,
                target: anywhere(&workspace, &target).await?,
                properties: properties.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
                place: place.place()?,
            };
            (command, "Added")
        }
        EdgesCommand::Rm { edge } => {
            let edge = edge_id(&edge)?;
            ask::sure(context, &format!("Remove the edge {edge}?"))?;
            (Command::DeleteEdge { edge }, "Removed")
        }
        EdgesCommand::Set { edge, properties } => {
            let values = properties.iter().map(|word| untyped(word)).collect::<Result<_, _>>()?;
            (Command::SetEdgeProperties { edge: edge_id(&edge)?, values }, "Set")
        }
        EdgesCommand::Move { edge, place } => {
            let lacking = || CliError::usage("Say where to: --first, --last, --before EDGE or --after EDGE.");
            (Command::MoveEdge { edge: edge_id(&edge)?, place: place.place()?.ok_or_else(lacking)? }, "Moved")
        }
    };
    write::send(context, &workspace, &[command], verb).await
}

fn way(direction: Direction) -> v1::EdgeDirection {
    match direction {
        Direction::From => v1::EdgeDirection::From,
        Direction::To => v1::EdgeDirection::To,
        Direction::Both => v1::EdgeDirection::Both,
    }
}

async fn list(context: &Context, workspace: &Workspace, question: v1::ListEdgesRequest) -> Result<(), CliError> {
    let edges = workspace.pages(question).all().await?;
    if context.style == Style::Json {
        return edges.iter().try_for_each(|edge| json(&told::edge(edge)));
    }
    let mut shown = Grid::new(&["ID", "TYPE", "SOURCE", "TARGET", "ORDERED", "PROPERTIES"]);
    for edge in edges {
        let v1::EdgeEnds { r#type, source, target } = edge.ends.unwrap_or_default();
        let properties = edge.properties.iter().map(|one| format!("{}={}", one.column, told::flagged(one)));
        let ordered = if edge.ordered { "yes" } else { "" }.to_owned();
        shown.row([edge.id, r#type, source, target, ordered, properties.collect::<Vec<_>>().join(", ")]);
    }
    grid(context.style, &shown)
}
