//! Names of resources (gRFC A47, xRFC TP1).

use super::*;
use crate::ResourceType;

/// The canonical form of a cluster's name, or what is wrong with it. `T` stands for the type.
#[track_caller]
fn check(name: &str, expected: &str) {
    let full = |text: &str| text.replace("/T/", "/envoy.config.cluster.v3.Cluster/");
    let found = match ResourceName::parse(ResourceType::Cluster, &full(name)) {
        Ok(name) => {
            let again = ResourceName::parse(ResourceType::Cluster, name.canonical());
            assert_eq!(again.as_ref(), Ok(&name), "its canonical form is its own");
            name.canonical().to_owned()
        }
        Err(error) => format!("error: {:?}", error.reason),
    };
    assert_eq!(found, full(expected), "{name}");
}

#[test]
fn one_spelling() {
    check("xdstp://a/T/c", "xdstp://a/T/c");
    check("xdstp:///T/c", "xdstp:///T/c");
    check("xdstp://a/T/c/d:80", "xdstp://a/T/c/d:80");
    check("xdstp://a/T/c?", "xdstp://a/T/c");
    // gRFC A47: sorted by key.
    check("xdstp://a/T/c?b=2&a=1", "xdstp://a/T/c?a=1&b=2");
    // gRFC A47: the last one wins.
    check("xdstp://a/T/c?a=1&b=2&a=3", "xdstp://a/T/c?a=3&b=2");
    check("xdstp://a/T/c?%61=1&a=2", "xdstp://a/T/c?a=2");
    check("xdstp://a/T/c?a", "xdstp://a/T/c?a=");
    check("xdstp://a/T/c?&a=1&&", "xdstp://a/T/c?a=1");
    check("xdstp://a/T/c?a=b=c", "xdstp://a/T/c?a=b%3Dc");
    // Directives are no part of a name.
    check("xdstp://a/T/c#entry", "xdstp://a/T/c");
    check("xdstp://a/T/c?a=1#alt=x?y", "xdstp://a/T/c?a=1");
    // RFC 3986 section 6.2.2.
    check("xdstp://a/T/%5b%41%5D", "xdstp://a/T/%5BA%5D");
    check("xdstp://a/T/[c d]", "xdstp://a/T/%5Bc%20d%5D");
    check("xdstp://a/T/c%2Fd", "xdstp://a/T/c%2Fd");
    check("xdstp://a/T/c%25d", "xdstp://a/T/c%25d");
    check("xdstp://a%2E:80/T/c", "xdstp://a.:80/T/c");
    check("xdstp://a/T/ü", "xdstp://a/T/%C3%BC");
}

#[test]
fn the_old_style_stands_for_itself() {
    check("outbound|7070||echo.ns.svc.cluster.local", "outbound|7070||echo.ns.svc.cluster.local");
    check("%zz?b=2&a=1#x", "%zz?b=2&a=1#x");
    check("", "");
    check("XDSTP://a/b", "XDSTP://a/b");
    let name = ResourceName::parse(ResourceType::Endpoints, "x/*").unwrap();
    assert_eq!((name.authority(), name.id(), name.is_collection()), (None, "x/*", false));
}

#[test]
fn what_is_no_name() {
    check("xdstp:", "error: NoAuthority");
    check("xdstp:/T/c", "error: NoAuthority");
    check("xdstp://a", "error: NoType");
    check("xdstp://a?x=/T/c", "error: NoType");
    check("xdstp://a/", "error: NoType");
    check("xdstp://a//c", "error: NoType");
    check("xdstp://a/T/", "error: NoId");
    check("xdstp://a/T/?a=1", "error: NoId");
    check("xdstp://a/T/c%", "error: Percent");
    check("xdstp://a/T/c%4", "error: Percent");
    check("xdstp://a/T/c%4g", "error: Percent");
    check("xdstp://%/T/c", "error: Percent");
    check("xdstp://a/T/c?a=%", "error: Percent");
    check("xdstp://a/T/c?=1", "error: NoKey");
    let text = "xdstp://a/envoy.config.listener.v3.Listener/l";
    let error = ResourceName::parse(ResourceType::Cluster, text).unwrap_err().to_string();
    assert!(error.contains("is no CDS resource: its type is `envoy.config.listener.v3.Listener`"));
    assert!(ResourceName::parse(ResourceType::Listener, text).is_ok());
}

#[test]
fn parts() {
    let text = "xdstp://a:1/envoy.config.endpoint.v3.ClusterLoadAssignment/x/*?b=%26&a=1";
    let name = ResourceName::parse(ResourceType::Endpoints, text).unwrap();
    assert_eq!((name.authority(), name.id()), (Some("a:1"), "x/*"));
    assert!(name.is_collection());
    let context: Vec<(&str, &str)> = name.context().iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(context, [("a", "1"), ("b", "%26")]);
}
