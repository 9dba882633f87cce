//! A story: machines that run all the time, people who write on them, faults, and at the end a healing after which
//! everything must be as it was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openprod_links::transport::IDLE_TIMEOUT;
use openprod_links::transport::memory::Ether;
use openprod_messages::commands::{CommandsMsg, Founding};
use openprod_messages::log::{Lanes as _, LogReader};
use openprod_model::ids::{ActorId, CommandId, Digest};
use openprod_model::value::Text;
use openprod_node::workspace::Workspace;
use tokio::time::Instant;

use super::clients::{Answer, Desk, Said};
use super::faults::{Backup, Cure, Found};
use super::files::Files;
use super::judges::{Judges, board_is_right, is_vouched_for};
use super::machine::{Bunch, Machine, node_keys};
use super::nature::Nature;
use super::strangers::is_stranger;
use super::tape::Tape;
use crate::convergence::chance::Dice;
use crate::convergence::company::{Verdict, ensure};
use crate::convergence::meeting::{Present, all_is_well};
use crate::convergence::plan::UNKNOWN;
use crate::convergence::replica::{Cast, Disks};

/// The most machines of a story, with copies and guests. All but the guests' keys are members from the beginning.
pub(super) const MOST_MACHINES: usize = 7;
/// How soon after healing all must be equal, and say so, where discovery tells nodes of each other.
const CONVERGENCE: Duration = Duration::from_secs(30);
/// The same without discovery: whoever could not be reached is dialled again within a minute.
const CONVERGENCE_UNTOLD: Duration = Duration::from_secs(100);
/// The same where somebody misbehaved, who is not dialled for five minutes.
const CONVERGENCE_UNWELCOME: Duration = Duration::from_secs(400);
/// The tasks of a node that is at rest: one for each of its rooms, and a few.
const TASKS_OF_A_NODE: usize = 24;
/// The tasks of one end of a link, likewise.
const TASKS_OF_A_LINK: usize = 10;
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long somebody may go on speaking with a machine that he knows to be removed: what changes is told after a moment.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often the first machine may have to let somebody in again at the end: each may have removed each meanwhile.
const MOST_LET_IN: usize = MOST_MACHINES * MOST_MACHINES;
/// How long clients may take to get their last answers once everything is well.
const ANSWERS: Duration = Duration::from_mins(2);
/// Who waits to see himself as a member is let in at one look in so many, which is long enough for the one before.
const LETS_IN_AT: usize = 40;
/// The state is compared with the oracle at one look in so many.
const THOROUGH: usize = 12;

/// Everything that a story is.
pub(super) struct Story {
    pub(super) dice: Dice,
    pub(super) ether: Ether,
    pub(super) machines: Vec<Machine>,
    pub(super) cures: Vec<(Instant, Cure)>,
    pub(super) backups: Vec<Backup>,
    pub(super) files: Files,
    /// The numbers of machines that nobody knows at the beginning: they join by a ticket.
    pub(super) guests: BTreeSet<usize>,
    /// Who has joined and has not been welcomed.
    newcomers: Vec<usize>,
    /// Since when one machine speaks with another that it knows to be removed.
    last_words: BTreeMap<(usize, usize), Instant>,
    /// Who lies, or has lied to somebody who does not know it yet.
    pub(super) liars: BTreeSet<usize>,
    pub(super) tape: Tape,
    pub(super) judges: Judges,
    pub(super) begin: Instant,
    /// Whether discovery works, or nodes know each other from before only.
    pub(super) is_told: bool,
    pub(super) cast: Arc<Cast>,
    pub(super) desk: Desk,
    pub(super) commands: u64,
    pub(super) acknowledged: BTreeSet<Digest>,
    /// How often the first machine has let somebody in again at the end.
    let_in: usize,
    /// Whether somebody has lied, or bundles were lost for ever with an old copy.
    pub(super) is_excused: bool,
    /// The longest that it took to be equal after a healing.
    pub(super) slowest: Duration,
}

