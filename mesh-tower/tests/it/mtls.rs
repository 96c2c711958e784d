//! TLS to endpoints: who is believed, what is shown, and what happens when that changes.

mod access_log;
#[path = "../../src/tls/tests/ca.rs"]
#[expect(dead_code, reason = "tests of the verifier want more of it")]
mod ca;
mod named;
mod per_endpoint;
mod server;
mod shown;
mod trust_domains;

use crate::fixture::{
    bounded, call, cluster, config_with, eventually, get, grpc, metric, over_h2, text,
};
use ca::{Ca, Pair};
use http::Request;
use mesh_core::model::matcher::{StringMatcher, StringPattern};
use mesh_core::model::san::{SanKind, SanMatcher};
use mesh_core::model::secret::{
    Secret, SecretCertificate, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use mesh_core::model::tls::{TlsIdentity, TlsRoots, UpstreamTls, ValidationSecret};
use mesh_core::model::{Address, ClusterLoadAssignment, Endpoint, Protocol, TlsPolicy};
use mesh_core::update::{ConfigUpdate, Origin, SecretAnswer};
use mesh_tower::identity::{FixedIdentity, IdentityUpdates, Material};
use mesh_tower::source::Updates;
use mesh_tower::{Mesh, MeshBody};
use server::{Server, Setup};
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const CLIENT: &str = "spiffe://mesh.example/client";
const SHOP: &str = "spiffe://mesh.example/shop";

fn material(pair: &Pair, roots: &str) -> Material {
    Material::from_pem(pair.chain.as_bytes(), pair.key.as_bytes(), roots.as_bytes()).unwrap()
}

/// The mesh's own identity, whoever shows one of these names.
fn mesh_tls(san: &[&str]) -> UpstreamTls {
    let mut tls = UpstreamTls::default();
    tls.identity = TlsIdentity::Mesh;
    tls.roots = TlsRoots::Mesh;
    tls.san = san.iter().map(|name| SanMatcher::uri(*name)).collect();
    tls
}

/// No identity, and these roots.
fn plain_tls(ca: &Ca) -> UpstreamTls {
    let mut tls = UpstreamTls::default();
    tls.roots = TlsRoots::Pem(ca.pem().into());
    tls
}

/// A cluster of one endpoint.
fn update(
    tls: UpstreamTls,
    address: SocketAddr,
    hostname: Option<&str>,
    change: impl FnOnce(&mut mesh_core::model::Cluster),
) -> ConfigUpdate {
    let mut endpoint = Endpoint::new(Address::from(address));
    endpoint.hostname = hostname.map(Arc::from);
    let cluster = cluster(|cluster| {
        cluster.tls = TlsPolicy::On(Arc::new(tls));
        change(cluster);
    });
    config_with(cluster, Some(ClusterLoadAssignment::of([endpoint])), |action| {
        action.timeout = Duration::from_secs(20);
    })
}

/// A mesh with an identity, once that is in force.
async fn identified(first: Material, update: ConfigUpdate) -> (Mesh, IdentityUpdates) {
    let (source, updates) = FixedIdentity::new(Some(first));
    let mesh = Mesh::builder().identity(source).config(update).build().unwrap();
    let identities = mesh.identities().unwrap().clone();
    eventually("there is an identity", || identities.current().is_ok()).await;
    (mesh, updates)
}

/// What the server says, or the code and the text of the error.
async fn says(mesh: &Mesh, request: Request<MeshBody>) -> Result<String, String> {
    match call(mesh, request).await {
        Ok(response) => Ok(text(response).await),
        Err(error) => {
            let mut told = error.code().to_owned();
            let mut next = error.source();
            while let Some(source) = next {
                told = format!("{told}: {source}");
                next = source.source();
            }
            Err(told)
        }
    }
}

/// The call goes well and is answered by this, or fails by this code and all of these words.
#[track_caller]
fn check(found: &Result<String, String>, expected: Result<&str, &[&str]>, what: &str) {
    match (found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{what}"),
        (Err(found), Err(words)) => {
            assert!(found.starts_with(&format!("{}:", words[0])), "{what}: {found}");
            for word in words {
                assert!(found.contains(word), "{what}: `{word}` is not in: {found}");
            }
        }
        (found, expected) => panic!("{what}: {found:?}, not {expected:?}"),
    }
}

/// Every version of TLS, with every version of HTTP.
const KINDS: [(&rustls::SupportedProtocolVersion, Protocol, &str); 4] = [
    (&rustls::version::TLS12, Protocol::Http1, "HTTP/1.1"),
    (&rustls::version::TLS12, Protocol::Http2, "HTTP/2.0"),
    (&rustls::version::TLS13, Protocol::Http1, "HTTP/1.1"),
    (&rustls::version::TLS13, Protocol::Http2, "HTTP/2.0"),
];

#[tokio::test]
async fn who_is_there_is_proven_on_both_sides() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let client = ours.issue(CLIENT, 0x77);
    let shop = || ours.issue(SHOP, 0x5);
    let other = "spiffe://mesh.example/cart";
    let refused: &[&str] = &["connect_tls_refused", "alert CertificateRequired", "have none"];
    let foreign: &[&str] = &["connect_tls_refused", "UnknownCA", CLIENT, "serial 77", "ends on 2"];
    let name: &[&str] = &["connect_tls_name", SHOP, other, "serial 05", "the mesh's identity"];
    // 30 s, or a little more.
    let over: &[&str] = &["connect_tls_expired", SHOP, "ended 3", " s ago"];
    for (version, protocol, http) in KINDS {
        let good = format!("{http} {CLIENT}#77 -");
        let anonymous = format!("{http} - -");
        type Row<'r> = (&'r str, Setup<'r>, UpstreamTls, Result<&'r str, &'r [&'r str]>);
        let table: Vec<Row<'_>> = vec![
            ("the right one", Setup::mutual(shop(), &ours), mesh_tls(&[SHOP]), Ok(&good)),
            ("nobody is asked", Setup::new(shop()), mesh_tls(&[SHOP]), Ok(&anonymous)),
            ("another name", Setup::mutual(shop(), &ours), mesh_tls(&[other]), Err(name)),
            (
                "another trust domain",
                Setup::mutual(theirs.issue("spiffe://other.example/shop", 5), &ours),
                mesh_tls(&["spiffe://other.example/shop"]),
                Err(&["connect_tls_untrusted", "other.example", "1 roots", "theirs"]),
            ),
            (
                "over",
                Setup::mutual(ours.issue_for(SHOP, 5, (-60, -30)), &ours),
                mesh_tls(&[SHOP]),
                Err(over),
            ),
            (
                "not begun",
                Setup::mutual(ours.issue_for(SHOP, 5, (60, 90)), &ours),
                mesh_tls(&[SHOP]),
                Err(&["connect_tls_not_yet_valid", SHOP, "clocks"]),
            ),
            (
                "a certificate is wanted",
                Setup::mutual(shop(), &ours),
                {
                    let mut tls = plain_tls(&ours);
                    tls.san = vec![SanMatcher::uri(SHOP)];
                    tls
                },
                Err(refused),
            ),
            (
                "we are not believed",
                Setup::mutual(shop(), &theirs),
                mesh_tls(&[SHOP]),
                Err(foreign),
            ),
        ];
        for (what, mut setup, tls, expected) in table {
            setup.version = version;
            let server = Server::start(&setup).await;
            let update = update(tls, server.address, None, |cluster| cluster.protocol = protocol);
            let (mesh, _) = identified(material(&client, &ours.pem()), update).await;
            let found = says(&mesh, get("/")).await;
            // Of TLS 1.2 a missing certificate has no alert of its own.
            check(&found, expected, &format!("{what}, {version:?}, {protocol:?}"));
        }
    }
}

