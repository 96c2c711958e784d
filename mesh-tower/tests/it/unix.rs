//! Endpoints behind Unix sockets.

use crate::fixture::{bounded, call, cluster, config_of, get, idle, outcome, over_h2, text};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_core::model::Address;
use mesh_tower::Mesh;
use std::convert::Infallible;
use std::path::Path;
use tokio::net::UnixListener;

async fn says_who_was_asked(
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let host = host.or_else(|| request.uri().authority().map(ToString::to_string));
    Ok(Response::new(Full::from(host.unwrap_or_default())))
}

fn serve(path: &Path) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let service = service_fn(says_who_was_asked);
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    })
}

fn mesh(path: &Path) -> Mesh {
    let address = Address::Unix(path.into());
    Mesh::builder().config(config_of(cluster(|_| {}), [address], |_| {})).build().unwrap()
}

#[tokio::test]
async fn a_unix_socket_is_an_endpoint_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let server = serve(&path);
    let mesh = mesh(&path);
    for request in [get("/"), over_h2(get("/"))] {
        assert_eq!(text(call(&mesh, request).await.unwrap()).await, "a");
    }
    idle(&mesh).await;
    server.abort();
}

#[tokio::test]
async fn a_socket_that_is_not_there_refuses_and_one_that_comes_answers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let mesh = mesh(&path);
    let error = call(&mesh, get("/")).await.unwrap_err();
    assert_eq!(error.code(), "connect_refused");
    assert!(error.to_string().contains("app.sock"), "{error}");
    let server = serve(&path);
    assert!(outcome(&mesh, get("/")).await.is_ok());
    server.abort();
}

#[tokio::test]
async fn the_file_names_a_socket_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let server = serve(&path);
    let yaml = format!(
        "version: 1\nvirtual_hosts: {{ a: {{ routes: [{{ cluster: a }}] }} }}\n\
         clusters: {{ a: {{ endpoints: [\"unix:{}\"] }} }}\n",
        path.display()
    );
    let file = directory.path().join("mesh.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mesh = Mesh::from_file(&file).unwrap();
    assert_eq!(bounded(outcome(&mesh, get("/"))).await.unwrap().1, "a");
    server.abort();
}
