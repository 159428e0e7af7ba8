//! What holds for every task unless the task says otherwise.

use std::time::Duration;

use crate::{
    Annotations, ExchangeType, RateLimit, Route, TaskQueue, annotation,
    lookup::Lookup,
    parse::{self, Problem},
    results::compression,
    route, serializer, task_queue,
    variable::{
        ACCEPT_CONTENT, TASK_ACKS_LATE, TASK_ACKS_ON_FAILURE, TASK_ACKS_ON_FAILURE_OR_TIMEOUT,
        TASK_ACKS_ON_TIMEOUT, TASK_ANNOTATIONS, TASK_COMPRESSION, TASK_CREATE_MISSING_QUEUES,
        TASK_DEFAULT_EXCHANGE, TASK_DEFAULT_EXCHANGE_TYPE, TASK_DEFAULT_PRIORITY,
        TASK_DEFAULT_QUEUE, TASK_DEFAULT_RATE_LIMIT, TASK_DEFAULT_ROUTING_KEY, TASK_IGNORE_RESULT,
        TASK_INHERIT_PARENT_PRIORITY, TASK_PROTOCOL, TASK_QUEUES, TASK_REJECT_ON_WORKER_LOST,
        TASK_RETRY_ON_WORKER_LOST, TASK_ROUTES, TASK_SERIALIZER, TASK_SOFT_TIME_LIMIT,
        TASK_STORE_ERRORS_EVEN_IF_IGNORED, TASK_TIME_LIMIT, TASK_TRACK_STARTED,
    },
};

/// Defaults for every task, and how messages are written and routed.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSettings {
    /// `CELERY_TASK_DEFAULT_QUEUE`; default `celery`.
    pub default_queue: String,
    /// `CELERY_TASK_QUEUES`: which queues there are, and what they are bound to. Empty: the default queue alone.
    pub queues: Vec<TaskQueue>,
    /// `CELERY_TASK_CREATE_MISSING_QUEUES`: a queue that is named and not among them is made; default true.
    pub create_missing_queues: bool,
    /// `CELERY_TASK_DEFAULT_EXCHANGE`; None: named as the default queue.
    pub default_exchange: Option<String>,
    /// `CELERY_TASK_DEFAULT_EXCHANGE_TYPE`; default direct.
    pub default_exchange_type: ExchangeType,
    /// `CELERY_TASK_DEFAULT_ROUTING_KEY`; None: as the default queue.
    pub default_routing_key: Option<String>,
    /// `CELERY_TASK_ROUTES`, in the order in which they are to be tried: the first that matches counts.
    pub routes: Vec<Route>,
    /// `CELERY_TASK_DEFAULT_PRIORITY`, 0 to 255; None: messages carry 0.
    pub default_priority: Option<i64>,
    /// `CELERY_TASK_DEFAULT_RATE_LIMIT`: how often one worker starts a task without a limit of its own; None: always.
    pub default_rate_limit: Option<RateLimit>,
    /// `CELERY_TASK_ACKS_LATE`; default true (Celery: false), so that a dead worker's task is run by another.
    pub acks_late: bool,
    /// `CELERY_TASK_ACKS_ON_FAILURE`: acknowledge a task that failed; default true.
    pub acks_on_failure: bool,
    /// `CELERY_TASK_ACKS_ON_TIMEOUT`: acknowledge a task that ran out of its hard limit; default true.
    pub acks_on_timeout: bool,
    /// `CELERY_TASK_REJECT_ON_WORKER_LOST`; default true (Celery: false).
    pub reject_on_worker_lost: bool,
    /// `CELERY_TASK_RETRY_ON_WORKER_LOST`: a task whose child process died is retried; wins over the former. Default false.
    pub retry_on_worker_lost: bool,
    /// `CELERY_TASK_TRACK_STARTED`: store STARTED; default false.
    pub track_started: bool,
    /// `CELERY_TASK_IGNORE_RESULT`; default false.
    pub ignore_result: bool,
    /// `CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED`; default false.
    pub store_errors_even_if_ignored: bool,
    /// `CELERY_TASK_TIME_LIMIT`, seconds; None: no hard limit.
    pub time_limit: Option<Duration>,
    /// `CELERY_TASK_SOFT_TIME_LIMIT`, seconds; None: no soft limit.
    pub soft_time_limit: Option<Duration>,
    /// `CELERY_TASK_COMPRESSION` of messages sent; None: off.
    pub compression: Option<String>,
    /// `CELERY_TASK_SERIALIZER` of messages sent: `json`, `msgpack` or `yaml`; default json.
    pub serializer: String,
    /// `CELERY_TASK_ANNOTATIONS`: options of tasks, by name; default none.
    pub annotations: Annotations,
    /// `CELERY_ACCEPT_CONTENT`: content types a worker takes, by short name; default json alone.
    pub accept_content: Vec<String>,
    /// `CELERY_TASK_INHERIT_PARENT_PRIORITY`; default false.
    pub inherit_parent_priority: bool,
}

