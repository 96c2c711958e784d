//! What the peers of mutual TLS share: certificates on disk, and a server of ours that says what it saw.

use crate::client::read;
use crate::server_ca::{Ca, Pair};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use hyper::body::Bytes;
use mesh_tower::identity::Certificate;
use mesh_tower::server::{Connection, Ends, Incoming, MeshServer, RequestBody, ServeError};
use mesh_tower::{Mesh, MeshBody};
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::json;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// From a second ago for an hour.
pub(crate) const LIFE: (i64, i64) = (-1, 3600);

/// The SPIFFE id of `name`.
pub(crate) fn id(name: &str) -> String {
    format!("spiffe://mesh.example/{name}")
}

/// Writes `NAME.pem` and `NAME.key`, and says where.
pub(crate) fn write(directory: &Path, name: &str, pair: &Pair) -> [PathBuf; 2] {
    let at = |end: &str| directory.join(format!("{name}.{end}"));
    let paths = [at("pem"), at("key")];
    std::fs::write(&paths[0], &pair.chain).unwrap();
    std::fs::write(&paths[1], &pair.key).unwrap();
    paths
}

/// A `mesh.yaml` of who `name` is, signed by `ca`, and of `more`.
pub(crate) fn document(directory: &Path, ca: &Ca, name: &str, more: &str) -> String {
    let [certificate, key] = write(directory, name, &ca.issue(&id(name)));
    let roots = directory.join("ca.pem");
    std::fs::write(&roots, ca.pem()).unwrap();
    format!(
        "version: 1\nidentity: {{ cert: {certificate:?}, key: {key:?}, roots: {roots:?} }}\n{more}"
    )
}

/// `name` as a client of the peer at `port`, which must be `server`; a connection is for three calls.
pub(crate) async fn caller(
    (directory, ca): (&Path, &Ca),
    name: &str,
    (port, server): (u16, &str),
) -> Mesh {
    let cluster = format!(
        "virtual_hosts: {{ peer: {{ domains: [peer, \"peer:80\"], routes: [{{ cluster: peer }}] }} }}\n\
         clusters: {{ peer: {{ endpoints: [\"127.0.0.1:{port}\"], max_requests_per_connection: 3, \
         tls: {{ san: \"{server}\" }} }} }}\n"
    );
    let update = read(&document(directory, ca, name, &cluster));
    known(Mesh::builder().config(update).build().unwrap()).await
}

/// Waits until the mesh knows who it is.
pub(crate) async fn known(mesh: Mesh) -> Mesh {
    while mesh.identities().unwrap().current().is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    mesh
}

/// A running server of ours, and why it turned away whom it did.
pub(crate) struct Served {
    pub(crate) port: u16,
    pub(crate) refused: Arc<Mutex<Vec<ServeError>>>,
    pub(crate) mesh: Mesh,
    pub(crate) server: MeshServer,
}

impl Served {
    /// Serves what connects to `socket` as `listener` says.
    pub(crate) fn new(mesh: Mesh, listener: &str, socket: TcpListener) -> Self {
        let (server, refused) = (mesh.server(listener), Arc::<Mutex<Vec<_>>>::default());
        let (port, says) = (socket.local_addr().unwrap().port(), Arc::clone(&refused));
        let accepts = server.clone();
        tokio::spawn(async move {
            loop {
                let (io, remote) = socket.accept().await.unwrap();
                let (server, says) = (accepts.clone(), Arc::clone(&says));
                let ends =
                    Ends { local: io.local_addr().ok(), remote: Some(remote), ..Ends::default() };
                tokio::spawn(async move {
                    let service = tower::service_fn(answer);
                    let served = server.serve_connection::<TcpStream, _, _>(io, ends, service);
                    // How a client leaves is its own affair.
                    if let Err(error @ ServeError::Accept(_)) = served.await {
                        says.lock().push(error);
                    }
                });
            }
        });
        Self { port, refused, mesh, server }
    }
}

/// Says what it saw in JSON, to a gRPC call as `mesh.interop.Peer/Unary` does.
async fn answer(request: Request<RequestBody<Incoming>>) -> Result<Response<MeshBody>, Infallible> {
    let connection = request.extensions().get::<Arc<Connection>>().unwrap();
    let serial = connection.certificates.first().map(|der| {
        let certificate = Certificate::parse(&(&**der).into()).unwrap();
        certificate.serial.to_string()
    });
    let forwarded = request.headers().get_all("x-forwarded-client-cert").iter();
    let said = json!({
        "peer": connection.peer.name(),
        "serial": serial,
        "version": format!("{:?}", request.version()),
        "path": request.uri().path(),
        "xfcc": forwarded.map(|value| value.to_str().unwrap()).collect::<Vec<_>>(),
        "address": connection.local.map(|local| local.to_string()),
    });
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    Ok(if is_grpc {
        grpc(&said.to_string())
    } else {
        Response::new(MeshBody::full(said.to_string()))
    })
}

/// A response of one `google.protobuf.StringValue`.
fn grpc(text: &str) -> Response<MeshBody> {
    let message = text.to_owned().encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(0))]);
    let frames: [Result<_, Infallible>; 2] =
        [Ok(Frame::data(Bytes::from(bytes))), Ok(Frame::trailers(trailers))];
    let body = http_body_util::StreamBody::new(tokio_stream::iter(frames));
    let mut response = Response::new(MeshBody::new(body));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}
