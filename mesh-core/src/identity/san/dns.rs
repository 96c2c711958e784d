//! Names of DNS against names in certificates (Envoy: `Utility::dnsNameMatch`; RFC 6125 section 6.4).
//!
//! The wildcard is in the certificate. It stands within the left-most label only, once, for one byte at
//! least when it is not alone in it, and not in an A-label (`xn--`); both names have two labels or
//! more.

/// Whether a certificate that says `pattern` is one for `name`, which is in lower case.
pub(super) fn matches(name: &str, pattern: &str) -> bool {
    if name.eq_ignore_ascii_case(pattern) {
        return true;
    }
    let (Some((label, rest)), Some((wild, wild_rest))) =
        (name.split_once('.'), pattern.split_once('.'))
    else {
        return false;
    };
    !wild_rest.contains('*')
        && rest.eq_ignore_ascii_case(wild_rest)
        && !starts_with_ace(wild)
        && matches_label(label, wild)
}

/// RFC 5890 section 2.3.2.5: an A-label is encoded, so a part of it means nothing.
fn starts_with_ace(label: &str) -> bool {
    label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"))
}

fn matches_label(label: &str, pattern: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let Some((before, after)) = pattern.split_once('*') else { return false };
    let (label, before, after) = (label.as_bytes(), before.as_bytes(), after.as_bytes());
    !after.contains(&b'*')
        && label.len() >= before.len() + after.len()
        && label[..before.len()].eq_ignore_ascii_case(before)
        && label[label.len() - after.len()..].eq_ignore_ascii_case(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (name, pattern, expected) in [
            ("a.example.org", "a.example.org", true),
            ("a.example.org", "A.Example.ORG", true),
            ("a.example.org", "*.example.org", true),
            ("a.example.org", "*.EXAMPLE.org", true),
            ("b.a.example.org", "*.example.org", false),
            ("example.org", "*.example.org", false),
            ("abc.example.org", "a*.example.org", true),
            ("abc.example.org", "*c.example.org", true),
            ("abc.example.org", "a*c.example.org", true),
            ("abc.example.org", "b*.example.org", false),
            // Envoy: the star may stand for nothing.
            ("ac.example.org", "a*c.example.org", true),
            ("a.example.org", "a*a.example.org", false),
            ("abc.example.org", "a**c.example.org", false),
            ("abc.example.org", "*b*.example.org", false),
            ("xn--abc.example.org", "xn--*.example.org", false),
            ("xn--abc.example.org", "*.example.org", true),
            ("a.b.org", "a.*.org", false),
            ("a.b.org", "*.*.org", false),
            ("org", "*", false),
            ("a.org", "*", false),
            ("", "*.org", false),
            (".org", "*.org", true),
        ] {
            assert_eq!(matches(name, pattern), expected, "{name} {pattern}");
        }
    }
}
