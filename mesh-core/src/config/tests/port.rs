//! What tests of ports share: the document of one, what is told of a document, and what becomes of a request.

use super::*;
use crate::filter::{FilterContext, Overrides, Pass, Step, Told};
use crate::identity::{Peer, PeerCertificate};
use crate::inbound::CompiledListener;
use crate::rbac::Connection;
use crate::time::{Timestamp, WallTime};

/// A document with an identity, and the port `web` of these keys.
pub(super) fn port(keys: &str) -> String {
    format!("version: 1\nidentity: {{ spire: \"unix:///a\" }}\ninbound: {{ web: {{ {keys} }} }}\n")
}

/// That a document has this mistake, `code` or `code line:column`, with this in its text or in the way out of it. An
/// error leaves no configuration.
#[track_caller]
pub(super) fn told(text: &str, expected: &str, part: &str) {
    let loaded = read(text);
    let place = |d: &Diagnostic| format!("{} {}:{}", d.code, d.line, d.column);
    let found = loaded.diagnostics.iter().find(|d| d.code == expected || place(d) == expected);
    let Some(found) = found else { panic!("{text}: {:#?}", loaded.diagnostics) };
    let said = format!("{} {:?}", found.message, found.suggestion);
    assert!(said.contains(part), "{text}: {said}");
    assert_eq!(loaded.update.is_none(), found.severity == Severity::Error, "{text}");
}

/// What the filters of a chain do with `request`, `METHOD PATH name:value…`, from `peer`: `plaintext` or a SPIFFE id.
pub(super) fn pass(listener: &CompiledListener, chain: &str, peer: &str, request: &str) -> Step {
    let http = listener.chain(chain).unwrap().http().unwrap();
    let mut words = request.split(' ');
    let builder = http::Request::builder().method(words.next().unwrap()).uri(words.next().unwrap());
    let headers = words.map(|word| word.split_once(':').unwrap());
    let builder = headers.fold(builder, |builder, (name, value)| builder.header(name, value));
    let (mut parts, ()) = builder.body(()).unwrap().into_parts();
    let peer = match peer {
        "plaintext" => Peer::Plaintext,
        id => Peer::Certified(Arc::new(PeerCertificate::of(&id.parse().unwrap()))),
    };
    let remote = "10.0.0.1:1".parse().unwrap();
    let connection = Connection::new(&peer, remote, "192.0.2.1:8443".parse().unwrap());
    let mut cx = FilterContext {
        request: &mut parts,
        connection: &connection,
        narrowed: None,
        remote: connection.direct_remote,
        now: Timestamp::ZERO,
        wall: WallTime::from_unix_seconds(0),
    };
    let mut observer = |_: &Arc<str>, _: Told<'_>| ();
    Pass::new(1).start(http.chain(), &Overrides::default(), &mut cx, &mut observer)
}
