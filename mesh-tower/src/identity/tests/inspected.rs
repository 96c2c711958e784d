//! What is said of a certificate, and which rules of X.509-SVID it breaks.

use super::ca::{Ca, OURS, Odd};
use crate::clock;
use crate::identity::inspect;
use rcgen::KeyUsagePurpose::{self, DigitalSignature, KeyCertSign};
use rcgen::{CertificateParams, KeyPair};

const DOMAIN: &str = "spiffe://mesh.example";
const GOOD: &str = "as it wants certificates (X.509-SVID)";
const NONE: &str = "no SVID: it has no SPIFFE id";

/// All that is said under this word.
fn said(pem: &str, word: &str) -> Vec<String> {
    let found = inspect(pem.as_bytes(), clock::wall()).unwrap().remove(0);
    let facts = found.facts.into_iter().filter(|(about, _)| *about == word);
    facts.map(|(_, fact)| fact).collect()
}

#[track_caller]
fn check(is_ca: bool, uris: &[&str], usage: &[KeyUsagePurpose], expected: &[&str]) {
    let pair = Ca::new().issue(Odd { uris: Some(uris), is_ca, usage, ..Odd::default() });
    assert_eq!(said(&pair.chain, "SPIFFE"), expected, "{uris:?}");
}

#[test]
fn ids_of_workloads_and_of_cas() {
    let (workload, ca) = (&[DigitalSignature], &[KeyCertSign]);
    check(false, &[OURS], workload, &[GOOD]);
    check(false, &[DOMAIN], workload, &["the id of a workload has a path (section 3.1)"]);
    check(false, &["https://pki.example"], workload, &[NONE]);
    check(false, &[], workload, &[NONE]);
    check(false, &[OURS, DOMAIN], workload, &["one URI name, not 2 (section 2)"]);
    check(true, &[DOMAIN], ca, &[GOOD]);
    check(true, &[OURS], ca, &["the id of a CA has no path (section 3.2)"]);
    check(
        true,
        &["spiffe://Mesh.example"],
        ca,
        &["a trust domain is written in lower case, at byte 9"],
    );
    // A CA need not be an SVID, and then has no rules of SPIFFE's.
    check(true, &["https://pki.example"], ca, &[NONE]);
    check(true, &[], &[], &[NONE]);
}

#[test]
fn what_a_key_may_do_is_to_be_said() {
    check(false, &[OURS], &[], &["breaks a rule: the key usage must be said (section 4.3)"]);
    check(true, &[DOMAIN], &[], &["breaks a rule: the key usage must be said (section 4.3)"]);
    check(
        false,
        &[OURS],
        &[KeyUsagePurpose::KeyAgreement],
        &["breaks a rule: a workload has digitalSignature (section 4.3)"],
    );
    check(
        false,
        &[OURS],
        &[DigitalSignature, KeyCertSign],
        &["breaks a rule: a workload has no keyCertSign (section 4.3)"],
    );
    check(
        true,
        &[DOMAIN],
        &[DigitalSignature],
        &["breaks a rule: a CA has keyCertSign (section 4.3)"],
    );
}

#[test]
fn keys_by_their_curves() {
    for (algorithm, expected) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "ECDSA, 256 bits; signed with ECDSA and SHA-256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "ECDSA, 384 bits; signed with ECDSA and SHA-384"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, "ECDSA, 521 bits; signed with ECDSA and SHA-512"),
        (&rcgen::PKCS_ED25519, "Ed25519; signed with Ed25519"),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(said(&certificate.pem(), "key"), [expected]);
    }
}
