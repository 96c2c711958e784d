//! `lb`: how an endpoint is chosen.
//!
//! A word for an algorithm with its defaults, or a mapping of one algorithm with its options beside
//! what holds for all: `{ ring_hash: { hash: [{ header: x-user }] }, panic_threshold: 0 }`.

use super::fields::Fields;
use super::hash::HASH;
use super::node::{Content, Node};
use super::shape::{Key, Kind, Shape, key, words};
use super::value::{Value, word};
use super::{code, reader::Reader};
use crate::model::{HashPolicy, LbAlgorithm, LbPolicy, SlowStart};
use std::sync::Arc;

/// The largest ring (Envoy's and gRPC's bound), and the largest Maglev table.
const LARGEST_RING: i64 = 8_388_608;
const LARGEST_TABLE: i64 = 5_000_011;

#[derive(Clone, Copy)]
enum Named {
    RoundRobin,
    Random,
    LeastRequest,
    PeakEwma,
    RingHash,
    Maglev,
}

impl Named {
    const fn algorithm(self) -> LbAlgorithm {
        match self {
            Self::RoundRobin => LbAlgorithm::RoundRobin,
            Self::Random => LbAlgorithm::Random,
            Self::LeastRequest => LbAlgorithm::least_request(),
            Self::PeakEwma => LbAlgorithm::peak_ewma(),
            Self::RingHash => LbAlgorithm::ring_hash(),
            Self::Maglev => LbAlgorithm::maglev(),
        }
    }
}

const ALGORITHMS: [(&str, Named); 6] = [
    ("round_robin", Named::RoundRobin),
    ("random", Named::Random),
    ("least_request", Named::LeastRequest),
    ("peak_ewma", Named::PeakEwma),
    ("ring_hash", Named::RingHash),
    ("maglev", Named::Maglev),
];
const CHOICES: [&str; 7] =
    ["round_robin", "random", "least_request", "peak_ewma", "ring_hash", "maglev", "custom"];

static NO_OPTIONS: Shape = Shape::new("lb_without_options", &[]);
static LEAST_REQUEST: Shape = Shape::new(
    "least_request",
    &[&[
        key("choice_count", Kind::Count { least: 2, most: 100 }, "How many are drawn. Default 2."),
        key(
            "active_request_bias",
            Kind::Number { least: 0.0, most: 1000.0 },
            "How much load counts where weights are unequal: the lowest active^bias / weight wins; 0 ignores load. Default 1.",
        ),
    ]],
);
static PEAK_EWMA: Shape = Shape::new(
    "peak_ewma",
    &[&[
        key(
            "decay",
            Kind::POSITIVE_TIME,
            "Time for an old measurement to lose 63 % of its weight. Default 10s.",
        ),
        key(
            "default_rtt",
            Kind::POSITIVE_TIME,
            "What an endpoint without measurements is taken for. Default 30ms.",
        ),
        key(
            "failure_penalty",
            Kind::POSITIVE_TIME,
            "What a failure counts as, at least. Default 5s.",
        ),
    ]],
);
const HASH_KEYS: &[Key] = &[
    key("hash", HASH, "What is hashed when the route says nothing."),
    key(
        "hash_balance_factor",
        Kind::Count { least: 100, most: u32::MAX as i64 },
        "An endpoint with more than this percentage of the average load is passed over. Default none.",
    ),
];
static CUSTOM: Shape = Shape::new(
    "custom_lb",
    &[&[
        key("name", Kind::Text, "The name that the policy is registered by.").required(),
        key("hash", HASH, "What is hashed when the route says nothing; the policy sees the hash."),
    ]],
);
static RING_HASH: Shape = Shape::new(
    "ring_hash",
    &[
        HASH_KEYS,
        &[
            key(
                "minimum_ring_size",
                Kind::Count { least: 1, most: LARGEST_RING },
                "Points on the ring, at least. Default 1024.",
            ),
            key(
                "maximum_ring_size",
                Kind::Count { least: 1, most: LARGEST_RING },
                "Points on the ring, at most. Default 8388608.",
            ),
        ],
    ],
);
static MAGLEV: Shape = Shape::new(
    "maglev",
    &[
        HASH_KEYS,
        &[key(
            "table_size",
            Kind::Count { least: 2, most: LARGEST_TABLE },
            "Slots of the table: a prime. Default 65537.",
        )],
    ],
);
static SLOW_START: Shape = Shape::new(
    "slow_start",
    &[&[
        key("window", Kind::POSITIVE_TIME, "How long an endpoint counts as new.").required(),
        key(
            "aggression",
            Kind::Number { least: 0.001, most: 1000.0 },
            "Shape of the curve; 1 is a line. Default 1.",
        ),
        key("min_weight_percent", Kind::PERCENT, "The least share of its weight. Default 10."),
    ]],
);

