//! Load reports: what a control plane is told is what the calls did.

mod control_plane;

use crate::fixture::{Count, Server, bounded, call, outcome, reply};
use control_plane::{ControlPlane, Reports};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use http::Request;
use mesh_tower::source::{Bootstrap, XdsSource};
use mesh_tower::{Mesh, MeshBody};
use std::collections::BTreeMap;
use std::time::Duration;

/// A server that fails what is asked for under `/bad`.
async fn backend() -> (Server, Count) {
    let count = Count::default();
    let counted = count.clone();
    let server = Server::start(move |request| {
        counted.add();
        let status = if request.uri().path() == "/bad" { 503 } else { 200 };
        async move { reply(status, "here") }
    });
    (server.await, count)
}

struct World {
    plane: ControlPlane,
    mesh: Mesh,
    servers: [(Server, Count); 2],
}

impl World {
    /// Two localities, `near` and `far`, of one server each.
    async fn new() -> Self {
        let servers = [backend().await, backend().await];
        let plane = ControlPlane::start(servers.each_ref().map(|(server, _)| server.address)).await;
        let bootstrap = format!(
            r#"{{ "xds_servers": [{{ "server_uri": "{}",
                                    "channel_creds": [{{ "type": "insecure" }}] }}],
                  "node": {{ "id": "reporter", "cluster": "tests" }} }}"#,
            plane.address
        );
        let source = XdsSource::new(Bootstrap::parse(&bootstrap).unwrap()).authority("shop");
        let mesh = Mesh::builder().seed(0).source(source).build().unwrap();
        bounded(mesh.ready()).await.unwrap();
        Self { plane, mesh, servers }
    }

    async fn get(&self, path: &str) -> Result<u16, String> {
        let request = Request::get(format!("http://shop{path}")).body(MeshBody::empty()).unwrap();
        outcome(&self.mesh, request).await.map(|(status, _)| status)
    }

    /// How many calls each server has seen.
    fn served(&self) -> [u64; 2] {
        self.servers.each_ref().map(|(_, count)| count.get() as u64)
    }
}

/// Sums over reports.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// By zone: issued, succeeded, failed.
    localities: BTreeMap<String, [u64; 3]>,
    /// By category.
    drops: BTreeMap<String, u64>,
    dropped: u64,
}

impl Told {
    fn add(&mut self, request: &LoadStatsRequest) {
        for stats in &request.cluster_stats {
            assert_eq!((&*stats.cluster_name, &*stats.cluster_service_name), ("a", "a-endpoints"));
            for one in &stats.upstream_locality_stats {
                let place = one.locality.clone().unwrap();
                assert_eq!(place.region, "r");
                let sum = self.localities.entry(place.zone).or_default();
                sum[0] += one.total_issued_requests;
                sum[1] += one.total_successful_requests;
                sum[2] += one.total_error_requests;
            }
            for one in &stats.dropped_requests {
                *self.drops.entry(one.category.clone()).or_default() += one.dropped_count;
            }
            self.dropped += stats.total_dropped_requests;
        }
    }

    /// The next reports, until so many attempts are told and have ended, and so many dropped.
    async fn collect(&mut self, reports: &mut Reports, ended: u64, dropped: u64) {
        let mut seen = 0;
        while self.localities.values().map(|sum| sum[1] + sum[2]).sum::<u64>() < ended
            || self.dropped < dropped
        {
            seen += 1;
            assert!(seen < 10, "{self:?} after {seen} reports");
            let request = reports.next().await;
            self.add(&request);
        }
    }
}

fn interval(request: &LoadStatsRequest) -> Duration {
    let said = request.cluster_stats[0].load_report_interval.as_ref().unwrap();
    Duration::new(said.seconds.try_into().unwrap(), said.nanos.try_into().unwrap())
}

#[tokio::test]
async fn reports_agree_with_the_calls() {
    let mut world = World::new().await;
    for number in 0..30 {
        let (path, expected) = if number % 5 == 0 { ("/bad", 503) } else { ("/", 200) };
        assert_eq!(world.get(path).await, Ok(expected));
    }
    let mut reports = world.plane.reports().await;
    let hello = reports.next().await;
    let node = hello.node.unwrap();
    assert_eq!((&*node.id, hello.cluster_stats.len()), ("reporter", 0));
    assert!(node.client_features.iter().any(|f| f == "envoy.lrs.supports_send_all_clusters"));
    reports.answer(1, None).await;
    let mut told = Told::default();
    told.collect(&mut reports, 30, 0).await;
    let [near, far] = world.served();
    assert!(near > 0 && far > 0 && near + far == 30);
    assert_eq!((told.localities["near"][0], told.localities["far"][0]), (near, far));
    assert_eq!(told.localities.values().map(|sum| sum[2]).sum::<u64>(), 6);

    // The stream is cut: what was not told yet is told on the next one, by its name, and once.
    drop(reports);
    for _ in 0..10 {
        assert_eq!(world.get("/").await, Ok(200));
    }
    let mut reports = world.plane.reports().await;
    assert!(reports.next().await.node.is_some());
    reports.answer(1, Some("a")).await;
    told.collect(&mut reports, 40, 0).await;
    let [near, far] = world.served();
    assert_eq!((told.localities["near"][0], told.localities["far"][0]), (near, far));

    // Another interval, and a cluster that sheds everything.
    reports.answer(2, None).await;
    world.plane.drop_all("throttle");
    let mut dropped = 0;
    for _ in 0..200 {
        match world.get("/").await {
            Err(code) => {
                assert_eq!(code, "drop_overload");
                dropped += 1;
            }
            Ok(status) => assert_eq!(status, 200),
        }
        if dropped == 7 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(dropped, 7);
    let [near, far] = world.served();
    told.collect(&mut reports, near + far, 7).await;
    assert_eq!((told.localities["near"][0], told.localities["far"][0]), (near, far));
    assert_eq!(told.drops, BTreeMap::from([("throttle".to_owned(), 7)]));
    assert_eq!(told.dropped, 7);
    // A report that is certainly of the new interval only.
    assert!(world.get("/").await.is_err());
    let report = loop {
        let report = reports.next().await;
        if !report.cluster_stats.is_empty() {
            break report;
        }
    };
    let measured = interval(&report);
    assert!(measured > Duration::from_millis(1900) && measured < Duration::from_secs(4));
}

#[tokio::test]
async fn what_is_in_progress_is_told_and_ends_once() {
    let mut world = World::new().await;
    let mut reports = world.plane.reports().await;
    assert!(reports.next().await.node.is_some());
    reports.answer(1, None).await;
    // The response is here, and its body is not read to its end.
    let request = Request::get("http://shop/").body(MeshBody::empty()).unwrap();
    let unread = call(&world.mesh, request).await.unwrap();
    let report = loop {
        let report = reports.next().await;
        if !report.cluster_stats.is_empty() {
            break report;
        }
    };
    let one = &report.cluster_stats[0].upstream_locality_stats[0];
    assert_eq!((one.total_issued_requests, one.total_requests_in_progress), (1, 1));
    assert_eq!((one.total_successful_requests, one.total_error_requests), (0, 0));
    drop(unread);
    let report = loop {
        let report = reports.next().await;
        let one = &report.cluster_stats[0].upstream_locality_stats[0];
        if one.total_requests_in_progress == 0 {
            break report;
        }
    };
    let one = &report.cluster_stats[0].upstream_locality_stats[0];
    assert_eq!(one.total_issued_requests, 0);
    assert_eq!(one.total_successful_requests + one.total_error_requests, 1);
}
