//! Commands that write files about the command line itself: completions and man pages.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use super::Cli;
use super::error::CliError;

/// Prints completions for a shell
#[derive(Debug, Clone, clap::Args)]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Writes the man pages
#[derive(Debug, Clone, clap::Args)]
pub struct ManArgs {
    /// Folder to write them to; made if it is not there
    pub folder: PathBuf,
}

/// Runs `completions`.
pub fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "openprod", &mut text);
    Ok(std::io::stdout().lock().write_all(&text)?)
}

/// Runs `man`.
pub fn man(args: &ManArgs) -> Result<(), CliError> {
    let failed = |error| CliError::file(&args.folder, &error);
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    write_man(&args.folder).map_err(failed)
}

fn write_man(folder: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(Cli::command(), folder)
}
