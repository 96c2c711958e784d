//! `mesh ads` under many clients, and under ones that hang.

use crate::ads::{Ads, page, yaml};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// As many as the admin serves at a time, and so long a connection may take (`src/ads/admin.rs`).
const PLACES: usize = 64;
const LONGEST: Duration = Duration::from_secs(10);

#[test]
fn pages_are_served_although_readers_hang() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    std::fs::write(&file, yaml("one")).unwrap();
    let ads = Ads::start_with(&[], &file);
    let (_, admin) = ads.addresses();
    ads.says("serving ");
    // Half of them say nothing, half stop in the middle of a head.
    let begun = Instant::now();
    let hanging: Vec<TcpStream> = (0..PLACES)
        .map(|number| {
            let mut stream = TcpStream::connect(&admin).unwrap();
            if number % 2 == 0 {
                write!(stream, "GET /clients HTTP/1.1\r\nhost: admin\r\n").unwrap();
            }
            stream
        })
        .collect();
    assert!(page(&admin, "/ready").starts_with("HTTP/1.1 200 "));
    assert!(begun.elapsed() < LONGEST + PATIENCE / 2, "{:?}", begun.elapsed());
    for mut stream in hanging {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // An error: it was reset, which is an end as well.
        let ended = stream.read_to_end(&mut rest);
        assert!(
            ended.is_ok_and(|_| rest.is_empty() || rest.starts_with(b"HTTP/1.1 408")),
            "{rest:?}"
        );
    }
    // A connection is for one request: who holds it after the answer holds no place.
    let mut kept: Vec<TcpStream> = Vec::new();
    for _ in 0..=PLACES {
        let mut stream = TcpStream::connect(&admin).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: admin\r\n\r\n").unwrap();
        kept.push(stream);
    }
    let begun = Instant::now();
    assert!(page(&admin, "/ready").starts_with("HTTP/1.1 200 "));
    assert!(begun.elapsed() < LONGEST / 2, "{:?}", begun.elapsed());
}

/// The time that a process has worked.
#[cfg(target_os = "linux")]
fn busy(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything: the 14th and 15th field, in hundredths of a second.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[test]
#[cfg(target_os = "linux")]
fn without_descriptors_it_rests_and_goes_on() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    std::fs::write(&file, yaml("one")).unwrap();
    let ads = Ads::start_with(&[], &file);
    let (address, _) = ads.addresses();
    ads.says("serving ");
    let open = std::fs::read_dir(format!("/proc/{}/fd", ads.pid())).unwrap().count() as u64;
    // A few more than it has: it may still be about to watch its files.
    let limit = Rlimit { current: Some(open + 8), maximum: Some(open + 8) };
    prlimit(Pid::from_raw(ads.pid().cast_signed()), Resource::Nofile, limit).unwrap();
    let mut clients: Vec<_> = (0..30).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let before = busy(ads.pid());
    std::thread::sleep(Duration::from_secs(1));
    let spent = busy(ads.pid()) - before;
    assert!(spent < Duration::from_millis(300), "{spent:?} of a second");
    let mut last = clients.pop().unwrap();
    drop(clients);
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    last.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    last.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "its settings");
}

/// Memory of a process, in bytes.
#[cfg(target_os = "linux")]
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Clients with a connection each; fewer than the descriptors that a process has by default (1,024).
#[cfg(target_os = "linux")]
const CLIENTS: usize = 400;
/// What one may cost: connection, HTTP/2, stream and what is known of it. 50 KiB were measured in a debug build.
#[cfg(target_os = "linux")]
const MOST: usize = 100 << 10;

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_client_costs_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    std::fs::write(&file, yaml("one")).unwrap();
    let ads = Ads::start_with(&[], &file);
    let (listen, admin) = ads.addresses();
    ads.says("serving ");
    let cds = mesh_xds::ResourceType::Cluster.type_url();
    let before = resident(ads.pid());
    let mut held = Vec::new();
    for _ in 0..CLIENTS {
        let mut client =
            AggregatedDiscoveryServiceClient::connect(format!("http://{listen}")).await.unwrap();
        let (sender, requests) = mpsc::channel(1);
        let request = DeltaDiscoveryRequest { type_url: cds.to_owned(), ..Default::default() };
        sender.send(request).await.unwrap();
        let opened = client.delta_aggregated_resources(ReceiverStream::new(requests)).await;
        let mut responses = opened.unwrap().into_inner();
        let response = tokio::time::timeout(PATIENCE, responses.message()).await.unwrap();
        assert_eq!(response.unwrap().unwrap().resources.len(), 1);
        held.push((client, sender, responses));
    }
    let each = resident(ads.pid()).saturating_sub(before) / CLIENTS;
    println!("{each} bytes for each of {CLIENTS} clients");
    assert!(each <= MOST, "{each} bytes for each client");
    let begun = Instant::now();
    std::fs::write(&file, yaml("two")).unwrap();
    ads.says("serving ");
    for (_, _, responses) in &mut held {
        let response = tokio::time::timeout(PATIENCE, responses.message()).await.unwrap();
        // What is new comes first; what is gone, in a response of its own.
        assert_eq!(response.unwrap().unwrap().resources[0].name, "two");
    }
    println!("{:?} until all have an edit", begun.elapsed());
    let told = page(&admin, "/metrics");
    assert!(
        told.contains(&format!("\nmesh_ads_clients{{variant=\"delta\"}} {CLIENTS}\n")),
        "{told}"
    );
}
