//! Writing: what people and programs ask of machines, made up from what those show.

use std::fmt;

use openprod_domain::command::{Command, Request, Stance};
use openprod_domain::read::{self, Membership};
use openprod_messages::commands::CommandsMsg;
use openprod_messages::oplog::{Hands, OplogMsg};
use openprod_messages::overlays::{Action, Asked, OverlaysMsg};
use openprod_model::bundle::{BundleKind, Source};
use openprod_model::ids::{ActorId, CommandId, EntityId, Position, SessionId};
use openprod_model::value::Value;

use super::clients::Said;
use super::files;
use super::machine::node_keys;
use super::story::Story;
use crate::convergence::acts::{ACTS, HAND_ACTS, Scene, TABLES, beginning, is_alone, name, text};
use crate::convergence::chance::Dice;
use crate::convergence::plan::decides_or_goes_back;
use crate::convergence::replica::by_hand;

/// The most requests that are made at once.
const BURST: usize = 6;
/// Records of a table that is imported.
const ROWS: u64 = 120;
/// The lengths of long texts. Two of the longest make a bundle larger than a checkpoint, which goes over the wire in
/// parts; they are rare, since much looks at every letter.
const LONG_TEXTS: [usize; 8] = [10_000, 10_000, 10_000, 10_000, 40_000, 40_000, 40_000, 600_000];
/// How many small requests one after another are more than one checkpoint holds.
const MANY: usize = 40;
/// What no bundle may hold that commits no overlay.
pub(super) const STAGED: &str = "staged, and nobody else's business";

/// How the label of the bundle of a request begins.
pub(super) const REQUEST: &str = "Request ";

/// What a request is made of, beside its id.
struct Form {
    session: Option<SessionId>,
    base: Option<Position>,
    stance: Stance,
    kind: BundleKind,
    commands: Vec<Command>,
}

impl Form {
    fn plain(commands: Vec<Command>) -> Self {
        Self { session: None, base: None, stance: Stance::Beside, kind: BundleKind::EDIT, commands }
    }
}

impl Story {
    /// The tables, the people and the first records.
    pub(super) fn asks_for_the_beginning(&mut self) {
        let commands = beginning(&self.cast).into_iter().chain(files::beginning()).collect();
        self.asks(0, Form::plain(commands));
    }

    /// Some people write, here or there.
    pub(super) fn people_write(&mut self) {
        for _ in 0..=self.dice.below(BURST) {
            let at = self.dice.below(self.machines.len());
            self.people_write_at(at, 1);
        }
    }

    /// People write on one machine, all at once.
    pub(super) fn people_write_at(&mut self, at: usize, requests: usize) {
        let mut dice = Dice(self.dice.roll());
        for _ in 0..requests {
            let Some(form) = self.made_up(at, &mut dice) else { continue };
            self.asks(at, form);
        }
    }

    /// A request as somebody makes it who looks at a machine.
    fn made_up(&mut self, at: usize, dice: &mut Dice) -> Option<Form> {
        let snapshot = self.machines[at].workspace()?.snapshots.snapshot().ok()?;
        let acts = 1 + dice.below(3);
        let make = |_| {
            let mut scene = Scene { view: snapshot.view(), cast: &self.cast, dice: Dice(dice.roll()) };
            dice.pick(ACTS)?(&mut scene)
        };
        let mut commands: Vec<Command> = (0..acts).filter_map(make).collect();
        if let Some(alone) = commands.iter().position(is_alone) {
            commands = vec![commands.swap_remove(alone)];
        }
        if commands.is_empty() {
            return None;
        }
        let now = snapshot.position();
        let base = match dice.below(7) {
            0..3 => Some(now),
            3..6 => Some(Position(now.0 - dice.roll() % now.0.max(1))),
            _ => None,
        };
        let session = dice.one_in(2).then(|| session(at, dice.below(3)));
        let stance =
            dice.pick(&[Stance::Beside, Stance::Beside, Stance::Beside, Stance::Decide, Stance::IfUnchanged])?;
        let is_import = dice.one_in(10) && !commands.iter().any(decides_or_goes_back);
        let kind = if is_import { BundleKind::IMPORT } else { BundleKind::EDIT };
        Some(Form { session, base, stance, kind, commands })
    }

    /// A table is imported, or somebody pastes a whole script, or a program writes and writes.
    pub(super) fn something_larger(&mut self) {
        let at = self.dice.below(self.machines.len());
        let number = self.commands;
        let record = |row: u64| {
            Some(EntityId::from_bytes([number.to_be_bytes(), row.to_be_bytes()].concat().try_into().unwrap()))
        };
        let create = |row: u64, label: &str| Command::CreateRecord {
            record: record(row),
            table: name(TABLES[0]),
            values: vec![(name("label"), Value::Text(text(label)))],
        };
        match self.dice.below(12) {
            0 => {
                let commands = (0..ROWS).map(|row| create(row, "imported")).collect();
                self.asks(at, Form { kind: BundleKind::IMPORT, ..Form::plain(commands) });
            }
            1 => {
                let length = self.dice.pick(&LONG_TEXTS).unwrap_or_default();
                self.asks(at, Form::plain(vec![create(0, &"x".repeat(length)), create(1, &"y".repeat(length))]));
            }
            2 => self.people_write_at(at, MANY),
            _ => self.people_write_at(at, BURST),
        }
    }

