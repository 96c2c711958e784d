//! What the environment says: OpenTelemetry's variables, by a look-up that is an argument.

use super::{InvalidOtlp, OtlpEndpoint, OtlpSettings, OtlpTarget, Sampler};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::ffi::OsString;
use std::time::Duration;

const DISABLED: &str = "OTEL_SDK_DISABLED";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
const INTERVAL_OF_METRICS: &str = "OTEL_METRIC_EXPORT_INTERVAL";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SHARE: &str = "OTEL_TRACES_SAMPLER_ARG";
const DELAY: &str = "OTEL_BSP_SCHEDULE_DELAY";
const QUEUE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
const BATCH: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
/// The most spans that a variable may let wait.
const MOST: usize = 65_536;
/// The attribute that says which service it is.
const SERVICE_NAME: &str = "service.name";
/// Where a collector is, if an exporter is asked for and nothing says where.
const DEFAULT: &str = "http://localhost:4317";
/// The longest time that a variable may say.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The variables of one signal: its own, and those of all.
struct Signal {
    exporter: &'static str,
    endpoint: [&'static str; 2],
    headers: [&'static str; 2],
    timeout: [&'static str; 2],
    protocol: [&'static str; 2],
    compression: [&'static str; 2],
}

const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    endpoint: ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
    headers: ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
    timeout: ["OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
    protocol: ["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
    compression: ["OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
};

const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    endpoint: ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"],
    headers: ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"],
    timeout: ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
    protocol: ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"],
    compression: ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"],
};

impl OtlpSettings {
    /// What `value` says of OpenTelemetry's variables, as `std::env::var_os` does. `endpoint` is an argument of the
    /// program, and comes before the variables that say where to.
    ///
    /// They are [empty](Self::is_empty) where nothing is to be exported.
    ///
    /// # Errors
    /// The first value that can't be used: its variable, the value if it is no secret, and the rule.
    pub fn read(
        endpoint: Option<OtlpEndpoint>,
        value: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, InvalidOtlp> {
        let variables = Variables(&value);
        let mut settings = Self::default();
        let disabled = variables.text(DISABLED)?;
        if disabled.is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
            return Ok(settings);
        }
        settings.metrics = variables.target(&METRICS, endpoint.clone())?;
        settings.traces = variables.target(&TRACES, endpoint)?;
        if settings.is_empty() {
            return Ok(settings);
        }
        if let Some(interval) = variables.time(INTERVAL_OF_METRICS)? {
            settings.interval = interval;
        }
        if settings.traces.is_some() {
            variables.spans(&mut settings)?;
        }
        if let Some(list) = variables.text(RESOURCE)? {
            for (key, value) in pairs(&list).ok_or_else(|| {
                InvalidOtlp::new(
                    RESOURCE,
                    &list,
                    "write `key=value,key=value`; what is no plain letter as `%2C`",
                )
            })? {
                settings = settings.attribute(key, value);
            }
        }
        if let Some(name) = variables.text(SERVICE)? {
            settings = settings.attribute(SERVICE_NAME, name);
        }
        Ok(settings)
    }
}

struct Variables<'v>(&'v dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    fn text(&self, name: &'static str) -> Result<Option<String>, InvalidOtlp> {
        let Some(value) = (self.0)(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        let text = value.into_string();
        text.map(Some)
            .map_err(|value| InvalidOtlp::new(name, &value.to_string_lossy(), "it must be UTF-8"))
    }

    /// The first that is set.
    fn first(
        &self,
        names: [&'static str; 2],
    ) -> Result<Option<(&'static str, String)>, InvalidOtlp> {
        for name in names {
            if let Some(text) = self.text(name)? {
                return Ok(Some((name, text)));
            }
        }
        Ok(None)
    }

    fn target(
        &self,
        signal: &Signal,
        endpoint: Option<OtlpEndpoint>,
    ) -> Result<Option<OtlpTarget>, InvalidOtlp> {
        let exporter = self.text(signal.exporter)?;
        match exporter.as_deref() {
            Some("none") => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => {
                return Err(InvalidOtlp::new(signal.exporter, other, "write `otlp` or `none`"));
            }
        }
        let endpoint = match (endpoint, self.first(signal.endpoint)?) {
            (Some(endpoint), _) => Ok(endpoint),
            (None, Some((name, text))) => {
                let parsed = OtlpEndpoint::parse(&text);
                // A password may be in it.
                parsed.map_err(|rule| match text.contains('@') {
                    true => InvalidOtlp::secret(name, rule),
                    false => InvalidOtlp::new(name, &text, rule),
                })
            }
            (None, None) if exporter.is_none() => return Ok(None),
            (None, None) => OtlpEndpoint::parse(DEFAULT)
                .map_err(|rule| InvalidOtlp::new(signal.exporter, "otlp", rule)),
        }?;
        let mut target = OtlpTarget::new(endpoint);
        if let Some((name, list)) = self.first(signal.headers)? {
            target.headers = headers(name, &list)?;
        }
        for name in signal.timeout {
            if let Some(timeout) = self.time(name)? {
                target.timeout = timeout;
                break;
            }
        }
        self.only(
            signal.protocol,
            "grpc",
            "only `grpc` is spoken: give a collector's port of gRPC, 4317",
        )?;
        self.only(
            signal.compression,
            "none",
            "nothing is compressed: leave it out, or write `none`",
        )?;
        Ok(Some(target))
    }

    /// Of which requests, and how many wait.
    fn spans(&self, settings: &mut OtlpSettings) -> Result<(), InvalidOtlp> {
        settings.sampler = self.sampler()?;
        if let Some(delay) = self.time(DELAY)? {
            settings.span_delay = delay;
        }
        if let Some(most) = self.count(QUEUE)? {
            settings.max_spans = most;
            settings.span_batch = settings.span_batch.min(most);
        }
        if let Some(batch) = self.count(BATCH)? {
            if batch > settings.max_spans {
                let rule = "a batch must have room in the queue, `OTEL_BSP_MAX_QUEUE_SIZE`";
                return Err(InvalidOtlp::new(BATCH, &batch.to_string(), rule));
            }
            settings.span_batch = batch;
        }
        Ok(())
    }

    fn sampler(&self) -> Result<Sampler, InvalidOtlp> {
        let share = || {
            let Some(text) = self.text(SHARE)? else { return Ok(1.0) };
            let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| InvalidOtlp::new(SHARE, &text, "write a share from 0 to 1: `0.01`"))
        };
        match self.text(SAMPLER)?.as_deref() {
            None | Some("parentbased_always_off") => Ok(Sampler::default()),
            Some("parentbased_always_on") => Ok(Sampler::share(1.0)),
            Some("parentbased_traceidratio") => share().map(Sampler::share),
            Some(other) => {
                let rule = "callers that have a trace decide: write `parentbased_always_off`, \
                            `parentbased_always_on` or `parentbased_traceidratio`";
                Err(InvalidOtlp::new(SAMPLER, other, rule))
            }
        }
    }

    fn count(&self, name: &'static str) -> Result<Option<usize>, InvalidOtlp> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
        let rule = "write a whole number of spans from 1 to 65536";
        count.map(Some).ok_or_else(|| InvalidOtlp::new(name, &text, rule))
    }

    /// There is one value that can be used.
    fn only(
        &self,
        names: [&'static str; 2],
        value: &str,
        rule: &'static str,
    ) -> Result<(), InvalidOtlp> {
        match self.first(names)? {
            Some((name, other)) if other != value => Err(InvalidOtlp::new(name, &other, rule)),
            _ => Ok(()),
        }
    }

    /// In milliseconds, at least one.
    fn time(&self, name: &'static str) -> Result<Option<Duration>, InvalidOtlp> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let time = text.parse().ok().map(Duration::from_millis);
        let time = time.filter(|time| !time.is_zero() && *time <= LONGEST);
        let rule = "write a whole number of milliseconds from 1 to 86400000, a day";
        time.map(Some).ok_or_else(|| InvalidOtlp::new(name, &text, rule))
    }
}

fn headers(name: &'static str, list: &str) -> Result<HeaderMap, InvalidOtlp> {
    const RULE: &str =
        "write `name=value,name=value` (values are not shown); what is no plain letter as `%2C`";
    let invalid = || InvalidOtlp::secret(name, RULE);
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(list).ok_or_else(invalid)? {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_error| invalid())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_error| invalid())?;
        // Of gRPC's binary headers values are coded otherwise.
        if key.as_str().ends_with("-bin") {
            return Err(invalid());
        }
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

/// `key=value,key=value`, values percent-decoded (W3C Baggage without properties). Empty members are passed over.
fn pairs(list: &str) -> Option<Vec<(String, String)>> {
    let members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    members
        .map(|member| {
            let (key, value) = member.split_once('=')?;
            let (key, value) = (decoded(key.trim())?, decoded(value.trim())?);
            (!key.is_empty()).then_some((key, value))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let mut byte = *first;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits =
                std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            byte = u8::from_str_radix(digits, 16).ok()?;
            rest = after;
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
