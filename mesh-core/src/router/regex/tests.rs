use super::*;

#[track_caller]
fn full(pattern: &str) -> Result<CompiledRegex, RegexError> {
    CompiledRegex::full_match(&RegexPattern::new(pattern))
}

#[test]
fn patterns_mean_what_re2_says_they_mean() {
    for (pattern, expected) in VECTORS {
        let actual = full(pattern).ok().map(|regex| {
            let hits =
                SUBJECTS.iter().enumerate().filter(|(_, text)| regex.is_match(text.as_bytes()));
            hits.map(|(at, _)| at).collect::<Vec<_>>()
        });
        assert_eq!(actual.as_deref(), *expected, "{pattern}");
    }
}

#[test]
fn the_whole_string_matches_or_nothing() {
    let regex = full("/a|/ab?").unwrap();
    for (text, matches) in
        [("/a", true), ("/ab", true), ("/abc", false), ("x/a", false), ("/a\n", false)]
    {
        assert_eq!(regex.is_match(text.as_bytes()), matches, "{text:?}");
    }
    assert!(full(".*").unwrap().is_match(b""));
    assert!(!full(".*").unwrap().is_match(b"\xff"), "`.` is a code point");
    assert!(full(r"\C*").unwrap().is_match(b"\xff\xfe"));
}

#[test]
fn refusals_say_what_and_where() {
    for (pattern, expected) in [
        ("ab(?=c)", "at byte 5 of the pattern: only the flags i, m, s and U exist; no look-around"),
        (r"(a)\1", "at byte 5 of the pattern: back-references are not supported"),
        ("a++", "at byte 3 of the pattern: a repetition operator follows another"),
        (
            "a{1001}",
            "at byte 2 of the pattern: a repetition count is above 1000 or its ends are swapped",
        ),
        ("(a", "the pattern is not well formed: unclosed group"),
    ] {
        assert_eq!(full(pattern).unwrap_err().to_string(), expected, "{pattern}");
    }
}

#[test]
fn patterns_that_explode_are_refused() {
    assert_eq!(full(&"a".repeat(4097)).unwrap_err(), RegexError::TooLong { len: 4097 });
    assert!(full(&"a".repeat(4096)).is_ok());
    for pattern in [r"(?:\pL{30}){30}", r"(?:(?:(?:a{10}){10}){10}){10}", r"(?:\pL{1000}){1,1000}"]
    {
        assert_eq!(full(pattern).unwrap_err(), RegexError::TooLarge, "{pattern}");
    }
    let nested = format!("{}a{}", "(".repeat(1000), ")".repeat(1000));
    assert!(matches!(full(&nested), Err(RegexError::Syntax(_))));
}

