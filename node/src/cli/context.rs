//! What every command has at hand: the global flags, and the way to the node, the workspace and the people.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use openprod_client::{Client, ClientTicket, Endpoint, Error, Token, Workspace, v1};
use openprod_domain::describe::suggestion;
use openprod_model::ids::{ActorId, WorkspaceId};

use super::access;
use super::error::CliError;
use super::output::Style;
use crate::certificate::Certificate;
use crate::config::{self, Config, Flag};

/// Fewer letters of an id than these are no prefix, only a slip.
pub const SHORTEST_PREFIX: usize = 4;

/// Flags that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global")]
pub struct Globals {
    /// Configuration file, in place of the usual ones
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the node's keys and workspaces
    // Text, and no path: under the same ids the settings of `up` are text.
    #[arg(long, global = true, value_name = "FOLDER", id = "data_dir", value_parser = clap::value_parser!(String))]
    pub data_dir: Option<String>,
    /// Unix socket of the node
    #[arg(long, global = true, value_name = "PATH", id = "socket", value_parser = clap::value_parser!(String))]
    pub socket: Option<String>,
    /// A node on another machine, by the name that `openprod connect` gave it, or by its ticket
    #[arg(long, global = true, value_name = "NAME|TICKET", env = "OPENPROD_NODE", hide_env_values = true)]
    #[arg(conflicts_with_all = ["socket", "connect"])]
    pub node: Option<String>,
    /// Address of a node on this machine, such as http://127.0.0.1:7117, in place of a socket
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket")]
    pub connect: Option<String>,
    /// File with the token for --connect; for this computer's own node it is found by itself
    #[arg(long, global = true, value_name = "FILE", env = "OPENPROD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Workspace, by its name, its id or the beginning of it; needed only if there are several
    #[arg(long, short, global = true, value_name = "NAME|ID", env = "OPENPROD_WORKSPACE")]
    pub workspace: Option<String>,
    /// Identity of the node that acts, by its name, its id or the beginning of it
    #[arg(long, global = true, value_name = "NAME|ID", env = "OPENPROD_ACTOR")]
    pub actor: Option<String>,
    /// Overlay to read through and to stage in, by its name, its id or the beginning of it
    #[arg(long, global = true, value_name = "NAME|ID", env = "OPENPROD_OVERLAY", hide_env_values = true)]
    pub overlay: Option<String>,
    /// Shows results as JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// Answers every question with yes
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// Shows no colors; so does a variable NO_COLOR
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// What every command has at hand.
#[derive(Debug, Clone)]
pub struct Context {
    /// The flags as given.
    pub globals: Globals,
    /// How results are shown.
    pub style: Style,
}

impl Context {
    /// For these flags.
    pub fn new(globals: Globals) -> Self {
        let style = Style::choose(globals.json.then_some(()), globals.no_color.then_some(()));
        Self { globals, style }
    }

    /// The configuration that a node with the same flags would have.
    pub fn config(&self) -> Result<Config, CliError> {
        let flag =
            |name: &str, value: &Option<String>| value.clone().map(|value| Flag { name: name.to_owned(), value });
        let flags = [flag("data-dir", &self.globals.data_dir), flag("socket", &self.globals.socket)];
        let flags = flags.into_iter().flatten().collect();
        config::load(self.globals.config.as_deref(), flags).map_err(|error| CliError::usage(format!("{error}.")))
    }

