//! The real network: QUIC (RFC 9000) on one UDP socket, by quinn, with TLS 1.3 and the nodes' own keys.
//!
//! Everything that a stranger can make grow has a bound: handshakes under way, connections, and on each connection the
//! channels and bytes, which are few until the other has shown that it belongs here ([`Connection::welcome`]). There
//! are no session tickets and no early data, so nothing can be replayed.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use openprod_messages::watch;
use openprod_model::identity::Keys;
use openprod_model::ids::ActorId;
use openprod_wire::closing::CloseCode;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionError, Endpoint, EndpointConfig, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Semaphore, mpsc};

use super::{
    CHANNEL_WINDOW_BYTES, Channel, Closed, Connection, DIAL_DEADLINE, DialError, IDLE_TIMEOUT, KEEP_ALIVE,
    MAX_CHANNELS, MAX_STRANGER_CHANNELS, Network, PROTOCOL, Side, Traffic,
};
use tls::WantedKey;

#[cfg(feature = "floor")]
pub mod floor;
mod stream;
mod tls;

/// What a member may have under way to this node on one connection: many channels' windows.
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;

/// What somebody may have under way to this node before it has shown that it belongs here.
const STRANGER_WINDOW_BYTES: u32 = 64 * 1024;

/// What this node has under way on one connection, unacknowledged.
const SEND_WINDOW_BYTES: u64 = 8 * 1024 * 1024;

/// Handshakes under way at once: each costs a signature, and strangers can begin as many as they like.
const MAX_HANDSHAKES: usize = 64;

/// From so many handshakes on, whoever dials must show first that its address is its own (RFC 9000, section 8.1.2).
const CALM_HANDSHAKES: usize = 16;

/// Connections at once, those of strangers included.
const MAX_CONNECTIONS: usize = 512;

/// Connections that wait to be looked at.
const BACKLOG: usize = 64;

/// Datagrams of handshakes that have not begun yet, and their bytes, each and together.
const MAX_INCOMING: usize = 128;
const INCOMING_BYTES: u64 = 16 * 1024;
const ALL_INCOMING_BYTES: u64 = 512 * 1024;

/// A name is asked for by QUIC; it goes nowhere.
const NAME: &str = "openprod";

/// Why the network does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, not of this machine, or not allowed.
    #[error("cannot listen for other nodes on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key cannot be used.
    #[error("cannot use this node's key with TLS: {0}")]
    Tls(String),
}

/// A node on a real network. Called inside a tokio runtime.
pub struct Quic {
    keys: Keys,
    protocol: &'static [u8],
    endpoint: Endpoint,
    transport: Arc<TransportConfig>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Arc<dyn Connection>>>,
    stopped: watch::Sender<bool>,
}

impl Quic {
    /// Listens on `address`; port 0 takes a free one.
    pub fn listen(keys: &Keys, address: SocketAddr) -> Result<Arc<Self>, StartError> {
        Self::start(keys, address, PROTOCOL, IDLE_TIMEOUT)
    }

    /// Speaks another protocol than nodes do: for tests that knock at doors.
    #[cfg(any(test, feature = "testing"))]
    pub fn speaking(protocol: &'static [u8], keys: &Keys, address: SocketAddr) -> Result<Arc<Self>, StartError> {
        Self::start(keys, address, protocol, IDLE_TIMEOUT)
    }

    pub(super) fn start(
        keys: &Keys,
        address: SocketAddr,
        protocol: &'static [u8],
        idle: Duration,
    ) -> Result<Arc<Self>, StartError> {
        let transport = Arc::new(transport(idle));
        let wrong = |error: rustls::Error| StartError::Tls(error.to_string());
        let tls = tls::dialled(keys, protocol).map_err(wrong)?;
        let tls = QuicServerConfig::try_from(tls).map_err(|error| StartError::Tls(error.to_string()))?;
        let endpoint = endpoint(address, server(tls, &transport));
        let endpoint = endpoint.map_err(|source| StartError::Listen { address, source })?;
        let (waiting, incoming) = mpsc::channel(BACKLOG);
        tokio::spawn(let_in(endpoint.clone(), waiting));
        let (stopped, _) = watch::channel(false);
        let keys = keys.clone();
        Ok(Arc::new(Self { keys, protocol, endpoint, transport, incoming: incoming.into(), stopped }))
    }

