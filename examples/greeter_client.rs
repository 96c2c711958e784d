//! A tonic client whose channel is the mesh: unary and streaming calls by name.
//!
//! Instead of `tonic::transport::Channel`, the generated client gets `mesh.channel("greeter")`. What
//! the mesh refuses arrives as a `tonic::Status`, with the reason as its text.
//!
//! `cargo run --example greeter_client`

mod backend;
mod greeter;

use backend::{BoxError, everything_to};
use greeter::{GreeterClient, GreeterServer, HelloRequest, Polite};
use mesh_core::model::{Cluster, Protocol};
use mesh_tower::Mesh;
use std::net::SocketAddr;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;

/// Starts a greeter, calls it through a mesh, and gives the greetings.
pub(crate) async fn run() -> Result<Vec<String>, BoxError> {
    let address = serve().await?;
    let mut cluster = Cluster::new("greeter");
    cluster.protocol = Protocol::Http2;
    let mesh = Mesh::builder().config(everything_to(cluster, &[address])).build()?;

    let mut client = GreeterClient::new(mesh.channel("greeter")?);
    let request = HelloRequest { name: "mesh".to_owned() };
    let unary = client.say_hello(request.clone()).await?.into_inner();
    let mut greetings = vec![unary.message];

    let mut stream = client.say_hellos(request).await?.into_inner();
    while let Some(reply) = stream.next().await {
        greetings.push(reply?.message);
    }
    Ok(greetings)
}

async fn serve() -> Result<SocketAddr, BoxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tonic::transport::Server::builder().add_service(GreeterServer::new(Polite));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(address)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that shows something")]
async fn main() -> Result<(), BoxError> {
    for greeting in run().await? {
        println!("{greeting}");
    }
    Ok(())
}
