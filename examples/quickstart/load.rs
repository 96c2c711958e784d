//! The calls: HTTP/1.1, HTTP/2 and gRPC in turn, through the mesh, at a steady pace.

use super::greeter::{GreeterClient, HelloRequest};
use super::tally::{Protocol, Served, Tally};
use super::{BoxError, Configuration, Edits};
use http::{HeaderMap, Request, Uri, Version};
use http_body_util::BodyExt;
use mesh_tower::{Client, Mesh, MeshBody, MeshLayer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tower::{ServiceBuilder, ServiceExt};

/// The calls are spread over this much time, if the machine keeps up.
const TIME: Duration = Duration::from_secs(8);
/// But the pace is at least one call in this time.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);
/// The most calls in flight.
const CONCURRENCY: usize = 64;

/// Makes `requests` calls, and edits the configuration when half of them are made.
///
/// The last quarter waits until the edit is in force, so that there is something to compare.
pub(crate) async fn drive(
    mesh: &Mesh,
    requests: u32,
    configuration: Configuration,
    tally: &Arc<Tally>,
) -> Result<Edits, BoxError> {
    // The user's line of the whole example: the mesh as a layer over a transport.
    let client = ServiceBuilder::new().layer(MeshLayer::new(mesh)).service(mesh.transport());

    let pause = (TIME / requests.max(1)).min(LONGEST_PAUSE);
    let places = Arc::new(Semaphore::new(CONCURRENCY));
    let mut calls = JoinSet::new();
    let mut configuration = Some(configuration);
    let (mut editing, mut edits) = (None, None);
    let start = Instant::now();
    for number in 0..requests {
        sleep_until(start + pause * number).await;
        if number >= requests / 2
            && let Some(configuration) = configuration.take()
        {
            let mesh = mesh.clone();
            editing = Some(tokio::spawn(async move { configuration.edit(&mesh).await }));
        }
        if number >= requests / 4 * 3
            && let Some(editing) = editing.take()
        {
            edits = Some(editing.await??);
        }
        let place = Arc::clone(&places).acquire_owned().await?;
        let (client, tally) = (client.clone(), Arc::clone(tally));
        calls.spawn(async move {
            let started = Instant::now();
            let protocol = Protocol::ALL[number as usize % Protocol::ALL.len()];
            let result = call(client, protocol).await;
            tally.add(result.map_err(|error| error.to_string()), started.elapsed());
            drop(place);
        });
        while calls.try_join_next().is_some() {}
    }
    calls.join_all().await;
    Ok(edits.unwrap_or_default())
}

async fn call(client: Client, protocol: Protocol) -> Result<Served, BoxError> {
    match protocol {
        Protocol::Http1 => http_call(client, Version::HTTP_11).await,
        Protocol::Http2 => http_call(client, Version::HTTP_2).await,
        Protocol::Grpc => grpc_call(client).await,
    }
}

async fn http_call(client: Client, version: Version) -> Result<Served, BoxError> {
    let request = Request::get("http://reviews/1").version(version).body(MeshBody::empty())?;
    let response = client.oneshot(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    if !head.status.is_success() || body.is_empty() {
        return Err(format!("{} with a body of {} bytes", head.status, body.len()).into());
    }
    let protocol = if head.version == Version::HTTP_2 { Protocol::Http2 } else { Protocol::Http1 };
    served(&head.headers, protocol)
}

async fn grpc_call(client: Client) -> Result<Served, BoxError> {
    let origin = Uri::from_static("http://reviews");
    let mut greeter = GreeterClient::with_origin(client, origin);
    let reply = greeter.say_hello(HelloRequest { name: "reader".to_owned() }).await?;
    let headers = reply.metadata().clone().into_headers();
    served(&headers, Protocol::Grpc)
}

/// Who answered, and by which split the call was routed: the answer's own headers say so.
fn served(headers: &HeaderMap, protocol: Protocol) -> Result<Served, BoxError> {
    let text = |name| -> Result<String, BoxError> {
        let value = headers.get(name).ok_or_else(|| format!("an answer without {name}"))?;
        Ok(value.to_str()?.to_owned())
    };
    Ok(Served { cluster: text("x-cluster")?, split: text("x-split")?, protocol })
}
