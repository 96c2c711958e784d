use super::*;
use crate::model::Cidr;

/// `name`, `*.name`, `block`, each with `@port` or without.
fn rule(text: &str) -> EgressRule {
    let (host, port) = match text.split_once('@') {
        Some((host, port)) => (host, Some(port.parse().unwrap())),
        None => (text, None),
    };
    let host = match (host.split_once('/'), host.strip_prefix('*')) {
        (Some((address, prefix)), _) => EgressHost::Addresses(
            Cidr::new(address.parse().unwrap(), prefix.parse().unwrap()).unwrap(),
        ),
        (None, Some(suffix)) => EgressHost::Suffix(suffix.into()),
        (None, None) => EgressHost::Exact(host.into()),
    };
    EgressRule { host, port }
}

fn egress(unknown: UnknownHosts) -> CompiledEgress {
    let rules =
        "api.example.org *.example.com@443 deep.example.com@8443 10.1.0.0/16 2001:db8::/32@53";
    let mut model = Egress::default();
    model.allow = rules.split(' ').map(rule).collect();
    CompiledEgress::new(&Arc::new(model), unknown)
}

#[track_caller]
fn check(authority: &str, expected: Result<usize, EgressRefusal>) {
    let verdict = egress(UnknownHosts::Refuse).decide(authority, None, 80);
    let expected = match expected {
        Ok(rule) => EgressVerdict::Allowed(Some(rule)),
        Err(why) => EgressVerdict::Refused(why),
    };
    assert_eq!(verdict, expected, "{authority}");
}

#[test]
fn a_list_by_host_suffix_port_and_block() {
    use EgressRefusal::{AddressNotListed, NotListed};
    check("api.example.org", Ok(0));
    check("API.Example.ORG.:8080", Ok(0));
    check("x.api.example.org", Err(NotListed));
    check("a.example.com:443", Ok(1));
    check("a.b.example.com:443", Ok(1));
    check("a.example.com", Err(NotListed));
    check("example.com:443", Err(NotListed));
    check("evilexample.com:443", Err(NotListed));
    check("deep.example.com:8443", Ok(2));
    check("deep.example.com:443", Ok(1));
    check("10.1.2.3", Ok(3));
    check("[::ffff:10.1.2.3]:80", Ok(3));
    check("10.2.0.1", Err(AddressNotListed));
    check("[2001:db8::1]:53", Ok(4));
    check("[2001:db8::1]", Err(AddressNotListed));
    check("", Err(NotListed));
}

#[test]
fn an_address_in_any_notation_is_no_name() {
    for text in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fe80::1%eth0]",
        "0",
    ] {
        check(text, Err(EgressRefusal::AddressNotListed));
    }
    // Not one that a resolver would take for an address.
    for text in
        ["1.2.3.4.5", "256.1.1.1", "1.2.3.256", "4294967296", "0xg", "1a.2", "127.0.0.1.nip.io"]
    {
        check(text, Err(EgressRefusal::NotListed));
    }
}

#[track_caller]
fn leads(address: &str, expected: usize) {
    let verdict = egress(UnknownHosts::Refuse).admits(address.parse().unwrap(), 80);
    assert_eq!(verdict, EgressVerdict::Allowed(Some(expected)), "{address}");
}

