//! One process per pid file.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process,
};

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

use crate::{failure::Failure, output};

/// A pid file that is ours; dropping it removes it.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file, unless a live process holds it; what a dead one left is replaced.
    pub(crate) fn take(path: &Path) -> Result<Self, Failure> {
        for _ in 0..2 {
            match OpenOptions::new().write(true).create_new(true).open(path) {
                Ok(mut file) => {
                    let pid = process::id();
                    writeln!(file, "{pid}").map_err(|error| cannot(path, &error))?;
                    return Ok(Self {
                        path: path.to_owned(),
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => clear_stale(path)?,
                Err(error) => return Err(cannot(path, &error)),
            }
        }
        Err(Failure::held(format!(
            "another process has just taken the pid file {}",
            path.display()
        )))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Only our own: somebody may have replaced it.
        if read(&self.path) == Some(process::id()) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a process of this id runs; one of another user does too.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    match test_kill_process(pid) {
        Ok(()) => true,
        Err(errno) => errno == Errno::PERM,
    }
}

fn clear_stale(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    match read(path) {
        // In a container every start may have the same id: then what is left is our own.
        Some(pid) if pid != process::id() && is_alive(pid) => {
            return Err(Failure::held(format!(
                "the pid file {shown} is held by process {pid}, which is running; stop it or use another --pidfile"
            )));
        }
        Some(_) => {}
        None if fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() < 32) => {}
        None => {
            return Err(Failure::held(format!(
                "{shown} exists and is not a pid file"
            )));
        }
    }
    output::warning(format_args!(
        "the pid file {shown} was left behind, it is replaced"
    ));
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(cannot(path, &error)),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::held(format!(
        "the pid file {} cannot be written: {error}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::{fs, process};

    use super::{PidFile, is_alive};

    #[test]
    fn what_a_dead_process_left_is_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pid");
        let mut child = process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
        fs::write(&path, format!("{}\n", child.id())).unwrap();
        let held = PidFile::take(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", process::id())
        );
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_process_keeps_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pid");
        let mut child = process::Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(&path, format!("{}\n", child.id())).unwrap();
        let refused = PidFile::take(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(refused.unwrap_err().tell(), 73);
        assert!(path.exists());
    }

    #[test]
    fn no_other_file_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious.txt");
        let text = "something that was never a pid file, and is long enough to see that";
        fs::write(&path, text).unwrap();
        assert_eq!(PidFile::take(&path).unwrap_err().tell(), 73);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(PidFile::take(&folder.path().join("missing/w.pid")).is_err());
    }
}
