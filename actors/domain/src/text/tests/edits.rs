//! What people do, and what browsers send.

use openprod_model::value::{Date, DateTime, Duration, Float, Primitive, PrimitiveType, Text};
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, GetString, Options, ReadTxn, StateVector, Text as _, Transact, Update, WriteTxn};

use super::super::{BadEdit, Flaw, ListEdit, MAX_UPDATE_BYTES, Refused};
use super::*;

const MARA: u64 = 1;
const LEO: u64 = 2;

#[test]
fn several_edits_are_one_update_and_count_utf16_units() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, "Cue \u{1f3ad} go");
    let edits = [
        TextEdit::Insert { at: 6, text: "!".to_owned() },
        TextEdit::Delete { at: 0, length: 4 },
        TextEdit::Insert { at: 0, text: "LX ".to_owned() },
    ];
    assert_eq!(log.edits(LEO, &edits).len(), 1);
    assert_eq!(log.text(), "LX \u{1f3ad}! go");
    assert_eq!(log.document().len(), 9);
}

#[test]
fn an_edit_that_means_nothing_says_why() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, "a\u{1f3ad}");
    let document = log.document();
    let edit = |edit: TextEdit| document.edit_text(ClientId::new(LEO), &[edit]).unwrap_err();
    let insert = |at, text: &str| TextEdit::Insert { at, text: text.to_owned() };
    assert_eq!(edit(insert(4, "x")), BadEdit::BehindTheEnd { at: 4, length: 3 });
    assert_eq!(edit(insert(2, "x")), BadEdit::DividesLetter(2));
    assert_eq!(edit(insert(0, "\0")), BadEdit::Nul);
    assert_eq!(edit(TextEdit::Delete { at: 1, length: 1 }), BadEdit::DividesLetter(2));
    let far = TextEdit::Delete { at: 1, length: u32::MAX };
    assert_eq!(edit(far).to_string(), "Position 4294967296 is behind the end: the length is 3.");
    let list = document.edit_list(ClientId::new(LEO), PrimitiveType::Text, &[]);
    assert_eq!(list.unwrap_err().to_string(), "This field is made of letters.");
}

#[test]
fn setting_a_text_writes_only_what_differs() {
    let mut log = Log::new(Kind::Text);
    let document = log.document();
    log.push(document.set_text(ClientId::new(MARA), "The blue wash, at full").unwrap());
    let document = log.document();
    assert_eq!(document.set_text(ClientId::new(LEO), "The blue wash, at full").unwrap(), Vec::<Vec<u8>>::new());
    let updates = document.set_text(ClientId::new(LEO), "The red wash, at full").unwrap();
    assert!(updates[0].len() < 40, "{} bytes", updates[0].len());
    log.push(updates);
    assert_eq!(log.text(), "The red wash, at full");
}

#[test]
fn what_is_too_much_for_one_update_is_divided() {
    let play = "To be, or not to be: \u{1f480} that is the question. ".repeat(5_000);
    let mut log = Log::new(Kind::Text);
    let updates = log.document().set_text(ClientId::new(MARA), &play).unwrap();
    assert!(updates.len() > 3 && updates.iter().all(|update| update.len() <= MAX_UPDATE_BYTES));
    log.push(updates);
    assert!(log.document().left_out().is_empty());
    assert_eq!(log.text(), play);
    let deletion = log.document().set_text(ClientId::new(LEO), "").unwrap();
    log.push(deletion.clone());
    assert_eq!(log.text(), "");
    let restoration = log.undoes(&deletion);
    assert!(restoration.iter().all(|update| update.len() <= MAX_UPDATE_BYTES));
    assert!(log.document().left_out().is_empty());
    assert_eq!(log.text(), play);
}

