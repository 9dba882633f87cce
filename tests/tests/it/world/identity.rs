//! What people say about what is the same: records that are one, columns that hold the same fact.

use openprod_client::v1;
use openprod_client::v1::command::Kind;

use super::person::Person;

/// The column meant by `table.column`.
fn column(words: &str) -> v1::NamedColumn {
    let (table, column) = words.split_once('.').unwrap();
    v1::NamedColumn { table: table.to_owned(), column: column.to_owned() }
}

fn command(kind: Kind) -> v1::Command {
    v1::Command { kind: Some(kind) }
}

impl Person {
    fn ids(&self, names: &[&str]) -> Vec<String> {
        names.iter().map(|name| self.id(name)).collect()
    }

    /// Makes records one.
    pub(crate) async fn merges(&self, records: &[&str]) -> v1::ExecuteResponse {
        let records = self.ids(records);
        self.does(vec![command(Kind::MergeRecords(v1::MergeRecords { records }))]).await
    }

    /// Takes a merged record apart: these of its ids become a record of their own.
    pub(crate) async fn splits(&self, record: &str, ids: &[&str]) -> v1::ExecuteResponse {
        let (record, ids) = (self.id(record), self.ids(ids));
        self.does(vec![command(Kind::SplitRecord(v1::SplitRecord { record, ids }))]).await
    }

    /// Makes some of a record's tables a record of its own; gives its id.
    pub(crate) async fn splits_off(&self, record: &str, tables: &[&str]) -> String {
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        let off = v1::SplitOff { record: self.id(record), tables, ..Default::default() };
        let done = self.does(vec![command(Kind::SplitOff(off))]).await;
        match done.created[0].thing.clone().unwrap() {
            v1::created::Thing::Record(id) => id,
            other @ v1::created::Thing::Edge(_) => panic!("{other:?}"),
        }
    }

    /// Says that two columns hold the same fact.
    pub(crate) async fn maps(&self, one: &str, other: &str) -> v1::ExecuteResponse {
        let mapping = v1::ConfirmMapping { one: Some(column(one)), other: Some(column(other)) };
        self.does(vec![command(Kind::ConfirmMapping(mapping))]).await
    }

    /// Says that two columns do not hold the same fact.
    pub(crate) async fn keeps_apart(&self, one: &str, other: &str) -> v1::ExecuteResponse {
        let mapping = v1::RejectMapping { one: Some(column(one)), other: Some(column(other)) };
        self.does(vec![command(Kind::RejectMapping(mapping))]).await
    }

    /// Takes back what was said of two columns.
    pub(crate) async fn unmaps(&self, one: &str, other: &str) -> v1::ExecuteResponse {
        let mapping = v1::RevokeMapping { one: Some(column(one)), other: Some(column(other)) };
        self.does(vec![command(Kind::RevokeMapping(mapping))]).await
    }

    /// What was said of pairs of columns: "contacts.name and schedule.name: confirmed".
    pub(crate) async fn knows_mappings(&self) -> Vec<String> {
        let answer = self.reads(v1::ListMappingsRequest::default()).await;
        let said = |column: &Option<v1::NamedColumn>| {
            let v1::NamedColumn { table, column } = column.clone().unwrap();
            format!("{table}.{column}")
        };
        let state = |mapping: &v1::Mapping| mapping.state().as_str_name().to_lowercase().replace("mapping_state_", "");
        let all = answer.mappings.iter();
        all.map(|one| format!("{} and {}: {}", said(&one.one), said(&one.other), state(one))).collect()
    }

    /// The merged records: "John Smith in contacts, schedule".
    pub(crate) async fn knows_merges(&self) -> Vec<String> {
        let answer = self.reads(v1::ListMergesRequest::default()).await;
        answer.records.iter().map(|record| format!("{} in {}", record.name, record.tables.join(", "))).collect()
    }

    /// What is not the same: "John Smith and J. Smith".
    pub(crate) async fn knows_exceptions(&self) -> Vec<String> {
        let answer = self.reads(v1::ListMergeExceptionsRequest::default()).await;
        answer.exceptions.iter().map(|pair| format!("{} and {}", pair.one_name, pair.other_name)).collect()
    }
}
