use super::*;
use crate::encode::{Encoded, resources};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, Metadata};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::config::{Bounds, Document};
use prost::Name;
use serde_json::json;

/// The resources of a `mesh.yaml`.
fn of(text: &str) -> Vec<Encoded> {
    let loaded =
        mesh_core::config::load(&[Document { name: "mesh.yaml", text }], &(), &Bounds::default());
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    resources(&loaded.update.unwrap())
}

fn shown(all: &[Encoded], showing: Showing) -> Vec<Value> {
    let show = |one: &Encoded| resource(one.kind, &one.name, one.body.clone(), showing).unwrap();
    all.iter().map(show).collect()
}

fn read<M: Message + Name + Default>(text: &str) -> M {
    M::decode(&*from_json(&M::full_name(), text).unwrap()).unwrap()
}

const ROUTES: &str = r#"
version: 1
virtual_hosts:
  reviews:
    routes:
      - match: { path: /a, headers: { authorization: hunter2, x-version: v2 } }
        cluster: one
        headers: { request: { set: { authorization: "Bearer hunter3" } } }
      - cluster: one
clusters:
  one: { endpoints: ["127.0.0.1:1"] }
"#;

#[test]
fn values_of_headers_are_shown_only_to_those_who_asked_for_them() {
    let all = of(ROUTES);
    for (showing, secrets) in
        [(Showing::default(), false), (Showing::default().with_header_values(true), true)]
    {
        let text = Value::from(shown(&all, showing)).to_string();
        for secret in ["hunter2", "hunter3"] {
            assert_eq!(text.contains(secret), secrets, "{secret}: {text}");
        }
        assert!(text.contains(r#""exact":"v2""#), "{text}");
        assert_eq!(text.contains("[redacted]"), !secrets);
    }
}

#[test]
fn it_is_as_envoy_writes_it_and_reads_back() {
    let all = of(ROUTES);
    let json = shown(&all, Showing::default().with_header_values(true));
    let mut seen = [0; 2];
    for (one, json) in all.iter().zip(json) {
        assert_eq!(json["@type"], one.kind.type_url());
        let mut plain = json;
        plain.as_object_mut().unwrap().remove("@type");
        let plain = plain.to_string();
        match one.kind {
            ResourceType::RouteConfiguration => {
                let back: RouteConfiguration = read(&plain);
                assert_eq!(back, RouteConfiguration::decode(&*one.body).unwrap());
                seen[0] += 1;
            }
            ResourceType::Cluster => {
                assert!(plain.contains(r#""connect_timeout":"#), "{plain}");
                let back: Cluster = read(&plain);
                assert_eq!(back, Cluster::decode(&*one.body).unwrap());
                seen[1] += 1;
            }
            _ => {}
        }
    }
    assert_eq!(seen, [2, 1]);
}

#[test]
fn what_is_not_known_is_named_and_its_content_left_out() {
    let secret =
        HeaderValue { key: "k".to_owned(), value: "hunter2".to_owned(), ..HeaderValue::default() };
    let odd =
        Any { type_url: "type.googleapis.com/a.Nobody".to_owned(), value: secret.encode_to_vec() };
    let metadata =
        Metadata { typed_filter_metadata: [("odd".to_owned(), odd)].into(), ..Metadata::default() };
    let listener =
        Listener { name: "l".to_owned(), metadata: Some(metadata), ..Listener::default() };
    let body = listener.encode_to_vec().into();
    let json = resource(ResourceType::Listener, "l", body, Showing::default()).unwrap();
    let expected = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "l",
        "metadata": { "typed_filter_metadata": { "odd": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": "type.googleapis.com/a.Nobody",
        } } },
    });
    assert_eq!(json, expected);
}

#[test]
fn of_a_secret_the_name_is_left() {
    let body = Bytes::from_static(b"\n\x01a-----BEGIN PRIVATE KEY-----");
    let json = resource(ResourceType::Secret, "a", body, Showing::default()).unwrap();
    let url = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    assert_eq!(json, json!({ "@type": url, "name": "a" }));
}

#[test]
fn mistakes_say_of_what_they_are() {
    let unknown = from_json(&Cluster::full_name(), r#"{ "nmae": "a" }"#).unwrap_err();
    assert!(unknown.to_string().contains("envoy.config.cluster.v3.Cluster"), "{unknown}");
    let broken =
        resource(ResourceType::Cluster, "a", Bytes::from_static(b"\xff"), Showing::default());
    assert!(broken.unwrap_err().to_string().starts_with("the bytes are no "));
}
