//! A watcher: its place in the log, and the next message to its reader.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use openprod_api::status::ApiError;
use openprod_api::v1;
use openprod_api::v1::watch_response::Event;
use openprod_domain::view::{History, Layer, Read, View};
use openprod_links::sessions::Everybody;
use openprod_messages::log::{Entry, Stored};
use openprod_messages::snapshot::Folded;
use openprod_messages::watch;
use openprod_model::ids::Position;
use tokio::time::Instant;
use tonic::Status;

use super::super::batch::{MAX_CHANGED, Scope, Telling};
use super::super::paging::{MAX_BYTES, Mark};
use super::super::reading::{Problem, Stop, blocking, view_at};
use super::pace::{Pace, Verdict};
use super::picture::{self, Cursor};
use super::presence;
use super::staged::Staged;
use super::{Beginning, Open, Snapshot};
use crate::workspace::{Condition, Workspace};

/// How often a reader hears that nothing happened.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// How much of the log is read at a time.
const CHUNK_BUNDLES: usize = 64;
const CHUNK_BYTES: usize = 1024 * 1024;

/// A reader's place in the log.
pub(super) struct Watcher {
    workspace: Workspace,
    scope: Arc<Scope>,
    /// What comes next of the picture; none once it is complete, or if none is wanted.
    picture: Option<Cursor>,
    /// Everything up to here is told, or ready to be.
    at: Mark,
    /// Messages that are ready; from one reading of the log or one part of the picture.
    ready: VecDeque<v1::WatchResponse>,
    /// The last token told.
    last_token: String,
    next_bookmark: Instant,
    pace: Pace,
    folded: watch::Receiver<Folded>,
    condition: watch::Receiver<Condition>,
    /// The overlays, as far as they were told.
    staged: Staged,
    /// Who is in the workspace, as far as it was told.
    company: watch::Receiver<Everybody>,
    _open: Open,
}

/// What a reading of the log gave.
struct Chunk {
    messages: Vec<v1::WatchResponse>,
    /// About how many bytes they take.
    bytes: usize,
    /// The last bundle read; none if there was none.
    reached: Option<Mark>,
}

impl Watcher {
    pub(super) fn new(workspace: Workspace, beginning: Beginning, open: Open) -> Self {
        let Beginning { at, scope, snapshot } = beginning;
        Self {
            scope: Arc::new(scope),
            picture: (snapshot == Snapshot::Wanted).then_some(Cursor::Tables),
            at,
            ready: VecDeque::new(),
            last_token: at.token(),
            next_bookmark: Instant::now() + BOOKMARK_EVERY,
            pace: Pace::new(),
            folded: workspace.snapshots.folded(),
            condition: workspace.condition.clone(),
            staged: Staged::new(&*workspace.shelf),
            company: company(&workspace),
            workspace,
            _open: open,
        }
    }

