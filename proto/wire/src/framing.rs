//! Frames: how a stream of bytes between two nodes is cut into messages, and how a message of tomorrow is told from rubbish.
//!
//! A frame is its length as `u32`, little-endian, and that many bytes of [`codec`]. Its first four bytes are the kind
//! (the variant of an enum). Later versions only ever add kinds at the end, so a kind beyond those known is not
//! malformed: it is [`FrameError::Unknown`], and the protocol of the stream says whether it may be passed over.

use openprod_model::codec::{self, DecodeError};
use serde::{Serialize, de::DeserializeOwned};

/// The bytes of a frame's length.
pub const PREFIX_BYTES: usize = 4;

/// What is set aside for a frame before its bytes have come; the rest grows with what arrives, so that whoever
/// announces much must also send it.
const FIRST_RESERVE: usize = 16 * 1024;

/// What one kind of stream carries: an enum whose variants are only ever added at the end.
pub trait Frame: Serialize + DeserializeOwned {
    /// How many kinds this version knows: the number of variants.
    const KINDS: u32;
    /// The largest encoded frame, in bytes, checked before anything is allocated.
    const MAX_BYTES: usize;

    /// Whether the parts that have limits of their own (lists, texts) keep them.
    fn is_within_bounds(&self) -> bool {
        true
    }
}

/// Why bytes are not a frame that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than this kind of stream allows.
    #[error("a frame of {bytes} bytes is more than the {limit} that this stream allows")]
    TooLarge {
        /// Its announced or real length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A kind that only a newer version knows.
    #[error("frames of kind {kind} are of a newer version")]
    Unknown {
        /// The kind.
        kind: u32,
    },
    /// Not an encoding of any frame of this stream.
    #[error("a malformed frame: {0}")]
    Malformed(#[from] DecodeError),
    /// A list or a text in it is longer than it may be.
    #[error("a part of a frame is longer than it may be")]
    OutOfBounds,
}

/// The bytes of a frame, without its length.
pub fn encode<T: Frame>(frame: &T) -> Result<Vec<u8>, FrameError> {
    if !frame.is_within_bounds() {
        return Err(FrameError::OutOfBounds);
    }
    let bytes = codec::encode(frame);
    within(bytes.len(), T::MAX_BYTES)?;
    Ok(bytes)
}

/// Reads a frame from its bytes, without its length.
pub fn decode<T: Frame>(bytes: &[u8]) -> Result<T, FrameError> {
    within(bytes.len(), T::MAX_BYTES)?;
    if let Some(kind) = kind(bytes).filter(|kind| *kind >= T::KINDS) {
        return Err(FrameError::Unknown { kind });
    }
    let frame: T = codec::decode(bytes)?;
    if frame.is_within_bounds() { Ok(frame) } else { Err(FrameError::OutOfBounds) }
}

/// The length that goes before a frame of `bytes` bytes.
pub fn prefix(bytes: usize, limit: usize) -> Result<[u8; PREFIX_BYTES], FrameError> {
    within(bytes, limit)?;
    u32::try_from(bytes).map(u32::to_le_bytes).map_err(|_| FrameError::TooLarge { bytes, limit })
}

fn within(bytes: usize, limit: usize) -> Result<(), FrameError> {
    if bytes > limit { Err(FrameError::TooLarge { bytes, limit }) } else { Ok(()) }
}

fn kind(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|first| u32::from_le_bytes(*first))
}

/// Cuts a stream into frames, however its bytes arrive. It asks for no more than it needs, and holds one frame at most.
#[derive(Debug)]
pub struct Deframer {
    limit: usize,
    part: Part,
}

#[derive(Debug)]
enum Part {
    Prefix(Vec<u8>),
    Body { length: usize, bytes: Vec<u8> },
}

