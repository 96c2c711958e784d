use super::*;
use std::time::Duration;

const FOR_HEADERS: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, length: u8) -> Vec<u8> {
    let mut frame = vec![0, 0, length, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(std::iter::repeat_n(0, usize::from(length)));
    frame
}

fn begun() -> Frames {
    let mut frames = Frames::new(at(0));
    assert!(!frames.read(PREFACE));
    frames
}

fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(millis)
}

/// After how many of `frame`, that come at once, it is a flood, and of what.
fn floods(frame: &[u8], most: u32) -> Option<(u32, Flood)> {
    let mut frames = begun();
    (1..=most).find_map(|count| {
        let is_low = frames.read(frame);
        let flood = if is_low { frames.settle(at(0)).err() } else { None };
        flood.map(|flood| (count, flood))
    })
}

#[track_caller]
fn check(frame: &[u8], expected: Option<(u32, Flood)>) {
    assert_eq!(floods(frame, 100_000), expected);
}

#[test]
fn what_nothing_comes_of_is_a_flood() {
    check(&frame(6, 0, 0, 8), Some((10_001, Flood::Pings)));
    check(&frame(4, 0, 0, 6), Some((1_001, Flood::Settings)));
    check(&frame(0, 0, 1, 0), Some((1_001, Flood::EmptyData)));
    check(&frame(2, 0, 1, 5), Some((10_001, Flood::Priorities)));
    check(&frame(8, 0, 0, 4), Some((10_001, Flood::WindowUpdates)));
    check(&frame(9, 0, 1, 1), Some((10_001, Flood::Continuations)));
    check(&frame(42, 0, 1, 1), Some((10_001, Flood::Unknown)));
    check(&frame(3, 0, 1, 4), Some((501, Flood::Resets)));
}

#[test]
fn what_carries_something_or_answers_is_none() {
    check(&frame(0, 0, 1, 1), None);
    check(&frame(0, END_STREAM, 1, 0), None);
    check(&frame(6, ACK, 0, 8), None);
    check(&frame(4, ACK, 0, 0), None);
    check(&frame(7, 0, 0, 8), None);
}

/// Opens streams, of which every `reset`th is reset at once.
fn opened(reset: u32) -> Result<(), Flood> {
    let mut frames = begun();
    for number in 0..50_000_u32 {
        let stream = 2 * number + 1;
        let mut is_low = frames.read(&frame(FOR_HEADERS, 5, stream, 1));
        if number.is_multiple_of(reset) {
            is_low |= frames.read(&frame(3, 0, stream, 4));
        }
        if is_low {
            frames.settle(at(0))?;
        }
    }
    Ok(())
}

#[test]
fn half_of_all_streams_may_be_reset() {
    assert_eq!(opened(2), Ok(()));
    assert_eq!(opened(1), Err(Flood::Resets));
}

#[test]
fn what_we_say_and_time_give_points_back() {
    let ping = frame(6, 0, 0, 8);
    let (mut frames, mut now) = (begun(), 0);
    for count in 0..100_000_u32 {
        if frames.read(&ping) {
            frames.settle(at(now)).unwrap_or_else(|flood| panic!("{count}: {flood}"));
        }
        // Our answer to it is not enough, an answer to a request is.
        frames.wrote(if count.is_multiple_of(2) { 17 } else { 100 });
        now += 1;
    }
    let (mut frames, mut now) = (begun(), 0);
    let mut count = 0;
    while !frames.read(&ping) || frames.settle(at(now / 4)).is_ok() {
        frames.wrote(17);
        (count, now) = (count + 1, now + 1);
        assert!(count < 100_000, "4,000 a second are too many");
    }
    let (mut frames, mut now) = (begun(), 0);
    for _ in 0..100_000_u32 {
        if frames.read(&ping) {
            frames.settle(at(now)).unwrap();
        }
        now += 1;
    }
}

/// However its bytes are cut, a flood is found at the same frame.
#[test]
fn pieces_are_the_same_as_the_whole() {
    let bytes = [PREFACE.to_vec(), frame(0, 0, 1, 200), frame(4, 0, 0, 12).repeat(1_002)].concat();
    let found = |size: usize| {
        let mut frames = Frames::new(at(0));
        let mut read = 0;
        bytes.chunks(size).find_map(|piece| {
            read += piece.len();
            frames.read(piece).then(|| (read.div_ceil(21), frames.settle(at(0)).unwrap_err()))
        })
    };
    let whole = found(21).unwrap();
    assert_eq!(whole.1, Flood::Settings);
    for size in [1, 2, 3, 7] {
        let (frame, flood) = found(size).unwrap();
        assert!(frame.abs_diff(whole.0) <= 1 && flood == whole.1, "{size}: {frame} {whole:?}");
    }
}

#[test]
fn what_is_no_http2_is_not_looked_at() {
    for begin in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", "\u{0}"] {
        let mut frames = Frames::new(at(0));
        assert!(!frames.read(begin.as_bytes()) && frames.is_begun(), "{begin}");
        assert!(!frames.read(&frame(4, 0, 0, 0).repeat(2_000)));
    }
    let mut frames = Frames::new(at(0));
    assert!(!frames.is_begun());
    frames.read(&PREFACE[..10]);
    assert!(!frames.is_begun());
}
