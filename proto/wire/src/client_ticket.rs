//! Client tickets: all that a client on another machine needs to reach a node, as text or as a QR code.
//!
//! A client ticket names addresses of the node, the fingerprint of its certificate, and a token. The client compares the
//! fingerprint before it says anything, so nobody between the two can read the token, and no authority has to vouch for
//! the node.

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use openprod_model::codec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::letters::{self, LettersError};
use crate::ticket::MAX_ADDRESSES;

const WORD: &str = "CLIENT";
const VERSION: u8 = 1;

/// The SHA-256 of a certificate's DER bytes: what browsers and `openssl x509 -fingerprint -sha256` show of it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

/// A bearer token. Its debug form does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BearerToken([u8; 32]);

/// What a client needs to reach a node from another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTicket {
    /// Where the node was listening when the ticket was made, the best first; from 1 to [`MAX_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    /// The certificate that it shows, and no other.
    pub certificate: Fingerprint,
    /// What says who the client is.
    pub token: BearerToken,
}

/// Why a text is not a client ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientTicketError {
    /// Its letters are not those of a client ticket.
    #[error("{0}")]
    Letters(#[from] LettersError),
    /// The letters are right, and what they say is not a client ticket.
    #[error("its content is not a client ticket's")]
    Content,
}

/// A text is not a fingerprint: 32 bytes in hexadecimal digits, with or without colons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 64 hexadecimal digits, with or without colons")]
pub struct NotAFingerprint;

/// A text is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token has 64 hexadecimal digits")]
pub struct NotAToken;

impl Fingerprint {
    /// That of a certificate, given as its DER bytes.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    /// In pairs of capitals divided by colons, as browsers and openssl write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut divider = "";
        for byte in self.0 {
            write!(f, "{divider}{byte:02X}")?;
            divider = ":";
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        hexadecimal(&text.replace(':', "")).map(Self).ok_or(NotAFingerprint)
    }
}

impl BearerToken {
    /// From 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// It as it stands behind `Bearer`: 64 hexadecimal digits.
    pub fn reveal(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes every letter");
            text
        })
    }
}

impl FromStr for BearerToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        hexadecimal(text).map(Self).ok_or(NotAToken)
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|letter| letter.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

impl ClientTicket {
    /// Whether `text` says of itself that it is a client ticket, whole and right or not.
    pub fn is_meant(text: &str) -> bool {
        letters::claims(WORD, text)
    }

    /// Reads a client ticket that was copied, typed or scanned: case, line breaks and dashes do not matter.
    pub fn parse(text: &str) -> Result<Self, ClientTicketError> {
        let content = letters::read(WORD, VERSION, text)?;
        let ticket: Self = codec::decode(&content).map_err(|_| ClientTicketError::Content)?;
        let is_possible = (1..=MAX_ADDRESSES).contains(&ticket.addresses.len());
        if is_possible { Ok(ticket) } else { Err(ClientTicketError::Content) }
    }

    /// It in letters, in capitals, so that a QR code takes it in its alphanumeric mode. Whoever has them can act as the
    /// token's owner.
    pub fn reveal(&self) -> String {
        letters::write(WORD, VERSION, &codec::encode(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> ClientTicket {
        ClientTicket {
            addresses: vec!["10.0.0.5:7117".parse().unwrap(), "[fd00::2]:7117".parse().unwrap()],
            certificate: Fingerprint::of(b"a certificate"),
            token: BearerToken::from_bytes([7; 32]),
        }
    }

    #[test]
    fn what_was_written_is_read_and_shows_no_secret_in_passing() {
        let text = ticket().reveal();
        assert!(text.starts_with("OPENPROD-CLIENT-") && ClientTicket::is_meant(&text), "{text}");
        assert_eq!(ClientTicket::parse(&text.to_lowercase()), Ok(ticket()));
        assert!(!format!("{:?}", ticket()).contains("07070707"));
        assert_eq!(ticket().token.reveal(), "07".repeat(32));
        assert_eq!("07".repeat(32).parse(), Ok(ticket().token));
        assert_eq!("07".parse::<BearerToken>(), Err(NotAToken));
    }

    #[test]
    fn a_ticket_that_leads_nowhere_or_is_another_sort_is_refused() {
        let nowhere = ClientTicket { addresses: Vec::new(), ..ticket() };
        assert_eq!(ClientTicket::parse(&nowhere.reveal()), Err(ClientTicketError::Content));
        let crowded = ClientTicket { addresses: vec![ticket().addresses[0]; MAX_ADDRESSES + 1], ..ticket() };
        assert_eq!(ClientTicket::parse(&crowded.reveal()), Err(ClientTicketError::Content));
        let other = ClientTicket::parse("OPENPROD-JOIN-0000").unwrap_err();
        assert_eq!(other, ClientTicketError::Letters(LettersError::OtherWord));
        let cut = ClientTicket::parse(&ticket().reveal()[..60]).unwrap_err();
        assert!(cut.to_string().contains("cut off"), "{cut}");
    }

    #[test]
    fn a_fingerprint_is_that_of_sha_256_and_is_read_with_and_without_colons() {
        let abc = "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD";
        assert_eq!(Fingerprint::of(b"abc").to_string(), abc);
        assert_eq!(abc.parse(), Ok(Fingerprint::of(b"abc")));
        assert_eq!(abc.to_lowercase().replace(':', "").parse(), Ok(Fingerprint::of(b"abc")));
        for wrong in ["", "BA:78", &abc[3..], &abc.replace('B', "G")] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NotAFingerprint), "{wrong}");
        }
    }
}