    /// Connects to the node.
    pub async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::connect(self.endpoint()?).await?)
    }

    fn endpoint(&self) -> Result<Endpoint, CliError> {
        if let Some(node) = self.globals.node.as_deref().filter(|node| !node.is_empty()) {
            return Ok(Endpoint::Ticket(access::ticket_of(node)?));
        }
        if let Some(url) = &self.globals.connect {
            return Ok(Endpoint::Http(url.clone(), self.token(url)?));
        }
        let config = self.config()?;
        match (config.socket.clone(), config.listen) {
            (Some(path), _) => Ok(Endpoint::Socket(path)),
            (None, Some(address)) if config.speaks_tls() => {
                let folder = &config.data_dir;
                let certificate = Certificate::read(&folder.join("tls.pem")).map_err(|error| {
                    CliError::failed(format!("{error}.")).next("Start the node once, with `openprod up`.")
                })?;
                let token = self.globals.token_file.clone().or_else(|| own_token(folder));
                by_port(address, Some(&certificate), token.as_deref())
            }
            (None, Some(address)) => {
                let url = format!("http://{address}");
                let token = self.token(&url)?;
                Ok(Endpoint::Http(url, token))
            }
            (None, None) => Err(CliError::usage("The configuration says that the node listens nowhere.")),
        }
    }

    /// The token file that was named; else, for this computer only, that of the node's default identity.
    fn token(&self, url: &str) -> Result<Option<Token>, CliError> {
        if let Some(path) = &self.globals.token_file {
            return Ok(Some(Token::read(path)?));
        }
        let host = url.trim_start_matches("http://");
        let is_here = ["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])));
        let folder = if is_here { self.config().ok().map(|config| config.data_dir) } else { None };
        Ok(folder.and_then(|folder| Token::read(&own_token(&folder)?).ok()))
    }

    /// The workspace that was named; the only one if none was. The identity that was named acts there, in the overlay
    /// that was named.
    pub async fn workspace(&self) -> Result<Workspace, CliError> {
        let workspace = self.canonical().await?;
        match self.globals.overlay.as_deref().filter(|wanted| !wanted.is_empty()) {
            Some(wanted) => {
                let id = parsed(&overlay(&workspace, wanted).await?.overlay)?;
                Ok(workspace.through(id))
            }
            None => Ok(workspace),
        }
    }

    /// The same without the overlay that was named.
    pub async fn canonical(&self) -> Result<Workspace, CliError> {
        let client = self.client().await?;
        let known = client.list_workspaces().await?;
        let workspace = client.workspace(chosen(self.globals.workspace.as_deref(), &known)?);
        match self.acting(&client).await? {
            Some(actor) => Ok(workspace.acting_as(actor)),
            None => Ok(workspace),
        }
    }

    /// The identity that was named with `--actor`.
    pub async fn acting(&self, client: &Client) -> Result<Option<ActorId>, CliError> {
        let Some(wanted) = &self.globals.actor else { return Ok(None) };
        let known = client.identities().await?;
        let known: Vec<_> = known.iter().map(|one| (one.actor.as_str(), one.display_name.as_str())).collect();
        actor(wanted, &known, "identity").map(Some)
    }
}

/// The way to a node on this machine by its TCP port: by TLS if it has a certificate.
pub fn by_port(
    address: SocketAddr,
    certificate: Option<&Certificate>,
    token: Option<&Path>,
) -> Result<Endpoint, CliError> {
    let here = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    };
    let Some(certificate) = certificate else {
        return Ok(Endpoint::Http(format!("http://{here}"), token.map(Token::read).transpose()?));
    };
    let unusable = |why: String| CliError::failed(why).next("Name the file of a token with --token-file.");
    let path = token.ok_or_else(|| unusable("There is no token of this node.".to_owned()))?;
    let text = std::fs::read_to_string(path).map_err(|error| CliError::file(path, &error))?;
    let token = text.trim().parse().map_err(|error| unusable(format!("{}: {error}.", path.display())))?;
    Ok(Endpoint::Ticket(ClientTicket { addresses: vec![here], certificate: certificate.fingerprint(), token }))
}

/// The overlay that people mean.
pub async fn overlay(workspace: &Workspace, wanted: &str) -> Result<v1::Overlay, CliError> {
    let mut all = workspace.list_overlays().await?;
    let known: Vec<_> = all.iter().map(|one| (one.overlay.as_str(), one.name.as_str())).collect();
    let meant = match matching(wanted, &known)[..] {
        [only] => only.to_owned(),
        [] => {
            let next = suggestion(wanted, known.iter().map(|(_, name)| *name), "overlay");
            return Err(CliError::failed(format!("There is no overlay \"{wanted}\".")).next(next));
        }
        _ => return Err(CliError::usage(format!("\"{wanted}\" may mean several.")).next("Name it by its whole id.")),
    };
    let place = all.iter().position(|one| one.overlay == meant);
    Ok(place.map(|place| all.swap_remove(place)).unwrap_or_default())
}

/// The token of the identity that was made the default, else the only one that there is.
fn own_token(folder: &Path) -> Option<PathBuf> {
    let tokens = folder.join("tokens");
    if let Ok(actor) = std::fs::read_to_string(folder.join("identities/default")) {
        let actor: ActorId = actor.trim().parse().ok()?;
        return Some(tokens.join(format!("{actor}.token")));
    }
    let mut files = std::fs::read_dir(tokens).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let first = files.find(|path| path.extension().is_some_and(|suffix| suffix == "token"))?;
    files.all(|path| path.extension().is_none_or(|suffix| suffix != "token")).then_some(first)
}

