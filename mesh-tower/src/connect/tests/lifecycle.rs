//! How connections end: drained, closed by force, idle, old, used up, with their runtime.

use super::*;

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

fn server(protocol: Protocol) -> Arc<dyn Connect> {
    if protocol == Protocol::Http1 { hyper_h1() } else { hyper_h2() }
}

#[tokio::test(start_paused = true)]
async fn draining_lets_calls_finish() {
    for protocol in BOTH {
        let bench = Bench::new(protocol, server(protocol));
        let (sender, body) = channel();
        let sending = bench.send(post("/echo", body));
        sender.send(data("one ")).await.unwrap();
        let response = bounded(sending).await.unwrap();
        bench.pool.drain();
        let (failure, handed_back) = bench.fails(get("/")).await;
        assert_eq!(failure, reset(ResetReason::Local, Processed::No));
        assert!(handed_back);
        sender.send(data("two")).await.unwrap();
        drop(sender);
        assert_eq!(text(response.into_body()).await, "one two");
        eventually("closed", || bench.limits.are_released()).await;
        assert_eq!(bench.pool.connections(), Connections::default());
    }
}

#[tokio::test(start_paused = true)]
async fn draining_returns_who_waits_and_stops_dialling() {
    for protocol in BOTH {
        let silent = dial(|_, io| async move {
            std::future::pending::<()>().await;
            drop(io);
        });
        let bench = Bench::with(protocol, silent, Limits::default(), |settings| {
            settings.max_connections_per_endpoint = Some(1);
        });
        let busy = bench.send(get("/"));
        let mut waiting = bench.send(get("/"));
        assert!(poll_times(&mut waiting, 3).await.is_none());
        bench.pool.drain();
        let error = bounded(waiting).await.unwrap_err();
        assert_eq!(error.failure, reset(ResetReason::Local, Processed::No));
        assert!(error.request.is_some());
        drop(busy);
        eventually("stopped", || bench.limits.are_released()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn closing_ends_calls_too() {
    for protocol in BOTH {
        let bench = Bench::new(protocol, server(protocol));
        let (sender, body) = channel();
        let sending = bench.send(post("/echo", body));
        sender.send(data("one")).await.unwrap();
        let mut body = bounded(sending).await.unwrap().into_body();
        bounded(body.frame()).await.unwrap().unwrap();
        let hang = if protocol == Protocol::Http2 { Some(bench.send(get("/hang"))) } else { None };
        bench.pool.close();
        let error = bounded(body.frame()).await.unwrap().unwrap_err();
        let terminated = reset(ResetReason::ConnectionTermination, Processed::Maybe);
        assert_eq!(*error.failure(), terminated);
        if let Some(hang) = hang {
            assert_eq!(bounded(hang).await.unwrap_err().failure, terminated);
        }
        // Even though the body is still held.
        eventually("closed", || bench.limits.are_released()).await;
        drop(body);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_close() {
    for protocol in BOTH {
        let bench = Bench::with(protocol, server(protocol), Limits::default(), |settings| {
            settings.options.idle_timeout = Duration::from_secs(60);
        });
        assert_eq!(bench.text(get("/")).await, "hello");
        sleep(Duration::from_secs(50)).await;
        assert_eq!(bench.text(get("/")).await, "hello");
        sleep(Duration::from_secs(50)).await;
        assert_eq!(bench.limits.open(), 1, "it is not idle for long enough");
        sleep(Duration::from_secs(40)).await;
        assert_eq!(bench.limits.open(), 0, "{protocol:?}");
        assert_eq!(bench.text(get("/")).await, "hello");
    }
}

#[tokio::test(start_paused = true)]
async fn old_connections_take_no_new_calls() {
    for protocol in BOTH {
        let bench = Bench::with(protocol, server(protocol), Limits::default(), |settings| {
            settings.options.max_connection_age = Duration::from_secs(60);
        });
        let (sender, body) = channel();
        let sending = bench.send(post("/echo", body));
        sender.send(data("old")).await.unwrap();
        let response = bounded(sending).await.unwrap();
        sleep(Duration::from_secs(61)).await;
        assert_eq!(bench.text(get("/")).await, "hello");
        assert_eq!(bench.limits.open(), 2, "the old one still has its call");
        drop(sender);
        assert_eq!(text(response.into_body()).await, "old");
        eventually("the old one closes", || bench.limits.open() == 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn used_up_connections_are_replaced() {
    for protocol in BOTH {
        let dialled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&dialled);
        let inner = server(protocol);
        #[derive(Debug)]
        struct Counting(Arc<dyn Connect>, Arc<AtomicUsize>);
        impl Connect for Counting {
            fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
                self.1.fetch_add(1, Ordering::SeqCst);
                self.0.connect(address)
            }
        }
        let counting = Arc::new(Counting(inner, counter));
        let bench = Bench::with(protocol, counting, Limits::default(), |settings| {
            settings.options.max_requests_per_connection = 3;
        });
        for _ in 0..9 {
            assert_eq!(bench.text(get("/")).await, "hello");
        }
        assert_eq!(dialled.load(Ordering::SeqCst), 3, "{protocol:?}");
        eventually("all closed", || bench.limits.open() == 0).await;
    }
}

/// A server that ends its first connection `after` a while: kindly, or just so.
fn ends(protocol: Protocol, kindly: bool, after: Duration) -> Arc<dyn Connect> {
    dial(move |_, io| async move {
        let (io, service) = (TokioIo::new(io), service_fn(answer));
        if protocol == Protocol::Http1 {
            let server = hyper::server::conn::http1::Builder::new();
            drop(timeout(after, server.serve_connection(io, service)).await);
            return;
        }
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = std::pin::pin!(server.serve_connection(io, service));
        if timeout(after, &mut connection).await.is_err() && kindly {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    })
}

/// Why the one connection of a pool ended, that served a call to `path` first.
async fn why_ended(
    protocol: Protocol,
    (dial, path): (Arc<dyn Connect>, &str),
    change: impl FnOnce(&mut PoolSettings),
    end: impl FnOnce(&EndpointPool),
) -> CloseReason {
    let bench = Bench::with(protocol, dial, Limits::default(), change);
    let response = bench.call(get(path)).await.unwrap();
    match path {
        "/big" => drop(response),
        _ => assert_eq!(text(response.into_body()).await, "hello"),
    }
    sleep(Duration::from_millis(1)).await;
    end(&bench.pool);
    eventually("it ends", || bench.limits.are_released()).await;
    let closed = bench.limits.closed();
    assert_eq!(closed.len(), 1, "{closed:?}");
    closed[0]
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_is_counted_once_with_its_reason() {
    let second = Duration::from_secs(1);
    for protocol in BOTH {
        let hello = || (server(protocol), "/");
        let check = async |expected, to, change: fn(&mut PoolSettings), end: fn(&EndpointPool)| {
            assert_eq!(why_ended(protocol, to, change, end).await, expected, "{protocol:?}");
        };
        let idle = |settings: &mut PoolSettings| settings.options.idle_timeout = second_of(1);
        let old = |settings: &mut PoolSettings| settings.options.max_connection_age = second_of(1);
        let once = |settings: &mut PoolSettings| settings.options.max_requests_per_connection = 1;
        check(CloseReason::Idle, hello(), idle, |_| {}).await;
        check(CloseReason::MaxAge, hello(), old, |_| {}).await;
        check(CloseReason::MaxRequests, hello(), once, |_| {}).await;
        check(CloseReason::Drained, hello(), |_| {}, EndpointPool::drain).await;
        check(CloseReason::ShutDown, hello(), |_| {}, EndpointPool::close).await;
        check(CloseReason::Remote, (ends(protocol, false, second), "/"), |_| {}, |_| {}).await;
    }
    let (http1, http2) = (Protocol::Http1, Protocol::Http2);
    let kindly = (ends(http2, true, second), "/");
    assert_eq!(why_ended(http2, kindly, |_| {}, |_| {}).await, CloseReason::GoAway);
    let close = (server(http1), "/close");
    assert_eq!(why_ended(http1, close, |_| {}, |_| {}).await, CloseReason::GoAway);
    let dropped = (server(http1), "/big");
    assert_eq!(why_ended(http1, dropped, |_| {}, |_| {}).await, CloseReason::CallDropped);
}

const fn second_of(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_come_up_is_counted_once_whoever_waits() {
    for protocol in BOTH {
        let bench = Bench::new(protocol, Arc::new(Failing(std::io::ErrorKind::ConnectionRefused)));
        let calls = [bench.send(get("/")), bench.send(get("/"))];
        for call in calls {
            assert!(bounded(call).await.is_err());
        }
        let failed = bench.limits.failed.lock().clone();
        let expected = if protocol == Protocol::Http1 { 2 } else { 1 };
        assert_eq!(failed, vec![ConnectFailure::Refused; expected], "one for each dial");
        assert!(bench.limits.are_released());
    }
}

/// Calls from this thread over connections that live on another runtime.
#[test]
fn connections_end_with_their_runtime() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    };
    let (first, second, servers, caller) = (runtime(), runtime(), runtime(), runtime());
    let tcp = servers.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = tcp.local_addr().unwrap();
    servers.spawn(async move {
        let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        while let Ok((io, _)) = tcp.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                drop(server.serve_connection(TokioIo::new(io), service_fn(answer)).await);
            });
        }
    });
    for protocol in BOTH {
        let settings = |handle: &tokio::runtime::Handle| {
            let _guard = handle.enter();
            Bench::new(protocol, Arc::new(TcpConnector)).settings
        };
        let gone = runtime();
        let (on_gone, on_second) = (settings(gone.handle()), settings(second.handle()));
        let pool = EndpointPool::new(address.into());
        let call = |settings: &Arc<PoolSettings>, path| {
            caller.block_on(async { bounded(pool.send(settings, get(path))).await })
        };
        let hello = |settings| {
            let response = call(settings, "/").unwrap();
            assert_eq!(caller.block_on(text(response.into_body())), "hello");
        };
        hello(&on_gone);
        let hang = pool.send(&on_gone, get("/hang"));
        drop(gone);
        // In flight: the connection ended. Then: a new connection, or the typed reason; never a hang.
        let failure = caller.block_on(bounded(hang)).unwrap_err().failure;
        let ended = [
            reset(ResetReason::ConnectionTermination, Processed::Maybe),
            // Its task had not taken it yet.
            Failure::Connect(ConnectFailure::RuntimeGone),
        ];
        assert!(ended.contains(&failure), "{failure:?}");
        hello(&on_second);
        let fresh = EndpointPool::new(address.into());
        let error = caller.block_on(bounded(fresh.send(&on_gone, get("/")))).unwrap_err();
        assert_eq!(error.failure, Failure::Connect(ConnectFailure::RuntimeGone));
        assert!(error.request.is_some());
    }
    drop((first, second, servers));
}
