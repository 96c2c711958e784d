//! `outlier_detection`: when an endpoint is taken out. Envoy's keys, with the statistical rules as
//! blocks; `off` switches a rule off, or (for the whole) what `defaults` switched on.

use super::fields::Fields;
use super::node::{Content, Node};
use super::shape::{Key, Kind, Shape, key, words};
use super::value::{Value, word};
use super::{code, reader::Reader};
use crate::model::OutlierDetection;
use crate::model::outlier_detection::{CapRule, FailurePercentage, SuccessRate};

const CAP_RULES: [(&str, CapRule); 2] = [("envoy", CapRule::Envoy), ("grpc", CapRule::Grpc)];
/// A count of failures in a row, or `off`.
const IN_A_ROW: Kind = Kind::Either(&[Kind::OFF, Kind::POSITIVE]);

const SHARED_KEYS: &[Key] = &[
    key("minimum_hosts", Kind::U32, "Endpoints with enough volume that are needed. Default 5."),
    key(
        "request_volume",
        Kind::U32,
        "Requests within one interval that make an endpoint comparable. Default 100, and 50 for failure percentages.",
    ),
    key(
        "enforcing",
        Kind::PERCENT,
        "The chance that an outlier is really ejected. Default 100, and 0 for failure percentages.",
    ),
];
static SUCCESS_RATE: Shape = Shape::new(
    "success_rate",
    &[
        SHARED_KEYS,
        &[key(
            "stdev_factor",
            Kind::U32,
            "Standard deviations below the mean, in thousandths. Default 1900.",
        )],
    ],
);
static FAILURE_PERCENTAGE: Shape = Shape::new(
    "failure_percentage",
    &[SHARED_KEYS, &[key("threshold", Kind::PERCENT, "Percent of failures. Default 85.")]],
);
const RATE: Kind = Kind::Either(&[Kind::OFF, Kind::Mapping(&SUCCESS_RATE)]);
const PERCENTAGE: Kind = Kind::Either(&[Kind::OFF, Kind::Mapping(&FAILURE_PERCENTAGE)]);

static OUTLIER: Shape = Shape::new(
    "outlier_detection",
    &[&[
        key("interval", Kind::POSITIVE_TIME, "Time between two sweeps. Default 10s."),
        key(
            "base_ejection_time",
            Kind::POSITIVE_TIME,
            "The first ejection lasts this long, the nth n times. Default 30s.",
        ),
        key(
            "max_ejection_time",
            Kind::POSITIVE_TIME,
            "No ejection lasts longer. Default 300s, or the base when that is longer.",
        ),
        key("max_ejection_time_jitter", Kind::TIME, "Up to this much is added. Default 0s."),
        key(
            "max_ejection_percent",
            Kind::PERCENT,
            "At most this share of the cluster is out at once. Default 10.",
        ),
        key(
            "cap_rule",
            Kind::Word(&words(&CAP_RULES)),
            "Whether that share counts after (envoy) or before (grpc) an ejection. Default envoy.",
        ),
        key("always_eject_one_endpoint", Kind::Flag, "One may always go. Default false."),
        key("consecutive_5xx", IN_A_ROW, "Server errors in a row. Default 5."),
        key("enforcing_consecutive_5xx", Kind::PERCENT, "Default 100."),
        key("consecutive_gateway_failure", IN_A_ROW, "502, 503 and 504 in a row. Default 5."),
        key("enforcing_consecutive_gateway_failure", Kind::PERCENT, "Default 0."),
        key(
            "split_external_local_origin_errors",
            Kind::Flag,
            "Counts connect failures, resets and timeouts apart. Default false.",
        ),
        key(
            "consecutive_local_origin_failure",
            IN_A_ROW,
            "Local failures in a row, when split. Default 5.",
        ),
        key("enforcing_consecutive_local_origin_failure", Kind::PERCENT, "Default 100."),
        key("success_rate", RATE, "Compares success rates. On by default."),
        key(
            "local_origin_success_rate",
            RATE,
            "The same over local failures, when split. On by default.",
        ),
        key(
            "failure_percentage",
            PERCENTAGE,
            "A fixed bound on the share of failures. Default off.",
        ),
        key(
            "local_origin_failure_percentage",
            PERCENTAGE,
            "The same over local failures, when split. Default off.",
        ),
        key(
            "count_cancelled_after",
            Kind::POSITIVE_TIME,
            "A call given up after this long counts as a local failure. Default never.",
        ),
    ]],
);
const SWITCH: [(&str, bool); 2] = [("off", false), ("on", true)];
/// `outlier_detection` of a cluster.
pub(super) const OUTLIER_KIND: Kind =
    Kind::Either(&[Kind::Word(&words(&SWITCH)), Kind::Mapping(&OUTLIER)]);

