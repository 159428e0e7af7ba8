//! Runs of tasks: their results, what happens to them, and ending them.

use std::{borrow::Cow, sync::Arc, time::Duration};

use futures::{StreamExt, stream, stream::BoxStream};
use lovage_client::Revocation;
use lovage_database::store::task_run;
use lovage_protocol::TaskId;
use poem::web::{Data, sse::Event as Sse};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
    payload::{EventStream, Json},
    registry::{MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    app::App,
    audit::Target,
    auth::{Caller, Identity, Origin, StreamCaller, TICKET_LIFE, away, permission::needs},
    backlog::{self, Backlog},
    document::body::Body,
    live::{Attention, GAP, Happening, Missed},
    problem::Problem,
    routes::Part,
    schema::{
        result::TaskResult,
        run::{Revoke, RevokeMany, TaskEvent, Ticket},
    },
    sending::sender,
};

#[derive(Debug)]
pub(crate) struct RunsApi;

#[derive(Debug, ApiResponse)]
enum ResultResponse {
    /// The result as it stands. Of a task that nobody knows it is PENDING.
    #[oai(status = 200)]
    Ok(Json<TaskResult>),
}

#[derive(Debug, ApiResponse)]
enum RevokedResponse {
    /// It is written down: what has not begun will not, on workers that start later too.
    #[oai(status = 204)]
    Done,
}

#[derive(ApiResponse)]
enum TicketResponse {
    /// The ticket.
    #[oai(status = 201)]
    Made(Json<Ticket>),
}

/// An event with its number; the number of a gap is empty.
type Numbered = (String, TaskEvent);

#[derive(ApiResponse)]
enum StreamResponse {
    /// Server-sent events. The id of each is what to come back with; `retry` is the browser's own.
    #[oai(status = 200)]
    Ok(EventStream<BoxStream<'static, TaskEventItem>>),
}

/// What the stream is made of: see [`Numbered`]. In the document it is the event.
#[derive(Debug, Clone)]
pub(crate) struct TaskEventItem(Numbered);

impl Type for TaskEventItem {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;

    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        TaskEvent::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        TaskEvent::schema_ref()
    }

    fn register(registry: &mut Registry) {
        TaskEvent::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ToJSON for TaskEventItem {
    fn to_json(&self) -> Option<serde_json::Value> {
        self.0.1.to_json()
    }
}

/// Something is written at least so often: proxies close what is silent.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

#[OpenApi(prefix_path = "/api/v1/task-runs", tag = "Part::Runs")]
impl RunsApi {
    /// The result of a task
    #[oai(
        path = "/:task_id/result",
        method = "get",
        operation_id = "task_result"
    )]
    async fn result(
        &self,
        caller: Caller<needs::RunsRead>,
        app: Data<&Arc<App>>,
        /// The Celery id of the task.
        #[oai(validator(min_length = 1, max_length = 255))]
        task_id: Path<String>,
        /// Wait so many seconds for the task's end.
        #[oai(validator(minimum(value = "0"), maximum(value = "60")))]
        wait: Query<Option<f64>>,
    ) -> Result<ResultResponse, Problem> {
        let id = TaskId::from(task_id.0.as_str());
        within_reach(&caller, app.0, &task_id.0).await?;
        let patience = app.patience(wait.0.unwrap_or_default());
        let found = tokio::select! {
            found = app.sender().result(&id, patience) => found?,
            () = app.stopping().cancelled() => app.sender().result(&id, Duration::ZERO).await?,
        };
        let result = found.map_or_else(
            || TaskResult::pending(&task_id.0),
            |meta| TaskResult::of(&meta),
        );
        Ok(ResultResponse::Ok(Json(result)))
    }

