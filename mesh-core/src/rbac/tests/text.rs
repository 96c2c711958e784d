//! Policies, peers and requests as text, so that a table is data.
//!
//! Rules: `ACTION name: PERMISSION / PRINCIPAL; …`. Conditions: `any`, `and(…, …)`, `or(…, …)`, `not(…)`,
//! `header(NAME TEST)`, `path(TEST)`, `ip(CIDR)`, `port(N)`, `ports(A..B)`, `sni(TEST)`,
//! `meta(FILTER KEY.KEY TEST)`, `route(…)` for the route's, `template(T)`, `authn`, `authn(TEST)`,
//! `mtls`, `mtls(TYPE TEST)`, `source(CIDR)`, `direct(CIDR)`, `remote(CIDR)`, `state(KEY TEST)`,
//! `state(KEY in:CIDR)`.
//! Tests: `=exact`, `^=prefix`, `$=suffix`, `*=contains`, `~=regex`, `i=` without case; of headers also
//! `present`, `absent`, `1..5`, `!` before for the opposite, `?` before it for "missing is empty".

use super::*;
use crate::head::RequestHead;
use crate::identity::{Peer, PeerCertificate};
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::*;
use crate::time::WallTime;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use std::net::SocketAddr;

pub(in crate::rbac) fn rbac(text: &str) -> Rbac {
    let (action, policies) = text.split_once(' ').unwrap_or((text, ""));
    let mut rbac = Rbac::default();
    rbac.action = match action {
        "ALLOW" => RbacAction::Allow,
        "DENY" => RbacAction::Deny,
        "LOG" => RbacAction::Log,
        other => panic!("{other}"),
    };
    for policy in policies.split(';').map(str::trim).filter(|policy| !policy.is_empty()) {
        let (name, rest) = policy.split_once(": ").unwrap();
        let (permissions, principals) = rest.split_once(" / ").unwrap();
        let policy = Policy {
            permissions: arguments(permissions).into_iter().map(permission).collect(),
            principals: arguments(principals).into_iter().map(principal).collect(),
            condition: None,
        };
        rbac.policies.insert(name.into(), policy);
    }
    rbac
}

/// Splits at commas that are not in brackets.
fn arguments(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let split = text.split(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    });
    split.map(str::trim).filter(|argument| !argument.is_empty()).collect()
}

fn call(text: &str) -> (&str, &str) {
    text.strip_suffix(')').and_then(|text| text.split_once('(')).unwrap_or((text, ""))
}

pub(super) fn permission(text: &str) -> Permission {
    let (name, inner) = call(text);
    let list = || arguments(inner).into_iter().map(permission).collect();
    match name {
        "any" => Permission::Any,
        "and" => Permission::And(list()),
        "or" => Permission::Or(list()),
        "not" => Permission::Not(Box::new(permission(inner))),
        "header" => Permission::Header(header(inner)),
        "path" => Permission::UrlPath(string(inner)),
        "ip" => Permission::DestinationIp(cidr(inner)),
        "port" => Permission::DestinationPort(inner.parse().unwrap()),
        "ports" => {
            let (start, end) = inner.split_once("..").unwrap();
            Permission::DestinationPortRange(start.parse().unwrap()..end.parse().unwrap())
        }
        "sni" => Permission::RequestedServerName(string(inner)),
        "meta" | "route" => Permission::Metadata(metadata(name, inner)),
        "template" => Permission::UriTemplate(inner.into()),
        other => panic!("{other}"),
    }
}

pub(super) fn principal(text: &str) -> Principal {
    let (name, inner) = call(text);
    let list = || arguments(inner).into_iter().map(principal).collect();
    match name {
        "any" => Principal::Any,
        "and" => Principal::And(list()),
        "or" => Principal::Or(list()),
        "not" => Principal::Not(Box::new(principal(inner))),
        "authn" => Principal::Authenticated((!inner.is_empty()).then(|| string(inner))),
        "mtls" => Principal::MtlsAuthenticated(inner.split_once(' ').map(|(kind, test)| {
            let kind = match kind {
                "uri" => SanKind::Uri,
                "dns" => SanKind::Dns,
                "email" => SanKind::Email,
                "ip" => SanKind::Ip,
                oid => SanKind::OtherName(oid.into()),
            };
            SanMatcher { kind, matcher: string(test) }
        })),
        "source" => Principal::SourceIp(cidr(inner)),
        "direct" => Principal::DirectRemoteIp(cidr(inner)),
        "remote" => Principal::RemoteIp(cidr(inner)),
        "header" => Principal::Header(header(inner)),
        "path" => Principal::UrlPath(string(inner)),
        "meta" | "route" => Principal::Metadata(metadata(name, inner)),
        "state" => {
            let (key, test) = inner.split_once(' ').unwrap();
            let value = match test.strip_prefix("in:") {
                Some(block) => FilterStateValue::Address(vec![cidr(block)]),
                None => FilterStateValue::Text(string(test)),
            };
            Principal::FilterState(FilterStateMatcher { key: key.into(), value })
        }
        other => panic!("{other}"),
    }
}

