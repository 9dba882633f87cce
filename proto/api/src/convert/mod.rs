//! Conversions between messages of the API and types of the model.
//!
//! Towards the API they are total: `From`. From the API they are strict: `TryFrom` with a `Refusal` whose `at` is the
//! path of the part at fault within the message, such as `commands[3].set_fields.values[0].value.date`. Nothing is
//! guessed: a missing part or an unknown number is refused. Messages do not nest without bound, so neither does this.
//!
//! Reading order: [`path`], [`ids`], [`value`], [`schema`], [`command`], [`undo`], [`history`], [`reading`].

pub mod command;
mod conflict;
pub mod history;
pub mod ids;
pub mod path;
pub mod reading;
pub mod schema;
mod text;
pub mod undo;
pub mod value;

mod civil;
#[cfg(test)]
mod samples;
