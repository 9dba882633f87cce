//! Long texts and lists that several people edit at once: one Yrs document for each cell.
//!
//! Each op of such a cell carries one update in Yjs' own encoding, version 1, so that a browser's editor may bind to it
//! directly; what the field shows is what all its updates amount to (Nicolaescu et al., "Near Real-Time Peer-to-Peer
//! Shared Editing on Extensible Data Types", 2016). Yrs is held here and nowhere else. No observers, no undo manager:
//! in this version they leak or crash. Deleted letters keep their content, because undo puts them back.
//!
//! **Positions and lengths of text are UTF-16 units**, as browsers count; those of lists are items.
//!
//! **Updates are untrusted.** Each is read first by a grammar ([`scan`]) so narrow that what has been seen to hurt Yrs
//! cannot be said in it, then judged against a ledger of what the document has taken ([`ledger`]): it must build on
//! known units only, and divide no letter. Therefore a sound update is applied to the document itself, without a copy,
//! under `catch_unwind`, and costs little more than Yrs alone. One that is not sound is left out and named in
//! [`Document::left_out`]; the others never notice. Should Yrs panic all the same, its document is given up and built
//! again from the others.
//!
//! **The order of arrival does not matter.** A document equals [`Document::build`] over all its updates in canonical
//! order. What could depend on the order (units that two updates claim, something that arrives before what it builds
//! on) makes [`Document::apply`] build again. Of two updates that claim the same units, the first in canonical order has
//! its way. One thing is beyond this. Yjs' order of letters is the same everywhere if each letter was written between
//! two that were neighbours for its author, and each id means one letter between the same two. Edits and undo
//! ([`inverse`]) keep to this, also where two undo the same at once. An author who forges that (or two processes that
//! share a client id) can make letters stand in different places on different replicas, until these build the document
//! again.
//!
//! Reading order: [`Document`], [`edit`](TextEdit) (what people do), [`admit`](Document::admit) (what browsers send),
//! [`inverse`](Document::inverse) (undo).

mod admit;
mod edit;
mod inverse;
mod item;
mod ledger;
mod scan;
mod staged;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use openprod_model::ids::OpRef;
use openprod_model::value::{Primitive, PrimitiveType};
use yrs::updates::decoder::Decode;
use yrs::{
    Array, ArrayRef, ClientID, Doc, GetString, OffsetKind, Options, Out, ReadTxn, StateVector, Transact, Update,
};
use yrs::{Text, TextRef};

pub use admit::{MAX_RAW_BYTES, Refused};
pub use edit::{BadEdit, ListEdit, TextEdit};
pub use scan::Flaw;
pub use staged::{divided, joined, remaining};

use ledger::{Ledger, Verdict};
use scan::{Scanned, Unit, scan_known, scan_op};

/// Most bytes of one update: 64 KiB. An update is read and applied while others wait; more is divided into several.
pub const MAX_UPDATE_BYTES: usize = 64 * 1024;
/// Longest text item of a list in bytes: 32 KiB. An item cannot be divided, and must fit into an update.
pub const MAX_ITEM_BYTES: usize = 32 * 1024;
/// Highest client id: what a JavaScript number holds exactly.
const MAX_CLIENT: u64 = (1 << 53) - 1;
/// What marks the client ids of restored letters, which are derived and not drawn.
const RESTORED: u64 = 1 << 52;

/// What a field's document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Long text: the shared type `Y.Text` named "text", without formatting.
    Text,
    /// A sequence of primitives: the shared type `Y.Array` named "list".
    List,
}

impl Kind {
    /// The name of the only root.
    pub fn root(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::List => "list",
        }
    }

    fn contents(self) -> &'static str {
        match self {
            Self::Text => "letters",
            Self::List => "plain values",
        }
    }
}

/// Who writes, within one document: a number drawn at random for each process start and document, and never stored.
///
/// One that is used twice makes two updates claim the same letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// From random bits, or from the number that a browser's Yjs drew (32 bits). The lower 52 count.
    pub fn new(random: u64) -> Self {
        Self(random & (RESTORED - 1))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// The document of one field.
pub struct Document {
    kind: Kind,
    yrs: Replica,
    ledger: Ledger,
    left_out: BTreeMap<OpRef, Flaw>,
    /// The units that waiting updates lack.
    awaited: BTreeSet<Unit>,
    /// Whether every update so far was taken whole, after what it builds on.
    plain: bool,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, left_out, .. } = self;
        f.debug_struct("Document").field("kind", kind).field("left_out", left_out).finish_non_exhaustive()
    }
}

/// What became of an update.
enum Taken {
    Yes,
    Waits(Unit),
    Flawed(Flaw),
    /// Yrs gave up in the middle: its document is not to be used again.
    Broken,
}

