//! Logs that were tampered with, one way each, and what is found.

use std::ops::ControlFlow;
use std::sync::Arc;

use openprod_domain::view::Read;
use openprod_messages::log::{Entry, LogReader, Quarantined, Receipt, Stored, Tail};
use openprod_model::bundle::{Bundle, BundleKind, Draft, Source, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, BundleId, CommandId, Digest, OpId, Position, WorkspaceId};
use openprod_model::operation::Operation;
use openprod_model::value::Text;
use openprod_oplog::logic::ledger;

use super::{Report, Subject, verify};
use crate::diagnostics::Outcome;

const HAMLET: WorkspaceId = WorkspaceId::from_bytes([7; 16]);

/// A log in memory that says whatever it is made to say.
#[derive(Clone, Default)]
struct Memory {
    rows: Vec<(Entry, Stored)>,
    heads: Vec<Digest>,
}

impl Memory {
    fn of(bundles: &[Bundle]) -> Self {
        let (mut log, mut chain) = (Self::default(), Digest::from_bytes([0; 32]));
        for bundle in bundles {
            let header = bundle.header();
            chain = ledger::chain(chain, bundle.digest());
            let entry = Entry {
                digest: bundle.digest(),
                chain,
                id: header.id,
                actor: header.actor,
                hlc: header.hlc,
                wall_ms: header.wall_ms,
                kind: header.kind,
                ops: header.op_count,
                session: None,
                appended_ms: 0,
            };
            log.heads.retain(|head| bundle.ancestors().all(|ancestor| ancestor != *head));
            log.heads.push(bundle.digest());
            log.rows.push((entry, Stored::Whole(Box::new(bundle.clone()))));
        }
        log
    }

    fn row(&self, at: Position) -> Option<&(Entry, Stored)> {
        self.rows.get(usize::try_from(at.0).ok()?.checked_sub(1)?)
    }
}

impl LogReader for Memory {
    fn tail(&self) -> Read<Tail> {
        let chain = self.rows.last().map_or(Digest::from_bytes([0; 32]), |(entry, _)| entry.chain);
        Ok(Tail { position: Position(self.rows.len() as u64), chain, heads: self.heads.clone(), hlc: Hlc::ZERO })
    }
    fn entry(&self, at: Position) -> Read<Option<Entry>> {
        Ok(self.row(at).map(|(entry, _)| entry.clone()))
    }
    fn entries(&self, from: Position, limit: usize) -> Read<Vec<(Position, Entry)>> {
        Ok(self.bundles(from, limit, 0)?.into_iter().map(|(at, entry, _)| (at, entry)).collect())
    }
    fn bundle(&self, at: Position) -> Read<Option<Stored>> {
        Ok(self.row(at).map(|(_, stored)| stored.clone()))
    }
    fn bundles(&self, from: Position, limit: usize, _: usize) -> Read<Vec<(Position, Entry, Stored)>> {
        let rows = (1..).map(Position).zip(&self.rows).filter(|(at, _)| *at >= from).take(limit);
        Ok(rows.map(|(at, (entry, stored))| (at, entry.clone(), stored.clone())).collect())
    }
    fn position_of(&self, digest: Digest) -> Read<Option<Position>> {
        let found = self.rows.iter().position(|(entry, _)| entry.digest == digest);
        Ok(found.map(|index| Position(index as u64 + 1)))
    }
    fn position_of_id(&self, _: BundleId) -> Read<Option<Position>> {
        Ok(None)
    }
    fn prev_of(&self, _: ActorId) -> Read<Option<Digest>> {
        Ok(None)
    }
    fn receipt(&self, _: CommandId) -> Read<Option<(Position, Receipt)>> {
        Ok(None)
    }
    fn quarantined(&self, _: u64, _: usize) -> Read<Vec<Quarantined>> {
        Ok(Vec::new())
    }
    fn quarantine_alarms(&self) -> Read<u64> {
        Ok(0)
    }
    fn bytes_on_disk(&self) -> u64 {
        0
    }
}

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

fn verified(log: Memory) -> Report {
    let subject = Subject { workspace: HAMLET, log: Arc::new(log), snapshot: None };
    verify(&subject, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn found(log: Memory) -> Vec<&'static str> {
    let ids = verified(log).findings.into_iter().map(|finding| finding.id);
    let mut ids: Vec<_> = ids.filter(|id| *id != "state.missing").collect();
    ids.dedup();
    ids
}

#[test]
fn a_whole_log_has_nothing_but_its_state_missing() {
    let report = verified(Memory::of(&history()));
    assert_eq!((report.bundles, report.ops, report.revision), (4, 4, Position(4)));
    assert_eq!(report.outcome(), Outcome::Warning);
    assert_eq!(report.findings.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["state.missing"]);
}

#[test]
fn a_forged_last_bundle_is_found_and_one_that_its_author_vouched_for_is_none() {
    let mut bundles = history();
    bundles[1] = forged(&bundles[1]);
    bundles[2] = forged(&bundles[2]);
    assert!(found(Memory::of(&bundles)).is_empty());
    bundles[3] = forged(&bundles[3]);
    let report = verified(Memory::of(&bundles));
    let signatures = report.findings.iter().filter(|finding| finding.id == "log.signature").count();
    assert_eq!(signatures, 3, "nobody vouches any more: {:?}", report.findings);
}

#[test]
fn a_log_in_another_order_or_with_a_gap_is_found() {
    let bundles = history();
    let mut swapped = Memory::of(&bundles);
    swapped.rows.swap(1, 2);
    let ids = found(swapped);
    assert!(ids.contains(&"log.chain") && ids.contains(&"log.parents"), "{ids:?}");
    let ids = found(Memory::of(&[bundles[0].clone(), bundles[2].clone(), bundles[3].clone()]));
    assert!(ids.contains(&"log.parents"), "{ids:?}");
}

#[test]
fn entries_heads_and_bytes_that_lie_are_found() {
    let mut log = Memory::of(&history());
    log.rows[2].0.wall_ms += 1;
    assert_eq!(found(log), ["log.entry"]);
    let mut log = Memory::of(&history());
    log.heads = vec![log.rows[0].0.digest];
    assert_eq!(found(log), ["log.heads"]);
    let mut log = Memory::of(&history());
    log.rows[2].1 = Stored::Damaged { bytes: Vec::new(), reason: "It is empty.".to_owned() };
    assert_eq!(found(log), ["log.damaged"]);
    let mut log = Memory::of(&history());
    log.rows.iter_mut().for_each(|(entry, _)| entry.digest = Digest::from_bytes([9; 32]));
    assert!(found(log).contains(&"log.index"));
}

#[test]
fn a_bundle_of_another_workspace_is_found_and_a_caller_may_break_off() {
    let subject =
        Subject { workspace: WorkspaceId::from_bytes([8; 16]), log: Arc::new(Memory::of(&history())), snapshot: None };
    let report = verify(&subject, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.findings.iter().any(|finding| finding.id == "log.workspace"));
    assert!(verify(&subject, &mut |_| ControlFlow::Break(())).is_err());
}
