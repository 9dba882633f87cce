//! Any bytes offered as edits of a text or a list: left out or taken, the same whether they come at once or one by one,
//! and whatever an editor sends is refused or comes to updates that are taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openprod_domain::text::{ClientId, Document, Kind, divided, joined, remaining};
use openprod_model::ids::OpRef;

/// Each update with its length before it, as one byte.
fn cut(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut updates = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (update, later) = rest.split_at(usize::from(*length).min(rest.len()));
        updates.push(update);
        bytes = later;
    }
    updates
}

fn op(number: usize) -> OpRef {
    OpRef::from_bytes((number as u128).to_be_bytes())
}

fn shown(document: &Document) -> (String, u32, Vec<OpRef>) {
    (document.text(), document.len(), document.left_out().keys().copied().collect())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let kind = if first & 1 == 0 { Kind::Text } else { Kind::List };
    let updates = cut(rest);
    let all: Vec<(OpRef, &[u8])> = updates.iter().enumerate().map(|(n, update)| (op(n), *update)).collect();
    let at_once = Document::build(kind, all.clone());
    let mut one_by_one = Document::build(kind, Vec::<(OpRef, &[u8])>::new());
    for (number, (op, update)) in all.iter().enumerate() {
        let known = all[..=number].to_vec();
        one_by_one = one_by_one.apply(*op, update, || Ok::<_, ()>(known)).expect("the updates are at hand");
    }
    assert_eq!(shown(&at_once), shown(&one_by_one));
    let _ = at_once.encode_state();
    let _ = at_once.missing_for(rest);
    for update in &updates {
        if let Ok(new) = at_once.admit(ClientId::new(u64::from(*first)), update) {
            let count = all.len();
            let more = new.iter().enumerate().map(|(n, update)| (op(count + n), update.as_slice()));
            let with = Document::build(kind, all.iter().copied().chain(more));
            assert!((0..new.len()).all(|n| !with.left_out().contains_key(&op(count + n))), "what was admitted is taken");
        }
        let _ = divided(update);
        let _ = remaining(update, updates.iter().copied());
    }
    let _ = updates.iter().try_fold(Vec::new(), |staged, update| joined(&staged, update));
});
