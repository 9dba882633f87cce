//! How many connections each address has, so that one machine cannot take the room of all others.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most connections of one other machine at once: several browsers and programs on it, or a few people behind one router.
const AN_ADDRESS: usize = 64;

/// Where a connection comes from; none for one through the Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whence(pub(super) Option<IpAddr>);

impl From<SocketAddr> for Whence {
    fn from(address: SocketAddr) -> Self {
        Self(Some(address.ip().to_canonical()))
    }
}

impl From<tokio::net::unix::SocketAddr> for Whence {
    fn from(_: tokio::net::unix::SocketAddr) -> Self {
        Self(None)
    }
}

/// The connections of other machines, counted.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<HashMap<IpAddr, usize>>);

/// Room for one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    crowd: Arc<Crowd>,
    of: Option<IpAddr>,
}

impl Crowd {
    /// Room for one more connection from there, if there is any. This machine itself always has room.
    pub(super) fn admit(self: &Arc<Self>, from: Whence) -> Option<Room> {
        let of = from.0.filter(|ip| !ip.is_loopback());
        if let Some(ip) = of {
            let mut counts = self.counts();
            let count = counts.entry(ip).or_default();
            if *count >= AN_ADDRESS {
                return None;
            }
            *count += 1;
        }
        Some(Room { crowd: Arc::clone(self), of })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some(ip) = self.of else { return };
        let mut counts = self.crowd.counts();
        match counts.get_mut(&ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&ip)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_has_so_much_room_and_gives_it_back() {
        let crowd = Arc::new(Crowd::default());
        let (there, here) = (Whence(Some([10, 0, 0, 9].into())), Whence(Some([127, 0, 0, 1].into())));
        let mut rooms: Vec<_> = (0..AN_ADDRESS).map(|_| crowd.admit(there).unwrap()).collect();
        assert!(crowd.admit(there).is_none());
        let locals: Vec<_> = (0..2 * AN_ADDRESS).map(|_| crowd.admit(here).unwrap()).collect();
        rooms.pop();
        assert!(crowd.admit(there).is_some());
        drop((rooms, locals));
        assert!(crowd.counts().is_empty());
    }
}
