//! `mesh call` as a process: a real call, what it tells of it, and its exit codes.

use crate::proxy::{PATIENCE, Place, routes, server};
use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use mesh_core::model::tls::DownstreamTls;
use mesh_core::model::{FilterChain, HttpConnectionManager, Listener};
use mesh_core::update::ConfigUpdate;
use mesh_tower::Mesh;
use mesh_tower::identity::{FixedIdentity, Material};
use serde_json::Value;
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// What `mesh call` prints in a directory, of no configuration but its file.
fn run(at: &Path, input: &[u8], arguments: &[&str]) -> Output {
    run_with(at, input, arguments, None)
}

/// The same, with one variable of the environment.
fn run_with(at: &Path, input: &[u8], arguments: &[&str], variable: Option<(&str, &str)>) -> Output {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(env!("CARGO_BIN_EXE_mesh")).arg("call");
    command.args(arguments).current_dir(at);
    for name in ["MESH_CONFIG", "GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.envs(variable);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Body and report of a call by the place's file, which must end with `exit`.
#[track_caller]
fn call(place: &Place, exit: i32, arguments: &[&str]) -> (String, String) {
    let arguments = [&["--config", "mesh.yaml"], arguments].concat();
    let output = run(place.0.path(), b"", &arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (body, report) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {body}\n{report}");
    (body, report)
}

#[track_caller]
fn json(place: &Place, exit: i32, arguments: &[&str]) -> Value {
    let (body, report) = call(place, exit, &[&["--format", "json"], arguments].concat());
    assert_eq!(report, "");
    serde_json::from_str(&body).unwrap()
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

/// A port that refuses connections.
fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Serves `app` over HTTP/1.1 and HTTP/2, on a thread that ends with the test.
fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    });
    address
}

/// Gives back what it gets, with these trailers.
fn echo(trailers: &'static [(&'static str, &'static str)]) -> Router {
    let answer = move |headers: HeaderMap, body: Bytes| async move {
        let trailers: HeaderMap = trailers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        let frames = [Ok::<_, Infallible>(Frame::data(body)), Ok(Frame::trailers(trailers))];
        let mut response =
            http::Response::new(axum::body::Body::new(StreamBody::new(stream::iter(frames))));
        let kind = headers.get("content-type").cloned();
        response.headers_mut().extend(kind.map(|kind| (http::header::CONTENT_TYPE, kind)));
        response.headers_mut().insert("set-cookie", HeaderValue::from_static("secret=1"));
        response
    };
    Router::new().fallback(post(answer))
}

#[test]
fn a_call_prints_its_body_and_tells_why_it_went_where() {
    let place = Place::new(&routes(server("hello", Duration::ZERO)));
    let (body, report) = call(&place, 0, &["-H", "authorization: Bearer secret", "http://a/x"]);
    assert_eq!(body, "hello");
    holds(
        &report,
        &[
            "GET http://a/x\n",
            "takes it by prefix `/`: cluster `a` 100 %",
            "attempt 1   127.0.0.1:",
            " of `a`: 200 in ",
            "  over      HTTP/1.1, new, plaintext\n",
            "first_byte ",
            " to the head, ",
            "status      200 OK\n",
            "bytes       0 sent, 5 received\n",
        ],
    );
    assert!(!report.contains("secret"), "{report}");
    call(&place, 0, &["--output", "body.txt", "a/x"]);
    assert_eq!(std::fs::read_to_string(place.path("body.txt")).unwrap(), "hello");
}

#[test]
fn without_a_configuration_it_goes_where_the_url_points() {
    let address = server("hello", Duration::ZERO);
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), b"", &[&format!("http://{address}/")]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"hello"[..]));
    let report = String::from_utf8(output.stderr).unwrap();
    holds(&report, &["passes      unchanged", "attempt 1   no endpoint: 200 in ", "HTTP/1.1, new"]);
}

