//! Runs of schedules: paused and resumed, sent by hand, seen before they come and after they went.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use lovage_beat::{backfill, run_now, set_paused, store::TickRecord};
use lovage_database::store::task_run;
use lovage_protocol::TaskId;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Caller, Identity, Origin, away, permission::needs},
    document::body::Body,
    problem::Problem,
    routes::{
        Part,
        schedules::{ShowResponse, note, shown},
        tasks::once,
    },
    scheduling::{self, by_hand},
    schema::schedule_run::{
        Backfill, Backfilled, Preview, PreviewWish, SentRun, TickList, TickShown,
    },
};

#[derive(Debug)]
pub(crate) struct ScheduleRunsApi;

#[derive(Debug, ApiResponse)]
enum RunResponse {
    /// It was sent.
    #[oai(status = 202)]
    Sent(Json<SentRun>),
}

#[derive(Debug, ApiResponse)]
enum BackfillResponse {
    /// They are sent, in their order.
    #[oai(status = 202)]
    Sent(Json<Backfilled>),
}

#[derive(Debug, ApiResponse)]
enum PreviewResponse {
    /// The next runs.
    #[oai(status = 200)]
    Ok(Json<Preview>),
}

#[derive(Debug, ApiResponse)]
enum HistoryResponse {
    /// What it has sent.
    #[oai(status = 200)]
    Ok(Json<TickList>),
}

#[OpenApi(prefix_path = "/api/v1", tag = "Part::Schedules")]
impl ScheduleRunsApi {
    /// Let a schedule rest
    ///
    /// What is due meanwhile is not made up for. One that rests already stays as it is.
    #[oai(
        path = "/schedules/:name/pause",
        method = "post",
        operation_id = "pause_schedule"
    )]
    async fn pause(
        &self,
        caller: Caller<needs::SchedulesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
    ) -> Result<ShowResponse, Problem> {
        rest(app.0, &caller, &origin, &name.0, true).await
    }

    /// Let a schedule run again
    #[oai(
        path = "/schedules/:name/resume",
        method = "post",
        operation_id = "resume_schedule"
    )]
    async fn resume(
        &self,
        caller: Caller<needs::SchedulesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
    ) -> Result<ShowResponse, Problem> {
        rest(app.0, &caller, &origin, &name.0, false).await
    }

    /// Send the task of a schedule now
    ///
    /// Due or not, paused or not. Its own runs go on as before.
    #[oai(
        path = "/schedules/:name/run",
        method = "post",
        operation_id = "run_schedule"
    )]
    async fn run(
        &self,
        caller: Caller<needs::SchedulesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The request is done once, however often it comes with this key within a day.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        key: Header<Option<String>>,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
    ) -> Result<RunResponse, Problem> {
        let asked: [&[u8]; 2] = [b"run_schedule", name.0.as_bytes()];
        let sent = once(app.0, &caller, key.0.as_deref(), &asked, async || {
            let schedules = app.schedules();
            schedules.find(&caller, &name.0).await?;
            let record = run_now(schedules.store(), schedules.client(), &name.0).await;
            let record = record.map_err(by_hand)?;
            app.metrics().sent(1);
            let detail = json!({"task_id": record.task_id});
            note(app.0, &caller, &origin, "schedule.run", &name.0, detail).await?;
            Ok(SentRun::of(&record))
        });
        Ok(RunResponse::Sent(Json(sent.await?)))
    }

    /// Send the runs of a time that has passed
    ///
    /// Each with the id that it has as a run of its time, and only what was not sent before: asked again, nothing is sent twice.
    /// At most 10,000. What was sent before is known as long as ticks are kept; where schedules are kept at the broker, by the last 500
    /// spans of time of which every run was sent. They go through the outbox, and need a beat or a keeper. What a beat has not decided yet of a schedule that
    /// runs is its own to send.
    #[oai(
        path = "/schedules/:name/backfill",
        method = "post",
        operation_id = "backfill_schedule"
    )]
    async fn backfill(
        &self,
        caller: Caller<needs::SchedulesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
        range: Body<Backfill>,
    ) -> Result<BackfillResponse, Problem> {
        let Body(range) = range;
        if range.until < range.from {
            return Err(Problem::invalid(
                "until: is before from; right would be a later time",
            ));
        }
        let schedules = app.schedules();
        schedules.find(&caller, &name.0).await?;
        let filled = backfill(
            schedules.store(),
            schedules.client(),
            &name.0,
            (range.from, range.until),
            schedules.defaults(),
        );
        let filled = filled.await.map_err(by_hand)?;
        app.metrics().sent(filled.len());
        let detail = json!({"from": range.from, "until": range.until, "sent": filled.len()});
        note(
            app.0,
            &caller,
            &origin,
            "schedule.backfill",
            &name.0,
            detail,
        )
        .await?;
        Ok(BackfillResponse::Sent(Json(Backfilled {
            sent: filled.len(),
            runs: filled.iter().map(SentRun::of).collect(),
        })))
    }

    /// See when a schedule runs next
    #[oai(
        path = "/schedules/:name/preview",
        method = "get",
        operation_id = "preview_schedule"
    )]
    async fn preview(
        &self,
        caller: Caller<needs::SchedulesRead>,
        app: Data<&Arc<App>>,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
        /// The runs after this instant; by default now.
        after: Query<Option<DateTime<Utc>>>,
        /// So many.
        #[oai(
            default = "usual_count",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        count: Query<usize>,
    ) -> Result<PreviewResponse, Problem> {
        let schedules = app.schedules();
        let found = schedules.find(&caller, &name.0).await?;
        let timing = found.definition.draft.timing(schedules.defaults());
        let timing = timing.map_err(|faults| Problem::invalid(faults.to_string()))?;
        let after = after.0.unwrap_or_else(Utc::now);
        Ok(PreviewResponse::Ok(Json(Preview::of(
            &timing, after, count.0,
        ))))
    }

    /// See when a schedule would run that is not saved
    #[oai(
        path = "/schedule-previews",
        method = "post",
        operation_id = "preview_times"
    )]
    async fn preview_times(
        &self,
        _caller: Caller<needs::SchedulesRead>,
        app: Data<&Arc<App>>,
        times: Body<PreviewWish>,
    ) -> Result<PreviewResponse, Problem> {
        let Body(times) = times;
        let after = times.after.unwrap_or_else(Utc::now);
        let count = times.count.unwrap_or_else(usual_count);
        let timing = times
            .draft()
            .and_then(|draft| draft.timing(app.schedules().defaults()));
        let timing = timing.map_err(|faults| Problem::invalid(faults.to_string()))?;
        Ok(PreviewResponse::Ok(Json(Preview::of(
            &timing, after, count,
        ))))
    }

    /// See what a schedule has sent
    ///
    /// The newest first: what was due, what was sent by hand, and the states of its tasks. What is sent while somebody turns pages
    /// moves nothing on them.
    #[oai(
        path = "/schedules/:name/ticks",
        method = "get",
        operation_id = "list_schedule_ticks"
    )]
    async fn ticks(
        &self,
        caller: Caller<needs::SchedulesRead>,
        app: Data<&Arc<App>>,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
        /// What the page before gave as `next`.
        #[oai(validator(max_length = 200))]
        cursor: Query<Option<String>>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<usize>,
    ) -> Result<HistoryResponse, Problem> {
        let schedules = app.schedules();
        let found = schedules.find(&caller, &name.0).await?;
        let after: Option<Uuid> = cursor
            .0
            .map(|cursor| cursor.parse())
            .transpose()
            .map_err(|_| Problem::invalid("the cursor is none that this API has given"))?;
        let store = schedules.store();
        let records = store.history(&name.0, after, limit.0 + 1).await;
        let mut records = records.map_err(scheduling::store)?;
        let more = records.len() > limit.0;
        records.truncate(limit.0);
        let next = records.last().filter(|_| more);
        let next = next.map(|last| last.task_id.to_string());
        let states = if found.definition.draft.is_silent() {
            vec![None; records.len()]
        } else {
            states(app.0, &records).await?
        };
        let ticks = records.iter().zip(states);
        let ticks = ticks.map(|(record, state)| TickShown::of(record, state));
        Ok(HistoryResponse::Ok(Json(TickList {
            ticks: ticks.collect(),
            next,
        })))
    }
}

