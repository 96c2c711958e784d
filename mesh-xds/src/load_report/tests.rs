//! What is reported, step by step in virtual time.

use super::*;
use crate::protocol::Variant;
use mesh_core::model::Locality;
use std::sync::Arc;

/// Draws the middle of every interval: pauses are not spread.
pub(super) struct Half;

impl Random for Half {
    fn next_u64(&mut self) -> u64 {
        1 << 63
    }
}

/// What the mesh has counted, and the machine.
pub(super) struct Sim {
    pub(super) machine: Reporter,
    pub(super) counted: BTreeMap<LoadKey, ClusterLoad>,
}

impl Sim {
    pub(super) fn new() -> Self {
        let node = Node { id: "n".into(), ..Node::default() };
        let machine = Reporter::new(node, Options::new(Variant::StateOfTheWorld));
        Self { machine, counted: BTreeMap::new() }
    }

    pub(super) fn cluster(&mut self, name: &str) -> &mut ClusterLoad {
        self.counted.entry(key(name)).or_default()
    }

    pub(super) fn locality(&mut self, cluster: &str, place: &str) -> &mut LocalityLoad {
        self.cluster(cluster).localities.entry(Locality::new("r", place, "")).or_default()
    }

    /// One event, and all that comes out of it.
    fn event(&mut self, millis: u64, event: &str) -> String {
        let now = Timestamp::from_millis(millis);
        let words: Vec<_> = event.split_whitespace().collect();
        let failed = |text: &str| CloseReason::Failed(text.into());
        let mut takes = true;
        match words[0] {
            "watch" => {
                let keys = words[1..].iter().map(|name| key(name)).collect();
                self.machine.handle_watch(&keys, now);
            }
            "connected" => self.machine.handle_connected(),
            "closed" => self.machine.handle_closed(CloseReason::Ended, now, &mut Half),
            "failed" => self.machine.handle_closed(failed("x"), now, &mut Half),
            "unimplemented" => {
                let reason = CloseReason::Unimplemented("x".into());
                self.machine.handle_closed(reason, now, &mut Half);
            }
            "answer" => self.machine.handle_response(&answer(&words[1..]), now),
            "timer" => self.machine.handle_timeout(now, &mut Half),
            "no-room" => {
                self.machine.handle_timeout(now, &mut Half);
                takes = false;
            }
            "count" => {
                let load = self.locality(words[1], words[2]);
                let numbers: Vec<u64> = words[3].split('/').map(|n| n.parse().unwrap()).collect();
                load.issued += numbers[0];
                load.succeeded += numbers[1];
                load.failed += numbers[2];
                load.in_progress = load.issued - load.succeeded - load.failed;
                takes = false;
            }
            "hide" => {
                self.cluster(words[1]).localities.remove(&Locality::new("r", words[2], ""));
                takes = false;
            }
            "drop" => {
                let count: u64 = words[3].parse().unwrap();
                *self.cluster(words[1]).drops.entry(words[2].into()).or_default() += count;
                takes = false;
            }
            "refuse" => {
                self.cluster(words[1]).refused += words[2].parse::<u64>().unwrap();
                takes = false;
            }
            other => panic!("{other}"),
        }
        self.output(now, takes)
    }

    fn output(&mut self, now: Timestamp, takes: bool) -> String {
        let mut out = Vec::new();
        while let Some(action) = self.machine.poll_action() {
            out.push(match action {
                Action::Connect(_) => "Connect".to_owned(),
                Action::Close => "Close".to_owned(),
            });
        }
        let counted = &self.counted;
        let read = |key: &LoadKey| counted.get(key).cloned().unwrap_or_default();
        while takes && let Some(request) = self.machine.poll_request(now, read) {
            out.push(shown(&request));
        }
        while let Some(event) = self.machine.poll_event() {
            out.push(match event {
                Event::Reachable => "Reachable".to_owned(),
                Event::Unreachable { failures, .. } => format!("Unreachable({failures})"),
                other => panic!("{other:?}"),
            });
        }
        while let Some(key) = self.machine.poll_forgotten() {
            self.counted.remove(&key);
            out.push(format!("forgotten {}", key.cluster));
        }
        if let Some((at, why)) = self.machine.poll_timeout() {
            out.push(format!("| {} {why}", at.as_nanos() / 1_000_000));
        }
        out.join(" ")
    }
}

