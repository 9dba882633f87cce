//! The greeting: frontiers are told and answered.

use std::collections::BTreeSet;

use openprod_messages::log::Lane;
use openprod_model::ids::{ActorId, Digest};
use openprod_wire::replication::{Frontier, Lacking, MAX_TIPS, Tip};

use super::engine::{Step, Turn, unexpected};
use super::had::Had;
use super::taking::Taking;

/// Most tips that a peer may tell: far more lanes than people and devices make, and few enough to look up.
pub const MAX_FRONTIER_TIPS: usize = 1_000_000;

/// What was told and heard.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    /// The lanes that were told, in that order.
    told: Vec<Lane>,
    /// How many of them were answered.
    answered: usize,
    answered_all: bool,
    heard: usize,
    heard_all: bool,
    /// Actors of whom the peer lacks something that was told.
    ahead: BTreeSet<ActorId>,
    /// Actors of whom the peer told something that is not here.
    behind: BTreeSet<ActorId>,
    /// Actors of whom the peer lacks something, and is being given it by others.
    coming: BTreeSet<ActorId>,
}

impl Greeting {
    /// Tells what this node has.
    pub(super) fn begin(&mut self, turn: &mut Turn<'_>) -> Step {
        self.told = turn.log.lanes()?;
        let tips: Vec<Tip> =
            self.told.iter().map(|lane| Tip { actor: lane.actor, hlc: lane.hlc, digest: lane.tip }).collect();
        let mut frames: Vec<Frontier> =
            tips.chunks(MAX_TIPS).map(|tips| Frontier { tips: tips.to_vec(), more: true }).collect();
        let mut last = frames.pop().unwrap_or_default();
        last.more = false;
        frames.push(last);
        for frame in frames {
            turn.say(frame);
        }
        Ok(())
    }

    /// The peer tells what it has: with each tip that is here too, it has everything before it.
    pub(super) fn frontier(
        &mut self,
        frontier: &Frontier,
        had: &mut Had,
        taking: &mut Taking,
        turn: &mut Turn<'_>,
    ) -> Step {
        self.heard += frontier.tips.len();
        if self.heard_all || self.heard > MAX_FRONTIER_TIPS {
            return unexpected("a frontier went on behind its end, or without end");
        }
        let digests: Vec<Digest> = frontier.tips.iter().map(|tip| tip.digest).collect();
        let (mut lacking, mut coming) = (Vec::new(), Vec::new());
        for (tip, found) in frontier.tips.iter().zip(turn.log.find(&digests)?) {
            if let Some(placed) = found {
                had.note(turn.log, placed.entry.actor, placed.spot())?;
            } else {
                let is_claimed = taking.claims(tip.actor, tip.digest, turn);
                if is_claimed { &mut lacking } else { &mut coming }.push(tip.digest);
                self.behind.extend(self.tells_of(tip.actor).then_some(tip.actor));
            }
        }
        self.heard_all = !frontier.more;
        turn.say(Lacking { digests: lacking, coming, more: frontier.more });
        Ok(())
    }

    fn tells_of(&self, actor: ActorId) -> bool {
        self.told.binary_search_by_key(&(actor, 0), |lane| (lane.actor, lane.number)).is_ok()
    }

    /// The peer answers a frame of what was told.
    pub(super) fn lacking(&mut self, lacking: Lacking, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        let asked: Vec<Lane> = self.told.iter().skip(self.answered).take(MAX_TIPS).cloned().collect();
        self.answered += asked.len();
        if self.answered_all || lacking.more != (self.answered < self.told.len()) {
            return unexpected("the answer to a frontier does not fit to it");
        }
        let coming: BTreeSet<Digest> = lacking.coming.into_iter().collect();
        let lacking: BTreeSet<Digest> = lacking.digests.into_iter().collect();
        for lane in asked {
            self.coming.extend(coming.contains(&lane.tip).then_some(lane.actor));
            if lacking.contains(&lane.tip) || coming.contains(&lane.tip) {
                self.ahead.insert(lane.actor);
            } else {
                had.note_all(turn.log, &lane)?;
            }
        }
        self.answered_all = self.answered == self.told.len();
        Ok(())
    }

    /// The actors of whom the peer is being given by others what it lacks.
    pub(super) fn coming(&mut self) -> BTreeSet<ActorId> {
        std::mem::take(&mut self.coming)
    }

    /// The actors whose histories are forked, as both sides see it, when everything was told and answered.
    pub(super) fn forked(&mut self) -> Option<BTreeSet<ActorId>> {
        let over = self.heard_all && self.answered_all;
        over.then(|| {
            self.told = Vec::new();
            self.ahead.intersection(&self.behind).copied().collect()
        })
    }
}
