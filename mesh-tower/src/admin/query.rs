//! [`Query`]: what stands after the `?` of a page's address.
//!
//! Pairs of a name and a value, split at `&` and the first `=`, with `%41` and `+` decoded, as forms are sent
//! (WHATWG URL, `application/x-www-form-urlencoded`). The head of a request bounds them.

/// The pairs, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query; what is no UTF-8 when it is decoded is replaced by U+FFFD.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Self(pairs.collect())
    }

    /// The first value of `name`.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The values of `name`, in their order.
    pub(super) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Whether `name` is there and does not say no: `?include_eds`, `?include_eds=on`.
    #[cfg_attr(
        not(any(feature = "json", test)),
        expect(dead_code, reason = "the one page that asks needs it")
    )]
    pub(super) fn flag(&self, name: &str) -> bool {
        self.first(name).is_some_and(|value| !matches!(value, "off" | "false" | "0" | "no"))
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        assert_eq!(Query::parse(text), Query(expected.collect()), "{text}");
    }

    #[test]
    fn pairs_are_decoded() {
        check("", &[]);
        check("a=1&b=2&a=3", &[("a", "1"), ("b", "2"), ("a", "3")]);
        check("a&&b=", &[("a", ""), ("b", "")]);
        check("url=http%3A%2F%2Freviews%2F1%3Fx%3Dy", &[("url", "http://reviews/1?x=y")]);
        check("url=http://reviews/1?x=y", &[("url", "http://reviews/1?x=y")]);
        check("a+b=c+d%2B", &[("a b", "c d+")]);
        check("a=%", &[("a", "%")]);
        check("a=%4", &[("a", "%4")]);
        check("a=%zz%41", &[("a", "%zzA")]);
        check("a=%ff", &[("a", "\u{fffd}")]);
    }

    #[test]
    fn flags_are_on_unless_they_say_no() {
        let flag = |text: &str| Query::parse(text).flag("include_eds");
        assert!(flag("include_eds") && flag("include_eds=on") && flag("a=1&include_eds="));
        assert!(!flag("") && !flag("include_eds=off") && !flag("include_eds=false"));
    }
}
