//! Who is in a workspace now, as messages.

use openprod_api::convert::ids;
use openprod_api::v1;
use openprod_domain::read::{self, Membership};
use openprod_domain::view::{Read, View};
use openprod_links::company::Present;
use openprod_model::ids::ActorId;
use openprod_model::refusal::{Reason, Refusal};
use openprod_wire::presence::{Person, Place};

use super::super::reading::{self, Problem};
use crate::workspace::Workspace;

/// Where a request says that somebody is.
pub(super) fn person(view: &dyn View, actor: ActorId, request: &v1::SetPresenceRequest) -> Result<Person, Problem> {
    if read::membership(view, actor)? != Membership::Admitted {
        let message = "Only members are told of, and you are not one.";
        return Err(Refusal::new(Reason::NotAMember, message).at("actor").next("Ask a member to admit you.").into());
    }
    let place = place(view, request)?;
    let session = ids::id(&request.session, "session")?;
    Ok(Person { session, actor, place, is_typing: request.typing })
}

fn place(view: &dyn View, request: &v1::SetPresenceRequest) -> Result<Option<Place>, Problem> {
    if request.table.is_empty() {
        return Ok(None);
    }
    let table = reading::table(view, &request.table)?;
    let column = Some(&request.column).filter(|column| !column.is_empty());
    let column = column.map(|column| reading::column(&table, column)).transpose()?;
    let record = ids::optional_id(&request.record, "record")?;
    Ok(Some(Place { table: table.key, record, column }))
}

/// Those of these people who are members, with what they are called.
pub(super) fn people(workspace: &Workspace, present: &[Present]) -> Read<Vec<v1::PresentPerson>> {
    if present.is_empty() {
        return Ok(Vec::new());
    }
    let snapshot = workspace.snapshots.snapshot()?;
    let mut people = Vec::new();
    for one in present {
        if read::membership(snapshot.view(), one.person.actor)? == Membership::Admitted {
            people.push(told(snapshot.view(), one)?);
        }
    }
    Ok(people)
}

fn told(view: &dyn View, Present { node, person }: &Present) -> Read<v1::PresentPerson> {
    let mut told = v1::PresentPerson {
        actor: person.actor.to_string(),
        name: read::actor_name(view, person.actor)?.map_or_else(String::new, |name| name.to_string()),
        session: person.session.to_string(),
        node: node.map_or_else(String::new, |node| node.to_string()),
        typing: person.is_typing,
        ..Default::default()
    };
    if let Some(place) = &person.place {
        told.table = place.table.to_string();
        told.record = place.record.map_or_else(String::new, |record| record.to_string());
        told.column = place.column.as_ref().map_or_else(String::new, ToString::to_string);
    }
    Ok(told)
}
