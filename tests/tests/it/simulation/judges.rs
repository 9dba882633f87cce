//! The judges that look on all the time: at every log as it grows, at every state as it folds, at everything that a link
//! claims.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openprod_domain::asset;
use openprod_domain::cell::Cell;
use openprod_domain::fold;
use openprod_links::admission::gate::{Gate, Roll};
use openprod_links::replication::comparing::digest_of_heads;
use openprod_links::sessions::SessionStatus;
use openprod_messages::snapshot::Snapshot;
use openprod_model::bundle::Bundle;
use openprod_model::ids::{ActorId, BlobHash, Digest, Position};
use openprod_model::operation::Operation;
use openprod_model::value::Text;
use openprod_node::workspace::Workspace;

use super::machine::{Library, Machine};
use super::strangers::is_stranger;
use super::writing::{REQUEST, STAGED};
use crate::convergence::company::{Verdict, ensure};
use crate::convergence::meeting::shows_what_the_oracle_says;
use crate::convergence::portrait::conflicts;

/// What is known of the log of one machine.
#[derive(Default)]
pub(super) struct Known {
    /// Its bundles, in order.
    pub(super) order: Vec<Digest>,
    held: BTreeSet<Digest>,
    heads: BTreeSet<Digest>,
    /// The digest of the heads behind each bundle.
    heads_at: Vec<Digest>,
    /// Which bundle, counted from 0, was the last of those up to each that says who is a member.
    roll_at: Vec<usize>,
    /// All heads that it ever had, and how many bundles led to them; kept when the log is replaced by an older one.
    ever: BTreeMap<Digest, u64>,
    /// What its links last claimed.
    claims: BTreeMap<ActorId, Digest>,
}

impl Known {
    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.held.contains(digest)
    }

    /// The digest of its heads now.
    pub(super) fn last_heads(&self) -> Option<Digest> {
        self.heads_at.last().copied()
    }

    fn takes(&mut self, bundle: &Bundle) -> Verdict {
        let digest = bundle.digest();
        for ancestor in bundle.ancestors() {
            ensure!(self.held.contains(&ancestor), "{digest} lies before its ancestor {ancestor}");
            self.heads.remove(&ancestor);
        }
        ensure!(self.held.insert(digest), "{digest} is in the log twice");
        let is_of_members = || bundle.ops().iter().any(|op| op.operation.iter().any(is_of_members));
        let last = self.roll_at.last().copied().filter(|_| !is_of_members());
        self.roll_at.push(last.unwrap_or(self.order.len()));
        self.order.push(digest);
        self.heads.insert(digest);
        let heads = digest_of_heads(self.heads.iter().copied().collect());
        self.heads_at.push(heads);
        self.ever.insert(heads, self.order.len() as u64);
        Ok(())
    }
}

fn is_of_members(operation: &Operation) -> bool {
    fold::writes(operation).iter().any(|write| matches!(write.cell, Cell::Member { .. }))
}

/// Who has no ticket writes nothing, and nobody writes that he is a member.
fn is_of_no_stranger(bundle: &Bundle) -> Verdict {
    let operations = bundle.ops().iter().filter_map(|op| op.operation.as_ref());
    let is_named = operations
        .flat_map(fold::writes)
        .any(|write| matches!(write.cell, Cell::Member { member } if is_stranger(member)));
    ensure!(!is_named && !is_stranger(bundle.header().actor), "a stranger is in {}", bundle.digest());
    Ok(())
}

/// Every request is carried out once, however often it was asked.
fn is_the_only_one(requests: &mut BTreeMap<Text, Digest>, bundle: &Bundle) -> Verdict {
    let label = &bundle.header().label;
    if label.as_str().starts_with(REQUEST) {
        let other = requests.insert(label.clone(), bundle.digest());
        ensure!(other.is_none(), "{label} was carried out by {other:?} and by {}", bundle.digest());
    }
    Ok(())
}

/// Of the bundles of a log, those that nobody vouches for: neither does the signature hold, nor does its author name it
/// as the one before a later one.
pub(super) fn is_vouched_for(bundles: &[Arc<Bundle>]) -> Verdict {
    let author = |bundle: &Bundle| bundle.header().actor;
    let named: BTreeSet<_> =
        bundles.iter().filter_map(|bundle| Some((author(bundle), bundle.header().prev?))).collect();
    let vouched = |bundle: &Bundle| bundle.signature_holds() || named.contains(&(author(bundle), bundle.digest()));
    let forged = bundles.iter().find(|bundle| !vouched(bundle));
    ensure!(forged.is_none(), "a bundle is in the log that its author never signed: {forged:?}");
    Ok(())
}