    fn request(&mut self, form: Form) -> Request {
        let Form { session, base, stance, kind, commands } = form;
        let (command_id, source) = (self.fresh(), Source::default());
        let label = Some(text(&format!("{REQUEST}{}", self.commands)));
        Request { command_id, session, base, stance, kind, label, source, commands }
    }

    pub(super) fn fresh(&mut self) -> CommandId {
        self.commands += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.commands.to_be_bytes());
        CommandId::from_bytes(id)
    }

    /// Somebody at a machine asks for one thing.
    pub(super) fn asks_one(&mut self, at: usize, command: Command) {
        self.asks(at, Form::plain(vec![command]));
    }

    fn asks(&mut self, at: usize, form: Form) {
        let person = self.machines[at].person();
        self.asks_as(person, at, form);
    }

    fn asks_as(&mut self, actor: ActorId, at: usize, form: Form) {
        let request = self.request(form);
        self.tape.says(format_args!("at {at} somebody asks: {}", in_short(&request.commands)));
        self.desk.asks(at, &self.machines[at].front, actor, request);
    }

    /// Somebody at a machine removes another from the workspace.
    pub(super) fn removes(&mut self, at: usize, other: usize) {
        self.asks_one(at, Command::RemoveMember { member: node_keys(other).actor(), why: text("") });
    }

    /// Somebody at a machine lets another in, whatever others have said of it; or the machine itself does.
    pub(super) fn lets_in(&mut self, by: ActorId, at: usize, member: ActorId) {
        let commands = vec![Command::AdmitMember { member, name: None }];
        self.asks_as(by, at, Form { stance: Stance::Decide, ..Form::plain(commands) });
    }

    /// Another program writes past the door for commands, as a member may. Nobody promises anything to it.
    pub(super) fn writes_by_hand(&mut self) {
        let (at, mut dice) = (self.dice.below(self.machines.len()), Dice(self.dice.roll()));
        let machine = &self.machines[at];
        let Some(workspace) = machine.workspace() else { return };
        let Ok(snapshot) = workspace.snapshots.snapshot() else { return };
        if read::membership(snapshot.view(), machine.person()).unwrap() != Membership::Admitted {
            return;
        }
        let mut scene = Scene { view: snapshot.view(), cast: &self.cast, dice: Dice(dice.roll()) };
        let Some(op) = dice.pick(HAND_ACTS).and_then(|act| act(&mut scene)) else { return };
        let Ok(bundle) = by_hand(&machine.nature.env, &machine.keys.0[1], &*workspace.log, vec![op]) else { return };
        self.tape.says(format_args!("at {at} a program writes {}", bundle.digest()));
        let (oplog, bundles) = (workspace.oplog.clone(), vec![bundle.bytes().to_vec()]);
        let (source, hands) = ("another program".to_owned(), Hands::Members);
        tokio::spawn(async move { drop(oplog.call(|reply| OplogMsg::Admit { bundles, source, hands, reply }).await) });
    }

    /// Somebody stages something, in an overlay of this machine's own, which is never committed.
    pub(super) fn stages(&mut self) {
        let at = self.dice.below(self.machines.len());
        let Some(workspace) = self.machines[at].workspace().cloned() else { return };
        let label = vec![(name("label"), Value::Text(text(STAGED)))];
        let create = Command::CreateRecord { record: None, table: name(TABLES[0]), values: label };
        let (made, staged) = (self.fresh(), self.request(Form::plain(vec![create])));
        let person = self.machines[at].person();
        self.tape.says(format_args!("at {at} somebody stages something"));
        self.desk.tries(at, staged.command_id, async move {
            let (name, source) = (text(&format!("plan {}", made.as_bytes()[7])), Source::default());
            let action = Box::new(Action::Create { name, label: None, source });
            let asked = Asked { command: made, payload: [0; 32] };
            let made = workspace.overlays.call(|reply| OverlaysMsg::Do { action, asked, reply }).await.ok()?.ok()?;
            let (overlay, request, actor) = (made.0.overlay, Box::new(staged), Some(person));
            let staged = workspace.commands.call(|reply| CommandsMsg::Stage { overlay, request, actor, reply }).await;
            staged.ok()?.ok().map(|_| Said::Staged)
        });
    }
}

/// Says no more than this of a request.
const SHORT: usize = 400;

fn in_short(what: &impl fmt::Debug) -> String {
    struct Short(String);
    impl fmt::Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend(text.chars().take(SHORT - self.0.chars().count()));
            if self.0.chars().count() < SHORT { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut short = Short(String::new());
    // It is an error that it was too long.
    let _ = fmt::write(&mut short, format_args!("{what:?}"));
    short.0
}

fn session(machine: usize, number: usize) -> SessionId {
    let [machine, number] = [machine, number].map(|it| u8::try_from(it).unwrap() + 1);
    SessionId::from_bytes([[machine; 8], [number; 8]].concat().try_into().unwrap())
}
