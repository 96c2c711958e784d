//! An HTTP/2 server that allocates nothing per request: it has one answer.
//!
//! Of HTTP/2 it knows what a client that is well waits for: SETTINGS and PING are acknowledged, and a
//! request that ended is answered by a head of `:status 200` and five bytes. RFC 9113 §6.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Serves on a thread of its own for as long as the process lives.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            loop {
                let (stream, _) = listener.accept().unwrap();
                // It ends with the client's end.
                std::thread::spawn(move || serve(stream).unwrap_or_default());
            }
        });
        Self { address }
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(&mut [0; PREFACE])?;
    stream.write_all(&head(0, SETTINGS, 0, 0))?;
    let mut payload = [0; 16 * 1024];
    loop {
        let mut frame = [0; 9];
        stream.read_exact(&mut frame)?;
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
        stream.read_exact(&mut payload[..length])?;
        let (kind, flags) = (frame[3], frame[4]);
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&head(0, SETTINGS, ACK, 0))?,
            PING if flags & ACK == 0 => {
                let mut answer = [0; 17];
                answer[..9].copy_from_slice(&head(8, PING, ACK, 0));
                answer[9..].copy_from_slice(&payload[..8]);
                stream.write_all(&answer)?;
            }
            HEADERS | DATA if flags & END_STREAM != 0 => {
                let id = u32::from_be_bytes([frame[5], frame[6], frame[7], frame[8]]);
                stream.write_all(&answer(id))?;
            }
            _ => {}
        }
    }
}

/// The whole answer in one write.
fn answer(id: u32) -> [u8; 9 + 1 + 9 + 5] {
    let mut answer = [0; 24];
    answer[..9].copy_from_slice(&head(1, HEADERS, END_HEADERS, id));
    // `:status: 200` in HPACK's static table.
    answer[9] = 0x88;
    answer[10..19].copy_from_slice(&head(5, DATA, END_STREAM, id));
    answer[19..].copy_from_slice(b"hello");
    answer
}

fn head(length: u8, kind: u8, flags: u8, id: u32) -> [u8; 9] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, 0, length, kind, flags, a, b, c, d]
}
