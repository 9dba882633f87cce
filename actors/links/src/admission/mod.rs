//! Admission: who may join a workspace, and who may sync it.
//!
//! To join is to be made a member by one. Who has a ticket or a member's key proves it within the TLS session; who has
//! neither may ask where the workspace lets itself be found. A stranger hears nothing, and costs little.
//!
//! Reading order: [`gate`] (who may sync now; pure), [`tickets`], [`waiting`] and [`crowd`] (what is remembered, within
//! which bounds; pure), [`host`] and [`guest`] (the two sides of the conversation, as machines), then what moves them:
//! [`door`] hears out whoever asks this node, [`knock`] asks another, and [`room`] decides for a workspace and writes.

pub mod crowd;
pub mod door;
pub mod gate;
pub mod guest;
pub mod host;
pub mod knock;
pub mod room;
#[cfg(test)]
mod tests;
pub mod tickets;
pub mod waiting;
