//! What is done with a path before anything looks at it (Envoy: `normalize_path`, `merge_slashes`,
//! `path_with_escaped_slashes_action`).
//!
//! A policy about `/admin` and the service behind it must read the same path: whoever gets `/x/../admin`
//! past the one and served by the other has passed the policy. So one path is made of all its spellings,
//! and everything sees that one. What has no one reading is refused.
//!
//! The order is Envoy's: escaped slashes, then the rest, then slashes are merged.
//!
//! | spelling | becomes | where |
//! |---|---|---|
//! | `%2f`, `%5c` | what [`EscapedSlashes`] says | Envoy |
//! | `\` | `/` | Envoy (googleurl) |
//! | `/./`, `/../`, also as `%2e` | resolved; never above the root | RFC 3986 section 5.2.4 |
//! | `%41` and other unreserved letters | the letter | RFC 3986 section 6.2.2.2 |
//! | a space, `"`, `<`, `>`, `` ` ``, `{`, `}`, control characters, bytes above 0x7e | percent-encoded | Envoy (googleurl) |
//! | `//` | `/` | Envoy |
//! | `?x`, of `http://shop?x` | `/?x`, whatever the rules | RFC 9110 section 4.2.3; Envoy refuses it |
//! | `*` | refused: 404 | Envoy |
//! | `%00` | refused | Envoy (googleurl) |
//! | `%` without two digits | refused; Envoy lets it pass | ours: decoders differ about it |
//! | `/..;x/`, `/.;/` | refused; Envoy lets them pass | ours: some servers drop what is behind `;` and then go up |
//!
//! Any other `;` is a letter of its segment, as in RFC 3986. `%25` is not decoded, so `%252e` stays what it
//! is. The query is never touched. The empty path of CONNECT is no path, and stays.

use crate::model::filter_chain::{EscapedSlashes, PathNormalization};
use std::fmt;

/// What became of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: as it came, changed, or to be asked for anew")]
pub enum NormalizedPath {
    /// It is as it came.
    Unchanged,
    /// Path and query, changed.
    Changed(String),
    /// The caller is sent to this path and query (307).
    Redirect(String),
}

/// Why a path is refused: 400, of `*` 404; gRPC: INTERNAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "closed by the table of this module")]
pub enum PathRefused {
    /// It has an escaped slash.
    #[error("the path has an escaped slash (`%2f`, `%5c`), which this listener refuses")]
    EscapedSlash,
    /// A `%` is not followed by two hexadecimal digits.
    #[error("the path has a `%` that is not followed by two hexadecimal digits")]
    InvalidEscape,
    /// It has a zero byte, encoded or not.
    #[error("the path has a zero byte (`%00`)")]
    Null,
    /// It is `*`, which is everything and none of what policies are about (RFC 9110 section 7.1).
    #[error("the path is `*`, and nothing is served there: name a path")]
    Asterisk,
    /// A dot segment has parameters.
    #[error("the path has a dot segment with parameters (`..;`)")]
    DotParameters,
}

/// Makes the one path of `path_and_query` that everything sees. Without anything to do it allocates nothing.
///
/// # Errors
/// [`PathRefused`] says what it has that has no one reading.
pub fn normalize(
    path_and_query: &str,
    rules: &PathNormalization,
) -> Result<NormalizedPath, PathRefused> {
    match path_and_query.as_bytes().first() {
        Some(b'/') if is_plain(path_and_query) => Ok(NormalizedPath::Unchanged),
        Some(b'/') => changed(path_and_query, rules),
        // What the service reads as the root must be the root for policies.
        Some(b'?') => Ok(NormalizedPath::Changed(format!("/{path_and_query}"))),
        Some(b'*') => Err(PathRefused::Asterisk),
        _ => Ok(NormalizedPath::Unchanged),
    }
}