impl Story {
    /// Machines that have just begun to hear of each other; the first of them has founded the workspace.
    pub(super) async fn begins(seed: u64) -> Result<Self, String> {
        let mut dice = Dice(seed);
        let (people, is_told) = (3 + dice.below(3), !dice.one_in(4));
        let begin = Instant::now();
        let mut story = Self {
            ether: Ether::default(),
            machines: Vec::new(),
            cures: Vec::new(),
            backups: Vec::new(),
            files: Files::default(),
            guests: (people..MOST_MACHINES).filter(|_| dice.one_in(2)).collect(),
            newcomers: Vec::new(),
            last_words: BTreeMap::new(),
            liars: BTreeSet::new(),
            tape: Tape::new(),
            judges: Judges::default(),
            begin,
            is_told,
            cast: Cast::of(people),
            desk: Desk::default(),
            commands: 0,
            acknowledged: BTreeSet::new(),
            let_in: 0,
            is_excused: false,
            slowest: Duration::ZERO,
            dice,
        };
        for number in 0..people {
            story.adds(number, Disks::default());
        }
        let hoarder = story.dice.below(2 * people);
        story.machines.iter_mut().for_each(|machine| machine.keeps_all_files = machine.number == hoarder);
        let ignorant = story.dice.below(people);
        story.machines[ignorant].unknown = story.dice.pick(&UNKNOWN).unwrap_or_default();
        story.packets_take_time();
        for at in 0..people {
            story.switches_on(at).await?;
        }
        story.founds().await?;
        if is_told {
            story.tells_of_each_other();
        } else {
            for at in 0..people {
                story.names_the_others_to(at).await;
            }
        }
        Ok(story)
    }

    fn adds(&mut self, person: usize, disks: Disks) {
        let number = self.machines.len();
        let keys = Bunch(vec![node_keys(number).clone(), self.cast.0[person].clone()]);
        let nature = Nature::of(self.begin, Dice(self.dice.roll()));
        self.machines.push(Machine::new(number, keys, nature, disks, &self.ether));
    }

    async fn founds(&mut self) -> Verdict {
        let (name, founder_name) = (Text::new("Hamlet").unwrap(), Text::new("Mara").unwrap());
        let known = (0..MOST_MACHINES).filter(|number| !self.guests.contains(number));
        let nodes = known.map(|number| (node_keys(number).actor(), Text::new("Node").unwrap()));
        let founder = self.cast.actor(0);
        let founding = Founding { name, founder, founder_name, besides: nodes.collect(), recovery: None };
        let (command, founding) = (CommandId::from_bytes([0; 16]), Box::new(founding));
        let workspace = self.machines[0].workspace().ok_or("it is down")?.clone();
        let found = workspace.commands.call(|reply| CommandsMsg::Found { command, founding, reply }).await;
        let outcome = found.map_err(|none| none.to_string())?.map_err(|error| error.to_string())?;
        self.acknowledged.insert(outcome.answer.digest);
        self.asks_for_the_beginning();
        self.answers_come_in().await
    }

    /// On good days, too, packets are under way for a while, and some longer than others.
    fn packets_take_time(&mut self) {
        for (from, to) in (0..MOST_MACHINES).flat_map(|from| (0..MOST_MACHINES).map(move |to| (from, to))) {
            self.calms(from, to);
        }
    }

    fn calms(&mut self, from: usize, to: usize) {
        let delay = Duration::from_millis(self.dice.below(4) as u64);
        self.is_under_way(from, to, delay, 3);
    }

    /// From now on frames take so long from one machine to another, and each up to so many milliseconds longer.
    pub(super) fn is_under_way(&mut self, from: usize, to: usize, delay: Duration, most_ms: usize) {
        let draws = Mutex::new(Dice(self.dice.roll()));
        self.ether.change(node_keys(from).actor(), node_keys(to).actor(), |weather| {
            weather.delay = delay;
            weather.strays = Some(Arc::new(move || Duration::from_millis(draws.lock().unwrap().below(most_ms) as u64)));
        });
    }

    /// Discovery works: everybody hears of everybody.
    fn tells_of_each_other(&mut self) {
        for at in 0..self.machines.len() {
            (0..self.machines.len()).filter(|other| *other != at).for_each(|other| self.machines[at].hears_of(other));
        }
    }

