//! The formats of openings and control frames, guarded by golden bytes, and what they do with hostile ones.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

use openprod_model::ids::WorkspaceId;
use openprod_wire::closing::CloseCode;
use openprod_wire::framing::{FrameError, decode, encode};
use openprod_wire::hello::{
    Control, Hello, MAX_SOFTWARE_BYTES, MAX_WORKSPACES, Side, VERSIONS, Versions, WorkspaceTag, clock_offset_ms,
};
use openprod_wire::opening::Opening;
use proptest::prelude::*;

const SHOW: WorkspaceId = WorkspaceId::from_bytes([1; 16]);

fn tag() -> WorkspaceTag {
    WorkspaceTag::of(SHOW, &[7; 32], Side::Dialler)
}

fn hello() -> Hello {
    let software = "openprod 0.1.0".to_owned();
    Hello { versions: VERSIONS, life: 5, software, clock_ms: 1_795_240_000_000, features: 3, knows: vec![tag()] }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Golden bytes change only with the protocol's version.
#[test]
fn the_formats_stay_what_they_are() {
    let frames = [
        encode(&Opening::Control).unwrap(),
        encode(&Opening::Workspace { tag: tag() }).unwrap(),
        encode(&Opening::Admission { tag: tag() }).unwrap(),
        encode(&Opening::Blob { tag: tag() }).unwrap(),
        encode(&Opening::Presence { tag: tag() }).unwrap(),
        encode(&Control::Hello(hello())).unwrap(),
        encode(&Control::Welcome(vec![tag()])).unwrap(),
        encode(&Control::Probe { sent_ms: 1 }).unwrap(),
        encode(&Control::Echo { sent_ms: 1, clock_ms: 2 }).unwrap(),
    ];
    let found: Vec<_> = frames.iter().map(|frame| hex(frame)).collect();
    let golden: Vec<_> = include_str!("golden/links.hex").lines().collect();
    assert_eq!(found, golden, "found:\n{}\n", found.join("\n"));
}

#[test]
fn a_tag_tells_a_workspace_a_session_and_a_side_apart() {
    let other = WorkspaceId::from_bytes([2; 16]);
    let tags = [
        tag(),
        WorkspaceTag::of(other, &[7; 32], Side::Dialler),
        WorkspaceTag::of(SHOW, &[8; 32], Side::Dialler),
        WorkspaceTag::of(SHOW, &[7; 32], Side::Dialled),
    ];
    let distinct: std::collections::BTreeSet<_> = tags.iter().collect();
    assert_eq!(distinct.len(), 4);
    assert_eq!(tag(), WorkspaceTag::of(SHOW, &[7; 32], Side::Dialler));
}

#[test]
fn versions_agree_on_the_newest_that_both_speak() {
    let of = |lowest, highest| Versions { lowest, highest };
    assert_eq!(of(1, 3).agree(of(2, 5)), Some(3));
    assert_eq!(of(2, 5).agree(of(1, 3)), Some(3));
    assert_eq!(of(1, 1).agree(of(2, 3)), None);
    assert_eq!(of(1, 9).agree(of(4, 4)), Some(4));
}

#[test]
fn a_hello_keeps_its_bounds() {
    let refused = [
        Hello { knows: vec![tag(); MAX_WORKSPACES + 1], ..hello() },
        Hello { software: "x".repeat(MAX_SOFTWARE_BYTES + 1), ..hello() },
        Hello { software: "\u{1b}[2J".to_owned(), ..hello() },
        Hello { versions: Versions { lowest: 2, highest: 1 }, ..hello() },
    ];
    for hello in refused {
        assert_eq!(encode(&Control::Hello(hello)), Err(FrameError::OutOfBounds));
    }
    let most = Control::Hello(Hello { knows: vec![tag(); MAX_WORKSPACES], ..hello() });
    assert_eq!(decode::<Control>(&encode(&most).unwrap()), Ok(most), "as many as allowed fit into a frame");
}

#[test]
fn the_offset_of_a_clock_is_told_from_halfway() {
    assert_eq!(clock_offset_ms(1_000, 1_040, 1_020), 0);
    assert_eq!(clock_offset_ms(1_000, 1_040, 4_020), 3_000);
    assert_eq!(clock_offset_ms(5_000, 5_002, 1), -5_000);
    assert_eq!(clock_offset_ms(0, 0, u64::MAX), i64::MAX);
    assert_eq!(clock_offset_ms(u64::MAX, u64::MAX, 0), i64::MIN);
}

#[test]
fn every_reason_to_close_has_words() {
    for code in (0..11).map(CloseCode) {
        assert_ne!(code.says(), CloseCode(u32::MAX).says(), "{}", code.0);
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic_and_what_is_taken_encodes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(frame) = decode::<Control>(&bytes) {
            prop_assert_eq!(encode(&frame).unwrap(), bytes.clone());
        }
        if let Ok(frame) = decode::<Opening>(&bytes) {
            prop_assert_eq!(encode(&frame).unwrap(), bytes);
        }
    }

    #[test]
    fn a_damaged_hello_is_refused_or_is_another_hello(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = encode(&Control::Hello(hello())).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(frame) = decode::<Control>(&bytes) {
            prop_assert_ne!(&frame, &Control::Hello(hello()));
            prop_assert_eq!(encode(&frame).unwrap(), bytes);
        }
    }

    #[test]
    fn clocks_never_overflow(asked in any::<u64>(), answered in any::<u64>(), theirs in any::<u64>()) {
        clock_offset_ms(asked, answered, theirs);
    }
}
