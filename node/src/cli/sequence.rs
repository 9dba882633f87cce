//! Commands for lists that several people may edit at once: `sequence`. Positions count items, the first is 0.

use clap::{Args, Subcommand};
use openprod_client::v1;
use openprod_domain::command::Command;
use openprod_domain::text::ListEdit;
use openprod_model::value::{FieldType, Primitive, PrimitiveType, Value};
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::output::{self, Style};
use super::text::{Field, FieldArgs, tell_left_out};
use super::{json as told, time};
use crate::sheet::cell::parse_value;

/// Shows and edits lists that several people may change at once (columns of type sequence)
#[derive(Debug, Clone, Args)]
pub struct SequenceArgs {
    #[command(subcommand)]
    command: SequenceCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum SequenceCommand {
    /// Shows the items, one on each line
    Show {
        #[command(flatten)]
        field: FieldArgs,
        /// At a point in the past: a revision, a bundle or a time
        #[arg(long, value_name = "REV|BUNDLE|TIME")]
        as_of: Option<String>,
    },
    /// Puts items into a list
    Insert {
        #[command(flatten)]
        field: FieldArgs,
        /// Position before which they go, the first is 0; "end" for the end
        at: String,
        /// The items
        #[arg(required = true, allow_negative_numbers = true)]
        items: Vec<String>,
    },
    /// Removes items
    Remove {
        #[command(flatten)]
        field: FieldArgs,
        /// Position of the first, counted from 0
        at: u32,
        /// How many
        #[arg(default_value_t = 1)]
        count: u32,
    },
    /// Puts other items in place of all that are shown; what others add meanwhile stays
    Replace {
        #[command(flatten)]
        field: FieldArgs,
        /// The items; none for an empty list
        #[arg(allow_negative_numbers = true)]
        items: Vec<String>,
    },
}

/// Runs `sequence`.
pub async fn run(args: SequenceArgs, context: &Context) -> Result<(), CliError> {
    match args.command {
        SequenceCommand::Show { field, as_of } => show(context, &field, as_of.as_deref()).await,
        SequenceCommand::Insert { field, at, items } => {
            let field = field.find(context).await?;
            let items = items_of(&field, &items)?;
            let at = match at.as_str() {
                "end" => u32::try_from(field.read(None).await?.items.len()).unwrap_or(u32::MAX),
                at => at.parse().map_err(|_| CliError::usage(format!("\"{at}\" is no position.")))?,
            };
            edit(context, &field, ListEdit::Insert { at, items }).await
        }
        SequenceCommand::Remove { field, at, count } => {
            let field = field.find(context).await?;
            edit(context, &field, ListEdit::Delete { at, length: count }).await
        }
        SequenceCommand::Replace { field, items } => {
            let field = field.find(context).await?;
            let items = items_of(&field, &items)?;
            edit(context, &field, ListEdit::ReplaceAll { items }).await
        }
    }
}

async fn edit(context: &Context, field: &Field, edit: ListEdit) -> Result<(), CliError> {
    let (record, table, column) = (field.record, field.table.clone(), field.column.key.clone());
    field.change(context, &Command::EditSequence { record, table, column, edits: vec![edit] }, None).await
}

async fn show(context: &Context, field: &FieldArgs, as_of: Option<&str>) -> Result<(), CliError> {
    let shown = field.find(context).await?.read(time::as_of(as_of)?).await?;
    let items = shown.items.into_iter().map(single);
    if context.style == Style::Json {
        let items: Vec<_> = items.map(|item| told::value(&item)).map(|item| item[0].clone()).collect();
        return output::json(&json!({"items": items, "left_out": shown.left_out, "revision": shown.revision}));
    }
    for item in items {
        output::line(&plain(&item))?;
    }
    tell_left_out(shown.left_out);
    Ok(())
}

/// An item as a list of its own: so it is told as items of lists are.
fn single(item: v1::Primitive) -> v1::Value {
    v1::Value { kind: Some(v1::value::Kind::List(v1::List { items: vec![item] })) }
}

fn plain(item: &v1::Value) -> String {
    match told::value(item).get(0) {
        Some(serde_json::Value::String(text)) => openprod_domain::describe::escaped(text),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn items_of(field: &Field, words: &[String]) -> Result<Vec<Primitive>, CliError> {
    let FieldType::Sequence { item } = field.column.field_type else {
        let holds = field.column.field_type.word();
        let error = CliError::failed(format!("{} holds {holds}, no sequence.", field.column.name));
        return Err(error.next("For a column of type document use `openprod text`, for others `openprod set`."));
    };
    words.iter().map(|word| item_of(word, item)).collect()
}

/// Reads an item as a value of its type is read.
fn item_of(word: &str, item: PrimitiveType) -> Result<Primitive, CliError> {
    match parse_value(word, &item.into()).map_err(CliError::failed)? {
        Some(Value::Text(text)) => Ok(Primitive::Text(text)),
        Some(Value::Integer(number)) => Ok(Primitive::Integer(number)),
        Some(Value::Float(number)) => Ok(Primitive::Float(number)),
        Some(Value::Boolean(truth)) => Ok(Primitive::Boolean(truth)),
        Some(Value::Date(date)) => Ok(Primitive::Date(date)),
        Some(Value::DateTime(at)) => Ok(Primitive::DateTime(at)),
        Some(Value::Duration(length)) => Ok(Primitive::Duration(length)),
        _ => Err(CliError::usage("An item may not be empty.")),
    }
}