fn items() -> Vec<(PrimitiveType, Vec<Primitive>)> {
    let text = |text: &str| Primitive::Text(Text::new(text).unwrap());
    let float = |number| Primitive::Float(Float::new(number).unwrap());
    let whole = [0, -1, 42, i64::MAX, i64::MIN, i64::MAX - 1, 1 << 31, (1 << 53) + 1, -(1 << 40)];
    let at = |ms, offset| Primitive::DateTime(DateTime::new(ms, offset).unwrap());
    vec![
        (PrimitiveType::Text, vec![text(""), text("LX 12"), text("\u{1f3ad}")]),
        (PrimitiveType::Integer, whole.map(Primitive::Integer).to_vec()),
        (PrimitiveType::Float, vec![float(0.0), float(3.0), float(-0.1), float(1e300), float(5e9)]),
        (PrimitiveType::Boolean, vec![Primitive::Boolean(true), Primitive::Boolean(false)]),
        (PrimitiveType::Date, [0, i32::MIN, i32::MAX].map(|days| Primitive::Date(Date { days })).to_vec()),
        (PrimitiveType::DateTime, vec![at(0, None), at(i64::MIN, Some(-1080)), at(i64::MAX, Some(60))]),
        (PrimitiveType::Duration, whole.map(|ms| Primitive::Duration(Duration { ms })).to_vec()),
    ]
}

#[test]
fn items_read_back_as_they_were_written() {
    for (item, items) in items() {
        let mut log = Log::new(Kind::List);
        let edit = ListEdit::Insert { at: 0, items: items.clone() };
        log.push(log.document().edit_list(ClientId::new(MARA), item, &[edit]).unwrap());
        assert_eq!(log.document().items(item), items);
    }
}

#[test]
fn items_of_another_type_are_passed_over_and_not_counted() {
    let mut log = Log::new(Kind::List);
    let numbers = |numbers: &[i64]| numbers.iter().copied().map(Primitive::Integer).collect::<Vec<_>>();
    let word = vec![Primitive::Text(Text::new("stray").unwrap())];
    let write = |log: &mut Log, who, item, edit| {
        log.push(log.document().edit_list(ClientId::new(who), item, &[edit]).unwrap());
    };
    write(&mut log, MARA, PrimitiveType::Text, ListEdit::Insert { at: 0, items: word.clone() });
    write(&mut log, MARA, PrimitiveType::Integer, ListEdit::Insert { at: 0, items: numbers(&[1, 2, 3, 4]) });
    write(&mut log, LEO, PrimitiveType::Integer, ListEdit::Delete { at: 1, length: 2 });
    assert_eq!(log.document().items(PrimitiveType::Integer), numbers(&[1, 4]));
    write(&mut log, LEO, PrimitiveType::Integer, ListEdit::ReplaceAll { items: numbers(&[7]) });
    assert_eq!(log.document().items(PrimitiveType::Integer), numbers(&[7]));
    assert_eq!(log.document().items(PrimitiveType::Text), word);
    assert_eq!(log.document().len(), 2);
    let document = log.document();
    let edit = |edit| document.edit_list(ClientId::new(LEO), PrimitiveType::Integer, &[edit]).unwrap_err();
    assert_eq!(edit(ListEdit::Delete { at: 1, length: 1 }), BadEdit::BehindTheEnd { at: 2, length: 1 });
    assert_eq!(edit(ListEdit::Insert { at: 0, items: word.clone() }), BadEdit::ItemType(PrimitiveType::Integer));
}

#[test]
fn replacing_all_leaves_what_somebody_adds_meanwhile() {
    let mut log = Log::new(Kind::List);
    let item = PrimitiveType::Integer;
    let whole = |edit| vec![edit];
    let numbers = |numbers: &[i64]| numbers.iter().copied().map(Primitive::Integer).collect::<Vec<_>>();
    log.push(
        log.document()
            .edit_list(ClientId::new(MARA), item, &whole(ListEdit::Insert { at: 0, items: numbers(&[1, 2]) }))
            .unwrap(),
    );
    let before = log.document();
    let replace = before.edit_list(ClientId::new(MARA), item, &whole(ListEdit::ReplaceAll { items: numbers(&[5]) }));
    let add = before.edit_list(ClientId::new(LEO), item, &whole(ListEdit::Insert { at: 2, items: numbers(&[3]) }));
    log.push(replace.unwrap());
    log.push(add.unwrap());
    let mut shown = log.document().items(item);
    shown.sort();
    assert_eq!(shown, numbers(&[3, 5]));
}

