use super::*;
use http::{HeaderMap, Method};
use proptest::prelude::*;

fn route(path: PathMatcher, case_sensitive: bool, conditional: bool) -> RouteMatch {
    let mut matcher = RouteMatch::new(path);
    matcher.case_sensitive = case_sensitive;
    matcher.grpc = conditional;
    matcher
}

fn find(routes: &[RouteMatch], path: &str, accepts: impl FnMut(u32) -> bool) -> Option<u32> {
    let headers = HeaderMap::new();
    let head = RequestHead::new(&Method::GET, "a", path, &headers);
    PathIndex::build(routes.iter()).find(&head, accepts)
}

/// The rules, written down as a scan.
fn naive(routes: &[RouteMatch], path: &str, accepted: &[bool]) -> Option<u32> {
    let fold = |text: &str, sensitive| match sensitive {
        true => text.to_owned(),
        false => text.to_ascii_lowercase(),
    };
    let found = routes.iter().enumerate().position(|(at, matcher)| {
        let all = fold(path, matcher.case_sensitive);
        let stripped = all.split(['?', '#']).next().unwrap();
        let hit = match &matcher.path {
            PathMatcher::Prefix(text) => {
                &**text == "/" || all.starts_with(&fold(text, matcher.case_sensitive))
            }
            PathMatcher::Path(text) => stripped == fold(text, matcher.case_sensitive),
            PathMatcher::PathSeparatedPrefix(text) => {
                let rest = stripped.strip_prefix(&*fold(text, matcher.case_sensitive));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            PathMatcher::Regex(_) => true,
        };
        hit && (unconditional(matcher) || accepted[at])
    });
    found.map(|at| at as u32)
}

fn some_routes() -> impl Strategy<Value = Vec<(RouteMatch, bool)>> {
    let path = prop_oneof![
        3 => "(/[aA]{0,2}){0,4}\\??".prop_map(|text| PathMatcher::Prefix(text.into())),
        3 => "(/[aA]{0,2}){1,4}".prop_map(|text| PathMatcher::Path(text.into())),
        3 => "(/[aA]{1,2}){1,4}".prop_map(|text| PathMatcher::PathSeparatedPrefix(text.into())),
        1 => Just(PathMatcher::Regex(crate::model::RegexPattern::new(".*"))),
    ];
    let one = (path, prop::bool::weighted(0.7), prop::bool::weighted(0.6), any::<bool>());
    let one = one.prop_map(|(path, sensitive, conditional, accepted)| {
        let regex = matches!(path, PathMatcher::Regex(_));
        (route(path, sensitive, conditional || regex), accepted)
    });
    prop::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_first_match_wins(
        routes in some_routes(),
        path in "(/[aA]{0,2}){0,5}(\\?/?[aA]{0,2})?(#a)?|\\*|",
    ) {
        let (routes, accepted): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
        let found = find(&routes, &path, |at| {
            unconditional(&routes[at as usize]) || accepted[at as usize]
        });
        prop_assert_eq!(found, naive(&routes, &path, &accepted), "{:?} {}", routes, path);
    }
}

#[test]
fn a_slash_takes_every_request() {
    for path in ["/", "/a?b", "*", ""] {
        assert_eq!(find(&[RouteMatch::any()], path, |_| true), Some(0), "{path}");
    }
    let exact = [RouteMatch::new(PathMatcher::Path("/".into()))];
    assert_eq!(find(&exact, "/?a", |_| true), Some(0));
    assert_eq!(find(&exact, "*", |_| true), None);
}

#[test]
fn a_prefix_covers_the_query_and_a_path_does_not() {
    let prefix = [RouteMatch::new(PathMatcher::Prefix("/a?x=1".into()))];
    assert_eq!(find(&prefix, "/a?x=12", |_| true), Some(0));
    assert_eq!(find(&prefix, "/a?x=2", |_| true), None);
    let separated = [RouteMatch::new(PathMatcher::PathSeparatedPrefix("/a".into()))];
    for (path, hit) in [("/a", true), ("/a/", true), ("/a?b", true), ("/a#b", true), ("/ab", false)]
    {
        assert_eq!(find(&separated, path, |_| true).is_some(), hit, "{path}");
    }
}

/// How many routes are tried for one request.
fn tried(routes: &[RouteMatch], path: &str, accepts: impl Fn(u32) -> bool) -> usize {
    let mut count = 0;
    let _: Option<u32> = find(routes, path, |at| {
        count += 1;
        accepts(at)
    });
    count
}

#[test]
fn nesting_does_not_make_a_look_up_try_more_routes() {
    let nested = |conditional| -> Vec<RouteMatch> {
        let prefixes = (1..=100).map(|depth| "/a".repeat(depth));
        prefixes.map(|text| route(PathMatcher::Prefix(text.into()), true, conditional)).collect()
    };
    let path = "/a".repeat(100);
    let shortest_first = nested(false);
    assert_eq!(tried(&shortest_first, &path, |_| true), 1);
    let longest_first: Vec<_> = shortest_first.into_iter().rev().collect();
    assert_eq!(tried(&longest_first, &path, |_| true), 1);
    // Conditional ones are copied by chunks: one accepted route of each list is tried.
    let conditional = nested(true);
    assert_eq!(tried(&conditional, &path, |_| true), 2);
    assert_eq!(tried(&conditional, &path, |_| false), 100);
}

#[test]
fn a_large_list_is_shared_by_the_prefixes_below_it() {
    let mut routes: Vec<_> =
        (0..500).map(|_| route(PathMatcher::Prefix("/".into()), true, true)).collect();
    routes
        .extend((0..500).map(|at| route(PathMatcher::Prefix(format!("/{at}").into()), true, true)));
    let index = PathIndex::build(routes.iter());
    assert!(index.lists.routes.len() < 4 * routes.len(), "{}", index.lists.routes.len());
    assert_eq!(find(&routes, "/7", |at| at == 507), Some(507));
    assert_eq!(find(&routes, "/7", |at| at == 507 || at == 499), Some(499));
}

#[test]
fn long_paths_in_any_case() {
    let long = format!("/{}", "A".repeat(3000));
    for path in [PathMatcher::Prefix, PathMatcher::Path, PathMatcher::PathSeparatedPrefix] {
        let routes = [route(path(long.clone().into()), false, false)];
        assert_eq!(find(&routes, &long.to_ascii_lowercase(), |_| true), Some(0));
        assert_eq!(find(&routes, &long[..3000], |_| true), None);
    }
    let short = [route(PathMatcher::Path("/aa".into()), false, false)];
    assert_eq!(find(&short, "/AA", |_| true), Some(0));
    assert_eq!(find(&short, "/AAA", |_| true), None);
}
