//! `Mesh::from_env` in processes of their own, each with an environment of its own.
//!
//! This program is run again, for the same test: changing one's own environment is not safe.

use crate::ads::Ads;
use mesh_tower::{Mesh, MeshBody};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;
use tower::Service;

/// Set in the processes that are run.
const CHILD: &str = "MESH_TEST_FROM_ENV";

/// What counts, and is not there unless a test sets it.
const VARIABLES: [&str; 3] = ["GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG", "MESH_CONFIG"];

#[test]
fn a_process_is_configured_by_what_its_environment_names() {
    if std::env::var_os(CHILD).is_some() {
        println!("\nchild: {}", call());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one.yaml"), directory.path().join("two.yaml"));
    std::fs::write(&one, routes()).unwrap();
    std::fs::write(&two, clusters(answer())).unwrap();
    let (one, two) = (one.display(), two.display());
    let both = format!("{one}:{two}");
    assert_eq!(child(&[("MESH_CONFIG", &both)]), format!("200 OK by {one}, {two}"));

    let file = directory.path().join("mesh.yaml");
    let text = format!("{}{}", routes(), clusters(answer()).replace("version: 1\n", ""));
    std::fs::write(&file, text).unwrap();
    let ads = Ads::start(&file);
    let address = ads.says("listening on ");
    let text = bootstrap(&address);
    let boot = directory.path().join("boot.json");
    std::fs::write(&boot, &text).unwrap();
    let boot = boot.display().to_string();
    let by_xds = child(&[("GRPC_XDS_BOOTSTRAP", &boot), ("MESH_CONFIG", "/nowhere")]);
    assert!(by_xds.starts_with("200 OK by ") && by_xds.contains(&address), "{by_xds}");
    let by_text = child(&[("GRPC_XDS_BOOTSTRAP_CONFIG", &text)]);
    assert_eq!(by_text, by_xds);

    let broken = child(&[("GRPC_XDS_BOOTSTRAP", "/nowhere"), ("MESH_CONFIG", &both)]);
    assert!(
        broken.starts_with("`GRPC_XDS_BOOTSTRAP` names the bootstrap file `/nowhere`: "),
        "{broken}"
    );
    let nothing = child(&[("MESH_CONFIG", "")]);
    assert!(nothing.starts_with("no configuration is named: "), "{nothing}");
    assert!(VARIABLES.iter().all(|name| nothing.contains(&format!("`{name}`"))), "{nothing}");
}

/// Runs the test above with these variables, and gives what it came to.
#[track_caller]
fn child(set: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture"]);
    command.arg("environment::a_process_is_configured_by_what_its_environment_names");
    for name in VARIABLES {
        command.env_remove(name);
    }
    let output = command.env(CHILD, "1").envs(set.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("child: "));
    line.unwrap_or_else(|| panic!("{set:?}: {text}")).to_owned()
}

/// In a child: calls `peer` once; the answer's status and who configured it, or what is wrong.
fn call() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let called = runtime.block_on(async {
        let mesh = Mesh::from_env().map_err(|error| error.to_string())?;
        let request = http::Request::get("http://peer/").body(MeshBody::empty()).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), mesh.client().call(request));
        let answer = answer.await.map_err(|late| late.to_string())?;
        let status = answer.map_err(|error| error.to_string())?.status();
        Ok(format!("{status} by {}", mesh.configuration().source))
    });
    called.unwrap_or_else(|error: String| error)
}

/// A server that answers every connection's first request.
fn answer() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _request = stream.read(&mut [0; 1024]);
            let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    address
}

fn routes() -> &'static str {
    "version: 1\nvirtual_hosts:\n  peer: { routes: [{ cluster: peer }] }\n"
}

fn clusters(endpoint: SocketAddr) -> String {
    format!("version: 1\nclusters:\n  peer: {{ endpoints: [\"{endpoint}\"] }}\n")
}

fn bootstrap(address: &str) -> String {
    format!(
        r#"{{ "xds_servers": [{{ "server_uri": "{address}",
                                 "channel_creds": [{{ "type": "insecure" }}] }}],
             "node": {{ "id": "test" }} }}"#
    )
}
