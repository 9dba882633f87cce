//! What people do to a text or a list, made into updates.
//!
//! An edit changes nothing here: it is tried on a copy and comes back as updates for the log, usually one, several
//! where it is too much for [`MAX_UPDATE_BYTES`](super::MAX_UPDATE_BYTES). The copy costs as much as the document is
//! large; an editor that binds directly, and sends its own updates, saves that.

use openprod_model::value::{Primitive, PrimitiveType};
use serde::Serialize;
use yrs::{Array, Text, Transact};

use super::item::{from_any, to_any};
use super::scan::scan;
use super::write::{letters_offset, updates};
use super::{ClientId, Document, Kind, MAX_ITEM_BYTES, Replica, Root};

/// A change of a text. Positions are UTF-16 units of the text as the edits before have left it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum TextEdit {
    /// Puts `text` before the unit `at`, or at the end.
    Insert {
        /// The position.
        at: u32,
        /// What is put there.
        text: String,
    },
    /// Removes `length` units from `at` on.
    Delete {
        /// The position of the first.
        at: u32,
        /// How many.
        length: u32,
    },
}

/// A change of a list. Positions count the items that are shown, as the edits before have left them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum ListEdit {
    /// Puts `items` before the item `at`, or at the end.
    Insert {
        /// The position.
        at: u32,
        /// What is put there.
        items: Vec<Primitive>,
    },
    /// Removes `length` items from `at` on.
    Delete {
        /// The position of the first.
        at: u32,
        /// How many.
        length: u32,
    },
    /// Removes what is shown and puts `items` there. What somebody else adds meanwhile stays.
    ReplaceAll {
        /// What is put there.
        items: Vec<Primitive>,
    },
}

/// Why an edit means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEdit {
    /// Behind the end.
    #[error("Position {at} is behind the end: the length is {length}.")]
    BehindTheEnd {
        /// The first position that is not there.
        at: u64,
        /// The length.
        length: u32,
    },
    /// Between the two units of one letter.
    #[error("Position {0} is in the middle of a letter.")]
    DividesLetter(u32),
    /// A NUL character.
    #[error("A text may not hold a NUL character.")]
    Nul,
    /// An item above [`MAX_ITEM_BYTES`].
    #[error("An item of {0} bytes is longer than the {MAX_ITEM_BYTES} allowed.")]
    ItemTooLong(usize),
    /// An item of another type than the list's.
    #[error("An item is not of type {}.", .0.word())]
    ItemType(PrimitiveType),
    /// A text edit of a list, or the other way round.
    #[error("This field is made of {}.", .0.contents())]
    Kind(Kind),
}

impl Document {
    /// What `edits`, made one after the other by `client`, are as updates.
    pub fn edit_text(&self, client: ClientId, edits: &[TextEdit]) -> Result<Vec<Vec<u8>>, BadEdit> {
        self.written_by(client.0, |draft| {
            let Root::Text(root) = &draft.root else { return Err(BadEdit::Kind(self.kind)) };
            let mut text = draft.text();
            let mut transaction = draft.doc.transact_mut();
            for edit in edits {
                match edit {
                    TextEdit::Insert { at, text: new } => {
                        let offset = text_offset(&text, u64::from(*at))?;
                        if new.contains('\0') {
                            return Err(BadEdit::Nul);
                        }
                        text.insert_str(offset, new);
                        root.insert(&mut transaction, *at, new);
                    }
                    TextEdit::Delete { at, length } => {
                        let from = text_offset(&text, u64::from(*at))?;
                        let to = text_offset(&text, u64::from(*at) + u64::from(*length))?;
                        text.replace_range(from..to, "");
                        root.remove_range(&mut transaction, *at, *length);
                    }
                }
            }
            transaction.commit();
            Ok(transaction.encode_update_v1())
        })
    }

    /// What makes the text `new`, as updates: the least that one removal and one insertion can do. None if it is so.
    pub fn set_text(&self, client: ClientId, new: &str) -> Result<Vec<Vec<u8>>, BadEdit> {
        let edits = difference(&self.text(), new);
        if edits.is_empty() { Ok(Vec::new()) } else { self.edit_text(client, &edits) }
    }

    /// What `edits` of a list of `item`, made one after the other by `client`, are as updates.
    pub fn edit_list(
        &self,
        client: ClientId,
        item: PrimitiveType,
        edits: &[ListEdit],
    ) -> Result<Vec<Vec<u8>>, BadEdit> {
        self.written_by(client.0, |draft| {
            if matches!(draft.root, Root::Text(_)) {
                return Err(BadEdit::Kind(self.kind));
            }
            let mut list = Listed { draft, item, shown: Vec::new() };
            list.shown = draft.values().iter().map(|any| from_any(any, item).is_some()).collect();
            let mut transaction = draft.doc.transact_mut();
            for edit in edits {
                list.edit(&mut transaction, edit)?;
            }
            transaction.commit();
            Ok(transaction.encode_update_v1())
        })
    }

