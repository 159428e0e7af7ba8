//! Running a recorded task once more.

use std::sync::Arc;

use lovage_database::store::task_run;
use lovage_protocol::TaskId;
use poem::web::Data;
use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Json};
use serde_json::json;

use crate::{
    app::App,
    audit::Target,
    auth::{Caller, Origin, away, permission::needs},
    problem::Problem,
    routes::{Part, within_reach},
    schema::task::Sent,
    sending::again,
};

#[derive(Debug)]
pub(crate) struct RepeatingApi;

#[derive(Debug, ApiResponse)]
enum RetriedResponse {
    /// It was sent as a new task, with an id of its own.
    #[oai(status = 202)]
    Sent(Json<Sent>),
}

#[OpenApi(prefix_path = "/api/v1/task-runs", tag = "Part::Runs")]
impl RepeatingApi {
    /// Run a task once more
    ///
    /// One that has ended, with the arguments and in the queue that its history knows. It becomes a new task; what hung on the
    /// first (callbacks, a chain, a chord) is not sent again. Refused as `incomplete` when arguments were hidden or cut.
    #[oai(path = "/:task_id/retry", method = "post", operation_id = "retry_task")]
    async fn retry(
        &self,
        caller: Caller<needs::RunsControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The Celery id of the task.
        #[oai(validator(min_length = 1, max_length = 255))]
        task_id: Path<String>,
    ) -> Result<RetriedResponse, Problem> {
        let id = TaskId::from(task_id.0.as_str());
        let run = task_run::find(app.database().reader(), &id).await;
        let run = run
            .map_err(away)?
            .filter(|run| within_reach(&caller, run))
            .ok_or_else(|| Problem::not_found(format!("nothing is recorded of {id}")))?;
        let call = again::call_of(&run)?;
        let sent = app.sender().one(&caller, &call).await?;
        app.metrics().sent(1);
        let target = Target {
            kind: "task",
            id: id.as_str(),
        };
        let detail = json!({"task": call.task, "task_id": sent.as_str()});
        app.audit()
            .note(&caller, &origin, "task.retry", target, Some(detail))
            .await?;
        Ok(RetriedResponse::Sent(Json(Sent {
            task_id: sent.as_str().to_owned(),
            task: call.task,
        })))
    }
}
