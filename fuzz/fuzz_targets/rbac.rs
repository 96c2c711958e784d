//! RBAC filters: what is decoded compiles, is written the same, and decides; what is refused says why.
#![no_main]

use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;
use mesh_core::RequestHead;
use mesh_core::identity::{Peer, PeerCertificate, SpiffeId};
use mesh_core::rbac::{CompiledRbacFilter, Connection, Request};
use mesh_xds::decode::rbac;
use mesh_xds::encode::rbac_filter;
use std::sync::Arc;

fuzz_target!(|body: &[u8]| {
    let _connection = rbac::network(body);
    let _route = rbac::per_route(body);
    let filter = match rbac::http(body).config {
        Ok(filter) => filter,
        Err(errors) => {
            assert!(!errors.is_empty());
            return;
        }
    };
    let compiled = CompiledRbacFilter::new(&filter).expect("what is accepted compiles");
    let again = rbac::http(&prost::Message::encode_to_vec(&rbac_filter(&filter))).config;
    // A number that is none differs from itself.
    if filter == filter.clone() {
        assert_eq!(again, Ok(filter));
    }
    let id = SpiffeId::parse("spiffe://m/a").expect("an id");
    let peers = [Peer::Plaintext, Peer::Tls, Peer::Certified(Arc::new(PeerCertificate::of(&id)))];
    let (to, from) = (([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 1).into());
    let headers = HeaderMap::new();
    let head = RequestHead::new(&Method::GET, "h", "/a?b", &headers);
    for peer in &peers {
        let connection = Connection::new(peer, from, to);
        let decision = compiled.decide(&Request::new(&head, &connection));
        assert_eq!(decision.denied().is_some(), decision.enforced.is_some_and(|v| !v.allowed));
        let _alone = compiled.decide(&Request::of_connection(&connection));
    }
});
