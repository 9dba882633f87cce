//! Engines of a few replicas over a network in memory that delivers in any order between links, and cuts them.

mod histories;
mod hostile;
mod kit;
mod links;
