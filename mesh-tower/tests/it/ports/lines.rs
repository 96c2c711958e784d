//! What the access log says of connections of bytes, for each of their ends.

use super::kit::{Ports, say, until, update};
use crate::access_log::world::{Lines, check, refusing};
use crate::fixture::{bounded, eventually, flags, idle};
use mesh_core::access_log::Format;
use mesh_tower::Mesh;
use mesh_tower::observe::AccessLog;
use rustix::net::sockopt::set_socket_linger;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What an endpoint does once it has read a byte.
#[derive(Clone, Copy)]
enum Then {
    /// Sends all back, to the end.
    Echoes,
    Resets,
}

async fn server(then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for _ in 0..8 {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                match then {
                    Then::Echoes => {
                        let (mut read, mut write) = stream.split();
                        let _gone = tokio::io::copy(&mut read, &mut write).await;
                        let _gone = write.shutdown().await;
                    }
                    Then::Resets => {
                        stream.read_u8().await.unwrap();
                        reset(stream);
                    }
                }
            });
        }
    });
    address
}

/// Closes a connection by a reset.
fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

struct World {
    ports: Ports,
    lines: Lines,
}

impl World {
    fn of(format: Format, text: &str) -> Self {
        let lines = Lines::default();
        let log = lines.log(AccessLog::builder(format));
        let mesh = Mesh::builder().config(update(text)).access_log(log).build().unwrap();
        Self { ports: Ports::of(mesh), lines }
    }

    /// A port of bytes before `endpoint`, with more to say of it.
    fn new(endpoint: SocketAddr, more: &str) -> Self {
        Self::of(Format::default_json(), &yaml(endpoint, more))
    }

    /// A connection over which a byte has gone, and come back.
    async fn begun(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.ports.port("outbound|db")).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(until(&mut stream, "x").await, "x");
        stream
    }

    /// Both lines of the one connection, which say the same of its end, and have the same id.
    async fn both(&self, expected: &[(&str, Value)]) -> [Value; 2] {
        let lines = [self.lines.one("server").await, self.lines.one("client").await];
        for line in &lines {
            check(line, expected);
            for absent in ["method", "path", "protocol", "authority"] {
                assert_eq!(line[absent], Value::Null, "{absent} of {line}");
            }
            check(line, &[("response_code", json!(0)), ("listener", json!("outbound|db"))]);
        }
        assert_eq!(lines[0]["request_id"], lines[1]["request_id"]);
        assert_eq!(lines[0]["request_id"].as_str().unwrap().len(), 36);
        idle(&self.ports.mesh).await;
        lines
    }
}

fn yaml(endpoint: SocketAddr, more: &str) -> String {
    format!(
        "clusters: {{ a: {{ endpoints: [\"{endpoint}\"], protocol: tcp }} }}\noutbound: {{ db: {{ listen: \"127.0.0.1:1\", cluster: a{more} }} }}\n"
    )
}

