//! Somebody who watches a workspace, and what is told.

use openprod_client::{Event, From, Watch, v1};

use super::person::Person;
use super::reading::field;
use super::speak::aloud;

/// A watch of a person.
pub(crate) struct Watcher {
    watch: Watch,
    person: Person,
}

impl Person {
    /// Watches these tables, all if there are none.
    pub(crate) fn watches(&self, from: From, tables: &[&str]) -> Watcher {
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        Watcher { watch: self.workspace().watch(from, tables), person: self.clone() }
    }
}

impl Watcher {
    /// The next event.
    pub(crate) async fn hears(&mut self) -> Event {
        let patience = std::time::Duration::from_mins(1);
        let event = tokio::time::timeout(patience, self.watch.next()).await.expect("something happens").unwrap();
        match &event {
            Event::SnapshotEnd(revision) | Event::Bookmark(revision) => self.person.was_shown(*revision),
            Event::Batch(batch) => self.person.was_shown(batch.bundle.as_ref().unwrap().revision),
            Event::Snapshot(_) | Event::Resynced | Event::Overlay(_) | Event::Presence(_) => {}
        }
        event
    }

    /// The next bundle; bookmarks are passed over.
    pub(crate) async fn hears_of_a_bundle(&mut self) -> v1::ChangeBatch {
        loop {
            match self.hears().await {
                Event::Batch(batch) => return *batch,
                Event::Bookmark(_) => {}
                other => panic!("not a bundle: {other:?}"),
            }
        }
    }

    /// The next word of an overlay; everything else is passed over.
    pub(crate) async fn hears_of_an_overlay(&mut self) -> v1::OverlayEvent {
        loop {
            if let Event::Overlay(event) = self.hears().await {
                return event;
            }
        }
    }

    /// The whole snapshot: its tables, records and edges.
    pub(crate) async fn hears_the_snapshot(&mut self) -> v1::SnapshotPart {
        self.person.catches_up().await;
        let mut all = v1::SnapshotPart::default();
        loop {
            match self.hears().await {
                Event::Snapshot(part) => {
                    all.tables.extend(part.tables);
                    all.records.extend(part.records);
                    all.edges.extend(part.edges);
                }
                Event::SnapshotEnd(_) => return all,
                other => panic!("not a snapshot: {other:?}"),
            }
        }
    }

    /// With what a later watch goes on from here.
    pub(crate) fn token(&self) -> String {
        self.watch.token().expect("something was heard").to_owned()
    }
}

/// What a bundle did to the only record in it: "changed LX 12: label=Dawn".
pub(crate) fn told(batch: &v1::ChangeBatch, column: &str) -> String {
    let [change] = &batch.records[..] else { panic!("not one record: {batch:?}") };
    let did = match change.kind() {
        v1::ChangeKind::Created => "created",
        v1::ChangeKind::Changed => "changed",
        v1::ChangeKind::Removed => "removed",
        v1::ChangeKind::Unspecified => "?",
    };
    let record = change.record.as_ref().unwrap();
    format!("{did}: {column}={}", aloud(field(record, column).value.as_ref()))
}

impl Person {
    /// Shows the others at which field this person is, and whether typing; how long that is told.
    pub(crate) async fn is_seen_at(&self, record: &str, column: &str, typing: bool) -> i64 {
        let request = v1::SetPresenceRequest {
            actor: self.actor.to_string(),
            session: self.client.session().to_string(),
            table: self.table_of(record),
            record: self.id(record),
            column: column.to_owned(),
            typing,
            ..Default::default()
        };
        self.reads(request).await.again_within_ms
    }

    /// Shows the others that this person goes.
    pub(crate) async fn is_seen_leaving(&self) {
        let session = self.client.session().to_string();
        self.reads(v1::SetPresenceRequest { session, gone: true, ..Default::default() }).await;
    }

    /// Who is here: "Leo at label, typing".
    pub(crate) async fn sees_who_is_here(&self) -> Vec<String> {
        let people = self.reads(v1::ListPresenceRequest::default()).await.people;
        people.iter().map(here).collect()
    }
}

impl Watcher {
    /// The next word of who is here; everything else is passed over.
    pub(crate) async fn hears_who_is_here(&mut self) -> Vec<String> {
        loop {
            if let Event::Presence(event) = self.hears().await {
                return event.people.iter().map(here).collect();
            }
        }
    }
}

fn here(person: &v1::PresentPerson) -> String {
    format!("{} at {}{}", person.name, person.column, if person.typing { ", typing" } else { "" })
}
