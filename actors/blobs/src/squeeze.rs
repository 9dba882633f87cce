//! Squeezing: whether a blob is kept compressed, and one piece at a time, so that any range of it stays at hand.

use std::io;

use crate::outline::PIECE_BYTES;

/// How hard to try: the level at which zstd still keeps up with a disk.
const LEVEL: i32 = 3;
/// Smaller blobs take one block of a disk either way.
const WORTH_TRYING_BYTES: usize = 4 * 1024;
/// What the first piece must shrink to for the blob to be kept compressed, in hundredths of its size.
const WORTH_KEEPING_PERCENT: usize = 90;

/// Whether a blob that begins with this piece is kept compressed. Pictures, films and archives do not shrink.
pub fn is_worth_it(first: &[u8]) -> bool {
    first.len() >= WORTH_TRYING_BYTES
        && squeezed(first).is_ok_and(|small| small.len() * 100 <= first.len() * WORTH_KEEPING_PERCENT)
}

/// The piece as one zstd frame. What does not shrink grows by a few bytes.
pub fn squeezed(piece: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(piece, LEVEL)
}

/// The piece of that many bytes again; none if it does not come out so.
pub fn unsqueezed(frame: &[u8], length: usize) -> Option<Vec<u8>> {
    unsqueezed_at_most(frame, length).filter(|piece| piece.len() == length)
}

/// The piece again, whatever its length; none if that is more than `most`, or than a piece may have.
pub fn unsqueezed_at_most(frame: &[u8], most: usize) -> Option<Vec<u8>> {
    if most > PIECE_BYTES { None } else { zstd::bulk::decompress(frame, most).ok() }
}

/// The length of the frame that these bytes begin with; none if they begin with none.
pub fn frame_length(bytes: &[u8]) -> Option<usize> {
    zstd::zstd_safe::find_frame_compressed_size(bytes).ok().filter(|length| *length > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the right report")]
mod tests {
    use super::*;
    use crate::kit::{noise, patterned};

    #[test]
    fn text_shrinks_and_noise_does_not() {
        assert!(is_worth_it(&patterned(PIECE_BYTES)));
        assert!(!is_worth_it(&noise(PIECE_BYTES)) && !is_worth_it(&patterned(100)) && !is_worth_it(b""));
        for piece in [patterned(PIECE_BYTES), noise(PIECE_BYTES)] {
            let frame = squeezed(&piece).unwrap();
            assert_eq!(unsqueezed(&frame, PIECE_BYTES), Some(piece));
            assert_eq!(frame_length(&[&frame[..], b"more"].concat()), Some(frame.len()));
        }
    }

    #[test]
    fn what_does_not_come_out_right_is_nothing() {
        let frame = squeezed(&patterned(9_000)).unwrap();
        assert_eq!(unsqueezed(&frame, 8_999), None);
        assert_eq!(unsqueezed(&frame, 9_001), None);
        assert_eq!(unsqueezed(&frame[..frame.len() - 1], 9_000), None);
        assert_eq!(unsqueezed(b"no zstd", 7), None);
        assert_eq!(unsqueezed(&frame, usize::MAX), None);
        assert_eq!((frame_length(b"no zstd"), frame_length(&frame[..20])), (None, None));
    }
}