#[tokio::test]
async fn a_name_of_dns_is_sent_and_proven() {
    let ca = Ca::new("ours");
    let server = Server::start(&Setup::new(ca.issue("shop.example", 1))).await;
    let sends = |sni: Option<&str>, hostname| {
        let mut tls = plain_tls(&ca);
        tls.sni = sni.map(Arc::from);
        tls.auto_host_sni = sni.is_none();
        let update = update(tls, server.address, hostname, |_| {});
        Mesh::builder().config(update).build().unwrap()
    };
    let good = Ok("HTTP/2.0 - shop.example");
    check(&says(&sends(None, Some("shop.example")), get("/")).await, good, "the endpoint's");
    check(&says(&sends(Some("shop.example"), Some("x.y")), get("/")).await, good, "the policy's");
    let wrong: &[&str] = &["connect_tls_name", "shop.example", "expected: `cart.example`"];
    check(&says(&sends(None, Some("cart.example")), get("/")).await, Err(wrong), "another");
    let none: &[&str] = &["connect_tls_name", "expected: `127.0.0.1`"];
    check(&says(&sends(None, None), get("/")).await, Err(none), "none");
    // Whom the system believes did not sign this.
    let mut tls = UpstreamTls::default();
    tls.sni = Some("shop.example".into());
    let mesh = Mesh::builder().config(update(tls, server.address, None, |_| {})).build().unwrap();
    let system: &[&str] = &["connect_tls_untrusted", "roots of the system"];
    check(&says(&mesh, get("/")).await, Err(system), "the system's");
    // The endpoint has another name, and is the same one.
    let (updates, source) = Updates::new();
    let mesh = Mesh::builder().source(source).build().unwrap();
    for (generation, hostname) in [(1, "cart.example"), (2, "shop.example")] {
        let mut update = update(plain_tls(&ca), server.address, Some(hostname), |_| {});
        update.origin = Origin::new("test", hostname);
        updates.apply(update);
        bounded(mesh.applied(generation)).await.unwrap();
        let found = says(&mesh, get("/")).await;
        assert_eq!(found.is_ok(), hostname == "shop.example", "{found:?}");
    }
}

