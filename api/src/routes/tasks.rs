//! Tasks: what there is, and sending it.

use std::{collections::BTreeMap, sync::Arc};

use lovage_broker::Destination;
use lovage_client::Outgoing;
use lovage_protocol::TaskId;
use poem::web::Data;
use poem_openapi::{
    ApiRequest, ApiResponse, OpenApi,
    param::{Header, Path, Query},
    payload::{Json, PlainText},
    types::{ParseFromJSON, ToJSON},
};
use serde_json::Value;

use crate::{
    app::App,
    auth::{Caller, Identity, permission::needs},
    document::{
        bodies::{Bodies, LINE},
        body::{Body, OTHERWISE},
    },
    idempotency::Remembered,
    problem::{Code, Problem},
    routes::{Part, workers::census},
    schema::{
        result::TaskResult,
        step::Step,
        task::{
            Answered, BatchItem, BatchReport, CallBody, Sent, TaskDescription, TaskList,
            WorkflowSent,
        },
    },
    sending::registered::Task,
};

#[derive(Debug)]
pub(crate) struct TasksApi;

#[derive(Debug, ApiResponse)]
enum ListResponse {
    /// All that are known.
    #[oai(status = 200)]
    Ok(Json<TaskList>),
}

#[derive(Debug, ApiResponse)]
enum ShowResponse {
    /// The task.
    #[oai(status = 200)]
    Ok(Json<TaskDescription>),
}

#[derive(Debug, ApiResponse)]
enum SendResponse {
    /// It ended within the time that was to be waited, well or not.
    #[oai(status = 200)]
    Answered(Json<Box<Answered>>),
    /// It was sent.
    #[oai(status = 202)]
    Sent(Json<Sent>),
}

#[derive(Debug, ApiResponse)]
enum BatchResponse {
    /// Each line was looked at; the report says what became of it.
    #[oai(status = 200)]
    Report(Json<BatchReport>),
}

#[derive(Debug, ApiResponse)]
enum WorkflowResponse {
    /// What begins it was sent.
    #[oai(status = 202)]
    Sent(Json<WorkflowSent>),
}

#[derive(Debug, ApiRequest)]
enum BatchRequest {
    /// One call a line, each a JSON object as `send_call` takes it.
    #[oai(content_type = "application/x-ndjson")]
    Lines(PlainText<String>),
}