#[test]
fn an_endpoint_that_refuses_costs_an_attempt_or_the_call() {
    let good = server("hello", Duration::ZERO);
    let text = format!(
        "virtual_hosts:
  both: {{ routes: [{{ cluster: both, retry: {{ retry_on: connect-failure, num_retries: 3 }} }}] }}
  none: {{ routes: [{{ cluster: none, retry: {{ retry_on: connect-failure, num_retries: 1 }} }}] }}
clusters:
  both: {{ endpoints: [\"{}\", {{ address: \"{good}\", priority: 1 }}] }}
  none: {{ endpoints: [\"{}\"] }}
",
        refusing(),
        refusing(),
    );
    let place = Place::new(&text);
    let told = json(&place, 1, &["http://none/"]);
    let attempts = told["attempts"].as_array().unwrap();
    assert!(attempts.len() >= 2, "{told:#}");
    for attempt in attempts {
        assert_eq!((&attempt["flag"], &attempt["code"]), (&"UF".into(), &"connect_refused".into()));
        assert_eq!(attempt["connection"], Value::Null);
    }
    assert_eq!(told["response"], Value::Null);
    assert_eq!(told["failure"]["next"], "mesh explain connect_refused");
    assert_eq!(told["failure"]["flag"], "UF");
    let (body, report) = call(&place, 1, &["http://none/"]);
    assert_eq!(body, "");
    holds(&report, &["failed      UF", "[connect_refused]", "`mesh explain connect_refused`"]);
    let explained = Command::new(env!("CARGO_BIN_EXE_mesh"))
        .args(["explain", "connect_refused"])
        .output()
        .unwrap();
    assert!(explained.status.success(), "what it leads to is there");
}

#[test]
fn an_answer_that_is_retried_is_told_with_both_attempts() {
    let sick =
        serve(Router::new().fallback(|| async { (StatusCode::SERVICE_UNAVAILABLE, "sick") }));
    let good = server("hello", Duration::ZERO);
    let text = format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a, retry: {{ retry_on: 5xx, num_retries: 8 }} }}] }} }}
