//! The exchange of files with neighbours: nodes of the same workspace that are connected now.
//!
//! A file that is wanted and not here is asked of all neighbours at once. Each that has it becomes a source, and
//! [`Fetch`] says which pieces are asked of which; what has come is kept across breaks ([`crate::partial`]). Nobody asks
//! on when nobody waits for the file any more. The other way round, a neighbour is given any piece of any file that is
//! here, whole, and not deleted.
//!
//! How neighbours are reached is no business of this room: it is given [`Neighbours`], and talks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use openprod_messages::blobs::{BlobError, FetchStanding};
use openprod_messages::environment::Environment;
use openprod_messages::watch;
use openprod_model::ids::BlobHash;
use openprod_wire::files::{FileAnswer, FileAsk};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::collect::Library;
use crate::fetch::{Effect, Event, Fetch};
use crate::partial::Partial;
use crate::reader::Reader;
use crate::store::Store;

/// How long a neighbour may take to say whether it has a file: it looks into an index, and may have other things to do.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// How long a piece may take before others are asked for it: a Wi-Fi that roams is silent for some seconds.
const PIECE_PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing at all may come before a file counts as not to be had now.
const STALLED_AFTER: Duration = Duration::from_secs(30);
/// Pieces that have come and wait to be written: 4 MiB; the neighbours wait meanwhile.
const PIECES_AHEAD: usize = 16;
/// How many pieces of a workspace's files are read for neighbours at once: the disk is people's own first.
pub(crate) const GIVEN_AT_ONCE: usize = 4;

/// A node of the same workspace that is connected now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour(pub u64);

/// The conversation is over, for this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Ended(pub String);

/// A conversation: one says, and hears.
pub trait Talk<Say, Hear>: Send {
    /// Says something, as soon as the other can take it.
    fn say(&mut self, say: Say) -> BoxFuture<'_, Result<(), Ended>>;

    /// The next thing that the other says; none after the last. May be dropped and asked again: nothing is lost.
    fn hear(&mut self) -> BoxFuture<'_, Result<Option<Hear>, Ended>>;
}

/// A conversation in which this node asks for a file.
pub type Asking = Box<dyn Talk<FileAsk, FileAnswer>>;
/// A conversation in which this node is asked for one.
pub type Answering = Box<dyn Talk<FileAnswer, FileAsk>>;

/// Who is there.
pub trait Neighbours: Send + Sync {
    /// The neighbours, as they come and go.
    fn there(&self) -> watch::Receiver<Vec<Neighbour>>;

    /// Begins a conversation about a file with one of them.
    fn call(&self, neighbour: Neighbour) -> BoxFuture<'static, Result<Asking, Ended>>;
}

/// Answers what a neighbour asks about a file, until it has asked enough.
pub async fn answer(library: Library, env: Environment, mut talk: Answering) {
    if let Err(ended) = answers(library, env, &mut *talk).await {
        tracing::debug!(%ended, "a neighbour was not given a file to its end");
    }
}

async fn answers(library: Library, env: Environment, talk: &mut dyn Talk<FileAnswer, FileAsk>) -> Result<(), Ended> {
    let Some(FileAsk::Outline { hash }) = talk.hear().await? else {
        return Err(Ended("it did not say which file it is about".to_owned()));
    };
    let store = Arc::clone(&library.store);
    let opened = env.offload(move || library.give(hash)).await;
    let Some(Ok(reader)) = opened else { return talk.say(FileAnswer::Missing).await };
    let reader = Arc::new(reader);
    let outline = reader.outline();
    talk.say(FileAnswer::Outline { size: outline.size(), outline: outline.bytes() }).await?;
    while let Some(ask) = talk.hear().await? {
        let FileAsk::Pieces { first, count } = ask else { return Err(Ended("it asks for another file".to_owned())) };
        for index in first..first.saturating_add(u64::from(count)) {
            let Some(bytes) = piece(&env, &store, &reader, index).await else {
                return talk.say(FileAnswer::Missing).await;
            };
            fail::fail_point!("blobs-before-given");
            talk.say(FileAnswer::Piece { index, bytes }).await?;
        }
    }
    Ok(())
}

/// A piece; none if it cannot be read, or is no longer what it was.
async fn piece(env: &Environment, store: &Store, reader: &Arc<Reader>, index: u64) -> Option<Vec<u8>> {
    let _turn = store.giving.acquire().await.ok()?;
    let reader = Arc::clone(reader);
    env.offload(move || reader.piece(index)).await?.ok()
}

/// What a fetch may use.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) store: Arc<Store>,
    pub(crate) neighbours: Arc<dyn Neighbours>,
    pub(crate) env: Environment,
}

