//! Faults: what befalls machines and the ways between them, for how long, and what ends it.

#![allow(clippy::unnecessary_wraps, reason = "all faults have one type")]

use std::collections::BTreeSet;
use std::time::Duration;

use openprod_disk::{MemoryDisk, Trouble};
use openprod_model::ids::BlobHash;
use openprod_node::workspace::Room;

use super::liar;
use super::machine::node_keys;
use super::story::Story;
use super::strangers::Manner;
use crate::convergence::chance::Dice;
use crate::convergence::company::Verdict;
use crate::convergence::replica::Disks;

/// What ends a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// A machine that was killed, or whose power failed, is switched on.
    Start(usize),
    /// The power of a machine fails at last, after its disks have failed; it is switched on later.
    PowerCut(usize),
    /// Its disks are well, and have room.
    HealDisks(usize),
    /// Its clock is set right.
    SetClock(usize),
    /// Everything passes between all.
    Meet,
    /// From one machine to another, frames are under way as long as ever.
    Calm(usize, usize),
    /// A liar lies no more, and its connections end.
    Reform(usize),
    /// Somebody lets a machine in again that was removed.
    LetIn(usize),
}

type Fault = (&'static str, fn(&mut Story, &mut Dice, usize) -> Option<Later>);

/// What is left to be done about a fault by somebody who can wait.
pub(super) enum Later {
    Nothing,
    Dies(Found),
    Restarts,
    KillsEndpoint,
    Restores,
    Copies,
    Joins,
}

/// A copy of the disks of a machine, kept for later.
pub(super) struct Backup {
    pub(super) at: usize,
    pub(super) disks: Disks,
    /// The files that must be on it.
    pub(super) files: BTreeSet<BlobHash>,
}

/// What a machine finds on its disks after it died.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// Everything that was written: the process was killed.
    Everything,
    /// What was synced, and some sectors of the rest: the power failed.
    Torn,
    /// As after a kill, and the file of the state is lost.
    NoState,
}

const SECOND: Duration = Duration::from_secs(1);

/// All faults; those that are listed twice happen twice as often.
const FAULTS: &[Fault] = &[
    ("killed", |story, dice, at| dies(story, dice, at, 20, Found::Everything)),
    ("power cut", |story, dice, at| dies(story, dice, at, 20, Found::Torn)),
    ("state lost", |story, dice, at| dies(story, dice, at, 5, Found::NoState)),
    ("power cut in a commit", power_cut_in_a_commit),
    ("power cut in a commit", power_cut_in_a_commit),
    ("restarted", |_, _, _| Some(Later::Restarts)),
    ("room killed", room_killed),
    ("room killed", room_killed),
    ("room killed", room_killed),
    ("endpoint killed", |_, _, _| Some(Later::KillsEndpoint)),
    ("I/O errors", io_errors),
    ("I/O errors", io_errors),
    ("disk full", disk_full),
    ("disk full", disk_full),
    ("clock set", clock_set),
    ("clock set", clock_set),
    ("parted", parted),
    ("parted", parted),
    ("parted", parted),
    ("one way", one_way),
    ("one way", one_way),
    ("cut", cut),
    ("cut", cut),
    ("cut", cut),
    ("slow", slow),
    ("slow", slow),
    ("lies", lies),
    ("lies", lies),
    ("truncated", truncated),
    ("truncated", truncated),
    ("backed up", backed_up),
    ("restored", |_, _, _| Some(Later::Restores)),
    ("copied", |_, _, _| Some(Later::Copies)),
    ("invited", |_, _, _| Some(Later::Joins)),
    ("invited", |_, _, _| Some(Later::Joins)),
    ("removed", removed),
    ("removed", removed),
    ("stranger", stranger),
    ("stranger", stranger),
];

