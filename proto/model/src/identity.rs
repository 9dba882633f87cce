//! Identities: the key pairs of actors and nodes, their signatures, and their export under a passphrase.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::codec;
use crate::ids::ActorId;

/// An Ed25519 signature (RFC 8032): R, then S.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "codec::fixed")] [u8; 32], #[serde(with = "codec::fixed")] [u8; 32]);

impl Signature {
    /// From its 64 bytes.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut halves = ([0; 32], [0; 32]);
        halves.0.copy_from_slice(&bytes[..32]);
        halves.1.copy_from_slice(&bytes[32..]);
        Self(halves.0, halves.1)
    }

    /// Its 64 bytes.
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.1);
        bytes
    }
}

/// A key pair. Its debug form shows the public half only; its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Keys(SigningKey);

impl Keys {
    /// The pair of this secret seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The secret seed, to be stored with care.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half: the actor's id.
    pub fn actor(&self) -> ActorId {
        ActorId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`, which begins with a domain string.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_bytes(&self.0.sign(message).to_bytes())
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.actor().short())
    }
}

/// Whether `signature` over `message` is `actor`'s, by the strict rules: no small-order keys, no malleable forms,
/// so that every node comes to the same verdict.
pub fn verify(actor: ActorId, message: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
    VerifyingKey::from_bytes(actor.as_bytes()).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

const EXPORT_PREFIX: &str = "openprod-identity-1:";
/// Argon2id, 64 MiB, 3 passes, 1 lane: the second recommended option of RFC 9106; about 0.2 s on a laptop.
const ARGON_MEMORY_KIB: u32 = 65_536;
const ARGON_PASSES: u32 = 3;

#[derive(Serialize, Deserialize)]
struct Sealed {
    salt: [u8; 16],
    nonce: [u8; 12],
    actor: ActorId,
    ciphertext: Vec<u8>,
}

/// Why an exported identity could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The text is not an exported identity of a known format, or was cut or changed.
    #[error("this is not an exported identity, or it was damaged")]
    NotAnIdentity,
    /// The passphrase is not the one it was exported under.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
}

impl Keys {
    /// The key pair as one line of text, sealed under `passphrase` (Argon2id, ChaCha20-Poly1305).
    /// `salt` and `nonce` must be random and fresh.
    pub fn export(&self, passphrase: &str, salt: [u8; 16], nonce: [u8; 12]) -> String {
        let cipher = cipher(passphrase, &salt);
        let ciphertext =
            cipher.encrypt(&Nonce::from(nonce), self.seed().as_slice()).expect("32 bytes are never too long to seal");
        let sealed = codec::encode(&Sealed { salt, nonce, actor: self.actor(), ciphertext });
        sealed.iter().fold(EXPORT_PREFIX.to_owned(), |line, byte| line + &format!("{byte:02x}"))
    }

    /// Opens what [`Self::export`] made.
    pub fn import(text: &str, passphrase: &str) -> Result<Self, ImportError> {
        let hex = text.trim().strip_prefix(EXPORT_PREFIX).ok_or(ImportError::NotAnIdentity)?;
        let sealed: Sealed =
            unhex(hex).and_then(|bytes| codec::decode(&bytes).ok()).ok_or(ImportError::NotAnIdentity)?;
        let seed = cipher(passphrase, &sealed.salt)
            .decrypt(&Nonce::from(sealed.nonce), sealed.ciphertext.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| ImportError::WrongPassphrase)?;
        let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| ImportError::NotAnIdentity)?;
        let keys = Self::from_seed(seed);
        if keys.actor() == sealed.actor { Ok(keys) } else { Err(ImportError::NotAnIdentity) }
    }
}

fn cipher(passphrase: &str, salt: &[u8; 16]) -> ChaCha20Poly1305 {
    let params =
        Params::new(ARGON_MEMORY_KIB, ARGON_PASSES, 1, Some(32)).expect("the constants are within Argon2's bounds");
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice())
        .expect("salt and output lengths are within Argon2's bounds");
    ChaCha20Poly1305::new(&Key::from(*key))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
