//! Vectors of the W3C's `trace-context` test suite (`test/test.py`), and round trips.

use super::*;
use mesh_core::random::SplitMix64;

const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[track_caller]
fn check(value: &str, expected: Result<&str, TraceContextError>) {
    let parsed = TraceContext::parse(value.as_bytes());
    assert_eq!(parsed.map(|context| context.to_string()), expected.map(str::to_owned), "{value}");
}

#[test]
fn versions() {
    check(VALID, Ok(VALID));
    let rest = &VALID[2..];
    for version in ["01", "cc", "fe"] {
        check(&format!("{version}{rest}"), Ok(VALID));
        check(&format!("{version}{rest}-"), Ok(VALID));
        check(&format!("{version}{rest}-what-the-future"), Ok(VALID));
        check(&format!("{version}{rest}.what"), Err(TraceContextError::Form));
    }
    check(&format!("ff{rest}"), Err(TraceContextError::Version));
    for version in [".0", "0.", "A0", "0x"] {
        check(&format!("{version}{rest}"), Err(TraceContextError::Digit));
    }
    for extra in [".", "-", "-what", "0"] {
        check(&format!("{VALID}{extra}"), Err(TraceContextError::Form));
    }
    check(&format!("0{rest}"), Err(TraceContextError::Form));
    check(&format!("000{rest}"), Err(TraceContextError::Form));
}

#[test]
fn ids_and_flags() {
    let make = |trace: &str, span: &str, flags: &str| format!("00-{trace}-{span}-{flags}");
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    check(&make(&"0".repeat(32), span, "01"), Err(TraceContextError::ZeroId));
    check(&make(trace, &"0".repeat(16), "01"), Err(TraceContextError::ZeroId));
    check(&make(&trace.to_uppercase(), span, "01"), Err(TraceContextError::Digit));
    check(&make(&trace.replace('a', "."), span, "01"), Err(TraceContextError::Digit));
    check(&make(trace, &span.replace('b', "g"), "01"), Err(TraceContextError::Digit));
    check(&make(&trace[1..], span, "01"), Err(TraceContextError::Form));
    check(&make(trace, &span[1..], "001"), Err(TraceContextError::Form));
    for flags in [".0", "0.", "A0", "0B"] {
        check(&make(trace, span, flags), Err(TraceContextError::Digit));
    }
    // Unknown flags are not passed on.
    for (flags, kept) in [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03")] {
        check(&make(trace, span, flags), Ok(&make(trace, span, kept)));
    }
    for value in ["", "00", "-", &VALID[..54], &VALID.replace('-', "_")] {
        check(value, Err(TraceContextError::Form));
    }
}

#[test]
fn children_keep_the_trace_and_change_the_span() {
    let mut random = SplitMix64::new(1);
    let parent = TraceContext::parse(VALID.as_bytes()).unwrap();
    let child = parent.child(&mut random);
    assert_eq!((child.trace_id(), child.flags()), (parent.trace_id(), parent.flags()));
    assert_ne!(child.span_id(), parent.span_id());
    assert_ne!(parent.child(&mut random), child);

    for sampled in [false, true] {
        let root = TraceContext::root(&mut random, sampled);
        assert_eq!(root.is_sampled(), sampled);
        assert_eq!(TraceContext::parse(root.header_value().as_bytes()), Ok(root));
    }
    assert_eq!(size_of::<TraceContext>(), 25);
}

