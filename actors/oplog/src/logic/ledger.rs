//! The ledger: the end of the log as it will be when everything queued is committed; what bundles are judged by.
//!
//! It lies in memory over the stored log ([`Past`]). What is staged in it is not durable yet; should a commit fail,
//! the whole ledger is dropped and made anew from what was stored.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use openprod_domain::view::Read;
use openprod_messages::log::{self, Receipt, Spot, chain};
use openprod_messages::oplog::{Append, AppendError};
use openprod_model::bundle::{Bundle, BundleKind, Header};
use openprod_model::clock::{Hlc, LATEST_WALL_MS};
use openprod_model::ids::{ActorId, CommandId, Digest, OpRef, Position, SessionId, WorkspaceId};
use openprod_model::operation::Operation;
use openprod_model::refusal::{Reason, Refusal};

use super::batch::{Change, Staged, Unit};
use super::members::{self, MemberOp, Members, SetId};
use crate::tables::{End, LaneRow, QuarantineRow, WaitingRow};

/// Committed bundles that stay at hand, because the next ones are likely to name them.
const KNOWN_AT_HAND: usize = 8_192;

/// What judging a bundle needs to know of an ancestor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Where it lies.
    pub position: Position,
    /// Its author.
    pub actor: ActorId,
    /// The clock of its last op.
    pub last_hlc: Hlc,
    /// The member ops in its past and itself.
    pub members: SetId,
    /// Where it lies on its author's lanes; none while it is only judged.
    pub spot: Option<Spot>,
}

/// What is remembered of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Where its bundle lies.
    pub position: Position,
    /// What it asked for.
    pub payload: [u8; 32],
    /// Who asked.
    pub actor: ActorId,
}

/// An actor's lanes, by clock and digest of their tips.
pub type Tips = BTreeMap<(Hlc, Digest), LaneRow>;

/// The stored log, as far as judging needs it.
pub trait Past {
    /// A bundle that is in the log.
    fn known(&self, digest: Digest) -> Read<Option<Known>>;
    /// The tips of an actor's lanes: those of his bundles that none of his names as `prev`.
    fn tips(&self, actor: ActorId) -> Read<Tips>;
    /// A command.
    fn remembered(&self, command: CommandId) -> Read<Option<Remembered>>;
    /// A set of member ops.
    fn member_set(&self, id: SetId) -> Read<Option<Vec<OpRef>>>;
    /// A member op.
    fn member_op(&self, op: OpRef) -> Read<Option<MemberOp>>;
    /// The number under which bytes of this BLAKE3 hash are quarantined.
    fn marked(&self, mark: [u8; 32]) -> Read<Option<u64>>;
    /// The number under which the stored bundle of this digest is quarantined as damaged.
    fn damaged(&self, digest: Digest) -> Read<Option<u64>>;
    /// Whether any bundle is kept outside the log: waits, or is quarantined.
    fn keeps_any(&self) -> Read<bool>;
    /// The bytes that are kept outside the log under this digest, each different copy.
    fn kept(&self, digest: Digest) -> Read<Vec<Vec<u8>>>;
    /// The bytes of bundles that wait for this one.
    fn waiting_for(&self, digest: Digest) -> Read<Vec<Vec<u8>>>;
}

/// What becomes of an own bundle.
#[derive(Debug)]
pub enum Taken {
    /// It is staged.
    Staged(Position, Unit),
    /// Its command was carried out before; the bundle lies there (I-6).
    Before(Position),
}

/// The end of the log, with everything queued.
#[derive(Debug)]
pub struct Ledger {
    workspace: WorkspaceId,
    end: End,
    heads: BTreeSet<Digest>,
    tips: HashMap<ActorId, Tips>,
    known: HashMap<Digest, Known>,
    commands: HashMap<CommandId, Remembered>,
    marks: HashMap<[u8; 32], u64>,
    pub(super) members: Members,
    /// What will be kept outside the log and is not committed yet.
    kept: Vec<Kept>,
    /// Whether anything may be kept outside the log, once that was looked up.
    keeps: Option<bool>,
}

