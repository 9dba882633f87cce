//! Connecting to a node, and to one workspace on it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openprod_api::v1;
use openprod_model::ids::{ActorId, OverlayId, SessionId, WorkspaceId};
use openprod_wire::client_ticket::ClientTicket;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{self, Channel};
use tonic::{Request, Status};

use crate::attempt::Patience;
use crate::error::Error;
use crate::trust::ByTicket;
use crate::{MAX_MESSAGE_BYTES, ids};

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where a node listens.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// A Unix socket: its permissions say who may speak.
    Socket(PathBuf),
    /// An address on this machine, such as `http://127.0.0.1:7117`, and the token that says who speaks. On the way to
    /// another machine anybody could read the token, so there it is refused: that needs a ticket.
    Http(String, Option<Token>),
    /// A node on any machine, by TLS: the ticket says where, who speaks, and which certificate is the right one.
    Ticket(ClientTicket),
}

/// A bearer token. It is never shown.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

impl Token {
    /// Takes a token as its file holds it; white space at its ends does not count.
    pub fn new(text: &str) -> Result<Self, Error> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", text.trim())
            .parse()
            .map_err(|_| Error::Unusable("The token holds characters that no token has.".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// Reads a token from its file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |why| Error::Unusable(format!("The token file {} cannot be read: {why}.", path.display()));
        Self::new(&std::fs::read_to_string(path).map_err(unreadable)?)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Http(url, _) => f.write_str(url),
            Self::Ticket(ticket) => f.write_str(&ticket_url(ticket)),
        }
    }
}

/// A connection to a node. Cheap to clone; clones share one session.
///
/// It connects again by itself when the node was restarted.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Door,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    at: String,
    session: SessionId,
    patience: Patience,
    /// The last revision of each workspace that this client has written or been shown.
    seen: Mutex<HashMap<WorkspaceId, u64>>,
}

/// The channel through which all calls go.
pub(crate) type Door = InterceptedService<Channel, Bearer>;

