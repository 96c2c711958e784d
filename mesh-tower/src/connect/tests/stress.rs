//! Many threads at once: nothing hangs, nothing is lost, nothing stays.

use super::*;
use tokio::net::TcpListener;

/// Calls over loopback while connections go away all the time and every fifth caller gives up.
///
/// What was certainly not processed is sent again, as gRFC A6 wants ("transparent retries"): a request
/// may be on its way when the server says GOAWAY. Then every call succeeds.
async fn run(protocol: Protocol, address: Address, change: impl FnOnce(&mut PoolSettings)) {
    let limits = Limits::new(3, i64::MAX);
    let bench = Arc::new(Bench::with(protocol, Arc::new(TcpConnector), limits, change));
    let pool = Arc::new(EndpointPool::new(address));
    let tasks = (0..24).map(|task| {
        let (bench, pool) = (Arc::clone(&bench), Arc::clone(&pool));
        tokio::spawn(async move {
            for call in 0..150 {
                let send = || pool.send(&bench.settings, post("/count", MeshBody::full("12345")));
                if (task + call) % 5 == 0 {
                    drop(poll_times(&mut send(), call % 4).await);
                    continue;
                }
                let mut response = bounded(send()).await;
                for _ in 0..20 {
                    if !matches!(&response, Err(error) if error.failure.is_unprocessed()) {
                        break;
                    }
                    response = bounded(send()).await;
                }
                assert_eq!(text(response.unwrap().into_body()).await, "5");
            }
        })
    });
    futures_util::future::try_join_all(tasks).await.unwrap();
    eventually("streams end", || pool.connections().streams == 0).await;
    assert_eq!(pool.connections().waiting, 0);
    drop(pool);
    eventually("connections close", || bench.limits.are_released()).await;
}

async fn listen() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn http2_under_goaways_and_few_streams() {
    run(Protocol::Http2, http2(4, 40).await, |_| {}).await;
}

/// So many that calls turn their connection themselves, beside its task and each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn http2_under_goaways_and_many_streams() {
    run(Protocol::Http2, http2(100, 400).await, |_| {}).await;
}

/// A server that takes so many streams at a time, and so many calls on a connection.
async fn http2(streams: u32, most_calls: u32) -> Address {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            io.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut builder = ::h2::server::Builder::new();
                builder.max_concurrent_streams(streams);
                let mut connection = builder.handshake(io).await.unwrap();
                let mut calls = 0;
                while let Some(Ok((request, mut reply))) = connection.accept().await {
                    calls += 1;
                    if calls == most_calls {
                        connection.graceful_shutdown();
                    }
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        while let Some(Ok(_)) = body.data().await {}
                        // Fails where the caller gave up.
                        if let Ok(mut stream) = reply.send_response(Response::new(()), false) {
                            drop(stream.send_data(Bytes::from_static(b"5"), true));
                        }
                    });
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn http1_with_used_up_connections() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            io.set_nodelay(true).unwrap();
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(async move {
                drop(server.serve_connection(TokioIo::new(io), service_fn(answer)).await);
            });
        }
    });
    let change = |settings: &mut PoolSettings| settings.options.max_requests_per_connection = 20;
    run(Protocol::Http1, address, change).await;
}
