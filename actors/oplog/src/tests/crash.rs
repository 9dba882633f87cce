//! Power cuts: images of the disk as it might be found after one, at any instant, each opened and checked.
//!
//! After a cut, what was written before the last sync is there; of what was written since, any subset is, and of one
//! write any subset of its sectors. `OPLOG_CRASH_IMAGES` sets how many images are checked, `OPLOG_CRASH_SEED` where
//! the dice begin.

use std::sync::{Arc, Mutex};

use openprod_disk::Unsynced;
use openprod_messages::log::LogReader;
use openprod_model::bundle::Bundle;
use openprod_model::ids::{CommandId, Digest};

use super::kit::{
    Dice, Knowledge, MemoryDisk, OPTIONS, WORKSPACE, Working, bytes, check_log, command, person, running_on,
};
use crate::store::LogStore;

const SECTOR: usize = 512;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The disk as it might be found.
fn torn(synced: &[u8], unsynced: &[Unsynced], dice: &mut Dice) -> Vec<u8> {
    let mut image = synced.to_vec();
    for op in unsynced {
        match op {
            Unsynced::Resize(len) if dice.one_in(2) => image.resize(*len as usize, 0),
            Unsynced::Resize(_) => {}
            Unsynced::Write(offset, data) => match dice.below(4) {
                0 => {}
                1 => {
                    for (n, sector) in data.chunks(SECTOR).enumerate().collect::<Vec<_>>() {
                        if dice.one_in(2) {
                            put(&mut image, *offset as usize + n * SECTOR, sector);
                        }
                    }
                }
                _ => put(&mut image, *offset as usize, data),
            },
        }
    }
    image
}

fn put(image: &mut Vec<u8>, at: usize, data: &[u8]) {
    if image.len() < at + data.len() {
        image.resize(at + data.len(), 0);
    }
    image[at..at + data.len()].copy_from_slice(data);
}

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    bundles: Vec<Digest>,
    commands: Vec<CommandId>,
}

/// I-1, I-2: opens the image, and everything acknowledged is there, and nothing half.
fn check(image: Vec<u8>, acknowledged: &Acknowledged, runs: &[Vec<Digest>]) {
    let store = LogStore::open(MemoryDisk::holding(image), WORKSPACE, OPTIONS).expect("it opens by itself");
    let stored = check_log(&store);
    for digest in &acknowledged.bundles {
        assert!(stored.contains(digest), "an acknowledged bundle is lost");
    }
    for command in &acknowledged.commands {
        assert!(store.receipt(*command).unwrap().is_some(), "an acknowledged answer is lost");
    }
    for run in runs {
        let there = run.iter().filter(|digest| stored.contains(digest)).count();
        assert!(there == 0 || there == run.len(), "half of what came together");
    }
    store.writer().ledger().expect("it takes writes at once");
}

#[tokio::test]
async fn after_a_power_cut_everything_acknowledged_is_there_and_nothing_half() {
    let wanted = number("OPLOG_CRASH_IMAGES", 200);
    let mut dice = Dice(number("OPLOG_CRASH_SEED", 1));
    let checked = Arc::new(Mutex::new(0));
    while *checked.lock().unwrap() < wanted {
        one_life(&mut dice, &checked, wanted).await;
    }
}

async fn one_life(dice: &mut Dice, checked: &Arc<Mutex<u64>>, wanted: u64) {
    let disk = MemoryDisk::default();
    let acknowledged: Arc<Mutex<Acknowledged>> = Arc::default();
    let runs: Arc<Mutex<Vec<Vec<Digest>>>> = Arc::default();
    let (mut tearing, seen, counted, together) =
        (Dice(dice.roll()), Arc::clone(&acknowledged), Arc::clone(checked), Arc::clone(&runs));
    disk.is_watched_by(Box::new(move |synced, unsynced| {
        if !tearing.one_in(12) || *counted.lock().unwrap() >= wanted {
            return;
        }
        check(torn(synced, unsynced, &mut tearing), &seen.lock().unwrap(), &together.lock().unwrap());
        *counted.lock().unwrap() += 1;
    }));
    let oplog = running_on(disk, &Working::Threads).await;
    let (mara, mut known) = (person("Mara"), Knowledge::default());
    let first = known.bootstrap(&mara);
    oplog.append(&first).await.unwrap();
    acknowledged.lock().unwrap().bundles.push(first.digest());
    for _ in 0..40 {
        if dice.one_in(4) {
            let run: Vec<_> = (0..=dice.below(6)).map(|_| known.edit(&mara)).collect();
            runs.lock().unwrap().push(run.iter().map(Bundle::digest).collect());
            oplog.admit(bytes(&run.iter().collect::<Vec<_>>())).await;
            acknowledged.lock().unwrap().bundles.extend(run.iter().map(Bundle::digest));
            oplog.admit(vec![vec![dice.roll() as u8; dice.below(5_000)]]).await;
            continue;
        }
        let asked: Vec<_> = (0..=dice.below(5))
            .map(|_| (known.edit(&mara), command()))
            .map(|(bundle, id)| (bundle.digest(), id, oplog.ask_append(&bundle, id)))
            .collect();
        for (digest, id, asked) in asked {
            asked.answer().await.unwrap().unwrap();
            let mut acknowledged = acknowledged.lock().unwrap();
            acknowledged.bundles.push(digest);
            acknowledged.commands.push(id);
        }
    }
}
