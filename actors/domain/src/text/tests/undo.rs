//! Undo, redo, and who else was there.

use openprod_model::value::{Primitive, PrimitiveType};

use super::super::ListEdit;
use super::super::scan::scan_op;
use super::super::write::update as encode;
use super::*;

const MARA: u64 = 1;
const LEO: u64 = 2;

#[test]
fn undo_and_redo_to_any_depth() {
    let mut log = Log::new(Kind::Text);
    let first = log.types(MARA, 0, "Blackout");
    let second = log.deletes(MARA, 0, 5);
    assert_eq!(log.text(), "out");
    let undo_second = log.undoes(&second);
    assert_eq!(log.text(), "Blackout");
    let undo_first = log.undoes(&first);
    assert_eq!(log.text(), "");
    let mut redo = log.undoes(&undo_first);
    assert_eq!(log.text(), "Blackout");
    for _ in 0..5 {
        redo = log.undoes(&redo);
        assert_eq!(log.text(), "");
        redo = log.undoes(&redo);
        assert_eq!(log.text(), "Blackout");
    }
    let redo_second = log.undoes(&undo_second);
    assert_eq!(log.text(), "out");
    log.undoes(&redo_second);
    assert_eq!(log.text(), "Blackout");
    log.undoes(&first);
    assert_eq!(log.text(), "");
}

#[test]
fn others_letters_stay_where_they_are() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, "hello");
    let before = log.document();
    let deletion = log.deletes(MARA, 0, 5);
    let cross = TextEdit::Insert { at: 3, text: "X".to_owned() };
    log.push(before.edit_text(ClientId::new(LEO), &[cross]).unwrap());
    assert_eq!(log.text(), "X");
    let undo = log.undoes(&deletion);
    assert_eq!(log.text(), "helXlo");
    log.undoes(&undo);
    assert_eq!(log.text(), "X");
}

#[test]
fn undone_and_redone_letters_stay_before_what_was_typed_behind_them() {
    for word in ["hello", &"hello ".repeat(100)] {
        let mut log = Log::new(Kind::Text);
        log.types(MARA, 0, word);
        let length = u32::try_from(word.len()).unwrap();
        let deletion = log.deletes(MARA, 0, length);
        log.undoes(&deletion);
        log.types(LEO, length, "X");
        log.types(LEO, 3, "Y");
        for _ in 0..10 {
            log.deletes(MARA, 0, 3);
            log.deletes(MARA, 1, length - 3);
            assert_eq!(log.text(), "YX");
            log.undoes(&deletion);
            assert_eq!(log.text(), format!("{}Y{}X", &word[..3], &word[3..]));
        }
    }
}

#[test]
fn a_restored_letter_that_somebody_forged_is_not_taken_for_it() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, "hello");
    let deletion = log.deletes(MARA, 0, 5);
    let undo = log.document().inverse(deletion.iter().map(Vec::as_slice)).remove(0);
    let forged = undo.iter().map(|byte| if *byte == b'h' { b'j' } else { *byte }).collect();
    log.push(vec![forged]);
    assert_eq!(log.text(), "jello");
    log.deletes(LEO, 0, 5);
    log.undoes(&deletion);
    assert_eq!(log.text(), "hello");
}

#[test]
fn much_comes_back_in_pieces() {
    let mut log = Log::new(Kind::Text);
    let word = "long words ".repeat(200);
    log.types(MARA, 0, &word);
    log.types(LEO, 1000, "X");
    log.types(LEO, 1001, "\u{1f3ad}");
    let shown = log.text();
    let deletion = log.deletes(MARA, 0, 2203);
    let undo = log.undoes(&deletion);
    assert_eq!(log.text(), shown);
    let size: usize = undo.iter().map(Vec::len).sum();
    assert!(size < word.len() + 200, "{size} bytes");
}

#[test]
fn what_was_typed_before_a_letter_stays_before_it_though_others_were_restored_once_more() {
    // Whose letters go to the left is chance, which the client ids decide.
    for leo in LEO..LEO + 20 {
        let mut log = Log::new(Kind::Text);
        log.types(MARA, 0, "xy");
        let deletion = log.deletes(MARA, 0, 2);
        log.undoes(&deletion);
        log.deletes(MARA, 1, 1);
        // For the sake of "y" alone: "x" stands.
        log.undoes(&deletion);
        assert_eq!(log.text(), "xy");
        log.deletes(MARA, 1, 1);
        log.types(leo, 0, "e");
        let all = log.deletes(MARA, 0, 2);
        log.undoes(&all);
        assert_eq!(log.text(), "ex");
    }
}