static LB: Shape = Shape::new(
    "lb",
    &[&[
        key("round_robin", Kind::Mapping(&NO_OPTIONS), "In turn, by weight."),
        key("random", Kind::Mapping(&NO_OPTIONS), "At random, by weight."),
        key(
            "least_request",
            Kind::Mapping(&LEAST_REQUEST),
            "The least loaded of a few drawn at random.",
        ),
        key(
            "peak_ewma",
            Kind::Mapping(&PEAK_EWMA),
            "The one of two with the lower expected latency.",
        ),
        key("ring_hash", Kind::Mapping(&RING_HASH), "Consistent hashing on a ring."),
        key("maglev", Kind::Mapping(&MAGLEV), "Consistent hashing with a lookup table."),
        key(
            "custom",
            Kind::Either(&[Kind::Text, Kind::Mapping(&CUSTOM)]),
            "A policy registered in code: its name, or a mapping.",
        ),
        key(
            "panic_threshold",
            Kind::PERCENT,
            "With less than this percentage available, all endpoints are used; 0 never panics. Default 50.",
        ),
        key("fail_traffic_on_panic", Kind::Flag, "In panic, fail instead. Default false."),
        key(
            "overprovisioning_factor",
            Kind::Count { least: 100, most: u32::MAX as i64 },
            "Health counts this many percent. Default 140.",
        ),
        key("locality_weighted", Kind::Flag, "Chooses a locality by weight first. Default false."),
        key(
            "slow_start",
            Kind::Either(&[Kind::POSITIVE_TIME, Kind::Mapping(&SLOW_START)]),
            "New endpoints take their share gradually. Default at once.",
        ),
    ]],
);

/// `lb` of a cluster.
pub(super) const LB_KIND: Kind =
    Kind::Either(&[Kind::Word(&words(&ALGORITHMS)), Kind::Mapping(&LB)]);

impl Value for LbPolicy {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        if matches!(node.content, Content::Scalar { .. }) {
            return word(reader, node, kind, &ALGORITHMS).map(|name| Self::new(name.algorithm()));
        }
        let fields = Fields::open(reader, node, kind)?;
        fields.at_most_one(reader, &CHOICES, code::CONFLICTING_KEYS);
        let mut policy = Self::default();
        algorithm(reader, &fields, &mut policy);
        fields.set(reader, "panic_threshold", &mut policy.panic_threshold);
        fields.set(reader, "fail_traffic_on_panic", &mut policy.fail_traffic_on_panic);
        fields.set(reader, "overprovisioning_factor", &mut policy.overprovisioning_factor);
        fields.set(reader, "locality_weighted", &mut policy.locality_weighted);
        if let Some((node, kind)) = fields.value("slow_start") {
            policy.slow_start = slow_start(reader, node, kind);
        }
        Some(policy)
    }
}

