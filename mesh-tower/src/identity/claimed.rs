//! [`Claimed`]: what a certificate that nobody has verified says of itself, for people.

use std::fmt;

/// The most characters that are shown.
const MOST: usize = 256;

/// A name from a certificate, which may say anything: in one line, and short.
pub(crate) struct Claimed<'a>(pub(crate) &'a str);

impl fmt::Display for Claimed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars().take(MOST) {
            match letter {
                // It stands in quotes of these.
                '`' => f.write_str("\\u{60}")?,
                '"' | '\'' => write!(f, "{letter}")?,
                _ => write!(f, "{}", letter.escape_debug())?,
            }
        }
        match self.0.chars().nth(MOST) {
            Some(_) => f.write_str("…"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_it_says_is_one_short_line() {
        let check = |name: &str, expected: &str| assert_eq!(Claimed(name).to_string(), expected);
        check("spiffe://example.org/ns/a/sa/b", "spiffe://example.org/ns/a/sa/b");
        check("CN=Jörg's \"CA\", O=東京", "CN=Jörg's \"CA\", O=東京");
        check("x`\n2026 INFO a\r\x1b[31m", "x\\u{60}\\n2026 INFO a\\r\\u{1b}[31m");
        check("a\u{202e}b\u{2028}", "a\\u{202e}b\\u{2028}");
        check(&"ä".repeat(MOST), &"ä".repeat(MOST));
        check(&"ä".repeat(MOST + 1), &format!("{}…", "ä".repeat(MOST)));
    }
}
