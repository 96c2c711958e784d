//! [`HickoryResolver`]: our own DNS lookups, with their TTL and their kind of failure.
//!
//! `getaddrinfo` hides both. The lookups are hickory-resolver's; what is decided here is how two
//! families, a search list and `/etc/hosts` make one answer:
//!
//! - A and AAAA are asked for together. When one fails (not: says "none"), the other's addresses are
//!   an answer marked incomplete; hickory's own `lookup_ip` would pass it off as complete.
//! - `/etc/hosts` comes first, is read anew each time, and answers for both families, without TTL
//!   (glibc: `hosts: files dns`).
//! - The search list as in resolv.conf(5): names with fewer dots than `ndots` are tried with each
//!   domain first. A domain whose server fails is passed over as glibc does; a timeout ends the
//!   search, so that a lost packet never makes another name of the same spelling answer.
//! - IPv4 addresses stand before IPv6 ones (Envoy: `V4_PREFERRED`; its `AUTO` asks for IPv6 first):
//!   a logical cluster takes the first, and IPv4 works in more places.
//! - Nothing is cached: [`DnsClusters`](super::DnsClusters) asks when it wants to know.
//!
//! What it doesn't do: notice changes of `/etc/resolv.conf`, DNSSEC, DNS over TLS or HTTPS.

use super::resolve::{Answer, Resolve, ResolveError};
use futures_core::future::BoxFuture;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{TokioResolver, system_conf};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Looks names up over DNS, as `/etc/resolv.conf` and `/etc/hosts` say.
///
/// Cheap to clone. Its sockets belong to the runtime that polls its futures.
#[derive(Clone)]
pub struct HickoryResolver {
    shared: Arc<Shared>,
}

struct Shared {
    resolver: TokioResolver,
    /// Search domains in order, without the final dot.
    search: Vec<String>,
    ndots: usize,
    hosts: Option<PathBuf>,
}

impl HickoryResolver {
    /// With the system's name servers, search domains, options and hosts file.
    ///
    /// # Errors
    /// The configuration of the system can't be read or understood.
    pub fn from_system() -> io::Result<Self> {
        let (config, options) = system_conf::read_system_conf().map_err(io::Error::other)?;
        Self::build(config, options, Some(hosts_file()))
    }

    /// With these name servers (UDP, and TCP for long answers) and nothing of the system's.
    ///
    /// `attempt_timeout` bounds one question to one server; each is asked up to three times.
    ///
    /// # Errors
    /// The resolver can't be built.
    pub fn with_servers(
        servers: impl IntoIterator<Item = SocketAddr>,
        attempt_timeout: Duration,
    ) -> io::Result<Self> {
        let servers = servers.into_iter().map(name_server).collect();
        let mut options = ResolverOpts::default();
        options.timeout = attempt_timeout;
        Self::build(ResolverConfig::from_name_servers(servers), options, None)
    }

    fn build(
        config: ResolverConfig,
        mut options: ResolverOpts,
        hosts: Option<PathBuf>,
    ) -> io::Result<Self> {
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let ndots = options.ndots;
        let mut search = config.search().iter().map(search_domain).collect::<Vec<_>>();
        if search.is_empty() {
            search.extend(config.domain().map(search_domain));
        }
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { shared: Arc::new(Shared { resolver, search, ndots, hosts }) })
    }
}

impl Resolve for HickoryResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
        let (shared, name) = (self.shared.clone(), Arc::<str>::from(name));
        Box::pin(async move { shared.resolve(&name).await })
    }
}

impl fmt::Debug for HickoryResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HickoryResolver")
            .field("search", &self.shared.search)
            .field("ndots", &self.shared.ndots)
            .field("hosts", &self.shared.hosts)
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn resolve(&self, name: &Arc<str>) -> Result<Answer, ResolveError> {
        if let Some(path) = &self.hosts
            && let Ok(text) = tokio::fs::read_to_string(path).await
        {
            let addresses = in_hosts(&text, name);
            if !addresses.is_empty() {
                return Ok(Answer::new(addresses, None));
            }
        }
        let mut failure = None;
        for candidate in candidates(name, &self.search, self.ndots) {
            match self.look_up(&candidate, name).await {
                Err(error) => match error {
                    ResolveError::Timeout { .. } => return Err(error),
                    // The worst one is reported: "no" is only true when every server said so.
                    _ => failure = Some(worse(failure, error)),
                },
                Ok(answer) => return Ok(answer),
            }
        }
        Err(failure.unwrap_or_else(|| ResolveError::NotFound { name: name.clone(), ttl: None }))
    }

    /// One candidate, both families; failures speak of `name`.
    async fn look_up(&self, candidate: &str, name: &Arc<str>) -> Result<Answer, ResolveError> {
        let ask = |family| async move {
            match self.resolver.lookup(candidate, family).await {
                Ok(lookup) => Ok(Records::of(lookup.answers())),
                Err(error) => Err(resolve_error(name, &error)),
            }
        };
        let (v4, v6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
        join_families(v4, v6)
    }
}

