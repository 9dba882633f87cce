//! The command `who`: who is in the workspace now, and where.

use openprod_client::v1;
use openprod_domain::describe::escaped;
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::CliError;
use super::output::{self, Grid, Style, grid, line, remark};

/// Runs `who`.
pub async fn run(context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    let people = workspace.read(v1::ListPresenceRequest::default()).await?.people;
    if context.style == Style::Json {
        return people.iter().try_for_each(|person| output::json(&as_json(person)));
    }
    if people.is_empty() {
        remark("Nobody is here, as far as this node and those that it is connected with know.");
        return Ok(());
    }
    let mut shown = Grid::new(&["NAME", "WHERE", "NODE", "DOES"]);
    for person in &people {
        let does = if person.typing { "types" } else { "" };
        shown.row([escaped(&person.name), place(person), node(person), does.to_owned()]);
    }
    grid(context.style, &shown)
}

/// Tells of a change of it.
pub fn tell(event: &v1::PresenceEvent) -> Result<(), CliError> {
    let people: Vec<_> = event.people.iter().map(|person| format!("{} ({})", person.name, place(person))).collect();
    let here = if people.is_empty() { "nobody".to_owned() } else { people.join(", ") };
    line(&escaped(&format!("here  {here}")))
}

fn place(person: &v1::PresentPerson) -> String {
    let record: String = person.record.chars().take(8).collect();
    let parts = [person.table.as_str(), &record, &person.column].map(str::to_owned);
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "nowhere in particular".to_owned() } else { parts.join(" ") }
}

fn node(person: &v1::PresentPerson) -> String {
    if person.node.is_empty() { "this one".to_owned() } else { person.node.chars().take(8).collect() }
}

/// Somebody who is here.
pub fn as_json(person: &v1::PresentPerson) -> Json {
    json!({
        "actor": person.actor, "name": person.name, "session": person.session, "node": person.node,
        "table": person.table, "record": person.record, "column": person.column, "typing": person.typing,
    })
}
