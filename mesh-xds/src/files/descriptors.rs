//! What Envoy's messages are made of: the descriptors that texts are read with.
//!
//! They are in the program (`descriptors.binpb`), built by `mesh-xds/descriptors` from the `.proto` files of
//! the envoy-types package, and decoded once, when the first file of Envoy's is read: a program that reads
//! none pays nothing.

use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::sync::LazyLock;

/// The serialized `FileDescriptorSet`.
pub(super) const BYTES: &[u8] = include_bytes!("descriptors.binpb");

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    // A test decodes the same bytes: they are good, or nothing is released.
    DescriptorPool::decode(BYTES).unwrap_or_default()
});

/// The message of this full name; `None`: it is not known here.
pub(crate) fn message(name: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(name)
}

/// The full names of all messages.
pub(super) fn names() -> impl Iterator<Item = String> {
    POOL.all_messages().map(|message| message.full_name().to_owned())
}

/// All of them.
#[cfg(test)]
pub(super) fn pool() -> &'static DescriptorPool {
    &POOL
}
