//! `identity`, `tls` and `inbound`: what they mean, and what is wrong with them.

use super::port::pass;
use super::*;
use crate::filter::Step;
use crate::identity::SpiffeId;
use crate::inbound::CompiledListener;
use crate::model::filter_chain::{EscapedSlashes, ForwardClientCert, TransportProtocol};
use crate::model::matcher::StringPattern;
use crate::model::tls::{TlsIdentity, TlsRoots, UpstreamTls};
use crate::model::{
    Address, FilterChain, ForwardTo, IdentityOrigin, SanKind, SanMatcher, StringMatcher, TlsPolicy,
};
use crate::time::WallTime;
use std::path::Path;
use std::time::Duration;

const INBOUND: &str = include_str!("inbound.yaml");

fn update() -> ConfigUpdate {
    let loaded = read(INBOUND);
    loaded.update.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

fn upstream(update: &ConfigUpdate, cluster: &str) -> UpstreamTls {
    match &update.clusters[cluster].cluster.tls {
        TlsPolicy::On(tls) => UpstreamTls::clone(tls),
        TlsPolicy::Off => panic!("{cluster} is plaintext"),
    }
}

fn chain(update: &ConfigUpdate, port: &str, at: usize) -> FilterChain {
    FilterChain::clone(&update.listeners[port].filter_chains[at])
}

#[test]
fn files_are_beside_the_document() {
    let text = INBOUND.replace("crl: tls/crl.pem", "crl: /run/crl.pem");
    let documents = [Document { name: "conf/mesh.yaml", text: &text }];
    let loaded = load(&documents, &(), &Bounds::default());
    let update = loaded.update.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    let identity = update.identity.unwrap();
    let files = identity.files().unwrap();
    assert_eq!(&*files.cert, Path::new("conf/tls/cert.pem"));
    assert_eq!(&*files.key, Path::new("conf/tls/key.pem"));
    assert_eq!(&*files.roots, Path::new("conf/tls/ca.pem"));
    assert_eq!(files.crl.as_deref(), Some(Path::new("/run/crl.pem")));
    assert_eq!(identity.spiffe_id.as_ref().map(SpiffeId::as_str), Some("spiffe://example.org/web"));
}

#[test]
fn an_agent_is_an_address() {
    for address in ["unix:///run/spire/agent.sock", "unix:/run/a.sock", "tcp://127.0.0.1:8081"] {
        let text = format!("version: 1\nidentity: {{ spire: \"{address}\" }}\n");
        let identity = good(&text).identity.unwrap();
        assert_eq!(identity.source, IdentityOrigin::WorkloadApi(address.into()));
    }
}

#[test]
fn an_identity_secures_what_says_nothing() {
    let update = update();
    let prefix = |text: &str| {
        let matcher = StringMatcher::new(StringPattern::Prefix(text.into()));
        SanMatcher { kind: SanKind::Uri, matcher }
    };
    let all = upstream(&update, "reviews");
    assert_eq!((&all.roots, &all.identity), (&TlsRoots::Mesh, &TlsIdentity::Mesh));
    assert_eq!(all.san, [prefix("spiffe://example.org/")]);
    let pinned = upstream(&update, "pinned");
    assert_eq!((&pinned.roots, &pinned.identity), (&TlsRoots::Mesh, &TlsIdentity::Mesh));
    assert_eq!(pinned.san, [SanMatcher::any(StringMatcher::exact("spiffe://example.org/reviews"))]);
    let outside = upstream(&update, "outside");
    assert_eq!((&outside.roots, &outside.identity), (&TlsRoots::System, &TlsIdentity::None));
    assert_eq!(upstream(&update, "public"), UpstreamTls::default());
    assert_eq!(update.clusters["plain"].cluster.tls, TlsPolicy::Off);
    let nameless = good(
        "version: 1\nidentity: { spire: \"unix:///a\" }\nvirtual_hosts: { a: { routes: [{ cluster: one }] } }\nclusters: { one: { dns: \"a:80\", tls: { sni: a, client_certificate: false } } }\n",
    );
    let tls = upstream(&nameless, "one");
    assert_eq!((&tls.roots, &tls.identity), (&TlsRoots::Mesh, &TlsIdentity::None));
    assert_eq!(
        (tls.sni.as_deref(), tls.auto_host_sni, all.auto_host_sni),
        (Some("a"), false, true)
    );
    assert_eq!(tls.san, [prefix("spiffe://")]);
}

#[test]
fn a_strict_port() {
    let update = update();
    let web = &update.listeners["web"];
    assert_eq!(web.address, Some(Address::Socket("0.0.0.0:8443".parse().unwrap())));
    let to = ForwardTo::Application("inbound|web".into());
    assert_eq!(web.forward.as_ref().map(|forward| &forward.to), Some(&to));
    assert_eq!((web.filter_chains.len(), web.default_filter_chain.is_none()), (1, true));
    let chain = chain(&update, "web", 0);
    let tls = chain.tls.unwrap();
    assert_eq!((&tls.identity, &tls.roots), (&TlsIdentity::Mesh, &Some(TlsRoots::Mesh)));
    assert!(tls.require_client_certificate);
    // The identity has its own, which are believed with it.
    assert_eq!(tls.crl, None);
    assert_eq!(chain.matcher.transport_protocol, None);
    assert_eq!((chain.handshake_timeout, chain.until), (Duration::from_secs(5), None));
    let http = chain.http.unwrap();
    let names: Vec<_> = http.http_filters.iter().map(|filter| &*filter.name).collect();
    assert_eq!(names, ["deny", "allow"]);
    assert_eq!((http.limits.max_header_bytes, http.limits.max_headers), (8192, 50));
    assert_eq!(http.limits.max_body_bytes, Some(1 << 20));
    assert_eq!(
        (http.timeouts.idle, http.timeouts.stream_flush),
        (Some(Duration::from_secs(90)), None)
    );
    assert!(http.path.normalize && !http.path.merge_slashes);
    assert_eq!(http.path.escaped_slashes, EscapedSlashes::UnescapeAndForward);
    assert_eq!(http.forward_client_cert, ForwardClientCert::AppendForward);
    assert_eq!(http.xff_num_trusted_hops, 1);
}

#[test]
fn a_permissive_port_has_two_chains_and_only_the_opening_ends() {
    let update = update();
    let until = WallTime::parse_rfc3339("2030-12-31T07:00:00Z");
    let (secure, open) = (chain(&update, "moving", 0), chain(&update, "moving", 1));
    assert_eq!(secure.matcher.transport_protocol, Some(TransportProtocol::Tls));
    assert!(secure.tls.is_some() && secure.until.is_none());
    assert_eq!(open.matcher.transport_protocol, Some(TransportProtocol::RawBuffer));
    assert!(open.tls.is_none());
    assert_eq!(open.until, until);
    assert_eq!(update.listeners["old"].filter_chains.len(), 1);
    assert!(chain(&update, "old", 0).tls.is_none());
}

/// Who answers `request`, `METHOD PATH name:value…`, from `peer` at the port.
#[track_caller]
fn check(port: &str, peer: &str, request: &str, expected: &str) {
    check_of(&update(), port, peer, (request, expected));
}

/// The same, of this configuration.
#[track_caller]
fn check_of(update: &ConfigUpdate, port: &str, peer: &str, (request, expected): (&str, &str)) {
    let compiled = CompiledListener::compile(&update.listeners[port], None).unwrap();
    let chain = &update.listeners[port].filter_chains[0].name;
    let found = match pass(&compiled, chain, peer, request) {
        Step::Continue => "allowed".to_owned(),
        Step::Reply(reply) => reply.details.to_string(),
        other @ (Step::Delay(_) | Step::Ask(_)) => format!("{other:?}"),
    };
    assert_eq!(found, expected, "{port} {peer} {request}");
}

#[test]
fn rules_are_what_they_say() {
    const PAGE: &str = "spiffe://example.org/productpage";
    const NOBODY: &str = "rbac_access_denied_matched_policy[none]";
    check("web", PAGE, "GET /reviews/1?x=2", "allowed");
    check("web", PAGE, "POST /reviews/1", NOBODY);
    check("web", PAGE, "GET /", NOBODY);
    check("web", "spiffe://example.org/productpage2", "GET /reviews", NOBODY);
    check("web", "spiffe://example.org/x", "GET /healthz?a", "allowed");
    check("web", "spiffe://example.org/x", "GET /healthz/", NOBODY);
    check("web", PAGE, "GET /admin/x", "rbac_access_denied_matched_policy[deny[0]]");
    check(
        "moving",
        "spiffe://evil.example/a",
        "GET /",
        "rbac_access_denied_matched_policy[banned]",
    );
    check("moving", "spiffe://evil.example.org/a", "GET /", "allowed");
    check("moving", "plaintext", "GET /", NOBODY);
    check("old", "plaintext", "GET /", "allowed");
    check("shop", "spiffe://any.org/ns/shop/sa/web", "GET /", "allowed");
    check("shop", "spiffe://any.org/ns/shopping/sa/web", "GET /", NOBODY);
    check("shop", "spiffe://any.org/x/ns/shop/sa/web", "GET /", NOBODY);
    check("shop", "spiffe://any.org/robots/r2", "GET /", "allowed");
    check("shop", "spiffe://example.org/ns/a/sa/b", "GET /", "allowed");
    check("shop", "spiffe://example.org/ns/ab", "GET /", NOBODY);
    let grpc = "content-type:application/grpc+proto";
    check("shop", PAGE, &format!("POST /shop.Reviews/List {grpc}"), "allowed");
    check("shop", PAGE, "POST /shop.Reviews/List", NOBODY);
    check("shop", PAGE, &format!("POST /shop.Reviews/Get {grpc}"), NOBODY);
    check("shop", PAGE, &format!("POST /any {grpc} x-old:1"), "allowed");
    check("shop", PAGE, "POST /any content-type:application/grpcweb x-old:1", NOBODY);
    check("shop", PAGE, "GET /V2/a host:shop.example x-user:ab", "allowed");
    check("shop", PAGE, "GET /V2/a host:shop.example x-user:qa-1", NOBODY);
    check("shop", PAGE, "GET /v2a host:shop.example x-user:ab", NOBODY);
    check("shop", PAGE, "HEAD /items/7", "allowed");
    check("shop", PAGE, "POST /items/7", NOBODY);
    check("shop", PAGE, "GET /find?q=1", "allowed");
    check("shop", PAGE, "GET /find?x=1&q=1", NOBODY);
}

#[test]
fn rules_are_told_in_the_order_of_the_list() {
    let rules: Vec<_> = (0..11).map(|n| format!("{{ from: [{{ ip: 10.0.0.{n} }}] }}")).collect();
    let text =
        format!("version: 1\ninbound: {{ a: {{ mtls: off, allow: [{}] }} }}\n", rules.join(", "));
    let update = read(&text).update.unwrap();
    let http = chain(&update, "a", 0).http.unwrap();
    let crate::model::HttpFilterConfig::Rbac(rbac) = &http.http_filters[0].config else { panic!() };
    let names: Vec<_> = rbac.rules.as_ref().unwrap().policies.keys().map(|n| &**n).collect();
    assert_eq!((names[0], names[2], names[10]), ("allow[00]", "allow[02]", "allow[10]"));
}

/// Servers of gRPC need not look at the content type, so who is refused a service can't have it under another.
#[test]
fn a_denied_service_is_denied_under_each_content_type() {
    let text = "version: 1\ninbound: { a: { mtls: off, deny: [{ match: { grpc: shop.Reviews } }],\n  allow: [{ from: anyone }] } }\n";
    let update = read(text).update.unwrap();
    let denied = "rbac_access_denied_matched_policy[deny[0]]";
    for (request, expected) in [
        ("POST /shop.Reviews/Get content-type:application/grpc", denied),
        ("POST /shop.Reviews/Get content-type:Application/grpc", denied),
        ("POST /shop.Reviews/Get content-type:x/y", denied),
        ("POST /shop.Reviews/Get", denied),
        ("POST /shop.ReviewsOf/Get content-type:application/grpc", "allowed"),
    ] {
        check_of(&update, "a", "plaintext", (request, expected));
    }
}

/// Beside a path `grpc: true` is a condition like others.
#[test]
fn grpc_below_a_path_is_about_the_content_type() {
    let text = "version: 1\ninbound: { a: { mtls: off, deny: [{ match: { grpc: true, prefix: /api } }],\n  allow: [{ from: anyone }] } }\n";
    let update = read(text).update.unwrap();
    let denied = "rbac_access_denied_matched_policy[deny[0]]";
    check_of(&update, "a", "plaintext", ("POST /api/x content-type:application/grpc", denied));
    check_of(&update, "a", "plaintext", ("POST /api/x content-type:application/json", "allowed"));
}

#[test]
fn what_opens_a_port_is_told() {
    assert_eq!(
        summary(&read(INBOUND)),
        [
            "unused_cluster 8:3",
            "unused_cluster 10:3",
            "unused_cluster 11:3",
            "inbound_opened 30:11",
            "deny_evaded 31:34",
            "inbound_opened 33:16",
            "inbound_opened 33:61",
        ]
    );
    let text =
        "version: 1\nidentity: { spire: \"unix:///a\" }\ninbound: { a: {}, b: { allow: [] } }\n";
    assert_eq!(summary(&read(text)), ["inbound_refuses_all 3:12"]);
}

/// What is wrong with an `inbound` or `identity` of these keys.
#[track_caller]
fn wrong(text: &str, expected: &[(&str, &str)]) {
    let loaded = read(&format!("version: 1\n{text}\n"));
    let found = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    let found: Vec<_> =
        found.map(|d| (d.code, format!("{}; {:?}", d.message, d.suggestion))).collect();
    assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
    for ((code, text), (expected, part)) in found.iter().zip(expected) {
        assert_eq!(code, expected);
        assert!(text.contains(part), "{text}");
    }
    assert!(loaded.update.is_none());
}

#[test]
fn each_mistake_has_a_way_out() {
    let port = |keys: &str| format!("inbound: {{ web: {{ {keys} }} }}");
    let off = |rules: &str| port(&format!("mtls: off, allow: [{rules}]"));
    let mine = |rules: &str| {
        format!("identity: {{ spire: \"unix:///a\" }}\n{}", port(&format!("allow: [{rules}]")))
    };
    wrong(&port("allow: []"), &[("tls_without_identity", "open the port: `mtls: off`")]);
    wrong(&port("mtls: permissive"), &[("tls_without_identity", "mutual TLS needs an identity")]);
    wrong(&port("mtls: strikt"), &[("unknown_word", "did you mean `strict`?")]);
    wrong(&port("mtls: { until: 2030-01-01 }"), &[("missing_key", "`mode`")]);
    wrong(&port("mtls: { mode: off, until: 2030-02-30 }"), &[("invalid_date", "2030-12-31")]);
    wrong(&port("mtls: off, alow: []"), &[("unknown_key", "did you mean `allow`?")]);
    wrong(&port("mtls: off, limits: { max_headers: 0 }"), &[("out_of_range", "between 1 and")]);
    wrong(&port("mtls: off, listen: \"8443\""), &[("invalid_address", "the port is missing")]);
    wrong(&off("{ match: { prefix: / } }"), &[("missing_key", "`from: anyone`")]);
    wrong(&off("{ from: [] }"), &[("out_of_range", "fits nobody")]);
    wrong(&off("{ from: anyone, match: [] }"), &[("out_of_range", "leave it out")]);
    wrong(&off("{ from: anyon }"), &[("invalid_spiffe_id", "did you mean `anyone`?")]);
    wrong(&off("{ from: \"spiffe://a/b\" }"), &[("identity_never_proven", "`mtls: strict`")]);
    wrong(&off("{ from: authenticated }"), &[("identity_never_proven", "never fits")]);
    wrong(&off("{ from: { ip: 10.0.0.0/33 } }"), &[("invalid_address", "10.0.0.0/33")]);
    wrong(&off("{ from: { ip: 10.0.0.0/ } }"), &[("invalid_address", "a number")]);
    wrong(&off("{ from: { ip: a } }"), &[("invalid_address", "no IP address")]);
    wrong(&off("{ from: anyone, match: { fraction: 1% } }"), &[("unknown_key", "fraction")]);
    wrong(&off("{ from: anyone, match: { query: { a: b } } }"), &[("unknown_key", "query")]);
    wrong(
        &off("{ from: anyone, match: { headers: { grpc-timeout: 1S } } }"),
        &[("invalid_header_name", "gRPC's own")],
    );
    wrong(
        &off("{ from: anyone, match: { headers: { upgrade: websocket } } }"),
        &[("invalid_header_name", "`upgrade`: it is about a connection")],
    );
    wrong(
        &off("{ name: a, from: anyone }, { name: a, from: anyone }"),
        &[("duplicate_name", "`a`")],
    );
    wrong(&mine("{ from: \"spiffe://a\" }"), &[("invalid_spiffe_id", "write `spiffe://a/*`")]);
    wrong(&mine("{ from: \"spiffe://a/b*\" }"), &[("invalid_spiffe_id", "whole segments")]);
    wrong(&mine("{ from: \"spiffe://A/*\" }"), &[("invalid_spiffe_id", "for example")]);
    wrong(&mine("{ from: { namespace: Shop } }"), &[("invalid_spiffe_id", "RFC 1123")]);
    wrong(
        "inbound: { a: { mtls: off, listen: \"0.0.0.0:1\" }, b: { mtls: off, listen: \"0.0.0.0:1\" } }",
        &[("duplicate_listen", "`0.0.0.0:1` is listened at already")],
    );
}

#[test]
fn each_mistake_about_an_identity_has_a_way_out() {
    for sni in ["*", "a b", "a:1", "127.0.0.1", "a..b", "a."] {
        let text = format!(
            "clusters: {{ a: {{ dns: \"a:1\", tls: {{ roots: system, sni: '{sni}' }} }} }}"
        );
        wrong(&text, &[("invalid_address", "is no DNS name")]);
    }
    wrong(
        "clusters: { a: { dns: \"a:1\", tls: { roots: system, san: \"spiffe://a/*\" } } }",
        &[("invalid_spiffe_id", "write `{ prefix: ")],
    );
    wrong("identity: { cert: a }", &[("missing_key", "`key`"), ("missing_key", "`roots`")]);
    wrong("identity: { key: a }", &[("missing_key", "`cert` or `spire`")]);
    wrong("identity: { spire: \"unix:///a\", roots: b }", &[("misplaced_key", "leave it out")]);
    wrong("identity: { spire: /run/a }", &[("invalid_address", "write `unix:///run/a`")]);
    wrong("identity: { spire: \"tcp://a:1\" }", &[("invalid_address", "127.0.0.1:8081")]);
    wrong(
        "identity: { spire: \"unix:///a\", spiffe_id: \"spiffe://a\" }",
        &[("invalid_spiffe_id", "no workload in it")],
    );
    wrong(
        "identity: { cert: \"-----BEGIN CERTIFICATE-----\", key: b, roots: c }",
        &[("wrong_type", "no place for keys")],
    );
    wrong(
        "clusters: { a: { dns: \"a:1\", tls: { roots: mesh } } }",
        &[("tls_without_identity", "")],
    );
    wrong(
        "clusters: { a: { dns: \"a:1\", tls: { client_certificate: true } } }",
        &[("tls_without_identity", "`client_certificate: true`")],
    );
    wrong(
        "clusters: { a: { dns: \"a:1\", tls: mash } }",
        &[("unknown_word", "did you mean `mesh`?")],
    );
}

#[test]
fn an_id_is_what_it_is_in_from() {
    let read = |from: &str| {
        let text = format!(
            "version: 1\nidentity: {{ cert: a, key: b, roots: c }}\ninbound: {{ a: {{ allow: [{{ from: {from} }}] }} }}\n"
        );
        let loaded = read(&text);
        let codes: Vec<_> = loaded.diagnostics.iter().map(|found| found.code).collect();
        (codes, loaded.update.map(|update| chain(&update, "a", 0)))
    };
    for text in [
        "spiffe://example.org/shop",
        "spiffe://example.org/*",
        "spiffe://example.org/ns/shop/*",
        "spiffe://example.org/shop*",
        "spiffe://example.org",
        "spiffe://EXAMPLE.org/shop",
        "spiffe://example.org/a b",
        "spiffe://*",
        "*",
        "shop",
    ] {
        let expected = read(&format!("\"{text}\""));
        assert_eq!(expected.0.is_empty(), expected.1.is_some(), "{text}");
        for id in [format!("{{ id: \"{text}\" }}"), format!("{{ id: {{ exact: \"{text}\" }} }}")] {
            assert_eq!(read(&id), expected, "{id}");
        }
    }
    // Who is no workload is no id.
    assert!(read("{ id: anyone }").1.is_none());
}

/// A program that has an identity, and looks at those of documents.
#[derive(Default)]
struct Looks(Vec<IdentityTrouble>, Option<WallTime>);

impl Environment for Looks {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str, _: &str) -> Result<String, FileError> {
        Err(FileError::new("nothing is here"))
    }

    fn has_identity(&self) -> bool {
        true
    }

    fn examine_identity(&self, _: &IdentityConfig) -> Vec<IdentityTrouble> {
        self.0.clone()
    }

    fn now(&self) -> Option<WallTime> {
        self.1
    }
}

