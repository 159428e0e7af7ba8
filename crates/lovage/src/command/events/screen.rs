//! The live view: events and keys in, pictures out.

use std::{
    thread,
    time::{Duration, Instant},
};

use lovage_client::{Client, Revocation};
use lovage_flower_compat::{Cluster, Control, machine};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event as Input, KeyEventKind},
    widgets::TableState,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{MissedTickBehavior, interval},
};

use super::{
    Heard,
    draw::{self, Scene},
    tasks::Tasks,
    view::{Deed, View},
};
use crate::failure::{Failure, chain};

/// Pictures are drawn so far apart, however much happens; a key has its picture at once.
const FRAME: Duration = Duration::from_millis(200);

/// The terminal as it was before, whatever ends the view.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What deeds need.
pub(super) struct Hands {
    pub(super) client: Client,
    pub(super) control: Control,
}

/// Shows the view until somebody leaves it, or enough was heard.
pub(super) async fn show(
    heard: &mut Heard,
    most_tasks: usize,
    hands: &Hands,
) -> Result<u8, Failure> {
    let cannot = |error| Failure::failed(format!("cannot draw on this terminal: {error}"));
    let (mut keys, mut typing) = (keys(), true);
    let restored = Restored;
    let mut terminal = ratatui::try_init().map_err(cannot)?;
    let mut stage = Stage {
        view: View::default(),
        tasks: Tasks::new(most_tasks),
        cluster: Cluster::default(),
        events: 0,
        table: TableState::default(),
    };
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = heard.next() => {
                let Some(event) = event else { break };
                stage.events += 1;
                stage.cluster.hear(&event, Instant::now());
                stage.tasks.hear(&event);
                continue;
            }
            input = keys.recv(), if typing => match input {
                // Who has no keys leaves by a signal.
                None => typing = false,
                Some(Input::Key(key)) if key.kind != KeyEventKind::Release => {
                    match stage.view.press(key, &stage.tasks) {
                        None => {}
                        Some(Deed::Quit) => break,
                        Some(deed) => stage.view.message = hands.act(deed).await,
                    }
                }
                Some(_) => {}
            },
            _ = frames.tick() => {}
        }
        stage.draw(&mut terminal).map_err(cannot)?;
    }
    drop(restored);
    Ok(0)
}

/// Everything that is shown.
struct Stage {
    view: View,
    tasks: Tasks,
    cluster: Cluster,
    events: u64,
    table: TableState,
}

impl Stage {
    fn draw(&mut self, terminal: &mut DefaultTerminal) -> std::io::Result<()> {
        let scene = Scene {
            view: &self.view,
            tasks: &self.tasks,
            cluster: &self.cluster,
            events: self.events,
            now: machine::now(),
            instant: Instant::now(),
        };
        terminal.draw(|frame| draw::draw(frame, &scene, &mut self.table))?;
        Ok(())
    }
}

impl Hands {
    /// Does it, and says what came of it.
    async fn act(&self, deed: Deed) -> String {
        let told = match deed {
            Deed::Quit => return String::new(),
            Deed::EnableEvents => {
                let told = self.control.ask("enable_events").tell().await;
                told.map(|()| "asked all workers to send events of tasks".to_owned())
                    .map_err(|error| chain(&error))
            }
            Deed::Revoke(id) => self
                .revoke(Revocation::of_tasks([id.as_str()]))
                .await
                .map(|()| format!("revoked {id}")),
            Deed::Terminate(id) => self
                .revoke(Revocation::of_tasks([id.as_str()]).terminate(None))
                .await
                .map(|()| format!("revoked {id}, and asked workers to end it")),
        };
        told.unwrap_or_else(|error| format!("that did not work: {error}"))
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), String> {
        let told = self.client.revoke(&revocation).await;
        told.map_err(|error| chain(&error))
    }
}

/// What is typed. Reading waits, so it has a thread, which ends with the process.
fn keys() -> UnboundedReceiver<Input> {
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || {
        while let Ok(input) = event::read() {
            if sender.send(input).is_err() {
                break;
            }
        }
    });
    receiver
}
