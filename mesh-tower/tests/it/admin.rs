//! Admin pages: what they say of a mesh whose endpoints are in every state, to whom, and what they never say.

#[cfg(feature = "json")]
mod envoy;
#[cfg(feature = "tls-aws-lc")]
mod identity;
mod profile;
mod server;
mod states;

use crate::fixture::{Count, at, cluster, config, mesh, simple, text};
use http::{Method, Request, StatusCode};
use mesh_core::ConfigUpdate;
use mesh_core::config::{Bounds, Document};
use mesh_core::model::Cluster;
use mesh_core::model::secret::{Secret, SecretCertificate, SecretContent, SecretSource};
use mesh_core::update::SecretAnswer;
use mesh_tower::Mesh;
use mesh_tower::admin::Admin;
use mesh_tower::testing::MemoryNetwork;
use serde_json::Value;
use std::sync::Arc;

/// Every page, in every format.
pub(crate) const ALL: [&str; 20] = [
    "/",
    "/?format=json",
    "/ready",
    "/live",
    "/stats",
    "/stats/prometheus",
    "/metrics",
    "/clusters",
    "/clusters?format=json",
    "/clusters?format=mesh",
    "/config_dump?include_eds",
    "/config_dump?format=mesh",
    "/certs",
    "/certs?format=text",
    "/listeners",
    "/listeners?format=json",
    "/listeners?format=mesh",
    "/explain?url=http://a/x&header=x-mine:mine",
    "/explain?url=http://a/x&format=json",
    "/configurations?format=json",
];

/// A page, as who knows whence asks for it.
pub(crate) async fn ask(admin: &Admin, method: Method, uri: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let response = admin.answer(request);
    (response.status(), text(response).await)
}

/// A page that is there.
pub(crate) async fn read(admin: &Admin, uri: &str) -> String {
    let (status, text) = ask(admin, Method::GET, uri).await;
    assert_eq!(status, StatusCode::OK, "{uri}: {text}");
    text
}

pub(crate) async fn json(admin: &Admin, uri: &str) -> Value {
    serde_json::from_str(&read(admin, uri).await).unwrap()
}

fn nobody() -> Mesh {
    simple(&MemoryNetwork::new(), 1, |_| {})
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let admin = Admin::new(&nobody());
    let (status, text) = ask(&admin, Method::GET, "/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for path in ["/ready", "/clusters", "/config_dump", "/drain"] {
        assert!(text.contains(&format!("\n{path} ")), "{path}: {text}");
    }
    let (status, text) = ask(&admin, Method::GET, "/clusters?format=yaml").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(text, "this page has no such format: it has text, json, mesh\n");
}

#[tokio::test]
async fn a_page_takes_its_methods_and_says_which() {
    let admin = Admin::new(&nobody());
    for (method, path, allow) in [
        (Method::POST, "/clusters", "GET, HEAD"),
        (Method::DELETE, "/", "GET, HEAD"),
        (Method::GET, "/drain", "POST"),
        (Method::PUT, "/logging", "GET, HEAD, POST"),
    ] {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let response = admin.answer(request);
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()["allow"], allow, "{path}");
    }
}

#[tokio::test]
async fn a_head_is_that_of_the_page_and_no_more() {
    let admin = Admin::new(&nobody());
    let [get, head] = [Method::GET, Method::HEAD].map(|method| {
        let request = Request::builder().method(method).uri("/live").body(()).unwrap();
        admin.answer(request)
    });
    assert_eq!(get.headers(), head.headers());
    assert_eq!(get.headers()["content-length"], "5");
    assert_eq!(get.headers()["cache-control"], "no-store");
    assert_eq!((text(get).await.as_str(), text(head).await.as_str()), ("live\n", ""));
}

#[tokio::test]
async fn it_is_ready_when_everybody_says_so() {
    let (updates, source) = mesh_tower::source::Updates::new();
    let mesh = Mesh::builder().source(source).build().unwrap();
    let waiting = Count::default();
    let asked = waiting.clone();
    let admin = Admin::new(&mesh).ready_when(move || match asked.add() {
        0 => Err("the cache is cold".to_owned()),
        _ => Ok(()),
    });
    let ready = || ask(&admin, Method::GET, "/ready");
    let (status, text) = ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text, "not ready: there is no configuration yet\n");
    let update = config(Cluster::new("a"), &[at(1)], |_| {});
    updates.apply(update);
    crate::fixture::bounded(mesh.applied(1)).await.unwrap();
    assert_eq!(ready().await.1, "not ready: the cache is cold\n");
    assert_eq!(ready().await, (StatusCode::OK, "ready\n".to_owned()));
    mesh.shutdown(std::time::Duration::ZERO).await;
    let (status, text) = ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text, "not ready: the mesh was shut down\n");
    assert_eq!(read(&admin, "/live").await, "live\n");
}

