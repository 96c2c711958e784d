//! Streams of the state of the world. A request is `> CDS a b`, with `v=<version>` (`now`: the
//! snapshot's), `n=<nonce>` (`last`: of the last response of the kind) and `no=<text>` for a NACK. A
//! response is `CDS #<nonce> a=1 b=2`; `?` shows the view of a kind: `accepted|none nonce nack`.

use super::super::SotwStream;
use super::{World, kind, run, text};
use crate::ResourceType;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc::Status;

#[track_caller]
fn check(name: &str, script: &str) {
    let mut world = World::default();
    let mut stream = SotwStream::new();
    run(name, script, |line| {
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        match sign {
            // Held back: pushed with the next `!`.
            "&" => {
                world.set(rest);
                Vec::new()
            }
            "!" => {
                world.set(rest);
                stream.handle_snapshot(&world.snapshot()).iter().map(shown).collect()
            }
            ">" => {
                let request = request(&world, &stream, rest);
                match stream.handle_request(&request, &world.snapshot()) {
                    Ok(responses) => responses.iter().map(shown).collect(),
                    Err(refused) => vec![refused.to_string()],
                }
            }
            "?" => vec![view(&world, &stream, kind(rest))],
            _ => panic!("{name}: what is `{line}`?"),
        }
    });
}

fn request(world: &World, stream: &SotwStream, line: &str) -> DiscoveryRequest {
    let mut words = line.split_whitespace();
    let kind = kind(words.next().unwrap_or_default());
    let mut request =
        DiscoveryRequest { type_url: kind.type_url().to_owned(), ..DiscoveryRequest::default() };
    for word in words {
        match word.split_once('=') {
            Some(("v", "now")) => request.version_info = world.snapshot().version(kind).to_owned(),
            Some(("v", version)) => request.version_info = version.to_owned(),
            Some(("n", "last")) => request.response_nonce = nonce(stream, kind),
            Some(("n", nonce)) => request.response_nonce = nonce.to_owned(),
            Some(("no", message)) => {
                let message = message.to_owned();
                request.error_detail = Some(Status { code: 3, message, details: Vec::new() });
            }
            _ => request.resource_names.push(word.to_owned()),
        }
    }
    request
}

fn nonce(stream: &SotwStream, kind: ResourceType) -> String {
    let view = stream.views().find(|(other, _)| *other == kind);
    view.map(|(_, view)| view.nonce.clone()).unwrap_or_default()
}

fn shown(response: &DiscoveryResponse) -> String {
    let kind = ResourceType::from_type_url(&response.type_url).expect("a known type");
    assert!(response.resources.iter().all(|any| any.type_url == response.type_url));
    let bodies = response.resources.iter().map(|any| format!(" {}", text(&any.value)));
    format!("{kind} #{}{}", response.nonce, bodies.collect::<String>())
}

fn view(world: &World, stream: &SotwStream, kind: ResourceType) -> String {
    let Some((_, view)) = stream.views().find(|(other, _)| *other == kind) else {
        return "unknown".to_owned();
    };
    let version = match view.version.as_str() {
        "" => "none",
        version if version == world.snapshot().version(kind) => "accepted",
        _ => "older",
    };
    let nack = view.nack.as_ref().map(|nack| format!(" refused #{}: {}", nack.nonce, nack.message));
    format!("{version} #{}{}", view.nonce, nack.unwrap_or_default())
}

#[test]
fn scripts() {
    for (name, script) in ROWS {
        check(name, script);
    }
    assert!(ROWS.len() >= 30);
}

