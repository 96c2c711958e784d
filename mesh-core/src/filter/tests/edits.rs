use super::*;
use crate::model::{AppendAction, HeaderMutation, HeaderMutationFilter};
use http::{HeaderName, HeaderValue};

/// `+name=value` appends, `=name=value` overwrites, `-name` removes.
pub(super) fn edits(text: &str) -> Vec<HeaderMutation> {
    let edit = |word: &str| {
        let (kind, rest) = word.split_at(1);
        let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
        let name: HeaderName = name.parse().unwrap();
        let action = match kind {
            "-" => return HeaderMutation::Remove(name),
            "+" => AppendAction::AppendIfExistsOrAdd,
            _ => AppendAction::OverwriteIfExistsOrAdd,
        };
        HeaderMutation::Append { name, value: HeaderValue::from_str(value).unwrap(), action }
    };
    text.split_whitespace().map(edit).collect()
}

fn filter(request: &str, response: &str, wins: bool) -> HttpFilterConfig {
    let mut filter = HeaderMutationFilter::default();
    filter.mutations.request = edits(request);
    filter.mutations.response = edits(response);
    filter.most_specific_header_mutations_wins = wins;
    HttpFilterConfig::HeaderMutation(Arc::new(filter))
}

fn list(headers: &http::HeaderMap) -> String {
    let mut found: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
    found.sort();
    found.join(" ")
}

#[test]
fn edits_are_made_in_their_order_and_answers_the_other_way_round() {
    let filters = [
        ("a", filter("=x=1 -y +z=1", "=last=a", false)),
        ("b", filter("+y=2 -z +z=2", "=last=b", false)),
    ];
    let chain = chain(&filters);
    let mut way = Way::new(&chain, "/", "y: 0");
    assert_eq!(way.run(), " -> on");
    assert_eq!(list(&way.parts.headers), "x=1 y=2 z=2");
    assert_eq!(list(&way.answer(200, "").headers), "last=a");
}

#[track_caller]
fn check_levels(wins: bool, route: HttpFilterOverride, expected: &str) {
    let chain = chain(&[("a", filter("=x=chain +all=chain", "", wins))]);
    let said = |said| HttpFilterOverrides::from([(Arc::from("a"), said)]);
    let host = HttpFilterOverride::Config(filter("=x=host +all=host", "", false));
    let (route, host) = (said(route), said(host));
    let mut way = Way::new(&chain, "/", "");
    way.overrides = chain.overrides(&[&route, &host]).unwrap();
    way.run();
    assert_eq!(list(&way.parts.headers), expected);
}

#[test]
fn all_levels_are_made() {
    let route = || HttpFilterOverride::Config(filter("=x=route +all=route", "", false));
    check_levels(false, route(), "all=chain all=host all=route x=host");
    check_levels(true, route(), "all=chain all=host all=route x=route");
    check_levels(false, HttpFilterOverride::Enabled, "all=chain all=host x=host");
    check_levels(false, HttpFilterOverride::Disabled, "");
}
