//! Ids for the records of an import, ascending, so that they stay in the file's order.

use std::time::{SystemTime, UNIX_EPOCH};

use openprod_model::ids::EntityId;

/// Gives ids.
pub(super) struct Ids {
    ms: u64,
    seed: [u8; 10],
    given: u32,
}

impl Ids {
    pub(super) fn new() -> Self {
        let ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self { ms: u64::try_from(ms).unwrap_or(u64::MAX), seed: random(), given: 0 }
    }

    /// The next id. Its first bytes are the import's own, then comes a number, then chance.
    pub(super) fn next(&mut self) -> EntityId {
        let mut bytes = self.seed;
        bytes[3..7].copy_from_slice(&self.given.to_be_bytes());
        bytes[7..].copy_from_slice(&random::<3>());
        self.given += 1;
        EntityId::new(self.ms, bytes)
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend() {
        let mut ids = Ids::new();
        let given: Vec<EntityId> = (0..2_000).map(|_| ids.next()).collect();
        assert!(given.is_sorted() && given.first() != given.last());
    }
}
