//! What TERM, INT, QUIT and HUP mean to a worker (wire 7.9; celery/apps/worker.py).
//!
//! TERM asks for a warm shutdown, however often. INT asks for a warm one first and for a cold one then; QUIT for a cold
//! one at once. INT or QUIT after a cold one end the process where it stands. The exit code is 0, or 1 once INT was
//! among them, as with Celery.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use lovage_worker::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::output;

/// Listens from its making on, so that no signal is lost while a worker starts.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    shutdown: Shutdown,
    asked: CancellationToken,
    interrupted: Arc<AtomicBool>,
}

/// How this process says that it is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// A line on standard error, at whatever log level: somebody has pressed Ctrl-C and waits.
    Plain,
    /// A line of the log, which has a form to keep.
    Log,
}

/// What has been asked for so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Running,
    Warm,
    /// Warm, and Ctrl-C was pressed once.
    WarmByHand,
    Cold,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Term,
    Int,
    Quit,
}

impl Stage {
    fn after(self, heard: Heard) -> Self {
        match (self, heard) {
            (Self::Running, Heard::Term) => Self::Warm,
            (stage, Heard::Term) => stage,
            (Self::Running | Self::Warm, Heard::Int) => Self::WarmByHand,
            (Self::WarmByHand, Heard::Int) => Self::Cold,
            (Self::Running | Self::Warm | Self::WarmByHand, Heard::Quit) => Self::Cold,
            (Self::Cold | Self::Over, Heard::Int | Heard::Quit) => Self::Over,
        }
    }
}

impl Signals {
    /// Listens to TERM, INT and QUIT.
    pub(crate) fn listen(voice: Voice) -> io::Result<Self> {
        let signals = Self {
            shutdown: Shutdown::new(),
            asked: CancellationToken::new(),
            interrupted: Arc::default(),
        };
        let ears = Ears {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        };
        tokio::spawn(signals.clone().obey(ears, voice));
        Ok(signals)
    }

    /// Also ends coldly when the terminal is closed: nobody is left who could ask for it.
    pub(crate) fn end_with_terminal(&self) -> io::Result<()> {
        let mut hup = signal(SignalKind::hangup())?;
        let this = self.clone();
        tokio::spawn(async move {
            if hup.recv().await.is_some() {
                this.shutdown.cold();
                this.asked.cancel();
            }
        });
        Ok(())
    }

    /// What a worker is to be run with.
    pub(crate) fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Waits for the first signal.
    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// The exit code of a worker that was stopped by what was heard.
    pub(crate) fn exit_code(&self) -> u8 {
        u8::from(self.interrupted.load(Ordering::Relaxed))
    }

    async fn obey(self, mut ears: Ears, voice: Voice) {
        let mut stage = Stage::default();
        loop {
            let heard = ears.next().await;
            if heard == Heard::Int {
                self.interrupted.store(true, Ordering::Relaxed);
            }
            let next = stage.after(heard);
            if next == stage {
                continue;
            }
            stage = next;
            match stage {
                Stage::Running => {}
                Stage::Warm => {
                    self.shutdown.warm();
                    voice.say("warm shutdown: waiting for running tasks");
                }
                Stage::WarmByHand => {
                    self.shutdown.warm();
                    voice.say(
                        "warm shutdown: waiting for running tasks; Ctrl-C again gives them back",
                    );
                }
                Stage::Cold => {
                    self.shutdown.cold();
                    voice.say("cold shutdown: running tasks are given back");
                }
                Stage::Over => {
                    voice.say("stopped at once; other workers take over what was held");
                    std::process::exit(1);
                }
            }
            self.asked.cancel();
        }
    }
}

impl Voice {
    fn say(self, text: &str) {
        match self {
            Self::Plain => output::note(format_args!("\nworker: {text}")),
            Self::Log => info!("{text}"),
        }
    }
}

struct Ears {
    term: Signal,
    int: Signal,
    quit: Signal,
}

impl Ears {
    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.term.recv() => Heard::Term,
            _ = self.int.recv() => Heard::Int,
            _ = self.quit.recv() => Heard::Quit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Heard, Stage};

    #[test]
    fn signals_mean_what_they_mean_to_celery() {
        let check = |heard: &[Heard], expected: Stage| {
            let stage = heard
                .iter()
                .fold(Stage::Running, |stage, &heard| stage.after(heard));
            assert_eq!(stage, expected, "{heard:?}");
        };
        use Heard::{Int, Quit, Term};
        check(&[Term, Term, Term], Stage::Warm);
        check(&[Int], Stage::WarmByHand);
        check(&[Int, Int], Stage::Cold);
        check(&[Term, Int], Stage::WarmByHand);
        check(&[Term, Int, Int], Stage::Cold);
        check(&[Quit], Stage::Cold);
        check(&[Term, Quit], Stage::Cold);
        check(&[Quit, Term], Stage::Cold);
        check(&[Int, Int, Int], Stage::Over);
        check(&[Quit, Quit], Stage::Over);
    }
}