#[tokio::test]
async fn an_explanation_is_that_of_the_tool() {
    let update = config(Cluster::new("a"), &[at(1), at(2)], |_| {});
    let snapshot = mesh_core::explain::snapshot(update.clone()).unwrap();
    let admin = Admin::new(&mesh(&MemoryNetwork::new(), update));
    let mut request = mesh_core::explain::Request::new("http://reviews/1?q=x").unwrap();
    request.method = Method::POST;
    request.headers.insert("x-user", "ann".parse().unwrap());
    let expected = mesh_core::explain::explain(&snapshot, &request);
    let uri = "/explain?url=http%3A%2F%2Freviews%2F1%3Fq%3Dx&method=POST&header=x-user:ann";
    assert_eq!(read(&admin, uri).await, expected.to_string());
    let found = json(&admin, &format!("{uri}&format=json")).await;
    let expected: Value = serde_json::from_str(&expected.to_json().to_string()).unwrap();
    assert_eq!(found, expected);
    for (uri, why) in [
        ("/explain", "say which request"),
        ("/explain?url=", "it is empty"),
        ("/explain?url=a&method=%20", "is no method"),
        ("/explain?url=a&header=x", "`name:value`"),
    ] {
        let (status, text) = ask(&admin, Method::GET, uri).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{uri}");
        assert!(text.contains(why), "{uri}: {text}");
    }
}

/// A configuration that adds a token to requests, compares one, and has a key in line.
fn secretive() -> ConfigUpdate {
    let text = r#"
version: 1
virtual_hosts:
  any:
    domains: ["*"]
    routes:
      - match: { headers: { authorization: hunter1 } }
        cluster: a
      - cluster: a
        headers: { request: { set: { x-token: hunter2 } }, response: { set: { x-secret: hunter3 } } }
clusters:
  a: { endpoints: ["10.0.0.1:80"] }
"#;
    let documents = [Document { name: "mesh.yaml", text }];
    let loaded = mesh_core::config::load(&documents, &(), &Bounds::default());
    let mut update = loaded.update.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let inline = |text: &str| SecretSource::Inline(text.as_bytes().into());
    let pair = SecretCertificate::new(inline("hunter4"), inline("hunter5"));
    let secret = Secret::new("own", SecretContent::Certificate(pair));
    let known = SecretAnswer::Known(Arc::new(secret));
    update.secrets = Arc::new([(Arc::from("own"), known)].into());
    update
}

#[tokio::test]
async fn values_of_headers_and_secrets_are_in_no_page() {
    let mesh = mesh(&MemoryNetwork::new(), secretive());
    let (hidden, shown) = (Admin::new(&mesh), Admin::new(&mesh).show_header_values(true));
    let mut all = String::new();
    for page in ALL {
        let text = read(&hidden, page).await;
        assert!(!text.contains("hunter"), "{page}: {text}");
        all.push_str(&read(&shown, page).await);
    }
    // Who wants to see them does, but never a secret.
    let seen =
        ["hunter1", "hunter2", "hunter3", "hunter4", "hunter5"].map(|word| all.contains(word));
    assert_eq!(seen, [cfg!(feature = "json"), true, true, false, false]);
    // What the asker has said comes back.
    let page = "/explain?url=http://a/x&header=x-mine:mine&format=json";
    let page = read(&hidden, page).await;
    assert!(page.contains("\"mine\"") && page.contains("[redacted]"), "{page}");
}

#[tokio::test]
async fn hostile_names_are_texts() {
    let hostile = "<script>alert('1')</script>\n\u{1b}[2J\"&";
    let mut a = cluster(|cluster| cluster.name = hostile.into());
    a.circuit_breakers.default.max_requests = 0;
    let mut update = config(a, &[at(1)], |_| {});
    let assigned = update.clusters.get_mut(hostile).unwrap();
    let endpoints = Arc::make_mut(assigned.endpoints.as_mut().unwrap());
    let locality = Arc::make_mut(&mut endpoints.localities[0]);
    locality.locality.zone = hostile.into();
    locality.endpoints[0].hostname = Some(hostile.into());
    update.origin = mesh_core::update::Origin::new(hostile, hostile);
    let mesh = mesh(&MemoryNetwork::new(), update);
    // It overflows, so that the limits have a row with its name.
    assert!(crate::fixture::call(&mesh, crate::fixture::get("/")).await.is_err());
    let admin = Admin::new(&mesh).ready_when(move || Err(hostile.to_owned()));
    let page = read(&admin, "/").await;
    assert!(page.matches("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;").count() >= 5, "{page}");
    assert!(!page.contains("<script") && !page.contains('\u{1b}'), "{page}");
    // Nor do they drive a terminal, or make lines.
    let text = read(&admin, "/clusters").await;
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.lines().all(|line| line.starts_with("<script>")), "{text}");
    let found = json(&admin, "/clusters?format=json").await;
    assert_eq!(found["cluster_statuses"][0]["name"], hostile);
}

#[tokio::test]
async fn the_last_configurations_are_told() {
    let mesh = nobody();
    let admin = Admin::new(&mesh);
    let text = read(&admin, "/configurations").await;
    let told = text.split_once("Z ").unwrap().1;
    assert_eq!(told, format!("{}\n", mesh.configurations()[0]));
    let found = json(&admin, "/configurations?format=json").await;
    assert_eq!(found["configurations"][0]["outcome"], "applied");
    assert_eq!(found["configurations"][0]["source"], "code");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_scrape_has_the_process_too() {
    let admin = Admin::new(&nobody());
    let stats = read(&admin, "/stats").await;
    for name in ["mesh_config_info{", "process_cpu_seconds_total ", "process_open_fds "] {
        assert!(stats.contains(&format!("\n{name}")), "{name}: {stats}");
    }
    // A name is one metric: told once.
    let heads: Vec<_> = stats.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let mut distinct = heads.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(heads.len(), distinct.len());
}
