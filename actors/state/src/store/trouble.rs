//! Trouble: what goes wrong with the file, and what it means for readers and the writer.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use openprod_domain::view::ReadFailure;

use super::{FoldError, lock};
use crate::tables;

pub(super) const FINE: u8 = 0;
pub(super) const LATCHED: u8 = 1;
pub(super) const DAMAGED: u8 = 2;

/// How an open file fares, as its readers and its writer found; and whom to tell.
pub(super) struct Health {
    pub(super) ailment: AtomicU8,
    pub(super) wake: Arc<Wake>,
}

pub(super) type Wake = Mutex<Option<Box<dyn Fn() + Send>>>;

impl Health {
    pub(super) fn fine(&self) -> bool {
        self.ailment.load(Ordering::Acquire) == FINE
    }

    /// Gives how it fared before.
    pub(super) fn is(&self, ailment: u8) -> u8 {
        self.ailment.fetch_max(ailment, Ordering::AcqRel)
    }

    /// A reader's failure, which the writer would not notice by itself.
    pub(super) fn failed(&self, error: &StoreError) -> ReadFailure {
        if self.is(error.ailment()) == FINE
            && let Some(wake) = &*lock(&self.wake)
        {
            wake();
        }
        ReadFailure(error.to_string())
    }
}

/// What redb or the bytes in it had to say.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("{0}")]
    Redb(#[from] redb::Error),
    #[error(transparent)]
    Row(#[from] tables::BadRow),
}

impl StoreError {
    pub(super) fn ailment(&self) -> u8 {
        match self {
            Self::Redb(redb::Error::Io(error)) if !is_garbage(error) => LATCHED,
            Self::Redb(redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::LockPoisoned(_)) => LATCHED,
            Self::Redb(_) | Self::Row(_) => DAMAGED,
        }
    }

    pub(super) fn no_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Redb(redb::Error::Io(error)) if matches!(error.kind(), StorageFull | QuotaExceeded))
    }
}

impl From<StoreError> for FoldError {
    fn from(error: StoreError) -> Self {
        if error.no_space() { Self::Full } else { Self::Disk(error.to_string()) }
    }
}

macro_rules! redb_errors {
    ($($error:ty)*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}

redb_errors! {
    redb::TransactionError redb::TableError redb::StorageError redb::CommitError redb::SetDurabilityError
}

pub(super) fn is_garbage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof)
}
