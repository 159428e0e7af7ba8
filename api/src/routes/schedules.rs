//! Schedules: made, looked at, changed and removed.

use std::{collections::BTreeMap, sync::Arc};

use chrono::Utc;
use lovage_beat::{
    Draft, added, changed, may_become, may_go,
    store::{Source, Stored, Wanted},
};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    audit::Target,
    auth::{Caller, Identity, Origin, permission::needs},
    document::body::Body,
    problem::{Code, Problem},
    routes::{
        Part, etag,
        tasks::{compared, once},
    },
    scheduling::{self, by_hand, declared, patched},
    schema::schedule::{
        DefinitionBody, NewSchedule, ScheduleKind, SchedulePage, ScheduleShown, ScheduleSource,
    },
};

#[derive(Debug)]
pub(crate) struct SchedulesApi;

#[derive(Debug, ApiResponse)]
enum PageResponse {
    /// A page of schedules.
    #[oai(status = 200)]
    Ok(Json<SchedulePage>),
}

#[derive(Debug, ApiResponse)]
pub(super) enum ShowResponse {
    /// The schedule.
    #[oai(status = 200)]
    Ok(
        Json<ScheduleShown>,
        /// Its version, for If-Match.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
enum MadeResponse {
    /// It was made.
    #[oai(status = 201)]
    Made(
        Json<ScheduleShown>,
        /// Its version, for If-Match.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(Debug, ApiResponse)]
enum GoneResponse {
    /// It is gone.
    #[oai(status = 204)]
    Gone,
}

#[OpenApi(prefix_path = "/api/v1/schedules", tag = "Part::Schedules")]
impl SchedulesApi {
    /// List schedules
    #[oai(path = "/", method = "get", operation_id = "list_schedules")]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a parameter of the operation, where the document has its text"
    )]
    async fn list(
        &self,
        caller: Caller<needs::SchedulesRead>,
        app: Data<&Arc<App>>,
        /// Only of these tasks.
        #[oai(validator(max_items = 100))]
        task: Query<Vec<String>>,
        /// Only those that were declared so.
        #[oai(validator(max_items = 10))]
        source: Query<Vec<ScheduleSource>>,
        /// Only of these kinds.
        #[oai(validator(max_items = 10))]
        kind: Query<Vec<ScheduleKind>>,
        /// Only those that are neither paused nor disabled, or only the others.
        enabled: Query<Option<bool>>,
        /// A part of name or task.
        #[oai(validator(min_length = 1, max_length = 200))]
        text: Query<Option<String>>,
        /// What the page before gave as `next`.
        #[oai(validator(max_length = 200))]
        cursor: Query<Option<String>>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<usize>,
    ) -> Result<PageResponse, Problem> {
        let wanted = Wanted {
            tasks: task.0,
            sources: source.0.into_iter().map(ScheduleSource::source).collect(),
            kinds: kind.0.into_iter().map(ScheduleKind::kind).collect(),
            runs: enabled.0,
            text: text.0,
            after: cursor.0,
            most: limit.0 + 1,
        };
        let schedules = app.schedules();
        let found = schedules.store().page(&wanted).await;
        let mut found = found.map_err(scheduling::store)?;
        let more = found.len() > limit.0;
        found.truncate(limit.0);
        let next = found
            .last()
            .filter(|_| more)
            .map(|last| last.definition.draft.name.clone());
        // What a key is not for is left out, which makes a page shorter.
        let within = found.iter().filter(|one| schedules.is_within(&caller, one));
        Ok(PageResponse::Ok(Json(SchedulePage {
            schedules: within
                .map(|one| ScheduleShown::of(one, schedules.defaults()))
                .collect(),
            next,
        })))
    }

    /// Make a schedule
    ///
    /// It runs once a beat knows of it, within a second. Task and arguments are checked unless `unchecked` says that only Python
    /// workers know the task.
    #[oai(path = "/", method = "post", operation_id = "create_schedule")]
    async fn create(
        &self,
        caller: Caller<needs::SchedulesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The request is done once, however often it comes with this key within a day.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        key: Header<Option<String>>,
        schedule: Body<NewSchedule>,
    ) -> Result<MadeResponse, Problem> {
        let written = compared(key.0.as_deref(), &schedule.0);
        let asked: [&[u8]; 2] = [b"create_schedule", written.as_bytes()];
        let made = once(app.0, &caller, key.0.as_deref(), &asked, async || {
            make(app.0, &caller, &origin, schedule.0).await
        });
        let made = made.await?;
        let tag = tag_of(made.version);
        Ok(MadeResponse::Made(Json(made), tag))
    }

    /// Show a schedule
    #[oai(path = "/:name", method = "get", operation_id = "show_schedule")]
    async fn show(
        &self,
        caller: Caller<needs::SchedulesRead>,
        app: Data<&Arc<App>>,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
    ) -> Result<ShowResponse, Problem> {
        let found = app.schedules().find(&caller, &name.0).await?;
        Ok(shown(app.0, &found))
    }

    /// Replace what a schedule is
    ///
    /// The whole of it: what is not given is as if it had never been. When it runs at other times from now on, what was due
    /// before is not made up for.
    #[oai(path = "/:name", method = "put", operation_id = "replace_schedule")]
    async fn replace(
        &self,
        caller: Caller<needs::SchedulesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
        /// The version that is changed.
        #[oai(name = "If-Match")]
        if_match: Header<String>,
        definition: Body<DefinitionBody>,
    ) -> Result<ShowResponse, Problem> {
        let before = held(app.0, &caller, &name.0, &if_match.0).await?;
        let draft = definition.0.draft(name.0);
        let draft = draft.map_err(|faults| Problem::invalid(faults.to_string()))?;
        save(app.0, &caller, &origin, &before, draft).await
    }

    /// Change some of a schedule
    ///
    /// An object with the fields that are to be others, as a JSON Merge Patch: null takes one away. Whoever gives one of
    /// `crontab`, `every`, `solar` and `at` need not take the others away.
    #[oai(path = "/:name", method = "patch", operation_id = "change_schedule")]
    async fn change(
        &self,
        caller: Caller<needs::SchedulesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
        /// The version that is changed.
        #[oai(name = "If-Match")]
        if_match: Header<String>,
        patch: Json<BTreeMap<String, Value>>,
    ) -> Result<ShowResponse, Problem> {
        let before = held(app.0, &caller, &name.0, &if_match.0).await?;
        let draft = patched(&before.definition.draft, patch.0)?;
        save(app.0, &caller, &origin, &before, draft).await
    }

    /// Remove a schedule
    ///
    /// What it has sent so far is forgotten; its tasks run on.
    #[oai(path = "/:name", method = "delete", operation_id = "delete_schedule")]
    async fn delete(
        &self,
        caller: Caller<needs::SchedulesControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 200))]
        name: Path<String>,
    ) -> Result<GoneResponse, Problem> {
        let schedules = app.schedules();
        let found = schedules.find(&caller, &name.0).await?;
        may_go(&found).map_err(by_hand)?;
        let removed = schedules.store().remove(&name.0).await;
        // Of two who do it at once one was first.
        if !removed.map_err(scheduling::store)? {
            return Err(scheduling::missing(&name.0));
        }
        let definition = json!(found.definition.draft);
        note(
            app.0,
            &caller,
            &origin,
            "schedule.delete",
            &name.0,
            definition,
        )
        .await?;
        Ok(GoneResponse::Gone)
    }
}

