//! Connections, handshakes and tunnels.

use super::world::{Case, World, at, check, connect, get};
use std::io::{Read, Write};

const FAILED: &str = "mesh_server_handshakes_failed_total{";

#[test]
fn connections_that_come_and_go() {
    let case = Case {
        name: "connects",
        bound: 16,
        metric: ("mesh_server_connections_accepted_total{", &[]),
        attackers: 2,
    };
    check(&case, |port, attack| {
        while attack.goes_on() {
            drop(connect(port));
        }
    });
}

/// Not an attack, but what there is most of: each costs a few KiB, and not what a request needs.
#[test]
fn connections_that_are_idle() {
    const COUNT: u64 = 600;
    let world = World::new(&[]);
    for port in [world.outbound, world.inbound] {
        let asked = |count| -> Vec<_> {
            let one = |_| {
                let mut kept = None;
                assert_eq!(get(port, &mut kept), Ok(200));
                kept
            };
            (0..count).map(one).collect()
        };
        // What the first ones need once is not theirs.
        drop(asked(20));
        let before = world.resident();
        let _held = asked(COUNT);
        world.eventually("they rest", |world| {
            world.resident().saturating_sub(before) < COUNT * 16 * 1024
        });
    }
}

/// A ClientHello of which the rest never comes.
#[test]
fn handshakes_that_never_end() {
    let case = Case {
        name: "begun handshakes",
        bound: 16,
        metric: (FAILED, &["listener=\"secured\"", "reason=\"not_tls\""]),
        attackers: 2,
    };
    let world = World::new(&[]);
    // Who behaves asks at another port of the same proxy.
    at(&world, &case, ("inbound", world.inbound), &|_, attack| {
        let open: Vec<_> = (0..150)
            .map(|_| {
                let mut stream = connect(world.secured);
                stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).unwrap();
                stream
            })
            .collect();
        attack.more(150);
        attack.hold(open);
    });
}

#[test]
fn garbage_for_tls() {
    let case = Case {
        name: "garbage for TLS",
        bound: 16,
        metric: (FAILED, &["listener=\"secured\"", "reason=\"not_tls\""]),
        attackers: 2,
    };
    let world = World::new(&[]);
    at(&world, &case, ("inbound", world.inbound), &|_, attack| {
        let records = [
            // A record of the handshake that is none, one of data, and one that is a HelloRequest: renegotiation.
            [&[0x16, 3, 1, 0x40, 0][..], &[0xff; 0x4000]].concat(),
            [&[0x17, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat(),
            [0x16, 3, 3, 0, 4, 0, 0, 0, 0].repeat(1000),
        ];
        while attack.goes_on() {
            for record in &records {
                let mut stream = connect(world.secured);
                // It may be closed before it has all.
                let _whole = stream.write_all(record);
                stream.shutdown(std::net::Shutdown::Write).unwrap_or_default();
                let _reset = stream.read_to_end(&mut Vec::new());
            }
        }
    });
}

/// A header of the PROXY protocol that has no end.
#[test]
fn headers_of_proxies_that_never_end() {
    let case = Case {
        name: "PROXY without end",
        bound: 16,
        metric: (FAILED, &["listener=\"behind\"", "reason=\"no_proxy_header\""]),
        attackers: 2,
    };
    let world = World::new(&[]);
    at(&world, &case, ("inbound", world.inbound), &|_, attack| {
        let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff";
        let headers = [
            [&b"PROXY TCP4 "[..], &[b'1'; 60_000]].concat(),
            [&version_2[..], &[0; 60_000]].concat(),
        ];
        while attack.goes_on() {
            for header in &headers {
                let mut stream = connect(world.behind);
                let _whole = stream.write_all(header);
                let _reset = stream.read_to_end(&mut Vec::new());
            }
        }
    });
}

/// Tunnels in which nothing is said; at a port of `inbound` there are none.
#[test]
fn tunnels_that_are_silent() {
    let world = World::new(&[]);
    let attack = |port, wanted: &str, attack: &super::world::Attack| {
        let open: Vec<_> = (0..50)
            .map(|_| {
                let mut stream = connect(port);
                stream.write_all(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").unwrap();
                let mut answer = [0; 12];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(String::from_utf8_lossy(&answer), wanted);
                stream
            })
            .collect();
        attack.more(50);
        attack.hold(open);
    };
    let case = |name, metric| Case { name, bound: 16, metric, attackers: 2 };
    let tunnels = case("silent tunnels", ("mesh_server_connections_active{", &[][..]));
    at(&world, &tunnels, ("outbound", world.outbound), &|port, going| {
        attack(port, "HTTP/1.1 200", going);
    });
    let refused = case("CONNECT inwards", ("mesh_server_requests_total{", &["status=\"405\""][..]));
    at(&world, &refused, ("inbound", world.inbound), &|port, going| {
        attack(port, "HTTP/1.1 405", going);
    });
}
