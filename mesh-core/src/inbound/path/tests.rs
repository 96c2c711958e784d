use super::*;
use proptest::prelude::*;

#[track_caller]
fn check_under(rules: PathNormalization, path: &str, expected: &str) {
    let found = match normalize(path, &rules) {
        Ok(NormalizedPath::Unchanged) => path.to_owned(),
        Ok(NormalizedPath::Changed(path)) => path,
        Ok(NormalizedPath::Redirect(path)) => format!("307 {path}"),
        Err(refused) => format!("{refused:?}"),
    };
    assert_eq!(found, expected, "{path}");
}

#[track_caller]
fn check(path: &str, expected: &str) {
    check_under(PathNormalization::default(), path, expected);
}

#[test]
fn one_path_is_made_of_all_its_spellings() {
    for path in [
        "/admin",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x//../../admin",
        "/../admin",
        "/../../../admin",
        "/%61dmin",
        "/%2e/admin",
        "/x/%2E%2e/admin",
        "/x/.%2e/admin",
        "\\admin",
        "/x/..\\admin",
        "/x\\..\\admin",
        "///.//admin",
    ] {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        check(&path, "/admin");
    }
}

#[test]
fn what_is_something_else_stays() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/a.b",
        "/a/.b",
        "/...",
        "/a/..b",
        "/a;x=1/b",
        "/admin;x",
        "",
        "/a?x=/../b//%2f",
        "/%252e%252e/a",
        "/a%3Fb",
        "/a%23b",
        "/%25",
        "/a:b@c!$&'()*+,=",
    ] {
        check(path, path);
    }
}

#[test]
fn the_end_and_the_query_are_kept() {
    check("/a/.", "/a/");
    check("/a/b/..", "/a/");
    check("/..", "/");
    check("/a/../?q=..//", "/?q=..//");
    check("/a//", "/a/");
    check("/%c3%bc", "/%C3%BC");
    check("/ü", "/%C3%BC");
    check("/{a}", "/%7Ba%7D");
    // The path of `http://shop?x=//`, by any rules.
    let mut none = PathNormalization::default();
    (none.normalize, none.merge_slashes) = (false, false);
    none.escaped_slashes = EscapedSlashes::Keep;
    for rules in [PathNormalization::default(), none] {
        check_under(rules, "?x=//", "/?x=//");
    }
}

#[test]
fn what_has_no_one_reading_is_refused() {
    for (path, refused) in [
        ("/a%2fb", "EscapedSlash"),
        ("/a%2Fb", "EscapedSlash"),
        ("/a%5c..%5cb", "EscapedSlash"),
        ("/a%5Cb", "EscapedSlash"),
        ("/a%00", "Null"),
        ("/a%2e\0", "Null"),
        ("/a%0", "InvalidEscape"),
        ("/a%", "InvalidEscape"),
        ("/a%zz", "InvalidEscape"),
        ("/a%+1", "InvalidEscape"),
        ("/x/..;/admin", "DotParameters"),
        ("/x/..;a=b/admin", "DotParameters"),
        ("/x/%2e%2e;/admin", "DotParameters"),
        ("/.;/admin", "DotParameters"),
        ("*", "Asterisk"),
    ] {
        check(path, refused);
    }
}

#[test]
fn rules_may_be_turned_off() {
    let rules = |normalize, merge_slashes, escaped_slashes| {
        let mut rules = PathNormalization::default();
        (rules.normalize, rules.merge_slashes) = (normalize, merge_slashes);
        rules.escaped_slashes = escaped_slashes;
        rules
    };
    use EscapedSlashes::{Keep, Reject, UnescapeAndForward, UnescapeAndRedirect};
    check_under(rules(false, false, Keep), "//a/../%2f%zz", "//a/../%2f%zz");
    check_under(rules(false, false, Reject), "//a/../%2f", "EscapedSlash");
    check_under(rules(false, true, Keep), "//a/../b", "/a/../b");
    check_under(rules(true, false, Keep), "//a/../b%2fc", "//b%2Fc");
    check_under(rules(true, true, UnescapeAndForward), "/x%2f..%5Cadmin?a%2f", "/admin?a%2f");
    check_under(rules(true, true, UnescapeAndRedirect), "/x%2f..%5cadmin", "307 /admin");
    check_under(rules(true, true, UnescapeAndRedirect), "/x/../admin", "/admin");
    check_under(rules(false, false, UnescapeAndForward), "/x%2f..", "/x/..");
}

proptest! {
    #[test]
    fn what_is_normal_stays_so(path in "(/|\\.|%2e|%|a|;|\\\\|%41|%7b|ü|\\?){0,12}") {
        let path = format!("/{path}");
        let rules = PathNormalization::default();
        if let Ok(NormalizedPath::Changed(once)) = normalize(&path, &rules) {
            prop_assert_eq!(normalize(&once, &rules), Ok(NormalizedPath::Unchanged), "{}", once);
        }
    }

    #[test]
    fn nothing_goes_up_or_is_empty(path in "(/|\\.|%2e|a|\\\\|%2f|%5C){0,12}") {
        let path = format!("/{path}");
        let rules = PathNormalization::default();
        let normal = match normalize(&path, &rules) {
            Ok(NormalizedPath::Changed(normal)) => normal,
            Ok(_) => path,
            Err(_) => return Ok(()),
        };
        let mut segments: Vec<_> = normal.split('/').skip(1).collect();
        segments.pop();
        prop_assert!(normal.starts_with('/'));
        prop_assert!(segments.iter().all(|one| !matches!(*one, "" | "." | "..")), "{}", normal);
    }
}

/// What a rule is about is tried at each of the first places.
#[test]
fn no_place_in_a_path_is_passed_over() {
    for before in 0..9 {
        let before = "a".repeat(before);
        for after in ["", "b", "bcd", "bcde"] {
            check(&format!("/{before}x//{after}"), &format!("/{before}x/{after}"));
            check(&format!("/{before}x/./y{after}"), &format!("/{before}x/y{after}"));
            check(&format!("/{before}x\\y{after}"), &format!("/{before}x/y{after}"));
            check(&format!("/{before}x%41{after}"), &format!("/{before}xA{after}"));
            check(&format!("/{before}x\"{after}"), &format!("/{before}x%22{after}"));
            check(&format!("/{before}x?//{after}"), &format!("/{before}x?//{after}"));
        }
    }
}
