//! What is wrong with what a cluster names is told once for each part.

use super::ca::Ca;
use crate::clock;
use crate::identity::Credentials;
use crate::tls::client::ClientTls;
use crate::tls::client_material::{ByRoots, Kept};
use arc_swap::ArcSwap;
use mesh_core::model::secret::{
    Secret, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use mesh_core::model::tls::{SpiffeBundles, TlsRoots, UpstreamTls, ValidationSecret};
use mesh_core::update::{SecretAnswer, Secrets};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Writes down what is said of TLS, in this thread.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

/// While there is one subscriber alone, whoever comes to an event first decides for all threads whether somebody listens,
/// and another test's thread says no. So there is always one more.
static OTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Said::default()));

impl Said {
    fn listen() -> (Self, DefaultGuard) {
        let said = Self::default();
        LazyLock::force(&OTHER);
        let guard = tracing::subscriber::set_default(said.clone());
        (said, guard)
    }

    fn count(&self, part: &str) -> usize {
        self.0.lock().iter().filter(|said| said.contains(part)).count()
    }
}

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_of = ["mesh::tls", "mesh::identity"].contains(&metadata.target());
        metadata.is_event() && is_of && *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(self));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Message<'a>(&'a Said);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.0.lock().push(format!("{value:?}"));
        }
    }
}

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

fn by(roots: SecretRoots, crl: Option<&str>) -> Secrets {
    let mut validation = SecretValidation::new(roots);
    validation.crl = crl.map(inline);
    let secret = Secret::new("roots", SecretContent::Validation(validation));
    [("roots".into(), SecretAnswer::Known(Arc::new(secret)))].into()
}

const JUNK: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

#[tokio::test(start_paused = true)]
async fn two_faults_in_turn_are_two_lines() {
    let credentials = Credentials::default();
    let (ca, kept, (said, _listening)) = (Ca::new("ours"), Kept::default(), Said::listen());
    let mut tls = UpstreamTls::default();
    tls.roots = TlsRoots::Secret(ValidationSecret::new("roots"));
    let look = async |roots: &str, crl: &str| {
        let secrets = by(SecretRoots::Pem(inline(roots)), Some(crl));
        let resolved = tls.resolve(&secrets).unwrap();
        let by = ByRoots { named: &tls.roots, secrets: &secrets, resolved: &resolved };
        kept.believed(by, &credentials).await.unwrap();
        tokio::time::advance(Duration::from_millis(300)).await;
    };
    let (pem, list) = (ca.pem(), ca.revoke_pem(1));
    look(&pem, &list).await;
    let told = || (said.count("stays: roots: "), said.count("stays: revocation lists: "));
    for _ in 0..3 {
        // Both at once: one after the other is looked at.
        look(JUNK, "no list").await;
    }
    assert_eq!(told(), (1, 1));
    // One is mended, and wrong again in the same way; the other stays wrong.
    look(&pem, "no list").await;
    for _ in 0..2 {
        look(JUNK, "no list").await;
    }
    assert_eq!(told(), (2, 1));
    look(&pem, &list).await;
    for _ in 0..2 {
        look(&pem, "no list").await;
    }
    assert_eq!(told(), (2, 2));
    assert_eq!(said.0.lock().len(), 4);
}

/// A secret that becomes another kind is as one that becomes another text.
#[tokio::test(start_paused = true)]
async fn roots_of_another_kind_that_cannot_be_used_change_nothing() {
    let (ca, (said, _listening)) = (Ca::new("ours"), Said::listen());
    let bundle = |domain: &str, text: &str| {
        let each = [(domain.into(), inline(text))].into();
        by(SecretRoots::Spiffe(Arc::new(SpiffeBundles::Each(each))), None)
    };
    let pem = |text: &str| by(SecretRoots::Pem(inline(text)), None);
    let mut policy = UpstreamTls::default();
    policy.roots = TlsRoots::Secret(ValidationSecret::new("roots"));
    let secrets = Arc::new(ArcSwap::from_pointee(pem(&ca.pem())));
    let tls = ClientTls::new(policy.into(), Arc::clone(&secrets), Credentials::default());
    let verifier = async |next: Secrets| {
        secrets.store(Arc::new(next));
        tokio::time::advance(Duration::from_millis(300)).await;
        tls.verifier_in_force(clock::wall()).await
    };
    let first = verifier(pem(&ca.pem())).await.unwrap();
    for _ in 0..2 {
        let kept = verifier(bundle("mesh.example", JUNK)).await.unwrap();
        assert!(Arc::ptr_eq(&first, &kept));
    }
    assert_eq!(said.count("what is in force stays"), 1);
    let other = verifier(bundle("mesh.example", &ca.pem())).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &other));
    assert!(Arc::ptr_eq(&other, &verifier(pem(JUNK)).await.unwrap()));
    assert!(tls.check().await.is_ok());
    // Without any there is nobody to go by.
    for _ in 0..2 {
        assert!(verifier(Secrets::new()).await.is_none());
    }
    assert_eq!(said.count("open connections stay"), 1);
    assert!(verifier(pem(&ca.pem())).await.is_some());
    assert!(verifier(Secrets::new()).await.is_none());
    assert_eq!(said.count("open connections stay"), 2);
}
