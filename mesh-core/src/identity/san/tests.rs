//! Matchers of every kind, and what an error says.

use super::*;
use crate::identity::OtherName;
use crate::model::{RegexPattern, StringMatcher};
use proptest::prelude::*;

/// Names as `uri:…`, `dns:…`, `email:…`, `ip:…`, `OID=…`, or `subject:…`.
fn certificate(names: &str) -> PeerCertificate {
    let mut certificate = PeerCertificate::new("");
    for name in names.split_whitespace() {
        if let Some((oid, value)) = name.split_once('=') {
            certificate.other_names.push(OtherName { oid: oid.into(), value: value.into() });
            continue;
        }
        let (kind, text) = name.split_once(':').unwrap();
        match kind {
            "uri" => certificate.uris.push(text.into()),
            "dns" => certificate.dns_names.push(text.into()),
            "email" => certificate.emails.push(text.into()),
            "ip" => certificate.ips.push(text.parse().unwrap()),
            "subject" => certificate.subject = text.into(),
            other => panic!("{other}"),
        }
    }
    certificate
}

/// A matcher as `TYPE exact|prefix|suffix|contains|regex|iexact TEXT`.
fn matcher(text: &str) -> SanMatcher {
    let [kind, pattern, text] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let kind = match kind {
        "any" => SanKind::Any,
        "uri" => SanKind::Uri,
        "dns" => SanKind::Dns,
        "email" => SanKind::Email,
        "ip" => SanKind::Ip,
        oid => SanKind::OtherName(oid.into()),
    };
    let text: Arc<str> = text.into();
    let (pattern, ignore_case) = match pattern {
        "exact" => (StringPattern::Exact(text), false),
        "iexact" => (StringPattern::Exact(text), true),
        "prefix" => (StringPattern::Prefix(text), false),
        "suffix" => (StringPattern::Suffix(text), false),
        "contains" => (StringPattern::Contains(text), false),
        "regex" => (StringPattern::Regex(RegexPattern(text)), false),
        other => panic!("{other}"),
    };
    let mut matcher = StringMatcher::new(pattern);
    matcher.ignore_case = ignore_case;
    SanMatcher { kind, matcher }
}

fn compiled(matchers: &[&str]) -> CompiledSanMatchers {
    let models: Vec<_> = matchers.iter().map(|text| matcher(text)).collect();
    CompiledSanMatchers::new(&models).unwrap()
}

#[track_caller]
fn check(matchers: &[&str], names: &str, expected: bool) {
    let peer = Peer::Certified(Arc::new(certificate(names)));
    assert_eq!(compiled(matchers).check(&peer).is_ok(), expected, "{matchers:?} {names}");
}

#[test]
fn types() {
    for (asked, names, expected) in [
        ("uri exact spiffe://a/b", "uri:spiffe://a/b", true),
        ("uri exact spiffe://a/b", "uri:spiffe://a/B", false),
        ("uri exact spiffe://a/b", "uri:spiffe://a/b/c", false),
        ("uri exact spiffe://a/b", "dns:spiffe://a/b", false),
        ("uri prefix spiffe://a/", "uri:spiffe://a/b", true),
        ("uri prefix spiffe://a/", "uri:spiffe://ab/b", false),
        ("uri suffix /b", "uri:spiffe://a/b", true),
        ("uri contains /ns/", "uri:spiffe://a/ns/b", true),
        ("uri regex spiffe://a/[bc]", "uri:spiffe://a/c", true),
        ("uri regex spiffe://a/[bc]", "uri:spiffe://a/cd", false),
        ("uri iexact SPIFFE://A/b", "uri:spiffe://a/B", true),
        ("uri exact b", "uri:a uri:b", true),
        ("dns exact a.example.org", "dns:a.example.org", true),
        ("dns exact A.example.org", "dns:a.Example.org", true),
        ("dns exact a.example.org", "dns:*.example.org", true),
        ("dns exact b.a.example.org", "dns:*.example.org", false),
        // Envoy: only exact matchers follow DNS.
        ("dns suffix a.example.org", "dns:*.example.org", false),
        ("dns suffix .example.org", "dns:*.example.org", true),
        ("dns exact *.example.org", "dns:a.example.org", false),
        ("dns exact *.example.org", "dns:*.example.org", true),
        ("uri exact a.example.org", "uri:*.example.org", false),
        ("email exact a@example.org", "email:a@example.org", true),
        ("email exact a@example.org", "uri:a@example.org", false),
        ("email suffix @example.org", "email:b@example.org", true),
        ("ip exact 10.0.0.1", "ip:10.0.0.1", true),
        ("ip exact 10.0.0.1", "dns:10.0.0.1", false),
        ("ip exact 2001:db8::1", "ip:2001:0db8:0:0:0:0:0:1", true),
        ("ip exact 2001:0db8::1", "ip:2001:db8::1", false),
        ("ip prefix 10.", "ip:10.9.8.7", true),
        ("1.2.3 exact me", "1.2.3=me", true),
        ("1.2.3 exact me", "1.2.4=me", false),
        ("1.2.3 exact me", "uri:me", false),
        ("any exact me", "uri:me", true),
        ("any exact me", "dns:me", true),
        ("any exact me", "email:me", true),
        ("any exact ::1", "ip:::1", true),
        ("any exact me", "1.2.3=me", false),
        ("any exact a.example.org", "dns:*.example.org", true),
        ("any exact a.example.org", "uri:*.example.org", false),
        ("any exact CN", "subject:CN", false),
    ] {
        check(&[asked], names, expected);
    }
}

