//! The command line `openprod`: what can be typed, and which module does it.
//!
//! It decides nothing: commands become requests to a running node, answers become tables, lines or JSON. Results go to
//! standard output, remarks and errors to standard error. Only `up`, `doctor`, `config`, `completions` and `man` work
//! without a node.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | done |
//! | 1 | the node refused, or something failed |
//! | 2 | wrong usage, or an answer was needed and nobody was there to give it |
//! | 3 | no node answers |
//! | 4 | done in part, such as an import with bad rows |
//!
//! Reading order: this file, [`context`] (flags, and the way to the node), [`known`] (what typed words mean), [`mod@write`]
//! (how changes are sent), [`output`], [`error`]; then one file per group of commands.

pub mod access;
pub mod ask;
pub mod backup;
pub mod blobs;
pub mod columns;
pub mod config_cmd;
pub mod conflicts;
pub mod context;
pub mod doctor;
pub mod edges;
pub mod error;
pub mod export;
pub mod generate;
pub mod history;
pub mod identities;
pub mod import;
pub mod invites;
pub mod json;
pub mod known;
pub mod members;
pub mod output;
pub mod overlays;
pub mod peers;
pub mod quarantine;
pub mod records;
pub mod resolve;
pub mod same;
pub mod sequence;
pub mod settings;
pub mod sync;
pub mod tables;
pub mod text;
pub mod time;
pub mod undo;
pub mod up;
pub mod verify;
pub mod watch;
pub mod who;
pub mod workspaces;
pub mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::child;
use context::{Context, Globals};
use error::CliError;

/// A local-first workspace for production teams: the node and its command line
#[derive(Debug, Clone, Parser)]
#[command(name = "openprod", version, after_help = error::EXIT_CODES, infer_subcommands = false)]
#[command(max_term_width = 120, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Commands,
}

#[derive(Debug, Clone, Subcommand)]
enum Commands {
    /// Starts a node and runs it until it is stopped
    Up(up::UpArgs),
    /// Tells how the node and its workspaces are
    Status,
    /// Lists the workspaces of the node
    Workspaces,
    Init(workspaces::InitArgs),
    Tables(tables::TablesArgs),
    Records(records::RecordsArgs),
    Query(records::QueryArgs),
    New(write::NewArgs),
    Set(write::SetArgs),
    Rm(write::RmArgs),
    Text(text::TextArgs),
    Sequence(sequence::SequenceArgs),
    Undo(undo::UndoArgs),
    Redo(undo::RedoArgs),
    Conflicts(conflicts::ConflictsArgs),
    Resolve(resolve::ResolveArgs),
    Edges(edges::EdgesArgs),
    Merge(same::MergeArgs),
    Split(same::SplitArgs),
    SplitOff(same::SplitOffArgs),
    Merges(same::MergesArgs),
    Mappings(same::MappingsArgs),
    Settings(settings::SettingsArgs),
    Overlay(overlays::OverlayArgs),
    History(history::HistoryArgs),
    Explain(history::ExplainArgs),
    Watch(watch::WatchArgs),
    /// Imports a spreadsheet into a table
    Import(import::ImportArgs),
    /// Exports a table as a spreadsheet, or a workspace as one file
    Export(export::ExportArgs),
    Blob(blobs::BlobArgs),
    Members(members::MembersArgs),
    Identities(identities::IdentitiesArgs),
    Invite(invites::InviteArgs),
    Join(invites::JoinArgs),
    Invites(invites::InvitesArgs),
    Requests(invites::RequestsArgs),
    Recover(invites::RecoverArgs),
    Token(access::TokenArgs),
    /// Lists the clients on other machines that have a token of this node
    Tokens,
    /// Shows the certificate by which clients on other machines know this node
    Certificate(access::CertificateArgs),
    Connect(access::ConnectArgs),
    Recovery(invites::RecoveryArgs),
    Peers(peers::PeersArgs),
    /// Lists the workspaces near by that can be joined without a ticket
    Nearby,
    /// Lists who is in the workspace now, and where
    Who,
    Peer(peers::PeerArgs),
    Sync(sync::SyncArgs),
    /// Checks everything that a workspace has stored
    Verify(verify::VerifyArgs),
    /// Lists and treats bundles that were not taken into history
    Quarantine(quarantine::QuarantineArgs),
    /// Writes a copy of a workspace while the node runs
    Backup(backup::BackupArgs),
    /// Puts a copy of a workspace in place
    Restore(backup::RestoreArgs),
    /// Checks this computer, the node and its folder
    Doctor(doctor::DoctorArgs),
    /// Tells and checks the configuration
    Config(config_cmd::ConfigArgs),
    /// Works for a node, with limits, on what may be hostile; the node starts it by itself
    #[command(hide = true)]
    Child(child::ChildArgs),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
}

