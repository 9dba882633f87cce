//! Giving: what the peer lacks is sent, parents first, and offered where it may have come from somebody else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use openprod_messages::log::{Placed, Spot, Stored};
use openprod_model::bundle::Bundle;
use openprod_model::ids::{ActorId, Digest, Position};
use openprod_wire::replication::{
    Acknowledge, Checkpoint, MAX_CHECKPOINT_BUNDLES, MAX_CHECKPOINT_BYTES, MAX_PART_BYTES, Offer, Part, Want,
};

use super::engine::{Effect, IsOwn, Step, Stretch, Turn, share, unexpected};
use super::had::Had;

/// Most checkpoints and offers that are unanswered. The more of them are under way, the more of them the peer writes and
/// folds at once, which costs half as much for each as doing so one by one.
pub const MAX_FLIGHTS: usize = 32;
/// Most bytes of bundles that are unanswered before the next is sent: what a cut costs, and what the peer has in memory.
pub const MAX_FLIGHT_BYTES: usize = 4 * MAX_CHECKPOINT_BYTES;
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
    /// Bundles that the peer may have, by the last of each lane.
    Hinted,
    /// Each of them by its digest: of their lane's last, the peer lacked.
    Offered,
    /// Digests of bundles that the peer refused, and may have by now.
    Asked,
}

#[derive(Debug, Clone, Copy)]
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
    /// Which of the items were named: all, but for hints.
    named: Vec<usize>,
    bytes: usize,
}

impl Flight {
    /// Whether the peer may lack some of it, and will be asked or given it.
    fn is_open(&self) -> bool {
        matches!(self.sort, Sort::Hinted | Sort::Offered)
    }

    /// The items of the lane whose last is that one.
    fn lane_of(&self, last: usize) -> impl Iterator<Item = Item> + '_ {
        let (actor, lane) = (self.items[last].actor, self.items[last].spot.lane);
        self.items.iter().filter(move |item| (item.actor, item.spot.lane) == (actor, lane)).copied()
    }
}

/// Which of these are the last of their lanes.
fn last_of_lanes(items: &[Item]) -> Vec<usize> {
    let lanes = items.iter().enumerate().map(|(index, item)| ((item.actor, item.spot.lane), index));
    let mut last: Vec<usize> = lanes.collect::<BTreeMap<_, _>>().into_values().collect();
    last.sort_unstable();
    last
}

/// The giving side.
pub(super) struct Giving {
    is_own: IsOwn,
    /// What is looked at next.
    cursor: Position,
    /// Up to here the log reached when the giving began: what the peer lacks of it, it is given without asking.
    known_at_start: Position,
    /// But not of these actors: that the peer is being given by others.
    coming: BTreeSet<ActorId>,
    /// Up to here the peer may be given what it lacks: it has been a member there.
    end: Position,
    numbered: u64,
    flights: VecDeque<Flight>,
    /// To be given before anything else: the peer asked for them by itself.
    wanted: BTreeMap<Position, Digest>,
    /// To be given: of an offer, the peer lacks them.
    owed: BTreeMap<Position, Digest>,
    /// To be offered by their digests: the peer lacks the last of their lanes.
    doubtful: BTreeMap<Position, Item>,
    /// What the peer did not take, or what is damaged here.
    withheld: BTreeSet<Digest>,
    /// Of that, what was damaged here when it was to be given.
    damaged: BTreeSet<Digest>,
    given: u64,
    given_bytes: u64,
}

impl Giving {
    pub(super) fn new(is_own: IsOwn) -> Self {
        Self {
            is_own,
            cursor: Position(1),
            known_at_start: Position::ZERO,
            coming: BTreeSet::new(),
            end: Position::ZERO,
            numbered: 0,
            flights: VecDeque::new(),
            wanted: BTreeMap::new(),
            owed: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            withheld: BTreeSet::new(),
            damaged: BTreeSet::new(),
            given: 0,
            given_bytes: 0,
        }
    }

    /// It is known what the peer has, and of whom others give it what it lacks: bundles begin to flow. What is damaged
    /// here is asked for.
    pub(super) fn begin(&mut self, had: &Had, coming: BTreeSet<ActorId>, turn: &mut Turn<'_>) -> Step {
        self.coming = coming;
        // The end first: what is appended in between is looked at again, which does no harm.
        self.end = turn.through.unwrap_or_default();
        self.known_at_start = self.end;
        self.cursor = had.first_lacking(&turn.log.lanes()?).unwrap_or(self.end.next());
        want_damaged(turn)
    }

