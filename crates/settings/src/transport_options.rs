//! kombu's options for Redis (kombu/transport/redis.py): peers must agree on them or lose each other's messages.

use std::time::Duration;

use serde_json::Value;

use crate::{
    SentinelOptions,
    known::nearest,
    lookup::Lookup,
    parse::{self, Problem},
    secret::MASK,
    variable::{BROKER_TRANSPORT_OPTIONS, Variable},
};

/// `CELERY_BROKER_TRANSPORT_OPTIONS`, a JSON object; names and defaults are kombu's.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportOptions {
    /// `visibility_timeout`, seconds: after it a Python worker's unfinished delivery goes back. Default 3600 s.
    pub visibility_timeout: Duration,
    /// `priority_steps`, ascending from 0. Default 0, 3, 6, 9.
    pub priority_steps: Vec<u8>,
    /// `sep`, between a queue's name and its step, and in binding members. Default the bytes 6 and 22.
    pub sep: String,
    /// `queue_order_strategy`. Default round robin.
    pub queue_order_strategy: QueueOrder,
    /// `unacked_key`. Default `unacked`.
    pub unacked_key: String,
    /// `unacked_index_key`. Default `unacked_index`.
    pub unacked_index_key: String,
    /// `unacked_mutex_key`. Default `unacked_mutex`.
    pub unacked_mutex_key: String,
    /// `unacked_mutex_expire`, seconds. Default 300 s.
    pub unacked_mutex_expire: Duration,
    /// `unacked_restore_limit`: how many deliveries one sweep gives back; None: all.
    pub unacked_restore_limit: Option<usize>,
    /// `global_keyprefix`, before every key and channel. Default none.
    pub global_keyprefix: String,
    /// `fanout_prefix`, before channels. Default `/<database>.`.
    pub fanout_prefix: FanoutPrefix,
    /// `fanout_patterns`: channels end in the routing key. Default true.
    pub fanout_patterns: bool,
    /// `socket_timeout`, seconds: how long an answer may take; None: the broker's own choice.
    pub socket_timeout: Option<Duration>,
    /// `socket_connect_timeout`, seconds; None: `CELERY_BROKER_CONNECTION_TIMEOUT`.
    pub socket_connect_timeout: Option<Duration>,
    /// `master_name`, `min_other_sentinels`, `sentinel_kwargs`: how a `sentinel://` broker is asked for.
    pub sentinel: SentinelOptions,
    /// `sentinel_fanout_compat`: with `sentinel://`, fanout also uses the channels of kombu before 5.4. Default false.
    pub sentinel_fanout_compat: bool,
}

/// In which order a consumer looks at its queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueOrder {
    /// Each queue has its turn.
    #[default]
    RoundRobin,
    /// As given: a later queue waits while an earlier one holds anything.
    Priority,
    /// By name: a later queue waits while an earlier one holds anything.
    Sorted,
}

/// What stands before the exchange in a channel's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FanoutPrefix {
    /// `/<database>.`
    #[default]
    Default,
    /// Nothing, as before kombu 4.
    Off,
    /// This text, where `{db}` stands for the database number. Begins with a slash and ends with a full stop.
    Custom(String),
}

impl FanoutPrefix {
    /// The prefix before the database is put in.
    pub fn template(&self) -> String {
        match self {
            Self::Default => "/{db}.".to_owned(),
            Self::Off => String::new(),
            Self::Custom(text) => text.clone(),
        }
    }

