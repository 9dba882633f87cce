//! Whole nodes, as people meet them: real processes, the public API and the real command line.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

mod apart;
mod conflicts;
mod convergence;
mod coverage;
mod crash;
mod deciding;
mod disk;
mod doors;
mod edges;
mod files;
mod first_minutes;
mod joining;
mod kept;
mod mesh;
mod one_person;
mod overlays;
mod pages;
mod peers;
mod people;
mod real_data;
mod refusals;
mod removal;
mod rooms;
mod scenario_a;
mod scenario_c;
mod scenario_e;
mod schema;
mod simulation;
mod startup;
mod texts;
mod three_way;
mod thumbnails;
mod undoing;
mod watching;
mod world;
