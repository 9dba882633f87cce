//! Files by plain HTTP, for browsers: `GET` and `HEAD` with ranges, `PUT` under the file's hash, `POST` to be told it.
//!
//! ```text
//! GET, HEAD, PUT  /workspaces/ID/blobs/HASH
//! POST            /workspaces/ID/blobs
//! GET             /workspaces/ID/blobs/HASH/thumbnail
//! ```
//!
//! A file never changes, so its hash is its ETag, and what a browser has once it need not ask for again. What is in a file
//! is whatever somebody put there: it is never run as a page of this node (sandboxed, nosniff), and only what is a picture,
//! sound, film, PDF or plain text is shown at all; everything else is saved.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use futures::{StreamExt, TryStreamExt};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use openprod_api::status::ApiError;
use openprod_api::v1::Reason;
use openprod_blobs::outline::MAX_BLOB_BYTES;
use openprod_messages::watch;
use openprod_model::ids::BlobHash;
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::calls::Desk;
use super::range::{Asked, asked};
use crate::files::{self, FileError, Known};
use crate::node::Node;
use crate::services::calling::by;
use crate::services::{self, Caller};
use crate::workspace::Workspace;

/// Most files under way at once by plain HTTP; beyond that, browsers are told to come again.
const AT_ONCE: usize = 128;
/// A browser may keep what it has for a year: the longest that the standard advises, and a file never changes.
const KEEP: &str = "private, max-age=31536000, immutable";
/// Whatever is in it, it is not a page of this node.
const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";
/// What may be shown in a browser rather than saved, by the beginning of its media type.
const SHOWN: [&str; 9] = [
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
    "image/avif",
    "audio/",
    "video/",
    "application/pdf",
    "text/plain",
];