const ROWS: &[(&str, &str)] = &[
    ("a wildcard of clusters", "& CDS a=1 b=1\n> CDS\n< CDS #1 a=1 b=1"),
    ("an explicit wildcard", "& CDS a=1 b=1\n> CDS *\n< CDS #1 a=1 b=1"),
    ("a wildcard of nothing is answered", "> CDS\n< CDS #1"),
    (
        "a wildcard of listeners leaves out those by name only",
        "& LDS ~api=1 port=1\n> LDS\n< LDS #1 port=1",
    ),
    ("a listener by name only, by its name", "& LDS ~api=1 port=1\n> LDS api\n< LDS #1 api=1"),
    ("a wildcard and a name", "& LDS ~api=1 port=1\n> LDS * api\n< LDS #1 api=1 port=1"),
    ("named clusters", "& CDS a=1 b=1\n> CDS b\n< CDS #1 b=1"),
    ("a named cluster that is not there", "& CDS a=1\n> CDS c\n< CDS #1"),
    ("named routes", "& RDS r=1 s=1\n> RDS s\n< RDS #1 s=1"),
    ("routes have no wildcard", "& RDS r=1\n> RDS"),
    ("`*` is a name for routes", "& RDS r=1\n> RDS *"),
    ("endpoints that are not there are waited for", "> EDS e\n! EDS e=1\n< EDS #1 e=1"),
    (
        "an acknowledgement is not answered",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n> CDS v=now n=last\n? CDS\n< accepted #1",
    ),
    (
        "a refusal is kept and not answered",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n> CDS n=last no=bad\n? CDS\n< none #1 refused #1: bad",
    ),
    (
        "what was refused is not sent again until it changes",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n> CDS n=last no=bad\n! CDS a=1\n! CDS a=2\n< CDS #2 a=2\n> CDS v=now n=last\n? CDS\n< accepted #2",
    ),
    (
        "a refusal of the same version is one too",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n> CDS v=now n=last\n> CDS v=now n=last no=later\n? CDS\n< accepted #1 refused #1: later",
    ),
    (
        "a stale nonce is ignored",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n! CDS a=2\n< CDS #2 a=2\n> CDS n=1 no=old\n? CDS\n< none #2",
    ),
    (
        "names beside a stale nonce are ignored",
        "& EDS a=1 b=1\n> EDS a\n< EDS #1 a=1\n! EDS a=2 b=1\n< EDS #2 a=2\n> EDS a b n=1\n> EDS a b n=2\n< EDS #3 b=1",
    ),
    (
        "a change of names before the first answer was seen",
        "& EDS a=1 b=1\n> EDS a\n< EDS #1 a=1\n> EDS a b\n< EDS #2 b=1",
    ),
    (
        "one more endpoint name gets that one",
        "& EDS a=1 b=1\n> EDS a\n< EDS #1 a=1\n> EDS a b n=last\n< EDS #2 b=1",
    ),
    (
        "one more cluster name gets all",
        "& CDS a=1 b=1\n> CDS a\n< CDS #1 a=1\n> CDS a b n=last\n< CDS #2 a=1 b=1",
    ),
    (
        "one name fewer is not answered",
        "& EDS a=1 b=1\n> EDS a b\n< EDS #1 a=1 b=1\n> EDS a n=last",
    ),
    (
        "what is no longer asked for is not pushed",
        "& EDS a=1 b=1\n> EDS a b\n< EDS #1 a=1 b=1\n> EDS a n=last\n! EDS a=1 b=2",
    ),
    (
        "a name that is asked for again is sent again",
        "& EDS a=1 b=1\n> EDS a b\n< EDS #1 a=1 b=1\n> EDS a n=last\n> EDS a b n=last\n< EDS #2 b=1",
    ),
    (
        "no names after names are no wildcard",
        "& CDS a=1\n> CDS a\n< CDS #1 a=1\n> CDS n=last\n! CDS a=2",
    ),
    (
        "a name after a wildcard ends it",
        "& CDS a=1 b=1\n> CDS\n< CDS #1 a=1 b=1\n> CDS a n=last\n< CDS #2 a=1\n! CDS a=1 b=2",
    ),
    (
        "a wildcard after names",
        "& CDS a=1 b=1\n> CDS a\n< CDS #1 a=1\n> CDS * n=last\n< CDS #2 a=1 b=1",
    ),
    (
        "a change of one cluster sends all",
        "& CDS a=1 b=1\n> CDS\n< CDS #1 a=1 b=1\n! CDS a=2 b=1\n< CDS #2 a=2 b=1",
    ),
    (
        "a change of one endpoint sends that one",
        "& EDS a=1 b=1\n> EDS a b\n< EDS #1 a=1 b=1\n! EDS a=1 b=2\n< EDS #2 b=2",
    ),
    (
        "a change of one route sends that one",
        "& RDS a=1 b=1\n> RDS a b\n< RDS #1 a=1 b=1\n! RDS a=2 b=1\n< RDS #2 a=2",
    ),
    ("the same content is not sent", "& CDS a=1\n> CDS\n< CDS #1 a=1\n! CDS a=1"),
    (
        "a deleted cluster is left out",
        "& CDS a=1 b=1\n> CDS\n< CDS #1 a=1 b=1\n! CDS a=1\n< CDS #2 a=1",
    ),
    (
        "a deleted listener is left out",
        "& LDS a=1 b=1\n> LDS a b\n< LDS #1 a=1 b=1\n! LDS a=1\n< LDS #2 a=1",
    ),
    ("deleted endpoints are not told", "& EDS a=1\n> EDS a\n< EDS #1 a=1\n! EDS"),
    (
        "endpoints that come back are sent again",
        "& EDS a=1\n> EDS a\n< EDS #1 a=1\n! EDS\n! EDS a=1\n< EDS #2 a=1",
    ),
    (
        "make before break",
        "& CDS a=1\n& EDS a=1\n& LDS l=1\n& RDS r=1\n> CDS\n< CDS #1 a=1\n> EDS a b\n< EDS #2 a=1\n> LDS\n< LDS #3 l=1\n> RDS r\n< RDS #4 r=1\n& CDS b=1\n& EDS b=1\n& LDS l=2\n! RDS r=2\n< CDS #5 a=1 b=1\n< EDS #6 b=1\n< LDS #7 l=2\n< RDS #8 r=2\n< CDS #9 b=1",
    ),
    (
        "between the two responses of a change a client is not up to date",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n! CDS b=1\n< CDS #2 a=1 b=1\n< CDS #3 b=1\n> CDS n=2 v=now\n? CDS\n< none #3\n> CDS n=3 v=now\n? CDS\n< accepted #3",
    ),
    (
        "another replica, the same wildcard: nothing",
        "& CDS a=1\n> CDS v=now\n! CDS a=1\n! CDS a=2\n< CDS #1 a=2",
    ),
    ("another replica, an older wildcard", "& CDS a=1\n> CDS v=0123\n< CDS #1 a=1"),
    ("another replica, names: sent again", "& EDS a=1\n> EDS a v=now\n< EDS #1 a=1"),
    ("a nonce of an earlier stream is none", "& EDS a=1\n> EDS a v=now n=77\n< EDS #1 a=1"),
    ("secrets are not there", "> SDS s"),
    (
        "nonces go over all kinds",
        "& CDS a=1\n& EDS a=1\n> CDS\n< CDS #1 a=1\n> EDS a\n< EDS #2 a=1\n> CDS n=1 v=now\n? CDS\n< accepted #1",
    ),
    ("a kind that was not asked for is not pushed", "& CDS a=1\n> CDS\n< CDS #1 a=1\n! EDS a=1"),
    ("a name twice is one name", "& EDS a=1\n> EDS a a\n< EDS #1 a=1"),
];

