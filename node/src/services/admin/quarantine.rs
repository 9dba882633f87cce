//! What is in quarantine, as messages.

use openprod_api::convert::history::signed_ms;
use openprod_api::status;
use openprod_api::v1;
use openprod_domain::describe;
use openprod_domain::read::{self, Membership};
use openprod_domain::view::Read;
use openprod_messages::log::Quarantined;
use openprod_messages::oplog::OplogMsg;
use openprod_model::bundle::Bundle;
use openprod_model::ids::{ActorId, Position};
use openprod_model::refusal::{Reason, Refusal};
use tonic::Status;

use super::super::paging::{self, Pages};
use super::super::{no_answer, not_appended, unreadable};
use crate::workspace::Workspace;

/// Most operations that are told in words.
const MAX_OPS: usize = 1_000;
const NEXT: &str = "Try again once what it needs has come (`openprod quarantine retry`), or keep it and be told no more of \
                    it (`openprod quarantine skip`).";
const NEXT_IF_HELD: &str = "Read it (`openprod quarantine show`), then take it (`openprod quarantine take`), or keep it and \
                            be told no more of it (`openprod quarantine skip`).";
/// Most that are taken at once: what a person removed for a weekend has written.
const MAX_TAKEN: usize = 1_000;

/// A page of the list.
pub(super) fn list(
    workspace: &Workspace,
    request: &v1::ListQuarantineRequest,
) -> Result<v1::ListQuarantineResponse, Status> {
    let pages = Pages::of(&("quarantine", workspace.id));
    let place = pages.place::<u64>(&request.page_token).map_err(|refusal| status::refused(&refusal))?;
    let from = place.map_or(0, |(_, from)| from);
    let wanted = paging::items(request.page_size);
    let mut found = workspace.log.quarantined(from, wanted + 1).map_err(|failure| unreadable(&failure))?;
    let more = if found.len() > wanted { found.pop() } else { None };
    let next_page_token = more.map_or_else(String::new, |next| pages.token(Position::ZERO, &next.number));
    Ok(v1::ListQuarantineResponse { items: found.iter().map(item).collect(), next_page_token })
}

/// The one of that number.
pub(super) fn find(workspace: &Workspace, number: u64) -> Result<Quarantined, Status> {
    let found = workspace.log.quarantined(number, 1).map_err(|failure| unreadable(&failure))?;
    found.into_iter().find(|found| found.number == number).ok_or_else(|| {
        let message = format!("There is no number {number} in quarantine.");
        let unknown = Refusal::new(Reason::UnknownHistory, message).at("number");
        status::refused(&unknown.next("`openprod quarantine` lists what is there."))
    })
}

/// One of them in short.
pub(super) fn item(found: &Quarantined) -> v1::Quarantined {
    let claims = Bundle::parse(&found.bytes).ok();
    let header = claims.as_ref().map(Bundle::header);
    v1::Quarantined {
        number: found.number,
        bundle_digest: found.digest.map_or_else(String::new, |digest| digest.to_string()),
        origin: found.source.clone(),
        sentence: found.reason.clone(),
        next: if found.held { NEXT_IF_HELD } else { NEXT }.to_owned(),
        since_ms: signed_ms(found.since_ms),
        skipped: found.skipped,
        size: u64::try_from(found.bytes.len()).unwrap_or(u64::MAX),
        actor: header.map_or_else(String::new, |header| header.actor.to_string()),
        label: header.map_or_else(String::new, |header| header.label.to_string()),
        held: found.held,
    }
}

/// Refuses a taker who is no member, and what cannot be taken.
pub(super) fn may_take(workspace: &Workspace, taker: Option<ActorId>, numbers: &[u64]) -> Result<(), Status> {
    if numbers.is_empty() || numbers.len() > MAX_TAKEN {
        let message = format!("Between 1 and {MAX_TAKEN} bundles are taken at once.");
        return Err(status::refused(&Refusal::new(Reason::InvalidRequest, message).at("numbers")));
    }
    if !is_member(workspace, taker).map_err(|failure| unreadable(&failure))? {
        let message = "Only a member takes in what somebody else wrote, and you are not one.";
        return Err(status::refused(&Refusal::new(Reason::NotAMember, message).at("actor").next("Ask a member.")));
    }
    for number in numbers {
        let found = find(workspace, *number)?;
        if !found.held {
            let message = format!("Number {number} does not stand up to its checks: {}", found.reason);
            let refusal = Refusal::new(Reason::BadBundle, message).at("numbers");
            return Err(status::refused(&refusal.next("`openprod quarantine export` saves its bytes.")));
        }
    }
    Ok(())
}