/// An editor in a browser: a Yrs document that deletes what is deleted for good.
fn browser(client: u64) -> Doc {
    let mut options = Options::with_client_id(yrs::ClientID::new(client));
    options.offset_kind = yrs::OffsetKind::Utf16;
    Doc::with_options(options)
}

fn browser_text(browser: &Doc) -> String {
    let text = browser.get_or_insert_text("text");
    text.get_string(&browser.transact())
}

#[test]
fn a_browser_binds_directly() {
    let mut log = Log::new(Kind::Text);
    log.types(MARA, 0, "Blackout");
    let tab = browser(77);
    let known = tab.transact().state_vector().encode_v1();
    let missing = log.document().missing_for(&known).unwrap();
    tab.transact_mut().apply_update(Update::decode_v1(&missing).unwrap()).unwrap();
    assert_eq!(browser_text(&tab), "Blackout");
    let typed = {
        let mut transaction = tab.transact_mut();
        let text = transaction.get_or_insert_text("text");
        text.insert(&mut transaction, 8, " now");
        text.remove_range(&mut transaction, 0, 1);
        text.insert(&mut transaction, 0, "b");
        transaction.encode_update_v1()
    };
    let admitted = log.document().admit(ClientId::new(77), &typed).unwrap();
    log.push(admitted);
    assert_eq!(log.text(), "blackout now");
    let document = log.document();
    assert_eq!(document.admit(ClientId::new(77), &typed).unwrap(), Vec::<Vec<u8>>::new());
    let everything = tab.transact().encode_state_as_update_v1(&StateVector::default());
    assert_eq!(document.admit(ClientId::new(77), &everything).unwrap(), Vec::<Vec<u8>>::new());
    let known = tab.transact().state_vector().encode_v1();
    log.types(LEO, 0, "\u{1f3ad}");
    let missing = log.document().missing_for(&known).unwrap();
    tab.transact_mut().apply_update(Update::decode_v1(&missing).unwrap()).unwrap();
    assert_eq!(browser_text(&tab), log.text());
}

#[test]
fn a_client_writes_as_itself_and_into_the_field_only() {
    let log = Log::new(Kind::Text);
    let tab = browser(77);
    let write = |root: &str, what: &str| {
        let mut transaction = tab.transact_mut();
        let text = transaction.get_or_insert_text(root);
        text.push(&mut transaction, what);
        transaction.encode_update_v1()
    };
    let typed = write("text", "mine");
    let refused = log.document().admit(ClientId::new(78), &typed).unwrap_err();
    assert_eq!(refused, Refused::AnotherClient { found: 77, declared: 78 });
    assert_eq!(log.document().admit(ClientId::new(77), &write("title", "x")), Err(Flaw::Root.into()));
    // Without the first, the third is nowhere.
    assert_eq!(log.document().admit(ClientId::new(77), &write("text", "more")), Err(Flaw::Waiting.into()));
    let mut bold = browser(5).transact_mut().encode_update_v1();
    bold.push(0);
    assert_eq!(log.document().admit(ClientId::new(5), &bold), Err(Flaw::Ends.into()));
}

#[test]
fn formatting_is_refused() {
    let tab = browser(77);
    let mut transaction = tab.transact_mut();
    let text = transaction.get_or_insert_text("text");
    let bold = yrs::types::Attrs::from([("b".into(), true.into())]);
    text.insert_with_attributes(&mut transaction, 0, "loud", bold);
    let update = transaction.encode_update_v1();
    let refused = Log::new(Kind::Text).document().admit(ClientId::new(77), &update).unwrap_err();
    assert_eq!(refused.to_string(), "The update was not taken: it holds something else than letters.");
}
