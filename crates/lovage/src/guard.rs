//! What holds for every server that `lovage up` starts: it ends with this process, however that ends.
//!
//! A server lives in a process group of its own, so that Ctrl-C reaches this process first. Its guard is a shell that
//! waits for the end of a pipe which we hold: when this process dies without being able to stop its server, it does. It
//! too asks first and kills later: a Flower whose Redis goes at the same time may wait for it for ever.

use std::{io, net::Ipv4Addr, net::TcpListener, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// Waits for the end of its input, then ends the process `$1`, for which it has `$2` seconds of patience.
const GUARD: &str = r#"
read -r _
kill "$1" || exit
left=$2
while [ "$left" -gt 0 ]; do
    sleep 1
    kill -0 "$1" || exit
    left=$((left - 1))
done
kill -9 "$1"
"#;

/// A guard over a server that was started just now.
pub(crate) fn guard(server: &Child, patience: Duration) -> io::Result<Child> {
    let number = server
        .id()
        .ok_or_else(|| io::Error::other("it has ended already"))?
        .to_string();
    Command::new("/bin/sh")
        .args(["-c", GUARD, "sh", &number, &patience.as_secs().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Ends a server and its guard: asks first, and kills after `patience`.
pub(crate) async fn stop(server: &mut Child, guard: &mut Child, patience: Duration) {
    // The guard must not outlive the server: the number of its process may then be another's.
    let _ = guard.kill().await;
    if let Some(pid) = pid(server) {
        // An error says that it has ended in this moment.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(patience, server.wait()).await.is_err() {
        let _ = server.kill().await;
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
}

/// A port of the loopback address that is free at this moment; the wanted one when it is.
pub(crate) fn free_port(wanted: u16) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}
