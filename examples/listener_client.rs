//! One program waits for another, in this language or in Python, and sends it values and bytes.
//!
//!     cargo run --release --example listener_client
//!     cargo run --release --example listener_client listen 6000
//!     cargo run --release --example listener_client connect 6000
//!
//! The programs on listeners and clients of Python's documentation of `multiprocessing`. Without arguments both sides are
//! this program; with them, the other one may be Python:
//!
//!     python3 -c "from multiprocessing.connection import Client
//!     with Client(('localhost', 6000), authkey=b'secret password') as conn:
//!         print(conn.recv(), conn.recv_bytes(), conn.recv_bytes())"
//!
//! Python up to 3.11 knows no better digest than MD5; then `allow-md5` has to be the last argument here.

use multiproc::{Client, Listener, Process};

const KEY: &[u8] = b"secret password";

fn serve(listener: &Listener) -> multiproc::Result<()> {
    let connection = listener.accept()?;
    connection.send(&(2.25, (), "junk"))?;
    connection.send_bytes(b"hello")?;
    let numbers = [42i32, 1729].map(i32::to_ne_bytes); // Python: array('i', [42, 1729])
    connection.send_bytes(numbers.as_flattened())?;
    Ok(())
}

fn listener(port: u16, allow_md5: bool) -> multiproc::Result<Listener> {
    Listener::builder().allow_md5(allow_md5).bind(("localhost", port), KEY)
}

fn connect(port: u16, allow_md5: bool) -> multiproc::Result<()> {
    let connection = Client::builder().allow_md5(allow_md5).connect(("localhost", port), KEY)?;
    let (number, nothing, text): (f64, Option<u8>, String) = connection.recv()?;
    println!("{number} {nothing:?} {text}");
    println!("{}", String::from_utf8_lossy(&connection.recv_bytes(100)?));
    let bytes = connection.recv_bytes(100)?;
    let numbers: Vec<i32> = bytes.chunks_exact(4).map(|it| i32::from_ne_bytes([it[0], it[1], it[2], it[3]])).collect();
    println!("{numbers:?}");
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let allow_md5 = arguments.last() == Some(&"allow-md5");
    let port = arguments.get(1).and_then(|port| port.parse().ok()).unwrap_or(6000);
    match arguments.first() {
        Some(&"listen") => {
            let listener = listener(port, allow_md5)?;
            println!("listening at {}", listener.address());
            serve(&listener)
        }
        Some(&"connect") => connect(port, allow_md5),
        _ => {
            let listener = listener(0, false)?;
            let multiproc::Address::Tcp(_, port) = *listener.address() else { unreachable!("TCP was asked for") };
            let client = Process::try_spawn(connect, (port, false))?;
            serve(&listener)?;
            client.join()?;
            Ok(())
        }
    }
}
