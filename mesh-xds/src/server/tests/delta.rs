//! Incremental streams. A request is `> CDS +a -b`, with `a@now` or `a@0123` for a version that the client
//! has, `n=<nonce>` (`last`) and `no=<text>` for a NACK. A response is `CDS #<nonce> a=1 -b`.

use super::super::{DeltaStream, MAX_NAME, MAX_TEXT, Refused, Snapshot};
use super::{World, kind, run, text};
use crate::ResourceType;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status;

#[track_caller]
fn check(name: &str, script: &str) {
    let mut world = World::default();
    let mut stream = DeltaStream::new();
    run(name, script, |line| {
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        match sign {
            "&" => {
                world.set(rest);
                Vec::new()
            }
            "!" => {
                world.set(rest);
                stream.handle_snapshot(&world.snapshot()).iter().map(shown).collect()
            }
            ">" => {
                let snapshot = world.snapshot();
                let request = request(&snapshot, &stream, rest);
                let responses = stream.handle_request(&request, &snapshot);
                responses.expect("few names").iter().map(shown).collect()
            }
            "?" => {
                let kind = kind(rest);
                let (_, view) = stream.views().find(|(other, _)| *other == kind).expect("asked");
                let accepted = view.version == world.snapshot().version(kind);
                let nack = view.nack.as_ref();
                let nack = nack.map(|nack| format!(" refused #{}: {}", nack.nonce, nack.message));
                let version = if accepted { "accepted" } else { "not" };
                vec![format!("{version} #{}{}", view.nonce, nack.unwrap_or_default())]
            }
            _ => panic!("{name}: what is `{line}`?"),
        }
    });
}

fn request(snapshot: &Snapshot, stream: &DeltaStream, line: &str) -> DeltaDiscoveryRequest {
    let mut words = line.split_whitespace();
    let kind = kind(words.next().unwrap_or_default());
    let mut request = DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    for word in words {
        if let Some(name) = word.strip_prefix('+') {
            request.resource_names_subscribe.push(name.to_owned());
        } else if let Some(name) = word.strip_prefix('-') {
            request.resource_names_unsubscribe.push(name.to_owned());
        } else if let Some((name, version)) = word.split_once('@') {
            let now = snapshot.find(kind, name).map(|served| served.version.to_string());
            let version =
                if version == "now" { now.unwrap_or_default() } else { version.to_owned() };
            request.initial_resource_versions.insert(name.to_owned(), version);
        } else if let Some(message) = word.strip_prefix("no=") {
            let message = message.to_owned();
            request.error_detail = Some(Status { code: 3, message, details: Vec::new() });
        } else if word == "n=last" {
            let view = stream.views().find(|(other, _)| *other == kind);
            request.response_nonce = view.map(|(_, view)| view.nonce.clone()).unwrap_or_default();
        } else if let Some(nonce) = word.strip_prefix("n=") {
            request.response_nonce = nonce.to_owned();
        }
    }
    request
}

