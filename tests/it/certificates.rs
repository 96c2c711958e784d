//! Certificates that are issued anew all the time are taken over, and there is one at every moment.

#[path = "../../examples/quickstart/certificates.rs"]
mod quickstart;

use mesh_tower::Mesh;
use mesh_tower::identity::FileIdentity;
use quickstart::Certificates;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const TURN: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn each_is_in_force_and_nobody_is_ever_without() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(directory.path(), &["web"], "").unwrap();
    let [cert, key, roots] =
        ["cert", "key", "ca"].map(|name| directory.path().join(format!("web/current/{name}.pem")));
    let source = FileIdentity::new(cert, key, roots).poll_interval(Duration::from_millis(10));
    let mesh = Mesh::builder().identity(source).build().unwrap();
    let identities = mesh.identities().unwrap();
    let (stop, stopped) = oneshot::channel();
    let rotating = tokio::spawn(certificates.keep_rotating(TURN, async {
        // Dropped is as good as sent.
        let _either_way = stopped.await;
    }));
    let (begun, mut seen) = (Instant::now(), BTreeSet::new());
    while seen.len() < 5 {
        assert!(begun.elapsed() < PATIENCE, "{seen:?}, {:?}", identities.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
        match identities.current() {
            Ok(current) => {
                seen.insert(current.certificate().serial.clone());
            }
            Err(error) => assert!(seen.is_empty(), "{error}"),
        }
    }
    stop.send(()).unwrap();
    assert!(rotating.await.unwrap().unwrap() >= 4);
}

/// `quickstart.yaml` with what mutual TLS adds to it, for each side.
#[test]
fn the_configuration_with_mutual_tls_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let _certificates = Certificates::new(directory.path(), &["client", "reviews"], "").unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for name in ["quickstart.yaml", "quickstart_mtls.yaml"] {
        std::fs::copy(examples.join(name), directory.path().join(name)).unwrap();
    }
    for workload in ["client", "reviews"] {
        let output = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["check", "--deny", "warnings", "quickstart.yaml", "quickstart_mtls.yaml"])
            .current_dir(directory.path())
            .env("WORKLOAD", workload)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