#[test]
fn a_name_leads_inward_only_where_a_block_says_so() {
    for public in [
        "8.8.8.8",
        "2606:4700::1",
        "64:ff9b::808:808",
        "100.128.0.1",
        "198.20.0.1",
        "::ffff:0:8.8.8.8",
        "2001:0:808:808::f7f7:f7f7",
        "2001:200::1",
        "100:0:0:1::1",
        "3fff:1000::1",
    ] {
        let verdict = egress(UnknownHosts::Refuse).admits(public.parse().unwrap(), 80);
        assert_eq!(verdict, EgressVerdict::Allowed(None), "{public}");
    }
    for private in [
        "127.0.0.1",
        "10.2.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "192.0.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fc00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "::ffff:0:10.0.0.1",
        "2001:0:a00:1::1",
        "2001:0:808:808::f5ff:fffe",
        "2001:2::1",
        "100::1",
        "3fff:fff::1",
        "5f00::1",
    ] {
        let verdict = egress(UnknownHosts::Refuse).admits(private.parse().unwrap(), 80);
        assert_eq!(verdict, EgressVerdict::Refused(EgressRefusal::PrivateAddress), "{private}");
    }
    leads("10.1.255.255", 3);
    for (address, expected) in [("10.1.0.1", true), ("8.8.8.8", false), ("::ffff:10.1.0.1", true)] {
        let address = address.parse().unwrap();
        assert_eq!(egress(UnknownHosts::Refuse).admits_literal(address, 80), expected);
        assert!(egress(UnknownHosts::Log).admits_literal(address, 80));
    }
}

/// Whoever connects takes what is in the brackets, or before the first colon, for the host.
#[test]
fn a_host_that_can_be_read_as_two_is_no_name() {
    let mut model = Egress::default();
    model.allow = vec![rule("*.example.com")];
    let egress = CompiledEgress::new(&Arc::new(model), UnknownHosts::Refuse);
    let verdict = |authority| egress.decide(authority, None, 80);
    assert_eq!(verdict("a.example.com"), EgressVerdict::Allowed(Some(0)));
    for authority in [
        "[10.0.0.1].example.com",
        "[::1].example.com",
        "[10.0.0.1]:8080.example.com",
        "10.0.0.1:x.example.com",
        "internal:99999.example.com",
        "a@b.example.com",
        "x%25.example.com",
        "a/b.example.com",
    ] {
        let refused = EgressVerdict::Refused(EgressRefusal::NotListed);
        assert_eq!(verdict(authority), refused, "{authority}");
    }
}

#[test]
fn a_host_that_is_not_the_authority() {
    let egress = egress(UnknownHosts::Refuse);
    let decide = |host| egress.decide("api.example.org", Some(host), 80);
    assert_eq!(decide("API.example.org:80"), EgressVerdict::Allowed(Some(0)));
    let mismatch = EgressVerdict::Refused(EgressRefusal::AuthorityMismatch);
    assert_eq!(decide("metadata.internal"), mismatch);
    assert_eq!(decide("api.example.org:81"), mismatch);
}

/// A rule without a port is for all of them; and what is decided alike has one name.
#[test]
fn a_destination_has_one_name_and_its_port() {
    for (authority, expected) in [
        ("a", "a:80"),
        ("a:443", "a:443"),
        ("A.Example:443", "a.example:443"),
        ("a.example.:443", "a.example:443"),
        ("a.example.", "a.example:80"),
        ("[::1]", "[::1]:80"),
        ("[::1]:81", "[::1]:81"),
        ("[FE80::1]:81", "[fe80::1]:81"),
        ("a:", "a:"),
        (".", ".:80"),
        ("", ":80"),
    ] {
        assert_eq!(destination(authority, 80), expected);
    }
}

#[test]
fn what_would_be_refused_is_told_or_not_asked() {
    let why = EgressRefusal::NotListed;
    assert_eq!(egress(UnknownHosts::Log).decide("x", None, 80), EgressVerdict::Logged(why));
    assert_eq!(
        egress(UnknownHosts::Passthrough).decide("x", None, 80),
        EgressVerdict::Allowed(None)
    );
    let private = "127.0.0.1".parse().unwrap();
    let why = EgressVerdict::Logged(EgressRefusal::PrivateAddress);
    assert_eq!(egress(UnknownHosts::Log).admits(private, 80), why);
}

#[test]
fn rules_are_written_as_they_are_read() {
    let texts: Vec<_> =
        egress(UnknownHosts::Refuse).model().allow.iter().map(ToString::to_string).collect();
    let expected = [
        "api.example.org",
        "*.example.com:443",
        "deep.example.com:8443",
        "10.1.0.0/16",
        "[2001:db8::/32]:53",
    ];
    assert_eq!(texts, expected);
}
