//! Squeezing: a frame of bundles is sent as a third of its bytes. What nodes write is full of what they wrote before, and
//! Wi-Fi is slower than any processor.

use openprod_model::codec::DecodeError;

use super::{MAX_FRAME_BYTES, Message, Squeezed};
use crate::framing::{self, FrameError};

/// Shorter frames go as they are: a single edit is not made to wait.
pub const SQUEEZED_FROM: usize = 4 * 1024;
/// How hard to try: the fastest level finds nearly all that repeats.
const LEVEL: i32 = 1;

/// The bytes of a frame, squeezed where that helps.
pub fn encode(message: &Message) -> Result<Vec<u8>, FrameError> {
    let bytes = framing::encode(message)?;
    if bytes.len() < SQUEEZED_FROM {
        return Ok(bytes);
    }
    let squeezed = zstd::bulk::compress(&bytes, LEVEL).ok().filter(|squeezed| squeezed.len() < bytes.len());
    squeezed.map_or(Ok(bytes), |bytes| framing::encode(&Message::from(Squeezed { bytes })))
}

/// Reads a frame that may be squeezed. What unsqueezes to more than a frame may have, or to a squeezed one, is malformed.
pub fn decode(bytes: &[u8]) -> Result<Message, FrameError> {
    let squeezed = match framing::decode(bytes)? {
        Message::Squeezed(squeezed) => squeezed,
        message => return Ok(message),
    };
    let whole =
        zstd::bulk::decompress(&squeezed.bytes, MAX_FRAME_BYTES).map_err(|error| malformed(&error.to_string()))?;
    match framing::decode(&whole)? {
        Message::Squeezed(_) => Err(malformed("it is squeezed twice")),
        message => Ok(message),
    }
}

fn malformed(why: &str) -> FrameError {
    FrameError::Malformed(DecodeError::Malformed(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::{Checkpoint, Want};
    use super::*;

    fn checkpoint() -> Message {
        let bundle = |n: u8| vec![n; 600];
        Checkpoint { number: 1, remaining: 2, bundles: (0..100).map(bundle).collect() }.into()
    }

    #[test]
    fn a_full_frame_is_sent_as_much_less_and_comes_back_as_it_was() {
        let bytes = encode(&checkpoint()).unwrap();
        assert!(bytes.len() < 60_000 / 3, "{}", bytes.len());
        assert_eq!(decode(&bytes), Ok(checkpoint()));
    }

    #[test]
    fn a_short_frame_goes_as_it_is() {
        let want = Message::from(Want { digests: Vec::new() });
        assert_eq!(encode(&want), framing::encode(&want));
        assert_eq!(decode(&framing::encode(&want).unwrap()), Ok(want));
    }

    #[test]
    fn what_would_become_more_than_a_frame_or_is_no_frame_is_refused() {
        let squeezed = |bytes: &[u8]| {
            let bytes = zstd::bulk::compress(bytes, LEVEL).unwrap();
            framing::encode(&Message::from(Squeezed { bytes })).unwrap()
        };
        let twice = encode(&checkpoint()).unwrap();
        let bomb = vec![0; MAX_FRAME_BYTES + 1];
        for bad in [squeezed(&bomb), squeezed(&twice), squeezed(b"no frame")] {
            assert!(decode(&bad).is_err());
        }
        let rubbish = framing::encode(&Message::from(Squeezed { bytes: vec![7; 100] })).unwrap();
        assert!(matches!(decode(&rubbish), Err(FrameError::Malformed(_))));
    }
}
