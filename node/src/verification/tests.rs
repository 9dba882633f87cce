//! Logs that were tampered with, one way each, and what is found.

use std::ops::ControlFlow;
use std::sync::Arc;

use openprod_messages::log::Stored;
use openprod_messages::testing::{MemoryLog, Rows};
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{BundleId, Digest, OpId, Position, WorkspaceId};
use openprod_model::operation::Operation;
use openprod_model::value::Text;

use super::{Report, Subject, verify};
use crate::diagnostics::Outcome;

const HAMLET: WorkspaceId = WorkspaceId::from_bytes([7; 16]);

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

/// A founding and three more bundles, each on the one before, all of one author.
fn history() -> Vec<Bundle> {
    let mara = Keys::from_seed(&[1; 32]);
    let mut bundles: Vec<Bundle> = Vec::new();
    for number in 1..=4_u8 {
        let before = bundles.last().map(Bundle::digest);
        let operation = match before {
            None => Operation::Bootstrap {
                name: text("Hamlet"),
                founder: mara.actor(),
                founder_name: text("Mara"),
                recovery: None,
            },
            Some(_) => Operation::NameActor {
                actor: mara.actor(),
                name: text(&format!("Mara {number}")),
                basis: openprod_model::operation::Basis::default(),
            },
        };
        let hlc = Hlc { ms: 1_000 + u64::from(number), counter: 0 };
        let op_base = OpId::from_bytes([number; 16]);
        let draft = Draft {
            stamp: Stamp { workspace: HAMLET, actor: mara.actor(), hlc, op_base },
            id: BundleId::from_bytes([number; 16]),
            wall_ms: hlc.ms,
            parents: before.into_iter().collect(),
            prev: before,
            kind: if before.is_none() { BundleKind::BOOTSTRAP } else { BundleKind::EDIT },
            label: text("Rename Mara"),
            source: Source::default(),
            undoes: Vec::new(),
            ops: vec![operation.to_raw()],
        };
        bundles.push(draft.seal(&mara).unwrap());
    }
    bundles
}

/// The same bundle, with another signature: format (2 bytes), header with its length, then the signature.
fn forged(bundle: &Bundle) -> Bundle {
    let mut bytes = bundle.bytes().to_vec();
    let header = u64::from_le_bytes(bytes[2..10].try_into().unwrap());
    bytes[10 + usize::try_from(header).unwrap()] ^= 1;
    Bundle::parse(&bytes).unwrap()
}

fn verified(log: Arc<MemoryLog>) -> Report {
    let subject = Subject { workspace: HAMLET, log, snapshot: None };
    verify(&subject, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn found(log: Arc<MemoryLog>) -> Vec<&'static str> {
    let ids = verified(log).findings.into_iter().map(|finding| finding.id);
    let mut ids: Vec<_> = ids.filter(|id| *id != "state.missing").collect();
    ids.dedup();
    ids
}

/// What is found in the history after it was tampered with.
fn found_after(change: impl FnOnce(&mut Rows)) -> Vec<&'static str> {
    let log = MemoryLog::of(&history());
    log.tamper(change);
    found(log)
}

#[test]
fn a_whole_log_has_nothing_but_its_state_missing() {
    let report = verified(MemoryLog::of(&history()));
    assert_eq!((report.bundles, report.ops, report.revision), (4, 4, Position(4)));
    assert_eq!(report.outcome(), Outcome::Warning);
    assert_eq!(report.findings.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["state.missing"]);
}

#[test]
fn a_forged_last_bundle_is_found_and_one_that_its_author_vouched_for_is_none() {
    let mut bundles = history();
    bundles[1] = forged(&bundles[1]);
    bundles[2] = forged(&bundles[2]);
    assert!(found(MemoryLog::of(&bundles)).is_empty());
    bundles[3] = forged(&bundles[3]);
    let report = verified(MemoryLog::of(&bundles));
    let signatures = report.findings.iter().filter(|finding| finding.id == "log.signature").count();
    assert_eq!(signatures, 3, "nobody vouches any more: {:?}", report.findings);
}

#[test]
fn a_log_in_another_order_or_with_a_gap_is_found() {
    let bundles = history();
    let ids = found_after(|log| log.rows.swap(1, 2));
    assert!(ids.contains(&"log.chain") && ids.contains(&"log.parents"), "{ids:?}");
    let ids = found(MemoryLog::of(&[bundles[0].clone(), bundles[2].clone(), bundles[3].clone()]));
    assert!(ids.contains(&"log.parents"), "{ids:?}");
}

#[test]
fn entries_heads_and_bytes_that_lie_are_found() {
    assert_eq!(found_after(|log| log.rows[2].0.wall_ms += 1), ["log.entry"]);
    assert_eq!(found_after(|log| log.heads = vec![log.rows[0].0.digest]), ["log.heads"]);
    let emptied = Stored::Damaged { bytes: Vec::new(), reason: "It is empty.".to_owned() };
    assert_eq!(found_after(|log| log.rows[2].1 = emptied), ["log.damaged"]);
    let nine = Digest::from_bytes([9; 32]);
    let ids = found_after(|log| log.rows.iter_mut().for_each(|(entry, _)| entry.digest = nine));
    assert!(ids.contains(&"log.index"), "{ids:?}");
}

#[test]
fn a_bundle_of_another_workspace_is_found_and_a_caller_may_break_off() {
    let subject =
        Subject { workspace: WorkspaceId::from_bytes([8; 16]), log: MemoryLog::of(&history()), snapshot: None };
    let report = verify(&subject, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.findings.iter().any(|finding| finding.id == "log.workspace"));
    assert!(verify(&subject, &mut |_| ControlFlow::Break(())).is_err());
}