/// gRFC A101: the endpoint's hostname, if that is wanted, before `sni`, before none; and what counts.
#[tokio::test]
async fn grfc_a101_which_name_is_sent_and_what_is_proven() {
    let ca = Ca::new("ours");
    let client = ca.issue(CLIENT, 0x77);
    // Of the mesh, and none of those that are expected.
    let server = Server::start(&Setup::new(ca.issue(SHOP, 5))).await;
    let named = Server::start(&Setup::new(ca.issue("web.example", 5))).await;
    let cart = "spiffe://mesh.example/cart";
    let (web, other) = (Some("web.example"), Some("other.example"));
    let answered = |sni: &str| Ok(format!("HTTP/2.0 - {sni}"));
    let refused = |text: &'static str| Err(["connect_tls_name", text]);
    let of_web = "expected: `web.example`";
    let of_cart = "expected: `spiffe://mesh.example/cart`";
    let says = async |server: &Server, tls: UpstreamTls, hostname| {
        let update = update(tls, server.address, hostname, |_| {});
        let (mesh, _updates) = identified(material(&client, &ca.pem()), update).await;
        says(&mesh, get("/")).await
    };
    // `sni`, `auto_host_sni`, hostname; without names; with a name that the SNI takes the place of.
    for (sni, auto_host_sni, hostname, any, instead) in [
        (None, false, None, answered("-"), refused(of_cart)),
        (None, false, web, answered("-"), refused(of_cart)),
        (None, true, None, answered("-"), refused(of_cart)),
        (None, true, web, refused(of_web), refused(of_web)),
        (web, false, None, refused(of_web), refused(of_web)),
        (web, false, other, refused(of_web), refused(of_web)),
        (web, true, None, refused(of_web), refused(of_web)),
        (other, true, web, refused(of_web), refused(of_web)),
    ] {
        let what = format!("{sni:?} {auto_host_sni} {hostname:?}");
        let check = |found: &Result<String, String>, expected: &Result<String, [&str; 2]>| {
            let expected = expected.as_ref().map(String::as_str).map_err(|words| &words[..]);
            check(found, expected, &what);
        };
        let policy = |san: &[&str]| {
            let mut tls = mesh_tls(san);
            tls.identity = TlsIdentity::None;
            tls.sni = sni.map(Arc::from);
            tls.auto_host_sni = auto_host_sni;
            tls.auto_sni_san_validation = !san.is_empty();
            tls
        };
        check(&says(&server, policy(&[]), hostname).await, &any);
        check(&says(&server, policy(&[cart]), hostname).await, &instead);
        // The SNI is that name, where one is sent.
        let sent = if any.is_ok() { any } else { answered("web.example") };
        check(&says(&named, policy(&[]), hostname).await, &sent);
    }
    // Roots of no identity: the hostname is proven and not sent.
    let mut tls = plain_tls(&ca);
    tls.auto_host_sni = false;
    check(&says(&named, tls.clone(), web).await, Ok("HTTP/2.0 - -"), "the hostname");
    let wrong: &[&str] = &["connect_tls_name", "expected: `other.example`"];
    check(&says(&named, tls, other).await, Err(wrong), "another hostname");
}

