//! Messages that could not be run.

use chrono::{DateTime, TimeDelta, Utc};
use lovage_database::store::dead_letter::{self, Filter};
use lovage_protocol::{DecodeOptions, Message, Value as Carried};
use poem_openapi::{Enum, Object};
use serde_json::Value;

use crate::plain;

/// A message that could not be run.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "DeadLetter")]
pub(crate) struct Letter {
    /// Its id among the dead letters: a number in the database, another text while it is at the broker.
    pub(crate) id: String,
    /// Why, for programs: `undecodable`, `unknown-task`, `died`, `rejected` and others.
    pub(crate) reason: String,
    /// Why, for people.
    pub(crate) detail: String,
    /// Its task, when that can be read.
    pub(crate) task: Option<String>,
    /// The Celery id of its task.
    pub(crate) task_id: Option<String>,
    /// The queue that it came from.
    pub(crate) queue: String,
    /// The worker that gave it up.
    pub(crate) worker: Option<String>,
    /// Where its task failed, when that is known.
    pub(crate) traceback: Option<String>,
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// What became of it.
    pub(crate) state: LetterState,
    /// Something else is sent when it is sent again.
    pub(crate) edited: bool,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum LetterState {
    /// Nobody has decided.
    Waiting,
    /// It was sent again.
    Replayed,
    /// It was given up.
    Discarded,
}

impl Letter {
    pub(crate) fn at_broker(letter: &lovage_broker::DeadLetter) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "microseconds of a time that is checked to lie within the calendar"
        )]
        let micros = (letter.at.clamp(0.0, 250_000_000_000.0) * 1e6) as i64;
        Self {
            id: letter.id.clone(),
            reason: letter.reason.code.clone(),
            detail: letter.reason.detail.clone(),
            task: letter.reason.task.clone(),
            task_id: letter.reason.task_id.clone(),
            queue: letter.queue.clone(),
            worker: Some(letter.node.clone()),
            traceback: None,
            at: DateTime::UNIX_EPOCH + TimeDelta::microseconds(micros),
            state: LetterState::Waiting,
            edited: false,
        }
    }

    pub(crate) fn in_database(letter: &dead_letter::DeadLetter) -> Self {
        let died = letter.died.clone();
        Self {
            id: letter.id.to_string(),
            reason: died.code,
            detail: died.detail,
            task: died.task,
            task_id: died.task_id,
            queue: died.queue,
            worker: died.worker,
            traceback: died.traceback,
            at: died.died_at,
            state: match letter.fate {
                dead_letter::Fate::Waiting => LetterState::Waiting,
                dead_letter::Fate::Replayed => LetterState::Replayed,
                dead_letter::Fate::Discarded => LetterState::Discarded,
            },
            edited: letter.edited.is_some(),
        }
    }
}

/// Messages that could not be run, the latest first.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct LetterPage {
    /// This page's; the first has those too that are still at the broker.
    pub(crate) letters: Vec<Letter>,
    /// Gets the next page; null on the last.
    pub(crate) next: Option<i64>,
}

/// A message that could not be run, with itself.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "DeadLetterMessage")]
pub(crate) struct LetterWhole {
    /// What is known of it.
    pub(crate) letter: Letter,
    /// Its arguments; null when they cannot be read.
    pub(crate) args: Value,
    /// Its keyword arguments; null when they cannot be read.
    pub(crate) kwargs: Value,
    /// What is sent when it is sent again, as text; what is not UTF-8 is replaced.
    pub(crate) message: String,
}

impl LetterWhole {
    pub(crate) fn of(letter: Letter, raw: &[u8]) -> Self {
        let body = Message::parse(raw)
            .ok()
            .and_then(|message| message.decode_body(&DecodeOptions::default()).ok());
        let (args, kwargs) = match body {
            Some(body) => (
                plain::json(&body.args),
                plain::json(&Carried::Map(body.kwargs)),
            ),
            None => (Value::Null, Value::Null),
        };
        Self {
            letter,
            args,
            kwargs,
            message: String::from_utf8_lossy(raw).into_owned(),
        }
    }
}

/// What is to be sent instead.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "DeadLetterEdit", deny_unknown_fields)]
pub(crate) struct LetterEdit {
    /// The whole envelope, as `message` shows it.
    #[oai(validator(min_length = 2))]
    pub(crate) message: String,
}

/// Which dead letters. Everything given must hold; of a list, one of it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "DeadLetterFilter", deny_unknown_fields)]
pub(crate) struct LetterFilter {
    /// Why, such as `unknown-task`.
    #[oai(validator(max_items = 20))]
    pub(crate) reasons: Option<Vec<String>>,
    /// Their tasks.
    #[oai(validator(max_items = 100))]
    pub(crate) tasks: Option<Vec<String>>,
    /// The queues that they came from.
    #[oai(validator(max_items = 100))]
    pub(crate) queues: Option<Vec<String>>,
    /// A part of task, task id, detail or traceback.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub(crate) text: Option<String>,
}

impl LetterFilter {
    /// Whether it takes one that is still at the broker.
    pub(crate) fn takes(&self, letter: &lovage_broker::DeadLetter) -> bool {
        let one_of = |wanted: &Option<Vec<String>>, found: Option<&str>| {
            let wanted = wanted.as_deref().unwrap_or_default();
            wanted.is_empty() || wanted.iter().any(|one| Some(one.as_str()) == found)
        };
        let reason = &letter.reason;
        let text = self.text.as_ref().is_none_or(|text| {
            let text = text.to_lowercase();
            [
                Some(&reason.detail),
                reason.task.as_ref(),
                reason.task_id.as_ref(),
            ]
            .into_iter()
            .flatten()
            .any(|part| part.to_lowercase().contains(&text))
        });
        text && one_of(&self.reasons, Some(&reason.code))
            && one_of(&self.tasks, reason.task.as_deref())
            && one_of(&self.queues, Some(&letter.queue))
    }
}

impl From<LetterFilter> for Filter {
    fn from(filter: LetterFilter) -> Self {
        Self {
            codes: filter.reasons.unwrap_or_default(),
            tasks: filter.tasks.unwrap_or_default(),
            queues: filter.queues.unwrap_or_default(),
            text: filter.text,
            ..Self::default()
        }
    }
}
