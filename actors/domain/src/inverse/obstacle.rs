//! Obstacles: why a bundle cannot be undone or done again, typed for programs and in a sentence for people.

use std::collections::{BTreeMap, BTreeSet};

use openprod_model::bundle::{Bundle, MAX_OPS};
use openprod_model::ids::ActorId;
use openprod_model::value::Name;
use serde::{Deserialize, Serialize};

use super::Turn;
use crate::cell::{Cell, Content};
use crate::compose::Putting;
use crate::describe;
use crate::read;
use crate::view::{Read, ReadFailure, View};

/// The kinds of operations that have no inverse, and the sentence that says why.
pub const NEVER_UNDONE: &[(u16, &str)] = &[
    (1, "A workspace is founded once."),
    // Who may write is not a value that comes and goes: what an admitted member did stays done.
    (40, "An admission is not undone: remove the member instead."),
    (41, "A removal of a member is not undone: admit the member again instead."),
];

/// How many names a sentence tells.
const NAMED: usize = 4;

/// What sort of thing stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Somebody has changed the same cells since.
    Changed,
    /// Somebody has removed what it is about.
    Removed,
    /// It would hide what was written since.
    WouldHide,
    /// Such things have no inverse.
    NeverUndone,
    /// It holds what only a newer version of this program understands.
    NewerVersion,
    /// It edited a document or a sequence.
    Text,
    /// The tables are such that it does not fit any more.
    DoesNotFit,
    /// It is too much for one bundle.
    TooLarge,
    /// The log holds it in part only.
    Damaged,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// For programs.
    pub cause: Cause,
    /// For people.
    pub sentence: String,
    /// Who has to do with it, by name; may be empty.
    pub names: Vec<String>,
}

/// Why an inverse was not made.
#[derive(Debug, Clone)]
pub enum Snag {
    /// Something stands in the way.
    Obstacle(Box<Obstacle>),
    /// The state could not be read.
    Read(ReadFailure),
}

/// What an attempt at an inverse gives.
pub type Attempt<T> = Result<T, Snag>;

impl From<Obstacle> for Snag {
    fn from(obstacle: Obstacle) -> Self {
        Self::Obstacle(Box::new(obstacle))
    }
}

impl From<ReadFailure> for Snag {
    fn from(failure: ReadFailure) -> Self {
        Self::Read(failure)
    }
}

impl Obstacle {
    fn plain(cause: Cause, sentence: impl Into<String>) -> Self {
        Self { cause, sentence: sentence.into(), names: Vec::new() }
    }

    pub(super) fn newer() -> Self {
        Self::plain(Cause::NewerVersion, "It was made by a newer version of this program, which can undo it.")
    }

    pub(super) fn first_name() -> Self {
        Self::plain(Cause::NeverUndone, "The first name of a member is not taken away: give another name instead.")
    }

    pub(super) fn text() -> Self {
        Self::plain(Cause::Text, "It edited a text or a list that people write together, in a column that holds none.")
    }

    pub(super) fn damaged() -> Self {
        Self::plain(Cause::Damaged, "It is damaged in this node's log: `openprod verify` tells more.")
    }

    pub(super) fn too_large() -> Self {
        let sentence = format!("It comes to more than the {MAX_OPS} operations that can happen at once.");
        Self::plain(Cause::TooLarge, sentence)
    }

    /// Of cells that these people have changed.
    pub(super) fn changed(view: &dyn View, cells: &[(Cell, Vec<ActorId>)]) -> Read<Self> {
        let names = names(view, cells)?;
        let were = if cells.len() == 1 { "was" } else { "were" };
        let sentence = format!("{} {were} changed by {} since.", subjects(view, cells)?, listed(&names));
        Ok(Self { cause: Cause::Changed, sentence, names })
    }

    /// Of cells on what these people have removed.
    pub(super) fn removed(view: &dyn View, cells: &[(Cell, Vec<ActorId>)]) -> Read<Self> {
        let names = names(view, cells)?;
        let sentence = format!("{} removed what it is about since: {}.", listed(&names), subjects(view, cells)?);
        Ok(Self { cause: Cause::Removed, sentence, names })
    }

    /// Of cells that these people wrote and that would be hidden.
    pub(super) fn would_hide(view: &dyn View, turn: Turn, cells: &[(Cell, Vec<ActorId>)]) -> Read<Self> {
        let names = names(view, cells)?;
        let (who, what) = (listed(&names), subjects(view, cells)?);
        let sentence = format!("{} it would hide what {who} wrote since: {what}.", doing(turn));
        Ok(Self { cause: Cause::WouldHide, sentence, names })
    }
}

fn doing(turn: Turn) -> &'static str {
    match turn {
        Turn::Undo => "Undoing",
        Turn::Redo => "Redoing",
    }
}

