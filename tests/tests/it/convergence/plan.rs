//! Plans: what happens to a company, step by step, made up by chance and told by a seed.
//!
//! Steps are abstract: they hold numbers that are read against whatever is there when they happen. So every step means
//! something after any others, and proptest may shorten a plan wherever it likes. A state machine in lockstep with a
//! model of its own (`proptest-state-machine`) would add preconditions and a second bookkeeping to keep right, and
//! nothing to check: what must hold is worked out from the logs.

use std::collections::BTreeMap;

use openprod_domain::command::{Command, Stance};
use openprod_model::bundle::BundleKind;
use openprod_model::ids::Position;
use proptest::prelude::*;

use super::acts::{ACTS, HAND_ACTS, Scene, beginning, is_alone};
use super::chance::Dice;
use super::company::{Asked, Company, Verdict};
use super::meeting::ends_well;

/// A whole story.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) replicas: usize,
    pub(super) seed: u64,
    /// What the last replica's version does not know: a number in [`UNKNOWN`].
    pub(super) ignorance: usize,
    pub(super) steps: Vec<Step>,
}

/// Kinds of operations that an old version may not know: nothing, settings, edges' properties, removals of edges and
/// positions, fields.
pub(crate) const UNKNOWN: [&[u16]; 6] = [&[], &[], &[30], &[13, 14], &[12, 15], &[5, 50]];

/// One thing that happens. Replicas, people and acts are numbers counted around.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// People ask a replica for things, all at once.
    Ask { at: u8, asking: Vec<Asking> },
    /// Somebody writes past the door for commands.
    WriteByHand { at: u8, actor: u8, acts: Vec<(u8, u64)> },
    /// One replica tells another some of what it lacks.
    Tell { from: u8, to: u8, how: Telling, dice: u64 },
    /// Something befalls a replica.
    Befall { at: u8, what: Event },
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    actor: u8,
    session: Option<u8>,
    base: Base,
    stance: Stance,
    is_import: bool,
    /// Which acts, and their dice.
    acts: Vec<(u8, u64)>,
}

/// What its author has looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base {
    None,
    Fresh,
    /// The log as it was some time ago.
    Stale(u16),
}

/// How bundles go from one replica to another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Telling {
    /// All of them.
    Everything,
    /// The first few, parents first.
    First(u8),
    /// Some, whether or not their parents come along.
    Some,
    /// One by one in any order, and again, until all are there.
    OneByOne,
    /// Those that are there already, too.
    Again,
}

/// What befalls a replica.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Restart,
    Killed,
    PowerCut,
    StateLost,
    Learns,
    ClockJumps(u32),
    BackedUp,
    Forked { choice: u64, cloned: bool },
}

fn a_base() -> impl Strategy<Value = Base> {
    prop_oneof![3 => Just(Base::Fresh), 3 => any::<u16>().prop_map(Base::Stale), 1 => Just(Base::None)]
}

fn asking() -> impl Strategy<Value = Asking> {
    let stance = prop_oneof![8 => Just(Stance::Beside), 2 => Just(Stance::Decide), 1 => Just(Stance::IfUnchanged)];
    let acts = proptest::collection::vec(any::<(u8, u64)>(), 1..3);
    (any::<u8>(), proptest::option::of(0..3_u8), a_base(), stance, proptest::bool::weighted(0.1), acts).prop_map(
        |(actor, session, base, stance, is_import, acts)| Asking { actor, session, base, stance, is_import, acts },
    )
}

fn a_telling() -> impl Strategy<Value = Telling> {
    prop_oneof![
        4 => Just(Telling::Everything),
        2 => any::<u8>().prop_map(Telling::First),
        2 => Just(Telling::Some),
        1 => Just(Telling::OneByOne),
        1 => Just(Telling::Again),
    ]
}

fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Restart),
        2 => Just(Event::Killed),
        2 => Just(Event::PowerCut),
        1 => Just(Event::StateLost),
        1 => Just(Event::Learns),
        1 => any::<u32>().prop_map(Event::ClockJumps),
        1 => Just(Event::BackedUp),
        2 => any::<(u64, bool)>().prop_map(|(choice, cloned)| Event::Forked { choice, cloned }),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let at = any::<u8>;
    prop_oneof![
        12 => (at(), proptest::collection::vec(asking(), 1..4)).prop_map(|(at, asking)| Step::Ask { at, asking }),
        3 => (at(), any::<u8>(), proptest::collection::vec(any::<(u8, u64)>(), 1..3))
            .prop_map(|(at, actor, acts)| Step::WriteByHand { at, actor, acts }),
        6 => (at(), at(), a_telling(), any::<u64>()).prop_map(|(from, to, how, dice)| Step::Tell { from, to, how, dice }),
        2 => (at(), an_event()).prop_map(|(at, what)| Step::Befall { at, what }),
    ]
}

/// Plans of at most so many steps.
pub(super) fn plans(steps: usize) -> impl Strategy<Value = Plan> {
    let steps = proptest::collection::vec(a_step(), steps / 3..=steps);
    (3..=6_usize, any::<u64>(), 0..UNKNOWN.len(), steps).prop_map(|(replicas, seed, ignorance, steps)| Plan {
        replicas,
        seed,
        ignorance,
        steps,
    })
}

/// More replicas only make the story longer.
const MOST_REPLICAS: usize = 8;