    /// Listens on another address from now on, and tells those it is connected with by its next packets.
    pub fn moves_to(&self, address: SocketAddr) -> std::io::Result<()> {
        self.endpoint.rebind(socket(address)?)
    }

    fn client(&self, wanted: &Arc<WantedKey>) -> Result<quinn::ClientConfig, DialError> {
        let impossible = |error: String| DialError::Impossible(error);
        let tls = tls::dialler(&self.keys, self.protocol, Arc::clone(wanted));
        let tls = QuicClientConfig::try_from(tls.map_err(|error| impossible(error.to_string()))?);
        let mut config = quinn::ClientConfig::new(Arc::new(tls.map_err(|error| impossible(error.to_string()))?));
        config.transport_config(Arc::clone(&self.transport));
        Ok(config)
    }

    async fn reach(&self, to: SocketAddr, expected: Option<ActorId>) -> Result<Arc<dyn Connection>, DialError> {
        let wanted = WantedKey::new(expected);
        let dialling = self.endpoint.connect_with(self.client(&wanted)?, to, NAME);
        let dialling = dialling.map_err(|error| DialError::Impossible(error.to_string()))?;
        let connection = dialling.await.map_err(|error| refusal(error, &wanted))?;
        match QuicConnection::of(connection, Side::Dialler) {
            Some(connection) => Ok(Arc::new(connection)),
            None => Err(DialError::Refused("it showed no key".to_owned())),
        }
    }
}

fn endpoint(address: SocketAddr, server: quinn::ServerConfig) -> std::io::Result<Endpoint> {
    let socket = socket(address)?;
    let runtime = quinn::default_runtime().ok_or_else(|| std::io::Error::other("no runtime"))?;
    Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime)
}

/// A socket that speaks both families where it listens on all addresses of IPv6, whatever the system does by default.
fn socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn server(tls: QuicServerConfig, transport: &Arc<TransportConfig>) -> quinn::ServerConfig {
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::clone(transport))
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(ALL_INCOMING_BYTES);
    config
}

fn transport(idle: Duration) -> TransportConfig {
    let mut config = TransportConfig::default();
    let timeout = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
    config
        .max_idle_timeout(Some(VarInt::from_u32(timeout).into()))
        .keep_alive_interval(Some(KEEP_ALIVE.min(idle / 4)))
        .max_concurrent_bidi_streams(MAX_STRANGER_CHANNELS.into())
        .max_concurrent_uni_streams(0u32.into())
        .stream_receive_window(CHANNEL_WINDOW_BYTES.into())
        .receive_window(STRANGER_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None);
    config
}

/// Lets in who dials, as many at a time as this node can bear.
async fn let_in(endpoint: Endpoint, waiting: mpsc::Sender<Arc<dyn Connection>>) {
    let places = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    while let Some(incoming) = endpoint.accept().await {
        let under_way = MAX_HANDSHAKES - places.available_permits();
        if endpoint.open_connections() >= MAX_CONNECTIONS {
            incoming.refuse();
        } else if under_way >= CALM_HANDSHAKES && incoming.may_retry() && !incoming.remote_address_validated() {
            // It fails only for those who may not be asked to retry, and they were told apart.
            let _ = incoming.retry();
        } else if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let waiting = waiting.clone();
            tokio::spawn(async move {
                shake_hands(incoming, waiting).await;
                drop(place);
            });
        } else {
            incoming.refuse();
        }
    }
}

async fn shake_hands(incoming: quinn::Incoming, waiting: mpsc::Sender<Arc<dyn Connection>>) {
    let from = incoming.remote_address();
    let shaken = tokio::time::timeout(DIAL_DEADLINE, incoming.into_future()).await;
    match shaken {
        Ok(Ok(connection)) => {
            if let Some(connection) = QuicConnection::of(connection, Side::Dialled) {
                // Dropped, and so closed, where nobody listens any more.
                let _ = waiting.send(Arc::new(connection)).await;
            }
        }
        Ok(Err(error)) => tracing::debug!(%from, %error, "a dial to this node failed"),
        Err(_) => tracing::debug!(%from, "a dial to this node took too long"),
    }
}

fn refusal(error: ConnectionError, wanted: &WantedKey) -> DialError {
    if let Some(found) = wanted.other() {
        return DialError::WrongKey { found };
    }
    match error {
        ConnectionError::TimedOut => DialError::NoAnswer,
        ConnectionError::LocallyClosed => DialError::Impossible("this node's network was stopped".to_owned()),
        other => DialError::Refused(other.to_string()),
    }
}

