//! `circuit_breakers` and `retry_budget`: how much a cluster is asked at once.
//!
//! Thresholds are flat, which is the default priority, or under `default` and `high`.

use super::fields::Fields;
use super::node::{Content, Node};
use super::shape::{Key, Kind, Shape, key};
use super::value::Value;
use super::{code, reader::Reader};
use crate::model::cluster::RetryConcurrency;
use crate::model::{CircuitBreakers, RetryBudgetPolicy, Thresholds};

const THRESHOLD_KEYS: &[Key] = &[
    key(
        "max_connections",
        Kind::U32,
        "Open connections, which serve routes of both priorities: those of `default` count. Default 1024.",
    ),
    key("max_pending_requests", Kind::U32, "Calls that wait for a connection. Default 1024."),
    key("max_requests", Kind::U32, "Attempts in flight. Default 1024."),
    key("max_retries", Kind::U32, "Retries in flight. Default only the retry budget."),
];
const FLAT: [&str; 4] = ["max_connections", "max_pending_requests", "max_requests", "max_retries"];

static THRESHOLDS: Shape = Shape::new("thresholds", &[THRESHOLD_KEYS]);
static BREAKERS: Shape = Shape::new(
    "circuit_breakers",
    &[
        THRESHOLD_KEYS,
        &[
            key("default", Kind::Mapping(&THRESHOLDS), "Limits of routes of default priority."),
            key("high", Kind::Mapping(&THRESHOLDS), "Limits of routes of high priority."),
            key(
                "max_connections_per_endpoint",
                Kind::POSITIVE,
                "Connections to any single endpoint. Default no limit of its own.",
            ),
        ],
    ],
);
/// `circuit_breakers` of a cluster.
pub(super) const BREAKERS_KIND: Kind = Kind::Mapping(&BREAKERS);

static CONCURRENCY: Shape = Shape::new(
    "retry_concurrency",
    &[&[
        key(
            "budget_percent",
            Kind::Number { least: 0.0, most: 100.0 },
            "Percent of active and pending calls. Default 20.",
        ),
        key("min_retry_concurrency", Kind::U32, "Retries that are always allowed. Default 3."),
    ]],
);
static BUDGET: Shape = Shape::new(
    "retry_budget",
    &[&[
        key("ratio", Kind::Number { least: 0.0, most: 1000.0 }, "Retries per call. Default 0.2."),
        key(
            "min_per_second",
            Kind::U32,
            "Retries per second that are allowed whatever the calls. Default 10.",
        ),
        key(
            "window",
            Kind::POSITIVE_TIME,
            "The shortest span over which the rule holds; bursts are made up for within it. Default 10s.",
        ),
        key(
            "concurrency",
            Kind::Mapping(&CONCURRENCY),
            "Envoy's rule in addition: retries in flight as a share of calls.",
        ),
    ]],
);
/// `retry_budget` of a cluster.
pub(super) const BUDGET_KIND: Kind = Kind::Either(&[Kind::OFF, Kind::Mapping(&BUDGET)]);

impl Value for CircuitBreakers {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut breakers = Self::default();
        thresholds(reader, &fields, &mut breakers.default);
        fields.set(reader, "default", &mut breakers.default);
        fields.set(reader, "high", &mut breakers.high);
        let per_endpoint = &mut breakers.max_connections_per_endpoint;
        fields.set_some(reader, "max_connections_per_endpoint", per_endpoint);
        if let (Some(nested), Some(flat)) =
            (fields.present(&["default", "high"]).first(), fields.present(&FLAT).first())
        {
            let message = format!("`{}` stands beside `{}`", flat.key, nested.key);
            reader
                .report
                .add(code::CONFLICTING_KEYS, flat.key_span, message)
                .suggest("put it under `default`")
                .label(nested.key_span, "thresholds by priority");
        }
        Some(breakers)
    }
}

impl Value for Thresholds {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut found = Self::default();
        thresholds(reader, &fields, &mut found);
        Some(found)
    }
}

fn thresholds(reader: &mut Reader<'_>, fields: &Fields<'_>, target: &mut Thresholds) {
    fields.set(reader, "max_connections", &mut target.max_connections);
    fields.set(reader, "max_pending_requests", &mut target.max_pending_requests);
    fields.set(reader, "max_requests", &mut target.max_requests);
    fields.set_some(reader, "max_retries", &mut target.max_retries);
}

impl Value for RetryBudgetPolicy {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let mut policy = Self::default();
        if reader.is_word(node, "off") {
            policy.enabled = false;
            return Some(policy);
        }
        if matches!(node.content, Content::Scalar { .. }) {
            reader.wrong_type(node, "`off` or a mapping");
            return None;
        }
        let fields = Fields::open(reader, node, kind)?;
        fields.set(reader, "ratio", &mut policy.ratio);
        fields.set(reader, "min_per_second", &mut policy.min_per_second);
        fields.set(reader, "window", &mut policy.window);
        fields.set_some(reader, "concurrency", &mut policy.concurrency);
        Some(policy)
    }
}

impl Value for RetryConcurrency {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut concurrency = Self::default();
        fields.set(reader, "budget_percent", &mut concurrency.budget_percent);
        fields.set(reader, "min_retry_concurrency", &mut concurrency.min_retry_concurrency);
        Some(concurrency)
    }
}
