//! [`Frames`]: whether a connection of HTTP/2 carries work, or only frames that cost us more than who sends them.
//!
//! RFC 9113 section 10.5 lists what a peer may send without end although nothing comes of it: PING, SETTINGS, empty
//! DATA, PRIORITY, WINDOW_UPDATE, and streams that are reset as soon as they are opened (CVE-2023-44487). None of it
//! needs memory that a limit would stop; all of it takes time from others.
//!
//! Such frames spend points. What carries work gives some back: streams that are opened, bytes of bodies, and bytes
//! that we answer; so does time. Who has none left floods. Streams that are reset spend points of their own: half of
//! all that are opened may be, however many there are.
//!
//! Bytes are arguments, and the time only when points are used up: most connections never need to know it.
//! What does not begin as HTTP/2 does is not looked at.

use crate::time::Timestamp;
use std::fmt;

/// How a connection of HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The head of a frame (RFC 9113 section 4.1).
const HEAD: usize = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;

/// What a peer does too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by the frames of RFC 9113")]
pub enum Flood {
    /// Streams that are reset by who has opened them.
    Resets,
    /// PING.
    Pings,
    /// SETTINGS.
    Settings,
    /// DATA without data.
    EmptyData,
    /// WINDOW_UPDATE.
    WindowUpdates,
    /// PRIORITY.
    Priorities,
    /// CONTINUATION.
    Continuations,
    /// Frames of types that nobody knows.
    Unknown,
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resets => "too many streams are reset by who has opened them",
            Self::Pings => "too many frames PING",
            Self::Settings => "too many frames SETTINGS",
            Self::EmptyData => "too many frames DATA without data",
            Self::WindowUpdates => "too many frames WINDOW_UPDATE",
            Self::Priorities => "too many frames PRIORITY",
            Self::Continuations => "too many frames CONTINUATION",
            Self::Unknown => "too many frames of unknown types",
        })
    }
}

impl std::error::Error for Flood {}

/// What came on one connection so far.
#[derive(Clone, Debug)]
pub struct Frames {
    state: State,
    points: i32,
    resets: i32,
    /// Bytes that were written, and have not given a point.
    written: u32,
    /// The last stream that was opened.
    stream: u32,
    /// How many were.
    opened: u64,
    /// What spent the last point.
    spent: Option<Flood>,
    /// What carried nothing last.
    last: Option<Flood>,
    /// Until when points were given back.
    settled: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of the preface have come.
    Preface(u8),
    /// It is no HTTP/2.
    Other,
    /// So many bytes of a frame's head have come.
    Head(u8, [u8; HEAD]),
    /// So many bytes of a frame are to come.
    Payload(u32),
}

impl Frames {
    /// The points that a connection begins with: 10,000 frames.
    pub const POINTS: i32 = 20_000;

    /// How many points a second gives back: 1,000 frames.
    pub const POINTS_PER_SECOND: i32 = 2_000;

    /// How many streams more than half of all may be reset.
    pub const RESETS: i32 = 1_000;

    /// How many of them a second gives back.
    pub const RESETS_PER_SECOND: i32 = 200;

    /// What a frame spends without which the connection would be the same.
    const USELESS: i32 = 2;

    /// What one spends of which a connection has a handful.
    const COSTLY: i32 = 20;

    /// How many bytes that are written give a point back. What answers PING has 17.
    const WRITTEN: u32 = 32;

