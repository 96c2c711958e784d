//! `certificate_providers` (gRFC A29, A87).

use super::*;
use std::path::Path;

fn provider(json: &str) -> String {
    beside_server(&format!(r#", "certificate_providers": {{"p": {json}}}"#))
}

fn watcher(config: &str) -> String {
    provider(&format!(r#"{{"plugin_name": "file_watcher", "config": {config}}}"#))
}

#[test]
fn what_is_no_provider() {
    let rows = [
        ("an object", provider("1"), "", "an object, found `1`"),
        ("gRFC A29: plugin_name", provider("{}"), "", "`plugin_name` is missing"),
        ("a string", provider(r#"{"plugin_name": 1}"#), ".plugin_name", "expected a string"),
        (
            "gRFC A29: config",
            provider(r#"{"plugin_name": "file_watcher"}"#),
            "",
            "`config` is missing",
        ),
        ("an object", watcher("[]"), ".config", "expected an object"),
        ("gRFC A29: one file at least", watcher("{}"), ".config", "nothing to watch"),
        (
            "an interval is no file",
            watcher(r#"{"refresh_interval": "1s"}"#),
            ".config",
            "nothing to watch",
        ),
        (
            "an empty path is none",
            watcher(r#"{"ca_certificate_file": ""}"#),
            ".config",
            "nothing to watch",
        ),
        (
            "gRFC A29: both or neither",
            watcher(r#"{"certificate_file": "c"}"#),
            ".config",
            "without `private_key_file`",
        ),
        (
            "gRFC A29: both or neither",
            watcher(r#"{"private_key_file": "k"}"#),
            ".config",
            "without `certificate_file`",
        ),
        (
            "a duration",
            watcher(r#"{"ca_certificate_file": "r", "refresh_interval": "1h"}"#),
            ".config.refresh_interval",
            "no duration",
        ),
    ];
    for (rule, text, path, says) in rows {
        refuses(rule, &text, &format!(r#"certificate_providers["p"]{path}"#), says);
    }
    let text = beside_server(r#", "certificate_providers": []"#);
    refuses("an object", &text, "certificate_providers", "expected an object");
}

#[test]
fn watchers() {
    let files = CertificateFiles::new;
    let rows = [
        (
            "gRFC A29: roots alone",
            r#"{"ca_certificate_file": "r"}"#,
            files().with_ca_certificate(Path::new("r")),
        ),
        (
            "gRFC A29: an identity alone",
            r#"{"certificate_file": "c", "private_key_file": "k"}"#,
            files().with_identity(IdentityFiles::new(Path::new("c"), Path::new("k"))),
        ),
        (
            "gRFC A87: roots by trust domain alone",
            r#"{"spiffe_trust_bundle_map_file": "m"}"#,
            files().with_spiffe_trust_bundle_map(Path::new("m")),
        ),
        (
            "gRFC A87: both kinds of roots, for older readers",
            r#"{"spiffe_trust_bundle_map_file": "m", "ca_certificate_file": "r"}"#,
            files()
                .with_spiffe_trust_bundle_map(Path::new("m"))
                .with_ca_certificate(Path::new("r")),
        ),
    ];
    for (rule, config, expected) in rows {
        let bootstrap = accepts(rule, &watcher(config));
        assert_eq!(bootstrap.certificate_provider("p"), Ok(&expected), "{rule}");
    }
}

#[test]
fn a_plugin_that_is_not_known_is_an_error_only_when_used() {
    let text = beside_server(
        r#", "certificate_providers": {"ca": {"plugin_name": "mesh_ca", "config": {"x": [1]}},
             "files": {"plugin_name": "file_watcher", "config": {"ca_certificate_file": "r"}}}"#,
    );
    let bootstrap = accepts("gRFC A29", &text);
    let error = |name| bootstrap.certificate_provider(name).unwrap_err().to_string();
    assert!(error("ca").contains("the plugin `mesh_ca`, which is not supported"));
    assert!(error("default").contains("no certificate provider `default`"));
    assert!(error("default").contains("only `ca`, `files`"));
    let names: Vec<&str> = bootstrap.certificate_provider_names().map(|name| &**name).collect();
    assert_eq!(names, ["files"], "resources may name those that work");
    let none = accepts("none", &beside_server("")).certificate_provider("x").unwrap_err();
    assert!(none.to_string().contains("only none"));
}
