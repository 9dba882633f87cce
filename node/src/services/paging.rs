//! Tokens: where a list goes on, and where a watcher resumes. Opaque to clients, checked when they come back.
//!
//! A page token is bound to the request that gave it: the same question on another table is another question, and a
//! token put to it is refused. What a page goes on behind depends on its order. Where rows come by a key of their own
//! (creation, place, log position) the token names the last one told, so pages neither repeat nor skip while rows
//! come and go, and each shows the newest state. Where a query sorts, the token counts rows, which is exact only on
//! one revision; so those pages are all read at the revision of the first.

use std::fmt::Debug;

use openprod_api::convert::ids::{bytes, hex};
use openprod_model::codec;
use openprod_model::ids::{Digest, Position};
use openprod_model::refusal::{Reason, Refusal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How many items a page has where the request does not say.
pub(super) const DEFAULT_ITEMS: usize = 100;
/// How many items a page has at most.
pub(super) const MAX_ITEMS: usize = 1_000;
/// About how many bytes a message has at most, well below the 4 MiB that clients accept unless told otherwise.
pub(super) const MAX_BYTES: usize = 2 * 1024 * 1024;

/// Longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 64 * 1024;
const PAGES_DOMAIN: &str = "openprod/pages/1";

/// How many items to put on a page.
pub(super) fn items(page_size: u32) -> usize {
    match usize::try_from(page_size) {
        Ok(0) => DEFAULT_ITEMS,
        Ok(size) => size.min(MAX_ITEMS),
        Err(_) => MAX_ITEMS,
    }
}

/// The pages of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages {
    request: [u8; 16],
}

#[derive(Serialize, Deserialize)]
struct PageToken {
    request: [u8; 16],
    revision: Position,
    place: Vec<u8>,
}

impl Pages {
    /// The pages of `request`, from which page size, page token and minimal revision were taken out. Its debug form
    /// names its type and all its parts; should an upgrade change that form, old tokens are refused, not misread.
    pub(super) fn of(request: &impl Debug) -> Self {
        let hash = blake3::derive_key(PAGES_DOMAIN, format!("{request:?}").as_bytes());
        Self { request: *hash.first_chunk().expect("a hash has 32 bytes") }
    }

    /// The token of the page behind `place`, in a list that was read at `revision`.
    pub(super) fn token(&self, revision: Position, place: &impl Serialize) -> String {
        hex(&codec::encode(&PageToken { request: self.request, revision, place: codec::encode(place) }))
    }

    /// Where the page of `token` begins, and the revision of the page before; none for the first page.
    pub(super) fn place<T: Serialize + DeserializeOwned>(&self, token: &str) -> Result<Option<(Position, T)>, Refusal> {
        if token.is_empty() {
            return Ok(None);
        }
        let token: PageToken = opened(token, "page_token")?;
        if token.request != self.request {
            let message = "The page token is of another request.";
            return Err(Refusal::new(Reason::InvalidValue, message)
                .at("page_token")
                .next("Repeat the request that gave it, or leave it out to begin again."));
        }
        let place = codec::decode(&token.place).map_err(|_| not_a_token("page_token"))?;
        Ok(Some((token.revision, place)))
    }
}

/// A place in a log that another log cannot be mistaken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The last bundle told.
    pub(super) revision: Position,
    /// The log's chain there.
    pub(super) chain: Digest,
}

impl Mark {
    /// The token from which a watcher resumes behind this mark.
    pub(super) fn token(&self) -> String {
        hex(&codec::encode(self))
    }

    /// The mark of a resume token.
    pub(super) fn of_token(token: &str) -> Result<Self, Refusal> {
        opened(token, "resume_token")
    }
}

fn opened<T: Serialize + DeserializeOwned>(token: &str, at: &str) -> Result<T, Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(not_a_token(at));
    }
    let encoded = bytes(token, at).map_err(|_| not_a_token(at))?;
    codec::decode(&encoded).map_err(|_| not_a_token(at))
}

fn not_a_token(at: &str) -> Refusal {
    Refusal::new(Reason::InvalidValue, "This is not a token that a node gave.")
        .at(at)
        .next("Leave it out to begin anew.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_to_the_request_that_gave_it() {
        let pages = Pages::of(&("cues", 1));
        let token = pages.token(Position(7), &(3_u64, "LX 12".to_owned()));
        assert_eq!(pages.place(&token), Ok(Some((Position(7), (3_u64, "LX 12".to_owned())))));
        assert_eq!(pages.place::<u64>(""), Ok(None));
    }

    #[test]
    fn a_token_of_another_request_is_refused() {
        let token = Pages::of(&("cues", 1)).token(Position(7), &3_u64);
        let refusal = Pages::of(&("cues", 2)).place::<u64>(&token).unwrap_err();
        assert_eq!((refusal.reason, refusal.at.as_str()), (Reason::InvalidValue, "page_token"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let pages = Pages::of(&"cues");
        let good = pages.token(Position(7), &3_u64);
        let long = "ab".repeat(MAX_TOKEN_BYTES);
        for bad in ["x", "zz", "abcd", &good[2..], &format!("{good}00"), &long] {
            assert_eq!(pages.place::<u64>(bad).unwrap_err().reason, Reason::InvalidValue, "{bad:.20}");
        }
        assert!(pages.place::<(u64, u64)>(&good).is_err(), "a place of another form");
    }

    #[test]
    fn a_mark_comes_back() {
        let mark = Mark { revision: Position(9), chain: Digest::from_bytes([3; 32]) };
        assert_eq!(Mark::of_token(&mark.token()), Ok(mark));
        assert_eq!(Mark::of_token("12").unwrap_err().at, "resume_token");
    }

    #[test]
    fn a_page_has_a_default_size_and_a_greatest() {
        assert_eq!([0, 1, 1_000, 1_001, u32::MAX].map(items), [100, 1, 1_000, 1_000, 1_000]);
    }
}