/// A bundle that is kept outside the log.
#[derive(Debug)]
struct Kept {
    digest: Digest,
    bytes: Arc<[u8]>,
    /// What it waits for; nothing, if it is quarantined.
    missing: Vec<Digest>,
}

impl Ledger {
    /// The ledger of a stored log that ends so.
    pub fn new(workspace: WorkspaceId, end: End, heads: impl IntoIterator<Item = Digest>) -> Self {
        Self {
            workspace,
            end,
            heads: heads.into_iter().collect(),
            tips: HashMap::new(),
            known: HashMap::new(),
            commands: HashMap::new(),
            marks: HashMap::new(),
            members: Members::default(),
            kept: Vec::new(),
            keeps: None,
        }
    }

    /// The end of the log, with everything queued.
    pub fn end(&self) -> End {
        self.end
    }

    /// Its heads.
    pub fn heads(&self) -> &BTreeSet<Digest> {
        &self.heads
    }

    /// The workspace.
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// A bundle that is in the log or queued for it.
    pub fn look(&mut self, past: &dyn Past, digest: Digest) -> Read<Option<Known>> {
        if let Some(known) = self.known.get(&digest) {
            return Ok(Some(*known));
        }
        let known = past.known(digest)?;
        if let Some(known) = known {
            self.known.insert(digest, known);
        }
        Ok(known)
    }

    /// The tips of an actor's lanes.
    pub fn tips(&mut self, past: &dyn Past, actor: ActorId) -> Read<&mut Tips> {
        Ok(match self.tips.entry(actor) {
            Entry::Occupied(tips) => tips.into_mut(),
            Entry::Vacant(place) => place.insert(past.tips(actor)?),
        })
    }

    /// Takes an own bundle, or says why not. Its signature was made in this process and is not checked again.
    pub fn take(&mut self, past: &dyn Past, append: Append, now_ms: u64) -> Result<Taken, AppendError> {
        let Append { bundle, receipt, session } = append;
        if let Some(before) = self.remembered(past, receipt.command).map_err(disk)? {
            return again(before, &receipt);
        }
        if bundle.header().workspace != self.workspace {
            return Err(AppendError::Refused(foreign()));
        }
        let prev = self.tips(past, bundle.header().actor).map_err(disk)?.last_key_value();
        let prev = prev.map(|((_, digest), _)| *digest);
        if bundle.header().prev != prev || self.look(past, bundle.digest()).map_err(disk)?.is_some() {
            return Err(AppendError::Stale);
        }
        let ancestors = self.ancestors(past, &bundle).map_err(disk)?.ok_or(AppendError::Stale)?;
        let judged = self.judge(past, &bundle, &ancestors, self.end.position).map_err(disk)?;
        judged.map_err(AppendError::Refused)?;
        let local = Local { receipt: Some(receipt), session, now_ms };
        let change = self.stage(past, &Arc::new(bundle), &ancestors, local).map_err(disk)?;
        Ok(Taken::Staged(self.end.position, Unit { changes: vec![change], end: self.end }))
    }

    fn remembered(&self, past: &dyn Past, command: CommandId) -> Read<Option<Remembered>> {
        match self.commands.get(&command) {
            Some(remembered) => Ok(Some(*remembered)),
            None => past.remembered(command),
        }
    }

    /// What is known of a bundle's ancestors; none if one of them is not here.
    pub(super) fn ancestors(&mut self, past: &dyn Past, bundle: &Bundle) -> Read<Option<Ancestors>> {
        let mut found = Vec::new();
        for digest in bundle.ancestors() {
            let Some(known) = self.look(past, digest)? else { return Ok(None) };
            found.push((digest, known));
        }
        Ok(Some(found))
    }

