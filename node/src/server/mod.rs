//! The server: gRPC and a few plain pages on a Unix socket and on a TCP port, by TLS where other machines reach it.
//!
//! What a request passes, from outside to inside:
//!
//! ```text
//! crowd         so many connections from each other machine                                    crowd.rs
//! TLS           where other machines reach the port; the handshake has its time                doors.rs
//! door          who may knock: own user (socket); Host 421, Origin 403 (TCP)                    gate.rs
//! page          /metrics, /healthz, /readyz: plain HTTP GET; with TLS, metrics need a token    pages.rs
//! file          /workspaces/ID/blobs: plain HTTP, under the same token                         files.rs, range.rs
//! gRPC-Web      browsers speak it; everybody behind it sees plain gRPC
//! caller        bearer token (TCP), or whoever can open the socket                              calls.rs, strangers.rs
//! admission     RESOURCE_EXHAUSTED rather than a queue without bound
//! count         metrics, a request number in every log line
//! deadline      grpc-timeout gives DEADLINE_EXCEEDED
//! panics        become INTERNAL, without details
//! service       services/
//! ```
//!
//! Health checks need no token, reflection does. A stopping server takes no more connections, ends streams, lets
//! running calls finish, and cuts off what is left after `shutdown_seconds`.

mod calls;
mod crowd;
mod doors;
mod files;
mod gate;
mod pages;
mod range;
mod strangers;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use openprod_messages::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic_health::server::HealthReporter;
use tower::ServiceExt as _;

use self::crowd::{Crowd, Room, Whence};
use crate::node::Node;
use crate::services::{self, Streams};
use crate::telemetry::Metrics;

/// Most connections of a door at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 1_024;
/// Most calls at once on one connection; a client's further calls wait on its side.
const MAX_CALLS_A_CONNECTION: u32 = 256;
/// A silent connection is asked whether it lives, and dropped if it does not answer in as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// What may be under way towards us unread: on one call, and on one connection.
const CALL_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Largest headers of a call, the token included.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// How long a client of plain HTTP may take for its headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take for its part of TLS: two round trips on a bad Wi-Fi.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether the node has caught up with its logs.
const READY_EVERY: Duration = Duration::from_millis(50);

