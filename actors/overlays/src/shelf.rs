//! The shelf: the overlays as everybody sees them, and what is done with them.
//!
//! Every change is worked out, written down, and only then made here; so what readers see was acknowledged or is about
//! to be, and a change that the disk did not take has not happened.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openprod_domain::cell::Cell;
use openprod_domain::decide::{Decision, Problem};
use openprod_domain::overlay::{Delta, Head, Staging};
use openprod_domain::unions::Unions;
use openprod_domain::view::{AsOf, Empty, Moment, ReadFailure, View};
use openprod_messages::commands::CommandError;
use openprod_messages::environment::Environment;
use openprod_messages::log::LogReader;
use openprod_messages::overlays::{
    Action, Asked, Changed, Done, End, Info, Overlay, OverlayError, Overlays, StagedReceipt, Which,
};
use openprod_messages::snapshot::Snapshots;
use openprod_messages::watch;
use openprod_model::bundle::Source;
use openprod_model::ids::{CommandId, Digest, OverlayId, Position, SessionId};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::Text;

use crate::store::{Change, Fault, Kept, OverlayStore};
use crate::tables::{OverlayRow, Place, ReceiptRow};

/// Most overlays of a workspace: each is somebody's unfinished work, and more are forgotten work.
pub const MAX_OVERLAYS: usize = 256;
/// Longest name in bytes: it becomes part of a label.
const MAX_NAME_BYTES: usize = 200;
/// How many ends of overlays are remembered for whoever watches.
const REMEMBERED_ENDS: usize = 256;
/// How many sessions are remembered with an overlay: more than there are tabs. The oldest are forgotten.
const MAX_SESSIONS: usize = 4_096;

/// The overlays of a workspace. Outlives the actor; only the actor changes it.
pub struct Shelf {
    pub(crate) store: Box<dyn OverlayStore>,
    pub(crate) log: Arc<dyn LogReader>,
    snapshots: Arc<dyn Snapshots>,
    env: Environment,
    inner: RwLock<Inner>,
    changed: watch::Sender<u64>,
    followed: watch::Sender<Position>,
}

#[derive(Default)]
struct Inner {
    overlays: BTreeMap<OverlayId, Overlay>,
    active: HashMap<SessionId, OverlayId>,
    /// The sessions in the order of their first activation.
    sessions: VecDeque<SessionId>,
    ended: VecDeque<(OverlayId, End)>,
    /// Committed overlays that the store still has to forget.
    ending: HashSet<OverlayId>,
    place: Option<Place>,
    /// Why nothing can be had; none once everything is read.
    down: Option<Fault>,
    loaded: bool,
}

/// What a caller is told when the work for him has panicked.
pub(crate) fn panicked() -> CommandError {
    CommandError::Unavailable("The change of the overlay broke off; try again.".to_owned())
}

pub(crate) fn row(info: &Info, head: Head) -> Change {
    Change::Overlay(Box::new(OverlayRow { info: info.clone(), head }))
}