    /// Everything that the reader is told, made as it asks for it; the last may be a status.
    pub(super) fn messages(self) -> impl Stream<Item = Result<v1::WatchResponse, Status>> + Send + 'static {
        futures::stream::unfold(Some(self), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(message) => Some((Ok(message), Some(watcher))),
                Err(problem) => Some((Err(problem.into()), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<v1::WatchResponse, Problem> {
        self.check_pace()?;
        let message = loop {
            if let Some(message) = self.ready.pop_front() {
                break message;
            }
            match self.picture.take() {
                Some(cursor) => self.draw(cursor).await?,
                None => self.follow().await?,
            }
        };
        if let Some(token) = token_of(&message) {
            token.clone_into(&mut self.last_token);
        }
        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
        self.pace.handed_over(self.folded.borrow().position);
        Ok(message)
    }

    fn check_pace(&mut self) -> Result<(), Problem> {
        // The picture has its own time: until it is complete, there is no token to go on with.
        if self.picture.is_some() {
            return Ok(());
        }
        let now = self.folded.borrow().position;
        match self.pace.asked(now, self.at.revision) {
            Verdict::KeepsUp => Ok(()),
            Verdict::Lags => Err(lagged(&self.last_token).into()),
        }
    }

    /// Makes the next part of the picture ready.
    async fn draw(&mut self, cursor: Cursor) -> Result<(), Problem> {
        let (workspace, scope, revision) = (self.workspace.clone(), Arc::clone(&self.scope), self.at.revision);
        let (part, next) = blocking(move |_| {
            let snapshot = workspace.snapshots.snapshot()?;
            if snapshot.position() < revision {
                return Err(super::super::unavailable("The state of this workspace is being rebuilt.").into());
            }
            Ok(picture::part(&*view_at(&*snapshot, revision), &scope, &cursor)?)
        })
        .await?;
        if !picture::is_empty(&part) {
            self.ready.push_back(message(Event::SnapshotPart(part)));
        }
        if next.is_none() {
            let end = v1::SnapshotEnd { revision: self.at.revision.0, resume_token: self.at.token() };
            self.ready.push_back(message(Event::SnapshotEnd(end)));
            self.pace = Pace::new();
        }
        self.picture = next;
        Ok(())
    }

    /// Makes ready what the log holds behind this watcher, or waits until there may be something.
    async fn follow(&mut self) -> Result<(), Problem> {
        // What is folded from here on wakes us below, so nothing is missed between looking and waiting.
        self.folded.borrow_and_update();
        let (workspace, scope, behind) = (self.workspace.clone(), Arc::clone(&self.scope), self.at);
        let chunk = blocking(move |stop| read_on(&workspace, &scope, behind, stop)).await?;
        self.ready.extend(chunk.messages);
        match chunk.reached {
            Some(reached) => self.at = reached,
            None => self.hear_or_wait().await?,
        }
        if self.ready.is_empty() && Instant::now() >= self.next_bookmark {
            let bookmark = v1::Bookmark { revision: self.at.revision.0, resume_token: self.at.token() };
            self.ready.push_back(message(Event::Bookmark(bookmark)));
        }
        Ok(())
    }

    /// What became of overlays comes behind everything that the log holds.
    async fn hear_or_wait(&mut self) -> Result<(), Problem> {
        let events = self.staged.events(&*self.workspace.shelf, self.at.revision);
        self.ready.extend(events.into_iter().map(|event| message(Event::Overlay(event))));
        if self.company.has_changed().map_err(|_| closed())? {
            let present = self.company.borrow_and_update().clone();
            let people = presence::people(&self.workspace, &present)?;
            self.ready.push_back(message(Event::Presence(v1::PresenceEvent { people })));
        }
        if self.ready.is_empty() { self.wait().await } else { Ok(()) }
    }

    async fn wait(&mut self) -> Result<(), Problem> {
        let condition = self.condition.borrow_and_update().clone();
        if condition != Condition::Running {
            return Err(closed().into());
        }
        tokio::select! {
            biased;
            changed = self.condition.changed() => changed.map_err(|_| closed())?,
            changed = self.folded.changed() => changed.map_err(|_| closed())?,
            changed = self.staged.changed() => changed.map_err(|_| closed())?,
            changed = self.company.changed() => {
                changed.map_err(|_| closed())?;
                // The next look tells of it.
                self.company.mark_changed();
            }
            () = tokio::time::sleep_until(self.next_bookmark) => {}
        }
        Ok(())
    }
}

/// Reads some bundles behind a mark, as far as the state has folded them.
fn read_on(workspace: &Workspace, scope: &Scope, behind: Mark, stop: &Stop) -> Result<Chunk, Problem> {
    let mut chunk = Chunk { messages: Vec::new(), bytes: 0, reached: None };
    let snapshot = workspace.snapshots.snapshot()?;
    let now: &dyn History = &*snapshot;
    if snapshot.position() <= behind.revision {
        return Ok(chunk);
    }
    let bundles = workspace.log.bundles(behind.revision.next(), CHUNK_BUNDLES, CHUNK_BYTES)?;
    check_gapless(behind.revision, &bundles)?;
    // The past is read at one place; from there on, each bundle is folded on top of those before.
    let (base, log) = (view_at(&*snapshot, behind.revision), &*workspace.log);
    if let Some((position, entry, stored)) = bundles.first().filter(|(_, _, stored)| is_large(stored)) {
        let after = view_at(&*snapshot, *position);
        let (before, after) = (&*base, &*after);
        chunk.add(&Telling { now, before, after, log, scope, position: *position, entry, stored })?;
        return Ok(chunk);
    }
    let mut told = Layer::default();
    for (position, entry, stored) in bundles.iter().take_while(|(_, _, stored)| !is_large(stored)) {
        if *position > snapshot.position() || chunk.bytes > MAX_BYTES {
            break;
        }
        stop.check()?;
        let before = &told.over(&*base);
        let layer = folded(before, *position, stored)?;
        let after = &layer.over(before);
        chunk.add(&Telling { now, before, after, log, scope, position: *position, entry, stored })?;
        told.absorb(layer);
    }
    Ok(chunk)
}

impl Chunk {
    fn add(&mut self, telling: &Telling<'_>) -> Read<()> {
        if let Some((batch, bytes)) = telling.batch()? {
            self.bytes += bytes;
            self.messages.push(message(Event::Batch(batch)));
        }
        self.reached = Some(Mark { revision: telling.position, chain: telling.entry.chain });
        Ok(())
    }
}

/// Whether a bundle is read by itself: it probably is too large to be told one by one, and then need not be folded.
fn is_large(stored: &Stored) -> bool {
    matches!(stored, Stored::Whole(bundle) if bundle.ops().len() > MAX_CHANGED)
}

/// A bundle, folded on top of what came before it.
fn folded(before: &dyn View, position: Position, stored: &Stored) -> Read<Layer> {
    let mut layer = Layer::default();
    if let Stored::Whole(bundle) = stored {
        for op in bundle.ops() {
            layer.fold(before, op, Some(position))?;
        }
    }
    Ok(layer)
}

/// A log counts without gaps; one that does not is not to be passed over in silence.
fn check_gapless(behind: Position, bundles: &[(Position, Entry, Stored)]) -> Result<(), Problem> {
    let counted = std::iter::successors(Some(behind.next()), |position| Some(position.next()));
    if counted.zip(bundles).all(|(counted, (position, ..))| counted == *position) {
        return Ok(());
    }
    Err(super::expired(format!("The log no longer holds all that came behind revision {behind}.")).into())
}

/// Who is there when a watcher begins is news to it, nobody is none.
fn company(workspace: &Workspace) -> watch::Receiver<Everybody> {
    let mut company = workspace.doorway.company();
    if !company.borrow().is_empty() {
        company.mark_changed();
    }
    company
}

fn message(event: Event) -> v1::WatchResponse {
    v1::WatchResponse { event: Some(event) }
}

fn token_of(message: &v1::WatchResponse) -> Option<&str> {
    match message.event.as_ref()? {
        Event::SnapshotPart(_) | Event::Overlay(_) | Event::Presence(_) => None,
        Event::SnapshotEnd(end) => Some(&end.resume_token),
        Event::Batch(batch) => Some(&batch.resume_token),
        Event::Bookmark(bookmark) => Some(&bookmark.resume_token),
    }
}

fn lagged(token: &str) -> ApiError {
    let message = "The reader is too slow: the log runs away from it.";
    ApiError::new(v1::Reason::WatcherLagged, message)
        .next("Resume with the token, or begin anew with a snapshot.")
        .resume_at(token)
}

fn closed() -> Status {
    super::super::unavailable("This workspace is being closed.")
}
