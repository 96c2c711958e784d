//! What is shown after what happened, and that it is what the protocol says.

mod copies;
mod csds;
mod properties;

use super::{Recorder, Status, cache_state};
use crate::ResourceType;
use crate::bootstrap::Bootstrap;
use crate::protocol::{
    CloseReason, Content, Name, Options, Protocol, Received, ResourceError, Response, Variant,
};
use bytes::Bytes;
use mesh_core::random::SplitMix64;
use mesh_core::{Timestamp, WallTime};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A protocol and its recorder, driven as the client does it.
struct Run {
    protocol: Protocol,
    recorder: Recorder,
    status: Status,
    acks: Arc<Mutex<Vec<(ResourceType, Duration)>>>,
    random: SplitMix64,
}

fn bootstrap() -> Bootstrap {
    Bootstrap::parse(
        r#"{ "xds_servers": [{ "server_uri": "control.example:1", "channel_creds": [{ "type": "insecure" }] }],
             "node": { "id": "n1" } }"#,
    )
    .unwrap()
}

impl Run {
    fn new(variant: Variant) -> Self {
        let status = Status::new(&bootstrap());
        Self::of(&status, "xds:1", variant)
    }

    /// The client of one server of several.
    fn of(status: &Status, uri: &str, variant: Variant) -> Self {
        let acks = Arc::<Mutex<Vec<_>>>::default();
        let told = Arc::clone(&acks);
        status.on_ack(move |kind, took| told.lock().push((kind, took)));
        Self {
            protocol: Protocol::new(Options::new(variant)),
            recorder: status.recorder(&uri.into()),
            status: status.clone(),
            acks,
            random: SplitMix64::new(1),
        }
    }

    /// `event` happens `at` this second; `~`: and no request is taken.
    fn event(&mut self, at: u64, event: &str) {
        let (event, take) = match event.strip_prefix('~') {
            Some(event) => (event, false),
            None => (event, true),
        };
        let (now, wall) = (Timestamp::from_millis(at * 1_000), WallTime::from_unix_seconds(at));
        let (word, rest) = event.split_once(' ').unwrap_or((event, ""));
        let (protocol, recorder) = (&mut self.protocol, &self.recorder);
        match word {
            "watch" | "unwatch" => {
                let (kind, name) = rest.split_once(' ').unwrap();
                let (kind, name) = (kind_of(kind), Arc::<str>::from(name));
                let watched = Name::Of(Arc::clone(&name));
                match word {
                    "watch" => protocol.handle_watch(kind, &watched, now).unwrap(),
                    _ => protocol.handle_unwatch(kind, &watched, now),
                }
                recorder.watched(protocol, kind, &name, wall);
            }
            "connected" => {
                protocol.handle_connected(now);
                recorder.connected(protocol);
            }
            "ended" | "failed" => {
                let reason = match word {
                    "ended" => CloseReason::Ended,
                    _ => CloseReason::Failed(rest.into()),
                };
                protocol.handle_closed(reason, now, &mut self.random);
                recorder.closed(protocol, wall);
            }
            "timer" => protocol.handle_timeout(now, &mut self.random),
            _ => {
                let (response, bodies) = response(event);
                protocol.handle_response(&response, now);
                let body = |index: usize| bodies[index].clone();
                recorder.responded(protocol, &response, body, (now, wall));
            }
        }
        // To take a request may tell something too: what nobody watches is forgotten with it.
        let mut busy = true;
        while busy {
            busy = false;
            while let Some(event) = protocol.poll_event() {
                recorder.told(protocol, &event, (now, wall));
            }
            while take && let Some(request) = protocol.poll_request(now) {
                recorder.sent(&request, now);
                busy = true;
            }
        }
        while protocol.poll_action().is_some() {
            recorder.closed(protocol, wall);
        }
    }

    /// `NAME STATE VERSION=BODY @UPDATED !DETAILS VERSION @AT`, as far as it is there.
    fn dump(&self) -> String {
        let all = self.status.resources().into_iter().map(|dump| {
            let mut text =
                format!("{} {}", dump.name, cache_state(dump.state, dump.version.is_some()));
            if let (Some(version), Some(body)) = (&dump.version, &dump.body) {
                let body = std::str::from_utf8(body).unwrap();
                let updated = dump.last_updated.unwrap().as_unix_seconds();
                text.push_str(&format!(" {version}={body} @{updated}"));
            }
            if let Some(error) = &dump.error {
                let version = error.version.as_deref().unwrap_or("-");
                let at = error.at.as_unix_seconds();
                text.push_str(&format!(" !{} {version} @{at}", error.details));
            }
            text
        });
        all.collect::<Vec<_>>().join(", ")
    }
}

