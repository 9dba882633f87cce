//! The doors: a Unix socket that only its own user opens, and a TCP port.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as Knock;
use std::path::Path;
use std::sync::Arc;

use axum::serve::{Listener, ListenerExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::ServeError;
use crate::node::Node;

/// `sockaddr_un` holds 108 bytes on Linux, the closing zero included.
const MAX_PATH_BYTES: usize = 107;

/// Opens the Unix socket at `path` with mode 0600. A socket there to which nobody listens is what a node left that did
/// not stop by itself, and is replaced; the node's folder must be locked by this process.
pub(super) fn socket(path: &Path) -> Result<OwnUser, ServeError> {
    let length = path.as_os_str().len();
    if length > MAX_PATH_BYTES {
        return Err(ServeError::PathTooLong { path: path.to_owned(), length, max: MAX_PATH_BYTES });
    }
    clear(path)?;
    let failed = |error| ServeError::Socket(path.to_owned(), error);
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    tracing::info!(socket = %path.display(), "listening");
    Ok(OwnUser { listener, user: rustix::process::geteuid().as_raw() })
}

fn clear(path: &Path) -> Result<(), ServeError> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ServeError::Socket(path.to_owned(), error)),
    };
    if !kind.is_socket() {
        return Err(ServeError::NotASocket(path.to_owned()));
    }
    if Knock::connect(path).is_ok() {
        return Err(ServeError::SocketInUse(path.to_owned()));
    }
    std::fs::remove_file(path).map_err(|error| ServeError::Socket(path.to_owned(), error))
}

/// Removes the socket's file, so that clients see at once that nobody is there.
pub(super) fn remove_socket(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(socket = %path.display(), %error, "the socket could not be removed");
        }
        _ => {}
    }
}

/// A Unix socket that accepts connections of this process's user, and of the system's administrator.
pub(super) struct OwnUser {
    listener: UnixListener,
    user: u32,
}

impl Listener for OwnUser {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        const ROOT: u32 = 0;
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // The mode of the file says the same, but not in the moment between its making and its change of mode.
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == self.user || peer.uid() == ROOT => return (stream, address),
                Ok(peer) => tracing::warn!(user = peer.uid(), "another user was turned away from the socket"),
                Err(error) => tracing::warn!(%error, "somebody unknown was turned away from the socket"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Opens the TCP port, if there is to be one.
pub(super) async fn port(address: Option<SocketAddr>) -> Result<Option<impl Listener<Addr = SocketAddr>>, ServeError> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|error| ServeError::Address(address, error))?;
    tracing::info!(address = %listener.local_addr().unwrap_or(address), "listening");
    // Small answers must not wait for more to come (Nagle's algorithm).
    Ok(Some(listener.tap_io(|stream: &mut TcpStream| drop(stream.set_nodelay(true)))))
}

/// How the TCP port speaks TLS, if it does.
pub(super) fn tls(node: &Node) -> Result<Option<TlsAcceptor>, ServeError> {
    let Some(certificate) = &node.certificate else { return Ok(None) };
    tracing::info!(certificate = %certificate.fingerprint(), "clients on other machines know this node by");
    Ok(Some(TlsAcceptor::from(Arc::new(certificate.server_config()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let first = socket(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(socket(&path), Err(ServeError::SocketInUse(_))));
        drop(first);
        assert!(path.exists());
        drop(socket(&path).unwrap());
        remove_socket(&path);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone_and_long_paths_are_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "mine").unwrap();
        assert!(matches!(socket(&file), Err(ServeError::NotASocket(_))));
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        let long = folder.path().join("x".repeat(120));
        let refusal = socket(&long).err().unwrap().to_string();
        assert!(refusal.contains("may have 107 bytes"), "{refusal}");
    }
}