#[OpenApi(prefix_path = "/api/v1", tag = "Part::Tasks")]
impl TasksApi {
    /// List the tasks that can be sent
    ///
    /// Those compiled into this program, and those that only workers know, Python's among them.
    #[oai(path = "/tasks", method = "get", operation_id = "list_tasks")]
    async fn list(
        &self,
        caller: Caller<needs::TasksRead>,
        app: Data<&Arc<App>>,
    ) -> Result<ListResponse, Problem> {
        let census = census(app.0).await?;
        let mut names: Vec<&str> = app
            .registered()
            .iter()
            .map(|task| &*task.spec.name)
            .collect();
        names.extend(census.tasks.keys().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        let tasks = names
            .into_iter()
            .filter(|name| caller.reaches_task(name))
            .map(|name| describe(app.0, name, census.tasks.get(name)));
        Ok(ListResponse::Ok(Json(TaskList {
            tasks: tasks.collect(),
        })))
    }

    /// Describe one task
    #[oai(path = "/tasks/:name", method = "get", operation_id = "show_task")]
    async fn show(
        &self,
        caller: Caller<needs::TasksRead>,
        app: Data<&Arc<App>>,
        /// The task's name.
        name: Path<String>,
    ) -> Result<ShowResponse, Problem> {
        caller.require_task(&name.0)?;
        let census = census(app.0).await?;
        let workers = census.tasks.get(&name.0);
        if workers.is_none() && app.registered().get(&name.0).is_none() {
            return Err(unknown(&name.0));
        }
        Ok(ShowResponse::Ok(Json(describe(app.0, &name.0, workers))))
    }

    /// Send a task by any name
    ///
    /// The arguments of a task that is compiled into this program are checked first; those of others are the workers' to
    /// judge.
    #[oai(path = "/tasks", method = "post", operation_id = "send_call")]
    async fn send_call(
        &self,
        caller: Caller<needs::TasksSend>,
        app: Data<&Arc<App>>,
        /// Wait so many seconds for the result.
        #[oai(validator(minimum(value = "0"), maximum(value = "60")))]
        wait: Query<Option<f64>>,
        /// The request is done once, however often it comes with this key within a day.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        key: Header<Option<String>>,
        call: Body<CallBody>,
    ) -> Result<SendResponse, Problem> {
        send(app.0, &caller, &call.0, wait.0, key.0).await
    }

    /// Send a task that is compiled into this program, with its parameters as the body
    ///
    /// Each such task stands in this document with a path and a schema of its own.
    #[oai(
        path = "/tasks/:name/send",
        method = "post",
        operation_id = "send_task"
    )]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the operation, where the document has its text"
    )]
    async fn send_task(
        &self,
        caller: Caller<needs::TasksSend>,
        app: Data<&Arc<App>>,
        /// The task's name.
        name: Path<String>,
        /// Wait so many seconds for the result.
        #[oai(validator(minimum(value = "0"), maximum(value = "60")))]
        wait: Query<Option<f64>>,
        /// The queue; by default what the routes say.
        #[oai(validator(min_length = 1, max_length = 255))]
        queue: Query<Option<String>>,
        /// On Redis 0 is served first and 9 last.
        #[oai(validator(minimum(value = "0"), maximum(value = "255")))]
        priority: Query<Option<i64>>,
        /// Not to be run before so many seconds have gone.
        #[oai(validator(minimum(value = "0"), maximum(value = "3155760000")))]
        countdown: Query<Option<f64>>,
        /// Not to be run after so many seconds have gone.
        #[oai(validator(minimum(value = "0"), maximum(value = "3155760000")))]
        expires_after: Query<Option<f64>>,
        /// The request is done once, however often it comes with this key within a day.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        key: Header<Option<String>>,
        /// The parameters by name.
        parameters: Json<BTreeMap<String, Value>>,
    ) -> Result<SendResponse, Problem> {
        if app.registered().get(&name.0).is_none() {
            return Err(unknown(&name.0));
        }
        let call = CallBody {
            kwargs: Some(parameters.0),
            queue: queue.0,
            priority: priority.0,
            countdown: countdown.0,
            expires_after: expires_after.0,
            ..CallBody::of(name.0)
        };
        send(app.0, &caller, &call, wait.0, key.0).await
    }

    /// Send many tasks
    ///
    /// A line that is wrong does not keep the others from being sent.
    #[oai(path = "/task-batches", method = "post", operation_id = "send_batch")]
    async fn send_batch(
        &self,
        caller: Caller<needs::TasksSend>,
        app: Data<&Arc<App>>,
        /// The request is done once, however often it comes with this key within a day.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        key: Header<Option<String>>,
        bodies: Data<&Arc<Bodies>>,
        lines: BatchRequest,
    ) -> Result<BatchResponse, Problem> {
        let BatchRequest::Lines(PlainText(text)) = lines;
        let asked: [&[u8]; 2] = [b"send_batch", text.as_bytes()];
        let report = once(app.0, &caller, key.0.as_deref(), &asked, async || {
            batch(app.0, &caller, bodies.0, &text).await
        });
        Ok(BatchResponse::Report(Json(report.await?)))
    }

    /// Send a workflow
    ///
    /// Chains, groups and chords of tasks, nested as they come. Nothing is sent unless the whole is right.
    #[oai(path = "/workflows", method = "post", operation_id = "send_workflow")]
    async fn send_workflow(
        &self,
        caller: Caller<needs::TasksSend>,
        app: Data<&Arc<App>>,
        /// The request is done once, however often it comes with this key within a day.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        key: Header<Option<String>>,
        step: Body<Step>,
    ) -> Result<WorkflowResponse, Problem> {
        let written = compared(key.0.as_deref(), &step.0);
        let asked: [&[u8]; 2] = [b"send_workflow", written.as_bytes()];
        let sent = once(app.0, &caller, key.0.as_deref(), &asked, async || {
            workflow(app.0, &caller, &step.0).await
        });
        Ok(WorkflowResponse::Sent(Json(sent.await?)))
    }
}

async fn batch(
    app: &App,
    caller: &Identity,
    bodies: &Bodies,
    text: &str,
) -> Result<BatchReport, Problem> {
    let (numbers, calls): (Vec<u64>, Vec<_>) = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| (number, call_of(bodies, line)))
        .unzip();
    if calls.is_empty() {
        return Err(Problem::invalid(
            "there is no line; send one JSON object a line",
        ));
    }
    let outcomes = app.sender().many(caller, calls).await;
    let sent = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    app.metrics().sent(sent);
    let refused = outcomes.len() - sent;
    let items = numbers.into_iter().zip(outcomes).map(|(line, outcome)| {
        let (task_id, problem) = match outcome {
            Ok(id) => (Some(id.as_str().to_owned()), None),
            Err(problem) => (None, Some(problem.details(""))),
        };
        BatchItem {
            line,
            task_id,
            problem,
        }
    });
    Ok(BatchReport {
        sent: count(sent),
        refused: count(refused),
        items: items.collect(),
    })
}

async fn workflow(app: &App, caller: &Identity, step: &Step) -> Result<WorkflowSent, Problem> {
    let plan = app.sender().workflow(caller, step).await?;
    app.metrics().sent(plan.messages.len());
    let id = plan
        .id()
        .ok_or_else(|| Problem::invalid("nothing of it is a task, so there is nothing to send"))?;
    let started = plan.messages.iter().map(|one| one.id.as_str().to_owned());
    Ok(WorkflowSent {
        task_id: id.as_str().to_owned(),
        started: started.collect(),
    })
}