/// Apart: most paths are plain.
#[cold]
fn changed(path_and_query: &str, rules: &PathNormalization) -> Result<NormalizedPath, PathRefused> {
    let end = path_and_query.find(['?', '#']).unwrap_or(path_and_query.len());
    let (path, rest) = path_and_query.split_at(end);
    let mut changed = path.to_owned();
    let mut redirects = false;
    if rules.escaped_slashes != EscapedSlashes::Keep
        && let Some(unescaped) = unescape_slashes(path)
    {
        match rules.escaped_slashes {
            EscapedSlashes::Reject => return Err(PathRefused::EscapedSlash),
            EscapedSlashes::UnescapeAndRedirect => redirects = true,
            EscapedSlashes::UnescapeAndForward | EscapedSlashes::Keep => {}
        }
        changed = unescaped;
    }
    if rules.normalize {
        changed = resolve_dots(&decode(&changed)?)?;
    }
    if rules.merge_slashes {
        merge_slashes(&mut changed);
    }
    let is_same = changed == path;
    changed.push_str(rest);
    Ok(match (redirects, is_same) {
        (true, _) => NormalizedPath::Redirect(changed),
        (false, true) => NormalizedPath::Unchanged,
        (false, false) => NormalizedPath::Changed(changed),
    })
}

/// Whether no rule could have anything to do: the usual path. Every request's path is looked at, so it is one
/// look at a table for each byte.
fn is_plain(path_and_query: &str) -> bool {
    let bytes = path_and_query.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match CLASSES[usize::from(*byte)] {
            Class::Plain => {}
            // Also a segment that only begins with a dot: what it is has to be looked at.
            Class::Slash if matches!(bytes.get(at + 1), Some(b'/' | b'.')) => return false,
            Class::Slash => {}
            Class::End => return true,
            Class::Special => return false,
        }
    }
    true
}

#[derive(Clone, Copy)]
enum Class {
    Plain,
    Slash,
    /// The path ends here.
    End,
    /// Some rule is about it.
    Special,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0u8;
    loop {
        classes[byte as usize] = match byte {
            b'/' => Class::Slash,
            b'?' | b'#' => Class::End,
            b'%' | b'\\' => Class::Special,
            byte if is_escaped(byte) => Class::Special,
            _ => Class::Plain,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

/// What is percent-encoded in a path that is normalized.
const fn is_escaped(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | 0x7f..)
}

/// `None`: there is no escaped slash.
fn unescape_slashes(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let slash = match rest.as_bytes().get(at + 1..at + 3) {
            Some(b"2f" | b"2F") => Some('/'),
            Some(b"5c" | b"5C") => Some('\\'),
            _ => None,
        };
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        match slash {
            Some(slash) => {
                out.push(slash);
                rest = &after[3..];
            }
            None => {
                out.push('%');
                rest = &after[1..];
            }
        }
    }
    out.push_str(rest);
    (out.len() != path.len()).then_some(out)
}

/// Decodes what need not be encoded, encodes what has to be, and turns backslashes.
fn decode(path: &str) -> Result<String, PathRefused> {
    let mut out = String::with_capacity(path.len());
    let bytes = path.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let digits = bytes.get(at..at + 2).ok_or(PathRefused::InvalidEscape)?;
                let decoded = hex(digits).ok_or(PathRefused::InvalidEscape)?;
                at += 2;
                match decoded {
                    0 => return Err(PathRefused::Null),
                    // RFC 3986 section 2.3.
                    b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                        out.push(char::from(decoded));
                    }
                    _ => escape(decoded, &mut out),
                }
            }
            b'\\' => out.push('/'),
            // Encoded it would be refused, and one path has one answer.
            0 => return Err(PathRefused::Null),
            byte if is_escaped(*byte) => escape(*byte, &mut out),
            byte => out.push(char::from(*byte)),
        }
    }
    Ok(out)
}

/// RFC 3986 section 6.2.2.1: digits are upper case, so that one path has one text.
fn escape(byte: u8, out: &mut String) {
    // Writing to a string can't fail.
    fmt::Write::write_fmt(out, format_args!("%{byte:02X}")).unwrap_or_default();
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// RFC 3986 section 5.2.4, for a path from its root.
fn resolve_dots(path: &str) -> Result<String, PathRefused> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if let Some((name, _)) = segment.split_once(';')
            && matches!(name, "." | "..")
        {
            return Err(PathRefused::DotParameters);
        }
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            segment => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        // `/a/.` and `/a/b/..` are `/a/`: what a directory is.
        if is_last {
            out.push('/');
        }
    }
    Ok(out)
}

fn merge_slashes(path: &mut String) {
    let mut before = '\0';
    path.retain(|letter| {
        let doubled = letter == '/' && before == '/';
        before = letter;
        !doubled
    });
}

#[cfg(test)]
mod tests;
