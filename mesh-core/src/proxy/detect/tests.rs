use super::*;
use proptest::prelude::*;

/// What is told of `bytes`, and after how many of them; one at a time.
fn told(bytes: &[u8]) -> (Option<Beginning>, usize) {
    let mut detector = Detector::new();
    for (at, byte) in bytes.iter().enumerate() {
        if let Some(told) = detector.look(&[*byte]) {
            return (Some(told), at + 1);
        }
    }
    (None, bytes.len())
}

/// What is told of `bytes`: at their last one, and not before.
#[track_caller]
fn check(bytes: &[u8], expected: Option<Beginning>) {
    assert_eq!(told(bytes), (expected, bytes.len()), "{:?}", String::from_utf8_lossy(bytes));
}

#[test]
fn rfc9112_3_a_request_line_is_http1() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.0\n",
        "OPTIONS * HTTP/1.1\r\n",
        "CONNECT a:443 HTTP/1.1\r\n",
        "GET http://a/b?c#d HTTP/1.1\r\n",
        "get /ü HTTP/1.9\r\n",
        "VERSION-CONTROL / HTTP/1.1\r\n",
        "!#$%&'*+-.^_`|~09 / HTTP/1.1\r\n",
        // Not the preface of HTTP/2, though it begins like it.
        "PRI * HTTP/1.1\r\n",
        "PRI / HTTP/1.1\r\n",
    ] {
        check(line.as_bytes(), Some(Beginning::Http1));
        for end in 0..line.len() {
            check(&line.as_bytes()[..end], None);
        }
    }
}

#[test]
fn rfc9113_3_4_the_whole_preface_is_http2() {
    check(PREFACE, Some(Beginning::Http2));
    for end in 0..PREFACE.len() {
        check(&PREFACE[..end], None);
    }
    // A preface that goes on otherwise.
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\nx", Some(Beginning::Other));
    check(b"PRI * HTTP/2.1", Some(Beginning::Other));
}

#[test]
fn all_else_is_told_at_the_first_byte_that_tells() {
    for bytes in [
        // TLS, PostgreSQL, MySQL, MongoDB, Kafka: no method begins so.
        &b"\x16"[..],
        b"\0",
        b"\x4a\0",
        // Redis, memcached, SMTP, FTP, SSH, the PROXY protocol.
        b"*1\r",
        b"get foo\r",
        b"EHLO a.example\r",
        b"USER a\r",
        b"SSH-2.0-OpenSSH_9.2\r",
        b"PROXY TCP4 1",
        // HTTP, but none that anybody has to understand.
        b"\r",
        b"\n",
        b" ",
        b"GET  ",
        b"GET /\r",
        b"GET / a",
        b"GET / HTTP/2",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\rx",
        b"GET / HTTP/1.x",
        b"GET / http",
        b"GET /\x7f",
        b"GET /\t",
        b"G(",
    ] {
        let expected = match bytes {
            b"GET / http" => (Some(Beginning::Other), 7),
            _ => (Some(Beginning::Other), bytes.len()),
        };
        assert_eq!(told(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn what_is_looked_at_has_an_end() {
    let method = "M".repeat(MAX_METHOD);
    check(format!("{method} / HTTP/1.1\r\n").as_bytes(), Some(Beginning::Http1));
    check(format!("{method}M").as_bytes(), Some(Beginning::Other));
    // A target that has not ended.
    let long = format!("GET /{}", "x".repeat(MAX_LINE - 5));
    check(long.as_bytes(), Some(Beginning::Http1));
    // One that ends at the last byte, and one right before.
    let ends = format!("GET /{} ", "x".repeat(MAX_LINE - 6));
    check(ends.as_bytes(), Some(Beginning::Other));
    let whole = format!("GET /{} HTTP/1.1\n", "x".repeat(MAX_LINE - 15));
    assert_eq!(whole.len(), MAX_LINE);
    check(whole.as_bytes(), Some(Beginning::Http1));
}

/// Texts that are nearly HTTP, and bytes of all kinds.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let like = "(GET|PRI|P|get|\u{16}|){1,2} {0,2}(/|\\*|/a b|ü|){1,2} {0,2}(HTTP/[12]\\.[019x]|HTTP|){1,2}(\r|\n|\r\n|\r\n\r\nSM\r\n\r\n|){1,2}x{0,3}";
    let long = (MAX_LINE - 40..MAX_LINE + 40).prop_map(|length| {
        let mut text = format!("GET /{}", "x".repeat(length)).into_bytes();
        text.extend(b" HTTP/1.1\r\n");
        text
    });
    prop_oneof![
        4 => like.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => long,
    ]
}

proptest! {
    #[test]
    fn how_bytes_are_cut_changes_nothing(
        bytes in bytes(),
        cuts in prop::collection::vec(0..9000_usize, 0..8),
    ) {
        let (one_by_one, at) = told(&bytes);
        prop_assert!(at <= MAX_LINE);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let (mut detector, mut from, mut found) = (Detector::new(), 0, None);
        for cut in cuts {
            found = found.or_else(|| detector.look(&bytes[from..cut]));
            from = cut;
        }
        prop_assert_eq!(found, one_by_one);
    }

    #[test]
    fn what_is_http1_is_a_request_line(bytes in bytes()) {
        if let (Some(Beginning::Http1), at) = told(&bytes) && at < MAX_LINE {
            let line = std::str::from_utf8(&bytes[..at]).unwrap().trim_end_matches(['\r', '\n']);
            let words: Vec<_> = line.split(' ').collect();
            prop_assert!(words.len() == 3 && words.iter().all(|word| !word.is_empty()), "{}", line);
            prop_assert!(words[2].starts_with("HTTP/1.") && words[2].len() == 8, "{}", line);
        }
    }
}
