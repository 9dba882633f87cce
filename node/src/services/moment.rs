//! Moments: which bundles a request about the past means, exactly.
//!
//! A bundle's past is itself and its ancestors. Most logs are one line, each bundle made upon the one before, and there
//! the past of the bundle at position p is everything up to p, which is read fast. How far a log is one line is found
//! once, by walking it, and remembered; behind its first branch, ancestors are walked one by one. A time means the
//! bundles whose authors' clocks showed at most that time, and their ancestors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use openprod_api::convert::history::AsOf;
use openprod_domain::view::Moment;
use openprod_messages::log::{LogReader, Stored};
use openprod_model::ids::{BundleId, Digest, Position, WorkspaceId};
use openprod_model::refusal::{Reason, Refusal};

use super::reading::{Problem, Stop};

/// Most bundles behind a branch that are walked for one request.
const MAX_WALK: usize = 250_000;
/// How much of the log is read at a time.
const CHUNK_BUNDLES: usize = 512;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
const CHUNK_ENTRIES: usize = 4_096;

/// How far a log is one line.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// The last position of the line.
    upto: Position,
    /// The bundle there, and the log's chain: another log cannot be mistaken for this one.
    last: Option<(Digest, Digest)>,
    /// Whether the bundle behind it is known to be made upon another.
    ended: bool,
}

/// What is known of the lines of this process's logs; one entry for each workspace.
static LINES: Mutex<BTreeMap<WorkspaceId, Line>> = Mutex::new(BTreeMap::new());

/// A log to be asked about its past.
pub(super) struct Past<'a> {
    /// Whose.
    pub(super) workspace: WorkspaceId,
    /// The log.
    pub(super) log: &'a dyn LogReader,
    /// Says when nobody waits any more.
    pub(super) stop: &'a Stop,
}

impl Past<'_> {
    /// How far the state must have folded the log before `as_of` can be read.
    pub(super) fn needed(&self, as_of: AsOf) -> Result<Position, Problem> {
        Ok(match as_of {
            AsOf::Revision(revision) if revision > self.log.tail()?.position => {
                return Err(unknown(format!("There is no revision {revision} yet.")).at("as_of.revision").into());
            }
            AsOf::Revision(revision) => revision,
            AsOf::Digest(digest) => self.position_of(digest)?,
            AsOf::Bundle(id) => self.position_of_id(id)?,
            AsOf::WallMs(_) => Position::ZERO,
        })
    }

    /// The moment that `as_of` means in the log up to `upto`.
    pub(super) fn moment(&self, as_of: AsOf, upto: Position) -> Result<Moment, Problem> {
        match as_of {
            AsOf::Revision(revision) => Ok(Moment::Revision(revision)),
            AsOf::Digest(digest) => self.behind(self.position_of(digest)?),
            AsOf::Bundle(id) => self.behind(self.position_of_id(id)?),
            AsOf::WallMs(ms) => self.at_time(ms, upto),
        }
    }

    /// The bundle at `position` and its ancestors.
    fn behind(&self, position: Position) -> Result<Moment, Problem> {
        let line = self.line(position)?;
        self.closed(BTreeSet::from([position]), line)
    }

    fn at_time(&self, ms: u64, upto: Position) -> Result<Moment, Problem> {
        let early = self.earlier_than(ms, upto)?;
        let Some(last) = early.last().copied() else { return Ok(Moment::Revision(Position::ZERO)) };
        if u64::try_from(early.len()).is_ok_and(|count| count == last.0) {
            return Ok(Moment::Revision(last));
        }
        let line = self.line(last)?;
        self.closed(early, line)
    }

    /// The bundles up to `upto` whose authors' clocks showed at most `ms`.
    fn earlier_than(&self, ms: u64, upto: Position) -> Result<BTreeSet<Position>, Problem> {
        let (mut early, mut from) = (BTreeSet::new(), Position::ZERO.next());
        loop {
            self.stop.check()?;
            let entries = self.log.entries(from, CHUNK_ENTRIES)?;
            let Some((last, _)) = entries.last().filter(|_| from <= upto) else { return Ok(early) };
            from = last.next();
            let fitting = entries.iter().filter(|(at, entry)| *at <= upto && entry.wall_ms <= ms);
            early.extend(fitting.map(|(at, _)| *at));
        }
    }

    /// `positions` and all their ancestors, in a log that is one line up to `line`.
    fn closed(&self, mut positions: BTreeSet<Position>, line: Position) -> Result<Moment, Problem> {
        let mut above = BTreeSet::new();
        // Parents lie before their children; so going down, each bundle is met once, after all its children.
        while let Some(position) = positions.pop_last() {
            if position <= line {
                return Ok(joined(position, above));
            }
            above.insert(position);
            if above.len() > MAX_WALK {
                return Err(too_far().into());
            }
            self.stop.check()?;
            for ancestor in self.ancestors(position)? {
                positions.extend(self.log.position_of(ancestor)?);
            }
        }
        Ok(joined(Position::ZERO, above))
    }

    fn ancestors(&self, position: Position) -> Result<Vec<Digest>, Problem> {
        match self.log.bundle(position)? {
            Some(Stored::Whole(bundle)) => Ok(bundle.ancestors().collect()),
            _ => Err(damaged(position).into()),
        }
    }

    /// How far up to `wanted`, at least, the log is one line.
    fn line(&self, wanted: Position) -> Result<Position, Problem> {
        let mut line = self.known_line()?;
        while !line.ended && line.upto < wanted {
            let chunk = self.log.bundles(line.upto.next(), CHUNK_BUNDLES, CHUNK_BYTES)?;
            if chunk.is_empty() {
                break;
            }
            for (position, entry, stored) in chunk {
                if !follows(&stored, line.last) {
                    line.ended = true;
                    break;
                }
                line = Line { upto: position, last: Some((entry.digest, entry.chain)), ended: false };
            }
            remembered().insert(self.workspace, line);
            self.stop.check()?;
        }
        Ok(line.upto)
    }

    /// What is known of this very log.
    fn known_line(&self) -> Result<Line, Problem> {
        let fresh = Line { upto: Position::ZERO, last: None, ended: false };
        let Some(line) = remembered().get(&self.workspace).copied() else { return Ok(fresh) };
        let here = self.log.entry(line.upto)?.map(|entry| (entry.digest, entry.chain));
        Ok(if here == line.last { line } else { fresh })
    }

    fn position_of(&self, digest: Digest) -> Result<Position, Problem> {
        let position = self.log.position_of(digest)?;
        position.ok_or_else(|| unknown(format!("There is no bundle {}.", digest.short())).at("as_of.bundle").into())
    }

    fn position_of_id(&self, id: BundleId) -> Result<Position, Problem> {
        let position = self.log.position_of_id(id)?;
        position.ok_or_else(|| unknown(format!("There is no bundle {id}.")).at("as_of.bundle").into())
    }
}

