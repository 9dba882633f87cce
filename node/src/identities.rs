//! Identities: the key pairs that this node holds, one file each, and the tokens that let programs act as them.

use std::path::{Path, PathBuf};
use std::sync::RwLock;

use openprod_messages::commands::Keyring;
use openprod_messages::environment::Randomness;
use openprod_model::identity::Keys;
use openprod_model::ids::ActorId;
use openprod_model::value::Text;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{environment, folder};

const FORMAT: u32 = 1;
const KEY_SUFFIX: &str = "key";
const DEFAULT_FILE: &str = "default";

/// A key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system did not let us.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a key file of a known format.
    #[error("{path} is not a key file of this version: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is here already.
    #[error("this node holds the identity {} already", .0.short())]
    Exists(ActorId),
}

/// The stored form. The secret is 64 hexadecimal digits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: u32,
    name: String,
    secret: Zeroizing<String>,
}

/// An actor whose keys this node holds.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its keys.
    pub keys: Keys,
    /// What it is called where it is admitted.
    pub name: Text,
    token: Zeroizing<String>,
}

/// All identities of this node.
pub struct Identities {
    keys: PathBuf,
    tokens: PathBuf,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    identities: Vec<Identity>,
    default: Option<ActorId>,
}

/// Reads the key in `path`, or makes one there under `name`.
pub fn key_at(path: &Path, name: &str, random: &dyn Randomness) -> Result<Keys, IdentityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text).map(|(keys, _)| keys),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let keys = Keys::from_seed(&environment::secret(random));
            store(path, &keys, name)?;
            Ok(keys)
        }
        Err(source) => Err(IdentityError::Io { path: path.to_owned(), source }),
    }
}

fn parse(path: &Path, text: &str) -> Result<(Keys, Text), IdentityError> {
    let wrong = |why: String| IdentityError::Format { path: path.to_owned(), why };
    let file: KeyFile = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
    if file.format != FORMAT {
        return Err(wrong(format!("format {} is newer than {FORMAT}", file.format)));
    }
    let seed: ActorId = file.secret.parse().map_err(|_| wrong("the secret is not 64 hexadecimal digits".to_owned()))?;
    let name = Text::new(&file.name).map_err(|error| wrong(error.to_string()))?;
    Ok((Keys::from_seed(seed.as_bytes()), name))
}

fn store(path: &Path, keys: &Keys, name: &str) -> Result<(), IdentityError> {
    let secret = ActorId::from_bytes(*keys.seed()).to_string();
    let file = KeyFile { format: FORMAT, name: name.to_owned(), secret: Zeroizing::new(secret) };
    let text = Zeroizing::new(toml::to_string(&file).expect("three plain fields are TOML"));
    folder::write_new(path, text.as_bytes()).map_err(|source| IdentityError::Io { path: path.to_owned(), source })
}

impl Identities {
    /// Reads all identities of a node's folder; makes a first one, called `first_name`, where there is none.
    pub fn open(
        keys: PathBuf,
        tokens: PathBuf,
        first_name: &str,
        random: &dyn Randomness,
    ) -> Result<Self, IdentityError> {
        let this = Self { keys, tokens, known: RwLock::default() };
        let mut known = Known::default();
        for path in this.key_files()? {
            let text = std::fs::read_to_string(&path).map_err(io_at(&path))?;
            let (keys, name) = parse(&path, &text)?;
            let token = this.token(keys.actor(), random)?;
            known.identities.push(Identity { keys, name, token });
        }
        let default = std::fs::read_to_string(this.keys.join(DEFAULT_FILE)).ok();
        known.default = default.and_then(|text| text.trim().parse().ok());
        *this.write() = known;
        if this.list().is_empty() {
            this.create(first_name, random)?;
        }
        Ok(this)
    }

