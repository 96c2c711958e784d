//! `mesh.yaml`: read, followed, and never replaced by something worse.

use crate::fixture::{Server, bounded, eventually, get, metric, outcome};
use mesh_tower::{BuildError, Mesh};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How many files are refused now.
const REFUSED: &str = "mesh_config_rejected_resources";

fn yaml(endpoint: SocketAddr, extra: &str) -> String {
    format!(
        "version: 1\nvirtual_hosts:\n  a: {{ routes: [{{ cluster: a{extra} }}] }}\n\
         clusters:\n  a: {{ endpoints: [\"{endpoint}\"] }}\n"
    )
}

fn write(directory: &Path, text: &str) -> PathBuf {
    let (new, file) = (directory.join("new.yaml"), directory.join("mesh.yaml"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, &file).unwrap();
    file
}

async fn answers(mesh: &Mesh) -> Result<String, String> {
    outcome(mesh, get("/")).await.map(|(_, body)| String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_file_is_followed_and_a_bad_one_changes_nothing_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (Server::text("first").await, Server::text("second").await);
    let file = write(directory.path(), &yaml(first.address, ""));
    let mesh = Mesh::from_file(&file).unwrap();
    bounded(mesh.ready()).await.unwrap();
    assert_eq!(answers(&mesh).await.as_deref(), Ok("first"));
    let before = mesh.configuration();
    assert_eq!((before.generation, &before.refused), (1, &None));
    assert!(before.source.contains("mesh.yaml") && !before.version.is_empty(), "{before:?}");

    write(directory.path(), &yaml(second.address, ""));
    bounded(mesh.applied(2)).await.unwrap();
    assert_eq!(answers(&mesh).await.as_deref(), Ok("second"));
    let good = mesh.configuration();
    assert_ne!(good.version, before.version);

    // A cluster that is not there, with a place and a suggestion.
    let bad = yaml(first.address, "").replace("cluster: a", "cluster: aa");
    write(directory.path(), &bad);
    eventually("it is refused", || mesh.configuration().refused.is_some()).await;
    let now = mesh.configuration();
    assert_eq!((now.generation, &now.version), (good.generation, &good.version));
    let why = now.refused.unwrap();
    assert!(why.contains("mesh.yaml:3:") && why.contains("aa"), "{why}");
    assert_eq!(answers(&mesh).await.as_deref(), Ok("second"));
    assert_eq!(metric(&mesh, "mesh_config_updates_total", &[("outcome", "rejected")]), 1);
    assert_eq!(metric(&mesh, "mesh_config_updates_total", &[("outcome", "applied")]), 2);
    assert_eq!(metric(&mesh, REFUSED, &[]), 1);

    // Nothing at all, and no file.
    write(directory.path(), "");
    eventually("it is refused too", || {
        metric(&mesh, "mesh_config_updates_total", &[("outcome", "rejected")]) == 2
    })
    .await;
    std::fs::remove_file(&file).unwrap();
    eventually("that as well", || {
        metric(&mesh, "mesh_config_updates_total", &[("outcome", "rejected")]) == 3
    })
    .await;
    assert_eq!(answers(&mesh).await.as_deref(), Ok("second"));
    assert_eq!(metric(&mesh, REFUSED, &[]), 1);

    // What was in force comes back: the refusal is over, and it is no new configuration.
    write(directory.path(), &yaml(second.address, ""));
    eventually("all is well again", || mesh.configuration().refused.is_none()).await;
    assert_eq!(mesh.configuration().generation, 2);
    assert_eq!(metric(&mesh, REFUSED, &[]), 0);
    write(directory.path(), &yaml(first.address, ", timeout: 5s"));
    bounded(mesh.applied(3)).await.unwrap();
    assert_eq!(answers(&mesh).await.as_deref(), Ok("first"));
}

#[tokio::test]
async fn a_bad_file_makes_no_mesh_and_names_every_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let file =
        write(directory.path(), "version: 1\nclusters: { a: { endpoint: [] } }\nnonsense: 1\n");
    let error = Mesh::from_file(&file).unwrap_err();
    assert!(matches!(error, BuildError::Configuration(_)));
    let text = error.to_string();
    assert!(text.contains("endpoint") && text.contains("nonsense"), "{text}");
    let missing = Mesh::from_file(directory.path().join("none.yaml")).unwrap_err().to_string();
    assert!(missing.contains("none.yaml"), "{missing}");
}

#[tokio::test]
async fn several_files_unite_and_each_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (Server::text("first").await, Server::text("second").await);
    let routes = directory.path().join("routes.yaml");
    std::fs::write(&routes, "version: 1\nvirtual_hosts: { a: { routes: [{ cluster: a }] } }\n")
        .unwrap();
    let clusters = |address: SocketAddr| {
        format!("version: 1\nclusters: {{ a: {{ endpoints: [\"{address}\"] }} }}\n")
    };
    let file = write(directory.path(), &clusters(first.address));
    let mesh = Mesh::builder().file(&routes).file(&file).build().unwrap();
    assert_eq!(answers(&mesh).await.as_deref(), Ok("first"));
    write(directory.path(), &clusters(second.address));
    bounded(mesh.applied(2)).await.unwrap();
    assert_eq!(answers(&mesh).await.as_deref(), Ok("second"));
}

#[test]
fn a_mesh_has_one_source() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), &yaml(([127, 0, 0, 1], 1).into(), ""));
    let both = Mesh::builder().file(file).config(mesh_core::ConfigUpdate::default());
    assert!(matches!(both.build().unwrap_err(), BuildError::TwoSources));
}

/// A file of Envoy's with one route to one endpoint.
#[cfg(feature = "json")]
fn envoys(endpoint: SocketAddr, cluster: &str) -> String {
    let (ip, port) = (endpoint.ip(), endpoint.port());
    format!(
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  name: all\n  \
         virtual_hosts:\n  - {{ name: a, domains: [a], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: {cluster} }} }}] }}\n\
         - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: a\n  load_assignment:\n    \
         cluster_name: a\n    endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: \
         {{ address: {ip}, port_value: {port} }} }} }} }}] }}]\n"
    )
}

#[cfg(feature = "json")]
#[tokio::test]
async fn a_file_of_envoys_is_followed_in_the_same_way() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (Server::text("first").await, Server::text("second").await);
    let file = write(directory.path(), &envoys(first.address, "a"));
    let mesh = Mesh::from_file(&file).unwrap();
    bounded(mesh.ready()).await.unwrap();
    assert_eq!(answers(&mesh).await.as_deref(), Ok("first"));

    write(directory.path(), &envoys(first.address, "aa"));
    eventually("it is refused", || mesh.configuration().refused.is_some()).await;
    let why = mesh.configuration().refused.unwrap();
    assert!(why.contains("mesh.yaml:5:") && why.contains("there is no cluster `aa`"), "{why}");
    assert_eq!(answers(&mesh).await.as_deref(), Ok("first"));

    // The other format, in the same place.
    write(directory.path(), &yaml(second.address, ""));
    bounded(mesh.applied(2)).await.unwrap();
    assert_eq!(answers(&mesh).await.as_deref(), Ok("second"));
    write(directory.path(), &envoys(first.address, "a"));
    bounded(mesh.applied(3)).await.unwrap();
    assert_eq!(answers(&mesh).await.as_deref(), Ok("first"));
    assert_eq!(mesh.configuration().refused, None);
}
