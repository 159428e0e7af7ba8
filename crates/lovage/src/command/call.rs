//! `lovage call`: sends a task, or very many of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clap::Args;
use lovage_client::{Moment, Outgoing, Prepared};
use lovage_protocol::{Map, State, TaskId, Value, time::parse_iso};
use lovage_results::ResultStore;
use lovage_settings::Settings;
use lovage_worker::{Catalogue, Module};
use serde_json::json;

use crate::{
    command::{FOR_EVER, result, seconds},
    connect,
    failure::Failure,
    output,
};

/// Messages in one round trip, and results asked for in one.
const CHUNK: usize = 500;
/// So many different reasons of failures are told.
const REASONS: usize = 10;
/// The pause between two looks at the results of many tasks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Send a task.
///
/// Each ARG is read as JSON; what is no JSON is text. Prints the task's id, or with --wait its result: a task that fails
/// ends this command with its exception and exit code 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage call demo.add 2 3 --wait
  lovage call mail.send someone@example.com --kwargs '{\"copies\": 2}' -q mail --countdown 60
  lovage call demo.add --args '[2, 3]' --expires 3600        as with the celery command
  lovage call demo.add 2 3 --count 100000 --wait             how fast is it?")]
pub(crate) struct CallArgs {
    /// The task's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Positional arguments, each JSON or text
    #[arg(value_name = "ARG", allow_negative_numbers = true, conflicts_with = "args", value_parser = argument)]
    positional: Vec<Value>,
    /// All positional arguments as one JSON array
    #[arg(short, long, value_name = "JSON", value_parser = arguments, allow_hyphen_values = true)]
    args: Option<Arguments>,
    /// Keyword arguments as a JSON object
    #[arg(short, long, value_name = "JSON", value_parser = keywords)]
    kwargs: Option<Keywords>,
    /// The queue [default: what the routes say]
    #[arg(short, long)]
    queue: Option<String>,
    /// Not to be run before so many seconds from now
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "eta")]
    countdown: Option<Duration>,
    /// Not to be run before this time (ISO 8601; without offset in CELERY_TIMEZONE)
    #[arg(long, value_name = "TIME")]
    eta: Option<String>,
    /// Not to be run after so many seconds from now, or this time
    #[arg(long, value_name = "SECONDS|TIME")]
    expires: Option<String>,
    /// Priority; on Redis 0 is served first
    #[arg(long, value_name = "0-255", value_parser = clap::value_parser!(i64).range(0..=255))]
    priority: Option<i64>,
    /// Serializer of the message: json, msgpack or yaml
    #[arg(long, value_name = "NAME", value_parser = ["json", "msgpack", "yaml"])]
    serializer: Option<String>,
    /// Send it so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    count: u64,
    /// Wait for the result and print it
    #[arg(short, long)]
    wait: bool,
    /// How many seconds to wait [default: without end]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "wait")]
    timeout: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The value of `--args`.
#[derive(Debug, Clone, PartialEq)]
struct Arguments(Vec<Value>);

/// The value of `--kwargs`.
#[derive(Debug, Clone, PartialEq)]
struct Keywords(Map);

fn argument(text: &str) -> Result<Value, String> {
    Ok(Value::from_json(text.as_bytes()).unwrap_or_else(|_| Value::Str(text.to_owned())))
}