impl Shelf {
    /// A shelf that is empty until [`Self::load`] has read what `store` holds.
    pub fn new(
        store: Box<dyn OverlayStore>,
        log: Arc<dyn LogReader>,
        snapshots: Arc<dyn Snapshots>,
        env: Environment,
    ) -> Self {
        let (changed, followed) = (watch::channel(0).0, watch::channel(Position::ZERO).0);
        Self { store, log, snapshots, env, inner: RwLock::default(), changed, followed }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads everything that was written down.
    pub fn load(&self) {
        let kept = self.store.load();
        let mut inner = self.write();
        inner.loaded = true;
        match kept {
            Ok(kept) => {
                inner.down = None;
                self.take_in(&mut inner, kept);
            }
            Err(fault) => {
                tracing::error!(%fault, "the overlays could not be read; everything else goes on");
                inner.down = Some(fault);
            }
        }
        drop(inner);
        self.followed.send_replace(self.place().position);
        self.tell();
    }

    fn take_in(&self, inner: &mut Inner, kept: Kept) {
        let overlay = |(info, staging): (Info, Staging)| {
            (info.id, Overlay { info: Arc::new(info), staging: Arc::new(staging), touched: None })
        };
        inner.overlays = kept.overlays.into_iter().map(overlay).collect();
        let Inner { overlays, active, .. } = inner;
        active.retain(|_, overlay| overlays.contains_key(overlay));
        inner.ending.clear();
        // Where nothing is staged, nothing was committed that is not known.
        let end = || self.log.tail().ok().map(|tail| Place { position: tail.position, chain: tail.chain });
        inner.place = if inner.overlays.is_empty() { end() } else { kept.place };
    }

    /// Whether overlays can be had; if not, tries to read them again.
    pub(crate) fn ready(&self) -> Result<(), CommandError> {
        if self.is_down() {
            self.load();
            self.follow();
        }
        match &self.read().down {
            Some(fault) => Err(down(fault)),
            None => Ok(()),
        }
    }

    /// Whether they could not be read, or not yet.
    pub(crate) fn is_down(&self) -> bool {
        let inner = self.read();
        inner.down.is_some() || !inner.loaded
    }

    pub(crate) fn place(&self) -> Place {
        let start = Place { position: Position::ZERO, chain: Digest::from_bytes([0; 32]) };
        self.read().place.unwrap_or(start)
    }

    pub(crate) fn reach(&self, place: Place) {
        self.write().place = Some(place);
        self.followed.send_replace(place.position);
    }

    pub(crate) fn overlays(&self) -> Vec<Overlay> {
        self.read().overlays.values().cloned().collect()
    }

    pub(crate) fn unions(&self) -> Arc<Unions> {
        self.snapshots.snapshot().and_then(|snapshot| snapshot.view().unions()).unwrap_or_default()
    }

    pub(crate) fn apply(&self, id: OverlayId, delta: &Delta) {
        if let Some(overlay) = self.write().overlays.get_mut(&id) {
            // Copies only what somebody reads at this very moment.
            Arc::make_mut(&mut overlay.staging).apply(delta);
        }
        self.tell();
    }

    pub(crate) fn touch(&self, id: OverlayId, at: Position) {
        if let Some(overlay) = self.write().overlays.get_mut(&id) {
            overlay.touched = Some(at);
        }
        self.tell();
    }

    pub(crate) fn end(&self, id: OverlayId, end: End) {
        let mut inner = self.write();
        inner.overlays.remove(&id);
        inner.active.retain(|_, active| *active != id);
        inner.ended.push_back((id, end));
        if matches!(end, End::Committed(_)) {
            inner.ending.insert(id);
        }
        if inner.ended.len() > REMEMBERED_ENDS {
            inner.ended.pop_front();
        }
        drop(inner);
        self.tell();
    }

    pub(crate) fn is_ending(&self, id: OverlayId) -> bool {
        self.read().ending.contains(&id)
    }

    pub(crate) fn has_ended(&self, id: OverlayId) {
        self.write().ending.remove(&id);
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Makes an overlay the one that a session writes to.
    pub(crate) fn activate(&self, session: SessionId, overlay: Option<OverlayId>) -> Result<(), CommandError> {
        let Some(id) = overlay else {
            self.write().active.remove(&session);
            return Ok(());
        };
        let overlay = self.overlay(id)?;
        if overlay.info.stashed {
            return Err(stashed(&overlay.info).into());
        }
        let mut inner = self.write();
        if inner.active.insert(session, id).is_none() {
            inner.sessions.push_back(session);
        }
        if inner.sessions.len() > MAX_SESSIONS
            && let Some(oldest) = inner.sessions.pop_front()
        {
            inner.active.remove(&oldest);
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        let place = self.place();
        let kept = self.read().ending.is_empty() && !self.overlays().is_empty();
        if kept && let Err(fault) = self.store.write(&[Change::Read(place)]) {
            tracing::warn!(%fault, "how far overlays had followed the log was not written down; it is read again");
        }
        self.store.close();
    }

    /// Does what a command asks for, once.
    pub(crate) fn act(&self, action: Action, asked: Asked) -> Changed {
        self.ready()?;
        if let Some(receipt) = self.receipt(asked.command)? {
            if receipt.payload != asked.payload {
                return Err(reused(asked.command).into());
            }
            return Ok((receipt.done, true));
        }
        let done = match action {
            Action::Create { name, label, source } => self.create(name, label, source, asked),
            Action::Rename { overlay, name } => self.rename(overlay, name, asked),
            Action::Stash { overlay } => self.reform(overlay, |info| Info { stashed: true, ..info }, asked),
            Action::Recall { overlay } => self.reform(overlay, |info| Info { stashed: false, ..info }, asked),
            Action::Discard { overlay } => self.discard(overlay, asked),
            Action::Stage { overlay, delta, created, opened } => {
                let done = Done { created, opened, ..plain(overlay, delta.head.generation) };
                self.stage(&delta, done, asked)
            }
            Action::KnockOut { overlay, cells, records } => self.change(overlay, asked, |staging, view| {
                let of_records = records.iter().flat_map(|record| staging.cells_of(*record));
                let cells: Vec<Cell> = cells.iter().cloned().chain(of_records).collect();
                if cells.is_empty() {
                    return Err(nothing_named().into());
                }
                staging.knock_out(view, &cells)
            }),
            Action::KeepMine { overlay, which, base } => self.keep_mine(overlay, &which, base, asked),
            Action::UseCanonical { overlay, which } => self
                .change(overlay, asked, |staging, view| staging.use_canonical(view, &drifted(staging, view, &which)?)),
            // Steps say all by themselves.
            Action::Undo { overlay } => self.change_on(overlay, &Empty, asked, |staging, _| Ok(staging.undo()?)),
            Action::Redo { overlay } => self.change_on(overlay, &Empty, asked, |staging, _| Ok(staging.redo()?)),
        }?;
        Ok((done, false))
    }

    fn create(&self, name: Text, label: Option<Text>, source: Source, asked: Asked) -> Result<Done, OverlayError> {
        self.check_name(&name, None)?;
        if self.read().overlays.len() >= MAX_OVERLAYS {
            let message = format!("There are {MAX_OVERLAYS} overlays already.");
            return Err(refused(Refusal::new(Reason::TooLarge, message).next("Commit or discard some.")));
        }
        let (id, created_ms) = (self.env.overlay(), self.env.clock.wall_ms());
        let info = Info { id, name, label, source, created_ms, stashed: false };
        let done = plain(id, 0);
        self.keep(vec![row(&info, Head::default()), Change::Read(self.place())], asked, &done)?;
        let overlay = Overlay { info: Arc::new(info), staging: Arc::default(), touched: None };
        self.write().overlays.insert(id, overlay);
        self.tell();
        Ok(done)
    }

    fn check_name(&self, name: &Text, own: Option<OverlayId>) -> Result<(), OverlayError> {
        let text = name.as_str();
        if text.trim().is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
            let message =
                format!("An overlay needs a name of at most {MAX_NAME_BYTES} bytes, without control characters.");
            return Err(refused(Refusal::new(Reason::InvalidValue, message).at("name")));
        }
        let taken = |overlay: &Overlay| overlay.info.name == *name && Some(overlay.info.id) != own;
        if self.read().overlays.values().any(taken) {
            let message = format!("There is an overlay \"{name}\" already.");
            return Err(refused(Refusal::new(Reason::AlreadyExists, message).at("name").next("Choose another name.")));
        }
        Ok(())
    }

    fn rename(&self, id: OverlayId, name: Text, asked: Asked) -> Result<Done, OverlayError> {
        self.check_name(&name, Some(id))?;
        self.reform(id, |info| Info { name, ..info }, asked)
    }

    /// Changes what an overlay says of itself. One that is stashed is active nowhere.
    fn reform(&self, id: OverlayId, reform: impl FnOnce(Info) -> Info, asked: Asked) -> Result<Done, OverlayError> {
        let overlay = self.overlay(id)?;
        let info = reform((*overlay.info).clone());
        let head = overlay.staging.head();
        let done = plain(id, head.generation);
        self.keep(vec![row(&info, head)], asked, &done)?;
        let mut inner = self.write();
        if info.stashed {
            inner.active.retain(|_, active| *active != id);
        }
        if let Some(kept) = inner.overlays.get_mut(&id) {
            kept.info = Arc::new(info);
        }
        drop(inner);
        self.tell();
        Ok(done)
    }

    fn discard(&self, id: OverlayId, asked: Asked) -> Result<Done, OverlayError> {
        let overlay = self.overlay(id)?;
        let done = plain(id, overlay.staging.head().generation);
        self.keep(vec![Change::End(id)], asked, &done)?;
        self.end(id, End::Discarded);
        Ok(done)
    }

    fn stage(&self, delta: &Delta, done: Done, asked: Asked) -> Result<Done, OverlayError> {
        let Overlay { info, staging, .. } = self.overlay(done.overlay)?;
        if info.stashed {
            return Err(refused(stashed(&info)));
        }
        if staging.head().generation + 1 != delta.head.generation {
            return Err(OverlayError::Stale);
        }
        drop(staging);
        self.make(&info, delta, asked, &done)?;
        Ok(done)
    }

    fn keep_mine(
        &self,
        id: OverlayId,
        which: &Which,
        base: Option<Position>,
        asked: Asked,
    ) -> Result<Done, OverlayError> {
        let snapshot = self.snapshots.snapshot().map_err(|failure| unreadable(&failure))?;
        let moment = base.unwrap_or_else(|| snapshot.position()).min(snapshot.position());
        let then = AsOf::new(&*snapshot, Moment::Revision(moment));
        let view: &dyn View = if moment == snapshot.position() { snapshot.view() } else { &then };
        self.change_on(id, view, asked, |staging, view| staging.keep_mine(view, &drifted(staging, view, which)?))
    }

    /// Works out a change on the canonical state as it is now, and makes it.
    fn change(
        &self,
        id: OverlayId,
        asked: Asked,
        work: impl FnOnce(&Staging, &dyn View) -> Decision<Delta>,
    ) -> Result<Done, OverlayError> {
        let snapshot = self.snapshots.snapshot().map_err(|failure| unreadable(&failure))?;
        self.change_on(id, snapshot.view(), asked, work)
    }

    fn change_on(
        &self,
        id: OverlayId,
        view: &dyn View,
        asked: Asked,
        work: impl FnOnce(&Staging, &dyn View) -> Decision<Delta>,
    ) -> Result<Done, OverlayError> {
        let Overlay { info, staging, .. } = self.overlay(id)?;
        let delta = work(&staging, view).map_err(problem)?;
        drop(staging);
        let what = delta.kept.as_ref().map(|(_, step)| step.label.clone());
        let done = plain(id, delta.head.generation);
        let done = Done { what: what.unwrap_or_else(|| done.what.clone()), ..done };
        self.make(&info, &delta, asked, &done)?;
        Ok(done)
    }

    /// Whoever calls holds what is staged no more: held, it would be copied as a whole.
    fn make(&self, info: &Info, delta: &Delta, asked: Asked, done: &Done) -> Result<(), OverlayError> {
        let row = row(info, delta.head);
        self.keep(vec![row, Change::Staged(info.id, Box::new(delta.clone()))], asked, done)?;
        self.apply(info.id, delta);
        Ok(())
    }

    /// Writes changes down with the answer to the command that asked for them.
    fn keep(&self, mut changes: Vec<Change>, asked: Asked, done: &Done) -> Result<(), OverlayError> {
        let receipt = StagedReceipt { payload: asked.payload, done: done.clone() };
        let row = ReceiptRow { given_ms: self.env.clock.wall_ms(), receipt };
        changes.push(Change::Answered(asked.command, Box::new(row)));
        Ok(self.store.write(&changes).map_err(|fault| disk(&fault))?)
    }
}

impl Overlays for Shelf {
    fn all(&self) -> Result<Vec<Overlay>, CommandError> {
        if let Some(fault) = &self.read().down {
            return Err(down(fault));
        }
        let mut all = self.overlays();
        all.sort_by(|one, other| one.info.name.cmp(&other.info.name));
        Ok(all)
    }

    fn overlay(&self, id: OverlayId) -> Result<Overlay, CommandError> {
        let inner = self.read();
        if let Some(fault) = &inner.down {
            return Err(down(fault));
        }
        inner.overlays.get(&id).cloned().ok_or_else(|| unknown(id, inner.ended.iter()).into())
    }

    fn active(&self, session: SessionId) -> Option<OverlayId> {
        self.read().active.get(&session).copied()
    }

    fn active_in(&self, id: OverlayId) -> usize {
        self.read().active.values().filter(|active| **active == id).count()
    }

    fn followed(&self) -> watch::Receiver<Position> {
        self.followed.subscribe()
    }

    fn receipt(&self, command: CommandId) -> Result<Option<StagedReceipt>, CommandError> {
        self.store.receipt(command).map_err(|fault| disk(&fault))
    }

    fn ended(&self, id: OverlayId) -> Option<End> {
        self.read().ended.iter().rev().find(|(ended, _)| *ended == id).map(|(_, end)| *end)
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// The cells whose drift is decided.
fn drifted(staging: &Staging, view: &dyn View, which: &Which) -> Decision<Vec<Cell>> {
    let cells = match which {
        Which::Cells(cells) => cells.clone(),
        Which::All => staging.drift(view)?.into_iter().map(|drift| drift.cell).collect(),
    };
    if cells.is_empty() {
        return Err(nothing_named().into());
    }
    Ok(cells)
}

fn plain(overlay: OverlayId, generation: u64) -> Done {
    let what = Text::new("").expect("no text is text");
    Done { overlay, generation, what, created: Vec::new(), opened: Vec::new() }
}

fn nothing_named() -> Refusal {
    Refusal::new(Reason::InvalidRequest, "There is nothing to do: no staged change is meant.").at("cells")
}

fn stashed(info: &Info) -> Refusal {
    let message = format!("The overlay \"{}\" is stashed.", info.name);
    Refusal::new(Reason::InvalidRequest, message).at("overlay").next("Recall it first.")
}

fn unknown<'a>(id: OverlayId, mut ended: impl Iterator<Item = &'a (OverlayId, End)>) -> Refusal {
    let message = match ended.find(|(one, _)| *one == id) {
        Some((_, End::Committed(at))) => format!("Overlay {id} was committed: revision {at}."),
        Some((_, End::Discarded)) => format!("Overlay {id} was discarded."),
        None => format!("There is no overlay {id} on this node."),
    };
    Refusal::new(Reason::UnknownOverlay, message).at("overlay").next("`openprod overlay list` tells which there are.")
}

fn reused(command: CommandId) -> CommandError {
    let message = format!("Command id {command} was used before, for something else.");
    Refusal::new(Reason::CommandIdReused, message).at("command_id").next("Make a fresh id for each command.").into()
}

fn refused(refusal: Refusal) -> OverlayError {
    CommandError::Refused(refusal).into()
}

fn problem(problem: Problem) -> OverlayError {
    match problem {
        Problem::Refused(refusal) => refused(refusal),
        Problem::Read(failure) => unreadable(&failure),
    }
}

fn unreadable(failure: &ReadFailure) -> OverlayError {
    CommandError::Unavailable(failure.to_string()).into()
}

fn disk(fault: &Fault) -> CommandError {
    if fault.full {
        let message = format!("The disk is full, so nothing can be staged: {}.", fault.reason);
        return Refusal::new(Reason::DiskFull, message)
            .next("Free some space, then try again; nothing is lost.")
            .into();
    }
    CommandError::Unavailable(format!("The disk did not take the overlay's change: {}.", fault.reason))
}

fn down(fault: &Fault) -> CommandError {
    let why = format!(
        "The overlays of this workspace cannot be read: {}. Everything else works. If overlays.redb is damaged, stop the node and put that file aside.",
        fault.reason
    );
    CommandError::Unavailable(why)
}
