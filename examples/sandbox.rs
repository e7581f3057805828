//! Untrusted work in a sandbox: tasks that may compute, and read one folder, and nothing else.
//!
//!     cargo run --release --example sandbox --features sandbox
//!
//! Each worker gives its rights up before its first task. What this system can do of that is printed first.

use multiproc::{Pool, Sandbox, sandbox_posture};

/// As code does that an attacker has got into.
fn attack(how: String) -> Result<(), String> {
    let done = match &*how {
        "read a file" => std::fs::read_to_string("/etc/passwd").map(drop),
        "write a file" => std::fs::write("/tmp/multiproc-was-here", ""),
        "connect" => std::net::TcpStream::connect("127.0.0.1:80").map(drop),
        "start a program" => std::process::Command::new("/bin/true").status().map(drop),
        _ => Ok(()),
    };
    done.map_err(|error| error.kind().to_string())
}

fn main() -> multiproc::Result<()> {
    let sandbox = Sandbox::new().no_network().no_new_processes().read_only(["/usr"]).allow_degraded();
    let pool = Pool::builder().processes(2).sandbox(sandbox).build()?;
    if let Some(posture) = pool.apply(sandbox_posture, ())? {
        println!("{posture}");
    }
    for how in ["compute", "read a file", "write a file", "connect", "start a program"] {
        match pool.apply(attack, (how.to_owned(),))? {
            Ok(()) => println!("{how}: done"),
            Err(error) => println!("{how}: {error}"),
        }
    }
    Ok(())
}
