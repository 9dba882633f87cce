//! Fresh ids: the one place where this crate asks for the time and for randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use openprod_model::ids::{CommandId, SessionId};

pub(crate) fn command() -> CommandId {
    let (ms, random) = seeds();
    CommandId::new(ms, random)
}

pub(crate) fn session() -> SessionId {
    let (ms, random) = seeds();
    SessionId::new(ms, random)
}

fn seeds() -> (u64, [u8; 10]) {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut random = [0; 10];
    getrandom::fill(&mut random).expect("the system gives random bytes");
    (u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX), random)
}
