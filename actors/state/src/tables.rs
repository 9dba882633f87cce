//! What lies in `state.redb`: every table, the layout of its keys and values, and the versions that stand for them.
//!
//! Layouts are written by hand: they are read and written millions of times, and most of a row is fixed. Nothing here
//! is signed, sent or kept for ever; whoever changes a layout counts [`FORMAT`] up, and every state is folded anew.

use std::sync::Arc;

use openprod_domain::cell::{Content, Tip};
use openprod_domain::edits::Edit;
use openprod_messages::snapshot::Counts;
use openprod_model::clock::Hlc;
use openprod_model::codec;
use openprod_model::ids::{Digest, EntityId, OpId, OpRef, Position, WorkspaceId};
use openprod_model::operation::Operation;
use openprod_model::value::{Name, Text, Value};
use redb::TableDefinition;

use crate::fold::{Cursor, Dead, Place, Standing};

/// The version of the layouts below.
pub(crate) const FORMAT: u16 = 3;

/// Cell key -> its standing writes, in canonical order. A cell that was ever written has a row here for ever.
pub(crate) const TIPS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("tips");

/// Cell key, then op reference -> a write that is superseded: see [`dead_bytes`]. Together with [`TIPS`] this is the
/// history of every cell. A write that is named as superseded before it came has a row too (I-3).
pub(crate) const DEAD: TableDefinition<&[u8], &[u8; DEAD_BYTES]> = TableDefinition::new("superseded");

/// Cell key, then place -> an edit of a document or a sequence: see [`edit_key`] and [`edit_bytes`]. All of a cell's
/// edits, superseded ones too, in the order in which they came: what is behind a position is read alone.
pub(crate) const EDITS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("edits");

/// Index entries, as the domain makes them.
pub(crate) const ENTRIES: TableDefinition<&[u8], ()> = TableDefinition::new("entries");

/// Bucket -> the sum of its cells' contributions to the state hash.
pub(crate) const BUCKETS: TableDefinition<u8, &[u8; 32]> = TableDefinition::new("buckets");

/// A few rows about the whole: [`META_FORMAT`], [`META_KINDS`], [`META_CURSOR`].
pub(crate) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// See [`format_bytes`].
pub(crate) const META_FORMAT: &str = "format";
/// See [`kinds_bytes`].
pub(crate) const META_KINDS: &str = "kinds";
/// See [`cursor_bytes`].
pub(crate) const META_CURSOR: &str = "cursor";

/// Bytes that are not what this version writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of the state is damaged")]
pub(crate) struct BadRow;

/// Format, fold version, workspace: a state that differs in any is of no use here.
pub(crate) fn format_bytes(workspace: WorkspaceId) -> Vec<u8> {
    let versions = [FORMAT.to_le_bytes(), openprod_domain::fold::FOLD_VERSION.to_le_bytes()].concat();
    [&versions, &workspace.as_bytes()[..]].concat()
}

/// The kinds of op that are folded: once there are more, ops that were passed over must be folded (I-10).
pub(crate) fn kinds_bytes(unknown: &[u16]) -> Vec<u8> {
    let known = Operation::KINDS.iter().filter(|(kind, _)| !unknown.contains(kind));
    known.flat_map(|(kind, _)| kind.to_le_bytes()).collect()
}

/// The key in [`DEAD`] of one write of a cell.
pub(crate) fn dead_key(cell: &[u8], op: OpRef) -> Vec<u8> {
    [cell, op.as_bytes()].concat()
}

/// The length of a value in [`DEAD`].
pub(crate) const DEAD_BYTES: usize = 20;

/// Superseded at (8 bytes), written at (8; 0 if it has not come yet), index in its bundle (4); little-endian.
pub(crate) fn dead_bytes(dead: &Dead) -> [u8; DEAD_BYTES] {
    let place = dead.written.unwrap_or(Place { position: Position::ZERO, index: 0 });
    let mut bytes = [0; DEAD_BYTES];
    bytes[..8].copy_from_slice(&dead.since.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&place.position.0.to_le_bytes());
    bytes[16..].copy_from_slice(&place.index.to_le_bytes());
    bytes
}

/// The reverse of [`dead_bytes`].
pub(crate) fn read_dead(bytes: &[u8; DEAD_BYTES]) -> Result<Dead, BadRow> {
    let mut reader = Bytes(bytes);
    let (since, position) = (Position(reader.u64()?), Position(reader.u64()?));
    let place = Place { position, index: reader.u32()? };
    Ok(Dead { since, written: (position != Position::ZERO).then_some(place) })
}