/// Puts the token on each call.
#[derive(Debug, Clone)]
pub struct Bearer(Option<Token>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(Token(value)) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Client {
    /// Connects to the node at `endpoint`.
    pub async fn connect(endpoint: Endpoint) -> Result<Self, Error> {
        Self::connect_with(endpoint, Patience::default()).await
    }

    /// Connects to the node at `endpoint`; all its calls are made with this patience.
    pub async fn connect_with(endpoint: Endpoint, patience: Patience) -> Result<Self, Error> {
        let at = endpoint.to_string();
        let (uri, token, trusted) = match endpoint {
            Endpoint::Socket(path) => (format!("unix:{}", path.display()), None, None),
            Endpoint::Http(url, token) => (plain_http(url, token.is_some())?, token, None),
            Endpoint::Ticket(ticket) => {
                let no_tls = |error| Error::Unusable(format!("TLS cannot be used: {error}."));
                let trusted = ByTicket::new(&ticket).map_err(no_tls)?;
                (ticket_url(&ticket), Some(Token::new(&ticket.token.reveal())?), Some(trusted))
            }
        };
        let invalid = |_| Error::Unusable(format!("{at} is not an address such as http://127.0.0.1:7117."));
        let transport = transport::Endpoint::from_shared(uri)
            .and_then(|transport| transport.user_agent(concat!("openprod-client/", env!("CARGO_PKG_VERSION"))))
            .map_err(invalid)?
            .connect_timeout(patience.connect)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let channel = opened(transport, trusted, &at, patience.connect).await?;
        let shared = Shared { at, session: ids::session(), patience, seen: Mutex::default() };
        Ok(Self { channel: InterceptedService::new(channel, Bearer(token)), shared: Arc::new(shared) })
    }

    /// Where the node listens.
    pub fn at(&self) -> &str {
        &self.shared.at
    }

    /// This client's session: within it, its own later writes count as seen.
    pub fn session(&self) -> SessionId {
        self.shared.session
    }

    /// A workspace on this node, in which the node's default identity acts.
    pub fn workspace(&self, id: WorkspaceId) -> Workspace {
        Workspace { client: self.clone(), id, actor: None, overlay: None }
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.shared.patience
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<WorkspaceId, u64>> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One workspace, and who acts there.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub(crate) client: Client,
    id: WorkspaceId,
    actor: Option<ActorId>,
    overlay: Option<OverlayId>,
}

impl Workspace {
    /// The same workspace, in which that identity of the node acts.
    pub fn acting_as(self, actor: ActorId) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// The same workspace, seen through an overlay: reads show what is staged there, changes are staged there.
    pub fn through(self, overlay: OverlayId) -> Self {
        Self { overlay: Some(overlay), ..self }
    }

    /// The same workspace, without an overlay.
    pub fn canonical(self) -> Self {
        Self { overlay: None, ..self }
    }

    /// The overlay through which it is seen.
    pub fn overlay(&self) -> Option<OverlayId> {
        self.overlay
    }

    /// Its id.
    pub fn id(&self) -> WorkspaceId {
        self.id
    }

    /// Who acts; none for the node's default identity.
    pub fn actor(&self) -> Option<ActorId> {
        self.actor
    }

    /// The client through which it is reached.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The last revision that this client has written here or been shown; reads wait for it.
    pub fn seen(&self) -> u64 {
        self.client.seen().get(&self.id).copied().unwrap_or_default()
    }

    pub(crate) fn note(&self, revision: u64) {
        let mut seen = self.client.seen();
        let last = seen.entry(self.id).or_default();
        *last = revision.max(*last);
    }

    /// The node's past is another one now: a store was restored.
    pub(crate) fn forget(&self) {
        self.client.seen().remove(&self.id);
    }
}

/// The generated clients, for calls that have no words of their own here. Their errors are raw, their calls have the
/// deadline that the request is given.
macro_rules! generated {
    ($($(#[doc = $doc:literal])+ $name:ident: $module:ident::$client:ident;)*) => {
        impl Client {
            $($(#[doc = $doc])+
            pub fn $name(&self) -> v1::$module::$client<InterceptedService<Channel, Bearer>> {
                v1::$module::$client::new(self.channel.clone())
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES)
            })*
        }
    };
}

generated! {
    /// The node itself.
    nodes: node_service_client::NodeServiceClient;
    /// Workspaces.
    workspaces: workspace_service_client::WorkspaceServiceClient;
    /// The one door for writes.
    commands: command_service_client::CommandServiceClient;
    /// Tables and records.
    tables: table_service_client::TableServiceClient;
    /// Conflicts.
    conflicts: conflict_service_client::ConflictServiceClient;
    /// Edges.
    edges: edge_service_client::EdgeServiceClient;
    /// The log.
    history: history_service_client::HistoryServiceClient;
    /// Overlays.
    overlays: overlay_service_client::OverlayServiceClient;
    /// Files.
    blobs: blob_service_client::BlobServiceClient;
    /// Tickets, and those who ask to join.
    invites: invite_service_client::InviteServiceClient;
    /// Clients on other machines, and the certificate by which they know the node.
    access: access_service_client::AccessServiceClient;
    /// Other nodes.
    peers: peer_service_client::PeerServiceClient;
    /// What happens.
    events: event_service_client::EventServiceClient;
    /// Care of a workspace's data.
    admin: admin_service_client::AdminServiceClient;
}

/// Connects, by TLS where there is a certificate to be trusted.
async fn opened(
    transport: transport::Endpoint,
    trusted: Option<ByTicket>,
    at: &str,
    within: Duration,
) -> Result<Channel, Error> {
    let connecting = async {
        match &trusted {
            Some(trusted) => transport.connect_with_connector(trusted.clone()).await,
            None => transport.connect().await,
        }
    };
    let found = |trusted: &ByTicket| trusted.other();
    match (tokio::time::timeout(within, connecting).await, trusted.as_ref().and_then(found)) {
        (Ok(Ok(channel)), _) => Ok(channel),
        (_, Some(found)) => Err(Error::NotTrusted { at: at.to_owned(), found: found.to_string() }),
        (Ok(Err(error)), None) => Err(unreachable_at(at, &error)),
        (Err(_), None) => Err(Error::Unreachable { at: at.to_owned(), why: "it did not answer in time".to_owned() }),
    }
}

fn ticket_url(ticket: &ClientTicket) -> String {
    ticket.addresses.first().map_or_else(String::new, |address| format!("https://{address}"))
}

fn plain_http(url: String, with_token: bool) -> Result<String, Error> {
    let Some(rest) = url.strip_prefix("http://") else {
        let next = "write http://HOST:PORT for a node on this machine, or use a ticket";
        return Err(Error::Unusable(format!("{url} cannot be used as an address: {next}.")));
    };
    if with_token && !is_here(rest) {
        let why = "anybody on the way could read the token";
        return Err(Error::Unusable(format!(
            "{url} is not on this machine, and {why}: use a ticket (`openprod token create` on the node's machine)."
        )));
    }
    Ok(url)
}

/// Whether a host, with or without port and path, is this machine by a name that nobody can take over.
fn is_here(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|letter| letter.is_ascii_digit()) => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn unreachable_at(at: &str, error: &transport::Error) -> Error {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    Error::Unreachable { at: at.to_owned(), why: crate::error::without_stop(innermost.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_nobody_listens_the_error_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Client::connect(Endpoint::Socket(folder.path().join("openprod.sock"))).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        let words = error.to_string();
        assert!(words.starts_with("No node answers at /") && words.ends_with("`openprod up`."), "{words}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused() {
        let error = Client::connect(Endpoint::Http("stage.local".to_owned(), None)).await.unwrap_err();
        assert!(matches!(error, Error::Unusable(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_token_does_not_leave_this_machine_in_clear() {
        let token = Token::new("secret").unwrap();
        let error = Client::connect(Endpoint::Http("http://10.0.0.5:7117".to_owned(), Some(token))).await.unwrap_err();
        assert!(error.to_string().contains("openprod token create"), "{error}");
    }

    #[test]
    fn this_machine_has_few_names() {
        for here in ["127.0.0.1:7117", "127.0.0.2", "localhost:1/x", "[::1]:7117", "[::ffff:127.0.0.1]:80"] {
            assert!(is_here(here), "{here}");
        }
        for other in ["10.0.0.5:7117", "stage.local", "localhost.evil.example:1", "127.0.0.1.nip.io", "[fd00::2]:1", ""]
        {
            assert!(!is_here(other), "{other}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        assert_eq!(format!("{:?}", Token::new("secret\n").unwrap()), "Token");
    }
}
