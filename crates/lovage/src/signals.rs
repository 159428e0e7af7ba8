//! What TERM, INT, QUIT and HUP mean to a worker (wire 7.9; celery/apps/worker.py).
//!
//! TERM asks for a warm shutdown, however often. INT asks for a warm one first and then for what QUIT asks for: a soft one
//! when running tasks have a time set for it, else a cold one. INT or QUIT after a soft one make it cold; after a cold one
//! they end the process where it stands. A warm shutdown becomes cold when its time is over, if it has one. The exit
//! code is 0, or 1 once INT was among them, as with Celery.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use lovage_settings::ShutdownSettings;
use lovage_worker::Shutdown;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
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
    Soft,
    Cold,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Term,
    Int,
    Quit,
    /// The time of a warm shutdown is over.
    TimeOut,
}

impl Stage {
    fn after(self, heard: Heard, means: &ShutdownSettings) -> Self {
        let heard = match heard {
            Heard::Term if means.term_is_quit => Heard::Quit,
            heard => heard,
        };
        match (self, heard) {
            (Self::Running, Heard::Term) => Self::Warm,
            (stage, Heard::Term) => stage,
            (Self::Running | Self::Warm, Heard::Int) => Self::WarmByHand,
            (Self::WarmByHand, Heard::Int)
            | (Self::Running | Self::Warm | Self::WarmByHand, Heard::Quit) => {
                if means.soft_timeout.is_zero() {
                    Self::Cold
                } else {
                    Self::Soft
                }
            }
            (Self::Soft, Heard::Int | Heard::Quit)
            | (Self::Warm | Self::WarmByHand, Heard::TimeOut) => Self::Cold,
            (Self::Cold | Self::Over, Heard::Int | Heard::Quit) => Self::Over,
            (stage, Heard::TimeOut) => stage,
        }
    }
}

impl Signals {
    /// Listens to TERM, INT and QUIT, which mean what the settings say.
    pub(crate) fn listen(voice: Voice, means: ShutdownSettings) -> io::Result<Self> {
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
        tokio::spawn(signals.clone().obey(ears, voice, means));
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

    /// Whether there was a first signal.
    pub(crate) fn were_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// The exit code of a worker that was stopped by what was heard.
    pub(crate) fn exit_code(&self) -> u8 {
        u8::from(self.interrupted.load(Ordering::Relaxed))
    }

    async fn obey(self, mut ears: Ears, voice: Voice, means: ShutdownSettings) {
        let mut stage = Stage::default();
        let mut drained = None;
        loop {
            let heard = tokio::select! {
                heard = ears.next() => heard,
                () = until(drained) => {
                    drained = None;
                    Heard::TimeOut
                }
            };
            if heard == Heard::Int {
                self.interrupted.store(true, Ordering::Relaxed);
            }
            let next = stage.after(heard, &means);
            if next == stage {
                continue;
            }
            stage = next;
            match stage {
                Stage::Running => {}
                Stage::Warm | Stage::WarmByHand => {
                    self.shutdown.warm();
                    voice.say("Warm shutdown (MainProcess): waiting for running tasks");
                    if stage == Stage::WarmByHand {
                        voice.say(
                            "Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!",
                        );
                    }
                    drained = drained.or_else(|| {
                        means
                            .drain_timeout
                            .and_then(|time| Instant::now().checked_add(time))
                    });
                }
                Stage::Soft => {
                    self.shutdown.soft(means.soft_timeout, means.soft_on_idle);
                    voice.say(
                        "Cold shutdown (MainProcess), once the running tasks have had their time",
                    );
                    voice.say("Hitting Ctrl+C again will terminate all running tasks!");
                }
                Stage::Cold => {
                    self.shutdown.cold();
                    voice.say("Cold shutdown (MainProcess): running tasks are given back");
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

/// Waits for a time; for ever without one.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
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
    use std::time::Duration;

    use lovage_settings::ShutdownSettings;

    use super::{
        Heard::{self, Int, Quit, Term, TimeOut},
        Stage,
    };

    #[track_caller]
    fn check(means: &ShutdownSettings, heard: &[Heard], expected: Stage) {
        let stage = heard
            .iter()
            .fold(Stage::Running, |stage, &heard| stage.after(heard, means));
        assert_eq!(stage, expected, "{heard:?}");
    }

    #[test]
    fn signals_mean_what_they_mean_to_celery() {
        let plain = ShutdownSettings::default();
        check(&plain, &[Term, Term, Term], Stage::Warm);
        check(&plain, &[Int], Stage::WarmByHand);
        check(&plain, &[Int, Int], Stage::Cold);
        check(&plain, &[Term, Int], Stage::WarmByHand);
        check(&plain, &[Term, Int, Int], Stage::Cold);
        check(&plain, &[Quit], Stage::Cold);
        check(&plain, &[Term, Quit], Stage::Cold);
        check(&plain, &[Quit, Term], Stage::Cold);
        check(&plain, &[Int, Int, Int], Stage::Over);
        check(&plain, &[Quit, Quit], Stage::Over);
    }

    #[test]
    fn term_may_mean_quit() {
        let remapped = ShutdownSettings {
            term_is_quit: true,
            ..ShutdownSettings::default()
        };
        check(&remapped, &[Term], Stage::Cold);
        check(&remapped, &[Term, Term], Stage::Over);
    }

    #[test]
    fn a_soft_shutdown_comes_before_a_cold_one() {
        let soft = ShutdownSettings {
            soft_timeout: Duration::from_secs(10),
            ..ShutdownSettings::default()
        };
        check(&soft, &[Quit], Stage::Soft);
        check(&soft, &[Term, Quit, Term], Stage::Soft);
        check(&soft, &[Int, Int], Stage::Soft);
        check(&soft, &[Quit, Quit], Stage::Cold);
        check(&soft, &[Quit, Int, Quit], Stage::Over);
    }

    #[test]
    fn only_a_warm_shutdown_runs_out_of_time() {
        let plain = ShutdownSettings::default();
        check(&plain, &[Term, TimeOut], Stage::Cold);
        check(&plain, &[Term, TimeOut, Quit], Stage::Over);
        check(&plain, &[TimeOut], Stage::Running);
    }
}
