//! `CELERY_TASK_QUEUES`: which queues there are, and which exchange each hangs on (celery/app/amqp.py, `Queues`).

use std::time::Duration;

use serde_json::Value;

use crate::{
    known::nearest,
    lookup::Lookup,
    ordered::Ordered,
    parse::{self, Problem},
    variable::TASK_QUEUES,
};

/// One queue of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskQueue {
    /// Its name; of a broadcast the name of its exchange, for each worker has a queue of its own there.
    pub name: String,
    /// Another name under which `-Q` and routes may name it.
    pub alias: Option<String>,
    /// The exchange it is bound to; None: the default one.
    pub exchange: Option<String>,
    /// The kind of that exchange; None: that of the default exchange, else direct.
    pub exchange_type: Option<ExchangeType>,
    /// The key by which it is bound; None: the default one.
    pub routing_key: Option<String>,
    /// `x-expires` of its arguments: a queue that nobody uses for so long is forgotten.
    pub expires: Option<Duration>,
    /// Every worker gets each message once.
    pub broadcast: bool,
}

/// How an exchange chooses among the queues bound to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExchangeType {
    /// By equal routing keys.
    #[default]
    Direct,
    /// By the words of the routing key, among which `*` is one word and `#` any text.
    Topic,
    /// All that listen.
    Fanout,
}

impl ExchangeType {
    /// The name as Celery writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "direct" => Ok(Self::Direct),
            "topic" => Ok(Self::Topic),
            "fanout" => Ok(Self::Fanout),
            _ => Err(Problem::new(
                "is not a kind of exchange known here",
                "direct, topic or fanout",
            )),
        }
    }
}

impl TaskQueue {
    /// A queue that is bound to an exchange of its own name by a key of its own name, as Celery makes one that it is
    /// not told of.
    pub fn plain(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            alias: None,
            exchange: Some(name.clone()),
            exchange_type: Some(ExchangeType::Direct),
            routing_key: Some(name.clone()),
            expires: None,
            broadcast: false,
            name,
        }
    }

    /// Whether it goes by this name.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.alias.as_deref() == Some(name)
    }
}

/// Reads names with commas, a JSON list of names and of objects with a name, or a JSON object of name to options.
pub(crate) fn read(lookup: &mut Lookup, text: &str) -> Vec<TaskQueue> {
    if !text.starts_with(['[', '{']) {
        return parse::names(text)
            .into_iter()
            .map(TaskQueue::plain)
            .collect();
    }
    let queues = match serde_json::from_str::<Ordered>(text) {
        Ok(Ordered::Map(pairs)) => pairs
            .into_iter()
            .map(|(name, options)| of_mapping(lookup, name, options))
            .collect(),
        Ok(Ordered::List(items)) => items
            .into_iter()
            .map(|item| of_list(lookup, item))
            .collect::<Option<Vec<_>>>(),
        Ok(Ordered::Other(_)) | Err(_) => None,
    };
    let Some(queues) = queues else {
        let shown = text.chars().take(80).collect();
        let expected = r#"a,b or ["a", {"name": "b", "exchange": "c"}] or {"a": {}, "b": {}}"#;
        lookup.push_fault(TASK_QUEUES.name, shown, "is not a list of queues", expected);
        return Vec::new();
    };
    for (place, queue) in queues.iter().enumerate() {
        if queues[..place]
            .iter()
            .any(|earlier| earlier.is_called(&queue.name))
        {
            let problem = "is named twice";
            lookup.push_fault(
                TASK_QUEUES.name,
                queue.name.clone(),
                problem,
                "each queue once",
            );
        }
    }
    queues
}

/// `add_compat`: without a key of its own it is bound by its name.
fn of_mapping(lookup: &mut Lookup, name: String, options: Ordered) -> Option<TaskQueue> {
    let fields = match options {
        Ordered::Map(fields) => fields,
        Ordered::Other(Value::Null) => Vec::new(),
        Ordered::List(_) | Ordered::Other(_) => return None,
    };
    if name.is_empty() {
        return None;
    }
    let mut queue = with_fields(lookup, name, fields);
    if queue.routing_key.is_none() && !queue.broadcast {
        queue.routing_key = Some(queue.name.clone());
    }
    Some(queue)
}

fn of_list(lookup: &mut Lookup, item: Ordered) -> Option<TaskQueue> {
    match item {
        Ordered::Other(Value::String(name)) if !name.is_empty() => Some(TaskQueue::plain(name)),
        Ordered::Map(fields) => {
            let name = fields.iter().find_map(|(field, value)| match value {
                Ordered::Other(Value::String(name)) if field == "name" && !name.is_empty() => {
                    Some(name.clone())
                }
                _ => None,
            });
            Some(with_fields(lookup, name?, fields))
        }
        _ => None,
    }
}

/// What has no meaning on Redis; taken without a word, because it is on for every kombu queue.
const WITHOUT_EFFECT: [&str; 8] = [
    "durable",
    "auto_delete",
    "exclusive",
    "no_ack",
    "max_length",
    "max_priority",
    "delivery_mode",
    "exchange_durable",
];

fn with_fields(lookup: &mut Lookup, name: String, fields: Vec<(String, Ordered)>) -> TaskQueue {
    let mut queue = TaskQueue {
        name,
        alias: None,
        exchange: None,
        exchange_type: None,
        routing_key: None,
        expires: None,
        broadcast: false,
    };
    for (field, value) in fields {
        let value = value.into_value();
        match queue.set(&field, &value) {
            Ok(true) => {}
            Ok(false) => {
                let known = [
                    "exchange",
                    "exchange_type",
                    "routing_key",
                    "queue_arguments",
                    "broadcast",
                    "alias",
                ];
                let message = format!(
                    "has {field} for the queue {}, which has no effect here{}",
                    queue.name,
                    nearest(&field, known)
                );
                lookup.warn(&TASK_QUEUES, message);
            }
            Err(Problem { problem, expected }) => {
                let problem = format!("has a {field} for the queue {} that {problem}", queue.name);
                lookup.fault(&TASK_QUEUES, &value, &problem, &expected);
            }
        }
    }
    if queue.broadcast {
        // kombu/common.py: a Broadcast is a queue without a name on a fanout exchange of the name given.
        queue.exchange.get_or_insert_with(|| queue.name.clone());
        queue.exchange_type = Some(ExchangeType::Fanout);
    }
    queue
}

