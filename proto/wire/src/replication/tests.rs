//! Every frame comes back as it went, its bytes stay as they are written down here, and nothing hostile gets through.

use proptest::prelude::*;

use super::*;
use crate::framing::{FrameError, decode, encode};

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

/// One frame of each kind.
fn examples() -> Vec<Message> {
    let actor = ActorId::from_bytes([1; 32]);
    let tip = Tip { actor, hlc: Hlc { ms: 5, counter: 6 }, digest: digest(2) };
    let state = StateSummary { fold_version: 1, unknown_ops: 2, kinds: [3; 32], total: digest(4) };
    let cell = CellPrint { key: vec![1, 2], print: [3; 32] };
    vec![
        Frontier { tips: vec![tip], more: true }.into(),
        Lacking { digests: vec![digest(1)], coming: vec![digest(3)], more: false }.into(),
        Reconcile { actor: Some(actor), message: vec![0x61] }.into(),
        Common { actor, digests: vec![digest(1), digest(2)] }.into(),
        Checkpoint { number: 1, remaining: 2, bundles: vec![vec![1, 2, 3]] }.into(),
        Part { number: 1, remaining: 2, total: 2_000_000, bytes: vec![7] }.into(),
        Offer { number: 3, digests: vec![digest(9)] }.into(),
        Acknowledge { number: 3, lacking: vec![0, 7] }.into(),
        Want { digests: vec![digest(8)] }.into(),
        Summary { heads: digest(1), bundles: 7, idle: true, state: Some(state) }.into(),
        Buckets { heads: digest(1), buckets: vec![[5; 32]; BUCKETS] }.into(),
        Cells { heads: digest(1), bucket: 3, after: vec![1], cells: vec![cell], more: false }.into(),
        Goodbye::new(Reason::CLOSING, "Good night.").into(),
        Ephemeral { bytes: vec![1] }.into(),
        Squeezed { bytes: vec![1, 2] }.into(),
        Hold { on: true }.into(),
    ]
}

#[test]
fn every_frame_comes_back_as_it_went() {
    for frame in examples() {
        assert_eq!(decode(&encode(&frame).unwrap()), Ok(frame));
    }
}

/// The hash over the bytes of one frame of each kind. It changes only with the protocol's version,
/// and where a kind is added behind the others.
#[test]
fn the_bytes_of_frames_stay_as_they_are() {
    let all: Vec<u8> = examples().iter().flat_map(|frame| encode(frame).unwrap()).collect();
    assert_eq!(blake3::hash(&all).to_hex().as_str(), GOLDEN);
}

const GOLDEN: &str = "ea381064d1f7fa9c25eb0be280658ebb52aada1bb82c8ca6dbddd9f9b606e842";

#[test]
fn every_kind_is_counted() {
    let kinds: Vec<u32> =
        examples().iter().map(|frame| u32::from_le_bytes(encode(frame).unwrap()[..4].try_into().unwrap())).collect();
    assert_eq!(kinds, (0..Message::KINDS).collect::<Vec<_>>());
    let newer = decode::<Message>(&Message::KINDS.to_le_bytes());
    assert_eq!(newer, Err(FrameError::Unknown { kind: Message::KINDS }));
}

#[test]
fn what_exceeds_a_limit_is_refused() {
    let refused: Vec<Message> = vec![
        Lacking { digests: vec![digest(1); MAX_DIGESTS], coming: vec![digest(2)], more: false }.into(),
        Checkpoint { number: 1, remaining: 0, bundles: vec![] }.into(),
        Checkpoint { number: 1, remaining: 0, bundles: vec![vec![]; MAX_CHECKPOINT_BUNDLES + 1] }.into(),
        Checkpoint { number: 1, remaining: 0, bundles: vec![vec![0; MAX_CHECKPOINT_BYTES + 1]] }.into(),
        Part { number: 1, remaining: 0, total: 17 * 1024 * 1024, bytes: vec![1] }.into(),
        Part { number: 1, remaining: 0, total: 2_000_000, bytes: vec![] }.into(),
        Buckets { heads: digest(1), buckets: vec![[0; 32]; 255] }.into(),
        Ephemeral { bytes: vec![0; MAX_EPHEMERAL_BYTES + 1] }.into(),
    ];
    for frame in refused {
        let bytes = openprod_model::codec::encode(&frame);
        assert!(decode::<Message>(&bytes).is_err(), "{frame:?}");
        assert!(encode(&frame).is_err(), "{frame:?}");
    }
}

#[test]
fn a_full_checkpoint_fits_into_a_frame() {
    let each = MAX_CHECKPOINT_BYTES / MAX_CHECKPOINT_BUNDLES;
    let full = Checkpoint { number: 1, remaining: 0, bundles: vec![vec![1; each]; MAX_CHECKPOINT_BUNDLES] };
    assert!(encode(&Message::from(full)).is_ok());
}

#[test]
fn a_long_sentence_is_cut_between_letters() {
    let goodbye = Goodbye::new(Reason::TROUBLE, "ß".repeat(MAX_SENTENCE_BYTES));
    assert_eq!(goodbye.sentence.len(), MAX_SENTENCE_BYTES);
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(kind in 0_u32..17, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<Message>(&[&kind.to_le_bytes()[..], &body].concat());
        let _ = decode::<Message>(&body);
    }

    #[test]
    fn altered_frames_are_read_as_others_or_not_at_all(which in 0_usize..16, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = encode(&examples()[which]).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(frame) = decode::<Message>(&bytes) {
            prop_assert_eq!(encode(&frame).unwrap(), bytes);
        }
    }
}