#[test]
fn an_opening_that_has_ended_is_no_opening() {
    let read = |mode: &str, now: Option<&str>| {
        let text = format!(
            "version: 1\nidentity: {{ cert: a, key: b, roots: c }}\ninbound: {{ a: {{ allow: [{{ from: anyone, match: {{ prefix: /a }} }}],\n  mtls: {{ mode: {mode}, until: 2026-03-01 }} }} }}\n"
        );
        let looks = Looks(Vec::new(), now.map(|now| WallTime::parse_rfc3339(now).unwrap()));
        let documents = [Document { name: "a.yaml", text: &text }];
        let loaded = load(&documents, &looks, &Bounds::default());
        assert!(loaded.update.is_some());
        summary(&loaded)
    };
    for mode in ["permissive", "\"off\""] {
        assert_eq!(read(mode, None), ["inbound_opened 4:9"]);
        assert_eq!(read(mode, Some("2026-02-28T23:59:59Z")), ["inbound_opened 4:9"]);
    }
    assert_eq!(read("permissive", Some("2026-03-01")), ["ineffective_key 4:9"]);
    assert_eq!(read("\"off\"", Some("2026-03-01")), ["inbound_refuses_all 4:9"]);
}

#[test]
fn what_is_found_in_files_is_told_where_they_are_named() {
    let trouble = IdentityTrouble::new;
    let looks = Looks(
        vec![
            trouble(IdentityPart::Cert, IdentityTroubleKind::Invalid, "it is over"),
            trouble(IdentityPart::Key, IdentityTroubleKind::Unreadable, "it is not there"),
            trouble(IdentityPart::Roots, IdentityTroubleKind::EndsSoon, "it will be over"),
            trouble(IdentityPart::SpiffeId, IdentityTroubleKind::Invalid, "it is another")
                .suggest("?"),
        ],
        None,
    );
    let text = "version: 1\nidentity: { cert: a, key: b, roots: c }\n";
    let loaded = load(&[Document { name: "a.yaml", text }], &looks, &Bounds::default());
    assert_eq!(
        summary(&loaded),
        [
            "invalid_identity 2:11",
            "invalid_identity 2:19",
            "unreadable_file 2:27",
            "identity_ends_soon 2:37",
        ]
    );
    assert!(loaded.update.is_none());
}

