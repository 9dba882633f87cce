//! The tape: what happened, moment by moment, in words that are the same whenever the same seed is told again.

use std::collections::BTreeMap;
use std::fmt;

use tokio::time::Instant;

/// How much of a tape is shown with a failure.
const SHOWN: usize = 60;

/// What happened.
pub(super) struct Tape {
    begin: Instant,
    pub(super) lines: Vec<String>,
    /// How often each kind of thing happened.
    pub(super) tally: BTreeMap<&'static str, usize>,
}

impl Tape {
    pub(super) fn new() -> Self {
        Self { begin: Instant::now(), lines: Vec::new(), tally: BTreeMap::new() }
    }

    /// Something happened.
    pub(super) fn says(&mut self, what: impl fmt::Display) {
        let line = format!("{:>9} ms  {what}", self.begin.elapsed().as_millis());
        if is_loud() {
            println!("{line}");
        }
        self.lines.push(line);
    }

    /// Something of a kind happened that is counted.
    pub(super) fn counts(&mut self, kind: &'static str, what: impl fmt::Display) {
        *self.tally.entry(kind).or_default() += 1;
        self.says(format_args!("{kind}: {what}"));
    }

    /// The last of it.
    pub(super) fn end(&self) -> String {
        self.lines[self.lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

fn is_loud() -> bool {
    std::env::var_os("OPENPROD_SIMULATION_LOUD").is_some()
}