fn names(view: &dyn View, cells: &[(Cell, Vec<ActorId>)]) -> Read<Vec<String>> {
    let actors: BTreeSet<ActorId> = cells.iter().flat_map(|(_, by)| by.iter().copied()).collect();
    actors.into_iter().map(|actor| name(view, actor)).collect()
}

/// What people call an actor; a part of its id where nobody gave a name.
pub(super) fn name(view: &dyn View, actor: ActorId) -> Read<String> {
    Ok(read::actor_name(view, actor)?.map_or_else(|| actor.short(), |name| describe::escaped(name.as_str())))
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "somebody".to_owned(),
        [one] => one.clone(),
        [all @ .., last] if names.len() <= NAMED => format!("{} and {last}", all.join(", ")),
        _ => format!("{} and {} more", names[..NAMED].join(", "), names.len() - NAMED),
    }
}

/// The first cell, and how many more.
fn subjects(view: &dyn View, cells: &[(Cell, Vec<ActorId>)]) -> Read<String> {
    let distinct: BTreeSet<&Cell> = cells.iter().map(|(cell, _)| cell).collect();
    let Some((first, _)) = cells.first() else { return Ok("nothing".to_owned()) };
    let first = describe::cell_on(view, first)?;
    Ok(if distinct.len() > 1 { format!("{first} and {} more", distinct.len() - 1) } else { first })
}

/// Refuses bundles with operations that have no inverse.
pub(super) fn possible(bundle: &Bundle) -> Attempt<()> {
    for op in bundle.ops() {
        if op.operation.is_none() {
            return Err(Obstacle::newer().into());
        }
        if let Some((_, why)) = NEVER_UNDONE.iter().find(|(kind, _)| *kind == op.kind) {
            return Err(Obstacle::plain(Cause::NeverUndone, *why).into());
        }
    }
    Ok(())
}

/// Refuses what tables and columns do not allow any more: a name that is taken by now, a field that needs a value.
pub(super) fn fits_tables<'a>(view: &dyn View, puttings: impl Iterator<Item = &'a Putting>) -> Attempt<()> {
    let put: BTreeMap<&Cell, &Content> = puttings.map(|putting| (&putting.cell, &putting.content)).collect();
    for (cell, content) in &put {
        match (cell, content) {
            (Cell::Table { .. }, Content::Table(spec)) => name_is_free(view, &put, cell, &spec.name)?,
            (Cell::Column { table, .. }, Content::Column(spec)) => {
                column_is_free(view, &put, cell, table, &spec.name)?;
            }
            (Cell::Field { table, entity, field }, Content::Absent) => {
                let facet = Cell::Facet { table: table.clone(), entity: *entity };
                if put.get(&facet) != Some(&&Content::Absent) && read::holds_facet(view, table, *entity)? {
                    needs_no_value(view, cell, table, field)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is put, by cell.
type Put<'a> = BTreeMap<&'a Cell, &'a Content>;

fn name_is_free(view: &dyn View, put: &Put<'_>, cell: &Cell, name: &Name) -> Attempt<()> {
    for table in read::tables(view)?.into_iter().filter(|table| table.spec.name == *name) {
        let other = Cell::Table { table: table.key };
        if other != *cell && !put.contains_key(&other) {
            let sentence = format!("There is another table called \"{name}\" by now.");
            return Err(Obstacle::plain(Cause::DoesNotFit, sentence).into());
        }
    }
    Ok(())
}

fn column_is_free(view: &dyn View, put: &Put<'_>, cell: &Cell, table: &Name, name: &Name) -> Attempt<()> {
    let now = read::cell(view, cell.clone())?;
    if matches!(now.content(), Some(Content::Column(spec)) if spec.name == *name) {
        return Ok(());
    }
    let Some(known) = read::table_of_key(view, table)? else { return Ok(()) };
    for column in known.columns.into_iter().filter(|column| column.spec.name == *name) {
        let other = Cell::Column { table: table.clone(), column: column.key };
        if other != *cell && !put.contains_key(&other) {
            let sentence = format!("There is another field called \"{name}\" in {} by now.", known.spec.name);
            return Err(Obstacle::plain(Cause::DoesNotFit, sentence).into());
        }
    }
    Ok(())
}

fn needs_no_value(view: &dyn View, cell: &Cell, table: &Name, field: &Name) -> Attempt<()> {
    let column = Cell::Column { table: table.clone(), column: field.clone() };
    if let Some(Content::Column(spec)) = read::cell(view, column)?.content()
        && spec.required
    {
        let sentence = format!("{} would be empty and needs a value by now.", describe::cell_on(view, cell)?);
        return Err(Obstacle::plain(Cause::DoesNotFit, sentence).into());
    }
    Ok(())
}
