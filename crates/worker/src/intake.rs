//! What to do with a message that came: the order of the checks is Celery's (`celery/worker/strategy.py`,
//! `celery/worker/request.py`), the decision is data.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lovage_broker::{Delivery, Reason};
use lovage_protocol::{
    Body, DecodeError, DecodeOptions, Extended, Headers, Message, Serializer, TaskMeta, Value, time,
};
use lovage_settings::Settings;

use crate::attempt::{Job, Shared};

/// What to do with a message.
pub(crate) enum Intake {
    /// Run it.
    Run(Box<Job>),
    /// It cannot be read: to the dead letters.
    Refuse(Reason),
    /// Not before this unix time.
    Delay(f64, Arc<Message>),
    /// Its time is over, or somebody revoked it: why, in Celery's word.
    NotRun(&'static str, Arc<Message>, Box<Body>),
    /// No such task here.
    Unknown(Arc<Message>),
}

/// What is taken, and how much of it.
pub(crate) fn decode_options(settings: &Settings) -> DecodeOptions {
    let accept = settings
        .tasks
        .accept_content
        .iter()
        .filter_map(|name| Serializer::from_name(name))
        .collect();
    DecodeOptions {
        accept,
        max_decompressed: settings.worker.max_message_bytes,
    }
}

/// Reads a message and decides.
pub(crate) fn read(shared: &Shared, delivery: &Delivery, now: DateTime<Utc>) -> Intake {
    if delivery.raw.len() > shared.decode.max_decompressed {
        return Intake::Refuse(too_large(
            delivery.raw.len(),
            shared.decode.max_decompressed,
        ));
    }
    let mut message = match Message::parse_with(&delivery.raw, &shared.decode) {
        Ok(message) => message,
        Err(error) => return Intake::Refuse(reason(&error, None)),
    };
    let Some(task) = shared.catalogue.get(message.headers.task.as_str()) else {
        return Intake::Unknown(Arc::new(message));
    };
    let body = match message.decode_body(&shared.decode) {
        Ok(body) => body,
        Err(error) => return Intake::Refuse(reason(&error, Some(&message))),
    };
    shared.announcer.describe(&mut message, &body);
    let expires = match moment(shared, message.headers.expires.as_deref()) {
        Ok(expires) => expires,
        Err(text) => return Intake::Refuse(invalid(&message, "expires", &text)),
    };
    if let Some(why) = not_to_run(shared, &message.headers, expires, now) {
        return Intake::NotRun(why, Arc::new(message), Box::new(body));
    }
    let mut not_before = None;
    match moment(shared, message.headers.eta.as_deref()) {
        Ok(Some(eta)) if eta > now => {
            // Others of its key are duplicates from now on.
            if task
                .gate
                .as_ref()
                .is_none_or(|gate| !gate.comes_before_its_time())
            {
                return Intake::Delay(unix(eta), Arc::new(message));
            }
            not_before = Some(unix(eta));
        }
        Ok(_) => {}
        Err(text) => return Intake::Refuse(invalid(&message, "eta", &text)),
    }
    Intake::Run(Box::new(Job {
        task: Arc::clone(task),
        message: Arc::new(message),
        body,
        expires,
        not_before,
        token: None,
    }))
}

/// Why the task is not to be run, if it is not: `expired` or `revoked`, in this order (`celery/worker/request.py`).
pub(crate) fn not_to_run(
    shared: &Shared,
    headers: &Headers,
    expires: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<&'static str> {
    if expires.is_some_and(|expires| expires <= now) {
        Some("expired")
    } else {
        shared.revoked.has(headers).then_some("revoked")
    }
}

fn too_large(bytes: usize, limit: usize) -> Reason {
    Reason {
        code: "too-large".to_owned(),
        detail: format!("the message has {bytes} bytes, LOVAGE_MAX_MESSAGE_BYTES allows {limit}"),
        task: None,
        task_id: None,
    }
}

fn moment(shared: &Shared, text: Option<&str>) -> Result<Option<DateTime<Utc>>, String> {
    text.map(|text| time::parse_iso(text, shared.settings.timezone))
        .transpose()
        .map_err(|error| error.to_string())
}

pub(crate) fn unix(at: DateTime<Utc>) -> f64 {
    crate::unknown::unix(at)
}

fn invalid(message: &Message, header: &str, text: &str) -> Reason {
    crate::policy::dead_letter(message, "invalid", &format!("header `{header}`: {text}"))
}

fn reason(error: &DecodeError, message: Option<&Message>) -> Reason {
    let headers = message.map(|message| &message.headers);
    Reason {
        code: error.code().to_owned(),
        detail: error.to_string(),
        task: error
            .task()
            .map(|task| task.as_str().to_owned())
            .or_else(|| headers.map(|headers| headers.task.as_str().to_owned())),
        task_id: error
            .task_id()
            .map(|id| id.as_str().to_owned())
            .or_else(|| headers.map(|headers| headers.id.as_str().to_owned())),
    }
}

/// Adds what `result_extended` asks for.
pub(crate) fn extend(shared: &Shared, message: &Message, body: Option<&Body>, meta: &mut TaskMeta) {
    if !shared.settings.results.extended {
        return;
    }
    let headers = &message.headers;
    meta.extended = Some(Extended {
        name: Some(headers.task.as_str().to_owned()),
        args: body.map_or(Value::Null, |body| body.args.clone()),
        kwargs: body.map_or(Value::Null, |body| Value::Map(body.kwargs.clone())),
        worker: Some(shared.hostname.as_ref().to_owned()),
        retries: Some(i64::from(headers.retries)),
        queue: Some(message.properties.delivery_info.routing_key.clone()),
        stamped_headers: headers.stamped_headers.clone(),
        stamps: headers.stamps.clone(),
    });
}
