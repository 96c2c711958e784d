//! Routing: request line and headers, an empty line, a `mesh.yaml`. The same draw decides the same
//! way; the explanation names the route that was taken; rewrites give valid heads or a typed error.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use mesh_core::RequestHead;
use mesh_core::config::{Bounds, Document, load};
use mesh_core::random::SplitMix64;
use mesh_core::router::{Decision, Router};
use mesh_fuzz::{headers, split};
use std::collections::BTreeMap;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let (request, text) = split(bytes, b"\n\n");
    let Ok(text) = str::from_utf8(text) else { return };
    let Some(update) = load(&[Document { name: "m", text }], &(), &Bounds::default()).update else {
        return;
    };
    let slots: BTreeMap<Arc<str>, u32> = update.clusters.keys().cloned().zip(0..).collect();
    let Ok(router) = Router::compile(&update.route_configuration, &slots, None) else { return };

    let (line, header_lines) = split(request, b"\n");
    let mut words = line.split(|byte| *byte == b' ').map(str::from_utf8);
    let (Some(Ok(method)), Some(Ok(authority)), Some(Ok(path))) =
        (words.next(), words.next(), words.next())
    else {
        return;
    };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let mut headers = headers(header_lines);
    let head = RequestHead::new(&method, authority, path, &headers);

    let first = router.route(&head, &mut SplitMix64::new(1));
    let second = router.route(&head, &mut SplitMix64::new(1));
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    let explanation = router.explain(&head);
    let _text = explanation.to_string();
    let Ok(decision) = first else { return };
    assert!(explanation.host.is_some());
    let route = Arc::clone(decision.route());
    // A route for a share of requests counts as passed over by the explanation.
    if route.model().matcher.runtime_fraction.is_none() {
        let explained = explanation.route.expect("the explanation has a route too").route;
        assert_eq!(explained.index(), route.index());
        assert_eq!(explained.virtual_host(), route.virtual_host());
    }
    match decision {
        Decision::Forward { forward, target, slot, split, .. } => {
            let drawn = router.targets().find(|pair| pair.id == target).expect("a target");
            assert_eq!((drawn.slot, drawn.split), (Some(slot), split));
            let _path = forward.path(&head);
            let _host = forward.host(&head);
            let _hash = forward.hash_policy.hash(&head);
            route.edit_request(split, &mut headers);
        }
        Decision::Redirect { redirect, .. } => {
            let _location = redirect.location(&head);
        }
        Decision::DirectResponse { response, .. } => assert!(response.status.as_u16() >= 200),
        _ => {}
    }
});
