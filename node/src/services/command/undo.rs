//! What can be undone and redone, as a list: the stack of an actor, each bundle with what stands in its way.

use openprod_api::convert::path::known;
use openprod_api::convert::undo::{obstacle, scope_from, turn_from};
use openprod_api::v1;
use openprod_domain::decide;
use openprod_domain::inverse::Ground;
use openprod_domain::inverse::take::{Ahead, Preview};
use openprod_messages::log::LogTrail;
use openprod_model::bundle::Stamp;
use openprod_model::clock::Hlc;
use openprod_model::ids::{ActorId, OpId, Position, WorkspaceId};
use openprod_model::refusal::{Reason, Refusal};

use super::super::batch::{Names, info};
use super::super::paging::{self, Pages};
use super::super::reading::{Problem, Scene};

/// How far ahead a list looks: each bundle is judged as it will be once those before it have been undone, so that the
/// last page costs as much as all pages.
const MAX_AHEAD: usize = 10_000;

/// Nobody can act on a node without identities.
pub(super) fn nobody() -> Refusal {
    let refusal = Refusal::new(Reason::UnknownActor, "This node has no identity that could undo anything.");
    refusal.at("actor").next("Make one first.")
}

/// A page of the stack of `actor`.
pub(super) fn list(
    scene: &Scene,
    actor: ActorId,
    request: &v1::ListUndoRequest,
) -> Result<v1::ListUndoResponse, Problem> {
    let (turn, scope) = (turn_from(known(request.turn, "turn")?), scope_from(known(request.scope, "scope")?));
    let unpaged = v1::ListUndoRequest { page_size: 0, page_token: String::new(), min_revision: 0, ..request.clone() };
    let pages = Pages::of(&(unpaged, actor));
    let behind = pages.place::<Position>(&request.page_token)?.map(|(_, behind)| behind);
    let (view, trail, last) = (scene.view(), LogTrail(&*scene.log), scene.snapshot.position());
    let ground = Ground { view: &*view, history: &*scene.snapshot, trail: &trail, actor };
    let mut ahead = Preview::new(ground, last, turn, scope, behind_all(scene, actor)?);
    let (mut page, wanted) = (v1::ListUndoResponse::default(), paging::items(request.page_size));
    let mut names = Names::of(&*view);
    for _ in 0..MAX_AHEAD {
        scene.stop.check()?;
        let Some(next) = ahead.pop().map_err(problem)? else { break };
        if behind.is_some_and(|behind| next.by >= behind) {
            continue;
        }
        page.items.extend(item(scene, &mut names, &next)?);
        if page.items.len() == wanted {
            page.next_page_token = pages.token(last, &next.by);
            break;
        }
    }
    page.revision = scene.revision().0;
    Ok(page)
}

/// A stamp for what is only tried: later than everything in the log.
fn behind_all(scene: &Scene, actor: ActorId) -> Result<Stamp, Problem> {
    let hlc = Hlc::tick(0, scene.log.tail()?.hlc, 1);
    let (workspace, op_base) = (WorkspaceId::from_bytes([0; 16]), OpId::from_bytes([0; 16]));
    Ok(Stamp { workspace, actor, hlc, op_base })
}

fn problem(problem: decide::Problem) -> Problem {
    match problem {
        decide::Problem::Refused(refusal) => refusal.into(),
        decide::Problem::Read(failure) => failure.into(),
    }
}

fn item(scene: &Scene, names: &mut Names<'_>, next: &Ahead) -> Result<Option<v1::UndoItem>, Problem> {
    let position = next.step.position;
    let Some(entry) = scene.log.entry(position)? else { return Ok(None) };
    let bundle = Some(info(names, position, &entry, scene.log.outline(position)?.as_ref())?);
    Ok(Some(v1::UndoItem { bundle, obstacle: next.obstacle.as_ref().map(obstacle) }))
}
