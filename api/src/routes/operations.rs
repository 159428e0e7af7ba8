//! What is done to all task runs that match: begun here, done page by page in the background, by whichever process serves.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lovage_database::store::{
    operation::{self, NewOperation, Operation},
    task_run::{self, Filter},
};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;

use crate::{
    app::App,
    audit::Target,
    auth::{Caller, Identity, Origin, away, permission::needs},
    document::body::Body,
    problem::{Code, Problem},
    routes::{Part, usual_page},
    schema::operation::{Action, OperationList, OperationShown, OperationWish, stored},
};

#[derive(Debug)]
pub(crate) struct OperationsApi;

#[derive(Debug, ApiResponse)]
enum ListResponse {
    /// The newest of them.
    #[oai(status = 200)]
    Ok(Json<OperationList>),
}

#[derive(Debug, ApiResponse)]
enum ShowResponse {
    /// How far it is.
    #[oai(status = 200)]
    Ok(Json<OperationShown>),
}

#[derive(Debug, ApiResponse)]
enum BegunResponse {
    /// It goes on by itself; ask for its id to see how far it is.
    #[oai(status = 202)]
    Begun(Json<OperationShown>),
}

#[OpenApi(prefix_path = "/api/v1/operations", tag = "Part::Runs")]
impl OperationsApi {
    /// Do something to all task runs that match
    ///
    /// Revoke, terminate or retry. It survives its process: another one goes on where it was interrupted. Retries go through the
    /// outbox, so each is one message, and need a keeper.
    #[oai(path = "/", method = "post", operation_id = "begin_operation")]
    async fn begin(
        &self,
        caller: Caller<needs::RunsControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        wish: Body<OperationWish>,
    ) -> Result<BegunResponse, Problem> {
        let Body(OperationWish { action, mut filter }) = wish;
        let now = Utc::now();
        // What comes meanwhile is not among them: else what is retried would be retried.
        filter.until = Some(filter.until.map_or(now, |until| until.min(now)));
        if action == Action::Retry && filter.states.as_ref().is_none_or(Vec::is_empty) {
            filter.states = Some(vec!["FAILURE".to_owned()]);
        }
        let wanted = Filter::from(filter.clone());
        let matched = task_run::count(app.database().reader(), &wanted).await;
        let matched = matched.map_err(away)?;
        let what = NewOperation {
            action: action.as_str().to_owned(),
            filter: stored(&filter),
            user: caller.user,
            key: caller.key.as_ref().map(|key| key.id),
            matched: i64::try_from(matched).unwrap_or(i64::MAX),
        };
        let begun = begin(app.0, &caller, &origin, what, now).await?;
        Ok(BegunResponse::Begun(Json(shown(begun)?)))
    }

    /// List what is done to all task runs that match
    #[oai(path = "/", method = "get", operation_id = "list_operations")]
    async fn list(
        &self,
        caller: Caller<needs::RunsRead>,
        app: Data<&Arc<App>>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Result<ListResponse, Problem> {
        let found = list(app.0, &caller, &Action::STORED, limit.0).await?;
        let operations: Result<_, _> = found.into_iter().map(shown).collect();
        Ok(ListResponse::Ok(Json(OperationList {
            operations: operations?,
        })))
    }

    /// How far is it?
    #[oai(path = "/:id", method = "get", operation_id = "show_operation")]
    async fn show(
        &self,
        caller: Caller<needs::RunsRead>,
        app: Data<&Arc<App>>,
        /// The operation.
        id: Path<Uuid>,
    ) -> Result<ShowResponse, Problem> {
        let found = find(app.0, &caller, &Action::STORED, id.0).await?;
        Ok(ShowResponse::Ok(Json(shown(found)?)))
    }

    /// Call it off
    ///
    /// What was done is done. One that has ended stays as it is.
    #[oai(
        path = "/:id/cancel",
        method = "post",
        operation_id = "cancel_operation"
    )]
    async fn cancel(
        &self,
        caller: Caller<needs::RunsControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The operation.
        id: Path<Uuid>,
    ) -> Result<ShowResponse, Problem> {
        let found = cancel(app.0, &caller, &origin, &Action::STORED, id.0).await?;
        Ok(ShowResponse::Ok(Json(shown(found)?)))
    }
}

/// A key that is for some tasks only sees what it began itself.
fn only(caller: &Identity) -> Option<Uuid> {
    let key = caller.key.as_ref().filter(|_| caller.is_limited());
    key.map(|key| key.id)
}

/// The newest ones of these actions.
pub(super) async fn list(
    app: &App,
    caller: &Identity,
    actions: &[&str],
    most: u64,
) -> Result<Vec<Operation>, Problem> {
    let found = operation::list(app.database().reader(), actions, only(caller), most).await;
    found.map_err(away)
}

/// One of these actions.
pub(super) async fn find(
    app: &App,
    caller: &Identity,
    actions: &[&str],
    id: Uuid,
) -> Result<Operation, Problem> {
    let found = operation::find(app.database().writer(), id).await;
    found
        .map_err(away)?
        .filter(|found| actions.contains(&found.what.action.as_str()))
        .filter(|found| only(caller).is_none_or(|key| found.what.key == Some(key)))
        .ok_or_else(|| Problem::not_found(format!("there is no operation {id}")))
}

/// Begins one, and writes down who did.
pub(super) async fn begin(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    what: NewOperation,
    now: DateTime<Utc>,
) -> Result<Operation, Problem> {
    let begun = operation::begin(app.database().writer(), what, now).await;
    let begun = begun.map_err(away)?;
    app.operations().wake();
    note(app, caller, origin, "operation.begin", &begun).await?;
    Ok(begun)
}

/// Calls one of these actions off, and gives it as it is then.
pub(super) async fn cancel(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    actions: &[&str],
    id: Uuid,
) -> Result<Operation, Problem> {
    let found = find(app, caller, actions, id).await?;
    let ended = operation::end(app.database().writer(), id, None, Utc::now()).await;
    if !ended.map_err(away)? {
        let detail = format!("the operation is {} already", found.state);
        return Err(Problem::new(Code::Conflict, detail));
    }
    note(app, caller, origin, "operation.cancel", &found).await?;
    find(app, caller, actions, id).await
}

fn shown(operation: Operation) -> Result<OperationShown, Problem> {
    OperationShown::try_from(operation).map_err(|error| Problem::internal(&error))
}

async fn note(
    app: &App,
    caller: &Identity,
    origin: &Origin,
    action: &str,
    operation: &Operation,
) -> Result<(), Problem> {
    let id = operation.id.to_string();
    let target = Target {
        kind: "operation",
        id: &id,
    };
    let detail = serde_json::json!({
        "action": operation.what.action,
        "filter": operation.what.filter,
        "matched": operation.what.matched,
    });
    app.audit()
        .note(caller, origin, action, target, Some(detail))
        .await
}
