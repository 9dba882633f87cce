//! Giving: what the peer lacks is sent, parents first, and offered where it may have come from somebody else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use openprod_messages::log::{Placed, Spot, Stored};
use openprod_model::bundle::Bundle;
use openprod_model::ids::{ActorId, Digest, Position};
use openprod_wire::replication::{
    Acknowledge, Checkpoint, MAX_CHECKPOINT_BUNDLES, MAX_CHECKPOINT_BYTES, MAX_PART_BYTES, Offer, Part, Want,
};

use super::engine::{Effect, IsOwn, Step, Turn, unexpected};
use super::had::Had;

/// Most checkpoints and offers that are unanswered: enough that the link is busy while the peer writes, and few enough
/// that a cut costs little.
pub const MAX_FLIGHTS: usize = 4;
/// Most bytes of bundles that are unanswered before the next is sent.
const MAX_FLIGHT_BYTES: usize = MAX_FLIGHTS * MAX_CHECKPOINT_BYTES;
/// Most pages of the log that are looked through in one turn.
const PAGES_PER_TURN: usize = 16;
/// Most bundles that a peer may want at a time beyond what it is given by itself.
const MAX_OWED: usize = 65_536;
/// Most bundles that are remembered as refused by the peer.
const MAX_WITHHELD: usize = 65_536;
/// Most damaged bundles that are asked for at once.
const MAX_DAMAGED: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Bundles.
    Given,
    /// Digests of bundles that the peer may have.
    Offered,
    /// Digests of bundles that the peer refused, and may have by now.
    Asked,
}

#[derive(Debug)]
struct Item {
    digest: Digest,
    actor: ActorId,
    spot: Spot,
}

impl Item {
    fn of(placed: &Placed) -> Self {
        Self { digest: placed.entry.digest, actor: placed.entry.actor, spot: placed.spot() }
    }
}

/// The peer may have good copies of what is damaged here.
fn want_damaged(turn: &mut Turn<'_>) -> Step {
    let digests = turn.log.damaged(MAX_DAMAGED)?;
    if !digests.is_empty() {
        turn.say(Want { digests });
    }
    Ok(())
}

/// What is unanswered.
#[derive(Debug)]
struct Flight {
    number: u64,
    sort: Sort,
    items: Vec<Item>,
    bytes: usize,
}

/// The giving side.
pub(super) struct Giving {
    is_own: IsOwn,
    /// What is looked at next.
    cursor: Position,
    /// Up to here the log reached when the giving began: what the peer lacks of it, it is given without asking.
    known_at_start: Position,
    end: Position,
    numbered: u64,
    flights: VecDeque<Flight>,
    /// To be given before anything else.
    owed: BTreeMap<Position, Digest>,
    /// What the peer did not take, or what is damaged here.
    withheld: BTreeSet<Digest>,
    /// Of that, what was damaged here when it was to be given.
    damaged: BTreeSet<Digest>,
    given: u64,
}

/// What the next frame carries.
struct Batch {
    sort: Sort,
    placed: Vec<Placed>,
    /// Where to go on behind all of it.
    next: Position,
}

impl Giving {
    pub(super) fn new(is_own: IsOwn) -> Self {
        Self {
            is_own,
            cursor: Position(1),
            known_at_start: Position::ZERO,
            end: Position::ZERO,
            numbered: 0,
            flights: VecDeque::new(),
            owed: BTreeMap::new(),
            withheld: BTreeSet::new(),
            damaged: BTreeSet::new(),
            given: 0,
        }
    }

    /// It is known what the peer has: bundles begin to flow. What is damaged here is asked for.
    pub(super) fn begin(&mut self, had: &Had, turn: &mut Turn<'_>) -> Step {
        // The end first: what is appended in between is looked at again, which does no harm.
        self.end = self.end.max(turn.log.tail()?.position);
        self.known_at_start = self.end;
        self.cursor = had.first_lacking(&turn.log.lanes()?).unwrap_or(self.end.next());
        want_damaged(turn)
    }

    pub(super) fn appended(&mut self, through: Position) {
        self.end = self.end.max(through);
    }

    /// Whether everything that the peer lacks was given and answered.
    pub(super) fn is_done(&self) -> bool {
        self.cursor > self.end && self.flights.is_empty() && self.owed.is_empty()
    }

