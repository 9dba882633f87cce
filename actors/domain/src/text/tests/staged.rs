//! What is staged letter by letter is what was written, whether it is committed at once or in between.

use proptest::prelude::*;

use super::super::{MAX_UPDATE_BYTES, divided, joined, remaining};
use super::*;

/// What several people stage on top of a text, one after the other.
fn session(seed: u64, steps: usize) -> (Log, Vec<Vec<u8>>) {
    let (mut chance, mut log) = (Chance(seed), Log::new(Kind::Text));
    log.types(1, 0, "Go on the \u{1f3ad} word");
    let before = log.clone();
    let mut staged = Vec::new();
    for _ in 0..steps {
        let edit = random_edit(&mut chance, &log.text());
        let who = 2 + u64::from(chance.one_in(5));
        staged.extend(log.edits(who, &[edit]));
    }
    (before, staged)
}

fn all_joined<'u>(updates: impl IntoIterator<Item = &'u Vec<u8>>) -> Vec<u8> {
    updates.into_iter().fold(Vec::new(), |staged, update| joined(&staged, update).unwrap())
}

proptest! {
    #[test]
    fn joining_loses_nothing(seed: u64, steps in 1_usize..40) {
        let (before, staged) = session(seed, steps);
        let (mut one_by_one, mut at_once) = (before.clone(), before);
        at_once.push(divided(&all_joined(&staged)));
        one_by_one.push(staged);
        prop_assert_eq!(at_once.text(), one_by_one.text());
        prop_assert!(at_once.document().left_out().is_empty());
    }

    #[test]
    fn what_remains_goes_on_from_what_was_committed(seed: u64, steps in 1_usize..40, cut in 0_usize..40) {
        let (before, staged) = session(seed, steps);
        let (first, rest) = staged.split_at(cut.min(staged.len()));
        let committed = if first.is_empty() { Vec::new() } else { divided(&all_joined(first)) };
        let left = remaining(&all_joined(&staged), committed.iter().map(Vec::as_slice)).unwrap();
        prop_assert_eq!(left.is_empty(), rest.is_empty());
        let (mut one_by_one, mut in_two) = (before.clone(), before);
        in_two.push(committed);
        in_two.push(divided(&left));
        one_by_one.push(staged);
        prop_assert_eq!(in_two.text(), one_by_one.text());
        prop_assert!(in_two.document().left_out().is_empty());
    }
}

#[test]
fn what_is_typed_letter_by_letter_takes_the_place_of_its_letters() {
    let mut log = Log::new(Kind::Text);
    let mut staged = Vec::new();
    for (at, letter) in (0..).zip("Stand by, and go on the word.".chars()) {
        let [update] = &log.types(7, at, &letter.to_string())[..] else { panic!("a letter is one update") };
        staged = joined(&staged, update).unwrap();
    }
    let mut at_once = Log::new(Kind::Text);
    let [update] = &at_once.types(7, 0, "Stand by, and go on the word.")[..] else { panic!("so is a sentence") };
    assert_eq!(staged, *update);
}

#[test]
fn what_is_too_long_for_an_update_is_divided() {
    let mut log = Log::new(Kind::Text);
    let prose = "A page of prose. ".repeat(10_000);
    let staged = all_joined(&log.types(7, 0, &prose));
    let updates = divided(&staged);
    assert!(updates.len() > 1 && updates.iter().all(|update| update.len() <= MAX_UPDATE_BYTES));
    let mut committed = Log::new(Kind::Text);
    committed.push(updates);
    assert_eq!(committed.text(), prose);
}

#[test]
fn what_claims_the_same_letters_is_not_joined_and_garbage_comes_to_nothing() {
    let (mut one, mut other) = (Log::new(Kind::Text), Log::new(Kind::Text));
    let (one, other) = (one.types(7, 0, "Go"), other.types(7, 0, "No"));
    assert!(joined(&one[0], &other[0]).is_err());
    assert!(joined(&one[0], b"nonsense").is_err());
    assert!(divided(b"nonsense").is_empty());
}
