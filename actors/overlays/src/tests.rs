//! Tests of the room: what it keeps, what it refuses, and how it follows the log, with a log in memory and a store that
//! fails on demand.

mod kit;

use openprod_messages::commands::CommandError;
use openprod_messages::overlays::{Action, End, OverlayError, Overlays};
use openprod_model::ids::{Position, SessionId};
use openprod_model::refusal::Reason;

use crate::follow::Followed;
use kit::{Room, label_of, reason};

#[test]
fn what_was_staged_is_there_after_a_restart_and_is_active_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("overlays.redb");
    let mut room = Room::in_file(&file);
    let draft = room.makes("draft");
    room.stages(draft, 1, "Noon");
    room.stages(draft, 2, "Night");
    room.does(Action::Undo { overlay: draft });
    let session = SessionId::from_bytes([1; 16]);
    room.shelf.activate(session, Some(draft)).unwrap();
    let before = room.shelf.overlay(draft).unwrap();
    room.shelf.close();

    let mut room = Room::in_file(&file);
    let after = room.shelf.overlay(draft).unwrap();
    assert_eq!((after.info, after.staging.head()), (before.info, before.staging.head()));
    assert_eq!(label_of(&after.staging, 1).as_deref(), Some("Noon"));
    assert_eq!(label_of(&after.staging, 2), None);
    assert_eq!(room.shelf.active(session), None);
    room.does(Action::Redo { overlay: draft });
    assert_eq!(label_of(&room.shelf.overlay(draft).unwrap().staging, 2).as_deref(), Some("Night"));
    room.does(Action::Discard { overlay: draft });
    room.shelf.close();
    assert!(Room::in_file(&file).shelf.all().unwrap().is_empty());
}

#[test]
fn a_disk_that_takes_nothing_changes_nothing_and_says_so() {
    let mut room = Room::in_memory();
    let draft = room.makes("draft");
    room.stages(draft, 1, "Noon");
    room.disk.fails_full();
    let delta = room.plans(draft, 1, "Night");
    let refused = room.stages_as(7, draft, delta.clone()).unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::DiskFull));
    assert!(room.tries(Action::Discard { overlay: draft }).is_err());
    assert_eq!(label_of(&room.shelf.overlay(draft).unwrap().staging, 1).as_deref(), Some("Noon"));
    room.disk.works_again();
    let (done, replayed) = room.stages_as(7, draft, delta.clone()).unwrap();
    assert!(!replayed);
    assert_eq!(room.stages_as(7, draft, delta).unwrap(), (done, true), "the same command acts once");
    assert_eq!(label_of(&room.shelf.overlay(draft).unwrap().staging, 1).as_deref(), Some("Night"));
}

#[test]
fn a_command_id_acts_once_and_a_plan_on_an_older_generation_not_at_all() {
    let mut room = Room::in_memory();
    let draft = room.makes("draft");
    let (one, other) = (room.plans(draft, 1, "Noon"), room.plans(draft, 2, "Night"));
    room.stages_as(7, draft, one).unwrap();
    assert_eq!(room.stages_as(8, draft, other.clone()).unwrap_err(), OverlayError::Stale);
    let reused = room.asks(7, [9; 32], Action::Undo { overlay: draft }).unwrap_err();
    assert_eq!(reason(&reused), Some(Reason::CommandIdReused));
}

#[test]
fn names_are_taken_once_and_a_stashed_overlay_takes_nothing() {
    let mut room = Room::in_memory();
    let draft = room.makes("draft");
    let again = Action::Create { name: kit::text("draft"), label: None, source: kit::nobody() };
    assert_eq!(reason(&room.tries(again).unwrap_err()), Some(Reason::AlreadyExists));
    let session = SessionId::from_bytes([1; 16]);
    room.shelf.activate(session, Some(draft)).unwrap();
    room.does(Action::Stash { overlay: draft });
    assert_eq!(room.shelf.active(session), None);
    assert!(room.shelf.activate(session, Some(draft)).is_err());
    let delta = room.plans(draft, 1, "Noon");
    assert_eq!(reason(&room.stages_as(7, draft, delta.clone()).unwrap_err()), Some(Reason::InvalidRequest));
    room.does(Action::Recall { overlay: draft });
    room.stages_as(8, draft, delta).unwrap();
}

#[test]
fn what_the_log_holds_is_dropped_at_the_start_and_while_it_grows() {
    for restart in [false, true] {
        let mut room = Room::in_memory();
        let (draft, other) = (room.makes("draft"), room.makes("other"));
        room.stages(draft, 1, "Noon");
        room.stages(other, 2, "Night");
        room.log_commits(draft);
        if restart {
            room.shelf.load();
        }
        assert_eq!(room.shelf.follow(), Followed::Whole);
        let refused = room.shelf.overlay(draft).unwrap_err();
        assert!(matches!(&refused, CommandError::Refused(refusal) if refusal.reason == Reason::UnknownOverlay));
        assert_eq!(room.shelf.ended(draft), Some(End::Committed(Position(1))));
        assert_eq!(room.shelf.overlay(other).unwrap().touched, None, "another record was written");
        assert_eq!(*room.shelf.followed().borrow(), Position(1));
    }
}

#[test]
fn what_was_staged_behind_the_commit_stays_and_the_commit_is_learned_of_once() {
    let mut room = Room::in_memory();
    let draft = room.makes("draft");
    room.stages(draft, 1, "Noon");
    room.stages(draft, 2, "Night");
    let committed = room.shelf.overlay(draft).unwrap();
    room.stages(draft, 1, "Later");
    room.log_holds(&committed);
    room.shelf.follow();
    let rest = room.shelf.overlay(draft).unwrap();
    assert_eq!((rest.staging.len(), label_of(&rest.staging, 1).as_deref()), (1, Some("Later")));
    let head = rest.staging.head();
    room.shelf.load();
    room.shelf.follow();
    assert_eq!(room.shelf.overlay(draft).unwrap().staging.head(), head, "the place in the log was kept");
}

#[test]
fn a_disk_that_fails_while_a_commit_is_learned_of_is_asked_again() {
    let mut room = Room::in_memory();
    let draft = room.makes("draft");
    room.stages(draft, 1, "Noon");
    room.log_commits(draft);
    room.disk.fails_full();
    assert_eq!(room.shelf.follow(), Followed::InPart);
    assert!(room.shelf.overlay(draft).is_err(), "it is no more, whatever the disk says");
    room.disk.works_again();
    assert_eq!(room.shelf.follow(), Followed::Whole);
    room.shelf.load();
    assert!(room.shelf.all().unwrap().is_empty(), "the disk has forgotten it too");
}

#[test]
fn others_who_write_the_same_cell_are_noticed() {
    let mut room = Room::in_memory();
    let draft = room.makes("draft");
    room.stages(draft, 1, "Noon");
    room.log_writes(1, "Theirs");
    room.shelf.follow();
    assert_eq!(room.shelf.overlay(draft).unwrap().touched, Some(Position(1)));
}

#[test]
fn a_file_of_another_workspace_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("overlays.redb");
    let mut room = Room::in_file(&file);
    room.makes("draft");
    room.shelf.close();
    let other = Room::of_another_workspace(&file);
    assert!(matches!(other.shelf.all(), Err(CommandError::Unavailable(why)) if why.contains("another workspace")));
}