    /// Judges a bundle by its ancestors alone (I-7, I-8): the member ops in its past and itself, or what is wrong.
    /// `end` tells whether anything is before it.
    pub(super) fn judge(
        &mut self,
        past: &dyn Past,
        bundle: &Bundle,
        ancestors: &Ancestors,
        end: Position,
    ) -> Read<Result<SetId, Refusal>> {
        if let Err(refusal) = well_placed(bundle, ancestors, end) {
            return Ok(Err(refusal));
        }
        let before = self.members.union(past, ancestors.iter().map(|(_, known)| known.members))?;
        let author = bundle.header().actor;
        if !ancestors.is_empty() && !self.members.admit(past, before, author)? {
            return Ok(Err(stranger(author)));
        }
        Ok(Ok(self.members.with(past, before, members::member_ops(bundle))?))
    }

    /// Gives a judged bundle its place.
    pub(super) fn stage(
        &mut self,
        past: &dyn Past,
        bundle: &Arc<Bundle>,
        ancestors: &Ancestors,
        local: Local,
    ) -> Read<Change> {
        let before = self.members.union(past, ancestors.iter().map(|(_, known)| known.members))?;
        let member_ops = members::member_ops(bundle);
        let members = self.members.with(past, before, member_ops.clone())?;
        let is_new = members != SetId::EMPTY && ancestors.iter().all(|(_, known)| known.members != members);
        let new_set = is_new.then(|| self.members.set(past, members)).transpose()?;
        let (header, digest) = (bundle.header(), bundle.digest());
        let position = self.end.position.next();
        let lane = self.lane(past, bundle, ancestors, position)?;
        self.end = End {
            position,
            chain: chain(self.end.chain, digest),
            hlc: self.end.hlc.max(bundle.last_hlc()),
            ..self.end
        };
        let spot = Some(lane.spot());
        let known = Known { position, actor: header.actor, last_hlc: bundle.last_hlc(), members, spot };
        self.known.insert(digest, known);
        self.heads.insert(digest);
        for (ancestor, _) in ancestors {
            self.heads.remove(ancestor);
        }
        if let Some(Receipt { command, payload, actor, .. }) = local.receipt {
            self.commands.insert(command, Remembered { position, payload, actor });
        }
        Ok(Change::Append(Arc::new(Staged {
            position,
            entry: log::Entry::of(bundle, self.end.chain, local.session, local.now_ms),
            bundle: Arc::clone(bundle),
            ancestors: ancestors.iter().map(|(digest, _)| *digest).collect(),
            prev: header.prev,
            lane,
            members,
            new_set,
            member_ops,
            receipt: local.receipt,
        })))
    }

    /// A bundle goes to the end of its author's lane that ends with its `prev`, or begins another.
    fn lane(&mut self, past: &dyn Past, bundle: &Bundle, ancestors: &Ancestors, at: Position) -> Read<LaneRow> {
        let Header { actor, hlc, prev, .. } = bundle.header();
        let before = prev.and_then(|prev| ancestors.iter().find(|(digest, _)| *digest == prev));
        let from = before.and_then(|(_, known)| known.spot);
        let tips = self.tips(past, *actor)?;
        let goes_on = from.zip(*prev).and_then(|(spot, prev)| tips.remove(&(spot.hlc, prev)));
        let number = u32::try_from(tips.len()).unwrap_or(u32::MAX);
        let began = goes_on.unwrap_or(LaneRow { number, first: at, from, hlc: *hlc, at });
        let lane = LaneRow { hlc: *hlc, at, ..began };
        tips.insert((*hlc, bundle.digest()), lane);
        Ok(lane)
    }

