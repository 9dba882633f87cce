//! What a sheet comes to beside what is there already.

use super::*;
use crate::sheet::{ReadOptions, read_sheet};

fn sheet(text: &str) -> Sheet {
    read_sheet(text.as_bytes(), "x.csv", &ReadOptions::default()).expect("readable")
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn keyed(keys: &[&str]) -> ImportOptions {
    ImportOptions { table: "cues".to_owned(), keys: strings(keys), ..ImportOptions::default() }
}

fn plan(text: &str, options: &ImportOptions, now: &TableNow) -> ImportPlan {
    plan_import(&sheet(text), options, now).expect("planned")
}

fn record(n: usize) -> EntityId {
    EntityId::from_bytes(u128::try_from(n).expect("small").to_be_bytes())
}

/// The table after everything that the plan wants was done.
fn after(plan: &ImportPlan, options: &ImportOptions, now: &TableNow) -> TableNow {
    let columns: Vec<_> = now.columns.iter().chain(&plan.new_columns).cloned().collect();
    let index = |name: &Name| columns.iter().position(|(column, _)| column == name).expect("a column");
    let mut records: Vec<_> = now.records.iter().map(|old| (old.record, old.values.clone())).collect();
    for (_, values) in &mut records {
        values.resize(columns.len(), None);
    }
    for changed in &plan.changed {
        let (_, values) = records.iter_mut().find(|(record, _)| *record == changed.record).expect("a record");
        changed.set.iter().for_each(|(name, value)| values[index(name)] = Some(value.clone()));
        changed.clear.iter().for_each(|name| values[index(name)] = None);
    }
    for new in &plan.new_records {
        let mut values = vec![None; columns.len()];
        new.values.iter().for_each(|(name, value)| values[index(name)] = Some(value.clone()));
        records.push((record(records.len()), values));
    }
    TableNow::keyed(columns, records, options)
}

fn imported(text: &str, options: &ImportOptions) -> TableNow {
    let empty = TableNow::default();
    after(&plan(text, options, &empty), options, &empty)
}

/// New, changed, unchanged, gone, bad.
fn counts(plan: &ImportPlan) -> [usize; 5] {
    [plan.new_records.len(), plan.changed.len(), plan.unchanged, plan.gone.len(), plan.bad.len()]
}

fn bad(plan: &ImportPlan) -> Vec<(u64, &str, &str)> {
    plan.bad.iter().map(|bad| (bad.line, bad.column.as_str(), bad.message.as_str())).collect()
}

const CUES: &str = "cue,label,time\n1,Sunrise,3\n2,,5\n2.5,Dawn,\n";

#[test]
fn the_same_file_again_changes_nothing() {
    let options = keyed(&["cue"]);
    let first = plan(CUES, &options, &TableNow::default());
    assert_eq!(counts(&first), [3, 0, 0, 0, 0]);
    let types: Vec<_> = first.new_columns.iter().map(|(name, of)| (name.as_str(), of.word())).collect();
    assert_eq!(types, [("cue", "float"), ("label", "text"), ("time", "integer")]);
    let again = plan(CUES, &options, &imported(CUES, &options));
    assert_eq!((counts(&again), again.new_columns), ([0, 0, 3, 0, 0], vec![]));
}

#[test]
fn changes_are_told_field_by_field_and_nothing_is_deleted() {
    let options = keyed(&["cue"]);
    let now = imported(CUES, &options);
    let plan = plan("cue,label,time,note\n1,Sunset,,x\n3,New,1,\n2,,5,\n", &options, &now);
    assert_eq!(counts(&plan), [1, 1, 1, 1, 0]);
    let changed = &plan.changed[0];
    assert_eq!((changed.line, changed.record), (2, now.records[0].record));
    assert_eq!(changed.set.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["label", "note"]);
    assert_eq!(changed.clear.iter().map(Name::as_str).collect::<Vec<_>>(), ["time"]);
    assert_eq!(plan.gone, [now.records[2].record]);
    assert_eq!(after(&plan, &options, &now).records.len(), 4);
}

#[test]
fn a_bad_cell_sets_its_row_aside_and_only_that() {
    let options = keyed(&["cue"]);
    let plan = plan("cue,time\n1,soon\n2,4\n2.10,7\nx,y\n", &options, &imported(CUES, &options));
    assert_eq!(counts(&plan), [1, 1, 0, 1, 3]);
    assert_eq!(
        bad(&plan),
        [
            (2, "time", "\"soon\" is not a whole number such as 42."),
            (5, "cue", "\"x\" is not a number such as 4.5."),
            (5, "time", "\"y\" is not a whole number such as 42."),
        ]
    );
    let note =
        "Column \"cue\": cells that are stored in another spelling: 1; the first on line 4, \"2.10\" as \"2.1\".";
    assert_eq!(plan.notes, [note]);
}

#[test]
fn rows_without_key_or_with_one_seen_before_are_set_aside() {
    let plan = plan("cue,label\n1,a\n,b\n1,c\n,,\n", &keyed(&["cue"]), &TableNow::default());
    let no_key = "It has no key, so it cannot be told which record it is.";
    assert_eq!(bad(&plan), [(3, "cue", no_key), (4, "cue", "It has the same key as line 2.")]);
    assert_eq!(plan.notes, ["Empty rows that were left out: 1."]);
    assert_eq!(counts(&plan), [1, 0, 0, 0, 2]);
}

#[test]
fn two_records_with_one_key_are_left_alone() {
    let mut now = imported(CUES, &keyed(&["cue"]));
    now.records[1].key = now.records[0].key.clone();
    let plan = plan("cue,label\n1,x\n", &keyed(&["cue"]), &now);
    assert_eq!((counts(&plan), plan.gone), ([0, 0, 0, 1, 1], vec![now.records[2].record]));
}

const CONTINUED: &str = "cue,op,file\n1a,play,A\n,play,B\n,stop,\n1b,play,C\n";

#[test]
fn continuation_rows_belong_to_the_cue_above() {
    let options = ImportOptions { fill_down: strings(&["cue"]), ..keyed(&["cue", "op", "#"]) };
    let now = imported(CONTINUED, &options);
    let keys: Vec<_> = now.records.iter().map(|record| record.key.join(" ")).collect();
    assert_eq!(keys, ["1a play 1", "1a play 2", "1a stop 1", "1b play 1"]);
    assert_eq!(counts(&plan(CONTINUED, &options, &now)), [0, 0, 4, 0, 0]);
    let edited = CONTINUED.replace(",play,B", ",play,Z");
    assert_eq!(counts(&plan(&edited, &options, &now)), [0, 1, 3, 0, 0]);
}

#[test]
fn a_stored_ordinal_outlives_the_order_of_records() {
    let ordinal = Some("row".to_owned());
    let options = ImportOptions { fill_down: strings(&["cue"]), ordinal, ..keyed(&["cue", "op", "#"]) };
    let now = imported(CONTINUED, &options);
    let mut records: Vec<_> = now.records.into_iter().map(|old| (old.record, old.values)).collect();
    records.reverse();
    let turned = TableNow::keyed(now.columns, records, &options);
    assert_eq!(counts(&plan(CONTINUED, &options, &turned)), [0, 0, 4, 0, 0]);
    let exported = "cue,row,op,file\n1a,1,play,A\n,2,play,B\n,1,stop,\n1b,1,play,C\n";
    assert_eq!(counts(&plan(exported, &options, &turned)), [0, 0, 4, 0, 0]);
}

#[test]
fn a_cell_may_link_to_several_records() {
    let links = vec![("scene".to_owned(), "scenes".to_owned())];
    let options = ImportOptions { links, ..keyed(&["cue"]) };
    let plan = plan("cue,scene\n1,\"Storm, Harbour & Quay; Inn\"\n2,\n", &options, &TableNow::default());
    let texts: Vec<_> = plan.links.iter().map(|wish| wish.target_text.as_str()).collect();
    assert_eq!(texts, ["Storm", "Harbour", "Quay", "Inn"]);
    assert_eq!((plan.links[0].from_row, plan.links[0].line), (RowRef::New(0), 2));
    assert_eq!(plan.new_columns.len(), 1);
}

#[test]
fn without_keys_every_row_is_new() {
    let options = keyed(&[]);
    assert_eq!(counts(&plan(CUES, &options, &imported(CUES, &options))), [3, 0, 0, 0, 0]);
}

#[test]
fn a_type_may_be_told_but_the_table_has_the_last_word() {
    let types = vec![("time".to_owned(), FieldType::Duration), ("cue".to_owned(), FieldType::Text)];
    let options = ImportOptions { types, ..keyed(&["cue"]) };
    let first = plan(CUES, &options, &TableNow::default());
    assert_eq!(first.new_columns[0].1, FieldType::Text);
    assert_eq!(first.new_columns[2].1, FieldType::Duration);
    let now = imported(CUES, &keyed(&["cue"]));
    let notes = plan(CUES, &options, &now).notes;
    assert!(notes.contains(&"Column \"cue\" stays of type float, as it is in the table.".to_owned()), "{notes:?}");
}

#[test]
fn options_that_name_what_is_not_there_are_refused() {
    let refused =
        |options: &ImportOptions| plan_import(&sheet(CUES), options, &TableNow::default()).expect_err("refused");
    assert_eq!(
        refused(&keyed(&["Cue"])).to_string(),
        "key names a column \"Cue\" that is not there; the columns are \"cue\", \"label\", \"time\""
    );
    assert!(matches!(refused(&keyed(&["#"])), SheetError::Options(_)));
    assert!(matches!(refused(&ImportOptions { ordinal: Some("n".into()), ..keyed(&["cue"]) }), SheetError::Options(_)));
}

#[test]
fn a_nul_is_a_bad_cell() {
    let plan = plan("cue,label\n1,a\0b\n", &keyed(&["cue"]), &TableNow::default());
    assert_eq!(bad(&plan), [(2, "label", "\"a\\u{0}b\": text holds a NUL character.")]);
}
