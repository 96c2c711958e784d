//! Decides on the model itself, in the plainest way: no tables, no order, no index.

use super::*;
use crate::identity::{CompiledSanMatchers, Peer};
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::*;
use crate::rbac::template;
use crate::router::CompiledRegex;
use std::net::SocketAddr;

/// Whether it is allowed, and the policy that matched.
pub(super) fn evaluate(rbac: &Rbac, request: &Request<'_>) -> (bool, Option<String>) {
    let matched = rbac.policies.iter().find(|(_, policy)| {
        let permitted = policy.permissions.iter().any(|rule| permission(rule, request));
        permitted && policy.principals.iter().any(|rule| principal(rule, request))
    });
    let allowed = match rbac.action {
        RbacAction::Allow => matched.is_some(),
        RbacAction::Deny => matched.is_none(),
        RbacAction::Log => true,
    };
    (allowed, matched.map(|(name, _)| name.to_string()))
}

fn permission(rule: &Permission, request: &Request<'_>) -> bool {
    let local = request.connection.local;
    match rule {
        Permission::Any => true,
        Permission::And(rules) => rules.iter().all(|rule| permission(rule, request)),
        Permission::Or(rules) => rules.iter().any(|rule| permission(rule, request)),
        Permission::Not(rule) => !permission(rule, request),
        Permission::Header(matcher) => header(matcher, request),
        Permission::UrlPath(matcher) => url_path(matcher, request),
        Permission::DestinationIp(block) => within(block, local),
        Permission::DestinationPort(port) => local.is_some_and(|local| local.port() == *port),
        Permission::DestinationPortRange(ports) => {
            local.is_some_and(|local| ports.contains(&local.port().into()))
        }
        Permission::Metadata(matcher) => metadata(matcher, request),
        Permission::RequestedServerName(matcher) => {
            string(matcher, request.connection.requested_server_name)
        }
        Permission::UriTemplate(text) => path(request)
            .is_some_and(|path| template::compile(text).unwrap().is_match(path.as_bytes())),
    }
}

fn principal(rule: &Principal, request: &Request<'_>) -> bool {
    let peer = request.connection.peer;
    match rule {
        Principal::Any => true,
        Principal::And(rules) => rules.iter().all(|rule| principal(rule, request)),
        Principal::Or(rules) => rules.iter().any(|rule| principal(rule, request)),
        Principal::Not(rule) => !principal(rule, request),
        Principal::Authenticated(matcher) => match (peer, matcher) {
            (Peer::Plaintext, _) => false,
            (_, None) => true,
            (Peer::Tls, Some(matcher)) => string(matcher, ""),
            (Peer::Certified(peer), Some(matcher)) if !peer.uris.is_empty() => {
                peer.uris.iter().any(|uri| string(matcher, uri))
            }
            (Peer::Certified(peer), Some(matcher)) if !peer.dns_names.is_empty() => {
                peer.dns_names.iter().any(|name| string(matcher, name))
            }
            (Peer::Certified(peer), Some(matcher)) => string(matcher, &peer.subject),
        },
        Principal::MtlsAuthenticated(None) => matches!(peer, Peer::Certified(_)),
        Principal::MtlsAuthenticated(Some(matcher)) => {
            CompiledSanMatchers::new(std::slice::from_ref(matcher)).unwrap().check(peer).is_ok()
        }
        Principal::SourceIp(block) => within(block, request.connection.source),
        Principal::DirectRemoteIp(block) => within(block, request.connection.direct_remote),
        Principal::RemoteIp(block) => within(block, request.remote),
        Principal::Header(matcher) => header(matcher, request),
        Principal::UrlPath(matcher) => url_path(matcher, request),
        Principal::Metadata(matcher) => metadata(matcher, request),
        Principal::FilterState(matcher) => {
            let text = request.filter_state.and_then(|state| state.0.get(&matcher.key));
            match (&matcher.value, text) {
                (_, None) => false,
                (FilterStateValue::Text(matcher), Some(text)) => string(matcher, text),
                (FilterStateValue::Address(blocks), Some(text)) => {
                    let ip = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|a| a.ip()));
                    ip.is_ok_and(|ip| blocks.iter().any(|block| block.contains(ip)))
                }
            }
        }
    }
}

