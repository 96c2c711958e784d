//! `authorities`, and the names that templates give.

use super::*;

const OF_A: &str = "xdstp://a/envoy.config.listener.v3.Listener/";

#[test]
fn what_is_no_authority() {
    let rows = [
        ("an object", r#"[]"#, "", "expected an object, found a list"),
        ("of objects", r#"{"a": 1}"#, r#"["a"]"#, "an object, found `1`"),
        (
            "gRFC A47: servers as on top",
            r#"{"a": {"xds_servers": [{}]}}"#,
            r#"["a"].xds_servers[0]"#,
            "missing",
        ),
        (
            "gRFC A95: a boolean",
            r#"{"a": {"fallback_on_reachability_only": "true"}}"#,
            r#"["a"].fallback_on_reachability_only"#,
            "expected true or false, found the string \"true\"",
        ),
        (
            "gRFC A47: its own prefix",
            r#"{"a": {"client_listener_resource_name_template": "xdstp://b/x/%s"}}"#,
            r#"["a"].client_listener_resource_name_template"#,
            "does not begin with `xdstp://a/`",
        ),
        (
            "gRFC A47: the slash too",
            r#"{"a": {"client_listener_resource_name_template": "xdstp://ab/x"}}"#,
            r#"["a"].client_listener_resource_name_template"#,
            "does not begin with `xdstp://a/`",
        ),
        (
            "gRFC A47: new style only",
            r#"{"": {"client_listener_resource_name_template": "%s"}}"#,
            r#"[""].client_listener_resource_name_template"#,
            "does not begin with `xdstp:///`",
        ),
        (
            "a string",
            r#"{"a": {"client_listener_resource_name_template": 1}}"#,
            r#"["a"].client_listener_resource_name_template"#,
            "expected a string",
        ),
    ];
    for (rule, authorities, path, says) in rows {
        let text = beside_server(&format!(r#", "authorities": {authorities}"#));
        refuses(rule, &text, &format!("authorities{path}"), says);
    }
    for name in ["client_default_listener", "server_listener"] {
        let name = format!("{name}_resource_name_template");
        let text = beside_server(&format!(r#", "{name}": 1"#));
        refuses("a string", &text, &name, "expected a string");
    }
}

#[test]
fn names_of_client_listeners() {
    let of = |fields: &str, authority, service| {
        accepts("", &beside_server(fields)).client_listener_name(authority, service)
    };
    let authorities = r#", "authorities": {"a": {}, "": {}, "b c": {},
        "t": {"client_listener_resource_name_template": "xdstp://t/T/grpc/%s?project=1"}}"#;
    let default = |template: &str| {
        format!(r#", "client_default_listener_resource_name_template": "{template}""#)
    };
    let rows = [
        ("gRFC A47: default %s", String::new(), None, "s:80", "s:80".to_owned()),
        ("nothing is encoded", String::new(), None, "a b/%", "a b/%".to_owned()),
        ("an empty template is none", default(""), None, "s", "s".to_owned()),
        ("gRFC A47: in place", default("x/%s/y"), None, "s", "x/s/y".to_owned()),
        ("not encoded", default("x/%s"), None, "[::1]:80", "x/[::1]:80".to_owned()),
        ("every %s", default("%s-%s"), None, "s", "s-s".to_owned()),
        ("no %s", default("x"), None, "s", "x".to_owned()),
        (
            "gRFC A47: encoded",
            default("xdstp://a/%s"),
            None,
            "[::1]:80/ü%",
            "xdstp://a/%5B::1%5D:80/%C3%BC%25".to_owned(),
        ),
        (
            "gRFC A47: default of an authority",
            authorities.to_owned(),
            Some("a"),
            "s:80",
            format!("{OF_A}s:80"),
        ),
        ("encoded", authorities.to_owned(), Some("a"), "a?b#c", format!("{OF_A}a%3Fb%23c")),
        (
            "gRFC A47: the empty one",
            authorities.to_owned(),
            Some(""),
            "s",
            OF_A.replace("//a", "//") + "s",
        ),
        (
            "C-core: names are encoded",
            authorities.to_owned(),
            Some("b c"),
            "s",
            OF_A.replace("//a", "//b%20c") + "s",
        ),
        (
            "gRFC A47: its own",
            authorities.to_owned(),
            Some("t"),
            "s/1",
            "xdstp://t/T/grpc/s/1?project=1".to_owned(),
        ),
    ];
    for (rule, fields, authority, service, expected) in rows {
        assert_eq!(of(&fields, authority, service), Ok(expected), "{rule}");
    }
    let error = of(authorities, Some("z"), "s").unwrap_err();
    assert!(error.to_string().contains("`z` is not in the bootstrap"), "{error}");
}

#[test]
fn names_of_server_listeners() {
    let rows = [
        ("gRFC A36", "lds/inbound/%s", "0.0.0.0:80", "lds/inbound/0.0.0.0:80"),
        ("gRFC A36: brackets", "lds/inbound/%s", "[::]:80", "lds/inbound/[::]:80"),
        ("gRFC A47: encoded", "xdstp://a/L/%s?p=1", "[::]:80", "xdstp://a/L/%5B::%5D:80?p=1"),
    ];
    for (rule, template, bound, expected) in rows {
        let field = format!(r#", "server_listener_resource_name_template": "{template}""#);
        let bootstrap = accepts(rule, &beside_server(&field));
        assert_eq!(bootstrap.server_listener_name(bound.parse().unwrap()).unwrap(), expected);
    }
    for none in ["", r#", "server_listener_resource_name_template": """#] {
        let error = accepts("gRFC A36: no default", &beside_server(none))
            .server_listener_name("0.0.0.0:80".parse().unwrap())
            .unwrap_err();
        assert!(error.to_string().contains("has no default"), "{error}");
    }
}

#[test]
fn servers_by_authority() {
    let own = SERVER.replace("cp", "own");
    let text = beside_server(&format!(
        r#", "authorities": {{
            "own": {{"xds_servers": [{own}], "fallback_on_reachability_only": true}},
            "none": {{"xds_servers": []}}, "a%b": {{}}}}"#
    ));
    let bootstrap = accepts("gRFC A47", &text);
    let servers = |name: &str| {
        let name = ResourceName::parse(crate::ResourceType::Cluster, name).unwrap();
        bootstrap.servers_of(&name).map(|servers| servers[0].uri().to_string())
    };
    let name = |authority| format!("xdstp://{authority}/envoy.config.cluster.v3.Cluster/c");
    assert_eq!(servers("old style"), Ok("cp:1".to_owned()), "gRFC A47: no look-up");
    assert_eq!(servers(&name("own")), Ok("own:1".to_owned()));
    assert_eq!(servers(&name("%6Fwn")), Ok("own:1".to_owned()), "another spelling");
    assert_eq!(servers(&name("none")), Ok("cp:1".to_owned()), "gRFC A47: those on top");
    assert_eq!(servers(&name("a%25b")), Ok("cp:1".to_owned()));
    assert!(servers(&name("other")).is_err(), "gRFC A47: an error for that name only");
    assert!(servers(&name("")).is_err(), "gRFC A47: the empty authority is one");
    let only = |name| {
        let mut authorities = bootstrap.authorities();
        authorities.find(|a| &**a.name() == name).unwrap().fallback_on_reachability_only()
    };
    assert!(only("own") && !only("none"), "gRFC A95: per authority");
}
