//! Each row: the rule, what is changed in a cluster `c` of type EDS, and what comes of it.

mod discovery;
mod dns;
mod http;
mod lb;
mod lb_tree;
mod limits;
mod tls;

use crate::decode::testing::{self, check_refused, decode_cluster};
use crate::{EndpointSource, Resource, XdsCluster};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use mesh_core::model;
use std::sync::Arc;

/// A rule, a change, and the error: its path, `: `, and words of it.
type Refused = (&'static str, fn(&mut Cluster), &'static str);
/// A rule, a change, what it makes of the model, and the paths that are ignored.
type Accepted = (&'static str, fn(&mut Cluster), fn(&mut model::Cluster), &'static [&'static str]);

#[track_caller]
fn check_all_refused(rows: &[Refused]) {
    for (rule, change, error) in rows {
        let mut message = testing::eds();
        change(&mut message);
        check_refused(&decode_cluster(&message), rule, error);
    }
}

#[track_caller]
fn check_all(rows: &[Accepted]) {
    for (rule, change, expect, ignored) in rows {
        let mut message = testing::eds();
        change(&mut message);
        let decoded = decode_cluster(&message);
        assert_eq!(testing::ignored(&decoded), *ignored, "{rule}");
        let mut expected = model::Cluster::new("c");
        expect(&mut expected);
        match decoded.resource {
            Ok(Resource::Cluster(found)) => assert_eq!(*found.model, expected, "{rule}"),
            other => panic!("{rule}: {other:#?}"),
        }
    }
}

/// The cluster that a change makes.
#[track_caller]
fn made(change: fn(&mut Cluster)) -> XdsCluster {
    let mut message = testing::eds();
    change(&mut message);
    match decode_cluster(&message).resource {
        Ok(Resource::Cluster(found)) => Arc::unwrap_or_clone(found),
        other => panic!("{other:#?}"),
    }
}

#[test]
fn a_bare_cluster_has_the_defaults() {
    let found = made(|_| {});
    assert_eq!(*found.model, model::Cluster::new("c"));
    assert_eq!(found.endpoints, EndpointSource::Eds("c".into()));
}

#[test]
fn every_error_is_found_and_the_name_is_kept() {
    let mut message = testing::eds();
    message.connect_timeout = testing::secs(-1);
    message.lb_policy = 99;
    message.eds_cluster_config = None;
    let decoded = decode_cluster(&message);
    assert_eq!(decoded.name.as_deref(), Some("c"));
    for error in ["connect_timeout", "lb_policy: 99", "eds_cluster_config"] {
        check_refused(&decoded, "gRFC A40: all errors", error);
    }
}

#[test]
fn what_is_no_message_is_refused_without_a_name() {
    let context = testing::context();
    let decoded = super::decode(&[0x0a, 0xff], &context);
    check_refused(&decoded, "first phase", "not a valid message");
    assert_eq!(decoded.name, None);
}

/// What Istio sends to gRPC clients (`pilot/pkg/networking/grpcgen`): EDS by ADS, and mTLS by the older
/// fields for certificate providers.
#[test]
fn a_cluster_of_istio_for_grpc() {
    let name = "outbound|8080||echo.default.svc.cluster.local";
    let mut message = testing::eds();
    message.name = name.into();
    message.eds_cluster_config.as_mut().unwrap().service_name = name.into();
    message.transport_socket = Some(tls::istio("spiffe://cluster.local/ns/default/sa/echo"));
    let decoded = decode_cluster(&message);
    assert_eq!(testing::ignored(&decoded), Vec::<&str>::new());
    let Ok(Resource::Cluster(found)) = decoded.resource else { panic!("{decoded:?}") };
    assert_eq!(found.endpoints, EndpointSource::Eds(name.into()));
    let model::TlsPolicy::On(tls) = &found.model.tls else { panic!("plaintext: {found:?}") };
    assert_eq!(tls.identity, model::tls::TlsIdentity::Provider("mesh".into()));
    assert_eq!(tls.san.len(), 1);
}
