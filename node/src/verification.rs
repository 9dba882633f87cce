//! Verification: everything a log says of itself is computed again and compared, and so is the state made of it.
//!
//! Checked of every bundle: that it parses and hashes to the digest it lies under; that its entry, its place in the
//! chain, its parents, its author's bundle before and its clock are right; that it is authentic: signed, or vouched for
//! by a later bundle of its author that is. Then the heads, and the state hash of a replay into memory (I-4, I-7, I-8).

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openprod_domain::view::{Read, ReadFailure};
use openprod_messages::log::{self, Entry, LogReader, Stored};
use openprod_messages::snapshot::Snapshot;
use openprod_model::bundle::Bundle;
use openprod_model::clock::Hlc;
use openprod_model::ids::{ActorId, Digest, Position, WorkspaceId};

use crate::diagnostics::Outcome;

mod bounded;
#[cfg(test)]
mod tests;

use bounded::UpTo;

/// How much of the log is read at once.
const BATCH_BUNDLES: usize = 512;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Signatures are checked by this many threads.
const THREADS: usize = 2;
/// Most findings that a report lists; the rest is counted.
const MAX_FINDINGS: usize = 1_000;

/// A bundle's bytes are not what they were.
const LOG_DAMAGED: &str = "log.damaged";

const FROM_BACKUP: &str =
    "Connected nodes that have a good copy give it within a minute; verify again then. Else a backup may have one.";
const REPLAY: &str =
    "Stop the node, remove state.redb from the workspace's folder, start it again: the state is folded anew.";
const KEEP: &str = "Stop the node, keep a copy of the workspace's folder, and restore the last good backup.";

/// What is to be verified.
pub struct Subject {
    /// Whose log it is.
    pub workspace: WorkspaceId,
    /// The log.
    pub log: Arc<dyn LogReader>,
    /// The state as it is stored; none if there is none, or it is not to be looked at.
    pub snapshot: Option<Arc<dyn Snapshot>>,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Hashes, places and signatures.
    Log,
    /// Folding it again.
    Replay,
}

impl Stage {
    /// What is being done, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Log => "Checking hashes and signatures",
            Self::Replay => "Folding the history again",
        }
    }
}

/// How far a verification has come, in bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is.
    pub total: u64,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of finding, such as `log.signature`. Never changes.
    pub id: &'static str,
    /// How bad it is.
    pub outcome: Outcome,
    /// What was found, for people.
    pub sentence: String,
    /// The bundle concerned.
    pub bundle: Option<Digest>,
    /// What to do.
    pub fix: &'static str,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Bundles checked.
    pub bundles: u64,
    /// Operations checked.
    pub ops: u64,
    /// The last position checked.
    pub revision: Position,
    /// The hash of the replayed state.
    pub state_hash: Digest,
    /// How long it took.
    pub took: Duration,
    /// What was found, the worst first; at most 1,000.
    pub findings: Vec<Finding>,
    /// Findings that were left out.
    pub left_out: u64,
}

impl Report {
    /// The worst of the findings.
    pub fn outcome(&self) -> Outcome {
        self.findings.iter().map(|finding| finding.outcome).max().unwrap_or(Outcome::Ok)
    }

