//! Deciding: what a request means on a view, as ops or as a refusal. Nothing happens here.
//!
//! [`plan`] goes through the commands in order. Each op that a command makes is folded into a layer at once, so that
//! later commands of the same request see it. One file for each kind of thing that commands change.

mod conflicts;
mod edges;
mod members;
mod records;
mod tables;
mod text;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use openprod_model::bundle::{BundleKind, MAX_OPS, Stamp};
use openprod_model::ids::{ActorId, EdgeId, EntityId, OpRef};
use openprod_model::operation::{Basis, Operation, RawOp};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Name, Text};

use crate::cell::{Cell, Content, Tip};
use crate::command::{Command, Created, MAX_COMMANDS, Request, Stance};
use crate::compose::{self, Putting};
use crate::conflict::{self, Conflict};
use crate::edits::Edit;
use crate::read::{self, Membership, Table};
use crate::text::{ClientId, Document, Kind};
use crate::view::{Layer, Layered, Read, ReadFailure, View};
use crate::{describe, fold, register};

/// Why a request was not planned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Problem {
    /// The caller's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadFailure),
}

impl From<openprod_model::value::InvalidValue> for Problem {
    fn from(invalid: openprod_model::value::InvalidValue) -> Self {
        Self::Refused(invalid.into())
    }
}

/// What a plan gives.
pub type Decision<T> = Result<T, Problem>;

/// What the author of a request had seen.
pub trait Seen {
    /// The writes of a cell that stood at the author's base, and his session's own later ones.
    /// None if the request has no base.
    fn seen(&self, cell: &Cell) -> Read<Option<Vec<OpRef>>>;

    /// What stood in a cell before an op wrote over it, as far as is remembered.
    fn before(&self, cell: &Cell, op: OpRef) -> Read<Vec<Content>>;

    /// Shows to `tell` the document of `cells`, which read as one, as the author had seen it: as it was at his base, with
    /// his session's later edits and `more` on top. False, and nothing is shown, if the request has no base, or if what
    /// he wrote later builds on what he cannot have seen then: he edits what stands.
    fn with_document(
        &self,
        _cells: &[Cell],
        _kind: Kind,
        _more: &[Edit],
        _tell: &mut dyn FnMut(&Document),
    ) -> Read<bool> {
        Ok(false)
    }
}

/// Nothing is known of what the author had seen: a one-shot command line.
pub struct NoBase;

impl Seen for NoBase {
    fn seen(&self, _: &Cell) -> Read<Option<Vec<OpRef>>> {
        Ok(None)
    }
    fn before(&self, _: &Cell, _: OpRef) -> Read<Vec<Content>> {
        Ok(Vec::new())
    }
}

/// Makes fresh ids.
pub trait FreshIds {
    /// A record's.
    fn entity(&mut self) -> EntityId;
    /// An edge's.
    fn edge(&mut self) -> EdgeId;
    /// Who writes in a document, for this `purpose`: the same for the same purpose for as long as the process runs, and
    /// never again.
    fn writer(&mut self, purpose: &[u8]) -> ClientId;
}

/// What a request comes to.
#[derive(Debug)]
pub struct Plan {
    /// The ops, as they will be sealed.
    pub ops: Vec<RawOp>,
    /// The same folded, to be read on top of the view that was planned on.
    pub layer: Layer,
    /// What is made, with the index of the command that makes it.
    pub created: Vec<(u32, Created)>,
    /// The conflicts that this request opened, or made wider.
    pub opened: Vec<Conflict>,
    /// What makes the bundle.
    pub kind: BundleKind,
    /// The sentence for the undo menu.
    pub label: Text,
}

/// Plans `request` on `view` for the author and clock of `stamp`.
pub fn plan(
    view: &dyn View,
    seen: &dyn Seen,
    ids: &mut dyn FreshIds,
    stamp: Stamp,
    request: &Request,
) -> Decision<Plan> {
    check(view, stamp.actor, request)?;
    let planner = Planner {
        base: view,
        seen,
        ids,
        stamp,
        stance: request.stance,
        hand: hand(request),
        automatic: request.kind == BundleKind::IMPORT,
        layer: Layer::default(),
        ops: Vec::new(),
        planned: HashSet::new(),
        created: Vec::new(),
        touched: Vec::new(),
        command: 0,
        tables: Vec::new(),
    };
    planner.all(request)
}

