//! Whether the process lives, whether it can do its work, and numbers for Prometheus.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lovage_protocol::QueueName;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::Query,
    payload::{Json, PlainText},
};

use crate::{
    app::App,
    fleet::Census,
    metrics,
    problem::Problem,
    routes::Part as Tag,
    schema::health::{Alive, Condition, Part, Readiness},
};

/// What is asked must answer within this time: whoever asks has a time-out too.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct HealthApi;

#[derive(Debug, ApiResponse)]
enum AliveResponse {
    /// It lives.
    #[oai(status = 200)]
    Ok(Json<Alive>),
}

#[derive(Debug, ApiResponse)]
enum ReadyResponse {
    /// It can work; `status` may be `degraded`.
    #[oai(status = 200)]
    Ready(Json<Readiness>),
    /// It cannot work, or is degraded and `strict` was asked for.
    #[oai(status = 503)]
    NotReady(Json<Readiness>),
}

#[derive(Debug, ApiResponse)]
enum MetricsResponse {
    /// In the format of OpenMetrics.
    #[oai(
        status = 200,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    )]
    Ok(PlainText<String>),
}

#[OpenApi(tag = "Tag::Health")]
impl HealthApi {
    /// Does the process live?
    ///
    /// Asks nobody else. A process that does not answer here should be started anew.
    #[oai(path = "/health/live", method = "get", operation_id = "live")]
    async fn live(&self) -> AliveResponse {
        alive()
    }

    /// The same as /health/live
    ///
    /// The path that older deployments ask.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self) -> AliveResponse {
        alive()
    }

    /// Can it do its work?
    ///
    /// Looks at the broker and the database. A queue that tasks are routed to and that no worker consumes is told as
    /// degraded, and fails only with `strict`.
    #[oai(path = "/health/ready", method = "get", operation_id = "ready")]
    async fn ready(
        &self,
        app: Data<&Arc<App>>,
        /// Fail on what is merely degraded, too: `1` or `true`.
        strict: Query<Option<String>>,
    ) -> ReadyResponse {
        let readiness = readiness(app.0).await;
        let strict = matches!(strict.0.as_deref(), Some("1" | "true" | "yes"));
        match readiness.status {
            Condition::Ok => ReadyResponse::Ready(Json(readiness)),
            Condition::Degraded if !strict => ReadyResponse::Ready(Json(readiness)),
            _ => ReadyResponse::NotReady(Json(readiness)),
        }
    }

    /// Numbers for Prometheus
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(&self, app: Data<&Arc<App>>) -> Result<MetricsResponse, Problem> {
        let observed = tokio::time::timeout(PATIENCE, observe(app.0)).await;
        app.metrics().broker(matches!(observed, Ok(Ok(()))));
        app.metrics().streams(app.live().listeners());
        let text = app.metrics().text();
        let text = text.map_err(|error| Problem::internal(&error))?;
        debug_assert!(metrics::CONTENT_TYPE.starts_with("application/openmetrics-text"));
        Ok(MetricsResponse::Ok(PlainText(text)))
    }
}

fn alive() -> AliveResponse {
    AliveResponse::Ok(Json(Alive {
        status: Condition::Ok,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}

async fn readiness(app: &App) -> Readiness {
    let (broker, database) = tokio::join!(broker(app), database(app));
    let mut parts = vec![broker, database];
    if parts[0].status == Condition::Ok {
        parts.push(queues(app).await);
    }
    let status = parts.iter().map(|part| part.status).max_by_key(badness);
    Readiness {
        status: status.unwrap_or(Condition::Ok),
        parts,
    }
}

fn badness(condition: &Condition) -> u8 {
    match condition {
        Condition::Ok => 0,
        Condition::Degraded => 1,
        Condition::Failing => 2,
    }
}

fn part(name: &str, wrong: Option<(Condition, String)>) -> Part {
    let (status, detail) = match wrong {
        None => (Condition::Ok, None),
        Some((status, detail)) => (status, Some(detail)),
    };
    Part {
        name: name.to_owned(),
        status,
        detail,
    }
}

async fn broker(app: &App) -> Part {
    let wrong = match tokio::time::timeout(PATIENCE, app.broker().ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    part("broker", wrong.map(|why| (Condition::Failing, why)))
}

async fn database(app: &App) -> Part {
    let wrong = match tokio::time::timeout(PATIENCE, app.database().schema()).await {
        Ok(Ok(schema)) if schema.is_usable() => None,
        Ok(Ok(schema)) => Some(schema.to_string()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    part("database", wrong.map(|why| (Condition::Failing, why)))
}

async fn queues(app: &App) -> Part {
    let census = match app.fleet().census().await {
        Ok(census) => census,
        Err(error) => {
            let why = format!("the workers cannot be asked: {error}");
            return part("queues", Some((Condition::Degraded, why)));
        }
    };
    // A broker that does not say is told of as its own part.
    let paused = app.broker().pauses().paused().await.unwrap_or_default();
    let (paused, lonely): (Vec<String>, Vec<String>) = routed_queues(app)
        .into_iter()
        .filter(|queue| !census.consumers.contains_key(queue))
        .partition(|name| paused.iter().any(|queue| queue.as_str() == name));
    let mut faults = Vec::new();
    if !lonely.is_empty() {
        let lonely = lonely.join(", ");
        faults.push(format!(
            "no worker consumes {lonely}, to which tasks are routed; start one with -Q"
        ));
    }
    if !paused.is_empty() {
        faults.push(format!(
            "paused, so that nobody takes from it: {}",
            paused.join(", ")
        ));
    }
    let wrong = (!faults.is_empty()).then(|| (Condition::Degraded, faults.join("; ")));
    part("queues", wrong)
}

/// The queues that tasks are sent to when nobody says: the default, those of routes, those that tasks name themselves.
pub(crate) fn routed_queues(app: &App) -> BTreeSet<String> {
    let tasks = &app.settings().tasks;
    let mut queues = BTreeSet::from([tasks.default_queue.clone()]);
    queues.extend(tasks.routes.iter().filter_map(|route| route.queue.clone()));
    queues.extend(tasks.queues.iter().map(|queue| queue.name.clone()));
    let own = app.registered().iter().filter_map(|task| {
        let queue = task.spec.options.queue.as_ref()?;
        Some(queue.as_str().to_owned())
    });
    queues.extend(own);
    queues
}

/// Looks at what the gauges tell of.
async fn observe(app: &App) -> Result<(), lovage_broker::Error> {
    let census: Arc<Census> = app.fleet().census().await?;
    let mut names = routed_queues(app);
    names.extend(census.consumers.keys().cloned());
    let queues: Vec<QueueName> = names
        .iter()
        .filter_map(|name| QueueName::parse(name).ok())
        .collect();
    let depths = app.broker().depth(&queues).await?;
    for (queue, waiting) in queues.iter().zip(depths) {
        let consumers = census
            .consumers
            .get(queue.as_str())
            .map_or(0, BTreeSet::len);
        app.metrics().queue(queue.as_str(), waiting, consumers);
    }
    let dead = app.broker().dead_letters().count().await?;
    app.metrics().fleet(census.workers.len(), dead);
    Ok(())
}
