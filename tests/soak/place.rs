//! The directory: configurations, certificates, and a small disk.

use crate::certificates::{Certificates, Ends};
use serde_json::json;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How many backends there are.
pub(crate) const BACKENDS: usize = 3;
/// The limit of a call by its route; of gRPC by its caller.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);
pub(crate) const GRPC_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest silence of bytes.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);
/// A day, which no run has.
pub(crate) const LONG: Ends = Ends::In(Duration::from_secs(86_400));

/// Where everybody listens.
pub(crate) struct Ports {
    pub(crate) web: SocketAddr,
    pub(crate) bytes: SocketAddr,
    pub(crate) near_admin: SocketAddr,
    pub(crate) far_admin: SocketAddr,
    pub(crate) ads: SocketAddr,
    pub(crate) ads_admin: SocketAddr,
    app: [SocketAddr; BACKENDS],
    db: [SocketAddr; BACKENDS],
    pub(crate) backend: [[SocketAddr; 2]; BACKENDS],
}

impl Ports {
    /// Ports that nobody listens on now; those of the far side at `far`.
    fn free(far: IpAddr) -> Self {
        let count = 6 + 4 * BACKENDS;
        let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let mut near = held.iter().map(|one| one.local_addr().unwrap());
        let mut next = || near.next().unwrap();
        let (web, bytes, near_admin) = (next(), next(), next());
        let mut next = || SocketAddr::new(far, near.next().unwrap().port());
        Self {
            web,
            bytes,
            near_admin,
            far_admin: next(),
            ads: next(),
            ads_admin: next(),
            app: std::array::from_fn(|_| next()),
            db: std::array::from_fn(|_| next()),
            backend: std::array::from_fn(|_| [next(), next()]),
        }
    }
}

pub(crate) struct Place {
    directory: PathBuf,
    _temporary: Option<TempDir>,
    pub(crate) ports: Ports,
    pub(crate) certificates: Certificates,
}

impl Place {
    pub(crate) fn new(far: IpAddr, keep: bool) -> Self {
        let temporary = tempfile::Builder::new().prefix("mesh-soak-").tempdir().unwrap();
        let (directory, temporary) = match keep {
            true => (temporary.keep(), None),
            false => (temporary.path().to_owned(), Some(temporary)),
        };
        let certificates = Certificates::new(&directory.join("certs"));
        for name in ["web", "app"] {
            certificates.issue(name, LONG);
        }
        fs::create_dir(directory.join("disk")).unwrap();
        let place =
            Self { directory, _temporary: temporary, ports: Ports::free(far), certificates };
        place.write("web.yaml", &place.web());
        place.write("app.yaml", &place.app());
        place.write("served.yaml", &place.served([1; BACKENDS]));
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": place.ports.ads.to_string(),
                "channel_creds": [{ "type": "insecure" }],
                "server_features": ["xds_v3"],
            }],
            "node": { "id": "web" },
            "certificate_providers": { "default": {
                "plugin_name": "file_watcher",
                "config": {
                    "certificate_file": place.path("certs/web.pem"),
                    "private_key_file": place.path("certs/web-key.pem"),
                    "ca_certificate_file": place.path("certs/ca.pem"),
                    "refresh_interval": "2s",
                },
            } },
        });
        place.write("bootstrap.json", &bootstrap.to_string());
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a file whole.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// The ports of the proxy beside the callers.
    fn web(&self) -> String {
        let Ports { web, bytes, db, .. } = &self.ports;
        let db: Vec<_> = db.iter().map(|one| format!("\"{one}\"")).collect();
        format!(
            "version: 1
identity: {{ cert: certs/web.pem, key: certs/web-key.pem, roots: certs/ca.pem }}
clusters:
  db: {{ endpoints: [{}], protocol: tcp, proxy_protocol: v2, lb: least_request, connect_timeout: 1s, outlier_detection: {OUTLIERS} }}
outbound:
  web: {{ listen: \"{web}\" }}
  bytes: {{ listen: \"{bytes}\", cluster: db, proxy_protocol: true, idle_timeout: {}s }}
",
            db.join(", "),
            SILENCE.as_secs(),
        )
    }

    /// The ports of the proxy before the backends.
    pub(crate) fn app(&self) -> String {
        let Ports { app, db, backend, .. } = &self.ports;
        let mut clusters = String::from("clusters:\n");
        let mut text = "version: 1\n\
            identity: { cert: certs/app.pem, key: certs/app-key.pem, roots: certs/ca.pem }\n\
            inbound:\n"
            .to_owned();
        for at in 0..BACKENDS {
            let ([http, bytes], app, db) = (backend[at], app[at], db[at]);
            clusters += &format!(
                "  http{at}: {{ endpoints: [\"{http}\"], tls: off, connect_timeout: 1s, idle_timeout: 5s }}\n  \
                bytes{at}: {{ endpoints: [\"{bytes}\"], tls: off, protocol: tcp, connect_timeout: 1s }}\n"
            );
            text += &format!(
                "  app{at}: {{ listen: \"{app}\", handshake_timeout: 3s, allow: [{{ from: \"spiffe://soak.test/web\", match: {{ prefix: / }} }}], forward: {{ cluster: http{at} }} }}\n  \
                db{at}: {{ protocol: tcp, proxy_protocol: true, listen: \"{db}\", handshake_timeout: 3s, allow: [{{ from: \"spiffe://soak.test/web\" }}], forward: {{ cluster: bytes{at}, idle_timeout: 10s }} }}\n"
            );
        }
        text + &clusters
    }

    /// What the control plane serves: the backends by weight, 0 for none.
    pub(crate) fn served(&self, weights: [u32; BACKENDS]) -> String {
        let there = self.ports.app.iter().zip(weights).filter(|(_, weight)| *weight > 0);
        let endpoints: Vec<_> = there
            .map(|(address, weight)| format!("{{ address: \"{address}\", weight: {weight} }}"))
            .collect();
        format!(
            "version: 1
identity: {{ cert: certs/web.pem, key: certs/web-key.pem, roots: certs/ca.pem }}
virtual_hosts:
  shop:
    routes:
      - cluster: shop
        timeout: {}s
        retry: {{ retry_on: [5xx, connect-failure, reset, unavailable], num_retries: 2, per_try_timeout: 1s }}
clusters:
  shop:
    endpoints: [{}]
    tls: mesh
    lb: least_request
    connect_timeout: 1s
    idle_timeout: 5s
    keepalive: {{ interval: 2s, timeout: 1s }}
    outlier_detection: {OUTLIERS}
",
            TIMEOUT.as_secs(),
            endpoints.join(", ")
        )
    }
}

const OUTLIERS: &str =
    "{ interval: 1s, consecutive_5xx: 5, base_ejection_time: 2s, max_ejection_percent: 50 }";
