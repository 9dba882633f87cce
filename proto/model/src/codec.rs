//! The one codec: how every stored, signed or hashed structure becomes bytes and comes back.
//!
//! Encoding is bincode 2 in its legacy configuration: little-endian, fixed-width integers, lengths as `u64`,
//! enum variants as `u32`. No configuration of it is canonical by itself, so decoding is strict: the size is
//! capped first, all bytes must be consumed, and what was decoded must encode to the very same bytes (I-9).
//! Decoded types hold no vectors of zero-sized elements and do not recurse.

use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::{Deserialize, Serialize, Serializer};

/// Largest encoded bundle, and so the largest structure that is ever decoded: 16 MiB. A larger import is split
/// into several bundles; a larger single value belongs in a blob.
pub const MAX_ENCODED_BYTES: usize = 16 * 1024 * 1024;

/// Why bytes were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than [`MAX_ENCODED_BYTES`].
    #[error("{0} bytes are more than the {MAX_ENCODED_BYTES} that one structure may have")]
    TooLarge(usize),
    /// The bytes are not an encoding of the expected type.
    #[error("not a valid encoding: {0}")]
    Malformed(String),
    /// Bytes were left over behind the value.
    #[error("{0} bytes too many behind the value")]
    Trailing(usize),
    /// The bytes decode to a value whose own encoding differs.
    #[error("not the canonical encoding of its value")]
    NotCanonical,
}

/// The canonical bytes of `value`.
///
/// # Panics
/// Never for the types of this crate: all their parts are encodable.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::legacy()).expect("every model type has an encoding")
}

/// Reads the value whose canonical encoding is exactly `bytes`.
pub fn decode<'a, T: Serialize + Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_ENCODED_BYTES {
        return Err(DecodeError::TooLarge(bytes.len()));
    }
    let config = bincode::config::legacy().with_limit::<MAX_ENCODED_BYTES>();
    let (value, used): (T, usize) =
        bincode::serde::borrow_decode_from_slice(bytes, config).map_err(|e| DecodeError::Malformed(e.to_string()))?;
    if used != bytes.len() {
        return Err(DecodeError::Trailing(bytes.len() - used));
    }
    if !encodes_to(&value, bytes) {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

/// Whether the canonical bytes of `value` are these. They are compared as they come and nowhere kept.
fn encodes_to<T: Serialize>(value: &T, bytes: &[u8]) -> bool {
    let mut expected = Expected(bytes);
    bincode::serde::encode_into_writer(value, &mut expected, bincode::config::legacy()).is_ok() && expected.0.is_empty()
}

/// The bytes that are still to come.
struct Expected<'a>(&'a [u8]);

impl Writer for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let rest = match (bytes, self.0) {
            // Ids and digests are written byte by byte, and calling a function for each costs more than all the rest.
            ([byte], [expected, rest @ ..]) if byte == expected => Some(rest),
            _ => self.0.strip_prefix(bytes),
        };
        self.0 = rest.ok_or(EncodeError::Other("other bytes"))?;
        Ok(())
    }
}

/// Bytes within a structure: encoded as a vector of bytes is, but at once, and read without being copied.
#[derive(Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bytes<'a>(#[serde(borrow)] pub(crate) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// How an array of bytes is encoded and decoded: as any array is, but sixteen bytes at a time and not each by itself.
/// Ids and digests are most of what a bundle says of itself. To be named in `#[serde(with = "...")]`.
pub mod fixed {
    use std::fmt;

    use serde::de::{Error, SeqAccess, Visitor};
    use serde::ser::SerializeTuple;
    use serde::{Deserializer, Serializer};

    /// Encodes an array whose length is a multiple of 16.
    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        const { assert!(N.is_multiple_of(16), "sixteen at a time") };
        let mut tuple = serializer.serialize_tuple(N / 16)?;
        for sixteen in bytes.as_chunks().0 {
            // Numbers are encoded little-endian, so these are the bytes in their order.
            tuple.serialize_element(&u128::from_le_bytes(*sixteen))?;
        }
        tuple.end()
    }

    /// Decodes such an array.
    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        const { assert!(N.is_multiple_of(16), "sixteen at a time") };
        deserializer.deserialize_tuple(N / 16, Sixteens::<N>)
    }

    struct Sixteens<const N: usize>;

    impl<'de, const N: usize> Visitor<'de> for Sixteens<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{N} bytes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
            let mut bytes = [0; N];
            for (index, sixteen) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
                let number: u128 = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &self))?;
                *sixteen = number.to_le_bytes();
            }
            Ok(bytes)
        }
    }
}

/// How many bytes at once are encoded and decoded: as any vector of bytes is, but not byte by byte. To be named in
/// `#[serde(with = "...")]`.
pub mod long {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Encodes a vector of bytes.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    /// Decodes a vector of bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Ok(Owned::deserialize(deserializer)?.0)
    }

    struct Owned(Vec<u8>);

    impl<'de> Deserialize<'de> for Owned {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_bytes(Copies)
        }
    }

    struct Copies;

    impl Visitor<'_> for Copies {
        type Value = Owned;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Owned, E> {
            Ok(Owned(bytes.to_vec()))
        }
    }

    /// The same for many such vectors.
    pub mod many {
        use serde::{Deserialize, Deserializer, Serializer};

        use super::super::Bytes;
        use super::Owned;

        /// Encodes vectors of bytes.
        pub fn serialize<S: Serializer>(all: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(all.iter().map(|bytes| Bytes(bytes)))
        }

        /// Decodes vectors of bytes.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
            let all = Vec::<Owned>::deserialize(deserializer)?;
            Ok(all.into_iter().map(|Owned(bytes)| bytes).collect())
        }
    }
}

/// BLAKE3 over a domain string (ending in its format version) and the given parts, in order.
///
/// The domain string keeps a hash made for one purpose from ever being mistaken for another. Parts are not
/// separated: callers hash fixed-width parts first and at most one of variable length, last.
pub(crate) fn hash(domain: &'static [u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}
