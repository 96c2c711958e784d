use super::*;
use proptest::prelude::*;

fn hosts(domains: &[Domain]) -> Vec<Arc<VirtualHost>> {
    let one =
        |domain: &Domain| Arc::new(VirtualHost::new(domain.to_string(), vec![domain.clone()]));
    domains.iter().map(one).collect()
}

fn index(domains: &[Domain]) -> DomainIndex {
    let mut errors = Vec::new();
    let index = DomainIndex::build(&hosts(domains), &mut errors);
    assert_eq!(errors, []);
    index
}

fn parse(domains: &[&str]) -> Vec<Domain> {
    domains.iter().map(|text| Domain::parse(text).unwrap()).collect()
}

#[track_caller]
fn check(domains: &[&str], cases: &[(&str, Option<&str>)]) {
    let index = index(&parse(domains));
    for (authority, expected) in cases {
        let found = index.find(authority).map(|place| domains[place.host as usize]);
        assert_eq!(found, *expected, "{authority}");
    }
}

#[test]
fn exact_beats_suffix_beats_prefix_beats_any() {
    check(
        &["*", "foo.*", "foo.bar.*", "*.com", "*.bar.com", "*-bar.com", "foo.bar.com"],
        &[
            ("foo.bar.com", Some("foo.bar.com")),
            ("FOO.Bar.com", Some("foo.bar.com")),
            ("foo.bar.com:8080", Some("foo.bar.com")),
            ("a.bar.com", Some("*.bar.com")),
            ("a-bar.com", Some("*-bar.com")),
            (".bar.com", Some("*.com")),
            ("x.com", Some("*.com")),
            (".com", Some("*")),
            ("foo.bar.org", Some("foo.bar.*")),
            ("foo.bar.", Some("foo.*")),
            ("foo.", Some("*")),
            ("", Some("*")),
        ],
    );
    check(&["a"], &[("b", None), ("", None), ("aa", None)]);
}

#[test]
fn a_pattern_with_a_port_takes_that_port_and_wins() {
    check(
        &["a", "a:80", "*.b", "*.b:80", "c.*", "c.x:8*", "*:443", "d:*"],
        &[
            ("a", Some("a")),
            ("a:80", Some("a:80")),
            ("A:80", Some("a:80")),
            ("a:81", Some("a")),
            ("a:", Some("a")),
            ("x.b:80", Some("*.b:80")),
            ("x.b:81", Some("*.b")),
            ("x.b", Some("*.b")),
            ("c.x:80", Some("c.x:8*")),
            ("c.x:90", Some("c.*")),
            ("x.b:443", Some("*:443")),
            ("q:443", Some("*:443")),
            ("d:1", Some("d:*")),
            ("d", None),
        ],
    );
}

#[test]
fn of_equally_long_wildcards_the_one_with_a_port_wins() {
    check(&["*.b:80", "*x.a.b"], &[("yx.a.b:80", Some("*.b:80"))]);
    check(&["*.b:80", "*.aaa.b"], &[("y.aaa.b:80", Some("*.aaa.b"))]);
    check(&["*a.b:80", "*xxxa.b"], &[("yxxxa.b:80", Some("*a.b:80"))]);
}

#[test]
fn the_colons_of_an_ipv6_literal_are_no_port() {
    check(
        &["[::1]", "[::1]:80", "[fe80:*", "::2", "*::3]:443", "*::3]"],
        &[
            ("[::1]", Some("[::1]")),
            ("[::1]:80", Some("[::1]:80")),
            ("[::1]:81", Some("[::1]")),
            ("[FE80::1]:81", Some("[fe80:*")),
            ("::2", Some("::2")),
            ("[::2]", None),
            ("[a::3]:443", Some("*::3]:443")),
            ("[a::3]:444", Some("*::3]")),
        ],
    );
}

