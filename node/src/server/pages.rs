//! Plain pages for those who watch over the node: `/metrics` (Prometheus), `/healthz`, `/readyz`.
//!
//! They need no token: the TCP port is reached from this machine only, and they tell counts, never contents.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::sync::watch;

use crate::node::{Node, Slot};
use crate::telemetry::{self, Metrics};
use crate::workspace::Condition;

/// The paths of the pages.
pub(super) const PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

#[derive(Clone)]
struct Pages {
    node: Arc<Node>,
    metrics: Metrics,
    ready: watch::Receiver<bool>,
}

/// The pages of this node.
pub(super) fn router(node: Arc<Node>, metrics: Metrics, ready: watch::Receiver<bool>) -> Router {
    let [metrics_at, health_at, ready_at] = PATHS;
    Router::new()
        .route(metrics_at, get(page_of_metrics))
        .route(health_at, get(async || "ok\n"))
        .route(ready_at, get(readiness))
        .with_state(Pages { node, metrics, ready })
}

async fn page_of_metrics(State(pages): State<Pages>) -> Response {
    count_workspaces(&pages.node);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], pages.metrics.page()).into_response()
}

async fn readiness(State(pages): State<Pages>) -> Response {
    if *pages.ready.borrow() {
        return "ready\n".into_response();
    }
    let why = "The node is still reading its logs; writes are taken, reads may wait.\n";
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

/// How a workspace is, in the word of the metric.
fn word(slot: &Slot) -> &'static str {
    match slot {
        Slot::Closed { .. } => "stopped",
        Slot::Open(workspace) if *workspace.condition.borrow() != Condition::Running => "stopped",
        Slot::Open(workspace) => {
            let folded = workspace.snapshots.folded().borrow().position;
            let caught_up = workspace.log.tail().is_ok_and(|tail| folded >= tail.position);
            if caught_up { "ready" } else { "starting" }
        }
    }
}

fn count_workspaces(node: &Node) {
    let words: Vec<_> = node.workspaces().iter().map(|(_, slot)| word(slot)).collect();
    for status in ["ready", "starting", "stopped"] {
        let count = words.iter().filter(|word| **word == status).count();
        metrics::gauge!(telemetry::WORKSPACES, "status" => status).set(u32::try_from(count).unwrap_or(u32::MAX));
    }
}
