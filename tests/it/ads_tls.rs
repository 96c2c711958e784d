//! `mesh ads --tls` as a process: it proves who it is, asks clients for the same, and follows its files.
#![cfg(unix)]

use mesh_xds::bootstrap::Bootstrap;
use mesh_xds::client::{Client, ClientEvent};
use mesh_xds::protocol::Variant;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

const PATIENCE: Duration = Duration::from_secs(20);
const YAML: &str = "version: 1\nvirtual_hosts:\n  shop:\n    domains: [shop]\n    routes:\n      \
                    - { match: { prefix: / }, cluster: one }\nclusters:\n  \
                    one: { endpoints: [\"127.0.0.1:8080\"] }\n";

/// A CA; `ca.pem`, and `mesh.yaml`, are in the directory.
fn authority(directory: &Path) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(directory.join("mesh.yaml"), YAML).unwrap();
    ca
}

/// Writes `NAME.pem` and `NAME.key`, which live for an hour.
fn issue(ca: &CertifiedIssuer<'static, KeyPair>, directory: &Path, name: &str, san: SanType) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![san];
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    params.not_before = (now - hour).into();
    params.not_after = (now + hour).into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap().pem();
    std::fs::write(directory.join(format!("{name}.pem")), certificate).unwrap();
    std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn localhost() -> SanType {
    SanType::DnsName("localhost".try_into().unwrap())
}

fn command(directory: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
    command.current_dir(directory).args(["ads", "--listen", "127.0.0.1:0"]).args(options);
    command.arg("mesh.yaml");
    command
}

/// A running `mesh ads`, killed when dropped.
struct Ads {
    child: Child,
    port: String,
    rest: String,
    /// It ends when nobody reads.
    _stdout: BufReader<ChildStdout>,
}

impl Drop for Ads {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn start(directory: &Path, options: &[&str]) -> Ads {
    let mut command = command(directory, options);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let said = line.trim_end().strip_prefix("listening on 127.0.0.1:").unwrap();
    let (port, rest) = said.split_once(' ').unwrap();
    Ads { child, port: port.to_owned(), rest: rest.to_owned(), _stdout: stdout }
}

/// A client that wants `shop`.
fn client(ads: &Ads, directory: &Path, files: &[(&str, &str)]) -> Client {
    let config = files.iter().map(|(field, file)| {
        let path = directory.join(file).display().to_string();
        ((*field).to_owned(), serde_json::Value::from(path))
    });
    let config: serde_json::Map<_, _> = config.collect();
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": format!("localhost:{}", ads.port),
            "channel_creds": [{ "type": "tls", "config": config }],
        }],
        "node": { "id": "test" },
    });
    let bootstrap = Bootstrap::parse(&bootstrap.to_string()).unwrap();
    let mut client = Client::new(&bootstrap, Variant::Delta);
    client.want(&"shop".into(), 80);
    client
}

/// Whether a client gets an answer; else why not.
async fn answers(ads: &Ads, directory: &Path, files: &[(&str, &str)]) -> Result<(), String> {
    let mut client = client(ads, directory, files);
    let heard = tokio::time::timeout(PATIENCE, async {
        loop {
            match client.next().await {
                ClientEvent::Reachable { .. } => return Ok(()),
                ClientEvent::Unreachable { error, .. } => return Err(error.to_string()),
                _ => {}
            }
        }
    });
    heard.await.unwrap()
}

/// Whether a client finds `shop`; else why it has no answer.
async fn reads(ads: &Ads, directory: &Path, files: &[(&str, &str)]) -> Result<bool, String> {
    let mut client = client(ads, directory, files);
    let heard = tokio::time::timeout(PATIENCE, async {
        loop {
            match client.next().await {
                // While the answer is on its way, there is a configuration with nothing in it.
                ClientEvent::Update(update) if !update.is_partial => {
                    return Ok(!update.route_configuration.virtual_hosts.is_empty());
                }
                ClientEvent::Unreachable { error, .. } => return Err(error.to_string()),
                _ => {}
            }
        }
    });
    heard.await.unwrap()
}