fn within(block: &Cidr, address: Option<SocketAddr>) -> bool {
    address.is_some_and(|address| block.contains(address.ip()))
}

fn path<'a>(request: &Request<'a>) -> Option<&'a str> {
    let path = request.head?.path_and_query.split(['?', '#']).next().unwrap();
    (!path.is_empty()).then_some(path)
}

fn url_path(matcher: &StringMatcher, request: &Request<'_>) -> bool {
    path(request).is_some_and(|path| string(matcher, path))
}

fn string(matcher: &StringMatcher, text: &str) -> bool {
    let fold = |text: &str| match matcher.ignore_case {
        true => text.to_ascii_lowercase(),
        false => text.to_owned(),
    };
    let folded = fold(text);
    match &matcher.pattern {
        StringPattern::Exact(wanted) => folded == fold(wanted),
        StringPattern::Prefix(wanted) => folded.starts_with(&fold(wanted)),
        StringPattern::Suffix(wanted) => folded.ends_with(&fold(wanted)),
        StringPattern::Contains(wanted) => folded.contains(&fold(wanted)),
        StringPattern::Regex(pattern) => {
            CompiledRegex::full_match(pattern).unwrap().is_match(text.as_bytes())
        }
    }
}

fn header(matcher: &RbacHeader, request: &Request<'_>) -> bool {
    let Some(head) = request.head else { return false };
    let name = matcher.name.as_str();
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let value = match name {
        ":method" => Some(head.method.to_string()),
        ":path" => filled(head.path_and_query),
        ":authority" => filled(head.authority),
        "te" | "upgrade" | "connection" | "keep-alive" | "trailer" | "transfer-encoding"
        | "proxy-connection" => None,
        name => {
            let values: Vec<_> =
                head.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            (!values.is_empty()).then(|| values.join(","))
        }
    };
    let value = value.or_else(|| matcher.treat_missing_as_empty.then(String::new));
    let matched = match (&matcher.kind, value) {
        (HeaderMatcherKind::Present(present), value) => value.is_some() == *present,
        (_, None) => return false,
        (HeaderMatcherKind::String(wanted), Some(value)) => string(wanted, &value),
        (HeaderMatcherKind::Range(range), Some(value)) => {
            value.trim().parse().is_ok_and(|number: i64| range.contains(&number))
        }
    };
    matched != matcher.invert
}

fn metadata(matcher: &MetadataMatcher, request: &Request<'_>) -> bool {
    let metadata = match matcher.source {
        MetadataSource::Dynamic => request.metadata,
        MetadataSource::Route => request.route_metadata,
    };
    let found = metadata.and_then(|metadata| metadata.get(&matcher.filter, &matcher.path));
    found.is_some_and(|found| value(&matcher.value, found)) != matcher.invert
}

fn value(matcher: &ValueMatcher, found: &MetadataValue) -> bool {
    match matcher {
        ValueMatcher::Null => matches!(found, MetadataValue::Null),
        ValueMatcher::Present(present) => *present,
        ValueMatcher::Or(matchers) => matchers.iter().any(|matcher| value(matcher, found)),
        ValueMatcher::Bool(wanted) => matches!(found, MetadataValue::Bool(flag) if flag == wanted),
        ValueMatcher::Number(wanted) => {
            matches!(found, MetadataValue::Number(n) if n.to_bits() == wanted.to_bits())
        }
        ValueMatcher::Range { start, end } => {
            matches!(found, MetadataValue::Number(n) if n >= start && n < end)
        }
        ValueMatcher::Text(wanted) => {
            matches!(found, MetadataValue::Text(text) if string(wanted, text))
        }
        ValueMatcher::OneOf(inner) => match found {
            MetadataValue::List(values) => values.iter().any(|found| value(inner, found)),
            _ => false,
        },
    }
}