pub(super) fn string(text: &str) -> StringMatcher {
    let (ignore_case, text) = match text.strip_prefix('i') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (kind, value) = text.split_once('=').unwrap();
    let pattern = match kind {
        "" => StringPattern::Exact(value.into()),
        "^" => StringPattern::Prefix(value.into()),
        "$" => StringPattern::Suffix(value.into()),
        "*" => StringPattern::Contains(value.into()),
        "~" => StringPattern::Regex(RegexPattern::new(value)),
        other => panic!("{other}"),
    };
    let mut matcher = StringMatcher::new(pattern);
    matcher.ignore_case = ignore_case;
    matcher
}

fn header(text: &str) -> RbacHeader {
    let (name, test) = text.split_once(' ').unwrap();
    let (invert, test) = test.strip_prefix('!').map_or((false, test), |test| (true, test));
    let (empty, test) = test.strip_prefix('?').map_or((false, test), |test| (true, test));
    let kind = match test.split_once("..") {
        _ if test == "present" => HeaderMatcherKind::Present(true),
        _ if test == "absent" => HeaderMatcherKind::Present(false),
        Some((start, end)) => {
            HeaderMatcherKind::Range(start.parse().unwrap()..end.parse().unwrap())
        }
        None => HeaderMatcherKind::String(string(test)),
    };
    let mut header = RbacHeader::new(RbacHeaderName::parse(name).unwrap(), kind);
    (header.invert, header.treat_missing_as_empty) = (invert, empty);
    header
}

fn metadata(source: &str, text: &str) -> MetadataMatcher {
    let [filter, path, test] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (invert, test) = test.strip_prefix('!').map_or((false, test), |test| (true, test));
    let value = value_matcher(test);
    let path = path.split('.').map(Arc::from).collect();
    let mut matcher = MetadataMatcher::new(filter, path, value);
    matcher.invert = invert;
    if source == "route" {
        matcher.source = MetadataSource::Route;
    }
    matcher
}

fn value_matcher(test: &str) -> ValueMatcher {
    if let Some(inner) = test.strip_prefix("has:") {
        return ValueMatcher::OneOf(Box::new(value_matcher(inner)));
    }
    if test.contains('|') {
        return ValueMatcher::Or(test.split('|').map(value_matcher).collect());
    }
    match test {
        "null" => ValueMatcher::Null,
        "true" | "false" => ValueMatcher::Bool(test == "true"),
        "present" | "absent" => ValueMatcher::Present(test == "present"),
        test => match (test.split_once(".."), test.parse()) {
            (Some((start, end)), _) => {
                ValueMatcher::Range { start: start.parse().unwrap(), end: end.parse().unwrap() }
            }
            (None, Ok(number)) => ValueMatcher::Number(number),
            (None, Err(_)) => ValueMatcher::Text(string(test)),
        },
    }
}

