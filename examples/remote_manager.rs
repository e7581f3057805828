//! A queue that one program serves and others use, any of which may be in Python.
//!
//!     cargo run --release --example remote_manager
//!     cargo run --release --example remote_manager serve 50000
//!     cargo run --release --example remote_manager put 50000 hello
//!     cargo run --release --example remote_manager get 50000
//!
//! The example "Using a remote manager" of Python's documentation of `multiprocessing`. Without arguments all three are
//! processes of this program; with them, any may be Python's: the names, the port and the key are those of the documentation.
//! Python up to 3.11 knows no better digest than MD5; then `allow-md5` has to be the last argument here.

use multiproc::{Exposed, ManagerServer, Process, Queue, RemoteManager, RemoteQueue};

const KEY: &[u8] = b"abracadabra";

/// Python: `QueueManager.register('get_queue', callable=lambda: queue)`
fn server(port: u16, allow_md5: bool) -> multiproc::Result<ManagerServer> {
    let queue = Exposed::queue(Queue::new());
    ManagerServer::builder().register("get_queue", queue).allow_md5(allow_md5).bind(("localhost", port), KEY)
}

/// Python: `m = QueueManager(address=('localhost', port), authkey=b'abracadabra'); m.connect(); queue = m.get_queue()`
fn queue(port: u16, allow_md5: bool) -> multiproc::Result<RemoteQueue<String>> {
    let manager = RemoteManager::builder().allow_md5(allow_md5).connect(("localhost", port), KEY)?;
    Ok(manager.create("get_queue", ())?.into_queue())
}

fn put(port: u16, item: String, allow_md5: bool) -> multiproc::Result<()> {
    queue(port, allow_md5)?.put(item)?;
    Ok(())
}

fn get(port: u16, allow_md5: bool) -> multiproc::Result<()> {
    println!("{}", queue(port, allow_md5)?.get()?);
    Ok(())
}

fn main() -> multiproc::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let allow_md5 = arguments.pop_if(|last| last == "allow-md5").is_some();
    let port = arguments.get(1).and_then(|port| port.parse().ok()).unwrap_or(50000);
    let item = || arguments.get(2).cloned().unwrap_or_else(|| "hello".to_owned());
    match arguments.first().map(String::as_str) {
        Some("serve") => {
            let server = server(port, allow_md5)?;
            println!("serving at {}", server.address());
            server.serve()
        }
        Some("put") => put(port, item(), allow_md5),
        Some("get") => get(port, allow_md5),
        _ => {
            let server = server(0, false)?;
            let multiproc::Address::Tcp(_, port) = *server.address() else { unreachable!("TCP was asked for") };
            let handle = server.handle();
            let serving = std::thread::spawn(move || server.serve());
            let getter = Process::try_spawn(get, (port, false))?;
            let putter = Process::try_spawn(put, (port, item(), false))?;
            multiproc::join_all([getter, putter])?;
            handle.shutdown();
            serving.join().expect("the server does not panic")
        }
    }
}
