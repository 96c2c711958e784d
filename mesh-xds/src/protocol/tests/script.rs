//! The language of the tests: what happens to a stream, line by line, and what the machine makes of it.
//!
//! A line reads `TIME EVENT -> REQUESTS / ACTIONS, EVENTS | TIMER`, times in milliseconds; parts
//! without content are left out. Pauses are not spread.
//!
//! | event | |
//! |---|---|
//! | `watch LDS a` `unwatch LDS *` | |
//! | `connected` `closed` `failed TEXT` `unimplemented TEXT` `timer` `unknown` `take` `replaced` `idle` | |
//! | `LDS v1 n1 a=1 b=!TEXT c=~ d=1@500 e=1#r7 =!TEXT -f g?5` | a response: version, nonce; content of hash 1, bad, a heartbeat, with a time to live, with a version of its own, bad without a name, removed, an error of code 5 |
//!
//! `~EVENT` leaves requests where they are, `take` takes them. A request of the state of the world reads
//! `LDS [a b] v1 n1`, of delta `LDS +a -b {c:r1} n1`; `node` comes before, and what a NACK says, in
//! `!"…"`, at the end.

use super::super::*;
use std::time::Duration;

/// Runs `script` for a stream as `given` and compares what comes out line by line.
///
/// `given`: `delta`, `fail`, `transient`, and in milliseconds `absent=`, `mute=`, `backoff=`.
#[track_caller]
pub(super) fn check(given: &str, script: &str) {
    let mut sim = Sim::given(given);
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let (mut expected, mut actual) = (Vec::new(), Vec::new());
    for line in lines {
        let (input, output) = line.split_once("->").unwrap();
        let (at, event) = input.trim().split_once(' ').unwrap();
        let event = event.trim();
        expected.push(format!("{at} {event} -> {}", output.trim()));
        actual.push(format!("{at} {event} -> {}", sim.event(at.parse().unwrap(), event)));
    }
    assert!(
        actual == expected,
        "given {given}\n  is:\n{}\n  should be:\n{}",
        actual.join("\n"),
        expected.join("\n")
    );
}

/// Draws the middle of every interval.
pub(super) struct Half;

impl Random for Half {
    fn next_u64(&mut self) -> u64 {
        1 << 63
    }
}

pub(super) struct Sim {
    pub(super) protocol: Protocol,
}

impl Sim {
    pub(super) fn given(given: &str) -> Self {
        let mut options = Options::default();
        for word in given.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let millis = || Duration::from_millis(value.parse().unwrap());
            match key {
                "delta" => options.variant = Variant::Delta,
                "fail" => options.fail_on_data_errors = true,
                "transient" => options.resource_timer_is_transient_error = true,
                "absent" => options.does_not_exist_timeout = Some(millis()),
                "backoff" => options.initial_backoff = millis(),
                "mute" => options.mute_timeout = millis(),
                _ => panic!("{word}"),
            }
        }
        Self { protocol: Protocol::new(options) }
    }

    /// What the machine makes of `event`.
    pub(super) fn event(&mut self, at: u64, event: &str) -> String {
        let now = Timestamp::from_millis(at);
        let protocol = &mut self.protocol;
        let (event, take) = match event.strip_prefix('~') {
            Some(event) => (event, false),
            None => (event, true),
        };
        let (word, rest) = event.split_once(' ').unwrap_or((event, ""));
        let mut refused = None;
        match word {
            "watch" => {
                let (kind, name) = watch(rest);
                refused = protocol.handle_watch(kind, &name, now).err();
            }
            "unwatch" => {
                let (kind, name) = watch(rest);
                protocol.handle_unwatch(kind, &name, now);
            }
            "connected" => protocol.handle_connected(now),
            "closed" => protocol.handle_closed(CloseReason::Ended, now, &mut Half),
            "failed" => protocol.handle_closed(CloseReason::Failed(rest.into()), now, &mut Half),
            "unimplemented" => {
                protocol.handle_closed(CloseReason::Unimplemented(rest.into()), now, &mut Half);
            }
            "timer" => protocol.handle_timeout(now, &mut Half),
            "unknown" => protocol.handle_unknown_response(),
            "replaced" => protocol.handle_replaced(now),
            "idle" => protocol.handle_idle(now),
            "take" => {}
            _ => protocol.handle_response(&response(event), now),
        }
        let requests: Vec<String> = match take {
            true => std::iter::from_fn(|| self.protocol.poll_request(now)).map(request).collect(),
            false => Vec::new(),
        };
        let actions = std::iter::from_fn(|| self.protocol.poll_action()).map(action);
        let mut out: Vec<String> = actions.collect();
        out.extend(std::iter::from_fn(|| self.protocol.poll_event()).map(told));
        out.extend(refused.map(|refused| format!("refused: {refused}")));
        let mut parts = Vec::new();
        if !requests.is_empty() {
            parts.push(requests.join(", "));
        }
        if !out.is_empty() {
            parts.push(format!("/ {}", out.join(", ")));
        }
        if let Some((at, why)) = self.protocol.poll_timeout() {
            parts.push(format!("| {} {why}", at.as_nanos() as f64 / 1e6));
        }
        parts.join(" ")
    }

    /// What is known of each resource, and since which second: `LDS a Nacked v1 5 v2: error`.
    pub(super) fn resources(&self) -> String {
        let resources = self.protocol.resources().map(|resource| {
            let version = resource.version.map_or("-", |version| version);
            let error = resource.error.map_or(String::new(), |(error, version)| {
                format!(" {}: {error}", version.map_or("-", |version| version))
            });
            let since = resource.since.as_nanos() / 1_000_000_000;
            format!(
                "{} {} {:?} {version} {since}{error}",
                resource.kind, resource.name, resource.state
            )
        });
        resources.collect::<Vec<_>>().join(", ")
    }
}

