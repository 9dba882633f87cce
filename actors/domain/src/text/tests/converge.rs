//! Three replicas, any order of arrival: one text.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// An op: its update, and the ops that its author knew.
struct Written {
    update: Vec<u8>,
    parents: Vec<usize>,
}

/// A replica: what it has, in the order in which it came.
struct Replica {
    document: Document,
    has: Vec<usize>,
}

/// Replicas and all ops, whose order of writing is a canonical order: it respects parents.
struct World {
    chance: Chance,
    ops: Vec<Written>,
    replicas: Vec<Replica>,
}

impl World {
    fn new(seed: u64, begins_long: bool) -> Self {
        let replica = || Replica { document: Log::new(Kind::Text).document(), has: Vec::new() };
        let mut world = Self { chance: Chance(seed), ops: Vec::new(), replicas: (0..3).map(|_| replica()).collect() };
        if begins_long {
            // More than is restored letter by letter.
            let edit = TextEdit::Insert { at: 0, text: "\u{1f3ad} long ".repeat(40) };
            let updates = world.replicas[0].document.edit_text(ClientId::new(9), &[edit]);
            world.writes(0, updates.unwrap());
        }
        world
    }

    fn writes(&mut self, who: usize, updates: Vec<Vec<u8>>) {
        for update in updates {
            self.ops.push(Written { update, parents: self.replicas[who].has.clone() });
            self.delivers(self.ops.len() - 1, who);
        }
    }

    /// Applies an op, even one that is there already.
    fn delivers(&mut self, number: usize, to: usize) {
        let replica = &mut self.replicas[to];
        if !replica.has.contains(&number) {
            replica.has.push(number);
        }
        let mut has = replica.has.clone();
        has.sort_unstable();
        let all: Vec<_> = has.iter().map(|number| (op(*number), self.ops[*number].update.clone())).collect();
        let document = std::mem::replace(&mut replica.document, Log::new(Kind::Text).document());
        replica.document = arrives(document, number, &self.ops[number].update, &all);
    }

    fn edits(&mut self, who: usize) {
        let edit = random_edit(&mut self.chance, &self.replicas[who].document.text());
        let updates = self.replicas[who].document.edit_text(ClientId::new(10 + who as u64), &[edit]);
        self.writes(who, updates.unwrap());
    }

    fn undoes(&mut self, who: usize) {
        let has = &self.replicas[who].has;
        if has.is_empty() {
            return;
        }
        let number = has[self.chance.below(has.len())];
        let undone = self.ops[number].update.clone();
        let updates = self.replicas[who].document.inverse([undone.as_slice()]);
        self.writes(who, updates);
    }

    fn receives(&mut self, who: usize) {
        let has = &self.replicas[who].has;
        let lacks = |number: &usize| !has.contains(number);
        let ready = |number: &usize| self.ops[*number].parents.iter().all(|parent| has.contains(parent));
        let choice: Vec<usize> = (0..self.ops.len()).filter(|number| lacks(number) && ready(number)).collect();
        if let Some(number) = choice.get(self.chance.below(choice.len())) {
            self.delivers(*number, who);
        } else if !has.is_empty() {
            let again = has[self.chance.below(has.len())];
            self.delivers(again, who);
        }
    }

    fn lives(&mut self, turns: usize, with_undo: bool) {
        for _ in 0..turns {
            let who = self.chance.below(3);
            match self.chance.below(8) {
                0..=3 => self.edits(who),
                4 if with_undo => self.undoes(who),
                _ => self.receives(who),
            }
        }
        for who in 0..3 {
            while self.replicas[who].has.len() < self.ops.len() {
                self.receives(who);
            }
        }
    }
}

fn shows_the_same_everywhere(seed: u64, turns: usize, with_undo: bool, begins_long: bool) {
    let mut world = World::new(seed, begins_long);
    world.lives(turns, with_undo);
    let built = built(&world);
    assert!(built.left_out().is_empty(), "{built:?}");
    for replica in &world.replicas {
        assert_eq!(replica.document.text(), built.text());
        assert!(replica.document.left_out().is_empty());
    }
}

/// Two replicas had restored the same letters under the same ids, but between different neighbours.
#[test]
fn restored_apart_with_different_neighbours() {
    shows_the_same_everywhere(5_822_004_274_997_063_242, 63, true, false);
}

/// A field's log as several have written it, and the chance that goes on.
fn lived(seed: u64, turns: usize, begins_long: bool) -> (Chance, Log) {
    let mut world = World::new(seed, begins_long);
    world.lives(turns, true);
    let mut log = Log::new(Kind::Text);
    log.push(world.ops.into_iter().map(|written| written.update).collect());
    (world.chance, log)
}

/// Whatever stands is deleted at once, and that is undone; if `two`, after another edit of the same person.
fn comes_back_where_it_was(seed: u64, turns: usize, begins_long: bool, two: bool) {
    let (mut chance, mut log) = lived(seed, turns, begins_long);
    let before = log.text();
    let edit = random_edit(&mut chance, &before);
    let mut undone = if two { log.edits(20, &[edit]) } else { Vec::new() };
    let length = log.document().len();
    undone.extend(log.deletes(21, 0, length));
    assert_eq!(log.text(), "");
    log.undoes(&undone);
    assert_eq!(log.text(), before);
}

/// A letter had been restored once more, unseen, for the sake of others, and somebody had typed behind that.
#[test]
fn restored_once_more_unseen() {
    comes_back_where_it_was(1_003_690_710_242_093_940, 43, false, false);
}

