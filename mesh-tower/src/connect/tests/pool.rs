//! What holds for both protocols: failures to connect, limits, waiting, giving up.

use super::*;

#[test]
fn sizes_stay_small() {
    let idle = size_of::<EndpointPool>() + size_of::<shared::Shared>() + 2 * size_of::<usize>();
    assert!(idle <= 200, "an idle pool takes {idle} bytes");
    assert!(size_of::<Sending>() <= 64, "Sending is {}", size_of::<Sending>());
    assert!(size_of::<SendError>() <= 96, "SendError is {}", size_of::<SendError>());
    assert!(size_of::<NetBody>() <= 96, "NetBody is {}", size_of::<NetBody>());
}

#[test]
fn futures_are_send_and_unpin() {
    fn check<T: Send + Unpin>() {}
    check::<Sending>();
    check::<NetBody>();
}

#[tokio::test(start_paused = true)]
async fn a_failed_connect_is_classified_and_hands_the_request_back() {
    for (kind, failure) in [
        (std::io::ErrorKind::ConnectionRefused, ConnectFailure::Refused),
        (std::io::ErrorKind::HostUnreachable, ConnectFailure::Unreachable),
        (std::io::ErrorKind::PermissionDenied, ConnectFailure::Other),
    ] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let bench = Bench::new(protocol, Arc::new(Failing(kind)));
            let error = bench.call(post("/x", MeshBody::full("x"))).await.unwrap_err();
            assert_eq!(error.failure, Failure::Connect(failure));
            assert_eq!(text(error.request.unwrap().into_body()).await, "x");
            assert!(error.source.is_some());
            eventually("released", || bench.limits.are_released()).await;
            assert_eq!(bench.pool.connections(), Connections::default());
        }
    }
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::new(Protocol::Http2, Arc::new(TcpConnector));
    let pool = EndpointPool::new(port.into());
    let error = bounded(pool.send(&bench.settings, get("/"))).await.unwrap_err();
    assert_eq!(error.failure, Failure::Connect(ConnectFailure::Refused));
    let nowhere = Address::Unix(std::path::Path::new("/nonexistent/socket").into());
    let pool = EndpointPool::new(nowhere);
    let error = bounded(pool.send(&bench.settings, get("/"))).await.unwrap_err();
    assert_eq!(error.failure, Failure::Connect(ConnectFailure::Refused));
}