/// Position, chain, the five counts, the heads; numbers little-endian.
pub(crate) fn cursor_bytes(cursor: &Cursor) -> Vec<u8> {
    let Counts { bundles, ops, unknown_ops, damaged, cells } = cursor.counts;
    let mut bytes = Vec::with_capacity(80 + 32 * cursor.heads.len());
    bytes.extend_from_slice(&cursor.position.0.to_le_bytes());
    bytes.extend_from_slice(cursor.chain.as_bytes());
    for number in [bundles, ops, unknown_ops, damaged, cells] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for head in &cursor.heads {
        bytes.extend_from_slice(head.as_bytes());
    }
    bytes
}

/// The reverse of [`cursor_bytes`].
pub(crate) fn read_cursor(bytes: &[u8]) -> Result<Cursor, BadRow> {
    let mut reader = Bytes(bytes);
    let (position, chain) = (Position(reader.u64()?), Digest::from_bytes(reader.array()?));
    let counts = Counts {
        bundles: reader.u64()?,
        ops: reader.u64()?,
        unknown_ops: reader.u64()?,
        damaged: reader.u64()?,
        cells: reader.u64()?,
    };
    let mut heads = Vec::with_capacity(reader.0.len() / 32);
    while !reader.0.is_empty() {
        heads.push(Digest::from_bytes(reader.array()?));
    }
    Ok(Cursor { position, chain, counts, heads })
}

/// The key in [`EDITS`] of the edit at a place: position (8), index in its bundle (4); big-endian.
pub(crate) fn edit_key(cell: &[u8], Place { position, index }: Place) -> Vec<u8> {
    [cell, &position.0.to_be_bytes(), &index.to_be_bytes()].concat()
}

/// The keys in [`EDITS`] of a cell's edits behind one position and up to another.
pub(crate) fn edit_range(cell: &[u8], behind: Position, upto: Position) -> std::ops::Range<Vec<u8>> {
    let first = |position| edit_key(cell, Place { position, index: 0 });
    first(behind.next())..first(upto.next())
}

/// Op reference (16), clock (12), op id (16), update.
pub(crate) fn edit_bytes(edit: &Edit) -> Vec<u8> {
    [edit.op.as_bytes(), &edit.hlc.to_bytes()[..], edit.op_id.as_bytes(), &edit.update].concat()
}

/// The reverse of [`edit_key`] and [`edit_bytes`].
pub(crate) fn read_edit(key: &[u8], bytes: &[u8]) -> Result<Edit, BadRow> {
    let place = key.last_chunk::<12>().ok_or(BadRow)?;
    let position = Position(u64::from_be_bytes(*place.first_chunk().ok_or(BadRow)?));
    let mut reader = Bytes(bytes);
    Ok(Edit {
        op: OpRef::from_bytes(reader.array()?),
        hlc: Hlc::from_bytes(reader.array()?),
        op_id: OpId::from_bytes(reader.array()?),
        position: Some(position),
        update: reader.0.into(),
    })
}

const DECISION: u8 = 1;
const RESTORES: u8 = 2;
const SEEN: u8 = 4;

/// One after another: op reference (16), clock (12), op id (16), position, index (variable), flags (1), what it
/// restores (16, if flagged), what its author had seen (count, 16 each, if flagged), content (tag, length, bytes).
pub(crate) fn tips_bytes(standing: &[Standing]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96 * standing.len());
    for one in standing {
        put_standing(&mut bytes, one);
    }
    bytes
}

fn put_standing(bytes: &mut Vec<u8>, Standing { tip, place }: &Standing) {
    bytes.extend_from_slice(tip.op.as_bytes());
    bytes.extend_from_slice(&tip.hlc.to_bytes());
    bytes.extend_from_slice(tip.op_id.as_bytes());
    put_number(bytes, place.position.0);
    put_number(bytes, u64::from(place.index));
    let flags = [(tip.decision, DECISION), (tip.restores.is_some(), RESTORES), (!tip.seen.is_empty(), SEEN)];
    bytes.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
    if let Some(restores) = &tip.restores {
        bytes.extend_from_slice(restores.as_bytes());
    }
    if !tip.seen.is_empty() {
        put_number(bytes, tip.seen.len() as u64);
        for op in &tip.seen {
            bytes.extend_from_slice(op.as_bytes());
        }
    }
    put_content(bytes, &tip.content);
}

