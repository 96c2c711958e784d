//! A gRPC service without generated code: what `tonic-build` would write, by hand.

use crate::fixture::at;
use futures_util::StreamExt;
use http::uri::PathAndQuery;
use mesh_tower::Channel;
use mesh_tower::testing::{MemoryNetwork, MemoryServer};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::{ClientStreamingService, Grpc, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

pub(crate) fn text(text: impl Into<String>) -> Text {
    Text { text: text.into() }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Texts = Pin<Box<dyn Stream<Item = Result<Text, Status>> + Send>>;
type Codec = ProstCodec<Text, Text>;

/// What a text asks for: `fail N` fails with that code, `sleep N` answers after N ms, `slow` streams a
/// text each second, others are echoed in capitals.
async fn answer(text: &str) -> Result<Text, Status> {
    if let Some(code) = text.strip_prefix("fail ") {
        let mut status =
            Status::new(tonic::Code::from(code.parse().unwrap_or(2)), "as you wish: ü");
        status.metadata_mut().insert("x-why", "asked".parse().unwrap());
        return Err(status);
    }
    if let Some(millis) = text.strip_prefix("sleep ") {
        tokio::time::sleep(Duration::from_millis(millis.parse().unwrap_or(0))).await;
    }
    Ok(Text { text: text.to_uppercase() })
}

#[derive(Clone)]
struct Echo;

impl UnaryService<Text> for Echo {
    type Response = Text;
    type Future = Answer<Text>;

    fn call(&mut self, request: Request<Text>) -> Self::Future {
        Box::pin(async move { answer(&request.get_ref().text).await.map(Response::new) })
    }
}

impl ClientStreamingService<Text> for Echo {
    type Response = Text;
    type Future = Answer<Text>;

    fn call(&mut self, request: Request<Streaming<Text>>) -> Self::Future {
        Box::pin(async move {
            let mut texts = request.into_inner();
            let mut all = String::new();
            while let Some(text) = texts.message().await? {
                all.push_str(&answer(&text.text).await?.text);
            }
            Ok(Response::new(Text { text: all }))
        })
    }
}

/// As many answers as there are words; `slow` pauses between them.
#[derive(Clone)]
struct Words;

impl tonic::server::ServerStreamingService<Text> for Words {
    type Response = Text;
    type ResponseStream = Texts;
    type Future = Answer<Texts>;

    fn call(&mut self, request: Request<Text>) -> Self::Future {
        Box::pin(async move {
            let words: Vec<_> = request.get_ref().text.split(' ').map(str::to_owned).collect();
            let slow = words[0] == "slow";
            let stream = tokio_stream::iter(words).then(move |word| async move {
                if slow {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                answer(&word.replace('_', " ")).await
            });
            Ok(Response::new(Box::pin(stream) as Texts))
        })
    }
}

impl StreamingService<Text> for Echo {
    type Response = Text;
    type ResponseStream = Texts;
    type Future = Answer<Texts>;

    fn call(&mut self, request: Request<Streaming<Text>>) -> Self::Future {
        let texts = request.into_inner();
        Box::pin(async move {
            let stream = texts.then(|text| async move { answer(&text?.text).await });
            Ok(Response::new(Box::pin(stream) as Texts))
        })
    }
}

/// The service as tower knows it.
#[derive(Clone)]
pub(crate) struct Routes;

impl<B> tower::Service<http::Request<B>> for Routes
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<mesh_tower::BoxError> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(Codec::default());
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(Echo, request).await,
                "/test.Echo/Client" => grpc.client_streaming(Echo, request).await,
                "/test.Echo/Server" => grpc.server_streaming(Words, request).await,
                "/test.Echo/Bidi" => grpc.streaming(Echo, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Serves the service as endpoint `number`.
pub(crate) fn serve(network: &MemoryNetwork, number: u8) -> MemoryServer {
    network.serve(at(number), Routes)
}

/// A client of the service.
pub(crate) struct EchoClient(tonic::client::Grpc<Channel>);

impl EchoClient {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(tonic::client::Grpc::new(channel))
    }

    fn path(method: &'static str) -> PathAndQuery {
        PathAndQuery::from_static(method)
    }

    pub(crate) async fn unary(&mut self, request: Request<Text>) -> Result<Text, Status> {
        self.0.ready().await.unwrap();
        let answer = self.0.unary(request, Self::path("/test.Echo/Unary"), Codec::default()).await;
        answer.map(Response::into_inner)
    }

    pub(crate) async fn method(&mut self, path: &'static str) -> Result<Text, Status> {
        let request = Request::new(text(""));
        self.0.unary(request, Self::path(path), Codec::default()).await.map(Response::into_inner)
    }

    pub(crate) async fn client(
        &mut self,
        texts: impl Stream<Item = Text> + Send + 'static,
    ) -> Result<Text, Status> {
        let request = Request::new(texts);
        let path = Self::path("/test.Echo/Client");
        self.0.client_streaming(request, path, Codec::default()).await.map(Response::into_inner)
    }

    pub(crate) async fn server(
        &mut self,
        request: Request<Text>,
    ) -> Result<Streaming<Text>, Status> {
        let path = Self::path("/test.Echo/Server");
        self.0.server_streaming(request, path, Codec::default()).await.map(Response::into_inner)
    }

    pub(crate) async fn bidi(
        &mut self,
        texts: impl Stream<Item = Text> + Send + 'static,
    ) -> Result<Streaming<Text>, Status> {
        let request = Request::new(texts);
        let path = Self::path("/test.Echo/Bidi");
        self.0.streaming(request, path, Codec::default()).await.map(Response::into_inner)
    }
}