#[tokio::test]
async fn what_is_agreed_on_all_calls_take() {
    let ca = Ca::new("ours");
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
        (&["h2"], "HTTP/2.0"),
        (&[], "HTTP/1.1"),
    ] {
        let mut setup = Setup::new(ca.issue("shop.example", 1));
        setup.alpn = alpn;
        let server = Server::start(&setup).await;
        let update = update(plain_tls(&ca), server.address, Some("shop.example"), |_| {});
        let mesh = Mesh::builder().config(update).build().unwrap();
        // All at once, so that most wait in the queue that is not agreed on.
        let calls = (0..40).map(|number| {
            let request = match number % 3 {
                0 => get("/"),
                1 => over_h2(get("/")),
                _ => grpc("/"),
            };
            says(&mesh, request)
        });
        let expected = format!("{version} - shop.example");
        for found in bounded(futures_util::future::join_all(calls)).await {
            check(&found, Ok(&expected), &format!("{alpn:?}"));
        }
        // It changes its mind: whoever comes next is served nevertheless.
        setup.alpn = if version == "HTTP/2.0" { &["http/1.1"] } else { &["h2"] };
        server.becomes(&setup);
        assert!(says(&mesh, get("/")).await.is_ok());
    }
}

#[tokio::test]
async fn an_identity_rotates_under_load() {
    let ca = Ca::new("ours");
    for (_, protocol, http) in [KINDS[2], KINDS[3]] {
        let server = Server::start(&Setup::mutual(ca.issue(SHOP, 1), &ca)).await;
        let update = update(mesh_tls(&[SHOP]), server.address, None, |cluster| {
            cluster.protocol = protocol;
            cluster.connection.max_requests_per_connection = 20;
        });
        let first = material(&ca.issue(CLIENT, 0x100), &ca.pem());
        let (mesh, updates) = identified(first, update).await;
        let until = Instant::now() + Duration::from_millis(1500);
        let load = (0..4).map(|_| async {
            let mut calls = 0;
            while Instant::now() < until {
                says(&mesh, get("/")).await.unwrap();
                calls += 1;
            }
            calls
        });
        let rotate = async {
            let mut serial = 0x100;
            while Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(100)).await;
                serial += 1;
                let next = material(&ca.issue(CLIENT, serial), &ca.pem());
                updates.publish(next).await.unwrap();
            }
            serial
        };
        let (calls, serial) = tokio::join!(futures_util::future::join_all(load), rotate);
        let calls: u32 = calls.into_iter().sum();
        assert!(calls > 100 && serial > 0x105, "{calls} calls, {serial:x}");
        assert!(server.accepted.get() > 5, "connections are made while it rotates");
        // What was made before has at most 20 calls left, on each connection.
        let expected = format!("{http} {CLIENT}#{serial:04x} -");
        let mut newest = false;
        for _ in 0..200 {
            newest |= says(&mesh, get("/")).await.unwrap() == expected;
        }
        assert!(newest, "a new connection shows the new one");
        let mutual = [("security", "mutual_tls"), ("peer", SHOP)];
        let opened = metric(&mesh, "mesh_connections_secured_total", &mutual);
        assert_eq!(opened, metric(&mesh, "mesh_connections_opened_total", &[]));
        assert_eq!(metric(&mesh, "mesh_connections_failed_total", &[]), 0);
        let sent = metric(&mesh, "mesh_attempts_secured_total", &mutual);
        assert!(
            sent >= u64::from(calls) + 200,
            "calls on connections that ended count, too: {sent}"
        );
    }
}

