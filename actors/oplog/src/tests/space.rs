//! A real file system that is really full: a small tmpfs, made by root only.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use openprod_messages::log::LogReader;
use openprod_model::ids::Position;

use super::kit::{Knowledge, OPTIONS, WORKSPACE, check_log, edit, person};
use crate::logic::batch::Batch;
use crate::logic::ledger::{Ledger, Taken};
use crate::store::{LogStore, Writer};

/// Appends one bundle as the actor would.
fn append(
    store: &Arc<LogStore>,
    writer: &Writer,
    bundle: &openprod_model::bundle::Bundle,
) -> Result<(), (bool, String)> {
    use openprod_messages::oplog::AppendError;
    let disk = |error| match error {
        AppendError::Disk { full, reason } => (full, reason),
        other => panic!("{other}"),
    };
    let mut ledger: Ledger = writer.ledger().map_err(disk)?;
    let base = ledger.end();
    let append = super::kit::append_of(bundle, super::kit::command());
    let Taken::Staged(_, unit) = ledger.take(&**store, append, 1).map_err(disk)? else { panic!("a new command") };
    writer.commit(&Batch { base, changes: unit.changes, end: unit.end, now_ms: 1 }).map(drop).map_err(disk)
}

#[test]
fn a_full_file_system_refuses_writes_and_takes_them_again_when_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| Command::new(args[0]).args(&args[1..]).status().is_ok_and(|status| status.success());
    let at = folder.path().to_str().unwrap().to_owned();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", &at]) {
        return println!("not run: this user may not mount a file system of four megabytes");
    }
    let ballast = folder.path().join("ballast");
    fs::write(&ballast, vec![0; 1_000_000]).unwrap();
    let store = LogStore::open_file(folder.path().join("log.redb"), WORKSPACE, OPTIONS).unwrap();
    let writer = store.writer();
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    append(&store, &writer, &known.bootstrap(&mara)).unwrap();
    let mut there = 1;
    let refused = loop {
        let bundle = known.clone().write(&mara, &vec![edit(); 400]);
        match append(&store, &writer, &bundle) {
            Ok(()) => known.sees(&bundle),
            Err(refused) => break refused,
        }
        there += 1;
    };
    assert!(refused.0, "{}", refused.1);
    assert_eq!(store.tail().unwrap().position, Position(there));
    assert_eq!(check_log(&store).len() as u64, there, "reading goes on");
    fs::remove_file(&ballast).unwrap();
    append(&store, &writer, &known.write(&mara, &vec![edit(); 400])).unwrap();
    assert_eq!(check_log(&store).len() as u64, there + 1);
    drop((writer, store));
    assert!(mount(&["umount", &at]));
}
