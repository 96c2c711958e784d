//! Runs README's client, which is a program of its own, in a directory with README's `mesh.yaml`, against a
//! server of the standard library.
//!
//! `mesh-outside MESH_YAML`

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

fn main() -> Result<(), Box<dyn Error>> {
    let yaml = std::env::args().nth(1).ok_or("where is README's mesh.yaml?")?;
    let yaml = std::fs::read_to_string(yaml)?;
    let address = server()?;
    let directory = std::env::temp_dir().join(format!("mesh-outside-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    assert!(yaml.contains("127.0.0.1:8081"), "{yaml}");
    let yaml = yaml.replace("127.0.0.1:8081", &address.to_string());
    std::fs::write(directory.join("mesh.yaml"), yaml)?;
    let client = std::env::current_exe()?.with_file_name("client");
    let output = Command::new(client).current_dir(&directory).output()?;
    std::fs::remove_dir_all(&directory)?;
    assert_eq!(String::from_utf8(output.stdout)?, "418 I'm a teapot\n");
    assert!(output.status.success());
    println!("the client got the server's answer: 418");
    Ok(())
}

/// Answers one request for `/` of `files` with 418.
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
            request.starts_with("get / http/1.1\r\n") && request.contains("host: files\r\n");
        let status = if asked { "418 I'm a teapot" } else { "400 Bad Request" };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
    });
    Ok(address)
}