impl Document {
    /// The document that `updates`, all of the field's in canonical order, amount to.
    pub fn build<B: AsRef<[u8]>>(kind: Kind, updates: impl IntoIterator<Item = (OpRef, B)>) -> Self {
        let updates: Vec<(OpRef, B)> = updates.into_iter().collect();
        let mut left_out = BTreeMap::new();
        loop {
            match Self::build_without(kind, &updates, left_out.clone()) {
                Ok(document) => return document,
                Err(breaking) => left_out.insert(breaking, Flaw::Inapplicable),
            };
        }
    }

    /// Builds from `updates` except those `left_out`. The error is the op at which Yrs gave up.
    fn build_without<B: AsRef<[u8]>>(
        kind: Kind,
        updates: &[(OpRef, B)],
        left_out: BTreeMap<OpRef, Flaw>,
    ) -> Result<Self, OpRef> {
        let yrs = Replica::new(kind, 0);
        let mut built = Self { kind, yrs, ledger: Ledger::default(), left_out, awaited: BTreeSet::new(), plain: true };
        let mut waiting = Vec::new();
        for (op, update) in updates {
            if !built.left_out.contains_key(op)
                && let Some(lacks) = built.enter(*op, update.as_ref())?
            {
                waiting.push((*op, update, lacks));
            }
        }
        while waiting.iter().any(|(.., lacks)| built.ledger.knows(*lacks)) {
            for (op, update, lacks) in std::mem::take(&mut waiting) {
                let still = if built.ledger.knows(lacks) { built.enter(op, update.as_ref())? } else { Some(lacks) };
                waiting.extend(still.map(|lacks| (op, update, lacks)));
            }
        }
        for (op, _, lacks) in waiting {
            built.left_out.insert(op, Flaw::Waiting);
            built.awaited.insert(lacks);
        }
        Ok(built)
    }

    /// Takes or leaves out an update in canonical order; says what it lacks if it must wait.
    fn enter(&mut self, op: OpRef, update: &[u8]) -> Result<Option<Unit>, OpRef> {
        match self.take(update) {
            Taken::Yes => Ok(None),
            Taken::Waits(lacks) => {
                self.plain = false;
                Ok(Some(lacks))
            }
            Taken::Flawed(flaw) => {
                self.left_out.insert(op, flaw);
                Ok(None)
            }
            Taken::Broken => Err(op),
        }
    }

    /// Applies the update of an op that has just arrived.
    ///
    /// `all` gives all the field's updates in canonical order, this one among them; it is asked only if the document
    /// must be built again. If it fails the document is gone: there is nothing that could be shown.
    pub fn apply<B: AsRef<[u8]>, I: IntoIterator<Item = (OpRef, B)>, E>(
        mut self,
        op: OpRef,
        update: &[u8],
        all: impl FnOnce() -> Result<I, E>,
    ) -> Result<Self, E> {
        if self.take_in_passing(op, update) { Ok(self) } else { Ok(Self::build(self.kind, all()?)) }
    }

    /// Takes or leaves out an update where its place in the order does not matter. False if it does.
    fn take_in_passing(&mut self, op: OpRef, update: &[u8]) -> bool {
        let verdict = match scan_op(update, self.kind) {
            Ok(scanned) => match self.ledger.judge(&scanned) {
                Verdict::Fits => return self.yrs.integrate(update).is_ok() && self.note(&scanned),
                verdict => verdict,
            },
            Err(flaw) => Verdict::Flawed(flaw),
        };
        match verdict {
            Verdict::Fits | Verdict::Overlaps => false,
            Verdict::Waits(lacks) => {
                self.left_out.insert(op, Flaw::Waiting);
                self.awaited.insert(lacks);
                true
            }
            Verdict::Flawed(flaw) => {
                self.left_out.insert(op, flaw);
                true
            }
        }
    }

    /// Notes an update as taken. False if others have waited for it.
    fn note(&mut self, taken: &Scanned<'_>) -> bool {
        self.ledger.record(taken);
        let ends = |run: &scan::Run<'_>| [run.start(), run.end()].map(|clock| Unit { client: run.client, clock });
        let mut made = taken.runs.iter().map(ends);
        self.awaited.is_empty() || !made.any(|[from, to]| self.awaited.range(from..to).next().is_some())
    }

    fn take(&mut self, update: &[u8]) -> Taken {
        let scanned = match scan_op(update, self.kind) {
            Ok(scanned) => scanned,
            Err(flaw) => return Taken::Flawed(flaw),
        };
        match self.ledger.judge(&scanned) {
            Verdict::Fits => self.integrate(update, &scanned),
            Verdict::Waits(lacks) => Taken::Waits(lacks),
            Verdict::Flawed(flaw) => Taken::Flawed(flaw),
            Verdict::Overlaps => {
                self.plain = false;
                self.take_known(scanned)
            }
        }
    }

    /// Takes only the deletions of an update whose units are known: it is the same undo, made twice at the same time.
    /// One that goes beyond them is another's writing under a client id that was used twice, and makes no sense here.
    fn take_known(&mut self, mut scanned: Scanned<'_>) -> Taken {
        if scanned.runs.iter().any(|run| run.end() > self.ledger.known(run.client)) {
            return Taken::Flawed(Flaw::Claimed);
        }
        scanned.runs.clear();
        match self.ledger.judge(&scanned) {
            Verdict::Fits => self.integrate(&write::update(self.kind, &scanned), &scanned),
            Verdict::Waits(lacks) => Taken::Waits(lacks),
            Verdict::Flawed(flaw) => Taken::Flawed(flaw),
            Verdict::Overlaps => unreachable!("it brings no units"),
        }
    }

