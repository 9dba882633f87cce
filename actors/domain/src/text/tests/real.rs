//! Real editing sessions, where the folder with them is at hand.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::{Replica, Root};
use super::*;
use yrs::{Text as _, Transact};

/// A trace of `05_text_traces`, if `OPENPROD_REAL_DATA` names the folder with it.
fn trace(name: &str) -> Option<Value> {
    let folder = PathBuf::from(std::env::var_os("OPENPROD_REAL_DATA")?).join("05_text_traces");
    let output = Command::new("gzip").arg("-dc").arg(folder.join(name)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn replays(name: &str) {
    let Some(trace) = trace(name) else { return };
    let author = Replica::new(Kind::Text, 7);
    let Root::Text(text) = &author.root else { unreachable!("a text has a text") };
    text.insert(&mut author.doc.transact_mut(), 0, trace["startContent"].as_str().unwrap());
    let first = author.encode(&yrs::StateVector::default());
    let mut log = Log::new(Kind::Text);
    log.push(vec![first]);
    for patches in trace["txns"].as_array().unwrap() {
        let mut transaction = author.doc.transact_mut();
        for patch in patches["patches"].as_array().unwrap() {
            let number = |at: usize| u32::try_from(patch[at].as_u64().unwrap()).unwrap();
            text.remove_range(&mut transaction, number(0), number(1));
            text.insert(&mut transaction, number(0), patch[2].as_str().unwrap());
        }
        transaction.commit();
        log.push(vec![transaction.encode_update_v1()]);
    }
    let (bare, ours) = (bare(&log), arriving(&log));
    println!("{name}: {} updates, bare Yrs {bare:?}, ours {ours:?}", log.updates.len());
}

fn bare(log: &Log) -> Duration {
    use yrs::updates::decoder::Decode;
    let replica = Replica::new(Kind::Text, 0);
    let begun = Instant::now();
    for (_, update) in &log.updates {
        replica.doc.transact_mut().apply_update(yrs::Update::decode_v1(update).unwrap()).unwrap();
    }
    begun.elapsed()
}

fn arriving(log: &Log) -> Duration {
    let mut document = Log::new(Kind::Text).document();
    let begun = Instant::now();
    for (op, update) in &log.updates {
        document = document.apply(*op, update, || Err::<Vec<(OpRef, Vec<u8>)>, &str>("in order")).unwrap();
    }
    let taken = begun.elapsed();
    assert!(document.left_out().is_empty());
    taken
}

#[test]
fn a_component_as_it_was_written() {
    replays("sveltecomponent.json.gz");
}

#[test]
fn a_conversation_as_it_was_typed() {
    replays("friendsforever_flat.json.gz");
}