    /// What `write` adds to a draft of this document, as updates.
    pub(super) fn written_by<E>(
        &self,
        client: u64,
        write: impl FnOnce(&Replica) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<Vec<u8>>, E> {
        let written = write(&self.draft(client))?;
        let scanned = scan(&written, self.kind).expect("what is written here is of this kind");
        Ok(updates(self.kind, scanned))
    }
}

/// A list while it is edited.
struct Listed<'a> {
    draft: &'a Replica,
    item: PrimitiveType,
    /// Of each value of the document, whether it is shown.
    shown: Vec<bool>,
}

impl Listed<'_> {
    fn edit(&mut self, transaction: &mut yrs::TransactionMut<'_>, edit: &ListEdit) -> Result<(), BadEdit> {
        match edit {
            ListEdit::Insert { at, items } => self.insert(transaction, *at, items),
            ListEdit::Delete { at, length } => self.delete(transaction, *at, *length),
            ListEdit::ReplaceAll { items } => {
                self.delete(transaction, 0, self.len())?;
                self.insert(transaction, 0, items)
            }
        }
    }

    fn len(&self) -> u32 {
        u32::try_from(self.shown.iter().filter(|shown| **shown).count()).unwrap_or(u32::MAX)
    }

    /// The values that are shown, by their places in the document; behind them, the end.
    fn places(&self) -> Vec<usize> {
        let shown = self.shown.iter().enumerate().filter(|(_, shown)| **shown).map(|(place, _)| place);
        shown.chain([self.shown.len()]).collect()
    }

    fn insert(&mut self, to: &mut yrs::TransactionMut<'_>, at: u32, items: &[Primitive]) -> Result<(), BadEdit> {
        let Root::List(root) = &self.draft.root else { return Ok(()) };
        items.iter().try_for_each(|item| fits(item, self.item))?;
        let behind = BadEdit::BehindTheEnd { at: u64::from(at), length: self.len() };
        let place = *self.places().get(at as usize).ok_or(behind)?;
        root.insert_range(to, u32::try_from(place).unwrap_or(u32::MAX), items.iter().map(to_any));
        self.shown.splice(place..place, items.iter().map(|_| true));
        Ok(())
    }

    fn delete(&mut self, from: &mut yrs::TransactionMut<'_>, at: u32, length: u32) -> Result<(), BadEdit> {
        let Root::List(root) = &self.draft.root else { return Ok(()) };
        let (places, end) = (self.places(), u64::from(at) + u64::from(length));
        if end > u64::from(self.len()) {
            return Err(BadEdit::BehindTheEnd { at: end, length: self.len() });
        }
        // From behind, so that the places before stay what they are; neighbours in one go.
        let chosen = &places[at as usize..at as usize + length as usize];
        for neighbours in chosen.chunk_by(|a, b| a + 1 == *b).rev() {
            let (first, count) = (neighbours[0], neighbours.len());
            let units = |places: usize| u32::try_from(places).unwrap_or(u32::MAX);
            root.remove_range(from, units(first), units(count));
            self.shown.drain(first..first + count);
        }
        Ok(())
    }
}

fn fits(item: &Primitive, wanted: PrimitiveType) -> Result<(), BadEdit> {
    match item {
        _ if !wanted.admits(item) => Err(BadEdit::ItemType(wanted)),
        Primitive::Text(text) if text.as_str().len() > MAX_ITEM_BYTES => Err(BadEdit::ItemTooLong(text.as_str().len())),
        _ => Ok(()),
    }
}

/// The byte of `text` at which the UTF-16 unit `at` begins.
fn text_offset(text: &str, at: u64) -> Result<usize, BadEdit> {
    let length = super::scan::utf16_len(text);
    let within = u32::try_from(at).ok().filter(|at| *at <= length);
    let at = within.ok_or(BadEdit::BehindTheEnd { at, length })?;
    letters_offset(text, at).ok_or(BadEdit::DividesLetter(at))
}

/// One removal and one insertion that make `old` into `new`: what is between their common beginning and end.
fn difference(old: &str, new: &str) -> Vec<TextEdit> {
    let common = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| -> usize {
        a.zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
    };
    let before = common(&mut old.chars(), &mut new.chars());
    let (old_rest, new_rest) = (&old[before..], &new[before..]);
    let behind = common(&mut old_rest.chars().rev(), &mut new_rest.chars().rev());
    let (gone, come) = (&old_rest[..old_rest.len() - behind], &new_rest[..new_rest.len() - behind]);
    let at = super::scan::utf16_len(&old[..before]);
    let delete = TextEdit::Delete { at, length: super::scan::utf16_len(gone) };
    let insert = TextEdit::Insert { at, text: come.to_owned() };
    [(gone, delete), (come, insert)].into_iter().filter(|(what, _)| !what.is_empty()).map(|(_, edit)| edit).collect()
}