fn usual_page() -> usize {
    50
}

async fn make(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    schedule: NewSchedule,
) -> Result<ScheduleShown, Problem> {
    let NewSchedule { name, definition } = schedule;
    let draft = definition.draft(name);
    let draft = draft.map_err(|faults| Problem::invalid(faults.to_string()))?;
    let schedules = app.schedules();
    schedules.check(caller, &draft)?;
    let defaults = schedules.defaults();
    let wanted = added(Source::Database, draft.clone(), defaults, Utc::now());
    let made = schedules.save(&wanted.map_err(declared)?).await?;
    let made = made.ok_or_else(|| {
        Problem::new(
            Code::Conflict,
            format!("name: there is a schedule {:?} already", draft.name),
        )
    })?;
    let name = &draft.name;
    note(app, caller, origin, "schedule.create", name, json!(draft)).await?;
    Ok(ScheduleShown::of(&made, defaults))
}

/// A schedule in the version that the caller knows.
async fn held(app: &App, caller: &Identity, name: &str, tag: &str) -> Result<Stored, Problem> {
    let version = u64::try_from(etag::read(tag)?).ok();
    let found = app.schedules().find(caller, name).await?;
    if version == Some(found.version) {
        Ok(found)
    } else {
        Err(scheduling::changed(name))
    }
}

async fn save(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    before: &Stored,
    draft: Draft,
) -> Result<ShowResponse, Problem> {
    may_become(before, &draft).map_err(by_hand)?;
    let schedules = app.schedules();
    schedules.check(caller, &draft)?;
    let wanted = changed(before, draft.clone(), schedules.defaults(), Utc::now());
    let saved = schedules.save(&wanted.map_err(declared)?).await?;
    let name = &draft.name;
    let saved = saved.ok_or_else(|| scheduling::changed(name))?;
    note(app, caller, origin, "schedule.change", name, json!(draft)).await?;
    Ok(shown(app, &saved))
}

/// A schedule as it is shown, with its version.
pub(super) fn shown(app: &App, stored: &Stored) -> ShowResponse {
    let told = ScheduleShown::of(stored, app.schedules().defaults());
    let tag = tag_of(told.version);
    ShowResponse::Ok(Json(told), tag)
}

fn tag_of(version: u64) -> String {
    etag::of(i64::try_from(version).unwrap_or(i64::MAX))
}

/// Writes down who did what to a schedule.
pub(super) async fn note(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    action: &str,
    name: &str,
    detail: Value,
) -> Result<(), Problem> {
    let target = Target {
        kind: "schedule",
        id: name,
    };
    app.audit()
        .note(caller, origin, action, target, Some(detail))
        .await
}
