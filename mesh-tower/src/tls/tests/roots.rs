//! Who may sign, and when.

use super::ca::Ca;
use super::watch::{Believes, inputs};
use crate::clock;
use crate::identity::named::{Signers, Texts};
use crate::tls::server::ChainTls;
use crate::tls::server_material::{Inputs, Trust};
use crate::tls::server_refused::ClientRefusal;
use bytes::Bytes;
use mesh_core::model::tls::DownstreamTls;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// A root of this key, from and to so many seconds from now.
fn root(key: &KeyPair, (from, to): (i64, i64)) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let today = i64::try_from(clock::wall().as_unix_seconds()).unwrap();
    let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs((today + seconds).unsigned_abs());
    (params.not_before, params.not_after) = (at(from).into(), at(to).into());
    let key = KeyPair::from_pem(&key.serialize_pem()).unwrap();
    CertifiedIssuer::self_signed(params, key).unwrap()
}

/// As OpenSSL and Go have it; RFC 5280 does not ask.
#[test]
fn roots_out_of_their_time_sign_for_nobody() {
    let key = KeyPair::generate().unwrap();
    let [over, good, early] =
        [(-7200, -3600), (-60, 3600), (3600, 7200)].map(|life| root(&key, life));
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://mesh.example/shop".try_into().unwrap())];
    let client = params.signed_by(&KeyPair::generate().unwrap(), &good).unwrap();
    let shown = [Bytes::copy_from_slice(client.der())];
    let ours = Ca::new("ours");
    let own = ours.issue("spiffe://mesh.example/us", 1);
    let policy = Arc::new(DownstreamTls::mutual());
    let all = Believes { roots: &[&ours], revoked: None, san: &[], policy: &policy };
    let check = |roots: &[&CertifiedIssuer<'static, KeyPair>], expected: &str| {
        let roots: String = roots.iter().map(|root| root.pem()).collect();
        let trust = Some(Trust::Named(Signers::of(Texts::Roots(roots.into_bytes().into()))));
        let tls = ChainTls::new(Inputs { trust, ..inputs(&own, &all) }).unwrap();
        let found = tls.verify_again(&shown, clock::wall());
        let found = found.err().map_or_else(String::new, |refused| refused.to_string());
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found}");
    };
    check(&[&good], "");
    check(&[&over, &good, &early], "");
    let none = "2 roots of a test (of which 2 out of their time sign for nobody)";
    check(&[&over, &early], none);
    check(&[&over], &ClientRefusal::UnknownIssuer.to_string());
}
