//! `/certs`: our certificates and the roots that peers are verified by, with the time that is left.
//!
//! `format=json` is `envoy.admin.v3.Certificates`: an entry for each identity. Paths are not told: who asks for a
//! certificate here asks for what is in force, wherever it came from. Of keys nothing is known here.

use super::clusters::Plain;
use crate::admin::answer::Answer;
use crate::admin::asked::{Asked, Format};
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use crate::admin::view::{self, IdentityView, RootView};
use crate::clock;
use mesh_core::WallTime;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;

const DAY: u64 = 86_400;

pub(in crate::admin) fn answer(admin: &Admin, asked: &Asked) -> Answered {
    let format = asked.format(Format::Json, &[Format::Text, Format::Json])?;
    let (identities, now) = (view::identities(&admin.mesh), clock::wall());
    Ok(match format {
        Format::Text => Answer::text(text(&identities, now)),
        _ => Answer::json(&envoy(&identities, now)),
    })
}

/// The time from `now` to `end` in plain words.
pub(in crate::admin) fn left(end: WallTime, now: WallTime) -> String {
    if end <= now {
        return "over".to_owned();
    }
    let seconds = end.saturating_duration_since(now).as_secs();
    match seconds {
        0..120 => format!("{seconds} s left"),
        120..7_200 => format!("{} min left", seconds / 60),
        7_200..172_800 => format!("{} h left", seconds / 3_600),
        _ => format!("{} days left", seconds / DAY),
    }
}

fn text(identities: &[IdentityView], now: WallTime) -> String {
    if identities.is_empty() {
        return "this mesh has no identity\n".to_owned();
    }
    let mut text = String::new();
    for identity in identities {
        // Writing to a string can't fail.
        one(&mut text, identity, now).unwrap_or_default();
    }
    text
}

fn one(text: &mut String, identity: &IdentityView, now: WallTime) -> std::fmt::Result {
    writeln!(text, "{}", Plain(&identity.name))?;
    match &identity.certificate {
        None => writeln!(text, "  no certificate")?,
        Some(certificate) => {
            let names = certificate.uris.iter().chain(&certificate.dns);
            let names: Vec<_> = names.map(|name| Plain(name).to_string()).collect();
            let (end, left) = (certificate.not_after, left(certificate.not_after, now));
            writeln!(text, "  certificate  {}", names.join(", "))?;
            writeln!(text, "               serial {}, until {end}, {left}", certificate.serial)?;
            writeln!(text, "               issued by {}", Plain(&certificate.issuer))?;
        }
    }
    for root in &identity.roots {
        let of = if root.trust_domain.is_empty() { "everybody" } else { &root.trust_domain };
        let (subject, left) = (Plain(&root.subject), left(root.not_after, now));
        writeln!(text, "  root         {subject}, for {of}, until {}, {left}", root.not_after)?;
    }
    if let Some(error) = &identity.error {
        writeln!(text, "  renewal      {} failed, the last: {}", identity.failures, Plain(error))?;
    }
    Ok(())
}

fn envoy(identities: &[IdentityView], now: WallTime) -> Value {
    let all = identities.iter().map(|identity| {
        let chain = identity.certificate.iter().map(|certificate| {
            let names = names("uri", &certificate.uris).chain(names("dns", &certificate.dns));
            json!({
                "path": &*identity.name,
                "serial_number": &*certificate.serial,
                "subject_alt_names": names.collect::<Value>(),
                "days_until_expiration": days(certificate.not_after, now),
                "valid_from": certificate.not_before.to_string(),
                "expiration_time": certificate.not_after.to_string(),
            })
        });
        json!({
            "ca_cert": identity.roots.iter().map(|one| root(&identity.name, one, now)).collect::<Value>(),
            "cert_chain": chain.collect::<Value>(),
        })
    });
    json!({ "certificates": all.collect::<Value>() })
}

fn names<'a>(key: &'a str, names: &'a [Arc<str>]) -> impl Iterator<Item = Value> + 'a {
    names.iter().map(move |name| json!({ key: &**name }))
}

fn root(identity: &str, root: &RootView, now: WallTime) -> Value {
    json!({
        "path": identity,
        "serial_number": &*root.serial,
        "subject_alt_names": [],
        "days_until_expiration": days(root.not_after, now),
        "expiration_time": root.not_after.to_string(),
    })
}

/// protobuf's JSON: numbers of 64 bits are texts.
fn days(end: WallTime, now: WallTime) -> String {
    (end.saturating_duration_since(now).as_secs() / DAY).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_in_words() {
        let now = WallTime::from_unix_seconds(1_000_000);
        for (seconds, expected) in [
            (0, "over"),
            (1, "1 s left"),
            (119, "119 s left"),
            (120, "2 min left"),
            (7_200, "2 h left"),
            (172_799, "47 h left"),
            (172_800, "2 days left"),
        ] {
            let end = WallTime::from_unix_seconds(1_000_000 + seconds);
            assert_eq!(left(end, now), expected);
        }
        assert_eq!(left(WallTime::from_unix_seconds(5), now), "over");
    }
}