    /// Whether there is something that the peer did not take.
    pub(super) fn withholds(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// The logs are equal: the peer has everything.
    pub(super) fn is_settled(&mut self) {
        self.withheld.clear();
    }

    /// How many were given, and how many are to be looked at.
    pub(super) fn progress(&self) -> (u64, u64) {
        let ahead = (self.end.0 + 1).saturating_sub(self.cursor.0);
        let under_way = self.flights.iter().filter(|flight| flight.sort == Sort::Given);
        (self.given, ahead + self.owed.len() as u64 + under_way.map(|flight| flight.items.len() as u64).sum::<u64>())
    }

    /// How many bundles are still to be looked at when the one at that position is given.
    fn ahead_of(&self, at: Position) -> u64 {
        let owed = self.owed.range(at.next()..).count() as u64;
        (self.end.0 + 1).saturating_sub(self.cursor.0.max(at.0 + 1)) + owed
    }

    fn has_room(&self) -> bool {
        let bytes: usize = self.flights.iter().map(|flight| flight.bytes).sum();
        self.flights.len() < MAX_FLIGHTS && bytes < MAX_FLIGHT_BYTES
    }

    /// Sends what may be sent.
    pub(super) fn go_on(&mut self, had: &Had, turn: &mut Turn<'_>) -> Step {
        for _ in 0..PAGES_PER_TURN {
            if !self.has_room() {
                return Ok(());
            }
            if self.owed.is_empty() {
                if self.cursor > self.end || !self.give_next(had, turn)? {
                    return Ok(());
                }
            } else {
                self.give_owed(turn)?;
            }
        }
        turn.effects.push(Effect::Again);
        Ok(())
    }

    fn give_owed(&mut self, turn: &mut Turn<'_>) -> Step {
        let digests: Vec<Digest> = self.owed.values().take(MAX_CHECKPOINT_BUNDLES).copied().collect();
        let placed: Vec<Placed> = turn.log.find(&digests)?.into_iter().flatten().collect();
        let done = self.give(&placed, turn)?;
        for placed in placed.iter().take(done) {
            self.owed.remove(&placed.at);
        }
        Ok(())
    }

    /// Goes on along the log. Whether there is more to do at once.
    fn give_next(&mut self, had: &Had, turn: &mut Turn<'_>) -> Step<bool> {
        let page = turn.log.placed(self.cursor, MAX_CHECKPOINT_BUNDLES)?;
        let Some(last) = page.last().map(|last| last.at) else {
            // The log ends here, though somebody said otherwise.
            self.end = Position(self.cursor.0 - 1);
            return Ok(false);
        };
        let Some(batch) = self.batch(page, had, last.next()) else {
            self.cursor = last.next();
            return Ok(true);
        };
        match batch.sort {
            Sort::Given => self.give_batch(&batch, turn),
            Sort::Offered | Sort::Asked => {
                self.offer(batch.sort, batch.placed.iter().map(Item::of).collect(), turn);
                self.cursor = batch.next;
                Ok(true)
            }
        }
    }

    /// The bundles at the beginning of a page that go into one frame.
    fn batch(&self, page: Vec<Placed>, had: &Had, end: Position) -> Option<Batch> {
        let mut batch: Option<Batch> = None;
        for placed in page {
            if had.has(&placed) || self.withheld.contains(&placed.entry.digest) {
                continue;
            }
            let sort = self.sort_of(&placed);
            let batch = batch.get_or_insert(Batch { sort, placed: Vec::new(), next: end });
            if batch.sort != sort {
                batch.next = placed.at;
                break;
            }
            batch.placed.push(placed);
        }
        batch
    }

    fn sort_of(&self, placed: &Placed) -> Sort {
        let at_once = placed.at <= self.known_at_start || (self.is_own)(placed.entry.actor);
        if at_once { Sort::Given } else { Sort::Offered }
    }

    fn give_batch(&mut self, batch: &Batch, turn: &mut Turn<'_>) -> Step<bool> {
        // Parents first: what was offered may be wanted, and what comes now may build on it.
        if self.flights.iter().any(|flight| flight.sort == Sort::Offered) {
            return Ok(false);
        }
        let done = self.give(&batch.placed, turn)?;
        self.cursor = batch.placed.get(done).map_or(batch.next, |placed| placed.at);
        Ok(true)
    }

    /// Sends as many of these as fit into a checkpoint: how many are done with.
    fn give(&mut self, placed: &[Placed], turn: &mut Turn<'_>) -> Step<usize> {
        let at: Vec<Position> = placed.iter().map(|placed| placed.at).collect();
        let selected = turn.log.select(&at, MAX_CHECKPOINT_BYTES)?;
        let done = selected.len();
        let (mut items, mut bundles) = (Vec::new(), Vec::new());
        for (placed, (at, stored)) in placed.iter().zip(selected) {
            match stored {
                Stored::Whole(bundle) => {
                    items.push(Item::of(placed));
                    bundles.push(bundle);
                }
                Stored::Damaged { reason, .. } => self.is_damaged(placed.entry.digest, at, reason, turn),
            }
        }
        let ahead = placed.get(done.saturating_sub(1)).map_or(0, |last| self.ahead_of(last.at));
        if !items.is_empty() {
            self.send(items, &bundles, ahead, turn);
        }
        Ok(done.max(1))
    }

    /// The peer may have a good copy.
    fn is_damaged(&mut self, digest: Digest, at: Position, reason: String, turn: &mut Turn<'_>) {
        turn.effects.push(Effect::Damaged { at, reason });
        if self.withhold(digest) {
            self.damaged.insert(digest);
            turn.say(Want { digests: vec![digest] });
        }
    }

    fn withhold(&mut self, digest: Digest) -> bool {
        self.withheld.len() < MAX_WITHHELD && self.withheld.insert(digest)
    }

    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    #[allow(clippy::vec_box)] // As the log gives them.
    fn send(&mut self, items: Vec<Item>, bundles: &[Box<Bundle>], remaining: u64, turn: &mut Turn<'_>) {
        let number = self.number();
        let bytes: usize = bundles.iter().map(|bundle| bundle.bytes().len()).sum();
        if bytes <= MAX_CHECKPOINT_BYTES {
            let bundles = bundles.iter().map(|bundle| bundle.bytes().to_vec()).collect();
            turn.say(Checkpoint { number, remaining, bundles });
        } else {
            // One alone is more than a checkpoint holds.
            let whole: &[u8] = bundles[0].bytes();
            let total = u32::try_from(whole.len()).expect("a bundle is of at most 16 MiB");
            for part in whole.chunks(MAX_PART_BYTES) {
                turn.say(Part { number, remaining, total, bytes: part.to_vec() });
            }
        }
        self.flights.push_back(Flight { number, sort: Sort::Given, items, bytes });
    }

    fn offer(&mut self, sort: Sort, items: Vec<Item>, turn: &mut Turn<'_>) {
        let number = self.number();
        turn.say(Offer { number, digests: items.iter().map(|item| item.digest).collect() });
        self.flights.push_back(Flight { number, sort, items, bytes: 0 });
    }

    /// The peer answers the oldest of what is unanswered.
    pub(super) fn acknowledged(&mut self, answer: &Acknowledge, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        let Some(flight) = self.flights.pop_front().filter(|flight| flight.number == answer.number) else {
            return unexpected("something was acknowledged that was not the next to be");
        };
        // Of what was refused, some was taken since: what builds on it can be taken too.
        let is_better = flight.sort == Sort::Asked && answer.lacking.len() < flight.items.len();
        let sort = if is_better { Sort::Offered } else { flight.sort };
        for (index, item) in (0..).zip(flight.items) {
            if answer.lacking.contains(&index) {
                self.is_lacking(sort, &item)?;
            } else {
                self.given += u64::from(sort == Sort::Given);
                self.withheld.remove(&item.digest);
                had.note(turn.log, item.actor, item.spot)?;
            }
        }
        Ok(())
    }

    fn is_lacking(&mut self, sort: Sort, item: &Item) -> Step {
        match sort {
            Sort::Given => {
                self.withhold(item.digest);
            }
            Sort::Offered => {
                self.withheld.remove(&item.digest);
                self.owe(item.spot.at, item.digest)?;
            }
            Sort::Asked => {}
        }
        Ok(())
    }

    fn owe(&mut self, at: Position, digest: Digest) -> Step {
        if self.owed.len() >= MAX_OWED {
            return unexpected("more bundles are wanted than can be owed");
        }
        self.owed.insert(at, digest);
        Ok(())
    }

    /// The peer wants these, whatever was given before.
    pub(super) fn wanted(&mut self, digests: &[Digest], turn: &mut Turn<'_>) -> Step {
        for placed in turn.log.find(digests)?.into_iter().flatten() {
            self.owe(placed.at, placed.entry.digest)?;
        }
        Ok(())
    }

    /// What was damaged may be whole again, and the peer may have from elsewhere by now what it refused.
    pub(super) fn ask_again(&mut self, turn: &mut Turn<'_>) -> Step {
        want_damaged(turn)?;
        let damaged: Vec<Digest> = std::mem::take(&mut self.damaged).into_iter().collect();
        self.withheld.retain(|digest| !damaged.contains(digest));
        self.wanted(&damaged, turn)?;
        if !self.is_done() || self.withheld.is_empty() {
            return Ok(());
        }
        let digests: Vec<Digest> = self.withheld.iter().take(MAX_CHECKPOINT_BUNDLES).copied().collect();
        let items: Vec<Item> = turn.log.find(&digests)?.iter().flatten().map(Item::of).collect();
        if !items.is_empty() {
            self.offer(Sort::Asked, items, turn);
        }
        Ok(())
    }
}
