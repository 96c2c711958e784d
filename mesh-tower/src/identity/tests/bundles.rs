//! SPIFFE trust bundle maps (gRFC A87).

use super::super::{Roots, bundle_map};
use super::ca::Ca;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_core::identity::TrustDomain;
use std::sync::LazyLock;

static CA: LazyLock<Ca> = LazyLock::new(Ca::new);

/// A map in which `CA` stands for a root in base64.
fn read(text: &str) -> Result<Roots, String> {
    let text = text.replace("CA", &STANDARD.encode(CA.der()));
    bundle_map(&text).map_err(|error| error.to_string())
}

/// A map of one domain with these keys.
fn keys(keys: &str) -> String {
    format!(r#"{{"trust_domains": {{"a.example": {{"keys": [{keys}]}}}}}}"#)
}

const GOOD: &str = r#"{"kty": "EC", "use": "x509-svid", "x5c": ["CA"]}"#;

#[track_caller]
fn refused(text: &str, parts: [&str; 2]) {
    let error = read(text).unwrap_err();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn roots_stand_by_their_trust_domain() {
    let map = format!(
        r#"{{"trust_domains": {{
            "a.example": {{"spiffe_sequence": 12, "spiffe_refresh_hint": 60, "keys": [
                {GOOD}, {GOOD}, {{"kty": "RSA", "use": "jwt-svid", "kid": "1", "n": "x", "e": "AQAB"}}]}},
            "b.example": {{"keys": []}} }}, "other": [1]}}"#
    );
    let roots = read(&map).unwrap();
    let of = |name: &str| roots.of(Some(&TrustDomain::parse(name).unwrap())).map(<[_]>::len);
    assert_eq!((of("a.example"), of("b.example"), of("c.example")), (Some(2), Some(0), None));
    assert_eq!(roots.iter().next().unwrap().to_vec(), CA.der());
    // gRFC A87: "An empty map will be considered a valid (but empty) trust bundle map."
    assert!(read(r#"{"trust_domains": {}}"#).unwrap().is_empty());
    // Only `kty`, `use` and `x5c` count (gRFC A87).
    assert_eq!(read(&keys(&GOOD.replace('{', r#"{"kid": 7, "#))).unwrap().len(), 1);
}

#[test]
fn one_bad_key_makes_the_whole_map_bad() {
    refused("{", ["line 1, column", "no JSON"]);
    refused("[]", ["`trust_domains`", "must be an object"]);
    refused(r#"{"trust_domains": []}"#, ["`trust_domains`", "must be an object"]);
    let domain = |name: &str| format!(r#"{{"trust_domains": {{"{name}": {{"keys": []}}}}}}"#);
    for name in ["", "A.example", "a.example/x", "spiffe://a.example", "a:1"] {
        refused(&domain(name), [&format!("`trust_domains`.`{name}`"), "no trust domain"]);
    }
    let sequence = r#"{"trust_domains": {"a.example": {"spiffe_sequence": "1", "keys": []}}}"#;
    refused(sequence, ["`a.example`.`spiffe_sequence`", "whole number"]);
    refused(r#"{"trust_domains": {"a.example": {}}}"#, ["`a.example`.`keys`", "a list of keys"]);
    let key = |from: &str, to: &str| keys(&format!("{GOOD}, {}", GOOD.replace(from, to)));
    refused(&keys(&format!("{GOOD}, 7")), ["`keys`[1].`kty`", "`EC`, `RSA` or `OKP`"]);
    refused(&key(r#""EC""#, "3"), ["`keys`[1].`kty`", "`EC`, `RSA` or `OKP`"]);
    refused(&key("EC", "oct"), ["`keys`[1].`kty`", "`EC`, `RSA` or `OKP`"]);
    refused(&key("x509-svid", "sig"), ["`keys`[1].`use`", "`x509-svid`"]);
    refused(&key(r#""use""#, r#""not_use""#), ["`keys`[1].`use`", "`x509-svid`"]);
    for certificates in ["[]", r#"["CA", "CA"]"#, r#""CA""#, "[1]", "null"] {
        let key = key(r#"["CA"]"#, certificates);
        refused(&key, ["`keys`[1].`x5c`", "exactly one certificate"]);
    }
    refused(&key("CA", "!"), ["`keys`[1].`x5c`", "no base64"]);
    refused(&key("CA", "aGVsbG8="), ["`keys`[1].`x5c`", "no X.509 certificate"]);
}
