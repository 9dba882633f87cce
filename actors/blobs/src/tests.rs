//! The store: what is put comes out again, whatever is killed, full, damaged or asked for twice.

mod collecting;
mod exchanging;
mod fetching;

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use openprod_disk::Trouble;
use openprod_messages::blobs::BlobError;
use proptest::prelude::*;

use crate::kit::{Bench, NOW_MS, hash_of, noise, patterned};
use crate::outline::PIECE_BYTES;
use crate::store::file_name;

fn sizes() -> [usize; 7] {
    [0, 1, 5_000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 4_321]
}

#[test]
fn what_is_put_comes_out_again_under_the_hash_of_its_bytes() {
    let bench = Bench::new();
    for bytes in sizes().into_iter().flat_map(|size| [patterned(size), noise(size)]) {
        let kept = bench.puts(&bytes).unwrap();
        assert_eq!((kept.hash, kept.size), (hash_of(&bytes), bytes.len() as u64));
        assert_eq!(bench.reads(kept.hash).unwrap(), bytes);
        assert_eq!(bench.store.kept(kept.hash).unwrap(), Some(kept));
    }
    assert_eq!(bench.store.verify(&mut |_| ControlFlow::Continue(())).unwrap().unwrap().damaged, []);
    assert!(bench.folder.begun_is_empty());
}

#[test]
fn text_takes_less_room_and_the_same_bytes_take_room_once() {
    let bench = Bench::new();
    let (text, film) = (patterned(1_000_000), noise(1_000_000));
    let kept = bench.puts(&text).unwrap();
    assert!(kept.stored < kept.size / 10, "{kept:?}");
    assert_eq!(bench.puts(&film).unwrap().stored, 1_000_000);
    bench.time.now_ms.fetch_add(5, Ordering::Relaxed);
    assert_eq!(bench.puts(&text).unwrap().added_ms, NOW_MS);
    assert_eq!(bench.files().len(), 2);
    assert_eq!(bench.store.list(None, 10).unwrap().len(), 2);
}

#[test]
fn another_file_than_announced_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let (wanted, bytes) = (hash_of(b"this"), noise(400_000));
    let mut putting = bench.store.begin(Some(wanted));
    putting.write(&bytes).unwrap();
    assert_eq!(putting.finish(), Err(BlobError::Other { wanted, got: hash_of(&bytes) }));
    assert_eq!(bench.files(), [""; 0]);
    drop(bench.store.begin(None));
    let mut broken_off = bench.store.begin(None);
    broken_off.write(&bytes).unwrap();
    assert_eq!(bench.files().len(), 1);
    drop(broken_off);
    assert_eq!(bench.files(), [""; 0]);
}

#[test]
fn a_missing_blob_is_unavailable_and_a_changed_one_is_given_to_nobody_until_it_is_put_again() {
    let bench = Bench::new();
    for bytes in [patterned(700_000), noise(700_000)] {
        let hash = hash_of(&bytes);
        assert_eq!(bench.reads(hash), Err(BlobError::Unavailable(hash)));
        let kept = bench.puts(&bytes).unwrap();
        let path = bench.path(&file_name(hash, kept.stored < kept.size));
        let mut stored = std::fs::read(&path).unwrap();
        let last = stored.len() - 1;
        stored[last] ^= 1;
        std::fs::write(&path, &stored).unwrap();
        let reader = bench.store.open(hash).unwrap();
        assert!(reader.piece(0).is_ok());
        assert_eq!(reader.piece(2), Err(BlobError::Damaged(hash)));
        let found = bench.store.verify(&mut |_| ControlFlow::Continue(())).unwrap().unwrap();
        assert_eq!(found.damaged, [hash]);
        assert_eq!(bench.store.open(hash).err(), Some(BlobError::Damaged(hash)));
        assert!(bench.store.kept(hash).unwrap().unwrap().damaged);
        assert!(!bench.puts(&bytes).unwrap().damaged);
        assert_eq!(bench.reads(hash).unwrap(), bytes);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(bench.reads(hash), Err(BlobError::Unavailable(hash)));
        bench.puts(&bytes).unwrap();
        assert_eq!(bench.reads(hash).unwrap(), bytes);
    }
}

#[test]
fn a_verification_tells_how_far_it_is_and_can_be_broken_off() {
    let bench = Bench::new();
    bench.puts(&noise(2 * PIECE_BYTES)).unwrap();
    let mut told = Vec::new();
    let verified = bench.store.verify(&mut |progress| {
        told.push((progress.done, progress.total));
        ControlFlow::Continue(())
    });
    let piece = PIECE_BYTES as u64;
    assert_eq!(told, [(piece, 2 * piece), (2 * piece, 2 * piece)]);
    assert_eq!(verified.unwrap().unwrap().bytes, 2 * piece);
    assert_eq!(bench.store.verify(&mut |_| ControlFlow::Break(())).unwrap(), None);
}