/// 600 letters, more than come back each for itself.
fn alphabets() -> String {
    ('a'..='z').cycle().take(600).collect()
}

#[test]
fn what_is_missing_of_something_long_that_came_back_comes_back_where_it_was() {
    for parts in [&[(0, 300)][..], &[(300, 300)], &[(100, 300)], &[(100, 60), (150, 60), (80, 30), (120, 5)]] {
        let mut log = Log::new(Kind::Text);
        log.types(MARA, 0, &alphabets());
        let deletion = log.deletes(MARA, 0, 600);
        log.undoes(&deletion);
        for (at, length) in parts {
            log.deletes(LEO, *at, *length);
            log.undoes(&deletion);
            assert_eq!(log.text(), alphabets(), "{parts:?}");
        }
    }
}

#[test]
fn what_two_deleted_comes_back_where_it_was_whichever_is_undone_first() {
    for (leo, at, length) in [(2, 0, 300), (3, 300, 300), (4, 100, 300), (5, 0, 20), (6, 590, 10), (7, 100, 20)] {
        let mut log = Log::new(Kind::Text);
        log.types(MARA, 0, &alphabets());
        let part = log.document().edit_text(ClientId::new(leo), &[TextEdit::Delete { at, length }]).unwrap();
        let all = log.deletes(MARA, 0, 600);
        log.push(part.clone());
        let (mut part_first, mut all_first) = (log.clone(), log);
        part_first.undoes(&part);
        part_first.undoes(&all);
        assert_eq!(part_first.text(), alphabets());
        all_first.undoes(&all);
        all_first.deletes(LEO, at, length);
        all_first.undoes(&part);
        assert_eq!(all_first.text(), alphabets());
    }
}

#[test]
fn what_an_earlier_version_restored_is_restored_again_where_it_stands() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, "xyz");
    let all = log.deletes(MARA, 0, 3);
    log.undoes(&all);
    let part = log.deletes(MARA, 0, 2);
    let undo = log.document().inverse(part.iter().map(Vec::as_slice)).remove(0);
    let mut earlier = scan_op(&undo, Kind::Text).unwrap();
    // It counted one generation less.
    earlier.runs[0].client -= 1 << 40;
    log.push(vec![encode(Kind::Text, &earlier)]);
    log.types(LEO, 2, "e");
    assert_eq!(log.text(), "xyez");
    log.deletes(MARA, 0, 2);
    log.undoes(&part);
    assert_eq!(log.text(), "xyez");
}

#[test]
fn undo_of_typing_finds_it_where_somebody_restored_it() {
    let mut log = Log::new(Kind::Text);
    let typing = log.types(MARA, 0, "hello");
    let deletion = log.deletes(LEO, 0, 5);
    log.undoes(&deletion);
    assert_eq!(log.text(), "hello");
    log.undoes(&typing);
    assert_eq!(log.text(), "");
}

#[test]
fn nothing_left_to_take_back_is_no_update() {
    let mut log = Log::new(Kind::Text);
    let typing = log.types(MARA, 0, "hello");
    let deletion = log.deletes(LEO, 0, 5);
    assert!(log.undoes(&typing).is_empty());
    log.undoes(&deletion);
    assert!(log.undoes(&deletion).is_empty());
}

#[test]
fn a_bundle_that_deletes_what_it_typed_restores_none_of_it() {
    let mut log = Log::new(Kind::Text);
    let mut bundle = log.types(MARA, 0, "draft");
    bundle.extend(log.deletes(MARA, 1, 3));
    assert_eq!(log.text(), "dt");
    log.undoes(&bundle);
    assert_eq!(log.text(), "");
}

#[test]
fn two_replicas_that_undo_the_same_write_the_same() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, "one \u{1f3ad} two");
    let deletion = log.deletes(MARA, 2, 6);
    // Each sees something that the other does not.
    let (mut here, mut there) = (log.clone(), log.clone());
    here.types(LEO, 0, "here ");
    there.types(LEO + 1, 4, " there");
    let undone_here = here.undoes(&deletion);
    assert_eq!(undone_here, there.undoes(&deletion));
    here.push(there.updates[2..].iter().map(|(_, update)| update.clone()).collect());
    assert_eq!(here.text(), "here one \u{1f3ad} two there");
}