fn chosen(wanted: Option<&str>, known: &[v1::WorkspaceSummary]) -> Result<WorkspaceId, CliError> {
    let names = || known.iter().map(|workspace| workspace.name.as_str());
    let Some(wanted) = wanted else {
        return match known {
            [] => Err(CliError::failed("This node has no workspace yet.").next("Make one with `openprod init NAME`.")),
            [only] => parsed(&only.workspace),
            several => Err(CliError::usage(format!("This node has {} workspaces.", several.len()))
                .affected(format!("They are: {}.", names().collect::<Vec<_>>().join(", ")))
                .next("Name one with --workspace, or in OPENPROD_WORKSPACE.")),
        };
    };
    let known_by: Vec<_> = known.iter().map(|one| (one.workspace.as_str(), one.name.as_str())).collect();
    match matching(wanted, &known_by)[..] {
        [only] => parsed(only),
        [] => {
            let next = suggestion(wanted, names(), "workspace");
            Err(CliError::failed(format!("There is no workspace \"{wanted}\" on this node.")).next(next))
        }
        _ => Err(CliError::usage(format!("Several workspaces are called \"{wanted}\"."))
            .next("Name it by its id: `openprod workspaces` tells.")),
    }
}

/// The actor whom people mean, among those known by id and name.
pub fn actor(wanted: &str, known: &[(&str, &str)], what: &str) -> Result<ActorId, CliError> {
    if let Ok(actor) = wanted.parse() {
        return Ok(actor);
    }
    match matching(wanted, known)[..] {
        [only] => parsed(only),
        [] => {
            let next = suggestion(wanted, known.iter().map(|(_, name)| *name), what);
            Err(CliError::failed(format!("There is no {what} \"{wanted}\".")).next(next))
        }
        _ => Err(CliError::usage(format!("\"{wanted}\" may mean several.")).next("Name it by its whole id.")),
    }
}

/// The ids meant: that very id, else that very name, else that name in another case, else the beginning of the id.
fn matching<'a>(wanted: &str, known: &[(&'a str, &str)]) -> Vec<&'a str> {
    let folded = wanted.to_lowercase();
    let meant = |fits: &dyn Fn(&str, &str) -> bool| -> Vec<&'a str> {
        known.iter().filter(|(id, name)| fits(id, name)).map(|(id, _)| *id).collect()
    };
    [
        meant(&|id, _| id == folded),
        meant(&|_, name| name == wanted),
        meant(&|_, name| name.to_lowercase() == folded),
        meant(&|id, _| folded.len() >= SHORTEST_PREFIX && id.starts_with(&folded)),
    ]
    .into_iter()
    .find(|ids| !ids.is_empty())
    .unwrap_or_default()
}

/// An id that the node gave.
pub fn parsed<T: std::str::FromStr>(id: &str) -> Result<T, CliError> {
    let why = || format!("it gave \"{id}\" as an id");
    id.parse().map_err(|_| Error::Failed { at: "this address".to_owned(), why: why() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, &str)] = &[("aaaa1111", "Hamlet"), ("aaaa2222", "hamlet"), ("bbbb3333", "Tosca")];

    #[test]
    fn a_name_goes_before_another_case_and_that_before_a_prefix() {
        assert_eq!(matching("Hamlet", KNOWN), ["aaaa1111"]);
        assert_eq!(matching("HAMLET", KNOWN), ["aaaa1111", "aaaa2222"]);
        assert_eq!(matching("bbbb", KNOWN), ["bbbb3333"]);
        assert!(matching("bbb", KNOWN).is_empty());
    }

    #[test]
    fn the_only_workspace_need_not_be_named() {
        let id = "0190b5a0-0000-7000-8000-000000000000";
        let only = v1::WorkspaceSummary { workspace: id.to_owned(), name: "Hamlet".to_owned() };
        assert_eq!(chosen(None, std::slice::from_ref(&only)).unwrap().to_string(), id);
        assert!(chosen(None, &[]).is_err() && chosen(None, &[only.clone(), only.clone()]).is_err());
        assert!(chosen(Some("Hamlt"), &[only]).unwrap_err().to_string().contains("Hamlt"));
    }
}
