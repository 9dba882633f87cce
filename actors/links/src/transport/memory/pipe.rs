//! A pipe: one direction of a channel in memory, with a window of bytes and a time of arrival for each frame.

use openprod_wire::framing::FrameError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Arc, Arrival, BoxFuture, CloseCode, FutureExt, Instant, Side, Weather, Wire, mpsc, watch};
use crate::transport::{CHANNEL_WINDOW_BYTES, Channel, FIRST_LIMIT, Inlet, LinkError, Outlet};

/// The place of a channel among those that its opener may have; given back when its opener drops both halves.
type Place = Arc<OwnedSemaphorePermit>;

/// What is under way.
enum Parcel {
    Frame { bytes: Vec<u8>, due: Instant, _room: Arc<OwnedSemaphorePermit> },
    Finished,
    Truncated,
    GivenUp(CloseCode),
}

/// Both ends of a new channel: the opener's, and the other's.
pub(super) fn channel(wire: &Arc<Wire>, opener: Side, place: &Place) -> (Channel, Channel) {
    let (there, hears) = pipe(wire, opener, Some(place), None);
    let (back, listens) = pipe(wire, opener.other(), None, Some(place));
    (Channel::of(there, listens), Channel::of(back, hears))
}

fn pipe(wire: &Arc<Wire>, from: Side, sends: Option<&Place>, hears: Option<&Place>) -> (PipeIn, PipeOut) {
    let (queue, parcels) = mpsc::unbounded_channel();
    let (unheard, stopped) = watch::channel(None);
    let window = Arc::new(Semaphore::new(CHANNEL_WINDOW_BYTES as usize));
    let wire_out = Arc::clone(wire);
    let inlet = PipeIn { wire: Arc::clone(wire), from, queue, window, stopped, _place: sends.cloned() };
    let weather = wire.weather_from(from);
    let limit = FIRST_LIMIT;
    let state = Listening::Hears;
    let place = hears.cloned();
    (inlet, PipeOut { wire: wire_out, from, parcels, head: None, weather, limit, unheard, state, _place: place })
}

/// Where frames go in.
struct PipeIn {
    wire: Arc<Wire>,
    from: Side,
    queue: mpsc::UnboundedSender<Parcel>,
    window: Arc<Semaphore>,
    stopped: watch::Receiver<Option<CloseCode>>,
    _place: Option<Place>,
}

impl PipeIn {
    async fn put(&mut self, bytes: Vec<u8>) -> Result<(), LinkError> {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).clamp(1, CHANNEL_WINDOW_BYTES);
        let (wire, from) = (Arc::clone(&self.wire), self.from);
        let room = tokio::select! {
            biased;
            how = wire.ended(from) => return Err(how.into()),
            code = until_stopped(&mut self.stopped) => return Err(LinkError::GivenUp(code)),
            room = Arc::clone(&self.window).acquire_many_owned(size) => room,
        };
        let weather = wire.weather_from(from).borrow().clone();
        let room = Arc::new(room.map_err(|_| LinkError::GivenUp(CloseCode::DONE))?);
        let due = Instant::now() + weather.time_under_way();
        let arrival = match weather.garbles {
            Some(garbles) => garbles(bytes),
            None => Arrival::Frames(vec![bytes]),
        };
        let parcels = match arrival {
            Arrival::Frames(frames) => {
                let parcel = |bytes| Parcel::Frame { bytes, due, _room: Arc::clone(&room) };
                frames.into_iter().map(parcel).collect()
            }
            Arrival::Truncated => vec![Parcel::Truncated],
        };
        parcels
            .into_iter()
            .try_for_each(|parcel| self.queue.send(parcel))
            .map_err(|_| LinkError::GivenUp(CloseCode::DONE))
    }
}

async fn until_stopped(stopped: &mut watch::Receiver<Option<CloseCode>>) -> CloseCode {
    // Whoever is gone without a word is done.
    let _ = stopped.wait_for(Option::is_some).await;
    stopped.borrow().unwrap_or(CloseCode::DONE)
}

impl Outlet for PipeIn {
    fn send(&mut self, frame: Vec<u8>) -> BoxFuture<'_, Result<(), LinkError>> {
        self.put(frame).boxed()
    }

    fn finish(&mut self) {
        // Nobody hears it where the other end is gone.
        let _ = self.queue.send(Parcel::Finished);
    }

    fn give_up(&mut self, code: CloseCode) {
        let _ = self.queue.send(Parcel::GivenUp(code));
    }
}

impl Drop for PipeIn {
    fn drop(&mut self) {
        self.finish();
    }
}

/// What the receiving half has come to.
enum Listening {
    Hears,
    Ended(Result<(), LinkError>),
}

/// Where frames come out.
struct PipeOut {
    wire: Arc<Wire>,
    from: Side,
    parcels: mpsc::UnboundedReceiver<Parcel>,
    /// What has come first and is not due yet.
    head: Option<Parcel>,
    weather: watch::Receiver<Weather>,
    limit: usize,
    unheard: watch::Sender<Option<CloseCode>>,
    state: Listening,
    _place: Option<Place>,
}

impl PipeOut {
    async fn take(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        if let Listening::Ended(how) = &self.state {
            return how.clone().map(|()| None);
        }
        let (wire, side) = (Arc::clone(&self.wire), self.from.other());
        let parcel = tokio::select! {
            biased;
            how = wire.ended(side) => return Err(how.into()),
            parcel = self.next() => parcel,
        };
        match self.open(parcel) {
            Ok(Some(frame)) => Ok(Some(frame)),
            ended => {
                self.state = Listening::Ended(ended.clone().map(|_| ()));
                ended
            }
        }
    }

    /// The next parcel, when it is due and passes. Dropped while it waits, it has taken nothing.
    async fn next(&mut self) -> Parcel {
        if self.head.is_none() {
            self.head = self.parcels.recv().await;
        }
        if let Some(Parcel::Frame { due, .. }) = &self.head
            && *due > Instant::now()
        {
            tokio::time::sleep_until(*due).await;
        }
        if self.weather.wait_for(|weather| weather.passes).await.is_err() && !self.weather.borrow().passes {
            std::future::pending::<()>().await;
        }
        self.head.take().unwrap_or(Parcel::Finished)
    }

    fn open(&self, parcel: Parcel) -> Result<Option<Vec<u8>>, LinkError> {
        match parcel {
            Parcel::Frame { bytes, .. } if bytes.len() > self.limit => {
                Err(FrameError::TooLarge { bytes: bytes.len(), limit: self.limit }.into())
            }
            Parcel::Frame { bytes, .. } => {
                self.wire.carry(self.from, bytes.len());
                Ok(Some(bytes))
            }
            Parcel::Finished => Ok(None),
            Parcel::Truncated => Err(LinkError::Truncated),
            Parcel::GivenUp(code) => Err(LinkError::GivenUp(code)),
        }
    }
}

impl Inlet for PipeOut {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, LinkError>> {
        self.take().boxed()
    }

    fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    fn give_up(&mut self, code: CloseCode) {
        self.unheard.send_if_modified(|unheard| {
            let is_news = unheard.is_none();
            unheard.get_or_insert(code);
            is_news
        });
    }
}

impl Drop for PipeOut {
    fn drop(&mut self) {
        self.give_up(CloseCode::DONE);
    }
}
