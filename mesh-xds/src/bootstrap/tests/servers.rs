//! `xds_servers`.

use super::*;
use std::path::Path;
use std::time::Duration;

const TLS: &str = r#""server_uri": "cp:1", "channel_creds": [{"type": "tls"}]"#;

#[test]
fn lists_of_servers() {
    let rows = [
        ("gRFC A27: required", "{}", "", "`xds_servers` is missing"),
        ("null is as good as none", r#"{"xds_servers": null}"#, "", "`xds_servers` is missing"),
        ("gRFC A27: one at least", r#"{"xds_servers": [ ]}"#, "xds_servers", "no server is listed"),
        ("gRFC A27: a list", r#"{"xds_servers": {}}"#, "xds_servers", "expected a list"),
        ("a list", r#"{"xds_servers": "a"}"#, "xds_servers", "found the string \"a\""),
        ("of objects", r#"{"xds_servers": [1]}"#, "xds_servers[0]", "an object, found `1`"),
        ("no null in it", r#"{"xds_servers": [null]}"#, "xds_servers[0]", "found null"),
    ];
    for (rule, text, path, says) in rows {
        refuses(rule, text, path, says);
    }
    let text = format!(r#"{{"xds_servers": [{SERVER}, {}]}}"#, SERVER.replace("cp", "other"));
    let bootstrap = accepts("gRFC A71: the first is preferred, all stay", &text);
    let uris: Vec<&str> = bootstrap.servers().iter().map(|server| &**server.uri()).collect();
    assert_eq!(uris, ["cp:1", "other:1"]);
    let text = format!(r#"{{"xds_servers": [{SERVER}, {{"server_uri": "b"}}]}}"#);
    refuses("every server must be usable", &text, "xds_servers[1]", "`channel_creds` is missing");
}

#[test]
fn servers_that_are_refused() {
    let creds = r#""channel_creds": [{"type": "insecure"}]"#;
    let rows = [
        ("gRFC A27: required", creds.to_owned(), "", "`server_uri` is missing"),
        ("a string", format!(r#""server_uri": 1, {creds}"#), ".server_uri", "a string, found `1`"),
        ("a target", format!(r#""server_uri": "", {creds}"#), ".server_uri", "it is empty"),
        (
            "a target",
            format!(r#""server_uri": "xds:///a", {creds}"#),
            ".server_uri",
            "through `xds:`",
        ),
    ];
    for (rule, fields, path, says) in rows {
        refuses(rule, &with_server(&fields), &format!("xds_servers[0]{path}"), says);
    }
}

#[test]
fn channel_creds() {
    let chosen = |rule, creds: &str| {
        let text = with_server(&format!(r#""server_uri": "cp:1", "channel_creds": {creds}"#));
        accepts(rule, &text).servers()[0].channel_creds().clone()
    };
    let tls = || ChannelCreds::Tls(CertificateFiles::new());
    let rows = [
        ("gRFC A27: insecure", r#"[{"type": "insecure"}]"#, ChannelCreds::Insecure),
        ("its config is ignored", r#"[{"type": "insecure", "config": 1}]"#, ChannelCreds::Insecure),
        ("gRFC A27: first", r#"[{"type": "tls"}, {"type": "insecure"}]"#, tls()),
        ("first", r#"[{"type": "insecure"}, {"type": "tls"}]"#, ChannelCreds::Insecure),
        (
            "gRFC A27: first that is supported",
            r#"[{"type": "google_default"}, {"type": "alts", "config": {}}, {"type": "tls"}]"#,
            tls(),
        ),
        ("what follows is not looked at", r#"[{"type": "insecure"}, 7]"#, ChannelCreds::Insecure),
        ("gRFC A65: no config", r#"[{"type": "tls"}]"#, tls()),
        ("gRFC A65: null config", r#"[{"type": "tls", "config": null}]"#, tls()),
        ("gRFC A65: empty config", r#"[{"type": "tls", "config": {}}]"#, tls()),
        ("unknown fields", r#"[{"type": "tls", "config": {"sni": "x"}, "x": 1}]"#, tls()),
    ];
    for (rule, creds, expected) in rows {
        assert_eq!(chosen(rule, creds), expected, "{rule}");
    }
}

#[test]
fn channel_creds_that_are_refused() {
    let rows = [
        ("gRFC A27: one at least", "[]", "", "nothing is listed: add one of `insecure`"),
        (
            "google_default is not supported",
            r#"[{"type": "google_default"}]"#,
            "",
            "`google_default` is not",
        ),
        (
            "all are named",
            r#"[{"type": "alts"}, {"type": "x"}]"#,
            "",
            "`alts`, `x` is not supported",
        ),
        ("a list", r#"{"type": "tls"}"#, "", "expected a list, found an object"),
        ("of objects", r#"["tls"]"#, "[0]", "expected an object, found the string \"tls\""),
        ("gRFC A27: type", r#"[{"config": {}}]"#, "[0]", "`type` is missing"),
        ("type is a string", r#"[{"type": true}]"#, "[0].type", "a string, found `true`"),
        ("config is an object", r#"[{"type": "tls", "config": []}]"#, "[0].config", "an object"),
        (
            "a broken one is not passed over",
            r#"[{"type": "tls", "config": 1}, {"type": "insecure"}]"#,
            "[0].config",
            "an object, found `1`",
        ),
        (
            "gRFC A65: both or neither",
            r#"[{"type": "tls", "config": {"certificate_file": "c"}}]"#,
            "[0].config",
            "`certificate_file` without `private_key_file`",
        ),
        (
            "gRFC A65: both or neither",
            r#"[{"type": "tls", "config": {"private_key_file": "k"}}]"#,
            "[0].config",
            "`private_key_file` without `certificate_file`",
        ),
        (
            "an empty path is none",
            r#"[{"type": "tls", "config": {"private_key_file": "k", "certificate_file": ""}}]"#,
            "[0].config",
            "set both, or neither",
        ),
        (
            "a path is a string",
            r#"[{"type": "tls", "config": {"ca_certificate_file": 1}}]"#,
            "[0].config.ca_certificate_file",
            "a string",
        ),
    ];
    for (rule, creds, path, says) in rows {
        let text = with_server(&format!(r#""server_uri": "cp:1", "channel_creds": {creds}"#));
        refuses(rule, &text, &format!("xds_servers[0].channel_creds{path}"), says);
    }
}

#[test]
fn tls_files_are_kept() {
    let text = with_server(
        r#""server_uri": "cp:1", "channel_creds": [{"type": "tls", "config": {
            "certificate_file": "/c", "private_key_file": "/k", "ca_certificate_file": "/r",
            "spiffe_trust_bundle_map_file": "/m", "refresh_interval": "1.5s"}}]"#,
    );
    let expected = CertificateFiles::new()
        .with_identity(IdentityFiles::new(Path::new("/c"), Path::new("/k")))
        .with_ca_certificate(Path::new("/r"))
        .with_spiffe_trust_bundle_map(Path::new("/m"))
        .with_refresh_interval(Duration::from_millis(1500));
    let bootstrap = accepts("gRFC A65, A87", &text);
    assert_eq!(*bootstrap.servers()[0].channel_creds(), ChannelCreds::Tls(expected));
}

#[test]
fn refresh_intervals() {
    let text = |interval: &str| {
        with_server(&format!(
            r#""server_uri": "cp:1", "channel_creds": [{{"type": "tls", "config": {{
                "refresh_interval": {interval}}}}}]"#
        ))
    };
    let rows = [
        ("gRFC A65: ten minutes", "null", 600_000),
        ("protobuf JSON", r#""900s""#, 900_000),
        ("protobuf JSON: a fraction", r#""2.25s""#, 2250),
        ("C-core: one second at least", r#""0.000000001s""#, 1000),
    ];
    for (rule, interval, millis) in rows {
        let bootstrap = accepts(rule, &text(interval));
        let ChannelCreds::Tls(files) = bootstrap.servers()[0].channel_creds() else { panic!() };
        assert_eq!(files.refresh_interval(), Duration::from_millis(millis), "{rule}");
    }
    let path = "xds_servers[0].channel_creds[0].config.refresh_interval";
    for refused in ["600", "10m", "-1s", "0s", "s", "1.s", ".5s", "1.0000000001s", "315576000001s"]
    {
        let message = format!("`{refused}` is no duration");
        refuses("protobuf JSON", &text(&format!("{refused:?}")), path, &message);
    }
    refuses("protobuf JSON: a string", &text("600"), path, "expected a string, found `600`");
}

#[test]
fn call_creds() {
    let text = |creds: &str| with_server(&format!(r#"{TLS}, "call_creds": {creds}"#));
    let token = r#"{"type": "jwt_token_file", "config": {"jwt_token_file": "/t"}}"#;
    let rows = [
        ("gRFC A97: optional", "null".to_owned(), 0),
        ("gRFC A97: may be empty", "[]".to_owned(), 0),
        ("gRFC A97: others are ignored", r#"[{"type": "gce", "config": 3}]"#.to_owned(), 0),
        ("gRFC A97: all that are supported", format!(r#"[{{"type": "x"}}, {token}, {token}]"#), 2),
    ];
    for (rule, creds, count) in rows {
        let bootstrap = accepts(rule, &text(&creds));
        let creds = bootstrap.servers()[0].call_creds();
        assert_eq!(creds.len(), count, "{rule}");
        assert!(creds.iter().all(|c| *c == CallCreds::JwtTokenFile(Path::new("/t").into())));
    }
    let rows = [
        ("a list", "{}", "", "expected a list"),
        ("gRFC A97: type", "[{}]", "[0]", "`type` is missing"),
        ("gRFC A97: config", r#"[{"type": "jwt_token_file"}]"#, "[0]", "`config` is missing"),
        ("an object", r#"[{"type": "jwt_token_file", "config": 1}]"#, "[0].config", "an object"),
        (
            "gRFC A97: the path is required",
            r#"[{"type": "jwt_token_file", "config": {}}]"#,
            "[0].config",
            "`jwt_token_file` is missing",
        ),
        (
            "a path",
            r#"[{"type": "jwt_token_file", "config": {"jwt_token_file": ""}}]"#,
            "[0].config.jwt_token_file",
            "name a file",
        ),
    ];
    for (rule, creds, path, says) in rows {
        refuses(rule, &text(creds), &format!("xds_servers[0].call_creds{path}"), says);
    }
    let insecure = TLS.replace("tls", "insecure");
    let text = with_server(&format!(r#"{insecure}, "call_creds": [{token}]"#));
    refuses("gRFC A97: secure", &text, "xds_servers[0].call_creds", "in the clear");
}

#[test]
fn server_features() {
    let text = |features: &str| with_server(&format!(r#"{TLS}, "server_features": {features}"#));
    let rows: [(_, _, &[ServerFeature]); 4] = [
        ("optional", "null", &[]),
        ("gRFC A30: unknown names and types are ignored", r#"["x", 1, null, {}, ["xds_v3"]]"#, &[]),
        ("gRFC A30", r#"["xds_v3", "x"]"#, &[ServerFeature::XdsV3]),
        (
            "gRFC A53, A81, A88",
            r#"["ignore_resource_deletion", "trusted_xds_server", "fail_on_data_errors",
                "resource_timer_is_transient_error", "xds_v3", "xds_v3"]"#,
            &ServerFeature::ALL,
        ),
    ];
    for (rule, features, expected) in rows {
        let bootstrap = accepts(rule, &text(features));
        let server = &bootstrap.servers()[0];
        for feature in ServerFeature::ALL {
            assert_eq!(server.has(feature), expected.contains(&feature), "{rule}: {feature:?}");
        }
    }
    refuses("a list", &text(r#""xds_v3""#), "xds_servers[0].server_features", "expected a list");
}

#[test]
fn equal_servers_share_a_stream() {
    // gRFC A47: features that are not known make no difference.
    let one = accepts("A47", &with_server(&format!(r#"{TLS}, "server_features": ["x"]"#)));
    let other = accepts("A47", &with_server(TLS));
    assert_eq!(one.servers(), other.servers());
    let third = accepts("A47", &with_server(&format!(r#"{TLS}, "server_features": ["xds_v3"]"#)));
    assert_ne!(third.servers(), other.servers());
}
