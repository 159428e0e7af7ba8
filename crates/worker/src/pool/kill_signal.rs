//! Signals for child processes, by the names that `revoke(terminate=True, signal=…)` uses.

use std::{fmt, str::FromStr};

use rustix::process::Signal;

/// A signal to end a child process with. Default TERM, as in Celery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillSignal(Signal);

/// The signals of POSIX and their names.
const NAMES: &[(Signal, &str)] = &[
    (Signal::HUP, "SIGHUP"),
    (Signal::INT, "SIGINT"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::ILL, "SIGILL"),
    (Signal::TRAP, "SIGTRAP"),
    (Signal::ABORT, "SIGABRT"),
    (Signal::BUS, "SIGBUS"),
    (Signal::FPE, "SIGFPE"),
    (Signal::KILL, "SIGKILL"),
    (Signal::USR1, "SIGUSR1"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::USR2, "SIGUSR2"),
    (Signal::PIPE, "SIGPIPE"),
    (Signal::ALARM, "SIGALRM"),
    (Signal::TERM, "SIGTERM"),
    (Signal::CHILD, "SIGCHLD"),
    (Signal::CONT, "SIGCONT"),
    (Signal::STOP, "SIGSTOP"),
    (Signal::TSTP, "SIGTSTP"),
    (Signal::TTIN, "SIGTTIN"),
    (Signal::TTOU, "SIGTTOU"),
    (Signal::URG, "SIGURG"),
    (Signal::XCPU, "SIGXCPU"),
    (Signal::XFSZ, "SIGXFSZ"),
    (Signal::VTALARM, "SIGVTALRM"),
    (Signal::PROF, "SIGPROF"),
    (Signal::WINCH, "SIGWINCH"),
    (Signal::IO, "SIGIO"),
    (Signal::SYS, "SIGSYS"),
];

impl KillSignal {
    /// Asks to end.
    pub const TERM: Self = Self(Signal::TERM);
    /// Ends for certain.
    pub const KILL: Self = Self(Signal::KILL);

    pub(crate) fn signal(self) -> Signal {
        self.0
    }

    /// Its number on this system.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0.as_raw()
    }
}

impl Default for KillSignal {
    fn default() -> Self {
        Self::TERM
    }
}

/// The name of a signal's number, `SIGKILL`; `None` for one that POSIX does not name.
pub(crate) fn name_of(number: i32) -> Option<&'static str> {
    let found = NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    found.map(|(_, name)| *name)
}

/// Says that a text names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no signal; expected a name such as TERM or SIGKILL, or its number")]
pub struct UnknownSignal(String);

impl FromStr for KillSignal {
    type Err = UnknownSignal;

    /// Takes `SIGTERM`, `TERM` or `15`, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let upper = text.trim().to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        let found = NAMES.iter().find(|(signal, name)| {
            name.strip_prefix("SIG") == Some(short) || upper.parse() == Ok(signal.as_raw())
        });
        found
            .map(|(signal, _)| Self(*signal))
            .ok_or_else(|| UnknownSignal(text.to_owned()))
    }
}

impl fmt::Display for KillSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self.0.as_raw()).unwrap_or("a signal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for text in ["SIGKILL", "KILL", "kill", "9"] {
            assert_eq!(text.parse(), Ok(KillSignal::KILL), "{text}");
        }
        assert_eq!(KillSignal::default().to_string(), "SIGTERM");
        for text in ["", "SIG", "0", "999", "-9", "KILLER"] {
            assert!(text.parse::<KillSignal>().is_err(), "{text}");
        }
        assert_eq!(name_of(6), Some("SIGABRT"));
    }
}