impl Exchange {
    /// Fetches a file, and shows how that goes, for as long as anybody looks. What it shows last is how it ended.
    pub(crate) async fn fetch(self, hash: BlobHash, shown: Arc<watch::Sender<FetchStanding>>) {
        let ended = tokio::select! {
            biased;
            ended = self.fetched(hash, &shown) => ended.unwrap_or_else(FetchStanding::Failed),
            // Nobody waits any more.
            () = shown.closed() => return,
        };
        shown.send_replace(ended);
    }

    async fn fetched(&self, hash: BlobHash, shown: &watch::Sender<FetchStanding>) -> Result<FetchStanding, BlobError> {
        let store = Arc::clone(&self.store);
        if let Some(kept) = self.blocking(move || store.kept(hash)).await?.filter(|kept| !kept.damaged) {
            return Ok(FetchStanding::Here(kept));
        }
        let store = Arc::clone(&self.store);
        let (partial, before) = self.blocking(move || store.fetch(hash)).await?;
        let fetch = before.map_or_else(|| Fetch::new(hash), |(outline, had)| Fetch::resumed(outline, had));
        let (says, heard) = mpsc::channel(PIECES_AHEAD);
        let work = Work { exchange: self, hash, fetch, partial: Some(partial), sources: BTreeMap::new(), says, shown };
        work.go_on(heard).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let broke_off = || BlobError::Disk { reason: "the work with the file broke off".to_owned(), full: false };
        self.env.offload(job).await.ok_or_else(broke_off)?
    }
}

/// How a fetch ends; none if it broke off.
pub async fn ended(standing: &mut watch::Receiver<FetchStanding>) -> Option<FetchStanding> {
    standing.wait_for(FetchStanding::is_over).await.ok()?;
    Some(standing.borrow().clone())
}

/// A neighbour in one fetch.
struct Source {
    asks: mpsc::UnboundedSender<FileAsk>,
    task: AbortHandle,
    /// Whether it has said that it has the file.
    has_it: bool,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A fetch at work.
struct Work<'a> {
    exchange: &'a Exchange,
    hash: BlobHash,
    fetch: Fetch<Neighbour>,
    /// Out while something is written to it.
    partial: Option<Partial>,
    sources: BTreeMap<Neighbour, Source>,
    says: mpsc::Sender<Event<Neighbour>>,
    shown: &'a watch::Sender<FetchStanding>,
}

impl Work<'_> {
    async fn go_on(mut self, mut heard: mpsc::Receiver<Event<Neighbour>>) -> Result<FetchStanding, BlobError> {
        let mut there = self.exchange.neighbours.there();
        let mut asked = self.meet(&there.borrow_and_update().clone());
        loop {
            if self.sources.is_empty() {
                return Ok(FetchStanding::Nowhere { asked });
            }
            tokio::select! {
                biased;
                Ok(()) = there.changed() => asked += self.meet(&there.borrow_and_update().clone()),
                event = heard.recv() => {
                    let Some(event) = event else { return Ok(FetchStanding::Nowhere { asked }) };
                    if let Some(size) = self.happened(event).await? {
                        return self.finish(size).await;
                    }
                }
                () = tokio::time::sleep(STALLED_AFTER) => return Ok(FetchStanding::Nowhere { asked }),
            }
        }
    }

    /// Begins to ask those who are new; those who left end by themselves. Says how many are new.
    fn meet(&mut self, there: &[Neighbour]) -> usize {
        let new: Vec<_> = there.iter().copied().filter(|neighbour| !self.sources.contains_key(neighbour)).collect();
        for neighbour in &new {
            let (asks, asked) = mpsc::unbounded_channel();
            let call = self.exchange.neighbours.call(*neighbour);
            let task = tokio::spawn(converse(*neighbour, self.hash, call, asked, self.says.clone())).abort_handle();
            self.sources.insert(*neighbour, Source { asks, task, has_it: false });
        }
        new.len()
    }

    /// Gives the size of the file once all of it is here.
    async fn happened(&mut self, event: Event<Neighbour>) -> Result<Option<u64>, BlobError> {
        match &event {
            Event::Found(neighbour) => {
                self.sources.entry(*neighbour).and_modify(|source| source.has_it = true);
            }
            Event::Lost(neighbour) => drop(self.sources.remove(neighbour)),
            _ => {}
        }
        let mut done = None;
        for effect in self.fetch.handle(event) {
            match effect {
                Effect::AskPieces(neighbour, run) => self.ask(neighbour, run),
                Effect::KeepOutline(outline) => self.write(move |partial| partial.keep_outline(&outline)).await?,
                Effect::KeepPiece(index, bytes) => self.write(move |partial| partial.keep_piece(index, &bytes)).await?,
                Effect::Done(size) => done = Some(size),
                Effect::Blame(neighbour) => {
                    tracing::warn!(file = %self.hash, "a neighbour sent what is not the file's; others are asked");
                    self.sources.remove(&neighbour);
                }
                // Whoever has the file has sent its outline already.
                Effect::AskOutline(_) | Effect::Stuck => {}
            }
        }
        self.show();
        Ok(done)
    }

    fn ask(&self, neighbour: Neighbour, run: std::ops::Range<u64>) {
        let count = u32::try_from(run.end - run.start).unwrap_or(u32::MAX);
        if let Some(source) = self.sources.get(&neighbour) {
            // One that has just ended says so itself.
            let _ = source.asks.send(FileAsk::Pieces { first: run.start, count });
        }
    }

    async fn write(
        &mut self,
        job: impl FnOnce(&mut Partial) -> Result<(), BlobError> + Send + 'static,
    ) -> Result<(), BlobError> {
        let mut partial = self.partial.take().expect("one thing is written at a time");
        let write = move || job(&mut partial).map(|()| partial);
        self.partial = Some(self.exchange.blocking(write).await?);
        Ok(())
    }

    fn show(&self) {
        let (had, of) = self.fetch.progress();
        let from = self.sources.values().filter(|source| source.has_it).count();
        self.shown.send_replace(FetchStanding::Coming { had, of, from });
    }

    async fn finish(mut self, size: u64) -> Result<FetchStanding, BlobError> {
        self.sources.clear();
        let partial = self.partial.take().expect("nothing is being written");
        Ok(FetchStanding::Here(self.exchange.blocking(move || partial.finish(size)).await?))
    }
}