#[tokio::test]
async fn a_root_that_is_withdrawn_retires_what_led_to_it() {
    let (ours, old) = (Ca::new("ours"), Ca::new("old"));
    for (_, protocol, _) in [KINDS[2], KINDS[3]] {
        let server = Server::start(&Setup::mutual(old.issue(SHOP, 1), &ours)).await;
        let update = update(mesh_tls(&[SHOP]), server.address, None, |cluster| {
            cluster.protocol = protocol;
        });
        let client = ours.issue(CLIENT, 0x77);
        let both = ours.pem() + &old.pem();
        let (mesh, updates) = identified(material(&client, &both), update).await;
        says(&mesh, get("/")).await.unwrap();
        // Renewed, and the roots are the same ones: nothing ends.
        updates.publish(material(&ours.issue(CLIENT, 0x78), &both)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        says(&mesh, get("/")).await.unwrap();
        assert_eq!(server.accepted.get(), 1);
        let (slow, ()) = tokio::join!(says(&mesh, get("/slow")), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            updates.publish(material(&client, &ours.pem())).await.unwrap();
        });
        assert!(slow.is_ok(), "the call in flight ends as it should: {slow:?}");
        eventually("the connection ends", || {
            metric(&mesh, "mesh_connections_closed_total", &[("reason", "untrusted")]) == 1
        })
        .await;
        let words: &[&str] = &["connect_tls_untrusted", SHOP, "old", "1 roots"];
        check(&says(&mesh, get("/")).await, Err(words), "withdrawn");
        let failed = [("reason", "tls_untrusted")];
        assert!(metric(&mesh, "mesh_connections_failed_total", &failed) > 0);
    }
}

#[tokio::test]
async fn a_new_hostname_retires_what_has_not_that_name() {
    let ca = Ca::new("ours");
    for (_, protocol, http) in [KINDS[2], KINDS[3]] {
        // Who is expected is the hostname, and then the policy's own name.
        for sni in [None, Some("shop.example")] {
            let server = Server::start(&Setup::new(ca.issue("shop.example", 1))).await;
            let (updates, source) = Updates::new();
            let mesh = Mesh::builder().source(source).build().unwrap();
            let becomes = async |generation, hostname: &str| {
                let mut tls = plain_tls(&ca);
                (tls.sni, tls.auto_host_sni) = (sni.map(Arc::from), sni.is_none());
                let mut update = update(tls, server.address, Some(hostname), |cluster| {
                    cluster.protocol = protocol;
                });
                update.origin = Origin::new("test", hostname);
                updates.apply(update);
                bounded(mesh.applied(generation)).await.unwrap();
            };
            let good = format!("{http} - shop.example");
            becomes(1, "shop.example").await;
            check(&says(&mesh, get("/")).await, Ok(&good), "the first");
            becomes(2, "cart.example").await;
            let closed =
                || metric(&mesh, "mesh_connections_closed_total", &[("reason", "untrusted")]);
            if sni.is_none() {
                eventually("the connection ends", || closed() == 1).await;
                let words: &[&str] = &["connect_tls_name", "expected: `cart.example`"];
                check(&says(&mesh, get("/")).await, Err(words), "another");
            } else {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                check(&says(&mesh, get("/")).await, Ok(&good), "the policy's");
                assert_eq!((server.accepted.get(), closed()), (1, 0));
            }
        }
    }
}

