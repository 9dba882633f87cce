//! `openprod config`: what the node would be configured with, and who says so.

use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::output::{Grid, Style, grid, json as show, line, remark};
use crate::config;

/// What `config` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum ConfigCommand {
    /// Says whether the configuration can be used
    Check,
    /// Shows every setting
    Show {
        /// Shows who gave each value, too
        #[arg(long)]
        origin: bool,
    },
    /// Prints an example file with every setting and its meaning
    Example,
}

/// Runs `config`.
#[expect(clippy::unused_async, reason = "every command is asynchronous, though this one asks nobody")]
pub async fn run(args: ConfigArgs, context: &Context) -> Result<(), CliError> {
    match args.command {
        ConfigCommand::Example => line(config::example().trim_end()),
        ConfigCommand::Check => check(context),
        ConfigCommand::Show { origin } => {
            let header: &[&str] = if origin { &["SETTING", "VALUE", "ORIGIN"] } else { &["SETTING", "VALUE"] };
            settings(context, header)
        }
    }
}

fn check(context: &Context) -> Result<(), CliError> {
    context.config()?;
    if context.style == Style::Json {
        return show(&json!({"usable": true}));
    }
    remark("The configuration can be used.");
    Ok(())
}

fn settings(context: &Context, header: &[&str]) -> Result<(), CliError> {
    let config = context.config()?;
    let mut shown = Grid::new(header);
    for entry in config.entries() {
        let cells = [entry.name.to_owned(), entry.value.clone(), entry.origin.to_string()];
        if context.style == Style::Json {
            let [setting, value, origin] = cells;
            show(&json!({"setting": setting, "value": value, "origin": origin}))?;
        } else {
            shown.row(cells.into_iter().take(header.len()));
        }
    }
    if context.style == Style::Json { Ok(()) } else { grid(context.style, &shown) }
}
