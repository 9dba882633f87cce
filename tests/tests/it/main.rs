//! Whole nodes, as people meet them: real processes, the public API and the real command line.

// What fails here is the test: a panic is the right report.
#![allow(clippy::unwrap_used)]

mod apart;
mod carrying;
mod conflicts;
mod convergence;
mod copies;
mod coverage;
mod crash;
mod crash_files;
mod crash_together;
mod crew;
mod deciding;
mod disk;
mod doors;
mod edges;
mod files;
mod first_minutes;
mod handover;
mod hostile;
mod intruder;
mod isolation;
mod joining;
mod kept;
mod mended;
mod mesh;
mod networks;
mod one_person;
mod overlays;
mod pages;
mod pausing;
mod peers;
mod people;
mod presence;
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
mod strangers;
mod texts;
mod three_way;
mod thumbnails;
mod undoing;
mod upgrade;
mod venue;
mod watching;
mod world;