pub(super) fn cidr(text: &str) -> Cidr {
    let (address, prefix) = text.split_once('/').unwrap();
    Cidr::new(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
}

/// `plain`, `tls`, or names: `uri:… dns:… subject:…`.
pub(super) fn peer(text: &str) -> Peer {
    let mut certificate = PeerCertificate::new("");
    for name in text.split_whitespace() {
        match name.split_once(':') {
            None if name == "plain" => return Peer::Plaintext,
            None if name == "tls" => return Peer::Tls,
            Some(("uri", text)) => certificate.uris.push(text.into()),
            Some(("dns", text)) => certificate.dns_names.push(text.into()),
            Some(("email", text)) => certificate.emails.push(text.into()),
            Some(("ip", text)) => certificate.ips.push(text.parse().unwrap()),
            Some(("subject", text)) => certificate.subject = text.into(),
            other => panic!("{other:?}"),
        }
    }
    Peer::Certified(Arc::new(certificate))
}

/// What a request needs to be shown.
pub(in crate::rbac) struct Scene {
    peer: Peer,
    method: Method,
    authority: String,
    path: String,
    headers: HeaderMap,
    has_head: bool,
    to: Option<SocketAddr>,
    from: Option<SocketAddr>,
    source: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    sni: String,
    metadata: Metadata,
    route_metadata: Metadata,
    state: FilterState,
    time: Option<WallTime>,
    version: Option<Version>,
}

impl Scene {
    /// `METHOD AUTHORITY PATH` or `-`, then `name: value` headers as `name:value`, and `from=ADDRESS`,
    /// `to=…`, `source=…`, `remote=…`, `sni=…`, `meta.FILTER.KEY=JSON`, `route.…`, `state.KEY=TEXT`,
    /// `at=SECONDS`, `http=VERSION`.
    pub(in crate::rbac) fn new(shown: &str, text: &str) -> Self {
        let mut words = text.split_whitespace();
        let method = words.next().unwrap();
        let has_head = method != "-";
        let mut next = || if has_head { words.next().unwrap() } else { "" };
        let (authority, path) = (next().to_owned(), next().to_owned());
        let from = Some("10.1.0.9:4444".parse().unwrap());
        let mut scene = Self {
            peer: peer(shown),
            method: Method::from_bytes(if has_head { method } else { "GET" }.as_bytes()).unwrap(),
            authority: authority.replace('-', ""),
            path: if path == "-" { String::new() } else { path },
            headers: HeaderMap::new(),
            has_head,
            to: Some("10.2.0.1:8080".parse().unwrap()),
            from,
            source: from,
            remote: from,
            sni: String::new(),
            metadata: Metadata::default(),
            route_metadata: Metadata::default(),
            state: FilterState::default(),
            time: None,
            version: None,
        };
        for word in words {
            scene.word(word);
        }
        scene
    }

    fn word(&mut self, word: &str) {
        let address = |text: &str| (text != "none").then(|| text.parse().unwrap());
        match word.split_once('=') {
            Some(("from", text)) => {
                (self.from, self.source, self.remote) =
                    (address(text), address(text), address(text));
            }
            Some(("source", text)) => self.source = address(text),
            Some(("remote", text)) => self.remote = address(text),
            Some(("to", text)) => self.to = address(text),
            Some(("sni", text)) => self.sni = text.to_owned(),
            Some(("at", text)) => {
                self.time = Some(WallTime::from_unix_seconds(text.parse().unwrap()));
            }
            Some(("http", text)) => {
                self.version = Some(match text {
                    "1.0" => Version::HTTP_10,
                    "1.1" => Version::HTTP_11,
                    "2" => Version::HTTP_2,
                    "3" => Version::HTTP_3,
                    other => panic!("{other}"),
                });
            }
            Some((key, text)) if key.starts_with("state.") => {
                self.state.0.insert(key["state.".len()..].into(), text.into());
            }
            Some((key, text)) if key.starts_with("meta.") || key.starts_with("route.") => {
                let mut keys = key.split('.');
                let of = match keys.next() {
                    Some("route") => &mut self.route_metadata,
                    _ => &mut self.metadata,
                };
                let filter = of.0.entry(keys.next().unwrap().into()).or_default();
                let first = keys.next().unwrap();
                let value = keys.rev().fold(value(text), |inner, key| {
                    MetadataValue::Struct([(Arc::from(key), inner)].into())
                });
                filter.insert(first.into(), value);
            }
            _ => {
                let (name, value) = word.split_once(':').unwrap();
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                self.headers.append(name, HeaderValue::from_str(value).unwrap());
            }
        }
    }

    pub(in crate::rbac) fn show(&self, look: impl FnOnce(&Request<'_>)) {
        let head = RequestHead::new(&self.method, &self.authority, &self.path, &self.headers);
        let connection = Connection {
            peer: &self.peer,
            local: self.to,
            direct_remote: self.from,
            source: self.source,
            requested_server_name: &self.sni,
        };
        look(&Request {
            head: self.has_head.then_some(&head),
            connection: &connection,
            remote: self.remote,
            metadata: Some(&self.metadata),
            route_metadata: Some(&self.route_metadata),
            filter_state: Some(&self.state),
            time: self.time,
            version: self.version,
        });
    }
}

/// `null`, `true`, a number, `[a,b]`, or a text.
fn value(text: &str) -> MetadataValue {
    let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match (text, list, text.parse()) {
        ("null", ..) => MetadataValue::Null,
        ("true" | "false", ..) => MetadataValue::Bool(text == "true"),
        (_, Some(list), _) => MetadataValue::List(list.split(',').map(value).collect()),
        (_, None, Ok(number)) => MetadataValue::Number(number),
        (_, None, Err(_)) => MetadataValue::Text(text.into()),
    }
}
