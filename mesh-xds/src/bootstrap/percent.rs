//! Percent-encoding in the parts of an `xdstp:` name (RFC 3986).
//!
//! [`Part::encode`] takes plain text; [`Part::normalise`] takes what is encoded already and gives its one
//! spelling (RFC 3986 section 6.2.2): what needs no encoding has none, what is encoded has capital
//! digits. A `%2F` therefore stays apart from a `/`.

use std::fmt::Write;

/// A part of a URI, with the characters that it holds as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Between `//` and the next `/`.
    Authority,
    /// After it, the slashes included.
    Path,
    /// The key or the value of a context parameter.
    Parameter,
}

/// A `%` without two hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadPercent;

impl Part {
    /// Plain text as it stands in this part.
    pub(super) fn encode(self, text: &str) -> String {
        let mut encoded = String::with_capacity(text.len());
        text.bytes().for_each(|byte| self.push(&mut encoded, byte));
        encoded
    }

    /// The one spelling of a part that is encoded already.
    pub(super) fn normalise(self, text: &str) -> Result<String, BadPercent> {
        let mut normal = String::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte != b'%' {
                self.push(&mut normal, byte);
                continue;
            }
            let Some((&[high, low], after)) = after.split_first_chunk::<2>() else {
                return Err(BadPercent);
            };
            rest = after;
            let decoded = digit(high).zip(digit(low)).ok_or(BadPercent)?;
            let decoded = decoded.0 << 4 | decoded.1;
            match is_unreserved(decoded) {
                true => normal.push(char::from(decoded)),
                false => push_encoded(&mut normal, decoded),
            }
        }
        Ok(normal)
    }

    fn push(self, text: &mut String, byte: u8) {
        match self.holds(byte) {
            true => text.push(char::from(byte)),
            false => push_encoded(text, byte),
        }
    }

    /// RFC 3986: `reg-name` and an IP literal with its port; `pchar` and `/`; `pchar`, `/` and `?`
    /// without what separates parameters.
    fn holds(self, byte: u8) -> bool {
        let is_sub_delim = b"!$&'()*+,;=".contains(&byte);
        is_unreserved(byte)
            || match self {
                Self::Authority => is_sub_delim || b":@[]".contains(&byte),
                Self::Path => is_sub_delim || b":@/".contains(&byte),
                Self::Parameter => {
                    is_sub_delim && byte != b'&' && byte != b'=' || b":@/?".contains(&byte)
                }
            }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn push_encoded(text: &mut String, byte: u8) {
    // Writing to a string can't fail.
    let _fits: std::fmt::Result = write!(text, "%{byte:02X}");
}
