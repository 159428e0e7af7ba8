//! `lovage queue peek`: what is served next.

use clap::Args;
use lovage_protocol::{Message, QueueName};
use lovage_settings::Settings;
use serde_json::{Value, json};

use super::{meant, pause::queue_name};
use crate::{connect, failure::Failure, output, table::Table};

/// So much of arguments is shown in a table.
const WIDTH: usize = 40;

/// Show the messages that are served next. They stay where they are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage queue peek hot
  lovage queue peek hot -n 100 --json")]
pub(crate) struct PeekArgs {
    /// The queue
    #[arg(value_name = "QUEUE", value_parser = queue_name)]
    queue: QueueName,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Print JSON, with the messages
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: &PeekArgs, settings: &Settings) -> Result<u8, Failure> {
    let queue = meant(&args.queue, settings);
    let broker = connect::broker(settings).await?;
    let found = broker.peek(&queue, args.limit).await?;
    if args.json {
        output::json(&found.iter().map(|raw| described(raw)).collect())?;
        return Ok(0);
    }
    if found.is_empty() {
        output::note(format_args!("nothing waits in {queue}"));
        return Ok(0);
    }
    let mut table = Table::new(["TASK", "ID", "RETRIES", "BYTES", "ARGS", "KWARGS"]);
    for raw in &found {
        table.push(row(raw));
    }
    output::line(table)?;
    Ok(0)
}

fn row(raw: &[u8]) -> [String; 6] {
    let bytes = output::thousands(u64::try_from(raw.len()).unwrap_or(u64::MAX));
    let Ok(message) = Message::parse(raw) else {
        let dash = || "-".to_owned();
        return [
            "cannot be read".to_owned(),
            dash(),
            dash(),
            bytes,
            dash(),
            dash(),
        ];
    };
    let headers = message.headers;
    let short = |text: Option<String>| {
        let text = output::one_line(text.as_deref().unwrap_or("-"));
        output::cut(&text, WIDTH).into_owned()
    };
    [
        output::one_line(headers.task.as_str()),
        output::one_line(headers.id.as_str()),
        headers.retries.to_string(),
        bytes,
        short(headers.argsrepr),
        short(headers.kwargsrepr),
    ]
}

fn described(raw: &[u8]) -> Value {
    let mut told = match Message::parse(raw) {
        Ok(Message { headers, .. }) => json!({
            "task": headers.task.as_str(),
            "task_id": headers.id.as_str(),
            "args": headers.argsrepr,
            "kwargs": headers.kwargsrepr,
            "eta": headers.eta,
            "expires": headers.expires,
            "retries": headers.retries,
        }),
        Err(_) => json!({"task": null, "task_id": null}),
    };
    told["bytes"] = json!(raw.len());
    told["raw"] = json!(String::from_utf8_lossy(raw));
    told
}

#[cfg(test)]
mod tests {
    use super::{described, row};

    #[test]
    fn what_cannot_be_read_is_shown_too() {
        assert_eq!(row(b"garbage")[..2], ["cannot be read", "-"]);
        let told = described(b"garbage");
        assert_eq!((&told["task"], &told["bytes"]), (&().into(), &7.into()));
        assert_eq!(told["raw"], "garbage");
    }
}
