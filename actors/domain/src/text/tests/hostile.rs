//! Updates from people who mean harm, or from broken programs.

use super::super::scan::{MAX_CLOCK, scan_op};
use super::super::write::update as encode;
use super::super::{Flaw, MAX_UPDATE_BYTES, Replica};
use super::*;

/// A session of two people, with undo, for strangers to spoil.
fn session(seed: u64) -> Log {
    let mut chance = Chance(seed);
    let mut log = Log::new(Kind::Text);
    for turn in 0..30 {
        let edit = random_edit(&mut chance, &log.text());
        log.edits(1 + turn % 2, &[edit]);
        if chance.one_in(5) {
            let (_, undone) = log.updates[chance.below(log.updates.len())].clone();
            log.undoes(&[undone]);
        }
    }
    log
}

fn mutated(chance: &mut Chance, update: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = update.to_vec();
    for _ in 0..=chance.below(3) {
        let at = chance.below(bytes.len().max(1));
        match chance.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(chance.below(256)).unwrap(),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.insert(at.min(bytes.len()), u8::try_from(chance.below(256)).unwrap()),
            4 => bytes.splice(at.min(bytes.len()).., other[chance.below(other.len())..].iter().copied()).for_each(drop),
            _ => bytes.splice(at..at, [0xff, 0xff, 0xff, 0x7f]).for_each(drop),
        }
    }
    bytes
}

/// The most memory this process has ever held, where the system tells.
fn most_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn mutated_updates_do_no_harm() {
    let memory = most_memory_kib();
    let (mut taken, mut left_out) = (0, 0);
    for seed in 0..12 {
        let log = session(seed);
        let text = log.text();
        let mut chance = Chance(seed ^ 0xbad);
        for _ in 0..250 {
            let update = |chance: &mut Chance| log.updates[chance.below(log.updates.len())].1.clone();
            let (one, other) = (update(&mut chance), update(&mut chance));
            let mutant = mutated(&mut chance, &one, &other);
            let number = log.updates.len();
            let mut all = log.updates.clone();
            all.push((op(number), mutant.clone()));
            let built = Document::build(Kind::Text, all.iter().cloned());
            if built.left_out().is_empty() {
                taken += 1;
            } else {
                left_out += 1;
                assert_eq!(built.text(), text, "{mutant:?}");
            }
            reads_back(&built);
            assert_eq!(arrives(log.document(), number, &mutant, &all).text(), built.text(), "{mutant:?}");
            let _ = log.document().admit(ClientId::new(1), &mutant);
            let _ = built.inverse([mutant.as_slice()]);
            let _ = built.missing_for(&mutant);
        }
    }
    assert!(taken > 50 && left_out > 500, "{taken} taken, {left_out} left out");
    if let (Some(before), Some(after)) = (memory, most_memory_kib()) {
        // The system may count a little less the second time.
        let grown = after.saturating_sub(before);
        assert!(grown < 256 * 1024, "{grown} KiB");
    }
}

/// What a document says of itself is read by Yrs, and says the same again.
fn reads_back(document: &Document) {
    let again = Replica::new(document.kind(), 0);
    again.integrate(&document.encode_state()).unwrap();
    assert_eq!(again.text(), document.text());
    assert_eq!(again.text().encode_utf16().count(), document.len() as usize);
}