    /// The prefix for a logical database.
    pub fn text(&self, database: i64) -> String {
        match self {
            Self::Default => format!("/{database}."),
            Self::Off => String::new(),
            Self::Custom(text) => text.replace("{db}", &database.to_string()),
        }
    }
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_secs(3600),
            priority_steps: vec![0, 3, 6, 9],
            sep: "\x06\x16".to_owned(),
            queue_order_strategy: QueueOrder::RoundRobin,
            unacked_key: "unacked".to_owned(),
            unacked_index_key: "unacked_index".to_owned(),
            unacked_mutex_key: "unacked_mutex".to_owned(),
            unacked_mutex_expire: Duration::from_secs(300),
            unacked_restore_limit: None,
            global_keyprefix: String::new(),
            fanout_prefix: FanoutPrefix::Default,
            fanout_patterns: true,
            socket_timeout: None,
            socket_connect_timeout: None,
            sentinel: SentinelOptions::default(),
            sentinel_fanout_compat: false,
        }
    }
}

/// Options that are read here.
const OPTIONS: [&str; 18] = [
    "visibility_timeout",
    "priority_steps",
    "sep",
    "queue_order_strategy",
    "unacked_key",
    "unacked_index_key",
    "unacked_mutex_key",
    "unacked_mutex_expire",
    "unacked_restore_limit",
    "global_keyprefix",
    "fanout_prefix",
    "fanout_patterns",
    "socket_timeout",
    "socket_connect_timeout",
    "master_name",
    "min_other_sentinels",
    "sentinel_kwargs",
    "sentinel_fanout_compat",
];

/// kombu's options that change nothing that a peer could see, taken without a word: Lovage has one pipelined connection
/// where kombu has a pool, keeps it alive itself, and sweeps at its own pace.
const WITHOUT_EFFECT: [&str; 14] = [
    "max_connections",
    "health_check_interval",
    "retry_on_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
    "client_name",
    "polling_interval",
    "brpop_timeout",
    "unacked_restore_interval",
    "unacked_restore_throttle",
    "max_retries",
    "interval_start",
    "interval_step",
    "interval_max",
];

pub(crate) fn read(lookup: &mut Lookup, text: &str) -> TransportOptions {
    let mut options = TransportOptions::default();
    let Some(object) = lookup.object(&BROKER_TRANSPORT_OPTIONS, text) else {
        return options;
    };
    for (name, value) in object {
        match options.set(&name, &value) {
            Ok(true) => {}
            Ok(false) => warn(lookup, &name, &value),
            Err(wrong) => fault(lookup, &BROKER_TRANSPORT_OPTIONS, &name, &value, &wrong),
        }
    }
    options
}

/// A fault of one option; what may hold a password is not shown.
pub(crate) fn fault(
    lookup: &mut Lookup,
    variable: &'static Variable,
    name: &str,
    value: &Value,
    Problem { problem, expected }: &Problem,
) {
    let problem = format!("{name} {problem}");
    if name == "sentinel_kwargs" {
        lookup.push_fault(variable.name, MASK.to_owned(), &problem, expected);
    } else {
        lookup.fault(variable, value, &problem, expected);
    }
}

fn warn(lookup: &mut Lookup, name: &str, value: &Value) {
    let message = match name {
        name if WITHOUT_EFFECT.contains(&name) => return,
        "ack_emulation" if value.as_bool() == Some(true) => return,
        "ack_emulation" => {
            "has ack_emulation off, which has no effect here: every delivery is recorded".to_owned()
        }
        name => format!(
            "has the option {name}, which has no effect here{}",
            nearest(name, OPTIONS)
        ),
    };
    lookup.warn(&BROKER_TRANSPORT_OPTIONS, message);
}

