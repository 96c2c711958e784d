//! [`Liar`]: something that listens where a control plane should, and says what none would.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Bytes of no protocol.
    RandomBytes,
    /// A connection that is closed at once.
    Close,
    /// A connection on which nothing is ever said.
    Silence,
    /// HTTP/1.1.
    OtherProtocol,
    /// A page, as a load balancer would serve.
    Html,
    /// A gRPC status.
    Refusal,
    /// gRPC, whose message is no protobuf.
    NoProtobuf,
    /// gRPC of another type of message: fields that are known have other types.
    OtherFields,
    /// A response whose resources are random bytes, of each type.
    BadResources,
    /// A response with resources of another type than it says.
    OtherTypes,
    /// A response of a type that nobody knows.
    UnknownType,
    /// A message that says it has 4 GiB.
    Giant,
    /// A message that begins and never ends.
    Torn,
    /// Compressed, which was not asked for.
    Compressed,
    /// Well-formed, and empty: everything is gone, of every type.
    Nothing,
    /// Well-formed, and without end: the same empty response over and over.
    Flood,
}

impl Lie {
    pub(crate) const ALL: [Self; 16] = [
        Self::RandomBytes,
        Self::Close,
        Self::Silence,
        Self::OtherProtocol,
        Self::Html,
        Self::Refusal,
        Self::NoProtobuf,
        Self::OtherFields,
        Self::BadResources,
        Self::OtherTypes,
        Self::UnknownType,
        Self::Giant,
        Self::Torn,
        Self::Compressed,
        Self::Nothing,
        Self::Flood,
    ];
}

/// The start of `DiscoveryResponse`. As `DeltaDiscoveryResponse` it is read otherwise, which is one more lie.
#[derive(Clone, PartialEq, Message)]
struct Said {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Any>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// A server of lies; ends when dropped.
pub(crate) struct Liar {
    told: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    /// Takes a port over.
    pub(crate) async fn start(port: u16, lie: Lie) -> Self {
        let listener = super::listen(port).await;
        let told = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&told);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Relaxed);
                connections.spawn(serve(stream, lie));
            }
        });
        Self { told, task }
    }

    /// Ends, and leaves the port to others.
    pub(crate) async fn end(mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }

    /// How many connections were lied to.
    pub(crate) fn told(&self) -> usize {
        self.told.load(Relaxed)
    }
}

async fn serve(mut stream: TcpStream, lie: Lie) {
    let noise = noise();
    let first: &[u8] = match lie {
        Lie::Close => return,
        Lie::RandomBytes => &noise,
        Lie::OtherProtocol => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        Lie::Silence => {
            let mut heard = Vec::new();
            let _ended = stream.read_to_end(&mut heard).await;
            return;
        }
        _ => {
            let answer = service_fn(move |_: hyper::Request<Incoming>| async move {
                Ok::<_, Infallible>(answer(lie))
            });
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ended = http.serve_connection(TokioIo::new(stream), answer).await;
            return;
        }
    };
    let _ended = stream.write_all(first).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn answer(lie: Lie) -> Response<Body> {
    let frame = |bytes: Bytes| Ok::<_, Infallible>(Frame::data(bytes));
    let said = stream::iter(messages(lie)).map(frame);
    let (kind, is_over) = match lie {
        Lie::Html => ("text/html", true),
        Lie::Refusal => ("application/grpc", true),
        _ => ("application/grpc", false),
    };
    let mut response = Response::new(match is_over {
        true => StreamBody::new(said).boxed_unsync(),
        false => StreamBody::new(said.chain(stream::pending())).boxed_unsync(),
    });
    let headers = response.headers_mut();
    headers.insert("content-type", kind.parse().unwrap());
    match lie {
        Lie::Refusal => {
            headers.insert("grpc-status", "7".parse().unwrap());
            headers.insert("grpc-message", "not you".parse().unwrap());
        }
        Lie::Compressed => {
            headers.insert("grpc-encoding", "gzip".parse().unwrap());
        }
        Lie::Html => *response.status_mut() = http::StatusCode::BAD_GATEWAY,
        _ => {}
    }
    response
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The messages of a stream, each with its length in front.
fn messages(lie: Lie) -> Box<dyn Iterator<Item = Bytes> + Send> {
    let types = [LDS, RDS, CDS, EDS];
    match lie {
        Lie::Html => Box::new(std::iter::once(Bytes::from_static(b"<h1>Bad Gateway</h1>"))),
        Lie::NoProtobuf => one(message(0, &noise())),
        // Field 1 a number, field 2 a number, field 4 four bytes.
        Lie::OtherFields => one(message(0, &[0x08, 1, 0x10, 2, 0x25, 0, 0, 0, 0])),
        Lie::BadResources => {
            let bad = |kind| message(0, &said(kind, &[kind, kind]));
            Box::new(types.into_iter().map(bad))
        }
        Lie::OtherTypes => {
            let swapped = move |at: usize| message(0, &said(types[at], &[types[(at + 1) % 4]]));
            Box::new((0..4).map(swapped))
        }
        Lie::UnknownType => one(message(0, &said("type.googleapis.com/no.such.Type", &[LDS]))),
        Lie::Giant => one(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])),
        Lie::Torn => one(Bytes::from_static(&[0, 0, 0, 1, 0, 1, 2, 3])),
        Lie::Compressed => one(message(1, &noise())),
        Lie::Nothing => Box::new(types.into_iter().map(|kind| message(0, &said(kind, &[])))),
        Lie::Flood => Box::new(std::iter::repeat_with(|| message(0, &said(LDS, &[])))),
        _ => Box::new(std::iter::empty()),
    }
}

fn one(message: Bytes) -> Box<dyn Iterator<Item = Bytes> + Send> {
    Box::new(std::iter::once(message))
}

/// A gRPC message.
fn message(compressed: u8, content: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(compressed);
    bytes.put_u32(u32::try_from(content.len()).unwrap());
    bytes.put_slice(content);
    bytes.freeze()
}

/// A response of type `kind` with noise as resources of these types.
fn said(kind: &str, resources: &[&str]) -> Vec<u8> {
    let resources =
        resources.iter().map(|kind| Any { type_url: (*kind).to_owned(), value: noise() });
    let said = Said {
        version: "lie".to_owned(),
        resources: resources.collect(),
        type_url: kind.to_owned(),
        nonce: "lie".to_owned(),
    };
    said.encode_to_vec()
}

/// Bytes without sense, the same each time (xorshift).
fn noise() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..128).flat_map(|_| next()).collect()
}
