//! A node's life, told once from start to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::joining;
use crate::node::{Node, StartError};
use crate::peers::{self, PeersError};
use crate::server::{self, ServeError};
use crate::telemetry::Metrics;

/// Why a node ended otherwise than by request.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It cannot speak with other nodes.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// Its doors could not be opened.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The system does not let it listen for signals.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] std::io::Error),
}

/// Often enough for systemd's `WatchdogSec=30`, seldom enough to cost nothing.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Runs a node until SIGTERM or SIGINT. `begun` is told when clients can connect, and the address of the TCP
/// port, if there is one.
pub async fn run<F, G>(config: Config, metrics: Metrics, begun: F) -> Result<(), RunError>
where
    F: FnOnce(Arc<Node>, Option<SocketAddr>) -> G + Send,
    G: Future<Output = ()> + Send + 'static,
{
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let stop_asked = stop_signal()?;
    let patience = Duration::from_secs(config.shutdown_seconds);
    let node = Node::start(config).await?;
    if let Some(peers) = peers::start(&node).await? {
        // It is set here and nowhere else.
        let _ = node.peers.set(peers);
        joining::resume(&node);
    }
    let heart = tokio::spawn(heartbeat(Arc::clone(&node), metrics.clone()));
    let guest = Arc::clone(&node);
    let opened = move |port| drop(tokio::spawn(begun(guest, port)));
    let served = server::serve(Arc::clone(&node), metrics, opened, stop_asked).await;
    tell_systemd(&[sd_notify::NotifyState::Stopping]);
    heart.abort();
    node.stop(patience).await;
    served.map_err(RunError::from)
}

/// Ends at the first SIGTERM or SIGINT. A second one ends the process at once: everything acknowledged is durable.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let (first, asked) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        wait(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping");
        // Nobody listens only if the node is already on its way out.
        let _ = first.send(());
        wait(&mut terminate, &mut interrupt).await;
        std::process::exit(1);
    });
    Ok(async move {
        let _ = asked.await;
    })
}

async fn wait(terminate: &mut tokio::signal::unix::Signal, interrupt: &mut tokio::signal::unix::Signal) {
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Tells systemd that the node is ready, then that it is alive; refreshes what the metrics say of the disk.
async fn heartbeat(node: Arc<Node>, metrics: Metrics) {
    let mut told_ready = false;
    loop {
        if !told_ready && node.is_ready() {
            tell_systemd(&[sd_notify::NotifyState::Ready]);
            told_ready = true;
        }
        tell_systemd(&[sd_notify::NotifyState::Watchdog]);
        if let Ok(space) = node.folder.space() {
            // A gauge is a float by nature; the loss is below a byte in a terabyte.
            #[allow(clippy::cast_precision_loss, reason = "metrics are floats")]
            metrics::gauge!(crate::telemetry::DISK_FREE_BYTES).set(space.free_bytes as f64);
        }
        metrics.tidy();
        tokio::time::sleep(if told_ready { HEARTBEAT } else { Duration::from_millis(200) }).await;
    }
}

fn tell_systemd(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