#[test]
fn substitutions_replace_every_match_and_count_groups() {
    #[track_caller]
    fn check(pattern: &str, substitution: &str, text: &str, expected: &str) {
        let compiled =
            CompiledSubstitution::new(&RegexPattern::new(pattern), substitution).unwrap();
        let replaced = compiled.replace_all(text.as_bytes());
        assert_eq!(String::from_utf8_lossy(&replaced), expected, "{pattern}");
    }
    check("^/service/([^/]+)(/.*)$", r"\2/at/\1", "/service/foo/v1/api", "/v1/api/at/foo");
    check("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz");
    check("^(.*?)one(.*)$", r"\1two\2", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz");
    check("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb");
    check("b*", "-", "abc", "-a-c-");
    check("(x)?a", r"[\1\0\\]", "a", r"[a\]");
    check("z", "y", "abc", "abc");
}

#[test]
fn substitutions_are_checked() {
    let compile = |pattern: &str, text: &str| {
        CompiledSubstitution::new(&RegexPattern::new(pattern), text).map(|_| ())
    };
    assert_eq!(compile("(a)", r"\2"), Err(RegexError::NoSuchGroup { group: 2, groups: 1 }));
    assert_eq!(compile("(?P<n>a)", r"\1"), Ok(()));
    assert_eq!(compile("a", r"\x"), Err(RegexError::Substitution));
    assert_eq!(compile("a", "\\"), Err(RegexError::Substitution));
    assert!(matches!(compile("(", ""), Err(RegexError::Syntax(_))));
}

proptest::proptest! {
    #[test]
    fn no_pattern_panics(pattern in r"[a-c0-9\\\[\](){}|*+?.^$:<>P=!iQE,&~#é-]{0,24}") {
        if let Ok(regex) = full(&pattern) {
            let _: bool = regex.is_match(b"abc");
        }
    }
}

#[rustfmt::skip]
const SUBJECTS: &[&str] = &[
    "", "a", "aa", "b", "c", "ab", "abc", "ABC", "é", "É", "α", "ζ", "1", "12", "٣", "_", "-",
    " ", "\x0b", "\t", "\n", ".", "a.b", "axb", "abb", "abbb", "a&b", "&", "~", "[", "]", "<a>",
    "foo", "foo bar", "foobar", "A", "\x00", "\x07", "a{", "{", "}", "a{,2}", "a{01}", "a{2",
    "a#b", "a b", "@", "k", "\u{212a}", "K", "\u{17f}", "/api/v2/x", "/api/vx/", "abcd", "+", ",",
    ":", "aé", "a\n", "n", ";", "-a", "\x07\x0c\t\n\r", "q", "aaa",
];

/// Made with google-re2 1.1.20251105: a pattern, and which of [`SUBJECTS`] it matches as a whole;
/// `None`: RE2 refuses it.
#[rustfmt::skip]
const VECTORS: &[(&str, Option<&[usize]>)] = &[
    ("\\d+", Some(&[12, 13])),
    ("\\w+", Some(&[1, 2, 3, 4, 5, 6, 7, 12, 13, 15, 23, 24, 25, 32, 34, 35, 47, 49, 53, 59, 63, 64])),
    ("\\s", Some(&[17, 19, 20])),
    ("a\\b", Some(&[1])),
    ("\\bfoo\\b.*", Some(&[32, 33])),
    ("[\\d]+", Some(&[12, 13])),
    ("[\\w-]+", Some(&[1, 2, 3, 4, 5, 6, 7, 12, 13, 15, 16, 23, 24, 25, 32, 34, 35, 47, 49, 53, 59, 61, 63, 64])),
    ("[^\\w]", Some(&[8, 9, 10, 11, 14, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 36, 37, 39, 40, 46, 48, 50, 54, 55, 56, 60])),
    ("\\D", Some(&[1, 3, 4, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 35, 36, 37, 39, 40, 46, 47, 48, 49, 50, 54, 55, 56, 59, 60, 63])),
    ("\\W", Some(&[8, 9, 10, 11, 14, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 36, 37, 39, 40, 46, 48, 50, 54, 55, 56, 60])),
    ("\\S+", Some(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 59, 60, 61, 63, 64])),
    (".", Some(&[1, 3, 4, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 21, 27, 28, 29, 30, 35, 36, 37, 39, 40, 46, 47, 48, 49, 50, 54, 55, 56, 59, 60, 63])),
    (".*", Some(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 59, 60, 61, 63, 64])),
    ("\\pL+", Some(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 23, 24, 25, 32, 34, 35, 47, 48, 49, 50, 53, 57, 59, 63, 64])),
    ("\\p{Greek}", Some(&[10, 11])),
    ("\\p{^Greek}", Some(&[1, 3, 4, 8, 9, 12, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 35, 36, 37, 39, 40, 46, 47, 48, 49, 50, 54, 55, 56, 59, 60, 63])),
    ("\\P{Greek}", Some(&[1, 3, 4, 8, 9, 12, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 35, 36, 37, 39, 40, 46, 47, 48, 49, 50, 54, 55, 56, 59, 60, 63])),
    ("(?i)abc", Some(&[6, 7])),
    ("(?i)É", Some(&[8, 9])),
    ("(?i)\\w", Some(&[1, 3, 4, 12, 15, 35, 47, 48, 49, 50, 59, 63])),
    ("[a&&b]+", Some(&[1, 2, 3, 5, 24, 25, 26, 27, 64])),
    ("[~~]", Some(&[28])),
    ("[[]", Some(&[29])),
    ("[a-z&&[aeiou]]", Some(&[])),
    ("\\<a\\>", Some(&[31])),
    ("\\Qa.b\\E", Some(&[22])),
    ("\\Qa.b", Some(&[22])),
    ("\\Qab\\E+", Some(&[5, 24, 25])),
    ("\\C", Some(&[1, 3, 4, 12, 15, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 35, 36, 37, 39, 40, 46, 47, 49, 54, 55, 56, 59, 60, 63])),
    ("\\C\\C", Some(&[2, 5, 8, 9, 10, 11, 13, 14, 38, 50, 58, 61])),
    ("\\101", Some(&[35])),
    ("\\0", Some(&[36])),
    ("\\07", Some(&[37])),
    ("\\1", None),
    ("\\8", None),
    ("(a)\\1", None),
    ("(?x)a b", None),
    ("a++", None),
    ("a**", None),
    ("a{1001}", None),
    ("a{1000}", Some(&[])),
    ("a{2,1}", None),
    ("a{2}{3}", None),
    ("a{,2}", Some(&[41])),
    ("a{", Some(&[38])),
    ("{", Some(&[39])),
    ("a{01}", Some(&[42])),
    ("a{2", Some(&[43])),
    ("}", Some(&[40])),
    ("]", Some(&[30])),
    ("[a--b]", None),
    ("[a-b-c]+", Some(&[1, 2, 3, 4, 5, 6, 16, 24, 25, 61, 64])),
    ("[]a]+", Some(&[1, 2, 30, 64])),
    ("[^]a]", Some(&[3, 4, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28, 29, 35, 36, 37, 39, 40, 46, 47, 48, 49, 50, 54, 55, 56, 59, 60, 63])),
    ("[a", None),
    ("(", None),
    (")", None),
    ("(?=a)", None),
    ("(?!a)", None),
    ("(?<=a)b", None),
    ("(?<n>a)", Some(&[1])),
    ("(?P<n>a)", Some(&[1])),
    ("(?P<n>a)(?P<n>b)", Some(&[5])),
    ("(?P=n)", None),
    ("(?)a", Some(&[1])),
    ("(?i-)a", None),
    ("(?-i)a", Some(&[1])),
    ("(?ii)a", Some(&[1, 35])),
    ("(?s).", Some(&[1, 3, 4, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 35, 36, 37, 39, 40, 46, 47, 48, 49, 50, 54, 55, 56, 59, 60, 63])),
    ("(?m)^a$", Some(&[1])),
    ("(?U)a+", Some(&[1, 2, 64])),
    ("(?u)a", None),
    ("(?i:a)b", Some(&[5])),
    ("*", None),
    ("a|*", None),
    ("^*", Some(&[0])),
    ("|a", Some(&[0, 1])),
    ("a|", Some(&[0, 1])),
    ("()", Some(&[0])),
    ("\\x41", Some(&[35])),
    ("\\x{41}", Some(&[35])),
    ("\\x4", None),
    ("\\x{110000}", None),
    ("\\z", Some(&[0])),
    ("\\Z", None),
    ("\\Aa\\z", Some(&[1])),
    ("\\_", Some(&[15])),
    ("\\-", Some(&[16])),
    ("\\@", Some(&[46])),
    ("\\é", None),
    ("\\", None),
    ("[[:alpha:]]+", Some(&[1, 2, 3, 4, 5, 6, 7, 23, 24, 25, 32, 34, 35, 47, 49, 53, 59, 63, 64])),
    ("[[:^alpha:]]", Some(&[8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 36, 37, 39, 40, 46, 48, 50, 54, 55, 56, 60])),
    ("[[:foo:]]", None),
    ("[[:alpha]", Some(&[1, 29, 56])),
    ("[\\]]", Some(&[30])),
    ("[\\b]", None),
    ("[\\Qa\\E]", None),
    ("[a-\\d]", None),
    ("[\\w-a]+", Some(&[1, 2, 3, 4, 5, 6, 7, 12, 13, 15, 16, 23, 24, 25, 32, 34, 35, 47, 49, 53, 59, 61, 63, 64])),
    ("[+--]+", Some(&[16, 54, 55])),
    ("a.c", Some(&[6])),
    ("a$", Some(&[1])),
    ("$a", Some(&[])),
    ("/api/v[0-9]+/.*", Some(&[51])),
    ("a#b", Some(&[44])),
    ("a b", Some(&[45])),
    ("a&b", Some(&[26])),
    ("\\v", Some(&[18])),
    ("\\s*", Some(&[0, 17, 19, 20])),
    ("\\p{Lu}", Some(&[9, 35, 48, 49])),
    ("\\pN", Some(&[12, 14])),
    ("\\p{foo}", None),
    ("\\p{greek}", None),
    ("\\e", None),
    ("(a|ab)(c|bcd)", Some(&[6, 53])),
    ("[\\x00-\\x{10FFFF}]", Some(&[1, 3, 4, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 35, 36, 37, 39, 40, 46, 47, 48, 49, 50, 54, 55, 56, 59, 60, 63])),
    ("[^\\x00-\\x{10FFFF}]", Some(&[])),
    ("a?b??", Some(&[0, 1, 3, 5])),
    ("a{2,3}?", Some(&[2, 64])),
    ("(?i)[k]", Some(&[47, 48, 49])),
    ("a)|(b", None),
    ("[a-]", Some(&[1, 16])),
    ("[-a]", Some(&[1, 16])),
    ("[\\-]", Some(&[16])),
    ("\\a\\f\\t\\n\\r", Some(&[62])),
    ("(?P<1a>b)", Some(&[3])),
    ("(?:a", None),
    ("[z-a]", None),
    ("\\pX", None),
    ("\\p", None),
    ("(?i)\\W", Some(&[8, 9, 10, 11, 14, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 36, 37, 39, 40, 46, 54, 55, 56, 60])),
    ("(?i)[\\w]", Some(&[1, 3, 4, 12, 15, 35, 47, 48, 49, 50, 59, 63])),
    ("(?i)[a\\W]", Some(&[1, 8, 9, 10, 11, 14, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 35, 36, 37, 39, 40, 46, 54, 55, 56, 60])),
    ("(?P<é>b)", Some(&[3])),
    ("(?P<a-b>b)", None),
    ("(?:a{2}){3}", Some(&[])),
    ("(?:a{100}){100}", None),
    ("\\p{Any}", Some(&[1, 3, 4, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 27, 28, 29, 30, 35, 36, 37, 39, 40, 46, 47, 48, 49, 50, 54, 55, 56, 59, 60, 63])),
    ("a{2}*", None),
    ("a*?*", None),
    ("(?-)a", None),
    ("\\x{000041}", Some(&[35])),
    ("\\b+", Some(&[])),
];