fn shown(response: &DeltaDiscoveryResponse) -> String {
    let kind = ResourceType::from_type_url(&response.type_url).expect("a known type");
    let mut line = format!("{kind} #{}", response.nonce);
    for resource in &response.resources {
        let body = resource.resource.as_ref().map(|any| text(&any.value)).unwrap_or_default();
        assert!(body.starts_with(&format!("{}=", resource.name)) && !resource.version.is_empty());
        line.push_str(&format!(" {body}"));
    }
    for name in &response.removed_resources {
        line.push_str(&format!(" -{name}"));
    }
    line
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
    ("an explicit wildcard", "& CDS a=1\n> CDS +*\n< CDS #1 a=1"),
    ("a wildcard of nothing is answered", "> CDS\n< CDS #1"),
    ("a wildcard leaves out what is by name only", "& LDS ~api=1 port=1\n> LDS\n< LDS #1 port=1"),
    ("by name", "& LDS ~api=1 port=1\n> LDS +api\n< LDS #1 api=1"),
    ("a wildcard and a name", "& LDS ~api=1 port=1\n> LDS +* +api\n< LDS #1 api=1 port=1"),
    ("routes have no wildcard", "& RDS r=1\n> RDS"),
    ("a name that is not there is named as removed", "& EDS a=1\n> EDS +a +b\n< EDS #1 a=1 -b"),
    ("it is sent when it comes", "> EDS +b\n< EDS #1 -b\n! EDS b=1\n< EDS #2 b=1"),
    (
        "an acknowledgement is not answered",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n> CDS n=last\n? CDS\n< accepted #1",
    ),
    (
        "a refusal is kept",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n> CDS n=last no=bad\n? CDS\n< not #1 refused #1: bad",
    ),
    (
        "what was refused is not sent again until it changes",
        "& CDS a=1 b=1\n> CDS\n< CDS #1 a=1 b=1\n> CDS n=last no=bad\n! CDS a=1 b=1\n! CDS a=2 b=1\n< CDS #2 a=2",
    ),
    (
        "an acknowledgement takes a refusal back",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n> CDS n=last no=bad\n! CDS a=2\n< CDS #2 a=2\n> CDS n=last\n? CDS\n< accepted #2",
    ),
    (
        "a stale answer is ignored",
        "& CDS a=1\n> CDS\n< CDS #1 a=1\n! CDS a=2\n< CDS #2 a=2\n> CDS n=1 no=old\n? CDS\n< not #2",
    ),
    (
        "names beside a stale nonce count",
        "& EDS a=1 b=1\n> EDS +a\n< EDS #1 a=1\n! EDS a=2 b=1\n< EDS #2 a=2\n> EDS +b n=1\n< EDS #3 b=1",
    ),
    ("one more name", "& EDS a=1 b=1\n> EDS +a\n< EDS #1 a=1\n> EDS +b\n< EDS #2 b=1"),
    ("a name again is sent again", "& EDS a=1\n> EDS +a\n< EDS #1 a=1\n> EDS +a\n< EDS #2 a=1"),
    ("a name that ends", "& EDS a=1 b=1\n> EDS +a +b\n< EDS #1 a=1 b=1\n> EDS -b\n! EDS a=1 b=2"),
    (
        "a name that ends and begins",
        "& EDS a=1\n> EDS +a\n< EDS #1 a=1\n> EDS -a\n> EDS +a\n< EDS #2 a=1",
    ),
    (
        "a name that ends and is deleted is not told",
        "& EDS a=1\n> EDS +a\n< EDS #1 a=1\n> EDS -a\n! EDS",
    ),
    (
        "a name that ends under a wildcard: still there",
        "& CDS a=1 b=1\n> CDS +* +a\n< CDS #1 a=1 b=1\n> CDS -a\n< CDS #2 a=1",
    ),
    (
        "a name that ends under a wildcard: by name only",
        "& LDS ~a=1 b=1\n> LDS +* +a\n< LDS #1 a=1 b=1\n> LDS -a\n< LDS #2 -a",
    ),
    (
        "a name that ends under a wildcard: not there",
        "& CDS b=1\n> CDS +* +a\n< CDS #1 b=1 -a\n> CDS -a\n< CDS #2 -a",
    ),
    (
        "a wildcard that ends",
        "& CDS a=1 b=1\n> CDS +* +a\n< CDS #1 a=1 b=1\n> CDS -*\n! CDS a=1 b=2\n! CDS a=2 b=2\n< CDS #2 a=2",
    ),
    ("a wildcard that ends without names", "& CDS a=1\n> CDS\n< CDS #1 a=1\n> CDS -*\n! CDS a=2"),
    (
        "a wildcard that begins later",
        "& CDS a=1 b=1\n> CDS +a\n< CDS #1 a=1\n> CDS +*\n< CDS #2 b=1",
    ),
    (
        "no names later are no wildcard",
        "& CDS a=1 b=1\n> CDS +a\n< CDS #1 a=1\n> CDS n=last\n! CDS a=1 b=2",
    ),
    (
        "a change sends what changed",
        "& CDS a=1 b=1\n> CDS\n< CDS #1 a=1 b=1\n! CDS a=2 b=1\n< CDS #2 a=2",
    ),
    ("a new one", "& CDS a=1\n> CDS\n< CDS #1 a=1\n! CDS a=1 b=1\n< CDS #2 b=1"),
    ("a deleted one", "& CDS a=1 b=1\n> CDS\n< CDS #1 a=1 b=1\n! CDS a=1\n< CDS #2 -b"),
    (
        "a deleted one that was named",
        "& EDS a=1\n> EDS +a\n< EDS #1 a=1\n! EDS\n< EDS #2 -a\n! EDS\n! EDS a=1\n< EDS #3 a=1",
    ),
    ("the same content is not sent", "& CDS a=1\n> CDS\n< CDS #1 a=1\n! CDS a=1"),
    ("another replica: the same", "& CDS a=1 b=1\n> CDS a@now b@now"),
    (
        "another replica: one is new, one is other, one is gone",
        "& CDS a=1 b=1 c=1\n> CDS a@now b@0123 d@0123\n< CDS #1 b=1 c=1 -d",
    ),
    ("another replica: names", "& EDS a=1 b=1\n> EDS +a +b a@now b@0123\n< EDS #1 b=1"),
    ("another replica: a name is gone", "& EDS a=1\n> EDS +a +b a@now b@0123\n< EDS #1 -b"),
    ("another replica: then a change", "& CDS a=1\n> CDS a@now\n! CDS a=2\n< CDS #1 a=2"),
    ("versions count in the first request only", "& CDS a=1\n> CDS\n< CDS #1 a=1\n> CDS a@0123"),
    (
        "make before break",
        "& CDS a=1\n& EDS a=1\n& LDS l=1\n& RDS r=1\n> CDS\n< CDS #1 a=1\n> EDS +a\n< EDS #2 a=1\n> LDS\n< LDS #3 l=1\n> RDS +r\n< RDS #4 r=1\n> EDS +b\n< EDS #5 -b\n& CDS b=1\n& EDS b=1\n& LDS m=1\n! RDS r=2\n< CDS #6 b=1\n< EDS #7 b=1\n< LDS #8 m=1\n< RDS #9 r=2\n< LDS #10 -l\n< EDS #11 -a\n< CDS #12 -a",
    ),
    ("secrets are not there", "> SDS +s\n< SDS #1 -s"),
];

