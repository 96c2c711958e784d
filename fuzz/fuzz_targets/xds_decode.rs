//! xDS resources: whatever the bytes, there is a resource of the name that was read, or an error; both
//! say it in the same way a second time. The first byte chooses the type, and whether the server is
//! trusted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_xds::ResourceType;
use mesh_xds::decode::{Context, decode};

const TYPES: [ResourceType; 4] = [
    ResourceType::Listener,
    ResourceType::RouteConfiguration,
    ResourceType::Cluster,
    ResourceType::Endpoints,
];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let mut context = Context::default();
    context.trusted_server = first & 0x80 != 0;
    context.certificate_providers.insert("a".into());
    context.lb_policies.insert("a".into());
    let kind = TYPES[usize::from(*first) % TYPES.len()];
    let decoded = decode(kind, body, &context);
    match &decoded.resource {
        Ok(resource) => assert_eq!(decoded.name.as_ref(), Some(resource.name())),
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| !error.to_string().is_empty()));
        }
    }
    let again = decode(kind, body, &context);
    assert_eq!(decoded.name, again.name);
    assert_eq!(decoded.resource.is_ok(), again.resource.is_ok());
    assert_eq!(decoded.ignored, again.ignored);
});
