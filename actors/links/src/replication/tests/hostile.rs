//! A peer that says anything: it is told goodbye, and nothing else happens.

use openprod_model::clock::Hlc;
use openprod_model::ids::{ActorId, Digest};
use openprod_wire::framing::{self, FrameError};
use openprod_wire::replication::{
    Acknowledge, Buckets, Cells, Checkpoint, Common, Ephemeral, Frontier, Lacking, Message, Offer, Part, Reconcile,
    StateSummary, Summary, Tip, Want,
};
use proptest::prelude::*;

use super::kit::{Net, person};

fn digest() -> impl Strategy<Value = Digest> {
    (0_u8..4).prop_map(|byte| Digest::from_bytes([byte; 32]))
}

fn digests() -> impl Strategy<Value = Vec<Digest>> {
    proptest::collection::vec(digest(), 0..4)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..80)
}

fn actor() -> impl Strategy<Value = ActorId> {
    (0_u8..3).prop_map(|number| person(number).actor())
}

fn tip() -> impl Strategy<Value = Tip> {
    (actor(), any::<u64>(), digest()).prop_map(|(actor, ms, digest)| Tip { actor, hlc: Hlc { ms, counter: 0 }, digest })
}

/// Any frame, with numbers that are sometimes right.
fn frame() -> impl Strategy<Value = Message> {
    let small = || prop_oneof![1_u64..6, any::<u64>()];
    let state = (any::<u16>(), digest())
        .prop_map(|(fold_version, total)| Some(StateSummary { fold_version, unknown_ops: 0, kinds: [0; 32], total }));
    prop_oneof![
        (proptest::collection::vec(tip(), 0..5), any::<bool>()).prop_map(|(tips, more)| Frontier { tips, more }.into()),
        (digests(), digests(), any::<bool>())
            .prop_map(|(digests, coming, more)| Lacking { digests, coming, more }.into()),
        (proptest::option::of(actor()), bytes()).prop_map(|(actor, mut message)| {
            message[0] = 0x61;
            Reconcile { actor, message }.into()
        }),
        (actor(), digests()).prop_map(|(actor, digests)| Common { actor, digests }.into()),
        (small(), proptest::collection::vec(bytes(), 1..3)).prop_map(|(number, bundles)| Checkpoint {
            number,
            remaining: u64::MAX,
            bundles
        }
        .into()),
        (small(), 1_048_577_u32..1_048_580, bytes()).prop_map(|(number, total, bytes)| Part {
            number,
            remaining: 0,
            total,
            bytes
        }
        .into()),
        (small(), digests()).prop_map(|(number, digests)| Offer { number, digests }.into()),
        (small(), proptest::collection::vec(any::<u16>(), 0..4)).prop_map(|(number, lacking)| Acknowledge {
            number,
            lacking
        }
        .into()),
        digests().prop_map(|digests| Want { digests }.into()),
        (digest(), any::<u64>(), any::<bool>(), state).prop_map(|(heads, bundles, idle, state)| Summary {
            heads,
            bundles,
            idle,
            state
        }
        .into()),
        (digest(), any::<u8>()).prop_map(|(heads, byte)| Buckets { heads, buckets: vec![[byte; 32]; 256] }.into()),
        (digest(), any::<u8>(), bytes(), any::<bool>()).prop_map(|(heads, bucket, after, more)| Cells {
            heads,
            bucket,
            after,
            cells: vec![],
            more
        }
        .into()),
        bytes().prop_map(|bytes| Ephemeral { bytes }.into()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn frames_that_nobody_expects_never_panic_and_lose_nothing(
        before in 0_usize..30,
        frames in proptest::collection::vec(frame(), 1..20),
        seed in any::<u64>(),
    ) {
        let mut net = Net::new(3, seed);
        net.writes_often(0, 10);
        net.writes_often(1, 10);
        net.joins(0, 1);
        net.steps(before);
        for frame in frames {
            net.says(1, 0, frame);
        }
        // Whatever is in hand is nonsense, and no oplog would take it; the link is cut.
        net.cuts(0, 1);
        net.everyone_joins();
        net.meets();
        net.agrees();
    }

    #[test]
    fn bytes_that_are_no_frame_are_answered_by_goodbye(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut net = Net::new(2, 1);
        net.joins(0, 1);
        if let Err(error) = framing::decode::<Message>(&bytes) {
            net.event((0, 1), 0, crate::replication::engine::Event::Received(bytes));
            let is_newer = matches!(error, FrameError::Unknown { .. });
            prop_assert_eq!(net.end(0, 1).ending.is_some(), !is_newer);
        }
    }
}