#[test]
fn a_name_that_is_too_long_ends_the_stream() {
    let mut request = DiscoveryRequest {
        type_url: ResourceType::Endpoints.type_url().to_owned(),
        resource_names: vec!["n".repeat(super::super::MAX_NAME)],
        ..DiscoveryRequest::default()
    };
    let mut stream = SotwStream::new();
    let snapshot = World::default().snapshot();
    stream.handle_request(&request, &snapshot).unwrap();
    request.resource_names[0].push('n');
    let refused = stream.handle_request(&request, &snapshot).unwrap_err().to_string();
    assert_eq!(refused, "EDS: a name of 2049 bytes; a name has 2048 at most");
}

#[test]
fn too_many_names_end_the_stream() {
    let names: Vec<_> = (0..=super::super::MAX_NAMES).map(|name| name.to_string()).collect();
    let request = DiscoveryRequest {
        type_url: ResourceType::Endpoints.type_url().to_owned(),
        resource_names: names,
        ..DiscoveryRequest::default()
    };
    let refused = SotwStream::new().handle_request(&request, &World::default().snapshot());
    assert_eq!(
        refused.map_err(|refused| refused.to_string()),
        Err("EDS: more than 100000 names on one stream; ask for all with `*`, or by several streams".to_owned())
    );
}

/// Each request says all names of its kind: those before it make room, those of other kinds do not.
#[test]
fn what_names_take_is_bounded_over_all_kinds() {
    let snapshot = World::default().snapshot();
    let mut stream = SotwStream::new();
    let mut ask = |kind: ResourceType, names: usize| {
        let name = |at| format!("{at:0>length$}", length = super::super::MAX_NAME);
        let request = DiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names: (0..names).map(name).collect(),
            ..DiscoveryRequest::default()
        };
        stream.handle_request(&request, &snapshot).map(drop)
    };
    const FIT: usize = 7943;
    let (endpoints, routes) = (ResourceType::Endpoints, ResourceType::RouteConfiguration);
    assert_eq!(ask(endpoints, FIT), Ok(()));
    assert_eq!(ask(endpoints, FIT - 1), Ok(()));
    assert_eq!(ask(routes, 1), Ok(()));
    let refused = super::super::Refused::TooMuchHeld { kind: endpoints };
    assert_eq!(ask(endpoints, FIT), Err(refused));
    assert_eq!(ask(routes, 1), Ok(()), "what was refused is not held");
}

#[test]
fn a_type_that_is_not_known_is_not_answered() {
    let request = DiscoveryRequest {
        type_url: "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration".to_owned(),
        ..DiscoveryRequest::default()
    };
    let responses = SotwStream::new().handle_request(&request, &World::default().snapshot());
    assert_eq!(responses, Ok(Vec::new()));
}
