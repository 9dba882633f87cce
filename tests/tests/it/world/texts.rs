//! What people do to texts and lists that several write together.

use openprod_client::v1;
use openprod_client::v1::command::Kind;

use super::Person;

impl Person {
    /// Edits a text, by positions in what this person was last shown.
    pub(crate) async fn edits(&self, record: &str, column: &str, edits: Vec<v1::TextEdit>) -> v1::ExecuteResponse {
        self.does(vec![self.edit_text(record, column, edits)]).await
    }

    /// The command for that.
    pub(crate) fn edit_text(&self, record: &str, column: &str, edits: Vec<v1::TextEdit>) -> v1::Command {
        let (table, record) = (self.table_of(record), self.id(record));
        v1::Command { kind: Some(Kind::EditText(v1::EditText { record, table, column: column.to_owned(), edits })) }
    }

    /// Makes a text say this.
    pub(crate) async fn rewrites(&self, record: &str, column: &str, text: &str) -> v1::ExecuteResponse {
        let (table, record) = (self.table_of(record), self.id(record));
        let set = v1::SetText { record, table, column: column.to_owned(), text: text.to_owned() };
        self.does(vec![v1::Command { kind: Some(Kind::SetText(set)) }]).await
    }

    /// Edits a list.
    pub(crate) async fn arranges(
        &self,
        record: &str,
        column: &str,
        edits: Vec<v1::sequence_edit::Kind>,
    ) -> v1::ExecuteResponse {
        let (table, record) = (self.table_of(record), self.id(record));
        let edits = edits.into_iter().map(|kind| v1::SequenceEdit { kind: Some(kind) }).collect();
        let edit = v1::EditSequence { record, table, column: column.to_owned(), edits };
        self.does(vec![v1::Command { kind: Some(Kind::EditSequence(edit)) }]).await
    }

    /// Hands over what an editor has done that binds to a text directly.
    pub(crate) async fn hands_over(
        &self,
        record: &str,
        column: &str,
        client_id: u64,
        update: Vec<u8>,
    ) -> v1::ExecuteResponse {
        self.does(vec![self.apply_update(record, column, client_id, update)]).await
    }

    /// The command for that.
    pub(crate) fn apply_update(&self, record: &str, column: &str, client_id: u64, update: Vec<u8>) -> v1::Command {
        let (table, record) = (self.table_of(record), self.id(record));
        let update = v1::ApplyUpdate { record, table, column: column.to_owned(), client_id, update };
        v1::Command { kind: Some(Kind::ApplyUpdate(update)) }
    }

    /// A text or a list, whole.
    pub(crate) async fn reads_whole(&self, record: &str, column: &str) -> v1::GetDocumentResponse {
        self.catches_up().await;
        let (table, record) = (self.table_of(record), self.id(record));
        let read = self.workspace().document(&record, &table, column).await.unwrap();
        self.was_shown(read.revision);
        read
    }

    /// What a text says.
    pub(crate) async fn says(&self, record: &str, column: &str) -> String {
        self.reads_whole(record, column).await.text
    }
}
