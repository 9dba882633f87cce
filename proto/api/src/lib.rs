//! What a node says to its clients: the gRPC API `openprod.v1`, and its conversions from and to the model.
//!
//! The `.proto` files beside this crate are the source; their comments are the reference. They are compiled without
//! `protoc`. Nothing here acts or decides: a request becomes typed parts or a refusal that names the part at fault,
//! an answer becomes messages. The node serves these services, the SDKs call them; both use this one copy.
//!
//! Reading order: the `.proto` files, [`convert`] (what a request means, what an answer looks like), [`status`]
//! (how errors travel).

pub mod convert;
pub mod status;

/// The messages, clients and servers of `openprod.v1`, generated from the `.proto` files.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("openprod.v1");
}

/// The compiled `.proto` files, comments included, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openprod.v1.bin"));
