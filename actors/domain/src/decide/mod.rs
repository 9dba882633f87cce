//! Deciding: what a request means on a view, as ops or as a refusal. Nothing happens here.
//!
//! [`plan`] goes through the commands in order. Each op that a command makes is folded into a layer at once, so that
//! later commands of the same request see it. One file for each kind of thing that commands change.

mod assets;
mod basis;
mod conflicts;
mod edges;
mod members;
mod places;
mod records;
mod split;
mod tables;
mod text;
mod unions;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use openprod_model::bundle::{BundleKind, MAX_OPS, Op, Stamp};
use openprod_model::ids::{ActorId, EdgeId, EntityId, OpRef};
use openprod_model::operation::{Operation, RawOp};
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Name, Text};

use crate::cell::{Cell, Content};
use crate::command::{Command, Created, MAX_COMMANDS, Request, Stance};
use crate::compose::{self, Putting};
use crate::conflict::{self, Conflict};
use crate::edits::Edit;
use crate::overlay::Staging;
use crate::overlay::commit::Commit;
use crate::overlay::drift::Drift;
use crate::read::{self, Membership, Table};
use crate::text::{ClientId, Document, Kind};
use crate::view::{Layer, Layered, Read, ReadFailure, View};
use crate::{describe, fold};

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

impl Plan {
    /// The ops again, as the stamp that they were planned with gives them their references.
    pub fn made(&self, stamp: Stamp) -> Vec<Op> {
        let operation = |raw| Operation::from_raw(raw).ok().flatten().expect("what was planned reads back");
        self.ops.iter().enumerate().map(|(index, raw)| stamp.op(index, operation(raw))).collect()
    }
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
        related: Vec::new(),
        command: 0,
        tables: Vec::new(),
    };
    planner.all(request)
}

/// Plans the commit of an overlay, for a request that holds nothing else. Refused while drift is undecided.
pub fn commit(view: &dyn View, stamp: Stamp, request: &Request, staging: &Staging, name: &str) -> Decision<Plan> {
    check(view, stamp.actor, request)?;
    if let Some(refusal) = undecided(view, &staging.drift(view)?)? {
        return Err(refusal.into());
    }
    let Commit { ops, layer, touched } = staging.commit(view, stamp)?;
    if ops.is_empty() {
        let message = format!("Nothing is changed in the overlay \"{name}\".");
        return Err(Refusal::new(Reason::InvalidRequest, message).next("Discard it, if it is of no use.").into());
    }
    let label = match &request.label {
        Some(label) => label.clone(),
        None => describe::plain(&format!("Commit {name}")),
    };
    let opened = opened(&layer.over(view), &touched)?;
    Ok(Plan { ops, layer, created: Vec::new(), opened, kind: BundleKind::OVERLAY, label })
}

fn undecided(view: &dyn View, drifts: &[Drift]) -> Read<Option<Refusal>> {
    const NAMED: usize = 3;
    let Some(_) = drifts.first() else { return Ok(None) };
    let named = drifts.iter().take(NAMED).map(|drift| describe::cell_on(view, &drift.cell));
    let named = named.collect::<Read<Vec<_>>>()?.join("; ");
    let more = if drifts.len() > NAMED { format!("; and {} more", drifts.len() - NAMED) } else { String::new() };
    let message = format!("Others have changed what this overlay changes too: {named}{more}.");
    Ok(Some(Refusal::new(Reason::Drifted, message).next("Decide each: keep mine, or use canonical.")))
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
    /// Cells that were not written, but came to read as one with others.
    related: Vec<Cell>,
    command: u32,
    /// Tables already looked up, under the names used for them.
    tables: Vec<(Name, Arc<Table>)>,
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
        let kind = if request.kind == BundleKind::EDIT { kind_of(&request.commands) } else { request.kind };
        let label = match &request.label {
            Some(label) => label.clone(),
            // What was merged is called as it was before: afterwards it is one.
            None if kind == BundleKind::MERGE => describe::label(self.base, &[], &request.commands)?,
            None => describe::label(&self.view(), &self.tables, &request.commands)?,
        };
        let opened = self.opened()?;
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
            Command::MergeRecords { records } => self.merge_records(records),
            Command::SplitRecord { record, ids } => self.split_record(*record, ids),
            Command::SplitOff { record, tables, edges, new } => self.split_off(*record, tables, edges, *new),
            Command::ConfirmMapping { one, other } => self.confirm_mapping(one, other),
            Command::RejectMapping { one, other } => self.reject_mapping(one, other),
            Command::RevokeMapping { one, other } => self.revoke_mapping(one, other),
            Command::DeleteAsset { hash, reason } => self.delete_asset(*hash, reason),
            Command::RestoreAsset { hash } => self.restore_asset(*hash),
            Command::CommitOverlay { .. } => {
                let message = "An overlay is committed by a request of its own, outside of overlays.";
                Err(Refusal::new(Reason::InvalidRequest, message).next("Leave the other commands out.").into())
            }
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

    fn push_all(&mut self, puttings: Vec<Putting>) -> Decision<()> {
        compose::operations(puttings).into_iter().try_for_each(|operation| self.push(operation))
    }

    /// The conflicts about whatever was touched, and what hangs on it; and those that merging and mapping made.
    fn opened(&self) -> Decision<Vec<Conflict>> {
        let view = self.view();
        let mut all = opened(&view, &self.touched)?;
        let mut known: BTreeSet<Cell> = all.iter().map(|conflict| conflict.cell.clone()).collect();
        for cell in self.related.iter().collect::<BTreeSet<_>>() {
            let conflict = conflict::of(&view, cell)?;
            if conflict != conflict::of(self.base, cell)? {
                all.extend(conflict.filter(|new| known.insert(new.cell.clone())));
            }
        }
        Ok(all)
    }

    fn table(&mut self, name: &Name) -> Decision<Arc<Table>> {
        if let Some((_, table)) = self.tables.iter().find(|(used, _)| used == name) {
            return Ok(Arc::clone(table));
        }
        let Some(table) = read::table(&self.view(), name)? else {
            let known = read::tables(&self.view())?;
            let known = known.iter().map(|table| table.spec.name.as_str());
            let refusal = Refusal::new(Reason::UnknownTable, format!("There is no table \"{name}\".")).at("table");
            return Err(refusal.next(describe::suggestion(name.as_str(), known, "table")).into());
        };
        let table = Arc::new(table);
        self.tables.push((name.clone(), Arc::clone(&table)));
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

/// A request that only decides conflicts, only repairs identities, only changes tables or only members is named after
/// that in history.
fn kind_of(commands: &[Command]) -> BundleKind {
    let schema = |command: &Command| {
        matches!(command, Command::CreateTable { .. } | Command::AlterTable { .. } | Command::DropTable { .. })
    };
    let member = |command: &Command| {
        matches!(command, Command::AdmitMember { .. } | Command::RemoveMember { .. } | Command::NameActor { .. })
    };
    if commands.iter().all(|command| matches!(command, Command::Resolve { .. })) {
        BundleKind::RESOLUTION
    } else if commands.iter().all(Command::repairs_identity) {
        BundleKind::MERGE
    } else if commands.iter().all(schema) {
        BundleKind::SCHEMA
    } else if commands.iter().all(member) {
        BundleKind::MEMBER
    } else {
        BundleKind::EDIT
    }
}
