//! `lovage events`: what happens, as it happens.

mod draw;
mod dump;
mod screen;
mod tasks;
mod view;

use std::time::Duration;

use clap::Args;
use futures::{StreamExt, stream::BoxStream};
use lovage_flower_compat::{Control, machine, receive};
use lovage_protocol::{Lamport, Value, event::Event};
use lovage_settings::Settings;
use tokio::signal::unix::{SignalKind, signal};

use self::screen::Hands;
use crate::{
    command::{FOR_EVER, remote::finite, seconds},
    connect,
    failure::Failure,
    output,
};

/// Watch workers and tasks: a live view, or one line for each event.
///
/// In the view: up and down (or k, j) choose a task, enter shows it whole, r revokes it, t terminates it, / filters, e has
/// workers send events of tasks, q ends. Where standard output is no terminal, events are printed as with --dump.
///
/// Workers that were started without -E tell of tasks only after they were asked to (--enable).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage events --enable
  lovage events --dump | grep mail.send
  lovage events --json --count 100 | jq -r .type | sort | uniq -c")]
pub(crate) struct EventsArgs {
    /// Print one line for each event, as `celery events --dump` does
    #[arg(short, long)]
    dump: bool,
    /// Print one JSON object for each event
    #[arg(long, conflicts_with = "dump")]
    json: bool,
    /// Have all workers send events of tasks, from now on
    #[arg(short, long)]
    enable: bool,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How many tasks the view remembers
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_tasks: u32,
}

/// What is heard, and when it is enough.
struct Heard {
    events: BoxStream<'static, Event>,
    /// So many more.
    left: u64,
}

impl Heard {
    /// The next event; `None` when it is enough.
    async fn next(&mut self) -> Option<Event> {
        if self.left == 0 {
            return None;
        }
        let event = self.events.next().await?;
        self.left -= 1;
        Some(event)
    }
}

/// Runs the command.
pub(crate) async fn run(args: EventsArgs, settings: &Settings) -> Result<u8, Failure> {
    let live = !args.dump && !args.json && output::is_terminal();
    // Only the view has something to revoke, for which it needs a client.
    let (broker, client) = if live {
        let connected = connect::once(settings, &[]).await?;
        (connected.broker, Some(connected.client))
    } else {
        (connect::broker(settings).await?, None)
    };
    let clock = Lamport::default();
    // Hearing begins before anybody is asked to speak.
    let events = receive(broker.as_ref(), "#", clock.clone()).await?;
    let control = Control::on_clock(broker, clock);
    control.ask("heartbeat").tell().await?;
    if args.enable {
        control.ask("enable_events").tell().await?;
    }
    let mut heard = Heard {
        events,
        left: args.count.unwrap_or(u64::MAX),
    };
    let shown = async {
        let Some(client) = client else {
            return print(&mut heard, args.json).await;
        };
        let most = usize::try_from(args.max_tasks).unwrap_or(usize::MAX);
        screen::show(&mut heard, most, &Hands { client, control }).await
    };
    tokio::select! {
        ended = shown => ended,
        () = tokio::time::sleep(args.duration.unwrap_or(FOR_EVER)) => Ok(0),
        stopped = stopped() => stopped,
    }
}

/// Comes back when the process is asked to end, which is how one leaves.
async fn stopped() -> Result<u8, Failure> {
    let hear = |kind| {
        signal(kind).map_err(|error| Failure::failed(format!("cannot hear signals: {error}")))
    };
    let (mut interrupt, mut terminate) = (
        hear(SignalKind::interrupt())?,
        hear(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(0)
}

async fn print(heard: &mut Heard, json: bool) -> Result<u8, Failure> {
    let mut dump = dump::Dump::default();
    if !json {
        output::data("-> evdump: starting capture...")?;
    }
    while let Some(event) = heard.next().await {
        if json {
            output::data(finite(Value::Map(event.fields)).to_json())?;
        } else {
            output::data(output::printable(&dump.line(&event, machine::now())))?;
        }
    }
    Ok(0)
}