#[test]
fn undone_on_both_sides_with_letters_in_between_still_stands_once() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, "hello");
    let before = log.document();
    let deletion = log.deletes(MARA, 0, 5);
    let cross = before.edit_text(ClientId::new(LEO), &[TextEdit::Insert { at: 3, text: "X".to_owned() }]).unwrap();
    let mut here = log.clone();
    here.push(cross.clone());
    let one = here.document().inverse(deletion.iter().map(Vec::as_slice));
    let other = log.document().inverse(deletion.iter().map(Vec::as_slice));
    assert_eq!(one, other, "the same, whatever else its author knew");
    for (first, second) in [(&one, &other), (&other, &one)] {
        let mut all = log.clone();
        all.push(cross.clone());
        all.push(first.clone());
        let early = all.document();
        all.push(second.clone());
        let text = all.text();
        let letters: String = text.chars().filter(|letter| *letter != 'X').collect();
        assert_eq!((letters.as_str(), text.len()), ("hello", 6));
        let last = all.updates.len() - 1;
        assert_eq!(arrives(early, last, &all.updates[last].1, &all.updates).text(), text);
        // Either undo can be taken back, and takes the letters with it.
        let redo = all.undoes(second);
        assert_eq!(all.text(), "X");
        all.undoes(&redo);
        assert_eq!(all.text().len(), 6);
    }
}

#[test]
fn long_pieces_double_only_where_one_of_two_undos_knows_of_writing_within() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, &"hello ".repeat(100));
    let before = log.document();
    let deletion = log.deletes(MARA, 0, 600);
    let undo = log.document().inverse(deletion.iter().map(Vec::as_slice));
    assert_eq!(log.clone().undoes(&deletion), undo);
    log.push(before.edit_text(ClientId::new(LEO), &[TextEdit::Insert { at: 3, text: "X".to_owned() }]).unwrap());
    let knowing = log.undoes(&deletion);
    assert_eq!(log.text().len(), 601);
    // The limit that is documented. Each can be taken back.
    log.push(undo.clone());
    assert_eq!(log.text().len(), 1201);
    log.undoes(&undo);
    assert_eq!(log.text().len(), 601);
    log.undoes(&knowing);
    assert_eq!(log.text(), "X");
}

#[test]
fn overlapping_deletions_double_only_where_neither_undo_knows_the_other() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, "one two");
    let before = log.document();
    let line = log.deletes(MARA, 0, 7);
    let word = before.edit_text(ClientId::new(LEO), &[TextEdit::Delete { at: 4, length: 3 }]).unwrap();
    log.push(word.clone());
    let mut after_each_other = log.clone();
    after_each_other.undoes(&word);
    assert_eq!(after_each_other.text(), "two");
    after_each_other.undoes(&line);
    assert_eq!(after_each_other.text(), "one two");
    // The limit that is documented.
    let mut at_once = log.clone();
    let document = log.document();
    at_once.push(document.inverse(word.iter().map(Vec::as_slice)));
    at_once.push(document.inverse(line.iter().map(Vec::as_slice)));
    assert_eq!(at_once.text().matches('w').count(), 2);
}

#[test]
fn items_come_back_too() {
    let item = PrimitiveType::Integer;
    let numbers: Vec<Primitive> = (0..10).map(Primitive::Integer).collect();
    let mut log = Log::new(Kind::List);
    let edit = |log: &mut Log, who, edit: ListEdit| {
        let updates = log.document().edit_list(ClientId::new(who), item, &[edit]).unwrap();
        log.push(updates.clone());
        updates
    };
    edit(&mut log, MARA, ListEdit::Insert { at: 0, items: numbers.clone() });
    let replacement = edit(&mut log, MARA, ListEdit::ReplaceAll { items: vec![Primitive::Integer(99)] });
    edit(&mut log, LEO, ListEdit::Insert { at: 1, items: vec![Primitive::Integer(100)] });
    let undo = log.undoes(&replacement);
    let mut wanted = numbers;
    let mut shown = log.document().items(item);
    let added = shown.iter().position(|shown| *shown == Primitive::Integer(100)).unwrap();
    shown.remove(added);
    assert_eq!(shown, wanted);
    log.undoes(&undo);
    wanted = vec![Primitive::Integer(99), Primitive::Integer(100)];
    let mut shown = log.document().items(item);
    shown.sort();
    assert_eq!(shown, wanted);
}