#[test]
fn a_long_authority_is_no_trouble() {
    let long = "X".repeat(5000);
    check(
        &["*.com", "xx*"],
        &[(&format!("{long}.com:80"), Some("*.com")), (&format!("{long}.org"), Some("xx*"))],
    );
}

#[test]
fn repeated_and_unusable_domains_are_reported_with_their_place() {
    let mut hosts = hosts(&parse(&["a", "*.b"]));
    let more = vec![
        Domain::Exact("A".into()),
        Domain::Suffix(".b".into()),
        Domain::Prefix("".into()),
        Domain::Exact("x".repeat(513).into()),
        Domain::Any,
        Domain::Any,
    ];
    hosts.push(Arc::new(VirtualHost::new("c", more)));
    let mut errors = Vec::new();
    let _: DomainIndex = DomainIndex::build(&hosts, &mut errors);
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "virtual host `c`, domains[0]: the domain `a` is taken by virtual host `a`",
            "virtual host `c`, domains[1]: the domain `*.b` is taken by virtual host `*.b`",
            "virtual host `c`, domains[2]: a domain is not empty",
            "virtual host `c`, domains[3]: a domain has at most 512 bytes",
            "virtual host `c`, domains[5]: the domain `*` is taken by virtual host `c`",
        ]
    );
}

/// The rules, written down as a scan: rank, then length, then the port.
fn naive(domains: &[Domain], authority: &str) -> Option<usize> {
    let authority = authority.to_ascii_lowercase();
    let host = authority.split(':').next().unwrap();
    let rank = |domain: &Domain| -> Option<(u8, usize, bool)> {
        let text = text_of(domain);
        let port = text.contains(':');
        let subject = if port { &*authority } else { host };
        let longer = subject.len() > text.len();
        match domain {
            Domain::Exact(_) => (subject == text).then_some((3, usize::from(port), port)),
            Domain::Suffix(_) => {
                (subject.ends_with(text) && longer).then_some((2, text.len(), port))
            }
            Domain::Prefix(_) => {
                (subject.starts_with(text) && longer).then_some((1, text.len(), port))
            }
            Domain::Any => Some((0, 0, false)),
        }
    };
    let ranked = domains.iter().enumerate().filter_map(|(at, domain)| Some((rank(domain)?, at)));
    ranked.max().map(|(_, at)| at)
}

fn some_domains() -> impl Strategy<Value = Vec<Domain>> {
    let text = "[ab.1]{1,6}(:[12b]{1,2})?";
    let domain = prop_oneof![
        text.prop_map(|text| Domain::Exact(text.into())),
        text.prop_map(|text| Domain::Suffix(text.into())),
        "[ab.1]{1,6}(:[12b]{0,1})?".prop_map(|text| Domain::Prefix(text.into())),
        Just(Domain::Any),
    ];
    prop::collection::btree_set(domain, 0..40).prop_map(|set| set.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn finds_what_a_scan_finds(
        domains in some_domains().prop_shuffle(),
        authority in "[abAB.1]{0,8}(:[12bB]{1,2})?",
    ) {
        let found = index(&domains).find(&authority).map(|place| place.host as usize);
        prop_assert_eq!(found, naive(&domains, &authority), "{:?} {}", domains, authority);
    }
}

#[test]
fn an_exact_domain_is_not_a_pattern_that_fits() {
    let index =
        index(&parse(&["*", "10.9.*", "*.5:80", "10.1.2.3:5432", "10.1.2.4", "[fd00::1]:80"]));
    for (authority, expected) in [
        ("10.1.2.3:5432", true),
        ("10.1.2.3:80", false),
        ("10.1.2.3", false),
        ("10.1.2.4:1", true),
        ("10.1.2.4", true),
        ("10.9.0.1:80", false),
        ("10.0.0.5:80", false),
        ("[fd00::1]:80", true),
        ("[fd00::1]:81", false),
        ("", false),
    ] {
        assert_eq!(index.has_exact(authority), expected, "{authority}");
    }
}