/// The reverse of [`tips_bytes`].
pub(crate) fn read_tips(bytes: &[u8]) -> Result<Vec<Standing>, BadRow> {
    let mut reader = Bytes(bytes);
    let mut standing = Vec::with_capacity(1);
    while !reader.0.is_empty() {
        standing.push(read_standing(&mut reader)?);
    }
    if standing.is_empty() { Err(BadRow) } else { Ok(standing) }
}

fn read_standing(reader: &mut Bytes<'_>) -> Result<Standing, BadRow> {
    let op = OpRef::from_bytes(reader.array()?);
    let hlc = Hlc::from_bytes(reader.array()?);
    let op_id = OpId::from_bytes(reader.array()?);
    let position = Position(reader.number()?);
    let index = u32::try_from(reader.number()?).map_err(|_| BadRow)?;
    let flags = reader.array::<1>()?[0];
    let restores = if flags & RESTORES == 0 { None } else { Some(OpRef::from_bytes(reader.array()?)) };
    let seen = if flags & SEEN == 0 { 0 } else { reader.number()? };
    let seen = (0..seen).map(|_| reader.array().map(OpRef::from_bytes)).collect::<Result<_, _>>()?;
    let content = read_content(reader)?;
    let decision = flags & DECISION != 0;
    let tip = Tip { op, hlc, op_id, position: Some(position), decision, restores, seen, content };
    Ok(Standing { tip, place: Place { position, index } })
}

// The contents of most cells have a short form of their own; the others are in the codec's.
const ANY: u8 = 0;
const TEXT: u8 = 1;
const INTEGER: u8 = 2;
const ENUM: u8 = 3;
const ENTITY: u8 = 4;
const PRESENT: u8 = 5;
const ABSENT: u8 = 6;

fn put_content(bytes: &mut Vec<u8>, content: &Content) {
    match content {
        Content::Value(Value::Text(text)) => put_tagged(bytes, TEXT, text.as_str().as_bytes()),
        Content::Value(Value::Integer(number)) => put_tagged(bytes, INTEGER, &number.to_le_bytes()),
        Content::Value(Value::Enum(name)) => put_tagged(bytes, ENUM, name.as_str().as_bytes()),
        Content::Value(Value::Entity(entity)) => put_tagged(bytes, ENTITY, entity.as_bytes()),
        Content::Present => put_tagged(bytes, PRESENT, &[]),
        Content::Absent => put_tagged(bytes, ABSENT, &[]),
        other => put_tagged(bytes, ANY, &codec::encode(other)),
    }
}

fn put_tagged(bytes: &mut Vec<u8>, tag: u8, content: &[u8]) {
    bytes.push(tag);
    put_number(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

fn read_content(reader: &mut Bytes<'_>) -> Result<Content, BadRow> {
    let tag = reader.array::<1>()?[0];
    let length = usize::try_from(reader.number()?).map_err(|_| BadRow)?;
    let bytes = reader.slice(length)?;
    let text = || std::str::from_utf8(bytes).map(Arc::<str>::from).map_err(|_| BadRow);
    Ok(match tag {
        TEXT => Content::Value(Value::Text(Text::try_from(text()?).map_err(|_| BadRow)?)),
        INTEGER => Content::Value(Value::Integer(i64::from_le_bytes(bytes.try_into().map_err(|_| BadRow)?))),
        ENUM => Content::Value(Value::Enum(Name::try_from(text()?).map_err(|_| BadRow)?)),
        ENTITY => Content::Value(Value::Entity(EntityId::from_bytes(bytes.try_into().map_err(|_| BadRow)?))),
        PRESENT => Content::Present,
        ABSENT => Content::Absent,
        ANY => codec::decode(bytes).map_err(|_| BadRow)?,
        _ => return Err(BadRow),
    })
}

/// Seven bits a byte, the lowest first, the highest bit set on all but the last (LEB128).
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(0x80 | number.to_le_bytes()[0]);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn slice(&mut self, length: usize) -> Result<&'a [u8], BadRow> {
        let (slice, rest) = self.0.split_at_checked(length).ok_or(BadRow)?;
        self.0 = rest;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRow> {
        let (array, rest) = self.0.split_first_chunk().ok_or(BadRow)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u64(&mut self) -> Result<u64, BadRow> {
        self.array().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, BadRow> {
        self.array().map(u32::from_le_bytes)
    }

    fn number(&mut self) -> Result<u64, BadRow> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(BadRow)
    }
}