fn arguments(text: &str) -> Result<Arguments, String> {
    match Value::from_json(text.as_bytes()) {
        Ok(Value::List(items)) => Ok(Arguments(items)),
        Ok(_) => Err("expected a JSON array such as [2, 3]".to_owned()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

fn keywords(text: &str) -> Result<Keywords, String> {
    match Value::from_json(text.as_bytes()) {
        Ok(Value::Map(map)) => Ok(Keywords(map)),
        Ok(_) => Err("expected a JSON object such as {\"x\": 2}".to_owned()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

impl CallArgs {
    fn outgoing(&mut self, settings: &Settings) -> Result<Outgoing, Failure> {
        let mut call = Outgoing::new(self.name.as_str());
        call.args = match self.args.take() {
            Some(Arguments(items)) => items,
            None => std::mem::take(&mut self.positional),
        };
        call.kwargs = self
            .kwargs
            .take()
            .map(|Keywords(map)| map)
            .unwrap_or_default();
        call.priority = self.priority;
        call.serializer.clone_from(&self.serializer);
        if let Some(queue) = &self.queue {
            let queue = lovage_protocol::QueueName::parse(queue).map_err(|error| {
                Failure::usage(format!("the queue {queue:?} cannot be: {error}"))
            })?;
            call.queue = Some(queue);
        }
        let moment = |flag: &str, text: &str| {
            parse_iso(text, settings.timezone)
                .map(Moment::At)
                .map_err(|error| Failure::usage(format!("{flag} {text:?}: {error}")))
        };
        call.eta = match (self.countdown, &self.eta) {
            (Some(countdown), _) => Some(countdown.into()),
            (None, Some(eta)) => Some(moment("--eta", eta)?),
            (None, None) => None,
        };
        call.expires = match &self.expires {
            None => None,
            Some(text) => Some(match seconds(text) {
                Ok(after) => after.into(),
                Err(_) => moment("--expires is no number of seconds, and", text)?,
            }),
        };
        Ok(call)
    }
}

/// Runs the command.
pub(crate) async fn run(
    mut args: CallArgs,
    settings: &Settings,
    modules: &[Module],
) -> Result<u8, Failure> {
    let mut call = args.outgoing(settings)?;
    let connected = connect::once(settings, &Catalogue::specs(modules)?).await?;
    let client = &connected.client;
    if args.count > 1 {
        return many(&args, &call, &connected).await;
    }
    if !args.wait {
        let handle = client.send_outgoing::<Value>(call).await?;
        if args.json {
            output::json(&json!({"task_id": handle.id().as_str()}))?;
        } else {
            output::data(handle.id())?;
        }
        return Ok(0);
    }
    // The subscription comes first: not even the first state is missed, and a store that is away is told before sending.
    let id = TaskId::new();
    let watch = connected.results.watch(&id).await?;
    call.id = Some(id);
    client.send_outgoing::<Value>(call).await?;
    let meta = watch.ready(Some(args.timeout.unwrap_or(FOR_EVER))).await?;
    result::show(&meta, args.json)
}

/// Sends the same call many times: hundreds to a round trip.
async fn many(
    args: &CallArgs,
    call: &Outgoing,
    connected: &connect::Connected,
) -> Result<u8, Failure> {
    let client = &connected.client;
    let bar = output::progress(args.count, "sending");
    let begun = Instant::now();
    let mut ids: Vec<TaskId> = Vec::new();
    let mut left = args.count;
    while left > 0 {
        let size = left.min(u64::try_from(CHUNK).unwrap_or(u64::MAX));
        let chunk: Vec<Prepared> = (0..size)
            .map(|_| client.prepare(call))
            .collect::<Result<_, _>>()?;
        if args.wait || args.json {
            ids.extend(chunk.iter().map(|prepared| prepared.id.clone()));
        }
        client.publish(chunk).await?;
        bar.inc(size);
        left -= size;
    }
    bar.finish_and_clear();
    let sent = begun.elapsed();
    let mut report = json!({
        "sent": args.count,
        "seconds": sent.as_secs_f64(),
    });
    if !args.json {
        let rate = output::per_second(args.count, sent);
        let text = output::count(args.count, "task");
        output::line(format_args!(
            "sent {text} in {:.2} s ({rate})",
            sent.as_secs_f64()
        ))?;
    }
    let mut code = 0;
    if args.wait {
        let tally = await_all(
            &ids,
            connected.results.as_ref(),
            args.timeout.unwrap_or(FOR_EVER),
        )
        .await?;
        let total = begun.elapsed();
        code = u8::from(tally.succeeded != args.count);
        report["succeeded"] = json!(tally.succeeded);
        report["failed"] = json!(tally.failed);
        report["reasons"] = json!(tally.reasons);
        report["unfinished"] = json!(tally.unfinished);
        report["total_seconds"] = json!(total.as_secs_f64());
        if !args.json {
            let rate = output::per_second(tally.succeeded + tally.failed, total);
            output::line(tally.text(total, &rate))?;
            for line in tally.why() {
                output::error(line);
            }
        }
    }
    if args.json {
        report["ids"] = ids.iter().map(TaskId::as_str).collect();
        output::json(&report)?;
    }
    Ok(code)
}

/// What came of many tasks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    succeeded: u64,
    failed: u64,
    unfinished: u64,
    /// Why they failed, and how many of them; the first [`REASONS`] different ones.
    reasons: BTreeMap<String, u64>,
}

impl Tally {
    fn note_failure(&mut self, reason: String) {
        self.failed += 1;
        if let Some(count) = self.reasons.get_mut(&reason) {
            *count += 1;
        } else if self.reasons.len() < REASONS {
            self.reasons.insert(reason, 1);
        }
    }

    /// A line for each reason, the most frequent first.
    fn why(&self) -> Vec<String> {
        let mut reasons: Vec<(&String, &u64)> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let told: u64 = self.reasons.values().sum();
        let mut lines: Vec<String> = reasons
            .iter()
            .map(|(reason, count)| format!("{} × {reason}", output::thousands(**count)))
            .collect();
        if told < self.failed {
            let others = output::thousands(self.failed - told);
            lines.push(format!("{others} × for other reasons"));
        }
        lines
    }

    fn text(&self, total: Duration, rate: &str) -> String {
        use output::{BAD, GOOD, WARNING, thousands};
        let mut text = format!("{GOOD}{} succeeded{GOOD:#}", thousands(self.succeeded));
        if self.failed > 0 {
            text += &format!(", {BAD}{} failed{BAD:#}", thousands(self.failed));
        }
        if self.unfinished > 0 {
            text += &format!(
                ", {WARNING}{} did not end in time{WARNING:#}",
                thousands(self.unfinished)
            );
        }
        format!("{text} in {:.2} s ({rate})", total.as_secs_f64())
    }
}

/// Looks at the results of many tasks until all have ended. So many subscriptions would cost more than looking.
async fn await_all(
    ids: &[TaskId],
    results: &dyn ResultStore,
    patience: Duration,
) -> Result<Tally, Failure> {
    let bar = output::progress(u64::try_from(ids.len()).unwrap_or(u64::MAX), "waiting");
    let until = tokio::time::Instant::now() + patience;
    let mut tally = Tally::default();
    let mut waiting: Vec<TaskId> = ids.to_vec();
    while !waiting.is_empty() {
        let before = waiting.len();
        // Tasks end about in their order: when nothing of a chunk has ended, later ones have hardly either.
        let mut checked = 0;
        while checked < waiting.len() {
            let end = (checked + CHUNK).min(waiting.len());
            let found = results.load_many(&waiting[checked..end]).await?;
            let mut open = Vec::new();
            for (id, meta) in waiting[checked..end].iter().zip(found) {
                match meta.filter(|meta| meta.status.is_ready()) {
                    Some(meta) if meta.status == State::Success => tally.succeeded += 1,
                    Some(meta) => tally.note_failure(result::reason(&meta)),
                    None => open.push(id.clone()),
                }
            }
            let (ended, still) = (end - checked - open.len(), open.len());
            bar.inc(u64::try_from(ended).unwrap_or(u64::MAX));
            waiting.splice(checked..end, open);
            checked += still;
            if ended == 0 {
                break;
            }
        }
        if tokio::time::Instant::now() >= until {
            break;
        }
        if waiting.len() == before {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    bar.finish_and_clear();
    tally.unfinished = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use lovage_protocol::Value;

    use super::{REASONS, Tally, argument, arguments, keywords};

    #[test]
    fn reasons_are_counted_the_most_frequent_first_and_not_without_end() {
        let mut tally = Tally::default();
        for reason in ["rare", "often", "often"] {
            tally.note_failure(reason.to_owned());
        }
        assert_eq!(tally.why(), ["2 × often", "1 × rare"]);
        for number in 0..2 * REASONS {
            tally.note_failure(format!("{number:02}"));
        }
        let lines = tally.why();
        assert_eq!(lines.len(), REASONS + 1);
        assert_eq!(lines[REASONS], "12 × for other reasons");
    }

    #[test]
    fn arguments_are_json_or_text() {
        let check =
            |text: &str, expected: Value| assert_eq!(argument(text).unwrap(), expected, "{text}");
        check("2", Value::Int(2));
        check("-2.5", Value::Float(-2.5));
        check("true", Value::Bool(true));
        check("null", Value::Null);
        check("[1]", Value::List(vec![Value::Int(1)]));
        check("\"2\"", Value::Str("2".to_owned()));
        check("hello", Value::Str("hello".to_owned()));
        check("", Value::Str(String::new()));
        check("2 3", Value::Str("2 3".to_owned()));
        check("{bad", Value::Str("{bad".to_owned()));
    }

    #[test]
    fn whole_lists_must_be_json() {
        assert!(arguments("[1, \"a\"]").is_ok());
        assert!(arguments("1").unwrap_err().contains("array"));
        assert!(keywords("{\"x\": 1}").is_ok());
        assert!(keywords("[]").unwrap_err().contains("object"));
        assert!(keywords("{x: 1}").unwrap_err().contains("JSON"));
    }
}