/// The program: reads the command line, runs the command, gives the exit code.
pub fn main() -> ExitCode {
    let Cli { globals, command } = Cli::parse();
    if let Commands::Child(args) = command {
        return child::main(&args);
    }
    let context = Context::new(globals);
    let done = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(Box::pin(run(command, &context))),
        Err(error) => Err(CliError::failed(format!("The system gives no threads: {error}."))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(context.style),
    }
}

async fn run(command: Commands, context: &Context) -> Result<(), CliError> {
    match command {
        Commands::Up(args) => up::run(args, context).await,
        Commands::Status => workspaces::status(context).await,
        Commands::Workspaces => workspaces::list(context).await,
        Commands::Init(args) => workspaces::init(args, context).await,
        Commands::Tables(args) => tables::run(args, context).await,
        Commands::Records(args) => records::records(args, context).await,
        Commands::Query(args) => records::query(args, context).await,
        Commands::New(args) => write::new(args, context).await,
        Commands::Set(args) => write::set(args, context).await,
        Commands::Rm(args) => write::rm(args, context).await,
        Commands::Text(args) => text::run(args, context).await,
        Commands::Sequence(args) => sequence::run(args, context).await,
        Commands::Undo(args) => undo::undo(args, context).await,
        Commands::Redo(args) => undo::redo(args, context).await,
        Commands::Conflicts(args) => conflicts::run(args, context).await,
        Commands::Resolve(args) => resolve::run(args, context).await,
        Commands::Edges(args) => edges::run(args, context).await,
        Commands::Merge(args) => same::merge(args, context).await,
        Commands::Split(args) => same::split(args, context).await,
        Commands::SplitOff(args) => same::split_off(args, context).await,
        Commands::Merges(args) => same::merges(&args, context).await,
        Commands::Mappings(args) => same::mappings(args, context).await,
        Commands::Settings(args) => settings::run(args, context).await,
        Commands::Overlay(args) => overlays::run(args, context).await,
        Commands::History(args) => history::history(args, context).await,
        Commands::Explain(args) => history::explain(args, context).await,
        Commands::Watch(args) => watch::run(args, context).await,
        Commands::Import(args) => import::run(args, context).await,
        Commands::Export(args) => export::run(args, context).await,
        Commands::Blob(args) => blobs::run(args, context).await,
        Commands::Members(args) => members::run(args, context).await,
        Commands::Identities(args) => identities::run(args, context).await,
        Commands::Invite(args) => invites::invite(args, context).await,
        Commands::Join(args) => invites::join(args, context).await,
        Commands::Invites(args) => invites::invites(args, context).await,
        Commands::Requests(args) => invites::requests(args, context).await,
        Commands::Recover(args) => invites::recover(&args, context).await,
        Commands::Token(args) => access::token(args, context).await,
        Commands::Tokens => access::tokens(context).await,
        Commands::Certificate(args) => access::certificate(args, context).await,
        Commands::Connect(args) => access::connect(args, context).await,
        Commands::Recovery(args) => invites::recovery(&args, context).await,
        Commands::Peers(args) => peers::peers(&args, context).await,
        Commands::Nearby => peers::nearby(context).await,
        Commands::Who => who::run(context).await,
        Commands::Peer(args) => peers::peer(args, context).await,
        Commands::Sync(args) => sync::run(&args, context).await,
        Commands::Verify(args) => verify::run(args, context).await,
        Commands::Quarantine(args) => quarantine::run(args, context).await,
        Commands::Backup(args) => backup::run(args, context).await,
        Commands::Restore(args) => backup::restore(args, context).await,
        Commands::Doctor(args) => doctor::run(args, context).await,
        Commands::Config(args) => config_cmd::run(args, context).await,
        // It is done before there are threads.
        Commands::Child(_) => Ok(()),
        Commands::Completions(args) => generate::completions(&args),
        Commands::Man(args) => generate::man(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_whole() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_folder_may_be_named_before_or_behind_up() {
        for words in [["openprod", "--data-dir", "/x", "up"], ["openprod", "up", "--data-dir", "/x"]] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!(cli.globals.data_dir.as_deref(), Some("/x"), "{words:?}");
            let Commands::Up(up) = cli.command else { panic!("{words:?}") };
            assert_eq!(up.settings.0.len(), 1, "{words:?}");
        }
    }
}
