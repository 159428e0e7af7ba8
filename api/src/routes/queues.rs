//! Queues: what waits in them, and who takes it.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use lovage_flower_compat::{pause_queue, resume_queue};
use lovage_protocol::QueueName;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use crate::{
    app::App,
    audit::Target,
    auth::{Caller, Identity, Origin, permission::needs},
    fleet::Census,
    problem::{Code, Problem},
    routes::{Part, health::routed_queues, workers::census},
    schema::fleet::{
        Paused, Peeked, PriorityDepth, Purged, Queue, QueueList, QueuedMessage, Replies,
    },
    sending::{reach, sender},
};

#[derive(Debug)]
pub(crate) struct QueuesApi;

#[derive(Debug, ApiResponse)]
enum ListResponse {
    /// The queues.
    #[oai(status = 200)]
    Ok(Json<QueueList>),
}

#[derive(Debug, ApiResponse)]
enum ShowResponse {
    /// The queue. One that nobody has sent to is empty.
    #[oai(status = 200)]
    Ok(Json<Queue>),
}

#[derive(Debug, ApiResponse)]
enum PeekResponse {
    /// The messages.
    #[oai(status = 200)]
    Ok(Json<Peeked>),
}

#[derive(Debug, ApiResponse)]
enum PurgeResponse {
    /// They are gone.
    #[oai(status = 200)]
    Ok(Json<Purged>),
}

#[derive(Debug, ApiResponse)]
enum PauseResponse {
    /// How it stands now.
    #[oai(status = 200)]
    Ok(Json<Paused>),
}

#[OpenApi(prefix_path = "/api/v1/queues", tag = "Part::Queues")]
impl QueuesApi {
    /// List queues
    #[oai(path = "/", method = "get", operation_id = "list_queues")]
    async fn list(
        &self,
        caller: Caller<needs::QueuesRead>,
        app: Data<&Arc<App>>,
    ) -> Result<ListResponse, Problem> {
        let census = census(app.0).await?;
        let mut names = routed_queues(app.0);
        names.extend(census.consumers.keys().cloned());
        let paused = app.broker().pauses().paused().await.map_err(broker)?;
        names.extend(paused.iter().map(|queue| queue.as_str().to_owned()));
        let mut queues = Vec::with_capacity(names.len());
        for name in names {
            if caller.reaches_queue(&name)
                && let Ok(queue) = QueueName::parse(&name)
            {
                queues.push(look(app.0, &census, &paused, &queue).await?);
            }
        }
        Ok(ListResponse::Ok(Json(QueueList { queues })))
    }

    /// Show a queue
    #[oai(path = "/:name", method = "get", operation_id = "show_queue")]
    async fn show(
        &self,
        caller: Caller<needs::QueuesRead>,
        app: Data<&Arc<App>>,
        /// The queue.
        name: Path<String>,
    ) -> Result<ShowResponse, Problem> {
        let queue = named(&caller, &name.0)?;
        let census = census(app.0).await?;
        let paused = app.broker().pauses().paused().await.map_err(broker)?;
        Ok(ShowResponse::Ok(Json(
            look(app.0, &census, &paused, &queue).await?,
        )))
    }

