//! The tape: what happened, moment by moment, in words that are the same whenever the same seed is told again.

use std::collections::BTreeMap;
use std::fmt;

use openprod_model::ids::Digest;
use tokio::time::Instant;

/// How much of a tape is shown with a failure.
const SHOWN: usize = 60;

/// What happened.
pub(super) struct Tape {
    begin: Instant,
    lines: Vec<String>,
    trace: blake3::Hasher,
    /// How often each kind of thing happened.
    pub(super) tally: BTreeMap<&'static str, usize>,
}

impl Tape {
    pub(super) fn new() -> Self {
        Self { begin: Instant::now(), lines: Vec::new(), trace: blake3::Hasher::new(), tally: BTreeMap::new() }
    }

    /// Something happened.
    pub(super) fn says(&mut self, what: impl fmt::Display) {
        let line = format!("{:>9} ms  {what}", self.begin.elapsed().as_millis());
        if is_loud() {
            println!("{line}");
        }
        self.takes(line.as_bytes());
        self.lines.push(line);
    }

    /// What is left behind, which is too long to be told.
    pub(super) fn takes(&mut self, bytes: &[u8]) {
        self.trace.update(&bytes.len().to_le_bytes()).update(bytes);
    }

    /// The hash of all that happened and of all that was left behind.
    pub(super) fn trace(&self) -> Digest {
        Digest::from_bytes(*self.trace.finalize().as_bytes())
    }

    /// Something of a kind happened that is counted.
    pub(super) fn counts(&mut self, kind: &'static str, what: impl fmt::Display) {
        *self.tally.entry(kind).or_default() += 1;
        self.says(format_args!("{kind}: {what}"));
    }

    /// Where another tape of the same story goes another way, in the words of both; nothing if it does not.
    pub(super) fn parts_from(&self, other: &Self) -> Option<String> {
        if self.trace() == other.trace() {
            return None;
        }
        let same = self.lines.iter().zip(&other.lines).take_while(|(one, other)| one == other).count();
        let until =
            |tape: &Self| tape.lines[same.saturating_sub(SHOWN / 4)..(same + 1).min(tape.lines.len())].join("\n");
        let all = self.lines.len();
        Some(format!("of {all} lines {same} are the same\n\n{}\n\nand then\n\n{}", until(self), until(other)))
    }

    /// The last of it.
    pub(super) fn end(&self) -> String {
        self.lines[self.lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}

fn is_loud() -> bool {
    std::env::var_os("OPENPROD_SIMULATION_LOUD").is_some()
}
