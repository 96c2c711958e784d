//! Logs that wait for ever, and files that are moved away.

use super::world::{Lines, World, client_yaml, mesh, request};
use crate::fixture::{Server, bounded, eventually, metric};
use mesh_core::access_log::Format;
use mesh_tower::MeshBody;
use mesh_tower::observe::{AccessLog, AccessLogSink};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Waits until the program ends.
struct Stuck;

impl AccessLogSink for Stuck {
    fn write(&self, _: &[u8]) -> io::Result<()> {
        loop {
            std::thread::park();
        }
    }
}

async fn world(log: AccessLog) -> (World, Server) {
    let server = Server::text("hello").await;
    let client = mesh(&client_yaml(server.address, server.address, ["", ""]), log);
    (World { lines: Lines::default(), server: client.clone(), client }, server)
}

#[tokio::test]
async fn calls_go_on_behind_a_sink_that_waits_for_ever() {
    const CALLS: u64 = 500;
    let builder = AccessLog::builder(Format::default_json()).max_lines(20).max_bytes(16 << 10);
    let log = builder.sink(Arc::new(Stuck)).unwrap();
    let (world, _server) = world(log.clone()).await;
    for _ in 0..CALLS {
        assert_eq!(world.send(request("GET", "/", MeshBody::empty())).await, Ok(200));
    }
    let counts = log.counts();
    assert!(counts.queued <= 20, "{counts:?}");
    assert_eq!(counts.written, 0);
    assert_eq!(counts.dropped + counts.queued, CALLS);
    let dropped = [("reason", "queue_full")];
    assert_eq!(
        metric(&world.client, "mesh_access_log_lines_dropped_total", &dropped),
        counts.dropped
    );
    assert_eq!(metric(&world.client, "mesh_access_log_lines_queued", &[]), counts.queued);
    // What can't be written holds up no end.
    bounded(world.client.shutdown(Duration::from_secs(1))).await;
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.1"));
    let format = Format::text("%REQ(:PATH)% %RESPONSE_CODE%").unwrap();
    let log = AccessLog::builder(format).file(&path).unwrap();
    let (world, _server) = world(log.clone()).await;
    world.send(request("GET", "/1", MeshBody::empty())).await.unwrap();
    bounded(log.flush()).await;
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    eventually("there is a new file", || path.exists()).await;
    world.send(request("GET", "/2", MeshBody::empty())).await.unwrap();
    // The end of a mesh writes what is queued.
    bounded(world.client.shutdown(Duration::from_secs(1))).await;
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "/1 200\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "/2 200\n");
}
