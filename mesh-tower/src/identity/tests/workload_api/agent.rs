//! A Workload API server that does what a test says.

use super::super::super::workload_api::message::{FETCH, SECURITY_HEADER};
use super::super::ca::{Ca, Pair};
use crate::identity::{certificates, private_key};
use futures_core::future::BoxFuture;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::codegen::Service;
use tonic::{Status, body::Body};
use tonic_prost::ProstCodec;

/// `X509SVIDRequest`; the messages are written by prost here and read by hand there.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Request {}

/// `X509SVIDResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Response {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<Svid>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) crl: Vec<Vec<u8>>,
    #[prost(map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: HashMap<String, Vec<u8>>,
}

/// `X509SVID`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Svid {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) hint: String,
}

/// What it says to each stream, until it says something else.
#[derive(Clone, Debug)]
pub(super) enum Says {
    This(Response),
    /// And ends the stream.
    ThisAlone(Response),
    Denied,
    Nothing,
}

/// The agent; it listens after [`start`](Self::start).
pub(super) struct Agent {
    directory: tempfile::TempDir,
    api: Api,
    running: Mutex<JoinSet<()>>,
}

#[derive(Clone)]
struct Api {
    says: Arc<watch::Sender<Says>>,
    streams: Arc<AtomicUsize>,
}

impl Agent {
    pub(super) fn new() -> Self {
        let says = Arc::new(watch::Sender::new(Says::Nothing));
        let api = Api { says, streams: Arc::default() };
        Self { directory: tempfile::tempdir().unwrap(), api, running: Mutex::default() }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("unix://{}", self.path().display())
    }

    pub(super) fn says(&self, this: Says) {
        self.api.says.send_replace(this);
    }

    /// How many streams were opened.
    pub(super) fn streams(&self) -> usize {
        self.api.streams.load(Ordering::SeqCst)
    }

    /// Listens, in place of whatever did before.
    pub(super) fn start(&self) {
        let (listener, api) = (self.listen(), self.api.clone());
        let incoming = UnixListenerStream::new(listener);
        self.running.lock().spawn(async move {
            let server = tonic::transport::Server::builder().add_service(api);
            server.serve_with_incoming(incoming).await.unwrap();
        });
    }

    /// The process ends: its connections break, its socket is gone.
    pub(super) fn vanish(&self) {
        *self.running.lock() = JoinSet::new();
        // It may be gone already.
        let _gone = std::fs::remove_file(self.path());
        self.api.says.send_replace(Says::Denied);
    }

    /// Another server sits at the socket, and it does not speak HTTP/2.
    pub(super) fn babble(&self) {
        self.vanish();
        let listener = self.listen();
        self.running.lock().spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                // The client may have left.
                let _left = connection.write_all(&[0x55; 200]).await;
            }
        });
    }

    fn listen(&self) -> UnixListener {
        *self.running.lock() = JoinSet::new();
        // There may be none.
        let _gone = std::fs::remove_file(self.path());
        UnixListener::bind(self.path()).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }
}

/// SVIDs by id, hint, certificate and issuer, and federated bundles.
pub(super) fn response(
    svids: &[(&str, &str, &Pair, &Ca)],
    bundles: &[(&str, Vec<u8>)],
) -> Response {
    let svid = |(id, hint, pair, ca): &(&str, &str, &Pair, &Ca)| Svid {
        spiffe_id: (*id).to_owned(),
        x509_svid: certificates(pair.chain.as_bytes()).unwrap()[0].to_vec(),
        x509_svid_key: private_key(pair.key.as_bytes()).unwrap().secret_der().to_vec(),
        bundle: ca.der(),
        hint: (*hint).to_owned(),
    };
    let bundles = bundles.iter().map(|(of, bundle)| ((*of).to_owned(), bundle.clone()));
    Response {
        svids: svids.iter().map(svid).collect(),
        crl: Vec::new(),
        federated_bundles: bundles.collect(),
    }
}

impl tonic::server::ServerStreamingService<Request> for Api {
    type Response = Response;
    type ResponseStream = BoxStream<'static, Result<Response, Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Request>) -> Self::Future {
        let (name, value) = SECURITY_HEADER;
        let is_secure = request.metadata().get(name).is_some_and(|found| found == value);
        self.streams.fetch_add(1, Ordering::SeqCst);
        let says = WatchStream::new(self.says.subscribe());
        Box::pin(async move {
            if !is_secure {
                return Err(Status::invalid_argument("security header missing from request"));
            }
            let messages = says.flat_map(|says| match says {
                Says::This(response) => stream::iter(vec![Ok(response)]),
                Says::ThisAlone(response) => {
                    stream::iter(vec![Ok(response), Err(Status::unavailable("that is all"))])
                }
                Says::Denied => {
                    stream::iter(vec![Err(Status::permission_denied("no identity issued"))])
                }
                Says::Nothing => stream::iter(Vec::new()),
            });
            Ok(tonic::Response::new(messages.boxed()))
        })
    }
}

impl Service<http::Request<Body>> for Api {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        assert_eq!(request.uri().path(), FETCH);
        let api = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<Response, Request>::default();
            Ok(tonic::server::Grpc::new(codec).server_streaming(api, request).await)
        })
    }
}

impl tonic::server::NamedService for Api {
    const NAME: &'static str = "SpiffeWorkloadAPI";
}