    /// Where discovery does not work, somebody names all others by their addresses.
    pub(super) async fn names_the_others_to(&self, at: usize) {
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            self.machines[at].is_told_of(other).await;
        }
    }

    /// So many things happen, in one part or in two, and after each everything is mended.
    pub(super) async fn happens(&mut self, steps: usize) -> Verdict {
        let parts = 1 + usize::from(self.dice.one_in(3));
        for _ in 0..parts {
            self.goes_on(steps / parts).await?;
            self.heals().await?;
        }
        Ok(())
    }

    /// So many things happen, one after another, while everything goes on.
    async fn goes_on(&mut self, steps: usize) -> Verdict {
        for _ in 0..steps {
            match self.dice.below(24) {
                20..24 => self.files_are_used()?,
                0..6 => self.is_struck().await?,
                6..8 => self.something_larger(),
                8 => self.writes_by_hand(),
                9..11 => self.stages(),
                _ => self.people_write(),
            }
            let pause = match self.dice.below(12) {
                0 => self.dice.below(20_000),
                1..4 => self.dice.below(2_000),
                4..8 => self.dice.below(150),
                _ => self.dice.below(8),
            };
            self.time_passes(Duration::from_millis(pause as u64)).await?;
        }
        Ok(())
    }

    /// Faults end when they are to end.
    async fn time_passes(&mut self, pause: Duration) -> Verdict {
        let until = Instant::now() + pause;
        while let Some(cure) = self.cures.iter().map(|(when, _)| *when).min().filter(|when| *when <= until) {
            tokio::time::sleep_until(cure).await;
            self.is_cured(cure).await?;
            self.is_looked_at().await?;
        }
        tokio::time::sleep_until(until).await;
        self.hears_rumours();
        self.is_looked_at().await
    }

    /// Now and then discovery tells one machine of another that it can hear.
    fn hears_rumours(&mut self) {
        let (at, other) = (self.dice.below(self.machines.len()), self.dice.below(self.machines.len()));
        let is_near = at != other && self.machines[other].is_up() && self.machines[other].takes_part();
        let (from, to) = (node_keys(other).actor(), node_keys(at).actor());
        let mut passes = false;
        self.ether.change(from, to, |weather| passes = weather.passes);
        if self.is_told && is_near && passes && self.machines[at].takes_part() {
            self.machines[at].hears_of(other);
        }
    }

    /// What was answered is held to.
    pub(super) fn takes_answers(&mut self) -> Verdict {
        for Answer { at, command, said, tries } in self.desk.answers() {
            self.tape.says(format_args!("answer to {} at {at} after {tries}: {said}", command.as_bytes()[7]));
            match said {
                Said::Staged => *self.tape.tally.entry("staged").or_default() += 1,
                Said::Joined => {
                    *self.tape.tally.entry("joined").or_default() += 1;
                    self.newcomers.push(at);
                }
                Said::Done { digest, is_held } => {
                    *self.tape.tally.entry("acknowledged").or_default() += 1;
                    ensure!(is_held, "machine {at} acknowledged {digest}, which is not in its log");
                    self.acknowledged.insert(digest);
                }
                said @ (Said::Kept(_) | Said::Opened { .. } | Said::Unopened(..)) => self.hears_of_file(at, said)?,
                Said::TurnedAway => *self.tape.tally.entry("turned away").or_default() += 1,
                Said::Told(what) => return Err(format!("a stranger came to {at}, and {what:?}")),
                Said::Refused(_) => *self.tape.tally.entry("refused").or_default() += 1,
                Said::Nothing => *self.tape.tally.entry("unanswered").or_default() += 1,
            }
        }
        Ok(())
    }

    /// Everything that can be seen is judged.
    async fn is_looked_at(&mut self) -> Verdict {
        self.takes_answers()?;
        for at in std::mem::take(&mut self.newcomers) {
            self.welcomes(at).await;
        }
        let thorough = self.dice.below(THOROUGH * self.machines.len());
        for at in 0..self.machines.len() {
            self.judge(at, thorough == at).map_err(|wrong| format!("machine {at}: {wrong}"))?;
            if thorough == at {
                self.has_what_it_had(at)?;
            }
        }
        for at in 0..self.machines.len() {
            self.hears_claims(at).await.map_err(|wrong| format!("machine {at}: {wrong}"))?;
        }
        Ok(())
    }

    fn judge(&mut self, at: usize, is_thorough: bool) -> Verdict {
        let before = self.judges.known.get(at).map_or(0, |known| known.order.len());
        self.judges.log_of(&self.machines[at])?;
        self.judges.state_of(&self.machines[at], is_thorough)?;
        if let Some(workspace) = self.machines[at].workspace() {
            self.nothing_is_out_of_turn(workspace, self.machines[at].is_shaken)?;
        }
        let order = &self.judges.known[at].order;
        if order.len() > before {
            *self.tape.tally.entry("bundles taken").or_default() += order.len() - before;
            let fresh: Vec<String> = order[before..].iter().map(|digest| digest.to_string()[..8].to_owned()).collect();
            self.tape.says(format_args!("log of {at} at {}: {fresh:?}", order.len()));
        }
        Ok(())
    }

    async fn hears_claims(&mut self, at: usize) -> Verdict {
        let Some(workspace) = self.machines[at].workspace() else { return Ok(()) };
        let said = workspace.doorway.clone().status().await;
        // With whom it has stopped to speak, it may begin anew later.
        let speaks_with = |peer: usize| said.iter().any(|status| status.peer == node_keys(peer).actor());
        self.last_words.retain(|(who, peer), _| *who != at || speaks_with(*peer));
        for status in said {
            let peer = (0..self.machines.len()).find(|number| node_keys(*number).actor() == status.peer);
            let peer = peer.ok_or("it is linked with a stranger")?;
            // What is equal on both ends may have come since it was looked at.
            self.judges.log_of(&self.machines[at])?;
            self.judges.log_of(&self.machines[peer])?;
            self.is_let_in(at, peer)?;
            let is_honest = !self.liars.contains(&at) && !self.liars.contains(&peer);
            if let Some(heads) = self.judges.claim(at, peer, &status, is_honest)? {
                self.tape.says(format_args!("{at} is equal with {peer} at {}", &heads.to_string()[..8]));
            }
        }
        Ok(())
    }

    /// Nobody goes on speaking with a machine that he knows to be removed.
    fn is_let_in(&mut self, at: usize, peer: usize) -> Verdict {
        if self.judges.lets_in(&self.machines[at], node_keys(peer).actor()) != Some(false) {
            self.last_words.remove(&(at, peer));
            return Ok(());
        }
        let since = self.last_words.entry((at, peer)).or_insert_with(Instant::now).elapsed();
        ensure!(since < LAST_WORDS, "it speaks with {peer}, which it has known to be removed for {since:?}");
        Ok(())
    }

    /// Ends the faults that are over by then.
    async fn is_cured(&mut self, by: Instant) -> Verdict {
        loop {
            let due = self.cures.iter().position(|(when, _)| *when <= by);
            let Some((_, cure)) = due.map(|at| self.cures.remove(at)) else { return Ok(()) };
            self.tape.says(format_args!("cure: {cure:?}"));
            self.cures_with(cure).await?;
        }
    }

    async fn cures_with(&mut self, cure: Cure) -> Verdict {
        match cure {
            Cure::Start(at) => self.starts(at).await?,
            Cure::PowerCut(at) => {
                let mut dice = Dice(self.dice.roll());
                self.dies(at, Found::Torn, &mut dice).await?;
                self.cures.push((Instant::now(), Cure::Start(at)));
            }
            Cure::HealDisks(at) => {
                self.machines[at].disks.log.heals();
                self.machines[at].disks.state.heals();
                self.machines[at].disks.files.heals();
            }
            Cure::SetClock(at) => self.machines[at].nature.clock.is_set(0),
            Cure::Meet => self.ether.everyone_meets(),
            Cure::Calm(from, to) => self.calms(from, to),
            Cure::Reform(at) => self.reforms(at),
            Cure::LetIn(other) => {
                let at = self.dice.below(self.machines.len());
                let person = self.machines[at].person();
                self.lets_in(person, at, node_keys(other).actor());
            }
        }
        Ok(())
    }

    fn reforms(&mut self, at: usize) {
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            let (from, to) = (node_keys(at).actor(), node_keys(other).actor());
            self.ether.change(from, to, |weather| weather.garbles = None);
            self.ether.cut(from, to);
        }
    }

    /// Everything is mended, and within [`CONVERGENCE`] everybody must agree, and say so; then everything is judged.
    async fn heals(&mut self) -> Verdict {
        self.tape.says("everything is mended");
        let last = self.cures.iter().map(|(when, _)| *when).max().unwrap_or_else(Instant::now);
        self.is_cured(last).await?;
        self.is_cured(Instant::now()).await?;
        self.ether.everyone_meets();
        for at in 0..self.machines.len() {
            self.mends(at).await?;
        }
        self.answers_come_in().await?;
        if self.is_told {
            self.tells_of_each_other();
        }
        let took = self.converges().await?;
        if self.is_told {
            self.slowest = self.slowest.max(took);
        }
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        self.tape.says(format_args!("all are equal after {} ms, and {tasks} tasks live", took.as_millis()));
        self.liars.clear();
        self.is_over().await
    }

    async fn answers_come_in(&mut self) -> Verdict {
        let (until, mut looks) = (Instant::now() + ANSWERS, 0);
        loop {
            self.is_looked_at().await?;
            if self.desk.waiting() == 0 {
                return Ok(());
            }
            // Who joined, by the word of somebody who was being removed, waits until somebody else lets him in.
            looks += 1;
            if looks % LETS_IN_AT == 0 {
                self.lets_everybody_in()?;
            }
            ensure!(Instant::now() < until, "{} clients wait for an answer, and nothing is wrong", self.desk.waiting());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The first machine lets in again whom it does not speak with, of those that take part. Gives whether there was
    /// anybody.
    fn lets_everybody_in(&mut self) -> Result<bool, String> {
        let (first, judges) = (&self.machines[0], &mut self.judges);
        let is_out = |member: &ActorId| judges.lets_in(first, *member) == Some(false);
        let members = self.machines.iter().filter(|machine| machine.takes_part()).map(Machine::key);
        let (first, out) = (first.key(), members.filter(is_out).collect::<Vec<_>>());
        for member in &out {
            self.let_in += 1;
            ensure!(self.let_in < MOST_LET_IN, "whoever is let in again is removed again, and nobody removes him");
            self.lets_in(first, 0, *member);
        }
        Ok(!out.is_empty())
    }

    async fn converges(&mut self) -> Result<Duration, String> {
        let mut since = Instant::now();
        loop {
            self.is_looked_at().await?;
            if self.lets_everybody_in()? {
                self.answers_come_in().await?;
                since = Instant::now();
                continue;
            }
            let Some(missing) = self.what_is_missing().await else { return Ok(since.elapsed()) };
            let within = self.patience();
            ensure!(since.elapsed() < within, "not equal {within:?} after everything was mended: {missing}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn patience(&self) -> Duration {
        match (self.is_told, self.liars.is_empty()) {
            (true, _) => CONVERGENCE,
            (false, true) => CONVERGENCE_UNTOLD,
            (false, false) => CONVERGENCE_UNWELCOME,
        }
    }

    /// What keeps the story from being over; none if all logs are equal, and every two machines say so of each other.
    async fn what_is_missing(&self) -> Option<String> {
        let order = |at: usize| self.judges.known[at].order.len();
        let heads = |at: usize| self.judges.known[at].last_heads();
        for at in 0..self.machines.len() {
            if heads(at) != heads(0) {
                return Some(format!(
                    "machine {at} has {} bundles, machine 0 {}; {}",
                    order(at),
                    order(0),
                    self.standing().await
                ));
            }
        }
        for machine in &self.machines {
            let at = machine.number;
            let Some(workspace) = machine.workspace() else { return Some(format!("machine {at} is down")) };
            let standing = workspace.doorway.clone().status().await;
            let equal: BTreeSet<_> = standing
                .iter()
                .filter_map(|status| {
                    let synced = status.standing.synced.filter(|synced| Some(synced.heads) == heads(0))?;
                    (synced.bundles == order(0) as u64).then_some(status.peer)
                })
                .collect();
            if equal.len() + 1 < self.machines.len() {
                return Some(format!(
                    "machine {at} says that it is equal with {} others only; {}",
                    equal.len(),
                    self.standing().await
                ));
            }
        }
        None
    }

    /// How far each state is, and how each machine stands with the others.
    async fn standing(&self) -> String {
        let mut all = Vec::new();
        for machine in &self.machines {
            let Some(workspace) = machine.workspace() else { continue };
            let (position, peers) = (workspace.snapshots.folded().borrow().position, machine.knows_peers().await);
            let sessions = workspace.doorway.clone().status().await;
            all.push(format!("{}: state at {position}; {sessions:#?}; it knows {peers:#?}", machine.number));
        }
        all.join("\n")
    }

    /// The promises are kept.
    async fn is_over(&mut self) -> Verdict {
        let present: Result<Vec<Present>, String> = (0..self.machines.len()).map(|at| self.present(at)).collect();
        let present = present?;
        all_is_well(&present, &self.acknowledged)?;
        is_vouched_for(&present[0].bundles)?;
        for (machine, present) in self.machines.iter().zip(&present) {
            let at = machine.number;
            let workspace = machine.workspace().ok_or("it is down")?;
            board_is_right(workspace, &*present.snapshot).map_err(|wrong| format!("machine {at}: {wrong}"))?;
            self.nothing_is_out_of_turn(workspace, false).map_err(|wrong| format!("machine {at}: {wrong}"))?;
            let sessions = workspace.doorway.clone().status().await.len();
            ensure!(sessions + 1 == self.machines.len(), "machine {at} has {sessions} sessions");
            let remembered = machine.knows_peers().await.iter().any(|peer| peer.key.is_some_and(is_stranger));
            ensure!(!remembered, "machine {at} remembers a stranger");
        }
        self.files_are_well().await?;
        self.comes_to_rest().await
    }

    /// One connection for each pair, and no more tasks than those take. A connection whose other end was killed in the
    /// middle of a hello is given up when nothing was heard for long.
    async fn comes_to_rest(&self) -> Verdict {
        let pairs = self.machines.len() * (self.machines.len() - 1) / 2;
        let until = Instant::now() + IDLE_TIMEOUT + Duration::from_secs(5);
        while self.ether.connections() != pairs {
            ensure!(Instant::now() < until, "{} connections for {pairs} pairs", self.ether.connections());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let most = self.machines.len() * TASKS_OF_A_NODE + 2 * pairs * TASKS_OF_A_LINK;
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        // A pause before somebody would have been dialled again is a task until it has passed.
        let until = Instant::now() + CONVERGENCE_UNWELCOME;
        while tasks() > most {
            ensure!(Instant::now() < until, "{} tasks are alive, and {most} would be many", tasks());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Among honest nodes parents come first, so nothing waits for its ancestors but on a shaken machine, and there not
    /// for long; and nothing is suspect.
    fn nothing_is_out_of_turn(&self, workspace: &Workspace, is_shaken: bool) -> Verdict {
        // A disk that cannot be read now is looked at later.
        let (Ok(waiting), Ok(suspects)) = (workspace.store.waiting(0, 1), workspace.log.quarantined(0, 1)) else {
            return Ok(());
        };
        let may_wait = self.is_excused || is_shaken;
        ensure!(waiting.is_empty() || may_wait, "everybody is honest, and there are orphans: {waiting:?}");
        ensure!(suspects.is_empty() || self.is_excused, "everybody is honest, and there are suspects: {suspects:?}");
        Ok(())
    }

    fn present(&self, at: usize) -> Result<Present, String> {
        let workspace = self.machines[at].workspace().ok_or("it is down")?;
        let snapshot = workspace.snapshots.snapshot().map_err(|failure| failure.to_string())?;
        let log: Arc<dyn LogReader> = Arc::clone(&workspace.log);
        let bundles = self.judges.known[at].order.iter().map(|digest| Arc::clone(self.judges.library.of(*digest)));
        Ok(Present { log, snapshot, bundles: bundles.collect() })
    }

    /// Everything is switched off.
    pub(super) async fn ends(mut self) -> Tape {
        for machine in &mut self.machines {
            machine.dies(Disks::copied).await;
            self.tape.takes(&machine.disks.log.bytes());
            self.tape.takes(&machine.disks.state.bytes());
            self.tape.takes(&machine.disks.files.bytes());
        }
        self.tape
    }
}