fn end(flag: &str, reason: &str) -> [(&'static str, Value); 2] {
    [("response_flags", json!(flag)), ("reason", json!(reason))]
}

#[tokio::test]
async fn a_stream_that_ends_well_has_two_lines_without_a_flag() {
    let endpoint = server(Then::Echoes).await;
    let world = World::new(endpoint, "");
    let mut stream = TcpStream::connect(world.ports.port("outbound|db")).await.unwrap();
    let own = stream.local_addr().unwrap();
    stream.write_all(&[7; 70_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut came = Vec::new();
    bounded(stream.read_to_end(&mut came)).await.unwrap();
    assert_eq!(came.len(), 70_000);
    let expected = [
        ("response_flags", Value::Null),
        ("reason", Value::Null),
        ("bytes_received", json!(70_000)),
        ("bytes_sent", json!(70_000)),
        ("downstream_remote_address", json!(own.to_string())),
    ];
    let [_, client] = world.both(&expected).await;
    check(
        &client,
        &[
            ("upstream_cluster", json!("a")),
            ("upstream_host", json!(endpoint.to_string())),
            ("attempt", json!(1)),
        ],
    );
    assert_eq!(client["attempts"][0]["upstream_host"], endpoint.to_string(), "{client}");
    assert!(client["phases_ms"]["body"].is_number(), "{client}");
    assert_eq!(flags(&world.ports.mesh), "-:1");
}

#[tokio::test]
async fn envoys_default_format_gives_the_line_of_its_tcp_proxy() {
    let endpoint = server(Then::Echoes).await;
    let world = World::of(Format::default_text(), &yaml(endpoint, ""));
    assert_eq!(world.ports.say("outbound|db", "hello").await, "hello");
    idle(&world.ports.mesh).await;
    eventually("both are written", || world.lines.text().lines().count() == 2).await;
    let text = world.lines.text();
    for line in text.lines() {
        let (_time, rest) = line.split_once("] ").unwrap();
        assert!(rest.starts_with("\"- - -\" 0 - 5 5 "), "{line}");
        assert!(rest.contains(" \"-\" \"-\" \""), "{line}");
    }
    assert!(text.contains(&format!("\"-\" \"{endpoint}\"")), "{text}");
}

#[tokio::test]
async fn a_silent_stream_has_envoys_flag_for_it() {
    let world = World::new(server(Then::Echoes).await, ", idle_timeout: 100ms");
    let mut stream = world.begun().await;
    let mut rest = Vec::new();
    let _reset = bounded(stream.read_to_end(&mut rest)).await;
    let lines = world.both(&end("SI", "idle_timeout")).await;
    for line in lines {
        check(&line, &[("bytes_received", json!(1)), ("bytes_sent", json!(1))]);
    }
    assert_eq!(flags(&world.ports.mesh), "SI:1");
}

#[tokio::test]
async fn who_breaks_a_stream_is_told_apart() {
    let world = World::new(server(Then::Echoes).await, "");
    reset(world.begun().await);
    world.both(&end("DC", "cancelled")).await;
    assert_eq!(flags(&world.ports.mesh), "DC:1");

    let world = World::new(server(Then::Resets).await, "");
    let port = world.ports.port("outbound|db");
    assert_eq!(say(port, "x", false).await, "");
    let lines = world.both(&end("UC", "reset_connection")).await;
    check(&lines[1], &[("upstream_cluster", json!("a")), ("bytes_received", json!(1))]);
    assert_eq!(flags(&world.ports.mesh), "UC:1");
}

#[tokio::test]
async fn a_stream_without_an_endpoint_says_why() {
    let dead = refusing().await;
    let world = World::new(dead, "");
    assert_eq!(world.ports.say("outbound|db", "x").await, "");
    let lines = world.both(&end("UF", "connect_refused")).await;
    check(&lines[1], &[("upstream_host", json!(dead.to_string()))]);

    let text = "clusters: { a: { endpoints: [{ address: \"127.0.0.1:9\", health: unhealthy }], protocol: tcp, lb: { round_robin: {}, panic_threshold: 0 } } }\noutbound: { db: { listen: \"127.0.0.1:1\", cluster: a } }\n";
    let world = World::of(Format::default_json(), text);
    assert_eq!(world.ports.say("outbound|db", "x").await, "");
    world.both(&end("UH", "no_healthy_endpoint")).await;
}

#[tokio::test]
async fn policies_are_named_that_let_a_stream_in_or_not() {
    let a = server(Then::Echoes).await;
    for (policies, answer, policy, reason) in [
        ("allow: [{ name: all, from: anyone }]", "x", "all", Value::Null),
        ("deny: [{ name: nobody, from: anyone }]", "", "nobody", json!("rbac_denied")),
    ] {
        let text = format!(
            "inbound: {{ db: {{ listen: \"127.0.0.1:1\", mtls: off, protocol: tcp, {policies}, forward: {{ address: \"{a}\" }} }} }}\n"
        );
        let world = World::of(Format::default_json(), &text);
        assert_eq!(world.ports.say("db", "x").await, answer);
        let line = world.lines.one("server").await;
        check(&line, &[("policy", json!(policy)), ("reason", reason), ("listener", json!("db"))]);
        let of_calls = usize::from(!answer.is_empty());
        world.lines.of("client", of_calls).await;
    }
}

#[tokio::test]
async fn a_drain_that_ends_a_stream_says_so() {
    let world = World::new(server(Then::Echoes).await, "");
    let _stream = world.begun().await;
    bounded(world.ports.proxy.drain(Duration::from_millis(50))).await;
    world.both(&end("LR", "reset_local")).await;
}

/// Its line is that of the request that it was, at its own end.
#[tokio::test]
async fn a_tunnel_has_its_bytes_and_its_end_in_the_line_of_its_call() {
    let a = server(Then::Echoes).await;
    let text = format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a }}] }} }}\nclusters: {{ a: {{ endpoints: [\"{a}\"] }} }}\noutbound: {{ web: {{ listen: \"127.0.0.1:1\", idle_timeout: 100ms }} }}\nunknown_hosts: passthrough\n"
    );
    // To a cluster, and to whoever is asked for.
    let (known, unknown) = ("a:443".to_owned(), a.to_string());
    for (to, silent, flag) in [
        (&known, true, "SI"),
        (&known, false, "DC"),
        (&unknown, true, "SI"),
        (&unknown, false, "DC"),
    ] {
        let world = World::of(Format::default_json(), &text);
        let mut stream = TcpStream::connect(world.ports.port("outbound|web")).await.unwrap();
        let ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"hello").await.unwrap();
        assert_eq!(until(&mut stream, "hello").await, "hello");
        if silent {
            let mut rest = Vec::new();
            let _reset = bounded(stream.read_to_end(&mut rest)).await;
        } else {
            reset(stream);
        }
        let expected = [
            ("method", json!("CONNECT")),
            ("response_code", json!(200)),
            ("response_flags", json!(flag)),
            ("bytes_received", json!(5)),
            ("bytes_sent", json!(5)),
        ];
        check(&world.lines.one("client").await, &expected);
        idle(&world.ports.mesh).await;
        assert_eq!(flags(&world.ports.mesh), format!("{flag}:1"));
    }
}
