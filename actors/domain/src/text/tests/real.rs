//! Real editing sessions, where the folder with them is at hand.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::process::Command;

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
    for transaction in trace["txns"].as_array().unwrap() {
        log.push(vec![patched(&author, &transaction["patches"])]);
    }
    assert_eq!(log.text(), trace["endContent"].as_str().unwrap());
    let mut document = Log::new(Kind::Text).document();
    for (op, update) in &log.updates {
        document = document.apply(*op, update, || Err::<Vec<(OpRef, Vec<u8>)>, &str>("in order")).unwrap();
    }
    assert_eq!(document.text(), log.text());
}

/// What `patches` (position, how many to remove, what to insert) of an author's text are as an update.
fn patched(author: &Replica, patches: &Value) -> Vec<u8> {
    let Root::Text(text) = &author.root else { unreachable!("a text has a text") };
    let mut transaction = author.doc.transact_mut();
    for patch in patches.as_array().unwrap() {
        let number = |at: usize| u32::try_from(patch[at].as_u64().unwrap()).unwrap();
        text.remove_range(&mut transaction, number(0), number(1));
        text.insert(&mut transaction, number(0), patch[2].as_str().unwrap());
    }
    transaction.commit();
    transaction.encode_update_v1()
}

#[test]
fn a_component_as_it_was_written() {
    replays("sveltecomponent.json.gz");
}

#[test]
fn a_conversation_as_it_was_typed() {
    replays("friendsforever_flat.json.gz");
}

#[test]
fn a_conversation_of_two_at_once() {
    let Some(trace) = trace("concurrent_friendsforever.json.gz") else { return };
    let session: Vec<Turn> = trace["txns"].as_array().unwrap().iter().map(turn).collect();
    let mut authors: Vec<_> = (0..2).map(|agent| (Replica::new(Kind::Text, agent), HashSet::new())).collect();
    let mut log = Log::new(Kind::Text);
    for turn in &session {
        let (author, has) = &mut authors[turn.agent];
        for known in unknown_ancestors(&session, turn, has) {
            author.integrate(&log.updates[known].1).unwrap();
            has.insert(known);
        }
        has.insert(log.updates.len());
        log.push(vec![patched(author, &turn.patches)]);
    }
    let (text, mut document) = (log.text(), Log::new(Kind::Text).document());
    for number in second_agent_first(&session) {
        let (op, update) = &log.updates[number];
        document = document.apply(*op, update, || Err::<Vec<(OpRef, Vec<u8>)>, &str>("in causal order")).unwrap();
    }
    assert_eq!(document.text(), text);
    assert_eq!(text.len(), trace["endContent"].as_str().unwrap().len());
}

/// What one agent did at once, knowing its parents.
struct Turn {
    agent: usize,
    parents: Vec<usize>,
    patches: Value,
}

fn turn(value: &Value) -> Turn {
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let parents = value["parents"].as_array().unwrap().iter().map(number).collect();
    Turn { agent: number(&value["agent"]), parents, patches: value["patches"].clone() }
}

fn unknown_ancestors(session: &[Turn], of: &Turn, has: &HashSet<usize>) -> BTreeSet<usize> {
    let (mut found, mut left) = (BTreeSet::new(), of.parents.clone());
    while let Some(number) = left.pop() {
        if !has.contains(&number) && found.insert(number) {
            left.extend(&session[number].parents);
        }
    }
    found
}

/// Another order that respects parents.
fn second_agent_first(session: &[Turn]) -> Vec<usize> {
    let of = |agent| (0..session.len()).filter(move |number| session[*number].agent == agent).collect::<Vec<_>>();
    let (mut second, mut first) = (of(1).into_iter().peekable(), of(0).into_iter());
    let (mut order, mut has) = (Vec::new(), HashSet::new());
    while order.len() < session.len() {
        let ready = second.next_if(|number| session[*number].parents.iter().all(|parent| has.contains(parent)));
        let next = ready.or_else(|| first.next()).unwrap();
        has.insert(next);
        order.push(next);
    }
    order
}