/// Why the doors could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The operating system has no room for such a path.
    #[error(
        "{path}: a socket's path may have {max} bytes, and this one has {length}; set a shorter one with --socket",
        path = .path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The greatest one.
        max: usize,
    },
    /// Something else lies where the socket should be.
    #[error("{path}: this is not a socket, so it is left alone; remove it, or set another with --socket", path = .0.display())]
    NotASocket(PathBuf),
    /// Another process listens on the socket.
    #[error("{path}: another process listens there; stop it, or set another with --socket", path = .0.display())]
    SocketInUse(PathBuf),
    /// The socket could not be made.
    #[error("{path}: the socket could not be made: {1}", path = .0.display())]
    Socket(PathBuf, #[source] std::io::Error),
    /// The address could not be taken.
    #[error("{0}: cannot listen there: {1}; set another address with --listen, or \"off\"")]
    Address(SocketAddr, #[source] std::io::Error),
    /// TLS cannot use the certificate.
    #[error(transparent)]
    Certificate(#[from] crate::certificate::CertificateError),
}

/// Serves `node` until `shutdown`, and then as long as running calls take, at most `shutdown_seconds`. `opened` is told
/// when clients can connect, and the address of the TCP port, if there is one: the system chooses a port for 0.
pub async fn serve(
    node: Arc<Node>,
    metrics: Metrics,
    opened: impl FnOnce(Option<SocketAddr>),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let socket = node.config.socket.as_deref().map(doors::socket).transpose()?;
    let port = doors::port(node.config.listen).await?;
    let bound = port.as_ref().and_then(|port| port.local_addr().ok());
    let tls = doors::tls(&node)?;
    if let Some(address) = bound.filter(|_| tls.is_some()) {
        // It is set here and nowhere else.
        let _ = node.port.set(address);
    }
    let (stop, stopping) = watch::channel(false);
    let (ready, is_ready) = watch::channel(node.is_ready());
    let (health, health_service) = tonic_health::server::health_reporter();
    announce(&health, tonic_health::ServingStatus::NotServing).await;
    let inside = {
        let streams = Streams::new(node.config.max_clients, stopping.clone());
        let routes = services::routes(&node).add_service(health_service);
        calls::layers(&node, routes, streams)
    };
    let pages = pages::router(Arc::clone(&node), metrics, is_ready);
    let mut doors = JoinSet::new();
    if let Some(socket) = socket {
        let files = files::for_own_user(&node, &stopping);
        let app = calls::as_own_user(inside.clone()).merge(pages.clone()).merge(files);
        doors.spawn(open(socket, None, gate::plain_requests_stay_out(app), stopping.clone()));
    }
    if let Some(port) = port {
        let desk = calls::Desk::new(Arc::clone(&node));
        let pages = if tls.is_some() { pages::by_token(pages, desk.clone()) } else { pages };
        let files = files::by_token(&node, desk.clone(), &stopping);
        let app = calls::by_token(desk, inside).merge(pages).merge(files);
        doors.spawn(open(port, tls, gate::lock(app, &node.config), stopping));
    }
    let watcher = tokio::spawn(tell_when_ready(Arc::clone(&node), ready, health.clone()));
    opened(bound);
    shutdown.await;
    watcher.abort();
    stop.send_replace(true);
    silence(&health).await;
    let patience = Duration::from_secs(node.config.shutdown_seconds);
    if tokio::time::timeout(patience, async { while doors.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(seconds = node.config.shutdown_seconds, "some calls took too long and were cut off");
    }
    doors.shutdown().await;
    if let Some(socket) = &node.config.socket {
        doors::remove_socket(socket);
    }
    Ok(())
}

/// Says on all health channels that we serve, once every log is folded; later delays of reads do not take it back.
async fn tell_when_ready(node: Arc<Node>, ready: watch::Sender<bool>, health: HealthReporter) {
    while !node.is_ready() {
        tokio::time::sleep(READY_EVERY).await;
    }
    ready.send_replace(true);
    announce(&health, tonic_health::ServingStatus::Serving).await;
    tracing::info!("ready");
}

async fn announce(health: &HealthReporter, status: tonic_health::ServingStatus) {
    for service in services::NAMES.iter().chain(&[""]) {
        health.set_service_status(service, status).await;
    }
}

/// Says that we serve no more, and ends the streams of those who watch our health.
async fn silence(health: &HealthReporter) {
    announce(health, tonic_health::ServingStatus::NotServing).await;
    for service in services::NAMES.iter().chain(&[""]) {
        health.clone().clear_service_status(service).await;
    }
}

/// Accepts connections until `stopping`, then waits for them to end.
async fn open<L>(mut listener: L, tls: Option<TlsAcceptor>, app: Router, stopping: watch::Receiver<bool>)
where
    L: Listener,
    L::Addr: Into<Whence>,
{
    let (mut connections, crowd) = (JoinSet::new(), Arc::new(Crowd::default()));
    loop {
        tokio::select! {
            biased;
            () = services::stopped(stopping.clone()) => break,
            Some(_) = connections.join_next() => {}
            (io, address) = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                let whence = address.into();
                let Some(room) = crowd.admit(whence) else { continue };
                connections.spawn(welcome(io, tls.clone(), Talk { app: app.clone(), whence, _room: room }, stopping.clone()));
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// What a connection is for, and the room that it takes.
struct Talk {
    app: Router,
    whence: Whence,
    _room: Room,
}

/// Shakes hands, where that is asked for, and serves the connection.
async fn welcome<Io>(io: Io, tls: Option<TlsAcceptor>, talk: Talk, stopping: watch::Receiver<bool>)
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let Some(tls) = tls else { return converse(io, talk, stopping).await };
    match tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(io)).await {
        Ok(Ok(io)) => converse(io, talk, stopping).await,
        Ok(Err(error)) => tracing::debug!(%error, whence = ?talk.whence, "a client and this node found no common TLS"),
        Err(_) => tracing::debug!(whence = ?talk.whence, "a client did not shake hands in time"),
    }
}

async fn converse<Io>(io: Io, talk: Talk, stopping: watch::Receiver<bool>)
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let protocol = protocol();
    let whence = talk.whence;
    let app = talk.app.clone().map_request(move |mut request: http::Request<_>| {
        request.extensions_mut().insert(whence);
        request
    });
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(io), TowerToHyperService::new(app)));
    let ended = tokio::select! {
        biased;
        () = services::stopped(stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = &mut connection => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke off");
    }
}

fn protocol() -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(MAX_CALLS_A_CONNECTION)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    protocol
}