/// What one family's lookup gave.
#[derive(Debug, Default, PartialEq, Eq)]
struct Records {
    addresses: Vec<IpAddr>,
    ttl: Option<Duration>,
}

impl Records {
    /// The addresses and the least TTL, that of aliases on the way included.
    fn of(records: &[hickory_resolver::proto::rr::Record]) -> Self {
        Self {
            addresses: records.iter().filter_map(|record| record.data.ip_addr()).collect(),
            ttl: records.iter().map(|record| Duration::from_secs(record.ttl.into())).min(),
        }
    }
}

fn join_families(
    v4: Result<Records, ResolveError>,
    v6: Result<Records, ResolveError>,
) -> Result<Answer, ResolveError> {
    match (v4, v6) {
        (Ok(mut v4), Ok(v6)) => {
            v4.addresses.extend(v6.addresses);
            Ok(Answer::new(v4.addresses, [v4.ttl, v6.ttl].into_iter().flatten().min()))
        }
        (Ok(found), Err(error)) | (Err(error), Ok(found)) => {
            let mut answer = Answer::new(found.addresses, found.ttl);
            answer.incomplete = !is_negative(&error);
            Ok(answer)
        }
        (Err(v4), Err(v6)) => Err(worse(Some(v4), v6)),
    }
}

/// Whether the server said that there is nothing, as opposed to saying nothing.
const fn is_negative(error: &ResolveError) -> bool {
    matches!(error, ResolveError::NotFound { .. } | ResolveError::NoRecords { .. })
}

/// Of two failures, the one that says more: no answer, then a failing server, then "it has no
/// address" (so it exists), then "no such name"; of two alike the first.
fn worse(first: Option<ResolveError>, second: ResolveError) -> ResolveError {
    let rank = |error: &ResolveError| match error {
        ResolveError::NotFound { .. } => 0,
        ResolveError::NoRecords { .. } => 1,
        ResolveError::ServerFailure { .. } => 2,
        ResolveError::Timeout { .. } | ResolveError::Malformed { .. } => 3,
    };
    match first {
        Some(first) if rank(&first) >= rank(&second) => first,
        Some(_) | None => second,
    }
}

fn resolve_error(name: &Arc<str>, error: &NetError) -> ResolveError {
    let name = name.clone();
    match error {
        NetError::Timeout => ResolveError::Timeout { name },
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code, negative_ttl, ..
        })) => {
            let ttl = negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            match response_code {
                ResponseCode::NXDomain => ResolveError::NotFound { name, ttl },
                ResponseCode::NoError => ResolveError::NoRecords { name, ttl },
                code => ResolveError::ServerFailure { name, detail: code.to_string().into() },
            }
        }
        other => ResolveError::ServerFailure { name, detail: other.to_string().into() },
    }
}

/// The names to try, fully qualified, in order (resolv.conf(5), `search` and `ndots`).
fn candidates(name: &str, search: &[String], ndots: usize) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let absolute = format!("{name}.");
    // RFC 6761 §6.3: `localhost` and below it never leave this host.
    if name == "localhost" || name.ends_with(".localhost") {
        return vec![absolute];
    }
    let searched = search.iter().map(|domain| match domain.as_str() {
        "" => absolute.clone(),
        domain => format!("{name}.{domain}."),
    });
    // A name that is too long with a domain is not one that anybody means.
    let searched = searched.filter(|candidate| candidate.len() <= 254);
    let as_written_first = name.bytes().filter(|byte| *byte == b'.').count() >= ndots;
    let mut names = Vec::with_capacity(search.len() + 1);
    if as_written_first {
        names.push(absolute.clone());
    }
    names.extend(searched);
    if !as_written_first {
        names.push(absolute);
    }
    names
}

/// The addresses of `name` in the text of a hosts file (hosts(5)), IPv4 first.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = super::name::without_root(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

fn search_domain(domain: &Name) -> String {
    domain.to_ascii().trim_end_matches('.').to_owned()
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn hosts_file() -> PathBuf {
    let path = if cfg!(windows) { r"C:\Windows\System32\drivers\etc\hosts" } else { "/etc/hosts" };
    Path::new(path).to_owned()
}

#[cfg(test)]
mod tests;