    fn integrate(&mut self, update: &[u8], scanned: &Scanned<'_>) -> Taken {
        if self.yrs.integrate(update).is_err() {
            return Taken::Broken;
        }
        self.ledger.record(scanned);
        Taken::Yes
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The updates that do not count, and why. Those that wait count as soon as what they build on has arrived.
    pub fn left_out(&self) -> &BTreeMap<OpRef, Flaw> {
        &self.left_out
    }

    /// Whether an editor that applies every update as it comes shows the same as this: none was left out, none waited,
    /// none brought what was there already.
    pub fn is_plain(&self) -> bool {
        self.plain && self.left_out.is_empty()
    }

    /// The text, empty for a list. Letters are shown as they were typed: their sum is not normalized.
    pub fn text(&self) -> String {
        self.yrs.text()
    }

    /// The items that are of type `item`; others were written by a stranger or for another type, and are passed over.
    pub fn items(&self, item: PrimitiveType) -> Vec<Primitive> {
        self.yrs.values().iter().filter_map(|any| item::from_any(any, item)).collect()
    }

    /// Its length: UTF-16 units of a text, items of whatever type of a list.
    pub fn len(&self) -> u32 {
        self.yrs.len()
    }

    /// Whether it shows nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything as one update, for an editor that starts empty.
    ///
    /// The bytes depend on the order of arrival: never compare or hash them.
    pub fn encode_state(&self) -> Vec<u8> {
        self.yrs.encode(&StateVector::default())
    }

    /// What an editor lacks that knows `known`, a state vector in Yjs' encoding, as one update.
    pub fn missing_for(&self, known: &[u8]) -> Result<Vec<u8>, Flaw> {
        let mut vector = StateVector::default();
        for unit in scan_known(known)? {
            let clock = unit.clock.min(self.ledger.known(unit.client));
            // Half a letter is none.
            let clock = clock - u32::from(self.ledger.is_half(Unit { clock, ..unit }));
            vector.set_max(ClientID::new(unit.client), clock);
        }
        Ok(self.yrs.encode(&vector))
    }

    /// A copy in which `client` may write without harm to this one.
    fn draft(&self, client: u64) -> Replica {
        let draft = Replica::new(self.kind, client);
        draft.integrate(&self.encode_state()).expect("what a document says of itself can be applied");
        draft
    }
}

/// A Yrs document with its root.
struct Replica {
    doc: Doc,
    root: Root,
}

enum Root {
    Text(TextRef),
    List(ArrayRef),
}

impl Replica {
    fn new(kind: Kind, client: u64) -> Self {
        // Named, because Yrs would draw a random name.
        let mut options = Options::with_guid_and_client_id("openprod".into(), ClientID::new(client));
        options.offset_kind = OffsetKind::Utf16;
        options.skip_gc = true;
        let doc = Doc::with_options(options);
        let root = match kind {
            Kind::Text => Root::Text(doc.get_or_insert_text(kind.root())),
            Kind::List => Root::List(doc.get_or_insert_array(kind.root())),
        };
        Self { doc, root }
    }

    /// Applies an update. After an error nothing more may be asked of this replica.
    fn integrate(&self, update: &[u8]) -> Result<(), Flaw> {
        let read = catch_unwind(|| Update::decode_v1(update).ok());
        let update = read.ok().flatten().ok_or(Flaw::Unreadable)?;
        // A transaction commits as it is dropped, and would panic again while the first panic unwinds. After a panic
        // it is therefore never dropped, and neither is the document, whose parts may hang together wrongly.
        let mut transaction = ManuallyDrop::new(self.doc.transact_mut());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let applied = transaction.apply_update(update);
            transaction.commit();
            applied
        }));
        if !matches!(outcome, Ok(Ok(()))) {
            return Err(Flaw::Inapplicable);
        }
        drop(ManuallyDrop::into_inner(transaction));
        Ok(())
    }

    fn encode(&self, known: &StateVector) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(known)
    }

    fn text(&self) -> String {
        match &self.root {
            Root::Text(text) => text.get_string(&self.doc.transact()),
            Root::List(_) => String::new(),
        }
    }

    fn values(&self) -> Vec<yrs::Any> {
        let Root::List(list) = &self.root else { return Vec::new() };
        let transaction = self.doc.transact();
        let value = |out| match out {
            Out::Any(any) => any,
            _ => yrs::Any::Undefined,
        };
        list.iter(&transaction).map(value).collect()
    }

    fn len(&self) -> u32 {
        let transaction = self.doc.transact();
        match &self.root {
            Root::Text(text) => text.len(&transaction),
            Root::List(list) => list.len(&transaction),
        }
    }
}
