//! Lists of revoked certificates, and material that is not whole on purpose.

use super::super::{
    Identity, InvalidIdentity, Material, Roots, Verified, certificates, revocation_lists,
};
use super::ca::{Ca, Odd, Pair};
use crate::clock;
use rustls::pki_types::CertificateRevocationListDer;

fn verify(ca: &Ca, pair: &Pair, lists: &[String]) -> Result<Identity, InvalidIdentity> {
    let lists = lists.iter().flat_map(|list| revocation_lists(list.as_bytes()).unwrap());
    let material = ca.material(pair).with_revoked(lists.collect());
    Identity::verify(material, None, clock::wall())
}

#[test]
fn our_own_certificate_is_refused_when_it_was_revoked() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (ours, another) = (ca.issue(Odd::default()), ca.issue(Odd::default()));
    let lists = [other.revoke(&[]), ca.revoke(&[&another])];
    let identity = verify(&ca, &ours, &lists).unwrap();
    assert_eq!(identity.crls().len(), 2);
    let refused = verify(&ca, &ours, &[ca.revoke(&[&another, &ours])]).unwrap_err();
    assert!(matches!(&refused, InvalidIdentity::Revoked { .. }), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("CN=ca of the tests") && told.contains("was revoked"), "{told}");
    // Of the same name as its issuer, and signed by another key: nobody is revoked by it.
    assert!(verify(&ca, &ours, &[other.revoke(&[&ours])]).is_ok());
    let both = [other.revoke(&[&another]), ca.revoke(&[&ours])];
    assert!(matches!(verify(&ca, &ours, &both), Err(InvalidIdentity::Revoked { .. })));
}

#[test]
fn lists_beside_roots_count() {
    let ca = Ca::new();
    let (ours, another) = (ca.issue(Odd::default()), ca.issue(Odd::default()));
    let material = |list: &str| {
        let roots = format!("{}{list}", ca.pem());
        Material::from_pem(ours.chain.as_bytes(), ours.key.as_bytes(), roots.as_bytes())
    };
    let verify = |list: &str| Identity::verify(material(list).unwrap(), None, clock::wall());
    assert_eq!(verify(&ca.revoke(&[&another])).unwrap().crls().len(), 1);
    assert!(matches!(verify(&ca.revoke(&[&ours])), Err(InvalidIdentity::Revoked { .. })));
    let cut = material(&ca.revoke(&[&ours])[..60]).unwrap_err().to_string();
    assert!(cut.starts_with("roots: broken PEM"), "{cut}");
}

#[test]
fn lists_that_can_not_be_read_are_told() {
    let ca = Ca::new();
    let error = revocation_lists(ca.pem().as_bytes()).unwrap_err().to_string();
    assert!(error.contains("BEGIN X509 CRL"), "{error}");
    let junk = CertificateRevocationListDer::from(vec![0x30, 3, 2, 1, 5]);
    let material = ca.material(&ca.issue(Odd::default())).with_revoked(vec![junk]);
    let error = Identity::verify(material, None, clock::wall()).unwrap_err().to_string();
    assert!(error.starts_with("revocation lists: no X.509 list"), "{error}");
}

#[test]
fn roots_or_a_pair_may_stand_alone() {
    let (ca, other) = (Ca::new(), Ca::new());
    let roots = || Roots::Any(certificates(other.pem().as_bytes()).unwrap().into());
    let verify = |material| Verified::verify(material, None, clock::wall());
    let only_roots = verify(Material::of_roots(roots())).unwrap();
    assert!(only_roots.identity.is_none());
    assert_eq!(only_roots.trust.roots().len(), 1);

    let pair = ca.issue(Odd::default());
    let chain = || certificates(pair.chain.as_bytes()).unwrap();
    let key = || super::private_key(pair.key.as_bytes()).unwrap();
    let only_pair = verify(Material::of_pair(chain(), key())).unwrap();
    assert!(only_pair.identity.is_some() && only_pair.trust.roots().is_empty());

    // Whoever issues for us does not issue for our peers.
    let both = || Material::from_der(chain(), key(), roots());
    assert!(matches!(verify(both()), Err(InvalidIdentity::Unverified { .. })));
    assert_eq!(verify(both().with_foreign_roots()).unwrap().trust.roots().len(), 1);
    let nobody = Material::of_roots(Roots::Any([].into()));
    assert_eq!(verify(nobody).unwrap_err(), InvalidIdentity::NoRoots);
}
