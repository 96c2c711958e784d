//! Which requests a configuration is asked: for every condition of every route something that fulfils it,
//! and everything near it that does not.

use super::values::{Values, headers, paths, queries};
use http::{Method, Version};
use mesh_core::ConfigUpdate;
use mesh_core::model::{
    ClusterSpecifier, Domain, ForwardAction, HashPolicy, HashSource, HeaderMutation, HostRewrite,
    Route, RouteAction, Split, SplitBy, VirtualHost,
};

/// A request, and why it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) why: String,
    pub(crate) method: Method,
    pub(crate) authority: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Whether the answer may be drawn, so that shares are compared.
    pub(crate) is_drawn: bool,
    /// Whether a header of it names the cluster.
    pub(crate) names_its_cluster: bool,
}

impl Question {
    /// gRPC is HTTP/2; everything else is asked in HTTP/1.1.
    pub(crate) fn version(&self) -> Version {
        let is_grpc = |(name, value): &(String, String)| {
            name == "content-type" && value.starts_with("application/grpc")
        };
        if self.headers.iter().any(is_grpc) { Version::HTTP_2 } else { Version::HTTP_11 }
    }
}

/// Every question to a configuration.
pub(crate) fn questions(update: &ConfigUpdate) -> Vec<Question> {
    let mut all = Vec::new();
    let hosts = &update.route_configuration.virtual_hosts;
    for host in hosts {
        for authority in host.domains.iter().flat_map(authorities) {
            // What can't be said to Envoy: `mesh_xds::encode`, `route_configuration`.
            if differs_by_port(update, &authority) {
                continue;
            }
            all.push(plain(&authority, "/", format!("{}: domains", host.name)));
        }
        for route in &host.routes {
            all.extend(of_route(update, host, route));
        }
    }
    all.push(plain("nowhere.example", "/", "no virtual host".to_owned()));
    all
}

fn plain(authority: &str, path: &str, why: String) -> Question {
    let (method, headers) = (Method::GET, Vec::new());
    let (authority, path) = (authority.to_owned(), path.to_owned());
    Question { why, method, authority, path, headers, is_drawn: false, names_its_cluster: false }
}

/// Authorities that a domain takes, the first without doubt, and some that it does not.
fn authorities(domain: &Domain) -> Vec<String> {
    let forms = |text: &str| {
        let bare = text.split(':').next().unwrap_or_default();
        vec![
            text.to_owned(),
            text.to_ascii_uppercase(),
            bare.to_owned(),
            format!("{bare}:80"),
            format!("{bare}:9080"),
            format!("{bare}:1"),
            format!("x{text}"),
            format!("{bare}x"),
        ]
    };
    match domain {
        Domain::Exact(text) => forms(text),
        Domain::Suffix(text) => {
            let mut all = forms(&format!("a{text}"));
            all.extend([format!("a.b{text}"), text.trim_start_matches('.').to_owned()]);
            all
        }
        Domain::Prefix(text) => forms(&format!("{text}a")),
        Domain::Any => vec!["any.example".to_owned()],
    }
}

/// Whether some domain has a port, and the authority has one that only a wildcard without a port takes.
fn differs_by_port(update: &ConfigUpdate, authority: &str) -> bool {
    let domains = update.route_configuration.virtual_hosts.iter().flat_map(|host| &host.domains);
    let exact: Vec<_> = domains
        .filter_map(|domain| match domain {
            Domain::Exact(text) => Some(&**text),
            _ => None,
        })
        .collect();
    let Some((host, _)) = authority.split_once(':') else { return false };
    let lower = authority.to_ascii_lowercase();
    exact.iter().any(|text| text.contains(':'))
        && !exact.iter().any(|text| *text == lower || *text == host.to_ascii_lowercase())
}