impl TransportOptions {
    /// Sets one option; false when nothing here has that name.
    fn set(&mut self, name: &str, value: &Value) -> Result<bool, Problem> {
        match name {
            "visibility_timeout" => self.visibility_timeout = above_zero(value)?,
            "priority_steps" => self.priority_steps = steps(value)?,
            "sep" => self.sep = filled(value)?,
            "queue_order_strategy" => self.queue_order_strategy = order(value)?,
            "unacked_key" => self.unacked_key = filled(value)?,
            "unacked_index_key" => self.unacked_index_key = filled(value)?,
            "unacked_mutex_key" => self.unacked_mutex_key = filled(value)?,
            "unacked_mutex_expire" => self.unacked_mutex_expire = above_zero(value)?,
            "unacked_restore_limit" => self.unacked_restore_limit = limit(value)?,
            "global_keyprefix" => self.global_keyprefix = plain(value)?,
            "fanout_prefix" => self.fanout_prefix = prefix(value)?,
            "fanout_patterns" => self.fanout_patterns = flag(value)?,
            "socket_timeout" => self.socket_timeout = timeout(value)?,
            "socket_connect_timeout" => self.socket_connect_timeout = timeout(value)?,
            "sentinel_fanout_compat" => self.sentinel_fanout_compat = flag(value)?,
            _ => return self.sentinel.set(name, value),
        }
        Ok(true)
    }
}

fn seconds(value: &Value) -> Result<Duration, Problem> {
    let number = value
        .as_f64()
        .ok_or_else(|| Problem::new("is not a number of seconds", "a number such as 3600"))?;
    parse::seconds_of(number)
}

fn above_zero(value: &Value) -> Result<Duration, Problem> {
    let duration = seconds(value)?;
    if duration.is_zero() {
        return Err(Problem::new("is zero", "a number of seconds above 0"));
    }
    Ok(duration)
}

fn timeout(value: &Value) -> Result<Option<Duration>, Problem> {
    if value.is_null() {
        Ok(None)
    } else {
        above_zero(value).map(Some)
    }
}

fn flag(value: &Value) -> Result<bool, Problem> {
    value
        .as_bool()
        .ok_or_else(|| Problem::new("is not a yes or no", "true or false"))
}

fn plain(value: &Value) -> Result<String, Problem> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Problem::new("is not a text", "a text"))
}

fn filled(value: &Value) -> Result<String, Problem> {
    plain(value)
        .ok()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Problem::new("is not a text", "a text, not empty"))
}

fn limit(value: &Value) -> Result<Option<usize>, Problem> {
    if value.is_null() {
        return Ok(None);
    }
    match value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
    {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => Err(Problem::new(
            "is not a number of messages",
            "a whole number above 0, or null",
        )),
    }
}

fn order(value: &Value) -> Result<QueueOrder, Problem> {
    match value.as_str() {
        Some("round_robin") => Ok(QueueOrder::RoundRobin),
        Some("priority") => Ok(QueueOrder::Priority),
        Some("sorted") => Ok(QueueOrder::Sorted),
        _ => Err(Problem::new(
            "is not an order",
            "\"round_robin\", \"priority\" or \"sorted\"",
        )),
    }
}

fn prefix(value: &Value) -> Result<FanoutPrefix, Problem> {
    match value {
        Value::Bool(true) => Ok(FanoutPrefix::Default),
        Value::Bool(false) => Ok(FanoutPrefix::Off),
        Value::String(text) if text.is_empty() => Ok(FanoutPrefix::Off),
        // Receivers, Python's too, find the exchange by cutting after the first full stop.
        Value::String(text) if text.starts_with('/') && text.ends_with('.') => {
            Ok(FanoutPrefix::Custom(text.clone()))
        }
        _ => Err(Problem::new(
            "is not a prefix",
            "true, false or a text from a / to a .",
        )),
    }
}

