use super::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const AAAA: u16 = 28;

/// What the name server of a test says to one question.
#[derive(Clone, Debug)]
enum Reply {
    /// (owner, TTL, address or alias).
    Records(Vec<(&'static str, u32, &'static str)>),
    /// Over UDP only that it is too long; over TCP these.
    TooLong(Vec<(&'static str, u32, &'static str)>),
    /// The name is there, the type is not; with the SOA's minimum.
    NoData(u32),
    NxDomain(u32),
    ServFail,
    Silent,
}

/// A name server on loopback; it ends with the test's runtime.
struct Server {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
}

impl Server {
    async fn start(zone: &[(&'static str, u16, Reply)]) -> Self {
        let zone = zone.iter().map(|(name, kind, reply)| ((*name, *kind), reply.clone()));
        let zone = Arc::new(zone.collect::<HashMap<_, _>>());
        let questions = Arc::new(AtomicUsize::new(0));
        let (udp, tcp) = bind_both().await;
        let address = udp.local_addr().unwrap();
        let (udp_zone, count) = (zone.clone(), questions.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((n, peer)) = udp.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(reply) = respond(&buffer[..n], &udp_zone, false) {
                    udp.send_to(&reply, peer).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let zone = zone.clone();
                tokio::spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut query = vec![0; length.into()];
                        stream.read_exact(&mut query).await.unwrap();
                        let reply = respond(&query, &zone, true).unwrap();
                        stream.write_u16(reply.len().try_into().unwrap()).await.unwrap();
                        stream.write_all(&reply).await.unwrap();
                    }
                });
            }
        });
        Self { address, questions }
    }

    fn resolver(&self) -> HickoryResolver {
        HickoryResolver::with_servers([self.address], Duration::from_millis(200)).unwrap()
    }
}

/// One port for both protocols.
async fn bind_both() -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both");
}

fn respond(
    query: &[u8],
    zone: &HashMap<(&'static str, u16), Reply>,
    over_tcp: bool,
) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(std::str::from_utf8(&query[at + 1..end]).unwrap().to_lowercase());
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let reply = zone.get(&(labels.join(".").as_str(), kind)).cloned();
    let (flags, records, minimum) = match reply.unwrap_or(Reply::NxDomain(7)) {
        Reply::Records(records) => (0x8180, records, None),
        Reply::TooLong(records) if over_tcp => (0x8180, records, None),
        Reply::TooLong(_) => (0x8380, Vec::new(), None),
        Reply::NoData(minimum) => (0x8180, Vec::new(), Some(minimum)),
        Reply::NxDomain(minimum) => (0x8183, Vec::new(), Some(minimum)),
        Reply::ServFail => (0x8182, Vec::new(), None),
        Reply::Silent => return None,
    };
    let mut out = query[..2].to_vec();
    let counts = [1, records.len() as u16, u16::from(minimum.is_some()), 0];
    for word in [flags].iter().chain(&counts) {
        out.extend(u16::to_be_bytes(*word));
    }
    out.extend(&query[12..at + 5]);
    for (owner, ttl, value) in records {
        let (kind, bytes) = match value.parse() {
            Ok(IpAddr::V4(ip)) => (A, ip.octets().to_vec()),
            Ok(IpAddr::V6(ip)) => (AAAA, ip.octets().to_vec()),
            Err(_) => (CNAME, wire_name(value)),
        };
        push_record(&mut out, &wire_name(owner), kind, ttl, &bytes);
    }
    if let Some(minimum) = minimum {
        let mut bytes = vec![0, 0];
        for word in [1, 3600, 600, 86400, minimum] {
            bytes.extend(u32::to_be_bytes(word));
        }
        push_record(&mut out, &[0xc0, 12], SOA, minimum, &bytes);
    }
    Some(out)
}