fn kind_of(text: &str) -> ResourceType {
    ResourceType::ALL.into_iter().find(|kind| kind.to_string() == text).unwrap()
}

/// `LDS v1 a=1 b=!TEXT c=~ -f g^5`: good with this body, bad, a heartbeat, removed, an error of the server.
fn response(text: &str) -> (Response, Vec<Option<Bytes>>) {
    let mut words = text.split(' ');
    let (kind, version) = (kind_of(words.next().unwrap()), words.next().unwrap());
    let mut response = Response::new(kind, version, format!("nonce {version}"));
    let mut bodies = Vec::new();
    for word in words {
        if let Some(removed) = word.strip_prefix('-') {
            response.removed.push(removed.into());
        } else if let Some((name, code)) = word.split_once('^') {
            response.errors.push(ResourceError::new(name, code.parse().unwrap(), "no"));
        } else {
            let (name, body) = word.rsplit_once('=').unwrap();
            let content = match (body.strip_prefix('!'), body) {
                (Some(error), _) => Content::Bad(error.into()),
                (None, "~") => Content::Heartbeat,
                (None, _) => Content::Good { hash: body.bytes().map(u64::from).sum() },
            };
            let good = matches!(content, Content::Good { .. });
            response.resources.push(Received::new(Some(name.into()), content));
            bodies.push(good.then(|| Bytes::copy_from_slice(body.as_bytes())));
        }
    }
    (response, bodies)
}

/// Runs lines of `SECOND EVENT -> DUMP`.
#[track_caller]
fn check(variant: Variant, script: &str) {
    let mut run = Run::new(variant);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (input, expected) = line.split_once("->").unwrap();
        let (at, event) = input.trim().split_once(' ').unwrap();
        run.event(at.parse().unwrap(), event.trim());
        assert_eq!(run.dump(), expected.trim(), "{line}");
    }
}

#[test]
fn a_value_its_successors_and_a_refusal() {
    check(
        Variant::StateOfTheWorld,
        "1 watch LDS a       -> a requested
         2 connected         -> a requested
         3 LDS v1 a=1        -> a acked v1=1 @3
         4 LDS v2 a=1        -> a acked v2=1 @4
         5 LDS v3 a=!bad     -> a nacked_but_cached v2=1 @4 !bad v3 @5
         6 LDS v4 a=!bad     -> a nacked_but_cached v2=1 @4 !bad v4 @6
         7 LDS v5 a=2        -> a acked v5=2 @7
         8 ended             -> a acked v5=2 @7
         9 unwatch LDS a     ->",
    );
}

#[test]
fn what_is_refused_from_the_start_has_no_content() {
    check(
        Variant::StateOfTheWorld,
        "1 watch CDS a       -> a requested
         1 watch CDS b       -> a requested, b requested
         2 connected         -> a requested, b requested
         3 CDS v1 a=!bad b=1 -> a nacked !bad v1 @3, b acked v1=1 @3
         4 CDS v2 a=1 b=1    -> a acked v2=1 @4, b acked v2=1 @4",
    );
}

#[test]
fn absence_by_silence_and_by_word() {
    check(
        Variant::StateOfTheWorld,
        "1 watch EDS a       -> a requested
         2 connected         -> a requested
         3 LDS v1 x=1        -> a requested
         18 timer            -> a does_not_exist
         19 EDS v1 a=1       -> a acked v1=1 @19",
    );
    check(
        Variant::Delta,
        "1 watch EDS a       -> a requested
         2 connected         -> a requested
         3 EDS v1 -a         -> a does_not_exist
         4 EDS v2 a=1        -> a acked v2=1 @4
         5 EDS v3 -a         -> a does_not_exist_but_cached v2=1 @4",
    );
}

#[test]
fn a_silent_server_says_nothing_of_absence() {
    check(
        Variant::StateOfTheWorld,
        "1 watch EDS a       -> a requested
         2 connected         -> a requested
         17 timer            -> a does_not_exist
         18 failed gone      -> a requested",
    );
}

#[test]
fn an_error_of_the_server_and_its_end() {
    check(
        Variant::StateOfTheWorld,
        "1 watch EDS a       -> a requested
         2 connected         -> a requested
         3 EDS v1 a^14       -> a received_error !no - @3
         4 EDS v2 a=1        -> a acked v2=1 @4
         5 EDS v3 a^7        -> a received_error_but_cached v2=1 @4 !no - @5
         6 EDS v4 a^0        -> a acked v2=1 @4",
    );
}

