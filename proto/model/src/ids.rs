//! Ids: a newtype for each thing that has one, so that none can be taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec;

/// Text that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {expected}")]
pub struct InvalidId {
    text: String,
    expected: &'static str,
}

impl InvalidId {
    fn new(text: &str, expected: &'static str) -> Self {
        const SHOWN: usize = 80;
        Self { text: text.chars().filter(|c| !c.is_control()).take(SHOWN).collect(), expected }
    }
}

/// How a UUID is encoded: as its bytes.
mod sixteen {
    use serde::{Deserializer, Serializer};
    use uuid::Uuid;

    use crate::codec::fixed;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        fixed::serialize(id.as_bytes(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        fixed::deserialize(deserializer).map(Uuid::from_bytes)
    }
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "sixteen")] Uuid);

        impl $name {
            /// A new id: UUIDv7 (RFC 9562) of the given wall time in milliseconds and 10 random bytes.
            pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }

            /// The id with exactly these bytes, whatever version of UUID they are.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Its 16 bytes, big-endian.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                Self::from_bytes(bytes)
            }
        }

        impl From<$name> for [u8; 16] {
            fn from(id: $name) -> Self {
                *id.as_bytes()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidId::new(text, $what))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

uuid_ids! {
    /// A workspace: one show, one isolated log.
    WorkspaceId "a workspace id (a UUID)";
    /// An entity: only an id; records, edges and fields hang on it.
    EntityId "a record id (a UUID)";
    /// An edge.
    EdgeId "an edge id (a UUID)";
    /// An operation. Ids within a bundle are consecutive.
    OpId "an operation id (a UUID)";
    /// A bundle, for people and links; its identity is its [`Digest`].
    BundleId "a bundle id (a UUID)";
    /// A command, made by the client; a retry carries the same one.
    CommandId "a command id (a UUID)";
    /// An overlay of one node.
    OverlayId "an overlay id (a UUID)";
    /// A client's session, one per tab or program run.
    SessionId "a session id (a UUID)";
}

impl OpId {
    /// The id `index` places after this one, wrapping at the end of the id space.
    pub fn plus(self, index: u32) -> Self {
        Self(Uuid::from_u128(self.0.as_u128().wrapping_add(u128::from(index))))
    }
}

macro_rules! hex_ids {
    ($($(#[$doc:meta])* $name:ident [$len:literal] $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "codec::fixed")] [u8; $len]);

        impl $name {
            /// From its bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hexadecimal digits, for people; not unique.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                from_hex(text).map(Self).ok_or_else(|| InvalidId::new(text, $what))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

hex_ids! {
    /// An actor: its Ed25519 public key *is* its id.
    ActorId [32] "an actor id (64 hexadecimal digits)";
    /// The identity of a bundle: BLAKE3 of its header, which commits to every op.
    Digest [32] "a bundle digest (64 hexadecimal digits)";
    /// The address of a blob: BLAKE3 of its bytes.
    BlobHash [32] "a blob hash (64 hexadecimal digits)";
    /// What refers to an op: the first 16 bytes of its checksum.
    OpRef [16] "an operation reference (32 hexadecimal digits)";
    /// A conflict: follows from what it is about, so it is the same on every node.
    ConflictId [16] "a conflict id (32 hexadecimal digits)";
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

/// A place in one node's own log: 1 for the first bundle, counting up without gaps; 0 is before the first.
///
/// Clients know it as *revision*. Positions mean nothing to other nodes and are never hashed or signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// Before the first bundle.
    pub const ZERO: Self = Self(0);

    /// The place right behind this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
