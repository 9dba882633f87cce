//! Replication: two nodes give each other, of one workspace, the bundles that the other lacks, and make sure of it.
//!
//! # The machine and its driver
//!
//! An [`engine::Engine`] is one conversation about one workspace with one peer. It has no clock, no chance and no I/O
//! of its own: it is told what happened, reads the log and the state through [`engine::World`], and answers with what
//! is to be done. A [`session`] runs one over a channel of frames, in the rooms of a workspace.
//!
//! # What each side knows of the other
//!
//! A log holds with a bundle everything that it builds on. So what a node has is said by the tips of the *lanes* of
//! each actor's chain ([`openprod_messages::log::Lane`]): whoever knows a tip knows what comes before it. [`had`] keeps
//! for each lane how far the peer has it, which costs one entry per lane however long the history; what the peer lacks
//! is found by comparing clocks along lanes, in the order of the log, parents first.
//!
//! Only where both sides lack something of one actor (his history forked: a copied folder, a restored backup) are tips
//! not enough: then [`forks`] find by set reconciliation what both have.
//!
//! # What flows
//!
//! [`giving`] sends what the peer lacked at the start, and every own bundle at once; what came from others is offered
//! first, since the peer may have it from them: by the last of each lane, since who has that has what comes before it.
//! A peer is given what lies before the point of the log up to which the state shows it as a member, and nothing behind
//! ([`welcome`]). While a person on one side has syncing paused, both keep silent but for words of the moment.
//!
//! What one conversation fetches or has in hand, another does not ask for ([`under_way`]). At most
//! [`giving::MAX_FLIGHTS`] checkpoints or offers are unanswered.
//! [`taking`] hands them to the oplog in their order, and acknowledges each once it is durable and folded. A link that
//! is cut loses what was not acknowledged, and the next frontier tells where to go on.
//!
//! # When it is right to say "synced"
//!
//! [`comparing`] compares heads, then state hashes. Equal heads are equal logs; if the states of equal logs differ,
//! that is an alarm with the cells named. If heads go on differing though nobody has anything left to give, the whole
//! logs are reconciled: it is counted, and should be never.
//!
//! Reading order: [`had`], [`engine`], [`greeting`], [`forks`], [`giving`], [`taking`], [`comparing`], [`standing`],
//! [`welcome`], [`under_way`], [`pace`], [`session`].

pub mod comparing;
pub mod engine;
pub mod forks;
pub mod giving;
pub mod greeting;
pub mod had;
pub mod pace;
pub mod session;
pub mod standing;
pub mod taking;
pub mod under_way;
pub mod welcome;

#[cfg(test)]
mod tests;