fn usual_page() -> usize {
    50
}

fn usual_count() -> usize {
    10
}

async fn rest(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    name: &str,
    paused: bool,
) -> Result<ShowResponse, Problem> {
    let schedules = app.schedules();
    schedules.find(caller, name).await?;
    let done = set_paused(
        schedules.store(),
        name,
        paused,
        schedules.defaults(),
        Utc::now(),
    );
    if done.await.map_err(by_hand)? {
        let action = match paused {
            true => "schedule.pause",
            false => "schedule.resume",
        };
        note(app, caller, origin, action, name, json!({})).await?;
    }
    Ok(shown(app, &schedules.find(caller, name).await?))
}

/// The state of each run's task. A task whose result is not kept is looked for in the history.
async fn states(app: &App, records: &[TickRecord]) -> Result<Vec<Option<String>>, Problem> {
    let ids: Vec<TaskId> = records
        .iter()
        .map(|record| TaskId::from(record.task_id.to_string()))
        .collect();
    let stored = app.schedules().states(&ids).await?;
    let unknown: Vec<TaskId> = ids
        .iter()
        .zip(&stored)
        .filter(|(_, state)| state.is_none())
        .map(|(id, _)| id.clone())
        .collect();
    let runs = task_run::find_many(app.database().reader(), &unknown).await;
    let recorded: HashMap<TaskId, String> = runs
        .map_err(away)?
        .into_iter()
        .map(|run| (run.task_id.clone(), run.state.as_str().to_owned()))
        .collect();
    let states = ids.iter().zip(stored).map(|(id, state)| match state {
        Some(state) => Some(state.as_str().to_owned()),
        None => Some(
            recorded
                .get(id)
                .cloned()
                .unwrap_or_else(|| "PENDING".to_owned()),
        ),
    });
    Ok(states.collect())
}
