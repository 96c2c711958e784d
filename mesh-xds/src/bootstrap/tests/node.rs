//! `node`.

use super::*;
use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_types::pb::google::protobuf::value::Kind;

fn node(fields: &str) -> String {
    beside_server(&format!(r#", "node": {fields}"#))
}

/// This many objects in each other.
fn nested(levels: usize) -> String {
    format!("{}{}", r#"{"a": "#.repeat(levels - 1) + "{}", "}".repeat(levels - 1))
}

#[test]
fn what_is_no_node() {
    let deep = format!(r#"{{"metadata": {}}}"#, nested(MAX_METADATA_DEPTH + 1));
    let deepest = format!(r#"{{"metadata": {}}}"#, nested(200));
    let rows = [
        ("an object", r#""me""#, "", "expected an object"),
        ("gRFC A27: id", r#"{"id": 1}"#, ".id", "expected a string, found `1`"),
        ("gRFC A27: cluster", r#"{"cluster": []}"#, ".cluster", "expected a string, found a list"),
        ("gRFC A27: locality", r#"{"locality": "x"}"#, ".locality", "expected an object"),
        ("gRFC A27: zone", r#"{"locality": {"zone": {}}}"#, ".locality.zone", "expected a string"),
        ("gRFC A27: metadata", r#"{"metadata": 1}"#, ".metadata", "expected an object"),
        ("protobuf parsers stop at 100 messages", &deep, ".metadata", "deeper than 30 levels"),
        ("JSON of this depth is not read", &deepest, ".metadata", "recursion limit"),
        ("a double", r#"{"metadata": {"a": 1e999}}"#, ".metadata", "number out of range"),
    ];
    for (rule, fields, path, says) in rows {
        refuses(rule, &node(fields), &format!("node{path}"), says);
    }
}

#[test]
fn no_field_is_required() {
    for (rule, text) in [
        ("no node", beside_server("")),
        ("null", node("null")),
        ("empty", node("{}")),
        ("null fields", node(r#"{"id": null, "locality": null, "metadata": null}"#)),
        ("unknown fields", node(r#"{"user_agent_name": "gRPC", "build_version": 1}"#)),
    ] {
        assert_eq!(*accepts(rule, &text).node(), Node::default(), "{rule}");
    }
}

#[test]
fn a_node_is_sent_as_it_is_written() {
    let text = node(
        r#"{"id": "me", "cluster": "c", "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
            "metadata": {"text": "x", "number": 1.5, "yes": true, "none": null, "list": [1, "a"],
                         "within": {"a": {}}}}"#,
    );
    let sent = accepts("gRFC A27", &text).node().to_proto();
    assert_eq!((&*sent.id, &*sent.cluster), ("me", "c"));
    let locality = sent.locality.unwrap();
    assert_eq!([locality.region, locality.zone, locality.sub_zone], ["r", "z", "s"]);
    assert_eq!(sent.user_agent_name, "mesh");
    let version = UserAgentVersionType::UserAgentVersion(env!("CARGO_PKG_VERSION").to_owned());
    assert_eq!(sent.user_agent_version_type, Some(version));
    let features = ["envoy.lb.does_not_support_overprovisioning", "xds.config.resource-in-sotw"];
    assert_eq!(sent.client_features, features, "gRFC A27");

    let mut fields = sent.metadata.unwrap().fields;
    let mut kind = |name: &str| fields.remove(name).unwrap().kind.unwrap();
    assert_eq!(kind("text"), Kind::StringValue("x".to_owned()));
    assert_eq!(kind("number"), Kind::NumberValue(1.5));
    assert_eq!(kind("yes"), Kind::BoolValue(true));
    assert_eq!(kind("none"), Kind::NullValue(0));
    let Kind::ListValue(list) = kind("list") else { panic!() };
    let items: Vec<Kind> = list.values.into_iter().map(|value| value.kind.unwrap()).collect();
    assert_eq!(items, [Kind::NumberValue(1.0), Kind::StringValue("a".to_owned())]);
    let Kind::StructValue(within) = kind("within") else { panic!() };
    assert!(matches!(within.fields["a"].kind, Some(Kind::StructValue(_))));
    assert!(fields.is_empty());
}

#[test]
fn the_deepest_metadata_can_be_read_by_parsers() {
    use prost::Message;
    let text = node(&format!(r#"{{"metadata": {}}}"#, nested(MAX_METADATA_DEPTH)));
    let sent = accepts("protobuf", &text).node().to_proto();
    let read = envoy_types::pb::envoy::config::core::v3::Node::decode(&*sent.encode_to_vec());
    assert_eq!(read.unwrap(), sent);
}
