//! The book of peers: the nodes remembered from one run to the next, in one file of the node's folder.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use openprod_links::endpoint::{KnownPeer, PeerBook};
use serde::{Deserialize, Serialize};

use crate::folder;

const FORMAT: u32 = 1;

/// `peers.toml`.
pub(super) struct Book(pub(super) PathBuf);

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    #[serde(default)]
    peer: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    addresses: Vec<SocketAddr>,
}

impl Book {
    fn wrong(&self, why: impl std::fmt::Display) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", self.0.display()))
    }

    fn peer(&self, entry: Entry) -> io::Result<KnownPeer> {
        let key = entry.key.map(|key| key.parse().map_err(|error| self.wrong(error))).transpose()?;
        Ok(KnownPeer { key, addresses: entry.addresses })
    }
}

impl PeerBook for Book {
    fn load(&self) -> io::Result<Vec<KnownPeer>> {
        let text = match std::fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let written: Written = toml::from_str(&text).map_err(|error| self.wrong(error.message()))?;
        if written.format != FORMAT {
            return Err(self.wrong(format!("format {} is newer than {FORMAT}", written.format)));
        }
        written.peer.into_iter().map(|entry| self.peer(entry)).collect()
    }

    fn store(&self, peers: &[KnownPeer]) -> io::Result<()> {
        let entry =
            |peer: &KnownPeer| Entry { key: peer.key.map(|key| key.to_string()), addresses: peer.addresses.clone() };
        let written = Written { format: FORMAT, peer: peers.iter().map(entry).collect() };
        let text = toml::to_string(&written).map_err(io::Error::other)?;
        folder::write_over(&self.0, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use openprod_model::ids::ActorId;

    use super::*;

    #[test]
    fn peers_are_remembered_and_a_damaged_book_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book(folder.path().join("peers.toml"));
        assert_eq!(book.load().unwrap(), []);
        let addresses = vec!["10.0.0.5:7118".parse().unwrap(), "[fe80::1%3]:7118".parse().unwrap()];
        let peers = [
            KnownPeer { key: Some(ActorId::from_bytes([7; 32])), addresses },
            KnownPeer { key: None, addresses: vec!["10.0.0.6:7118".parse().unwrap()] },
        ];
        book.store(&peers).unwrap();
        assert_eq!(book.load().unwrap(), peers);
        std::fs::write(&book.0, "format = 2").unwrap();
        assert!(book.load().unwrap_err().to_string().ends_with("peers.toml: format 2 is newer than 1"));
    }
}