pub(super) fn kind(name: &str) -> ResourceType {
    let found = ResourceType::ALL.into_iter().find(|kind| kind.to_string() == name);
    found.unwrap_or_else(|| panic!("{name}"))
}

fn watch(text: &str) -> (ResourceType, Name) {
    let (of, name) = text.split_once(' ').unwrap_or((text, ""));
    (kind(of), Name::from(name))
}

/// `LDS v1 n1 a=1 …`; `''` is an empty text.
pub(super) fn response(text: &str) -> Response {
    let mut words = text.split_whitespace().map(|word| word.trim_matches('\''));
    let mut next = || words.next().unwrap_or_else(|| panic!("{text}"));
    let mut response = Response::new(kind(next()), next(), next());
    for word in words {
        if let Some(removed) = word.strip_prefix('-') {
            response.removed.push(removed.into());
        } else if let Some((name, value)) = word.split_once('=').filter(|_| !word.contains('?')) {
            response.resources.push(received(name, value));
        } else if let Some((name, value)) = word.rsplit_once('=') {
            response.resources.push(received(name, value));
        } else if let Some((name, code)) = word.split_once('?') {
            let code = code.parse().unwrap();
            response.errors.push(ResourceError::new(name, code, format!("code {code}")));
        } else {
            panic!("{word}");
        }
    }
    response
}

fn received(name: &str, value: &str) -> Received {
    let (value, version) = match value.split_once('#') {
        Some((value, version)) => (value, Some(version.into())),
        None => (value, None),
    };
    let (value, ttl) = match value.split_once('@') {
        Some((value, ttl)) => (value, Some(Duration::from_millis(ttl.parse().unwrap()))),
        None => (value, None),
    };
    let content = match (value, value.strip_prefix('!')) {
        ("~", _) => Content::Heartbeat,
        (_, Some(error)) => Content::Bad(error.into()),
        (hash, None) => Content::Good { hash: hash.parse().unwrap() },
    };
    let mut received = Received::new(Some(name.into()).filter(|_| !name.is_empty()), content);
    (received.version, received.ttl) = (version, ttl);
    received
}

fn request(request: Request) -> String {
    let mut words = Vec::new();
    if request.node {
        words.push("node".to_owned());
    }
    words.push(request.kind.to_string());
    match request.body {
        Body::StateOfTheWorld { version, names } => {
            words.push(format!("[{}]", names.join(" ")));
            words.push(version.to_string());
        }
        Body::Delta { subscribe, unsubscribe, initial_versions } => {
            words.extend(subscribe.iter().map(|name| format!("+{name}")));
            words.extend(unsubscribe.iter().map(|name| format!("-{name}")));
            let versions = initial_versions.iter();
            let versions: Vec<_> =
                versions.map(|(name, version)| format!("{name}:{version}")).collect();
            if !versions.is_empty() {
                words.push(format!("{{{}}}", versions.join(" ")));
            }
        }
    }
    words.push(request.nonce.to_string());
    words.extend(request.error.map(|error| format!("!\"{error}\"")));
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn action(action: Action) -> String {
    match action {
        Action::Connect(Variant::StateOfTheWorld) => "connect".to_owned(),
        Action::Connect(Variant::Delta) => "connect delta".to_owned(),
        Action::Close => "close".to_owned(),
    }
}

fn told(event: Event) -> String {
    let kept = |kept| if kept { " kept" } else { "" };
    match event {
        Event::Changed { kind, name, index } => format!("changed {kind} {name} #{index}"),
        Event::Deleted { kind, name, cause, kept: keep } => {
            let cause = match cause {
                Deletion::Omitted => "omitted",
                Deletion::Removed => "removed",
                Deletion::Expired => "expired",
            };
            format!("{cause} {kind} {name}{}", kept(keep))
        }
        Event::DoesNotExist { kind, name, timed_out: false } => format!("absent {kind} {name}"),
        Event::DoesNotExist { kind, name, timed_out: true } => {
            format!("absent by silence {kind} {name}")
        }
        Event::TimedOut { kind, name } => format!("timed out {kind} {name}"),
        Event::Refused { kind, name, error, kept: keep } => {
            format!("refused {kind} {name}{}: {error}", kept(keep))
        }
        Event::ServerError { kind, name, code, error, kept: keep } => {
            assert_eq!(*error, *format!("code {code}"));
            format!("error {kind} {name} {code}{}", kept(keep))
        }
        Event::Restored { kind, name } => format!("restored {kind} {name}"),
        Event::Forgotten { kind, name } => format!("forgotten {kind} {name}"),
        Event::Unreachable { error, failures } => format!("unreachable {failures}: {error}"),
        Event::Reachable => "reachable".to_owned(),
        Event::VariantChanged { to, error } => format!("{to:?}: {error}"),
    }
}
