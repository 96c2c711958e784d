//! The log under sinks that wait, fail and panic.

use super::{AccessLog, AccessLogBuilder, AccessLogSink};
use http::{HeaderMap, Method};
use mesh_core::access_log::{AccessLogFilter, Format, Record, Side};
use mesh_core::head::RequestHead;
use mesh_core::model::matcher::Fraction;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// What a sink does with its next lines.
enum Does {
    Writes,
    Fails,
    Panics,
}

/// Does what it is told, and waits until it is.
struct Told {
    does: Mutex<Receiver<Does>>,
    written: Mutex<String>,
    reopened: Mutex<u32>,
}

impl AccessLogSink for Told {
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        match self.does.lock().recv() {
            Ok(Does::Fails) => return Err(io::ErrorKind::StorageFull.into()),
            Ok(Does::Panics) => panic!("as sinks do"),
            Ok(Does::Writes) | Err(_) => {}
        }
        self.written.lock().push_str(std::str::from_utf8(lines).unwrap());
        Ok(())
    }

    fn reopen(&self) -> io::Result<()> {
        *self.reopened.lock() += 1;
        Ok(())
    }
}

fn builder() -> AccessLogBuilder {
    AccessLog::builder(Format::text("%REQ(:PATH)%").unwrap())
}

fn told(builder: AccessLogBuilder) -> (AccessLog, Arc<Told>, Sender<Does>) {
    let (tell, does) = channel();
    let (does, written, reopened) = (Mutex::new(does), Mutex::default(), Mutex::default());
    let sink = Arc::new(Told { does, written, reopened });
    (builder.sink(Arc::clone(&sink) as Arc<dyn AccessLogSink>).unwrap(), sink, tell)
}

fn write(log: &AccessLog, path: &str) {
    let headers = HeaderMap::new();
    log.write(Record::new(Side::Client, RequestHead::new(&Method::GET, "a", path, &headers)));
}

async fn flushed(log: &AccessLog) {
    tokio::time::timeout(Duration::from_secs(30), log.flush()).await.unwrap();
}

#[track_caller]
fn check(log: &AccessLog, written: u64, dropped: u64) {
    let counts = log.counts();
    assert_eq!((counts.written, counts.dropped, counts.queued), (written, dropped, 0));
}

#[tokio::test]
async fn lines_are_written_in_their_order() {
    let (log, sink, tell) = told(builder());
    drop(tell);
    for path in ["/1", "/2", "/3"] {
        write(&log, path);
    }
    flushed(&log).await;
    assert_eq!(*sink.written.lock(), "/1\n/2\n/3\n");
    check(&log, 3, 0);
}

#[tokio::test]
async fn a_sink_that_waits_costs_lines_and_no_caller() {
    let (log, sink, tell) = told(builder().max_lines(10).max_bytes(1000));
    for number in 0..100_000 {
        write(&log, &format!("/{number}"));
    }
    let counts = log.counts();
    assert!(counts.queued <= 10, "{counts:?}");
    assert_eq!(counts.written, 0);
    assert_eq!(counts.dropped + counts.queued, 100_000);
    drop(tell);
    flushed(&log).await;
    assert_eq!(log.counts().written, counts.queued);
    assert!(sink.written.lock().starts_with("/0\n/1\n"));
}

#[tokio::test]
async fn what_fails_is_counted_and_tried_again() {
    let (log, sink, tell) = told(builder());
    for (does, path) in
        [(Does::Fails, "/1"), (Does::Panics, "/2"), (Does::Writes, "/3"), (Does::Fails, "/4")]
    {
        tell.send(does).unwrap();
        write(&log, path);
        flushed(&log).await;
    }
    assert_eq!(*sink.written.lock(), "/3\n");
    check(&log, 1, 3);
}

#[tokio::test]
async fn a_sink_is_told_to_begin_anew() {
    let (log, sink, tell) = told(builder());
    drop(tell);
    log.reopen();
    flushed(&log).await;
    assert_eq!(*sink.reopened.lock(), 1);
}

#[tokio::test]
async fn the_filter_decides_before_anything_is_queued() {
    let none = AccessLogFilter::all().fraction(Fraction::NONE);
    let (log, sink, tell) = told(builder().filter(none));
    drop(tell);
    write(&log, "/1");
    flushed(&log).await;
    assert_eq!(*sink.written.lock(), "");
    check(&log, 0, 0);
}

#[test]
fn what_is_queued_is_written_after_the_last_handle() {
    let (log, sink, tell) = told(builder());
    write(&log, "/1");
    drop(log);
    drop(tell);
    // The thread ends by itself, and lets go of the sink.
    while Arc::strong_count(&sink) > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(*sink.written.lock(), "/1\n");
}

#[test]
fn a_log_is_of_one_side_or_of_both() {
    let of = |builder: AccessLogBuilder| {
        let log = told(builder).0;
        [Side::Client, Side::Server].map(|side| log.is_of(side))
    };
    assert_eq!(of(builder()), [true, true]);
    assert_eq!(of(builder().only(Side::Client)), [true, false]);
    assert_eq!(of(builder().only(Side::Server)), [false, true]);
}

#[tokio::test]
async fn the_machine_has_a_name() {
    let format = Format::text("%HOSTNAME%").unwrap();
    let (log, sink, tell) = told(AccessLog::builder(format).hostname("pod-1"));
    drop(tell);
    write(&log, "/");
    flushed(&log).await;
    assert_eq!(*sink.written.lock(), "pod-1\n");
}
