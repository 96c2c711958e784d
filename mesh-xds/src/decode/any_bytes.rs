//! Whatever the bytes, there is a resource or an error, and nothing panics.

use super::testing::{assignment, context, eds};
use super::{Decoded, decode};
use crate::ResourceType;
use proptest::prelude::*;
use prost::Message;

fn check(decoded: &Decoded) {
    if let Ok(resource) = &decoded.resource {
        assert_eq!(decoded.name.as_ref(), Some(resource.name()));
    }
    if let Err(errors) = &decoded.resource {
        assert!(!errors.is_empty() && errors.iter().all(|error| !error.message.is_empty()));
    }
}

fn changed(mut bytes: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (at, byte) in changes {
        let at = at % (bytes.len() + 1);
        match bytes.get_mut(at) {
            Some(old) => *old = *byte,
            None => bytes.push(*byte),
        }
    }
    bytes
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in [ResourceType::Cluster, ResourceType::Endpoints] {
            check(&decode(kind, &bytes, &context()));
        }
    }

    #[test]
    fn bytes_that_are_nearly_right(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let cluster = changed(eds().encode_to_vec(), &changes);
        check(&decode(ResourceType::Cluster, &cluster, &context()));
        let endpoints = assignment(&["10.0.0.1", "10.0.0.2"]).encode_to_vec();
        check(&decode(ResourceType::Endpoints, &changed(endpoints, &changes), &context()));
    }
}