#[test]
fn any_of_several_will_do_and_an_empty_list_accepts_all() {
    check(&["uri exact x", "dns exact b.c"], "uri:a dns:b.c", true);
    check(&["uri exact x", "dns exact y.z"], "uri:a dns:b.c", false);
    check(&[], "uri:a", true);
    check(&[], "", true);
    assert!(compiled(&[]).check(&Peer::Tls).is_err(), "gRFC A29: any certificate, but one");
}

#[test]
fn a_mismatch_says_what_came_nearest() {
    const ASKED: &str = "uri exact spiffe://mesh/ns/a/sa/web";
    for (asked, names, expected) in [
        (&[ASKED][..], "", "the peer's certificate has no subject alternative name"),
        (&[ASKED], "dns:web", "the peer's certificate has no name of the type that was asked for"),
        (
            &[ASKED],
            "uri:spiffe://mesh/ns/a/sa/api uri:x",
            "the peer is `spiffe://mesh/ns/a/sa/api`, and `spiffe://mesh/ns/a/sa/web` was asked for: they differ in the path, in the same trust domain",
        ),
        (
            &[ASKED],
            "uri:spiffe://other/ns/a/sa/web",
            "the peer is `spiffe://other/ns/a/sa/web`, and `spiffe://mesh/ns/a/sa/web` was asked for: they differ in the trust domain only",
        ),
        (
            &[ASKED],
            "uri:spiffe://mesh/ns/A/sa/web",
            "the peer is `spiffe://mesh/ns/A/sa/web`, and `spiffe://mesh/ns/a/sa/web` was asked for: they differ in upper and lower case only",
        ),
        (
            &["dns exact web.x"],
            "uri:web.x",
            "the peer is `web.x`, and `web.x` was asked for: the name is there, as one of another type",
        ),
        (
            &["uri prefix spiffe://mesh/"],
            "uri:urn:a uri:spiffe://m",
            "the peer is `spiffe://m`, and `spiffe://mesh/` as its beginning was asked for: it does not match",
        ),
        (
            &["uri exact a", "uri exact b"],
            "uri:B",
            "the peer is `B`, and `b` was asked for: they differ in upper and lower case only (of 2 names that were asked for)",
        ),
    ] {
        let peer = Peer::Certified(Arc::new(certificate(names)));
        assert_eq!(compiled(asked).check(&peer).unwrap_err().to_string(), expected);
    }
    let none = compiled(&[ASKED]).check(&Peer::Plaintext).unwrap_err();
    assert_eq!(none.to_string(), "the peer showed no certificate");
}

#[test]
fn a_bad_matcher_has_its_index() {
    let bad = [matcher("uri exact a"), matcher("uri prefix ")];
    assert_eq!(CompiledSanMatchers::new(&bad).unwrap_err(), (1, MatcherError::Empty));
}

proptest! {
    /// What exactly one of two certificates' names is asked for is found in that one alone.
    #[test]
    fn an_exact_uri_matches_itself_alone(a in "[a-zA-Z:/.*]{1,12}", b in "[a-zA-Z:/.*]{1,12}") {
        let models = [SanMatcher::uri(a.as_str())];
        let asked = CompiledSanMatchers::new(&models).unwrap();
        let mut certificate = PeerCertificate::new("");
        certificate.uris = vec![b.as_str().into()];
        prop_assert_eq!(asked.matches(&certificate), a == b);
    }
}