    fn key_files(&self) -> Result<Vec<PathBuf>, IdentityError> {
        let entries = std::fs::read_dir(&self.keys).map_err(io_at(&self.keys))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(io_at(&self.keys)));
        let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|suffix| suffix == KEY_SUFFIX));
        paths.sort();
        Ok(paths)
    }

    /// Makes an identity called `name`.
    pub fn create(&self, name: &str, random: &dyn Randomness) -> Result<Identity, IdentityError> {
        self.add(Keys::from_seed(&environment::secret(random)), name, random)
    }

    /// Takes in `keys`, to be called `name`. The first identity becomes the default one.
    pub fn add(&self, keys: Keys, name: &str, random: &dyn Randomness) -> Result<Identity, IdentityError> {
        let actor = keys.actor();
        if self.list().iter().any(|identity| identity.keys.actor() == actor) {
            return Err(IdentityError::Exists(actor));
        }
        let path = self.keys.join(format!("{actor}.{KEY_SUFFIX}"));
        let text =
            Text::new(name).map_err(|error| IdentityError::Format { path: path.clone(), why: error.to_string() })?;
        store(&path, &keys, name)?;
        let identity = Identity { keys, name: text, token: self.token(actor, random)? };
        self.write().identities.push(identity.clone());
        if self.read().default.is_none() {
            self.set_default(actor)?;
        }
        Ok(identity)
    }

    /// Makes `actor` the one that acts where nobody is named.
    pub fn set_default(&self, actor: ActorId) -> Result<(), IdentityError> {
        let path = self.keys.join(DEFAULT_FILE);
        folder::write_over(&path, actor.to_string().as_bytes()).map_err(io_at(&path))?;
        self.write().default = Some(actor);
        Ok(())
    }

    /// The actor that acts where nobody is named.
    pub fn default_actor(&self) -> Option<ActorId> {
        let known = self.read();
        let chosen = known.default.filter(|actor| known.identities.iter().any(|known| known.keys.actor() == *actor));
        chosen.or_else(|| known.identities.first().map(|identity| identity.keys.actor()))
    }

    /// All identities.
    pub fn list(&self) -> Vec<Identity> {
        self.read().identities.clone()
    }

    /// The identity of an actor.
    pub fn of(&self, actor: ActorId) -> Option<Identity> {
        self.read().identities.iter().find(|identity| identity.keys.actor() == actor).cloned()
    }

    /// The actor that a bearer token stands for. Compared without regard to where the first difference is.
    pub fn actor_of_token(&self, token: &str) -> Option<ActorId> {
        let given = blake3_of(token);
        self.read().identities.iter().find(|known| blake3_of(&known.token) == given).map(|known| known.keys.actor())
    }

    /// The file that holds an actor's bearer token.
    pub fn token_path(&self, actor: ActorId) -> PathBuf {
        self.tokens.join(format!("{actor}.token"))
    }

    fn token(&self, actor: ActorId, random: &dyn Randomness) -> Result<Zeroizing<String>, IdentityError> {
        let path = self.token_path(actor);
        if let Ok(text) = std::fs::read_to_string(&path) {
            return Ok(Zeroizing::new(text.trim().to_owned()));
        }
        let token = Zeroizing::new(ActorId::from_bytes(*environment::secret(random)).to_string());
        folder::write_new(&path, token.as_bytes()).map_err(io_at(&path))?;
        Ok(token)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Hashing first makes the comparison's time say nothing about the token.
fn blake3_of(token: &str) -> blake3::Hash {
    blake3::hash(token.as_bytes())
}

fn io_at(path: &Path) -> impl Fn(std::io::Error) -> IdentityError + '_ {
    move |source| IdentityError::Io { path: path.to_owned(), source }
}

/// Every key that this node can sign with: those of its actors, and its own.
pub struct AllKeys {
    /// The actors'.
    pub identities: std::sync::Arc<Identities>,
    /// The node's.
    pub device: Keys,
    lent: std::sync::Mutex<Vec<Keys>>,
}

/// As long as it lives, the node can sign with a key that it does not keep.
pub struct Lent<'a> {
    to: &'a AllKeys,
    key: ActorId,
}

impl AllKeys {
    /// The keys of a node that was lent none.
    pub fn new(identities: std::sync::Arc<Identities>, device: Keys) -> Self {
        Self { identities, device, lent: std::sync::Mutex::default() }
    }

    /// Lends the node a key: it is never written anywhere, and gone with what is returned.
    pub fn lends(&self, keys: Keys) -> Lent<'_> {
        let key = keys.actor();
        self.lent().push(keys);
        Lent { to: self, key }
    }

    fn lent(&self) -> std::sync::MutexGuard<'_, Vec<Keys>> {
        self.lent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut lent = self.to.lent();
        if let Some(index) = lent.iter().position(|keys| keys.actor() == self.key) {
            lent.swap_remove(index);
        }
    }
}

impl Keyring for AllKeys {
    fn keys(&self, actor: Option<ActorId>) -> Option<Keys> {
        let others = || {
            let lent = self.lent();
            let mut others = std::iter::once(&self.device).chain(lent.iter());
            others.find(|keys| actor == Some(keys.actor())).cloned()
        };
        self.identities.keys(actor).or_else(others)
    }
}

impl Keyring for Identities {
    fn keys(&self, actor: Option<ActorId>) -> Option<Keys> {
        let actor = actor.or_else(|| self.default_actor())?;
        self.of(actor).map(|identity| identity.keys)
    }
}