    /// Puts bytes into quarantine: their number, and the change, unless they are there already.
    pub(super) fn quarantine(
        &mut self,
        past: &dyn Past,
        bytes: Arc<[u8]>,
        mut row: QuarantineRow,
    ) -> Read<(u64, Option<Change>)> {
        row.mark = *blake3::hash(&bytes).as_bytes();
        let before = match self.marks.get(&row.mark) {
            Some(number) => Some(*number),
            None => past.marked(row.mark)?,
        };
        if let Some(number) = before {
            return Ok((number, None));
        }
        let number = self.end.next_quarantine;
        self.end.next_quarantine += 1;
        self.marks.insert(row.mark, number);
        if let Some(digest) = row.digest.filter(|_| row.at.is_none()) {
            self.keeps = Some(true);
            self.kept.push(Kept { digest, bytes: Arc::clone(&bytes), missing: Vec::new() });
        }
        Ok((number, Some(Change::Quarantine { number, row, bytes })))
    }

    /// All member ops that are here.
    pub(super) fn members_now(&mut self, past: &dyn Past) -> Read<SetId> {
        let mut sets = Vec::new();
        for head in self.heads.clone() {
            sets.extend(self.look(past, head)?.map(|known| known.members));
        }
        self.members.union(past, sets)
    }

    /// Keeps bytes until an ancestor comes, unless they are kept already.
    pub(super) fn wait(&mut self, past: &dyn Past, bytes: Arc<[u8]>, row: WaitingRow) -> Read<Option<Change>> {
        if self.kept(past, row.digest)?.iter().any(|kept| **kept == *bytes) {
            return Ok(None);
        }
        let number = self.end.next_waiting;
        self.end.next_waiting += 1;
        let (digest, missing) = (row.digest, row.missing.clone());
        self.keeps = Some(true);
        self.kept.push(Kept { digest, bytes: Arc::clone(&bytes), missing });
        Ok(Some(Change::Wait { number, row, bytes }))
    }

    /// Whether anything is kept outside the log.
    pub(super) fn keeps_any(&mut self, past: &dyn Past) -> Read<bool> {
        let keeps = self.keeps.map_or_else(|| past.keeps_any(), Ok)?;
        self.keeps = Some(keeps);
        Ok(keeps)
    }

    /// The bytes of bundles that wait for an own one, just taken.
    pub fn waited_for(&mut self, past: &dyn Past, own: Digest) -> Read<Vec<Vec<u8>>> {
        if self.keeps_any(past)? { self.waiting_for(past, own) } else { Ok(Vec::new()) }
    }

    /// The bytes that are kept outside the log under a digest.
    pub(super) fn kept(&self, past: &dyn Past, digest: Digest) -> Read<Vec<Vec<u8>>> {
        let here = self.kept.iter().filter(|kept| kept.digest == digest).map(|kept| kept.bytes.to_vec());
        Ok(here.chain(past.kept(digest)?).collect())
    }

    /// The bytes of bundles that wait for this one.
    pub(super) fn waiting_for(&self, past: &dyn Past, digest: Digest) -> Read<Vec<Vec<u8>>> {
        let here = self.kept.iter().filter(|kept| kept.missing.contains(&digest)).map(|kept| kept.bytes.to_vec());
        Ok(here.chain(past.waiting_for(digest)?).collect())
    }

    /// A stored bundle was found damaged: it goes into quarantine, once.
    pub fn found_damaged(&mut self, past: &dyn Past, found: Damage) -> Read<Option<Unit>> {
        if past.damaged(found.digest)?.is_some() {
            return Ok(None);
        }
        let row = QuarantineRow {
            digest: Some(found.digest),
            source: format!("log position {}", found.at),
            reason: found.reason,
            since_ms: found.now_ms,
            skipped: false,
            at: Some(found.at),
            mark: [0; 32],
            held: false,
        };
        let (_, change) = self.quarantine(past, found.bytes, row)?;
        Ok(change.map(|change| Unit { changes: vec![change], end: self.end }))
    }

    /// Everything up to `end` is committed: forgets what can be read from the stored log again.
    pub fn settled(&mut self, end: End) {
        self.commands.retain(|_, remembered| remembered.position > end.position);
        self.marks.retain(|_, number| *number >= end.next_quarantine);
        if self.known.len() > KNOWN_AT_HAND {
            self.known.retain(|_, known| known.position > end.position);
        }
        if end == self.end {
            self.kept.clear();
            self.members.trim();
            if self.tips.len() > KNOWN_AT_HAND {
                self.tips.clear();
            }
        }
    }
}