fn check(view: &dyn View, actor: ActorId, request: &Request) -> Decision<()> {
    if request.commands.is_empty() {
        return Err(Refusal::new(Reason::InvalidRequest, "The request holds no commands.").at("commands").into());
    }
    if request.commands.len() > MAX_COMMANDS {
        let message = format!("{} commands are more than the {MAX_COMMANDS} of one request.", request.commands.len());
        return Err(Refusal::new(Reason::TooLarge, message)
            .at("commands")
            .next("Send them in several requests.")
            .into());
    }
    if request.stance == Stance::IfUnchanged && request.base.is_none() {
        let message = "\"if unchanged\" needs the revision since which nothing may have changed.";
        return Err(Refusal::new(Reason::InvalidRequest, message).at("base").into());
    }
    admitted(view, actor)
}

/// Refuses an actor who is not a member.
pub(crate) fn admitted(view: &dyn View, actor: ActorId) -> Decision<()> {
    if read::membership(view, actor)? != Membership::Admitted {
        let message = format!("Actor {} is not a member of this workspace.", actor.short());
        return Err(Refusal::new(Reason::NotAMember, message).next("Ask a member to admit it.").into());
    }
    Ok(())
}

fn not_alone() -> Refusal {
    let message = "What undoes and redoes stands alone in its request.";
    Refusal::new(Reason::InvalidRequest, message).next("Send it in a request of its own.")
}

/// The conflicts of a view about what was touched, and about what hangs on it.
pub(crate) fn opened<'a>(view: &dyn View, touched: impl IntoIterator<Item = &'a Cell>) -> Read<Vec<Conflict>> {
    let mut suspects = BTreeSet::new();
    for cell in touched.into_iter().collect::<BTreeSet<_>>() {
        suspects.extend(conflict::related(view, cell)?);
    }
    let mut opened = BTreeMap::new();
    for cell in suspects {
        if let Some(conflict) = conflict::of(view, &cell)? {
            opened.insert(conflict.cell.clone(), conflict);
        }
    }
    Ok(opened.into_values().collect())
}

/// A plan in the making.
struct Planner<'a> {
    base: &'a dyn View,
    seen: &'a dyn Seen,
    ids: &'a mut dyn FreshIds,
    stamp: Stamp,
    stance: Stance,
    /// See [`hand`].
    hand: Vec<u8>,
    /// Whether no person made these very writes: they never close a conflict and never open one on a clean field.
    automatic: bool,
    layer: Layer,
    ops: Vec<RawOp>,
    /// What refers to the ops of this very request: their author has seen them.
    planned: HashSet<OpRef>,
    created: Vec<(u32, Created)>,
    touched: Vec<Cell>,
    command: u32,
    /// Tables already looked up, under the names used for them.
    tables: Vec<(Name, Table)>,
}

