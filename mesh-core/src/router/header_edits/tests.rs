use super::*;
use http::{HeaderName, HeaderValue};

fn append(name: &'static str, value: &'static str, action: AppendAction) -> HeaderMutation {
    let name = HeaderName::from_static(name);
    HeaderMutation::Append { name, value: HeaderValue::from_static(value), action }
}

fn level(request: Vec<HeaderMutation>) -> Level {
    let mut errors = Vec::new();
    let mut scope = Scope { errors: &mut errors, virtual_host: None, route: None };
    let level =
        Level::compile(&HeaderMutations { request, response: vec![] }, "headers", &mut scope);
    assert_eq!(errors, []);
    level
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_append_action() {
    for (action, on_none, on_one) in [
        (AppendAction::AppendIfExistsOrAdd, vec!["new"], vec!["old", "new"]),
        (AppendAction::AddIfAbsent, vec!["new"], vec!["old"]),
        (AppendAction::OverwriteIfExistsOrAdd, vec!["new"], vec!["new"]),
        (AppendAction::OverwriteIfExists, vec![], vec!["new"]),
    ] {
        let mut headers = HeaderMap::new();
        apply(&append("x", "new", action), &mut headers);
        assert_eq!(values(&headers, "x"), on_none, "{action:?}");
        headers.insert("x", HeaderValue::from_static("old"));
        apply(&append("x", "new", action), &mut headers);
        assert_eq!(values(&headers, "x"), on_one, "{action:?}");
    }
}

#[test]
fn the_most_specific_level_goes_first_and_removals_before_additions() {
    use AppendAction::AppendIfExistsOrAdd as Append;
    let own = level(vec![
        append("x", "route", Append),
        HeaderMutation::Remove(HeaderName::from_static("x")),
    ]);
    let host = level(vec![append("x", "host", Append)]);
    let configuration = level(vec![append("x", "configuration", Append)]);
    let split = [level(vec![append("x", "split", Append)]), level(vec![])];
    let edits = RouteEdits::new(&split, &[&own, &host, &configuration]);

    let run = |split| {
        let mut headers = HeaderMap::new();
        headers.insert("x", HeaderValue::from_static("request"));
        edits.request(split).for_each(|edit| apply(edit, &mut headers));
        values(&headers, "x")
    };
    // The route's removal comes after the split's addition.
    assert_eq!(run(Some(0)), ["route", "host", "configuration"]);
    assert_eq!(run(Some(1)), ["route", "host", "configuration"]);
    assert_eq!(run(None), ["route", "host", "configuration"]);
    let order: Vec<_> = edits.request(Some(0)).map(HeaderMutation::name).collect();
    assert_eq!(order.len(), 5, "the split's, the route's two, the host's, the configuration's");
    assert_eq!(edits.response(Some(0)).count(), 0);
}

#[test]
fn the_host_header_is_not_edited() {
    let mut errors = Vec::new();
    let mut scope = Scope { errors: &mut errors, virtual_host: None, route: Some(3) };
    let request = vec![HeaderMutation::Remove(header::HOST)];
    let edits = HeaderMutations { response: request.clone(), request };
    let _: Level = Level::compile(&edits, "headers", &mut scope);
    assert_eq!(errors.len(), 1);
    assert_eq!(&*errors[0].field, "headers.request[0]");
    assert_eq!(errors[0].kind, CompileErrorKind::HostHeader);
}

#[test]
fn no_edit_breaks_the_framing() {
    let errors_of = |edit: HeaderMutation| {
        let edits = HeaderMutations { request: vec![edit.clone()], response: vec![edit] };
        let mut errors = Vec::new();
        let mut scope = Scope { errors: &mut errors, virtual_host: None, route: None };
        let _: Level = Level::compile(&edits, "headers", &mut scope);
        errors.into_iter().map(|error| (error.field.to_string(), error.kind)).collect::<Vec<_>>()
    };
    for (name, removal) in [
        ("content-length", false),
        ("transfer-encoding", false),
        ("connection", true),
        ("upgrade", true),
        ("te", true),
        ("keep-alive", true),
        ("proxy-connection", true),
        ("x-any", true),
    ] {
        let header = HeaderName::from_static(name);
        let refused: Vec<_> = ["request", "response"]
            .map(|list| {
                (format!("headers.{list}[0]"), CompileErrorKind::FramingHeader(header.clone()))
            })
            .into();
        let set = errors_of(append(name, "1", AppendAction::OverwriteIfExistsOrAdd));
        assert_eq!(set, if name == "x-any" { vec![] } else { refused.clone() }, "{name}");
        let removed = errors_of(HeaderMutation::Remove(header));
        assert_eq!(removed, if removal { vec![] } else { refused }, "{name}");
    }
}
