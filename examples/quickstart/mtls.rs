//! `--mtls`: every hop encrypted and authenticated, with certificates that are issued anew while calls run, and
//! strangers at the door.
//!
//! Each program has an identity of its own: the client, and every server. What is counted here comes from both
//! sides: what meshes say of their connections, and the certificates that servers saw.

use super::BoxError;
use super::backends::{Backends, SERVERS};
use super::certificates::Certificates;
use super::events::sum;
use super::strangers::{self, Stranger};
use http::Extensions;
use mesh_tower::Mesh;
use mesh_tower::server::Connection;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const TEXT: &str = include_str!("../quickstart_mtls.yaml");
/// The workload that calls.
pub(crate) const CLIENT: &str = "client";
/// The workload that has a good certificate, and is not allowed to call.
pub(crate) const NOT_ALLOWED: &str = "stranger";
/// How often certificates are issued anew.
pub(crate) const EVERY: Duration = Duration::from_secs(2);
/// How often is looked which one is in force.
const LOOK: Duration = Duration::from_millis(20);
/// How long it may take until the first one is.
const START: Duration = Duration::from_secs(10);

/// Certificates for all, in a temporary directory. Gone when dropped.
pub(crate) struct Mtls {
    directory: TempDir,
    /// The CA's own certificate.
    pub(crate) ca: String,
    certificates: Mutex<Option<Certificates>>,
}

/// What a run with mutual TLS came to.
#[derive(Debug, Default)]
pub(crate) struct Secured {
    /// How often certificates were issued anew.
    pub(crate) rotations: u32,
    /// How often another one came into force at the client.
    pub(crate) at_client: u32,
    /// The same at the server where that was least often.
    pub(crate) at_servers: u32,
    /// Certificates of the client that servers saw.
    pub(crate) client_certificates: usize,
    /// Connections that the client made, and those of them that are mutual TLS.
    pub(crate) connections: [u64; 2],
    /// Connections that servers accepted, and those of them that are mutual TLS.
    pub(crate) accepted: [u64; 2],
    /// Connections that ended with their certificates.
    pub(crate) outlived: u64,
    pub(crate) strangers: Vec<Stranger>,
}

impl Mtls {
    pub(crate) fn new() -> Result<Self, BoxError> {
        let directory = tempfile::tempdir()?;
        let servers = SERVERS.iter().map(|(_, _, workload)| *workload);
        let names: Vec<_> = [CLIENT, NOT_ALLOWED].into_iter().chain(servers).collect();
        let certificates = Certificates::new(directory.path(), &names, "")?;
        let ca = certificates.ca();
        Ok(Self { directory, ca, certificates: Mutex::new(Some(certificates)) })
    }

    /// The mesh of a workload: configured by `file`, if it has one, and by what says who it is.
    pub(crate) async fn mesh(&self, workload: &str, file: Option<&Path>) -> Result<Mesh, BoxError> {
        mesh(&self.directory.path().join(workload), file).await
    }

    /// Issues certificates anew, has strangers call, and looks at both sides, until it is [ended](Running::end).
    pub(crate) fn run(
        self: &Arc<Self>,
        client: Mesh,
        backends: &Backends,
        configuration: &Path,
    ) -> Result<Running, BoxError> {
        let certificates = self.certificates.lock().take().ok_or("it runs already")?;
        let end = watch::Sender::new(false);
        let until = |mut end: watch::Receiver<bool>| async move {
            // Gone is as good as told.
            let _either_way = end.wait_for(|end| *end).await;
        };
        let rotating = tokio::spawn(certificates.keep_rotating(EVERY, until(end.subscribe())));
        let meshes = std::iter::once(&client).chain(&backends.meshes).cloned().collect();
        let watching = tokio::spawn(count_changes(meshes, until(end.subscribe())));
        // As it is now: it is edited while calls run.
        let copy = self.directory.path().join("mesh.yaml");
        std::fs::copy(configuration, &copy)?;
        let mtls = Arc::clone(self);
        let strangers = tokio::spawn(async move { strangers::call(&mtls, &copy).await });
        Ok(Running { end, rotating, watching, strangers, client })
    }
}

/// While certificates are issued anew.
pub(crate) struct Running {
    end: watch::Sender<bool>,
    rotating: JoinHandle<Result<u32, BoxError>>,
    watching: JoinHandle<Vec<u32>>,
    strangers: JoinHandle<Result<Vec<Stranger>, BoxError>>,
    client: Mesh,
}

impl Running {
    /// Ends it, and counts.
    pub(crate) async fn end(self, backends: &Backends) -> Result<Secured, BoxError> {
        let strangers = self.strangers.await??;
        self.end.send_replace(true);
        let rotations = self.rotating.await??;
        let changes = self.watching.await?;
        let (at_client, at_servers) = changes.split_first().ok_or("nobody was looked at")?;
        let client = self.client.metrics().prometheus_text();
        let servers = backends.metrics();
        let secured = |text: &str, metric| {
            [sum(text, metric, ""), sum(text, metric, "security=\"mutual_tls\"")]
        };
        let ended = "reason=\"certificate_ended\"";
        Ok(Secured {
            rotations,
            at_client: *at_client,
            at_servers: at_servers.iter().copied().min().unwrap_or_default(),
            client_certificates: backends.callers.count(),
            connections: secured(&client, "mesh_connections_secured_total"),
            accepted: secured(&servers, "mesh_server_connections_accepted_total"),
            outlived: sum(&client, "mesh_connections_closed_total", ended),
            strangers: strangers::with_reasons(strangers, &servers),
        })
    }
}

