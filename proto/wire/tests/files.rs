//! The formats of what is said about files, guarded by golden bytes, and what they do with hostile ones.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

use openprod_model::ids::BlobHash;
use openprod_wire::files::{FileAnswer, FileAsk, MAX_OUTLINE_BYTES, MAX_PIECE_BYTES, MAX_PIECES_ASKED};
use openprod_wire::framing::{FrameError, decode, encode};
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Golden bytes change only with the protocol's version.
#[test]
fn the_formats_stay_what_they_are() {
    let frames = [
        encode(&FileAsk::Outline { hash: BlobHash::from_bytes([3; 32]) }).unwrap(),
        encode(&FileAsk::Pieces { first: 7, count: 8 }).unwrap(),
        encode(&FileAnswer::Missing).unwrap(),
        encode(&FileAnswer::Outline { size: 5, outline: vec![1, 2] }).unwrap(),
        encode(&FileAnswer::Piece { index: 1, bytes: vec![9; 3] }).unwrap(),
    ];
    let found: Vec<_> = frames.iter().map(|frame| hex(frame)).collect();
    let golden: Vec<_> = include_str!("golden/files.hex").lines().collect();
    assert_eq!(found, golden, "found:\n{}\n", found.join("\n"));
}

#[test]
fn the_largest_of_each_fits_and_nothing_larger() {
    let outline = FileAnswer::Outline { size: u64::MAX, outline: vec![0; MAX_OUTLINE_BYTES] };
    assert_eq!(decode(&encode(&outline).unwrap()), Ok(outline));
    let piece = FileAnswer::Piece { index: u64::MAX, bytes: vec![0; MAX_PIECE_BYTES] };
    assert_eq!(decode(&encode(&piece).unwrap()), Ok(piece));
    for refused in [
        FileAnswer::Outline { size: 0, outline: vec![0; MAX_OUTLINE_BYTES + 1] },
        FileAnswer::Piece { index: 0, bytes: vec![0; MAX_PIECE_BYTES + 1] },
    ] {
        assert_eq!(encode(&refused), Err(FrameError::OutOfBounds));
    }
    let greedy = FileAsk::Pieces { first: 0, count: MAX_PIECES_ASKED + 1 };
    assert_eq!(encode(&greedy), Err(FrameError::OutOfBounds));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic_and_what_is_taken_encodes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(frame) = decode::<FileAsk>(&bytes) {
            prop_assert_eq!(encode(&frame).unwrap(), bytes.clone());
        }
        if let Ok(frame) = decode::<FileAnswer>(&bytes) {
            prop_assert_eq!(encode(&frame).unwrap(), bytes);
        }
    }
}
