//! What is put into force, and what is not.

mod bundles;
pub(super) mod ca;
mod chains;
mod configured;
mod inspected;
#[cfg(feature = "xds")]
mod providers;
mod renewal;
mod revoked;
mod sources;
mod turns;
#[cfg(feature = "spiffe")]
mod workload_api;

use super::{Certificate, Identity, InvalidIdentity, Material, Roots, certificates, private_key};
use crate::clock;
use ca::{Ca, OURS, Odd, Pair};
use mesh_core::identity::{SpiffeId, TrustDomain};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use std::collections::BTreeMap;
use std::sync::Arc;

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn verify(material: Material, expected: Option<&str>) -> Result<Identity, InvalidIdentity> {
    Identity::verify(material, expected.map(id).as_ref(), clock::wall())
}

#[track_caller]
fn check(material: Material, expected: Option<&str>, part: &str) {
    let error = verify(material, expected).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn what_is_good_is_taken_whole() {
    let ca = Ca::new();
    let identity = verify(ca.material(&ca.issue(Odd::default())), Some(OURS)).unwrap();
    assert_eq!(identity.spiffe_id().map(SpiffeId::as_str), Some(OURS));
    assert_eq!(&*identity.certificate().issuer, "CN=ca of the tests");
    assert_eq!(*identity.certificate().names.dns_names, [Arc::from("shop.example")]);
    assert_eq!(identity.roots().len(), 1);
    let nameless = ca.issue(Odd { uris: Some(&[]), ..Odd::default() });
    assert_eq!(verify(ca.material(&nameless), None).unwrap().spiffe_id(), None);
    // No SVID: its rules are not those of SPIFFE.
    let usage = &[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    let signer = ca.issue(Odd { uris: Some(&[]), usage, ..Odd::default() });
    assert!(verify(ca.material(&signer), None).is_ok());
    let shown = format!("{identity:?}");
    assert!(!shown.contains("key: Arc") && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn what_a_peer_would_refuse_is_not() {
    let (ca, other) = (Ca::new(), Ca::new());
    let good = ca.issue(Odd::default());
    let odd = |odd: Odd<'_>| ca.material(&ca.issue(odd));
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
    let rows = [
        (Odd { is_ca: true, ..Odd::default() }, "is a CA's"),
        (
            Odd { usage: &[DigitalSignature, KeyCertSign], ..Odd::default() },
            "which no workload's may",
        ),
        (Odd { usage: &[DigitalSignature, CrlSign], ..Odd::default() }, "which no workload's may"),
        (Odd { usage: &[KeyUsagePurpose::KeyAgreement], ..Odd::default() }, "digitalSignature"),
        (
            Odd { extended: Some(ExtendedKeyUsagePurpose::CodeSigning), ..Odd::default() },
            "neither servers nor clients",
        ),
        (Odd { life: Some((-7200, -60)), ..Odd::default() }, "ended 6"),
        (Odd { life: Some((600, 3600)), ..Odd::default() }, "look at the clocks"),
        (Odd { uris: Some(&[OURS, "spiffe://b/c"]), ..Odd::default() }, "2 URI names"),
        (Odd { uris: Some(&["https://mesh.example/x"]), ..Odd::default() }, "no SPIFFE id"),
        (Odd { uris: Some(&["spiffe://mesh.example"]), ..Odd::default() }, "has no path"),
    ];
    for (row, part) in rows {
        check(odd(row), None, part);
    }
    check(odd(Odd { uris: Some(&[]), ..Odd::default() }), Some(OURS), "no URI name");
    check(
        ca.material(&good),
        Some("spiffe://mesh.example/cart"),
        "`spiffe://mesh.example/cart` is who we are",
    );
    let crossed = Pair { key: ca.issue(Odd::default()).key, ..good.clone() };
    check(ca.material(&crossed), None, "not the certificate's");
    check(other.material(&good), None, "does not verify by the 1 roots");
    let twisted =
        good.chain.replacen("-----BEGIN CERTIFICATE", "-----BEGIN CERTIFICATE REQUEST", 1);
    let read = |chain: &str, key: &str, roots: &str| {
        Material::from_pem(chain.as_bytes(), key.as_bytes(), roots.as_bytes())
            .unwrap_err()
            .to_string()
    };
    for (found, part) in [
        (read(&twisted, &good.key, &ca.pem()), "certificates: "),
        (read("", &good.key, &ca.pem()), "certificates: no certificate"),
        (read(&good.chain[..200], &good.key, &ca.pem()), "certificates: broken PEM: a part has no"),
        (read(&good.chain, &good.chain, &ca.pem()), "private key: no private key"),
        (read(&good.chain, &good.key.replace('M', "!"), &ca.pem()), "private key: broken PEM"),
        (read(&good.chain, &good.key, "hello"), "roots: no certificate"),
    ] {
        assert!(found.contains(part), "{found}");
        assert!(!found.contains(&good.key[40..60]), "a part of the key: {found}");
    }
}

#[test]
fn bundles_are_of_one_trust_domain() {
    let (ca, other) = (Ca::new(), Ca::new());
    let pair = ca.issue(Odd::default());
    let with = |domains: &[(&str, &Ca)]| {
        let bundle = |(domain, ca): &(&str, &Ca)| {
            (TrustDomain::parse(domain).unwrap(), certificates(ca.pem().as_bytes()).unwrap())
        };
        let bundles: BTreeMap<_, _> = domains.iter().map(bundle).collect();
        let chain = certificates(pair.chain.as_bytes()).unwrap();
        let key = private_key(pair.key.as_bytes()).unwrap();
        Material::from_der(chain, key, Roots::ByTrustDomain(Arc::new(bundles)))
    };
    let both = verify(with(&[("mesh.example", &ca), ("b.example", &other)]), None).unwrap();
    assert_eq!(both.roots().len(), 2);
    check(with(&[("b.example", &ca)]), None, "no roots of our own trust domain `mesh.example`");
    // Who signs for another domain signs for nobody in ours.
    check(with(&[("mesh.example", &other), ("b.example", &ca)]), None, "does not verify");
    check(with(&[]), None, "no root certificate");
    // gRFC A87: nobody is believed, which whoever issues for us has nothing to do with.
    let nobody = verify(with(&[]).with_foreign_roots(), None).unwrap();
    assert!(nobody.roots().is_empty());
}

#[test]
fn bytes_that_are_no_certificate_are_refused() {
    for bytes in [&b""[..], b"\x30\x03\x02\x01\x05", &[0xff; 64]] {
        let error = Certificate::parse(&bytes.to_vec().into()).unwrap_err().to_string();
        assert!(error.starts_with("no X.509 certificate: "), "{error}");
    }
}
