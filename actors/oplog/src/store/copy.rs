//! Copies of the log: backups.
