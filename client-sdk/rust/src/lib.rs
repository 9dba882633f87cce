//! client-sdk/rust
