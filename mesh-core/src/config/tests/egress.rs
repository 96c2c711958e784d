//! `egress` in a document: what it means, and what is wrong with it.

use super::port::told;
use super::*;
use crate::update::UnknownHosts;
use std::path::Path;

#[test]
fn rules_and_the_list_that_is_learnt() {
    let text = "version: 1\nunknown_hosts: log\n\
                egress: { allow: [api.example.org, \"*.example.org:443\", 10.1.0.0/16, \"last.example.:80\"], learn: egress.yaml }\n";
    let update = good(text);
    assert_eq!(update.unknown_hosts, UnknownHosts::Log);
    let allow: Vec<_> = update.egress.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["api.example.org", "*.example.org:443", "10.1.0.0/16", "last.example:80"]);
    assert_eq!(update.egress.learn.as_deref(), Some(Path::new("egress.yaml")));
    let nothing = good("version: 1\n");
    assert_eq!((nothing.unknown_hosts, nothing.egress.learn.clone()), (UnknownHosts::Refuse, None));
    assert!(nothing.egress.allow.is_empty());
}

#[test]
fn the_list_is_beside_the_document() {
    for (learn, expected) in
        [("egress.yaml", "conf/egress.yaml"), ("/run/e.yaml", "/run/e.yaml"), ("../e", "conf/../e")]
    {
        let text = format!("version: 1\negress: {{ learn: {learn} }}\n");
        let documents = [Document { name: "conf/mesh.yaml", text: &text }];
        let update = load(&documents, &(), &Bounds::default()).update.unwrap();
        assert_eq!(update.egress.learn.as_deref(), Some(Path::new(expected)));
    }
}

/// What is wrong with an `egress` of these keys, and where.
#[track_caller]
fn wrong(keys: &str, expected: &str, suggestion: &str) {
    let text = format!("version: 1\negress: {{ {keys} }}\n");
    assert_eq!(summary(&read(&text)), [expected], "{keys}");
    told(&text, expected, suggestion);
}

#[test]
fn each_mistake_has_a_way_out() {
    wrong("alow: []", "unknown_key 2:11", "did you mean `allow`?");
    wrong("allow: api.example.org", "wrong_type 2:18", "");
    wrong("allow: [a, \"https://b\"]", "invalid_address 2:22", "`*.example.org:443`");
    wrong("learn: \"\"", "wrong_type 2:18", "beside this file");
    wrong("learn: lists/", "wrong_type 2:18", "beside this file");
    // `a.yaml` is the name of the document.
    wrong("learn: a.yaml", "written_over 2:18", "`learn: egress.yaml`");
}

#[test]
fn who_only_observes_learns_nothing() {
    let of =
        |mode: &str, egress: &str| format!("version: 1\nmode: {mode}\negress: {{ {egress} }}\n");
    let text = of("observe", "allow: [a], learn: egress.yaml");
    assert_eq!(summary(&read(&text)), ["learns_nothing 3:30"]);
    told(&text, "learns_nothing 3:30", "`unknown_hosts: log`");
    assert!(read(&text).update.is_some());
    for good in [of("observe", "allow: [a]"), of("enforce", "learn: egress.yaml")] {
        assert_eq!(summary(&read(&good)), [""; 0]);
    }
}
