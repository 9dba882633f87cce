//! Panics planted in the writer and the actor. They are planted for the whole process, so these tests run alone:
//! `OPENPROD_PLANT_PANICS=1 cargo test -p openprod-oplog --features failpoints planted -- --test-threads=1`.
#![cfg(feature = "failpoints")]

use openprod_messages::log::LogReader;
use openprod_messages::oplog::AppendError;
use openprod_model::ids::Position;

use super::kit::{Knowledge, bytes, check_log, command, person, running};

#[tokio::test]
async fn planted_a_writer_that_panics_leaves_nothing_half_and_no_queue_stuck() {
    if std::env::var_os("OPENPROD_PLANT_PANICS").is_none() {
        return println!("not run: it plants panics in the whole process; see the head of this file");
    }
    for (point, is_there) in [("oplog-mid-batch", false), ("oplog-before-commit", false), ("oplog-after-commit", true)]
    {
        let oplog = running().await;
        let (mara, mut known) = (person("Mara"), Knowledge::default());
        oplog.append(&known.bootstrap(&mara)).await.unwrap();
        fail::cfg(point, "1*panic").unwrap();
        let (id, bundle) = (command(), known.edit(&mara));
        let first = oplog.ask_append(&bundle, id).answer().await.unwrap();
        assert!(matches!(first, Err(AppendError::Disk { .. })), "{point}: {first:?}");
        assert_eq!(oplog.holds(&bundle), is_there, "{point}");
        assert_eq!(oplog.ask_append(&bundle, id).answer().await.unwrap(), Ok(Position(2)), "{point}");
        let run = [known.edit(&mara), known.edit(&mara), known.edit(&mara)];
        fail::cfg(point, "1*panic").unwrap();
        assert!(oplog.try_admit(bytes(&[&run[0], &run[1], &run[2]])).await.is_err());
        assert_eq!(check_log(&oplog.store).len(), if is_there { 5 } else { 2 }, "{point}");
        fail::remove(point);
    }
}

#[tokio::test]
async fn planted_an_actor_that_dies_before_it_replies_has_written_nevertheless() {
    if std::env::var_os("OPENPROD_PLANT_PANICS").is_none() {
        return println!("not run: it plants panics in the whole process; see the head of this file");
    }
    let mut oplog = running().await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    oplog.append(&known.bootstrap(&mara)).await.unwrap();
    fail::cfg("oplog-before-reply", "1*panic").unwrap();
    let (id, bundle) = (command(), known.edit(&mara));
    assert_eq!(oplog.ask_append(&bundle, id).answer().await, None);
    fail::remove("oplog-before-reply");
    oplog.restarted().await;
    assert_eq!(oplog.ask_append(&bundle, id).answer().await.unwrap(), Ok(Position(2)));
    assert_eq!(oplog.store.receipt(id).unwrap().unwrap().0, Position(2));
}
