//! What is done to all dead letters that match: begun here, done page by page in the background, by whichever process serves.

use std::sync::Arc;

use chrono::Utc;
use lovage_database::store::{
    dead_letter::{self, Fate, Filter},
    operation::{NewOperation, Operation},
};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use uuid::Uuid;

use super::{
    operations::{begin, cancel, find, list},
    usual_page,
};
use crate::{
    app::App,
    auth::{Caller, Origin, away, permission::needs},
    document::body::Body,
    problem::Problem,
    routes::Part,
    schema::letter_operation::{
        LetterAction, LetterOperationList, LetterOperationShown, LetterOperationWish, Matching,
    },
};

#[derive(Debug)]
pub(crate) struct LetterOperationsApi;

#[derive(Debug, ApiResponse)]
enum ListResponse {
    /// The newest of them.
    #[oai(status = 200)]
    Ok(Json<LetterOperationList>),
}

#[derive(Debug, ApiResponse)]
enum ShowResponse {
    /// How far it is.
    #[oai(status = 200)]
    Ok(Json<LetterOperationShown>),
}

#[derive(Debug, ApiResponse)]
enum BegunResponse {
    /// It goes on by itself; ask for its id to see how far it is.
    #[oai(status = 202)]
    Begun(Json<LetterOperationShown>),
}

#[OpenApi(
    prefix_path = "/api/v1/dead-letter-operations",
    tag = "Part::DeadLetters"
)]
impl LetterOperationsApi {
    /// Send again or give up all dead letters that match
    ///
    /// Those that wait in the database, the oldest first, each once; a key leaves what it is not for. It survives its process:
    /// another one goes on where it was interrupted. What is sent goes through the outbox, and needs a keeper.
    #[oai(path = "/", method = "post", operation_id = "begin_letter_operation")]
    async fn begin(
        &self,
        caller: Caller<needs::DeadLettersControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        wish: Body<LetterOperationWish>,
    ) -> Result<BegunResponse, Problem> {
        let Body(LetterOperationWish { action, filter }) = wish;
        let reader = app.database().reader();
        let wanted = Filter {
            fates: vec![Fate::Waiting],
            ..filter.clone().into()
        };
        let last = dead_letter::latest(reader).await.map_err(away)?;
        let matched = dead_letter::count(reader, &wanted).await.map_err(away)?;
        let what = NewOperation {
            action: action.as_str().to_owned(),
            filter: Matching { filter, last }.to_stored(),
            user: caller.user,
            key: caller.key.as_ref().map(|key| key.id),
            matched: i64::try_from(matched).unwrap_or(i64::MAX),
        };
        let begun = begin(app.0, &caller, &origin, what, Utc::now()).await?;
        Ok(BegunResponse::Begun(Json(shown(begun)?)))
    }

    /// List what is done to all dead letters that match
    #[oai(path = "/", method = "get", operation_id = "list_letter_operations")]
    async fn list(
        &self,
        caller: Caller<needs::DeadLettersRead>,
        app: Data<&Arc<App>>,
        /// So many at most.
        #[oai(
            default = "usual_page",
            validator(minimum(value = "1"), maximum(value = "500"))
        )]
        limit: Query<u64>,
    ) -> Result<ListResponse, Problem> {
        let found = list(app.0, &caller, &LetterAction::STORED, limit.0).await?;
        let operations: Result<_, _> = found.into_iter().map(shown).collect();
        Ok(ListResponse::Ok(Json(LetterOperationList {
            operations: operations?,
        })))
    }

    /// How far is it with all dead letters that match?
    #[oai(path = "/:id", method = "get", operation_id = "show_letter_operation")]
    async fn show(
        &self,
        caller: Caller<needs::DeadLettersRead>,
        app: Data<&Arc<App>>,
        /// The operation.
        id: Path<Uuid>,
    ) -> Result<ShowResponse, Problem> {
        let found = find(app.0, &caller, &LetterAction::STORED, id.0).await?;
        Ok(ShowResponse::Ok(Json(shown(found)?)))
    }

    /// Call off what is done to all dead letters that match
    ///
    /// What was done is done. One that has ended stays as it is.
    #[oai(
        path = "/:id/cancel",
        method = "post",
        operation_id = "cancel_letter_operation"
    )]
    async fn cancel(
        &self,
        caller: Caller<needs::DeadLettersControl>,
        app: Data<&Arc<App>>,
        origin: Origin,
        /// The operation.
        id: Path<Uuid>,
    ) -> Result<ShowResponse, Problem> {
        let found = cancel(app.0, &caller, &origin, &LetterAction::STORED, id.0).await?;
        Ok(ShowResponse::Ok(Json(shown(found)?)))
    }
}

fn shown(operation: Operation) -> Result<LetterOperationShown, Problem> {
    LetterOperationShown::try_from(operation).map_err(|error| Problem::internal(&error))
}
