//! The inbound listener that istiod sends: two policies, DENY before ALLOW, as RBAC that decides what
//! was meant (`tests/interop/istiod/config.yaml`).

use crate::ResourceType;
use crate::decode::{Context, decode};
use crate::{Resource, XdsListener};
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use http::{HeaderMap, Method};
use mesh_core::head::RequestHead;
use mesh_core::identity::{Peer, PeerCertificate, SpiffeId};
use mesh_core::rbac::{CompiledRbacFilter, Connection, Request, decide};
use prost::Message;
use std::net::SocketAddr;
use std::sync::Arc;

const FIXTURE: &[u8] =
    include_bytes!("../../../../../tests/interop/istiod/fixtures/inbound-listeners.binpb");
const CALLER: &str = "spiffe://cluster.local/ns/default/sa/caller";
const CALL: &str = "/mesh.interop.Peer/Call";
const SECRET: &str = "/mesh.interop.Peer/Secret";

fn listener() -> Arc<XdsListener> {
    let response = DiscoveryResponse::decode(FIXTURE).unwrap();
    let decoded = decode(ResourceType::Listener, &response.resources[0].value, &Context::default());
    match decoded.resource {
        Ok(Resource::Listener(listener)) => listener,
        other => panic!("{other:?}"),
    }
}

fn filters(listener: &XdsListener) -> Vec<CompiledRbacFilter> {
    let filters = &listener.http.as_ref().unwrap().http_filters;
    let models = filters.iter().map(|filter| filter.rbac.as_ref().unwrap().as_ref().unwrap());
    models.map(|model| CompiledRbacFilter::new(model).unwrap()).collect()
}

#[test]
fn both_filters_are_there_in_their_order() {
    let listener = listener();
    let names: Vec<_> =
        listener.http.as_ref().unwrap().http_filters.iter().map(|f| f.name.to_string()).collect();
    assert_eq!(names, ["envoy.filters.http.rbac.DENY", "envoy.filters.http.rbac"]);
}

#[test]
fn they_decide_what_istio_meant() {
    let filters = filters(&listener());
    for (peer, method, path, from, expected) in [
        (CALLER, "POST", CALL, "10.9.9.9:1", "passes"),
        (CALLER, "GET", CALL, "10.9.9.9:1", "no policy allows it"),
        (CALLER, "POST", "/other.Service/Call", "10.9.9.9:1", "no policy allows it"),
        (
            "spiffe://cluster.local/ns/default/sa/x",
            "POST",
            CALL,
            "10.9.9.9:1",
            "no policy allows it",
        ),
        ("spiffe://other/ns/default/sa/caller", "POST", CALL, "10.9.9.9:1", "no policy allows it"),
        ("", "POST", CALL, "10.9.9.9:1", "no policy allows it"),
        (CALLER, "POST", SECRET, "10.9.9.9:1", "passes"),
        (CALLER, "POST", SECRET, "11.9.9.9:1", "denied by policy `default-never-0`"),
        (CALLER, "POST", CALL, "11.9.9.9:1", "passes"),
    ] {
        let peer = match SpiffeId::parse(peer) {
            Ok(id) => Peer::Certified(Arc::new(PeerCertificate::of(&id))),
            Err(_) => Peer::Plaintext,
        };
        let (headers, method) = (HeaderMap::new(), method.parse::<Method>().unwrap());
        let head = RequestHead::new(&method, "peer", path, &headers);
        let to: SocketAddr = "10.1.1.2:7070".parse().unwrap();
        let connection = Connection::new(&peer, from.parse().unwrap(), to);
        let found = decide(&filters, &Request::new(&head, &connection), |_, _| {});
        let found = found.map_or_else(|denied| denied.to_string(), |()| "passes".to_owned());
        assert_eq!(found, expected, "{method} {path} {from} {peer:?}");
    }
}