/// After each number of steps the process is killed; another one finds the file whole or not at all, and nothing else.
#[test]
fn a_kill_at_any_step_leaves_no_half_file_and_nothing_that_stays() {
    let bytes = noise(2 * PIECE_BYTES + 10);
    for steps in 0.. {
        let mut bench = Bench::new();
        bench.folder.fails_after(steps, io::ErrorKind::Other);
        let put = bench.puts(&bytes);
        let was_killed = bench.folder.has_failed();
        bench.restarts();
        assert!(bench.folder.begun_is_empty(), "after {steps} steps");
        match bench.reads(hash_of(&bytes)) {
            Ok(read) => assert_eq!(read, bytes),
            Err(error) => {
                assert!(put.is_err(), "acknowledged, and gone after {steps} steps");
                assert_eq!(error, BlobError::Unavailable(hash_of(&bytes)));
                assert_eq!(bench.files(), [""; 0], "after {steps} steps");
            }
        }
        assert_eq!(bench.files().len(), bench.store.list(None, 10).unwrap().len());
        if !was_killed {
            return;
        }
    }
}

/// The same where it is the index that does not come to be written.
#[test]
fn a_file_that_the_index_never_heard_of_is_taken_in_at_the_next_start() {
    for bytes in [patterned(600_000), noise(600_000), Vec::new()] {
        let mut bench = Bench::new();
        bench.puts(b"so that there is an index").unwrap();
        let kept = bench.puts(&bytes).unwrap();
        bench.store.index.remove(kept.hash).unwrap();
        assert_eq!(bench.reads(kept.hash), Err(BlobError::Unavailable(kept.hash)));
        bench.restarts();
        assert_eq!(bench.reads(kept.hash).unwrap(), bytes);
        assert_eq!(bench.store.kept(kept.hash).unwrap(), Some(kept));
    }
}

#[test]
fn files_that_are_none_of_ours_are_left_alone() {
    let mut bench = Bench::new();
    let kept = bench.puts(b"ours").unwrap();
    let shelf = bench.path(&kept.hash.to_string()[..2]);
    for name in ["README", &format!("{}.zst", hash_of(b"x")), &hash_of(b"other").to_string()] {
        std::fs::write(shelf.join(name), b"not what the name says").unwrap();
    }
    bench.restarts();
    assert_eq!(bench.store.list(None, 10).unwrap(), [kept]);
    assert_eq!(std::fs::read_dir(shelf).unwrap().count(), 4);
}

#[test]
fn a_full_disk_refuses_files_with_the_reason_and_takes_them_again_when_there_is_room() {
    let bench = Bench::new();
    let (kept, more) = (noise(300_000), noise(900_000));
    bench.puts(&kept).unwrap();
    for steps in 0..7 {
        bench.folder.fails_after(steps, io::ErrorKind::StorageFull);
        let refused = bench.puts(&more);
        assert!(matches!(refused, Err(BlobError::Disk { full: true, .. })), "{refused:?}");
        assert_eq!(bench.reads(hash_of(&kept)).unwrap(), kept);
        bench.folder.heals();
        bench.store.clear_up().unwrap();
    }
    bench.disk.has(Trouble::Full, 0);
    assert!(matches!(bench.puts(&more), Err(BlobError::Disk { full: true, .. })));
    bench.disk.heals();
    bench.puts(&more).unwrap();
    assert_eq!(bench.reads(hash_of(&more)).unwrap(), more);
}

#[test]
fn a_thumbnail_is_kept_as_long_as_its_blob() {
    let mut bench = Bench::new();
    let hash = bench.puts(b"a picture").unwrap().hash;
    assert_eq!(bench.store.thumbnail(hash).unwrap(), None);
    bench.store.keep_thumbnail(hash, b"").unwrap();
    bench.store.keep_thumbnail(hash, b"small").unwrap();
    bench.restarts();
    assert_eq!(bench.store.thumbnail(hash).unwrap(), Some(b"small".to_vec()));
    assert_eq!(bench.store.list(None, 9).unwrap().len(), 1);
    bench.folder.fails_after(1, io::ErrorKind::StorageFull);
    assert!(bench.store.keep_thumbnail(hash, b"smaller").is_err());
    bench.folder.heals();
    let row = bench.store.index.row(hash).unwrap().unwrap();
    bench.store.remove(hash, &row).unwrap();
    bench.store.keep_thumbnail(hash, b"too late").unwrap();
    assert_eq!(bench.store.thumbnail(hash).unwrap(), None);
    bench.restarts();
    assert_eq!(bench.files(), [""; 0]);
}

#[test]
fn pins_hold_also_for_what_is_not_here_yet() {
    let bench = Bench::new();
    let hash = hash_of(b"later");
    bench.store.pin(hash).unwrap();
    assert!(bench.puts(b"later").unwrap().pinned);
    bench.store.unpin(hash).unwrap();
    assert!(!bench.store.kept(hash).unwrap().unwrap().pinned);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_range_is_what_it_is_of_the_whole(size in 0..3 * PIECE_BYTES, from: u32, to: u32, squeezes: bool) {
        let bench = Bench::new();
        let bytes = if squeezes { patterned(size) } else { noise(size) };
        let hash = bench.puts(&bytes).unwrap().hash;
        let within = |at: u32| at as usize % (size + 2);
        let (from, to) = (within(from).min(within(to)), within(from).max(within(to)));
        let reader = bench.store.open(hash).unwrap();
        let (mut range, mut read) = (from as u64..to as u64, Vec::new());
        loop {
            let next = reader.next(&mut range).unwrap();
            if next.is_empty() { break; }
            prop_assert!(next.len() <= PIECE_BYTES);
            read.extend(next);
        }
        prop_assert_eq!(read, &bytes[from.min(size)..to.min(size)]);
    }
}

impl crate::kit::Failing {
    fn begun_is_empty(&self) -> bool {
        crate::folder::Folder::begun(self).unwrap().is_empty()
    }
}