#[derive(Clone)]
struct Counter {
    node: Arc<Node>,
    room: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

/// Whether a path is one of these.
pub(super) fn is_one(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    parts.next() == Some("workspaces") && parts.nth(1) == Some("blobs")
}

/// The files of this node's workspaces, for whoever can open the Unix socket.
pub(super) fn for_own_user(node: &Arc<Node>, stopping: &watch::Receiver<bool>) -> Router {
    let as_own_user = async |request: Request, next: Next| by(Caller { actor: None }, next.run(request)).await;
    routes(node, stopping).layer(middleware::from_fn(as_own_user))
}

fn routes(node: &Arc<Node>, stopping: &watch::Receiver<bool>) -> Router {
    let (node, stopping) = (Arc::clone(node), stopping.clone());
    let counter = Counter { node, room: Arc::new(Semaphore::new(AT_ONCE)), stopping };
    Router::new()
        .route("/workspaces/{workspace}/blobs", post(take))
        .route("/workspaces/{workspace}/blobs/{hash}", get(give).put(take_as))
        .route("/workspaces/{workspace}/blobs/{hash}/thumbnail", get(give_small))
        .with_state(counter)
}

/// The same for whoever carries a token.
pub(super) fn by_token(node: &Arc<Node>, desk: Desk, stopping: &watch::Receiver<bool>) -> Router {
    routes(node, stopping).layer(middleware::from_fn_with_state(desk, identified))
}

async fn identified(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    match desk.pass(&request) {
        Ok(pass) => {
            let response = by(pass.caller, next.run(request.map(|body| pass.while_good(body)))).await;
            if response.body().size_hint().exact().is_some() {
                return response;
            }
            response.map(|body| pass.while_good(body))
        }
        Err(status) => {
            let mut response = refused(&status);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

async fn give(
    State(counter): State<Counter>,
    Path((workspace, hash)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    given(counter, &workspace, &hash, &method, &headers).await.unwrap_or_else(|status| refused(&status))
}

async fn given(
    counter: Counter,
    workspace: &str,
    hash: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let place = Arc::clone(&counter.room).try_acquire_owned().map_err(|_| services::too_busy())?;
    let (workspace, hash) = (services::workspace(&counter.node, workspace)?, parsed(hash)?);
    let (known, reader) = files::open(&workspace, &counter.node.env, hash).await?;
    let size = reader.size();
    let mut response = Response::new(Body::empty());
    describe(response.headers_mut(), &known);
    if named(headers, header::IF_NONE_MATCH, hash) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let range = text(headers, header::RANGE).filter(|_| is_in_range(headers, hash));
    let part = match asked(range, size) {
        Asked::Whole => 0..size,
        Asked::Part(part) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let said = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            put(response.headers_mut(), header::CONTENT_RANGE, &said);
            part
        }
        Asked::Nothing => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            put(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(response);
        }
    };
    put(response.headers_mut(), header::CONTENT_LENGTH, &(part.end - part.start).to_string());
    if method != Method::HEAD {
        let pieces = files::pieces(counter.node.env.clone(), reader, part).map_err(|error| broke_off(&error));
        let ends = services::stopped(counter.stopping);
        let pieces = pieces.take_until(ends).map(move |piece| {
            // As long as the file is under way, it takes its place.
            let _held = &place;
            piece
        });
        *response.body_mut() = Body::from_stream(pieces);
    }
    Ok(response)
}

/// The file is not whole, so its receiver must not take it for that: the connection ends short.
fn broke_off(error: &FileError) -> std::io::Error {
    tracing::warn!(?error, "a file could not be given to its end");
    std::io::ErrorKind::BrokenPipe.into()
}

/// What is said of a file beside its bytes.
fn describe(headers: &mut HeaderMap, known: &Known) {
    let media_type = known.mention.as_ref().map_or("", |mention| mention.media_type.as_str());
    let shown = SHOWN.iter().any(|begins| media_type.starts_with(begins));
    let media_type = if media_type.is_empty() { "application/octet-stream" } else { media_type };
    put(headers, header::CONTENT_TYPE, media_type);
    put(headers, header::CONTENT_DISPOSITION, &disposition(shown, known));
    put(headers, header::ETAG, &etag(known.hash));
    put(headers, header::ACCEPT_RANGES, "bytes");
    put(headers, header::CACHE_CONTROL, KEEP);
    put(headers, header::CONTENT_SECURITY_POLICY, SANDBOX);
    put(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
}

/// Whether it is shown or saved, and under which name (RFC 6266; the name as RFC 8187 writes it).
fn disposition(shown: bool, known: &Known) -> String {
    let how = if shown { "inline" } else { "attachment" };
    let name = known.called();
    let escaped: String = name
        .bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    format!("{how}; filename*=UTF-8''{escaped}")
}

fn etag(hash: BlobHash) -> String {
    format!("\"{hash}\"")
}

/// Whether a header of entity tags names this file.
fn named(headers: &HeaderMap, header: header::HeaderName, hash: BlobHash) -> bool {
    let tags = text(headers, header).unwrap_or_default();
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag(hash))
}

/// Whether a range is meant of this very file: If-Range names another only if the asker has another.
fn is_in_range(headers: &HeaderMap, hash: BlobHash) -> bool {
    text(headers, header::IF_RANGE).is_none_or(|tag| tag == etag(hash))
}

async fn give_small(State(counter): State<Counter>, Path((workspace, hash)): Path<(String, String)>) -> Response {
    given_small(&counter, &workspace, &hash).await.unwrap_or_else(|status| refused(&status))
}

async fn given_small(counter: &Counter, workspace: &str, hash: &str) -> Result<Response, Status> {
    let _place = counter.room.try_acquire().map_err(|_| services::too_busy())?;
    let workspace = services::workspace(&counter.node, workspace)?;
    let png = files::thumbnail(&counter.node.env, &workspace, parsed(hash)?).await?;
    let mut response = Response::new(Body::from(png));
    let headers = response.headers_mut();
    put(headers, header::CONTENT_TYPE, "image/png");
    put(headers, header::CACHE_CONTROL, KEEP);
    put(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    Ok(response)
}

async fn take(
    State(counter): State<Counter>,
    Path(workspace): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    taken(&counter, &workspace, None, &headers, body).await.unwrap_or_else(|status| refused(&status))
}

async fn take_as(
    State(counter): State<Counter>,
    Path((workspace, hash)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let taken = match parsed(&hash) {
        Ok(hash) => taken(&counter, &workspace, Some(hash), &headers, body).await,
        Err(status) => Err(status),
    };
    taken.unwrap_or_else(|status| refused(&status))
}

async fn taken(
    counter: &Counter,
    workspace: &str,
    expected: Option<BlobHash>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Status> {
    let _place = counter.room.try_acquire().map_err(|_| services::too_busy())?;
    let announced = text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BLOB_BYTES) {
        return Err(FileError::from(openprod_messages::blobs::BlobError::TooLarge { max: MAX_BLOB_BYTES }).into());
    }
    let workspace: Workspace = services::workspace(&counter.node, workspace)?;
    let cut_short = |_| FileError::Unavailable("The upload broke off.".to_owned());
    let chunks = body.into_data_stream().map_err(cut_short);
    let kept = files::put(&counter.node.env, &workspace.library, expected, chunks).await?;
    let told = serde_json::json!({ "hash": kept.hash.to_string(), "size": kept.size });
    let mut response = Response::new(Body::from(format!("{told}\n")));
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    put(headers, header::CONTENT_TYPE, "application/json");
    put(headers, header::ETAG, &etag(kept.hash));
    put(headers, header::LOCATION, &format!("/workspaces/{}/blobs/{}", workspace.id, kept.hash));
    Ok(response)
}

fn parsed(hash: &str) -> Result<BlobHash, Status> {
    hash.parse().map_err(|_| {
        ApiError::new(Reason::InvalidValue, "The path does not end in the hash of a file: 64 hexadecimal digits.")
            .into()
    })
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A header; what cannot stand in one, such as a line break in a media type, is left out.
fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A refusal, in a sentence, under the status of HTTP that says the same.
fn refused(status: &Status) -> Response {
    let error = ApiError::from(status.clone());
    let code = match (error.code, error.known_reason()) {
        (_, Some(Reason::BlobDeleted)) => StatusCode::GONE,
        (_, Some(Reason::DiskFull)) => StatusCode::INSUFFICIENT_STORAGE,
        (_, Some(Reason::TooLarge)) => StatusCode::PAYLOAD_TOO_LARGE,
        (Code::NotFound, _) => StatusCode::NOT_FOUND,
        (Code::InvalidArgument, _) => StatusCode::BAD_REQUEST,
        (Code::Unauthenticated, _) => StatusCode::UNAUTHORIZED,
        (Code::PermissionDenied, _) => StatusCode::FORBIDDEN,
        (Code::ResourceExhausted | Code::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response =
        Response::new(Body::from(format!("{} {}\n", error.message, error.next).trim_end().to_owned() + "\n"));
    *response.status_mut() = code;
    put(response.headers_mut(), header::CONTENT_TYPE, "text/plain; charset=utf-8");
    put(response.headers_mut(), header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_files_pass() {
        assert!(is_one("/workspaces/x/blobs") && is_one("/workspaces/x/blobs/y"));
        for other in ["/", "/workspaces", "/workspaces/x", "/blobs", "/x/workspaces/y/blobs", "/workspaces//x/blobs"] {
            assert!(!is_one(other), "{other}");
        }
    }

    #[test]
    fn names_that_are_no_headers_are_escaped() {
        let mention = openprod_blobs::tables::MentionRow {
            size: 1,
            name: "Bühne\r\n\"1\".pdf".to_owned(),
            media_type: String::new(),
            last_ms: 0,
        };
        let hash = BlobHash::from_bytes([1; 32]);
        let known = Known { hash, kept: None, mention: Some(mention), deletion: String::new() };
        assert_eq!(disposition(true, &known), "inline; filename*=UTF-8''B%C3%BChne%0D%0A%221%22.pdf");
    }
}