#[tokio::test]
async fn without_a_valid_identity_it_fails_closed_and_recovers_at_once() {
    let ca = Ca::new("ours");
    for (_, protocol, http) in [KINDS[2], KINDS[3]] {
        let server = Server::start(&Setup::mutual(ca.issue(SHOP, 1), &ca)).await;
        let update = update(mesh_tls(&[SHOP]), server.address, None, |cluster| {
            cluster.protocol = protocol;
        });
        let (source, updates) = FixedIdentity::new(None);
        let mesh = Mesh::builder().identity(source).config(update).build().unwrap();
        let words: &[&str] = &["connect_identity_unavailable", "no identity yet"];
        check(&says(&mesh, get("/")).await, Err(words), "before the first");
        let short = ca.issue_for(CLIENT, 0x10, (-60, 3));
        updates.publish(material(&short, &ca.pem())).await.unwrap();
        let first = format!("{http} {CLIENT}#10 -");
        check(&says(&mesh, get("/")).await, Ok(&first), "the first");
        eventually("the connection ends with the certificate", || {
            let reason = [("reason", "certificate_ended")];
            metric(&mesh, "mesh_connections_closed_total", &reason) == 1
        })
        .await;
        for _ in 0..3 {
            let words: &[&str] = &["connect_identity_unavailable", "our certificate ended"];
            check(&says(&mesh, get("/")).await, Err(words), "over");
        }
        assert_eq!(server.accepted.get(), 1, "nobody is connected to");
        updates.publish(material(&ca.issue(CLIENT, 0x11), &ca.pem())).await.unwrap();
        let back = Instant::now();
        let second = format!("{http} {CLIENT}#11 -");
        check(&says(&mesh, get("/")).await, Ok(&second), "the second");
        assert!(back.elapsed() < Duration::from_secs(1), "{:?}", back.elapsed());
    }
    // The mesh has none at all.
    let update = update(mesh_tls(&[SHOP]), ([127, 0, 0, 1], 1).into(), None, |_| {});
    let mesh = Mesh::builder().config(update).build().unwrap();
    let words: &[&str] = &["connect_identity_unavailable", "Builder::identity"];
    check(&says(&mesh, get("/")).await, Err(words), "nobody");
}

#[tokio::test]
async fn secrets_that_come_make_a_cluster_work() {
    let ca = Ca::new("ours");
    let server = Server::start(&Setup::mutual(ca.issue(SHOP, 1), &ca)).await;
    let inline = |text: &str| SecretSource::Inline(text.as_bytes().into());
    let mut tls = UpstreamTls::default();
    tls.identity = TlsIdentity::Secret("id".into());
    tls.roots = TlsRoots::Secret(ValidationSecret::new("roots"));
    let without = update(tls, server.address, None, |_| {});
    let (updates, source) = Updates::new();
    let mesh = Mesh::builder().source(source).build().unwrap();
    updates.apply(without.clone());
    bounded(mesh.applied(1)).await.unwrap();
    let words: &[&str] = &["connect_secret_unavailable", "`id`"];
    check(&says(&mesh, get("/")).await, Err(words), "none");
    let mut with = without;
    with.origin = Origin::new("test", "2");
    let pair = ca.issue(CLIENT, 0x20);
    let id = SecretCertificate::new(inline(&pair.chain), inline(&pair.key));
    let mut roots = SecretValidation::new(SecretRoots::Pem(inline(&ca.pem())));
    let prefix = StringMatcher::new(StringPattern::Prefix("spiffe://mesh.example/".into()));
    roots.san = vec![SanMatcher { kind: SanKind::Uri, matcher: prefix }];
    let contents =
        [("id", SecretContent::Certificate(id)), ("roots", SecretContent::Validation(roots))];
    with.secrets = Arc::new(
        contents
            .map(|(name, content)| {
                let secret = Arc::new(Secret::new(name, content));
                (Arc::from(name), SecretAnswer::Known(secret))
            })
            .into(),
    );
    updates.apply(with);
    bounded(mesh.applied(2)).await.unwrap();
    let good = format!("HTTP/2.0 {CLIENT}#20 -");
    check(&says(&mesh, get("/")).await, Ok(&good), "both");
}

