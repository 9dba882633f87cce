//! Edits that wait in an overlay: everything staged for a field, as one update of any length and of several clients.
//!
//! It is no update of an op: it grows as people type, and is divided when it is committed. Joining keeps what was typed
//! letter by letter as if it had been typed in one go, so an evening's writing takes the place of its letters.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::admit::without;
use super::inverse::union;
use super::scan::{Block, Content, Flaw, Run, Scanned, Unit, scan};
use super::write::{rest_of, update, updates};
use super::{Kind, MAX_RAW_BYTES};

/// What `earlier`, as it is staged (empty for nothing), and `later`, an update made on top of it, come to.
pub fn joined(earlier: &[u8], later: &[u8]) -> Result<Vec<u8>, Flaw> {
    if earlier.is_empty() {
        return Ok(later.to_vec());
    }
    let kind = kind_of(&[earlier, later])?;
    let (mut all, more) = (scan(earlier, kind)?, scan(later, kind)?);
    for run in more.runs {
        match all.runs.iter_mut().find(|known| known.client == run.client) {
            Some(known) if known.end() == run.start() => go_on(known, run.blocks),
            Some(_) => return Err(Flaw::Claimed),
            None => all.runs.push(run),
        }
    }
    all.deletes = union([all.deletes, more.deletes].concat());
    let bytes = update(kind, &all);
    if bytes.len() > MAX_RAW_BYTES { Err(Flaw::TooLong(bytes.len())) } else { Ok(bytes) }
}

/// What is staged as updates for the log. What can be read by nobody comes to none.
pub fn divided(staged: &[u8]) -> Vec<Vec<u8>> {
    let scanned = kind_of(&[staged]).and_then(|kind| Ok((kind, scan(staged, kind)?)));
    let divide = |(kind, Scanned { runs, deletes })| updates(kind, Scanned { runs: in_order(runs), deletes });
    scanned.map(divide).unwrap_or_default()
}

/// Runs of clients who wrote between each other's letters, in pieces that build only on what comes before.
fn in_order(mut runs: Vec<Run<'_>>) -> Vec<Run<'_>> {
    let mut ordered = Vec::new();
    while runs.len() > 1 {
        let ready = |run: &Run<'_>| run.blocks.iter().take_while(|block| is_ready(&runs, run, block)).count();
        // No letter was written behind one that came later: were it so, nobody could take it in any order.
        let Some((at, ready)) = runs.iter().map(ready).enumerate().find(|(_, ready)| *ready > 0) else { break };
        let Run { client, blocks } = &mut runs[at];
        ordered.push(Run { client: *client, blocks: blocks.drain(..ready).collect() });
        runs.retain(|run| !run.blocks.is_empty());
    }
    ordered.extend(runs);
    ordered
}

/// Whether a block of `run` builds on nothing that the other runs have yet to bring.
fn is_ready(runs: &[Run<'_>], run: &Run<'_>, block: &Block<'_>) -> bool {
    let mut beside = [block.origin, block.right].into_iter().flatten().filter(|unit| unit.client != run.client);
    beside.all(|unit| runs.iter().all(|other| other.client != unit.client || unit.clock < other.start()))
}

/// What is left of `staged` when `committed` is in the log; empty if nothing is.
pub fn remaining<'u>(staged: &[u8], committed: impl IntoIterator<Item = &'u [u8]>) -> Result<Vec<u8>, Flaw> {
    let kind = kind_of(&[staged])?;
    let mut left = scan(staged, kind)?;
    let (mut known, mut deleted) = (BTreeMap::new(), Vec::new());
    for bytes in committed {
        let scanned = scan(bytes, kind)?;
        for run in &scanned.runs {
            let end = known.entry(run.client).or_insert(0);
            *end = run.end().max(*end);
        }
        deleted.extend(scanned.deletes);
    }
    for run in &mut left.runs {
        let end = known.get(&run.client).copied().unwrap_or(0);
        run.blocks.retain(|block| block.end() > end);
        if let Some(first) = run.blocks.first_mut().filter(|block| block.clock < end) {
            *first = rest_of(run.client, first, end).ok_or(Flaw::DividesLetter)?;
        }
    }
    left.runs.retain(|run| !run.blocks.is_empty());
    left.deletes = without(&left.deletes, &union(deleted));
    Ok(if left == Scanned::default() { Vec::new() } else { update(kind, &left) })
}

/// What updates are of that belong together. Mere deletions are of either kind.
fn kind_of(updates: &[&[u8]]) -> Result<Kind, Flaw> {
    let all = |kind| updates.iter().try_for_each(|bytes| scan(bytes, kind).map(|_| ()));
    all(Kind::Text).map(|()| Kind::Text).or_else(|_| all(Kind::List).map(|()| Kind::List))
}

/// Adds `blocks` to a run that ends where they begin.
fn go_on<'a>(run: &mut Run<'a>, blocks: Vec<Block<'a>>) {
    for block in blocks {
        let client = run.client;
        match run.blocks.last_mut() {
            Some(last) if is_one(client, last, &block) => lengthen(last, block),
            _ => run.blocks.push(block),
        }
    }
}

/// Whether two blocks, one right behind the other, are what one would be that was written in one go.
fn is_one(client: u64, last: &Block<'_>, next: &Block<'_>) -> bool {
    let behind = Some(Unit { client, clock: last.end() - 1 });
    let alike = matches!(
        (&last.content, &next.content),
        (Content::Letters(_), Content::Letters(_))
            | (Content::Items(_), Content::Items(_))
            | (Content::Gone, Content::Gone)
    );
    alike && next.origin == behind && next.right == last.right
}

fn lengthen<'a>(last: &mut Block<'a>, next: Block<'a>) {
    last.len += next.len;
    match (&mut last.content, next.content) {
        (Content::Letters(letters), Content::Letters(more)) => letters.to_mut().push_str(&more),
        (Content::Items(items), Content::Items(more)) => Cow::to_mut(items).extend_from_slice(&more),
        _ => {}
    }
}