/// Talks with one neighbour about a file, and tells what it says, until either has enough.
async fn converse(
    neighbour: Neighbour,
    hash: BlobHash,
    call: BoxFuture<'static, Result<Asking, Ended>>,
    mut asked: mpsc::UnboundedReceiver<FileAsk>,
    says: mpsc::Sender<Event<Neighbour>>,
) {
    let talked = match tokio::time::timeout(ANSWER_PATIENCE, begin(neighbour, hash, call, &says)).await {
        Ok(Ok(Some(talk))) => Conversation { neighbour, talk, owed: 0, says: &says }.go_on(&mut asked).await,
        Ok(Ok(None)) => Ok(()),
        Ok(Err(ended)) => Err(ended),
        Err(_) => Err(Ended("it does not say whether it has the file".to_owned())),
    };
    if let Err(ended) = talked {
        tracing::debug!(file = %hash, %ended, "a neighbour is asked for a file no further");
    }
    // Nobody hears it if the fetch is over.
    let _ = says.send(Event::Lost(neighbour)).await;
}

/// Calls a neighbour, and asks whether it has the file; none if it does not.
async fn begin(
    neighbour: Neighbour,
    hash: BlobHash,
    call: BoxFuture<'static, Result<Asking, Ended>>,
    says: &mpsc::Sender<Event<Neighbour>>,
) -> Result<Option<Asking>, Ended> {
    let mut talk = call.await?;
    talk.say(FileAsk::Outline { hash }).await?;
    let Some(FileAnswer::Outline { size, outline }) = talk.hear().await? else { return Ok(None) };
    tell(says, Event::Found(neighbour)).await?;
    tell(says, Event::Outlined(neighbour, size, outline)).await?;
    Ok(Some(talk))
}

async fn tell(says: &mpsc::Sender<Event<Neighbour>>, event: Event<Neighbour>) -> Result<(), Ended> {
    says.send(event).await.map_err(|_| Ended("the file is not wanted any more".to_owned()))
}

/// A conversation with a neighbour that has the file.
struct Conversation<'a> {
    neighbour: Neighbour,
    talk: Asking,
    /// The pieces that it was asked for and has not sent.
    owed: u64,
    says: &'a mpsc::Sender<Event<Neighbour>>,
}

impl Conversation<'_> {
    async fn go_on(mut self, asked: &mut mpsc::UnboundedReceiver<FileAsk>) -> Result<(), Ended> {
        loop {
            tokio::select! {
                biased;
                ask = asked.recv() => {
                    let Some(ask) = ask else { return Ok(()) };
                    if let FileAsk::Pieces { count, .. } = ask {
                        self.owed += u64::from(count);
                    }
                    self.talk.say(ask).await?;
                }
                answer = self.talk.hear() => match answer? {
                    Some(FileAnswer::Piece { index, bytes }) => {
                        self.owed = self.owed.saturating_sub(1);
                        tell(self.says, Event::Sent(self.neighbour, index, bytes)).await?;
                    }
                    Some(FileAnswer::Outline { .. }) => return Err(Ended("it sends an outline again".to_owned())),
                    Some(FileAnswer::Missing) | None => return Ok(()),
                },
                () = tokio::time::sleep(PIECE_PATIENCE), if self.owed > 0 => {
                    self.owed = 0;
                    tell(self.says, Event::Late(self.neighbour)).await?;
                }
            }
        }
    }
}
