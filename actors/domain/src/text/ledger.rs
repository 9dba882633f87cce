//! What a document has taken so far, kept beside Yrs: enough to judge an update before Yrs sees it.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::{Block, Content, Flaw, Run, Scanned, Span, Unit};
use super::write::rest_of;

/// What is to be done with an update that is well-formed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It follows on what is known.
    Fits,
    /// It holds units that are known already, perhaps with other content.
    Overlaps,
    /// It cannot be taken before this unit is known.
    Waits(Unit),
    /// It can never be taken.
    Flawed(Flaw),
}

/// The units that a document knows.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Of each client, the first clock that is not known. There are no gaps below it.
    known: BTreeMap<u64, u32>,
    /// The second halves of letters of two units (emoji, rare signs): Yrs miscounts where one is cut off.
    halves: BTreeSet<Unit>,
}

impl Ledger {
    pub(super) fn known(&self, client: u64) -> u32 {
        self.known.get(&client).copied().unwrap_or(0)
    }

    pub(super) fn knows(&self, unit: Unit) -> bool {
        unit.clock < self.known(unit.client)
    }

    pub(super) fn is_half(&self, unit: Unit) -> bool {
        self.halves.contains(&unit)
    }

    /// Whether one of `spans` begins or ends in the middle of a letter.
    pub(super) fn divides(&self, spans: &[Span]) -> bool {
        let ends = |span: &Span| [span.start, span.end].map(|clock| Unit { client: span.client, clock });
        spans.iter().flat_map(ends).any(|unit| self.is_half(unit))
    }

    /// Judges an update of one client at most.
    pub(super) fn judge(&self, update: &Scanned<'_>) -> Verdict {
        let run = update.runs.first();
        if let Some(run) = run {
            let known = self.known(run.client);
            match run.start().cmp(&known) {
                std::cmp::Ordering::Less => return Verdict::Overlaps,
                std::cmp::Ordering::Greater => {
                    return Verdict::Waits(Unit { client: run.client, clock: run.start() - 1 });
                }
                std::cmp::Ordering::Equal => {}
            }
        }
        if let Some(missing) = self.missing(update, run) {
            return Verdict::Waits(missing);
        }
        let new: Vec<Unit> = run.map(halves_of).unwrap_or_default();
        let any = !self.halves.is_empty() || !new.is_empty();
        let divides = any && boundaries(update).any(|unit| self.is_half(unit) || new.binary_search(&unit).is_ok());
        if divides { Verdict::Flawed(Flaw::DividesLetter) } else { Verdict::Fits }
    }

    /// The first unit that `update` builds on and that is neither known nor made by it before.
    fn missing(&self, update: &Scanned<'_>, run: Option<&Run<'_>>) -> Option<Unit> {
        let made = |unit: Unit, before: u32| run.is_some_and(|run| run.client == unit.client && unit.clock < before);
        let blocks = run.into_iter().flat_map(|run| &run.blocks);
        let mut wanted = blocks.flat_map(|block| {
            let ends = [block.origin, block.right].into_iter().flatten();
            ends.map(|unit| (unit, block.clock))
        });
        let neighbour = wanted.find(|(unit, before)| !self.knows(*unit) && !made(*unit, *before));
        let end = run.map_or(0, Run::end);
        let deleted = || {
            let last = update.deletes.iter().map(|span| Unit { client: span.client, clock: span.end - 1 });
            last.into_iter().find(|unit| !self.knows(*unit) && !made(*unit, end))
        };
        neighbour.map(|(unit, _)| unit).or_else(deleted)
    }

    /// `update` without the units that are known; none if that would divide a letter.
    pub(super) fn unknown_part<'a>(&self, update: Scanned<'a>) -> Option<Scanned<'a>> {
        let mut runs = Vec::new();
        for run in update.runs {
            let known = self.known(run.client);
            let mut blocks = Vec::new();
            for block in run.blocks.into_iter().filter(|block| block.end() > known) {
                blocks.push(if block.clock < known { rest_of(run.client, &block, known)? } else { block });
            }
            if !blocks.is_empty() {
                runs.push(Run { client: run.client, blocks });
            }
        }
        Some(Scanned { runs, deletes: update.deletes })
    }

    /// Notes that `update` was taken.
    pub(super) fn record(&mut self, update: &Scanned<'_>) {
        for run in &update.runs {
            self.known.insert(run.client, run.end());
            self.halves.extend(halves_of(run));
        }
    }
}

/// The units before which `update` would have a block begin: those behind origins, those to the right, and the first
/// and first-behind of what it deletes.
fn boundaries(update: &Scanned<'_>) -> impl Iterator<Item = Unit> {
    let behind = |unit: Unit| Unit { clock: unit.clock + 1, ..unit };
    let blocks = update.runs.iter().flat_map(|run| &run.blocks);
    let of_block = move |block: &Block<'_>| block.origin.map(behind).into_iter().chain(block.right);
    let of_span = |span: &Span| [span.start, span.end].map(|clock| Unit { client: span.client, clock });
    blocks.flat_map(of_block).chain(update.deletes.iter().flat_map(of_span))
}

fn halves_of(run: &Run<'_>) -> Vec<Unit> {
    let mut halves = Vec::new();
    for block in &run.blocks {
        let Content::Letters(text) = &block.content else { continue };
        if text.len() == block.len as usize {
            continue;
        }
        let mut clock = block.clock;
        for letter in text.chars() {
            if letter.len_utf16() == 2 {
                halves.push(Unit { client: run.client, clock: clock + 1 });
            }
            clock += if letter.len_utf16() == 2 { 2 } else { 1 };
        }
    }
    halves
}
