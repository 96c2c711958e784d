use super::*;
use parking_lot::Mutex;
use std::collections::HashMap;

type Found = Result<Answer, ResolveError>;

/// A resolver that answers what the test wrote down, and writes down what it was asked.
#[derive(Debug, Default)]
struct Fake {
    /// Name → what it resolves to and how long that takes.
    zone: Mutex<HashMap<String, (Duration, Found)>>,
    asked: Mutex<Vec<(String, Instant)>>,
    in_flight: Arc<Mutex<(usize, usize)>>,
}

impl Fake {
    fn put(&self, name: &str, took: Duration, result: Found) {
        self.zone.lock().insert(name.to_owned(), (took, result));
    }

    fn answer(&self, name: &str, addresses: &[&str], ttl: Option<u64>) {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        let answer = Answer::new(addresses, ttl.map(Duration::from_secs));
        self.put(name, Duration::ZERO, Ok(answer));
    }

    fn fail(&self, name: &str) {
        self.put(name, Duration::ZERO, Err(ResolveError::Timeout { name: name.into() }));
    }

    /// Seconds (rounded down) after `origin` at which `name` was asked for.
    fn times(&self, name: &str, origin: Instant) -> Vec<u64> {
        let asked = self.asked.lock();
        let times = asked.iter().filter(|(n, at)| n == name && *at >= origin);
        times.map(|(_, at)| (*at - origin).as_secs()).collect()
    }
}

