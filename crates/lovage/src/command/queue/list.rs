//! `lovage queue list`: what waits, who takes it, and what is paused.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use clap::Args;
use lovage_broker::Broker;
use lovage_flower_compat::Control;
use lovage_monitor::fleet::{self, Census};
use lovage_protocol::{Message, QueueName};
use lovage_settings::Settings;
use serde_json::{Value, json};

use crate::{
    command::{QueueList, in_full, seconds},
    connect,
    failure::Failure,
    monitor, output,
    table::Table,
};

/// List queues: how much waits at which priority, who consumes it, and whether it is paused.
///
/// Those that tasks are routed to by the settings, those that a worker consumes, and those that are paused. A message does not
/// say when it was sent: how long the next one has been there is known to whoever looks twice, as --watch does, and to a keeper
/// (`lovage_queue_head_age_seconds`).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage queue list
  lovage queue list -Q hot,mail --json
  lovage queue list --watch 5         and whether the head of each moves within 5 s")]
pub(crate) struct ListArgs {
    /// Only these, with commas between them, whether anybody knows them or not
    #[arg(short = 'Q', long, value_name = "QUEUES")]
    queues: Option<QueueList>,
    /// Look again after so many seconds, and tell which message was next all the time
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    watch: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One queue at one moment.
struct Seen {
    name: QueueName,
    by_priority: Vec<(u8, u64)>,
    consumers: BTreeSet<String>,
    paused: bool,
    routed: bool,
    /// The message that is served next.
    head: Option<Vec<u8>>,
    /// For so long it was next, as far as was looked.
    stands: Option<Duration>,
}

/// Runs the command.
pub(super) async fn run(args: ListArgs, settings: &Settings) -> Result<u8, Failure> {
    let broker = connect::broker(settings).await?;
    let control = Control::new(Arc::clone(&broker));
    let census = fleet::census(&*broker, &control).await?;
    let routed = monitor::routed(settings);
    let paused = broker.pauses().paused().await?;
    let names = match args.queues {
        Some(list) => in_full(list.0, settings),
        None => known(&routed, &census, &paused),
    };
    let mut queues = Vec::with_capacity(names.len());
    for name in names {
        queues.push(Seen {
            by_priority: broker.depth_by_priority(&name).await?,
            consumers: census
                .consumers
                .get(name.as_str())
                .cloned()
                .unwrap_or_default(),
            paused: paused.contains(&name),
            routed: routed.contains(name.as_str()),
            head: head(&*broker, &name).await?,
            stands: None,
            name,
        });
    }
    if let Some(watched) = args.watch {
        tokio::time::sleep(watched).await;
        for queue in &mut queues {
            let now = head(&*broker, &queue.name).await?;
            queue.stands = (now.is_some() && now == queue.head).then_some(watched);
        }
    }
    if args.json {
        output::json(&queues.iter().map(described).collect())?;
    } else {
        output::line(table(&queues))?;
    }
    Ok(0)
}

/// All that somebody knows, by name.
fn known(
    routed: &BTreeSet<String>,
    census: &Census,
    paused: &BTreeSet<QueueName>,
) -> Vec<QueueName> {
    let named = routed.iter().chain(census.consumers.keys());
    let named = named.filter_map(|name| QueueName::parse(name).ok());
    let all: BTreeSet<QueueName> = named.chain(paused.iter().cloned()).collect();
    all.into_iter().collect()
}

async fn head(broker: &dyn Broker, queue: &QueueName) -> Result<Option<Vec<u8>>, Failure> {
    let next = broker.peek(queue, 1).await?.into_iter().next();
    Ok(next.map(|raw| raw.to_vec()))
}

impl Seen {
    fn messages(&self) -> u64 {
        self.by_priority.iter().map(|(_, messages)| messages).sum()
    }

    fn next_task(&self) -> Option<String> {
        let message = Message::parse(self.head.as_deref()?).ok()?;
        Some(message.headers.task.as_str().to_owned())
    }

    fn state(&self) -> &'static str {
        match (self.paused, self.consumers.is_empty()) {
            (true, _) => "paused",
            (false, true) => "nobody",
            (false, false) => "open",
        }
    }
}

fn table(queues: &[Seen]) -> Table<6> {
    let headings = [
        "QUEUE",
        "WAITING",
        "BY PRIORITY",
        "WORKERS",
        "STATE",
        "NEXT",
    ];
    let mut table = Table::new(headings);
    for queue in queues {
        let by_priority = queue
            .by_priority
            .iter()
            .filter(|(_, messages)| *messages > 0)
            .map(|(priority, messages)| format!("{priority}:{}", output::thousands(*messages)));
        let by_priority: Vec<String> = by_priority.collect();
        let mut next = output::one_line(queue.next_task().as_deref().unwrap_or("-"));
        if let Some(stands) = queue.stands {
            next.push_str(&format!(", for {} or more", output::duration(stands)));
        }
        table.push([
            output::one_line(queue.name.as_str()),
            output::thousands(queue.messages()),
            match by_priority.as_slice() {
                [] => "-".to_owned(),
                some => some.join(" "),
            },
            queue.consumers.len().to_string(),
            queue.state().to_owned(),
            next,
        ]);
    }
    table
}

fn described(queue: &Seen) -> Value {
    let by_priority = queue.by_priority.iter();
    let by_priority =
        by_priority.map(|(priority, messages)| json!({"priority": priority, "messages": messages}));
    json!({
        "name": queue.name.as_str(),
        "messages": queue.messages(),
        "by_priority": by_priority.collect::<Vec<_>>(),
        "consumers": queue.consumers,
        "paused": queue.paused,
        "routed": queue.routed,
        "next_task": queue.next_task(),
        "head_waits_seconds": queue.stands.map(|stands| stands.as_secs_f64()),
    })
}
