//! Gathers the facts that are judged: of this running node, or of a folder without a node.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use openprod_domain::read;
use openprod_domain::view::{Read, ReadFailure};
use openprod_links::endpoint::EndpointMsg;
use openprod_links::transport::Network as _;
use openprod_messages::log::{Lanes, LogReader, Stored};
use openprod_messages::snapshot::Snapshots;
use openprod_model::ids::{ActorId, Position, WorkspaceId};

use super::peers::{PeerFacts, judge_peers};
use super::{
    Check, Lock, LogFacts, StateFacts, WorkspaceFacts, judge_clock, judge_lock, judge_permissions, judge_space,
    judge_sync, judge_workspace, sorted,
};
use crate::config::Config;
use crate::folder::{Folder, LockError};
use crate::node::{Node, Slot};
use crate::peers::everywhere;
use crate::workspace::Condition;
use crate::{manifest, services, storage, syncing};

/// Waiting bundles are counted so far: beyond that the number says no more.
const MOST_WAITING: usize = 1_000;
/// How long branches of one history are told: a week of the workspace's own time behind the last write on both.
const BRANCHES_TOLD_MS: u64 = 7 * 24 * 3_600 * 1_000;

/// How often a small write is tried.
const SYNC_ROUNDS: usize = 5;

/// How a running node stands among others; none if its endpoint does not say.
pub async fn peer_facts(node: &Node) -> Option<PeerFacts> {
    let (known, listening) = match node.peers.get() {
        None => (Vec::new(), Vec::new()),
        Some(peers) => {
            let known = peers.endpoint.call(|reply| EndpointMsg::Status { reply }).await.ok()?;
            (known, peers.network.addresses())
        }
    };
    let wanted = node.peers.get().and(node.config.peer_listen);
    let own = everywhere(&listening);
    Some(PeerFacts { wanted, listening, own, known })
}

/// Checks a running node, these of its workspaces, and how it stands among others. Blocks its thread for a moment.
pub fn of_running(node: &Node, workspaces: &[(WorkspaceId, Slot)], peers: Option<&PeerFacts>) -> Vec<Check> {
    let facts = workspaces.iter().map(|(id, slot)| with_pause(&node.folder, *id, slot_facts(node, *id, slot)));
    let workspaces: Vec<_> = facts.collect();
    let mut checks = judged(&node.folder, node.env.clock.wall_ms(), &Lock::Ours, &workspaces);
    checks.extend(peers.into_iter().flat_map(judge_peers));
    sorted(checks)
}

/// Checks the folder of a node that does not run. What a node that does run holds open is left alone.
pub fn of_folder(config: &Config) -> Vec<Check> {
    let problems = Folder::inspect(&config.data_dir).map_err(|error| error.to_string());
    if problems.as_ref().is_ok_and(Vec::is_empty)
        && let Ok(folder) = Folder::open(&config.data_dir)
    {
        return of_usable(&folder, config);
    }
    let [folder, keys] = judge_permissions(&problems, &absolute(&config.data_dir));
    sorted(vec![folder, keys, judge_clock(now_ms(), None)])
}

