//! Plain pages for those who watch over the node: `/metrics` (Prometheus), `/healthz`, `/readyz`.
//!
//! They tell counts, never contents, and need no token; but metrics do where other machines reach the port.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use openprod_messages::watch;

use super::calls::Desk;
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

/// The same where other machines reach them.
pub(super) fn by_token(pages: Router, desk: Desk) -> Router {
    pages.layer(middleware::from_fn_with_state(desk, identified))
}

async fn identified(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let [metrics_at, ..] = PATHS;
    if request.uri().path() != metrics_at || desk.pass(&request).is_ok() {
        return next.run(request).await;
    }
    let asks = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, asks, "Metrics are told to whoever carries a token of this node.\n").into_response()
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
