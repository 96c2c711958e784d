//! What the two say: frames of a length (4 bytes, big-endian) and JSON, of which some come with a descriptor.

use crate::proxy::bind::Socket;
use crate::proxy::sockets::Kept;
use mesh_core::model::Address;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

/// The largest frame, in bytes.
const MAX_FRAME: usize = 64 * 1024;

/// What one says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The sockets are wanted, by who speaks this version.
    Takeover(u64),
    /// They are not given, and this is why.
    Refused(Arc<str>),
    /// A socket, which comes with it.
    Socket(Place),
    /// These were all.
    All,
    /// They are accepted from.
    Done,
    /// Who was asked ends.
    Ends,
}

/// What a socket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: Arc<str>,
    /// As it was configured.
    pub(super) address: Address,
    /// Of a port of the configuration.
    pub(super) is_port: bool,
}

/// A socket that came.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) place: Place,
    pub(super) socket: OwnedFd,
}

impl Place {
    pub(super) fn of(kept: &Kept) -> Self {
        let (name, address) = (Arc::clone(&kept.name), kept.address.clone());
        Self { name, address, is_port: true }
    }

    pub(super) fn other(name: &str, address: SocketAddr) -> Self {
        Self { name: name.into(), address: address.into(), is_port: false }
    }
}

impl Handed {
    /// As a port has it.
    pub(super) fn into_port(self) -> io::Result<Kept> {
        let Self { place: Place { name, address, .. }, socket } = self;
        let socket = match &address {
            Address::Socket(_) => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                Socket::Tcp(Arc::new(tokio::net::TcpListener::from_std(listener)?))
            }
            Address::Unix(_) => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                Socket::Unix(Arc::new(UnixListener::from_std(listener)?))
            }
        };
        Ok(Kept { name, address, socket })
    }
}

impl Frame {
    fn to_json(&self) -> Value {
        match self {
            Self::Takeover(version) => json!({ "takeover": version }),
            Self::Refused(why) => json!({ "refused": &**why }),
            Self::Socket(Place { name, address, is_port }) => {
                let (kind, address) = match address {
                    Address::Socket(address) => ("tcp", address.to_string()),
                    Address::Unix(path) => ("unix", path.to_string_lossy().into_owned()),
                };
                json!({ "socket": &**name, kind: address, "port": is_port })
            }
            Self::All => json!({ "all": true }),
            Self::Done => json!({ "done": true }),
            Self::Ends => json!({ "ends": true }),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let is = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or_default();
        if let Some(version) = value.get("takeover") {
            return version.as_u64().map(Self::Takeover);
        }
        if let Some(why) = text("refused") {
            return Some(Self::Refused(why.into()));
        }
        if let Some(name) = text("socket") {
            let address = match (text("tcp"), text("unix")) {
                (Some(address), None) => Address::Socket(address.parse().ok()?),
                (None, Some(path)) => Address::Unix(Path::new(path).into()),
                _ => return None,
            };
            return Some(Self::Socket(Place { name: name.into(), address, is_port: is("port") }));
        }
        [("all", Self::All), ("done", Self::Done), ("ends", Self::Ends)]
            .into_iter()
            .find_map(|(key, frame)| is(key).then_some(frame))
    }
}

/// Says `frame`, with a descriptor.
pub(super) async fn send(
    stream: &UnixStream,
    frame: &Frame,
    mut descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let json = frame.to_json().to_string();
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let bytes = [&length.to_be_bytes(), json.as_bytes()].concat();
    let mut left = &bytes[..];
    while !left.is_empty() {
        let sent = stream.async_io(Interest::WRITABLE, || one(stream, left, descriptor)).await?;
        left = left.get(sent..).unwrap_or_default();
        // It goes with the first bytes.
        descriptor = None;
    }
    Ok(())
}

fn one(stream: &UnixStream, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("there is no room for a descriptor"));
    }
    let flags = SendFlags::NOSIGNAL;
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags)?)
}

/// Reads frames, and keeps the descriptors that came with them.
#[derive(Debug, Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Reader {
    /// The next frame; `None`: it ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&mut self, stream: &UnixStream) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.whole()? {
                return Ok(Some(frame));
            }
            let read = stream.async_io(Interest::READABLE, || self.read(stream)).await?;
            if read == 0 {
                return match self.bytes.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// The first descriptor that came and was not taken.
    pub(super) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    fn whole(&mut self) -> io::Result<Option<Frame>> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(invalid("a frame is too long"));
        }
        let Some(json) = rest.get(..length) else { return Ok(None) };
        let frame = serde_json::from_slice(json).ok().and_then(|json| Frame::from_json(&json));
        let frame = frame.ok_or_else(|| invalid("a frame has no meaning"))?;
        self.bytes.drain(..4 + length);
        Ok(Some(frame))
    }

    fn read(&mut self, stream: &UnixStream) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 4096];
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let read = rustix::net::recvmsg(stream, into, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.bytes.extend_from_slice(bytes.get(..read).unwrap_or_default());
        Ok(read)
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let place =
            |address: Address| Place { name: "outbound|web".into(), address, is_port: true };
        for frame in [
            Frame::Takeover(7),
            Frame::Refused("no".into()),
            Frame::Socket(place("[::1]:80".parse::<SocketAddr>().unwrap().into())),
            Frame::Socket(place(Address::Unix(Path::new("/run/a b").into()))),
            Frame::Socket(Place::other("admin", "127.0.0.1:1".parse().unwrap())),
            Frame::All,
            Frame::Done,
            Frame::Ends,
        ] {
            assert_eq!(Frame::from_json(&frame.to_json()), Some(frame));
        }
        for wrong in [
            "{}",
            "[]",
            "{\"socket\":\"a\"}",
            "{\"socket\":\"a\",\"tcp\":\"b\"}",
            "{\"takeover\":-1}",
        ] {
            assert_eq!(Frame::from_json(&serde_json::from_str(wrong).unwrap()), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn frames_come_in_pieces_and_together() {
        let (one, other) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::other("admin", listener.local_addr().unwrap());
        let frame = Frame::Socket(place);
        for _ in 0..3 {
            send(&one, &frame, Some(std::os::fd::AsFd::as_fd(&listener))).await.unwrap();
        }
        let all = Frame::All.to_json().to_string();
        let length = u32::try_from(all.len()).unwrap().to_be_bytes();
        for byte in [&length, all.as_bytes()].concat() {
            one.writable().await.unwrap();
            assert_eq!(one.try_write(&[byte]).unwrap(), 1);
        }
        drop(one);
        let mut reader = Reader::default();
        for _ in 0..3 {
            assert_eq!(reader.next(&other).await.unwrap().as_ref(), Some(&frame));
            let came = std::net::TcpListener::from(reader.descriptor().unwrap());
            assert_eq!(came.local_addr().unwrap(), listener.local_addr().unwrap());
        }
        assert_eq!(reader.next(&other).await.unwrap(), Some(Frame::All));
        assert_eq!(reader.next(&other).await.unwrap(), None);
        assert!(reader.descriptor().is_none());
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0\0\x02{", b"\0\0"] {
            let (one, other) = UnixStream::pair().unwrap();
            one.writable().await.unwrap();
            assert_eq!(one.try_write(bytes).unwrap(), bytes.len());
            drop(one);
            assert!(Reader::default().next(&other).await.is_err(), "{bytes:?}");
        }
    }
}