    /// Revoke a task
    ///
    /// What has not begun ends as REVOKED. What runs goes on, unless it is to be terminated.
    #[oai(
        path = "/:task_id/revoke",
        method = "post",
        operation_id = "revoke_task"
    )]
    async fn revoke(
        &self,
        caller: Caller<needs::RunsControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The Celery id of the task.
        #[oai(validator(min_length = 1, max_length = 255))]
        task_id: Path<String>,
        revoke: Body<Revoke>,
    ) -> Result<RevokedResponse, Problem> {
        let Body(Revoke { terminate, signal }) = revoke;
        let revoke = RevokeMany {
            task_ids: Some(vec![task_id.0]),
            stamps: None,
            terminate,
            signal,
        };
        revoke_all(app.0, &caller, &origin, revoke).await
    }

    /// Revoke several tasks
    ///
    /// By their ids, or all that carry a stamp: that concerns tasks of all kinds, so a key that is for some only may not.
    #[oai(path = "/revoke", method = "post", operation_id = "revoke_tasks")]
    async fn revoke_many(
        &self,
        caller: Caller<needs::RunsControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        revoke: Body<RevokeMany>,
    ) -> Result<RevokedResponse, Problem> {
        revoke_all(app.0, &caller, &origin, revoke.0).await
    }

    /// Get a ticket for a stream
    ///
    /// For browsers, which cannot send a token when they open a stream: a ticket is good for one use, a token in a URL would be
    /// in every log.
    #[oai(
        path = "/stream-tickets",
        method = "post",
        operation_id = "stream_ticket"
    )]
    async fn ticket(
        &self,
        caller: Caller<needs::RunsRead>,
        app: Data<&Arc<App>>,
    ) -> Result<TicketResponse, Problem> {
        let ticket = app.accounts().ticket(&caller).await?;
        Ok(TicketResponse::Made(Json(Ticket {
            ticket,
            expires_in: TICKET_LIFE.as_secs(),
        })))
    }

    /// Watch what happens to tasks
    ///
    /// One task, a workflow, or all. Whoever comes back with `Last-Event-ID`, to whichever process, is told what was missed: from
    /// memory, or as keepers have recorded it; then some events may come twice. When no keeper has, a `gap` comes first.
    #[oai(path = "/stream", method = "get", operation_id = "stream_events")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the operation, where the document has its text"
    )]
    async fn stream(
        &self,
        caller: StreamCaller,
        app: Data<&Arc<App>>,
        /// Only this task.
        #[oai(validator(max_length = 255))]
        task_id: Query<Option<String>>,
        /// Only the workflow that began with this task.
        #[oai(validator(max_length = 255))]
        root_id: Query<Option<String>>,
        /// Only tasks of this name.
        #[oai(validator(max_length = 255))]
        task: Query<Option<String>>,
        /// Where to go on; browsers send it by themselves.
        #[oai(name = "Last-Event-ID", validator(max_length = 100))]
        last: Header<Option<String>>,
        /// End after so many seconds; without it when the client goes or this process stops.
        #[oai(validator(minimum(value = "0"), maximum(value = "86400")))]
        seconds: Query<Option<f64>>,
    ) -> Result<StreamResponse, Problem> {
        let wanted = Wanted {
            caller: caller.0,
            task_id: task_id.0,
            root_id: root_id.0,
            task: task.0,
        };
        let attention = app.live().attend();
        app.live().heard().await;
        let events = events(app.0, wanted, attention, last.0.as_deref(), seconds.0).await;
        let stream = EventStream::new(events).keep_alive(SIGN_OF_LIFE).to_event(
            |TaskEventItem((id, event))| {
                Sse::message(event.to_json_string())
                    .id(id)
                    .event_type(event.kind)
            },
        );
        Ok(StreamResponse::Ok(stream))
    }
}

/// What a listener wants to hear.
struct Wanted {
    caller: Identity,
    task_id: Option<String>,
    root_id: Option<String>,
    task: Option<String>,
}

impl Wanted {
    fn takes(&self, happening: &Happening) -> bool {
        if happening.kind == GAP {
            return true;
        }
        let is = |wanted: &Option<String>, found: Option<&String>| {
            wanted.as_ref().is_none_or(|wanted| Some(wanted) == found)
        };
        let within = match &happening.task {
            Some(task) => self.caller.reaches_task(task),
            None => !self.caller.is_limited(),
        };
        within
            && is(&self.task_id, Some(&happening.task_id))
            && is(&self.root_id, happening.root_id.as_ref())
            && is(&self.task, happening.task.as_ref())
    }
}

impl Wanted {
    /// What happened, with what the history knows of its task when the events heard here have not told it and it matters: one that
    /// was received before anybody listened.
    async fn named(&self, app: &App, happening: Arc<Happening>) -> Arc<Happening> {
        let matters = self.task.is_some() || self.root_id.is_some() || self.caller.is_limited();
        if !matters || happening.task.is_some() || happening.kind == GAP {
            return happening;
        }
        let known = app.live().task_of(&happening, app.database()).await;
        if known.task.is_none() {
            return happening;
        }
        Arc::new(Happening {
            task: known.task,
            root_id: happening.root_id.clone().or(known.root_id),
            ..(*happening).clone()
        })
    }
}

