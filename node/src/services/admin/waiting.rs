//! What waits for other bundles, as messages.

use std::collections::{BTreeMap, BTreeSet};

use openprod_api::convert::history::signed_ms;
use openprod_api::status;
use openprod_api::v1;
use openprod_domain::view::Read;
use openprod_messages::log::{Lanes as _, Waiting};
use openprod_model::ids::{Digest, Position};
use tonic::Status;

use super::super::paging::{self, Pages};
use super::super::unreadable;
use crate::workspace::Workspace;

/// Most bundles of quarantine, and most that wait, among which it is looked for what is missing: more than either holds
/// but for a disk that breaks or a peer that means harm.
const LOOKED_AMONG: usize = 10_000;

/// A page of the list.
pub(super) fn list(workspace: &Workspace, request: &v1::ListWaitingRequest) -> Result<v1::ListWaitingResponse, Status> {
    let pages = Pages::of(&("waiting", workspace.id));
    let place = pages.place::<u64>(&request.page_token).map_err(|refusal| status::refused(&refusal))?;
    let from = place.map_or(0, |(_, from)| from);
    told(workspace, from, paging::items(request.page_size), &pages).map_err(|failure| unreadable(&failure))
}

fn told(workspace: &Workspace, from: u64, wanted: usize, pages: &Pages) -> Read<v1::ListWaitingResponse> {
    let mut found = workspace.store.waiting(from, wanted + 1)?;
    let more = if found.len() > wanted { found.pop() } else { None };
    let here = Here::of(workspace)?;
    let items = found.into_iter().map(|waiting| here.item(workspace, waiting)).collect::<Read<_>>()?;
    let next_page_token = more.map_or_else(String::new, |next| pages.token(Position::ZERO, &next.number));
    Ok(v1::ListWaitingResponse { items, next_page_token })
}

/// What is on this node and not in the log.
struct Here {
    quarantined: BTreeMap<Digest, u64>,
    waiting: BTreeSet<Digest>,
}

impl Here {
    fn of(workspace: &Workspace) -> Read<Self> {
        let quarantined = workspace.log.quarantined(0, LOOKED_AMONG)?.into_iter();
        let waiting = workspace.store.waiting(0, LOOKED_AMONG)?.into_iter();
        Ok(Self {
            quarantined: quarantined.filter_map(|one| Some((one.digest?, one.number))).collect(),
            waiting: waiting.map(|one| one.digest).collect(),
        })
    }

    fn item(&self, workspace: &Workspace, waiting: Waiting) -> Read<v1::WaitingBundle> {
        let mut missing = Vec::new();
        for digest in waiting.missing {
            if workspace.log.position_of(digest)?.is_none() {
                let quarantined = self.quarantined.get(&digest).copied().unwrap_or_default();
                let waits = self.waiting.contains(&digest);
                missing.push(v1::MissingBundle { bundle_digest: digest.to_string(), quarantined, waits });
            }
        }
        Ok(v1::WaitingBundle {
            bundle_digest: waiting.digest.to_string(),
            origin: waiting.source,
            since_ms: signed_ms(waiting.since_ms),
            sentence: sentence(&missing),
            missing,
        })
    }
}

/// What the missing ones mean for whoever waits.
fn sentence(missing: &[v1::MissingBundle]) -> String {
    let decided: Vec<_> = missing.iter().map(|one| one.quarantined).filter(|number| *number > 0).collect();
    let elsewhere = missing.iter().filter(|one| one.quarantined == 0 && !one.waits).count();
    match (&decided[..], elsewhere) {
        ([], 0) => "It waits for others that wait themselves.".to_owned(),
        ([], 1) => "It builds on a bundle that no node has given to this one yet.".to_owned(),
        ([], many) => format!("It builds on {many} bundles that no node has given to this one yet."),
        (numbers, 0) => format!("It builds on what lies in quarantine: {}.", listed(numbers)),
        (numbers, many) => {
            format!(
                "It builds on what lies in quarantine ({}), and on {many} bundles that have not come.",
                listed(numbers)
            )
        }
    }
}

fn listed(numbers: &[u64]) -> String {
    numbers.iter().map(|number| format!("number {number}")).collect::<Vec<_>>().join(", ")
}