fn steps(value: &Value) -> Result<Vec<u8>, Problem> {
    let wrong = || {
        Problem::new(
            "is not a list of steps",
            "ascending whole numbers from 0 to at most 9, such as [0, 3, 6, 9]",
        )
    };
    let steps = value
        .as_array()
        .ok_or_else(wrong)?
        .iter()
        .map(|step| {
            step.as_u64()
                .and_then(|step| u8::try_from(step).ok())
                .filter(|step| *step <= 9)
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(wrong)?;
    if steps.first() != Some(&0) || !steps.is_sorted_by(|a, b| a < b) {
        return Err(wrong());
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FanoutPrefix, QueueOrder, TransportOptions};
    use crate::{Faults, Settings, Warning};

    fn read(text: &str) -> Result<(TransportOptions, Vec<Warning>), Faults> {
        let name = "CELERY_BROKER_TRANSPORT_OPTIONS".to_owned();
        let (settings, warnings) = Settings::from_lookup([(name, text.to_owned())])?;
        Ok((settings.broker.options, warnings))
    }

    #[test]
    fn every_option_is_read() {
        let (options, warnings) = read(
            r#"{"visibility_timeout": 43200, "priority_steps": [0, 5], "sep": ":",
                "queue_order_strategy": "priority", "unacked_key": "a", "unacked_index_key": "b",
                "unacked_mutex_key": "c", "unacked_mutex_expire": 1.5, "unacked_restore_limit": 7,
                "global_keyprefix": "pre.", "fanout_prefix": "/x{db}.", "fanout_patterns": false,
                "socket_timeout": 2, "socket_connect_timeout": null, "max_connections": 20}"#,
        )
        .unwrap();
        assert_eq!(
            options,
            TransportOptions {
                visibility_timeout: Duration::from_secs(43_200),
                priority_steps: vec![0, 5],
                sep: ":".to_owned(),
                queue_order_strategy: QueueOrder::Priority,
                unacked_key: "a".to_owned(),
                unacked_index_key: "b".to_owned(),
                unacked_mutex_key: "c".to_owned(),
                unacked_mutex_expire: Duration::from_millis(1500),
                unacked_restore_limit: Some(7),
                global_keyprefix: "pre.".to_owned(),
                fanout_prefix: FanoutPrefix::Custom("/x{db}.".to_owned()),
                fanout_patterns: false,
                socket_timeout: Some(Duration::from_secs(2)),
                socket_connect_timeout: None,
                ..TransportOptions::default()
            }
        );
        assert_eq!(warnings, []);
    }

    #[test]
    fn an_unknown_option_is_a_warning_with_the_nearest_name() {
        let (_, warnings) = read(r#"{"visibilty_timeout": 5, "stream_name": "x"}"#).unwrap();
        let messages: Vec<_> = warnings
            .iter()
            .map(|warning| warning.message.as_str())
            .collect();
        assert_eq!(
            messages,
            [
                "has the option stream_name, which has no effect here",
                "has the option visibilty_timeout, which has no effect here; did you mean visibility_timeout?",
            ]
        );
    }

    #[test]
    fn a_wrong_type_is_a_fault_that_names_the_option() {
        for (name, value) in [
            ("visibility_timeout", r#""1h""#),
            ("visibility_timeout", "0"),
            ("visibility_timeout", "1e300"),
            ("priority_steps", "[3, 6]"),
            ("priority_steps", "[0, 6, 3]"),
            ("priority_steps", "[0, 10]"),
            ("priority_steps", "[]"),
            ("sep", r#""""#),
            ("queue_order_strategy", r#""random""#),
            ("fanout_prefix", r#""no-slash""#),
            ("fanout_patterns", "1"),
            ("unacked_restore_limit", "-1"),
        ] {
            let faults = read(&format!(r#"{{"{name}": {value}}}"#)).unwrap_err().0;
            assert_eq!(faults.len(), 1, "{name} {value}");
            assert!(faults[0].problem.starts_with(name), "{:?}", faults[0]);
        }
        assert_eq!(
            read("[1]").unwrap_err().0[0].problem,
            "is not a JSON object"
        );
        assert_eq!(
            read("{oops").unwrap_err().0[0].problem,
            "is not JSON (line 1, column 2)"
        );
    }

    #[test]
    fn the_prefix_of_channels_has_three_forms() {
        assert_eq!(FanoutPrefix::Default.text(3), "/3.");
        assert_eq!(FanoutPrefix::Off.text(3), "");
        assert_eq!(FanoutPrefix::Custom("/x{db}.".to_owned()).text(3), "/x3.");
    }
}