#[test]
fn random_zeroes_do_not_make_a_zero_id() {
    struct Zeroes;
    impl Random for Zeroes {
        fn next_u64(&mut self) -> u64 {
            0
        }
    }
    let root = TraceContext::root(&mut Zeroes, true);
    assert_eq!(TraceContext::parse(root.to_string().as_bytes()), Ok(root));
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_repeated_or_invalid_traceparent_is_none() {
    let one = ("traceparent", VALID);
    assert!(TraceContext::extract(&headers(&[one])).is_some());
    assert!(TraceContext::extract(&headers(&[one, one])).is_none());
    assert!(TraceContext::extract(&headers(&[("tracestate", "a=1")])).is_none());
    assert!(
        TraceContext::extract(&headers(&[("traceparent", "00"), ("tracestate", "a=1")])).is_none()
    );
}

#[test]
fn injection_replaces_what_is_there() {
    let (context, state) =
        TraceContext::extract(&headers(&[("traceparent", VALID), ("tracestate", "a=1")])).unwrap();
    let mut out = headers(&[("traceparent", "x"), ("traceparent", "y"), ("tracestate", "old=1")]);
    context.inject(state.as_ref(), &mut out);
    assert_eq!(TraceContext::extract(&out), Some((context, state)));
    context.inject(None, &mut out);
    assert_eq!(TraceContext::extract(&out), Some((context, None)));
    assert_eq!(out.len(), 1);
}

#[track_caller]
fn check_state(values: &[&str], expected: Option<&str>) {
    let lines: Vec<_> = values.iter().map(|value| ("tracestate", *value)).collect();
    let state = TraceState::extract(&headers(&lines));
    let text = state.map(|state| state.header_value().to_str().unwrap().to_owned());
    assert_eq!(text.as_deref(), expected, "{values:?}");
}

#[test]
fn states_are_joined_in_order() {
    check_state(&[], None);
    check_state(&[""], None);
    check_state(&[" ,\t"], None);
    check_state(&["foo=1"], Some("foo=1"));
    check_state(&["foo=1,bar=2"], Some("foo=1,bar=2"));
    check_state(&["foo=1", "bar=2 , baz=3", ""], Some("foo=1,bar=2,baz=3"));
    check_state(&["foo=1 \t , \t bar=2"], Some("foo=1 \t , \t bar=2"));
    check_state(&["foo= 1"], Some("foo= 1"));
}

#[test]
fn state_keys_follow_their_grammar() {
    let long = |length| "z".repeat(length);
    let all = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    for key in [all.to_owned(), format!("{all}@a-z0-9_-*/"), "t@v".to_owned(), "0t@v".to_owned()] {
        let state = format!("{key}=1");
        check_state(&[&state], Some(&state));
    }
    for key in
        ["foo ", "FOO", "foo.bar", "foo@", "@foo", "foo@@bar", "foo@bar@baz", "0foo", "", "t@0v"]
    {
        check_state(&[&format!("ok=1,{key}=1")], None);
    }
    check_state(&[&format!("{}=1", long(256))], Some(&format!("{}=1", long(256))));
    check_state(&[&format!("{}=1", long(257))], None);
    let tenant = format!("{}@{}=1", long(241), long(14));
    check_state(&[&tenant], Some(&tenant));
    check_state(&[&format!("{}@v=1", long(242))], None);
    check_state(&[&format!("t@{}=1", long(15))], None);
}

#[test]
fn state_values_follow_their_grammar() {
    for state in ["foo=", "foo", "foo==", "foo=bar=baz", "foo=1\u{7f}"] {
        let value = HeaderValue::from_bytes(state.as_bytes());
        let Ok(value) = value else { continue };
        let mut headers = HeaderMap::new();
        headers.insert(TraceState::TRACESTATE, value);
        assert_eq!(TraceState::extract(&headers), None, "{state}");
    }
    let letters: String =
        (' '..='~').filter(|letter| !matches!(letter, ',' | '=')).collect::<String>() + "x";
    check_state(&[&format!("foo={letters}")], Some(&format!("foo={letters}")));
    check_state(&[&format!("foo={}", "v".repeat(257))], None);
}

#[test]
fn states_are_bounded() {
    let members = |count: usize| {
        (0..count).map(|n| format!("bar{n:02}={n:02}")).collect::<Vec<_>>().join(",")
    };
    check_state(&[&members(32)], Some(&members(32)));
    check_state(&[&members(33)], None);

    // Above 512 bytes long members go first, from the end, then the others, from the end.
    let long = format!("long={}", "v".repeat(130));
    let short = |key: char| format!("{key}={}", "v".repeat(100));
    let [a, b, c, d, e, f] = ['a', 'b', 'c', 'd', 'e', 'f'].map(short);
    check_state(
        &[&a, &long, &b, &c, &d],
        Some(&[a.clone(), b.clone(), c.clone(), d.clone()].join(",")),
    );
    check_state(&[&[&a[..], &b, &c, &d, &e, &f].join(",")], Some(&[a, b, c, d].join(",")));
}
