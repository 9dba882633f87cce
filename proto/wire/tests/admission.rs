//! Tickets, recovery keys and the frames of admission: their bytes for ever, and what hostile ones come to.
//!
//! A golden file that changes is a broken promise to every ticket on a wall and every older node. After adding a *new*
//! format, run `OPENPROD_WRITE_GOLDEN=1 cargo test -p openprod-wire --test admission` once and look at what was added.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use openprod_model::codec;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, WorkspaceId};
use openprod_model::value::Text;
use openprod_wire::admission::{Admission, Denial, MAX_NAME_BYTES, Right, Session, modest};
use openprod_wire::framing::{self, Frame, FrameError};
use openprod_wire::letters::LettersError;
use openprod_wire::recovery::RecoveryKey;
use openprod_wire::ticket::{MAX_ADDRESSES, Secret, Ticket, TicketError};
use proptest::prelude::*;

const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([7; 16]);

fn golden(name: &str, lines: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("OPENPROD_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, lines).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("there is no golden file {}", path.display()));
    assert_eq!(lines, kept, "{name} has changed: that is a new format, not a new golden file");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")) + "\n"
}

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn ticket() -> Ticket {
    Ticket {
        workspace: WORKSPACE,
        inviter: Keys::from_seed(&[1; 32]).actor(),
        addresses: ["10.0.0.5:4433", "[fe80::1]:4433"].map(|address| address.parse::<SocketAddr>().unwrap()).to_vec(),
        secret: Secret::from_bytes([9; 16]),
        expires_ms: 1_790_000_000_000,
        uses: 12,
    }
}

fn session() -> Session {
    let [joiner, member] = [2, 1].map(|seed| Keys::from_seed(&[seed; 32]).actor());
    Session { exporter: [5; 32], joiner, member }
}

fn every_frame() -> Vec<Admission> {
    let keys = ticket().secret.keys();
    let claim = |by| Admission::Claim {
        by,
        key: keys.actor(),
        proof: session().prove(by, WORKSPACE, &keys),
        name: text("Leo's laptop"),
    };
    let denials = [
        Denial::Expired,
        Denial::Revoked,
        Denial::UsedUp,
        Denial::MakerRemoved,
        Denial::Removed,
        Denial::Denied,
        Denial::Unanswered,
        Denial::TooMany,
        Denial::Unavailable,
    ];
    let mut frames = vec![
        claim(Right::Ticket),
        claim(Right::Member),
        Admission::Request { workspace: Some(text("Hamlet")), commitment: [3; 32], name: text("Leo's laptop") },
        Admission::Request { workspace: None, commitment: [3; 32], name: text("") },
        Admission::Reveal { number: [4; 32] },
        Admission::Challenge { number: [5; 32], name: text("Hamlet") },
        Admission::Choose { names: vec![text("Hamlet"), text("Tosca")] },
        Admission::Admitted { workspace: WORKSPACE, name: text("Hamlet") },
    ];
    frames.extend(denials.map(|why| Admission::Refused { why }));
    frames
}

#[test]
fn the_letters_of_tickets_and_recovery_keys_stay_as_they_are() {
    golden("ticket.txt", &format!("{}\n", ticket()));
    let recovery = RecoveryKey { workspace: WORKSPACE, keys: Keys::from_seed(&[8; 32]) };
    golden("recovery.txt", &format!("{}\n", recovery.reveal().as_str()));
}

#[test]
fn the_bytes_of_frames_and_proofs_stay_as_they_are() {
    let frames: Vec<Vec<u8>> = every_frame().iter().map(|frame| framing::encode(frame).unwrap()).collect();
    golden("admission.hex", &frames.iter().map(|frame| hex(frame)).collect::<String>());
    let read: Vec<Admission> = frames.iter().map(|frame| framing::decode(frame).unwrap()).collect();
    assert_eq!(read, every_frame());
    golden("code.txt", &format!("{}\n", session().code(&[1; 32], &[2; 32])));
}

#[test]
fn a_ticket_is_read_back_however_it_was_copied() {
    let written = ticket().to_string();
    assert_eq!(Ticket::parse(&written).unwrap(), ticket());
    let mailed =
        written.to_lowercase().as_bytes().chunks(40).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n> ");
    assert!(matches!(Ticket::parse(&mailed), Err(TicketError::Letters(LettersError::Letter { letter: '>', .. }))));
    assert_eq!(Ticket::parse(&mailed.replace('>', "")).unwrap(), ticket());
    assert!(Ticket::is_meant(&mailed) && !Ticket::is_meant("10.0.0.5:4433"));
}

#[test]
fn a_ticket_that_asks_for_too_much_is_none() {
    let many = vec!["10.0.0.5:4433".parse().unwrap(); MAX_ADDRESSES + 1];
    for wrong in
        [Ticket { addresses: many, ..ticket() }, Ticket { uses: 0, ..ticket() }, Ticket { uses: 101, ..ticket() }]
    {
        assert_eq!(Ticket::parse(&wrong.to_string()), Err(TicketError::Content));
    }
}

#[test]
fn the_largest_ticket_fits_its_letters() {
    let address = "[fe80::1:2:3:4]:65535".parse().unwrap();
    let large = Ticket { addresses: vec![address; MAX_ADDRESSES], ..ticket() };
    assert_eq!(Ticket::parse(&large.to_string()).unwrap(), large);
}

#[test]
fn a_recovery_key_is_read_back_and_never_taken_for_a_ticket() {
    let key = RecoveryKey { workspace: WORKSPACE, keys: Keys::from_seed(&[8; 32]) };
    let read = RecoveryKey::parse(&key.reveal().to_lowercase()).unwrap();
    assert_eq!((read.workspace, read.keys.actor()), (WORKSPACE, key.keys.actor()));
    assert!(RecoveryKey::is_meant(&key.reveal()) && !Ticket::is_meant(&key.reveal()));
    assert!(format!("{:?}", ticket()).contains("Secret(..)"), "no secret is shown by chance");
}

#[test]
fn a_proof_holds_in_one_session_for_one_purpose_only() {
    let (keys, here) = (ticket().secret.keys(), session());
    let proof = here.prove(Right::Ticket, WORKSPACE, &keys);
    assert!(here.is_proven(Right::Ticket, WORKSPACE, keys.actor(), &proof));
    let elsewhere = [
        Session { exporter: [6; 32], ..here },
        Session { joiner: ActorId::from_bytes([3; 32]), ..here },
        Session { member: ActorId::from_bytes([3; 32]), ..here },
    ];
    assert!(!elsewhere.iter().any(|session| session.is_proven(Right::Ticket, WORKSPACE, keys.actor(), &proof)));
    assert!(!here.is_proven(Right::Member, WORKSPACE, keys.actor(), &proof));
    assert!(!here.is_proven(Right::Ticket, WorkspaceId::from_bytes([8; 16]), keys.actor(), &proof));
    assert!(!here.is_proven(Right::Ticket, WORKSPACE, session().joiner, &proof));
}

#[test]
fn boasting_is_refused_by_both_sides() {
    let boastful = Admission::Admitted { workspace: WORKSPACE, name: text(&"x".repeat(MAX_NAME_BYTES + 1)) };
    assert_eq!(framing::encode(&boastful), Err(FrameError::OutOfBounds));
    assert_eq!(framing::decode::<Admission>(&codec::encode(&boastful)), Err(FrameError::OutOfBounds));
    let tomorrows = framing::decode::<Admission>(&Admission::KINDS.to_le_bytes());
    assert_eq!(tomorrows, Err(FrameError::Unknown { kind: Admission::KINDS }));
}

#[test]
fn names_are_cut_to_a_line() {
    assert_eq!(modest(" Leo's\nlaptop\u{7} ").as_str(), "Leo'slaptop");
    assert_eq!(modest("\n\0").as_str(), "Unnamed");
    assert_eq!(modest(&"é".repeat(100)).as_str().len(), MAX_NAME_BYTES);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(kind in 0_u32..9, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [kind.to_le_bytes().as_slice(), &body].concat();
        if let Ok(frame) = framing::decode::<Admission>(&bytes) {
            prop_assert_eq!(framing::encode(&frame).unwrap(), bytes);
        }
    }

    #[test]
    fn a_flipped_bit_is_never_the_same_frame(which in 0_usize..16, at in 0_usize..200, bit in 0_u8..8) {
        let frames = every_frame();
        let frame = &frames[which % frames.len()];
        let mut bytes = framing::encode(frame).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let read = framing::decode(&bytes);
        prop_assert_ne!(read.as_ref(), Ok(frame));
    }

    #[test]
    fn the_code_is_six_digits(joiners: [u8; 32], members: [u8; 32]) {
        let code = session().code(&joiners, &members);
        let groups: Vec<&str> = code.split(' ').collect();
        prop_assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [3, 3]);
        prop_assert!(groups.concat().parse::<u32>().is_ok());
    }
}