#[tokio::test]
async fn tcp_and_unix_sockets_carry_calls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let unix = tokio::net::UnixListener::bind(&path).unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp_address = tcp.local_addr().unwrap();
    tokio::spawn(async move {
        let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        loop {
            let io: BoxedIo = tokio::select! {
                Ok((io, _)) = unix.accept() => Box::new(io),
                Ok((io, _)) = tcp.accept() => Box::new(io),
            };
            let server = server.clone();
            tokio::spawn(async move {
                drop(server.serve_connection(TokioIo::new(io), service_fn(answer)).await);
            });
        }
    });
    for address in [Address::Unix(path.into()), tcp_address.into()] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let bench = Bench::new(protocol, Arc::new(TcpConnector));
            let pool = EndpointPool::new(address.clone());
            let response = bounded(pool.send(&bench.settings, get("/"))).await.unwrap();
            assert_eq!(text(response.into_body()).await, "hello");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_connect_timeout_covers_the_handshake() {
    // A black hole, and a server that accepts and says nothing.
    #[derive(Debug)]
    struct BlackHole;
    impl Connect for BlackHole {
        fn connect<'a>(&'a self, _: &'a Address) -> Connecting<'a> {
            Box::pin(std::future::pending())
        }
    }
    let silent = dial(|_, io| async move {
        std::future::pending::<()>().await;
        drop(io);
    });
    for dial in [Arc::new(BlackHole) as Arc<dyn Connect>, silent] {
        let bench = Bench::with(Protocol::Http2, dial, Limits::default(), |settings| {
            settings.options.connect_timeout = Duration::from_secs(3);
        });
        let start = tokio::time::Instant::now();
        let (failure, handed_back) = bench.fails(get("/")).await;
        assert_eq!(failure, Failure::Connect(ConnectFailure::Timeout));
        assert!(handed_back);
        assert_eq!(start.elapsed().as_secs(), 3);
        eventually("released", || bench.limits.are_released()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn tls_fails_closed_unless_the_connector_secures() {
    let bench = Bench::with(Protocol::Http2, hyper_h2(), Limits::default(), |settings| {
        settings.tls = TlsPolicy::On(Arc::default());
    });
    let failure = bench.fails(get("/")).await.0;
    assert_eq!(failure, Failure::Connect(ConnectFailure::TlsUnavailable));
    // A secret that is missing says more.
    let bench = Bench::with(Protocol::Http2, hyper_h2(), Limits::default(), |settings| {
        let mut tls = model::tls::UpstreamTls::default();
        tls.identity = model::tls::TlsIdentity::Secret("id".into());
        settings.tls = TlsPolicy::On(Arc::new(tls));
    });
    let failure = bench.fails(get("/")).await.0;
    assert_eq!(failure, Failure::Connect(ConnectFailure::SecretUnavailable));

    #[derive(Debug)]
    struct Secure(Arc<dyn Connect>);
    impl Connect for Secure {
        fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
            self.0.connect(address)
        }
        fn secures(&self) -> bool {
            true
        }
    }
    let secure = Arc::new(Secure(hyper_h2()));
    let bench = Bench::with(Protocol::Http2, secure, Limits::default(), |settings| {
        settings.tls = TlsPolicy::On(Arc::default());
    });
    let mut request = get("/head");
    *request.uri_mut() = "/head".parse().unwrap();
    assert!(bench.text(request).await.starts_with("HTTP/2.0 https://127.0.0.1:80/head"));
}

#[tokio::test(start_paused = true)]
async fn the_protocol_follows_the_call() {
    let auto = dial(|_, io| async move {
        let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        drop(server.serve_connection(TokioIo::new(io), service_fn(answer)).await);
    });
    let bench = Bench::new(Protocol::Auto, auto);
    assert!(bench.text(get("/head")).await.starts_with("HTTP/1.1 /head"));
    let mut grpc = get("/head");
    grpc.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    assert!(bench.text(grpc).await.starts_with("HTTP/2.0 http://test/head"));
    let mut h2 = get("/head");
    *h2.version_mut() = http::Version::HTTP_2;
    assert!(bench.text(h2).await.starts_with("HTTP/2.0"));
    let counts = bench.pool.connections();
    assert_eq!((counts.h1, counts.h2), (1, 1));
    let tcp = Bench::new(Protocol::Tcp, hyper_h1());
    let failure = tcp.fails(get("/")).await.0;
    assert_eq!(failure, Failure::Protocol(ProtocolFailure::VersionUnsupported));
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_form_are_refused() {
    for (protocol, dial) in [(Protocol::Http1, hyper_h1()), (Protocol::Http2, hyper_h2())] {
        let bench = Bench::new(protocol, dial);
        let request = Request::get("test:80").body(MeshBody::empty()).unwrap();
        let (failure, handed_back) = bench.fails(request).await;
        assert_eq!(failure, Failure::Protocol(ProtocolFailure::InvalidRequest));
        assert!(handed_back);
        // The connection is none the worse for it.
        assert_eq!(bench.text(get("/")).await, "hello");
        assert_eq!(bench.limits.open(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_overflows() {
    for (protocol, dial) in [(Protocol::Http1, hyper_h1()), (Protocol::Http2, hyper_h2())] {
        let bench = Bench::with(protocol, dial, Limits::new(1, 2), |settings| {
            settings.options.max_concurrent_streams = 1;
        });
        let first = bench.call(get("/")).await.unwrap();
        let hold = bench.call(get("/hang")).now_or_never();
        assert!(hold.is_none(), "it has no answer");
        // One connection, taken by `first` until its body ends.
        let (second, third) = (bench.send(get("/")), bench.send(get("/")));
        let (failure, handed_back) = bench.fails(get("/")).await;
        assert_eq!(failure, Failure::Overflow(Overflow::Pending));
        assert!(handed_back);
        assert_eq!(bench.pool.connections().waiting, 2);
        drop(first.into_body().collect().await);
        let second = bounded(second).await.unwrap();
        assert_eq!(text(second.into_body()).await, "hello");
        let third = bounded(third).await.unwrap();
        assert_eq!(text(third.into_body()).await, "hello");
        assert_eq!(bench.limits.open(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_connection_at_all_overflows() {
    for (protocol, dial) in [(Protocol::Http1, hyper_h1()), (Protocol::Http2, hyper_h2())] {
        let bench = Bench::with(protocol, dial, Limits::new(0, 9), |_| {});
        let (failure, handed_back) = bench.fails(get("/")).await;
        assert_eq!(failure, Failure::Overflow(Overflow::Connections));
        assert!(handed_back);
        eventually("released", || bench.limits.are_released()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_may_have_its_first_connection() {
    let limits = Limits::new(1, 9);
    limits.connections.store(1, Ordering::SeqCst);
    let bench = Bench::with(Protocol::Http1, hyper_h1(), limits, |_| {});
    assert_eq!(bench.text(get("/")).await, "hello");
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order_and_leave_their_place() {
    for (protocol, dial) in [(Protocol::Http1, hyper_h1()), (Protocol::Http2, hyper_h2())] {
        let bench = Bench::with(protocol, dial, Limits::default(), |settings| {
            settings.max_connections_per_endpoint = Some(1);
            settings.options.max_concurrent_streams = 1;
        });
        let first = bench.call(get("/")).await.unwrap();
        let mut waiting: Vec<_> = (0..4).map(|_| bench.send(get("/"))).collect();
        drop(waiting.remove(1));
        assert_eq!(bench.pool.connections().waiting, 3);
        drop(first.into_body().collect().await);
        for next in waiting {
            let mut next = next;
            // The others are not ready before the first one's body ended.
            let response = bounded(&mut next).await.unwrap();
            let phases = next.phases().expect("it waited");
            assert_eq!(phases.connect, Duration::ZERO);
            assert_eq!(text(response.into_body()).await, "hello");
        }
        assert_eq!((bench.pool.connections().waiting, bench.limits.open()), (0, 1));
    }
}

/// A server that listens no more once it has one connection.
#[derive(Debug)]
struct Once {
    inner: Arc<dyn Connect>,
    dialled: Arc<AtomicUsize>,
}

impl Connect for Once {
    fn connect<'a>(&'a self, to: &'a Address) -> Connecting<'a> {
        if self.dialled.fetch_add(1, Ordering::SeqCst) == 0 {
            return self.inner.connect(to);
        }
        Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn who_can_not_have_a_connection_does_not_wait_for_one_that_is_busy() {
    for (protocol, inner) in [(Protocol::Http1, hyper_h1()), (Protocol::Http2, hyper_h2())] {
        let dialled = Arc::new(AtomicUsize::new(0));
        let once = Arc::new(Once { inner, dialled: Arc::clone(&dialled) });
        let bench = Bench::with(protocol, once, Limits::default(), |settings| {
            settings.options.max_concurrent_streams = 1;
        });
        let busy = bench.call(get("/")).await.unwrap();
        for calls in 1..=5 {
            // One attempt each: nobody is left over for whom the next would dial again.
            let (failure, handed_back) = bench.fails(get("/")).await;
            assert_eq!(failure, Failure::Connect(ConnectFailure::Refused), "{protocol:?}");
            assert!(handed_back);
            assert_eq!(dialled.load(Ordering::SeqCst), 1 + calls);
        }
        assert_eq!(bench.pool.connections().waiting, 0);
        drop(busy.into_body().collect().await);
        assert_eq!(bench.text(get("/")).await, "hello", "the one that is open still serves");
    }
}

#[tokio::test(start_paused = true)]
async fn phases_tell_who_waited_for_a_connection() {
    let slow = dial(|_, io| async move {
        sleep(Duration::from_millis(40)).await;
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(server.serve_connection(TokioIo::new(io), service_fn(answer)).await);
    });
    let bench = Bench::new(Protocol::Http2, slow);
    let mut first = bench.send(get("/"));
    bounded(&mut first).await.unwrap();
    let phases = first.phases().unwrap();
    assert!(phases.connect >= Duration::from_millis(40), "{phases:?}");
    assert!(phases.waited >= phases.connect && phases.tls.is_zero(), "{phases:?}");
    let mut second = bench.send(get("/"));
    bounded(&mut second).await.unwrap();
    assert_eq!(second.phases(), None);
}

#[tokio::test(start_paused = true)]
async fn calls_given_up_at_any_point_leave_nothing() {
    let server = |protocol| if protocol == Protocol::Http1 { hyper_h1() } else { hyper_h2() };
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for polls in 0..24 {
            let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            let bench = Bench::new(protocol, server(protocol));
            let (sender, body) = channel();
            let mut sending = bench.send(post("/echo", body));
            let writer = tokio::spawn(async move {
                while sender.send(data("more")).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            });
            if let Some(Ok(response)) = poll_times(&mut sending, polls).await {
                let mut body = response.into_body();
                let _ = poll_times(&mut body.frame(), polls / 2).await;
                drop(body);
            }
            drop(sending);
            bounded(writer).await.unwrap();
            let counts = || bench.pool.connections();
            eventually("streams end", || counts().streams == 0 && counts().waiting == 0).await;
            assert_eq!(bench.limits.pending.load(Ordering::SeqCst), 0, "{protocol:?} {polls}");
            let limits = Arc::clone(&bench.limits);
            drop(bench);
            eventually("connections close", || limits.are_released()).await;
            let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
            eventually("tasks end", || tasks() <= before).await;
        }
    }
}
