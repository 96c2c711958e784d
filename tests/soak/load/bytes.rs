//! Byte streams, over a port of their own and after an upgrade: what is sent comes back, and ends come when they are told.

use super::{Seen, pattern};
use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Rounds of a stream.
const ROUNDS: usize = 5;

/// `from`: the address that it says to have, by which its lines are known.
pub(super) async fn stream(
    address: SocketAddr,
    from: &str,
    random: &mut fastrand::Rng,
) -> Result<(), Seen> {
    let mut stream = dial(address).await?;
    let (from, port) = from.split_once(':').unwrap();
    let header = format!("PROXY TCP4 {from} 127.0.0.1 {port} {}\r\n", address.port());
    let said = stream.write_all(header.as_bytes()).await;
    said.map_err(|error| Seen::broke(format!("can't begin: {error}")))?;
    rounds(stream, random).await
}

/// The same after `101`.
pub(super) async fn upgraded(
    address: SocketAddr,
    id: &str,
    random: &mut fastrand::Rng,
) -> Result<(), Seen> {
    let mut stream = BufReader::new(dial(address).await?);
    let request = format!(
        "GET /upgrade HTTP/1.1\r\nhost: shop\r\nx-request-id: {id}\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
    );
    let broke = |error| Seen::broke(format!("no answer: {error}"));
    stream.write_all(request.as_bytes()).await.map_err(broke)?;
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        let read = stream.read_line(&mut line).await.map_err(broke)?;
        if read == 0 || line == "\r\n" {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let status = head.first().map_or("the end", String::as_str);
    if status.starts_with("HTTP/1.1 101") {
        return rounds(stream, random).await;
    }
    let field =
        |name: &str| head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let flag = field(super::http::FLAG).map(str::to_owned);
    let own = flag.is_none() && field(crate::backend::X_BACKEND).is_some();
    Err(Seen { how: format!("no upgrade: {status}"), flag, own, ended_early: false })
}

async fn dial(address: SocketAddr) -> Result<TcpStream, Seen> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| Seen::broke(format!("can't connect: {error}")))?;
    let _set = stream.set_nodelay(true);
    Ok(stream)
}

async fn rounds<S>(stream: S, random: &mut fastrand::Rng) -> Result<(), Seen>
where
    S: AsyncRead + AsyncWrite,
{
    let (mut read, mut write) = tokio::io::split(stream);
    for round in 0..ROUNDS {
        let sent = pattern(*random.choice(&[1, 1024, 40_000]).unwrap(), random);
        let mut came = vec![0; sent.len()];
        let both = tokio::try_join!(write.write_all(&sent), read.read_exact(&mut came));
        both.map_err(|error| Seen {
            ended_early: error.kind() == ErrorKind::UnexpectedEof,
            ..Seen::broke(format!("round {round}: {error}"))
        })?;
        if sent != came {
            return Err(Seen::broke(format!("round {round}: other bytes came")));
        }
    }
    let ended = write.shutdown().await;
    ended.map_err(|error| Seen::broke(format!("can't end it: {error}")))?;
    match read.read(&mut [0]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(Seen::broke("more came than was sent")),
        Err(error) => Err(Seen::broke(format!("instead of its end: {error}"))),
    }
}
