//! What the application and the client saw, as names with values that can be compared.

use super::wire::{Body, Head, shown};
use std::collections::BTreeMap;

/// What was seen, by what it is of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(pub(crate) BTreeMap<String, String>);

/// Longer values are told by their length.
const LONGEST: usize = 300;

impl Facts {
    /// Notes a value; several of one name stand beside each other.
    pub(crate) fn note(&mut self, name: &str, value: &str) {
        let value =
            if value.len() > LONGEST { format!("{} bytes", value.len()) } else { value.to_owned() };
        let noted = self.0.entry(name.to_owned()).or_default();
        match noted.is_empty() {
            true => *noted = value,
            false => *noted = format!("{noted} ¦ {value}"),
        }
    }

    pub(crate) fn head(&mut self, side: &str, head: &Head) {
        self.note(&format!("{side} line"), head.first.trim_end());
        self.headers(side, &head.headers);
    }

    pub(crate) fn headers(&mut self, side: &str, headers: &[(String, String)]) {
        if headers.iter().any(|(name, _)| name.contains(|c: char| c.is_ascii_uppercase())) {
            self.0.insert(format!("{side} names"), "as they came".to_owned());
        }
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            let value = if value.is_empty() { "(empty)" } else { value };
            self.note(&format!("{side} `{name}`"), &usual(&name, value));
        }
    }

    pub(crate) fn body(&mut self, side: &str, body: &Body) {
        self.note(&format!("{side} framing"), body.framing);
        if !body.bytes.is_empty() {
            self.note(&format!("{side} body"), shown(&body.bytes).trim_end_matches("\\x0a"));
        }
        if body.broken {
            self.note(&format!("{side} end"), "broken off");
        }
        self.headers(&format!("{side} trailer"), &body.trailers);
    }
}

/// A value without what is another each time.
fn usual(name: &str, value: &str) -> String {
    let is_uuid = value.len() == 36
        && value.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let value = match name {
        "x-request-id" if is_uuid && !value.starts_with("1111") => "(a UUID)",
        "date" if !value.contains(" 2024 ") => "(now)",
        "x-mesh-via" => "(its ports)",
        "x-envoy-upstream-service-time" if value != "7777" => "(milliseconds)",
        "x-envoy-expected-rq-timeout-ms" if value.parse::<u32>().is_ok_and(|ms| ms > 14_900) => {
            "15000"
        }
        "grpc-timeout" => return about(value).unwrap_or_else(|| value.to_owned()),
        _ => value,
    };
    value.to_owned()
}

/// A time that is left, as what it was before some of it had passed: 4999m of 5000m.
fn about(timeout: &str) -> Option<String> {
    let (number, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok()?;
    // Of 5 to 50 seconds, half a second to five.
    let step = 5 * 10u32.pow(u32::try_from(timeout.len()).ok()?.checked_sub(3)?);
    Some(format!("{}{unit}", number.div_ceil(step) * step))
}

#[test]
fn habits_know_what_is_left_of_a_time() {
    for (left, before) in [
        ("5000m", "5000m"),
        ("4999m", "5000m"),
        ("14991m", "15000m"),
        ("297843u", "300000u"),
        ("300000u", "300000u"),
        ("5S", "5S"),
        ("", ""),
        ("m", "m"),
        ("9ä", "9ä"),
    ] {
        assert_eq!(usual("grpc-timeout", left), before);
    }
}
