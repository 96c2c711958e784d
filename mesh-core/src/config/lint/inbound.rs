//! Lints of a port: who opened it, and who was forgotten.

use crate::config::code;
use crate::config::inbound::{InboundSite, Mtls};
use crate::config::reader::Reader;
use crate::model::{Address, RateLimitScope};
use crate::time::WallTime;

pub(super) fn check(reader: &mut Reader<'_>, site: &InboundSite<'_>) {
    if !site.allow.is_there {
        let message = format!("`{}` refuses every request: it has no `allow`", site.value.name);
        reader.report.add(code::INBOUND_REFUSES_ALL, site.name, message).suggest(
            "write `allow: [{ from: [\"spiffe://example.org/name\"] }]`, or `from: anyone`",
        );
    }
    opened_connections(reader, site);
    shared_buckets(reader, site);
    for span in &site.allow.for_all {
        reader
            .report
            .add(code::INBOUND_OPENED, *span, "everything is allowed to anyone")
            .suggest("say what, by `match`, or who, by `from`");
    }
    if site.security.mode == Mtls::Permissive {
        for span in &site.deny.of_identities {
            reader
                .report
                .add(
                    code::DENY_EVADED,
                    *span,
                    "a peer that comes in plaintext proves no identity, and is not denied by it",
                )
                .suggest("write `mtls: strict`, or have `allow` name who may come");
        }
    }
}

/// Reports buckets that all would share, although one for each was asked for.
fn shared_buckets(reader: &mut Reader<'_>, site: &InboundSite<'_>) {
    let unix = matches!(site.value.address, Some(Address::Unix(_)));
    let (message, suggestion) = match site.rate_limit_by {
        Some(RateLimitScope::Peer) if site.security.mode == Mtls::Off => (
            "`by: peer` counts all together: under `mtls: off` nobody proves who they are",
            "write `by: connection`, `by: port`, or `mtls: strict`",
        ),
        Some(RateLimitScope::Connection) if unix => (
            "`by: connection` counts all together: those of a Unix socket have no addresses",
            "write `by: peer` or `by: port`",
        ),
        _ => return,
    };
    let by = site.node.get("rate_limit").and_then(|entry| entry.value.get("by"));
    let span = by.map_or(site.name, |entry| entry.value.span);
    reader.report.add(code::INEFFECTIVE_KEY, span, message).suggest(suggestion);
}

fn opened_connections(reader: &mut Reader<'_>, site: &InboundSite<'_>) {
    let what = match site.security.mode {
        Mtls::Strict => return,
        Mtls::Permissive => "plaintext is taken as well as TLS",
        Mtls::Off => "only plaintext is taken: nobody proves who they are",
    };
    let now = reader.environment.now();
    if let Some(until) = site.security.until.filter(|until| now.is_some_and(|now| *until <= now)) {
        return ended(reader, site, until);
    }
    let (until, suggestion) = match site.security.until {
        Some(until) => (format!(" until {until}"), "it ends by itself then"),
        None => (String::new(), "say until when: `{ mode: permissive, until: 2030-12-31 }`"),
    };
    let message = format!("{what}{until}");
    reader.report.add(code::INBOUND_OPENED, site.span("mtls"), message).suggest(suggestion);
}

/// The port was open until then.
fn ended(reader: &mut Reader<'_>, site: &InboundSite<'_>, until: WallTime) {
    let (code, message) = match site.security.mode {
        Mtls::Off => {
            let name = &site.value.name;
            let message = format!(
                "`{name}` refuses every connection: it takes only plaintext, and that ended on {until}"
            );
            (code::INBOUND_REFUSES_ALL, message)
        }
        Mtls::Permissive | Mtls::Strict => {
            let message = format!("plaintext is refused: that it is taken ended on {until}");
            (code::INEFFECTIVE_KEY, message)
        }
    };
    let suggestion = "write `mtls: strict`, or another `until`";
    reader.report.add(code, site.span("mtls"), message).suggest(suggestion);
}