fn absolute(path: &Path) -> std::path::PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn of_usable(folder: &Folder, config: &Config) -> Vec<Check> {
    // Held until the end, so that no node starts in between.
    let (lock, held) = match folder.lock(Timestamp::now()) {
        Ok(held) => (Lock::Free, Some(held)),
        Err(LockError::Held { holder, .. }) => (Lock::Held(holder.to_string()), None),
        Err(error) => (Lock::Unknown(error.to_string()), None),
    };
    let ids = if held.is_some() { folder.workspaces().unwrap_or_default() } else { Vec::new() };
    let facts = ids.into_iter().map(|id| with_pause(folder, id, stored_facts(folder, id, config)));
    let workspaces: Vec<_> = facts.collect();
    judged(folder, now_ms(), &lock, &workspaces)
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

fn judged(folder: &Folder, now_ms: u64, lock: &Lock, workspaces: &[WorkspaceFacts]) -> Vec<Check> {
    let problems = Folder::inspect(folder.root()).map_err(|error| error.to_string());
    let latest = workspaces.iter().filter_map(|facts| facts.log.as_ref()).map(|log| log.latest_ms).max();
    let mut checks = Vec::from(judge_permissions(&problems, folder.root()));
    checks.push(judge_lock(lock));
    checks.push(judge_space(&folder.space().map_err(|error| error.to_string())));
    checks.push(judge_sync(&folder.sync_time(SYNC_ROUNDS).map_err(|error| error.to_string())));
    checks.push(judge_clock(now_ms, latest));
    checks.extend(workspaces.iter().flat_map(judge_workspace));
    sorted(checks)
}

fn with_pause(folder: &Folder, id: WorkspaceId, facts: WorkspaceFacts) -> WorkspaceFacts {
    WorkspaceFacts { paused_ms: syncing::noted(&folder.workspace(id).sync_paused()), ..facts }
}

fn slot_facts(node: &Node, id: WorkspaceId, slot: &Slot) -> WorkspaceFacts {
    let manifest = manifest_problem(&node.folder, id);
    match slot {
        Slot::Closed { why } => {
            WorkspaceFacts { name: id.to_string(), manifest, closed: Some(why.clone()), log: None, paused_ms: None }
        }
        Slot::Open(workspace) => {
            let closed = match workspace.condition.borrow().clone() {
                Condition::Running => None,
                Condition::Failed { why } => Some(why),
                Condition::Closed => Some("It was closed.".to_owned()),
            };
            let name = Some(services::name_of(workspace)).filter(|name| !name.is_empty());
            let overlays = workspace.shelf.all().map(|all| all.len()).map_err(|error| error.to_string());
            let log = log_facts(&*workspace.store, &*workspace.snapshots, overlays);
            named(name.unwrap_or_else(|| id.to_string()), manifest, closed, log)
        }
    }
}

fn named(
    name: String,
    manifest: Option<String>,
    closed: Option<String>,
    log: Result<LogFacts, ReadFailure>,
) -> WorkspaceFacts {
    match log {
        Ok(log) => WorkspaceFacts { name, manifest, closed, log: Some(log), paused_ms: None },
        Err(failure) => WorkspaceFacts {
            name,
            manifest,
            closed: closed.or_else(|| Some(failure.to_string())),
            log: None,
            paused_ms: None,
        },
    }
}

fn manifest_problem(folder: &Folder, id: WorkspaceId) -> Option<String> {
    manifest::read(&folder.workspace(id).manifest(), id).err().map(|error| error.to_string())
}

fn stored_facts(folder: &Folder, id: WorkspaceId, config: &Config) -> WorkspaceFacts {
    let files = folder.workspace(id);
    let manifest = manifest_problem(folder, id);
    let closed = |why: String| WorkspaceFacts {
        name: id.to_string(),
        manifest: manifest.clone(),
        closed: Some(why),
        log: None,
        paused_ms: None,
    };
    if !files.log().exists() {
        return closed(format!("{} is missing.", files.log().display()));
    }
    let had_state = files.state().exists();
    match storage::open(&files, id, config) {
        Err(why) => closed(why),
        Ok(stores) => {
            let overlays = stores.overlays.load().map(|kept| kept.overlays.len()).map_err(|fault| fault.to_string());
            let mut log = log_facts(&*stores.log, &*stores.state, overlays);
            if let Ok(LogFacts { revision: 1.., state, .. }) = &mut log
                && stores.state.position() == Position::ZERO
            {
                *state = if had_state { StateFacts::MadeAnew } else { state.clone() };
            }
            stores.state.close();
            named(id.to_string(), manifest.clone(), None, log)
        }
    }
}

fn log_facts(log: &dyn Lanes, snapshots: &dyn Snapshots, overlays: Result<usize, String>) -> Read<LogFacts> {
    let tail = log.tail()?;
    let unreadable = match log.bundle(tail.position) {
        Ok(Some(Stored::Whole(_))) => None,
        Ok(None) if tail.position == Position::ZERO => Some("it is empty.".to_owned()),
        Ok(None) => Some(format!("the last bundle, at revision {}, is missing.", tail.position)),
        Ok(Some(Stored::Damaged { reason, .. })) => {
            Some(format!("the last bundle, at revision {}, is damaged: {reason}", tail.position))
        }
        Err(failure) => Some(failure.to_string()),
    };
    Ok(LogFacts {
        revision: tail.position.0,
        latest_ms: tail.hlc.ms,
        unreadable,
        state: state_facts(log, snapshots, tail.position),
        overlays,
        alarms: log.quarantine_alarms()?,
        waiting: log.waiting(0, MOST_WAITING).map(|waiting| waiting.len()).map_err(|failure| failure.to_string()),
        branched: branched(log, snapshots)?,
    })
}

/// Who has written on two branches of his history at about the same time, and not long ago.
fn branched(log: &dyn Lanes, snapshots: &dyn Snapshots) -> Read<Vec<String>> {
    let mut tips: BTreeMap<ActorId, Vec<u64>> = BTreeMap::new();
    for lane in log.lanes()? {
        tips.entry(lane.actor).or_default().push(lane.hlc.ms);
    }
    let latest_ms = log.tail()?.hlc.ms;
    let is_recent = |tips: &mut Vec<u64>| {
        tips.sort_unstable();
        tips.len() > 1 && tips[tips.len() - 2] + BRANCHES_TOLD_MS >= latest_ms
    };
    tips.retain(|_, tips| is_recent(tips));
    let snapshot = snapshots.snapshot()?;
    let named = |actor: ActorId| {
        let name = read::actor_name(snapshot.view(), actor)?;
        Ok(format!("{} ({})", name.as_ref().map_or("somebody", |name| name.as_str()), actor.short()))
    };
    tips.into_keys().map(named).collect()
}

fn state_facts(log: &dyn LogReader, snapshots: &dyn Snapshots, end: Position) -> StateFacts {
    let compared = || -> Read<StateFacts> {
        let snapshot = snapshots.snapshot()?;
        let position = snapshot.position();
        let belongs = match log.entry(position)? {
            Some(entry) => entry.chain == snapshot.chain(),
            None => position == Position::ZERO,
        };
        let behind = end.0.saturating_sub(position.0);
        Ok(if belongs { StateFacts::Follows { behind } } else { StateFacts::MadeAnew })
    };
    compared().unwrap_or_else(|failure| StateFacts::Unreadable(failure.to_string()))
}