#[test]
fn of_one_name_the_first_counts_and_names_are_canonical() {
    check(
        Variant::StateOfTheWorld,
        "1 watch EDS xdstp://au/t/a?y=1&x=2 -> xdstp://au/t/a?x=2&y=1 requested
         2 connected                        -> xdstp://au/t/a?x=2&y=1 requested
         3 EDS v1 xdstp://au/t/a?y=1&x=2=1  -> xdstp://au/t/a?x=2&y=1 acked v1=1 @3",
    );
    check(
        Variant::StateOfTheWorld,
        "1 watch EDS a       -> a requested
         2 connected         -> a requested
         3 EDS v1 a=1 a=2    -> a acked v1=1 @3",
    );
}

#[test]
fn of_several_servers_what_came_last_is_shown() {
    let mut first = Run::new(Variant::StateOfTheWorld);
    let mut second = Run::of(&first.status, "xds:2", Variant::StateOfTheWorld);
    for run in [&mut first, &mut second] {
        run.event(1, "watch CDS a");
        run.event(2, "connected");
    }
    assert_eq!(first.dump(), "a requested");
    first.event(3, "CDS v1 a=one");
    second.event(4, "CDS v9 a=two");
    assert_eq!(first.dump(), "a acked v9=two @4");
    assert_eq!(&*first.status.resources()[0].server, "xds:2");
    first.event(5, "CDS v1 a=one");
    assert_eq!(first.dump(), "a acked v1=one @3", "the first one is back");
    second.event(6, "CDS v10 a=!bad");
    assert_eq!(first.dump(), "a acked v1=one @3");
    drop(first.recorder);
    assert_eq!(second.dump(), "a nacked_but_cached v9=two @4 !bad v10 @6");
    drop(second.recorder);
    assert_eq!((second.status.resources(), second.status.counts()), (vec![], vec![]));
}

/// gRFC A78.
#[test]
fn a_server_is_connected_once_it_answers_and_fails_once() {
    let mut run = Run::new(Variant::StateOfTheWorld);
    let mut check = |at: u64, event: &str, expected: (Option<bool>, u64)| {
        run.event(at, event);
        let server = &run.status.servers()[0];
        assert_eq!((server.connected, server.failures), expected, "{at} {event}");
    };
    check(1, "watch LDS a", (None, 0));
    check(2, "connected", (Some(true), 0));
    check(3, "failed once", (Some(false), 1));
    check(10, "timer", (Some(false), 1));
    check(11, "connected", (Some(false), 1));
    check(12, "failed again", (Some(false), 1));
    check(40, "timer", (Some(false), 1));
    check(41, "connected", (Some(false), 1));
    check(42, "LDS v1 a=1", (Some(true), 1));
    check(43, "ended", (Some(true), 1));
    check(44, "timer", (Some(true), 1));
    check(45, "connected", (Some(true), 1));
    check(46, "failed without a word", (Some(false), 2));
}

#[test]
fn types_are_counted_and_timed() {
    let mut run = Run::new(Variant::StateOfTheWorld);
    run.event(1, "watch LDS a");
    run.event(1, "watch CDS c");
    run.event(2, "connected");
    run.event(3, "~LDS v1 a=1");
    run.event(5, "LDS v1 a=1");
    run.event(6, "CDS v1 c=!bad d=1");
    let servers = run.status.servers();
    let [lds, cds] = &servers[0].types[..] else { panic!("{servers:?}") };
    assert_eq!((lds.kind, lds.valid, lds.invalid), (ResourceType::Listener, 2, 0));
    assert_eq!(lds.last_good, Some(("v1".into(), WallTime::from_unix_seconds(5))));
    assert_eq!((cds.valid, cds.invalid, &cds.last_good), (1, 1, &None));
    let acks = run.acks.lock().clone();
    assert_eq!(acks, [(ResourceType::Listener, Duration::from_secs(2))], "a NACK is none");

    run.status.published(Timestamp::from_millis(7_000));
    let took = run.status.take_published();
    assert_eq!((took[0], took[2]), (Some(Duration::from_secs(4)), None));
    assert_eq!(run.status.take_published(), [None; 5], "once");
}

#[test]
fn counts_are_by_what_is_shown() {
    let mut run = Run::new(Variant::StateOfTheWorld);
    for name in ["a", "b", "xdstp://au/envoy.config.listener.v3.Listener/c"] {
        run.event(1, &format!("watch LDS {name}"));
    }
    run.event(2, "connected");
    run.event(3, "LDS v1 a=1 b=!bad");
    let counts = run.status.counts().into_iter();
    let counts: Vec<_> =
        counts.map(|of| format!("{} {} {}", of.authority, of.cache_state, of.count)).collect();
    assert_eq!(counts, ["#old acked 1", "#old nacked 1", "au requested 1"]);
}
