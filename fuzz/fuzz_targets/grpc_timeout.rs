//! `grpc-timeout`: against a reading by the grammar, and written again at most 0.1 % longer.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use mesh_core::call::deadline::{grpc_timeout, parse_grpc_timeout};
use std::time::Duration;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let read = parse_grpc_timeout(&value);
    assert_eq!(read.ok(), by_the_grammar(bytes));
    let Ok(timeout) = read else { return };
    let again = parse_grpc_timeout(&grpc_timeout(timeout)).expect("what is written can be read");
    let wanted = timeout.max(Duration::from_nanos(1));
    let slack = (wanted / 1000).max(Duration::from_micros(1));
    assert!((wanted..=wanted + slack).contains(&again), "{timeout:?} became {again:?}");
});

/// gRPC over HTTP/2: `TimeoutValue TimeoutUnit`, 1 to 8 digits and one of `HMSmun`.
fn by_the_grammar(bytes: &[u8]) -> Option<Duration> {
    let (unit, digits) = bytes.split_last()?;
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