/// `id` and `roots`, as a control plane has sent them, in the next update.
fn secrets_of(before: &ConfigUpdate, version: &str, pair: &Pair, roots: &str) -> ConfigUpdate {
    let inline = |text: &str| SecretSource::Inline(text.as_bytes().into());
    let id = SecretCertificate::new(inline(&pair.chain), inline(&pair.key));
    let mut roots = SecretValidation::new(SecretRoots::Pem(inline(roots)));
    roots.san = vec![SanMatcher::uri(SHOP)];
    let contents =
        [("id", SecretContent::Certificate(id)), ("roots", SecretContent::Validation(roots))];
    let known = contents.map(|(name, content)| {
        (Arc::from(name), SecretAnswer::Known(Arc::new(Secret::new(name, content))))
    });
    let mut update = before.clone();
    (update.origin, update.secrets) = (Origin::new("test", version), Arc::new(known.into()));
    update
}

#[tokio::test]
async fn secrets_that_cannot_be_used_change_nothing() {
    const JUNK: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let ca = Ca::new("ours");
    let server = Server::start(&Setup::mutual(ca.issue(SHOP, 1), &ca)).await;
    let mut tls = UpstreamTls::default();
    tls.identity = TlsIdentity::Secret("id".into());
    tls.roots = TlsRoots::Secret(ValidationSecret::new("roots"));
    let without = update(tls, server.address, None, |cluster| {
        cluster.protocol = Protocol::Http2;
        cluster.connection.max_requests_per_connection = 1;
    });
    let (updates, source) = Updates::new();
    let mesh = Mesh::builder().source(source).build().unwrap();
    let [first, second, third] = [0x20, 0x21, 0x22].map(|serial| ca.issue(CLIENT, serial));
    let mixed = Pair { chain: second.chain.clone(), key: first.key.clone() };
    let good = |serial| Ok(format!("HTTP/2.0 {CLIENT}#{serial} -"));
    let unusable = |what: &str| Err(format!("{what} in the configuration"));
    let rows = [
        (&mixed, JUNK.to_owned(), unusable("our certificate")),
        (&first, JUNK.to_owned(), unusable("the roots")),
        (&first, ca.pem(), good("20")),
        (&mixed, JUNK.to_owned(), good("20")),
        (&third, ca.pem(), good("22")),
    ];
    for (generation, (pair, roots, expected)) in (1..).zip(rows) {
        updates.apply(secrets_of(&without, &generation.to_string(), pair, &roots));
        bounded(mesh.applied(generation)).await.unwrap();
        let found = says(&mesh, get("/")).await;
        match &expected {
            Ok(expected) => check(&found, Ok(expected), &generation.to_string()),
            Err(what) => {
                let words: &[&str] = &["connect_secret_unavailable", what];
                check(&found, Err(words), &generation.to_string());
                let mismatch = found.unwrap_err().contains("the private key is not the");
                assert_eq!(mismatch, generation == 1);
            }
        }
    }
}

#[tokio::test]
async fn files_are_read_again_when_they_change() {
    let ca = Ca::new("ours");
    let server = Server::start(&Setup::mutual(ca.issue(SHOP, 1), &ca)).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |pair: &Pair| {
        std::fs::write(path("cert.pem"), &pair.chain).unwrap();
        std::fs::write(path("key.pem"), &pair.key).unwrap();
    };
    let file = |name: &str| SecretSource::File(path(name).into());
    let mut tls = UpstreamTls::default();
    let own = SecretCertificate::new(file("cert.pem"), file("key.pem"));
    tls.identity = TlsIdentity::Certificate(Arc::new(own));
    tls.roots = TlsRoots::File(path("roots.pem").into());
    tls.san = vec![SanMatcher::uri(SHOP)];
    let update = update(tls, server.address, None, |cluster| {
        cluster.protocol = Protocol::Http2;
        cluster.connection.max_requests_per_connection = 1;
    });
    let mesh = Mesh::builder().config(update).build().unwrap();
    let words: &[&str] = &["connect_secret_unavailable", "cert.pem", "No such file"];
    check(&says(&mesh, get("/")).await, Err(words), "none");
    write(&ca.issue(CLIENT, 0x30));
    std::fs::write(path("roots.pem"), ca.pem()).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let first = format!("HTTP/2.0 {CLIENT}#30 -");
    check(&says(&mesh, get("/")).await, Ok(&first), "there");
    // Half of a rotation: the last good pair serves.
    let next = ca.issue(CLIENT, 0x31);
    std::fs::write(path("cert.pem"), &next.chain).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    check(&says(&mesh, get("/")).await, Ok(&first), "half");
    write(&next);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = format!("HTTP/2.0 {CLIENT}#31 -");
    check(&says(&mesh, get("/")).await, Ok(&second), "whole");
    std::fs::remove_file(path("key.pem")).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    check(&says(&mesh, get("/")).await, Ok(&second), "gone");
    // PEM, and no certificate in it.
    let junk = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    std::fs::write(path("roots.pem"), junk).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    check(&says(&mesh, get("/")).await, Ok(&second), "roots that can't be read");
}