/// Roots of clusters are looked at, too: what is in their files, by the path from where they are named.
#[test]
fn what_is_found_in_roots_is_told_where_they_are_named() {
    struct Roots(IdentityTroubleKind);
    impl Environment for Roots {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn file(&self, _: &str, path: &str) -> Result<String, FileError> {
            Ok(format!("-----BEGIN CERTIFICATE-----\n{path}"))
        }

        fn examine_roots(&self, path: &Path, pem: &str) -> Vec<IdentityTrouble> {
            assert_eq!((path, pem.lines().last()), (Path::new("etc/ca.pem"), Some("ca.pem")));
            vec![IdentityTrouble::new(IdentityPart::Roots, self.0, "they are odd")]
        }
    }
    let text = "version: 1
clusters:
  a: { dns: \"a:80\", tls: { roots: ca.pem } }
  b: { dns: \"b:80\", tls: { roots: ca.pem } }
";
    let read = |kind| {
        let documents = [Document { name: "etc/a.yaml", text }];
        let loaded = load(&documents, &Roots(kind), &Bounds::default());
        let found = summary(&loaded).into_iter().filter(|line| !line.starts_with("unused"));
        (loaded.update.is_some(), found.collect::<Vec<_>>())
    };
    let (is_used, found) = read(IdentityTroubleKind::EndsSoon);
    assert!(is_used && found == ["identity_ends_soon 3:35"], "a file is looked at once: {found:?}");
    let both = ["invalid_roots 3:35", "invalid_roots 4:35"].map(str::to_owned).to_vec();
    assert_eq!(read(IdentityTroubleKind::Invalid), (false, both));
}

#[test]
fn the_identity_of_a_program_secures_clusters() {
    let text = "version: 1\nvirtual_hosts: { a: { routes: [{ cluster: one }] } }\nclusters: { one: { dns: \"a:80\" } }\n";
    let documents = [Document { name: "a.yaml", text }];
    let loaded = load(&documents, &Looks::default(), &Bounds::default());
    let update = loaded.update.unwrap();
    assert_eq!(upstream(&update, "one").identity, TlsIdentity::Mesh);
    assert_eq!(update.identity, None);
}
