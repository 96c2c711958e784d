//! Frames of HTTP/2 (RFC 9113), as bytes, good ones and others.

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub(super) const INITIAL_WINDOW: u16 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// How a connection begins.
pub(super) fn begin(settings: &[(u16, u32)]) -> Vec<u8> {
    [PREFACE.to_vec(), self::settings(settings)].concat()
}

pub(super) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// The header block of a request: `method` is GET or POST, of the static table.
pub(super) fn block(method: Method, path: &str) -> Vec<u8> {
    // :scheme http; :authority and :path as literals whose names are 1 and 4 of the static table.
    let mut block = vec![method as u8, 0x86, 0x01];
    string(&mut block, "a");
    block.push(0x04);
    string(&mut block, path);
    block
}

#[derive(Clone, Copy)]
pub(super) enum Method {
    Get = 0x82,
    Post = 0x83,
}

/// A header as a literal that is not kept (RFC 7541 section 6.2.2).
pub(super) fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    string(block, name);
    string(block, value);
}

/// A header that is kept, and is 62 from then on (RFC 7541 section 6.2.1).
pub(super) fn kept(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0x40);
    string(block, name);
    string(block, value);
}

fn string(block: &mut Vec<u8>, text: &str) {
    // An integer of 7 bits (RFC 7541 section 5.1).
    let mut rest = text.len();
    if rest < 127 {
        block.push(u8::try_from(rest).unwrap());
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128 + 128).unwrap());
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap());
    }
    block.extend(text.as_bytes());
}
