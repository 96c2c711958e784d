//! HTTP/2: frames that cost more than they carry.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW, Method, PING, PRIORITY,
    RST_STREAM, WINDOW_UPDATE, begin, block, frame, kept, literal, settings,
};
use super::world::{Attack, Case, check, connect};
use std::io::{Read, Write};
use std::net::SocketAddr;

const BROKEN: &str = "mesh_server_connections_broken_total{";
const REQUESTS: &str = "mesh_server_requests_active{";
const REFUSED: &str = "mesh_server_refused_total{";

const fn flood(name: &'static str, reason: &'static [&'static str]) -> Case {
    Case { name, bound: 16, metric: (BROKEN, reason), attackers: 2 }
}

/// Sends what `next` gives, over connections that begin with `start`, until each is closed.
fn pour(
    port: SocketAddr,
    attack: &Attack,
    start: &[u8],
    mut next: impl FnMut(u32) -> (u64, Vec<u8>),
) {
    let mut scratch = vec![0; 65536];
    while attack.goes_on() {
        let mut stream = connect(port);
        if stream.write_all(&[&begin(&[]), start].concat()).is_err() {
            continue;
        }
        let mut turn = 0;
        while attack.goes_on() {
            let (count, bytes) = next(turn);
            if stream.write_all(&bytes).is_err() {
                break;
            }
            attack.more(count);
            turn += 1;
            // Answers are read as they come, and an end is seen.
            stream.set_nonblocking(true).unwrap();
            let read = stream.read(&mut scratch);
            stream.set_nonblocking(false).unwrap();
            if read.is_ok_and(|read| read == 0) {
                break;
            }
        }
    }
}

/// The same frame, again and again.
fn again(port: SocketAddr, attack: &Attack, start: &[u8], one: &[u8]) {
    let many = one.repeat(500);
    pour(port, attack, start, |_| (500, many.clone()));
}

fn open(method: Method) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block(method, "/"))
}

#[test]
fn streams_that_are_reset_at_once() {
    let case = flood("rapid reset", &["reason=\"reset_flood\""]);
    check(&case, |port, attack| {
        let head = block(Method::Get, "/");
        let pair = |stream: u32| {
            let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
            [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        };
        pour(port, attack, &[], |turn| {
            let streams = (0..50).flat_map(|number| pair(2 * (turn * 50 + number) + 1));
            (50, streams.collect())
        });
    });
}

/// Slowly enough that each request is taken before it is reset.
#[test]
fn streams_that_are_reset_when_they_were_taken() {
    let case = flood("late reset", &["reason=\"reset_flood\""]);
    check(&case, |port, attack| {
        let head = block(Method::Post, "/");
        pour(port, attack, &[], |turn| {
            // The last ones are reset, and new ones are opened.
            let reset = (0..15).filter(|_| turn > 0).flat_map(|number| {
                let stream = 2 * ((turn - 1) * 15 + number) + 1;
                frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
            });
            let opened = (0..15).flat_map(|number| {
                frame(HEADERS, END_HEADERS, 2 * (turn * 15 + number) + 1, &head)
            });
            std::thread::sleep(std::time::Duration::from_micros(500));
            (15, reset.chain(opened).collect())
        });
    });
}

#[test]
fn heads_that_go_on_without_end() {
    let case = flood("CONTINUATION flood", &["reason=\"continuation_flood\""]);
    check(&case, |port, attack| {
        let head = frame(HEADERS, END_STREAM, 1, &block(Method::Get, "/"));
        let mut part = Vec::new();
        literal(&mut part, "x", "y");
        again(port, attack, &head, &frame(CONTINUATION, 0, 1, &part));
    });
}

#[test]
fn settings_without_end() {
    let case = flood("SETTINGS flood", &["reason=\"settings_flood\""]);
    let one = settings(&[(INITIAL_WINDOW, 65_535), (1, 4096)]);
    check(&case, |port, attack| again(port, attack, &[], &one));
}

#[test]
fn pings_without_end() {
    let case = flood("PING flood", &["reason=\"ping_flood\""]);
    check(&case, |port, attack| again(port, attack, &[], &frame(PING, 0, 0, &[0; 8])));
}

#[test]
fn data_without_data() {
    let case = flood("empty DATA flood", &["reason=\"empty_data_flood\""]);
    check(&case, |port, attack| {
        again(port, attack, &open(Method::Post), &frame(DATA, 0, 1, &[]));
    });
}

#[test]
fn windows_that_grow_without_end() {
    let case = flood("WINDOW_UPDATE flood", &["reason=\"window_update_flood\""]);
    let one = frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
    check(&case, |port, attack| again(port, attack, &open(Method::Post), &one));
}

#[test]
fn priorities_without_end() {
    let case = flood("PRIORITY flood", &["reason=\"priority_flood\""]);
    check(&case, |port, attack| {
        again(port, attack, &[], &frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 16]))
    });
}

