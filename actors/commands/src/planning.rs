//! Planning: a request becomes a signed bundle and the answer that will be given for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use openprod_domain::cell::Tip;
use openprod_domain::command::Request;
use openprod_domain::conflict::{self, Conflict};
use openprod_domain::decide::{self, FreshIds, Plan, Problem};
use openprod_domain::describe;
use openprod_domain::inverse::take::{self, Named, Skipped, Turned, Wanted};
use openprod_domain::inverse::{Ground, Turn};
use openprod_domain::read::{self, Tables};
use openprod_domain::text::ClientId;
use openprod_domain::view::{Layer, Read, View};
use openprod_messages::commands::{Answer, CommandError, OpenedConflict};
use openprod_messages::environment::Environment;
use openprod_messages::log::{LogReader, LogTrail};
use openprod_messages::snapshot::Snapshot;
use openprod_model::bundle::{Bundle, Draft, MAX_OPS, Malformed, Stamp};
use openprod_model::clock::Hlc;
use openprod_model::identity::Keys;
use openprod_model::ids::{ActorId, Digest, EdgeId, EntityId, OpRef, Position, WorkspaceId};
use openprod_model::refusal::{Reason, Refusal};

use crate::seen::{Maker, SeenAtBase};

/// Everything that planning reads: one consistent picture, owned, so that a long plan can run on another thread.
#[derive(Clone)]
pub(crate) struct Picture {
    pub(crate) workspace: WorkspaceId,
    pub(crate) snapshot: Arc<dyn Snapshot>,
    /// Own bundles above the snapshot, folded.
    pub(crate) layer: Arc<Layer>,
    /// Whose those are.
    pub(crate) pending: Arc<HashMap<OpRef, Maker>>,
    /// The heads of snapshot and pending bundles together.
    pub(crate) heads: Vec<Digest>,
    /// The author's last bundle.
    pub(crate) prev: Option<Digest>,
    /// The greatest clock seen or used.
    pub(crate) clock: Hlc,
    pub(crate) log: Arc<dyn LogReader>,
    pub(crate) env: Environment,
    /// What the client ids in documents are drawn from; never stored.
    pub(crate) secret: Arc<[u8; 32]>,
}

/// A planned and signed request.
pub(crate) struct Planned {
    pub(crate) bundle: Bundle,
    pub(crate) layer: Layer,
    pub(crate) answer: Answer,
}

/// What is told of a plan beside what it made.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) opened: Vec<OpenedConflict>,
    pub(crate) turned: Option<(Turn, Named)>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Draws ids; who writes in documents follows from what this incarnation drew at its start.
pub(crate) struct Ids<'a> {
    pub(crate) env: &'a Environment,
    pub(crate) secret: &'a [u8; 32],
}

impl FreshIds for Ids<'_> {
    fn entity(&mut self) -> EntityId {
        self.env.entity()
    }
    fn edge(&mut self) -> EdgeId {
        self.env.edge()
    }
    fn writer(&mut self, purpose: &[u8]) -> ClientId {
        let hash = blake3::keyed_hash(self.secret, purpose);
        ClientId::new(u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes")))
    }
}

impl Picture {
    /// Plans and signs.
    pub(crate) fn plan(&self, request: &Request, keys: &Keys) -> Result<Planned, CommandError> {
        self.check_base(request.base)?;
        if let Some(wanted) = request.turn() {
            return self.turn(request, wanted, keys);
        }
        let stamp = self.stamp(keys.actor(), request.commands.len());
        let view = self.layer.over(self.snapshot.view());
        let seen = self.eyes(request);
        let plan = decide::plan(&view, &seen, &mut Ids { env: &self.env, secret: &self.secret }, stamp, request)
            .map_err(command_error)?;
        let upper = plan.layer.over(&view);
        let opened = self.all_opened(&upper, &plan, keys.actor())?;
        self.seal(plan, request, stamp, keys, Told { opened, ..Told::default() })
    }

