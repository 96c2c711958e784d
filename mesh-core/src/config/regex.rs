//! Whether a pattern compiles: with the very compiler that the router uses, so that what is accepted
//! here can't be refused later.

use crate::model::RegexPattern;
use crate::router::CompiledRegex;

/// Checks one pattern, and returns about how many bytes its automata take.
///
/// # Errors
/// Says what is wrong with it, in one line.
pub(super) fn check_regex(pattern: &str) -> Result<usize, String> {
    let compiled = CompiledRegex::full_match(&RegexPattern::new(pattern));
    compiled.map(|compiled| compiled.memory_usage()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::MAX_PATTERN;
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
    fn other_patterns_say_why_in_one_line() {
        for pattern in [
            "(",
            "a)(b",
            "(?=a)",
            r"(a)\1",
            "a++",
            "(?x) a",
            "a{1001}",
            "a{99999999999999}",
            "((a{500}){500}){500}",
            &"a".repeat(MAX_PATTERN + 1),
        ] {
            let Err(error) = check_regex(pattern) else { panic!("{pattern} passes") };
            assert!(!error.is_empty() && !error.contains('\n'), "{pattern}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[\\\\\\[\\](){}?*+|^$.a-cx0-9é&~:-]{0,30}") {
            drop(check_regex(&pattern));
        }
    }
}
