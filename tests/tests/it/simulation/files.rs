//! Files: people put them, refer to them from fields, open them where they are not, and delete them with a reason; and
//! whoever looks on knows at any time who must have which.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use openprod_blobs::reader::Reader;
use openprod_domain::asset;
use openprod_domain::cell::Cell;
use openprod_domain::command::{Command, NewColumn};
use openprod_domain::view::View;
use openprod_messages::environment::Environment;
use openprod_model::ids::{BlobHash, EntityId};
use openprod_model::refusal::Reason;
use openprod_model::value::{BlobRef, FieldType, Value};
use openprod_node::files::{self, FileError};

use super::clients::Said;
use super::machine::Front;
use super::story::Story;
use crate::convergence::acts::{name, text};
use crate::convergence::chance::Dice;
use crate::convergence::company::{Verdict, ensure};

/// The table whose records have files.
const SHEETS: &str = "sheets";
/// Its column.
const SHEET: &str = "sheet";
/// So few records that a file is soon referred to no more.
const RECORDS: u8 = 4;
/// The lengths of files: nothing, little, about one piece, and several.
const SIZES: [usize; 7] = [900_000, 3_000, 600_000, 0, 256 * 1_024, 70_000, 256 * 1_024 + 1];
/// The most files of a story: in the end each lies on each machine.
const MOST_FILES: usize = 8;
/// When a machine collects, in days from now by its clock: what nothing needs is kept for so many days, or for none.
const COLLECTS: [i64; 4] = [0, 3, 100, 200];
const DAY_MS: i64 = 86_400_000;
/// So much comes at once of a file that is put.
const CHUNK: usize = 100_000;
/// How long it may take to open a file when everything is well.
const OPENED_WITHIN: Duration = Duration::from_mins(1);
/// Likewise, until whoever keeps all files has a file: he looks every five minutes.
const KEPT_WITHIN: Duration = Duration::from_mins(6);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files of a story.
#[derive(Default)]
pub(super) struct Files {
    /// All that were ever put; the number of each tells what is in it.
    made: Vec<BlobHash>,
    /// What each machine has said that it has, and must have.
    held: BTreeMap<usize, BTreeSet<BlobHash>>,
    /// What somebody asked to be deleted.
    deleted: BTreeSet<BlobHash>,
}

impl Files {
    /// The first that was put.
    pub(super) fn first(&self) -> Option<BlobHash> {
        self.made.first().copied()
    }

    /// What a machine must have.
    pub(super) fn held_by(&self, at: usize) -> BTreeSet<BlobHash> {
        self.held.get(&at).cloned().unwrap_or_default()
    }

    /// A machine was given other disks, on which these lie.
    pub(super) fn are_held_by(&mut self, at: usize, held: BTreeSet<BlobHash>) {
        self.held.insert(at, held);
    }

    fn is_held_by(&mut self, at: usize, hash: BlobHash) {
        self.held.entry(at).or_default().insert(hash);
    }
}

/// What is in a file: noise, or what can be kept in little space.
fn content(number: usize) -> Vec<u8> {
    let mut bytes = vec![0; SIZES[number % SIZES.len()]];
    let noise = if number.is_multiple_of(2) { bytes.len() } else { bytes.len().min(1_000) };
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes[..noise]);
    bytes
}

fn hash_of(bytes: &[u8]) -> BlobHash {
    BlobHash::from_bytes(*blake3::hash(bytes).as_bytes())
}

fn record(number: usize) -> EntityId {
    EntityId::from_bytes([100 + number.to_le_bytes()[0] % RECORDS; 16])
}

/// The table of files, and its records.
pub(super) fn beginning() -> Vec<Command> {
    let column = NewColumn { name: name(SHEET), field_type: FieldType::Blob, required: false, default: None };
    let table = Command::CreateTable { name: name(SHEETS), description: text(""), columns: vec![column] };
    let records = (0..RECORDS).map(|number| Command::CreateRecord {
        record: Some(record(number.into())),
        table: name(SHEETS),
        values: Vec::new(),
    });
    std::iter::once(table).chain(records).collect()
}