impl Plan {
    /// Everything happens, then everybody meets. Gives the company, to be looked at.
    pub(super) async fn happens(&self) -> Result<Company, String> {
        let last = self.replicas - 1;
        let ignorant = BTreeMap::from([(last, UNKNOWN[self.ignorance])]);
        let mut company = Company::new(self.replicas, self.seed, &ignorant).await;
        let first = Asked {
            actor: company.actor(0),
            session: None,
            base: None,
            stance: Stance::Beside,
            kind: BundleKind::EDIT,
            commands: beginning(&company.cast),
        };
        company.asks(0, &[first]).await?;
        for at in 1..self.replicas {
            company.tells(0, at).await?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            step.happens(&mut company).await.map_err(|wrong| format!("step {number}, {step:?}: {wrong}"))?;
        }
        ends_well(&mut company).await.map_err(|wrong| format!("when everybody has met: {wrong}"))?;
        Ok(company)
    }
}

impl Step {
    async fn happens(&self, company: &mut Company) -> Verdict {
        let among = company.replicas.len();
        let which = |number: u8| usize::from(number) % among;
        company.replicas.iter().for_each(|replica| replica.clock.moves_by(7));
        match self {
            Self::Ask { at, asking } => {
                let at = which(*at);
                let asked: Vec<Asked> = asking.iter().map(|asking| asking.on(company, at)).collect();
                let asked: Vec<Asked> = asked.into_iter().filter(|asked| !asked.commands.is_empty()).collect();
                company.asks(at, &asked).await.map(drop)
            }
            Self::WriteByHand { at, actor, acts } => {
                let (at, actor) = (which(*at), company.actor(usize::from(*actor)));
                let ops = acted(company, at, acts, HAND_ACTS);
                if !ops.is_empty() {
                    company.writes_by_hand(at, actor, ops).await;
                }
                Ok(())
            }
            Self::Tell { from, to, how, dice } => how.happens(company, which(*from), which(*to), Dice(*dice)).await,
            Self::Befall { at, what } => {
                what.happens(company, which(*at)).await;
                Ok(())
            }
        }
    }
}

/// What acts make of what a replica shows.
fn acted<T>(company: &Company, at: usize, acts: &[(u8, u64)], table: &[fn(&mut Scene) -> Option<T>]) -> Vec<T> {
    let snapshot = company.snapshot(at);
    let made = acts.iter().filter_map(|(act, dice)| {
        let mut scene = Scene { view: snapshot.view(), cast: &company.cast, dice: Dice(*dice) };
        table[usize::from(*act) % table.len()](&mut scene)
    });
    made.collect()
}

/// Whether only a person does this, and no import.
pub(crate) fn decides_or_goes_back(command: &Command) -> bool {
    is_alone(command) || matches!(command, Command::Resolve { .. })
}

impl Asking {
    fn on(&self, company: &Company, at: usize) -> Asked {
        let now = company.snapshot(at).position();
        let base = match self.base {
            Base::None => None,
            Base::Fresh => Some(now),
            Base::Stale(back) => Some(Position(now.0 - u64::from(back) % now.0.max(1))),
        };
        let mut commands: Vec<Command> = acted(company, at, &self.acts, ACTS);
        if let Some(alone) = commands.iter().position(is_alone) {
            commands = vec![commands.swap_remove(alone)];
        }
        Asked {
            actor: company.actor(usize::from(self.actor)),
            session: self.session,
            base,
            stance: self.stance,
            kind: if self.is_import && !commands.iter().any(decides_or_goes_back) {
                BundleKind::IMPORT
            } else {
                BundleKind::EDIT
            },
            commands,
        }
    }
}

impl Telling {
    async fn happens(self, company: &mut Company, from: usize, to: usize, mut dice: Dice) -> Verdict {
        let mut news = company.news(from, to);
        match self {
            Self::Everything => company.tells(from, to).await,
            Self::First(some) => {
                news.truncate(1 + usize::from(some) % news.len().max(1));
                company.offers(to, &news).await
            }
            Self::Some => {
                news.retain(|_| dice.one_in(2));
                dice.shuffle(&mut news);
                company.offers(to, &news).await
            }
            Self::OneByOne => {
                while !news.is_empty() {
                    dice.shuffle(&mut news);
                    for bundle in news {
                        company.offers(to, &[bundle]).await?;
                    }
                    news = company.news(from, to);
                }
                Ok(())
            }
            Self::Again => {
                let mut all = company.bundles(from);
                dice.shuffle(&mut all);
                company.offers(to, &all).await
            }
        }
    }
}

impl Event {
    async fn happens(self, company: &mut Company, at: usize) {
        let replica = &mut company.replicas[at];
        match self {
            Self::Restart => replica.restarts().await,
            Self::Killed => replica.is_killed().await,
            Self::PowerCut => replica.loses_power().await,
            Self::StateLost => replica.loses_its_state().await,
            Self::Learns => replica.learns().await,
            Self::ClockJumps(ms) => replica.clock.moves_to(1_700_000_000_000 + u64::from(ms)),
            Self::BackedUp => company.backs_up(at),
            Self::Forked { choice, cloned } if company.replicas.len() < MOST_REPLICAS => {
                company.forks(choice, cloned).await;
            }
            Self::Forked { .. } => {}
        }
    }
}