impl Network for Quic {
    fn key(&self) -> ActorId {
        self.keys.actor()
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.endpoint.local_addr().into_iter().collect()
    }

    fn dial(&self, to: SocketAddr, expected: Option<ActorId>) -> BoxFuture<'_, Result<Arc<dyn Connection>, DialError>> {
        let within = tokio::time::timeout(DIAL_DEADLINE, self.reach(to, expected));
        within.map(|reached| reached.unwrap_or(Err(DialError::NoAnswer))).boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arc<dyn Connection>>> {
        let next = async {
            let (mut incoming, mut stopped) = (self.incoming.lock().await, self.stopped.subscribe());
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => None,
                connection = incoming.recv() => connection,
            }
        };
        next.boxed()
    }

    fn stop(&self) {
        self.stopped.send_replace(true);
        self.endpoint.close(CloseCode::STOPPING.0.into(), &[]);
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One end of a connection.
struct QuicConnection {
    connection: quinn::Connection,
    key: ActorId,
    side: Side,
    /// Why this node closed it.
    code: Arc<OnceLock<CloseCode>>,
}

impl QuicConnection {
    fn of(connection: quinn::Connection, side: Side) -> Option<Self> {
        let shown = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let key = tls::key_of(shown.first()?).ok()?;
        Some(Self { connection, key, side, code: Arc::default() })
    }

    fn channel(&self, (send, receive): (quinn::SendStream, quinn::RecvStream)) -> Channel {
        stream::channel(send, receive, &self.code)
    }
}

/// How a connection ended, by what quinn says and what this node had said.
fn ending(error: ConnectionError, code: &OnceLock<CloseCode>) -> Closed {
    match error {
        ConnectionError::LocallyClosed => Closed::Here(code.get().copied().unwrap_or(CloseCode::STOPPING)),
        ConnectionError::ApplicationClosed(close) => Closed::There(close_code(close.error_code)),
        ConnectionError::TimedOut => Closed::Silent,
        other => Closed::Lost(other.to_string()),
    }
}

fn close_code(code: VarInt) -> CloseCode {
    CloseCode(u32::try_from(code.into_inner()).unwrap_or(u32::MAX))
}

impl Connection for QuicConnection {
    fn peer(&self) -> ActorId {
        self.key
    }

    fn side(&self) -> Side {
        self.side
    }

    fn remote(&self) -> SocketAddr {
        let address = self.connection.remote_address();
        match address.ip().to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
            // A link-local address means nothing without its interface.
            IpAddr::V6(_) => address,
        }
    }

    fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    fn traffic(&self) -> Traffic {
        let stats = self.connection.stats();
        Traffic { sent: stats.udp_tx.bytes, received: stats.udp_rx.bytes }
    }

    fn exporter(&self, label: &[u8], context: &[u8]) -> [u8; 32] {
        let mut secret = [0; 32];
        let exported = self.connection.export_keying_material(&mut secret, label, context);
        exported.expect("a connection that shook hands exports 32 bytes");
        secret
    }

    fn welcome(&self) {
        self.connection.set_receive_window(CONNECTION_WINDOW_BYTES.into());
        self.connection.set_max_concurrent_bi_streams(MAX_CHANNELS.into());
    }

    fn open(&self) -> BoxFuture<'_, Result<Channel, Closed>> {
        let opened = async {
            let streams = self.connection.open_bi().await;
            streams.map(|streams| self.channel(streams)).map_err(|error| ending(error, &self.code))
        };
        opened.boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Result<Channel, Closed>> {
        let accepted = async {
            let streams = self.connection.accept_bi().await;
            streams.map(|streams| self.channel(streams)).map_err(|error| ending(error, &self.code))
        };
        accepted.boxed()
    }

    fn close(&self, code: CloseCode) {
        // quinn would forget how it ended, and people would be told that this node ended it.
        if self.connection.close_reason().is_some() {
            return;
        }
        self.code.get_or_init(|| code);
        self.connection.close(code.0.into(), &[]);
    }

    fn closed(&self) -> BoxFuture<'static, Closed> {
        let (connection, code) = (self.connection.clone(), Arc::clone(&self.code));
        async move { ending(connection.closed().await, &code) }.boxed()
    }
}

impl Drop for QuicConnection {
    fn drop(&mut self) {
        self.close(CloseCode::DONE);
    }
}