impl Story {
    /// Something befalls a machine that is up.
    pub(super) async fn is_struck(&mut self) -> Verdict {
        let mut dice = Dice(self.dice.roll());
        let at = dice.below(self.machines.len());
        if !self.machines[at].is_up() {
            return Ok(());
        }
        let (kind, fault) = FAULTS[dice.below(FAULTS.len())];
        let Some(later) = fault(self, &mut dice, at) else { return Ok(()) };
        self.tape.counts(kind, format_args!("machine {at}"));
        match later {
            Later::Nothing => Ok(()),
            Later::Dies(found) => self.dies(at, found, &mut dice).await,
            Later::Restarts => self.restarts(at).await,
            Later::KillsEndpoint => {
                self.machines[at].loses_its_endpoint().await;
                Ok(())
            }
            Later::Restores => self.restores(at, &mut dice).await,
            Later::Copies => self.copies(at, &mut dice).await,
            Later::Joins => self.joins(at, &mut dice).await,
        }
    }

    /// Notes what ends a fault, some seconds from now.
    fn will(&mut self, dice: &mut Dice, seconds: usize, cure: Cure) {
        let after = SECOND.mul_f64(0.1) * u32::try_from(1 + dice.below(seconds * 10)).unwrap();
        self.cures.push((tokio::time::Instant::now() + after, cure));
    }
}

/// What is found on disks, as chance has it.
pub(super) fn found(disks: &Disks, what: Found, dice: &mut Dice) -> Disks {
    match what {
        Found::Everything => disks.copied(),
        Found::NoState => Disks { state: MemoryDisk::default(), ..disks.copied() },
        Found::Torn => Disks {
            log: disks.log.torn(|| dice.one_in(2)),
            state: disks.state.torn(|| dice.one_in(2)),
            files: disks.files.torn(|| dice.one_in(2)),
        },
    }
}

/// A machine dies, and is switched on again within so many seconds.
fn dies(story: &mut Story, dice: &mut Dice, at: usize, seconds: usize, found: Found) -> Option<Later> {
    story.will(dice, seconds, Cure::Start(at));
    Some(Later::Dies(found))
}

/// Some writes into a commit the disks take no more, and then the power is gone.
fn power_cut_in_a_commit(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let disks = &story.machines[at].disks;
    disks.log.has(Trouble::WriteError, dice.below(12) as u64);
    disks.state.has(Trouble::WriteError, dice.below(40) as u64);
    disks.files.has(Trouble::WriteError, dice.below(16) as u64);
    story.will(dice, 2, Cure::PowerCut(at));
    story.people_write_at(at, 1 + dice.below(6));
    story.files_are_used_at(at, dice);
    Some(Later::Nothing)
}

fn room_killed(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let room = dice.pick(&Room::ALL)?;
    story.people_write_at(at, dice.below(4));
    story.tape.says(format_args!("the {} room of {at} panics", room.word()));
    story.machines[at].loses(room);
    story.machines[at].is_shaken = true;
    Some(Later::Nothing)
}

/// One of the disks of a machine begins to have this trouble soon.
fn disk_has(story: &mut Story, dice: &mut Dice, at: usize, trouble: Trouble) {
    story.machines[at].is_shaken = true;
    let (disks, after) = (&story.machines[at].disks, dice.below(20) as u64);
    match dice.below(4) {
        0 => disks.state.has(trouble, after),
        1 => disks.files.has(trouble, after),
        _ => disks.log.has(trouble, after),
    }
    story.people_write_at(at, 1 + dice.below(6));
    story.files_are_used_at(at, dice);
}

fn io_errors(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let trouble = dice.pick(&[Trouble::WriteError, Trouble::SyncError, Trouble::Dead])?;
    disk_has(story, dice, at, trouble);
    story.will(dice, 3, Cure::HealDisks(at));
    Some(Later::Nothing)
}

fn disk_full(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let trouble = dice.pick(&[Trouble::Full, Trouble::CannotGrow])?;
    disk_has(story, dice, at, trouble);
    story.will(dice, 15, Cure::HealDisks(at));
    Some(Later::Nothing)
}

