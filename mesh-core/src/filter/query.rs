//! Parameters of a query, as filters of Envoy's see them: percent-decoded (`parseAndDecodeQueryString`).
//!
//! A `+` is one, and a `%` without two digits stays, as in Envoy (`PercentEncoding::decode`). What is no UTF-8
//! is replaced. Conditions of routes compare what stands in the query, as Envoy's do (`parseQueryString`).

use std::borrow::Cow;

/// The parameters in their order: the name, and the value as it stands there; `None`: there is no `=`.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Option<&str>)> {
    query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) => (decoded(name), Some(value)),
        None => (decoded(pair), None),
    })
}

/// Whether a pair of a query is of the parameter `name`.
pub(super) fn is_of(pair: &str, name: &str) -> bool {
    decoded(pair.split_once('=').map_or(pair, |(key, _)| key)) == name
}

/// A text without its escapes.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = escape(rest).unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// The byte that an escape at the beginning stands for, and what follows.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, after @ ..] = text else { return None };
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16)?).ok();
    Some((digit(high)? << 4 | digit(low)?, after))
}

#[cfg(test)]
#[test]
fn escapes_are_decoded_once_and_what_is_none_stays() {
    for (text, expected) in [
        ("plain+text", "plain+text"),
        ("%74ok", "tok"),
        ("a%2Fb%2f", "a/b/"),
        ("%2541", "%41"),
        ("100%", "100%"),
        ("%4", "%4"),
        ("%zz%+1%41", "%zz%+1A"),
        ("%C3%A4", "ä"),
        ("%FF", "\u{fffd}"),
    ] {
        assert_eq!(decoded(text), expected, "{text}");
    }
}
