//! Rows: reading and writing the tables of the state within a transaction.

use openprod_messages::log::{Entry, Stored};
use openprod_model::ids::{OpRef, Position, WorkspaceId};
use redb::{Durability, ReadableTable, Table, WriteTransaction};

use super::{Living, StoreError};
use crate::fold::{Cursor, Dead, Ground, Piece, Standing};
use crate::hash::Buckets;
use crate::tables::{self, BUCKETS, DEAD, EDITS, ENTRIES, META, META_CURSOR, META_FORMAT, META_KINDS, TIPS};

pub(super) fn begin(living: &Living, durability: Durability) -> Result<WriteTransaction, StoreError> {
    let mut transaction = living.database.begin_write()?;
    transaction.set_durability(durability)?;
    Ok(transaction)
}

pub(super) fn empty(transaction: &WriteTransaction, workspace: WorkspaceId, unknown: &[u16]) -> Result<(), StoreError> {
    transaction.delete_table(TIPS)?;
    transaction.delete_table(DEAD)?;
    transaction.delete_table(EDITS)?;
    transaction.delete_table(ENTRIES)?;
    transaction.delete_table(BUCKETS)?;
    transaction.delete_table(META)?;
    transaction.open_table(TIPS)?;
    transaction.open_table(DEAD)?;
    transaction.open_table(EDITS)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(BUCKETS)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(META_FORMAT, &*tables::format_bytes(workspace))?;
    meta.insert(META_KINDS, &*tables::kinds_bytes(unknown))?;
    meta.insert(META_CURSOR, &*tables::cursor_bytes(&Cursor::default()))?;
    Ok(())
}

pub(super) fn read_cursor(transaction: &WriteTransaction) -> Result<Cursor, StoreError> {
    let meta = transaction.open_table(META)?;
    let row = meta.get(META_CURSOR)?.ok_or(tables::BadRow)?;
    Ok(tables::read_cursor(row.value())?)
}

pub(super) fn read_buckets(transaction: &WriteTransaction) -> Result<Buckets, StoreError> {
    let mut buckets = Buckets::default();
    for row in transaction.open_table(BUCKETS)?.iter()? {
        let (number, bytes) = row?;
        buckets.set(number.value(), bytes.value());
    }
    Ok(buckets)
}

/// The tables as they were when a transaction began.
struct Below<'t> {
    tips: Table<'t, &'static [u8], &'static [u8]>,
    dead: Table<'t, &'static [u8], &'static [u8; tables::DEAD_BYTES]>,
}

impl Ground for Below<'_> {
    type Failure = StoreError;

    fn standing(&self, cell: &[u8]) -> Result<Option<Vec<Standing>>, StoreError> {
        let row = self.tips.get(cell)?;
        Ok(row.map(|row| tables::read_tips(row.value())).transpose()?)
    }

    fn dead(&self, cell: &[u8], op: OpRef) -> Result<Option<Dead>, StoreError> {
        let row = self.dead.get(&*tables::dead_key(cell, op))?;
        Ok(row.map(|row| tables::read_dead(row.value())).transpose()?)
    }
}

pub(super) fn fold_on(
    transaction: &WriteTransaction,
    cursor: Cursor,
    unknown: &'static [u16],
    bundles: &[(Position, Entry, Stored)],
) -> Result<Piece, StoreError> {
    let ground = Below { tips: transaction.open_table(TIPS)?, dead: transaction.open_table(DEAD)? };
    let mut piece = Piece::behind(cursor, unknown);
    bundles.iter().try_for_each(|bundle| piece.fold(&ground, bundle))?;
    Ok(piece)
}

/// Writes a folded piece: every row once, in key order.
pub(super) fn write(transaction: &WriteTransaction, piece: &Piece, buckets: &mut Buckets) -> Result<(), StoreError> {
    write_cells(transaction, piece)?;
    write_edits(transaction, piece)?;
    write_entries(transaction, piece)?;
    write_buckets(transaction, piece, buckets)?;
    transaction.open_table(META)?.insert(META_CURSOR, &*tables::cursor_bytes(&piece.cursor))?;
    Ok(())
}

fn write_cells(transaction: &WriteTransaction, piece: &Piece) -> Result<(), StoreError> {
    let (mut tips, mut superseded) = (transaction.open_table(TIPS)?, transaction.open_table(DEAD)?);
    for (key, touched) in &piece.cells {
        tips.insert(&**key, &*tables::tips_bytes(&touched.standing))?;
        for (op, dead) in &touched.dead {
            superseded.insert(&*tables::dead_key(key, *op), &tables::dead_bytes(dead))?;
        }
    }
    Ok(())
}

fn write_edits(transaction: &WriteTransaction, piece: &Piece) -> Result<(), StoreError> {
    let mut edits = transaction.open_table(EDITS)?;
    for (key, touched) in &piece.cells {
        for (place, edit) in &touched.edits {
            edits.insert(&*tables::edit_key(key, *place), &*tables::edit_bytes(edit))?;
        }
    }
    Ok(())
}

fn write_entries(transaction: &WriteTransaction, piece: &Piece) -> Result<(), StoreError> {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for touched in piece.cells.values() {
        let (before, after) = (touched.before.as_ref().map_or(&[][..], |before| &before.entries), touched.entries());
        gone.extend(before.iter().filter(|entry| !after.contains(entry)));
        come.extend(after.into_iter().filter(|entry| !before.contains(entry)));
    }
    gone.sort_unstable();
    come.sort_unstable();
    let mut entries = transaction.open_table(ENTRIES)?;
    for entry in gone {
        entries.remove(&**entry)?;
    }
    for entry in &come {
        entries.insert(&**entry, ())?;
    }
    Ok(())
}

fn write_buckets(transaction: &WriteTransaction, piece: &Piece, buckets: &mut Buckets) -> Result<(), StoreError> {
    let mut changed = std::collections::BTreeSet::new();
    for (key, touched) in &piece.cells {
        let before = touched.before.as_ref().map_or(&[][..], |before| &before.tips);
        changed.insert(buckets.change(key, before, &touched.tips()));
    }
    let mut table = transaction.open_table(BUCKETS)?;
    for number in changed {
        table.insert(number, &buckets.bytes(number))?;
    }
    Ok(())
}