impl Resolve for Fake {
    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
        self.asked.lock().push((name.to_owned(), Instant::now()));
        let found = self.zone.lock().get(name).cloned();
        let gauge = self.in_flight.clone();
        let missing = Err(ResolveError::NotFound { name: name.into(), ttl: None });
        Box::pin(async move {
            {
                let mut gauge = gauge.lock();
                gauge.0 += 1;
                gauge.1 = gauge.1.max(gauge.0);
            }
            let (took, result) = found.unwrap_or((Duration::ZERO, missing));
            tokio::time::sleep(took).await;
            gauge.lock().0 -= 1;
            result
        })
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn start() -> (Arc<Fake>, DnsClusters) {
    let fake = Arc::new(Fake::default());
    (fake.clone(), DnsClusters::new(fake))
}

/// `name:port` … looked up every 5 s.
fn options(names: &[(&str, u16)]) -> DnsOptions {
    let mut options = DnsOptions::new("", 0);
    options.names = names.iter().map(|(name, port)| (Arc::from(*name), *port)).collect();
    options
}

fn strict(cluster: &str, names: &[(&str, u16)]) -> DnsCluster {
    DnsCluster::new(cluster, options(names), DnsKind::Strict)
}

fn logical(cluster: &str, names: &[(&str, u16)]) -> DnsCluster {
    DnsCluster::new(cluster, options(names), DnsKind::Logical)
}

/// The changes within `during`, as text.
async fn changes(dns: &mut DnsClusters, during: Duration) -> Vec<String> {
    let end = Instant::now() + during;
    let mut seen = Vec::new();
    while let Ok(change) = tokio::time::timeout_at(end, dns.next()).await {
        seen.push(show(&change));
    }
    seen
}

fn show(change: &DnsChange) -> String {
    let cluster = &change.cluster;
    match &change.event {
        DnsEvent::Endpoints(assignment) => {
            let endpoints = assignment.localities.iter().flat_map(|locality| &locality.endpoints);
            let shown = endpoints.map(|e| e.address.to_string()).collect::<Vec<_>>();
            let shown = if shown.is_empty() { "nobody".to_owned() } else { shown.join(" ") };
            format!("{cluster} = {shown}")
        }
        DnsEvent::Addresses(addresses) => {
            let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
            format!("{cluster} at {}", shown.join(" "))
        }
        DnsEvent::Failed { error, kept } => {
            format!("{cluster}: {error}{}", if *kept { " (kept)" } else { "" })
        }
        DnsEvent::Recovered => format!("{cluster} recovered"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_ttl_is_waited_for_and_the_same_answer_is_no_change() {
    let (fake, mut dns) = start();
    let origin = Instant::now();
    fake.answer("a", &["10.0.0.2", "10.0.0.1"], Some(60));
    fake.answer("b", &["10.0.0.3"], None);
    dns.set([strict("long", &[("a", 80)]), strict("short", &[("b", 80)])]);
    let seen = changes(&mut dns, 67 * SECOND).await;
    assert_eq!(seen, ["long = 10.0.0.1:80 10.0.0.2:80", "short = 10.0.0.3:80"]);
    let long = fake.times("a", origin);
    assert!(matches!(long[..], [0, 60..=66]), "{long:?}");
    assert!((12..=14).contains(&fake.times("b", origin).len()));
    // An order that changed is no change either; an address that changed is.
    fake.answer("a", &["10.0.0.1", "10.0.0.2"], Some(1));
    fake.answer("b", &["10.0.0.4"], None);
    assert_eq!(changes(&mut dns, 67 * SECOND).await, ["short = 10.0.0.4:80"]);
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_keep_the_last_good_answer_and_end_in_recovery() {
    let (fake, mut dns) = start();
    fake.answer("a", &["10.0.0.1"], None);
    dns.set([strict("c", &[("a", 80)])]);
    assert_eq!(changes(&mut dns, SECOND).await, ["c = 10.0.0.1:80"]);
    fake.fail("a");
    let failing = Instant::now();
    let seen = changes(&mut dns, 60 * SECOND).await;
    assert_eq!(seen, vec!["c: no answer for `a` in time (kept)"; seen.len()]);
    // From the first failure: 5, 10, 20, 40 s, each up to a tenth later.
    let times = fake.times("a", failing);
    assert_eq!(times.len(), seen.len());
    assert_eq!(times.len(), 4, "{times:?}");
    for (pair, wait) in times.windows(2).zip([5, 10, 20]) {
        let waited = pair[1] - pair[0];
        assert!((wait..=wait + wait / 10 + 1).contains(&waited), "{times:?}");
    }
    assert_eq!(dns.endpoints("c").unwrap().len(), 1);
    // An authoritative "no" keeps it as well.
    fake.zone.lock().clear();
    let seen = changes(&mut dns, 60 * SECOND).await;
    assert_eq!(seen, vec!["c: no such name: `a` (kept)"; seen.len()]);
    assert!(!seen.is_empty());
    fake.answer("a", &["10.0.0.1"], None);
    assert_eq!(changes(&mut dns, 60 * SECOND).await, ["c recovered"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_failure_leaves_the_endpoints_unknown() {
    let (fake, mut dns) = start();
    fake.fail("a");
    dns.set([logical("c", &[("a", 80)])]);
    // Calls must not wait for a name that does not resolve.
    let seen = changes(&mut dns, SECOND).await;
    assert_eq!(seen, ["c: no answer for `a` in time", "c = nobody"]);
    assert!(dns.endpoints("c").unwrap().is_empty());
    // Addresses that cannot be meant count as none.
    fake.answer("a", &["0.0.0.0"], None);
    assert_eq!(changes(&mut dns, 6 * SECOND).await, ["c: `a` has no address"]);
    fake.answer("a", &["0.0.0.0", "10.0.0.1"], None);
    assert_eq!(
        changes(&mut dns, 12 * SECOND).await,
        ["c at 10.0.0.1:80", "c = 10.0.0.1:80", "c recovered"]
    );
}

#[tokio::test(start_paused = true)]
async fn clusters_come_and_go_and_what_is_unchanged_is_left_alone() {
    let (fake, mut dns) = start();
    let origin = Instant::now();
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
        fake.answer(name, &[ip], Some(3600));
    }
    let (a, b) = (strict("a", &[("a", 80)]), strict("b", &[("b", 80)]));
    dns.set([a.clone(), b]);
    assert_eq!(changes(&mut dns, SECOND).await, ["a = 10.0.0.1:80", "b = 10.0.0.2:80"]);
    let kept = dns.endpoints("a").unwrap();
    dns.set([a, strict("c", &[("c", 80)])]);
    assert_eq!(changes(&mut dns, SECOND).await, ["c = 10.0.0.3:80"]);
    assert!(Arc::ptr_eq(&kept, &dns.endpoints("a").unwrap()));
    assert_eq!(dns.endpoints("b"), None);
    // A new port needs no lookup; a new name serves the old addresses until it is answered.
    dns.set([strict("a", &[("a", 81)]), strict("c", &[("new", 80)])]);
    assert_eq!(
        changes(&mut dns, SECOND).await,
        ["a = 10.0.0.1:81", "c: no such name: `new` (kept)"]
    );
    assert_eq!(dns.endpoints("c").unwrap().len(), 1);
    dns.set([]);
    assert_eq!(changes(&mut dns, 2 * 3600 * SECOND).await, Vec::<String>::new());
    assert_eq!((fake.times("a", origin), fake.times("b", origin)), (vec![0], vec![0]));
    assert!(dns.lookups.is_empty() && dns.due.is_empty());
}

#[tokio::test(start_paused = true)]
async fn clusters_share_the_lookups_of_a_name() {
    let (fake, mut dns) = start();
    fake.answer("a.b", &["10.0.0.1"], Some(60));
    dns.set([strict("one", &[("a.b", 80)]), logical("two", &[("A.b", 81)])]);
    assert_eq!(
        changes(&mut dns, SECOND).await,
        ["one = 10.0.0.1:80", "two at 10.0.0.1:81", "two = 10.0.0.1:81"]
    );
    assert_eq!(fake.asked.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_several_names_publishes_once_all_were_answered_or_failed() {
    let (fake, mut dns) = start();
    for (name, ip, took) in [("a", "10.0.0.1", 1), ("b", "10.0.0.2", 3)] {
        let answer = Answer::new(vec![ip.parse().unwrap()], None);
        fake.put(name, SECOND * took, Ok(answer));
    }
    dns.set([strict("c", &[("a", 80), ("b", 80), ("gone", 80)])]);
    assert_eq!(changes(&mut dns, 2 * SECOND).await, ["c: no such name: `gone`"]);
    assert_eq!(changes(&mut dns, 2 * SECOND).await, ["c = 10.0.0.1:80 10.0.0.2:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_logical_cluster_stays_where_it_is_while_the_answer_has_it() {
    let (fake, mut dns) = start();
    fake.answer("a", &["10.0.0.2", "10.0.0.1"], None);
    dns.set([logical("c", &[("a", 80)])]);
    let seen = changes(&mut dns, SECOND).await;
    assert_eq!(seen, ["c at 10.0.0.2:80 10.0.0.1:80", "c = 10.0.0.2:80"]);
    let assignment = dns.endpoints("c").unwrap();
    assert_eq!(assignment.localities[0].endpoints[0].hostname.as_deref(), Some("a"));
    fake.answer("a", &["10.0.0.1", "10.0.0.2"], None);
    assert_eq!(changes(&mut dns, 6 * SECOND).await, ["c at 10.0.0.1:80 10.0.0.2:80"]);
    fake.answer("a", &["10.0.0.3", "10.0.0.1"], None);
    let seen = changes(&mut dns, 6 * SECOND).await;
    assert_eq!(seen, ["c at 10.0.0.3:80 10.0.0.1:80", "c = 10.0.0.3:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_strict_cluster_takes_one_family_and_a_logical_one_both() {
    let (fake, mut dns) = start();
    fake.answer("a", &["10.0.0.1", "fd00::1"], None);
    let mut v6 = strict("v6", &[("a", 80)]);
    v6.options.lookup_family = Some(mesh_core::model::DnsLookupFamily::V6Only);
    fake.answer("v4", &["10.0.0.4"], None);
    let mut none = strict("none", &[("v4", 80)]);
    none.options.lookup_family = v6.options.lookup_family;
    dns.set([strict("c", &[("a", 80)]), logical("l", &[("a", 80)]), v6, none]);
    let mut seen = changes(&mut dns, SECOND).await;
    seen.sort();
    assert_eq!(
        seen,
        [
            "c = 10.0.0.1:80",
            "l = 10.0.0.1:80",
            "l at 10.0.0.1:80 [fd00::1]:80",
            "none = nobody",
            "none: `v4` has no address",
            "v6 = [fd00::1]:80",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn addresses_need_no_lookup_and_mistakes_are_told_once() {
    let (fake, mut dns) = start();
    dns.set([
        strict("ip", &[("127.0.0.1", 80), ("[::1]", 81)]),
        strict("typo", &[("a b", 80), ("10.0.0.1", 80)]),
        strict("void", &[]),
    ]);
    assert_eq!(
        changes(&mut dns, 3600 * SECOND).await,
        [
            "ip = 127.0.0.1:80 [::1]:81",
            "typo = 10.0.0.1:80",
            "void: `` is not a host name: it is empty",
            "typo: `a b` is not a host name: ` ` may not stand in a name (international names are \
             written in punycode, `xn--…`) (kept)",
            "void = nobody",
        ]
    );
    assert!(fake.asked.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn lookups_are_bounded_in_number_and_in_time() {
    let (fake, mut dns) = start();
    let names = (0..100).map(|i| format!("n{i}")).collect::<Vec<_>>();
    for name in &names {
        let answer = Answer::new(vec!["10.0.0.1".parse().unwrap()], Some(SECOND * 3600));
        fake.put(name, SECOND, Ok(answer));
    }
    fake.put("hangs", SECOND * 3600, Err(ResolveError::Timeout { name: "other".into() }));
    dns.set(names.iter().map(|name| strict(name, &[(name, 80)])));
    assert_eq!(changes(&mut dns, 8 * SECOND).await.len(), 100);
    assert_eq!(fake.in_flight.lock().1, DnsClusters::MAX_LOOKUPS);
    dns.set([strict("c", &[("hangs", 80)])]);
    assert_eq!(
        changes(&mut dns, DnsClusters::LOOKUP_LIMIT + SECOND).await,
        ["c: no answer for `hangs` in time", "c = nobody"]
    );
}

#[tokio::test(start_paused = true)]
async fn next_may_be_dropped_at_any_time() {
    let (fake, mut dns) = start();
    let answer = Answer::new(vec!["10.0.0.1".parse().unwrap()], Some(SECOND * 60));
    fake.put("a", SECOND, Ok(answer));
    dns.set([strict("c", &[("a", 80)])]);
    let mut seen = Vec::new();
    for _ in 0..200 {
        seen.extend(changes(&mut dns, Duration::from_millis(10)).await);
    }
    assert_eq!(seen, ["c = 10.0.0.1:80"]);
    assert_eq!(fake.asked.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_name_that_was_removed_meanwhile_is_not_taken() {
    let (fake, mut dns) = start();
    let answer = |ip: &str| Ok(Answer::new(vec![ip.parse().unwrap()], None));
    fake.put("a", 2 * SECOND, answer("10.0.0.1"));
    dns.set([strict("c", &[("a", 80)])]);
    assert!(changes(&mut dns, SECOND).await.is_empty());
    dns.set([]);
    fake.put("a", 3 * SECOND, answer("10.0.0.2"));
    dns.set([strict("c", &[("a", 80)])]);
    assert_eq!(changes(&mut dns, 4 * SECOND).await, ["c = 10.0.0.2:80"]);
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_takes_no_address_of_the_other_family_away() {
    let (fake, mut dns) = start();
    fake.answer("a", &["10.0.0.1", "::1"], None);
    let mut all = strict("c", &[("a", 80)]);
    all.options.lookup_family = Some(mesh_core::model::DnsLookupFamily::All);
    dns.set([all]);
    assert_eq!(changes(&mut dns, SECOND).await, ["c = 10.0.0.1:80 [::1]:80"]);
    let mut half = Answer::new(vec!["10.0.0.2".parse().unwrap()], Some(3600 * SECOND));
    half.incomplete = true;
    fake.put("a", Duration::ZERO, Ok(half));
    assert_eq!(changes(&mut dns, 6 * SECOND).await, ["c = 10.0.0.2:80 [::1]:80"]);
    fake.answer("a", &["10.0.0.2"], None);
    assert_eq!(changes(&mut dns, 6 * SECOND).await, ["c = 10.0.0.2:80"]);
}
