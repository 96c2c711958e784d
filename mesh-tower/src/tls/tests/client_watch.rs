//! Which connections outlive what they were made with. No handshake, and the time is an argument.

use super::ca::Ca;
use super::der;
use crate::clock;
use crate::identity::Credentials;
use crate::observe::events::CloseReason;
use crate::tls::client::ClientTls;
use crate::tls::client_watch::{Evidence, Retire};
use arc_swap::ArcSwap;
use mesh_core::WallTime;
use mesh_core::model::secret::{
    Secret, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use mesh_core::model::tls::{SpiffeBundles, TlsRoots, UpstreamTls, ValidationSecret};
use mesh_core::model::{Address, SanMatcher};
use mesh_core::update::{SecretAnswer, Secrets};
use parking_lot::Mutex;
use std::sync::Arc;

const SHOP: &str = "spiffe://mesh.example/shop";

/// Why it was retired.
#[derive(Clone, Default)]
struct Connection(Arc<Mutex<Option<CloseReason>>>);

impl Retire for Connection {
    fn is_there(&self) -> bool {
        true
    }

    fn hostname(&self) -> Option<Arc<str>> {
        None
    }

    fn retire(&self, why: CloseReason) {
        *self.0.lock() = Some(why);
    }
}

/// By bundles of trust domains.
fn by_bundles(bundles: SpiffeBundles) -> Arc<Secrets> {
    known(SecretValidation::new(SecretRoots::Spiffe(Arc::new(bundles))))
}

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

/// What is believed: roots, lists and a name.
fn believes(roots: &[&Ca], crl: Option<String>, san: &str) -> Arc<Secrets> {
    let roots: String = roots.iter().map(|ca| ca.pem()).collect();
    let mut validation = SecretValidation::new(SecretRoots::Pem(inline(&roots)));
    validation.san = vec![SanMatcher::uri(san)];
    validation.crl = crl.map(|text| inline(&text));
    known(validation)
}

fn known(validation: SecretValidation) -> Arc<Secrets> {
    let secret = Secret::new("roots", SecretContent::Validation(validation));
    Arc::new([("roots".into(), SecretAnswer::Known(Arc::new(secret)))].into())
}

#[tokio::test]
async fn what_ends_a_connection_and_what_does_not() {
    let (ours, theirs, now) = (Ca::new("ours"), Ca::new("theirs"), clock::wall());
    let later = |by: u64| WallTime::from_unix_seconds(now.as_unix_seconds() + by);
    let past = WallTime::from_unix_seconds(now.as_unix_seconds() - 3600);
    let chain = ours.issue_for(SHOP, 7, (-60, 600)).chain;
    let first = || Some(ours.revoke_pem(8));
    let by = |crl| believes(&[&ours], crl, SHOP);
    let with = |list: String| inline(&(ours.pem() + &list));
    let beside = |list| {
        let mut validation = SecretValidation::new(SecretRoots::Pem(with(list)));
        validation.san = vec![SanMatcher::uri(SHOP)];
        known(validation)
    };
    let bundle =
        |list| by_bundles(SpiffeBundles::Each([("mesh.example".into(), with(list))].into()));
    let empty = SpiffeBundles::Map(inline(r#"{"trust_domains": {}}"#));
    let rows = [
        ("the same", by(first()), now, None),
        ("another root", believes(&[&theirs, &ours], first(), SHOP), now, None),
        ("no list is asked for", by(None), now, None),
        ("withdrawn", believes(&[&theirs], None, SHOP), now, Some(CloseReason::Untrusted)),
        (
            "another name",
            believes(&[&ours], first(), "spiffe://mesh.example/x"),
            now,
            Some(CloseReason::Untrusted),
        ),
        ("revoked", by(Some(ours.revoke_pem(7))), now, Some(CloseReason::Untrusted)),
        ("revoked beside roots", beside(ours.revoke_pem(7)), now, Some(CloseReason::Untrusted)),
        ("another is", beside(ours.revoke_pem(8)), now, None),
        ("revoked beside a bundle", bundle(ours.revoke_pem(7)), now, Some(CloseReason::Untrusted)),
        ("another is", bundle(ours.revoke_pem(8)), now, None),
        ("nobody is believed (gRFC A87)", by_bundles(empty), now, Some(CloseReason::Untrusted)),
        ("over", by(None), later(601), Some(CloseReason::CertificateEnded)),
        // What says nothing about the peer.
        ("a list that is over", by(Some(ours.revoke_long_ago_pem(8))), now, None),
        ("a list of another issuer", by(Some(theirs.revoke_pem(8))), now, None),
        ("a clock that went back", by(None), past, None),
        ("no answer", Arc::default(), now, None),
        // Time takes no revocation back.
        (
            "revoked by a list that is over",
            by(Some(ours.revoke_long_ago_pem(7))),
            now,
            Some(CloseReason::Untrusted),
        ),
    ];
    for (what, next, at, expected) in rows {
        let mut policy = UpstreamTls::default();
        policy.roots = TlsRoots::Secret(ValidationSecret::new("roots"));
        let secrets = Arc::new(ArcSwap::new(by(first())));
        let tls = ClientTls::new(policy.into(), Arc::clone(&secrets), Credentials::default());
        let evidence = Evidence {
            verifier: tls.verifier(now).await.unwrap(),
            chain: der(&chain).into(),
            address: Address::Unix(std::path::Path::new("shop").into()),
            hostname: None,
            until: later(600),
        };
        secrets.store(next);
        let connection = Connection::default();
        let mut all: Vec<(Evidence, Box<dyn Retire>)> =
            vec![(evidence, Box::new(connection.clone()))];
        // Twice: what was seen once is seen once.
        for _ in 0..2 {
            tls.look(&mut all, at).await;
        }
        assert_eq!(*connection.0.lock(), expected, "{what}");
        assert_eq!(all.is_empty(), expected.is_some(), "{what}");
    }
}
