//! What every gRPC call passes on its way to a service: who calls, whether there is room, until when, and what to do
//! should a handler panic.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use futures::{FutureExt, StreamExt, future, stream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use openprod_api::status::ApiError;
use openprod_api::v1::Reason;
use openprod_messages::watch;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::service::Routes;
use tonic::{Code, Status};
use tracing::Instrument;

use super::crowd::Whence;
use super::strangers::{Strangers, Verdict};
use crate::node::Node;
use crate::services::calling::by;
use crate::services::{self, Caller, Deadline, Revoked, Streamed, Streams};
use crate::telemetry;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const HEALTH: &str = "/grpc.health.v1.Health/";
const UNKNOWN: &str = "unknown";

/// Shared by the doors: the room that there is, and the number of the next request.
struct Hall {
    room: Arc<Semaphore>,
    streams: Streams,
    next: AtomicU64,
}

/// Whether the headers are those of a gRPC or gRPC-Web call.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Everything behind the question who calls.
pub(super) fn layers(node: &Node, routes: Routes, streams: Streams) -> Router {
    let room = Arc::new(Semaphore::new(node.config.max_clients));
    let hall = Arc::new(Hall { room, streams, next: AtomicU64::new(1) });
    // The last layer added is the first that a call passes.
    routes
        .into_axum_router()
        .layer(middleware::from_fn(without_panics))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(Arc::clone(&hall), counted))
        .layer(middleware::from_fn_with_state(hall, admitted))
}

/// Calls through the Unix socket: whoever can open it may act as each of the node's identities.
pub(super) fn as_own_user(inside: Router) -> Router {
    let named = async |mut request: Request, next: Next| {
        let own_user = Caller { actor: None };
        request.extensions_mut().insert(own_user);
        by(own_user, next.run(request)).await
    };
    inside.layer(middleware::from_fn(named)).layer(tonic_web::GrpcWebLayer::new())
}

/// Calls through the TCP port: each carries a token, which says as whom it acts.
pub(super) fn by_token(desk: Desk, inside: Router) -> Router {
    inside.layer(middleware::from_fn_with_state(desk, identified)).layer(tonic_web::GrpcWebLayer::new())
}

async fn identified(State(desk): State<Desk>, mut request: Request, next: Next) -> Response {
    if request.uri().path().starts_with(HEALTH) {
        return next.run(request).await;
    }
    match desk.pass(&request) {
        Ok(pass) => {
            request.extensions_mut().insert(pass.caller);
            if let Some(revoked) = pass.revoked.clone() {
                request.extensions_mut().insert(Revoked(revoked));
            }
            by(pass.caller, next.run(request.map(|body| pass.while_good(body)))).await
        }
        Err(status) => {
            count(UNKNOWN, UNKNOWN, status.code());
            status.into_http()
        }
    }
}

/// Where tokens are looked at.
#[derive(Clone)]
pub(super) struct Desk {
    node: Arc<Node>,
    strangers: Arc<Mutex<Strangers>>,
}

/// What a right token is worth.
pub(super) struct Pass {
    /// As whom the call acts.
    pub(super) caller: Caller,
    /// Turns true when the token is taken back; none for the token of an identity, which is as lasting as that.
    revoked: Option<watch::Receiver<bool>>,
}

impl Pass {
    /// A body whose bytes break off when the token is taken back, so that nobody takes them for the whole.
    pub(super) fn while_good(&self, body: Body) -> Body {
        let Some(revoked) = self.revoked.clone() else { return body };
        let is_revoked = revoked.clone();
        let broken = stream::once(async { Err(axum::Error::new(services::taken_back())) });
        let broken = broken.filter(move |_| future::ready(*is_revoked.borrow()));
        Body::from_stream(body.into_data_stream().take_until(services::stopped(revoked)).chain(broken))
    }
}

