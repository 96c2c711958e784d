//! `helloworld.Greeter`: what a `build.rs` would have generated, and a server that greets.
//!
//! ```proto
//! service Greeter {
//!   rpc SayHello (HelloRequest) returns (HelloReply);
//!   rpc SayHellos (HelloRequest) returns (stream HelloReply);
//! }
//! message HelloRequest { string name = 1; }
//! message HelloReply { string message = 1; }
//! ```
#![allow(dead_code, reason = "each example uses the part of it that it shows")]

mod generated;

pub(crate) use generated::greeter_client::GreeterClient;
pub(crate) use generated::greeter_server::{Greeter, GreeterServer};

use std::pin::Pin;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// Who is to be greeted.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HelloRequest {
    /// The name.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// A greeting.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HelloReply {
    /// The greeting.
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}

/// Greets once, or in three languages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Polite;

#[tonic::async_trait]
impl Greeter for Polite {
    type SayHellosStream = Pin<Box<dyn Stream<Item = Result<HelloReply, Status>> + Send>>;

    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let message = format!("Hello, {}!", request.into_inner().name);
        Ok(Response::new(HelloReply { message }))
    }

    async fn say_hellos(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<Self::SayHellosStream>, Status> {
        let name = request.into_inner().name;
        let replies = ["Hello", "Bonjour", "Moin"].map(|word| format!("{word}, {name}!"));
        let replies = replies.map(|message| Ok(HelloReply { message }));
        Ok(Response::new(Box::pin(tokio_stream::iter(replies))))
    }
}