fn is_member(workspace: &Workspace, actor: Option<ActorId>) -> Read<bool> {
    let Some(actor) = actor else { return Ok(false) };
    let snapshot = workspace.snapshots.snapshot()?;
    Ok(read::membership(snapshot.view(), actor)? == Membership::Admitted)
}

/// Takes them, in the order of their numbers. One that came along with another before is no longer there.
pub(super) async fn take(workspace: &Workspace, mut numbers: Vec<u64>) -> Result<v1::TakeQuarantinedResponse, Status> {
    numbers.sort_unstable();
    let (mut taken, mut revision) = (0, Position::ZERO);
    for number in numbers {
        if !workspace
            .log
            .quarantined(number, 1)
            .map_err(|failure| unreadable(&failure))?
            .iter()
            .any(|one| one.number == number)
        {
            continue;
        }
        let admitted = workspace.oplog.call(|reply| OplogMsg::Take { number, reply }).await;
        let admitted = admitted.map_err(no_answer)?.map_err(not_appended)?;
        if admitted.appended == 0 {
            let found = find(workspace, number)?;
            let refusal = Refusal::new(Reason::BadBundle, format!("Number {number} was not taken: {}", found.reason));
            return Err(status::refused(&refusal.at("numbers")));
        }
        (taken, revision) = (taken + admitted.appended, admitted.through);
    }
    Ok(v1::TakeQuarantinedResponse { taken, revision: revision.0 })
}

/// One of them as far as it can be read.
pub(super) fn show(workspace: &Workspace, number: u64) -> Result<v1::GetQuarantinedResponse, Status> {
    let found = find(workspace, number)?;
    let Ok(bundle) = Bundle::parse(&found.bytes) else {
        return Ok(v1::GetQuarantinedResponse { item: Some(item(&found)), ..v1::GetQuarantinedResponse::default() });
    };
    let mut missing_parents = Vec::new();
    for ancestor in bundle.ancestors() {
        if workspace.log.position_of(ancestor).map_err(|failure| unreadable(&failure))?.is_none() {
            missing_parents.push(ancestor.to_string());
        }
    }
    Ok(v1::GetQuarantinedResponse {
        item: Some(item(&found)),
        bundle: Some(info(&bundle)),
        ops: bundle.ops().iter().take(MAX_OPS).map(in_words).collect(),
        missing_parents,
    })
}

/// What a bundle claims to be. It has no revision, and nobody has vouched for its names.
fn info(bundle: &Bundle) -> v1::BundleInfo {
    let header = bundle.header();
    v1::BundleInfo {
        revision: 0,
        bundle_id: header.id.to_string(),
        bundle_digest: bundle.digest().to_string(),
        actor: header.actor.to_string(),
        wall_ms: signed_ms(header.wall_ms),
        kind: i32::from(header.kind.0),
        label: header.label.to_string(),
        op_count: header.op_count,
        undoes: header.undoes.iter().map(ToString::to_string).collect(),
        shown_in_part: bundle.ops().iter().any(|op| op.operation.is_none()),
        ..v1::BundleInfo::default()
    }
}

/// What an operation would do: the cells that it writes, and what into them.
fn in_words(op: &openprod_model::bundle::Op) -> String {
    let Some(operation) = &op.operation else {
        return format!("An operation of kind {}, which this version does not know.", op.kind);
    };
    let writes = openprod_domain::fold::writes(operation);
    let words = writes.iter().map(|write| format!("{:?} becomes {:?}", write.cell, write.content));
    describe::escaped(&words.collect::<Vec<_>>().join("; "))
}
