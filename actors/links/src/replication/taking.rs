//! Taking: what the peer gives is handed to the oplog, checkpoint after checkpoint, and each is acknowledged in its turn
//! once it is durable and folded. While one is folded, the next is written, and the one behind it judged.

use std::collections::{BTreeSet, VecDeque};

use openprod_messages::oplog::Admitted;
use openprod_model::bundle;
use openprod_model::ids::{ActorId, Digest};
use openprod_wire::replication::{Acknowledge, Checkpoint, MAX_DIGESTS, Offer, Part, Want};

use super::engine::{Effect, Step, Stretch, Turn, share, unexpected};
use super::giving::{MAX_FLIGHT_BYTES, MAX_FLIGHTS};
use super::had::Had;
use super::under_way::Claim;

/// Most missing ancestors that are asked for in one conversation: each once.
const MAX_ASKED: usize = 65_536;

/// What waits for its turn.
#[derive(Debug)]
enum Work {
    Admit(Vec<Vec<u8>>),
    Offer(Vec<Digest>),
}

impl Work {
    /// How many bundles it brings, and their bytes.
    fn size(&self) -> (u64, u64) {
        match self {
            Self::Admit(bundles) => (bundles.len() as u64, bundles.iter().map(|bundle| bundle.len() as u64).sum()),
            Self::Offer(_) => (0, 0),
        }
    }
}

/// A checkpoint that the oplog has in hand.
#[derive(Debug)]
struct InHand {
    number: u64,
    bundles: u64,
    bytes: u64,
}

/// A large bundle of which parts have come.
#[derive(Debug)]
struct Assembly {
    total: usize,
    bytes: Vec<u8>,
}

/// The taking side.
#[derive(Debug, Default)]
pub(super) struct Taking {
    /// The number of what came last.
    last: u64,
    queue: VecDeque<(u64, Work)>,
    /// The checkpoints that the oplog has in hand, as they came. No more than the peer may have unanswered.
    in_hand: VecDeque<InHand>,
    assembly: Option<Assembly>,
    /// What this conversation fetches for all, once it is known whether it does.
    claim: Option<Claim>,
    /// How many were taken at the last tick.
    ticked: u64,
    asked: BTreeSet<Digest>,
    has_refused: bool,
    taken: u64,
    taken_bytes: u64,
    /// How many bundles the peer has still to look at.
    to_come: u64,
}

