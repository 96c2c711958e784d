//! Servers on loopback, and configurations that point to them.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_core::model::{Address, Cluster, ClusterLoadAssignment, Endpoint};
use mesh_core::model::{ClusterSpecifier, Domain, ForwardAction, Route, RouteAction, RouteMatch};
use mesh_core::model::{RouteConfiguration, VirtualHost};
use mesh_core::update::{ClusterUpdate, ConfigUpdate};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server that answers HTTP/1.1 and HTTP/2; ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves every request by `answer`.
    pub(crate) async fn start<F, Fut>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let answer = answer.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let response = answer(request);
                        async move { Ok::<_, Infallible>(response.await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, task }
    }

    /// Answers everything with `text`.
    pub(crate) async fn text(text: &'static str) -> Self {
        Self::start(move |_| async move { Response::new(Full::from(text)) }).await
    }
}

/// One virtual host `*` that sends everything to `cluster` with `endpoints`.
pub(crate) fn config(
    cluster: Cluster,
    endpoints: &[SocketAddr],
    change: impl FnOnce(&mut ForwardAction),
) -> ConfigUpdate {
    let name = Arc::clone(&cluster.name);
    let mut action = ForwardAction::new(ClusterSpecifier::Cluster(Arc::clone(&name)));
    change(&mut action);
    let route = Route::new("all", RouteMatch::any(), RouteAction::Forward(action));
    let mut host = VirtualHost::new("any", vec![Domain::Any]);
    host.routes.push(Arc::new(route));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));
    let endpoints = endpoints.iter().map(|address| Endpoint::new(Address::from(*address)));
    let endpoints = Some(Arc::new(ClusterLoadAssignment::of(endpoints)));
    let mut update = ConfigUpdate::default();
    update.route_configuration = Arc::new(routes);
    update.clusters.insert(name, ClusterUpdate::new(Arc::new(cluster), endpoints));
    update
}

/// The whole body as text.
pub(crate) async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}