impl Planner<'_> {
    fn all(mut self, request: &Request) -> Decision<Plan> {
        for (index, command) in request.commands.iter().enumerate() {
            self.command = u32::try_from(index).unwrap_or(u32::MAX);
            self.one(command).map_err(|problem| match problem {
                Problem::Refused(refusal) => {
                    Problem::Refused(refusal.within(&format!("commands[{index}].{}", command.word())))
                }
                failure @ Problem::Read(_) => failure,
            })?;
        }
        let label = match &request.label {
            Some(label) => label.clone(),
            None => describe::label(&self.view(), &request.commands)?,
        };
        let kind = if request.kind == BundleKind::EDIT { kind_of(&request.commands) } else { request.kind };
        let opened = opened(&self.view(), &self.touched)?;
        Ok(Plan { ops: self.ops, layer: self.layer, created: self.created, opened, kind, label })
    }

    fn one(&mut self, command: &Command) -> Decision<()> {
        match command {
            Command::CreateTable { name, description, columns } => self.create_table(name, description, columns),
            Command::AlterTable { table, changes } => self.alter_table(table, changes),
            Command::DropTable { table } => self.drop_table(table),
            Command::CreateRecord { record, table, values } => self.create_record(*record, table, values),
            Command::AddToTable { record, table, values } => self.add_to_table(*record, table, values),
            Command::RemoveFromTable { record, table } => self.remove_from_table(*record, table),
            Command::DeleteRecord { record } => self.delete_record(*record),
            Command::SetFields { record, table, values } => self.set_fields(*record, table, values),
            Command::CreateEdge { edge, edge_type, source, target, properties, place } => {
                let ends = edges::ends(edge_type, *source, *target);
                self.create_edge(*edge, ends, properties, *place)
            }
            Command::MoveEdge { edge, place } => self.move_edge(*edge, *place),
            Command::DeleteEdge { edge } => self.delete_edge(*edge),
            Command::SetEdgeProperties { edge, values } => self.set_edge_properties(*edge, values),
            Command::PutSetting { setting, value } => self.put_setting(setting, value.as_ref()),
            Command::AdmitMember { member, name } => self.admit_member(*member, name.as_ref()),
            Command::RemoveMember { member, why } => self.remove_member(*member, why),
            Command::NameActor { actor, name } => self.name_actor(*actor, name),
            Command::Resolve { cell, choice } => self.resolve(cell, choice),
            Command::Undo { .. } | Command::Redo { .. } => Err(not_alone().into()),
            Command::EditText { record, table, column, edits } => self.edit_text(*record, table, column, edits),
            Command::SetText { record, table, column, text } => self.set_text(*record, table, column, text),
            Command::EditSequence { record, table, column, edits } => self.edit_sequence(*record, table, column, edits),
            Command::ApplyUpdate { record, table, column, client, update } => {
                self.apply_update(*record, table, column, (*client, update))
            }
        }
    }

    /// The view that was planned on, with what was planned so far.
    fn view(&self) -> Layered<'_> {
        self.layer.over(self.base)
    }

    /// Adds an op and folds it.
    fn push(&mut self, operation: Operation) -> Decision<()> {
        if self.ops.len() >= MAX_OPS {
            let message = format!("This comes to more than the {MAX_OPS} operations that one bundle may hold.");
            return Err(Refusal::new(Reason::TooLarge, message).next("Split it into several requests.").into());
        }
        let (op, raw) = self.stamp.op_and_raw(self.ops.len(), operation);
        self.layer.fold(self.base, &op, None)?;
        self.planned.insert(op.reference);
        if let Some(operation) = &op.operation {
            self.touched.extend(fold::writes(operation).into_iter().map(|write| write.cell));
        }
        self.ops.push(raw);
        Ok(())
    }

    /// What this write says that its author knew of `cell` (I-5).
    fn basis(&self, cell: &Cell) -> Decision<Basis> {
        let mut bases = self.bases(std::slice::from_ref(cell))?;
        Ok(bases.pop().expect("one cell has one basis"))
    }

    /// What a write of several cells that read as one says that its author knew of each: they conflict as one, and are
    /// decided as one.
    fn bases(&self, cells: &[Cell]) -> Decision<Vec<Basis>> {
        let mut known = Vec::new();
        for cell in cells {
            known.push(self.known(cell)?);
        }
        let standing = united(known.iter().flat_map(|known| &known.standing));
        let based = known.iter().all(|known| known.based);
        let seen = united(known.iter().flat_map(|known| known.standing.iter().filter(|tip| known.seen(tip))));
        let conflicting = register::in_conflict(&cells[0], if based { &seen } else { &standing });
        let closes = conflicting && !self.automatic && (based || self.stance == Stance::Decide);
        let equal = register::equal_to_shown(&cells[0], &standing);
        let each = known.into_iter().map(|known| {
            let cautious = if based { self.automatic } else { self.automatic || self.stance != Stance::Decide };
            let mut preds = known.preds;
            preds.retain(|op| !cautious || equal.contains(op) || known.own.contains(op));
            preds.sort_unstable();
            preds.dedup();
            Basis { preds, restores: None, decision: closes }
        });
        Ok(each.collect())
    }

    /// What a decision says of cells that read as one: it closes all that its author had seen standing there.
    fn verdicts(&self, cells: &[Cell]) -> Decision<Vec<Basis>> {
        let mut verdicts = Vec::new();
        for cell in cells {
            let mut preds = self.known(cell)?.preds;
            preds.sort_unstable();
            preds.dedup();
            verdicts.push(Basis { preds, restores: None, decision: true });
        }
        Ok(verdicts)
    }

    fn push_all(&mut self, puttings: Vec<Putting>) -> Decision<()> {
        compose::operations(puttings).into_iter().try_for_each(|operation| self.push(operation))
    }

    fn known(&self, cell: &Cell) -> Decision<Known> {
        let standing = self.view().tips(cell)?;
        let own: Vec<OpRef> = standing.iter().map(|tip| tip.op).filter(|op| self.planned.contains(op)).collect();
        let seen = self.seen.seen(cell)?;
        let based = seen.is_some();
        let mut preds = seen.unwrap_or_else(|| standing.iter().map(|tip| tip.op).collect());
        if based && self.stance == Stance::IfUnchanged {
            refuse_changed(cell, &standing, &preds, &own)?;
        }
        preds.extend(&own);
        Ok(Known { standing, own, preds, based })
    }

    fn table(&mut self, name: &Name) -> Decision<Table> {
        if let Some((_, table)) = self.tables.iter().find(|(used, _)| used == name) {
            return Ok(table.clone());
        }
        let Some(table) = read::table(&self.view(), name)? else {
            let known = read::tables(&self.view())?;
            let known = known.iter().map(|table| table.spec.name.as_str());
            let refusal = Refusal::new(Reason::UnknownTable, format!("There is no table \"{name}\".")).at("table");
            return Err(refusal.next(describe::suggestion(name.as_str(), known, "table")).into());
        };
        self.tables.push((name.clone(), table.clone()));
        Ok(table)
    }
}

