//! Commands for the settings of a workspace.

use clap::{Args, Subcommand};
use openprod_domain::command::Command;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::known::name;
use super::output::{self, Grid, Style, grid};
use super::{columns, json as told, write};
use crate::sheet::cell::parse_value;

/// Tells and changes the settings of a workspace
#[derive(Debug, Clone, Args)]
pub struct SettingsArgs {
    #[command(subcommand)]
    command: SettingsCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum SettingsCommand {
    /// Tells settings that differ from their defaults
    Get {
        /// This one only
        setting: Option<String>,
    },
    /// Changes a setting
    #[command(after_help = columns::TYPES)]
    Put {
        /// Its name
        setting: String,
        /// Its value; left out for the default
        #[arg(allow_negative_numbers = true)]
        value: Option<String>,
        /// The value's type
        #[arg(long = "type", value_name = "TYPE", default_value = "text")]
        of: String,
    },
}

/// Runs `settings`.
pub async fn run(args: SettingsArgs, context: &Context) -> Result<(), CliError> {
    match args.command {
        SettingsCommand::Get { setting } => get(context, setting.as_deref()).await,
        SettingsCommand::Put { setting, value, of } => {
            let workspace = context.workspace().await?;
            let read = |text: &str| parse_value(text, &columns::field_type(&of)?).map_err(CliError::usage);
            let value = value.as_deref().map_or(Ok(None), read)?;
            write::send(context, &workspace, &[Command::PutSetting { setting: name(&setting)?, value }], "Set").await
        }
    }
}

async fn get(context: &Context, wanted: Option<&str>) -> Result<(), CliError> {
    let mut settings = context.workspace().await?.describe().await?.settings;
    if let Some(wanted) = wanted {
        settings.retain(|setting| setting.name == wanted);
        if settings.is_empty() {
            return Err(CliError::failed(format!("The setting \"{wanted}\" has no value of its own here.")));
        }
    }
    let mut shown = Grid::new(&["SETTING", "VALUE", "CONFLICT"]);
    for setting in settings {
        let value = setting.value.as_ref();
        if context.style == Style::Json {
            let value = value.map(told::value);
            output::json(&json!({"name": setting.name, "value": value, "in_conflict": setting.in_conflict}))?;
            continue;
        }
        let conflict = if setting.in_conflict { "yes" } else { "" };
        shown.row([setting.name.clone(), value.map(told::text_of).unwrap_or_default(), conflict.to_owned()]);
    }
    if context.style == Style::Json { Ok(()) } else { grid(context.style, &shown) }
}
