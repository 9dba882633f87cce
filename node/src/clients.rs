//! Clients on other machines: the tokens that were given out to them, each with a name, so that one can be taken back.
//!
//! Of a token only its hash is kept: the file tells nobody how to call.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use openprod_client::BearerToken;
use openprod_messages::environment::Randomness;
use openprod_messages::watch;
use openprod_model::ids::ActorId;
use serde::{Deserialize, Serialize};

use crate::{environment, folder};

const FORMAT: u32 = 1;
/// Most tokens at once: every device of a large house, and each call still compares in no time.
pub const MAX_TOKENS: usize = 1_000;
/// Hexadecimal digits of a token's id.
const ID_DIGITS: usize = 8;

/// Why tokens could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The system did not let us.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not one of this version.
    #[error("{path} is not a list of tokens of this version: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There are as many as there may be.
    #[error("{MAX_TOKENS} tokens are given out already")]
    Full,
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientToken {
    /// What it is named by: the beginning of its hash.
    pub id: String,
    /// What people call the client.
    pub name: String,
    /// The identity as which it acts.
    pub actor: ActorId,
    /// When it was made, by this node's clock, in milliseconds since 1970.
    pub created_ms: u64,
    /// The BLAKE3 of the token.
    hash: String,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    #[serde(default)]
    tokens: Vec<ClientToken>,
}

/// The tokens of this node's clients.
pub struct Clients {
    path: PathBuf,
    known: RwLock<Vec<Known>>,
}

struct Known {
    token: ClientToken,
    revoked: watch::Sender<bool>,
}

impl Clients {
    /// Reads the tokens kept in `path`; there need not be any.
    pub fn open(path: PathBuf) -> Result<Self, ClientsError> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path, known: RwLock::default() });
            }
            Err(source) => return Err(ClientsError::Io { path, source }),
        };
        let wrong = |why: String| ClientsError::Format { path: path.clone(), why };
        let file: File = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        if file.format != FORMAT {
            return Err(wrong(format!("format {} is newer than {FORMAT}", file.format)));
        }
        let known = file.tokens.into_iter().map(|token| Known { token, revoked: watch::Sender::default() }).collect();
        Ok(Self { path, known: RwLock::new(known) })
    }

    /// Makes a token for a client called `name` that is to act as `actor`. It is told this once.
    pub fn create(
        &self,
        name: &str,
        actor: ActorId,
        now_ms: u64,
        random: &dyn Randomness,
    ) -> Result<(ClientToken, BearerToken), ClientsError> {
        let secret = BearerToken::from_bytes(*environment::secret(random));
        let hash = blake3::hash(secret.reveal().as_bytes()).to_hex().to_string();
        let token =
            ClientToken { id: hash[..ID_DIGITS].to_owned(), name: name.to_owned(), actor, created_ms: now_ms, hash };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TOKENS {
            return Err(ClientsError::Full);
        }
        let all = known.iter().map(|known| &known.token).chain([&token]);
        self.store(all.cloned().collect())?;
        known.push(Known { token: token.clone(), revoked: watch::Sender::default() });
        Ok((token, secret))
    }

    /// Takes a token back; what is under way with it ends. None if there is no such token.
    pub fn revoke(&self, id: &str) -> Result<Option<ClientToken>, ClientsError> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = known.iter().position(|known| known.token.id == id) else { return Ok(None) };
        self.store(known.iter().map(|known| &known.token).filter(|token| token.id != id).cloned().collect())?;
        let Known { token, revoked } = known.swap_remove(place);
        revoked.send_replace(true);
        Ok(Some(token))
    }

    /// The tokens that were given out, the latest first.
    pub fn list(&self) -> Vec<ClientToken> {
        let mut all: Vec<_> = self.read().iter().map(|known| known.token.clone()).collect();
        all.sort_by_key(|token| std::cmp::Reverse(token.created_ms));
        all
    }

    /// As whom a client acts that shows this token, and word of when the token is taken back.
    pub fn owner(&self, shown: &str) -> Option<(ActorId, watch::Receiver<bool>)> {
        let hash = blake3::hash(shown.as_bytes());
        let known = self.read();
        // Comparing hashes in time that does not depend on where they differ.
        let found = known.iter().find(|known| blake3::Hash::from_hex(&known.token.hash).is_ok_and(|of| of == hash))?;
        Some((found.token.actor, found.revoked.subscribe()))
    }

    fn store(&self, tokens: Vec<ClientToken>) -> Result<(), ClientsError> {
        let text = toml::to_string(&File { format: FORMAT, tokens }).expect("plain fields are TOML");
        let failed = |source| ClientsError::Io { path: self.path.clone(), source };
        folder::write_over(&self.path, text.as_bytes()).map_err(failed)
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARA: ActorId = ActorId::from_bytes([1; 32]);

    #[tokio::test]
    async fn a_token_outlives_a_restart_until_it_is_taken_back_and_lies_nowhere_in_clear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clients.toml");
        let random = environment::real().random;
        let clients = Clients::open(path.clone()).unwrap();
        let (token, secret) = clients.create("Fly floor", MARA, 7, &*random).unwrap();
        let (other, _) = clients.create("Prompt desk", MARA, 8, &*random).unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&secret.reveal()));

        let clients = Clients::open(path.clone()).unwrap();
        let (actor, revoked) = clients.owner(&secret.reveal()).unwrap();
        assert_eq!((actor, *revoked.borrow()), (MARA, false));
        assert_eq!(clients.list(), [other.clone(), token.clone()]);
        assert_eq!(clients.revoke(&token.id).unwrap(), Some(token.clone()));
        assert!(*revoked.borrow() && clients.owner(&secret.reveal()).is_none());
        assert_eq!(clients.revoke(&token.id).unwrap(), None);
        assert_eq!(Clients::open(path).unwrap().list(), [other]);
    }

    #[test]
    fn a_list_of_a_newer_version_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clients.toml");
        std::fs::write(&path, "format = 2\n").unwrap();
        let refusal = Clients::open(path).err().unwrap().to_string();
        assert!(refusal.contains("newer than 1"), "{refusal}");
    }
}