fn built(world: &World) -> Document {
    Document::build(Kind::Text, world.ops.iter().enumerate().map(|(number, written)| (op(number), &written.update)))
}

/// How many cases each law is held against: a few, unless the long form says how many.
fn cases(few: u32) -> u32 {
    std::env::var("OPENPROD_TEXT_CASES").map_or(few, |cases| cases.parse().expect("a number of cases"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(120), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everybody_shows_the_same_in_the_end(
        seed in any::<u64>(),
        turns in 1usize..70,
        with_undo in any::<bool>(),
        begins_long in prop::bool::weighted(0.2),
    ) {
        shows_the_same_everywhere(seed, turns, with_undo, begins_long);
    }

    #[test]
    fn what_is_undone_at_once_comes_back_where_it_was(
        seed in any::<u64>(),
        turns in 1usize..50,
        begins_long in any::<bool>(),
        two in any::<bool>(),
    ) {
        comes_back_where_it_was(seed, turns, begins_long, two);
    }

    #[test]
    fn what_is_undone_again_comes_back_where_it_was(
        seed in any::<u64>(),
        turns in 1usize..40,
        begins_long in any::<bool>(),
        meanwhile in 1usize..8,
    ) {
        let (mut chance, mut log) = lived(seed, turns, begins_long);
        let before = log.text();
        let all = |log: &mut Log| log.deletes(21, 0, log.document().len());
        let undone = all(&mut log);
        log.undoes(&undone);
        for _ in 0..meanwhile {
            let edit = match random_edit(&mut chance, &log.text()) {
                TextEdit::Insert { at, .. } => TextEdit::Insert { at, text: "Z".to_owned() },
                deletion @ TextEdit::Delete { .. } => deletion,
            };
            log.edits(22, &[edit]);
            if chance.one_in(2) {
                log.undoes(&undone);
            }
        }
        log.undoes(&undone);
        let after = log.text();
        prop_assert_eq!(after.replace('Z', ""), before);
        let undone = all(&mut log);
        log.undoes(&undone);
        prop_assert_eq!(log.text(), after);
    }

    #[test]
    fn undo_leaves_the_letters_of_others(seed in any::<u64>(), turns in 1usize..50) {
        let mut world = World::new(seed, false);
        world.lives(turns, false);
        let mut log = Log { kind: Kind::Text, updates: Vec::new() };
        log.push(world.ops.iter().map(|written| written.update.clone()).collect());
        let number = world.chance.below(world.ops.len());
        let Some(written) = world.ops.get(number) else { return Ok(()) };
        let (before, owner) = (letters(&log), authors(&world));
        let undo = log.undoes(std::slice::from_ref(&written.update));
        let after = letters(&log);
        let mine: i64 = owner.get(&number).copied().unwrap_or(0);
        // Undo of an insertion takes away nothing but it; undo of a deletion takes away nothing.
        let lost: i64 = before.iter().map(|(letter, count)| (count - after.get(letter).unwrap_or(&0)).max(0)).sum();
        prop_assert!(lost <= mine, "lost {lost} of others, typed {mine}");
        let redo = log.undoes(&undo);
        prop_assert_eq!(letters(&log), before);
        if !redo.is_empty() {
            log.undoes(&redo);
            prop_assert_eq!(letters(&log), after);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(150), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn undone_by_two_at_once_is_undone_once(seed in any::<u64>(), turns in 1usize..30) {
        let mut chance = Chance(seed);
        let mut log = Log::new(Kind::Text);
        for turn in 0..turns {
            let edit = random_edit(&mut chance, &log.text());
            log.edits(1 + turn as u64 % 2, &[edit]);
        }
        let undone = log.updates[turns - 1].1.clone();
        let mut branches = Vec::new();
        for who in [11, 12] {
            let mut branch = log.clone();
            for _ in 0..chance.below(6) {
                let edit = random_edit(&mut chance, &branch.text());
                branch.edits(who, &[edit]);
            }
            let edits = branch.updates[turns..].iter().map(|(_, update)| update.clone()).collect::<Vec<_>>();
            branches.push((edits, branch.undoes(std::slice::from_ref(&undone))));
        }
        log.push(branches.iter().flat_map(|(edits, _)| edits.clone()).collect());
        let [(_, here), (_, there)] = &branches[..] else { unreachable!("there are two") };
        let after = |undos: &[&Vec<Vec<u8>>]| {
            let mut log = log.clone();
            log.push(undos.iter().flat_map(|undo| (*undo).clone()).collect());
            assert!(log.document().left_out().is_empty());
            letters(&log)
        };
        prop_assert_eq!(after(&[here]), after(&[here, there]));
        prop_assert_eq!(after(&[there]), after(&[there, here]));
    }
}

fn letters(log: &Log) -> BTreeMap<char, i64> {
    let mut counts = BTreeMap::new();
    log.text().chars().for_each(|letter| *counts.entry(letter).or_default() += 1);
    counts
}

/// How many letters each op inserted at most.
fn authors(world: &World) -> BTreeMap<usize, i64> {
    let inserted = |update: &[u8]| {
        let scanned = super::super::scan::scan_op(update, Kind::Text).unwrap();
        scanned.runs.iter().map(|run| i64::from(run.end() - run.start())).sum::<i64>()
    };
    world.ops.iter().enumerate().map(|(number, written)| (number, inserted(&written.update))).collect()
}
