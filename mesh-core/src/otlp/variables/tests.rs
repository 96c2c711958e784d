use super::*;

fn read(set: &[(&str, &str)]) -> Result<OtlpSettings, InvalidOtlp> {
    OtlpSettings::read(None, |name| {
        let found = set.iter().find(|(held, _)| *held == name);
        found.map(|(_, value)| OsString::from(value))
    })
}

const TO: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317");

fn metrics(set: &[(&str, &str)]) -> OtlpTarget {
    read(set).unwrap().metrics.unwrap()
}

#[track_caller]
fn refused(set: &[(&str, &str)], parts: &[&str]) {
    let error = read(set).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn nothing_is_exported_unless_something_asks_for_it() {
    assert!(read(&[]).unwrap().is_empty());
    assert!(read(&[("OTEL_SERVICE_NAME", "shop"), (TO.0, "")]).unwrap().is_empty());
    let asked = metrics(&[("OTEL_METRICS_EXPORTER", "otlp")]);
    assert_eq!(asked.endpoint.to_string(), "http://localhost:4317");
    assert_eq!(asked.timeout, Duration::from_secs(10));
    let neither = [TO, ("OTEL_METRICS_EXPORTER", "none"), ("OTEL_TRACES_EXPORTER", "none")];
    assert!(read(&neither).unwrap().is_empty());
    let spans = read(&neither[..2]).unwrap();
    assert!(spans.metrics.is_none() && spans.traces.is_some());
    for (value, empty) in [("true", true), ("TRUE", true), ("false", false), ("1", false)] {
        assert_eq!(read(&[TO, ("OTEL_SDK_DISABLED", value)]).unwrap().is_empty(), empty, "{value}");
    }
}

#[test]
fn what_is_said_of_one_signal_comes_first_and_an_argument_before_it() {
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://own:4317");
    let timeouts =
        [("OTEL_EXPORTER_OTLP_TIMEOUT", "5"), ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "7")];
    let target = metrics(&[TO, own, timeouts[0], timeouts[1]]);
    assert_eq!(target.endpoint.authority(), "own:4317");
    assert_eq!(target.timeout, Duration::from_millis(7));
    let argument = OtlpEndpoint::parse("http://argument:1").unwrap();
    let settings =
        OtlpSettings::read(Some(argument.clone()), |name| (name == own.0).then(|| own.1.into()));
    assert_eq!(settings.unwrap().metrics.unwrap().endpoint, argument);
}

#[test]
fn headers_are_read_and_not_shown() {
    let list = "Authorization=Bearer%20s3cret%2C, x-tenant = a ,,";
    let target = metrics(&[TO, ("OTEL_EXPORTER_OTLP_HEADERS", list)]);
    assert_eq!(target.headers["authorization"], "Bearer s3cret,");
    assert_eq!(target.headers["x-tenant"], "a");
    assert!(!format!("{target:?}").contains("s3cret"), "{target:?}");
    for list in ["s3cret", "a b=s3cret", "a=s3cret%0a", "a=s3cret%2", "a-bin=s3cret", "a=s3cret%+1"]
    {
        let error = read(&[TO, ("OTEL_EXPORTER_OTLP_HEADERS", list)]).unwrap_err().to_string();
        assert!(error.contains("`OTEL_EXPORTER_OTLP_HEADERS` can't be used"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_resource_has_each_attribute_once_and_the_service_last() {
    let set = [
        TO,
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=old,zone=eu%2d1,zone=eu-2,text=a=b"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "250"),
    ];
    let settings = read(&set).unwrap();
    assert_eq!(settings.resource("service.name"), Some("shop"));
    assert_eq!(settings.resource("zone"), Some("eu-2"));
    assert_eq!(settings.resource("text"), Some("a=b"));
    assert_eq!((settings.resource.len(), settings.interval), (3, Duration::from_millis(250)));
}

#[test]
fn what_cant_be_used_is_named() {
    refused(
        &[(TO.0, "collector:4317")],
        &["`OTEL_EXPORTER_OTLP_ENDPOINT` is `collector:4317`: write a URL"],
    );
    let hidden = read(&[(TO.0, "http://u:s3cret@a:1")]).unwrap_err().to_string();
    assert!(!hidden.contains("s3cret"), "{hidden}");
    for time in ["", "ten", "-1", "0", "1.5", "86400001"].into_iter().skip(1) {
        refused(
            &[TO, ("OTEL_EXPORTER_OTLP_TIMEOUT", time)],
            &["OTLP_TIMEOUT` is", time, "milliseconds"],
        );
        refused(
            &[TO, ("OTEL_METRIC_EXPORT_INTERVAL", time)],
            &["EXPORT_INTERVAL` is", "milliseconds"],
        );
    }
    refused(
        &[TO, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
        &["http/protobuf", "only `grpc`"],
    );
    refused(&[TO, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], &["gzip", "`none`"]);
    refused(&[("OTEL_METRICS_EXPORTER", "prometheus")], &["prometheus", "`otlp` or `none`"]);
    refused(
        &[TO, ("OTEL_RESOURCE_ATTRIBUTES", "zone")],
        &["OTEL_RESOURCE_ATTRIBUTES", "key=value"],
    );
    // Where nothing is exported, nothing is asked.
    assert!(read(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "ten")]).unwrap().is_empty());
}

#[test]
fn callers_decide_of_which_requests_spans_are_made() {
    let sampler = |set: &[(&str, &str)]| read(&[&[TO], set].concat()).unwrap().sampler;
    let off = ("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let ratio = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
    assert_eq!((sampler(&[]), sampler(&[off])), (Sampler::default(), Sampler::default()));
    assert_eq!(sampler(&[("OTEL_TRACES_SAMPLER", "parentbased_always_on")]), Sampler::share(1.0));
    assert_eq!(sampler(&[ratio, ("OTEL_TRACES_SAMPLER_ARG", "0.25")]), Sampler::share(0.25));
    assert_eq!(sampler(&[ratio]), Sampler::share(1.0));
    refused(&[TO, ("OTEL_TRACES_SAMPLER", "always_on")], &["always_on", "parentbased_always_on"]);
    for share in ["2", "-0.1", "nan", "half"] {
        refused(&[TO, ratio, ("OTEL_TRACES_SAMPLER_ARG", share)], &["SAMPLER_ARG` is", share]);
    }
}

#[test]
fn spans_that_wait_are_bounded() {
    let settings = read(&[TO]).unwrap();
    assert_eq!((settings.max_spans, settings.span_batch), (2_048, 512));
    assert_eq!(settings.span_delay, Duration::from_secs(5));
    let (queue, batch) = ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE");
    let settings = read(&[TO, (queue, "100"), ("OTEL_BSP_SCHEDULE_DELAY", "20")]).unwrap();
    assert_eq!((settings.max_spans, settings.span_batch), (100, 100));
    assert_eq!(settings.span_delay, Duration::from_millis(20));
    assert_eq!(read(&[TO, (batch, "7")]).unwrap().span_batch, 7);
    refused(&[TO, (queue, "0")], &[queue, "from 1 to 65536"]);
    refused(&[TO, (queue, "10"), (batch, "11")], &[batch, "`11`", "room in the queue"]);
}
