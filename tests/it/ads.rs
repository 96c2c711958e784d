//! `mesh ads` as a process: it serves files, follows them, and ends when it is told to.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running `mesh ads`, killed when dropped.
pub(crate) struct Ads {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Ads {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Ads {
    pub(crate) fn start(file: &Path) -> Self {
        Self::start_with(&["--envoy-listener", "outbound=127.0.0.1:15001"], file)
    }

    pub(crate) fn start_with(arguments: &[&str], file: &Path) -> Self {
        Self::start_paths(arguments, &[file])
    }

    pub(crate) fn start_paths(arguments: &[&str], paths: &[&Path]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["ads", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(arguments)
            .args(paths)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|l| sender.send(l))
        });
        Self { child, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where clients connect, and the admin's pages; both are said at the start.
    #[track_caller]
    pub(crate) fn addresses(&self) -> (String, String) {
        let listen = self.says("listening on ");
        (listen, self.says("admin on http://").trim_end_matches('/').to_owned())
    }

    /// The next line, which begins like this; and its rest.
    #[track_caller]
    pub(crate) fn says(&self, beginning: &str) -> String {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        let rest = line.strip_prefix(beginning);
        rest.unwrap_or_else(|| panic!("{line:?} does not begin with {beginning:?}")).to_owned()
    }
}

pub(crate) fn page(admin: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn yaml(cluster: &str) -> String {
    format!(
        "version: 1\nvirtual_hosts:\n  shop:\n    domains: [shop]\n    routes:\n      \
         - {{ match: {{ prefix: / }}, cluster: {cluster} }}\nclusters:\n  \
         {cluster}: {{ endpoints: [\"127.0.0.1:8080\"] }}\n"
    )
}

#[test]
fn files_are_served_and_followed_and_a_bad_edit_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    std::fs::write(&file, yaml("one")).unwrap();
    let mut ads = Ads::start(&file);
    ads.says("listening on 127.0.0.1:");
    let admin = ads.says("admin on http://");
    let admin = admin.trim_end_matches('/');
    let first = ads.says("serving ");
    assert!(first.contains("1 CDS") && first.contains("4 LDS"), "{first}");
    assert!(page(admin, "/ready").starts_with("HTTP/1.1 200 "));
    assert!(page(admin, "/clients").ends_with("[]\n"));
    assert!(page(admin, "/").starts_with("HTTP/1.1 404 "));

    std::fs::write(&file, yaml("two")).unwrap();
    let second = ads.says("serving ");
    assert_ne!(first, second);
    std::fs::write(&file, "version: 1\nvirtual_hosts: 7\n").unwrap();
    let begun = Instant::now();
    while !page(admin, "/metrics").contains("\nmesh_ads_rejected_edits_total 1\n") {
        assert!(begun.elapsed() < PATIENCE, "{}", page(admin, "/metrics"));
        std::thread::sleep(Duration::from_millis(20));
    }
    let metrics = page(admin, "/metrics");
    assert!(metrics.contains("\nmesh_ads_stale 1\n"), "{metrics}");
    assert!(metrics.contains("\nmesh_ads_snapshots_total 2\n"), "{metrics}");

    let pid = ads.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    ads.says("ended by SIGTERM");
    assert!(ads.child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_served_is_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    std::fs::write(&file, "version: 1\nvirtual_hosts: 7\n").unwrap();
    let run = |listener: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["ads", "--listen", "127.0.0.1:0", "--envoy-listener", listener])
            .arg(&file)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = run("outbound=127.0.0.1:15001");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("[wrong_configuration]"), "{told}");
    let (code, told) = run("outbound");
    assert!(code == Some(2) && told.contains("write `name=address:port`"), "{told}");
}

fn envoys(timeout: &str) -> String {
    format!(
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: one\n  \
         connect_timeout: {timeout}\n- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  \
         name: all\n  virtual_hosts:\n  - {{ name: a, domains: [a], routes: [{{ match: {{ prefix: / }}, \
         route: {{ cluster: one }} }}] }}\n"
    )
}

#[test]
fn resources_of_envoys_are_served_as_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("envoy.yaml");
    std::fs::write(&file, envoys("1s")).unwrap();
    let ads = Ads::start_with(&[], &file);
    ads.says("listening on 127.0.0.1:");
    let admin = ads.says("admin on http://");
    let admin = admin.trim_end_matches('/');
    // No listener is made for the domain, and no endpoints: only what is written is served.
    let first = ads.says("serving ");
    assert!(first.starts_with("1 RDS ") && first.contains(", 1 CDS "), "{first}");
    assert!(!first.contains("LDS") && !first.contains("EDS"), "{first}");

    std::fs::write(&file, envoys("5")).unwrap();
    let begun = Instant::now();
    while !page(admin, "/metrics").contains("\nmesh_ads_rejected_edits_total 1\n") {
        assert!(begun.elapsed() < PATIENCE, "{}", page(admin, "/metrics"));
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::write(&file, envoys("2s")).unwrap();
    let second = ads.says("serving ");
    let [first, second] = [&first, &second].map(|told| told.split(", ").collect::<Vec<_>>());
    assert_eq!(first[0], second[0], "the routes are the same");
    assert_ne!(first[1], second[1], "the cluster is another");
}

#[test]
fn what_would_be_lost_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("envoy.yaml");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["ads", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .arg(&file)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let unknown = "metadata: { typed_filter_metadata: { a: { \"@type\": a/acme.A, b: 1 } } }";
    let text = envoys("1s").replace("connect_timeout: 1s", unknown);
    std::fs::write(&file, text).unwrap();
    let (code, told) = run(&[]);
    assert!(code == Some(2) && told.contains("cluster `one` holds"), "{told}");
    assert!(told.contains("[unchecked_content]"), "{told}");
    std::fs::write(&file, envoys("1s")).unwrap();
    let (code, told) = run(&["--envoy-listener", "outbound=127.0.0.1:15001"]);
    assert!(code == Some(2) && told.contains("is for a mesh.yaml"), "{told}");
}
