//! Whatever the condition and the request: no panic, no more than [`MAX_COST`], and the same with what is
//! constant computed beforehand or not.

use super::*;
use crate::model::{CelComprehension, CelConstant, CelExpr};
use proptest::prelude::*;

fn leaf() -> impl Strategy<Value = String> {
    let literal = prop_oneof![
        "-?[0-9]{1,2}",
        "[0-9]u",
        "-?[0-9]\\.[05]",
        "'(|a|b|/a|GET|1|é)'",
        "b'(|a)'",
        "true|false|null",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615u",
        "timestamp\\('2026-01-01T00:00:00Z'\\)",
        "duration\\('(1h|-1s)'\\)",
    ];
    let attribute = prop::sample::select(vec![
        "request.path",
        "request.method",
        "request.size",
        "request.time",
        "request.referer",
        "request.headers['x-a']",
        "source.port",
        "connection.mtls",
        "metadata.filter_metadata.f",
        "metadata.filter_metadata.f.k",
        "filter_state.s",
        "x",
        "y",
    ]);
    prop_oneof![literal, attribute.prop_map(str::to_owned)]
}

const OPERATORS: &[&str] =
    &["&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "in"];
const MACROS: &[&str] = &["all", "exists", "exists_one", "map", "filter"];
const UNARY: &[&str] =
    &["!", "-", "size", "int", "uint", "double", "string", "bytes", "bool", "dyn"];
const METHODS: &[&str] = &["contains", "startsWith", "endsWith", "split"];

fn text() -> impl Strategy<Value = String> {
    leaf().prop_recursive(5, 40, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let three = (inner.clone(), inner.clone(), inner.clone());
        prop_oneof![
            3 => (two.clone(), prop::sample::select(OPERATORS))
                .prop_map(|((a, b), op)| format!("({a} {op} {b})")),
            2 => (two.clone(), prop::sample::select(MACROS), "[xy]")
                .prop_map(|((a, b), name, variable)| format!("[{a}, 1].{name}({variable}, {b})")),
            1 => (two.clone(), prop::sample::select(MACROS))
                .prop_map(|((a, b), name)| format!("({a}).{name}(x, {b})")),
            1 => (inner.clone(), prop::sample::select(UNARY))
                .prop_map(|(a, name)| format!("{name}({a})")),
            1 => (two.clone(), prop::sample::select(METHODS))
                .prop_map(|((a, b), name)| format!("({a}).{name}({b})")),
            1 => two.clone().prop_map(|(a, b)| format!("[{a}, {b}]")),
            1 => two.clone().prop_map(|(a, b)| format!("{{{a}: {b}, 'k': {a}}}")),
            1 => two.prop_map(|(a, b)| format!("({a})[{b}]")),
            1 => three.clone().prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => three.prop_map(|(a, b, c)| format!("({a}).replace({b}, {c})")),
            1 => inner.clone().prop_map(|a| format!("has(({a}).k)")),
            1 => inner.clone().prop_map(|a| format!("({a}).matches('^a|b+$')")),
            1 => inner.prop_map(|a| format!("({a}).getHours()")),
        ]
    })
}

const REQUESTS: [&str; 3] = [
    "GET h /a/b x-a:1 x-a:b content-length:3 meta.f.k=[a,1,true] state.s=a at=1790000000 http=2",
    "PUT h /",
    "- from=none",
];

fn run(program: &Program, request: &str) -> (String, u32) {
    let mut found = (String::new(), 0);
    Scene::new("uri:spiffe://m/a", request).show(|request| {
        let sight = Sight::new(request);
        let mut evaluation = Evaluation::new(Some(&sight));
        found = (shown(&evaluation.eval(&program.0)), MAX_COST - evaluation.left());
    });
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn never_a_panic_and_never_too_much(text in text()) {
        let condition = condition(&text);
        let (folded, plain) =
            (compile::compile(&condition, true), compile::compile_within(&condition, true, 0));
        prop_assert_eq!(folded.is_ok(), plain.is_ok());
        let (Ok(folded), Ok(plain)) = (folded, plain) else { return Ok(()) };
        for request in REQUESTS {
            let (folded, plain) = (run(&folded, request), run(&plain, request));
            prop_assert!(folded.1 <= plain.1, "{} costs more than {}", folded.1, plain.1);
            if plain.0 != "!TooCostly" {
                prop_assert_eq!(folded.0, plain.0);
            }
        }
    }
}

/// A loop over a hundred elements that makes `step` of what it gathered.
fn gathering(init: CelExpr, step: CelExpr) -> Condition {
    let number = |number| CelExpr::Const(CelConstant::Int(number));
    let mut condition = condition("true");
    condition.expr = CelExpr::Comprehension(Box::new(CelComprehension {
        iter_var: "x".into(),
        iter_range: CelExpr::List((0..100).map(number).collect()),
        accu_var: "a".into(),
        accu_init: init,
        loop_condition: CelExpr::Const(CelConstant::Bool(true)),
        loop_step: step,
        result: CelExpr::ident("a"),
    }));
    condition
}

/// What doubles each time, and what gets deeper each time, comes to an end early.
#[test]
fn loops_that_blow_up() {
    let (a, x) = (|| CelExpr::ident("a"), || CelExpr::ident("x"));
    let twice = |one: CelExpr| CelExpr::call("_+_", vec![one.clone(), one]);
    let list = |items| CelExpr::List(items);
    let replaced = CelExpr::Call {
        target: Some(Box::new(a())),
        function: "replace".into(),
        args: vec![CelExpr::text("a"), CelExpr::text("aaaaaaaa")],
    };
    let map = CelExpr::Map(vec![(CelExpr::text("k"), a())]);
    for (name, init, step) in [
        ("texts", CelExpr::text("ab"), twice(a())),
        ("replace", CelExpr::text("a"), replaced),
        ("lists", list(vec![x_less()]), twice(a())),
        ("depth of lists", list(vec![]), list(vec![a()])),
        ("depth of maps", list(vec![]), map),
        ("both", list(vec![]), list(vec![a(), a()])),
    ] {
        let (found, cost) = outcome(&gathering(init, step), "plain", "GET h /");
        assert_eq!(found, "!TooCostly", "{name}");
        assert!(cost <= MAX_COST, "{name}");
    }
    // A loop that only counts is no problem.
    let count = CelExpr::call("_+_", vec![a(), x()]);
    let init = CelExpr::Const(CelConstant::Int(0));
    assert_eq!(outcome(&gathering(init, count), "plain", "GET h /").0, "4950");
}

fn x_less() -> CelExpr {
    CelExpr::Const(CelConstant::Int(1))
}
