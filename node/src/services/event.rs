//! Events: following a workspace, from a point in its log on, without a gap.
//!
//! A watcher holds nothing but its place in the log: each message is made when its reader asks for the next one, from
//! the log and a snapshot. So a slow reader costs no memory; but one that lets the log run away from it is told so,
//! with the token to resume from, once it asks again.

use std::collections::BTreeSet;
use std::sync::Arc;

use openprod_api::convert::ids;
use openprod_api::convert::path::known;
use openprod_api::status::{ApiError, refused};
use openprod_api::v1;
use openprod_api::v1::event_service_server::EventService as Service;
use openprod_api::v1::watch_request::{From, Start};
use openprod_links::company::HERE_FOR;
use openprod_messages::log::LogReader;
use openprod_messages::snapshot::Snapshot as State;
use openprod_model::ids::{Digest, Position};
use openprod_model::refusal::{Reason, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};

use self::watcher::Watcher;
use super::batch::Scope;
use super::paging::Mark;
use super::reading::{self, Problem, blocking};
use super::{Parts, streaming};
use crate::node::Node;
use crate::telemetry;

mod pace;
mod picture;
mod presence;
mod staged;
#[cfg(test)]
mod tests;
mod watcher;

/// How many watchers a node serves at once.
const MAX_WATCHERS: usize = 256;

/// Tells what happens. To be made once for a node: it counts the node's watchers.
pub struct EventService {
    node: Arc<Node>,
    watchers: Arc<Semaphore>,
}

impl EventService {
    /// The service of this node.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, watchers: Arc::new(Semaphore::new(MAX_WATCHERS)) }
    }

    fn open(&self) -> Result<Open, Problem> {
        let permit = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_| {
            let message = format!("This node has {MAX_WATCHERS} watchers already, and takes no more.");
            ApiError::new(v1::Reason::TooBusy, message).next("Close one, or try again later.")
        })?;
        metrics::gauge!(telemetry::WATCHERS).increment(1.0);
        Ok(Open { _permit: permit })
    }
}

/// An open watcher, counted as long as it lives.
struct Open {
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(telemetry::WATCHERS).decrement(1.0);
    }
}

#[tonic::async_trait]
impl Service for EventService {
    type WatchStream = Parts<v1::WatchResponse>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (_, extensions, request) = request.into_parts();
        let workspace = super::workspace(&self.node, &request.workspace)?;
        let open = self.open()?;
        // Whoever has just been told that something is written, and watches from now on, does not hear of it again.
        let now = super::snapshot_from(&workspace, Position::ZERO).await?;
        let log = Arc::clone(&workspace.log);
        let start = blocking(move |_| Beginning::of(&*now, &*log, &request)).await?;
        streaming(&extensions, Watcher::new(workspace, start, open).messages())
    }

    async fn set_presence(
        &self,
        request: Request<v1::SetPresenceRequest>,
    ) -> Result<Response<v1::SetPresenceResponse>, Status> {
        let caller = super::caller(request.extensions())?;
        let request = request.into_inner();
        let workspace = super::workspace(&self.node, &request.workspace)?;
        if request.gone {
            workspace.doorway.leaves(ids::id(&request.session, "session").map_err(|refusal| refused(&refusal))?);
            return Ok(Response::new(v1::SetPresenceResponse { again_within_ms: 0 }));
        }
        let named = ids::optional_id(&request.actor, "actor").map_err(|refusal| refused(&refusal))?;
        let actor = super::acting(caller, named, "actor")?.or_else(|| self.node.identities.default_actor());
        let actor = actor.ok_or_else(|| super::unavailable("This node has no identity yet."))?;
        let now = super::snapshot_from(&workspace, Position::ZERO).await?;
        let person = blocking(move |_| presence::person(now.view(), actor, &request)).await?;
        if !workspace.doorway.arrives(person).await.map_err(super::no_answer)? {
            return Err(super::too_busy());
        }
        let again_within_ms = i64::try_from(HERE_FOR.as_millis()).unwrap_or(i64::MAX);
        Ok(Response::new(v1::SetPresenceResponse { again_within_ms }))
    }

    async fn list_presence(
        &self,
        request: Request<v1::ListPresenceRequest>,
    ) -> Result<Response<v1::ListPresenceResponse>, Status> {
        let workspace = super::workspace(&self.node, &request.get_ref().workspace)?;
        let present = workspace.doorway.company().borrow().clone();
        let people = blocking(move |_| Ok(presence::people(&workspace, &present)?)).await?;
        Ok(Response::new(v1::ListPresenceResponse { people }))
    }
}

/// Where a watcher begins.
struct Beginning {
    /// Behind this.
    at: Mark,
    /// What to tell.
    scope: Scope,
    /// Whether to tell first what there is.
    snapshot: Snapshot,
}

/// Whether a watcher is first told what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Snapshot {
    Wanted,
    NotWanted,
}

impl Beginning {
    fn of(now: &dyn State, log: &dyn LogReader, request: &v1::WatchRequest) -> Result<Self, Problem> {
        let from = request.from.clone().unwrap_or(From::Start(Start::Now.into()));
        let is_now = matches!(&from, From::Start(start) if *start != i32::from(Start::Beginning));
        if request.include_snapshot && !is_now {
            let message = "A snapshot shows the present; so it can only be followed from now on.";
            return Err(Refusal::new(Reason::InvalidRequest, message).at("include_snapshot").into());
        }
        let at = match from {
            From::Start(start) => match known(start, "start")? {
                Start::Unspecified | Start::Now => Mark { revision: now.position(), chain: now.chain() },
                Start::Beginning => beginning(),
            },
            From::Revision(revision) => at_revision(log, Position(revision))?,
            From::ResumeToken(token) => at_mark(log, Mark::of_token(&token)?)?,
        };
        let scope = scope(now, request.scope.as_ref())?;
        let snapshot = if request.include_snapshot { Snapshot::Wanted } else { Snapshot::NotWanted };
        Ok(Self { at, scope, snapshot })
    }
}

/// Before the first bundle of any log.
fn beginning() -> Mark {
    Mark { revision: Position::ZERO, chain: Digest::from_bytes([0; 32]) }
}

fn at_revision(log: &dyn LogReader, revision: Position) -> Result<Mark, Problem> {
    if revision == Position::ZERO {
        return Ok(beginning());
    }
    let entry = log.entry(revision)?.ok_or_else(|| expired(format!("Revision {revision} is not in this log.")))?;
    Ok(Mark { revision, chain: entry.chain })
}

/// The mark, if it is of this very log.
fn at_mark(log: &dyn LogReader, mark: Mark) -> Result<Mark, Problem> {
    let here = at_revision(log, mark.revision)?;
    if here != mark {
        let message = "The resume token is of another past: this node's log was restored or replaced since.";
        return Err(expired(message.to_owned()).into());
    }
    Ok(mark)
}

fn expired(message: String) -> ApiError {
    ApiError::new(v1::Reason::ResumeTokenExpired, message).next("Watch anew, with a snapshot.")
}

fn scope(now: &dyn State, wanted: Option<&v1::WatchScope>) -> Result<Scope, Problem> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.tables.is_empty()) else { return Ok(Scope::default()) };
    let keys = wanted.tables.iter().map(|named| reading::table_key(now.view(), named));
    Ok(Scope { tables: Some(keys.collect::<Result<BTreeSet<_>, Problem>>()?) })
}