#[tokio::test]
async fn clients_prove_who_they_are_and_certificates_are_followed() {
    const CA: (&str, &str) = ("ca_certificate_file", "ca.pem");
    const OURS: [(&str, &str); 3] =
        [CA, ("certificate_file", "client.pem"), ("private_key_file", "client.key")];
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let ca = authority(directory);
    issue(&ca, directory, "server", localhost());
    issue(&ca, directory, "client", SanType::URI("spiffe://mesh.example/a".try_into().unwrap()));
    let options = [
        "--tls",
        "--tls-cert",
        "server.pem",
        "--tls-key",
        "server.key",
        "--tls-client-ca",
        "ca.pem",
    ];
    let ads = start(directory, &options);
    assert_eq!(ads.rest, "with TLS and client certificates");
    assert_eq!(answers(&ads, directory, &OURS).await, Ok(()));
    let refused = answers(&ads, directory, &[CA]).await.unwrap_err();
    assert!(refused.contains("set `certificate_file`"), "{refused}");

    let other = SanType::DnsName("other.example".try_into().unwrap());
    issue(&ca, directory, "server", other);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refused = answers(&ads, directory, &OURS).await.unwrap_err();
    assert!(refused.contains("other.example"), "{refused}");
}

/// Each client reads what its id may, and whom nothing is for is told so.
#[tokio::test]
async fn an_allow_list_says_who_reads_what() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let ca = authority(directory);
    issue(&ca, directory, "server", localhost());
    for id in ["shopper", "other", "stranger"] {
        let uri = format!("spiffe://mesh.example/{id}");
        issue(&ca, directory, id, SanType::URI(uri.as_str().try_into().unwrap()));
    }
    issue(&ca, directory, "nobody", localhost());
    let options = "--tls --tls-cert server.pem --tls-key server.key --tls-client-ca ca.pem \
                   --allow spiffe://mesh.example/shopper=sh* --allow spiffe://mesh.example/other=rest";
    let ads = start(directory, &options.split(' ').collect::<Vec<_>>());
    assert_eq!(ads.rest, "with TLS, client certificates and an allow-list");
    for (id, expected) in [
        ("shopper", Ok(true)),
        ("other", Ok(false)),
        ("stranger", Err("`spiffe://mesh.example/stranger` may read nothing here")),
        ("nobody", Err("none was proven")),
    ] {
        let (chain, key) = (format!("{id}.pem"), format!("{id}.key"));
        let files = [
            ("ca_certificate_file", "ca.pem"),
            ("certificate_file", chain.as_str()),
            ("private_key_file", key.as_str()),
        ];
        match (reads(&ads, directory, &files).await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{id}"),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{id}: {why}"),
            (found, _) => panic!("{id}: {found:?}"),
        }
    }
}

#[test]
fn what_cannot_be_served_is_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let ca = authority(directory);
    issue(&ca, directory, "server", localhost());
    issue(&ca, directory, "other", localhost());
    let told = |options: &[&str]| {
        let Output { status, stderr, .. } = command(directory, options).output().unwrap();
        assert_eq!(status.code(), Some(2), "{options:?}");
        String::from_utf8(stderr).unwrap()
    };
    let cert = ["--tls", "--tls-cert", "server.pem", "--tls-key"];
    let cases: [(&[&str], &str); 4] = [
        (&["--tls"], "--tls-cert <FILE>"),
        (&["--tls-client-ca", "ca.pem"], "--tls"),
        (&[&cert[..], &["gone.key"]].concat(), "`gone.key` can't be read"),
        (&[&cert[..], &["other.key"]].concat(), "the key of `other.key` does not fit"),
    ];
    for (options, expected) in cases {
        let told = told(options);
        assert!(told.contains(expected), "{options:?}: {told}");
    }
}