impl Story {
    /// Somebody does something with files, somewhere.
    pub(super) fn files_are_used(&mut self) -> Verdict {
        let at = self.dice.below(self.machines.len());
        let mut dice = Dice(self.dice.roll());
        match dice.below(14) {
            0..4 => self.file_is_put(at, &mut dice),
            4..9 => self.file_is_opened(at, &mut dice),
            9 | 10 => (0..self.machines.len()).for_each(|at| self.file_is_opened(at, &mut dice.clone())),
            11 => self.file_is_deleted(at, &mut dice),
            12 => self.months_go_by(at).map_err(|wrong| format!("machine {at}: {wrong}"))?,
            _ => self.retention_is_set(at, &mut dice),
        }
        Ok(())
    }

    /// Files are put and opened on one machine while something befalls it.
    pub(super) fn files_are_used_at(&mut self, at: usize, dice: &mut Dice) {
        if dice.one_in(2) {
            self.file_is_put(at, dice);
        }
        if dice.one_in(2) {
            self.file_is_opened(at, dice);
        }
    }

    fn file_is_put(&mut self, at: usize, dice: &mut Dice) {
        let made = self.files.made.len();
        let is_new = made == 0 || made < MOST_FILES && !dice.one_in(3);
        let number = if is_new { made } else { dice.below(made) };
        let bytes = content(number);
        if is_new {
            self.files.made.push(hash_of(&bytes));
        }
        self.tape.says(format_args!("at {at} somebody puts file {number}"));
        let (command, machine) = (self.fresh(), &self.machines[at]);
        self.desk.tries(at, command, puts(machine.front.clone(), machine.nature.env.clone(), bytes));
    }

    fn file_is_opened(&mut self, at: usize, dice: &mut Dice) {
        let Some(hash) = dice.pick(&self.files.made) else { return };
        // Some go away before they have it.
        let patience = if dice.one_in(6) { Duration::from_millis(dice.below(200) as u64) } else { Duration::MAX };
        self.tape.says(format_args!("at {at} somebody opens {}", short(hash)));
        let (command, machine) = (self.fresh(), &self.machines[at]);
        let opening = opens(machine.front.clone(), machine.nature.env.clone(), hash);
        self.desk.tries(at, command, async move { tokio::time::timeout(patience, opening).await.ok().flatten() });
    }

    fn file_is_deleted(&mut self, at: usize, dice: &mut Dice) {
        let Some(hash) = dice.pick(&self.files.made) else { return };
        if self.files.deleted.contains(&hash) && dice.one_in(2) {
            return self.asks_one(at, Command::RestoreAsset { hash });
        }
        self.files.deleted.insert(hash);
        self.asks_one(at, Command::DeleteAsset { hash, reason: text("it was the wrong one") });
    }

    /// What nothing needs goes at once, or in a day, or is kept for long.
    fn retention_is_set(&mut self, at: usize, dice: &mut Dice) {
        let value = dice.pick(&[0, 0, 1, 90]).map(Value::Integer);
        self.asks_one(at, Command::PutSetting { setting: asset::retention_setting(), value });
    }

    /// A machine has taken a file in; somebody there refers to it, instead of to another.
    fn file_is_kept(&mut self, at: usize, hash: BlobHash) {
        self.files.is_held_by(at, hash);
        let number = self.files.made.iter().position(|made| *made == hash).unwrap_or_default();
        let (size, media_type) = (content(number).len() as u64, text("application/octet-stream"));
        let file = BlobRef { hash, size, name: text(&format!("sheet {number}")), media_type };
        let values = vec![(name(SHEET), Some(Value::Blob(file)))];
        let record = record(self.dice.below(RECORDS.into()));
        self.asks_one(at, Command::SetFields { record, table: name(SHEETS), values });
    }