impl Deframer {
    /// For a stream whose frames have at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, part: Part::Prefix(Vec::new()) }
    }

    /// Another limit from the next length on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// How many bytes it can use now; at least one.
    pub fn wanted(&self) -> usize {
        match &self.part {
            Part::Prefix(have) => PREFIX_BYTES - have.len(),
            Part::Body { length, bytes } => length - bytes.len(),
        }
    }

    /// Whether no frame has been begun: the only place where a stream may end.
    pub fn is_between_frames(&self) -> bool {
        matches!(&self.part, Part::Prefix(have) if have.is_empty())
    }

    /// Takes the next bytes, at most [`Self::wanted`] of them (the rest is left), and gives the frame that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        let bytes = &bytes[..bytes.len().min(self.wanted())];
        let (Part::Prefix(have) | Part::Body { bytes: have, .. }) = &mut self.part;
        have.extend_from_slice(bytes);
        self.turn()
    }

    /// Goes on to the next part if this one is whole.
    fn turn(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        match &mut self.part {
            Part::Prefix(have) => {
                let Ok(prefix) = <[u8; PREFIX_BYTES]>::try_from(have.as_slice()) else { return Ok(None) };
                self.begin(u32::from_le_bytes(prefix) as usize)
            }
            Part::Body { length, bytes } if bytes.len() == *length => {
                let whole = std::mem::take(bytes);
                self.part = Part::Prefix(Vec::new());
                Ok(Some(whole))
            }
            Part::Body { .. } => Ok(None),
        }
    }

    fn begin(&mut self, length: usize) -> Result<Option<Vec<u8>>, FrameError> {
        within(length, self.limit)?;
        if length == 0 {
            self.part = Part::Prefix(Vec::new());
            return Ok(Some(Vec::new()));
        }
        self.part = Part::Body { length, bytes: Vec::with_capacity(length.min(FIRST_RESERVE)) };
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Note {
        Word(String),
        Number(u64),
    }

    impl Frame for Note {
        const KINDS: u32 = 2;
        const MAX_BYTES: usize = 64;

        fn is_within_bounds(&self) -> bool {
            !matches!(self, Self::Word(word) if word.len() > 8)
        }
    }

    fn on_the_wire(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|f| [prefix(f.len(), 1 << 20).unwrap().as_slice(), f].concat()).collect()
    }

    fn cut(mut bytes: &[u8], limit: usize, piece: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let (mut deframer, mut frames) = (Deframer::new(limit), Vec::new());
        while !bytes.is_empty() {
            let taken = deframer.wanted().min(piece).min(bytes.len());
            frames.extend(deframer.push(&bytes[..taken])?);
            bytes = &bytes[taken..];
        }
        Ok(frames)
    }

    #[test]
    fn the_bytes_of_a_frame_stay_what_they_are() {
        let bytes = encode(&Note::Number(7)).unwrap();
        assert_eq!(bytes, [1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(prefix(bytes.len(), 64).unwrap(), [12, 0, 0, 0]);
        assert_eq!(decode::<Note>(&bytes).unwrap(), Note::Number(7));
    }

    #[test]
    fn a_kind_of_tomorrow_is_not_malformed() {
        assert_eq!(decode::<Note>(&[2, 0, 0, 0, 9]), Err(FrameError::Unknown { kind: 2 }));
        assert!(matches!(decode::<Note>(&[1, 0, 0, 0, 9]), Err(FrameError::Malformed(_))));
        assert!(matches!(decode::<Note>(&[1]), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn what_is_too_long_is_refused_by_both_sides() {
        let long = Note::Word("x".repeat(9));
        assert_eq!(encode(&long), Err(FrameError::OutOfBounds));
        assert_eq!(decode::<Note>(&codec::encode(&long)), Err(FrameError::OutOfBounds));
        assert_eq!(decode::<Note>(&[0; 65]), Err(FrameError::TooLarge { bytes: 65, limit: 64 }));
        assert!(prefix(65, 64).is_err());
    }

    #[test]
    fn a_length_beyond_the_limit_reserves_nothing() {
        let mut deframer = Deframer::new(1 << 20);
        assert!(matches!(deframer.push(&[0xff; 4]), Err(FrameError::TooLarge { .. })));
        let mut deframer = Deframer::new(1 << 20);
        deframer.push(&(1u32 << 20).to_le_bytes()).unwrap();
        let Part::Body { bytes, .. } = &deframer.part else { panic!("a body is awaited") };
        assert!(bytes.capacity() <= FIRST_RESERVE);
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
            piece in 1usize..70,
        ) {
            prop_assert_eq!(cut(&on_the_wire(&frames), 200, piece).unwrap(), frames);
        }

        #[test]
        fn hostile_bytes_never_panic_and_never_exceed_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for frame in cut(&bytes, 100, 7).unwrap_or_default() {
                prop_assert!(frame.len() <= 100);
            }
            if let Ok(note) = decode::<Note>(&bytes) {
                prop_assert_eq!(encode(&note).unwrap(), bytes);
            }
        }
    }
}
