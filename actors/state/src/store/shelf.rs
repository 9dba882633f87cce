//! The shelf: documents that were built lately, so that a keystroke costs one more edit and not all there ever were.
//!
//! What a reader asks for is a set of edits: those of some cells up to a position, and some that are not in the log yet.
//! A document on the shelf serves him if it holds no others; what it lacks is applied to it. Otherwise one is built. For
//! each field a few are kept, because readers of different moments, a writer ahead of the log and a watcher behind it,
//! would take one and the same from each other.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex};

use openprod_domain::cell::Cell;
use openprod_domain::edits::{self, Edit};
use openprod_domain::text::{Document, Kind};
use openprod_domain::view::Read;
use openprod_model::ids::{OpRef, Position};

use super::lock;

/// Most fields whose documents are kept: those that people are writing in right now.
const MAX_FIELDS: usize = 64;
/// Most documents kept of one field: for a writer, a reader, and authors who write on what they saw earlier.
const MAX_DOCUMENTS: usize = 4;
/// A document of fewer edits is built in no time, and takes no place.
const WORTH_KEEPING: usize = 16;
/// Most bytes of updates in what is kept; the documents take a few times as much.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Shelf(Mutex<VecDeque<Kept>>);

/// The documents of one field, the latest used last.
struct Kept {
    key: Vec<u8>,
    field: Arc<Mutex<Field>>,
}

#[derive(Default)]
struct Field {
    documents: VecDeque<Built>,
}

/// What a reader asks for.
pub(super) struct Asked<'a> {
    /// The cells, which read as one.
    pub(super) cells: &'a [Cell],
    /// What they are.
    pub(super) kind: Kind,
    /// The last position whose edits count.
    pub(super) upto: Position,
    /// Edits that count, too.
    pub(super) more: &'a [Edit],
}

/// Reads the edits behind one position and up to another, in canonical order.
type Between<'a> = &'a dyn Fn(Position, Position) -> Read<Vec<Edit>>;

/// A document, and which edits it holds.
struct Built {
    document: Document,
    /// All of them.
    known: HashSet<OpRef>,
    /// Of the log it holds everything up to here.
    upto: Position,
    /// What it holds besides.
    ahead: Vec<OpRef>,
    bytes: usize,
}

impl Shelf {
    /// Shows to `tell` the document that is asked for.
    pub(super) fn show(&self, asked: &Asked<'_>, between: Between<'_>, tell: &mut dyn FnMut(&Document)) -> Read<()> {
        let key = asked.key();
        let field = lock(&self.0).iter().find(|kept| kept.key == key).map(|kept| Arc::clone(&kept.field));
        let Some(field) = field else {
            let built = Built::new(asked, between)?;
            tell(&built.document);
            self.keep(key, built);
            return Ok(());
        };
        self.touch(&key);
        let mut field = lock(&field);
        let built = match field.take(asked, between)? {
            Some(built) => built,
            None => Built::new(asked, between)?,
        };
        tell(&built.document);
        field.put(built);
        Ok(())
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    fn keep(&self, key: Vec<u8>, built: Built) {
        if built.known.len() < WORTH_KEEPING {
            return;
        }
        let mut kept = lock(&self.0);
        // Somebody else may have begun meanwhile; then his stays.
        if kept.iter().all(|kept| kept.key != key) {
            let field = Arc::new(Mutex::new(Field { documents: VecDeque::from([built]) }));
            kept.push_back(Kept { key, field });
        }
        while kept.len() > MAX_FIELDS || bytes(&kept) > MAX_BYTES {
            kept.pop_front();
        }
    }

    fn touch(&self, key: &[u8]) {
        let mut kept = lock(&self.0);
        if let Some(at) = kept.iter().position(|kept| kept.key == key)
            && let Some(used) = kept.remove(at)
        {
            kept.push_back(used);
        }
    }
}

/// The bytes of all that is kept; of a field that is in use, what is known of it comes later.
fn bytes(kept: &VecDeque<Kept>) -> usize {
    let of_field = |kept: &Kept| match kept.field.try_lock() {
        Ok(field) => field.documents.iter().map(|built| built.bytes).sum(),
        Err(_) => 0,
    };
    kept.iter().map(of_field).sum()
}

impl Field {
    /// Takes a document that can become what is asked for, and makes it that.
    fn take(&mut self, asked: &Asked<'_>, between: Between<'_>) -> Read<Option<Built>> {
        for at in (0..self.documents.len()).rev() {
            let Some(lacks) = self.documents[at].lacks(asked, between)? else { continue };
            let Some(built) = self.documents.remove(at) else { continue };
            return built.with(lacks, asked, between).map(Some);
        }
        Ok(None)
    }

