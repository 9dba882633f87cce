//! Taking: what the peer gives is handed to the oplog, one checkpoint after the other, and acknowledged in order.

use std::collections::{BTreeSet, VecDeque};

use openprod_messages::oplog::Admitted;
use openprod_model::bundle;
use openprod_model::ids::Digest;
use openprod_wire::replication::{Acknowledge, Checkpoint, MAX_DIGESTS, Offer, Part, Want};

use super::engine::{Effect, Step, Turn, unexpected};
use super::giving::MAX_FLIGHTS;
use super::had::Had;

/// Most missing ancestors that are asked for in one conversation: each once.
const MAX_ASKED: usize = 65_536;

/// What waits for its turn.
#[derive(Debug)]
enum Work {
    Admit(Vec<Vec<u8>>),
    Offer(Vec<Digest>),
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
    /// The checkpoint that the oplog has in hand.
    in_hand: Option<u64>,
    assembly: Option<Assembly>,
    asked: BTreeSet<Digest>,
    has_refused: bool,
    taken: u64,
    to_take: u64,
}

impl Taking {
    /// Whether nothing is under way.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.in_hand.is_none() && self.assembly.is_none()
    }

    /// Whether something was not taken.
    pub(super) fn has_refused(&self) -> bool {
        self.has_refused
    }

    /// How many were taken, and how many the peer has still to look at.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.taken, self.to_take)
    }

    fn queued(&mut self, number: u64, work: Work) -> Step {
        let under_way = self.queue.len() + usize::from(self.in_hand.is_some());
        if number != self.last + 1 || under_way >= MAX_FLIGHTS || self.assembly.is_some() {
            return unexpected("something was given out of turn");
        }
        self.last = number;
        self.queue.push_back((number, work));
        Ok(())
    }

    pub(super) fn checkpoint(&mut self, checkpoint: Checkpoint) -> Step {
        self.to_take = checkpoint.remaining;
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
        self.to_take = part.remaining;
        if length < total {
            self.assembly = Some(assembly);
            return Ok(());
        }
        self.queued(part.number, Work::Admit(vec![assembly.bytes]))
    }

    /// Hands on what is next, if nothing is in hand.
    pub(super) fn go_on(&mut self, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        while self.in_hand.is_none() {
            let Some((number, work)) = self.queue.pop_front() else { return Ok(()) };
            match work {
                Work::Offer(digests) if is_coming(&digests, turn)? => {
                    self.queue.push_front((number, Work::Offer(digests)));
                    return Ok(());
                }
                Work::Offer(digests) => answer(number, &digests, had, turn)?,
                Work::Admit(bundles) => {
                    self.in_hand = Some(number);
                    let digests = bundles.iter().filter_map(|bytes| bundle::digest_in(bytes)).collect();
                    had.note_in_hand(Some(turn.under_way.take(digests)));
                    turn.effects.push(Effect::Admit(bundles));
                }
            }
        }
        Ok(())
    }

    /// What was in hand is durable and folded.
    pub(super) fn admitted(&mut self, admitted: &Admitted, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        let Some(number) = self.in_hand.take() else { return Ok(()) };
        for placed in turn.log.find(&admitted.held)?.into_iter().flatten() {
            had.note(turn.log, placed.entry.actor, placed.spot())?;
        }
        had.note_in_hand(None);
        self.taken += admitted.appended;
        self.has_refused |= !admitted.unheld.is_empty();
        let lacking = admitted.unheld.iter().filter_map(|index| u16::try_from(*index).ok()).collect();
        turn.say(Acknowledge { number, lacking });
        self.ask_for(&admitted.missing, turn);
        Ok(())
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

/// Whether something that is offered is in another conversation's hand: the answer waits until that is decided.
fn is_coming(digests: &[Digest], turn: &Turn<'_>) -> Step<bool> {
    let coming: Vec<Digest> = digests.iter().copied().filter(|digest| turn.under_way.holds(*digest)).collect();
    Ok(turn.log.find(&coming)?.iter().any(Option::is_none))
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
