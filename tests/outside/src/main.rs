//! The README's client, in a directory with a `mesh.yaml`, against a server of the standard library.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

mod readme {
    include!("client.rs");

    pub(crate) async fn run() -> Result<http::StatusCode, Box<dyn std::error::Error>> {
        first_review().await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = server()?;
    let directory = std::env::temp_dir().join(format!("mesh-outside-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    std::env::set_current_dir(&directory)?;
    let yaml = format!(
        "version: 1\n\
         virtual_hosts: {{ reviews: {{ routes: [{{ cluster: reviews }}] }} }}\n\
         clusters: {{ reviews: {{ endpoints: [\"{address}\"] }} }}\n"
    );
    std::fs::write("mesh.yaml", yaml)?;
    let status = readme::run().await;
    std::fs::remove_dir_all(&directory)?;
    assert_eq!(status?, http::StatusCode::IM_A_TEAPOT);
    println!("the client got the server's answer: 418");
    Ok(())
}

/// Answers one request for `/1` of `reviews` with 418.
fn server() -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            let n = stream.read(&mut buffer)?;
            request.extend_from_slice(&buffer[..n]);
        }
        let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let asked =
            request.starts_with("get /1 http/1.1\r\n") && request.contains("host: reviews\r\n");
        let status = if asked { "418 I'm a teapot" } else { "400 Bad Request" };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
    });
    Ok(address)
}
