//! Whole nodes under test. The tests themselves are in `tests/`; this crate only builds the binary they run.