    fn put(&mut self, built: Built) {
        self.documents.push_back(built);
        if self.documents.len() > MAX_DOCUMENTS {
            self.documents.pop_front();
        }
    }
}

/// What a document lacks, and how far it goes with that.
struct Lacks {
    edits: Vec<Edit>,
    upto: Position,
    ahead: Vec<OpRef>,
}

impl Asked<'_> {
    fn key(&self) -> Vec<u8> {
        let mut key = vec![match self.kind {
            Kind::Text => 0,
            Kind::List => 1,
        }];
        for cell in self.cells {
            let cell = cell.key();
            key.extend_from_slice(&u32::try_from(cell.len()).unwrap_or(u32::MAX).to_le_bytes());
            key.extend_from_slice(&cell);
        }
        key
    }

    fn all(&self, between: Between<'_>) -> Read<Vec<Edit>> {
        Ok(edits::in_order([&between(Position::ZERO, self.upto)?, self.more].concat()))
    }
}

impl Built {
    fn new(asked: &Asked<'_>, between: Between<'_>) -> Read<Self> {
        let all = asked.all(between)?;
        let in_log: HashSet<OpRef> = all.iter().filter(|edit| is_upto(edit, asked.upto)).map(|edit| edit.op).collect();
        let ahead = all.iter().map(|edit| edit.op).filter(|op| !in_log.contains(op)).collect();
        Ok(Self {
            document: edits::document(asked.kind, &all),
            known: all.iter().map(|edit| edit.op).collect(),
            upto: asked.upto,
            ahead,
            bytes: all.iter().map(|edit| edit.update.len()).sum(),
        })
    }

    /// What must be applied to it to become what is asked for; none if it holds more than that.
    fn lacks(&self, asked: &Asked<'_>, between: Between<'_>) -> Read<Option<Lacks>> {
        let more = |op: &OpRef| asked.more.iter().any(|edit| edit.op == *op);
        let wanted = if self.upto <= asked.upto { between(self.upto, asked.upto)? } else { Vec::new() };
        let besides = if self.upto > asked.upto { between(asked.upto, self.upto)? } else { Vec::new() };
        let in_log = |op: &OpRef| wanted.iter().any(|edit| edit.op == *op);
        let holds_others =
            besides.iter().any(|edit| !more(&edit.op)) || self.ahead.iter().any(|op| !more(op) && !in_log(op));
        if holds_others {
            return Ok(None);
        }
        let mut ahead: Vec<OpRef> = self.ahead.iter().copied().filter(|op| !in_log(op)).collect();
        let new = asked.more.iter().map(|edit| edit.op).filter(|op| !self.known.contains(op) && !in_log(op));
        ahead.extend(new.collect::<HashSet<_>>());
        let edits = edits::in_order([&wanted[..], asked.more].concat());
        let edits = edits.into_iter().filter(|edit| !self.known.contains(&edit.op)).collect();
        Ok(Some(Lacks { edits, upto: self.upto.max(asked.upto), ahead }))
    }

    fn with(mut self, lacks: Lacks, asked: &Asked<'_>, between: Between<'_>) -> Read<Self> {
        let Lacks { edits, upto, ahead } = lacks;
        for edit in &edits {
            self.known.insert(edit.op);
            self.bytes += edit.update.len();
        }
        let document = mem::replace(&mut self.document, edits::document(asked.kind, &[]));
        self.document = applied(document, &edits, || asked.all(between))?;
        (self.upto, self.ahead) = (upto, ahead);
        Ok(self)
    }
}

/// Applies several edits. Built again from `all` if one of them asks for it: then the others are in it already.
fn applied(mut document: Document, edits: &[Edit], all: impl Fn() -> Read<Vec<Edit>>) -> Read<Document> {
    for edit in edits {
        let mut is_whole = false;
        document = document.apply(edit.op, &edit.update, || -> Read<Vec<(OpRef, Arc<[u8]>)>> {
            is_whole = true;
            Ok(all()?.into_iter().map(|edit| (edit.op, edit.update)).collect())
        })?;
        if is_whole {
            break;
        }
    }
    Ok(document)
}

