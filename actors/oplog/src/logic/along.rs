//! Along: what is kept outside the log is judged together with what comes, where one belongs to the other.
//!
//! A bundle whose ancestors were missing is kept until they come. One whose signature does not verify is quarantined,
//! until a later bundle of its author vouches for it. So with every bundle come, as far as they are kept: those that
//! wait for it, and those that it builds on; and what belongs to these.

use std::collections::{BTreeSet, VecDeque};

use openprod_domain::view::Read;

use super::admission::Candidate;
use super::ledger::{Ledger, Past};

/// Most kept bundles that are judged along at once, so that no message takes for ever.
pub const MAX_ALONG: usize = 4_096;

/// What is kept and belongs to what is offered.
pub fn along(ledger: &mut Ledger, past: &dyn Past, offered: &[Candidate]) -> Read<Vec<Candidate>> {
    let mut along = Vec::new();
    if !ledger.keeps_any(past)? {
        return Ok(along);
    }
    let mut seen: BTreeSet<[u8; 32]> = BTreeSet::new();
    let mut open: VecDeque<_> = offered.iter().filter_map(Candidate::links).collect();
    while let Some((digest, ancestors)) = open.pop_front() {
        let mut found = ledger.waiting_for(past, digest)?;
        for ancestor in ancestors {
            if ledger.look(past, ancestor)?.is_none() {
                found.extend(ledger.kept(past, ancestor)?);
            }
        }
        for bytes in found {
            if along.len() < MAX_ALONG && seen.insert(*blake3::hash(&bytes).as_bytes()) {
                let candidate = Candidate::kept(bytes);
                open.extend(candidate.links());
                along.push(candidate);
            }
        }
    }
    Ok(along)
}