fn algorithm(reader: &mut Reader<'_>, fields: &Fields<'_>, policy: &mut LbPolicy) {
    for (name, named) in ALGORITHMS {
        let Some((node, kind)) = fields.value(name) else { continue };
        let mut algorithm = named.algorithm();
        let Some(options) = Fields::open(reader, node, kind) else { continue };
        match &mut algorithm {
            LbAlgorithm::RoundRobin | LbAlgorithm::Random | LbAlgorithm::Custom(_) => {}
            LbAlgorithm::LeastRequest { choice_count, active_request_bias } => {
                options.set(reader, "choice_count", choice_count);
                options.set(reader, "active_request_bias", active_request_bias);
            }
            LbAlgorithm::PeakEwma { decay, default_rtt, failure_penalty } => {
                options.set(reader, "decay", decay);
                options.set(reader, "default_rtt", default_rtt);
                options.set(reader, "failure_penalty", failure_penalty);
            }
            LbAlgorithm::RingHash { minimum_ring_size, maximum_ring_size, hash_balance_factor } => {
                policy.hash_policy = hash(reader, &options, hash_balance_factor);
                options.set(reader, "minimum_ring_size", minimum_ring_size);
                options.set(reader, "maximum_ring_size", maximum_ring_size);
                check_ring(reader, &options, *minimum_ring_size, *maximum_ring_size);
            }
            LbAlgorithm::Maglev { table_size, hash_balance_factor } => {
                policy.hash_policy = hash(reader, &options, hash_balance_factor);
                options.set(reader, "table_size", table_size);
                check_prime(reader, &options, *table_size);
            }
        }
        policy.algorithm = algorithm;
    }
    if let Some((node, kind)) = fields.value("custom") {
        custom(reader, node, kind, policy);
    }
}

fn custom(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind, policy: &mut LbPolicy) {
    let name: Option<Arc<str>> = if matches!(node.content, Content::Scalar { .. }) {
        Value::read(reader, node, kind)
    } else if let Some(options) = Fields::open(reader, node, kind) {
        policy.hash_policy = options.read(reader, "hash").unwrap_or_default();
        options.read(reader, "name")
    } else {
        None
    };
    if let Some(name) = name {
        policy.algorithm = LbAlgorithm::Custom(name);
    }
}

fn hash(
    reader: &mut Reader<'_>,
    options: &Fields<'_>,
    hash_balance_factor: &mut Option<u32>,
) -> Vec<HashPolicy> {
    options.set_some(reader, "hash_balance_factor", hash_balance_factor);
    options.read(reader, "hash").unwrap_or_default()
}

fn check_ring(reader: &mut Reader<'_>, options: &Fields<'_>, minimum: u32, maximum: u32) {
    if minimum > maximum {
        let entry = options.own("minimum_ring_size").or_else(|| options.own("maximum_ring_size"));
        let span = entry.map_or_else(|| options.span(), |entry| entry.value.span);
        let message = format!("minimum_ring_size {minimum} is above maximum_ring_size {maximum}");
        reader.report.add(code::INCONSISTENT_VALUES, span, message);
    }
}

/// Envoy: `MaglevLbConfig.table_size` must be a prime; only then every endpoint reaches every slot.
fn check_prime(reader: &mut Reader<'_>, options: &Fields<'_>, size: u32) {
    let Some(entry) = options.own("table_size").filter(|_| !is_prime(size)) else { return };
    let next = (size..).find(|candidate| is_prime(*candidate)).unwrap_or(65_537);
    reader
        .report
        .add(code::NOT_PRIME, entry.value.span, format!("{size} is not a prime number"))
        .suggest(format!("the next one is {next}"));
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|d| d * d <= number).all(|divisor| !number.is_multiple_of(divisor))
}

fn slow_start(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<SlowStart> {
    if matches!(node.content, Content::Scalar { .. }) {
        return Value::read(reader, node, kind).map(SlowStart::new);
    }
    let fields = Fields::open(reader, node, kind)?;
    let window = fields.read(reader, "window");
    let mut options = SlowStart::new(std::time::Duration::ZERO);
    fields.set(reader, "aggression", &mut options.aggression);
    fields.set(reader, "min_weight_percent", &mut options.min_weight_percent);
    options.window = window?;
    Some(options)
}

#[cfg(test)]
mod tests {
    use super::is_prime;

    #[test]
    fn primes() {
        let found: Vec<_> = (0..30).filter(|n| is_prime(*n)).collect();
        assert_eq!(found, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && is_prime(5_000_011) && !is_prime(65_536));
    }
}