fn key(name: &str) -> LoadKey {
    match name.split_once('/') {
        Some((name, service)) => LoadKey::new(name).with_service(service),
        None => LoadKey::new(name),
    }
}

/// `2s all`, `2s a,b`, `none all`.
fn answer(words: &[&str]) -> LoadStatsResponse {
    let seconds = words[0].strip_suffix('s').map(|text| text.parse().unwrap());
    let load_reporting_interval =
        seconds.map(|seconds| envoy_types::pb::google::protobuf::Duration { seconds, nanos: 0 });
    let send_all_clusters = words.get(1) == Some(&"all");
    let named = words.get(1).filter(|_| !send_all_clusters);
    let clusters = named.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
    LoadStatsResponse {
        clusters,
        send_all_clusters,
        load_reporting_interval,
        report_endpoint_granularity: true,
    }
}

/// `node` or `[cluster/service 2s place:issued/succeeded/failed/in progress category:dropped =total, …]`.
fn shown(request: &LoadStatsRequest) -> String {
    if let Some(node) = &request.node {
        assert!(request.cluster_stats.is_empty());
        assert_eq!(node.id, "n");
        assert!(node.client_features.iter().any(|f| f == "envoy.lrs.supports_send_all_clusters"));
        return "node".to_owned();
    }
    let clusters = request.cluster_stats.iter().map(|stats| {
        let mut text = stats.cluster_name.clone();
        if !stats.cluster_service_name.is_empty() {
            text += &format!("/{}", stats.cluster_service_name);
        }
        let interval = stats.load_report_interval.as_ref().unwrap();
        text += &format!(" {}s", interval.seconds as f64 + f64::from(interval.nanos) / 1e9);
        for one in &stats.upstream_locality_stats {
            text += &format!(
                " {}:{}/{}/{}/{}",
                one.locality.as_ref().unwrap().zone,
                one.total_issued_requests,
                one.total_successful_requests,
                one.total_error_requests,
                one.total_requests_in_progress
            );
        }
        for one in &stats.dropped_requests {
            text += &format!(" {}:{}", one.category, one.dropped_count);
        }
        if stats.total_dropped_requests > 0 {
            text += &format!(" ={}", stats.total_dropped_requests);
        }
        text
    });
    format!("[{}]", clusters.collect::<Vec<_>>().join(", "))
}

/// Runs lines `MILLIS EVENT -> OUTPUT`.
#[track_caller]
fn check(script: &str) {
    let mut sim = Sim::new();
    let (mut expected, mut actual) = (Vec::new(), Vec::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (input, output) = line.split_once("->").unwrap();
        let (at, event) = input.trim().split_once(' ').unwrap();
        let event = event.trim();
        expected.push(format!("{at} {event} -> {}", output.trim()));
        actual.push(format!("{at} {event} -> {}", sim.event(at.parse().unwrap(), event)));
    }
    assert!(
        actual == expected,
        "is:\n  {}\nshould be:\n  {}",
        actual.join("\n  "),
        expected.join("\n  ")
    );
}

#[test]
fn reports_begin_with_the_answer_and_hold_what_is_new() {
    check(
        "0     watch a             -> Connect | 20000 connect_timeout
         5     count a x 2/1/0     -> | 20000 connect_timeout
         10    connected           -> node
         20    timer               ->
         30    answer 2s all       -> Reachable | 2030 load_report
         500   timer               -> | 2030 load_report
         2030  timer               -> [a 2.03s x:2/1/0/1] | 4030 load_report
         3000  count a x 3/2/1     -> | 4030 load_report
         4040  timer               -> [a 2.01s x:3/2/1/1] | 6040 load_report
         6040  timer               -> [a 2s x:0/0/0/1] | 8040 load_report
         7000  count a x 0/0/1     -> | 8040 load_report
         8040  timer               -> [a 2s x:0/0/1/0] | 10040 load_report
         10040 timer               -> [a 2s] | 12040 load_report
         12040 timer               -> [] | 14040 load_report
         14040 timer               -> [] | 16040 load_report
         15000 count a y 1/1/0     -> | 16040 load_report
         16040 timer               -> [a 2s y:1/1/0/0] | 18040 load_report",
    );
}