fn remembered() -> std::sync::MutexGuard<'static, BTreeMap<WorkspaceId, Line>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a bundle is made upon the one before, if there is one.
fn follows(stored: &Stored, before: Option<(Digest, Digest)>) -> bool {
    let Stored::Whole(bundle) = stored else { return false };
    before.is_none_or(|(before, _)| bundle.ancestors().any(|ancestor| ancestor == before))
}

/// Everything up to `floor`, and `above`.
fn joined(floor: Position, above: BTreeSet<Position>) -> Moment {
    let Some(last) = above.last().copied() else { return Moment::Revision(floor) };
    if u64::try_from(above.len()).is_ok_and(|count| count == last.0 - floor.0) {
        return Moment::Revision(last);
    }
    Moment::Bundles(Arc::new((1..=floor.0).map(Position).chain(above).collect()))
}

/// The last revision up to which everything is part of `moment`: what a reader of it has surely been shown.
pub(super) fn surely_shown(moment: &Moment) -> Position {
    match moment {
        Moment::Revision(revision) => *revision,
        Moment::Bundles(bundles) => {
            let whole = (1..).zip(bundles.iter()).take_while(|(counted, position)| *counted == position.0);
            whole.last().map_or(Position::ZERO, |(_, position)| *position)
        }
    }
}

fn unknown(message: String) -> Refusal {
    Refusal::new(Reason::UnknownHistory, message)
}

fn too_far() -> Refusal {
    let message = format!("More than {MAX_WALK} bundles with branches among them lie before that point.");
    Refusal::new(Reason::TooLarge, message).at("as_of").next("Ask for a revision instead.")
}

fn damaged(position: Position) -> Refusal {
    let message = format!("The bundle at revision {position} is damaged, so it is not known what it was made upon.");
    Refusal::new(Reason::UnknownHistory, message).at("as_of").next("Ask for a revision instead.")
}

#[cfg(test)]
mod tests;
