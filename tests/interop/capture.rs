//! Connections that the kernel leads to `mesh proxy`, by the rules of `mesh iptables`: iptables-nft, in a namespace of
//! the network that the test makes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

const CONFIGURATION: &str = r#"version: 1
unknown_hosts: passthrough
virtual_hosts:
  reviews: { domains: ["reviews:*", reviews], routes: [{ cluster: reviews }] }
  db: { domains: ["10.9.0.66:7777"], routes: [{ cluster: db }] }
  # A pattern is of names: bytes that were meant for an address are none of its.
  pattern: { domains: ["10.9.*"], routes: [{ cluster: reviews }] }
clusters:
  reviews: { endpoints: ["127.0.0.1:9001"] }
  db: { endpoints: ["127.0.0.1:9002"], protocol: tcp }
outbound:
  web: { listen: "127.0.0.1:15001", capture: true }
  web6: { listen: "[::1]:15001", capture: true }
  db: { listen: "127.0.0.1:15002", capture: 5432, protocol: tcp, cluster: db }
  bytes: { listen: "127.0.0.1:15003", capture: [7777], protocol: tcp }
  any: { listen: "127.0.0.1:15004", capture: [9998, 9999], protocol: detect, detect_timeout: 500ms }
"#;

const EXPECTED: &str = "\
rules of before that are left: 0
by its name: 200 reviews for reviews
by its name, another port: 200 reviews for reviews
by its name, IPv6: 200 reviews for reviews
a name that nobody knows: 200 far for far.example
a name that nobody knows, IPv6: 200 far for far.example
a port of a cluster: db heard hello
an address of a cluster: db heard hello
any other address: far heard hello
found to be HTTP: 200 reviews for reviews
found to be bytes: far heard hello
found to be TLS: far heard \\x16\\x03\\x01
found to wait: far spoke first
a port that is excluded: far heard hello
a tunnel, by a proxy elsewhere: far heard hello
the proxy itself: 200 far for reviews
to the port itself, HTTP: 200 reviews for reviews
to the port itself, bytes: closed
to the port itself, found to be bytes: closed
their lines: 2
refused, HTTP: 404
refused, bytes: closed
refused, found to be bytes: closed
rules that are left: 0
captured no more: 200 far for reviews
";

#[test]
#[ignore = "needs root, iptables, iproute2 and python3"]
fn what_an_application_calls_is_captured() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("mesh.yaml"), CONFIGURATION).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/capture.sh");
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = Command::new(if is_root { "unshare" } else { "sudo" });
    if !is_root {
        command.args(["-n", "unshare"]);
    }
    let output = command
        .args(["--net", "sh", script, env!("CARGO_BIN_EXE_mesh")])
        .arg(place.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let log = fs::read_to_string(place.path().join("proxy.log")).unwrap_or_default();
    assert_eq!(said, EXPECTED, "{}\n{log}", String::from_utf8_lossy(&output.stderr));
}
