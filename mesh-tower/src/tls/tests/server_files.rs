//! A listener's certificates in files, which are replaced one after the other.

use super::ca::{Ca, Pair};
use crate::identity::Credentials;
use crate::tls::server::{Around, ChainTls, ServerTls};
use crate::tls::server_material::ServerTlsError;
use mesh_core::model::secret::{SecretCertificate, SecretSource};
use mesh_core::model::tls::{DownstreamTls, TlsIdentity, TlsRoots};
use mesh_core::update::Secrets;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

struct World {
    directory: TempDir,
    tls: ServerTls,
    policy: Arc<DownstreamTls>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| SecretSource::File(directory.path().join(name).into());
        let certificate = SecretCertificate::new(file("cert.pem"), file("key.pem"));
        let mut policy = DownstreamTls::mutual();
        policy.identity = TlsIdentity::Certificate(Arc::new(certificate));
        policy.roots = Some(TlsRoots::File(directory.path().join("ca.pem").into()));
        Self { directory, tls: ServerTls::default(), policy: Arc::new(policy) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What is offered a moment later; files are looked at once a second.
    async fn offered(&self, policy: &Arc<DownstreamTls>) -> Result<Arc<ChainTls>, ServerTlsError> {
        tokio::time::advance(Duration::from_secs(2)).await;
        let (secrets, credentials) = (Secrets::default(), Credentials::default());
        let around = Around { secrets: &secrets, credentials: &credentials };
        self.tls.of(&"c".into(), policy, around).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_together_changes_nothing() {
    let (world, ca) = (World::new(), Ca::new("ours"));
    let (first, second) = (ca.issue("shop.example", 1), ca.issue("shop.example", 2));
    let put = |name: &str, text: &str| fs::write(world.path(name), text).unwrap();
    let write = |Pair { chain, key }: &Pair| [put("cert.pem", chain), put("key.pem", key)];
    put("ca.pem", &ca.pem());
    put("cert.pem", &second.chain);
    put("key.pem", &first.key);
    // Nothing was good before.
    let error = world.offered(&world.policy).await.err().unwrap().to_string();
    assert!(error.contains("KeyMismatch"), "{error}");

    write(&first);
    let good = world.offered(&world.policy).await.unwrap();
    put("cert.pem", &format!("{}\n", second.chain));
    for _ in 0..2 {
        let offered = world.offered(&world.policy).await.unwrap();
        assert!(Arc::ptr_eq(&offered, &good), "the key is still that of the first");
    }
    put("key.pem", &format!("{}\n", second.key));
    let renewed = world.offered(&world.policy).await.unwrap();
    assert!(!Arc::ptr_eq(&renewed, &good));

    // Whom to believe does not wait for a key: another root is in force under the certificate before.
    let other = Ca::new("theirs");
    put("cert.pem", &first.chain);
    put("ca.pem", &other.pem());
    let narrowed = world.offered(&world.policy).await.unwrap();
    assert!(!Arc::ptr_eq(&narrowed, &renewed));
    let again = world.offered(&world.policy).await.unwrap();
    assert!(Arc::ptr_eq(&again, &narrowed), "it is made once");
    put("cert.pem", &format!("{}\n\n", second.chain));
    let renewed = world.offered(&world.policy).await.unwrap();

    put("ca.pem", &ca.pem()[..100]);
    let offered = world.offered(&world.policy).await.unwrap();
    assert!(Arc::ptr_eq(&offered, &renewed), "half of the roots is written");

    // Another policy is not that of what was good.
    let mut other = DownstreamTls::clone(&world.policy);
    other.require_client_certificate = false;
    assert!(world.offered(&Arc::new(other)).await.is_err());
    // What is gone may have been withdrawn.
    fs::remove_file(world.path("ca.pem")).unwrap();
    assert!(world.offered(&world.policy).await.is_err());
}