/// The whole, which may be off.
pub(super) struct Detection(pub(super) Option<OutlierDetection>);

impl Value for Detection {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        if !matches!(node.content, Content::Mapping(_)) {
            let on = word(reader, node, kind, &SWITCH)?;
            return Some(Self(on.then(OutlierDetection::default)));
        }
        let fields = Fields::open(reader, node, kind)?;
        let mut rules = OutlierDetection::default();
        times(reader, &fields, &mut rules);
        fields.set(reader, "max_ejection_percent", &mut rules.max_ejection_percent);
        if let Some((node, kind)) = fields.value("cap_rule") {
            rules.cap_rule = word(reader, node, kind, &CAP_RULES).unwrap_or_default();
        }
        fields.set(reader, "always_eject_one_endpoint", &mut rules.always_eject_one_endpoint);
        in_a_row(reader, &fields, &mut rules);
        let split = &mut rules.split_external_local_origin_errors;
        fields.set(reader, "split_external_local_origin_errors", split);
        fields.set_or_off(reader, "success_rate", &mut rules.success_rate);
        fields.set_or_off(reader, "failure_percentage", &mut rules.failure_percentage);
        let local = &mut rules.local_origin_success_rate;
        fields.set_or_off(reader, "local_origin_success_rate", local);
        let local = &mut rules.local_origin_failure_percentage;
        fields.set_or_off(reader, "local_origin_failure_percentage", local);
        fields.set_some(reader, "count_cancelled_after", &mut rules.count_cancelled_after);
        Some(Self(Some(rules)))
    }
}

fn times(reader: &mut Reader<'_>, fields: &Fields<'_>, rules: &mut OutlierDetection) {
    fields.set(reader, "interval", &mut rules.interval);
    fields.set(reader, "base_ejection_time", &mut rules.base_ejection_time);
    rules.max_ejection_time = rules.max_ejection_time.max(rules.base_ejection_time);
    fields.set(reader, "max_ejection_time", &mut rules.max_ejection_time);
    fields.set(reader, "max_ejection_time_jitter", &mut rules.max_ejection_time_jitter);
    if rules.max_ejection_time < rules.base_ejection_time
        && let Some(entry) = fields.own("max_ejection_time")
    {
        let message = "max_ejection_time is shorter than base_ejection_time";
        reader.report.add(code::INCONSISTENT_VALUES, entry.value.span, message);
    }
}

fn in_a_row(reader: &mut Reader<'_>, fields: &Fields<'_>, rules: &mut OutlierDetection) {
    fields.set_or_off(reader, "consecutive_5xx", &mut rules.consecutive_5xx);
    fields.set(reader, "enforcing_consecutive_5xx", &mut rules.enforcing_consecutive_5xx);
    fields.set_or_off(
        reader,
        "consecutive_gateway_failure",
        &mut rules.consecutive_gateway_failure,
    );
    let enforcing = &mut rules.enforcing_consecutive_gateway_failure;
    fields.set(reader, "enforcing_consecutive_gateway_failure", enforcing);
    let local = &mut rules.consecutive_local_origin_failure;
    fields.set_or_off(reader, "consecutive_local_origin_failure", local);
    let enforcing = &mut rules.enforcing_consecutive_local_origin_failure;
    fields.set(reader, "enforcing_consecutive_local_origin_failure", enforcing);
}

impl Value for SuccessRate {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut rule = Self::default();
        fields.set(reader, "stdev_factor", &mut rule.stdev_factor);
        fields.set(reader, "minimum_hosts", &mut rule.minimum_hosts);
        fields.set(reader, "request_volume", &mut rule.request_volume);
        fields.set(reader, "enforcing", &mut rule.enforcing);
        Some(rule)
    }
}

impl Value for FailurePercentage {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut rule = Self::default();
        fields.set(reader, "threshold", &mut rule.threshold);
        fields.set(reader, "minimum_hosts", &mut rule.minimum_hosts);
        fields.set(reader, "request_volume", &mut rule.request_volume);
        fields.set(reader, "enforcing", &mut rule.enforcing);
        Some(rule)
    }
}