impl TaskQueue {
    fn set(&mut self, field: &str, value: &Value) -> Result<bool, Problem> {
        match field {
            "name" => {}
            "alias" => self.alias = text(value)?,
            "exchange" => self.exchange = text(value)?,
            "routing_key" | "binding_key" => self.routing_key = text(value)?,
            "exchange_type" => {
                self.exchange_type = text(value)?
                    .as_deref()
                    .map(ExchangeType::parse)
                    .transpose()?;
            }
            "broadcast" => {
                self.broadcast = value
                    .as_bool()
                    .ok_or_else(|| Problem::new("is not a yes or no", "true or false"))?;
            }
            "expires" => self.expires = expires(value, 1000.0)?,
            "x-expires" => self.expires = expires(value, 1.0)?,
            "queue_arguments" => match value {
                Value::Null => {}
                Value::Object(arguments) => {
                    if let Some(value) = arguments.get("x-expires") {
                        self.expires = expires(value, 1.0)?;
                    }
                }
                _ => {
                    return Err(Problem::new(
                        "is not a JSON object",
                        r#"{"x-expires": 60000}"#,
                    ));
                }
            },
            name if WITHOUT_EFFECT.contains(&name) => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A text; null and nothing at all are kombu's ways to say no.
fn text(value: &Value) -> Result<Option<String>, Problem> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        _ => Err(Problem::new("is not a text", "a text")),
    }
}

/// `per_unit`: how many milliseconds one of the unit is.
fn expires(value: &Value, per_unit: f64) -> Result<Option<Duration>, Problem> {
    if value.is_null() {
        return Ok(None);
    }
    let wrong = || {
        Problem::new(
            "is not a time",
            "a number above 0: milliseconds for x-expires",
        )
    };
    let time = value.as_f64().ok_or_else(wrong)? * per_unit / 1000.0;
    parse::seconds_of(time)
        .ok()
        .filter(|time| time.as_millis() > 0)
        .map(Some)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ExchangeType, TaskQueue};
    use crate::{Faults, Settings, Warning};

    fn read(text: &str) -> Result<(Vec<TaskQueue>, Vec<Warning>), Faults> {
        let name = "CELERY_TASK_QUEUES".to_owned();
        let (settings, warnings) = Settings::from_lookup([(name, text.to_owned())])?;
        Ok((settings.tasks.queues, warnings))
    }

    #[test]
    fn every_form_names_queues() {
        for text in ["a, b", r#"["a", "b"]"#] {
            let (queues, warnings) = read(text).unwrap();
            assert_eq!(
                queues,
                [TaskQueue::plain("a"), TaskQueue::plain("b")],
                "{text}"
            );
            assert!(warnings.is_empty());
        }
        let (queues, _) = read(r#"{"a": {"exchange": "x"}, "b": {}}"#).unwrap();
        let keys: Vec<_> = queues
            .iter()
            .map(|queue| queue.routing_key.as_deref())
            .collect();
        assert_eq!(keys, [Some("a"), Some("b")]);
        assert_eq!(queues[0].exchange.as_deref(), Some("x"));
        assert_eq!(queues[1].exchange, None, "the default one");
    }

    #[test]
    fn an_entry_says_how_it_is_bound() {
        let (queues, warnings) = read(
            r#"[{"name": "video", "exchange": "media", "exchange_type": "topic", "routing_key": "media.video.#",
                 "alias": "films", "queue_arguments": {"x-expires": 60000, "x-max-priority": 9}, "durable": true},
                {"name": "bcast", "broadcast": true}, {"name": "plain"}]"#,
        )
        .unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let [video, bcast, plain] = &queues[..] else {
            panic!("{queues:?}")
        };
        assert!(video.is_called("films") && video.is_called("video"));
        assert_eq!(video.exchange_type, Some(ExchangeType::Topic));
        assert_eq!(video.expires, Some(Duration::from_secs(60)));
        assert_eq!(bcast.exchange.as_deref(), Some("bcast"));
        assert_eq!(bcast.exchange_type, Some(ExchangeType::Fanout));
        assert_eq!((&plain.exchange, &plain.routing_key), (&None, &None));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_queue() {
        for (entry, part) in [
            (
                r#""exchange_type": "headers""#,
                "exchange_type for the queue q",
            ),
            (r#""broadcast": "yes""#, "broadcast for the queue q"),
            (r#""x-expires": 0"#, "x-expires for the queue q"),
            (r#""routing_key": 5"#, "routing_key for the queue q"),
        ] {
            let faults = read(&format!(r#"[{{"name": "q", {entry}}}]"#)).unwrap_err();
            assert!(faults.to_string().contains(part), "{faults}");
        }
        assert!(read(r#"["a", {"name": "a"}]"#).is_err(), "twice");
        for text in ["[5]", "[{}]", r#"{"a": 5}"#, "[", r#"[""]"#] {
            assert!(read(text).is_err(), "{text}");
        }
        let (_, warnings) = read(r#"[{"name": "q", "exchnge": "x"}]"#).unwrap();
        assert!(
            warnings[0].message.contains("did you mean exchange?"),
            "{warnings:?}"
        );
    }
}
