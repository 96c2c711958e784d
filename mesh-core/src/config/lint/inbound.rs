//! Lints of a port: who opened it, and who was forgotten.

use crate::config::code;
use crate::config::inbound::{InboundSite, Mtls};
use crate::config::reader::Reader;

pub(super) fn check(reader: &mut Reader<'_>, site: &InboundSite<'_>) {
    if !site.allow.is_there {
        let message = format!("`{}` refuses every request: it has no `allow`", site.value.name);
        reader.report.add(code::INBOUND_REFUSES_ALL, site.name, message).suggest(
            "write `allow: [{ from: [\"spiffe://example.org/name\"] }]`, or `from: anyone`",
        );
    }
    opened_connections(reader, site);
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

fn opened_connections(reader: &mut Reader<'_>, site: &InboundSite<'_>) {
    let what = match site.security.mode {
        Mtls::Strict => return,
        Mtls::Permissive => "plaintext is taken as well as TLS",
        Mtls::Off => "only plaintext is taken: nobody proves who they are",
    };
    let (until, suggestion) = match site.security.until {
        Some(until) => (format!(" until {until}"), "it ends by itself then"),
        None => (String::new(), "say until when: `{ mode: permissive, until: 2030-12-31 }`"),
    };
    let message = format!("{what}{until}");
    reader.report.add(code::INBOUND_OPENED, site.span("mtls"), message).suggest(suggestion);
}
