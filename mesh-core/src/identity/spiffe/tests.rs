//! Every rule of SPIFFE-ID, section 2, with the place where it is broken.

use super::SpiffeIdRule::*;
use super::*;
use proptest::prelude::*;

#[track_caller]
fn refused(text: &str, at: usize, rule: SpiffeIdRule) {
    assert_eq!(SpiffeId::parse(text), Err(SpiffeIdError { at, rule }), "{text}");
}

#[test]
fn ids() {
    for (text, domain, path) in [
        ("spiffe://example.org", "example.org", ""),
        ("spiffe://example.org/a", "example.org", "/a"),
        ("spiffe://cluster.local/ns/default/sa/web", "cluster.local", "/ns/default/sa/web"),
        ("spiffe://1_2-3.4/A.b-C_9/...", "1_2-3.4", "/A.b-C_9/..."),
        ("spiffe://.../a", "...", "/a"),
    ] {
        let id = SpiffeId::parse(text).unwrap();
        assert_eq!((id.trust_domain().as_str(), id.path()), (domain, path), "{text}");
        assert_eq!(id.to_string(), text);
        assert!(id.is_member_of(&TrustDomain::parse(domain).unwrap()));
        assert!(!id.is_member_of(&TrustDomain::parse("other").unwrap()));
    }
}

#[test]
fn rules() {
    refused("", 0, Scheme);
    refused("spiff", 5, Scheme);
    refused("https://a/b", 0, Scheme);
    refused("SPIFFE://a/b", 0, Scheme);
    refused("spiffe:/a/b", 8, Scheme);
    refused("spiffe://", 9, EmptyTrustDomain);
    refused("spiffe:///a", 9, EmptyTrustDomain);
    refused("spiffe://Example.org/a", 9, UpperCase);
    refused("spiffe://a:8080/b", 10, Port);
    refused("spiffe://u@a/b", 10, UserInfo);
    refused("spiffe://u:p@a/b", 10, UserInfo);
    refused("spiffe://a%2eb/c", 10, PercentEncoding);
    refused("spiffe://a?b", 10, Query);
    refused("spiffe://a#b", 10, Fragment);
    refused("spiffe://a b/c", 10, TrustDomainCharacter);
    refused("spiffe://[::1]/c", 9, TrustDomainCharacter);
    refused("spiffe://ä/c", 9, TrustDomainCharacter);
    refused("spiffe://a/", 11, TrailingSlash);
    refused("spiffe://a/b/", 13, TrailingSlash);
    refused("spiffe://a//b", 11, EmptySegment);
    refused("spiffe://a/b//c", 13, EmptySegment);
    refused("spiffe://a/./b", 11, DotSegment);
    refused("spiffe://a/b/..", 13, DotSegment);
    refused("spiffe://a/b%2fc", 12, PercentEncoding);
    refused("spiffe://a/b?c", 12, Query);
    refused("spiffe://a/b#c", 12, Fragment);
    refused("spiffe://a/b c", 12, PathCharacter);
    refused("spiffe://a/b;c", 12, PathCharacter);
    refused("spiffe://a/b:c", 12, PathCharacter);
    refused("spiffe://a/b\0", 12, PathCharacter);
    refused("spiffe://a/ü", 11, PathCharacter);
}

#[test]
fn lengths() {
    let domain = |len| "a".repeat(len);
    assert!(SpiffeId::parse(&format!("spiffe://{}/b", domain(255))).is_ok());
    refused(&format!("spiffe://{}/b", domain(256)), 264, TrustDomainTooLong);
    let id = |len: usize| format!("spiffe://a/{}", "b".repeat(len - 11));
    assert_eq!(SpiffeId::parse(&id(2048)).unwrap().path().len(), 2038);
    refused(&id(2049), 2048, TooLong);
    assert_eq!(TrustDomain::parse(""), Err(SpiffeIdError { at: 0, rule: EmptyTrustDomain }));
    assert_eq!(TrustDomain::parse("a/b"), Err(SpiffeIdError { at: 1, rule: TrustDomainCharacter }));
}

#[test]
fn errors_name_place_and_rule() {
    assert_eq!(
        SpiffeId::parse("spiffe://a:1/b").unwrap_err().to_string(),
        "a trust domain has no port, at byte 10"
    );
}

proptest! {
    /// What is made of allowed parts is an id, and reads the same.
    #[test]
    fn parts_make_an_id(domain in "[a-z0-9._-]{1,40}", segments in prop::collection::vec("[a-zA-Z0-9_-]{1,8}", 0..5)) {
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        let text = format!("spiffe://{domain}{path}");
        let id = SpiffeId::parse(&text).unwrap();
        let domain_read = id.trust_domain();
        prop_assert_eq!(domain_read.as_str(), &domain);
        prop_assert_eq!(id.path(), &path);
        prop_assert_eq!(SpiffeId::parse(&id.to_string()).unwrap(), id);
    }

    /// Whatever is read has only what the standard allows; what is refused has its place within.
    #[test]
    fn any_text(text in "(spiffe://)?[a-c./%:@?# Ä-]{0,24}") {
        match SpiffeId::parse(&text) {
            Ok(id) => {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert!(!text.contains(['%', '@', '?', '#', ' ']));
                let bad = id.path().split('/').skip(1).any(|s| matches!(s, "" | "." | ".."));
                prop_assert!(!bad);
            }
            Err(error) => prop_assert!(error.at <= text.len()),
        }
    }
}
