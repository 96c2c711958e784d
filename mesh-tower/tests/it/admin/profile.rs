//! A profile of the CPU, as whoever reads it has it.

use super::nobody;
use crate::fixture::bounded;
use flate2::read::GzDecoder;
use mesh_tower::admin::Admin;
use prost::Message;
use std::hint::black_box;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is read of pprof's `profile.proto`.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(string, repeated, tag = "6")]
    strings: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(int64, repeated, tag = "2")]
    values: Vec<i64>,
}

/// What it answers to this POST: its head, and its body.
async fn post(address: SocketAddr, uri: &str) -> (String, Vec<u8>) {
    let request = format!("POST {uri} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    let mut stream = bounded(TcpStream::connect(address)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    bounded(stream.read_to_end(&mut answer)).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

/// Costs time until it is told.
#[inline(never)]
fn busy_for_a_profile(until: &AtomicBool) -> u64 {
    let mut sum = 0_u64;
    while !until.load(Ordering::Relaxed) {
        for number in 0..1000_u64 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
    }
    sum
}

#[tokio::test]
async fn a_profile_names_what_costs_time_and_there_is_one_at_a_time() {
    let server = Admin::new(&nobody()).bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    for uri in ["/cpu_profile?seconds=0", "/cpu_profile?seconds=61", "/cpu_profile?seconds=x"] {
        let (head, body) = post(address, uri).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(String::from_utf8_lossy(&body).contains("from 1 to 60"), "{body:?}");
    }
    let until = Arc::new(AtomicBool::new(false));
    let busy = std::thread::spawn({
        let until = Arc::clone(&until);
        move || busy_for_a_profile(&until)
    });
    let (one, two) = tokio::join!(
        post(address, "/cpu_profile?seconds=2"),
        post(address, "/cpu_profile?seconds=2"),
    );
    until.store(true, Ordering::Relaxed);
    black_box(busy.join().unwrap());
    let refused = |answer: &(String, Vec<u8>)| answer.0.starts_with("HTTP/1.1 409 ");
    let (taken, refused) = if refused(&one) { (two, one) } else { (one, two) };
    assert!(refused.0.starts_with("HTTP/1.1 409 "), "{}", refused.0);
    let (head, body) = taken;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: application/octet-stream"), "{head}");
    let mut bytes = Vec::new();
    GzDecoder::new(&*body).read_to_end(&mut bytes).unwrap();
    let profile = Profile::decode(&*bytes).unwrap();
    let samples: i64 = profile.samples.iter().filter_map(|sample| sample.values.first()).sum();
    assert!(samples > 10, "{samples}");
    let named = profile.strings.iter().any(|name| name.contains("busy_for_a_profile"));
    assert!(named, "{:?}", profile.strings);
    // What takes the profile is not in it.
    let own = profile.strings.iter().find(|name| name.contains("trace_unsynchronized"));
    assert_eq!(own, None);
}
