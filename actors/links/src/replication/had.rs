//! What the peer is known to have, as far as this log holds it too.

use std::collections::{BTreeMap, VecDeque};

use openprod_domain::view::Read;
use openprod_messages::log::{Lane, Lanes, Placed, Spot};
use openprod_model::ids::{ActorId, Digest, Position};

use super::under_way::InHand;

/// How far the peer has each lane: at least so far.
#[derive(Debug, Default)]
pub struct Had {
    ends: BTreeMap<(ActorId, u32), Spot>,
    /// What the peer gave and the oplog has in hand, in the order in which it came.
    in_hand: VecDeque<InHand>,
}

impl Had {
    /// Whether the peer is known to have a bundle.
    pub fn has(&self, placed: &Placed) -> bool {
        self.reaches(placed.entry.actor, placed.spot()) || self.has_in_hand(placed.entry.digest)
    }

    /// The peer has these, which may or may not find a place in this log.
    pub fn note_in_hand(&mut self, in_hand: InHand) {
        self.in_hand.push_back(in_hand);
    }

    /// It is known what became of those that were noted first.
    pub fn is_judged(&mut self) {
        self.in_hand.pop_front();
    }

    /// Nobody will hear what becomes of the rest.
    pub fn forget_in_hand(&mut self) {
        self.in_hand.clear();
    }

    fn has_in_hand(&self, digest: Digest) -> bool {
        self.in_hand.iter().any(|in_hand| in_hand.has(digest))
    }

    /// Whether the peer is known to have all of a lane.
    pub fn has_all(&self, lane: &Lane) -> bool {
        self.reaches(lane.actor, end(lane))
    }

    fn reaches(&self, actor: ActorId, spot: Spot) -> bool {
        self.ends.get(&(actor, spot.lane)).is_some_and(|end| spot.hlc <= end.hlc)
    }

    /// The peer has a bundle, and so what comes before it on its lane, and on those that this lane comes from.
    pub fn note(&mut self, log: &dyn Lanes, actor: ActorId, spot: Spot) -> Read<()> {
        let mut next = Some(spot);
        while let Some(spot) = next.take().filter(|spot| !self.reaches(actor, *spot)) {
            let is_new = self.ends.insert((actor, spot.lane), spot).is_none();
            if is_new && spot.lane > 0 {
                let lane = log.lanes_of(actor)?.into_iter().find(|lane| lane.number == spot.lane);
                next = lane.and_then(|lane| lane.from);
            }
        }
        Ok(())
    }

    /// The peer has all of a lane.
    pub fn note_all(&mut self, log: &dyn Lanes, lane: &Lane) -> Read<()> {
        self.note(log, lane.actor, end(lane))
    }

    /// Where the first bundle lies that the peer may lack; none if it has all of these lanes.
    pub fn first_lacking(&self, lanes: &[Lane]) -> Option<Position> {
        let lacking = lanes.iter().filter(|lane| !self.has_all(lane));
        let first = |lane: &Lane| match self.ends.get(&(lane.actor, lane.number)) {
            Some(end) => end.at.next(),
            None => lane.first,
        };
        lacking.map(first).min()
    }
}

fn end(lane: &Lane) -> Spot {
    Spot { lane: lane.number, hlc: lane.hlc, at: lane.at }
}