/// A body as it is compared when it comes once more under its key; without a key nobody will.
pub(super) fn compared(key: Option<&str>, body: &impl ToJSON) -> String {
    key.map(|_| body.to_json_string()).unwrap_or_default()
}

/// Does something once under a key; what it gave is given again.
pub(super) async fn once<T: ToJSON + ParseFromJSON>(
    app: &App,
    caller: &Identity,
    key: Option<&str>,
    asked: &[&[u8]],
    act: impl AsyncFnOnce() -> Result<T, Problem>,
) -> Result<T, Problem> {
    let Some(key) = key else {
        return act().await;
    };
    let remembered = app.idempotency().once(caller, Some(key), asked, || async {
        let done = act().await?;
        Ok(Remembered {
            status: 200,
            body: done.to_json_string().into_bytes(),
        })
    });
    let json = serde_json::from_slice(&remembered.await?.body)
        .map_err(|error| Problem::internal(&error))?;
    T::parse_from_json(Some(json))
        .map_err(|error| Problem::internal(&std::io::Error::other(error.into_message())))
}

async fn send(
    app: &App,
    caller: &Identity,
    call: &CallBody,
    wait: Option<f64>,
    key: Option<String>,
) -> Result<SendResponse, Problem> {
    let written = compared(key.as_deref(), call);
    let asked: [&[u8]; 2] = [b"send_call", written.as_bytes()];
    let sent = once(app, caller, key.as_deref(), &asked, async || {
        let id = app.sender().one(caller, call).await?;
        app.metrics().sent(1);
        Ok(Sent {
            task_id: id.as_str().to_owned(),
            task: call.task.clone(),
        })
    });
    let sent = sent.await?;
    let id = TaskId::from(sent.task_id.as_str());
    if let Some(wait) = wait.filter(|wait| *wait > 0.0)
        && let Some(result) = ended_within(app, &id, wait).await
    {
        return Ok(SendResponse::Answered(Json(Box::new(Answered {
            task_id: sent.task_id,
            task: sent.task,
            result,
        }))));
    }
    Ok(SendResponse::Sent(Json(sent)))
}

/// The result, when the task ends in time. It was sent, so whatever keeps its result from being read is no fault of the
/// request's.
async fn ended_within(app: &App, id: &TaskId, seconds: f64) -> Option<TaskResult> {
    let patience = app.patience(seconds);
    let result = tokio::select! {
        result = app.sender().result(id, patience) => result,
        () = app.stopping().cancelled() => return None,
    };
    match result {
        Ok(Some(meta)) if meta.status.is_ready() => Some(TaskResult::of(&meta)),
        Ok(_) => None,
        Err(problem) => {
            tracing::warn!(task.id = %id, %problem, "a task was sent, and its result cannot be waited for");
            None
        }
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(
        Code::UnknownTask,
        format!(
            "no task {name} is known here; GET /api/v1/tasks lists them, and POST /api/v1/tasks sends any name"
        ),
    )
}

fn describe(
    app: &App,
    name: &str,
    workers: Option<&std::collections::BTreeSet<String>>,
) -> TaskDescription {
    let task: Option<&Task> = app.registered().get(name);
    let spec = task.map(|task| &task.spec);
    TaskDescription {
        name: name.to_owned(),
        description: spec.and_then(|spec| spec.doc.clone()),
        signature: spec.map(lovage_registry::TaskSpec::signature),
        parameters: task.and_then(|task| task.parameters.clone()),
        returns: spec.and_then(|spec| spec.returns.clone()),
        queue: queue_of(app, name),
        registered: task.is_some(),
        workers: workers.into_iter().flatten().cloned().collect(),
    }
}

fn queue_of(app: &App, name: &str) -> Option<String> {
    let previewed = app.sender().client().preview(&Outgoing::new(name)).ok()?;
    match previewed.publish.destination {
        Destination::Queue(queue) => Some(queue.as_str().to_owned()),
        _ => None,
    }
}

fn call_of(bodies: &Bodies, line: &str) -> Result<CallBody, Problem> {
    let json: Value = serde_json::from_str(line)
        .map_err(|error| Problem::new(Code::Malformed, format!("the line is no JSON: {error}")))?;
    if !bodies.takes(LINE, &json) {
        let told = bodies.fault_of_line(&json);
        return Err(Problem::invalid(
            told.unwrap_or_else(|| OTHERWISE.to_owned()),
        ));
    }
    // It is taken apart as it is read, so what is wrong with it is looked for in another.
    CallBody::parse_from_json(Some(json)).map_err(|error| {
        let again = serde_json::from_str(line).unwrap_or_default();
        let told = bodies.fault_of_line(&again);
        Problem::invalid(told.unwrap_or_else(|| error.into_message()))
    })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
