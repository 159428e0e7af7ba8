//! A program on a terminal.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::Pid;
use rustix::process::{Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::Parser;

use crate::wait::{PATIENCE, within};

/// Lines of the terminal.
const ROWS: NonZero<u16> = NonZero::new(30).expect("it is not zero");
/// Columns of the terminal.
const COLUMNS: NonZero<u16> = NonZero::new(130).expect("it is not zero");

/// A program whose standard streams are a terminal; ends with the value.
pub struct Terminal {
    process: Child,
    keyboard: File,
    screen: Arc<Mutex<Parser>>,
    reading: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a program.
    ///
    /// # Panics
    /// When there is no terminal to be had, or the program cannot be started.
    pub fn start(mut command: Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal can be had");
        grantpt(&ours).expect("the terminal is ours");
        unlockpt(&ours).expect("the terminal can be unlocked");
        let size = Winsize {
            ws_row: ROWS.get(),
            ws_col: COLUMNS.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&ours, size).expect("the terminal has a size");
        let name = ptsname(&ours, Vec::new()).expect("the terminal has a name");
        let name = name.to_str().expect("its name is text").to_owned();
        let theirs = File::options()
            .read(true)
            .write(true)
            .open(name)
            .expect("the terminal can be opened");
        let stream = || Stdio::from(theirs.try_clone().expect("a file can be shared"));
        let process = command
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .process_group(0)
            .spawn()
            .expect("the program can be started");
        // Once the program has ended nobody holds the other side any more, and reading ends.
        drop((theirs, command));
        let keyboard = File::from(ours);
        let screen = Arc::new(Mutex::new(Parser::new(ROWS, COLUMNS, 0)));
        let (mut output, shown) = (
            keyboard.try_clone().expect("a file can be shared"),
            Arc::clone(&screen),
        );
        let reading = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let mut screen = shown.lock().unwrap_or_else(PoisonError::into_inner);
                screen.process(&bytes[..length]);
            }
        });
        Self {
            process,
            keyboard,
            screen,
            reading: Some(reading),
        }
    }

    /// What the screen shows, line by line.
    pub fn text(&self) -> String {
        self.look(|screen| screen.contents())
    }

    /// Whether the program has the screen for itself, and what was there before is kept behind it.
    pub fn is_taken_over(&self) -> bool {
        self.look(|screen| screen.alternate_screen())
    }

    fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        at(screen.screen())
    }

    /// The first line with a text in it.
    pub fn line_with(&self, text: &str) -> Option<String> {
        let screen = self.text();
        let mut lines = screen.lines();
        lines.find(|line| line.contains(text)).map(str::to_owned)
    }

    /// Waits until a line shows all these texts.
    ///
    /// # Panics
    /// When that does not happen in time; the message holds the screen.
    pub fn wait_for(&self, texts: &[&str]) {
        let shows = |line: &str| texts.iter().all(|text| line.contains(text));
        let started = std::time::Instant::now();
        while !self.text().lines().any(shows) {
            assert!(
                started.elapsed() < PATIENCE,
                "no line shows {texts:?} on:\n{}",
                self.text()
            );
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Types keys.
    ///
    /// # Panics
    /// When the program is gone.
    pub fn press(&mut self, keys: &str) {
        let written = self.keyboard.write_all(keys.as_bytes());
        written.expect("the terminal takes keys");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_child(&self.process), signal);
    }

    /// Waits for the end, and until all that it wrote is on the screen.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let status = within(PATIENCE, "the end of the program on the terminal", || {
            self.process
                .try_wait()
                .expect("the state of a child can be asked")
        });
        if let Some(reading) = self.reading.take() {
            reading.join().expect("the screen can be read");
        }
        status
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.process.wait();
    }
}
