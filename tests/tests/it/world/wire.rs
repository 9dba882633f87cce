//! Bytes on the TCP door, as a browser or an attacker would send them.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer to plain HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status of gRPC, from the headers or from the trailers in the body.
    pub(crate) fn grpc_status(&self) -> String {
        let all = format!("{}\n{}", self.head, self.text()).to_lowercase();
        let line = all.lines().find_map(|line| line.rsplit_once("grpc-status:")).unwrap_or_else(|| panic!("{self:?}"));
        line.1.trim().to_owned()
    }
}

/// Sends an HTTP/1.1 request with exactly these headers, and reads until the node closes the connection.
pub(crate) async fn raw(address: &str, start: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = begins(address, start, headers, body.len()).await;
    // A node that refuses by the headers need not read the body.
    let _ = stream.write_all(body).await;
    rest_of(stream).await
}

/// Sends the head of such a request, which announces a body of so many bytes.
pub(crate) async fn begins(address: &str, start: &str, headers: &[(&str, &str)], length: usize) -> TcpStream {
    let mut request = format!("{start} HTTP/1.1\r\n");
    for (name, value) in headers.iter().chain(&[("connection", "close")]) {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    write!(request, "content-length: {length}\r\n\r\n").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// What is answered, until the node closes the connection.
pub(crate) async fn rest_of(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    Answer { status, head, body: bytes.get(head_end + 4..).unwrap_or_default().to_vec() }
}

/// Calls a method as a browser does (gRPC-Web), with these headers beside the usual ones.
pub(crate) async fn grpc_web(address: &str, method: &str, headers: &[(&str, &str)], message: &[u8]) -> Answer {
    let start = format!("POST /openprod.v1.{method}");
    let mut all = vec![("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
    if !headers.iter().any(|(name, _)| *name == "host") {
        all.push(("host", address));
    }
    all.extend_from_slice(headers);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    raw(address, &start, &all, &[&[0], &length[..], message].concat()).await
}