/// Of all kinds together, whatever their numbers; what is given up makes room.
#[test]
fn what_names_take_is_bounded_over_all_kinds() {
    let snapshot = World::default().snapshot();
    let name = |at: usize| format!("{at:0>length$}", length = MAX_NAME);
    let ask = |kind: ResourceType, names: std::ops::Range<usize>| DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: names.map(name).collect(),
        ..DeltaDiscoveryRequest::default()
    };
    // Of 16 MiB, by names that take 2 KiB and 64 bytes each.
    const FIT: usize = 7943;
    let half = FIT / 2;
    let mut stream = DeltaStream::new();
    let mut handle = |request: &DeltaDiscoveryRequest| stream.handle_request(request, &snapshot);
    handle(&ask(ResourceType::Endpoints, 0..half)).unwrap();
    handle(&ask(ResourceType::RouteConfiguration, 0..FIT - half)).unwrap();
    let refused = handle(&ask(ResourceType::Secret, 0..1)).unwrap_err();
    assert_eq!(refused, Refused::TooMuchHeld { kind: ResourceType::Secret });
    handle(&ask(ResourceType::Endpoints, 0..half)).unwrap();
    let mut other = ask(ResourceType::RouteConfiguration, 0..0);
    other.resource_names_unsubscribe.push(name(0));
    handle(&other).unwrap();
    handle(&ask(ResourceType::Secret, 0..1)).unwrap();
    assert!(handle(&ask(ResourceType::Secret, 1..2)).is_err());

    let mut has = ask(ResourceType::Cluster, 0..0);
    has.initial_resource_versions = (0..FIT).map(|at| (name(at), String::new())).collect();
    DeltaStream::new().handle_request(&has, &snapshot).unwrap();
    has.initial_resource_versions.insert("a".to_owned(), name(0));
    let refused = DeltaStream::new().handle_request(&has, &snapshot).unwrap_err().to_string();
    assert_eq!(
        refused,
        "CDS: the names of one stream, of all kinds, and with them the versions that a client has, take 16777216 bytes \
         at most, 64 for each counted along; ask for all with `*`, or by several streams"
    );
}

/// Names add up on an incremental stream, and a client's words are kept as long as it is there.
#[test]
fn what_a_client_says_is_kept_in_bounds() {
    let snapshot = World::default().snapshot();
    let long = "n".repeat(MAX_NAME + 1);
    let asked = || DeltaDiscoveryRequest {
        type_url: ResourceType::Cluster.type_url().to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let mut names = asked();
    names.resource_names_subscribe.push(long.clone());
    let mut held = asked();
    held.initial_resource_versions.insert(long.clone(), "1".to_owned());
    let mut version = asked();
    version.initial_resource_versions.insert("a".to_owned(), long);
    for (request, what) in [(names, "name"), (held, "name"), (version, "version")] {
        let refused = DeltaStream::new().handle_request(&request, &snapshot).unwrap_err();
        let told = format!("CDS: a {what} of 2049 bytes; a {what} has 2048 at most");
        assert_eq!(refused.to_string(), told);
    }
    let mut request = asked();
    request.node = Some(Node { id: "i".repeat(MAX_TEXT + 1), ..Node::default() });
    let mut stream = DeltaStream::new();
    stream.handle_request(&request, &snapshot).unwrap();
    assert_eq!(stream.node_id().map(|id| id.len()), Some(MAX_TEXT));
}
