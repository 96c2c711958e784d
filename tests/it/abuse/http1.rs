//! HTTP/1.1.

use super::world::{Attack, Case, SMUGGLED, World, check, connect, get};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const ACTIVE: &str = "mesh_server_connections_active{";
const REQUESTS: &str = "mesh_server_requests_active{";
const BROKEN: &str = "mesh_server_connections_broken_total{";

/// Opens `count` connections that begin with `head`, and gives each a little of `rest` now and then.
fn trickle(port: SocketAddr, attack: &Attack, count: usize, head: &[u8], rest: &[u8]) {
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..count {
        let mut stream = connect(port);
        stream.write_all(head).unwrap();
        open.push(stream);
    }
    while attack.goes_on() {
        // Those that are closed by now stay so: the attack is how many are held.
        open.retain_mut(|stream| stream.write_all(rest).is_ok());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn slow_heads() {
    let case = Case { name: "slow heads", bound: 12, metric: (ACTIVE, &[]), attackers: 2 };
    check(&case, |port, attack| {
        trickle(port, attack, 200, b"GET / HTTP/1.1\r\nHost: a\r\n", b"x: y\r\n");
    });
}

#[test]
fn connections_that_say_nothing() {
    let case = Case { name: "silence", bound: 12, metric: (ACTIVE, &[]), attackers: 2 };
    check(&case, |port, attack| {
        let open: Vec<_> = (0..200).map(|_| connect(port)).collect();
        attack.more(200);
        attack.hold(open);
    });
}

#[test]
fn slow_bodies() {
    let case = Case { name: "slow bodies", bound: 24, metric: (REQUESTS, &[]), attackers: 2 };
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(&case, |port, attack| trickle(port, attack, 100, head, b"1\r\nx\r\n"));
}

#[test]
fn bodies_that_never_end() {
    let case =
        Case { name: "bodies without end", bound: 24, metric: (REQUESTS, &[]), attackers: 4 };
    check(&case, |port, attack| {
        let mut stream = connect(port);
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).unwrap();
        let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
        while attack.goes_on() && stream.write_all(&chunk).is_ok() {}
        attack.hold(stream);
    });
}

#[test]
fn clients_that_never_read() {
    let case = Case { name: "no reading", bound: 48, metric: (REQUESTS, &[]), attackers: 2 };
    check(&case, |port, attack| {
        let open: Vec<_> = (0..50)
            .map(|_| {
                let mut stream = connect(port);
                stream.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                stream
            })
            .collect();
        attack.more(50);
        attack.hold(open);
    });
}

#[test]
fn pipelines() {
    let case = Case {
        name: "pipelines",
        bound: 16,
        metric: ("mesh_server_requests_total{", &[]),
        attackers: 2,
    };
    check(&case, |port, attack| {
        let requests = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
        let mut stream = connect(port);
        let mut reader = stream.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut answers = vec![0; 65536];
                while reader.read(&mut answers).is_ok_and(|read| read > 0) {}
            });
            while attack.goes_on() && stream.write_all(&requests).is_ok() {
                attack.more(999);
            }
            stream.shutdown(std::net::Shutdown::Both).unwrap_or_default();
        });
    });
}

/// Sends `head` again and again, each over a connection of its own, until it is refused.
fn refused(port: SocketAddr, attack: &Attack, head: &[u8]) {
    while attack.goes_on() {
        let mut stream = connect(port);
        // It may be refused before it is whole.
        let _whole = stream.write_all(head);
        let mut answer = [0; 12];
        // A reset may take the answer with it.
        if stream.read_exact(&mut answer).is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 431");
        }
    }
}

#[test]
fn heads_that_are_too_large() {
    let case = Case {
        name: "head of 1 MiB",
        bound: 16,
        metric: (BROKEN, &["reason=\"head_too_large\""]),
        attackers: 2,
    };
    let head = ["GET / HTTP/1.1\r\nHost: a\r\nx: ", &"x".repeat(1 << 20)].concat();
    check(&case, |port, attack| refused(port, attack, head.as_bytes()));
}

#[test]
fn heads_of_too_many_headers() {
    let case = Case {
        name: "2,000 headers",
        bound: 16,
        metric: (BROKEN, &["reason=\"head_too_large\""]),
        attackers: 2,
    };
    let head = ["GET / HTTP/1.1\r\nHost: a\r\n", &"x: y\r\n".repeat(2000), "\r\n"].concat();
    check(&case, |port, attack| refused(port, attack, head.as_bytes()));
}

/// Requests whose end two readers may see at different places (RFC 9112 section 11.2): they are refused, or read as
/// section 6.3 says, and are the last ones of their connection.
const AMBIGUOUS: [&str; 14] = [
    "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    "Content-Length: 4\r\nContent-Length: 0\r\n\r\n",
    "Content-Length: 0\r\nContent-Length: 4\r\n\r\n",
    "Content-Length: 0, 4\r\n\r\n",
    "Content-Length: +0\r\n\r\n",
    "Content-Length: 0x0\r\n\r\n",
    "Content-Length: -1\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
    "x: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn no_request_is_hidden_in_another() {
    let world = World::new(&[]);
    for port in [world.outbound, world.inbound] {
        for rest in AMBIGUOUS {
            let before = SMUGGLED.load(Ordering::Relaxed);
            let mut stream = connect(port);
            // Who closes it may do so before all was sent.
            let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}{HIDDEN}");
            let _whole = stream.write_all(request.as_bytes());
            let mut answer = Vec::new();
            // It is closed by the proxy; a reset is as good.
            let _reset = stream.read_to_end(&mut answer);
            let text = String::from_utf8_lossy(&answer);
            let answers = text.matches("HTTP/1.1 ").count();
            assert!(answers <= 1, "{rest:?}: {text}");
            // What may be read in one way only is, and nothing follows it.
            let is_last = text.to_ascii_lowercase().contains("connection: close");
            assert!(!text.starts_with("HTTP/1.1 2") || is_last, "{rest:?}: {text}");
            assert_eq!(SMUGGLED.load(Ordering::Relaxed), before, "{rest:?}: {text}");
        }
        assert_eq!(get(port, &mut None), Ok(200));
    }
    assert!(world.metric(BROKEN, &["reason=\"bad_request\"", "outbound|out"]) > 0);
    assert!(world.metric(BROKEN, &["reason=\"bad_request\"", "listener=\"open\""]) > 0);
}