impl Default for TaskSettings {
    fn default() -> Self {
        Self {
            default_queue: "celery".to_owned(),
            queues: Vec::new(),
            create_missing_queues: true,
            default_exchange: None,
            default_exchange_type: ExchangeType::Direct,
            default_routing_key: None,
            routes: Vec::new(),
            default_priority: None,
            default_rate_limit: None,
            acks_late: true,
            acks_on_failure: true,
            acks_on_timeout: true,
            reject_on_worker_lost: true,
            retry_on_worker_lost: false,
            track_started: false,
            ignore_result: false,
            store_errors_even_if_ignored: false,
            time_limit: None,
            soft_time_limit: None,
            compression: None,
            serializer: "json".to_owned(),
            annotations: Annotations::default(),
            accept_content: vec!["json".to_owned()],
            inherit_parent_priority: false,
        }
    }
}

impl TaskSettings {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        lookup.set(
            &TASK_DEFAULT_QUEUE,
            &mut settings.default_queue,
            parse::text,
        );
        settings.read_queues(lookup);
        if let Some(text) = lookup.text(&TASK_ROUTES) {
            settings.routes = route::read(lookup, &text);
        }
        lookup.set(
            &TASK_DEFAULT_PRIORITY,
            &mut settings.default_priority,
            |text| parse::priority(text).map(Some),
        );
        lookup.set(
            &TASK_DEFAULT_RATE_LIMIT,
            &mut settings.default_rate_limit,
            rate_limit,
        );
        lookup.set(&TASK_ACKS_LATE, &mut settings.acks_late, parse::boolean);
        // The older setting is the default of the two that replaced it, as in Celery 5.7.
        if let Some(both) = lookup.parsed(&TASK_ACKS_ON_FAILURE_OR_TIMEOUT, parse::boolean) {
            settings.acks_on_failure = both;
            settings.acks_on_timeout = both;
        }
        lookup.set(
            &TASK_ACKS_ON_FAILURE,
            &mut settings.acks_on_failure,
            parse::boolean,
        );
        lookup.set(
            &TASK_ACKS_ON_TIMEOUT,
            &mut settings.acks_on_timeout,
            parse::boolean,
        );
        lookup.set(
            &TASK_REJECT_ON_WORKER_LOST,
            &mut settings.reject_on_worker_lost,
            parse::boolean,
        );
        lookup.set(
            &TASK_RETRY_ON_WORKER_LOST,
            &mut settings.retry_on_worker_lost,
            parse::boolean,
        );
        lookup.set(
            &TASK_TRACK_STARTED,
            &mut settings.track_started,
            parse::boolean,
        );
        lookup.set(
            &TASK_IGNORE_RESULT,
            &mut settings.ignore_result,
            parse::boolean,
        );
        let errors = &mut settings.store_errors_even_if_ignored;
        lookup.set(&TASK_STORE_ERRORS_EVEN_IF_IGNORED, errors, parse::boolean);
        lookup.set(
            &TASK_TIME_LIMIT,
            &mut settings.time_limit,
            parse::optional_seconds,
        );
        lookup.set(
            &TASK_SOFT_TIME_LIMIT,
            &mut settings.soft_time_limit,
            parse::optional_seconds,
        );
        settings.refuse_soft_above_hard(lookup);
        lookup.set(&TASK_COMPRESSION, &mut settings.compression, compression);
        lookup.set(
            &ACCEPT_CONTENT,
            &mut settings.accept_content,
            serializer::accepted,
        );
        lookup.set(
            &TASK_INHERIT_PARENT_PRIORITY,
            &mut settings.inherit_parent_priority,
            parse::boolean,
        );
        lookup.set(
            &TASK_SERIALIZER,
            &mut settings.serializer,
            serializer::written,
        );
        if let Some(text) = lookup.text(&TASK_ANNOTATIONS) {
            settings.annotations = annotation::read(lookup, &text);
        }
        lookup.parsed(&TASK_PROTOCOL, only_protocol_two);
        settings
    }

    fn read_queues(&mut self, lookup: &mut Lookup) {
        if let Some(text) = lookup.text(&TASK_QUEUES) {
            self.queues = task_queue::read(lookup, &text);
        }
        lookup.set(
            &TASK_CREATE_MISSING_QUEUES,
            &mut self.create_missing_queues,
            parse::boolean,
        );
        self.default_exchange = lookup.parsed(&TASK_DEFAULT_EXCHANGE, parse::text);
        lookup.set(
            &TASK_DEFAULT_EXCHANGE_TYPE,
            &mut self.default_exchange_type,
            ExchangeType::parse,
        );
        self.default_routing_key = lookup.parsed(&TASK_DEFAULT_ROUTING_KEY, parse::text);
    }

    fn refuse_soft_above_hard(&self, lookup: &mut Lookup) {
        if let (Some(soft), Some(hard)) = (self.soft_time_limit, self.time_limit)
            && soft > hard
        {
            lookup.push_fault(
                TASK_SOFT_TIME_LIMIT.name,
                soft.as_secs_f64().to_string(),
                "is above the hard limit, CELERY_TASK_TIME_LIMIT",
                &format!("at most {}", hard.as_secs_f64()),
            );
        }
    }
}

fn rate_limit(text: &str) -> Result<Option<RateLimit>, Problem> {
    RateLimit::read(&text.into())
}

fn only_protocol_two(text: &str) -> Result<(), Problem> {
    if text == "2" {
        return Ok(());
    }
    Err(Problem::new(
        "is not a message protocol that Lovage writes",
        "2",
    ))
}