    /// Whether everything that the peer lacks was given and answered.
    pub(super) fn is_done(&self) -> bool {
        self.cursor > self.end && self.flights.is_empty() && !self.owes()
    }

    /// Whether there is something to be given or offered besides what lies ahead.
    fn owes(&self) -> bool {
        !(self.wanted.is_empty() && self.owed.is_empty() && self.doubtful.is_empty())
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
    pub(super) fn progress(&self) -> Stretch {
        let ahead = (self.end.0 + 1).saturating_sub(self.cursor.0);
        let under_way = self.flights.iter().filter(|flight| flight.sort == Sort::Given);
        let owed = self.wanted.len() + self.owed.len() + self.doubtful.len();
        let left = ahead + owed as u64 + under_way.map(|flight| flight.items.len() as u64).sum::<u64>();
        Stretch { done: self.given, done_bytes: self.given_bytes, left }
    }

    /// How many bundles are still to be looked at when the one at that position is given.
    fn ahead_of(&self, at: Position) -> u64 {
        let owed = [&self.wanted, &self.owed].map(|owed| owed.range(at.next()..).count() as u64).iter().sum::<u64>();
        (self.end.0 + 1).saturating_sub(self.cursor.0.max(at.0 + 1)) + owed
    }

    fn has_room(&self) -> bool {
        let bytes: usize = self.flights.iter().map(|flight| flight.bytes).sum();
        self.flights.len() < MAX_FLIGHTS && bytes < MAX_FLIGHT_BYTES
    }

    /// The peer may be given more by now.
    pub(super) fn reaches(&mut self, through: Option<Position>) {
        self.end = self.end.max(through.unwrap_or_default());
    }

    /// Sends what may be sent; to a peer that is no member any more, nothing.
    pub(super) fn go_on(&mut self, had: &Had, turn: &mut Turn<'_>) -> Step {
        if turn.through.is_none() {
            return Ok(());
        }
        for _ in 0..PAGES_PER_TURN {
            if !self.has_room() {
                return Ok(());
            }
            let went_on = self.give_owed(turn)? || self.offer_doubtful(turn) || self.give_next(had, turn)?;
            if !went_on {
                return Ok(());
            }
        }
        turn.effects.push(Effect::Again);
        Ok(())
    }

    /// Gives of what the peer lacks; parents first: nothing from behind what it may turn out to lack too. Whether there
    /// was something.
    fn give_owed(&mut self, turn: &mut Turn<'_>) -> Step<bool> {
        let open = self.flights.iter().filter(|flight| flight.is_open()).flat_map(|flight| &flight.items);
        let open = open.map(|item| item.spot.at).chain(self.doubtful.keys().copied()).min();
        let settled = self.owed.range(..open.unwrap_or(self.end.next()));
        let wanted = || self.wanted.range(..=self.end);
        let next = if wanted().next().is_some() { wanted() } else { settled };
        let digests: Vec<Digest> = next.map(|(_, digest)| *digest).take(MAX_CHECKPOINT_BUNDLES).collect();
        if digests.is_empty() {
            return Ok(false);
        }
        let placed: Vec<Placed> = turn.log.find(&digests)?.into_iter().flatten().collect();
        let done = self.give(&placed, turn)?;
        for placed in placed.iter().take(done) {
            self.owed.remove(&placed.at);
            self.wanted.remove(&placed.at);
        }
        Ok(true)
    }

    /// Offers what the peer lacks some of. Whether there was something.
    fn offer_doubtful(&mut self, turn: &mut Turn<'_>) -> bool {
        let items: Vec<Item> = self.doubtful.values().take(MAX_CHECKPOINT_BUNDLES).copied().collect();
        if items.is_empty() {
            return false;
        }
        for item in &items {
            self.doubtful.remove(&item.spot.at);
        }
        self.offer(Sort::Offered, items, turn);
        true
    }

    /// Goes on along the log. Whether there is more to do at once.
    fn give_next(&mut self, had: &Had, turn: &mut Turn<'_>) -> Step<bool> {
        if self.cursor > self.end {
            return Ok(false);
        }
        let mut page = turn.log.placed(self.cursor, MAX_CHECKPOINT_BUNDLES)?;
        page.retain(|placed| placed.at <= self.end);
        let Some(last) = page.last().map(|last| last.at) else {
            // The log ends here, though somebody said otherwise.
            self.end = Position(self.cursor.0 - 1);
            return Ok(false);
        };
        let next = last.next();
        let lacking =
            page.into_iter().filter(|placed| !had.has(placed) && !self.withheld.contains(&placed.entry.digest));
        let (given, hinted): (Vec<Placed>, Vec<Placed>) = lacking.partition(|placed| self.is_given_at_once(placed));
        if hinted.is_empty() {
            return self.give_page(&given, next, turn);
        }
        // What may build on what is offered is given when that is answered.
        self.owed.extend(given.iter().map(|placed| (placed.at, placed.entry.digest)));
        self.offer(Sort::Hinted, hinted.iter().map(Item::of).collect(), turn);
        self.cursor = next;
        Ok(true)
    }

    fn is_given_at_once(&self, placed: &Placed) -> bool {
        let actor = placed.entry.actor;
        let was_here = placed.at <= self.known_at_start;
        if was_here { !self.coming.contains(&actor) } else { (self.is_own)(actor) }
    }

    fn give_page(&mut self, given: &[Placed], next: Position, turn: &mut Turn<'_>) -> Step<bool> {
        // Parents first: what was offered may be wanted, and what comes now may build on it.
        let waits = !given.is_empty() && (self.owes() || self.flights.iter().any(Flight::is_open));
        if waits {
            return Ok(false);
        }
        let done = if given.is_empty() { 0 } else { self.give(given, turn)? };
        self.cursor = given.get(done).map_or(next, |placed| placed.at);
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

    fn send(&mut self, items: Vec<Item>, bundles: &[Arc<Bundle>], remaining: u64, turn: &mut Turn<'_>) {
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
        self.flights.push_back(Flight { number, sort: Sort::Given, named: (0..items.len()).collect(), items, bytes });
    }

    fn offer(&mut self, sort: Sort, items: Vec<Item>, turn: &mut Turn<'_>) {
        let number = self.number();
        let named = if sort == Sort::Hinted { last_of_lanes(&items) } else { (0..items.len()).collect() };
        turn.say(Offer { number, digests: named.iter().map(|index| items[*index].digest).collect() });
        self.flights.push_back(Flight { number, sort, items, named, bytes: 0 });
    }

    /// The peer answers the oldest of what is unanswered.
    pub(super) fn acknowledged(&mut self, answer: &Acknowledge, had: &mut Had, turn: &mut Turn<'_>) -> Step {
        let Some(flight) = self.flights.pop_front().filter(|flight| flight.number == answer.number) else {
            return unexpected("something was acknowledged that was not the next to be");
        };
        // Of what was refused, some was taken since: what builds on it can be taken too.
        let is_better = flight.sort == Sort::Asked && answer.lacking.len() < flight.items.len();
        let sort = if is_better { Sort::Offered } else { flight.sort };
        let given_before = self.given;
        for (index, named) in (0..).zip(&flight.named) {
            let item = flight.items[*named];
            if !answer.lacking.contains(&index) {
                self.given += u64::from(sort == Sort::Given);
                self.withheld.remove(&item.digest);
                had.note(turn.log, item.actor, item.spot)?;
            } else if sort == Sort::Hinted {
                self.is_doubtful(flight.lane_of(*named).collect())?;
            } else {
                self.is_lacking(sort, &item)?;
            }
        }
        self.given_bytes += share(flight.bytes as u64, self.given - given_before, flight.items.len().max(1) as u64);
        Ok(())
    }

    fn is_lacking(&mut self, sort: Sort, item: &Item) -> Step {
        match sort {
            Sort::Given => {
                self.withhold(item.digest);
            }
            Sort::Hinted | Sort::Offered => {
                self.withheld.remove(&item.digest);
                self.may_owe()?;
                self.owed.insert(item.spot.at, item.digest);
            }
            Sort::Asked => {}
        }
        Ok(())
    }

    /// The peer lacks the last of these, and who knows what of the others.
    fn is_doubtful(&mut self, items: Vec<Item>) -> Step {
        if let [item] = items.as_slice() {
            return self.is_lacking(Sort::Offered, item);
        }
        self.may_owe()?;
        self.doubtful.extend(items.into_iter().map(|item| (item.spot.at, item)));
        Ok(())
    }

    fn may_owe(&self) -> Step {
        if self.wanted.len() + self.owed.len() + self.doubtful.len() < MAX_OWED {
            return Ok(());
        }
        unexpected("more bundles are wanted than can be owed")
    }

    /// The peer wants these, whatever was given before.
    pub(super) fn wanted(&mut self, digests: &[Digest], turn: &mut Turn<'_>) -> Step {
        for placed in turn.log.find(digests)?.into_iter().flatten() {
            self.may_owe()?;
            self.wanted.insert(placed.at, placed.entry.digest);
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
