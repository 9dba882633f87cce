//! The gate of the TCP door: requests that a browser was tricked into sending do not pass.
//!
//! A page that resolves its own name to 127.0.0.1 (DNS rebinding) still sends that name as Host; a page elsewhere that
//! posts here sends its Origin. Both are checked before anything is read (RFC 9110, sections 7.4 and 15.5.20; WHATWG
//! Fetch for the answers that allowed pages need).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::{calls, files, pages};
use crate::certificate;
use crate::config::{Config, is_beyond};

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// What an allowed page may read of an answer.
const EXPOSED: &str = "grpc-status,grpc-message,grpc-status-details-bin,x-request-id,\
     accept-ranges,content-disposition,content-range,etag,location";
/// What an allowed page may send.
const ACCEPTED: &str = "authorization,content-type,grpc-timeout,if-none-match,if-range,range,x-grpc-web,x-user-agent";

/// Whom the gate lets in beside this machine.
struct Allowed {
    hosts: Vec<String>,
    /// Whether other machines call, too: then they may call this one by any address. No name can be made to stand for an
    /// address that is written out.
    by_address: bool,
    origins: Vec<String>,
}

/// Puts the gate before everything that `app` serves.
pub(super) fn lock(app: Router, config: &Config) -> Router {
    let by_address = config.listen.is_some_and(is_beyond);
    let own_names = if by_address { certificate::own_names() } else { Vec::new() };
    let own_names = own_names.into_iter().chain(by_address.then(|| certificate::NAME.to_owned()));
    let hosts = config.allowed_hosts.iter().cloned().chain(own_names).collect();
    let allowed = Allowed { hosts, by_address, origins: config.allowed_origins.clone() };
    plain_requests_stay_out(app).layer(middleware::from_fn_with_state(Arc::new(allowed), check))
}

/// Answers plain HTTP that is neither a page nor gRPC, so that those behind need not expect it.
pub(super) fn plain_requests_stay_out(app: Router) -> Router {
    app.layer(middleware::from_fn(sort))
}

async fn sort(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if calls::is_grpc(request.headers()) || pages::PATHS.contains(&path) || files::is_one(path) {
        return next.run(request).await;
    }
    refuse(
        StatusCode::NOT_FOUND,
        "There is no such page here. This port speaks gRPC; see also /healthz and /metrics.\n",
    )
}

async fn check(State(allowed): State<Arc<Allowed>>, request: Request, next: Next) -> Response {
    let host = request.uri().authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| text(request.headers(), header::HOST));
    if !host.is_some_and(|host| is_ours(host, &allowed.hosts) || allowed.by_address && is_address(host)) {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "This node is not called so. Call it localhost, or add the name to allowed_hosts.\n",
        );
    }
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else { return next.run(request).await };
    if !origin.to_str().is_ok_and(|origin| may_call(origin, &allowed.origins)) {
        return refuse(
            StatusCode::FORBIDDEN,
            "Pages of this origin may not call this node. Add the origin to allowed_origins if they should.\n",
        );
    }
    let mut response = if request.method() == Method::OPTIONS { preflight() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// The answer to a browser that asks before it calls (CORS).
fn preflight() -> Response {
    let mut response = refuse(StatusCode::NO_CONTENT, "");
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,HEAD,POST,PUT"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ACCEPTED));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Whether a Host is this machine, or one of `more`: with any port, or with exactly the one given there.
fn is_ours(host: &str, more: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    let name = without_port(&host);
    LOOPBACK.contains(&name) || more.iter().any(|allowed| *allowed == host || *allowed == name)
}

/// Whether a Host is an address rather than a name.
fn is_address(host: &str) -> bool {
    let host = without_port(host);
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inside.map_or_else(|| host.parse::<Ipv4Addr>().is_ok(), |host| host.parse::<Ipv6Addr>().is_ok())
}

/// Whether pages of an origin may call: those of this machine, and of the origins allowed.
fn may_call(origin: &str, more: &[String]) -> bool {
    let origin = origin.to_ascii_lowercase();
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| LOOPBACK.contains(&without_port(authority))) || more.contains(&origin)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => authority,
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn refuse(status: StatusCode, why: &'static str) -> Response {
    let mut response = Response::new(Body::from(why));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_all_its_names_and_nobody_elses() {
        let more = ["stage.local".to_owned(), "desk.example.org:7117".to_owned()];
        for host in ["localhost", "LOCALHOST:7117", "127.0.0.1:1", "[::1]", "[::1]:80", "stage.local:9"] {
            assert!(is_ours(host, &more), "{host}");
        }
        assert!(is_ours("desk.example.org:7117", &more));
        for host in ["desk.example.org", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "::1", "x:y"]
        {
            assert!(!is_ours(host, &more), "{host}");
        }
    }

    #[test]
    fn an_address_is_not_a_name() {
        for host in ["10.0.0.5", "10.0.0.5:7117", "[fd00::2]", "[fd00::2]:7117"] {
            assert!(is_address(host), "{host}");
        }
        for host in ["10.0.0.5.nip.io", "10.0.5", "fd00::2", "[fd00::2", "stage.local", ""] {
            assert!(!is_address(host), "{host}");
        }
    }

    #[test]
    fn pages_call_from_this_machine_or_by_leave() {
        let more = ["https://desk.example.org".to_owned()];
        for origin in ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:80", "https://desk.example.org"] {
            assert!(may_call(origin, &more), "{origin}");
        }
        for origin in ["null", "http://desk.example.org", "https://localhost.evil.example", "file://", "localhost"] {
            assert!(!may_call(origin, &more), "{origin}");
        }
    }
}
