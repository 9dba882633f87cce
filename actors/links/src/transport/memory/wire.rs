//! A wire: what the two ends of a connection in memory share.

use std::sync::atomic::AtomicBool;

use tokio::sync::Semaphore;

use super::{
    ActorId, Arc, AtomicU64, CloseCode, Closed, Duration, IDLE_TIMEOUT, Ordering, Side, SocketAddr, Weather, watch,
};
use crate::transport::{MAX_CHANNELS, MAX_STRANGER_CHANNELS};

/// Who is at one end.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) key: ActorId,
    pub(super) address: SocketAddr,
}

/// What the two ends share. Each end learns by itself that it is over, as the weather allows.
pub(super) struct Wire {
    secret: [u8; 32],
    ends: [End; 2],
    /// How it ended, as each end knows.
    over: [watch::Sender<Option<Closed>>; 2],
    /// The weather from each end to the other.
    weather: [watch::Receiver<Weather>; 2],
    /// The bytes from each end that were taken at the other.
    carried: [AtomicU64; 2],
    /// How many more channels each end may open, and whether it is welcome at the other.
    places: [Arc<Semaphore>; 2],
    is_welcome: [AtomicBool; 2],
}

impl Wire {
    pub(super) fn new(number: u64, ends: [End; 2], weather: [watch::Receiver<Weather>; 2]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"openprod/memory-wire/1").update(&number.to_le_bytes());
        hasher.update(ends[0].key.as_bytes()).update(ends[1].key.as_bytes());
        let over = [watch::channel(None).0, watch::channel(None).0];
        let places = [(); 2].map(|()| Arc::new(Semaphore::new(MAX_STRANGER_CHANNELS as usize)));
        let secret = *hasher.finalize().as_bytes();
        Self { secret, ends, over, weather, carried: Default::default(), places, is_welcome: Default::default() }
    }

    pub(super) fn at(&self, side: Side) -> End {
        self.ends[side as usize]
    }

    pub(super) fn joins(&self, key: ActorId) -> bool {
        self.ends.iter().any(|end| end.key == key)
    }

    pub(super) fn side_of(&self, key: ActorId) -> Side {
        if self.ends[Side::Dialler as usize].key == key { Side::Dialler } else { Side::Dialled }
    }

    /// The weather for what `side` sends.
    pub(super) fn weather_from(&self, side: Side) -> watch::Receiver<Weather> {
        self.weather[side as usize].clone()
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.weather.iter().map(|weather| weather.borrow().delay).sum()
    }

    pub(super) fn places(&self, side: Side) -> Arc<Semaphore> {
        Arc::clone(&self.places[side as usize])
    }

    /// The other end takes `side` for one that belongs there.
    pub(super) fn welcome(&self, side: Side) {
        if !self.is_welcome[side as usize].swap(true, Ordering::Relaxed) {
            self.places[side as usize].add_permits((MAX_CHANNELS - MAX_STRANGER_CHANNELS) as usize);
        }
    }

    pub(super) fn carry(&self, from: Side, bytes: usize) {
        self.carried[from as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn carried_from(&self, side: Side) -> u64 {
        self.carried[side as usize].load(Ordering::Relaxed)
    }

    pub(super) fn exporter(&self, label: &[u8], context: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&(label.len() as u64).to_le_bytes()).update(label).update(context);
        *hasher.finalize().as_bytes()
    }

    /// One end learns how it ended, if it does not know yet.
    pub(super) fn end(&self, side: Side, how: &Closed) {
        self.over[side as usize].send_if_modified(|over| {
            let is_news = over.is_none();
            over.get_or_insert_with(|| how.clone());
            is_news
        });
    }

    /// One end closes; the other hears it if anything passes.
    pub(super) fn close(&self, side: Side, code: CloseCode) {
        let is_first = self.over[side as usize].borrow().is_none();
        self.end(side, &Closed::Here(code));
        if is_first && self.weather[side as usize].borrow().passes {
            self.end(side.other(), &Closed::There(code));
        }
    }

    pub(super) async fn ended(&self, side: Side) -> Closed {
        let mut over = self.over[side as usize].subscribe();
        // It is told while the wire stands, which is here.
        let _ = over.wait_for(Option::is_some).await;
        let how = over.borrow().clone();
        how.unwrap_or(Closed::Silent)
    }

    /// Whether both ends know that it is over.
    pub(super) fn is_over(&self) -> bool {
        self.over.iter().all(|over| over.borrow().is_some())
    }

    /// Whether an end hears nothing from the other, though it takes the connection to stand.
    fn is_troubled(&self) -> bool {
        self.over.iter().any(|over| over.borrow().is_some()) || self.weather.iter().any(|w| !w.borrow().passes)
    }

    /// Ends it where nothing was heard for long, as keep-alive packets that fail to come would.
    pub(super) async fn watch_over(self: Arc<Self>) {
        while !self.is_over() {
            if self.is_troubled() {
                tokio::select! {
                    biased;
                    () = self.changes_to(|wire| wire.is_over() || !wire.is_troubled()) => {}
                    () = tokio::time::sleep(IDLE_TIMEOUT) => self.fall_silent(),
                }
            } else {
                self.changes_to(Self::is_troubled).await;
            }
        }
    }

    fn fall_silent(&self) {
        self.end(Side::Dialler, &Closed::Silent);
        self.end(Side::Dialled, &Closed::Silent);
    }

    async fn changes_to(&self, wanted: impl Fn(&Self) -> bool) {
        let [mut there, mut back] = self.weather.clone();
        let [mut here, mut other] = self.over.each_ref().map(watch::Sender::subscribe);
        while !wanted(self) {
            // An ether that is gone changes no more, and its wires go on in the weather of its last day.
            let gone = tokio::select! {
                biased;
                changed = here.changed() => changed.is_err(),
                changed = other.changed() => changed.is_err(),
                changed = there.changed() => changed.is_err(),
                changed = back.changed() => changed.is_err(),
            };
            if gone {
                std::future::pending::<()>().await;
            }
        }
    }
}