fn is_upto(edit: &Edit, upto: Position) -> bool {
    edit.position.is_some_and(|position| position <= upto)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the numbers of a test are small")]
mod tests {
    use openprod_domain::text::{ClientId, TextEdit};
    use openprod_domain::view::ReadFailure;
    use openprod_model::clock::Hlc;
    use openprod_model::ids::{EntityId, OpId};

    use super::*;
    use crate::testing::name;

    /// Forty letters, one an edit, by one author.
    fn typed() -> Vec<Edit> {
        let mut edits: Vec<Edit> = Vec::new();
        for number in 0..40_u64 {
            let document = edits::document(Kind::Text, &edits);
            let at = u32::try_from(number).unwrap();
            let insert = TextEdit::Insert { at, text: char::from(b'0' + (number % 10) as u8).to_string() };
            let update = document.edit_text(ClientId::new(7), &[insert]).unwrap().remove(0);
            edits.push(Edit {
                op: OpRef::from_bytes([number as u8; 16]),
                hlc: Hlc { ms: number, counter: 0 },
                op_id: OpId::from_bytes([number as u8; 16]),
                position: Some(Position(number + 1)),
                update: update.into(),
            });
        }
        edits
    }

    struct Desk {
        shelf: Shelf,
        log: Vec<Edit>,
        reads: std::cell::Cell<usize>,
    }

    impl Desk {
        fn shows(&self, upto: u64, more: &[Edit]) -> String {
            let cells = [Cell::Field { table: name("cues"), entity: EntityId::from_bytes([1; 16]), field: name("n") }];
            let asked = Asked { cells: &cells, kind: Kind::Text, upto: Position(upto), more };
            let between = |behind: Position, upto: Position| {
                let found = self.log.iter().filter(|edit| edit.position > Some(behind) && is_upto(edit, upto));
                let found: Vec<Edit> = found.cloned().collect();
                self.reads.set(self.reads.get() + found.len());
                Ok::<_, ReadFailure>(found)
            };
            let mut shown = String::new();
            self.shelf.show(&asked, &between, &mut |document| shown = document.text()).unwrap();
            shown
        }

        fn pending(&self, number: usize) -> Vec<Edit> {
            vec![Edit { position: None, ..self.log[number].clone() }]
        }
    }

    fn desk() -> Desk {
        Desk { shelf: Shelf::default(), log: typed(), reads: std::cell::Cell::new(0) }
    }

    #[test]
    fn a_document_goes_on_from_where_it_was() {
        let desk = desk();
        assert_eq!(desk.shows(30, &[]).len(), 30);
        let built = desk.reads.get();
        for upto in 31..=40 {
            assert_eq!(desk.shows(upto, &[]).len(), usize::try_from(upto).unwrap());
        }
        assert_eq!(desk.reads.get() - built, 10, "each edit was read once");
    }

    #[test]
    fn a_writer_ahead_of_the_log_and_readers_of_any_moment_see_what_they_ask_for() {
        let desk = desk();
        assert_eq!(desk.shows(30, &desk.pending(30)).len(), 31);
        assert_eq!(desk.shows(30, &[]).len(), 30, "not what is pending");
        assert_eq!(desk.shows(20, &[]).len(), 20, "not what came later");
        assert_eq!(desk.shows(31, &[]).len(), 31);
        assert_eq!(desk.shows(31, &desk.pending(30)).len(), 31, "pending and in the log is one");
        assert_eq!(desk.shows(31, &desk.pending(31)).len(), 32);
        // What was pending is given up.
        assert_eq!(desk.shows(31, &[]).len(), 31);
        assert_eq!(desk.shows(32, &[]), "01234567890123456789012345678901");
    }

    #[test]
    fn only_so_many_are_kept() {
        let desk = desk();
        for upto in (17..40).rev() {
            desk.shows(upto, &[]);
        }
        let kept = lock(&desk.shelf.0);
        assert_eq!(lock(&kept[0].field).documents.len(), MAX_DOCUMENTS);
    }
}