/// A mesh with the certificates in `workload`, which are in force when it is returned.
pub(crate) async fn mesh(workload: &Path, file: Option<&Path>) -> Result<Mesh, BoxError> {
    let own: PathBuf = workload.join("mtls.yaml");
    // A user would set the variable; a program can't safely change its own environment.
    std::fs::write(&own, TEXT.replace("${WORKLOAD}", &workload.display().to_string()))?;
    let builder = file.into_iter().fold(Mesh::builder(), |builder, file| builder.file(file));
    let mesh = builder.file(own).build()?;
    let known = async {
        while mesh.identities().is_none_or(|identities| identities.current().is_err()) {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(START, known).await?;
    Ok(mesh)
}

/// How often the certificate in force became another one, at each mesh.
async fn count_changes(meshes: Vec<Mesh>, end: impl Future<Output = ()>) -> Vec<u32> {
    let serial =
        |mesh: &Mesh| Some(mesh.identities()?.current().ok()?.certificate().serial.clone());
    let mut last: Vec<_> = meshes.iter().map(serial).collect();
    let mut changes = vec![0; meshes.len()];
    tokio::pin!(end);
    while tokio::time::timeout(LOOK, &mut end).await.is_err() {
        for ((mesh, last), changes) in meshes.iter().zip(&mut last).zip(&mut changes) {
            let now = serial(mesh);
            if now != *last {
                (*last, *changes) = (now, *changes + 1);
            }
        }
    }
    changes
}

/// The certificates of those who called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Callers(Arc<Mutex<BTreeSet<Vec<u8>>>>);

impl Callers {
    /// Notes who sent a request, by what is in its extensions.
    pub(crate) fn note(&self, extensions: &Extensions) {
        let connection = extensions.get::<Arc<Connection>>();
        if let Some(certificate) = connection.and_then(|known| known.certificates.first()) {
            let mut seen = self.0.lock();
            if !seen.contains(&certificate[..]) {
                seen.insert(certificate.to_vec());
            }
        }
    }

    fn count(&self) -> usize {
        self.0.lock().len()
    }
}

impl Secured {
    pub(crate) fn json(&self) -> Value {
        let strangers = self.strangers.iter().map(|stranger| {
            let got = stranger.got.as_ref().map_or_else(String::clone, ToString::to_string);
            json!({ "who": stranger.who, "got": got, "refused": stranger.refused })
        });
        json!({
            "rotations": self.rotations,
            "rotations_at_client": self.at_client,
            "rotations_at_servers": self.at_servers,
            "client_certificates_seen": self.client_certificates,
            "connections": self.connections[0],
            "connections_mutual_tls": self.connections[1],
            "accepted": self.accepted[0],
            "accepted_mutual_tls": self.accepted[1],
            "outlived": self.outlived,
            "strangers": strangers.collect::<Vec<_>>(),
        })
    }

    /// Why it is not what the example promises, if it is not, after this much time.
    pub(crate) fn complaint(&self, elapsed: Duration) -> Option<String> {
        let due = u32::try_from(elapsed.as_millis() / EVERY.as_millis()).unwrap_or(u32::MAX);
        let [secured, accepted] = [self.connections, self.accepted];
        let seen = self.at_client.min(self.at_servers);
        // The last may still be to come.
        let complaint = if self.rotations + 1 < due {
            format!("{} rotations in {} s", self.rotations, elapsed.as_secs())
        } else if seen + 1 < self.rotations {
            // The last may be a moment old.
            format!("of {} rotations, {seen} came into force everywhere", self.rotations)
        } else if secured[0] == 0 || secured[0] != secured[1] || accepted[0] != accepted[1] {
            format!("connections, and of them mutual TLS: {secured:?}; at servers: {accepted:?}")
        } else {
            let heard = self.strangers.iter().filter(|stranger| !stranger.is_refused());
            let heard: Vec<_> = heard.map(|stranger| stranger.to_string()).collect();
            return (!heard.is_empty()).then(|| format!("not refused: {}", heard.join(", ")));
        };
        Some(complaint)
    }
}

impl fmt::Display for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rotations, at_client, at_servers, client_certificates, .. } = self;
        let ([made, mutual], [taken, proven]) = (self.connections, self.accepted);
        write!(
            f,
            "  mutual TLS     {mutual} of {made} connections, {proven} of {taken} at servers; "
        )?;
        writeln!(f, "{} ended with their certificates", self.outlived)?;
        write!(
            f,
            "  certificates   issued anew {rotations} times, in force {at_client} times at the client and "
        )?;
        writeln!(f, "{at_servers} at servers, which saw {client_certificates} of the client's")?;
        for stranger in &self.strangers {
            writeln!(f, "  refused        {stranger}")?;
        }
        Ok(())
    }
}