fn push_record(out: &mut Vec<u8>, owner: &[u8], kind: u16, ttl: u32, bytes: &[u8]) {
    out.extend(owner);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend(ttl.to_be_bytes());
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

/// Resolves within bounds.
async fn resolve(resolver: &HickoryResolver, name: &str) -> Result<Answer, ResolveError> {
    tokio::time::timeout(Duration::from_secs(5), resolver.resolve(name)).await.expect("in time")
}

fn answer(addresses: &[&str], ttl: u64) -> Answer {
    let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
    Answer::new(addresses, Some(Duration::from_secs(ttl)))
}

#[tokio::test]
async fn both_families_make_one_answer_with_the_least_ttl() {
    let server = Server::start(&[
        ("db.internal", A, Reply::Records(vec![("db.internal", 60, "10.0.0.2")])),
        ("db.internal", AAAA, Reply::Records(vec![("db.internal", 30, "fd00::1")])),
        ("v4.internal", A, Reply::Records(vec![("v4.internal", 60, "10.0.0.3")])),
        ("v4.internal", AAAA, Reply::NoData(5)),
        (
            "www.internal",
            A,
            Reply::Records(vec![
                ("www.internal", 9, "db.internal"),
                ("db.internal", 60, "10.0.0.2"),
            ]),
        ),
        ("www.internal", AAAA, Reply::NoData(5)),
    ])
    .await;
    let resolver = server.resolver();
    assert_eq!(resolve(&resolver, "db.internal").await, Ok(answer(&["10.0.0.2", "fd00::1"], 30)));
    assert_eq!(resolve(&resolver, "v4.internal").await, Ok(answer(&["10.0.0.3"], 60)));
    assert_eq!(resolve(&resolver, "www.internal").await, Ok(answer(&["10.0.0.2"], 9)));
    // Nothing is cached: the same question goes out again.
    let before = server.questions.load(Ordering::Relaxed);
    resolve(&resolver, "v4.internal").await.unwrap();
    assert!(server.questions.load(Ordering::Relaxed) >= before + 2);
}

#[tokio::test]
async fn failures_say_whose_fault_it_is() {
    let server = Server::start(&[
        ("empty.internal", A, Reply::NoData(11)),
        ("empty.internal", AAAA, Reply::NoData(11)),
        ("sick.internal", A, Reply::ServFail),
        ("sick.internal", AAAA, Reply::ServFail),
        ("mute.internal", A, Reply::Silent),
        ("mute.internal", AAAA, Reply::Silent),
    ])
    .await;
    let resolver = server.resolver();
    let (seven, eleven) = (Some(Duration::from_secs(7)), Some(Duration::from_secs(11)));
    assert_eq!(
        resolve(&resolver, "gone.internal").await,
        Err(ResolveError::NotFound { name: "gone.internal".into(), ttl: seven })
    );
    assert_eq!(
        resolve(&resolver, "empty.internal").await,
        Err(ResolveError::NoRecords { name: "empty.internal".into(), ttl: eleven })
    );
    let error = resolve(&resolver, "sick.internal").await.unwrap_err();
    assert!(matches!(error, ResolveError::ServerFailure { .. }), "{error:?}");
    assert_eq!(
        resolve(&resolver, "mute.internal").await,
        Err(ResolveError::Timeout { name: "mute.internal".into() })
    );
}

#[tokio::test]
async fn one_family_that_fails_makes_the_answer_incomplete() {
    let server = Server::start(&[
        ("half.internal", A, Reply::Records(vec![("half.internal", 60, "10.0.0.1")])),
        ("half.internal", AAAA, Reply::ServFail),
    ])
    .await;
    let found = resolve(&server.resolver(), "half.internal").await.unwrap();
    assert!(found.incomplete);
    assert_eq!(found.addresses, answer(&["10.0.0.1"], 0).addresses);
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let ips: Vec<String> = (0..100).map(|i| format!("10.0.1.{i}")).collect();
    let leaked =
        ips.iter().map(|ip| ("many.internal", 60, &*Box::leak(ip.clone().into_boxed_str())));
    let server = Server::start(&[
        ("many.internal", A, Reply::TooLong(leaked.collect())),
        ("many.internal", AAAA, Reply::NoData(5)),
    ])
    .await;
    let found = resolve(&server.resolver(), "many.internal").await.unwrap();
    assert_eq!(found.addresses.len(), 100);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_typed_failure() {
    let (udp, tcp) = bind_both().await;
    let address = udp.local_addr().unwrap();
    drop((udp, tcp));
    let resolver = HickoryResolver::with_servers([address], Duration::from_millis(200)).unwrap();
    let error = resolve(&resolver, "db.internal").await.unwrap_err();
    assert!(
        matches!(error, ResolveError::ServerFailure { .. } | ResolveError::Timeout { .. }),
        "{error:?}"
    );
}

/// A resolver with a search list, and a hosts file.
fn searching(server: &Server, search: &[&str], hosts: Option<PathBuf>) -> HickoryResolver {
    let mut config = ResolverConfig::from_name_servers(vec![name_server(server.address)]);
    for domain in search {
        config.add_search(Name::from_ascii(domain).unwrap());
    }
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_millis(200);
    HickoryResolver::build(config, options, hosts).unwrap()
}

#[tokio::test]
async fn the_search_list_is_followed_and_a_timeout_ends_it() {
    let server = Server::start(&[
        ("db.sick.test", A, Reply::ServFail),
        ("db.sick.test", AAAA, Reply::ServFail),
        ("db.mute.test", A, Reply::Silent),
        ("db.mute.test", AAAA, Reply::Silent),
        ("db.good.test", A, Reply::Records(vec![("db.good.test", 60, "10.0.0.1")])),
        ("db.good.test", AAAA, Reply::NoData(5)),
    ])
    .await;
    let found = resolve(&searching(&server, &["none.test", "good.test"], None), "db").await;
    assert_eq!(found, Ok(answer(&["10.0.0.1"], 60)));
    let found = resolve(&searching(&server, &["sick.test", "good.test"], None), "db").await;
    assert_eq!(found, Ok(answer(&["10.0.0.1"], 60)));
    let found = resolve(&searching(&server, &["sick.test"], None), "db").await;
    assert!(matches!(found, Err(ResolveError::ServerFailure { .. })), "{found:?}");
    let found = resolve(&searching(&server, &["mute.test", "good.test"], None), "db").await;
    assert_eq!(found, Err(ResolveError::Timeout { name: "db".into() }));
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_is_read_anew() {
    let server = Server::start(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts");
    let resolver = searching(&server, &[], Some(path.clone()));
    assert!(resolve(&resolver, "db.internal").await.is_err());
    std::fs::write(&path, "# none\n10.0.0.9 other DB.internal # ours\n").unwrap();
    let expected = Answer::new(vec!["10.0.0.9".parse().unwrap()], None);
    assert_eq!(resolve(&resolver, "db.internal").await, Ok(expected));
    let localhost = resolve(&resolver, "localhost").await.unwrap();
    assert!(localhost.addresses.iter().all(IpAddr::is_loopback) && localhost.addresses.len() == 2);
}

#[test]
fn hosts_files_are_read_as_the_system_reads_them() {
    let text =
        "127.0.0.1 localhost\n::1 a.b # a.c\n10.0.0.1\ta.b\tx\nfe80::1%lo0 a.b\n\n10.0.0.1 a.b";
    for (name, expected) in
        [("a.b", vec!["10.0.0.1", "::1"]), ("A.B.", vec!["10.0.0.1", "::1"]), ("a.c", vec![])]
    {
        let expected = expected.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(in_hosts(text, name), expected, "{name}");
    }
}

#[test]
fn candidates_follow_resolv_conf() {
    #[track_caller]
    fn check(name: &str, ndots: usize, expected: &str) {
        let search = ["x.y", "z"].map(String::from);
        assert_eq!(candidates(name, &search, ndots).join(" "), expected);
    }
    check("db", 1, "db.x.y. db.z. db.");
    check("db.a", 1, "db.a. db.a.x.y. db.a.z.");
    check("db.a", 5, "db.a.x.y. db.a.z. db.a.");
    check("db.", 5, "db.");
    check("localhost", 5, "localhost.");
    let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(60));
    check(&long, 5, &format!("{long}."));
}

#[test]
fn the_worse_of_two_failures_is_told() {
    let name = Arc::<str>::from("a");
    let not_found = ResolveError::NotFound { name: name.clone(), ttl: None };
    let none = ResolveError::NoRecords { name: name.clone(), ttl: None };
    let timeout = ResolveError::Timeout { name };
    assert_eq!(worse(None, not_found.clone()), not_found);
    assert_eq!(worse(Some(not_found.clone()), none.clone()), none);
    assert_eq!(worse(Some(timeout.clone()), none), timeout);
    assert_eq!(join_families(Err(not_found), Err(timeout.clone())), Err(timeout));
}
