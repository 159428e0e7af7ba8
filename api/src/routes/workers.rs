//! Workers: who is there, what they say, and what they are told.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde_json::json;

use crate::{
    app::App,
    audit::Target,
    auth::{Caller, Identity, Origin, permission::needs},
    document::body::Body,
    fleet::Census,
    plain,
    problem::Problem,
    routes::Part,
    schema::fleet::{Drain, Inspection, Order, OrderBody, Replies, Worker, WorkerList},
    sending::sender,
};

#[derive(Debug)]
pub(crate) struct WorkersApi;

#[derive(Debug, ApiResponse)]
enum ListResponse {
    /// The workers.
    #[oai(status = 200)]
    Ok(Json<WorkerList>),
}

#[derive(Debug, ApiResponse)]
enum RepliesResponse {
    /// What the workers replied; who did not is not there.
    #[oai(status = 200)]
    Ok(Json<Replies>),
}

#[OpenApi(prefix_path = "/api/v1/workers", tag = "Part::Workers")]
impl WorkersApi {
    /// List workers
    ///
    /// Of either kind, with what they consume and what they can run.
    #[oai(path = "/", method = "get", operation_id = "list_workers")]
    async fn list(
        &self,
        _caller: Caller<needs::WorkersRead>,
        app: Data<&Arc<App>>,
    ) -> Result<ListResponse, Problem> {
        let census = census(app.0).await?;
        let has = |map: &std::collections::BTreeMap<String, std::collections::BTreeSet<String>>,
                   worker: &String| {
            map.iter()
                .filter(|(_, workers)| workers.contains(worker))
                .map(|(name, _)| name.clone())
                .collect()
        };
        let workers = census.workers.iter().map(|worker| Worker {
            name: worker.clone(),
            queues: has(&census.consumers, worker),
            tasks: has(&census.tasks, worker),
        });
        Ok(ListResponse::Ok(Json(WorkerList {
            workers: workers.collect(),
        })))
    }

    /// Ask workers
    #[oai(
        path = "/inspect/:command",
        method = "get",
        operation_id = "inspect_workers"
    )]
    async fn inspect(
        &self,
        caller: Caller<needs::WorkersRead>,
        app: Data<&Arc<App>>,
        /// What is asked.
        command: Path<Inspection>,
        /// Only these workers.
        #[oai(validator(max_items = 100))]
        worker: Query<Vec<String>>,
        /// The tasks that `query_task` is about.
        #[oai(validator(max_items = 100))]
        ids: Query<Vec<String>>,
        /// How many seconds to wait for replies; less when all have replied.
        #[oai(
            default = "a_second",
            validator(minimum(value = "0"), maximum(value = "30"))
        )]
        timeout: Query<f64>,
    ) -> Result<RepliesResponse, Problem> {
        // They tell of all tasks and queues.
        caller.require_everything()?;
        if command.0 == Inspection::QueryTask && ids.0.is_empty() {
            return Err(Problem::invalid("query_task needs ids"));
        }
        let mut question = app
            .fleet()
            .control()
            .ask(command.0.method())
            .wait(app.patience(timeout.0));
        if command.0 == Inspection::QueryTask {
            question = question.argument("ids", plain::value(&json!(ids.0))?);
        }
        if !worker.0.is_empty() {
            question = question.to(worker.0);
        }
        let replies = question.send().await.map_err(broker)?;
        Ok(RepliesResponse::Ok(Json(Replies::of(replies))))
    }

    /// Tell workers what to do
    #[oai(path = "/control", method = "post", operation_id = "control_workers")]
    async fn control(
        &self,
        caller: Caller<needs::WorkersControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        order: Body<OrderBody>,
    ) -> Result<RepliesResponse, Problem> {
        let order = order.0;
        within_reach(&caller, &order)?;
        let wait = app.patience(order.timeout.unwrap_or(1.0));
        let mut question = app.fleet().control().ask(order.command.method()).wait(wait);
        for (name, value) in order.arguments.iter().flatten() {
            question = question.argument(name, plain::value(value)?);
        }
        if let Some(workers) = &order.workers {
            question = question.to(workers.clone());
        }
        let replies = Replies::of(question.send().await.map_err(broker)?);
        app.fleet().forget().await;
        let target = Target {
            kind: "workers",
            id: &order.workers.unwrap_or_default().join(","),
        };
        let detail = json!({"arguments": order.arguments});
        let action = format!("worker.{}", order.command.method());
        app.audit()
            .note(&caller, &origin, &action, target, Some(detail))
            .await?;
        Ok(RepliesResponse::Ok(Json(replies)))
    }

    /// Have a worker take nothing more
    ///
    /// It stops consuming every queue; what it holds is run.
    #[oai(path = "/:name/drain", method = "post", operation_id = "drain_worker")]
    async fn drain(
        &self,
        caller: Caller<needs::WorkersControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The worker, such as `celery@host`.
        name: Path<String>,
        drain: Body<Drain>,
    ) -> Result<RepliesResponse, Problem> {
        caller.require_everything()?;
        app.fleet().forget().await;
        let census = census(app.0).await?;
        if !census.workers.contains(&name.0) {
            return Err(Problem::not_found(format!("no worker {} answers", name.0)));
        }
        let control = app.fleet().control();
        let whom = vec![name.0.clone()];
        let mut last = Vec::new();
        for (queue, consumers) in &census.consumers {
            if consumers.contains(&name.0) {
                let question = control
                    .ask("cancel_consumer")
                    .argument("queue", queue.as_str());
                last = question.to(whom.clone()).send().await.map_err(broker)?;
            }
        }
        if drain.0.shutdown {
            let question = control.ask("shutdown").to(whom);
            last = question.send().await.map_err(broker)?;
        }
        app.fleet().forget().await;
        let target = Target {
            kind: "worker",
            id: &name.0,
        };
        let detail = json!({"shutdown": drain.0.shutdown});
        app.audit()
            .note(&caller, &origin, "worker.drain", target, Some(detail))
            .await?;
        Ok(RepliesResponse::Ok(Json(Replies::of(last))))
    }
}

fn a_second() -> f64 {
    1.0
}

/// A key that is for some tasks or queues only may give orders about those.
fn within_reach(caller: &Identity, order: &OrderBody) -> Result<(), Problem> {
    if !caller.is_limited() {
        return Ok(());
    }
    let argument = |name: &str| {
        let value = order.arguments.as_ref().and_then(|all| all.get(name));
        value
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    match order.command {
        Order::AddConsumer | Order::CancelConsumer => caller.require_queue(argument("queue")),
        Order::RateLimit | Order::TimeLimit => caller.require_task(argument("task_name")),
        _ => caller.require_everything(),
    }
}

/// What the workers say of themselves.
pub(super) async fn census(app: &App) -> Result<Arc<Census>, Problem> {
    app.fleet().census().await.map_err(broker)
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn broker(error: lovage_broker::Error) -> Problem {
    sender::broker_problem(&error)
}