#[test]
fn what_is_dropped_has_categories_and_a_total() {
    check(
        "0    watch a/s          -> Connect | 20000 connect_timeout
         0    connected          -> node
         0    answer 1s all      -> Reachable | 1000 load_report
         100  drop a/s lb 3      -> | 1000 load_report
         100  drop a/s throttle 2 -> | 1000 load_report
         100  refuse a/s 4       -> | 1000 load_report
         1000 timer              -> [a/s 1s lb:3 throttle:2 =9] | 2000 load_report
         1500 refuse a/s 1       -> | 2000 load_report
         2000 timer              -> [a/s 1s =1] | 3000 load_report
         2500 drop a/s lb 1      -> | 3000 load_report
         3000 timer              -> [a/s 1s lb:1 =1] | 4000 load_report
         4000 timer              -> [a/s 1s] | 5000 load_report
         5000 timer              -> [] | 6000 load_report",
    );
}

#[test]
fn the_server_says_which_clusters_and_how_often() {
    check(
        "0    watch a b c        -> Connect | 20000 connect_timeout
         0    connected          -> node
         0    count a x 1/1/0    ->
         0    count b x 1/1/0    ->
         0    answer 1s b,other  -> Reachable | 1000 load_report
         1000 timer              -> [b 1s x:1/1/0/0] | 2000 load_report
         1500 answer 1s b,other  -> | 2000 load_report
         1600 count b x 1/1/0    -> | 2000 load_report
         1700 answer 5s a,b      -> | 6700 load_report
         2000 timer              -> | 6700 load_report
         6700 timer              -> [a 6.7s x:1/1/0/0, b 5.7s x:1/1/0/0] | 11700 load_report
         7000 answer 1s          -> | 8000 load_report
         7100 count a x 1/1/0    -> | 8000 load_report
         8000 timer              -> [] | 9000 load_report
         8100 answer 1s all      -> | 9100 load_report
         9100 timer              -> [a 2.4s x:1/1/0/0, b 2.4s] | 10100 load_report",
    );
}

#[test]
fn an_interval_is_kept_within_bounds() {
    check(
        "0    watch a           -> Connect | 20000 connect_timeout
         0    connected         -> node
         0    answer 0s all     -> Reachable | 1000 load_report
         1    answer none all   -> | 1000 load_report
         2    answer -5s all    -> | 1000 load_report
         3    answer 999999s all -> | 86400003 load_report",
    );
}

#[test]
fn a_stream_that_is_cut_loses_nothing_that_was_not_sent() {
    check(
        "0    watch a           -> Connect | 20000 connect_timeout
         0    connected         -> node
         0    answer 5s all     -> Reachable | 5000 load_report
         100  count a x 4/4/0   -> | 5000 load_report
         2000 closed            -> | 2000 stream_interval
         2000 timer             -> Connect | 22000 connect_timeout
         2100 connected         -> node
         7000 timer             ->
         7100 answer 2s all     -> | 9100 load_report
         9100 timer             -> [a 9.1s x:4/4/0/0] | 11100 load_report
         9200 failed            -> | 9200 stream_interval
         9200 timer             -> Connect | 29200 connect_timeout
         9300 connected         -> node
         9400 answer 2s all     -> | 11400 load_report
         9500 count a x 1/0/1   -> | 11400 load_report
         11400 timer            -> [a 2.3s x:1/0/1/0] | 13400 load_report",
    );
}

#[test]
fn back_off_is_that_of_ads_and_an_answer_resets_it() {
    check(
        "0     watch a        -> Connect | 20000 connect_timeout
         20000 timer          -> Close Unreachable(1) | 21000 backoff
         21000 timer          -> Connect | 41000 connect_timeout
         21500 failed         -> Unreachable(2) | 23100 backoff
         23100 timer          -> Connect | 43100 connect_timeout
         23200 connected      -> node
         23300 unimplemented  -> Unreachable(3) | 25860 backoff
         25860 timer          -> Connect | 45860 connect_timeout
         25900 connected      -> node
         26000 answer 9s all  -> Reachable | 35000 load_report
         26100 closed         -> | 26860 stream_interval
         26860 timer          -> Connect | 46860 connect_timeout
         26900 failed         -> Unreachable(1) | 27900 backoff",
    );
}

#[test]
fn a_report_that_finds_no_room_is_made_later_with_everything() {
    check(
        "0    watch a          -> Connect | 20000 connect_timeout
         0    connected        -> node
         0    answer 1s all    -> Reachable | 1000 load_report
         500  count a x 1/1/0  -> | 1000 load_report
         1000 no-room          -> | 1000 load_report
         1200 count a x 2/2/0  -> | 1000 load_report
         1700 timer            -> [a 1.7s x:3/3/0/0] | 2700 load_report",
    );
}