    /// The bundles whose bytes are damaged, and how.
    pub fn damaged(&self) -> impl Iterator<Item = (Digest, &str)> {
        let damaged = self.findings.iter().filter(|finding| finding.id == LOG_DAMAGED);
        damaged.filter_map(|finding| Some((finding.bundle?, finding.sentence.as_str())))
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log or the state could not be read.
    #[error(transparent)]
    Read(#[from] ReadFailure),
    /// Whoever was told of the progress asked to stop.
    #[error("the verification was broken off")]
    BrokenOff,
}

/// Verifies a workspace, up to the revision of its snapshot. Blocks its thread, and takes about as long as it took to
/// admit the log. `progress` may break it off.
pub fn verify(subject: &Subject, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Report, VerifyError> {
    let begun = Instant::now();
    let tail = subject.log.tail()?;
    let end = subject.snapshot.as_ref().map_or(tail.position, |snapshot| snapshot.position());
    let mut pass = Pass::new(subject.workspace);
    let mut from = Position::ZERO.next();
    while from <= end {
        tell(progress, Stage::Log, from.0 - 1, end)?;
        let mut batch = subject.log.bundles_on_disk(from, BATCH_BUNDLES, BATCH_BYTES)?;
        batch.retain(|(at, ..)| *at <= end);
        let Some((last, ..)) = batch.last() else {
            let sentence = format!("The log ends at revision {from}, before its end at {end}.");
            pass.found("log.end", sentence, None, KEEP);
            break;
        };
        let next = last.next();
        pass.batch(&*subject.log, &batch)?;
        from = next;
    }
    pass.unsigned(&*subject.log, end)?;
    let heads = match &subject.snapshot {
        Some(snapshot) => snapshot.heads()?,
        None => tail.heads,
    };
    pass.compare_heads(&heads);
    alarms(&*subject.log, &mut pass)?;
    let state_hash = replay(subject, end, &mut pass, progress)?;
    let Pass { bundles, ops, mut findings, left_out, .. } = pass;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.outcome));
    Ok(Report { bundles, ops, revision: end, state_hash, took: begun.elapsed(), findings, left_out })
}

fn tell(
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    stage: Stage,
    done: u64,
    end: Position,
) -> Result<(), VerifyError> {
    match progress(Progress { stage, done, total: end.0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(VerifyError::BrokenOff),
    }
}

fn alarms(log: &dyn LogReader, pass: &mut Pass) -> Read<()> {
    let alarms = log.quarantine_alarms()?;
    if alarms > 0 {
        let sentence = format!("{alarms} bundles are in quarantine and wait for a decision.");
        let fix = "`openprod quarantine` lists them, with the reasons.";
        pass.push(Finding { id: "quarantine.alarms", outcome: Outcome::Warning, sentence, bundle: None, fix });
    }
    Ok(())
}

/// Folds the log again and compares.
fn replay(
    subject: &Subject,
    end: Position,
    pass: &mut Pass,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Digest, VerifyError> {
    let log: Arc<dyn LogReader> = Arc::new(UpTo { log: Arc::clone(&subject.log), end, chain: pass.chain });
    let mut broken_off = false;
    let mut hear = |done: Position, _: Position| {
        broken_off |= tell(progress, Stage::Replay, done.0, end).is_err();
    };
    let replayed = openprod_state::replay_hash(log, subject.workspace, &mut hear)?;
    if broken_off {
        return Err(VerifyError::BrokenOff);
    }
    match &subject.snapshot {
        None => {
            let sentence = "There is no stored state to compare with; the next start makes one.".to_owned();
            let fix = "Start the node.";
            pass.push(Finding { id: "state.missing", outcome: Outcome::Warning, sentence, bundle: None, fix });
        }
        Some(snapshot) => {
            let stored = snapshot.hash()?;
            if stored.fold_version == replayed.fold_version && stored.total != replayed.total {
                let sentence = format!(
                    "The stored state hashes to {}, a replay of the log to {}.",
                    stored.total.short(),
                    replayed.total.short()
                );
                pass.found("state.hash", sentence, None, REPLAY);
            }
            if snapshot.chain() != pass.chain {
                let sentence = "The state was folded from another log than this one.".to_owned();
                pass.found("state.chain", sentence, None, REPLAY);
            }
        }
    }
    Ok(replayed.total)
}

/// What is remembered of the bundles before.
#[derive(Clone, Copy)]
struct Before {
    actor: ActorId,
    last_hlc: Hlc,
}

/// One walk through the log.
struct Pass {
    workspace: WorkspaceId,
    chain: Digest,
    seen: HashMap<Digest, Before>,
    heads: BTreeSet<Digest>,
    /// Bundles whose own signature does not verify, with their places.
    unsigned: HashMap<Digest, Position>,
    bundles: u64,
    ops: u64,
    findings: Vec<Finding>,
    left_out: u64,
}

impl Pass {
    fn new(workspace: WorkspaceId) -> Self {
        Self {
            workspace,
            chain: log::CHAIN_START,
            seen: HashMap::new(),
            heads: BTreeSet::new(),
            unsigned: HashMap::new(),
            bundles: 0,
            ops: 0,
            findings: Vec::new(),
            left_out: 0,
        }
    }

    fn push(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS { self.findings.push(finding) } else { self.left_out += 1 }
    }

    fn found(&mut self, id: &'static str, sentence: String, bundle: Option<Digest>, fix: &'static str) {
        self.push(Finding { id, outcome: Outcome::Problem, sentence, bundle, fix });
    }

    fn batch(&mut self, log: &dyn LogReader, batch: &[(Position, Entry, Stored)]) -> Read<()> {
        let unsigned = unsigned_in(batch);
        for (at, entry, stored) in batch {
            self.bundles += 1;
            self.ops += u64::from(entry.ops);
            self.in_chain(*at, entry);
            if log.position_of(entry.digest)? != Some(*at) {
                let sentence = format!("The bundle at revision {at} is not found by its digest.");
                self.found("log.index", sentence, Some(entry.digest), KEEP);
            }
            match stored {
                Stored::Whole(bundle) => self.whole(*at, entry, bundle),
                Stored::Damaged { reason, .. } => {
                    let sentence = format!("The bundle at revision {at} is damaged: {reason}");
                    self.found(LOG_DAMAGED, sentence, Some(entry.digest), FROM_BACKUP);
                    // It is judged no further, but what builds on it must not be reported for its sake.
                    self.remember(
                        entry.digest,
                        entry.actor,
                        entry.hlc.plus(entry.ops.saturating_sub(1)).unwrap_or(entry.hlc),
                    );
                }
            }
        }
        self.unsigned.extend(unsigned);
        Ok(())
    }

    fn in_chain(&mut self, at: Position, entry: &Entry) {
        self.chain = log::chain(self.chain, entry.digest);
        if self.chain != entry.chain {
            let sentence = format!("The chain does not lead to revision {at}: something before it was changed.");
            self.found("log.chain", sentence, Some(entry.digest), KEEP);
            // Reported once, where it breaks, and not at every later revision.
            self.chain = entry.chain;
        }
    }

    fn whole(&mut self, at: Position, entry: &Entry, bundle: &Bundle) {
        let digest = Some(bundle.digest());
        if let Some(what) = difference(entry, bundle) {
            let sentence = format!("What lies beside the bundle at revision {at} says another {what} than the bundle.");
            self.found("log.entry", sentence, digest, KEEP);
        }
        if bundle.header().workspace != self.workspace {
            let sentence = format!("The bundle at revision {at} belongs to another workspace.");
            self.found("log.workspace", sentence, digest, KEEP);
        }
        self.among_its_ancestors(at, bundle);
        for ancestor in bundle.ancestors() {
            self.heads.remove(&ancestor);
        }
        self.remember(bundle.digest(), bundle.header().actor, bundle.last_hlc());
    }

    fn among_its_ancestors(&mut self, at: Position, bundle: &Bundle) {
        let digest = Some(bundle.digest());
        for ancestor in bundle.ancestors() {
            let Some(before) = self.seen.get(&ancestor).copied() else {
                let sentence =
                    format!("The bundle at revision {at} builds on {}, which is not before it.", ancestor.short());
                self.found("log.parents", sentence, digest, KEEP);
                continue;
            };
            if bundle.header().hlc <= before.last_hlc {
                let sentence = format!("The clock of the bundle at revision {at} does not exceed that of its parents.");
                self.found("log.clock", sentence, digest, KEEP);
            }
            if bundle.header().prev == Some(ancestor) && before.actor != bundle.header().actor {
                let sentence = format!("The bundle at revision {at} names somebody else's bundle as its author's.");
                self.found("log.parents", sentence, digest, KEEP);
            }
        }
    }

    fn remember(&mut self, digest: Digest, actor: ActorId, last_hlc: Hlc) {
        self.seen.insert(digest, Before { actor, last_hlc });
        self.heads.insert(digest);
    }

    fn compare_heads(&mut self, heads: &[Digest]) {
        // A damaged bundle does not say what it builds on, so its parents would seem to be heads.
        let comparable = self.findings.iter().all(|finding| finding.id != LOG_DAMAGED);
        if comparable && self.heads != heads.iter().copied().collect() {
            let sentence = "The heads that are stored are not those that follow from the log.".to_owned();
            self.found("log.heads", sentence, None, KEEP);
        }
    }

    /// Judges the bundles whose own signature does not verify: a later bundle of their author may vouch for them.
    fn unsigned(&mut self, log: &dyn LogReader, end: Position) -> Read<()> {
        let Some(first) = self.unsigned.values().min().copied() else { return Ok(()) };
        let mut later: Vec<(Digest, Option<Digest>)> = Vec::new();
        let mut from = first;
        while from <= end {
            let batch = log.bundles_on_disk(from, BATCH_BUNDLES, BATCH_BYTES)?;
            let Some((last, ..)) = batch.last() else { break };
            from = last.next();
            later.extend(batch.iter().filter_map(|(_, _, stored)| match stored {
                Stored::Whole(bundle) => Some((bundle.digest(), bundle.header().prev)),
                Stored::Damaged { .. } => None,
            }));
        }
        // From the end backwards, every voucher is judged before what it vouches for.
        for (digest, prev) in later.into_iter().rev() {
            if !self.unsigned.contains_key(&digest)
                && let Some(prev) = prev
            {
                self.unsigned.remove(&prev);
            }
        }
        let mut forged: Vec<_> = self.unsigned.drain().map(|(digest, at)| (at, digest)).collect();
        forged.sort_unstable();
        for (at, digest) in forged {
            let sentence =
                format!("The signature of the bundle at revision {at} does not verify, and nobody vouches for it.");
            self.found("log.signature", sentence, Some(digest), KEEP);
        }
        Ok(())
    }
}

/// The bundles of a batch whose own signature does not verify, found by [`THREADS`] threads.
fn unsigned_in(batch: &[(Position, Entry, Stored)]) -> Vec<(Digest, Position)> {
    let check = |part: &[(Position, Entry, Stored)]| -> Vec<(Digest, Position)> {
        let bad = part.iter().filter_map(|(at, _, stored)| match stored {
            Stored::Whole(bundle) if !bundle.signature_holds() => Some((bundle.digest(), *at)),
            _ => None,
        });
        bad.collect()
    };
    std::thread::scope(|scope| {
        let parts = batch.chunks(batch.len().div_ceil(THREADS).max(1));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || check(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("checking signatures does not panic")).collect()
    })
}

/// What an entry says otherwise than its bundle.
fn difference(entry: &Entry, bundle: &Bundle) -> Option<&'static str> {
    let header = bundle.header();
    let same = [
        (entry.digest == bundle.digest(), "digest"),
        (entry.id == header.id, "id"),
        (entry.actor == header.actor, "author"),
        (entry.hlc == header.hlc, "clock"),
        (entry.wall_ms == header.wall_ms, "time"),
        (entry.kind == header.kind, "kind"),
        (entry.ops == header.op_count, "number of operations"),
    ];
    same.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
}