impl Taking {
    /// Whether nothing is under way.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.in_hand.is_empty() && self.assembly.is_none()
    }

    /// Whether something was not taken.
    pub(super) fn has_refused(&self) -> bool {
        self.has_refused
    }

    /// How many were taken, and how many are still to be.
    pub(super) fn progress(&self) -> Stretch {
        let came: u64 = self.under_way().map(|(bundles, _)| bundles).sum();
        Stretch { done: self.taken, done_bytes: self.taken_bytes, left: self.to_come.saturating_add(came) }
    }

    /// What came and is not answered: how many bundles, and their bytes.
    fn under_way(&self) -> impl Iterator<Item = (u64, u64)> {
        let queued = self.queue.iter().map(|(_, work)| work.size());
        queued.chain(self.in_hand.iter().map(|one| (one.bundles, one.bytes)))
    }

    /// The peer has a history that is not here: whether it is to give that, and no other is.
    pub(super) fn claims(&mut self, actor: ActorId, tip: Digest, turn: &Turn<'_>) -> bool {
        self.claim.get_or_insert_with(|| turn.under_way.claim()).takes(actor, tip)
    }

    /// What it fetched, others may ask for.
    pub(super) fn claims_nothing(&mut self) {
        if let Some(claim) = &self.claim {
            claim.gives_up();
        }
    }

    /// What this conversation fetches may have come from elsewhere, and then the peer does not give it.
    pub(super) fn pause(&mut self, turn: &Turn<'_>) -> Step {
        let Some(claim) = &self.claim else { return Ok(()) };
        let awaited = claim.awaited();
        let found = awaited.iter().zip(turn.log.find(&awaited)?).filter(|(_, found)| found.is_some());
        claim.settles(found.map(|(digest, _)| *digest));
        Ok(())
    }

    /// Time has passed. From a peer that gives nothing of what it has, nobody waits for more.
    pub(super) fn tick(&mut self) {
        if std::mem::replace(&mut self.ticked, self.taken) == self.taken {
            self.claims_nothing();
        }
    }

    /// Whether what another conversation fetches is to be waited for.
    fn waits(&mut self, turn: &Turn<'_>) -> bool {
        self.claim.get_or_insert_with(|| turn.under_way.claim()).waits()
    }

    fn queued(&mut self, number: u64, work: Work) -> Step {
        let (flights, bytes) = self.under_way().fold((0, 0), |(flights, all), (_, bytes)| (flights + 1, all + bytes));
        let is_full = flights >= MAX_FLIGHTS || bytes >= MAX_FLIGHT_BYTES as u64;
        if number != self.last + 1 || is_full || self.assembly.is_some() {
            return unexpected("something was given out of turn");
        }
        self.last = number;
        self.queue.push_back((number, work));
        Ok(())
    }

    pub(super) fn checkpoint(&mut self, checkpoint: Checkpoint) -> Step {
        self.to_come = checkpoint.remaining;
        self.queued(checkpoint.number, Work::Admit(checkpoint.bundles))
    }

    pub(super) fn offer(&mut self, offer: Offer) -> Step {
        self.queued(offer.number, Work::Offer(offer.digests))
    }

    pub(super) fn part(&mut self, part: Part) -> Step {
        let total = part.total as usize;
        let mut assembly = self.assembly.take().unwrap_or(Assembly { total, bytes: Vec::new() });
        let length = assembly.bytes.len() + part.bytes.len();
        if part.number != self.last + 1 || total != assembly.total || length > total {
            return unexpected("a part of a large bundle does not fit to the one before");
        }
        assembly.bytes.extend(part.bytes);
        self.to_come = part.remaining;
        if length < total {
            self.assembly = Some(assembly);
            return Ok(());
        }
        self.queued(part.number, Work::Admit(vec![assembly.bytes]))
    }

    /// Hands on what is next. An offer is answered when everything before it is.
    pub(super) fn go_on(&mut self, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        while let Some((number, work)) = self.queue.pop_front() {
            let (count, bytes) = work.size();
            match work {
                Work::Offer(digests) if !self.in_hand.is_empty() || self.is_coming(&digests, turn)? => {
                    self.queue.push_front((number, Work::Offer(digests)));
                    return Ok(());
                }
                Work::Offer(digests) => answer(number, &digests, had, turn)?,
                Work::Admit(bundles) => {
                    self.in_hand.push_back(InHand { number, bundles: count, bytes });
                    let digests = bundles.iter().filter_map(|bytes| bundle::digest_in(bytes)).collect();
                    had.note_in_hand(turn.under_way.take(digests));
                    turn.effects.push(Effect::Admit(bundles));
                }
            }
        }
        Ok(())
    }

    /// What was in hand first is durable and folded.
    pub(super) fn admitted(&mut self, admitted: &Admitted, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        let Some(InHand { number, bundles, bytes }) = self.in_hand.pop_front() else { return Ok(()) };
        for held in &admitted.held {
            had.note(turn.log, held.actor, held.spot)?;
        }
        had.is_judged();
        self.taken += admitted.appended;
        self.taken_bytes += share(bytes, admitted.appended.min(bundles), bundles.max(1));
        if !admitted.unheld.is_empty() {
            self.has_refused = true;
            self.claims_nothing();
        } else if let Some(claim) = &self.claim {
            claim.settles(admitted.held.iter().map(|held| held.digest));
        }
        let lacking = admitted.unheld.iter().filter_map(|index| u16::try_from(*index).ok()).collect();
        turn.say(Acknowledge { number, lacking });
        self.ask_for(&admitted.missing, turn);
        Ok(())
    }

    /// Whether something that is offered is in another conversation's hand, or may be fetched by one: the answer waits
    /// until that is decided.
    fn is_coming(&mut self, digests: &[Digest], turn: &Turn<'_>) -> Step<bool> {
        if self.waits(turn) {
            return Ok(turn.log.find(digests)?.iter().any(Option::is_none));
        }
        let coming: Vec<Digest> = digests.iter().copied().filter(|digest| turn.under_way.holds(*digest)).collect();
        Ok(turn.log.find(&coming)?.iter().any(Option::is_none))
    }

    fn ask_for(&mut self, missing: &[Digest], turn: &mut Turn<'_>) {
        let room = MAX_ASKED.saturating_sub(self.asked.len()).min(MAX_DIGESTS);
        let digests: Vec<Digest> = missing.iter().copied().filter(|digest| !self.asked.contains(digest)).collect();
        let digests: Vec<Digest> = digests.into_iter().take(room).collect();
        self.asked.extend(&digests);
        if !digests.is_empty() {
            turn.say(Want { digests });
        }
    }
}

/// What is offered, the peer has.
fn answer(number: u64, digests: &[Digest], had: &mut Had, turn: &mut Turn<'_>) -> Step {
    let mut lacking = Vec::new();
    for (index, found) in (0..).zip(turn.log.find(digests)?) {
        match found {
            Some(placed) => had.note(turn.log, placed.entry.actor, placed.spot())?,
            None => lacking.push(index),
        }
    }
    turn.say(Acknowledge { number, lacking });
    Ok(())
}
