//! Hostile bytes on every kind of stream: refused, or read to a frame that has exactly those bytes. Bytes of real frames
//! that were changed reach further than bytes drawn at random.

use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, Digest, WorkspaceId};
use openprod_model::value::Text;
use proptest::prelude::*;

use crate::admission::{Admission, Denial, Right};
use crate::framing::{self, Frame, FrameError};
use crate::hello::{Control, Hello, VERSIONS, WorkspaceTag};
use crate::opening::Opening;
use crate::replication::{
    Acknowledge, Buckets, CellPrint, Cells, Checkpoint, Common, Ephemeral, Frontier, Goodbye, Hold, Lacking, Message,
    Offer, Part, Reason, Reconcile, StateSummary, Summary, Tip, Want,
};

const DIGEST: Digest = Digest::from_bytes([7; 32]);
const ACTOR: ActorId = ActorId::from_bytes([8; 32]);
const TAG: WorkspaceTag = WorkspaceTag::from_bytes([9; 32]);

fn bytes<T: Frame>(frames: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    frames.into_iter().map(|frame| framing::encode(&frame).unwrap()).collect()
}

fn messages() -> Vec<Message> {
    let digests = vec![DIGEST, DIGEST];
    let state = StateSummary { fold_version: 1, unknown_ops: 0, kinds: [1; 32], total: DIGEST };
    let tip = Tip { actor: ACTOR, hlc: Hlc { ms: 9, counter: 1 }, digest: DIGEST };
    let print = CellPrint { key: vec![1, 2], print: [3; 32] };
    vec![
        Frontier { tips: vec![tip, tip], more: true }.into(),
        Lacking { digests: digests.clone(), coming: digests.clone(), more: false }.into(),
        Reconcile { actor: Some(ACTOR), message: vec![0x61, 0, 0] }.into(),
        Common { actor: ACTOR, digests: digests.clone() }.into(),
        Checkpoint { number: 1, remaining: 2, bundles: vec![vec![1; 9], vec![2; 5]] }.into(),
        Part { number: 1, remaining: 2, total: 2_000_000, bytes: vec![4; 50] }.into(),
        Offer { number: 3, digests: digests.clone() }.into(),
        Acknowledge { number: 3, lacking: vec![0, 1] }.into(),
        Want { digests }.into(),
        Summary { heads: DIGEST, bundles: 4, idle: true, state: Some(state) }.into(),
        Buckets { heads: DIGEST, buckets: vec![[5; 32]; 256] }.into(),
        Cells { heads: DIGEST, bucket: 1, after: vec![1], cells: vec![print], more: false }.into(),
        Goodbye::new(Reason::CLOSING, "The node is closing.").into(),
        Ephemeral { bytes: vec![6; 12] }.into(),
        Hold { on: true }.into(),
    ]
}

/// One real frame of each kind of each stream.
fn real() -> Vec<Vec<u8>> {
    let (tag, number) = (TAG, [1; 32]);
    let name = Text::new("Leo's laptop").unwrap();
    let hello = Hello {
        versions: VERSIONS,
        life: 3,
        software: "openprod 0.1.0".into(),
        clock_ms: 5,
        features: 0,
        knows: vec![TAG],
    };
    let openings = [
        Opening::Control,
        Opening::Workspace { tag },
        Opening::Admission { tag },
        Opening::Blob { tag },
        Opening::Asking,
    ];
    let controls = [
        Control::Hello(hello),
        Control::Welcome(vec![TAG, TAG]),
        Control::Probe { sent_ms: 1 },
        Control::Echo { sent_ms: 1, clock_ms: 2 },
    ];
    let keys = Keys::from_seed(&[2; 32]);
    let (by, key, proof) = (Right::Ticket, keys.actor(), keys.sign(b"whatever"));
    let admissions = [
        Admission::Claim { by, key, proof, name: name.clone() },
        Admission::Request { workspace: Some(name.clone()), commitment: number, name: name.clone() },
        Admission::Challenge { number, name: name.clone() },
        Admission::Reveal { number },
        Admission::Choose { names: vec![name.clone(), name.clone()] },
        Admission::Admitted { workspace: WorkspaceId::new(1, [1; 10]), name },
        Admission::Refused { why: Denial::Denied },
    ];
    [bytes(openings), bytes(controls), bytes(admissions), bytes(messages())].concat()
}

fn is_refused_or_itself<T: Frame>(bytes: &[u8]) -> Result<(), TestCaseError> {
    match framing::decode::<T>(bytes) {
        Ok(frame) => prop_assert_eq!(framing::encode(&frame).unwrap(), bytes),
        Err(FrameError::TooLarge { limit, .. }) => prop_assert!(bytes.len() > limit),
        Err(error) => prop_assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

fn on_every_stream(bytes: &[u8]) -> Result<(), TestCaseError> {
    is_refused_or_itself::<Opening>(bytes)?;
    is_refused_or_itself::<Control>(bytes)?;
    is_refused_or_itself::<Admission>(bytes)?;
    is_refused_or_itself::<Message>(bytes)
}

#[test]
fn real_frames_are_read_on_some_stream() {
    for bytes in real() {
        let read = [
            framing::decode::<Opening>(&bytes).is_ok(),
            framing::decode::<Control>(&bytes).is_ok(),
            framing::decode::<Admission>(&bytes).is_ok(),
            framing::decode::<Message>(&bytes).is_ok(),
        ];
        assert!(read.contains(&true), "{bytes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn bytes_drawn_at_random(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        on_every_stream(&bytes)?;
    }

    #[test]
    fn real_frames_that_were_changed(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in any::<prop::sample::Index>(),
        more in prop::collection::vec(any::<u8>(), 0..8),
        cut in any::<bool>(),
    ) {
        let mut bytes = which.get(&real()).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        bytes.extend(more);
        on_every_stream(&bytes)?;
    }
}