/// Days ahead, years behind, or a step of some seconds.
fn clock_set(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    const DAY_MS: i64 = 86_400_000;
    let ahead_ms = dice.pick(&[3 * DAY_MS, -3 * 365 * DAY_MS, 40 * DAY_MS, 5_000, -5_000, -1])?;
    story.machines[at].nature.clock.is_set(ahead_ms);
    if dice.one_in(2) {
        story.will(dice, 60, Cure::SetClock(at));
    }
    Some(Later::Nothing)
}

/// The network falls apart, in one of several shapes.
fn parted(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let all = story.machines.len();
    let side: Vec<bool> = (0..all).map(|_| dice.one_in(2)).collect();
    let shape = dice.below(4);
    let passes = |one: usize, other: usize| match shape {
        0 => one != at && other != at,
        1 => side[one] == side[other],
        2 => one.abs_diff(other) == 1,
        _ => false,
    };
    for one in 0..all {
        for other in (0..all).filter(|other| *other != one) {
            let (from, to) = (node_keys(one).actor(), node_keys(other).actor());
            story.ether.change(from, to, |weather| weather.passes = passes(one, other));
        }
    }
    story.will(dice, 60, Cure::Meet);
    Some(Later::Nothing)
}

fn another(story: &Story, dice: &mut Dice, at: usize) -> Option<usize> {
    let others: Vec<usize> = (0..story.machines.len()).filter(|other| *other != at).collect();
    dice.pick(&others)
}

/// What one says arrives, and what the other answers does not.
fn one_way(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let other = another(story, dice, at)?;
    story.ether.change(node_keys(at).actor(), node_keys(other).actor(), |weather| weather.passes = false);
    story.will(dice, 40, Cure::Meet);
    Some(Later::Nothing)
}

fn cut(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let other = another(story, dice, at)?;
    story.ether.cut(node_keys(at).actor(), node_keys(other).actor());
    Some(Later::Nothing)
}

fn slow(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let other = another(story, dice, at)?;
    let (delay, most_ms) = (Duration::from_millis(dice.below(300) as u64), 1 + dice.below(1_000));
    story.is_under_way(at, other, delay, most_ms);
    story.will(dice, 60, Cure::Calm(at, other));
    Some(Later::Nothing)
}

/// A member says what is not so, to all others.
fn lies(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let odds = 2 + dice.below(30);
    story.liars.insert(at);
    story.is_excused = true;
    for other in (0..story.machines.len()).filter(|other| *other != at) {
        let lies = liar::lies(Dice(dice.roll()), odds, story.machines[at].keys.0[1].clone());
        let (from, to) = (node_keys(at).actor(), node_keys(other).actor());
        story.ether.change(from, to, |weather| weather.garbles = Some(lies));
    }
    story.will(dice, 30, Cure::Reform(at));
    Some(Later::Nothing)
}

fn truncated(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let other = another(story, dice, at).filter(|_| !story.liars.contains(&at))?;
    let (from, to) = (node_keys(at).actor(), node_keys(other).actor());
    story.ether.change(from, to, |weather| weather.garbles = Some(liar::truncates_one()));
    Some(Later::Nothing)
}

fn backed_up(story: &mut Story, _: &mut Dice, at: usize) -> Option<Later> {
    let (disks, files) = (story.machines[at].disks.copied(), story.files.held_by(at));
    story.backups.push(Backup { at, disks, files });
    Some(Later::Nothing)
}

/// A machine is removed from the workspace by somebody at another; later somebody else lets it in again, who may know of
/// that or not. The first machine stays, and lets everybody in again at the end.
fn removed(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    let other = another(story, dice, at).filter(|other| *other != 0 && story.machines[*other].takes_part())?;
    story.removes(at, other);
    story.will(dice, 40, Cure::LetIn(other));
    Some(Later::Nothing)
}

fn stranger(story: &mut Story, dice: &mut Dice, at: usize) -> Option<Later> {
    story.stranger_comes(at, dice.pick(&Manner::ALL)?, Dice(dice.roll()));
    Some(Later::Nothing)
}