    /// What the author of a request had seen.
    pub(crate) fn eyes(&self, request: &Request) -> SeenAtBase<'_> {
        SeenAtBase {
            snapshot: &self.snapshot,
            layer: &self.layer,
            log: &*self.log,
            base: request.base,
            session: request.session,
            pending: &self.pending,
            own: RefCell::default(),
        }
    }

    /// Plans and signs an undo or a redo. Nothing is pending: what it reads is what the log holds.
    fn turn(&self, request: &Request, wanted: Wanted, keys: &Keys) -> Result<Planned, CommandError> {
        let stamp = self.stamp(keys.actor(), MAX_OPS);
        let (view, trail) = (self.snapshot.view(), LogTrail(&*self.log));
        let ground = Ground { view, history: &*self.snapshot, trail: &trail, actor: keys.actor() };
        let turned = take::plan(ground, self.snapshot.position(), wanted, stamp).map_err(command_error)?;
        let Turned { bundle, skipped, plan } = turned;
        let opened = self.all_opened(&plan.layer.over(view), &plan, keys.actor())?;
        self.seal(plan, request, stamp, keys, Told { opened, turned: Some((wanted.turn, bundle)), skipped })
    }

    /// The conflicts that a plan opens, in sentences; `view` shows what the plan has made of it.
    pub(crate) fn all_opened(
        &self,
        view: &dyn View,
        plan: &Plan,
        author: ActorId,
    ) -> Result<Vec<OpenedConflict>, CommandError> {
        let mut tables = Tables::of(view);
        let opened = plan.opened.iter().map(|conflict| self.opened(&mut tables, conflict, author));
        opened.collect::<Read<Vec<_>>>().map_err(|failure| command_error(failure.into()))
    }

    /// A base must be a revision that this log has, or had shown to somebody.
    pub(crate) fn check_base(&self, base: Option<Position>) -> Result<(), Refusal> {
        match base {
            Some(base) if base > self.snapshot.position() => {
                let message =
                    format!("Revision {base} is ahead of this workspace, which is at {}.", self.snapshot.position());
                let next = "Read again: the workspace may have been restored from a backup.";
                Err(Refusal::new(Reason::UnknownBase, message).at("base").next(next))
            }
            _ => Ok(()),
        }
    }

    /// Who, when and where: with room for as many ops as the commands could come to.
    pub(crate) fn stamp(&self, actor: ActorId, commands: usize) -> Stamp {
        const OPS_PER_COMMAND: usize = 64;
        let room = u32::try_from(commands.saturating_mul(OPS_PER_COMMAND).min(MAX_OPS)).unwrap_or(u32::MAX);
        let hlc = Hlc::tick(self.env.clock.wall_ms(), self.clock, room);
        Stamp { workspace: self.workspace, actor, hlc, op_base: self.env.op_base() }
    }

    pub(crate) fn seal(
        &self,
        plan: Plan,
        request: &Request,
        stamp: Stamp,
        keys: &Keys,
        told: Told,
    ) -> Result<Planned, CommandError> {
        let draft = Draft {
            stamp,
            id: self.env.bundle(),
            wall_ms: self.env.clock.wall_ms(),
            parents: self.heads.clone(),
            prev: self.prev,
            kind: plan.kind,
            label: plan.label,
            source: request.source.clone(),
            undoes: told.turned.iter().map(|(_, bundle)| bundle.digest).collect(),
            ops: plan.ops,
        };
        let bundle = draft.seal(keys).map_err(|malformed| refusal_of(&malformed))?;
        let Told { opened, turned, skipped } = told;
        let (id, digest) = (bundle.header().id, bundle.digest());
        let answer = Answer { bundle: id, digest, created: plan.created, opened, turned, skipped };
        Ok(Planned { bundle, layer: plan.layer, answer })
    }

    fn opened(&self, tables: &mut Tables<'_>, conflict: &Conflict, author: ActorId) -> Read<OpenedConflict> {
        let view = tables.view();
        let mut who = |tip: &Tip| {
            let actor = match conflict::origin(&*self.snapshot, conflict, tip)? {
                Some(position) => self.log.entry(position)?.map_or(author, |entry| entry.actor),
                None => self.pending.get(&tip.op).map_or(author, |maker| maker.actor),
            };
            Ok(read::actor_name(view, actor)?.map_or_else(|| actor.short(), |name| name.to_string()))
        };
        let sentence = describe::conflict(tables, conflict, &mut who)?;
        Ok(OpenedConflict { cell: conflict.cell.key(), sentence })
    }
}

pub(crate) fn refusal_of(malformed: &Malformed) -> Refusal {
    let next = "Split it into several requests.";
    Refusal::new(Reason::TooLarge, format!("This cannot be one bundle: {malformed}.")).next(next)
}

pub(crate) fn command_error(problem: Problem) -> CommandError {
    match problem {
        Problem::Refused(refusal) => CommandError::Refused(refusal),
        Problem::Read(failure) => CommandError::Unavailable(failure.to_string()),
    }
}
