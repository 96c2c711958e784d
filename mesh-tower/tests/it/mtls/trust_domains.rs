//! Roots of two trust domains, and lists of revoked certificates, both of the configuration (Envoy:
//! `envoy.tls.cert_validator.spiffe`, `crl`).

use super::ca::{Ca, Pair};
use super::server::{Server, Setup};
use super::{CLIENT, SHOP, check, identified, material, update};
use crate::fixture::{eventually, get};
use base64::Engine as _;
use mesh_core::model::Protocol;
use mesh_core::model::secret::SecretSource;
use mesh_core::model::tls::{SpiffeBundles, TlsIdentity, TlsRoots, UpstreamTls};
use mesh_tower::identity::certificates;
use std::path::Path;
use std::sync::Arc;

const OTHER: &str = "spiffe://other.example/shop";

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

fn tls(bundles: SpiffeBundles) -> UpstreamTls {
    let mut tls = UpstreamTls::default();
    tls.identity = TlsIdentity::Mesh;
    tls.roots = TlsRoots::Spiffe(Arc::new(bundles));
    tls
}

/// What a server that shows `pair` and whose clients are of `ca` answers.
async fn says(pair: Pair, ca: &Ca, tls: UpstreamTls) -> Result<String, String> {
    let server = Server::start(&Setup::mutual(pair, ca)).await;
    let update = update(tls, server.address, None, |cluster| cluster.protocol = Protocol::Http2);
    let (mesh, _renewals) = identified(material(&ca.issue(CLIENT, 0x77), &ca.pem()), update).await;
    super::says(&mesh, get("/")).await
}

/// A SPIFFE trust bundle map.
fn map(bundles: &[(&str, &Ca)]) -> String {
    let bundles = bundles.iter().map(|(domain, ca)| {
        let der = certificates(ca.pem().as_bytes()).unwrap().remove(0);
        let der = base64::engine::general_purpose::STANDARD.encode(&der);
        format!(r#""{domain}":{{"keys":[{{"kty":"EC","use":"x509-svid","x5c":["{der}"]}}]}}"#)
    });
    format!(r#"{{"trust_domains":{{{}}}}}"#, bundles.collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn roots_sign_for_their_own_trust_domain() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let each = || {
        let all = [("mesh.example", &ours), ("other.example", &theirs)];
        SpiffeBundles::Each(all.map(|(domain, ca)| (domain.into(), inline(&ca.pem()))).into())
    };
    let both = map(&[("mesh.example", &ours), ("other.example", &theirs)]);
    let good = format!("HTTP/2.0 {CLIENT}#77 -");
    let untrusted: &[&str] = &["connect_tls_untrusted", "does not lead to a root", "2 roots"];
    for bundles in [each(), SpiffeBundles::Map(inline(&both))] {
        let ask = async |pair| says(pair, &ours, tls(bundles.clone())).await;
        check(&ask(ours.issue(SHOP, 1)).await, Ok(&good), "of the one");
        check(&ask(theirs.issue(OTHER, 1)).await, Ok(&good), "of the other");
        // An authority is none of the other trust domain.
        check(&ask(ours.issue(OTHER, 1)).await, Err(untrusted), "by the wrong one");
        check(&ask(theirs.issue(SHOP, 1)).await, Err(untrusted), "by the other wrong one");
        let third: &[&str] = &["connect_tls_untrusted", "no roots", "`third.example`"];
        check(&ask(ours.issue("spiffe://third.example/x", 1)).await, Err(third), "a third");
        let nobody: &[&str] = &["connect_tls_name", "no URI name"];
        check(&ask(ours.issue("shop.example", 1)).await, Err(nobody), "without an id");
    }
}

#[tokio::test]
async fn a_bundle_in_a_file_may_be_replaced() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bundles.json");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write(&map(&[("mesh.example", &ours)]));
    let server = Server::start(&Setup::mutual(theirs.issue(OTHER, 1), &ours)).await;
    let bundles = SpiffeBundles::Map(SecretSource::File(Path::new(&path).into()));
    let update = update(tls(bundles), server.address, None, |_| {});
    let (mesh, _renewals) = identified(material(&ours.issue(CLIENT, 1), &ours.pem()), update).await;
    let found = super::says(&mesh, get("/")).await;
    check(&found, Err(&["connect_tls_untrusted", "`other.example`"]), "not yet");
    // What is no map changes nothing; one with the other trust domain does.
    write("no map");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let found = super::says(&mesh, get("/")).await;
    check(&found, Err(&["connect_tls_untrusted", "`other.example`"]), "no map");
    write(&map(&[("mesh.example", &ours), ("other.example", &theirs)]));
    let mut good = false;
    for _ in 0..100 {
        good |= super::says(&mesh, get("/")).await.is_ok();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(good, "the other trust domain is believed");
    eventually("it is", || server.accepted.get() > 0).await;
}

#[tokio::test]
async fn who_is_on_a_list_of_the_configuration_is_refused() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let roots = || TlsRoots::Pem(ours.pem().into());
    let by = |lists: &[&str]| {
        let mut tls = UpstreamTls::default();
        tls.identity = TlsIdentity::Mesh;
        tls.roots = roots();
        tls.san = vec![mesh_core::model::SanMatcher::uri(SHOP)];
        tls.crl = Some(inline(&lists.concat()));
        tls
    };
    let good = format!("HTTP/2.0 {CLIENT}#77 -");
    let (of_ours, of_theirs) = (ours.revoke_pem(5), theirs.revoke_pem(5));
    let ask = async |serial, lists: &[&str]| says(ours.issue(SHOP, serial), &ours, by(lists)).await;
    check(&ask(4, &[&of_ours]).await, Ok(&good), "another is on it");
    check(&ask(5, &[&of_ours]).await, Err(&["connect_tls_revoked", "serial 05"]), "on it");
    // Envoy: each issuer needs a list.
    let unknown: &[&str] = &["connect_tls_revocation_unknown", "nothing says whether", "`crl`"];
    check(&ask(4, &[&of_theirs]).await, Err(unknown), "of another issuer");
    check(&ask(4, &[&of_theirs, &of_ours]).await, Ok(&good), "of both");
    let broken: &[&str] = &["connect_secret_unavailable", "the revocation lists"];
    check(&ask(4, &["no list"]).await, Err(broken), "none");
}