/// A bundle's ancestors, each once.
pub(super) type Ancestors = Vec<(Digest, Known)>;

/// What is known of a bundle on this node only.
#[derive(Debug, Default)]
pub(super) struct Local {
    pub(super) receipt: Option<Receipt>,
    pub(super) session: Option<SessionId>,
    pub(super) now_ms: u64,
}

/// A stored bundle that is no longer whole.
#[derive(Debug)]
pub struct Damage {
    /// Where.
    pub at: Position,
    /// What its digest was.
    pub digest: Digest,
    /// The bytes as they are.
    pub bytes: Arc<[u8]>,
    /// What is wrong.
    pub reason: String,
    /// The node's clock.
    pub now_ms: u64,
}

/// The log could not be read while judging.
pub(crate) fn disk(failure: openprod_domain::view::ReadFailure) -> AppendError {
    AppendError::Disk { reason: failure.0, full: false }
}

fn again(before: Remembered, receipt: &Receipt) -> Result<Taken, AppendError> {
    if before.payload == receipt.payload && before.actor == receipt.actor {
        return Ok(Taken::Before(before.position));
    }
    let message = "This command id was used before, for something else.";
    Err(AppendError::Refused(
        Refusal::new(Reason::CommandIdReused, message).next("Give every command an id of its own."),
    ))
}

fn bad(message: &str) -> Refusal {
    Refusal::new(Reason::BadBundle, message)
}

/// What is said of a bundle of another workspace (I-12).
pub(super) fn foreign() -> Refusal {
    bad("It belongs to another workspace.")
}

fn stranger(author: ActorId) -> Refusal {
    let message =
        format!("Its author {} is not a member of this workspace in what the bundle builds on.", author.short());
    Refusal::new(Reason::NotAMember, message).next("A member can admit the author, who then makes the change again.")
}

/// The rules that need no membership: clocks, chain, beginning.
fn well_placed(bundle: &Bundle, ancestors: &Ancestors, end: Position) -> Result<(), Refusal> {
    let header = bundle.header();
    let latest = ancestors.iter().map(|(_, known)| known.last_hlc.ms + 1).max().unwrap_or(0);
    if ancestors.iter().any(|(_, known)| header.hlc <= known.last_hlc) {
        return Err(bad("Its clock does not exceed that of what it builds on."));
    }
    if header.hlc.ms > latest.max(LATEST_WALL_MS) {
        return Err(bad("Its clock is beyond the year 2200."));
    }
    let prev = header.prev.and_then(|prev| ancestors.iter().find(|(digest, _)| *digest == prev));
    if prev.is_some_and(|(_, known)| known.actor != header.actor) {
        return Err(bad("It names somebody else's bundle as its author's one before."));
    }
    begins_well(bundle, ancestors, end)
}

/// A workspace begins with one bootstrap by its founder, and never again.
fn begins_well(bundle: &Bundle, ancestors: &Ancestors, end: Position) -> Result<(), Refusal> {
    let header = bundle.header();
    let mut founders = bundle.ops().iter().filter_map(|op| match &op.operation {
        Some(Operation::Bootstrap { founder, .. }) => Some(*founder),
        _ => None,
    });
    let (first, second) = (founders.next(), founders.next());
    if !ancestors.is_empty() {
        let begins = first.is_some() || header.kind == BundleKind::BOOTSTRAP;
        return if begins { Err(bad("It begins a workspace that has begun before.")) } else { Ok(()) };
    }
    if header.kind != BundleKind::BOOTSTRAP || first != Some(header.actor) || second.is_some() {
        return Err(bad("It builds on nothing and is not a founder's beginning of a workspace."));
    }
    if end != Position::ZERO {
        return Err(bad("It is another beginning of this workspace."));
    }
    Ok(())
}