impl Desk {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node, strangers: Arc::default() }
    }

    /// What the token of a request is worth, or what is to be said to whoever carries none that is right.
    pub(super) fn pass(&self, request: &Request) -> Result<Pass, Status> {
        let token = bearer(request.headers());
        if let Some(actor) = token.and_then(|token| self.node.identities.actor_of_token(token)) {
            return Ok(Pass { caller: Caller { actor: Some(actor) }, revoked: None });
        }
        if let Some((actor, revoked)) = token.and_then(|token| self.node.clients.owner(token)) {
            return Ok(Pass { caller: Caller { actor: Some(actor) }, revoked: Some(revoked) });
        }
        Err(self.turned_away(request.extensions().get::<Whence>().and_then(|whence| whence.0)))
    }

    fn turned_away(&self, from: Option<IpAddr>) -> Status {
        let now_ms = self.node.env.clock.monotonic_ms();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = from.map_or(Verdict::Explain, |from| strangers.err(from, now_ms));
        if let (Verdict::Report, Some(from)) = (verdict, from) {
            tracing::warn!(%from, "many calls with wrong tokens come from there; for a while it is only told to wait");
        }
        match verdict {
            Verdict::Explain => stranger(&self.node, from),
            Verdict::Report | Verdict::Wait => {
                ApiError::new(Reason::TooBusy, "Too many calls with wrong tokens came from this address.")
                    .next("Wait a minute. If the token was taken back, get a new ticket.")
                    .into()
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What is said to whoever carries none. Where things lie on the node's disk is told on its own machine only.
fn stranger(node: &Node, from: Option<IpAddr>) -> Status {
    let error = ApiError::new(Reason::Unauthenticated, "This call carries no token that this node knows.");
    if !from.is_some_and(|from| from.is_loopback()) {
        let next = "If it was taken back or mistyped, get a new ticket: `openprod token create` on the node's machine.";
        return error.next(next).into();
    }
    let path = match node.identities.default_actor() {
        Some(actor) => node.identities.token_path(actor),
        None => node.folder.tokens(),
    };
    error
        .next(format!(
            "Send the header \"authorization: Bearer TOKEN\" with the content of {} on the node's machine, \
             or call through its Unix socket, which needs no token.",
            path.display()
        ))
        .into()
}

/// Refuses what there is no room for, rather than let it wait without bound.
async fn admitted(State(hall): State<Arc<Hall>>, mut request: Request, next: Next) -> Response {
    let Ok(_room) = hall.room.try_acquire() else {
        metrics::counter!(telemetry::REQUESTS_SHED).increment(1);
        return services::too_busy().into_http();
    };
    request.extensions_mut().insert(hall.streams.clone());
    metrics::gauge!(telemetry::REQUESTS_RUNNING).increment(1);
    let _running = Running;
    next.run(request).await
}

/// Counts down also when the caller goes away and the future is dropped.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        metrics::gauge!(telemetry::REQUESTS_RUNNING).decrement(1);
    }
}

/// Gives the request a number that stands in each of its log lines and in its answer, and counts how it went.
async fn counted(State(hall): State<Arc<Hall>>, request: Request, next: Next) -> Response {
    let number = hall.next.fetch_add(1, Ordering::Relaxed);
    let path = request.uri().path().to_owned();
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((UNKNOWN, UNKNOWN));
    let span = tracing::info_span!("call", request = number, service, method);
    let begun = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let code = code_of(&response);
    let _in_call = span.entered();
    tracing::debug!(?code, ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "answered");
    // Methods that do not exist are named by whoever calls them: they must not become series of metrics.
    let (service, method) = if code == Code::Unimplemented { (UNKNOWN, UNKNOWN) } else { (service, method) };
    count(service, method, code);
    if response.extensions().get::<Streamed>().is_none() && code != Code::Unimplemented {
        let seconds = metrics::histogram!(
            telemetry::REQUEST_SECONDS, "service" => service.to_owned(), "method" => method.to_owned()
        );
        seconds.record(begun.elapsed());
    }
    response.headers_mut().insert(REQUEST_ID, HeaderValue::from(number));
    response
}

fn count(service: &str, method: &str, code: Code) {
    let labels = [("service", service.to_owned()), ("method", method.to_owned()), ("code", canonical(code).to_owned())];
    metrics::counter!(telemetry::REQUESTS, &labels).increment(1);
}

/// The status of an answer. Only failed answers carry it in front; that of a stream comes after its last part.
fn code_of(response: &Response) -> Code {
    response.headers().get(Status::GRPC_STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

fn canonical(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Holds the call to its `grpc-timeout`: begun before the deadline or not at all, and answered before it. Streams get
/// the deadline as an extension and end by themselves.
async fn in_time(mut request: Request, next: Next) -> Response {
    let Some(given) = request.headers().get("grpc-timeout") else { return next.run(request).await };
    let Some(timeout) = given.to_str().ok().and_then(timeout) else {
        let refusal = ApiError::new(Reason::InvalidRequest, "The header grpc-timeout is not a number and a unit.");
        return Status::from(refusal).into_http();
    };
    let Some(deadline) = Instant::now().checked_add(timeout) else { return next.run(request).await };
    if deadline <= Instant::now() {
        return services::deadline_exceeded().into_http();
    }
    request.extensions_mut().insert(Deadline(deadline));
    match tokio::time::timeout_at(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => services::deadline_exceeded().into_http(),
    }
}

/// A timeout as gRPC writes it: up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 =
        digits.parse().ok().filter(|_| digits.len() <= 8 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    match unit {
        "H" => Some(Duration::from_hours(number)),
        "M" => Some(Duration::from_mins(number)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

async fn without_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        // The panic hook has written down what and where.
        Err(_) => services::internal("a handler panicked").into_http(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_hours(99_999_999)));
        for wrong in ["", "m", "1", "123456789S", "-1S", "+1S", "1x", "é"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tokens_are_found_whatever_the_case_of_the_scheme() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("bearer abc "));
        assert_eq!(bearer(&headers), Some("abc"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic abc"));
        assert_eq!(bearer(&headers), None);
    }

    #[tokio::test]
    async fn a_call_that_outlasts_its_deadline_is_answered_at_it_and_one_that_is_past_is_not_begun() {
        use axum::routing::post;
        use tower::ServiceExt;
        let endless = post(async || std::future::pending::<&'static str>().await);
        let never = post(async || -> &'static str { panic!("begun after its deadline") });
        let app: Router =
            Router::new().route("/a.B/C", endless).route("/a.B/D", never).layer(middleware::from_fn(in_time));
        for (path, timeout) in [("/a.B/C", "1m"), ("/a.B/D", "0n")] {
            let request = Request::post(path).header("grpc-timeout", timeout).body(axum::body::Body::empty()).unwrap();
            assert_eq!(code_of(&app.clone().oneshot(request).await.unwrap()), Code::DeadlineExceeded, "{path}");
        }
    }

    #[tokio::test]
    async fn a_panic_becomes_a_status_without_details() {
        use axum::routing::post;
        use tower::ServiceExt;
        let broken = async || -> &'static str { panic!("the secret is 42") };
        let app: Router = Router::new().route("/a.B/C", post(broken)).layer(middleware::from_fn(without_panics));
        let request = Request::post("/a.B/C").body(axum::body::Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(code_of(&response), Code::Internal);
        assert!(!format!("{:?}", response.headers()).contains("42"));
    }
}
