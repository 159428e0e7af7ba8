//! What the kernel knows of processes.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// The ids of the children of a process, ascending.
pub fn children_of(parent: i32) -> Vec<i32> {
    let mut children: Vec<i32> = fs::read_dir("/proc")
        .expect("/proc can be read")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect();
    children.sort_unstable();
    children
}

/// The parent of a process that lives; a zombie does not.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, in brackets.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    (state != "Z").then(|| fields.next()?.parse().ok())?
}

/// Whether a process lives.
pub fn lives(pid: i32) -> bool {
    parent_of(pid).is_some()
}

/// Sends a signal to a process that may have ended.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}