    /// What a client was told of a file is so.
    pub(super) fn hears_of_file(&mut self, at: usize, said: Said) -> Verdict {
        match said {
            Said::Kept(hash) => {
                *self.tape.tally.entry("files put").or_default() += 1;
                self.file_is_kept(at, hash);
            }
            Said::Opened { hash, got } => {
                *self.tape.tally.entry("files opened").or_default() += 1;
                ensure!(got == hash, "machine {at} gave {got} for the file {hash}");
                // It may have been collected while it was read.
                if self.is_here(at, hash) {
                    self.files.is_held_by(at, hash);
                }
            }
            Said::Unopened(hash, why) => {
                *self.tape.tally.entry("files unavailable").or_default() += 1;
                self.is_plain(hash, &why).map_err(|wrong| format!("machine {at}: {wrong}"))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A file that is not given is not here, or deleted, or the disk fails: it is never damaged.
    fn is_plain(&self, hash: BlobHash, why: &FileError) -> Verdict {
        let FileError::Refused(refusal) = why else { return Ok(()) };
        let is_deleted = refusal.reason == Reason::BlobDeleted;
        ensure!(!is_deleted || self.files.deleted.contains(&hash), "nobody deleted {hash}: {refusal:?}");
        ensure!(!refusal.message.contains("damaged"), "nothing was damaged: {refusal:?}");
        Ok(())
    }

    /// Whatever a machine had it has, whole.
    pub(super) fn has_what_it_had(&self, at: usize) -> Verdict {
        let Some(workspace) = self.machines[at].workspace() else { return Ok(()) };
        for hash in self.files.held.get(&at).into_iter().flatten() {
            // A disk that cannot be read now is looked at later.
            let Ok(kept) = workspace.library.store.kept(*hash) else { continue };
            ensure!(kept.is_some_and(|kept| !kept.damaged), "machine {at} had {hash}, and has {kept:?}");
        }
        Ok(())
    }

    /// By its clock months go by on a machine, which collects now and then. To everybody else it is one moment.
    fn months_go_by(&mut self, at: usize) -> Verdict {
        self.takes_answers()?;
        for days in COLLECTS {
            self.machines[at].nature.clock.is_set(days * DAY_MS);
            self.files_are_collected(at)?;
        }
        self.machines[at].nature.clock.is_set(0);
        Ok(())
    }

    /// What nothing needs is collected; what is needed stays.
    fn files_are_collected(&mut self, at: usize) -> Verdict {
        let Some(workspace) = self.machines[at].workspace() else { return Ok(()) };
        let Ok(snapshot) = workspace.snapshots.snapshot() else { return Ok(()) };
        self.judges.log_of(&self.machines[at])?;
        let mut needed = needed(snapshot.view())?;
        needed.extend(self.judges.files_behind(at, snapshot.position()));
        let collected = workspace.library.collect(false);
        let gone = collected.as_ref().map(|collected| collected.blobs.len());
        self.tape.says(format_args!("at {at} files are collected: {gone:?}"));
        let held = self.files.held.entry(at).or_default();
        match collected {
            Ok(collected) => {
                for gone in collected.blobs {
                    ensure!(!needed.contains(&gone.hash), "{} was collected, and is needed", gone.hash);
                    *self.tape.tally.entry("files collected").or_default() += 1;
                    held.remove(&gone.hash);
                }
            }
            // What it had removed by then, it does not say.
            Err(_) => held.retain(|hash| needed.contains(hash)),
        }
        self.has_what_it_had(at)
    }

    /// At the end every file that is not deleted and that some machine has can be opened on every machine, and what is
    /// deleted on none.
    pub(super) async fn files_are_well(&mut self) -> Verdict {
        (0..self.machines.len()).try_for_each(|at| self.has_what_it_had(at))?;
        let workspace = self.machines[0].workspace().ok_or("it is down")?;
        let snapshot = workspace.snapshots.snapshot().map_err(|failure| failure.to_string())?;
        self.all_are_kept(&needed(snapshot.view())?).await?;
        for hash in self.files.made.clone() {
            let deletion = asset::deletion(snapshot.view(), hash).map_err(|failure| failure.to_string())?;
            let is_somewhere = (0..self.machines.len()).any(|at| self.is_here(at, hash));
            let openings = self.machines.iter().map(|machine| {
                let opening = opens(machine.front.clone(), machine.nature.env.clone(), hash);
                tokio::time::timeout(OPENED_WITHIN, opening)
            });
            for (at, said) in futures::future::join_all(openings).await.into_iter().enumerate() {
                let said = said.ok().flatten().ok_or_else(|| format!("machine {at} says nothing of {hash}"))?;
                let is_right = match &said {
                    Said::Opened { .. } => deletion.is_none() && is_somewhere,
                    Said::Unopened(_, FileError::Refused(refusal)) if refusal.reason == Reason::BlobDeleted => {
                        deletion.is_some()
                    }
                    _ => deletion.is_none() && !is_somewhere,
                };
                let facts = format!("deleted: {deletion:?}, somewhere: {is_somewhere}");
                ensure!(is_right, "machine {at} is asked for {hash}, and there is {said}; {facts}");
                self.hears_of_file(at, said)?;
            }
        }
        Ok(())
    }

    fn is_here(&self, at: usize, hash: BlobHash) -> bool {
        let Some(workspace) = self.machines[at].workspace() else { return false };
        workspace.library.store.kept(hash).is_ok_and(|kept| kept.is_some_and(|kept| !kept.damaged))
    }

    /// Whoever keeps all files that are needed gets them by himself.
    async fn all_are_kept(&self, needed: &BTreeSet<BlobHash>) -> Verdict {
        let all = || 0..self.machines.len();
        let until = tokio::time::Instant::now() + KEPT_WITHIN;
        for at in all().filter(|at| self.machines[*at].keeps_all_files) {
            for hash in needed.iter().filter(|hash| all().any(|at| self.is_here(at, **hash))) {
                while !self.is_here(at, *hash) {
                    ensure!(tokio::time::Instant::now() < until, "machine {at} keeps all files, and lacks {hash}");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
        Ok(())
    }
}

/// The files that standing values are and that nobody deleted.
fn needed(view: &dyn View) -> Result<BTreeSet<BlobHash>, String> {
    let mut needed = BTreeSet::new();
    for item in view.cells(&Cell::everything()) {
        let (_, tips) = item.map_err(|failure| failure.to_string())?;
        for file in tips.iter().filter_map(|tip| asset::file_in(&tip.content)) {
            if asset::deletion(view, file.hash).map_err(|failure| failure.to_string())?.is_none() {
                needed.insert(file.hash);
            }
        }
    }
    Ok(needed)
}

fn short(hash: BlobHash) -> String {
    hash.to_string()[..8].to_owned()
}

/// An answer of a life that ended meanwhile never arrived.
async fn puts(front: Front, env: Environment, bytes: Vec<u8>) -> Option<Said> {
    let (life, living) = front.now();
    let library = living?.workspace.library;
    let hash = hash_of(&bytes);
    let chunks: Vec<Result<Vec<u8>, FileError>> = bytes.chunks(CHUNK).map(|chunk| Ok(chunk.to_vec())).collect();
    let kept = files::put(&env, &library, None, futures::stream::iter(chunks)).await;
    let said = kept.map_or_else(|why| Said::Unopened(hash, why), |kept| Said::Kept(kept.hash));
    (front.now().0 == life).then_some(said)
}

/// The same, but wrong bytes are wrong in any life.
async fn opens(front: Front, env: Environment, hash: BlobHash) -> Option<Said> {
    let (life, living) = front.now();
    let said = match files::open(&living?.workspace, &env, hash).await {
        Ok((_, reader)) => reads(env, reader, hash).await,
        Err(why) => Said::Unopened(hash, why),
    };
    let is_wrong = matches!(&said, Said::Opened { got, .. } if *got != hash);
    (is_wrong || front.now().0 == life).then_some(said)
}

async fn reads(env: Environment, reader: Reader, hash: BlobHash) -> Said {
    let (size, mut hasher) = (reader.size(), blake3::Hasher::new());
    let mut pieces = pin!(files::pieces(env, reader, 0..size));
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(bytes) => hasher.update(&bytes),
            Err(why) => return Said::Unopened(hash, why),
        };
    }
    Said::Opened { hash, got: BlobHash::from_bytes(*hasher.finalize().as_bytes()) }
}
