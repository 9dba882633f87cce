//! A bad line between two networks: datagrams are lost, late, doubled, out of order, cut off for a while, and sent
//! from another port than before. What it does to each is drawn from a seed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::convergence::Dice;

/// The largest datagram there is.
const DATAGRAM: usize = 65_535;

/// What a line does to datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    /// Of a hundred datagrams, so many are lost.
    pub(super) lost: usize,
    /// Of a hundred datagrams, so many come twice.
    pub(super) doubled: usize,
    /// Each takes so long.
    pub(super) delay: Duration,
    /// Each takes up to so much longer, so that they overtake each other.
    pub(super) jitter: Duration,
    /// Something passes for so long...
    pub(super) good_for: Duration,
    /// ... and then nothing for so long, and so on; zero for never.
    pub(super) silent_for: Duration,
    /// Between the two is a router that gives the near side another port so often; zero for never.
    pub(super) rebound: Duration,
}

impl Weather {
    fn is_silent(&self, since: Duration) -> bool {
        let (good, both) = (self.good_for.as_nanos(), (self.good_for + self.silent_for).as_nanos());
        !self.silent_for.is_zero() && since.as_nanos() % both >= good
    }

    fn is_drawn(dice: &mut Dice, percent: usize) -> bool {
        dice.below(100) < percent
    }

    /// When a datagram arrives, as often as it does.
    fn fate(&self, dice: &mut Dice, since: Duration) -> Vec<Duration> {
        if self.is_silent(since) || Self::is_drawn(dice, self.lost) {
            return Vec::new();
        }
        let copies = if Self::is_drawn(dice, self.doubled) { 2 } else { 1 };
        let jitter = usize::try_from(self.jitter.as_micros()).unwrap() + 1;
        (0..copies).map(|_| self.delay + Duration::from_micros(dice.below(jitter) as u64)).collect()
    }
}

/// What has happened on a line so far.
#[derive(Debug, Default)]
pub(super) struct Happened {
    pub(super) passed: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) doubled: AtomicU64,
    pub(super) rebound: AtomicU64,
}

/// A line. It ends when it is dropped.
pub(super) struct Line {
    /// Where the near side finds the far one.
    pub(super) entrance: SocketAddr,
    weather: watch::Sender<Weather>,
    pub(super) happened: Arc<Happened>,
}

impl Line {
    /// A line to `far` that begins at `near`, and speaks to the far side from `via`.
    pub(super) async fn between(near: Ipv4Addr, via: Ipv4Addr, far: SocketAddr, seed: u64) -> Self {
        println!("the line to {far} is drawn from seed {seed}");
        let entry = UdpSocket::bind((near, 0)).await.unwrap();
        let entrance = entry.local_addr().unwrap();
        let (sender, weather) = watch::channel(Weather::default());
        let happened = Arc::<Happened>::default();
        let ends = Ends { near: Arc::new(entry), far: Ends::out_of(via).await, via, to: far, back: None };
        tokio::spawn(carry(ends, weather, Dice(seed), Arc::clone(&happened)));
        Self { entrance, weather: sender, happened }
    }

    /// From now on it is like this.
    pub(super) fn becomes(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How often something happened.
    pub(super) fn count(&self, what: impl Fn(&Happened) -> &AtomicU64) -> u64 {
        what(&self.happened).load(Ordering::Relaxed)
    }
}

struct Ends {
    near: Arc<UdpSocket>,
    far: Arc<UdpSocket>,
    via: Ipv4Addr,
    to: SocketAddr,
    /// Who was heard last on the near side.
    back: Option<SocketAddr>,
}

impl Ends {
    async fn out_of(via: Ipv4Addr) -> Arc<UdpSocket> {
        Arc::new(UdpSocket::bind((via, 0)).await.unwrap())
    }
}

async fn carry(mut ends: Ends, mut weather: watch::Receiver<Weather>, mut dice: Dice, happened: Arc<Happened>) {
    let (mut there, mut back) = (vec![0; DATAGRAM], vec![0; DATAGRAM]);
    let (began, mut rebound) = (Instant::now(), Instant::now());
    loop {
        let now = *weather.borrow_and_update();
        let (way, datagram) = tokio::select! {
            biased;
            news = weather.changed() => match news {
                Ok(()) => continue,
                Err(_) => return,
            },
            got = ends.near.recv_from(&mut there) => {
                let Ok((length, from)) = got else { continue };
                ends.back = Some(from);
                ((Arc::clone(&ends.far), ends.to), there[..length].to_vec())
            }
            // A port that nobody listens on is told as an error, which only says that nothing came.
            got = ends.far.recv_from(&mut back) => {
                let (Ok((length, _)), Some(to)) = (got, ends.back) else { continue };
                ((Arc::clone(&ends.near), to), back[..length].to_vec())
            }
        };
        if !now.rebound.is_zero() && rebound.elapsed() >= now.rebound {
            (ends.far, rebound) = (Ends::out_of(ends.via).await, Instant::now());
            happened.rebound.fetch_add(1, Ordering::Relaxed);
        }
        deliver(way, datagram, now.fate(&mut dice, began.elapsed()), &happened);
    }
}

fn deliver((by, to): (Arc<UdpSocket>, SocketAddr), datagram: Vec<u8>, fate: Vec<Duration>, happened: &Happened) {
    let counter = match fate.len() {
        0 => &happened.lost,
        1 => &happened.passed,
        _ => &happened.doubled,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    let datagram = Arc::<[u8]>::from(datagram);
    for after in fate {
        let (by, datagram) = (Arc::clone(&by), Arc::clone(&datagram));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            // A network is allowed to lose it.
            let _ = by.send_to(&datagram, to).await;
        });
    }
}
