//! The laws of a workspace: cells, registers, texts, folding, views, planning, schemas, queries. Pure.
//!
//! Nothing here knows of actors, disks, clocks or randomness: `now` and fresh ids are arguments. Rooms and tests call
//! these functions and must agree, because there is only this one copy.
//!
//! Reading order: [`cell`] (what can be written), [`fold`] (what an op writes), [`register`] (what several standing
//! writes mean), [`view`] (how cells are read), [`unions`] (cells that read as one), [`read`] (records, tables,
//! edges), [`decide`] (what a command means), [`compose`] (a cell shall say something: which op is that), [`inverse`]
//! (undo and redo), [`conflict`] (what people have to decide), [`overlay`] (what is staged and not yet so), [`query`].
//! [`oracle`] is the naive model that all of it must equal. [`text`] stands apart: long texts and lists that several
//! people edit at once; [`edits`] leads from cells to them.

pub mod asset;
pub mod cell;
pub mod command;
pub mod compose;
pub mod conflict;
pub mod decide;
pub mod describe;
pub mod edits;
pub mod fold;
pub mod index;
pub mod inverse;
pub mod join_mode;
pub mod oracle;
pub mod overlay;
pub mod query;
pub mod read;
pub mod recovery;
pub mod register;
pub mod text;
pub mod unions;
pub mod view;