async fn events(
    app: &Arc<App>,
    wanted: Wanted,
    attention: Attention,
    last: Option<&str>,
    seconds: Option<f64>,
) -> BoxStream<'static, TaskEventItem> {
    let beginning = app.live().begin(last);
    let item =
        |happening: &Happening| TaskEventItem((happening.id.clone(), TaskEvent::of(happening)));
    let backlog = match beginning.missed {
        Missed::Nothing => Backlog::default(),
        Missed::Kept(happenings) => Backlog {
            happenings,
            gap: false,
        },
        Missed::Recorded { since, kept } => backlog::read(app, since, kept).await,
        Missed::Unknown => Backlog {
            gap: true,
            ..Backlog::default()
        },
    };
    let gap = backlog
        .gap
        .then(|| TaskEventItem((String::new(), TaskEvent::gap())));
    let missed: Vec<TaskEventItem> = backlog
        .happenings
        .iter()
        .filter(|happening| wanted.takes(happening))
        .map(|happening| item(happening))
        .collect();
    let next = stream::unfold(
        // Events are heard as long as the stream is kept.
        (beginning.next, wanted, Arc::clone(app), attention),
        move |(mut next, wanted, app, attention)| async move {
            loop {
                match next.recv().await {
                    Ok(happening) => {
                        let happening = wanted.named(&app, happening).await;
                        if wanted.takes(&happening) {
                            return Some((item(&happening), (next, wanted, app, attention)));
                        }
                    }
                    // It reads more slowly than things happen.
                    Err(RecvError::Lagged(_)) => {
                        let gap = TaskEventItem((String::new(), TaskEvent::gap()));
                        return Some((gap, (next, wanted, app, attention)));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        },
    );
    let stopping = app.stopping().clone();
    let end = async move {
        match seconds.map(Duration::try_from_secs_f64) {
            Some(Ok(length)) => {
                tokio::select! {
                    () = tokio::time::sleep(length) => {}
                    () = stopping.cancelled() => {}
                }
            }
            _ => stopping.cancelled().await,
        }
    };
    stream::iter(gap)
        .chain(stream::iter(missed))
        .chain(next)
        .take_until(end)
        .boxed()
}

async fn revoke_all(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    revoke: RevokeMany,
) -> Result<RevokedResponse, Problem> {
    let ids = revoke.task_ids.unwrap_or_default();
    let stamps = revoke.stamps.unwrap_or_default();
    if ids.is_empty() && stamps.values().all(Vec::is_empty) {
        return Err(Problem::invalid(
            "task_ids or stamps has to say which tasks are meant",
        ));
    }
    for id in &ids {
        within_reach(caller, app, id).await?;
    }
    if !stamps.is_empty() {
        caller.require_everything()?;
    }
    let mut revocation = Revocation::of_tasks(ids.iter().map(String::as_str));
    for (header, values) in &stamps {
        for value in values {
            revocation = revocation.stamp(header.as_str(), value.as_str());
        }
    }
    if revoke.terminate {
        revocation = revocation.terminate(revoke.signal.as_deref());
    }
    let revoked = app.sender().client().revoke(&revocation).await;
    revoked.map_err(|error| sender::problem(&error))?;
    let target = Target {
        kind: "task",
        id: &ids.join(","),
    };
    let detail = json!({"terminate": revoke.terminate, "signal": revoke.signal, "stamps": stamps});
    app.audit()
        .note(caller, origin, "task.revoke", target, Some(detail))
        .await?;
    Ok(RevokedResponse::Done)
}

/// A key that is for some tasks only may have to do with those that are known to be of them.
async fn within_reach(caller: &Identity, app: &App, id: &str) -> Result<(), Problem> {
    if !caller.is_limited() {
        return Ok(());
    }
    let run = task_run::find(app.database().reader(), &TaskId::from(id)).await;
    let run = run.map_err(away)?;
    let queue = run.as_ref().and_then(|run| run.queue.clone());
    match run
        .and_then(|run| run.name)
        .or_else(|| app.live().name_of(id))
    {
        Some(task) => {
            caller.require_task(&task)?;
            queue.map_or(Ok(()), |queue| caller.require_queue(&queue))
        }
        None => caller.require_everything(),
    }
}