#[test]
fn declared_counts_ask_for_no_memory() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x07];
    let cases: Vec<Vec<u8>> = vec![
        huge.to_vec(),
        [&[1][..], &huge, &[1, 0]].concat(),
        [&[1, 1, 1, 0, 4, 1, 4][..], b"text", &huge].concat(),
        [&[0, 1, 1][..], &huge].concat(),
        [&[0][..], &huge].concat(),
        vec![0, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x07, 1],
        vec![1, 1, 1, 0, 0x84, 1],
    ];
    for case in cases {
        let flaw = scan_op(&case, Kind::Text).unwrap_err();
        assert!(matches!(flaw, Flaw::Number | Flaw::Ends | Flaw::Deletions), "{case:?}: {flaw}");
    }
    assert_eq!(scan_op(&vec![0; MAX_UPDATE_BYTES + 1], Kind::Text), Err(Flaw::TooLong(MAX_UPDATE_BYTES + 1)));
    let late = [&[1, 1, 1][..], &[0xff, 0xff, 0xff, 0xff, 0x07], &[4, 1, 4], b"text", &[1, b'a', 0]].concat();
    assert_eq!(MAX_CLOCK, 0x7fff_ffff);
    assert_eq!(scan_op(&late, Kind::Text), Err(Flaw::Number));
}

#[test]
fn what_is_written_reads_back_as_it_was() {
    for (_, update) in session(3).updates {
        let scanned = scan_op(&update, Kind::Text).unwrap();
        assert_eq!(scan_op(&encode(Kind::Text, &scanned), Kind::Text).unwrap(), scanned);
    }
}

#[test]
fn half_a_letter_cannot_be_had() {
    let mut log = Log::new(Kind::Text);
    log.types(1, 0, "a\u{1f3ad}b");
    // Client 1's second unit of three, 1..2 of 0..4: the first half of the mask.
    let half = vec![0, 1, 1, 1, 1, 1];
    log.push(vec![half.clone()]);
    let between = [&[1, 1, 2, 0, 0xc4, 1, 1, 1, 2][..], &[1, b'x', 0]].concat();
    log.push(vec![between]);
    let document = log.document();
    assert_eq!(document.text(), "a\u{1f3ad}b");
    assert_eq!(document.left_out().values().collect::<Vec<_>>(), [&Flaw::DividesLetter; 2]);
    assert!(document.inverse([half.as_slice()]).is_empty());
}

#[test]
fn two_updates_that_claim_the_same_letters_do_not_depend_on_arrival() {
    let mut base = Log::new(Kind::Text);
    base.types(1, 0, "stage");
    let insert = |field: &Log, text: &str| {
        let edit = TextEdit::Insert { at: 2, text: text.to_owned() };
        field.document().edit_text(ClientId::new(9), &[edit]).unwrap().remove(0)
    };
    // A process that was copied with its client id: twice client 9, clock 0.
    let (short, long) = (insert(&base, "[a]"), insert(&base, "[\u{1f3ad}longer]"));
    let follower = {
        let mut field = base.clone();
        field.push(vec![long.clone()]);
        field.types(3, 5, "!").remove(0)
    };
    let orders = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];
    for [first, second] in [[&short, &long], [&long, &short]] {
        let mut field = base.clone();
        field.push(vec![first.clone(), second.clone(), follower.clone()]);
        let text = field.text();
        for order in orders {
            let mut document = base.document();
            let mut has = vec![0];
            for number in order {
                has.push(number);
                has.sort_unstable();
                let all: Vec<_> = has.iter().map(|number| field.updates[*number].clone()).collect();
                document = arrives(document, number, &field.updates[number].1, &all);
            }
            assert_eq!(document.text(), text, "{order:?}");
            reads_back(&document);
        }
    }
}

#[test]
fn what_comes_too_early_waits() {
    let mut log = Log::new(Kind::Text);
    for (at, text) in ["one ", "two ", "three"].iter().enumerate() {
        log.types(1 + at as u64, u32::try_from(4 * at).unwrap(), text);
    }
    log.deletes(1, 4, 4);
    let mut document = Log::new(Kind::Text).document();
    let mut has = Vec::new();
    for number in [3, 2, 1, 0] {
        has.insert(0, log.updates[number].clone());
        document = arrives(document, number, &log.updates[number].1, &has);
        let waiting = if number > 0 { has.len() } else { 0 };
        assert_eq!(document.left_out().len(), waiting);
        assert!(document.left_out().values().all(|flaw| *flaw == Flaw::Waiting));
    }
    assert_eq!(document.text(), "one three");
}