#[tokio::test]
async fn roots_beside_a_document_are_followed_with_it() {
    let (ours, other) = (Ca::new("ours"), Ca::new("other"));
    let server = Server::start(&Setup::new(ours.issue("shop.example", 1))).await;
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let names = |roots: &str| {
        let text = format!(
            "version: 1\nvirtual_hosts:\n  a: {{ routes: [{{ cluster: a }}] }}\nclusters:\n  a: \
             {{ endpoints: [\"{}\"], tls: {{ roots: {roots}, sni: shop.example }} }}\n",
            server.address
        );
        put("mesh.yaml", &text);
    };
    put("ca.pem", &ours.pem());
    names("ca.pem");
    let mesh = Mesh::from_file(directory.path().join("mesh.yaml")).unwrap();
    bounded(mesh.ready()).await.unwrap();
    let good = Ok("HTTP/2.0 - shop.example");
    check(&says(&mesh, get("/")).await, good, "first");
    let first = mesh.configuration().version;
    put("ca.pem", &other.pem());
    bounded(mesh.applied(2)).await.unwrap();
    assert_ne!(mesh.configuration().version, first);
    let withdrawn: &[&str] = &["connect_tls_untrusted", "1 roots"];
    check(&says(&mesh, get("/")).await, Err(withdrawn), "withdrawn");
    put("ca.pem", &ours.pem());
    bounded(mesh.applied(3)).await.unwrap();
    assert_eq!(mesh.configuration().version, first);
    check(&says(&mesh, get("/")).await, good, "back");

    names("next.pem");
    eventually("it is refused", || {
        mesh.configuration().refused.is_some_and(|why| why.contains("next.pem"))
    })
    .await;
    check(&says(&mesh, get("/")).await, good, "not there");
    put("next.pem", &ours.pem());
    bounded(mesh.applied(4)).await.unwrap();
    assert!(mesh.configuration().refused.is_none());
    check(&says(&mesh, get("/")).await, good, "there");
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_as_that() {
    let plain = crate::fixture::Server::text("hello").await;
    let ca = Ca::new("ours");
    let update = update(plain_tls(&ca), plain.address, Some("shop.example"), |_| {});
    let mesh = Mesh::builder().config(update).build().unwrap();
    let found = says(&mesh, get("/")).await.unwrap_err();
    assert!(found.contains("does") && found.contains("speak TLS at this port?"), "{found}");
}

/// A byte stream is secured as connections of calls are, and who is not who he should be gets none.
#[tokio::test]
async fn a_byte_stream_is_secured_alike() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let ca = Ca::new("ours");
    let server = Server::start(&Setup::mutual(ca.issue(SHOP, 0x5), &ca)).await;
    let client = || material(&ca.issue(CLIENT, 0x77), &ca.pem());
    let tcp = |san: &[&str]| {
        update(mesh_tls(san), server.address, None, |cluster| cluster.protocol = Protocol::Tcp)
    };
    let (mesh, _updates) = identified(client(), tcp(&[SHOP])).await;
    let mut stream = bounded(mesh.connect("a")).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    bounded(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with(&format!("HTTP/1.1 {CLIENT}#77 -")), "{answer}");
    let secured = [("security", "mutual_tls"), ("peer", SHOP)];
    assert_eq!(metric(&mesh, "mesh_connections_secured_total", &secured), 1);
    let (mesh, _updates) = identified(client(), tcp(&["spiffe://mesh.example/cart"])).await;
    assert_eq!(bounded(mesh.connect("a")).await.unwrap_err().code(), "connect_tls_name");
}
