//! What people see: verbs that read. What was shown counts as seen.

use openprod_api::status::ApiError;
use openprod_client::reads::OfWorkspace;
use openprod_client::v1;

use super::person::Person;
use super::speak::*;

impl Person {
    /// Waits until reads show everything that the log holds: people here speak to each other about what they have done.
    pub(crate) async fn catches_up(&self) {
        let min_revision = self.asks_how_it_is().await.revision;
        let described = self.workspace().read(v1::GetWorkspaceRequest { min_revision, ..Default::default() }).await;
        described.unwrap_or_else(|error| panic!("{} could not read: {error} {error:?}", self.name));
    }

    /// Reads the workspace as it is now.
    pub(crate) async fn reads<Q: OfWorkspace>(&self, question: Q) -> Q::Answer {
        self.catches_up().await;
        let answer = self.workspace().read(question).await;
        answer.unwrap_or_else(|error| panic!("{} could not read: {error} {error:?}", self.name))
    }

    /// A field as it is shown.
    pub(crate) async fn looks_at(&self, record: &str, column: &str) -> v1::FieldReading {
        let question =
            v1::GetRecordRequest { record: self.id(record), table: self.table_of(record), ..Default::default() };
        let answer = self.reads(question).await;
        self.was_shown(answer.revision);
        field(&answer.records[0], column)
    }

    /// The value of a field, read aloud.
    pub(crate) async fn sees(&self, record: &str, column: &str) -> String {
        aloud(self.looks_at(record, column).await.value.as_ref())
    }

    /// Reads the field and says nothing: what stands there is known from now on.
    pub(crate) async fn looks(&self, record: &str) {
        let question = v1::GetRecordRequest { record: self.id(record), ..Default::default() };
        let revision = self.reads(question).await.revision;
        self.was_shown(revision);
    }

    /// The value of a field at a point in the past.
    pub(crate) async fn looks_back(&self, record: &str, column: &str, as_of: v1::AsOf) -> String {
        let (record, table) = (self.id(record), self.table_of(record));
        let question = v1::GetRecordRequest { record, table, as_of: Some(as_of), ..Default::default() };
        aloud(field(&self.reads(question).await.records[0], column).value.as_ref())
    }

    /// The names of the records of a table.
    pub(crate) async fn lists(&self, table: &str) -> Vec<String> {
        self.catches_up().await;
        names(&self.workspace().records(table).all().await.unwrap())
    }

    /// The names of the records that a query finds.
    pub(crate) async fn asks(&self, query: &str) -> Vec<String> {
        self.catches_up().await;
        names(&self.workspace().query(query).all().await.unwrap_or_else(|error| panic!("{query}: {error}")))
    }

    /// Asks a query that is to be refused.
    pub(crate) async fn asks_in_vain(&self, query: &str) -> ApiError {
        let workspace = self.workspace_id().to_string();
        let request = v1::QueryRequest { workspace, query: query.to_owned(), ..Default::default() };
        ApiError::from(self.client.tables().query(request).await.expect_err("this should have been refused"))
    }

    /// The names of the tables.
    pub(crate) async fn knows_tables(&self) -> Vec<String> {
        let question = v1::ListTablesRequest::default();
        self.reads(question).await.tables.into_iter().map(|table| table.name).collect()
    }

    /// A table.
    pub(crate) async fn knows_table(&self, table: &str) -> v1::Table {
        self.catches_up().await;
        self.workspace().table(table).await.unwrap()
    }

    /// How a field came to hold what it holds.
    pub(crate) async fn explains(&self, record: &str, column: &str) -> v1::ExplainCellResponse {
        let cell = field_cell(&self.table_of(record), &self.id(record), column);
        self.reads(v1::ExplainCellRequest { cell: Some(cell), ..Default::default() }).await
    }

    /// Who did what, newest first: "Mara: Add LX 12".
    pub(crate) async fn reads_history(&self, filter: v1::ListBundlesRequest) -> Vec<String> {
        self.catches_up().await;
        let bundles = self.workspace().pages(filter).all().await.unwrap();
        bundles.iter().map(|bundle| format!("{}: {}", bundle.actor_name, bundle.label)).collect()
    }