clusters: {{ a: {{ endpoints: [\"{sick}\", \"{good}\"] }} }}
",
    );
    let place = Place::new(&text);
    // Where round robin begins is drawn; half of the processes begin with the one that is sick.
    let told = (0..64).map(|_| json(&place, 0, &["http://a/"]));
    let mut told = told.filter(|told| told["attempts"][0]["status"] == 503);
    let told = told.next().expect("a call whose first attempt is at the one that is sick");
    assert_eq!(told["attempts"][0]["endpoint"], sick.to_string());
    assert_eq!(told["attempts"][0]["connection"]["version"], "HTTP/1.1");
    let last = told["attempts"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["status"], &last["endpoint"]), (&200.into(), &good.to_string().into()));
    assert!(told["times"]["phases_ms"]["backoff"].as_f64().is_some(), "{told:#}");
    assert_eq!(told["response"]["body"]["text"], "hello");
}

#[test]
fn what_no_route_takes_and_an_error_are_a_no() {
    let gone = serve(Router::new().fallback(|| async { (StatusCode::GONE, "gone") }));
    let place = Place::new(&routes(gone));
    let told = json(&place, 1, &["http://nobody/"]);
    assert_eq!(told["decision"]["conclusion"], "refused");
    assert_eq!(
        (&told["failure"]["code"], &told["failure"]["flag"]),
        (&"no_virtual_host".into(), &"NR".into())
    );
    assert_eq!(told["attempts"], serde_json::json!([]));
    let (body, report) = call(&place, 1, &["http://a/"]);
    assert_eq!(body, "gone");
    holds(&report, &["status      410 Gone\n"]);
}

#[test]
fn a_question_that_can_not_be_put_is_a_2() {
    let place = Place::new(&routes(refusing()));
    for (arguments, code) in [
        (&["/only/a/path"][..], "[invalid_url]\n"),
        (&["http://user:secret@a/"], "[invalid_url]\n"),
        (&["-H", "host: b", "http://a/"], "[invalid_header]\n"),
        (&["-X", "CONNECT", "http://a/"], "[invalid_method]\n"),
        (&["-d", "@nowhere", "http://a/"], "[unreadable_file]\n"),
        (&["--config", "nowhere.yaml", "http://a/"], "[unreadable_file]\n"),
    ] {
        let (body, report) = call(&place, 2, arguments);
        assert!(body.is_empty() && report.ends_with(code), "{arguments:?}: {report}");
        assert!(!report.contains("secret"), "{report}");
    }
    call(&place, 2, &["--compare", "0", "http://a/"]);
    call(&place, 2, &["--compare", "100001", "http://a/"]);
    place.write("virtual_hosts: { a: { routes: [{ cluster: nowhere }] } }\n");
    let (_, report) = call(&place, 2, &["http://a/"]);
    holds(&report, &["there is no cluster `nowhere`", "[wrong_configuration]"]);
}

#[test]
fn a_body_that_is_too_large_or_too_slow_is_no_surprise() {
    let place = Place::new(&routes(server("late", Duration::from_secs(20))));
    let told = json(&place, 1, &["--timeout", "200ms", "http://a/"]);
    assert_eq!(
        (&told["failure"]["code"], &told["failure"]["flag"]),
        (&"timeout".into(), &"UT".into())
    );
    let large = std::fs::File::create(place.path("large")).unwrap();
    large.set_len((16 << 20) + 1).unwrap();
    let (_, report) = call(&place, 2, &["-d", "@large", "http://a/"]);
    holds(&report, &["more than 16777216 bytes", "[body_too_large]"]);
}

#[test]
fn bodies_go_both_ways_and_headers_are_shown_where_they_are_asked_for() {
    let place = Place::new(&routes(serve(echo(&[("x-end", "1")]))));
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    std::fs::write(place.path("body"), &bytes).unwrap();
    let sent = ["--config", "mesh.yaml", "http://a/", "-d"];
    for (data, input) in [("@body", &b""[..]), ("@-", &bytes)] {
        let output = run(place.0.path(), input, &[&sent[..], &[data]].concat());
        assert!(output.status.success() && output.stdout == bytes, "{data}");
        let report = String::from_utf8(output.stderr).unwrap();
        holds(&report, &["POST http://a/\n", "bytes       300000 sent, 300000 received\n"]);
        assert!(!report.contains("secret=1"), "{report}");
    }
    let (_, report) = call(&place, 0, &["--http2", "-i", "-d", "text", "http://a/"]);
    holds(&report, &["HTTP/2.0, new", "set-cookie: secret=1", "trailers    x-end: 1\n"]);
    let told = json(&place, 0, &["-d", "@body", "http://a/"]);
    let body = &told["response"]["body"];
    assert_eq!(body["base64"].as_str().map(str::len), Some(400_000));
    assert_eq!(body["is_cut"], false);
    std::fs::write(place.path("body"), "ü".repeat(600_000)).unwrap();
    let told = json(&place, 0, &["-d", "@body", "http://a/"]);
    let body = &told["response"]["body"];
    assert_eq!(body["text"].as_str().map(str::len), Some(1 << 20));
    assert_eq!((&body["is_cut"], &told["response"]["bytes"]), (&true.into(), &1_200_000.into()));
}

#[test]
fn grpc_is_told_by_its_trailers() {
    let fine = serve(echo(&[("grpc-status", "0")]));
    let broken = serve(echo(&[("grpc-status", "5"), ("grpc-message", "no such thing")]));
    let text = format!(
        "virtual_hosts:
  fine: {{ routes: [{{ cluster: fine }}] }}
  broken: {{ routes: [{{ cluster: broken }}] }}
clusters: {{ fine: {{ endpoints: [\"{fine}\"] }}, broken: {{ endpoints: [\"{broken}\"] }} }}
",
    );
    let place = Place::new(&text);
    std::fs::write(place.path("message"), [0, 0, 0, 0, 2, 8, 1]).unwrap();
    let asked = ["-H", "content-type: application/grpc", "-d", "@message"];
    let told = json(&place, 0, &[&asked[..], &["http://fine/shop.Reviews/List"]].concat());
    assert_eq!(told["attempts"][0]["connection"]["version"], "HTTP/2.0");
    assert_eq!(
        (&told["response"]["grpc_status"], &told["response"]["bytes"]),
        (&0.into(), &7.into())
    );
    let (_, report) = call(&place, 1, &[&asked[..], &["http://broken/shop.Reviews/List"]].concat());
    holds(&report, &["status      200 OK\n", "grpc-status 5: no such thing\n"]);
}

/// A server of the mesh behind mutual TLS, on a thread that ends with the test.
fn secured(directory: &Path) -> SocketAddr {
    let made = Command::new(env!("CARGO_BIN_EXE_mesh"))
        .args(["certs", "new", "--out", "tls", "web", "shop"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let at = directory.display();
    let text = format!(
        "version: 1
identity: {{ cert: {at}/tls/web.pem, key: {at}/tls/web-key.pem, roots: {at}/tls/ca.pem }}
inbound: {{ web: {{ listen: \"{address}\", allow: [{{ from: \"spiffe://example.org/shop\", match: {{ prefix: / }} }}] }} }}
",
    );
    std::fs::write(directory.join("server.yaml"), text).unwrap();
    let file = directory.join("server.yaml");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mesh = Mesh::from_file(file).unwrap();
            mesh.ready().await.unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let app = Router::new().fallback(|| async { "secured" });
            mesh.server("web").serve(listener, app).await.unwrap();
        });
    });
    address
}

#[test]
fn over_mutual_tls_the_peer_and_its_certificate_are_told_and_compared_with() {
    let place = Place::new("");
    let address = secured(place.0.path());
    place.write(&format!(
        "identity: {{ cert: tls/shop.pem, key: tls/shop-key.pem, roots: tls/ca.pem }}
virtual_hosts: {{ web: {{ routes: [{{ cluster: web }}] }} }}
clusters: {{ web: {{ endpoints: [\"{address}\"], tls: {{ san: [\"spiffe://example.org/web\"] }} }} }}
"
    ));
    let (body, report) = call(&place, 0, &["http://web/"]);
    assert_eq!(body, "secured");
    holds(
        &report,
        &[
            ", new, mutual TLSv1.3 with TLS13_",
            "  peer      spiffe://example.org/web; its certificate ends in ",
            "tls ",
        ],
    );
    let told = json(&place, 0, &["--compare", "20", "http://web/"]);
    let tls = &told["attempts"][0]["connection"]["tls"];
    assert_eq!((&tls["mutual"], &tls["peer"]), (&true.into(), &"spiffe://example.org/web".into()));
    assert_eq!(tls["version"], "TLSv1.3");
    assert!(tls["peer_left_s"].as_u64().is_some_and(|left| left > 80 * 86_400), "{tls}");
    let compared = &told["compared"];
    assert_eq!((&compared["tls"], &compared["connections"]), (&true.into(), &1.into()));
    let failed = (&compared["mesh"]["failed"], &compared["direct"]["failed"]);
    assert_eq!(failed, (&0.into(), &0.into()));
}

#[test]
fn calls_are_compared_with_those_of_plain_hyper_to_the_same_endpoint() {
    let text = |to| {
        format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a, rewrite: {{ prefix: /real/, host: b }} }}] }} }}
clusters: {{ a: {{ endpoints: [\"{to}\"] }} }}
"
    )
    };
    // Who asks it otherwise than the mesh does fails.
    let seen = |uri: http::Uri, headers: HeaderMap| async move {
        let host = headers.get("host").map(|host| host.to_str().unwrap().to_owned());
        let host = uri.host().map(str::to_owned).or(host);
        let is_right = uri.path() == "/real/x" && host.as_deref() == Some("b");
        if is_right { (StatusCode::OK, "right") } else { (StatusCode::BAD_REQUEST, "wrong") }
    };
    let address = serve(Router::new().fallback(seen));
    let place = Place::new(&text(address));
    for http in [&[][..], &["--http2"]] {
        let arguments = [http, &["--compare", "50", "http://a/x"]].concat();
        let told = json(&place, 0, &arguments);
        let compared = &told["compared"];
        assert_eq!((&compared["calls"], &compared["warm_up"]), (&50.into(), &50.into()));
        assert_eq!(compared["endpoint"], address.to_string());
        for kind in ["mesh", "direct"] {
            assert_eq!(compared[kind]["failed"], 0, "{http:?} {told:#}");
            let (median, p99) = (&compared[kind]["median_ms"], &compared[kind]["p99_ms"]);
            assert!(median.as_f64() > Some(0.0) && p99.as_f64() >= median.as_f64(), "{compared}");
        }
    }
    let (body, report) = call(&place, 0, &["--compare", "10", "http://a/x"]);
    assert_eq!(body, "right");
    holds(
        &report,
        &["compared    10 calls each", "hyper alone to 127.0.0.1:", "median ", "p99 ", "CPU "],
    );
    // Large bodies are refused, and so is a call that passes by every policy.
    std::fs::write(place.path("large"), vec![0; (1 << 20) + 1]).unwrap();
    let (_, report) = call(&place, 2, &["--compare", "10", "-d", "@large", "http://a/x"]);
    holds(&report, &["[body_too_large]"]);
    let url = format!("http://{address}/real/x");
    let output = run(place.0.path(), b"", &["--compare", "10", &url]);
    // It is asked for by another host, and so answers 400: that is not compared.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    holds(&String::from_utf8(output.stderr).unwrap(), &["compared    not, because"]);
}

#[test]
fn who_can_not_be_called_directly_is_not_compared_with() {
    // Good to its first connection, which is the mesh's, and to no other.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).take(100).enumerate() {
            thread::spawn(move || {
                answer_all(stream, if number == 0 { "200 OK" } else { "400 Bad Request" })
            });
        }
    });
    let place = Place::new(&routes(address));
    let (_, report) = call(&place, 2, &["--compare", "10", "http://a/"]);
    holds(&report, &["status      200 OK\n", "none of 10 calls by hyper to", "[not_compared]"]);
    // A call that passes by every policy has no endpoint of a cluster.
    let server = server("hello", Duration::ZERO);
    let url = format!("http://{server}/");
    let output = run(place.0.path(), b"", &["--compare", "10", &url]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    holds(&String::from_utf8(output.stderr).unwrap(), &["no endpoint of a cluster answered"]);
}

/// Answers each request of a connection, none of which has a body, with this status.
fn answer_all(mut stream: TcpStream, status: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")?;
        }
        line.clear();
    }
    Ok(())
}

/// A server for `localhost` that asks nobody for a certificate, on a thread that ends with the test.
fn public(directory: &Path) -> SocketAddr {
    let made = Command::new(env!("CARGO_BIN_EXE_mesh"))
        .args(["certs", "new", "--out", "tls", "localhost"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |name: &str| std::fs::read(directory.join("tls").join(name)).unwrap();
    let [chain, key, roots] = ["localhost.pem", "localhost-key.pem", "ca.pem"].map(read);
    let (identity, updates) =
        FixedIdentity::new(Some(Material::from_pem(&chain, &key, &roots).unwrap()));
    let mut tls = DownstreamTls::mutual();
    tls.require_client_certificate = false;
    let mut chain =
        FilterChain::new("public", Some(Arc::new(HttpConnectionManager::serving(Vec::new()))));
    chain.tls = Some(Arc::new(tls));
    let mut listener = Listener::new("web");
    listener.filter_chains.push(Arc::new(chain));
    let mut update = ConfigUpdate::in_code();
    update.listeners.insert("web".into(), Arc::new(listener));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mesh = Mesh::builder().identity(identity).config(update).build().unwrap();
            let socket = tokio::net::TcpListener::from_std(socket).unwrap();
            let app = Router::new().fallback(|| async { "public" });
            mesh.server("web").serve(socket, app).await.unwrap();
            drop(updates);
        });
    });
    address
}

#[test]
fn https_without_a_configuration_wants_the_name_by_roots_of_the_system() {
    let directory = tempfile::tempdir().unwrap();
    let port = public(directory.path()).port();
    let files: [&[&str]; 3] = [&[], &["--config", "observe.yaml"], &["--config", "egress.yaml"]];
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("observe.yaml", "version: 1\nunknown_hosts: passthrough\n");
    write(
        "egress.yaml",
        &format!("version: 1\negress: {{ allow: [\"localhost:{port}\", 127.0.0.1] }}\n"),
    );
    for file in files {
        let asked = |roots: Option<&str>, url: &str| {
            let arguments = [file, &[url]].concat();
            run_with(directory.path(), b"", &arguments, roots.map(|roots| ("SSL_CERT_FILE", roots)))
        };
        let url = format!("https://localhost:{port}/");
        let good = asked(Some("tls/ca.pem"), &url);
        assert!(good.status.success() && good.stdout == b"public", "{file:?}: {good:?}");
        for (roots, url, why) in [
            // Nobody whom this trusts has signed.
            (Some("tls/localhost.pem"), &url, "connect_tls_untrusted"),
            (Some("tls/ca.pem"), &format!("https://127.0.0.1:{port}/"), "connect_tls_name"),
        ] {
            let refused = asked(roots, url);
            let told = String::from_utf8(refused.stderr).unwrap();
            assert!(
                refused.status.code() == Some(1) && told.contains(why),
                "{file:?} {url}: {told}"
            );
        }
    }
}
