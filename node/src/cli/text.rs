//! Commands for texts that several people may edit at once: `text`.
//!
//! Positions count UTF-16 units, as browsers do; for plain English letters they are letters.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::process::Command as Process;

use clap::{Args, Subcommand};
use openprod_client::{Change, Workspace, v1};
use openprod_domain::command::Command;
use openprod_domain::text::TextEdit;
use openprod_model::ids::EntityId;
use openprod_model::value::{Name, Text};
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::known::KnownTable;
use super::output::{self, Style, remark};
use super::{time, write};

/// Shows and edits texts that several people may write in at once (columns of type document)
#[derive(Debug, Clone, Args)]
pub struct TextArgs {
    #[command(subcommand)]
    command: TextCommand,
}

/// The field that is meant.
#[derive(Debug, Clone, Args)]
pub struct FieldArgs {
    /// Table
    pub table: String,
    /// Record: its id, the value of its first column, or the beginning of its id
    pub record: String,
    /// Column
    pub column: String,
}

/// What was shown when the edit was made.
#[derive(Debug, Clone, Args)]
pub struct BaseArgs {
    /// Positions are those at this revision; what others wrote since moves them along
    #[arg(long, value_name = "REVISION")]
    base: Option<u64>,
}

#[derive(Debug, Clone, Subcommand)]
enum TextCommand {
    /// Shows a text, whole
    Show {
        #[command(flatten)]
        field: FieldArgs,
        /// At a point in the past: a revision, a bundle or a time
        #[arg(long, value_name = "REV|BUNDLE|TIME")]
        as_of: Option<String>,
    },
    /// Puts something into a text
    Insert {
        #[command(flatten)]
        field: FieldArgs,
        /// Position before which it goes; "end" for the end
        at: String,
        /// What is put there
        #[arg(allow_hyphen_values = true)]
        text: String,
        #[command(flatten)]
        base: BaseArgs,
    },
    /// Removes a part of a text
    Delete {
        #[command(flatten)]
        field: FieldArgs,
        /// Position of the first unit
        at: u32,
        /// How many units
        length: u32,
        #[command(flatten)]
        base: BaseArgs,
    },
    /// Edits a text in the editor that the variables VISUAL or EDITOR name; what others write meanwhile stays
    Edit {
        #[command(flatten)]
        field: FieldArgs,
    },
    /// Makes a text say something else; what does not differ is left alone
    Set {
        #[command(flatten)]
        field: FieldArgs,
        /// What it shall say; left out, it is read from standard input
        #[arg(allow_hyphen_values = true)]
        text: Option<String>,
        #[command(flatten)]
        base: BaseArgs,
    },
}

/// A field, found.
pub struct Field {
    /// The workspace.
    pub workspace: Workspace,
    /// The record.
    pub record: EntityId,
    /// The table's key.
    pub table: Name,
    /// The column.
    pub column: super::known::KnownColumn,
}

impl FieldArgs {
    /// Finds the field.
    pub async fn find(&self, context: &Context) -> Result<Field, CliError> {
        let workspace = context.workspace().await?;
        let table = KnownTable::read(&workspace, &self.table).await?;
        let record = table.record(&workspace, &self.record).await?;
        let column = table.column(&self.column)?.clone();
        Ok(Field { workspace, record, table: table.key, column })
    }
}

impl Field {
    /// Reads it whole.
    pub async fn read(&self, as_of: Option<v1::AsOf>) -> Result<v1::GetDocumentResponse, CliError> {
        let (record, table) = (self.record.to_string(), self.table.to_string());
        let column = self.column.key.to_string();
        let question = v1::GetDocumentRequest { record, table, column, as_of, ..Default::default() };
        Ok(self.workspace.read(question).await?)
    }

    /// Makes a change and tells of it.
    pub async fn change(&self, context: &Context, command: &Command, base: Option<u64>) -> Result<(), CliError> {
        let change = Change::new([command]);
        let change = base.into_iter().fold(change, Change::base);
        write::tell(context, &self.workspace.execute(&change).await?, "Edited")
    }

    fn edit(&self, edit: TextEdit) -> Command {
        let (record, table, column) = (self.record, self.table.clone(), self.column.key.clone());
        Command::EditText { record, table, column, edits: vec![edit] }
    }