    /// Look at the messages that are served next
    ///
    /// They stay where they are. A key does not see those of tasks that it is not for.
    #[oai(path = "/:name/messages", method = "get", operation_id = "peek_queue")]
    async fn peek(
        &self,
        caller: Caller<needs::QueuesRead>,
        app: Data<&Arc<App>>,
        /// The queue.
        name: Path<String>,
        /// So many at most.
        #[oai(
            default = "few",
            validator(minimum(value = "1"), maximum(value = "100"))
        )]
        limit: Query<u64>,
    ) -> Result<PeekResponse, Problem> {
        let queue = named(&caller, &name.0)?;
        let most = usize::try_from(limit.0).unwrap_or(100);
        let found = app.broker().peek(&queue, most).await.map_err(broker)?;
        let within = |raw: &&Bytes| reach::require_message(&caller, &name.0, raw).is_ok();
        let messages = found.iter().filter(within);
        let messages = messages.map(|raw| QueuedMessage::of(raw)).collect();
        Ok(PeekResponse::Ok(Json(Peeked { messages })))
    }

    /// Drop all messages that wait in a queue
    ///
    /// There is no way back. What workers hold already is not touched. A key that is for some tasks only cannot do it.
    #[oai(path = "/:name/purge", method = "post", operation_id = "purge_queue")]
    async fn purge(
        &self,
        caller: Caller<needs::QueuesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The queue.
        name: Path<String>,
    ) -> Result<PurgeResponse, Problem> {
        let queue = named(&caller, &name.0)?;
        caller.require_all_tasks()?;
        let purged = app.broker().purge(&queue).await.map_err(broker)?;
        let detail = serde_json::json!({"purged": purged});
        note(app.0, &caller, &origin, "queue.purge", &name.0, detail).await?;
        Ok(PurgeResponse::Ok(Json(Purged { purged })))
    }

    /// Have nobody take from a queue
    ///
    /// It holds until it is resumed, also for workers that start later and over restarts of the API. Workers of Lovage stop
    /// within a second. Python's are told to consume it no longer; one of those that starts later knows nothing of it.
    #[oai(path = "/:name/pause", method = "post", operation_id = "pause_queue")]
    async fn pause(
        &self,
        caller: Caller<needs::QueuesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The queue.
        name: Path<String>,
    ) -> Result<PauseResponse, Problem> {
        let queue = named(&caller, &name.0)?;
        caller.require_all_tasks()?;
        let told = pause_queue(app.broker(), app.fleet().control(), &queue).await;
        let replies = Replies::of(told.map_err(broker)?);
        app.fleet().forget().await;
        let detail = serde_json::json!({"told": replies.replies.keys().collect::<Vec<_>>()});
        note(app.0, &caller, &origin, "queue.pause", &name.0, detail).await?;
        Ok(PauseResponse::Ok(Json(Paused {
            paused: true,
            told: replies.replies,
        })))
    }

    /// Have workers take from a queue again
    #[oai(path = "/:name/resume", method = "post", operation_id = "resume_queue")]
    async fn resume(
        &self,
        caller: Caller<needs::QueuesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The queue.
        name: Path<String>,
    ) -> Result<PauseResponse, Problem> {
        let queue = named(&caller, &name.0)?;
        caller.require_all_tasks()?;
        let told = resume_queue(app.broker(), app.fleet().control(), &queue).await;
        let told = told.map_err(broker)?.ok_or_else(|| {
            Problem::new(Code::Conflict, format!("the queue {queue} is not paused"))
        })?;
        let replies = Replies::of(told);
        app.fleet().forget().await;
        let detail = serde_json::json!({"told": replies.replies.keys().collect::<Vec<_>>()});
        note(app.0, &caller, &origin, "queue.resume", &name.0, detail).await?;
        Ok(PauseResponse::Ok(Json(Paused {
            paused: false,
            told: replies.replies,
        })))
    }
}

fn few() -> u64 {
    10
}

async fn look(
    app: &App,
    census: &Census,
    paused: &BTreeSet<QueueName>,
    queue: &QueueName,
) -> Result<Queue, Problem> {
    let steps = app.broker().depth_by_priority(queue).await;
    let steps = steps.map_err(broker)?;
    let head = app.broker().peek(queue, 1).await.map_err(broker)?;
    let name = queue.as_str();
    let consumers: Option<&BTreeSet<String>> = census.consumers.get(name);
    Ok(Queue {
        name: name.to_owned(),
        messages: steps.iter().map(|(_, messages)| messages).sum(),
        by_priority: steps
            .into_iter()
            .map(|(priority, messages)| PriorityDepth { priority, messages })
            .collect(),
        consumers: consumers.into_iter().flatten().cloned().collect(),
        paused: paused.contains(queue),
        routed: routed_queues(app).contains(name),
        head_waits_seconds: app.heads().seen(name, head.first()),
    })
}

fn named(caller: &Identity, name: &str) -> Result<QueueName, Problem> {
    let queue = QueueName::parse(name)
        .map_err(|error| Problem::invalid(format!("the queue {name:?} cannot be: {error}")))?;
    caller.require_queue(name)?;
    Ok(queue)
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn broker(error: lovage_broker::Error) -> Problem {
    sender::broker_problem(&error)
}

async fn note(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    action: &str,
    queue: &str,
    detail: serde_json::Value,
) -> Result<(), Problem> {
    let target = Target {
        kind: "queue",
        id: queue,
    };
    app.audit()
        .note(caller, origin, action, target, Some(detail))
        .await
}