/// Whose hand writes in documents: everybody who edits what stands writes as one; who edits what he saw earlier writes
/// as his session, whose own edits he always sees, or else as this request alone.
fn hand(request: &Request) -> Vec<u8> {
    match (request.base, request.session) {
        (None, _) => Vec::new(),
        (Some(_), Some(session)) => session.as_bytes().to_vec(),
        (Some(_), None) => request.command_id.as_bytes().to_vec(),
    }
}

/// What the author of a write knew of one of its cells.
struct Known {
    standing: Vec<Tip>,
    /// Of those, what this very request wrote.
    own: Vec<OpRef>,
    /// The writes that the author had seen, those of this request included.
    preds: Vec<OpRef>,
    /// Whether that follows from a base, or is only what stands now.
    based: bool,
}

impl Known {
    fn seen(&self, tip: &Tip) -> bool {
        self.preds.contains(&tip.op)
    }
}

/// Writes of several cells as one register: each op once, in canonical order.
fn united<'a>(tips: impl Iterator<Item = &'a Tip>) -> Vec<Tip> {
    let mut tips: Vec<Tip> = tips.cloned().collect();
    tips.sort_by_key(Tip::order);
    tips.dedup_by_key(|tip| tip.op);
    tips
}

fn refuse_changed(cell: &Cell, standing: &[Tip], seen: &[OpRef], own: &[OpRef]) -> Decision<()> {
    if standing.iter().all(|tip| seen.contains(&tip.op) || own.contains(&tip.op)) {
        return Ok(());
    }
    let message = format!("{} changed since the revision that this edit was made on.", describe::cell(cell));
    Err(Refusal::new(Reason::Changed, message).next("Read it again and decide.").into())
}

/// A request that only decides conflicts, only changes tables or only members is named after that in history.
fn kind_of(commands: &[Command]) -> BundleKind {
    let schema = |command: &Command| {
        matches!(command, Command::CreateTable { .. } | Command::AlterTable { .. } | Command::DropTable { .. })
    };
    let member = |command: &Command| {
        matches!(command, Command::AdmitMember { .. } | Command::RemoveMember { .. } | Command::NameActor { .. })
    };
    if commands.iter().all(|command| matches!(command, Command::Resolve { .. })) {
        BundleKind::RESOLUTION
    } else if commands.iter().all(schema) {
        BundleKind::SCHEMA
    } else if commands.iter().all(member) {
        BundleKind::MEMBER
    } else {
        BundleKind::EDIT
    }
}
