//! Ids in messages: canonical text, a UUID or hexadecimal digits; empty where one may be left out.

use std::str::FromStr;

use openprod_model::ids::InvalidId;
use openprod_model::refusal::{Reason, Refusal};

/// An id that must be there.
pub fn id<T: FromStr<Err = InvalidId>>(text: &str, at: &str) -> Result<T, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new(Reason::InvalidRequest, format!("The request lacks `{at}`.")).at(at));
    }
    text.parse().map_err(|invalid| Refusal::new(Reason::InvalidValue, format!("{invalid}.")).at(at))
}

/// An id that may be left empty.
pub fn optional_id<T: FromStr<Err = InvalidId>>(text: &str, at: &str) -> Result<Option<T>, Refusal> {
    if text.is_empty() { Ok(None) } else { id(text, at).map(Some) }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Hexadecimal digits as bytes.
pub fn bytes(hex: &str, at: &str) -> Result<Vec<u8>, Refusal> {
    let invalid = || Refusal::new(Reason::InvalidValue, "Not pairs of hexadecimal digits.").at(at);
    if !hex.len().is_multiple_of(2) {
        return Err(invalid());
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| Some(nibble(pair[0])? << 4 | nibble(pair[1])?);
    hex.as_bytes().chunks_exact(2).map(byte).collect::<Option<_>>().ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use openprod_model::ids::{ActorId, EntityId};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_missing_id_and_a_wrong_one_are_told_apart() {
        assert_eq!(id::<EntityId>("", "record").unwrap_err().reason, Reason::InvalidRequest);
        let wrong = id::<EntityId>("LX 12", "record").unwrap_err();
        assert_eq!((wrong.reason, wrong.at.as_str()), (Reason::InvalidValue, "record"));
        assert_eq!(optional_id::<ActorId>("", "actor"), Ok(None));
    }

    #[test]
    fn odd_and_foreign_digits_are_refused() {
        for text in ["a", "zz", "0x", "é"] {
            assert!(bytes(text, "hash").is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(some in any::<Vec<u8>>()) {
            prop_assert_eq!(bytes(&hex(&some), "hash").unwrap(), some);
        }
    }
}
