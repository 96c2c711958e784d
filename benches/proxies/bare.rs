//! A bare hyper server over HTTP/1.1 on one thread: what connections cost without anything of ours. See `idle.py`.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::process::ExitCode;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let Some(port) = port else {
        eprintln!("it serves at the port that it is given: benches/proxies/idle.py");
        return ExitCode::SUCCESS;
    };
    let listener = match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("can't listen on {port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = service_fn(|_: Request<hyper::body::Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 1024]))))
        });
        let mut builder = http1::Builder::new();
        // As servers of ours have it.
        builder.timer(TokioTimer::new());
        tokio::spawn(async move {
            let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