    /// What can be undone or redone, the next first: each label, and the sentence about what stands in the way.
    pub(crate) async fn foresees(&self, turn: v1::UndoTurn, scope: v1::UndoScope) -> Vec<(String, String)> {
        self.catches_up().await;
        let mut question = self.workspace().list_undo(turn, scope);
        let mut ahead = Vec::new();
        while let Some(page) = question.next().await.unwrap() {
            ahead.extend(page.items.into_iter().map(|item| {
                let sentence = item.obstacle.map(|obstacle| obstacle.sentence).unwrap_or_default();
                (item.bundle.unwrap().label, sentence)
            }));
        }
        ahead
    }

    /// The conflicts that fit a filter; they count as seen.
    pub(crate) async fn disputes(&self, filter: v1::ListConflictsRequest) -> Vec<v1::Conflict> {
        self.catches_up().await;
        let (mut pages, mut all, mut told) = (self.workspace().pages(filter), Vec::new(), 0);
        while let Some(page) = pages.next().await.unwrap() {
            self.was_shown(page.revision);
            all.extend(page.conflicts);
            told = page.total_count;
        }
        assert_eq!(all.len() as u64, told, "as many as were said to be");
        all
    }

    /// What is in conflict, in sentences.
    pub(crate) async fn hears_of_disputes(&self) -> Vec<String> {
        let all = self.disputes(v1::ListConflictsRequest::default()).await;
        all.into_iter().map(|conflict| conflict.sentence).collect()
    }

    /// One conflict, by its id.
    pub(crate) async fn looks_into(&self, conflict: &str) -> v1::Conflict {
        self.catches_up().await;
        let found = self.workspace().conflict(conflict).await.unwrap();
        self.was_shown(found.revision);
        found.conflict.unwrap()
    }

    /// A bundle with its changes.
    pub(crate) async fn opens_bundle(&self, bundle: &str) -> v1::GetBundleResponse {
        self.reads(v1::GetBundleRequest { bundle: bundle.to_owned(), ..Default::default() }).await
    }

    /// The names of the records from which edges of that kind lead to this one, in their order.
    pub(crate) async fn follows(&self, kind: &str, to: &str) -> Vec<String> {
        let question = v1::ListEdgesRequest {
            record: self.id(to),
            r#type: kind.to_owned(),
            direction: v1::EdgeDirection::To.into(),
            ..Default::default()
        };
        let answer = self.reads(question).await;
        self.was_shown(answer.revision);
        let names = self.names.lock().unwrap();
        let called =
            |id: &str| names.iter().find(|(_, thing)| thing.id == id).map_or(id.to_owned(), |(n, _)| n.clone());
        answer.edges.iter().map(|edge| called(&edge.ends.as_ref().unwrap().source)).collect()
    }

    /// An edge.
    pub(crate) async fn looks_at_edge(&self, edge: &str) -> v1::Edge {
        let answer = self.reads(v1::GetEdgeRequest { edge: self.id(edge), ..Default::default() }).await;
        self.was_shown(answer.revision);
        answer.edge.unwrap()
    }

    /// The name, settings and members of the workspace.
    pub(crate) async fn describes(&self) -> v1::GetWorkspaceResponse {
        self.reads(v1::GetWorkspaceRequest::default()).await
    }

    /// The workspaces of the node.
    pub(crate) async fn lists_workspaces(&self) -> Vec<String> {
        self.client.list_workspaces().await.unwrap().into_iter().map(|workspace| workspace.name).collect()
    }
}

/// A field of a record; without a value if it is not told.
pub(crate) fn field(record: &v1::Record, column: &str) -> v1::FieldReading {
    record.fields.iter().find(|field| field.column == column).cloned().unwrap_or_default()
}

fn names(records: &[v1::Record]) -> Vec<String> {
    records.iter().map(|record| aloud(field(record, "name").value.as_ref())).collect()
}