/// What the conflicts room has at hand are the conflicts that there are.
pub(super) fn board_is_right(workspace: &Workspace, snapshot: &dyn Snapshot) -> Verdict {
    let standing = workspace.conflicts.standing().borrow().clone();
    let cells: BTreeSet<Cell> = conflicts(snapshot.view()).into_iter().map(|conflict| conflict.cell).collect();
    let followed = standing.position == snapshot.position();
    ensure!(followed, "the conflicts room is at {}, the state at {}", standing.position, snapshot.position());
    ensure!(*standing.cells == cells, "the conflicts room has {:?}, and there are {cells:?}", standing.cells);
    Ok(())
}

fn leaks(bundle: &Bundle) -> bool {
    bundle.bytes().windows(STAGED.len()).any(|bytes| bytes == STAGED.as_bytes())
}

/// What states came to.
struct Came {
    hash: Digest,
    conflicts: Option<String>,
    at: usize,
}

/// Who is let in, by a state that holds the bundles up to some place.
struct Company {
    /// The last of them that says who is a member.
    last: usize,
    roll: Roll,
    is_open: BTreeMap<ActorId, bool>,
}

/// They remember everything.
#[derive(Default)]
pub(super) struct Judges {
    pub(super) known: Vec<Known>,
    came: BTreeMap<Digest, Came>,
    pub(super) library: Library,
    /// Who is let in by each machine.
    rolls: BTreeMap<usize, Company>,
    /// By which bundle each request was carried out.
    requests: BTreeMap<Text, Digest>,
}

impl Judges {
    /// A log that grew: every bundle behind its ancestors, and none twice.
    pub(super) fn log_of(&mut self, machine: &Machine) -> Verdict {
        if self.known.len() <= machine.number {
            self.known.resize_with(machine.number + 1, Known::default);
        }
        let Some(workspace) = machine.workspace() else { return Ok(()) };
        let known = &mut self.known[machine.number];
        let next = Position(known.order.len() as u64 + 1);
        // A disk that cannot be read now is looked at later.
        let Ok(fresh) = machine.digests_from(next) else { return Ok(()) };
        for digest in fresh {
            let (bundle, is_new) = self.library.read(&*workspace.log, digest)?;
            if is_new {
                ensure!(!leaks(&bundle), "{digest} holds what was staged and never committed");
                is_the_only_one(&mut self.requests, &bundle)?;
                is_of_no_stranger(&bundle)?;
            }
            known.takes(&bundle)?;
        }
        Ok(())
    }

    /// The machine was started on the disks that it had: all that could be read from its log before is there, in order.
    pub(super) fn starts_again(&mut self, machine: &Machine) -> Verdict {
        let Some(before) = self.known.get_mut(machine.number) else { return Ok(()) };
        let Known { order, ever, .. } = std::mem::take(before);
        self.rolls.remove(&machine.number);
        self.known[machine.number].ever = ever;
        self.log_of(machine)?;
        let now = &self.known[machine.number].order;
        let is_there = now.len() >= order.len() && now[..order.len()] == order[..];
        ensure!(is_there, "of {} bundles {} are there after it started again", order.len(), now.len());
        Ok(())
    }

    /// The machine was started on other disks. Gives what it has lost.
    pub(super) fn starts_anew(&mut self, machine: &Machine) -> Result<BTreeSet<Digest>, String> {
        let Some(known) = self.known.get_mut(machine.number) else { return Ok(BTreeSet::new()) };
        let Known { held, ever, .. } = std::mem::take(known);
        self.rolls.remove(&machine.number);
        self.known[machine.number].ever = ever;
        self.log_of(machine)?;
        Ok(held.difference(&self.known[machine.number].held).copied().collect())
    }

