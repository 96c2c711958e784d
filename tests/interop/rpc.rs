//! What every gRPC peer must do: service `mesh.interop.Peer`, see `peers/README.md`.

use crate::client::mesh;
use http::uri::PathAndQuery;
use mesh_tower::{CallOptions, Channel};
use serde_json::Value;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

/// A client of the peer, with `google.protobuf.StringValue` both ways.
pub(crate) struct Rpc(Grpc<Channel>);

type Text = ProstCodec<String, String>;

impl Rpc {
    pub(crate) fn new(port: u16) -> Self {
        Self::over(mesh(port, "protocol: http2").channel("peer").unwrap())
    }

    pub(crate) fn over(channel: Channel) -> Self {
        Self(Grpc::new(channel))
    }

    pub(crate) async fn unary(
        &mut self,
        request: Request<String>,
    ) -> Result<Response<String>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/mesh.interop.Peer/Unary");
        self.0.unary(request, path, Text::default()).await
    }

    /// What the peer saw of a call.
    async fn seen(&mut self, request: Request<String>) -> Value {
        let answer = self.unary(request).await.unwrap().into_inner();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

fn with(name: &'static str, value: impl std::fmt::Display) -> Request<String> {
    let mut request = Request::new(String::new());
    let value: AsciiMetadataValue = value.to_string().parse().unwrap();
    request.metadata_mut().insert(name, value);
    request
}

/// All of it.
pub(crate) async fn check(port: u16) {
    let mut rpc = Rpc::new(port);
    message_and_metadata(&mut rpc).await;
    status(&mut rpc).await;
    deadline(&mut rpc).await;
    streams(&mut rpc).await;
}

async fn message_and_metadata(rpc: &mut Rpc) {
    let long = "ü".repeat(200_000);
    for message in ["", "hello", &long] {
        let seen = rpc.seen(Request::new(message.to_owned())).await;
        assert!(seen["message"] == message, "{} bytes were sent", message.len());
    }

    let mut request = with("x-sent", "a b");
    request.metadata_mut().append("x-sent", "c".parse().unwrap());
    request.metadata_mut().insert_bin("x-raw-bin", MetadataValue::from_bytes(&[0, 255, 7]));
    let answer = rpc.unary(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-initial").unwrap(), "seen");
    assert_eq!(answer.metadata().get("x-trailing").unwrap(), "seen");
    let bytes = answer.metadata().get_bin("x-bytes-bin").unwrap().to_bytes().unwrap();
    assert_eq!(bytes.as_ref(), [0, 255]);
    let seen: Value = serde_json::from_str(answer.get_ref()).unwrap();
    assert_eq!(seen["metadata"]["x-sent"], "a b,c", "{seen}");
    assert!(!seen["metadata"]["x-raw-bin"].is_null(), "{seen}");
}

async fn status(rpc: &mut Rpc) {
    for code in 1..=16 {
        let status = rpc.unary(with("x-fail", code)).await.unwrap_err();
        assert_eq!(status.code(), Code::from(code), "{status}");
        assert_eq!(status.message(), "über 100% of it");
        assert_eq!(status.metadata().get("x-trailing").unwrap(), "seen", "{code}");
    }
}

async fn deadline(rpc: &mut Rpc) {
    // The route's own, 15 s, unless the call says otherwise.
    let seen = rpc.seen(Request::new(String::new())).await;
    let remaining = seen["remaining_ms"].as_i64().expect("the route has a timeout");
    assert!((13_000..=15_001).contains(&remaining), "{remaining} ms of 15 s remained");

    let mut request = Request::new(String::new());
    request.extensions_mut().insert(CallOptions::new().timeout(Duration::ZERO));
    assert_eq!(rpc.seen(request).await["remaining_ms"], Value::Null);

    let mut request = Request::new(String::new());
    request.extensions_mut().insert(CallOptions::new().timeout(Duration::from_secs(5)));
    let seen = rpc.seen(request).await;
    let remaining = seen["remaining_ms"].as_i64().expect("a deadline was set");
    assert!((3_000..=5_001).contains(&remaining), "{remaining} ms of 5 s remained");

    // As a tonic caller sets it: the caller's deadline goes on to the peer.
    let mut request = Request::new(String::new());
    request.set_timeout(Duration::from_secs(7));
    let seen = rpc.seen(request).await;
    let remaining = seen["remaining_ms"].as_i64().expect("a deadline was passed on");
    assert!((5_000..=7_001).contains(&remaining), "{remaining} ms of 7 s remained");

    let mut request = with("x-sleep-ms", 3_000);
    request.extensions_mut().insert(CallOptions::new().timeout(Duration::from_millis(200)));
    let begun = std::time::Instant::now();
    let status = rpc.unary(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(begun.elapsed() < Duration::from_millis(2_000), "{:?}", begun.elapsed());
}

async fn streams(rpc: &mut Rpc) {
    // One message at a time: the answer comes before the next one is sent.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    rpc.0.ready().await.unwrap();
    let path = PathAndQuery::from_static("/mesh.interop.Peer/Bidi");
    let requests = Request::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    sender.send("0".to_owned()).await.unwrap();
    let answers = rpc.0.streaming(requests, path.clone(), Text::default()).await.unwrap();
    let mut answers = answers.into_inner();
    for n in 1..=100 {
        assert_eq!(answers.message().await.unwrap(), Some((n - 1).to_string()));
        sender.send(n.to_string()).await.unwrap();
    }
    drop(sender);
    assert_eq!(answers.message().await.unwrap().as_deref(), Some("100"));
    assert_eq!(answers.message().await.unwrap(), None);
    let trailers = answers.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("x-count").unwrap(), "101");

    // Many at once: more than the flow-control windows.
    let messages: Vec<_> = (0..200).map(|n| format!("{n}-{}", "y".repeat(10_000))).collect();
    rpc.0.ready().await.unwrap();
    let requests = Request::new(tokio_stream::iter(messages.clone()));
    let mut answers = rpc.0.streaming(requests, path, Text::default()).await.unwrap().into_inner();
    for message in messages {
        assert!(answers.message().await.unwrap() == Some(message), "messages come in order");
    }
    assert_eq!(answers.message().await.unwrap(), None);
}
