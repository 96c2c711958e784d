//! What the tests send with: a mesh with one cluster, and plain HTTP calls through it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use mesh_core::config::{Bounds, Document, load};
use mesh_core::update::ConfigUpdate;
use mesh_tower::{Mesh, MeshBody};
use std::collections::BTreeMap;
use std::time::Duration;
use tower::ServiceExt;

/// No call may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mesh in which `peer` is a cluster of one endpoint; `cluster` are more keys of it.
pub(crate) fn mesh(port: u16, cluster: &str) -> Mesh {
    routed(port, cluster, "")
}

/// The same with more keys of the `route`.
pub(crate) fn routed(port: u16, cluster: &str, route: &str) -> Mesh {
    let text = format!(
        "version: 1\n\
         virtual_hosts: {{ peer: {{ domains: [peer, \"peer:80\"], routes: [{{ cluster: peer, {route} }}] }} }}\n\
         clusters: {{ peer: {{ endpoints: [\"127.0.0.1:{port}\"], {cluster} }} }}\n"
    );
    Mesh::builder().config(read(&text)).build().unwrap()
}

/// A `mesh.yaml` without mistakes.
pub(crate) fn read(text: &str) -> ConfigUpdate {
    let loaded = load(&[Document { name: "mesh.yaml", text }], &(), &Bounds::default());
    loaded.update.unwrap_or_else(|| panic!("{text}\n{:?}", loaded.diagnostics))
}

/// A response that has arrived as a whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    /// A header that must be there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value =
            self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers));
        value.to_str().unwrap()
    }

    /// The body, which must be JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

pub(crate) fn request(version: Version, method: Method, path: &str) -> Request<MeshBody> {
    let request = Request::builder().method(method).uri(format!("http://peer{path}"));
    request.version(version).body(MeshBody::empty()).unwrap()
}

pub(crate) fn get(version: Version, path: &str) -> Request<MeshBody> {
    request(version, Method::GET, path)
}

/// Sends, and takes the whole answer.
pub(crate) async fn send(mesh: &Mesh, request: Request<MeshBody>) -> Answer {
    let shown = format!("{} {} {:?}", request.method(), request.uri(), request.version());
    let answer = tokio::time::timeout(PATIENCE, try_send(mesh, request)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{shown}: no answer in {PATIENCE:?}"));
    answer.unwrap_or_else(|error| panic!("{shown}: {error}"))
}

pub(crate) async fn try_send(
    mesh: &Mesh,
    request: Request<MeshBody>,
) -> Result<Answer, mesh_tower::Error> {
    let (parts, body) = mesh.client().oneshot(request).await.map(Response::into_parts)?;
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    let http::response::Parts { status, version, headers, .. } = parts;
    Ok(Answer { status, version, headers, body, trailers })
}

/// `calls` calls by 16 callers at once, all of which must end well; how often each answer of `by` came.
pub(crate) async fn traffic(
    mesh: &Mesh,
    calls: usize,
    request: impl Fn() -> Request<MeshBody> + Clone + Send + 'static,
    by: fn(&Answer) -> String,
) -> BTreeMap<String, usize> {
    const CALLERS: usize = 16;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (mesh, request) = (mesh.clone(), request.clone());
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..calls / CALLERS {
                let answer = send(&mesh, request()).await;
                assert_eq!(answer.status, StatusCode::OK);
                seen.push(by(&answer));
            }
            seen
        });
    }
    let mut counts = BTreeMap::new();
    while let Some(seen) = tasks.join_next().await {
        for answer in seen.unwrap() {
            *counts.entry(answer).or_default() += 1;
        }
    }
    counts
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// A body of frames of 10,000 bytes whose length isn't known before, with trailers.
pub(crate) fn streamed(bytes: &Bytes, trailers: Option<HeaderMap>) -> MeshBody {
    use http_body::Frame;
    let mut frames: Vec<Result<_, std::convert::Infallible>> =
        bytes.chunks(10_000).map(|chunk| Ok(Frame::data(bytes.slice_ref(chunk)))).collect();
    frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
    MeshBody::new(http_body_util::StreamBody::new(tokio_stream::iter(frames)))
}

/// What every HTTP peer with `/seen` and `/echo` must do in `version`.
pub(crate) async fn seen_and_echo(mesh: &Mesh, version: Version) {
    let mut asked = request(version, Method::POST, "/seen");
    asked.headers_mut().insert("x-sent", "a b, c".parse().unwrap());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "17".parse().unwrap());
    asked.headers_mut().insert("trailer", "x-sum".parse().unwrap());
    *asked.body_mut() = streamed(&pattern(25_000), Some(trailers));
    let answer = send(mesh, asked).await;
    assert_eq!((answer.status, answer.version), (StatusCode::OK, version));
    let seen = answer.json();
    assert_eq!(seen["body_bytes"], 25_000, "{seen}");
    assert_eq!(seen["headers"]["x-sent"], "a b, c", "{seen}");
    assert_eq!(seen["trailers"]["x-sum"], "17", "{seen}");

    // More than any flow-control window, in both directions at once.
    let bytes = pattern(4 << 20);
    let mut asked = request(version, Method::POST, "/echo");
    *asked.body_mut() = streamed(&bytes, None);
    let answer = send(mesh, asked).await;
    assert!(answer.body == bytes, "{} of {} bytes came back", answer.body.len(), bytes.len());
    let trailers = answer.trailers.expect("the peer sends trailers");
    assert_eq!(trailers["x-length"], bytes.len().to_string());
}