#[test]
fn frames_that_nobody_knows() {
    let case = flood("unknown frames", &["reason=\"unknown_flood\""]);
    check(&case, |port, attack| again(port, attack, &[], &frame(0xbe, 0, 0, &[0; 16])));
}

/// One header that is kept, and thousands of references to it: 16 KiB that are 60 MiB.
#[test]
fn heads_that_grow_when_they_are_read() {
    let case = Case {
        name: "HPACK bomb",
        bound: 24,
        metric: ("mesh_server_streams_refused_total{", &[]),
        attackers: 2,
    };
    check(&case, |port, attack| {
        let mut first = block(Method::Get, "/");
        kept(&mut first, "x", &"y".repeat(3900));
        let first = frame(HEADERS, END_HEADERS | END_STREAM, 1, &first);
        let bomb = [block(Method::Get, "/"), vec![0x80 | 62; 16_000]].concat();
        pour(port, attack, &first, |turn| {
            (1, frame(HEADERS, END_HEADERS | END_STREAM, 2 * turn + 3, &bomb))
        });
    });
}

#[test]
fn cookies_in_crumbs() {
    let case = Case {
        name: "cookie crumbs",
        bound: 48,
        metric: (REFUSED, &["reason=\"too_many_headers\""]),
        attackers: 2,
    };
    check(&case, |port, attack| {
        let mut head = block(Method::Get, "/");
        for _ in 0..1000 {
            literal(&mut head, "cookie", "a=b");
        }
        pour(port, attack, &[], |turn| {
            (1, frame(HEADERS, END_HEADERS | END_STREAM, 2 * turn + 1, &head))
        });
    });
}

#[test]
fn values_that_are_too_long() {
    let case = Case {
        name: "a header of 80 KiB",
        bound: 64,
        metric: (REFUSED, &["reason=\"head_too_large\""]),
        attackers: 2,
    };
    check(&case, |port, attack| {
        let mut head = block(Method::Get, "/");
        literal(&mut head, "x", &"y".repeat(80 * 1024));
        pour(port, attack, &[], |turn| {
            let stream = 2 * turn + 1;
            let mut parts = head.chunks(16_000).enumerate().peekable();
            let mut bytes = Vec::new();
            while let Some((number, part)) = parts.next() {
                let last = if parts.peek().is_none() { END_HEADERS } else { 0 };
                let (kind, first) =
                    if number == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
                bytes.extend(frame(kind, first | last, stream, part));
            }
            (1, bytes)
        });
    });
}

/// Connections of which each asks for as much as it may, and gives `window` for it.
fn never_reads(port: SocketAddr, attack: &Attack, window: u32) {
    let connections: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = connect(port);
            let grown = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
            let head = block(Method::Get, "/big");
            let asked = (0..50_u32)
                .flat_map(|number| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &head));
            let start = begin(&[(INITIAL_WINDOW, window)]);
            let bytes = [start, grown, asked.collect()].concat();
            stream.write_all(&bytes).unwrap();
            attack.more(50);
            stream
        })
        .collect();
    attack.hold(connections);
}

#[test]
fn windows_of_nothing() {
    let case = Case { name: "window 0", bound: 64, metric: (REQUESTS, &[]), attackers: 2 };
    check(&case, |port, attack| never_reads(port, attack, 0));
}

#[test]
fn windows_that_are_never_used() {
    let case =
        Case { name: "no reading, HTTP/2", bound: 128, metric: (REQUESTS, &[]), attackers: 2 };
    check(&case, |port, attack| never_reads(port, attack, 1 << 30));
}
