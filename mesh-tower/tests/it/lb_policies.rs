//! Load-balancing policies of the program's own, named by a control plane and by files of Envoy's.

use crate::fixture::{at, call, eventually, get, over_h2, reply, text};
use mesh_core::config::{Bounds, Document, Environment, FileError};
use mesh_core::lb::{CustomPick, Pick};
use mesh_tower::source::{Bootstrap, Variant, XdsSource};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Builder, Mesh};
use mesh_xds::server::{AdsServer, Snapshot};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Always the last of the endpoints.
#[derive(Debug)]
struct Last;

impl Pick for Last {
    fn pick(&self, cx: &CustomPick<'_>) -> Option<u32> {
        cx.candidate(cx.len() - 1).map(|candidate| candidate.index)
    }
}

/// An authority `a` at endpoints 1 to 3, with these policies.
fn resources(policies: &[&str]) -> String {
    let policy = |name: &&str| {
        format!(
            "\n    - typed_extension_config: {{ name: x, typed_config: {{ \
             \"@type\": type.googleapis.com/xds.type.v3.TypedStruct, \
             type_url: type.googleapis.com/{name}, value: {{}} }} }}"
        )
    };
    let endpoint = |number: u8| {
        let address = at(number).ip();
        format!(
            "\n      - endpoint: {{ address: {{ socket_address: {{ address: {address}, port_value: 80 }} }} }}"
        )
    };
    format!(
        r#"resources:
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: a
  api_listener:
    api_listener:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: a
      route_config:
        name: a
        virtual_hosts:
        - {{ name: a, domains: [a], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: c }} }}] }}
      http_filters:
      - name: router
        typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: c
  type: EDS
  eds_cluster_config: {{ eds_config: {{ ads: {{}} }} }}
  load_balancing_policy:
    policies:{}
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: c
  endpoints:
  - locality: {{ zone: z }}
    load_balancing_weight: 1
    lb_endpoints:{}
"#,
        policies.iter().map(policy).collect::<String>(),
        (1..=3).map(endpoint).collect::<String>(),
    )
}

fn builder() -> Builder {
    let network = MemoryNetwork::new();
    for (number, name) in [(1, "1"), (2, "2"), (3, "3")] {
        network.serve_fn(at(number), move |_| async move { reply(200, name) });
    }
    Mesh::builder().seed(0).connector(network).lb_policy("org.example.Last", Last)
}

/// Who answers six calls; a refusal by its code.
async fn answers(mesh: &Mesh) -> String {
    let mut all = String::new();
    for _ in 0..6 {
        match call(mesh, over_h2(get("/"))).await {
            Ok(response) => all.push_str(&text(response).await),
            Err(error) => return error.code().to_owned(),
        }
    }
    all
}

const UNKNOWN: &str = "org.example.Unknown";
const LAST: &str = "org.example.Last";

/// Policies, and who answers by the first that is known (gRFC A52).
const CASES: &[(&[&str], &str)] = &[
    (&[LAST], "333333"),
    (&[UNKNOWN, LAST, "round_robin"], "333333"),
    (&["round_robin", LAST], "123123"),
    (&[UNKNOWN, "round_robin"], "123123"),
];

#[tokio::test]
async fn a_file_of_envoys_names_policies_of_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("envoy.yaml");
    for (policies, expected) in CASES {
        std::fs::write(&path, resources(policies)).unwrap();
        let mesh = builder().file(&path).build().unwrap();
        assert_eq!(answers(&mesh).await, *expected, "{policies:?}");
    }
    std::fs::write(&path, resources(&[UNKNOWN])).unwrap();
    let error = builder().file(&path).build().unwrap_err().to_string();
    let expected = "none is supported (gRFC A52): [org.example.Unknown]; add one of round_robin, \
                    random, least_request, ring_hash, maglev, wrr_locality, peak_ewma, org.example.Last";
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn a_file_that_is_edited_goes_on_naming_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("envoy.yaml");
    std::fs::write(&path, resources(&["round_robin"])).unwrap();
    let mesh = builder().file(&path).build().unwrap();
    assert_eq!(answers(&mesh).await, "123123");
    std::fs::write(&path, resources(&[LAST])).unwrap();
    let is_new = || mesh.configuration().generation > 1;
    eventually("the edit goes live", is_new).await;
    assert_eq!(answers(&mesh).await, "333333");
}

#[tokio::test]
async fn a_control_plane_names_policies_of_the_program() {
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        for (policies, expected) in CASES {
            let (_serving, source) = plane(&resources(policies)).await;
            let mesh = builder().source(source.variant(variant)).build().unwrap();
            assert_eq!(answers(&mesh).await, *expected, "{policies:?}");
        }
    }
}

/// Where the policy is registered, and nothing else.
struct Registered;

impl Environment for Registered {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str, path: &str) -> Result<String, FileError> {
        Err(FileError::new(format!("no file is read, and not `{path}`")))
    }

    fn lb_policies(&self) -> BTreeSet<Arc<str>> {
        [LAST.into()].into()
    }
}

/// A control plane that serves `text`, which ends with the task.
async fn plane(text: &str) -> (tokio::task::JoinSet<()>, XdsSource) {
    let document = Document { name: "envoy.yaml", text };
    let files = mesh_xds::files::read(&[document], &Registered, &Bounds::default());
    let snapshot = Snapshot::new(files.resources.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = tokio::task::JoinSet::new();
    let server = AdsServer::new(snapshot);
    serving.spawn(async move {
        server.serve(listener, std::future::pending()).await.unwrap();
    });
    let bootstrap = format!(
        r#"{{ "xds_servers": [{{ "server_uri": "{address}",
             "channel_creds": [{{ "type": "insecure" }}] }}], "node": {{ "id": "n" }} }}"#
    );
    (serving, XdsSource::new(Bootstrap::parse(&bootstrap).unwrap()))
}
