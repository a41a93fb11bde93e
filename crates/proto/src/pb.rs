//! `postern.v1`, the API: messages, clients and servers.

#![expect(clippy::all, clippy::allow_attributes, reason = "generated")]

tonic::include_proto!("postern.v1");

/// The API with its comments and what it imports, as an encoded `FileDescriptorSet`.
/// Only `postern.v1`: reflection must not show what is inside a sealed box.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("postern_descriptor");
