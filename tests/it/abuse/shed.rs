//! Work is refused before the process is ended for what it uses, and taken again afterwards.

use super::world::{World, connect, get};
use crate::proxy::Place;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const REFUSED: &str = "mesh_server_connections_refused_total{";
const REFUSING: &str = "mesh_overload_refusing{";

/// Connections that ask for much and read nothing.
fn holders(world: &World, count: usize) -> Vec<TcpStream> {
    let holder = |_| {
        let mut stream = connect(world.inbound);
        // It may be refused by now.
        let _refused = stream.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
        stream
    };
    (0..count).map(holder).collect()
}

#[test]
fn near_the_limit_of_memory_work_is_refused() {
    let idle = World::new(&[]);
    assert_eq!(get(idle.inbound, &mut None), Ok(200));
    let limit = (idle.resident() >> 20) + 24;
    drop(idle);
    let world = World::new(&["--memory-limit", &format!("{limit}MiB")]);
    let mut kept = None;
    assert_eq!(get(world.inbound, &mut kept), Ok(200));
    assert_eq!(world.metric(REFUSING, &[]), 0);
    assert!(world.metric("mesh_overload_used_percent{", &["resource=\"memory\""]) > 0);
    // The heads of 1,000 requests, 50 KiB each, which wait for their ends.
    let head = ["GET / HTTP/1.1\r\nHost: a\r\nx: ", &"x".repeat(50_000)].concat();
    let (mut held, mut told) = (Vec::new(), false);
    world.eventually("it refuses", |world| {
        for _ in 0..50 {
            let mut stream = connect(world.outbound);
            let _refused = stream.write_all(head.as_bytes());
            held.push(stream);
        }
        // Who is connected is told; who connects is not taken.
        told |= get(world.inbound, &mut kept) == Ok(503);
        assert!(world.resident() <= limit << 20, "it has not more than it may");
        told && world.metric(REFUSED, &["reason=\"overloaded\""]) > 0
    });
    let page = world.page("/?format=json").replace([' ', '\n'], "");
    assert!(page.contains("\"resource\":\"memory\""), "{page}");
    assert!(world.page("/ready").starts_with("HTTP/1.1 200 "));
    drop(held);
    world.eventually("it takes work again", |world| get(world.inbound, &mut None) == Ok(200));
    assert!(world.metric("mesh_overload_begun_total{", &["resource=\"memory\""]) >= 1);
}

fn with_files(most: u32) -> World {
    World::with(|place: &Place| {
        let proxy = place.proxy(&["--admin", "127.0.0.1:0"]);
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(format!("ulimit -n {most}; exec \"$@\"")).arg("sh");
        limited.arg(proxy.get_program()).args(proxy.get_args());
        limited.current_dir(place.0.path());
        limited
    })
}

#[test]
fn near_the_limit_of_descriptors_connections_are_refused() {
    let world = with_files(300);
    let mut kept = None;
    assert_eq!(get(world.inbound, &mut kept), Ok(200));
    let mut held = Vec::new();
    world.eventually("it refuses", |world| {
        held.extend((0..10).map(|_| connect(world.outbound)));
        assert_eq!(get(world.inbound, &mut kept), Ok(200), "who is connected is served");
        world.metric(REFUSING, &["resource=\"descriptors\""]) == 1
    });
    assert_eq!(get(world.inbound, &mut kept), Ok(200), "who is connected is served");
    assert!(get(world.inbound, &mut None).is_err());
    world.eventually("they are counted", |world| {
        world.metric(REFUSED, &["reason=\"overloaded\""]) > 0
    });
    drop(held);
    world
        .eventually("it takes connections again", |world| get(world.inbound, &mut None) == Ok(200));
}

/// So many at once that there are no descriptors before anybody has looked.
#[test]
fn without_descriptors_it_waits_and_does_not_spin() {
    let world = with_files(100);
    assert_eq!(get(world.inbound, &mut None), Ok(200));
    let held = holders(&world, 400);
    let (cpu, begun) = (world.metric("process_cpu_seconds_total", &[]), Instant::now());
    thread::sleep(Duration::from_secs(1));
    let used = world.metric("process_cpu_seconds_total", &[]) - cpu;
    assert!(used <= 1 + begun.elapsed().as_secs() / 2, "{used} s");
    world.eventually("it is counted", |world| world.metric(REFUSED, &["listener=\"open\""]) > 0);
    drop(held);
    world
        .eventually("it takes connections again", |world| get(world.inbound, &mut None) == Ok(200));
}