#[test]
fn a_cluster_that_is_gone_is_reported_until_nothing_is_in_progress() {
    check(
        "0    watch a b         -> Connect | 20000 connect_timeout
         0    connected         -> node
         0    answer 1s all     -> Reachable | 1000 load_report
         100  count a x 3/2/0   -> | 1000 load_report
         100  count b x 2/2/0   -> | 1000 load_report
         200  watch             -> | 1000 load_report
         1000 timer             -> [a 1s x:3/2/0/1, b 1s x:2/2/0/0] forgotten b | 2000 load_report
         2000 timer             -> [a 1s x:0/0/0/1] | 3000 load_report
         2500 count a x 0/1/0   -> | 3000 load_report
         3000 timer             -> [a 1s x:0/1/0/0] forgotten a | 4000 load_report
         4000 timer             -> [] | 5000 load_report
         4100 watch b           -> | 5000 load_report
         4200 count b x 1/1/0   -> | 5000 load_report
         5000 timer             -> [b 0.9s x:1/1/0/0] | 6000 load_report",
    );
}

#[test]
fn a_cluster_that_comes_back_in_time_goes_on() {
    check(
        "0    watch a          -> Connect | 20000 connect_timeout
         0    connected        -> node
         0    answer 1s all    -> Reachable | 1000 load_report
         100  count a x 2/1/0  -> | 1000 load_report
         200  watch            -> | 1000 load_report
         300  watch a          -> | 1000 load_report
         400  count a x 1/1/0  -> | 1000 load_report
         1000 timer            -> [a 1s x:3/2/0/1] | 2000 load_report",
    );
}

#[test]
fn a_cluster_that_nobody_asks_for_is_not_kept_when_it_is_gone() {
    check(
        "0    watch a b         -> Connect | 20000 connect_timeout
         0    connected         -> node
         0    answer 1s b       -> Reachable | 1000 load_report
         100  count a x 3/2/0   -> | 1000 load_report
         200  watch b           -> | 1000 load_report
         1000 timer             -> [] forgotten a | 2000 load_report",
    );
}

#[test]
fn a_locality_that_is_missing_for_a_moment_is_no_news() {
    check(
        "0    watch a          -> Connect | 20000 connect_timeout
         0    connected        -> node
         0    answer 1s all    -> Reachable | 1000 load_report
         100  count a x 3/3/0  -> | 1000 load_report
         1000 timer            -> [a 1s x:3/3/0/0] | 2000 load_report
         1500 hide a x         -> | 2000 load_report
         2000 timer            -> [a 1s] | 3000 load_report
         2100 count a x 3/3/0  -> | 3000 load_report
         3000 timer            -> [] | 4000 load_report
         3100 count a x 1/0/1  -> | 4000 load_report
         4000 timer            -> [a 1s x:1/0/1/0] | 5000 load_report",
    );
}

#[test]
fn nothing_to_report_needs_no_stream() {
    check(
        "0    watch          ->
         100  watch a        -> Connect | 20100 connect_timeout
         200  failed         -> Unreachable(1) | 1200 backoff
         300  watch          -> | 1200 backoff
         1200 timer          ->
         9000 watch a        -> Connect | 29000 connect_timeout",
    );
}

#[test]
fn what_comes_without_a_stream_changes_nothing() {
    check(
        "0   answer 1s all  ->
         1   connected      ->
         2   closed         ->
         3   watch a        -> Connect | 20003 connect_timeout
         4   answer 1s all  -> | 20003 connect_timeout",
    );
}

#[test]
fn clusters_that_ended_without_a_stream_are_bounded() {
    let mut sim = Sim::new();
    for number in 0..MAX_ENDED + 50 {
        let name: Arc<str> = format!("c{number}").into();
        sim.machine.handle_watch(&[LoadKey::new(name)].into(), Timestamp::ZERO);
    }
    // The last one is still watched.
    assert_eq!(sim.machine.len(), MAX_ENDED + 1);
    let mut forgotten = 0;
    while sim.machine.poll_forgotten().is_some() {
        forgotten += 1;
    }
    assert_eq!(forgotten, 49);
}
