//! What a handshake is made with as pairs come and time goes by.

use super::ca::{Ca, Pair};
use crate::clock;
use crate::identity::{Credentials, Given};
use crate::observe::registry::Registry;
use crate::tls::client_material::{ByRoots, Kept};
use mesh_core::WallTime;
use mesh_core::model::secret::{SecretCertificate, SecretSource};
use mesh_core::model::tls::{ResolvedIdentity, TlsIdentity, TlsRoots, UpstreamTls};
use mesh_core::update::Secrets;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

#[tokio::test]
async fn a_pair_that_is_not_valid_takes_the_place_of_none_that_is() {
    let (ca, now, kept) = (Ca::new("ours"), clock::wall(), Kept::default());
    let credentials = Credentials::default();
    let pair = |serial, life| ca.issue_for("spiffe://mesh.example/client", serial, life);
    let inline = |text: &str| SecretSource::Inline(text.as_bytes().into());
    let at = |pair: &Pair, seconds: u64| {
        let certificate = SecretCertificate::new(inline(&pair.chain), inline(&pair.key));
        let identity = ResolvedIdentity::Certificate(certificate);
        let now = WallTime::from_unix_seconds(now.as_unix_seconds() + seconds);
        let (kept, credentials) = (&kept, &credentials);
        async move {
            clock::pretend(now);
            match kept.own((&TlsIdentity::Secret("id".into()), &identity), credentials).await {
                Ok(own) => own.unwrap().certificate().serial.to_string(),
                Err(error) => error.to_string(),
            }
        }
    };
    let (early, over) = (pair(0x12, (60, 600)), pair(0x13, (-60, -30)));
    let good = pair(0x11, (-60, 90));
    for (pair, seconds, expected) in [
        (&early, 0, "begins in "),
        (&over, 0, "ended 30 s ago"),
        (&good, 0, "11"),
        (&early, 1, "11"),
        (&over, 2, "11"),
        // Its time has come, and then that of the one before is over.
        (&early, 70, "12"),
        (&over, 100, "12"),
        (&over, 700, "ended "),
        (&good, 700, "ended "),
        (&good, 80, "11"),
    ] {
        let found = at(pair, seconds).await;
        assert!(found.contains(expected), "{seconds}: {found}, not {expected}");
    }
}

fn file(path: &Path) -> SecretSource {
    SecretSource::File(path.into())
}

/// Secrets that name other files, which are not there or too large.
#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_read_take_the_place_of_none_that_could() {
    let (ca, now, kept) = (Ca::new("ours"), clock::wall(), Kept::default());
    let nobody = Credentials::default();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let pair = ca.issue_for("spiffe://mesh.example/client", 0x11, (-60, 60));
    let put = |name: &str, text: &[u8]| std::fs::write(path(name), text).unwrap();
    for (name, text) in [("chain", &pair.chain), ("key", &pair.key), ("roots", &ca.pem())] {
        put(name, text.as_bytes());
    }
    put("crl", ca.revoke_pem(1).as_bytes());
    let own = async |chain: &str, at| {
        clock::pretend(at);
        let named = TlsIdentity::Secret("id".into());
        let certificate = SecretCertificate::new(file(&path(chain)), file(&path("key")));
        let identity = ResolvedIdentity::Certificate(certificate);
        kept.own((&named, &identity), &nobody).await.map(|_| ()).map_err(|error| error.to_string())
    };
    let believed = async |roots: &str, crl: &str| {
        let mut tls = UpstreamTls::default();
        tls.roots = TlsRoots::File(path(roots).into());
        tls.crl = Some(file(&path(crl)));
        let (secrets, named) = (Secrets::default(), &tls.roots);
        let resolved = tls.resolve(&secrets).unwrap();
        let by = ByRoots { named, secrets: &secrets, resolved: &resolved };
        kept.believed(by, &nobody).await.is_ok()
    };
    assert!(own("gone", now).await.is_err() && !believed("gone", "crl").await);
    assert!(own("chain", now).await.is_ok() && believed("roots", "crl").await);
    assert!(own("gone", now).await.is_ok());
    assert!(believed("gone", "crl").await && believed("roots", "gone").await);
    // Until its own end.
    let over = WallTime::from_unix_seconds(now.as_unix_seconds() + 61);
    assert!(own("gone", over).await.unwrap_err().contains("gone, its key in "));
    // The same file, much later.
    put("roots", &vec![b'x'; (16 << 20) + 1]);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(believed("roots", "crl").await);
}

/// What one has read before a rotation is not put into force after it by the other.
#[tokio::test(start_paused = true)]
async fn two_clusters_show_the_newest_of_one_pair() {
    clock::pretend(clock::wall());
    let (ca, registry) = (Ca::new("ours"), Registry::new());
    let credentials = Credentials::start(Given::default(), &Handle::current(), &registry);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let put = |serial| {
        let pair = ca.issue("spiffe://mesh.example/client", serial);
        std::fs::write(path("chain"), pair.chain).unwrap();
        std::fs::write(path("key"), pair.key).unwrap();
    };
    let both = [Kept::default(), Kept::default()];
    let shown = async |at: usize| {
        let pair = SecretCertificate::new(file(&path("chain")), file(&path("key")));
        let named = TlsIdentity::Certificate(Arc::new(pair.clone()));
        let resolved = ResolvedIdentity::Certificate(pair);
        let own = both[at].own((&named, &resolved), &credentials).await.unwrap().unwrap();
        own.certificate().serial.to_string()
    };
    put(0x11);
    assert_eq!(shown(0).await, "11");
    tokio::time::advance(Duration::from_millis(600)).await;
    put(0x12);
    tokio::time::advance(Duration::from_millis(600)).await;
    assert_eq!(shown(1).await, "12");
    for at in 0..30 {
        assert_eq!(shown(at % 2).await, "12");
        tokio::time::advance(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_there_is_looked_for_once_a_second() {
    let (ca, kept) = (Ca::new("ours"), Kept::default());
    let directory = tempfile::tempdir().unwrap();
    let path: Arc<Path> = directory.path().join("roots").into();
    let mut tls = UpstreamTls::default();
    tls.roots = TlsRoots::File(Arc::clone(&path));
    let secrets = Secrets::default();
    let resolved = tls.resolve(&secrets).unwrap();
    let by = ByRoots { named: &tls.roots, secrets: &secrets, resolved: &resolved };
    let is_there = async || kept.believed(by, &Credentials::default()).await.is_ok();
    assert!(!is_there().await);
    std::fs::write(&path, ca.pem()).unwrap();
    assert!(!is_there().await);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(is_there().await);
}