fn of_route(update: &ConfigUpdate, host: &VirtualHost, route: &Route) -> Vec<Question> {
    let authority = host.domains.first().map(|domain| authorities(domain).remove(0));
    let matcher = &route.matcher;
    let paths = paths(matcher);
    let queries = queries(&matcher.query_parameters);
    let headers = headers(matcher);
    let mut good =
        plain(&authority.unwrap_or_default(), "", format!("{}/{}", host.name, route.name));
    good.path = join(&paths[0], &queries[0]);
    good.headers = headers.iter().flat_map(|(name, values)| pairs(name, &values[0])).collect();
    let is_grpc = good.version() == Version::HTTP_2;
    let usual = if is_grpc { Method::POST } else { Method::GET };
    good.method = matcher.methods.first().cloned().unwrap_or(usual);
    good.is_drawn = matcher.runtime_fraction.is_some() || is_split(&route.action);

    good.names_its_cluster = matches!(
        &route.action,
        RouteAction::Forward(ForwardAction { cluster: ClusterSpecifier::Header(_), .. })
    );
    if gives_no_host(route) {
        good.path.push_str("/host");
    }

    let mut all = vec![good.clone()];
    let mut vary = |what: &str, change: &dyn Fn(&mut Question)| {
        let mut question = good.clone();
        question.is_drawn = false;
        question.why = format!("{}: {what}", good.why);
        change(&mut question);
        all.push(question);
    };
    for path in paths[1..].iter().filter(|_| !gives_no_host(route)) {
        vary("path", &|question| question.path = join(path, &queries[0]));
    }
    for query in &queries[1..] {
        vary("query", &|question| question.path = join(&paths[0], query));
    }
    // A gRPC call is a POST; Envoy resets others here and there.
    let methods = [Method::GET, Method::POST, Method::HEAD, Method::DELETE];
    for method in methods.iter().filter(|_| good.version() == Version::HTTP_11) {
        vary("method", &|question| question.method = method.clone());
    }
    for (name, values) in &headers {
        for values in &values[1..] {
            vary(name, &|question| {
                question.headers.retain(|(other, _)| other != name);
                question.headers.extend(pairs(name, values));
            });
        }
    }
    for (name, values) in inputs(update, host, route) {
        vary("what is read or edited", &|question| {
            question.headers.retain(|(other, _)| *other != name);
            question.headers.extend(pairs(&name, &values));
        });
    }
    all
}

/// Whether the path becomes the host: where it would be none, Envoy sends it and the mesh leaves what is there.
const fn gives_no_host(route: &Route) -> bool {
    let RouteAction::Forward(forward) = &route.action else { return false };
    matches!(&forward.host_rewrite, Some(HostRewrite::PathRegex { .. }))
}

fn pairs(name: &str, values: &[String]) -> Vec<(String, String)> {
    values.iter().map(|value| (name.to_owned(), value.clone())).collect()
}

fn join(path: &str, query: &str) -> String {
    match (query, path.contains('?')) {
        ("", _) => path.to_owned(),
        (query, false) => format!("{path}?{query}"),
        (query, true) => format!("{path}&{query}"),
    }
}

fn is_split(action: &RouteAction) -> bool {
    let RouteAction::Forward(ForwardAction { cluster: ClusterSpecifier::Split(split), .. }) =
        action
    else {
        return false;
    };
    split.clusters.len() > 1
}

/// Headers that are read or edited behind the match, with values.
fn inputs(update: &ConfigUpdate, host: &VirtualHost, route: &Route) -> Vec<(String, Values)> {
    let levels = [&update.route_configuration.headers, &host.headers, &route.headers];
    let mut edits: Vec<_> = levels.iter().flat_map(|level| level.request.clone()).collect();
    let mut all = Vec::new();
    let values = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Values>();
    if let RouteAction::Forward(forward) = &route.action {
        match &forward.cluster {
            ClusterSpecifier::Header(name) => {
                let clusters = update.clusters.keys().map(|cluster| values(&[cluster]));
                let all_values = clusters.chain([values(&["unknown"]), values(&[""])]);
                all.extend(all_values.map(|values| (name.to_string(), values)));
            }
            ClusterSpecifier::Split(split) => {
                edits.extend(split.clusters.iter().flat_map(|part| part.headers.request.clone()));
                all.extend(draws(split));
            }
            _ => {}
        }
        if let Some(HostRewrite::Header(name)) = &forward.host_rewrite {
            all.push((name.to_string(), values(&["other.example:81"])));
        }
        all.extend(hashed(&forward.hash_policy));
    }
    for edit in edits {
        let (HeaderMutation::Remove(name) | HeaderMutation::Append { name, .. }) = edit;
        all.push((name.to_string(), values(&["old"])));
        all.push((name.to_string(), values(&["old", "older"])));
    }
    all
}

fn draws(split: &Split) -> Vec<(String, Values)> {
    match &split.by {
        SplitBy::HeaderValue(name) => ["0", "1", "3", "4", "99", "x", "-1", "18446744073709551615"]
            .map(|draw| (name.to_string(), vec![draw.to_owned()]))
            .to_vec(),
        SplitBy::Hash(inputs) => hashed(inputs),
        _ => Vec::new(),
    }
}

/// Several values, so that draws by a hash are compared, too.
fn hashed(inputs: &[HashPolicy]) -> Vec<(String, Values)> {
    let users = || (0..40).map(|user| format!("user-{user}"));
    let of = |input: &HashPolicy| match &input.source {
        HashSource::Header { name, .. } => {
            users().map(|user| (name.to_string(), vec![user])).collect::<Vec<_>>()
        }
        HashSource::Cookie { name, .. } => {
            users().map(|user| ("cookie".to_owned(), vec![format!("{name}={user}")])).collect()
        }
        _ => Vec::new(),
    };
    inputs.iter().flat_map(of).collect()
}