    /// A connection that begins now.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            state: State::Preface(0),
            points: Self::POINTS,
            resets: Self::RESETS,
            written: 0,
            stream: 0,
            opened: 0,
            spent: None,
            last: None,
            settled: now,
        }
    }

    /// Whether it has turned out what is spoken.
    #[must_use]
    pub const fn is_begun(&self) -> bool {
        !matches!(self.state, State::Preface(_))
    }

    /// Whether it has turned out to be HTTP/2.
    #[must_use]
    pub const fn is_http2(&self) -> bool {
        matches!(self.state, State::Head(..) | State::Payload(_))
    }

    /// Takes in what was read. `true`: points are used up, and [`settle`](Self::settle) says what follows.
    pub fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            // Most heads have come whole.
            if let (State::Head(0, _), Some((head, rest))) =
                (&self.state, bytes.split_first_chunk())
            {
                self.frame(*head);
                bytes = rest;
                continue;
            }
            match &mut self.state {
                State::Other => return false,
                State::Preface(there) => {
                    let wanted = &PREFACE[usize::from(*there)..];
                    let length = wanted.len().min(bytes.len());
                    let (came, rest) = bytes.split_at(length);
                    if came != &wanted[..length] {
                        self.state = State::Other;
                        return false;
                    }
                    // The preface has 24 bytes.
                    *there += u8::try_from(length).unwrap_or_default();
                    if length == wanted.len() {
                        self.state = State::Head(0, [0; HEAD]);
                    }
                    bytes = rest;
                }
                State::Payload(left) => {
                    let length = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left = left.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX));
                    if *left == 0 {
                        self.state = State::Head(0, [0; HEAD]);
                    }
                    bytes = &bytes[length..];
                }
                State::Head(there, head) => {
                    let (wanted, at) = (HEAD - usize::from(*there), usize::from(*there));
                    let length = wanted.min(bytes.len());
                    head[at..at + length].copy_from_slice(&bytes[..length]);
                    *there += u8::try_from(length).unwrap_or_default();
                    bytes = &bytes[length..];
                    if length == wanted {
                        let head = *head;
                        self.frame(head);
                    }
                }
            }
        }
        self.points < 0 || self.resets < 0
    }

    /// What carried nothing last: where somebody else finds that it is too much, it was this.
    #[must_use]
    pub const fn last(&self) -> Option<Flood> {
        self.last
    }

    /// How many streams were opened.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    /// Takes in how much was written.
    pub fn wrote(&mut self, bytes: usize) {
        // More would give no more.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX / 2);
        self.written = self.written.saturating_add(bytes);
        let points = self.written / Self::WRITTEN;
        self.written %= Self::WRITTEN;
        self.earn(i32::try_from(points).unwrap_or(Self::POINTS));
    }

    /// Gives back what time does.
    ///
    /// # Errors
    /// That is not enough: it is a flood, of this.
    pub fn settle(&mut self, now: Timestamp) -> Result<(), Flood> {
        let passed = now.saturating_duration_since(self.settled);
        let millis = i32::try_from(passed.as_millis()).unwrap_or(i32::MAX);
        if millis > 0 {
            self.settled = now;
        }
        let given = |rate: i32, most: i32| millis.saturating_mul(rate / 100).min(most * 10) / 10;
        self.earn(given(Self::POINTS_PER_SECOND, Self::POINTS));
        let resets = given(Self::RESETS_PER_SECOND, Self::RESETS);
        self.resets = (self.resets + resets).min(Self::RESETS);
        if self.resets < 0 {
            return Err(Flood::Resets);
        }
        match self.spent {
            Some(last) if self.points < 0 => Err(last),
            _ => Ok(()),
        }
    }

    const fn earn(&mut self, points: i32) {
        let sum = self.points.saturating_add(points);
        self.points = if sum > Self::POINTS { Self::POINTS } else { sum };
    }

    fn frame(&mut self, [a, b, c, kind, flags, d, e, f, g]: [u8; HEAD]) {
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes([d & 0x7f, e, f, g]);
        self.state = if length == 0 { State::Head(0, [0; HEAD]) } else { State::Payload(length) };
        match kind {
            // DATA
            0 if length > 0 => self.earn(Self::USELESS),
            0 if flags & END_STREAM == 0 => self.spend(Flood::EmptyData, Self::COSTLY),
            // HEADERS
            1 if stream > self.stream => {
                self.stream = stream;
                self.opened += 1;
                self.earn(Self::USELESS);
                self.resets = (self.resets + 1).min(Self::RESETS);
            }
            2 => self.spend(Flood::Priorities, Self::USELESS),
            3 => {
                self.resets = self.resets.saturating_sub(2);
                self.last = Some(Flood::Resets);
            }
            4 if flags & ACK == 0 => self.spend(Flood::Settings, Self::COSTLY),
            6 if flags & ACK == 0 => self.spend(Flood::Pings, Self::USELESS),
            8 => self.spend(Flood::WindowUpdates, Self::USELESS),
            9 => self.spend(Flood::Continuations, Self::USELESS),
            10.. => self.spend(Flood::Unknown, Self::USELESS),
            _ => {}
        }
    }

    const fn spend(&mut self, what: Flood, points: i32) {
        self.points = self.points.saturating_sub(points);
        (self.spent, self.last) = (Some(what), Some(what));
    }
}

#[cfg(test)]
mod tests;
