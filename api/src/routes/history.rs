//! What the keepers have recorded: runs of tasks, one by one, in pages, as trees.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lovage_database::store::{
    task_event,
    task_run::{self, Cursor, Filter, TaskRun},
};
use lovage_protocol::TaskId;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use crate::{
    app::App,
    auth::{Caller, Identity, away, permission::needs},
    problem::Problem,
    routes::{Part, usual_page},
    schema::run::{Run, RunFilter, RunPage, RunWhole},
};

#[derive(Debug)]
pub(crate) struct HistoryApi;

#[derive(Debug, ApiResponse)]
enum PageResponse {
    /// A page of task runs.
    #[oai(status = 200)]
    Ok(Json<RunPage>),
}

#[derive(Debug, ApiResponse)]
enum ShowResponse {
    /// The task, its workflow and what happened to it.
    #[oai(status = 200)]
    Ok(Json<RunWhole>),
}

/// So many of a workflow, and of a trail, are shown.
const MOST: u64 = 1000;

#[OpenApi(prefix_path = "/api/v1/task-runs", tag = "Part::Runs")]
impl HistoryApi {
    /// List task runs
    ///
    /// What `lovage keeper` has recorded of all workers, Python's too.
    #[oai(path = "/", method = "get", operation_id = "list_runs")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the operation, where the document has its text"
    )]
    async fn list(
        &self,
        caller: Caller<needs::RunsRead>,
        app: Data<&Arc<App>>,
        /// Only in one of these states.
        #[oai(validator(max_items = 20))]
        state: Query<Vec<String>>,
        /// Only of these names.
        #[oai(validator(max_items = 100))]
        task: Query<Vec<String>>,
        /// Only of these queues.
        #[oai(validator(max_items = 100))]
        queue: Query<Vec<String>>,
        /// Only by these workers.
        #[oai(validator(max_items = 100))]
        worker: Query<Vec<String>>,
        /// Only the workflow that began with this task.
        #[oai(validator(max_length = 255))]
        root_id: Query<Option<String>>,
        /// First heard of then or later.
        since: Query<Option<DateTime<Utc>>>,
        /// First heard of before.
        until: Query<Option<DateTime<Utc>>>,
        /// A part of id, name, arguments, result or exception.
        #[oai(validator(min_length = 1, max_length = 200))]
        text: Query<Option<String>>,
        /// What the page before gave as `next`.
        #[oai(validator(max_length = 400))]
        cursor: Query<Option<String>>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Result<PageResponse, Problem> {
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let filter = RunFilter {
            states: some(state.0),
            tasks: some(task.0),
            queues: some(queue.0),
            workers: some(worker.0),
            root_id: root_id.0,
            since: since.0,
            until: until.0,
            text: text.0,
        };
        let (runs, next) = page(app.0, &filter.into(), cursor.0.as_deref(), limit.0).await?;
        let runs = runs.into_iter().filter(|run| within_reach(&caller, run));
        Ok(PageResponse::Ok(Json(RunPage {
            runs: runs.map(Run::from).collect(),
            next,
        })))
    }

    /// Show a task run
    #[oai(path = "/:task_id", method = "get", operation_id = "show_run")]
    async fn show(
        &self,
        caller: Caller<needs::RunsRead>,
        app: Data<&Arc<App>>,
        /// The Celery id of the task.
        #[oai(validator(min_length = 1, max_length = 255))]
        task_id: Path<String>,
    ) -> Result<ShowResponse, Problem> {
        let reader = app.database().reader();
        let id = TaskId::from(task_id.0.as_str());
        let run = task_run::find(reader, &id).await.map_err(away)?;
        let run = run
            .filter(|run| within_reach(&caller, run))
            .ok_or_else(|| Problem::not_found(format!("nothing is recorded of {id}")))?;
        let root = run.root_id.clone().unwrap_or_else(|| id.clone());
        let tree = task_run::tree(reader, &root, MOST).await.map_err(away)?;
        let events = task_event::of_task(reader, &id, MOST).await.map_err(away)?;
        let tree = tree.into_iter().filter(|run| within_reach(&caller, run));
        Ok(ShowResponse::Ok(Json(RunWhole {
            tree: tree.map(Run::from).collect(),
            events: events.into_iter().map(Into::into).collect(),
            run: run.into(),
        })))
    }
}

async fn page(
    app: &App,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u64,
) -> Result<(Vec<TaskRun>, Option<String>), Problem> {
    let cursor: Option<Cursor> = cursor
        .map(str::parse)
        .transpose()
        .map_err(|error| Problem::invalid(format!("the cursor {error}")))?;
    let page = task_run::page(app.database().reader(), filter, cursor.as_ref(), limit)
        .await
        .map_err(away)?;
    let next = page.next.map(|next| next.to_string());
    Ok((page.runs, next))
}

/// What is not known is nobody's whose key is limited.
pub(crate) fn within_reach(caller: &Identity, run: &TaskRun) -> bool {
    if !caller.is_limited() {
        return true;
    }
    let task = run
        .name
        .as_ref()
        .is_some_and(|name| caller.reaches_task(name));
    let queue = run
        .queue
        .as_ref()
        .is_none_or(|queue| caller.reaches_queue(queue));
    task && queue
}