    /// A state shows whole bundles only, and what equal bundles came to elsewhere.
    pub(super) fn state_of(&mut self, machine: &Machine, is_thorough: bool) -> Verdict {
        let Some(workspace) = machine.workspace().filter(|_| machine.unknown.is_empty()) else { return Ok(()) };
        let Ok(snapshot) = workspace.snapshots.snapshot() else { return Ok(()) };
        let (Ok(heads), Ok(hash)) = (snapshot.heads(), snapshot.hash()) else { return Ok(()) };
        self.log_of(machine)?;
        let known = &self.known[machine.number];
        let at = usize::try_from(snapshot.position().0).unwrap();
        // The log cannot be read, so nothing can be said of the state.
        if at == 0 || at > known.order.len() {
            return Ok(());
        }
        let heads = digest_of_heads(heads);
        ensure!(heads == known.heads_at[at - 1], "the state at {at} has not the heads of the log there");
        let came = self.came.entry(heads).or_insert(Came { hash: hash.total, conflicts: None, at: machine.number });
        ensure!(came.hash == hash.total, "the same {at} bundles came to another hash on machine {}", came.at);
        if is_thorough {
            let said =
                format!("{:?}", conflicts(snapshot.view()).iter().map(|it| (it.id(), &it.cell)).collect::<Vec<_>>());
            let elsewhere = came.conflicts.get_or_insert_with(|| said.clone());
            ensure!(*elsewhere == said, "the same bundles came to other conflicts on machine {}", came.at);
            self.oracle(machine, &*snapshot, at)?;
        }
        Ok(())
    }

    fn oracle(&self, machine: &Machine, snapshot: &dyn Snapshot, through: usize) -> Verdict {
        let order = &self.known[machine.number].order[..through];
        let bundles: Vec<Arc<Bundle>> = order.iter().map(|digest| Arc::clone(self.library.of(*digest))).collect();
        shows_what_the_oracle_says(&bundles, snapshot)
    }

    /// The files that a log mentions behind a place, which its state does not show yet.
    pub(super) fn files_behind(&self, at: usize, position: Position) -> BTreeSet<BlobHash> {
        let order = self.known.get(at).map_or(&[][..], |known| &known.order);
        let behind = order.iter().skip(usize::try_from(position.0).unwrap()).map(|digest| self.library.of(*digest));
        let operations = behind.flat_map(|bundle| bundle.ops().iter().filter_map(|op| op.operation.as_ref()));
        let file = |write: fold::Write<'_>| asset::file_in(&write.content).map(|file| file.hash);
        operations.flat_map(fold::writes).filter_map(file).collect()
    }

    /// Whether a machine speaks with another, as its state shows; none if that shows nobody, or cannot be read now.
    pub(super) fn lets_in(&mut self, machine: &Machine, other: ActorId) -> Option<bool> {
        let workspace = machine.workspace()?;
        let snapshot = workspace.snapshots.snapshot().ok().filter(|now| now.position() > Position::ZERO)?;
        let position = usize::try_from(snapshot.position().0).unwrap();
        let last = *self.known.get(machine.number)?.roll_at.get(position - 1)?;
        if self.rolls.get(&machine.number).is_none_or(|known| known.last != last) {
            let roll = Roll::of(&*snapshot, &*workspace.log).ok()?;
            self.rolls.insert(machine.number, Company { last, roll, is_open: BTreeMap::new() });
        }
        let Company { roll, is_open, .. } = self.rolls.get_mut(&machine.number)?;
        Some(*is_open.entry(other).or_insert_with(|| roll.gate(other) == Gate::Open))
    }

    /// A machine has forgotten what it did: it may do it again.
    pub(super) fn forgets_requests(&mut self, gone: &BTreeSet<Digest>) {
        self.requests.retain(|_, digest| !gone.contains(digest));
    }

    /// What a link claims: equal heads only where both had them, and no alarm. Gives what it newly claims.
    pub(super) fn claim(
        &mut self,
        at: usize,
        peer: usize,
        status: &SessionStatus,
        is_honest: bool,
    ) -> Result<Option<Digest>, String> {
        let standing = &status.standing;
        ensure!(standing.diverged.is_none() || !is_honest, "its link to {peer} says that states differ: {standing:?}");
        ensure!(standing.unexplained == 0 || !is_honest, "its link to {peer} found what nobody explains: {standing:?}");
        let Some(synced) = standing.synced else { return Ok(None) };
        if self.known[at].claims.insert(status.peer, synced.heads) == Some(synced.heads) {
            return Ok(None);
        }
        for side in [at, peer] {
            let had = self.known[side].ever.get(&synced.heads);
            ensure!(had == Some(&synced.bundles), "its link to {peer} says {synced:?}, and {side} never had that");
        }
        Ok(Some(synced.heads))
    }
}
