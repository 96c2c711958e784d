//! Whether a pattern compiles under RE2's rules (Envoy: `RegexMatcher`, Google RE2).
//!
//! The engine behind routes is Rust's regex-automata. Most of its syntax is RE2's; what only one of
//! the two knows is refused, so that a file means the same to Envoy and to us. The sizes are bounded
//! as RE2 bounds its programs.

use regex_automata::nfa::thompson;
use regex_automata::util::syntax;

/// The longest pattern, in bytes.
pub(super) const LONGEST_PATTERN: usize = 4096;
/// The largest compiled program, in bytes.
const PROGRAM_BYTES: usize = 1 << 20;

/// Checks one pattern, and returns how many bytes its program takes.
///
/// # Errors
/// Says what is wrong with it, in one line.
pub(super) fn check_regex(pattern: &str) -> Result<usize, String> {
    if pattern.len() > LONGEST_PATTERN {
        return Err(format!("the pattern has more than {LONGEST_PATTERN} bytes"));
    }
    not_of_re2(pattern)?;
    let syntax = syntax::Config::new().utf8(false).nest_limit(100);
    let tree =
        syntax::parse_with(pattern, &syntax).map_err(|error| one_line(&error.to_string()))?;
    let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(PROGRAM_BYTES));
    let program = thompson::Compiler::new().configure(config).build_from_hir(&tree);
    program
        .map(|program| program.memory_usage())
        .map_err(|_too_large| "compiled, the pattern is larger than 1 MiB".to_owned())
}

/// The cause that ends regex-syntax's drawing of an error.
fn one_line(error: &str) -> String {
    let last = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(error);
    last.trim().trim_start_matches("error: ").to_owned()
}

/// What Rust's syntax accepts and RE2 does not, or reads otherwise.
fn not_of_re2(pattern: &str) -> Result<(), String> {
    let bytes = pattern.as_bytes();
    let mut in_class = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        match (byte, next) {
            (b'\\', Some(b'<' | b'>')) => {
                return Err("RE2 has no `\\<` and `\\>`; `\\b` is a word boundary".to_owned());
            }
            (b'\\', Some(b'b' | b'B')) if bytes.get(at + 2) == Some(&b'{') => {
                return Err("RE2 has no `\\b{…}`".to_owned());
            }
            (b'\\', _) => at += 1,
            (b'[', Some(b'[')) if in_class && bytes.get(at + 1) != Some(&b':') => {
                return Err("RE2 has no nested classes; write `\\[`".to_owned());
            }
            (b'[', next) if in_class && next != Some(b':') => {
                return Err("RE2 has no nested classes; write `\\[`".to_owned());
            }
            (b'&', Some(b'&')) | (b'-', Some(b'-')) | (b'~', Some(b'~')) if in_class => {
                return Err("RE2 has no set operations in classes; escape the character".to_owned());
            }
            (b'[', next) if !in_class => {
                in_class = true;
                // A `]` that comes first is itself.
                let first = at + 1 + usize::from(next == Some(b'^'));
                at = if bytes.get(first) == Some(&b']') { first } else { first - 1 };
            }
            (b']', _) => in_class = false,
            (b'*' | b'+' | b'?' | b'}', Some(b'+')) if !in_class => {
                return Err("RE2 has no possessive repetition".to_owned());
            }
            (b'(', Some(b'?')) if !in_class && extended_flag(&bytes[at + 2..]) => {
                return Err("RE2 has no flag `x`".to_owned());
            }
            (b'{', _) if !in_class && repetition_above(&pattern[at + 1..], 1000) => {
                return Err("RE2 repeats at most 1000 times".to_owned());
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Whether the flags after `(?` hold an `x`.
fn extended_flag(flags: &[u8]) -> bool {
    flags.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'-').any(|f| *f == b'x')
}

/// Whether the repetition after `{` counts above `most`.
fn repetition_above(rest: &str, most: u32) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let is_count = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    inside
        .split(',')
        .any(|count| is_count(count) && count.parse::<u32>().map_or(true, |count| count > most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_of_re2_pass() {
        for pattern in [
            "",
            "a|b",
            "(?i)v[0-9]+",
            r"\d{3,}",
            "[]a]",
            "[^]a]",
            "[[:alpha:]]",
            r"a\+\+",
            "é.*",
            "(?P<x>a)",
            r"[\[\&-]",
            "a{1000}",
            "[a+]+",
            "(?:x)",
        ] {
            assert!(check_regex(pattern).is_ok(), "{pattern}: {:?}", check_regex(pattern));
        }
    }

    #[test]
    fn other_patterns_say_why() {
        for (pattern, reason) in [
            ("(", "unclosed group"),
            ("a)(b", "unopened group"),
            ("(?=a)", "look-around"),
            (r"(a)\1", "backreferences"),
            ("a++", "possessive"),
            ("(?x) a", "flag `x`"),
            ("[a&&b]", "set operations"),
            ("[[a]]", "nested classes"),
            (r"\<a", "word boundary"),
            ("a{1001}", "1000 times"),
            ("a{99999999999999}", "1000 times"),
            ("((a{500}){500}){500}", "larger than 1 MiB"),
        ] {
            let error = check_regex(pattern).unwrap_err();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
        assert!(check_regex(&"a".repeat(LONGEST_PATTERN + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[\\\\\\[\\](){}?*+|^$.a-cx0-9é&~:-]{0,30}") {
            drop(check_regex(&pattern));
        }
    }
}