    fn set(&self, text: &str) -> Result<Command, CliError> {
        let text = Text::new(text).map_err(|invalid| CliError::failed(format!("This is no text: {invalid}.")))?;
        let (record, table, column) = (self.record, self.table.clone(), self.column.key.clone());
        Ok(Command::SetText { record, table, column, text })
    }
}

/// Runs `text`.
pub async fn run(args: TextArgs, context: &Context) -> Result<(), CliError> {
    match args.command {
        TextCommand::Show { field, as_of } => show(context, &field, as_of.as_deref()).await,
        TextCommand::Insert { field, at, text, base } => {
            let field = field.find(context).await?;
            let at = match at.as_str() {
                "end" => length(&field.read(None).await?.text),
                at => at.parse().map_err(|_| CliError::usage(format!("\"{at}\" is no position.")))?,
            };
            field.change(context, &field.edit(TextEdit::Insert { at, text }), base.base).await
        }
        TextCommand::Delete { field, at, length, base } => {
            let field = field.find(context).await?;
            field.change(context, &field.edit(TextEdit::Delete { at, length }), base.base).await
        }
        TextCommand::Edit { field } => edit(context, &field).await,
        TextCommand::Set { field, text, base } => {
            let field = field.find(context).await?;
            let text = text.map_or_else(piped, Ok)?;
            field.change(context, &field.set(&text)?, base.base).await
        }
    }
}

fn length(text: &str) -> u32 {
    u32::try_from(text.encode_utf16().count()).unwrap_or(u32::MAX)
}

async fn show(context: &Context, field: &FieldArgs, as_of: Option<&str>) -> Result<(), CliError> {
    let told = field.find(context).await?.read(time::as_of(as_of)?).await?;
    if context.style == Style::Json {
        return output::json(&json!({"text": told.text, "left_out": told.left_out, "revision": told.revision}));
    }
    output::line(&told.text)?;
    tell_left_out(told.left_out);
    Ok(())
}

/// Says so where edits do not count.
pub fn tell_left_out(count: u32) {
    if count > 0 {
        remark(&format!(
            "{count} edits do not count, because they make no sense here; `openprod explain` tells which."
        ));
    }
}

fn piped() -> Result<String, CliError> {
    if std::io::stdin().is_terminal() {
        return Err(CliError::usage("The text is missing.")
            .next("Write it behind the column, pipe it in, or use `openprod text edit`."));
    }
    let mut text = String::new();
    let unreadable = |error| CliError::failed(format!("Standard input could not be read: {error}."));
    std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

async fn edit(context: &Context, field: &FieldArgs) -> Result<(), CliError> {
    let field = field.find(context).await?;
    let shown = field.read(None).await?;
    let edited = in_editor(&shown.text)?;
    if edited == shown.text {
        remark("Nothing was changed.");
        return Ok(());
    }
    field.change(context, &field.set(&edited)?, Some(shown.revision)).await
}

/// What a person makes of a text in an editor. Most editors end a file with a line end: one that was not there before
/// is taken away again.
fn in_editor(text: &str) -> Result<String, CliError> {
    let named = |variable| std::env::var(variable).ok().filter(|editor| !editor.trim().is_empty());
    let Some(editor) = named("VISUAL").or_else(|| named("EDITOR")) else {
        return Err(CliError::usage("It is not known which editor to use.").next("Set the variable EDITOR."));
    };
    let failed =
        |error: std::io::Error| CliError::failed(format!("The text could not be handed to an editor: {error}."));
    let mut file = tempfile::Builder::new().prefix("openprod-").suffix(".txt").tempfile().map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(failed)?;
    let words: Vec<&str> = editor.split_whitespace().collect();
    let status = Process::new(words[0]).args(&words[1..]).arg(file.path()).status().map_err(failed)?;
    if !status.success() {
        return Err(
            CliError::failed(format!("The editor \"{editor}\" ended with an error.")).affected("Nothing was changed.")
        );
    }
    let edited = std::fs::read_to_string(file.path()).map_err(failed)?;
    let is_added = edited.ends_with('\n') && !text.ends_with('\n');
    Ok(if is_added { edited[..edited.len() - 1].to_owned() } else { edited })
}
