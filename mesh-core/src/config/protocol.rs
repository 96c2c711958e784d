//! `protocol` of a port: what its connections carry, or that it is found out.

use super::code;
use super::fields::Fields;
use super::node::Entry;
use super::reader::Reader;
use super::shape::{Key, Kind, key, words};
use super::value::word;
use std::time::Duration;

/// What a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Requests.
    Http,
    /// Bytes.
    Bytes,
    /// Either, which is found out for each connection within this time.
    Detected(Duration),
}

const HTTP: &str = "http";
const TCP: &str = "tcp";
const DETECT: &str = "detect";

const PROTOCOLS: [(&str, Speaks); 3] =
    [(HTTP, Speaks::Http), (TCP, Speaks::Bytes), (DETECT, Speaks::Detected(TIMEOUT))];
pub(super) const PROTOCOL: Kind = Kind::Word(&words(&PROTOCOLS));

/// Who speaks first has long spoken by then, and who waits for a server that does can wait so long. Linkerd waits
/// for 10 s.
const TIMEOUT: Duration = Duration::from_secs(5);

const DETECT_TIMEOUT: &str = "detect_timeout";
pub(super) const DETECT_TIMEOUT_KEY: Key = key(
    DETECT_TIMEOUT,
    Kind::POSITIVE_TIME,
    "With `protocol: detect`: how long the first bytes are waited for, until it is known what they are; who says nothing carries bytes then. Default 5s.",
);

impl Speaks {
    /// Reads `protocol` and `detect_timeout`; `None`: the port does not say what it carries.
    pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self> {
        let said = fields.value("protocol");
        let said = said.and_then(|(node, kind)| word(reader, node, kind, &PROTOCOLS));
        let timeout: Option<Duration> = fields.read(reader, DETECT_TIMEOUT);
        if let Some(Self::Detected(default)) = said {
            return Some(Self::Detected(timeout.unwrap_or(default)));
        }
        fields.misplaced(reader, &[DETECT_TIMEOUT], "but on a port of `protocol: detect`");
        said
    }

    /// How long is waited for what tells; `None`: there is nothing to tell.
    pub(super) const fn detects(self) -> Option<Duration> {
        match self {
            Self::Detected(timeout) => Some(timeout),
            Self::Http | Self::Bytes => None,
        }
    }
}

/// Reports a port that finds out what it carries where it can't be, with the way out.
pub(super) fn cannot_detect(
    reader: &mut Reader<'_>,
    entry: Option<&Entry>,
    (why, suggestion): (&str, &str),
) {
    let Some(entry) = entry else { return };
    let message = format!("what comes here can't be found out: {why}");
    reader.report.add(code::INCONSISTENT_VALUES, entry.value.span, message).suggest(suggestion);
}
