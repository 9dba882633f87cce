//! The command `up`: runs a node until it is stopped.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use openprod_client::{Client, Endpoint};

use super::context::{Context, by_port};
use super::error::CliError;
use super::output;
use crate::certificate::Certificate;
use crate::config::{self, Flags};
use crate::node::{Node, Slot};
use crate::{demo, logging, run as life, telemetry};

/// What `up` takes.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Opens a filled workspace to look around in
    #[arg(long)]
    pub demo: bool,
    /// The node's settings.
    #[command(flatten)]
    pub settings: Flags,
}

/// Runs `up`.
pub async fn run(args: UpArgs, context: &Context) -> Result<(), CliError> {
    let config = config::load(context.globals.config.as_deref(), args.settings.0)
        .map_err(|error| CliError::usage(format!("{error}.")))?;
    logging::start(&config.log, config.log_format).map_err(|error| CliError::failed(format!("{error}.")))?;
    let with_demo = args.demo;
    let begun = move |node: Arc<Node>, port| async move {
        if let Err(error) = greet(&node, port, with_demo).await
            && !error.is_nothing()
        {
            tracing::error!(%error, "the node runs, but its greeting failed");
        }
    };
    life::run(config, telemetry::start(), begun).await.map_err(|error| CliError::failed(format!("{error}.")))
}

/// Says where the node is reached and what it holds. `port` is the address that it has: the system chooses one for 0.
async fn greet(node: &Node, port: Option<SocketAddr>, with_demo: bool) -> Result<(), CliError> {
    let shown = if with_demo { Some(demo::open(&own_client(node, port).await?).await?) } else { None };
    for line in doors(node.config.socket.as_deref(), port, node.certificate.as_ref()) {
        output::line(&line)?;
    }
    let open = node.workspaces().iter().filter(|(_, slot)| matches!(slot, Slot::Open(_))).count();
    match shown {
        Some(name) => output::line(&format!("The workspace \"{name}\" is open. Try, in another terminal:\n{TRY}"))?,
        None if open == 0 => output::line("There is no workspace yet. Make one with: openprod init NAME")?,
        None => output::line(&format!("{open} {} open.", if open == 1 { "workspace is" } else { "workspaces are" }))?,
    }
    output::line("Stop with Ctrl-C; nothing is lost.")
}

const TRY: &str = "\n  openprod tables\n  openprod records cues\n  \
                   openprod query 'table == \"cues\" AND is_called == true AND department == \"Sound\"'\n  \
                   openprod set cues \"LX 12\" label=Darkness\n  openprod history\n";

fn door(at: SocketAddr, certificate: Option<&Certificate>) -> String {
    match certificate {
        None => format!("OpenProd listens on http://{at} (gRPC; with a token)"),
        Some(certificate) => format!(
            "OpenProd listens on https://{at} (gRPC; with a token: `openprod token create --name CLIENT --qr`)\n\
             Its certificate is {}",
            certificate.fingerprint()
        ),
    }
}

fn doors(socket: Option<&Path>, port: Option<SocketAddr>, certificate: Option<&Certificate>) -> Vec<String> {
    let socket = socket.iter().map(|path| format!("OpenProd listens on {}", path.display()));
    socket.chain(port.map(|at| door(at, certificate))).collect()
}

/// A client of this very node, by whichever door it has.
async fn own_client(node: &Node, port: Option<SocketAddr>) -> Result<Client, CliError> {
    let by_port = |at| {
        let token = node.identities.default_actor().map(|actor| node.identities.token_path(actor));
        by_port(at, node.certificate.as_ref(), token.as_deref())
    };
    let endpoint = match (&node.config.socket, port) {
        (Some(path), _) => Endpoint::Socket(path.clone()),
        (None, Some(at)) => by_port(at)?,
        (None, None) => return Err(CliError::usage("The configuration says that the node listens nowhere.")),
    };
    Ok(Client::connect(endpoint).await?)
}
